//! What goes wrong on real lines, on request and repeatably: the simulated devices and the rigs use the same faults.

use std::str::FromStr;
use std::time::Duration;

use crate::demo::template::Dice;

/// The words, for help and errors.
pub const WORDS: &str =
    "noise[=SHARE], half-frames, nak, unplug[=TIME], clock-jump[=TIME], duplicate, slow, drop-ack, burst";

/// Which faults, as `noise=0.01,nak,unplug=30s`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Bytes of a million that arrive as something else.
    pub noise_ppm: u64,
    /// Some writes break off in the middle.
    pub half_frames: bool,
    /// Some answers of the box arrive as a refusal: what it kept is said again.
    pub nak: bool,
    /// The line goes away for three seconds, this often.
    pub unplug: Option<Duration>,
    /// The device's clock jumps on by this after every tenth message.
    pub clock_jump: Option<Duration>,
    /// Every third message is said twice.
    pub duplicate: bool,
    /// A few bytes at a time.
    pub slow: bool,
    /// Some answers of the box never arrive.
    pub drop_ack: bool,
    /// Ten messages at once, then a pause.
    pub burst: bool,
}

/// A word that is no fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    #[error("there is no fault \"{0}\"; there are: {WORDS}")]
    Unknown(String),
    #[error("{0}: write a share between 0 and 1, such as noise=0.01")]
    Share(String),
    #[error("{0}: write a time such as 30s, 5m or 1h")]
    Time(String),
}

impl FromStr for Faults {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let mut faults = Self::default();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let (name, value) =
                word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
            let time = |otherwise: Duration| value.map_or(Ok(otherwise), |text| span(word, text)).map(Some);
            match (name, value) {
                ("noise", value) => faults.noise_ppm = share(word, value.unwrap_or("0.001"))?,
                ("unplug", _) => faults.unplug = time(Duration::from_secs(30))?,
                ("clock-jump", _) => faults.clock_jump = time(Duration::from_secs(3600))?,
                ("half-frames", None) => faults.half_frames = true,
                ("nak", None) => faults.nak = true,
                ("duplicate", None) => faults.duplicate = true,
                ("slow", None) => faults.slow = true,
                ("drop-ack", None) => faults.drop_ack = true,
                ("burst", None) => faults.burst = true,
                _ => return Err(FaultError::Unknown(word.into())),
            }
        }
        Ok(faults)
    }
}

/// A decimal between 0 and 1 → parts of a million.
fn share(word: &str, text: &str) -> Result<u64, FaultError> {
    let wrong = || FaultError::Share(word.into());
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if part.len() > 6 || !matches!(whole, "" | "0" | "1") {
        return Err(wrong());
    }
    let ppm: u64 = format!("{whole}{part:0<6}").parse().map_err(|_| wrong())?;
    if ppm > 1_000_000 { Err(wrong()) } else { Ok(ppm) }
}

fn span(word: &str, text: &str) -> Result<Duration, FaultError> {
    let wrong = || FaultError::Time(word.into());
    let (number, unit) = text.split_at(text.len() - text.chars().last().map_or(0, char::len_utf8));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = number.checked_mul(seconds).filter(|seconds| (1..=366 * 86_400).contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(wrong)
}

/// How long an unplugged line is away; it is back for the whole time between two of them.
const AWAY: Duration = Duration::from_secs(3);

/// Faults as they come and go on one line.
#[derive(Clone, Debug)]
pub struct FaultyLine {
    pub faults: Faults,
    dice: Dice,
    next_unplug: Option<Duration>,
}

impl FaultyLine {
    /// The same seed gives the same faults.
    pub fn new(faults: Faults, seed: u64) -> Self {
        Self { next_unplug: faults.unplug, faults, dice: Dice(seed ^ 0x5eed) }
    }

    /// What of a write reaches the line, in pieces with a pause after each.
    pub fn sent(&mut self, mut bytes: Vec<u8>) -> Vec<(Vec<u8>, Duration)> {
        if self.faults.noise_ppm > 0 {
            for byte in &mut bytes {
                if self.dice.below(1_000_000) < self.faults.noise_ppm {
                    *byte ^= u8::try_from(1 + self.dice.below(255)).unwrap_or(1);
                }
            }
        }
        if self.faults.half_frames && bytes.len() > 1 && self.dice.below(20) == 0 {
            bytes.truncate(bytes.len() / 2);
        }
        if !self.faults.slow {
            return vec![(bytes, Duration::ZERO)];
        }
        let mut pieces = Vec::new();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let size = usize::try_from(1 + self.dice.below(8)).unwrap_or(1).min(rest.len());
            let (piece, after) = rest.split_at(size);
            pieces.push((piece.to_vec(), Duration::from_millis(self.dice.below(20))));
            rest = after;
        }
        pieces
    }

    /// What of the box's answer reaches the device.
    pub fn heard(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.faults.drop_ack && self.dice.below(20) == 0 {
            return Vec::new();
        }
        if !self.faults.nak || self.dice.below(20) != 0 {
            return bytes.to_vec();
        }
        match bytes {
            // ACK of a serial protocol.
            [0x06] => vec![0x15],
            _ => refused(bytes),
        }
    }

    /// Whether the line goes away now; for how long.
    pub fn unplugged(&mut self, now: Duration) -> Option<Duration> {
        let due = self.next_unplug.filter(|due| now >= *due)?;
        self.next_unplug = self.faults.unplug.map(|every| due.max(now) + AWAY + every);
        Some(AWAY)
    }
}

