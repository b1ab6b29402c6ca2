//! `[audit]`: where the audit trail goes besides the buffer.

use serde::Deserialize;

use crate::upstream::{self, ModeWish, syslog};

/// Forwarding of the audit trail; each receiver has a position of its own in it, and none stops anything.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// A syslog receiver, such as a SIEM.
    pub syslog: Option<syslog::Config>,
    /// A FHIR server that keeps AuditEvents; the keys of `[upstream]`.
    pub fhir: Option<Box<upstream::Config>>,
    /// Seconds a row may wait for a receiver before the desk raises an alarm.
    pub alarm_after_s: u64,
}

impl Default for Audit {
    fn default() -> Self {
        Self { syslog: None, fhir: None, alarm_after_s: 900 }
    }
}

impl Audit {
    /// What is wrong with it: the key and a sentence.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if let Some(syslog) = &self.syslog {
            syslog.check().map_err(|wrong| ("syslog", wrong))?;
        }
        if let Some(fhir) = &self.fhir {
            let wrong = |fault: upstream::UpstreamError| {
                ("fhir", fault.to_string().replacen("upstream", "audit.fhir", 1))
            };
            fhir.check().map_err(wrong)?;
            if fhir.mode == ModeWish::Conditional {
                let why = "R4 AuditEvent has no identifier to search by: audit.fhir writes with mode = \"put\" only";
                return Err(("fhir", why.into()));
            }
        }
        if !(10..=86_400).contains(&self.alarm_after_s) {
            return Err(("alarm_after_s", "alarm_after_s is 10 to 86400 seconds".into()));
        }
        Ok(())
    }

    /// The FHIR server, asked for no more than it takes to write AuditEvents.
    pub fn server(&self) -> Option<upstream::Config> {
        let mut server = (**self.fhir.as_ref()?).clone();
        server.mode = ModeWish::Put;
        server.scopes.get_or_insert_with(|| vec!["system/AuditEvent.cu".into()]);
        Some(server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Audit {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn what_cannot_work_is_told_with_its_key() {
        assert!(read("").check().is_ok());
        for (text, key, word) in [
            ("syslog = { address = \"siem\" }", "syslog", "host:port"),
            ("fhir = { base = \"ftp://x\" }", "fhir", "audit.fhir"),
            (
                "fhir = { base = \"https://x/fhir\", client_id = \"c\", mode = \"conditional\" }",
                "fhir",
                "identifier",
            ),
            ("alarm_after_s = 1", "alarm_after_s", "10 to"),
        ] {
            let (at, why) = read(text).check().unwrap_err();
            assert_eq!(at, key, "{text}");
            assert!(why.contains(word), "{text}: {why}");
        }
    }

    #[test]
    fn the_audit_server_is_asked_for_audit_events_alone() {
        let server = read("fhir = { base = \"https://x/fhir\", client_id = \"c\" }").server().unwrap();
        assert_eq!(server.scopes.unwrap(), ["system/AuditEvent.cu"]);
        assert_eq!(server.mode, ModeWish::Put);
        assert!(read("").server().is_none());
    }
}
