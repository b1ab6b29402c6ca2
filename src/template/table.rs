//! Tables of codes: short YAML, or a FHIR ConceptMap.

use std::collections::HashMap;
use std::sync::Arc;

use super::page::known;
use super::yaml::{Wrong, Yaml};

/// From HL7 codes to the codes FHIR wants.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: Arc<str>,
    rows: HashMap<Box<str>, Target>,
}

/// What a code becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) system: Option<Arc<str>>,
    pub(super) code: Arc<str>,
    pub(super) display: Option<Arc<str>>,
}

impl Table {
    /// The row of a code: as written, else in capitals.
    pub(super) fn find(&self, code: &str) -> Option<&Target> {
        let code = code.trim();
        self.rows.get(code).or_else(|| self.rows.get(code.to_uppercase().as_str()))
    }

    pub(super) fn targets(&self) -> impl Iterator<Item = &Target> {
        self.rows.values()
    }
}

/// A table of a page: `target: URI`, `rows: {M: male, O: {code: other, display: Other}}`.
pub(super) fn table(name: &str, body: &Yaml) -> Result<Table, Wrong> {
    let mut target = None;
    let mut rows: &[_] = &[];
    for (key, value) in body.entries("a table")? {
        known(key, &["about", "source", "target", "rows"])?;
        match key.text.as_str() {
            "target" => target = Some(Arc::from(value.scalar("a URI")?)),
            "rows" => rows = value.entries("`rows`")?,
            _ => {}
        }
    }
    let mut made = Table { name: name.into(), rows: HashMap::new() };
    for (key, value) in rows {
        let mut row = Target { system: target.clone(), code: "".into(), display: None };
        match value.text() {
            Some(code) => row.code = code.into(),
            None => {
                for (key, value) in value.entries("a row")? {
                    known(key, &["code", "display", "system"])?;
                    let text = Arc::from(value.scalar("a text")?);
                    match key.text.as_str() {
                        "code" => row.code = text,
                        "display" => row.display = Some(text),
                        _ => row.system = Some(text),
                    }
                }
            }
        }
        if row.code.is_empty() {
            return Err(Wrong::new(value.at.clone(), "a row needs its code"));
        }
        made.rows.insert(key.text.as_str().into(), row);
    }
    Ok(made)
}

/// A FHIR ConceptMap (R4): the first target of each element that is not `unmatched` or `disjoint`.
pub(super) fn concept_map(tree: &Yaml) -> Result<Table, Wrong> {
    let name = member(tree, "name").or_else(|| member(tree, "id")).and_then(Yaml::text);
    let name =
        name.ok_or_else(|| Wrong::new(tree.at.start..tree.at.start + 1, "a ConceptMap needs its `name`"))?;
    let mut made = Table { name: name.into(), rows: HashMap::new() };
    for group in member(tree, "group").map(Yaml::items).unwrap_or_default() {
        let system = member(group, "target").and_then(Yaml::text).map(Arc::from);
        for element in member(group, "element").map(Yaml::items).unwrap_or_default() {
            let Some(code) = member(element, "code").and_then(Yaml::text) else { continue };
            let targets = member(element, "target").map(Yaml::items).unwrap_or_default();
            let usable = |one: &&Yaml| {
                !matches!(member(one, "equivalence").and_then(Yaml::text), Some("unmatched" | "disjoint"))
            };
            let Some(target) = targets.iter().find(usable) else { continue };
            let Some(to) = member(target, "code").and_then(Yaml::text) else { continue };
            let display = member(target, "display").and_then(Yaml::text).map(Arc::from);
            made.rows.insert(code.into(), Target { system: system.clone(), code: to.into(), display });
        }
    }
    Ok(made)
}

fn member<'y>(tree: &'y Yaml, name: &str) -> Option<&'y Yaml> {
    let entries = tree.entries("").ok()?;
    entries.iter().find(|(key, _)| key.text == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_short_rows_or_a_concept_map() {
        let yaml =
            Yaml::parse("target: urn:t\nrows:\n  M: male\n  O: {code: other, display: Other}\n").unwrap();
        let short = table("sex", &yaml).unwrap();
        assert_eq!(&*short.find(" m ").unwrap().code, "male");
        assert_eq!(short.find("O").unwrap().display.as_deref(), Some("Other"));
        let json = r#"{"resourceType": "ConceptMap", "name": "sex", "group": [{"target": "urn:t", "element": [
            {"code": "M", "target": [{"equivalence": "disjoint", "code": "x"}, {"equivalence": "equal", "code": "male"}]},
            {"code": "Q", "target": [{"equivalence": "unmatched"}]}]}]}"#;
        let map = concept_map(&Yaml::parse(json).unwrap()).unwrap();
        assert_eq!(
            map.find("M"),
            Some(&Target { system: Some("urn:t".into()), code: "male".into(), display: None })
        );
        assert!(map.find("Q").is_none());
    }
}