/// An HL7 or POCT1-A answer that says the opposite.
fn refused(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (yes, no) in
        [(&b"MSA|AA"[..], &b"MSA|AE"[..]), (b"MSA|CA", b"MSA|CE"), (b"type_cd V=\"AA\"", b"type_cd V=\"AE\"")]
    {
        if let Some(at) = memchr::memmem::find(&bytes, yes)
            && let Some(place) = bytes.get_mut(at..at + no.len())
        {
            place.copy_from_slice(no);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_as_they_are_written_and_a_wrong_word_names_those_there_are() {
        let faults: Faults = "noise=0.01, half-frames,unplug=30s,clock-jump=1h,burst".parse().unwrap();
        assert_eq!(faults.noise_ppm, 10_000);
        assert_eq!(
            (faults.unplug, faults.clock_jump),
            (Some(Duration::from_secs(30)), Some(Duration::from_secs(3600)))
        );
        assert!(faults.half_frames && faults.burst && !faults.nak);
        assert_eq!("".parse(), Ok(Faults::default()));
        let said = |text: &str| text.parse::<Faults>().unwrap_err().to_string();
        assert!(said("noize").contains("there are: noise"));
        assert!(said("nak=3").contains("nak=3"));
        for wrong in ["noise=2", "noise=x", "noise=0.0000001", "noise=1.5"] {
            assert!(said(wrong).contains("between 0 and 1"), "{wrong}");
        }
        for wrong in ["unplug=", "unplug=5", "unplug=0s", "clock-jump=1y", "unplug=é"] {
            assert!(said(wrong).contains("30s"), "{wrong}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_faults_and_another_seed_others() {
        let all: Faults = "noise=0.2,half-frames,slow".parse().unwrap();
        let run = |seed| {
            let mut line = FaultyLine::new(all.clone(), seed);
            (0..20).map(|_| line.sent(b"0123456789".to_vec())).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        let mut clean = FaultyLine::new(Faults::default(), 1);
        assert_eq!(clean.sent(b"abc".to_vec()), [(b"abc".to_vec(), Duration::ZERO)]);
        assert_eq!(clean.heard(b"\x06"), b"\x06");
        assert_eq!(clean.unplugged(Duration::from_secs(9999)), None);
    }

    #[test]
    fn answers_are_turned_round_or_dropped_and_the_line_goes_away_in_its_time() {
        let mut line = FaultyLine::new("nak,drop-ack,unplug=30s".parse().unwrap(), 7);
        let heard: Vec<_> = (0..1000).map(|_| line.heard(b"\x06")).collect();
        assert!([&b""[..], b"\x06", b"\x15"].iter().all(|one| heard.iter().any(|heard| heard == one)));
        assert_eq!(refused(b"MSH|\rMSA|AA|1\r"), b"MSH|\rMSA|AE|1\r");
        assert_eq!(line.unplugged(Duration::from_secs(29)), None);
        assert_eq!(line.unplugged(Duration::from_secs(31)), Some(Duration::from_secs(3)));
        assert_eq!(line.unplugged(Duration::from_secs(63)), None, "it is back for 30 s");
        assert_eq!(line.unplugged(Duration::from_secs(64)), Some(Duration::from_secs(3)));
    }
}
