//! Which of a person's identifiers says who they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::device::Identifier;

/// What a bare assigning authority is kept under.
const AUTHORITY: &str = "urn:bedside:authority:";
/// The issuer of an identifier that names none.
pub const NO_AUTHORITY: &str = "urn:bedside:authority:unstated";

/// How well an identifier of this kind (HL7 table 0203) stands for a person: 0 best. Those of a visit or an account
/// come last: an account may be a family's.
pub fn rank(kind: Option<&str>) -> u8 {
    match kind.unwrap_or_default() {
        "MR" => 0,
        "PI" => 1,
        "PT" | "PN" | "U" | "ANON" => 2,
        "" => 3,
        "NI" | "NH" | "JHN" | "CZ" | "HC" | "MRT" => 4,
        nation if nation.starts_with("NN") => 4,
        "AN" | "VN" | "ANC" | "ANT" => 9,
        _ => 6,
    }
}

/// Whether an identifier of this kind is given to one person and no other by whoever issues it. Numbers of cards,
/// insurances and accounts are typed by hand or shared, and never found a person for a message that knows another one.
pub fn is_personal(kind: Option<&str>) -> bool {
    rank(kind) <= 4
}

/// Whether somebody is known to have issued it.
pub fn has_issuer(system: &str) -> bool {
    let system = system.trim();
    let authority = system.strip_prefix(AUTHORITY).unwrap_or(system).trim();
    !matches!(authority, "" | "unstated")
}

/// By what names issuers go at this site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Issuers {
    /// URI of the site's own numbers, for those that name no issuer.
    pub site: Option<Arc<str>>,
    /// Assigning authority as messages write it → URI.
    pub named: BTreeMap<String, String>,
}

impl Issuers {
    /// The identifier under the one name its issuer has here, without blanks around its value.
    pub fn canonical(&self, identifier: &Identifier) -> Identifier {
        let authority = identifier.system.strip_prefix(AUTHORITY).unwrap_or(&identifier.system).trim();
        let system: Arc<str> = if !has_issuer(&identifier.system) {
            self.site.clone().unwrap_or_else(|| NO_AUTHORITY.into())
        } else if let Some(named) = self.named.get(authority) {
            named.as_str().into()
        } else {
            identifier.system.trim().into()
        };
        Identifier { system, value: identifier.value.trim().into(), kind: identifier.kind.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identifier(system: &str, value: &str) -> Identifier {
        Identifier { system: system.into(), value: value.into(), kind: None }
    }

    #[test]
    fn the_medical_record_number_leads_and_accounts_come_last() {
        let mut kinds = ["AN", "SS", "PI", "NNSWE", "", "MR"].map(Some);
        kinds.sort_by_key(|kind| rank(*kind));
        assert_eq!(kinds, ["MR", "PI", "", "NNSWE", "SS", "AN"].map(Some));
        assert!(
            is_personal(None)
                && is_personal(Some("MR"))
                && !is_personal(Some("SS"))
                && !is_personal(Some("VN"))
        );
    }

    #[test]
    fn an_issuer_has_one_name_at_a_site() {
        let named = BTreeMap::from([("HOSP".to_owned(), "urn:oid:1.2.3".to_owned())]);
        let issuers = Issuers { site: Some("urn:oid:9".into()), named };
        for (written, system) in [
            ("urn:bedside:authority:HOSP", "urn:oid:1.2.3"),
            ("urn:oid:1.2.3", "urn:oid:1.2.3"),
            ("urn:bedside:authority:LAB", "urn:bedside:authority:LAB"),
            ("urn:bedside:authority:unstated", "urn:oid:9"),
            ("", "urn:oid:9"),
        ] {
            let canonical = issuers.canonical(&identifier(written, " 7 "));
            assert_eq!((&*canonical.system, &*canonical.value), (system, "7"), "{written}");
        }
        assert_eq!(&*Issuers::default().canonical(&identifier(" ", "7")).system, NO_AUTHORITY);
    }
}
