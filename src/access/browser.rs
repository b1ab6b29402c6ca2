//! Browsers a user has proven a second factor in: a sealed cookie remembers that, so that rules may ask for the factor
//! only where something is new. It counts for one user, while their password and second factors stay as they are.

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::policy::neighbourhood;
use super::seal::Seal;
use crate::clock::Timestamp;

/// Characters of a cookie that is looked at.
const COOKIE_MAX: usize = 512;
/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// What a cookie is bound to: it is worthless for another user, and after a change of password or factors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bond(String);

impl Bond {
    /// Of a user, the hash of their password (empty when another system keeps it) and the numbers of their factors.
    pub fn of(user: &str, password_hash: &str, factors: impl IntoIterator<Item = i64>) -> Self {
        let mut numbers: Vec<i64> = factors.into_iter().collect();
        numbers.sort_unstable();
        let mut context = Context::new(&SHA256);
        for part in [user, password_hash] {
            context.update(part.as_bytes());
            // No name and no hash has a zero byte: nothing slides from one part into the next.
            context.update(&[0]);
        }
        for number in numbers {
            context.update(&number.to_be_bytes());
        }
        Self(format!("browser:{}", URL_SAFE_NO_PAD.encode(context.finish())))
    }
}

/// The value of a cookie that says: here, now, from this network, the factor was proven.
pub fn remember(seal: &Seal, bond: &Bond, from: std::net::IpAddr, now: Timestamp) -> Option<String> {
    let plain = format!("{} {}", now.micros, neighbourhood(from, 24));
    seal.close(plain.as_bytes(), &bond.0).ok().map(|sealed| URL_SAFE_NO_PAD.encode(sealed))
}

/// Whether a cookie is of this user's, not older than so many days, and, where that is asked, of the same network.
pub fn is_known(
    seal: &Seal,
    bond: &Bond,
    cookie: &str,
    days: u32,
    same_network: Option<std::net::IpAddr>,
    now: Timestamp,
) -> bool {
    if cookie.len() > COOKIE_MAX {
        return false;
    }
    let opened = URL_SAFE_NO_PAD.decode(cookie).ok().and_then(|sealed| seal.open(&sealed, &bond.0));
    let Some(opened) = opened else { return false };
    let Some((proven, network)) = std::str::from_utf8(opened.expose()).ok().and_then(|t| t.split_once(' '))
    else {
        return false;
    };
    let Ok(proven) = proven.parse::<i64>() else { return false };
    // One of the future is from before the clock was set back: nobody can say how old it is.
    let age = now.micros.saturating_sub(proven);
    let fresh = (0..i64::from(days).saturating_mul(DAY)).contains(&age);
    fresh && same_network.is_none_or(|peer| network == neighbourhood(peer, 24).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: i64) -> Timestamp {
        Timestamp::from_micros(day * DAY, true)
    }

    #[test]
    fn a_browser_is_known_to_one_user_for_so_many_days_in_its_network() {
        let seal = Seal::new(&Seal::make_key().unwrap()).unwrap();
        let anna = Bond::of("anna", "$argon2id$1", [2, 1]);
        let home = "10.0.7.9".parse().unwrap();
        let cookie = remember(&seal, &anna, home, at(100)).unwrap();
        let known = |bond: &Bond, from: Option<&str>, day| {
            is_known(&seal, bond, &cookie, 30, from.map(|a| a.parse().unwrap()), at(day))
        };
        assert!(known(&anna, Some("10.0.7.200"), 129), "a neighbour is the same network");
        assert!(known(&anna, None, 129));
        assert!(!known(&anna, Some("10.0.8.9"), 101));
        assert!(!known(&anna, None, 130), "too old");
        assert!(!known(&anna, None, 99), "the clock was set back");
        assert!(known(&Bond::of("anna", "$argon2id$1", [1, 2]), None, 101), "in any order");
        for other in [
            Bond::of("bob", "$argon2id$1", [1, 2]),
            Bond::of("anna", "$argon2id$2", [1, 2]),
            Bond::of("anna", "$argon2id$1", [1]),
            Bond::of("anna", "$argon2id$1", [1, 2, 3]),
        ] {
            assert!(!known(&other, None, 101), "{other:?}");
        }
    }

    #[test]
    fn a_made_up_cookie_is_of_nobody() {
        let seal = Seal::new(&Seal::make_key().unwrap()).unwrap();
        let other = Seal::new(&Seal::make_key().unwrap()).unwrap();
        let bond = Bond::of("anna", "", []);
        let foreign = remember(&other, &bond, "10.0.0.1".parse().unwrap(), at(1)).unwrap();
        for cookie in ["", "=", "AAAA", &"A".repeat(5_000), &foreign] {
            assert!(!is_known(&seal, &bond, cookie, 365, None, at(1)), "{cookie}");
        }
    }
}
