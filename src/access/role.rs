//! Roles and what each may do. Routes name a permission, never a role; what is not given is refused.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a person is to this box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Admin,
    /// Biomedical engineer: devices and links.
    Engineer,
    /// Nurse or physician: values and patients.
    Clinician,
    /// Looks at what was done, not at values.
    Auditor,
    /// EHR team: messages, mappings, upstream.
    Integrator,
}

/// What a route asks for: an action on a kind of thing, see [`Permission::word`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Have a session at all: log out, see who one is, look after one's own account.
    Presence,
    /// States, devices and their last values.
    Look,
    /// Whole messages with what they say of patients.
    ReadMessages,
    /// Release or replay an entry.
    Resend,
    /// Try the upstream connection.
    TestUpstream,
    /// Pair devices: accept senders, make and remove links, scan ports.
    Pair,
    /// See and change what analysers are to measure.
    Worklist,
    /// See who is on which device, and say so.
    Associate,
    /// Make users, give roles, end sessions of others.
    Users,
    /// Read the audit trail.
    Audit,
    /// Read, try and change the pages by which frames are read: firmware profiles and templates.
    Profiles,
    /// Set up the FHIR server, its keys and what is asked of it.
    Upstreams,
    /// Make, take out and restore backups.
    Backup,
    /// See and change how the box is set up.
    Settings,
    /// Say what the box and its site are called, and in which zone its devices live.
    Site,
    /// Open the box beyond one's places in an emergency, with a reason.
    BreakGlass,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Self; 16] = [
        Self::Presence,
        Self::Look,
        Self::ReadMessages,
        Self::Resend,
        Self::TestUpstream,
        Self::Pair,
        Self::Worklist,
        Self::Associate,
        Self::Users,
        Self::Audit,
        Self::Profiles,
        Self::Upstreams,
        Self::Backup,
        Self::Settings,
        Self::Site,
        Self::BreakGlass,
    ];

    /// Thing and action, stored and shown.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Presence => "session.use",
            Self::Look => "devices.see",
            Self::ReadMessages => "messages.read",
            Self::Resend => "messages.resend",
            Self::TestUpstream => "upstream.test",
            Self::Pair => "devices.pair",
            Self::Worklist => "worklist.use",
            Self::Associate => "associations.change",
            Self::Users => "users.change",
            Self::Audit => "audit.read",
            Self::Profiles => "profiles.change",
            Self::Upstreams => "upstreams.change",
            Self::Backup => "backup.make",
            Self::Settings => "settings.change",
            Self::Site => "site.change",
            Self::BreakGlass => "break-glass.use",
        }
    }

    /// In a few words for people.
    pub const fn means(self) -> &'static str {
        match self {
            Self::Presence => "log in and look after the own account",
            Self::Look => "see devices, links and last values",
            Self::ReadMessages => "read whole messages and patients",
            Self::Resend => "release and send messages again",
            Self::TestUpstream => "try the connection upstream",
            Self::Pair => "pair devices, make and remove links",
            Self::Worklist => "see and change orders for analysers",
            Self::Associate => "say which patient is on a device",
            Self::Users => "make users, give roles, end sessions",
            Self::Audit => "read the audit trail",
            Self::Profiles => "change firmware profiles and templates",
            Self::Upstreams => "change where results go",
            Self::Backup => "make and restore backups",
            Self::Settings => "change how the box is set",
            Self::Site => "name the box and its site, set its time zone",
            Self::BreakGlass => "look beyond the own places in an emergency",
        }
    }

    /// The permission behind a stored word; `None` for one of a newer version, which then gives nothing.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|permission| permission.word() == word)
    }

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// A set of permissions; empty to begin with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions(u32);

impl Permissions {
    /// Whether this one is given.
    pub const fn holds(self, permission: Permission) -> bool {
        self.0 & permission.bit() != 0
    }

    /// This set and one more.
    #[must_use]
    pub const fn with(self, permission: Permission) -> Self {
        Self(self.0 | permission.bit())
    }

