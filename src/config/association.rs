//! The site's rules for associations: `[association]` and a word of `[patients]`.

use serde::Deserialize;

use crate::identity::Unknown;

/// What ends an open association by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndOn {
    /// The patient leaves the hospital.
    Discharge,
    /// The patient leaves the bed for another.
    Transfer,
}

impl EndOn {
    /// The word in the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Discharge => "discharge",
            Self::Transfer => "transfer",
        }
    }
}

/// What becomes of results delivered under a number that was merged into another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnMerge {
    /// They stay: FHIR servers merge patients themselves.
    #[default]
    Leave,
    /// They are taken back and delivered under the number that stays.
    Relink,
}

impl OnMerge {
    /// The word in the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Leave => "leave",
            Self::Relink => "relink",
        }
    }
}

/// The section `[association]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Hours after which an open association ends by itself; none: never.
    pub timeout_h: Option<u32>,
    pub end_on: Vec<EndOn>,
    pub on_merge: OnMerge,
    /// How many hours back a late word of the hospital's systems changes what was delivered. What a person decides at
    /// the desk has no such limit.
    pub late_h: u32,
    /// Minutes a result may be older than its receipt when its device's clock is not believed.
    pub doubt_min: u32,
    /// From `[patients]`.
    #[serde(skip)]
    pub unknown: Unknown,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            timeout_h: None,
            end_on: vec![EndOn::Discharge, EndOn::Transfer],
            on_merge: OnMerge::default(),
            late_h: 72,
            doubt_min: 60,
            unknown: Unknown::default(),
        }
    }
}

const HOUR: i64 = 3_600_000_000;

impl Policy {
    /// The longest an association stays open, in microseconds.
    pub fn timeout(&self) -> Option<i64> {
        self.timeout_h.map(|hours| i64::from(hours).saturating_mul(HOUR))
    }

    /// In microseconds.
    pub fn older(&self) -> i64 {
        i64::from(self.doubt_min).saturating_mul(HOUR / 60)
    }

    /// What is wrong with it, in words.
    ///
    /// # Errors
    /// The key and a sentence.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if self.timeout_h == Some(0) {
            return Err((
                "timeout_h",
                "an association needs at least an hour; leave timeout_h out for none".into(),
            ));
        }
        if !(1..=1_440).contains(&self.doubt_min) {
            return Err(("doubt_min", "doubt_min is 1 to 1440 minutes".into()));
        }
        Ok(())
    }
}
