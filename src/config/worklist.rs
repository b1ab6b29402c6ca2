//! `[worklist]`: what analysers are to measure.

use serde::Deserialize;

/// Orders for analysers beside those of the desk and of HL7 links.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Worklist {
    /// Takes the ServiceRequests of `[upstream]`.
    pub fhir: bool,
    /// Seconds between two looks.
    pub every_s: u64,
    /// Further parameters of the search, e.g. `performer=Organization/lab`.
    pub query: String,
}

impl Default for Worklist {
    fn default() -> Self {
        Self { fhir: false, every_s: 30, query: String::new() }
    }
}

impl Worklist {
    /// What is wrong with it: the key and a sentence.
    pub(super) fn check(&self, upstream: bool) -> Result<(), (&'static str, String)> {
        if self.fhir && !upstream {
            return Err(("fhir", "the worklist's orders come from [upstream], and there is none".into()));
        }
        if !(5..=86_400).contains(&self.every_s) {
            return Err(("every_s", "every_s is 5 to 86400 seconds".into()));
        }
        Ok(())
    }
}
