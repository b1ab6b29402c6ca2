//! What a simulated device says: a text with tokens that are filled in anew for every message.
//!
//! Tokens stand in `{{ }}`: `time FORMAT` (strftime, UTC), `epoch`, `seq`, `walk MIN MAX STEP [DECIMALS]` (a
//! random walk that remembers where it was), `pick A|B|C`. A firmware-profile folder with a `simulate.tpl`
//! can be simulated without a line of Rust.

use jiff::tz::TimeZone;

use crate::clock::Timestamp;

/// A parsed template. Each walk in it keeps its own position between messages.
#[derive(Clone, Debug)]
pub struct Template {
    pieces: Vec<Piece>,
    dice: Dice,
}

#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    Time(String),
    Epoch,
    Sequence,
    Walk { at: i64, low: i64, high: i64, step: i64, decimals: usize },
    Pick(Vec<String>),
}

/// Why a template cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TemplateError {
    #[error("token \"{0}\" has no closing }}}}")]
    Unclosed(String),
    #[error("unknown token \"{0}\": use time, epoch, seq, walk or pick")]
    Unknown(String),
    #[error("token \"{0}\": walk wants MIN MAX STEP [DECIMALS] with MIN < MAX")]
    BadWalk(String),
}

impl Template {
    /// Reads a template; `seed` decides the walks, so that two simulated devices differ and a test repeats.
    pub fn parse(text: &str, seed: u64) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        let mut dice = Dice(seed | 1);
        while let Some((before, after)) = rest.split_once("{{") {
            pieces.push(Piece::Text(before.into()));
            let (token, tail) = after
                .split_once("}}")
                .ok_or_else(|| TemplateError::Unclosed(after.chars().take(20).collect()))?;
            pieces.push(token_of(token.trim(), &mut dice)?);
            rest = tail;
        }
        pieces.push(Piece::Text(rest.into()));
        Ok(Self { pieces, dice })
    }

    /// The next message: `sequence` counts messages, `now` stamps them.
    pub fn fill(&mut self, sequence: u64, now: Timestamp) -> String {
        let mut out = String::new();
        for piece in &mut self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Epoch => out.push_str(&now.micros.div_euclid(1_000_000).to_string()),
                Piece::Sequence => out.push_str(&sequence.to_string()),
                Piece::Time(format) => out.push_str(&written(now, format)),
                Piece::Walk { at, low, high, step, decimals } => {
                    let span = u64::try_from(2 * *step + 1).unwrap_or(1);
                    let move_by = i64::try_from(self.dice.below(span)).unwrap_or(0) - *step;
                    *at = (*at + move_by).clamp(*low, *high);
                    out.push_str(&fixed_point(*at, *decimals));
                }
                Piece::Pick(choices) => {
                    let index = usize::try_from(self.dice.below(choices.len() as u64)).unwrap_or(0);
                    out.push_str(choices.get(index).map_or("", String::as_str));
                }
            }
        }
        out
    }
}

fn token_of(token: &str, dice: &mut Dice) -> Result<Piece, TemplateError> {
    let (name, rest) = token.split_once(' ').unwrap_or((token, ""));
    match name {
        "time" => Ok(Piece::Time(rest.trim().into())),
        "epoch" => Ok(Piece::Epoch),
        "seq" => Ok(Piece::Sequence),
        "pick" => Ok(Piece::Pick(rest.split('|').map(|choice| choice.trim().into()).collect())),
        "walk" => walk_of(token, rest, dice),
        _ => Err(TemplateError::Unknown(token.into())),
    }
}

fn walk_of(token: &str, arguments: &str, dice: &mut Dice) -> Result<Piece, TemplateError> {
    let bad = || TemplateError::BadWalk(token.into());
    let words: Vec<&str> = arguments.split_whitespace().collect();
    let [low, high, step, more @ ..] = words.as_slice() else { return Err(bad()) };
    let decimals: usize = more.first().map_or(Ok(0), |d| d.parse()).map_err(|_| bad())?;
    let scaled = |text: &str| -> Option<i64> {
        let value: crate::device::Decimal = text.parse().ok()?;
        let power = i32::try_from(decimals).ok()? + i32::from(value.exponent);
        let mantissa = i64::try_from(value.mantissa).ok()?;
        mantissa.checked_mul(10i64.checked_pow(u32::try_from(power).ok()?)?)
    };
    match (scaled(low), scaled(high), scaled(step)) {
        (Some(low), Some(high), Some(step)) if low < high && step >= 0 && decimals <= 6 => {
            let width = u64::try_from(high - low).unwrap_or(1);
            let at = low + i64::try_from(dice.below(width)).unwrap_or(0);
            Ok(Piece::Walk { at, low, high, step, decimals })
        }
        _ => Err(bad()),
    }
}

fn written(now: Timestamp, format: &str) -> String {
    match jiff::Timestamp::from_microsecond(now.micros) {
        Ok(at) => at.to_zoned(TimeZone::UTC).strftime(format).to_string(),
        Err(_) => String::new(),
    }
}

fn fixed_point(value: i64, decimals: usize) -> String {
    crate::device::Decimal::new(i128::from(value), -i16::try_from(decimals).unwrap_or(0)).to_string()
}

/// A small repeatable source of chance (splitmix64); simulation only, never for keys.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// A number below `limit`; 0 when `limit` is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)).checked_rem(limit).unwrap_or(0)
    }
}

/// Fuzz body: any text may be a template; what parses can be filled in, and only a bug panics.
pub fn fuzz(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(mut template) = Template::parse(&text, 1) {
        let now = Timestamp::from_micros(1_773_477_000_000_000, true);
        for sequence in [0, u64::MAX] {
            template.fill(sequence, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_filled_and_the_rest_is_left_alone() {
        let mut template = Template::parse("A {{seq}} {{time %Y%m%d%H%M%S}} {{epoch}} {x}", 7).unwrap();
        let at = Timestamp::from_micros(1_700_000_000_000_000, true);
        assert_eq!(template.fill(3, at), "A 3 20231114221320 1700000000 {x}");
    }

    #[test]
    fn a_walk_stays_between_its_limits_with_its_decimals() {
        let mut template = Template::parse("{{walk 36.1 38.4 0.2 1}}", 1).unwrap();
        for n in 0..500 {
            let value: crate::device::Decimal =
                template.fill(n, Timestamp::from_micros(0, true)).parse().unwrap();
            assert_eq!(value.exponent, -1);
            assert!((361..=384).contains(&value.mantissa));
        }
    }

    #[test]
    fn a_wrong_token_is_named() {
        assert_eq!(Template::parse("{{jump}}", 1).unwrap_err(), TemplateError::Unknown("jump".into()));
        assert!(matches!(Template::parse("{{walk 5 1 1}}", 1), Err(TemplateError::BadWalk(_))));
        assert!(matches!(Template::parse("{{seq", 1), Err(TemplateError::Unclosed(_))));
    }
}
