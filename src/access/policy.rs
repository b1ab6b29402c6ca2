//! `[access]`: who needs a second factor, how long a session lasts, when to ask again, and who else may vouch.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use serde::Deserialize;

use super::grants::Grants;
use super::role::Role;
use super::session::Limits;
use super::{ldap, oidc};
use crate::clock::Timestamp;

/// The `[access]` section of `bedside.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Roles that must have a second factor; whoever else has one is asked for it too.
    pub second_factor: Vec<Role>,
    /// Minutes after which an unused session is over.
    pub idle_min: u32,
    /// Hours after which a session is over in any case.
    pub life_h: u32,
    /// Minutes a break-glass lasts when nobody says how many.
    pub break_glass_min: u32,
    pub step_up: StepUp,
    /// Roles of the clinic's own, by name: given to a user, one stands in place of what the user's role may.
    pub roles: BTreeMap<String, OwnRole>,
    /// An OpenID Connect provider that may vouch for users.
    pub oidc: Option<oidc::Config>,
    /// An LDAP directory that may vouch for users.
    pub ldap: Option<ldap::Config>,
}

/// `[access.roles.NAME]`: exactly what may be done, where, and on which devices. What is not listed is refused.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnRole {
    /// Words as [`super::Permission::word`] has them.
    pub permissions: Vec<String>,
    /// As [`Grants::places`].
    #[serde(default)]
    pub places: Option<Vec<String>>,
    /// As [`Grants::devices`].
    #[serde(default)]
    pub devices: Option<Vec<String>>,
}

impl OwnRole {
    fn grants(&self) -> Grants {
        Grants {
            places: self.places.clone(),
            devices: self.devices.clone(),
            permissions: Some(self.permissions.clone()),
            own_role: None,
            from_group: false,
        }
    }
}

/// `[access.step_up]`: when a session must prove again who it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StepUp {
    /// The session comes from another network (IPv4 /24, IPv6 /64) than when it was proven.
    pub new_network: bool,
    /// The session comes from another browser than when it was proven.
    pub unknown_device: bool,
    /// A risky action needs a proof not older than so many minutes; 0: never.
    pub risky_after_min: u32,
    /// Days a browser is remembered whose user asked for it when they proved a second factor there: a log-in from it, in
    /// the same network where `new_network` says so, is not asked for the factor; a risky action still is. 0: none is
    /// remembered.
    pub remember_days: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            second_factor: vec![Role::Admin],
            idle_min: 30,
            life_h: 12,
            break_glass_min: 60,
            step_up: StepUp::default(),
            roles: BTreeMap::new(),
            oidc: None,
            ldap: None,
        }
    }
}

impl Default for StepUp {
    fn default() -> Self {
        Self { new_network: true, unknown_device: true, risky_after_min: 15, remember_days: 0 }
    }
}

