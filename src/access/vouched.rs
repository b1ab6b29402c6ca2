//! What another system says of a person it knows, and which role that comes to here.

use std::collections::BTreeMap;

use super::role::Role;

/// A person another system vouches for.
#[derive(Clone, PartialEq, Eq)]
pub struct Vouched {
    /// `oidc` or `ldap`.
    pub source: &'static str,
    /// Who it is over there, and stays when the name changes: issuer and subject, or the entry's name.
    pub subject: String,
    /// As it was said; not checked yet.
    pub username: String,
    pub role: Role,
    /// A second factor was proven over there.
    pub factor: bool,
}

impl std::fmt::Debug for Vouched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vouched({}, {})", self.source, self.role.as_str())
    }
}

/// The role of somebody in these groups: of several the one that may most. `None`: no way in.
pub fn role_of<'a>(
    roles: &BTreeMap<String, Role>,
    groups: impl IntoIterator<Item = &'a str>,
    same: impl Fn(&str, &str) -> bool,
) -> Option<Role> {
    let found = groups.into_iter().flat_map(|group| {
        roles.iter().filter(|(name, _)| same(name, group)).map(|(_, role)| *role).collect::<Vec<_>>()
    });
    found.max_by_key(|role| (role.permissions().words().len(), std::cmp::Reverse(*role)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_groups_the_role_that_may_most_counts_and_no_group_is_no_role() {
        let roles: BTreeMap<String, Role> =
            [("nurses".to_string(), Role::Clinician), ("it".to_string(), Role::Admin)].into();
        let of = |groups: &[&str]| role_of(&roles, groups.iter().copied(), |a, b| a == b);
        assert_eq!(of(&["nurses", "it", "all"]), Some(Role::Admin));
        assert_eq!(of(&["nurses"]), Some(Role::Clinician));
        assert_eq!(of(&["Nurses", ""]), None);
        assert_eq!(of(&[]), None);
    }
}
