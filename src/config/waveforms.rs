//! `[[link]] waveforms`: what becomes of a link's sample arrays. They are always kept; this is about delivery.

use std::time::Duration;

use serde::Deserialize;

use crate::wire::Codec;

/// Longest period of one Observation: a wave of 500 Hz makes about 150 kB of it.
const PERIOD_MAX_S: u64 = 60;

/// `waveforms = { deliver = "all", period_s = 10 }`; both may be left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waveforms {
    /// Not said: `none` for devices that stream waves without end, `all` for recordings.
    deliver: Option<Deliver>,
    /// Seconds of a wave in one Observation, and how long a streaming device's frames are gathered before they are
    /// kept. Not said: as long as the frames are.
    period_s: Option<u64>,
}

/// Whether sample arrays become Observations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deliver {
    All,
    None,
}

impl Waveforms {
    /// What is wrong with it, as a sentence.
    pub(super) fn check(self) -> Result<(), String> {
        match self.period_s {
            Some(period) if !(1..=PERIOD_MAX_S).contains(&period) => {
                Err(format!("waveforms.period_s is {period}: it has to be 1 to {PERIOD_MAX_S} seconds"))
            }
            _ => Ok(()),
        }
    }

    /// Whether waves of this link are delivered. A bedside monitor says four waves without end, which no record
    /// wants unasked; an ECG that a person recorded is a result like any other.
    pub fn delivered(self, codec: &Codec) -> bool {
        self.deliver.map_or(!codec.streams(), |deliver| deliver == Deliver::All)
    }

    /// The configured period of one Observation.
    pub fn period(self) -> Option<Duration> {
        self.period_s.map(Duration::from_secs)
    }

    /// The link layer as this link wants it: frames gathered for at least one period where waves are delivered.
    pub(super) fn gathered(self, mut codec: Codec) -> Codec {
        let wanted = self.period_s.filter(|_| self.delivered(&codec)).unwrap_or(0).saturating_mul(1_000);
        if let Some(gather_ms) = codec.gather_ms() {
            *gather_ms = wanted.max(*gather_ms);
        }
        codec
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waveforms(text: &str) -> Waveforms {
        toml::from_str(text).unwrap()
    }

    fn codec(word: &str) -> Codec {
        toml::from_str(&format!("codec = \"{word}\"")).unwrap()
    }

    #[test]
    fn streams_are_kept_and_recordings_are_delivered_unless_the_link_says_otherwise() {
        for word in ["medibus", "dri", "intellivue", "nonin"] {
            assert!(!waveforms("").delivered(&codec(word)), "{word}");
            assert!(waveforms("deliver = \"all\"").delivered(&codec(word)), "{word}");
        }
        for word in ["mllp", "ieee11073-20601", "message", "lines"] {
            assert!(waveforms("").delivered(&codec(word)), "{word}");
            assert!(!waveforms("deliver = \"none\"").delivered(&codec(word)), "{word}");
        }
        let memory: Codec = toml::from_str("codec = \"nonin\"\nformat = 13").unwrap();
        assert!(waveforms("").delivered(&memory), "spot measurements");
    }

    #[test]
    fn a_period_gathers_a_stream_for_as_long_and_never_for_less_than_its_page_says() {
        let gathered = |text: &str| waveforms(text).gathered(codec("dri")).gather_ms().copied();
        assert_eq!(gathered("deliver = \"all\"\nperiod_s = 10"), Some(10_000));
        assert_eq!(
            gathered("period_s = 10"),
            Some(1_000),
            "numerics need not wait for waves nobody delivers"
        );
        let slow: Codec = toml::from_str("codec = \"dri\"\ngather_ms = 5000").unwrap();
        let slow = waveforms("deliver = \"all\"\nperiod_s = 2").gathered(slow).gather_ms().copied();
        assert_eq!(slow, Some(5_000));
        assert_eq!(waveforms("period_s = 2").gathered(codec("mllp")), codec("mllp"));
    }

    #[test]
    fn an_impossible_period_is_refused_with_the_limits() {
        for period in [0, 61] {
            let said = waveforms(&format!("period_s = {period}")).check().unwrap_err();
            assert!(said.contains("1 to 60"), "{said}");
        }
        assert!(toml::from_str::<Waveforms>("deliver = \"some\"").is_err());
    }
}