impl Config {
    /// What is wrong with it: the key and a sentence.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        // NIST SP 800-63B AAL2: 30 minutes idle, 12 hours in all. Less is the clinic's choice, more is not.
        if !(1..=30).contains(&self.idle_min) {
            return Err(("idle_min", "idle_min is 1 to 30 minutes".into()));
        }
        if !(1..=12).contains(&self.life_h) {
            return Err(("life_h", "life_h is 1 to 12 hours".into()));
        }
        if !(1..=BREAK_GLASS_MAX_MIN).contains(&self.break_glass_min) {
            let detail = format!("break_glass_min is 1 to {BREAK_GLASS_MAX_MIN} minutes");
            return Err(("break_glass_min", detail));
        }
        if self.step_up.risky_after_min > 720 {
            return Err(("step_up", "risky_after_min is 0 (never asked) to 720 minutes".into()));
        }
        if self.step_up.remember_days > 90 {
            return Err(("step_up", "remember_days is 0 (never) to 90 days".into()));
        }
        for (name, own) in &self.roles {
            if name.is_empty() || name.chars().count() > ROLE_NAME_MAX || Role::parse(name).is_some() {
                let detail = format!(
                    "[access.roles.{name}]: a name of 1 to {ROLE_NAME_MAX} characters, none of the box's"
                );
                return Err(("roles", detail));
            }
            own.grants().check().map_err(|why| ("roles", format!("[access.roles.{name}]: {why}")))?;
        }
        self.oidc.as_ref().map_or(Ok(()), oidc::Config::check).map_err(|why| ("oidc", why))?;
        self.ldap.as_ref().map_or(Ok(()), ldap::Config::check).map_err(|why| ("ldap", why))?;
        let mapped = [
            ("oidc", self.oidc.as_ref().map(|oidc| &oidc.roles)),
            ("ldap", self.ldap.as_ref().map(|ldap| &ldap.roles)),
        ];
        for (section, roles) in mapped {
            self.known(section, roles.into_iter().flatten()).map_err(|why| (section, why))?;
        }
        Ok(())
    }

    /// Whether every role that groups give is there.
    fn known<'a>(
        &self,
        section: &str,
        mut roles: impl Iterator<Item = (&'a String, &'a String)>,
    ) -> Result<(), String> {
        let Some((group, role)) = roles.find(|(_, role)| self.weight(role).is_none()) else { return Ok(()) };
        let own = self.roles.keys().map(|name| format!(", {name}")).collect::<String>();
        let boxes = Role::ALL.map(Role::as_str).join(", ");
        Err(format!(
            "[access.{section}] roles: \"{group}\" gives \"{role}\", and there is no such role: there are {boxes}{own} ([access.roles.NAME] makes one)"
        ))
    }

    /// How much a role may: permissions, then whether everywhere, then whether it is one of the box's.
    fn weight(&self, name: &str) -> Option<(usize, bool, bool)> {
        match (Role::parse(name), self.roles.get(name)) {
            (Some(role), _) => Some((role.permissions().words().len(), true, true)),
            (None, Some(own)) => {
                let grants = own.grants();
                let may = grants.permissions(Role::Admin).words().len();
                Some((may, !grants.is_limited(), false))
            }
            (None, None) => None,
        }
    }

    /// Of the roles that groups give, the one that may most counts: a role of the box, and the clinic's own that stands in
    /// its place. `None`: none of them is here any more.
    ///
    /// An own role stands on the least role of the box that may all of it, so that the second factor is asked for that
    /// role's sake.
    pub fn chosen(&self, names: &[String]) -> Option<(Role, Option<String>)> {
        let weighed = names.iter().filter_map(|name| Some((self.weight(name)?, std::cmp::Reverse(name))));
        let (_, std::cmp::Reverse(name)) = weighed.max()?;
        if let Some(role) = Role::parse(name) {
            return Some((role, None));
        }
        let wanted = self.roles.get(name)?.grants().permissions(Role::Admin);
        let enough = Role::ALL.into_iter().filter(|role| wanted.beyond(role.permissions()).is_empty());
        let least = enough.min_by_key(|role| role.permissions().words().len()).unwrap_or(Role::Admin);
        Some((least, Some(name.clone())))
    }

    /// What was granted to a user, with the clinic's own role they have; one that is not there any more grants nothing.
    pub fn granted(&self, grants: Grants) -> Grants {
        match &grants.own_role {
            None => grants,
            Some(name) => {
                let mut found = self.roles.get(name).map_or_else(Grants::nothing, OwnRole::grants);
                if grants.from_group && !found.is_limited() {
                    (found.places, found.devices) = (grants.places, grants.devices);
                }
                Grants { own_role: grants.own_role, from_group: grants.from_group, ..found }
            }
        }
    }

    /// Whether a user of this role must have a second factor.
    pub fn wants_factor(&self, role: Role) -> bool {
        self.second_factor.contains(&role)
    }

    /// How long a session lasts.
    pub fn limits(&self) -> Limits {
        Limits {
            idle: Duration::from_secs(u64::from(self.idle_min) * 60),
            life: Duration::from_secs(u64::from(self.life_h) * 3600),
        }
    }
}

/// Characters of the name of a role of the clinic's own.
const ROLE_NAME_MAX: usize = 40;
/// Longest break-glass.
pub const BREAK_GLASS_MAX_MIN: u32 = 240;

/// When and from where a session was proven.
#[derive(Clone, Copy, Debug)]
pub struct Proof<'a> {
    pub at: Timestamp,
    /// Address as it was written down; one that cannot be read is another network.
    pub from: &'a str,
    /// The browser's name of itself.
    pub agent: &'a str,
}

/// Why a session must prove again who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    Network,
    Device,
    Risk,
}

