//! How a profile is shown to people, and simulated.

use std::fmt;
use std::sync::Arc;

use super::packed;
use super::{Caveat, Library, Verified};

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Document => "document",
            Self::Simulator => "simulator",
            Self::Bench => "bench",
            Self::Clinic => "clinic",
        })
    }
}

impl fmt::Display for Caveat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (source: {})", self.text, self.source)
    }
}

impl Library {
    /// The built-in template a simulated device of this profile speaks by (`simulate.tpl`), when it has one.
    pub fn simulation(&self, id: &str) -> Option<Arc<str>> {
        self.find(id)?;
        let file = packed::file(&format!("{id}/simulate.tpl"))?;
        Some(String::from_utf8_lossy(&file).into_owned().into())
    }
}
