//! `profile = "hl7-system"`: a link whose other end is a hospital system and no device.

use std::sync::Arc;

use serde::Deserialize;

use super::Transport;
use crate::firmware_profile::{FirmwareProfile, Library};

/// What a link's `profile` says for a hospital system.
pub const HL7_SYSTEM: &str = "hl7-system";
/// The page by which a system's order messages are read.
const ORDERS: &str = "generic/hl7-orders";

/// `[link.system]`: what a hospital system's messages are used for. Orders always go to the worklist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SystemFile {
    /// ADT messages tell the patient index who is who and in which bed.
    patients: bool,
    /// Messages are translated to FHIR by templates and delivered.
    templates: bool,
}

impl Default for SystemFile {
    fn default() -> Self {
        Self { patients: true, templates: false }
    }
}

/// What the messages of a hospital system are used for.
#[derive(Clone, Debug)]
pub struct SystemReads {
    /// ADT messages feed the patient index.
    pub patients: bool,
    /// Messages are translated by templates and delivered.
    pub templates: bool,
    /// How its orders are read.
    pub orders: Arc<FirmwareProfile>,
}

impl SystemFile {
    /// # Errors
    /// A sentence, when the page for orders is missing.
    pub(super) fn resolved(self, library: &Library) -> Result<SystemReads, String> {
        let orders = library.find(ORDERS);
        let orders = orders.ok_or_else(|| format!("the firmware profile {ORDERS} is missing"))?;
        Ok(SystemReads { patients: self.patients, templates: self.templates, orders })
    }
}

/// Whether a system can be heard this way.
pub(super) fn check_way(transport: &Transport) -> Result<(), String> {
    match transport {
        Transport::Mllp(_) | Transport::Folder(_) => Ok(()),
        other => {
            Err(format!("\"{HL7_SYSTEM}\" is for mllp and for folders of messages, not for {}", other.kind()))
        }
    }
}
