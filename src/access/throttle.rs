//! The brake on guessing: a few tries at once, then ever longer waits, by account and by address.
//!
//! A try is counted before its password is checked and forgiven when it was right, so that many at once get no
//! more than one after the other. Tries over the network never slow down a log-in from the box itself: the
//! account is counted apart for loopback, so nobody on the network can lock the console out.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use super::policy::neighbourhood;
use crate::clock::Timestamp;

/// Tries without a wait.
const FAST: u32 = 5;
/// Longest wait.
const WAIT_MAX: Duration = Duration::from_secs(15 * 60);
/// After this long without a try, all is forgotten.
const FORGET: Duration = Duration::from_secs(12 * 60 * 60);
/// Accounts and addresses remembered at once; the least suspicious makes room.
const KEYS_MAX: usize = 4096;

/// Too many tries: come back after this long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many tries; wait {} s", .0.as_secs())]
pub struct Throttled(pub Duration);

/// Counts tries. Pure: time comes in, nothing goes out.
#[derive(Debug, Default)]
pub struct Throttle {
    strikes: HashMap<Key, Strikes>,
    /// Account names are kept only as a keyed hash: people type passwords into the wrong field.
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Account { name: u64, from_the_box: bool },
    Address(IpAddr),
}

#[derive(Clone, Copy, Debug)]
struct Strikes {
    count: u32,
    last: Timestamp,
    until: Timestamp,
}

impl Throttle {
    /// Takes a try into account, or says how long to wait. A refused try does not lengthen the wait.
    pub fn begin(&mut self, account: &str, address: IpAddr, now: Timestamp) -> Result<(), Throttled> {
        let keys = self.keys(account, address);
        let wait = keys.iter().filter_map(|key| self.wait(*key, now)).max();
        if let Some(wait) = wait {
            return Err(Throttled(wait));
        }
        for key in keys {
            self.strike(key, now);
        }
        Ok(())
    }

    /// The try was right: what was counted for this account and address is forgiven.
    pub fn succeeded(&mut self, account: &str, address: IpAddr) {
        for key in self.keys(account, address) {
            self.strikes.remove(&key);
        }
    }

    fn keys(&self, account: &str, address: IpAddr) -> [Key; 2] {
        let name = self.hasher.hash_one(account);
        [Key::Account { name, from_the_box: address.is_loopback() }, Key::Address(neighbourhood(address, 32))]
    }

    fn wait(&self, key: Key, now: Timestamp) -> Option<Duration> {
        let strikes = self.strikes.get(&key)?;
        let left = strikes.until.since(now);
        // A clock set back must not turn a wait of minutes into one of years.
        (left > Duration::ZERO && now.since(strikes.last) < FORGET).then_some(left.min(WAIT_MAX))
    }

    fn strike(&mut self, key: Key, now: Timestamp) {
        if !self.strikes.contains_key(&key) {
            self.make_room(now);
        }
        let strikes = self.strikes.entry(key).or_insert(Strikes { count: 0, last: now, until: now });
        if now.since(strikes.last) >= FORGET {
            strikes.count = 0;
        }
        strikes.count = strikes.count.saturating_add(1);
        strikes.last = now;
        strikes.until = match strikes.count.checked_sub(FAST) {
            None => now,
            // 1 s after the fifth try, then twice as long each time.
            Some(over) => now.plus(Duration::from_secs(1 << over.min(20)).min(WAIT_MAX)),
        };
    }

    fn make_room(&mut self, now: Timestamp) {
        if self.strikes.len() < KEYS_MAX {
            return;
        }
        self.strikes.retain(|_, strikes| now.since(strikes.last) < FORGET);
        if self.strikes.len() >= KEYS_MAX
            && let Some(mildest) = self
                .strikes
                .iter()
                .min_by_key(|(_, strikes)| (strikes.count, strikes.last))
                .map(|(key, _)| *key)
        {
            self.strikes.remove(&mildest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WARD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));
    const BOX: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000, true)
    }

    fn address(last: u32) -> IpAddr {
        IpAddr::V4((0x0a01_0000 + last).into())
    }

    #[test]
    fn five_tries_are_fast_and_then_each_wait_is_twice_the_last() {
        let mut throttle = Throttle::default();
        for _ in 0..5 {
            throttle.begin("anna", WARD, at(0)).unwrap();
        }
        let mut now = 0;
        for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            assert_eq!(throttle.begin("anna", WARD, at(now)), Err(Throttled(Duration::from_secs(wait))));
            now += i64::try_from(wait).unwrap();
            throttle.begin("anna", WARD, at(now)).unwrap();
        }
    }

    #[test]
    fn two_hundred_tries_at_once_let_five_through() {
        let mut throttle = Throttle::default();
        let passed = (0..200).filter(|_| throttle.begin("anna", WARD, at(0)).is_ok()).count();
        assert_eq!(passed, 5);
    }

    #[test]
    fn one_account_is_guarded_against_many_addresses_and_many_accounts_against_one_address() {
        let mut throttle = Throttle::default();
        let passed = (0..50).filter(|n| throttle.begin("anna", address(*n), at(0)).is_ok()).count();
        assert_eq!(passed, 5);
        let mut throttle = Throttle::default();
        let passed = (0..50).filter(|n| throttle.begin(&format!("user{n}"), WARD, at(0)).is_ok()).count();
        assert_eq!(passed, 5);
        let mut throttle = Throttle::default();
        let one_host = |n: u32| format!("2001:db8::{n:x}").parse::<IpAddr>().unwrap();
        let passed =
            (0..50).filter(|n| throttle.begin(&format!("user{n}"), one_host(*n), at(0)).is_ok()).count();
        assert_eq!(passed, 5, "an IPv6 /64 is one address");
    }

    #[test]
    fn tries_over_the_network_never_lock_the_console_out() {
        let mut throttle = Throttle::default();
        for n in 0..100 {
            throttle.begin("anna", address(n), at(0)).ok();
        }
        assert!(throttle.begin("anna", WARD, at(0)).is_err());
        assert_eq!(throttle.begin("anna", BOX, at(0)), Ok(()));
    }

    #[test]
    fn a_right_password_forgives_and_half_a_day_forgets() {
        let mut throttle = Throttle::default();
        for _ in 0..5 {
            throttle.begin("anna", WARD, at(0)).unwrap();
        }
        throttle.succeeded("anna", WARD);
        for _ in 0..5 {
            throttle.begin("anna", WARD, at(0)).unwrap();
        }
        let later = at(13 * 60 * 60);
        for _ in 0..5 {
            throttle.begin("anna", WARD, later).unwrap();
        }
        assert!(throttle.begin("anna", WARD, later).is_err());
    }

    #[test]
    fn a_clock_set_back_never_makes_a_wait_longer_than_the_longest() {
        let mut throttle = Throttle::default();
        for _ in 0..5 {
            throttle.begin("anna", WARD, at(1_000_000)).unwrap();
        }
        assert_eq!(throttle.begin("anna", WARD, at(0)), Err(Throttled(WAIT_MAX)));
    }

    #[test]
    fn a_flood_of_names_takes_bounded_memory_and_does_not_free_the_guessed_account() {
        let mut throttle = Throttle::default();
        for _ in 0..5 {
            throttle.begin("anna", WARD, at(0)).unwrap();
        }
        for n in 0..10_000 {
            throttle.begin(&format!("user{n}"), address(n), at(0)).ok();
        }
        assert!(throttle.strikes.len() <= KEYS_MAX);
        assert!(throttle.begin("anna", address(99_999), at(0)).is_err());
    }
}
