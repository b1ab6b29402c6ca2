//! For giving every number its name: IEEE 11073-10101 (MDC) codes with their reference ids, the LOINC beside
//! them, and UCUM units. Numbers and reference ids only; no definitions are shipped.
//!
//! A code is looked up by its number. A reference id is text for people: several are in use for one number.

mod mdc;
mod ucum;
mod units;

pub use mdc::{DEVICES, PARTITION_INFRASTRUCTURE, PARTITION_METRICS, PARTITION_OBJECTS, SITES, TERMS, WAVES};
pub use ucum::is_ucum;
pub use units::{MdcUnit, UNITS, mdc_unit, spelled_unit};

/// A LOINC code and the UCUM units in which it says the truth; no units = any.
///
/// A laboratory code depends on what the unit measures: mass and amount concentrations have different codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loinc {
    pub code: &'static str,
    pub units: &'static [&'static str],
}

/// What kind of figure a term is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A vital sign or another figure measured on the patient's body.
    Vital,
    /// A concentration in a specimen.
    Laboratory,
    /// A figure or setting of the device itself.
    Device,
}

/// One metric of IEEE 11073-10101.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// Context-free code: partition × 65536 + term code.
    pub code: u32,
    /// Reference id.
    pub refid: &'static str,
    /// A few words for people.
    pub label: &'static str,
    pub loinc: &'static [Loinc],
    /// The UCUM unit it is usually given in; empty where there is none.
    pub ucum: &'static str,
    /// The code of the compound this is a member of (150020 for a cuff pressure), 0 for none.
    pub panel: u32,
    pub kind: Kind,
}

/// A code that is no metric: a device, an attribute or a body site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    pub code: u32,
    pub refid: &'static str,
}

/// The LOINC codes that the R4 vital-signs profiles demand, with the units each profile allows
/// (FHIR R4 observation-vitalsigns and its derived profiles).
pub const MAGIC: &[Loinc] = &[
    Loinc { code: "8867-4", units: &["/min"] },
    Loinc { code: "9279-1", units: &["/min"] },
    Loinc { code: "2708-6", units: &["%"] },
    Loinc { code: "8310-5", units: &["Cel", "[degF]"] },
    Loinc { code: "29463-7", units: &["g", "kg", "[lb_av]"] },
    Loinc { code: "8302-2", units: &["cm", "[in_i]"] },
    Loinc { code: "9843-4", units: &["cm", "[in_i]"] },
    Loinc { code: "39156-5", units: &["kg/m2"] },
    Loinc { code: "8480-6", units: &["mm[Hg]"] },
    Loinc { code: "8462-4", units: &["mm[Hg]"] },
    Loinc { code: "8478-0", units: &["mm[Hg]"] },
];

/// The blood-pressure panel of the R4 profile; its members carry the values.
pub const BLOOD_PRESSURE_PANEL: &str = "85354-9";

/// The units the R4 vital-signs profile allows for a LOINC code; `None` when no profile governs it.
pub fn vital_sign_units(loinc: &str) -> Option<&'static [&'static str]> {
    MAGIC.iter().find(|magic| magic.code == loinc).map(|magic| magic.units)
}

/// The metric with this MDC number.
pub fn term(code: u32) -> Option<&'static Term> {
    TERMS.iter().copied().flatten().find(|term| term.code == code)
}

/// The reference id of any MDC number we know: metrics, waves, devices, attributes, sites and units.
pub fn refid(code: u32) -> Option<&'static str> {
    term(code)
        .map(|term| term.refid)
        .or_else(|| {
            [DEVICES, SITES].into_iter().flatten().find(|name| name.code == code).map(|name| name.refid)
        })
        .or_else(|| mdc_unit(code).map(|unit| unit.refid))
}

/// What a reference id other than the usual one may say for the same number (seen in real messages).
pub fn is_alias(code: u32, refid: &str) -> bool {
    mdc::ALIASES.iter().any(|alias| alias.code == code && alias.refid == refid)
}