impl Doubt {
    /// For the person, and for the trail.
    pub const fn why(self) -> &'static str {
        match self {
            Self::Network => "you are on another network than when you logged in",
            Self::Device => "this is another browser than the one that logged in",
            Self::Risk => "this action needs a fresh proof of who you are",
        }
    }
}

impl StepUp {
    /// Whether a request of a proven session must be proven again.
    pub fn doubts(
        &self,
        proof: Proof<'_>,
        peer: IpAddr,
        agent: &str,
        risky: bool,
        now: Timestamp,
    ) -> Option<Doubt> {
        let network = |address: IpAddr| neighbourhood(address, 24);
        let elsewhere = || proof.from.parse().map(network) != Ok(network(peer));
        if self.new_network && elsewhere() {
            return Some(Doubt::Network);
        }
        if self.unknown_device && proof.agent != agent {
            return Some(Doubt::Device);
        }
        let fresh = Duration::from_secs(u64::from(self.risky_after_min) * 60);
        // A proof of the future is one before the clock was set back: nobody can say how old it is.
        let stale = now.since(proof.at) >= fresh || proof.at.micros > now.micros;
        (risky && self.risky_after_min > 0 && stale).then_some(Doubt::Risk)
    }
}

/// The network of an address: one host may own a whole IPv6 /64; of IPv4 so many bits count.
pub(super) fn neighbourhood(address: IpAddr, v4_bits: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(v4_bits)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_micros(minutes * 60_000_000, true)
    }

    fn doubt(rules: &StepUp, peer: &str, agent: &str, risky: bool, minute: i64) -> Option<Doubt> {
        let proof = Proof { at: at(100), from: "10.0.7.9", agent: "Fox 1" };
        rules.doubts(proof, peer.parse().unwrap(), agent, risky, at(minute))
    }

    #[test]
    fn a_session_is_asked_again_where_the_rules_say_so() {
        let all = StepUp::default();
        assert_eq!(doubt(&all, "10.0.7.200", "Fox 1", false, 100), None, "a neighbour is the same network");
        assert_eq!(doubt(&all, "::ffff:10.0.7.200", "Fox 1", true, 114), None);
        assert_eq!(doubt(&all, "10.0.8.9", "Fox 1", false, 100), Some(Doubt::Network));
        assert_eq!(doubt(&all, "2001:db8::1", "Fox 1", false, 100), Some(Doubt::Network));
        assert_eq!(doubt(&all, "10.0.7.9", "Fox 2", false, 100), Some(Doubt::Device));
        assert_eq!(doubt(&all, "10.0.7.9", "Fox 1", true, 115), Some(Doubt::Risk));
        assert_eq!(doubt(&all, "10.0.7.9", "Fox 1", true, 99), Some(Doubt::Risk), "the clock was set back");
        assert_eq!(doubt(&all, "10.0.7.9", "Fox 1", false, 700), None, "looking is not risky");
    }

    #[test]
    fn a_rule_that_is_off_asks_nothing() {
        let none = StepUp { new_network: false, unknown_device: false, risky_after_min: 0, remember_days: 0 };
        assert_eq!(doubt(&none, "192.0.2.1", "other", true, 10_000), None);
        let odd = Proof { at: at(0), from: "not an address", agent: "" };
        let peer = "10.0.0.1".parse().unwrap();
        assert_eq!(StepUp::default().doubts(odd, peer, "", false, at(0)), Some(Doubt::Network));
    }

    #[test]
    fn a_role_of_the_clinics_own_may_what_it_lists_where_it_lists_it_and_nothing_when_it_is_gone() {
        let text = "[roles.icu-nurse]\npermissions = [\"devices.see\", \"users.change\"]\nplaces = [\"ICU\"]";
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!(config.check(), Ok(()));
        let own = |name: &str| Grants { own_role: Some(name.into()), ..Grants::default() };
        let nurse = config.granted(own("icu-nurse"));
        assert_eq!(
            nurse.permissions(Role::Engineer).words(),
            ["session.use", "devices.see"],
            "users are for admins"
        );
        assert!(
            nurse.covers("K", Some(super::super::Place { point_of_care: Some("ICU"), ..Default::default() }))
        );
        assert!(!nurse.covers("K", None) && nurse.is_limited());
        let gone = config.granted(own("porter"));
        assert_eq!(gone.permissions(Role::Admin).words(), ["session.use"]);
        assert!(!gone.covers("K", None));
        assert_eq!(config.granted(Grants::default()), Grants::default());
        for wrong in [
            "[roles.nurse]\npermissions = [\"*\"]",
            "[roles.admin]\npermissions = []",
            "[roles.\"\"]\npermissions = []",
            "[roles.nurse]\npermissions = []\nplaces = [\" \"]",
        ] {
            assert!(toml::from_str::<Config>(wrong).unwrap().check().is_err(), "{wrong}");
        }
        assert!(toml::from_str::<Config>("[roles.nurse]\nplaces = []").is_err(), "what it may is said");
    }

    #[test]
    fn groups_give_roles_of_the_clinics_own_and_the_one_that_may_most_counts() {
        let text = "[roles.icu-nurse]\npermissions = [\"devices.see\"]\nplaces = [\"ICU\"]\n\
             [roles.keeper]\npermissions = [\"backup.make\", \"audit.read\"]\n\
             [roles.watcher]\npermissions = [\"devices.see\"]\n\
             [roles.registrar]\npermissions = [\"users.change\"]\n";
        let config: Config = toml::from_str(text).unwrap();
        let chosen =
            |names: &[&str]| config.chosen(&names.iter().map(|name| (*name).to_string()).collect::<Vec<_>>());
        let own = |role, name: &str| Some((role, Some(name.to_string())));
        assert_eq!(chosen(&["clinician", "admin", "icu-nurse"]), Some((Role::Admin, None)));
        assert_eq!(chosen(&["icu-nurse"]), own(Role::Clinician, "icu-nurse"));
        assert_eq!(chosen(&["icu-nurse", "watcher"]), own(Role::Clinician, "watcher"), "everywhere is more");
        assert_eq!(chosen(&["keeper"]), own(Role::Admin, "keeper"), "asked for the factor of admins");
        assert_eq!(chosen(&["registrar"]), own(Role::Admin, "registrar"));
        assert_eq!(chosen(&["porter"]), None, "a role that is gone lets nobody in");
        assert_eq!(chosen(&["porter", "auditor"]), Some((Role::Auditor, None)));
        let limited = Grants {
            places: Some(vec!["OR".into()]),
            own_role: Some("watcher".into()),
            from_group: true,
            ..Grants::default()
        };
        assert_eq!(config.granted(limited).places, Some(vec!["OR".into()]), "what the desk limited stays so");
    }

    #[test]
    fn a_group_that_gives_a_role_nobody_knows_is_a_fault_at_the_start() {
        let text = |role: &str| {
            format!(
                "[ldap]\nurl = \"ldaps://dc\"\nbind_dn = \"cn=box\"\nbind_password = \"p\"\nbase = \"ou=x\"\n\
                 roles = {{ \"cn=icu\" = \"{role}\" }}\n[roles.icu-nurse]\npermissions = [\"devices.see\"]\n"
            )
        };
        let check = |role: &str| toml::from_str::<Config>(&text(role)).unwrap().check();
        assert_eq!((check("icu-nurse"), check("auditor")), (Ok(()), Ok(())));
        let (section, why) = check("icu-nurses").unwrap_err();
        assert_eq!(section, "ldap");
        for word in ["\"cn=icu\"", "\"icu-nurses\"", "clinician", "icu-nurse ("] {
            assert!(why.contains(word), "{word}: {why}");
        }
    }

    #[test]
    fn limits_are_never_longer_than_the_standard_allows() {
        assert_eq!(Config::default().check(), Ok(()));
        let wrong = [
            Config { idle_min: 31, ..Config::default() },
            Config { idle_min: 0, ..Config::default() },
            Config { life_h: 13, ..Config::default() },
            Config { break_glass_min: 241, ..Config::default() },
            Config { step_up: StepUp { remember_days: 91, ..StepUp::default() }, ..Config::default() },
        ];
        for config in wrong {
            assert!(config.check().is_err());
        }
        assert!(Config::default().wants_factor(Role::Admin));
        assert!(!Config::default().wants_factor(Role::Clinician));
        let strict: Config =
            toml::from_str("second_factor = [\"admin\", \"clinician\"]\nidle_min = 10").unwrap();
        assert!(strict.wants_factor(Role::Clinician));
        assert_eq!(strict.limits().idle, Duration::from_secs(600));
        assert!(toml::from_str::<Config>("second_factor = [\"root\"]").is_err());
    }
}
