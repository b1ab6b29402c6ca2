//! When it is asked again: at two thirds of a certificate's life, not at the same moment as every other box, with growing
//! pauses after faults, and never more than a few times an hour.

use std::time::Duration;

use crate::clock::Timestamp;

/// Tries within an hour, whoever asks for them.
pub const TRIES_PER_HOUR: usize = 5;
const HOUR: i64 = 3_600_000_000;
/// The first pause after a fault, doubled with each further one.
const PAUSE_FIRST: Duration = Duration::from_secs(15 * 60);
const PAUSE_MAX: Duration = Duration::from_secs(4 * 3600);

/// When a certificate is to be renewed: two thirds into its life, and up to a twenty-fourth of it later. `chance` (0 to
/// 65535) is the certificate's own, so that a restart does not draw again.
pub fn renew_at(not_before: Timestamp, not_after: Timestamp, chance: u16) -> Timestamp {
    let life = not_after.micros.saturating_sub(not_before.micros).max(0);
    let late = (life / 24).saturating_mul(i64::from(chance)) / i64::from(u16::MAX).max(1);
    let at = not_before.micros.saturating_add(life / 3 * 2).saturating_add(late);
    Timestamp::from_micros(at, true)
}

/// A certificate's own chance: the first bytes of its fingerprint (`AA:BB:…`).
pub fn chance(fingerprint: &str) -> u16 {
    let byte = |text: Option<&str>| text.and_then(|text| u8::from_str_radix(text, 16).ok()).unwrap_or(0);
    let mut bytes = fingerprint.split(':');
    u16::from_be_bytes([byte(bytes.next()), byte(bytes.next())])
}

/// The pause after so many faults in a row. `asked`: what the server wants at least; `left`: how long the certificate in use
/// is still valid, so that one of a day is not slept over; `chance` makes it up to a fifth longer.
pub fn pause(faults: u32, asked: Option<Duration>, left: Option<Duration>, chance: u16) -> Duration {
    let doubled =
        PAUSE_FIRST.saturating_mul(1_u32.checked_shl(faults.saturating_sub(1).min(16)).unwrap_or(1));
    let longest = left.map_or(PAUSE_MAX, |left| (left / 4).clamp(PAUSE_FIRST, PAUSE_MAX));
    let own = doubled.min(longest);
    let late = own / 5 * u32::from(chance) / u32::from(u16::MAX);
    own.saturating_add(late).max(asked.unwrap_or_default())
}

/// Whether one more try is allowed now; else when. `tries`: times of the last ones (microseconds). Times of the future are
/// of a clock that was set back, and count for nothing.
pub fn allowed(tries: &[i64], now: Timestamp) -> Result<(), Timestamp> {
    let mut recent: Vec<i64> =
        tries.iter().copied().filter(|at| *at <= now.micros && now.micros - at < HOUR).collect();
    recent.sort_unstable_by(|a, b| b.cmp(a));
    match recent.get(TRIES_PER_HOUR - 1) {
        None => Ok(()),
        Some(oldest) => Err(Timestamp::from_micros(oldest + HOUR, now.synchronised)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * HOUR;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros, true)
    }

    #[test]
    fn a_certificate_is_renewed_at_two_thirds_of_its_life_and_not_by_all_at_once() {
        for life in [DAY, 45 * DAY, 90 * DAY, 366 * DAY] {
            let early = renew_at(at(DAY), at(DAY + life), 0).micros - DAY;
            let late = renew_at(at(DAY), at(DAY + life), u16::MAX).micros - DAY;
            assert_eq!(early, life / 3 * 2);
            assert_eq!(late - early, life / 24);
            assert!(late < life);
        }
        renew_at(at(i64::MIN), at(i64::MAX), u16::MAX);
        assert_eq!(renew_at(at(7), at(3), 9).micros, 7, "one that ends before it begins");
        assert_eq!(chance("01:02:FF"), 258);
        assert_eq!(chance(""), 0);
    }

    #[test]
    fn pauses_grow_and_a_short_certificate_is_not_slept_over() {
        let minutes = |faults, left| pause(faults, None, left, 0).as_secs() / 60;
        assert_eq!(
            [1, 2, 3, 4, 5, 6, 99].map(|faults| minutes(faults, None)),
            [15, 30, 60, 120, 240, 240, 240]
        );
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
        assert_eq!(minutes(9, hours(8)), 120);
        assert_eq!(minutes(9, hours(0)), 15);
        assert_eq!(pause(1, None, None, u16::MAX), PAUSE_FIRST + PAUSE_FIRST / 5);
        assert_eq!(pause(1, hours(20), None, 0), Duration::from_secs(20 * 3600), "the server asked for it");
    }

    #[test]
    fn nobody_tries_more_often_than_a_few_times_an_hour() {
        let now = at(10 * HOUR);
        let ago = |minutes: i64| now.micros - minutes * 60_000_000;
        assert_eq!(allowed(&[], now), Ok(()));
        let five = [ago(50), ago(1), ago(2), ago(3), ago(4)];
        assert_eq!(allowed(&five, now), Err(at(ago(50) + HOUR)));
        assert_eq!(allowed(&[ago(61), ago(1), ago(2), ago(3), ago(4)], now), Ok(()));
        let future = [now.micros + 1; 9];
        assert_eq!(allowed(&future, now), Ok(()), "a clock that was set back stops nothing");
    }
}
