use serde_json::json;

use super::*;

const BASE: &str = "https://ehr.example.org/fhir";

fn others() -> Others {
    let location = |id: &str, kind: &str, name: &str, above: &str| {
        let mut one = json!({ "resourceType": "Location", "id": id, "name": name,
            "physicalType": { "coding": [{ "code": kind }] } });
        if !above.is_empty() {
            one["partOf"] = json!({ "reference": format!("Location/{above}") });
        }
        one
    };
    let patient = json!({ "resourceType": "Patient", "id": "p1", "birthDate": "1980-01-02",
        "identifier": [{ "system": "urn:acc", "value": "A1", "type": { "coding": [{ "code": "AN" }] } },
            { "system": "urn:mrn", "value": "7", "type": { "coding": [{ "code": "MR" }] } },
            { "use": "old", "system": "urn:mrn", "value": "6" }],
        "name": [{ "use": "old", "family": "WAS" }, { "family": "DOE", "given": ["Jane"] }] });
    [
        location("s", "si", "North", ""),
        location("w", "wa", "icu", "s"),
        location("r", "ro", "4", "w"),
        location("b", "bd", "2", "r"),
        patient,
    ]
    .into_iter()
    .map(|one| (format!("{}/{}", one["resourceType"].as_str().unwrap(), one["id"].as_str().unwrap()), one))
    .collect()
}

fn visit_of(status: &str, location: Value) -> Value {
    json!({ "resourceType": "Encounter", "id": "e1", "status": status, "meta": { "lastUpdated": "2026-03-14T08:00:00Z" },
        "subject": { "reference": "https://ehr.example.org/fhir/Patient/p1/_history/3" },
        "period": { "start": "2026-03-13T08:00:00Z" }, "location": location })
}

fn bed(more: Value) -> Value {
    let mut one = json!({ "location": { "reference": "Location/b" } });
    one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!([one])
}

fn read(one: &Value) -> Result<Option<(i64, Fact)>, &'static str> {
    encounter(one, &others(), BASE, &Issuers::default())
}

fn micros(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().unwrap().as_microsecond()
}

#[test]
fn an_encounter_says_who_lies_where_since_when() {
    let Some((told, Fact::VisitSeen { person, visit, places, over })) =
        read(&visit_of("in-progress", bed(json!({})))).unwrap()
    else {
        panic!()
    };
    assert_eq!((told, over), (micros("2026-03-14T08:00:00Z"), false));
    let numbers: Vec<&str> = person.identifiers.iter().map(|one| &*one.value).collect();
    assert_eq!((numbers, person.family.said().map(|text| &**text)), (vec!["7", "A1"], Some("DOE")));
    assert_eq!((visit.system.as_str(), visit.number.as_str()), (BASE, "e1"));
    assert_eq!(
        places,
        [(Place::new("North", "ICU", "4", "2").unwrap(), micros("2026-03-13T08:00:00Z"), None)]
    );
}

#[test]
fn what_is_over_ends_and_what_is_only_planned_is_nothing() {
    let places = |one: &Value| match read(one).unwrap() {
        Some((_, Fact::VisitSeen { places, over, .. })) => {
            Some((places.into_iter().map(|(_, _, until)| until).collect::<Vec<_>>(), over))
        }
        _ => None,
    };
    let updated = Some(micros("2026-03-14T08:00:00Z"));
    assert_eq!(places(&visit_of("finished", bed(json!({})))), Some((vec![updated], true)));
    let left = json!({ "period": { "end": "2026-03-13T09:00:00Z" }, "status": "completed" });
    assert_eq!(
        places(&visit_of("in-progress", bed(left))),
        Some((vec![Some(micros("2026-03-13T09:00:00Z"))], false))
    );
    assert_eq!(places(&visit_of("in-progress", bed(json!({ "status": "reserved" })))), Some((vec![], false)));
    assert_eq!(places(&visit_of("entered-in-error", bed(json!({})))), Some((vec![], true)));
    assert_eq!(places(&visit_of("planned", bed(json!({})))), None);
}

#[test]
fn what_is_missing_is_asked_for_and_told() {
    let one = visit_of("in-progress", bed(json!({})));
    assert_eq!(missing(std::slice::from_ref(&one), &Others::new()), ["Location/b", "Patient/p1"]);
    let mut some = others();
    some.remove("Location/w");
    assert_eq!(missing(std::slice::from_ref(&one), &some), ["Location/w"]);
    assert!(missing(std::slice::from_ref(&one), &others()).is_empty());
    assert!(encounter(&one, &Others::new(), BASE, &Issuers::default()).is_err());
}

#[test]
fn a_patient_that_was_replaced_is_merged() {
    let mut gone = others()["Patient/p1"].clone();
    gone["id"] = json!("p2");
    gone["identifier"] = json!([{ "system": "urn:mrn", "value": "8" }]);
    gone["meta"] = json!({ "lastUpdated": "2026-03-14T08:00:00Z" });
    gone["link"] = json!([{ "type": "replaced-by", "other": { "reference": "Patient/p1" } }, { "type": "seealso", "other": { "reference": "Patient/p9" } }]);
    assert_eq!(linked(&gone), ["Patient/p1"]);
    let facts = merges(&gone, &others(), &Issuers::default());
    let [(_, Fact::Merged { person, old })] = facts.as_slice() else { panic!("{facts:?}") };
    assert_eq!((&*person.identifiers[0].value, &*old[0].value), ("7", "8"));
}
