//! LDAP and Active Directory, what is decided without asking: how a directory may be reached, what is searched for
//! (RFC 4515 with everything a person typed escaped), and which roles an entry comes to.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::password::{PASSWORD_MAX, USERNAME_MAX};
use super::vouched::{Vouched, roles_of};

/// Where the name goes in a filter.
const NAME: &str = "{username}";
/// Where the found entry's name goes in the filter for groups.
const ENTRY: &str = "{dn}";
/// Most groups of one person that are looked at.
pub const GROUPS_MAX: usize = 1000;

/// The `[access.ldap]` section.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `ldaps://host`, or `ldap://host` with `starttls = true`.
    pub url: String,
    #[serde(default)]
    pub starttls: bool,
    /// Authority of the directory's certificate (PEM), in place of those this system trusts.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The account the box searches with.
    pub bind_dn: String,
    /// Name of the secret with its password.
    pub bind_password: String,
    /// Where people are searched for, e.g. `ou=people,dc=clinic,dc=example`.
    pub base: String,
    /// `{username}` stands for what was typed, escaped. Active Directory:
    /// `(&(objectCategory=person)(sAMAccountName={username}))`.
    #[serde(default = "default_filter")]
    pub filter: String,
    /// The attribute of a person that names the groups.
    #[serde(default = "default_member_of")]
    pub member_of: String,
    /// Where groups are searched for besides, in directories without such an attribute …
    #[serde(default)]
    pub group_base: Option<String>,
    /// … and how: `{dn}` stands for the person's entry, escaped.
    #[serde(default = "default_group_filter")]
    pub group_filter: String,
    /// The attribute that becomes the user name.
    #[serde(default = "default_user_attribute")]
    pub user_attribute: String,
    /// Group (its distinguished name) → role: one of the box's five or one of `[access.roles]`. Who is in none has no
    /// way in.
    pub roles: BTreeMap<String, String>,
}

fn default_filter() -> String {
    "(&(objectClass=person)(uid={username}))".into()
}
fn default_member_of() -> String {
    "memberOf".into()
}
fn default_group_filter() -> String {
    "(&(objectClass=groupOfNames)(member={dn}))".into()
}
fn default_user_attribute() -> String {
    "uid".into()
}

impl Config {
    /// What is wrong with it, in a sentence.
    pub fn check(&self) -> Result<(), String> {
        let encrypted = match self.url.split_once("://") {
            Some(("ldaps", host)) => !host.is_empty(),
            Some(("ldap", host)) => !host.is_empty() && self.starttls,
            _ => false,
        };
        if !encrypted {
            return Err("url is ldaps://…, or ldap://… with starttls = true: passwords go over it".into());
        }
        if self.bind_dn.is_empty() || self.base.is_empty() {
            return Err("bind_dn and base may not be empty".into());
        }
        if !self.filter.contains(NAME) || ldap3::parse_filter(person_filter(self, "x")).is_err() {
            return Err(format!("filter is an LDAP filter with {NAME} in it"));
        }
        if !self.group_filter.contains(ENTRY) || ldap3::parse_filter(group_filter(self, "x")).is_err() {
            return Err(format!("group_filter is an LDAP filter with {ENTRY} in it"));
        }
        if self.roles.is_empty() {
            return Err("roles: without a group that has a role nobody can log in".into());
        }
        Ok(())
    }
}

/// What is searched for when somebody typed this name.
pub fn person_filter(config: &Config, username: &str) -> String {
    config.filter.replace(NAME, &ldap3::ldap_escape(username))
}

/// What is searched for to find the groups of this entry.
pub fn group_filter(config: &Config, dn: &str) -> String {
    config.group_filter.replace(ENTRY, &ldap3::ldap_escape(dn))
}

/// Whether a directory is asked at all: a bind without a password succeeds in most directories without having
/// proven anything (RFC 4513 §5.1.2).
pub fn worth_asking(username: &str, password: &str) -> bool {
    let name = username.chars().take(USERNAME_MAX + 1).count();
    let length = password.chars().take(PASSWORD_MAX + 1).count();
    (1..=USERNAME_MAX).contains(&name)
        && (1..=PASSWORD_MAX).contains(&length)
        && !username.chars().any(char::is_control)
        && !password.contains('\0')
}

/// Whom an entry vouches for, once its password was right.
pub fn vouched(config: &Config, dn: &str, username: &str, groups: &[String]) -> Option<Vouched> {
    // Distinguished names are compared without case and without spaces around their commas (RFC 4517 §4.2.15, near
    // enough for names the same directory wrote).
    let plain = |dn: &str| dn.split(',').map(|part| part.trim().to_lowercase()).collect::<Vec<_>>().join(",");
    let roles = roles_of(&config.roles, groups.iter().take(GROUPS_MAX).map(String::as_str), |name, group| {
        plain(name) == plain(group)
    });
    let subject = plain(dn);
    (!roles.is_empty()).then(|| Vouched {
        source: "ldap",
        subject,
        username: username.into(),
        roles,
        factor: false,
    })
}

