//! What a simulated device says, message by message: its template, a generator, or its captures in turn.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

use super::nonin::Oximeter;
use crate::clock::Timestamp;
use crate::demo::template::Template;
use crate::firmware_profile::{FirmwareProfile, Library};
use crate::wire::Codec;

/// One message, as it is kept: without the framing of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// MQTT topic, where the profile knows one.
    pub topic: Option<String>,
    pub bytes: Vec<u8>,
    /// The device's clock when it is said first.
    pub at: Option<Timestamp>,
}

impl Message {
    /// One without topic and time.
    pub const fn of(bytes: Vec<u8>) -> Self {
        Self { topic: None, bytes, at: None }
    }
}

/// The messages of a device, one after the other, for ever.
#[derive(Clone, Debug)]
pub struct Script {
    source: Source,
    sequence: u64,
    /// What a person should know of it, in a sentence.
    pub note: Option<&'static str>,
}

#[derive(Clone, Debug)]
enum Source {
    Template(Box<Template>, Option<String>),
    Oximeter(Oximeter),
    /// The device says what it has by itself; a message is one round of it.
    Own,
    Captures {
        messages: Vec<Message>,
        shift: bool,
    },
}

impl Script {
    /// The script of a built-in profile.
    ///
    /// # Errors
    /// A sentence: the profile is unknown, or has nothing to say.
    pub fn of(library: &Library, id: &str, seed: u64) -> Result<Self, String> {
        let profile = library.find(id).ok_or_else(|| format!("no firmware profile \"{id}\""))?;
        if let Some(text) = library.simulation(id) {
            return Self::of_template(&text, topic_of(&profile, ""), seed);
        }
        if let Codec::Intellivue(_) = &profile.codec {
            return Ok(Self { source: Source::Own, sequence: 0, note: None });
        }
        if let Codec::Nonin(settings) = &profile.codec {
            let source = Source::Oximeter(Oximeter::new(settings.format, seed));
            return Ok(Self { source, sequence: 0, note: None });
        }
        let captures = library.captures(id);
        let good = |name: &str| profile.tests.iter().any(|test| test.capture == name && test.replay);
        let some = captures.iter().any(|(name, _)| good(name));
        let messages: Vec<Message> = captures
            .into_iter()
            .filter(|(name, _)| !some || good(name))
            .map(|(name, bytes)| Message { topic: topic_of(&profile, &name), ..Message::of(bytes) })
            .collect();
        Self::of_messages(messages, matches!(profile.codec, Codec::Mllp(_) | Codec::Astm(_)))
    }

    /// A template, filled anew for every message.
    ///
    /// # Errors
    /// A sentence: the template cannot be read.
    pub fn of_template(text: &str, topic: Option<String>, seed: u64) -> Result<Self, String> {
        let template = Template::parse(text, seed).map_err(|fault| fault.to_string())?;
        Ok(Self { source: Source::Template(Box::new(template), topic), sequence: 0, note: None })
    }

    /// These messages in turn; `shift`: HL7 and LIS02 times are moved to now.
    ///
    /// # Errors
    /// When there are none.
    pub fn of_messages(messages: Vec<Message>, shift: bool) -> Result<Self, String> {
        if messages.is_empty() {
            return Err("there is nothing to say".into());
        }
        let note = (!shift).then_some("times within the messages stay as they were captured");
        Ok(Self { source: Source::Captures { messages, shift }, sequence: 0, note })
    }

    /// The next message, at this time of the device's clock.
    pub fn next(&mut self, now: Timestamp) -> Option<Message> {
        self.sequence += 1;
        let at = Some(now);
        match &mut self.source {
            Source::Template(template, topic) => {
                let bytes = template.fill(self.sequence, now).into_bytes();
                Some(Message { topic: topic.clone(), bytes, at })
            }
            Source::Oximeter(oximeter) => Some(Message { topic: None, bytes: oximeter.next(now), at }),
            Source::Own => Some(Message { topic: None, bytes: Vec::new(), at }),
            Source::Captures { messages, shift } => {
                let count = u64::try_from(messages.len()).ok()?;
                let place = usize::try_from((self.sequence - 1).checked_rem(count)?).ok()?;
                let mut message = Message { at, ..messages.get(place)?.clone() };
                if *shift {
                    shifted(&mut message.bytes, now);
                }
                Some(message)
            }
        }
    }
}

