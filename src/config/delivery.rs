//! `[delivery]`, and `delivery` of a destination: how entries are gathered, how fast they go, and when.

use jiff::civil::Time;
use serde::Deserialize;

/// How entries are gathered into requests, and what a line may carry.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Delivery {
    /// Entries in one request at most.
    pub entries_max: usize,
    /// Bytes of kept frames behind one request at most.
    pub bytes_max: usize,
    /// How long a lone entry waits for company, in milliseconds.
    pub age_ms: u64,
    /// Longest pause between two tries against an upstream that does not answer, in seconds.
    pub pause_max_s: u64,
    /// An answer that takes longer makes the next requests smaller and fewer, in milliseconds.
    pub slow_ms: u64,
    /// An entry that is younger is live: it goes before the backlog of other devices, in seconds.
    pub live_s: u64,
    /// Of every hundred entries sent while there are live ones, this many are of the backlog.
    pub backlog_share: u32,
    /// Bytes that may be sent in a second, on average; none: as fast as it goes.
    pub max_bytes_per_s: Option<u64>,
    /// Times of day, in the site's zone, when the line is not to be used for everything. The first that holds counts.
    pub hours: Vec<Hours>,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            entries_max: 64,
            bytes_max: 1 << 20,
            age_ms: 100,
            pause_max_s: 60,
            slow_ms: 5_000,
            live_s: 60,
            backlog_share: 25,
            max_bytes_per_s: None,
            hours: Vec::new(),
        }
    }
}

/// From one time of day to another; over midnight when `to` is not after `from`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hours {
    #[serde(deserialize_with = "time")]
    pub from: Time,
    #[serde(deserialize_with = "time")]
    pub to: Time,
    pub send: Send,
}

/// What goes at a time of day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Send {
    #[default]
    All,
    /// Entries with an alarm in them; they overtake the others.
    Alarms,
    Nothing,
}

fn time<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Time, D::Error> {
    let text = String::deserialize(from)?;
    let wrong = || serde::de::Error::custom(format!("\"{text}\" is no time of day such as 07:30"));
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let (hour, minute) = hour.parse().ok().zip(minute.parse().ok()).ok_or_else(wrong)?;
    Time::new(hour, minute, 0, 0).map_err(|_| wrong())
}

impl Delivery {
    /// What goes at this time of day.
    pub fn sends_at(&self, now: Time) -> Send {
        let holds = |hours: &&Hours| match hours.from < hours.to {
            true => (hours.from..hours.to).contains(&now),
            false => now >= hours.from || now < hours.to,
        };
        self.hours.iter().find(holds).map_or(Send::All, |hours| hours.send)
    }

    /// What is wrong with it: the key and a sentence.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let limits = [
            ("entries_max", (1..=10_000).contains(&self.entries_max), "1 to 10000"),
            ("bytes_max", (1 << 10..=1 << 28).contains(&self.bytes_max), "1024 to 268435456"),
            ("age_ms", self.age_ms <= 60_000, "0 to 60000"),
            ("pause_max_s", (1..=3_600).contains(&self.pause_max_s), "1 to 3600"),
            ("slow_ms", (10..=3_600_000).contains(&self.slow_ms), "10 to 3600000"),
            ("live_s", (1..=86_400).contains(&self.live_s), "1 to 86400"),
            (
                "backlog_share",
                (1..=100).contains(&self.backlog_share),
                "1 to 100: a backlog must end some day",
            ),
            ("max_bytes_per_s", self.max_bytes_per_s.is_none_or(|most| most >= 100), "100 or more"),
        ];
        match limits.iter().find(|(_, fits, _)| !fits) {
            Some((name, _, range)) => Err((name, format!("{name} is {range}"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i8, minute: i8) -> Time {
        Time::new(hour, minute, 0, 0).unwrap()
    }

    #[test]
    fn a_metered_line_carries_what_its_hours_say_also_over_midnight() {
        let text = "hours = [{ from = \"12:00\", to = \"13:30\", send = \"nothing\" }, { from = \"07:00\", to = \"22:00\", send = \"alarms\" },
            { from = \"23:00\", to = \"01:00\", send = \"nothing\" }]";
        let delivery: Delivery = toml::from_str(text).unwrap();
        for (time, sends) in [
            (at(6, 59), Send::All),
            (at(7, 0), Send::Alarms),
            (at(12, 30), Send::Nothing),
            (at(13, 30), Send::Alarms),
            (at(22, 0), Send::All),
            (at(23, 30), Send::Nothing),
            (at(0, 59), Send::Nothing),
            (at(1, 0), Send::All),
        ] {
            assert_eq!(delivery.sends_at(time), sends, "{time}");
        }
    }

    #[test]
    fn what_is_no_time_of_day_is_refused() {
        for wrong in ["24:00", "7", "aa:bb", "07:60", ""] {
            let text = format!("hours = [{{ from = \"{wrong}\", to = \"08:00\", send = \"nothing\" }}]");
            assert!(toml::from_str::<Delivery>(&text).is_err(), "{wrong}");
        }
    }

    #[test]
    fn limits_that_would_stop_delivery_are_refused_by_name() {
        assert_eq!(Delivery::default().check(), Ok(()));
        let fault = Delivery { backlog_share: 0, ..Delivery::default() }.check().unwrap_err();
        assert_eq!(fault.0, "backlog_share");
        assert!(Delivery { max_bytes_per_s: Some(0), ..Delivery::default() }.check().is_err());
    }
}
