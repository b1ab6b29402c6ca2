//! How many requests one address may make: far more than people and their pages do, and few enough that one program gone
//! wild leaves the processor to the devices. A bucket of tokens for each address; an IPv6 /64 counts as one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Requests at once, and each second after that.
const BURST: u64 = 3_000;
const EACH_SECOND: u64 = 300;
/// Addresses remembered; those who asked least make room.
const ADDRESSES_MAX: usize = 4_096;
/// Tokens are counted in thousandths.
const WHOLE: u64 = 1_000;

/// The buckets.
#[derive(Debug, Default)]
pub(super) struct Pace(HashMap<IpAddr, Bucket>);

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: u64,
    filled: Instant,
}

impl Bucket {
    fn fill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.filled);
        let more = u64::try_from(since.as_millis()).unwrap_or(u64::MAX).saturating_mul(EACH_SECOND);
        if more > 0 {
            self.left = self.left.saturating_add(more).min(BURST * WHOLE);
            self.filled = now;
        }
    }
}

impl Pace {
    /// Lets a request of this address pass, or says how long to wait.
    pub(super) fn pass(&mut self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let address = neighbourhood(address);
        if !self.0.contains_key(&address) && self.0.len() >= ADDRESSES_MAX {
            self.make_room(now);
        }
        let bucket = self.0.entry(address).or_insert(Bucket { left: BURST * WHOLE, filled: now });
        bucket.fill(now);
        match bucket.left.checked_sub(WHOLE) {
            Some(left) => {
                bucket.left = left;
                Ok(())
            }
            None => Err(Duration::from_secs(1)),
        }
    }

    /// Forgets whoever has a full bucket again; else whoever has the fullest.
    fn make_room(&mut self, now: Instant) {
        for bucket in self.0.values_mut() {
            bucket.fill(now);
        }
        self.0.retain(|_, bucket| bucket.left < BURST * WHOLE);
        if self.0.len() >= ADDRESSES_MAX
            && let Some(calmest) =
                self.0.iter().max_by_key(|(_, bucket)| bucket.left).map(|(address, _)| *address)
        {
            self.0.remove(&calmest);
        }
    }
}

fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn a_flood_of_one_address_is_slowed_and_no_other_is() {
        let (mut pace, begin) = (Pace::default(), Instant::now());
        let passed = (0..10_000).filter(|_| pace.pass(address(1), begin).is_ok()).count();
        assert_eq!(passed, 3_000);
        assert!(pace.pass(address(2), begin).is_ok());
        let later = begin + Duration::from_secs(2);
        let passed = (0..10_000).filter(|_| pace.pass(address(1), later).is_ok()).count();
        assert_eq!(passed, 600);
    }

    #[test]
    fn an_ipv6_network_is_one_address_and_a_mapped_one_its_own() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let host = |n: u32| format!("2001:db8::{n:x}").parse::<IpAddr>().unwrap();
        let passed = (0..10_000).filter(|n| pace.pass(host(*n), now).is_ok()).count();
        assert_eq!(passed, 3_000);
        for _ in 0..3_000 {
            pace.pass("10.0.0.7".parse().unwrap(), now).unwrap();
        }
        assert!(pace.pass("::ffff:10.0.0.7".parse().unwrap(), now).is_err());
    }

    #[test]
    fn a_flood_of_addresses_takes_bounded_memory_and_frees_nobody() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        while pace.pass(address(1), now).is_ok() {}
        for n in 2..20_000 {
            pace.pass(address(n), now).unwrap();
        }
        assert!(pace.0.len() <= ADDRESSES_MAX);
        assert!(pace.pass(address(1), now).is_err());
    }
}