    /// What both sets give.
    #[must_use]
    pub const fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Every permission of this set that the other has not.
    #[must_use]
    pub const fn beyond(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether nothing is given.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The words of this set.
    pub fn words(self) -> Vec<&'static str> {
        Permission::ALL.into_iter().filter(|one| self.holds(*one)).map(Permission::word).collect()
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        permissions.into_iter().fold(Self::default(), Self::with)
    }
}

impl Role {
    /// Every role, for tests that walk them.
    pub const ALL: [Self; 5] =
        [Self::Admin, Self::Engineer, Self::Clinician, Self::Auditor, Self::Integrator];

    /// What comes with this role.
    const fn given(self) -> &'static [Permission] {
        use Permission::{
            Associate, Audit, BreakGlass, Look, Pair, Presence, Profiles, ReadMessages, Resend, Settings,
            TestUpstream, Upstreams, Worklist,
        };
        match self {
            Self::Admin => &Permission::ALL,
            Self::Engineer => &[
                Presence,
                Look,
                ReadMessages,
                Resend,
                TestUpstream,
                Pair,
                Worklist,
                Associate,
                Profiles,
                Upstreams,
                Settings,
                BreakGlass,
            ],
            Self::Integrator => &[
                Presence,
                Look,
                ReadMessages,
                Resend,
                TestUpstream,
                Pair,
                Worklist,
                Associate,
                Profiles,
                Upstreams,
            ],
            Self::Clinician => &[Presence, Look, ReadMessages, Worklist, Associate, BreakGlass],
            Self::Auditor => &[Presence, Audit],
        }
    }

    /// What comes with this role, as a set.
    pub fn permissions(self) -> Permissions {
        self.given().iter().copied().collect()
    }

    /// Whether this role may.
    pub fn may(self, permission: Permission) -> bool {
        self.permissions().holds(permission)
    }

    /// The word stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Engineer => "engineer",
            Self::Clinician => "clinician",
            Self::Auditor => "auditor",
            Self::Integrator => "integrator",
        }
    }

    /// The role behind a stored word; `None` for a word of a newer version, which then may nothing.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Role by permission: the whole matrix. A permission that is new stands here or the test fails.
    const MATRIX: &str = include_str!("roles.txt");

    #[test]
    fn the_whole_matrix_is_as_the_table_says() {
        let mut lines = MATRIX.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let roles: Vec<Role> =
            lines.next().unwrap().split_whitespace().skip(1).map(|word| Role::parse(word).unwrap()).collect();
        assert_eq!(roles, Role::ALL);
        let mut seen = Permissions::default();
        for line in lines {
            let mut words = line.split_whitespace();
            let permission = Permission::parse(words.next().unwrap()).unwrap();
            seen = seen.with(permission);
            for (role, cell) in roles.iter().zip(words) {
                assert_eq!(role.may(permission), cell == "yes", "{} {}", role.as_str(), permission.word());
            }
        }
        assert_eq!(seen, Role::Admin.permissions(), "every permission has its row");
    }

    #[test]
    fn a_stored_role_and_a_stored_permission_read_back() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.as_str()), Some(role));
        }
        for permission in Permission::ALL {
            assert_eq!(Permission::parse(permission.word()), Some(permission));
            assert!(!permission.means().is_empty());
        }
        assert_eq!((Role::parse("root"), Permission::parse("*")), (None, None));
    }

    #[test]
    fn a_set_gives_what_was_put_in_and_nothing_else() {
        let some: Permissions = [Permission::Look, Permission::Pair].into_iter().collect();
        assert!(some.holds(Permission::Look) && !some.holds(Permission::Users));
        assert_eq!(some.words(), ["devices.see", "devices.pair"]);
        assert_eq!(some.both(Role::Clinician.permissions()).words(), ["devices.see"]);
        assert_eq!(some.beyond(Role::Clinician.permissions()).words(), ["devices.pair"]);
        assert!(Permissions::default().is_empty());
    }
}
