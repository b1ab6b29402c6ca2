//! What another system says of a person it knows, and which roles their groups come to here.

use std::collections::BTreeMap;

/// A person another system vouches for.
#[derive(Clone, PartialEq, Eq)]
pub struct Vouched {
    /// `oidc` or `ldap`.
    pub source: &'static str,
    /// Who it is over there, and stays when the name changes: issuer and subject, or the entry's name.
    pub subject: String,
    /// As it was said; not checked yet.
    pub username: String,
    /// Names of the roles their groups give, at least one; which of them counts says [`super::Config::chosen`].
    pub roles: Vec<String>,
    /// A second factor was proven over there.
    pub factor: bool,
}

impl std::fmt::Debug for Vouched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vouched({}, {:?})", self.source, self.roles)
    }
}

/// The roles of somebody in these groups, each once. None: no way in.
pub fn roles_of<'a>(
    roles: &BTreeMap<String, String>,
    groups: impl IntoIterator<Item = &'a str>,
    same: impl Fn(&str, &str) -> bool,
) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for group in groups {
        for (_, role) in roles.iter().filter(|(name, _)| same(name, group)) {
            if !found.contains(role) {
                found.push(role.clone());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_gives_its_role_once_and_no_group_is_no_role() {
        let roles = [("nurses", "clinician"), ("wards", "clinician"), ("icu", "icu-nurse")];
        let roles: BTreeMap<String, String> = roles.map(|(group, role)| (group.into(), role.into())).into();
        let of = |groups: &[&str]| roles_of(&roles, groups.iter().copied(), |a, b| a == b);
        assert_eq!(of(&["nurses", "icu", "wards", "all"]), ["clinician", "icu-nurse"]);
        assert!(of(&["Nurses", ""]).is_empty() && of(&[]).is_empty());
    }
}
