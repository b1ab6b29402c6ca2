//! Roles and what each may do. Routes name a permission, never a role.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a person is to this box. Only [`Role::Admin`] can be given today; the others are settled so that what
/// is stored now stays readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
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

/// What a route asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Have a session at all: log out, see who one is.
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
    /// Read, try and change the pages by which frames are read: firmware profiles and templates.
    Profiles,
    /// Set up the FHIR server, its keys and what is asked of it.
    Upstreams,
    /// Make, take out and restore backups.
    Backup,
    /// Read the audit trail, check it, take it away.
    Audit,
    /// Change how the box is set.
    Settings,
}

impl Role {
    /// Every role, for tests that walk them.
    pub const ALL: [Self; 5] =
        [Self::Admin, Self::Engineer, Self::Clinician, Self::Auditor, Self::Integrator];

    /// Whether this role may.
    pub const fn may(self, permission: Permission) -> bool {
        use Permission::{Associate, Audit, Backup, Look, Presence, ReadMessages, Settings, Worklist};
        match (self, permission) {
            (Self::Admin, _) | (_, Presence) => true,
            (Self::Engineer, permission) => !matches!(permission, Audit | Backup),
            (Self::Integrator, permission) => !matches!(permission, Audit | Backup | Settings),
            (Self::Clinician, permission) => matches!(permission, Look | ReadMessages | Worklist | Associate),
            (Self::Auditor, permission) => matches!(permission, Audit),
        }
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

    #[test]
    fn only_those_who_work_on_messages_may_send_them_again() {
        let may: Vec<Role> = Role::ALL.into_iter().filter(|role| role.may(Permission::Resend)).collect();
        assert_eq!(may, [Role::Admin, Role::Engineer, Role::Integrator]);
        assert!(!Role::Auditor.may(Permission::ReadMessages), "an auditor sees no values");
    }

    #[test]
    fn a_stored_role_reads_back() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.as_str()), Some(role));
        }
        assert_eq!(Role::parse("root"), None);
    }
}