/// The topic a capture came on, else the first of the profile with its wildcards filled.
pub(super) fn topic_of(profile: &FirmwareProfile, capture: &str) -> Option<String> {
    let case = profile.tests.iter().find(|test| test.capture == capture);
    let own = case.and_then(|test| test.topic.clone());
    own.or_else(|| {
        let first = profile.transport.mqtt.as_ref()?.topics.first()?;
        Some(first.replace(['+', '#'], "simulated"))
    })
}

/// Digits of a time such as 20260314083000.
const TIME: usize = 14;

/// Moves every time to the second by the same span, so that the latest is now. Lines of persons, whose birth dates are
/// times too, stay. A time with an offset keeps it; one without is told in UTC.
fn shifted(bytes: &mut [u8], now: Timestamp) {
    let places = times(bytes);
    let micros =
        |at: &(usize, DateTime, Offset)| at.2.to_timestamp(at.1).ok().map(jiff::Timestamp::as_microsecond);
    let Some(latest) = places.iter().filter_map(micros).max() else { return };
    let by = now.micros.saturating_sub(latest);
    for place in places {
        let Some(then) = micros(&place).map(|then| then.saturating_add(by)) else { continue };
        let Ok(then) = jiff::Timestamp::from_microsecond(then) else { continue };
        let text = then.to_zoned(TimeZone::fixed(place.2)).strftime("%Y%m%d%H%M%S").to_string();
        if let Some(field) = bytes.get_mut(place.0..place.0 + TIME).filter(|_| text.len() == TIME) {
            field.copy_from_slice(text.as_bytes());
        }
    }
}

/// Where times stand, what they say, and their offset.
fn times(bytes: &[u8]) -> Vec<(usize, DateTime, Offset)> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in bytes.split(|byte| matches!(byte, b'\r' | b'\n')) {
        let from = start;
        start += line.len() + 1;
        if line.starts_with(b"PID") || line.starts_with(b"P|") {
            continue;
        }
        let mut at = 0;
        while let Some(digit) = line.get(at..).and_then(|rest| rest.iter().position(u8::is_ascii_digit)) {
            at += digit;
            let rest = line.get(at..).unwrap_or_default();
            let digits = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
            let text = std::str::from_utf8(rest.get(..digits).unwrap_or_default()).unwrap_or_default();
            let time = (digits == TIME).then(|| DateTime::strptime("%Y%m%d%H%M%S", text).ok()).flatten();
            // Numbers of fourteen digits of other centuries are no times.
            if let Some(time) = time.filter(|time| (2000..2100).contains(&time.year())) {
                found.push((from + at, time, offset(rest.get(digits..).unwrap_or_default())));
            }
            at += digits;
        }
    }
    found
}

/// `+0530`, after an optional fraction.
fn offset(rest: &[u8]) -> Offset {
    let fraction = match rest.first() {
        Some(b'.') => 1 + rest.iter().skip(1).take_while(|byte| byte.is_ascii_digit()).count(),
        _ => 0,
    };
    let text = rest.get(fraction..fraction + 5).and_then(|text| std::str::from_utf8(text).ok());
    let read = || {
        let (sign, digits) = text?.split_at_checked(1)?;
        let sign = match sign {
            "+" => 1,
            "-" => -1,
            _ => return None,
        };
        let (hours, minutes) = digits.split_at_checked(2)?;
        let seconds = hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60;
        Offset::from_seconds(sign * seconds).ok()
    };
    read().unwrap_or(Offset::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_move_together_so_that_the_latest_is_now_and_birth_dates_stay() {
        let now = Timestamp::from_micros(1_773_477_000_000_000, true);
        let mut message = b"MSH|^~\\&|A||||20200101120000+0530||ORU\rPID|1||7||||19770404101500\rOBX|1|NM|||5|||||F|||20200101115900+0530\rOBX|2|NM|||12345678901234\r".to_vec();
        shifted(&mut message, now);
        let text = String::from_utf8(message).unwrap();
        assert!(
            text.contains("|20260314140000+0530||ORU") && text.contains("|20260314135900+0530\r"),
            "{text}"
        );
        assert!(text.contains("19770404101500") && text.contains("12345678901234"));
        let mut plain = b"H|\\^&|||||||||||20200101120000\rP|1||20200101120000\r".to_vec();
        shifted(&mut plain, now);
        assert_eq!(plain, b"H|\\^&|||||||||||20260314083000\rP|1||20200101120000\r");
    }
}