/// For the fuzzing rig: whatever is typed as a name, the filter stays one comparison of one attribute.
pub(super) fn fuzz(bytes: &[u8]) {
    let Ok(typed) = std::str::from_utf8(bytes) else { return };
    let escaped = ldap3::ldap_escape(typed);
    let mut rest = escaped.chars();
    while let Some(c) = rest.next() {
        assert!(!matches!(c, '*' | '(' | ')' | '\0'), "{c:?} is not escaped");
        if c == '\\' {
            let two = [rest.next(), rest.next()];
            assert!(two.iter().all(|c| c.is_some_and(|c| c.is_ascii_hexdigit())));
        }
    }
    assert!(ldap3::parse_filter(format!("(uid={escaped})")).is_ok() || typed.is_empty());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        toml::from_str(
            "url = \"ldaps://dc.example\"\nbind_dn = \"cn=box\"\nbind_password = \"ldap\"\nbase = \"ou=people\"\n\
             roles = { \"cn=nurses,ou=groups\" = \"clinician\", \"CN=IT, OU=Groups\" = \"admin\" }",
        )
        .unwrap()
    }

    #[test]
    fn passwords_go_over_no_line_that_others_could_read() {
        assert_eq!(config().check(), Ok(()));
        let over = |url: &str, starttls| Config { url: url.into(), starttls, ..config() }.check();
        assert!(over("ldap://dc.example", true).is_ok());
        for (url, starttls) in [
            ("ldap://dc.example", false),
            ("ldapi:///x", true),
            ("http://dc", true),
            ("ldaps://", false),
            ("dc", true),
        ] {
            assert!(over(url, starttls).is_err(), "{url}");
        }
    }

    #[test]
    fn what_somebody_types_never_becomes_a_part_of_the_filter() {
        assert_eq!(person_filter(&config(), "anna"), "(&(objectClass=person)(uid=anna))");
        let tricks = ["*)(uid=*", "*", "anna)(|(uid=*))", "\\2a", "a\0b", "(&)", "{username}", "é*ü"];
        for typed in tricks {
            let filter = person_filter(&config(), typed);
            assert_eq!(filter.matches('(').count(), 3, "{filter}");
            assert!(!filter.contains('*') && !filter.contains('\0'), "{filter}");
            assert!(ldap3::parse_filter(&filter).is_ok(), "{filter}");
            fuzz(typed.as_bytes());
        }
        assert!(group_filter(&config(), "cn=a(b)*,ou=x").contains("cn=a\\28b\\29\\2a"));
    }

    #[test]
    fn a_directory_is_not_asked_without_a_password() {
        assert!(worth_asking("anna", "x"));
        for (name, password) in [("anna", ""), ("", "x"), ("anna", "\0"), ("an\nna", "x")] {
            assert!(!worth_asking(name, password));
        }
        assert!(!worth_asking(&"a".repeat(65), "x") && !worth_asking("anna", &"x".repeat(257)));
    }

    #[test]
    fn the_groups_of_an_entry_come_to_a_role_or_to_nothing() {
        let of = |groups: &[&str]| {
            let groups: Vec<String> = groups.iter().map(|group| (*group).to_string()).collect();
            vouched(&config(), "uid=Anna, ou=People", "anna", &groups)
        };
        let nurse = of(&["cn=all,ou=groups", "CN=Nurses,OU=Groups"]).unwrap();
        assert_eq!(
            (nurse.roles.as_slice(), nurse.subject.as_str(), nurse.factor),
            (&["clinician".to_string()][..], "uid=anna,ou=people", false)
        );
        assert_eq!(of(&["cn=it,ou=groups", "cn=nurses,ou=groups"]).unwrap().roles, ["admin", "clinician"]);
        assert!(of(&["cn=nurses"]).is_none() && of(&[]).is_none());
    }

    #[test]
    fn a_filter_that_is_none_is_refused_at_the_start() {
        for filter in ["uid=x", "(uid=anna)", "(uid={username}", "((uid={username}))"] {
            assert!(Config { filter: filter.into(), ..config() }.check().is_err(), "{filter}");
        }
        assert!(Config { group_filter: "(member=x)".into(), ..config() }.check().is_err());
        assert!(Config { roles: BTreeMap::new(), ..config() }.check().is_err());
    }
}