/// What LOINC prints for the codes we emit most; LOINC is copyright Regenstrief Institute, see the notice in README.
pub fn loinc_display(code: &str) -> Option<&'static str> {
    LOINC_DISPLAY.iter().find(|(known, _)| *known == code).map(|(_, display)| *display)
}

const LOINC_DISPLAY: &[(&str, &str)] = &[
    ("85354-9", "Blood pressure panel with all children optional"),
    ("8480-6", "Systolic blood pressure"),
    ("8462-4", "Diastolic blood pressure"),
    ("8478-0", "Mean blood pressure"),
    ("8867-4", "Heart rate"),
    ("8889-8", "Heart rate by Pulse oximetry"),
    ("9279-1", "Respiratory rate"),
    ("2708-6", "Oxygen saturation in Arterial blood"),
    ("59408-5", "Oxygen saturation in Arterial blood by Pulse oximetry"),
    ("8310-5", "Body temperature"),
    ("29463-7", "Body weight"),
    ("8302-2", "Body height"),
    ("39156-5", "Body mass index (BMI) [Ratio]"),
    ("9843-4", "Head Occipital-frontal circumference"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_stands_once_and_in_its_partition() {
        let mut seen = std::collections::HashSet::new();
        for term in TERMS.iter().copied().flatten() {
            assert!(seen.insert(term.code), "{} twice", term.code);
            assert!(term.refid.starts_with("MDC_"), "{}", term.refid);
        }
        for name in DEVICES.iter().chain(SITES) {
            assert!(seen.insert(name.code), "{} twice", name.code);
        }
        for unit in UNITS {
            assert!(seen.insert(unit.code), "{} twice", unit.code);
            assert_eq!(unit.code >> 16, 4, "{} is not in the dimension partition", unit.refid);
        }
        assert!(seen.len() >= 150, "{}", seen.len());
    }

    #[test]
    fn every_unit_of_the_tables_is_ucum() {
        for term in TERMS.iter().copied().flatten() {
            assert!(term.ucum.is_empty() || is_ucum(term.ucum), "{} of {}", term.ucum, term.refid);
            for unit in term.loinc.iter().flat_map(|loinc| loinc.units) {
                assert!(is_ucum(unit), "{unit} of {}", term.refid);
            }
        }
        for unit in UNITS {
            assert!(is_ucum(unit.ucum), "{} of {}", unit.ucum, unit.refid);
        }
        for unit in MAGIC.iter().flat_map(|magic| magic.units) {
            assert!(is_ucum(unit), "{unit}");
        }
    }

    #[test]
    fn a_vital_sign_has_the_unit_its_profile_fixes() {
        for term in TERMS.iter().copied().flatten() {
            for loinc in term.loinc {
                if let Some(allowed) = vital_sign_units(loinc.code) {
                    assert!(allowed.contains(&term.ucum), "{} {} {}", term.refid, loinc.code, term.ucum);
                }
            }
        }
    }

    #[test]
    fn the_members_of_a_panel_name_a_compound_that_exists() {
        for term in TERMS.iter().copied().flatten().filter(|term| term.panel != 0) {
            let head = super::term(term.panel).expect(term.refid);
            assert!(term.refid.starts_with(head.refid), "{} in {}", term.refid, head.refid);
        }
    }

    #[test]
    fn the_magic_codes_are_found_from_their_numbers() {
        let loinc = |code| super::term(code).unwrap().loinc.iter().map(|l| l.code).collect::<Vec<_>>();
        assert_eq!(loinc(147_842), ["8867-4"]);
        assert_eq!(loinc(150_456), ["2708-6", "59408-5"]);
        assert_eq!(loinc(150_020), ["85354-9"]);
        assert_eq!(loinc(150_021), ["8480-6"]);
        assert_eq!(loinc(150_364), ["8310-5"]);
        assert_eq!(refid(69_965), Some("MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS"));
        assert_eq!(refid(266_016), Some("MDC_DIM_MMHG"));
        assert!(is_alias(147_842, "MDC_ECG_CARD_BEAT_RATE"));
        assert_eq!(super::term(1), None);
    }
}
