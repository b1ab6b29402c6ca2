//! The JSON Schema of a page of templates, for editors.

use serde_json::Value;

/// JSON Schema 2020-12 of a page. What it cannot say (elements of R4, names of other pages) `template check` says.
pub fn page_schema() -> Value {
    serde_json::from_str(include_str!("page.schema.json")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::line::{RULE_KEYS, forms};

    #[test]
    fn the_schema_knows_every_key_and_form_of_a_rule() {
        let schema = page_schema();
        let rule = &schema["$defs"]["rule"]["oneOf"][1]["properties"];
        let mut keys: Vec<_> = rule.as_object().unwrap().keys().map(String::as_str).collect();
        let mut known = RULE_KEYS.to_vec();
        keys.sort_unstable();
        known.sort_unstable();
        assert_eq!(keys, known);
        let told = rule["as"]["description"].as_str().unwrap();
        assert!(forms().all(|form| told.contains(form)), "{told}");
    }
}
