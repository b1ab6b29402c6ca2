//! What one user may beyond or short of the role: places, devices and permissions. What is not granted is refused.

use serde::{Deserialize, Serialize};

use super::role::{Permission, Permissions, Role};

/// Entries of one list, and characters of one entry, at most.
const LIST_MAX: usize = 200;
const ENTRY_MAX: usize = 200;

/// Limits and additions of one user; kept as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    /// Only devices whose home is in one of these: `ICU`, `ICU/4`, `ICU/4/2` or `South:ICU/4` (facility, ward, room,
    /// bed as HL7 PL has them). `None`: everywhere.
    pub places: Option<Vec<String>>,
    /// Only these devices, by key; together with `places`: these and those.
    pub devices: Option<Vec<String>>,
    /// Exactly these permissions in place of the role's, by their words.
    pub permissions: Option<Vec<String>>,
    /// A role of the clinic's own, from the configuration: what it says counts, and nothing of the above.
    pub own_role: Option<String>,
    /// Groups of another system gave it; the next log-in may change it. What the desk gave stays.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub from_group: bool,
}

/// Where a device stands, as far as it is said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place<'a> {
    pub facility: Option<&'a str>,
    pub point_of_care: Option<&'a str>,
    pub room: Option<&'a str>,
    pub bed: Option<&'a str>,
}

impl Grants {
    /// From what is kept; what cannot be read grants nothing at all.
    pub fn read(json: &str) -> Self {
        serde_json::from_str(json).unwrap_or_else(|_| Self::nothing())
    }

    /// No place, no device and no permission.
    pub const fn nothing() -> Self {
        Self {
            places: Some(Vec::new()),
            devices: Some(Vec::new()),
            permissions: Some(Vec::new()),
            own_role: None,
            from_group: false,
        }
    }

    /// As it is kept.
    pub fn written(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What is wrong with what was typed, for people.
    pub fn check(&self) -> Result<(), String> {
        let lists = [&self.places, &self.devices, &self.permissions];
        for list in lists.into_iter().flatten() {
            if list.len() > LIST_MAX {
                return Err(format!("a list has at most {LIST_MAX} entries"));
            }
            if list.iter().any(|one| one.trim().is_empty() || one.chars().count() > ENTRY_MAX) {
                return Err(format!("an entry has 1 to {ENTRY_MAX} characters"));
            }
        }
        match self.permissions.iter().flatten().find(|word| Permission::parse(word).is_none()) {
            Some(_) => Err("one of the permissions is not known to this box".into()),
            None => Ok(()),
        }
    }

    /// Whether some devices are out of sight.
    pub const fn is_limited(&self) -> bool {
        self.places.is_some() || self.devices.is_some()
    }

    /// What a user of this role may. Accounts are for admins, whatever else was granted.
    pub fn permissions(&self, role: Role) -> Permissions {
        let Some(words) = &self.permissions else { return role.permissions() };
        words
            .iter()
            .filter_map(|word| Permission::parse(word))
            .filter(|one| *one != Permission::Users || role == Role::Admin)
            .chain([Permission::Presence])
            .collect()
    }

    /// Whether this device is in sight.
    pub fn covers(&self, device: &str, home: Option<Place<'_>>) -> bool {
        if !self.is_limited() {
            return true;
        }
        let named = self.devices.iter().flatten().any(|one| one == device);
        named || home.is_some_and(|home| self.places.iter().flatten().any(|place| home.is_in(place)))
    }
}

impl Place<'_> {
    /// Whether this place is in `wanted`. A part that `wanted` names and the place does not is another place.
    fn is_in(self, wanted: &str) -> bool {
        let (facility, rest) = match wanted.split_once(':') {
            Some((facility, rest)) => (Some(facility), rest),
            None => (None, wanted),
        };
        let same = |own: Option<&str>, wanted: &str| {
            own.is_some_and(|own| own.trim().to_lowercase() == wanted.trim().to_lowercase())
        };
        if facility.is_some_and(|wanted| !same(self.facility, wanted)) {
            return false;
        }
        let mut own = [self.point_of_care, self.room, self.bed].into_iter();
        rest.split('/').all(|wanted| own.next().is_some_and(|own| same(own, wanted)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BED: Place<'_> =
        Place { facility: Some("South"), point_of_care: Some("ICU"), room: Some("4"), bed: Some("2") };

    fn of(places: &[&str], devices: &[&str]) -> Grants {
        let list = |words: &[&str]| Some(words.iter().map(|word| (*word).to_string()).collect());
        Grants { places: list(places), devices: list(devices), ..Grants::default() }
    }

    #[test]
    fn a_place_covers_what_is_in_it_and_nothing_beside_it() {
        for place in ["ICU", "icu ", "ICU/4", "ICU/4/2", "South:ICU", "south:ICU/4/2"] {
            assert!(of(&[place], &[]).covers("K", Some(BED)), "{place}");
        }
        for place in ["IC", "ICU/5", "ICU/4/1", "North:ICU", "4", "ICU/4/2/x", "", ":", "/", "South:"] {
            assert!(!of(&[place], &[]).covers("K", Some(BED)), "{place}");
        }
        let ward = Place { point_of_care: Some("ICU"), ..Place::default() };
        assert!(!of(&["ICU/4"], &[]).covers("K", Some(ward)), "a bed's nurse does not have the whole ward");
        assert!(!of(&["ICU"], &[]).covers("K", None), "nowhere is not here");
    }

    #[test]
    fn no_limit_is_everywhere_and_an_empty_limit_is_nowhere() {
        assert!(Grants::default().covers("K", None));
        assert!(!of(&[], &[]).covers("K", Some(BED)));
        assert!(of(&["OR"], &["K"]).covers("K", Some(BED)), "these devices and those places");
        assert!(!of(&["OR"], &["K"]).covers("k", Some(BED)), "keys are exact");
    }

    #[test]
    fn permissions_of_ones_own_stand_in_place_of_the_roles() {
        let grants = Grants { permissions: Some(vec!["devices.see".into()]), ..Grants::default() };
        assert_eq!(grants.permissions(Role::Engineer).words(), ["session.use", "devices.see"]);
        assert_eq!(Grants::default().permissions(Role::Auditor), Role::Auditor.permissions());
        let grants = Grants { permissions: Some(vec!["users.change".into(), "*".into()]), ..grants };
        assert_eq!(grants.permissions(Role::Engineer).words(), ["session.use"]);
        assert!(grants.permissions(Role::Admin).holds(Permission::Users));
    }

    #[test]
    fn what_is_kept_reads_back_and_what_cannot_be_read_grants_nothing() {
        let grants = of(&["ICU"], &["ACME/1"]);
        assert_eq!(Grants::read(&grants.written()), grants);
        assert_eq!(Grants::read("{}"), Grants::default());
        for broken in ["", "null?", "[1]", "{\"places\":7}", "{\"wards\":[\"ICU\"]}"] {
            let grants = Grants::read(broken);
            assert!(!grants.covers("K", Some(BED)), "{broken}");
            assert_eq!(grants.permissions(Role::Admin).words(), ["session.use"], "{broken}");
        }
    }

    #[test]
    fn what_was_typed_is_checked() {
        assert!(of(&["ICU"], &[]).check().is_ok());
        assert!(of(&[" "], &[]).check().is_err());
        assert!(of(&["x"; 201], &[]).check().is_err());
        assert!(of(&[&"x".repeat(201)], &[]).check().is_err());
        let unknown = Grants { permissions: Some(vec!["all".into()]), ..Grants::default() };
        assert!(unknown.check().is_err());
    }
}
