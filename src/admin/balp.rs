//! A row of the audit trail as FHIR R4 AuditEvent, after IHE Basic Audit Log Patterns (ITI BALP 1.1) where a pattern fits,
//! and with the event codes of DICOM PS3.15 A.5 (as IHE ATNA ITI-20 has them) where none does.
//!
//! `meta.profile` is claimed only where every element the pattern asks for is there: reading a patient of the index. The
//! trail holds no patient's name or number: a patient is told by the number this box gave them, an entry by its id.

use serde_json::{Map, Value, json};

use super::trail::Observer;
use crate::buffer::{AuditRow, Told};
use crate::fhir;

const DCM: &str = "http://dicom.nema.org/resources/ontology/DCM";
const EVENT_TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-event-type";
const INTERACTION: &str = "http://hl7.org/fhir/restful-interaction";
const ENTITY_TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-entity-type";
const OBJECT_ROLE: &str = "http://terminology.hl7.org/CodeSystem/object-role";
const PARTICIPATION: &str = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType";
const SOURCE_TYPE: &str = "http://terminology.hl7.org/CodeSystem/security-source-type";
const ACT_REASON: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
const URI: &str = "urn:ietf:rfc:3986";
const PATIENT_READ: &str = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.PatientRead";

/// Code and display of the same system.
type Code = (&'static str, &'static str);

const REST: Code = ("rest", "RESTful Operation");
const READ: Code = ("read", "read");
const SEARCH: Code = ("search-type", "search-type");
const ACTIVITY: Code = ("110100", "Application Activity");
const LOG_USED: Code = ("110101", "Audit Log Used");
const EXPORT: Code = ("110106", "Export");
const IMPORT: Code = ("110107", "Import");
const ORDER: Code = ("110109", "Order Record");
const PATIENT: Code = ("110110", "Patient Record");
const ALERT: Code = ("110113", "Security Alert");
const AUTHENTICATION: Code = ("110114", "User Authentication");

/// What kind of event a word of the trail is.
struct Kind {
    rest: bool,
    code: Code,
    subtype: Option<Code>,
    /// C, R, U, D or E (R4 audit-event-action).
    action: &'static str,
}

/// The AuditEvent of `row`. Its id depends on the box and the row alone, so telling it twice is telling it once.
pub fn audit_event(row: &AuditRow, observer: &Observer) -> fhir::Resource {
    let kind = kind(&row.what);
    let told = row.told();
    let number = row.id.to_string();
    let id = fhir::id("AuditEvent", &observer.identifier, &number);
    let patient = patient(row, &told);
    let code =
        |system: &str, (code, display): Code| json!({ "system": system, "code": code, "display": display });
    let mut event = Map::new();
    let mut put = |name: &str, value: Value| drop(event.insert(name.into(), value));
    put("resourceType", "AuditEvent".into());
    put("id", id.clone().into());
    let mut meta = Map::new();
    if patient.is_some() && told.origin.is_some() {
        meta.insert("profile".into(), json!([PATIENT_READ]));
    }
    if observer.simulated {
        meta.insert("security".into(), json!([code(ACT_REASON, ("HTEST", "test health data"))]));
    }
    if !meta.is_empty() {
        put("meta", Value::Object(meta));
    }
    put("type", code(if kind.rest { EVENT_TYPE } else { DCM }, kind.code));
    if let Some(subtype) = kind.subtype {
        put("subtype", json!([code(if kind.rest { INTERACTION } else { DCM }, subtype)]));
    }
    put("action", kind.action.into());
    put("recorded", row.at.rfc3339().into());
    // R4 audit-event-outcome: 0 success, 4 minor failure (what was asked was refused), 8 serious failure.
    let outcome = match told.outcome {
        "refused" => "4",
        "failed" => "8",
        _ => "0",
    };
    put("outcome", outcome.into());
    if outcome != "0" {
        put("outcomeDesc", told.note.unwrap_or(told.outcome).into());
    }
    put("agent", agents(row, &told, &kind, observer));
    put(
        "source",
        json!({
            "site": observer.site, "observer": this_box(observer),
            "type": [code(SOURCE_TYPE, ("4", "Application Server"))],
        }),
    );
    put("entity", entities(row, &told, patient, observer));
    // What a Map writes can always be written.
    let json = serde_json::value::to_raw_value(&event).unwrap_or_default();
    fhir::Resource {
        kind: "AuditEvent",
        id,
        identifier: (observer.identifier.clone(), number),
        json,
        replaces: false,
    }
}

fn this_box(observer: &Observer) -> Value {
    json!({
        "type": "Device", "identifier": { "system": URI, "value": observer.identifier },
        "display": format!("Bedside {}", observer.version),
    })
}

/// Who asked, and the box that did it; over REST as BALP names them: the client, the server and the user.
fn agents(row: &AuditRow, told: &Told<'_>, kind: &Kind, observer: &Observer) -> Value {
    let concept = |system: &str, (code, display): Code| json!({ "coding": [{ "system": system, "code": code, "display": display }] });
    // R4 network-type: 1 machine name, 2 IP address.
    let host = json!({ "address": observer.host, "type": "1" });
    let from = told.origin.map(|address| json!({ "address": address.to_string(), "type": "2" }));
    let itself = row.who == "bedside";
    let mut user = Map::new();
    let role = if kind.rest { ("IRCP", "information recipient") } else { ("AUT", "author (originator)") };
    user.insert("type".into(), concept(PARTICIPATION, role));
    user.insert("who".into(), json!({ "display": row.who }));
    user.insert("name".into(), row.who.clone().into());
    user.insert("requestor".into(), true.into());
    let own = |kind: Value, requestor: bool| {
        let mut own = Map::new();
        own.insert("type".into(), kind);
        own.insert("who".into(), this_box(observer));
        own.insert("requestor".into(), requestor.into());
        if !observer.host.is_empty() {
            own.insert("network".into(), host.clone());
        }
        Value::Object(own)
    };
    let application = concept(DCM, ("110150", "Application"));
    match (kind.rest, from) {
        (true, Some(from)) => {
            // The pattern of a query names its parts by where the question flows, that of a read by where data does.
            let (source, destination) = (("110153", "Source Role ID"), ("110152", "Destination Role ID"));
            let asks = kind.subtype == Some(SEARCH);
            let (client, server) = if asks { (source, destination) } else { (destination, source) };
            let client = json!({
                "type": concept(DCM, client), "who": { "display": "browser or program of the user" },
                "requestor": false, "network": from,
            });
            json!([client, own(concept(DCM, server), false), user])
        }
        _ if itself => json!([own(application, true)]),
        (_, from) => {
            if let Some(from) = from {
                user.insert("network".into(), from);
            }
            json!([user, own(application, false)])
        }
    }
}

/// What it was done to, and the row itself with its hash: whoever keeps the export can hold the trail against it.
fn entities(row: &AuditRow, told: &Told<'_>, patient: Option<&str>, observer: &Observer) -> Value {
    let code =
        |system: &str, (code, display): Code| json!({ "system": system, "code": code, "display": display });
    let mut all = Vec::new();
    if let Some(patient) = patient {
        let value = format!("patient/{patient}");
        let what =
            json!({ "type": "Patient", "identifier": { "system": observer.identifier, "value": value } });
        all.push(json!({
            "what": what, "type": code(ENTITY_TYPE, ("1", "Person")), "role": code(OBJECT_ROLE, ("1", "Patient")),
        }));
        all.push(json!({
            "what": what, "type": code(ENTITY_TYPE, ("2", "System Object")),
            "role": code(OBJECT_ROLE, ("4", "Domain Resource")),
        }));
    } else if let Some(target) = told.target {
        let mut entity = Map::new();
        entity.insert("type".into(), code(ENTITY_TYPE, ("2", "System Object")));
        entity.insert("role".into(), code(OBJECT_ROLE, ("4", "Domain Resource")));
        entity.insert("name".into(), target.into());
        if let Some(note) = told.note {
            entity.insert("description".into(), note.into());
        }
        all.push(Value::Object(entity));
    }
    let hash: String = row.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    all.push(json!({
        "type": code(ENTITY_TYPE, ("4", "Other")), "role": code(OBJECT_ROLE, ("13", "Security Resource")),
        "name": format!("row {} of the audit trail", row.id),
        "detail": [{ "type": "word", "valueString": row.what }, { "type": "sha256", "valueString": hash }],
    }));
    Value::Array(all)
}

/// The box's own number of the patient that was read.
fn patient<'a>(row: &AuditRow, told: &Told<'a>) -> Option<&'a str> {
    let number = told.target?.strip_prefix("patient ")?;
    let read = row.what == "patient.view" && told.outcome == "done";
    (read && number.bytes().all(|b| b.is_ascii_digit())).then_some(number)
}

fn kind(what: &str) -> Kind {
    let (group, verb) = what.split_once('.').unwrap_or((what, ""));
    let action = action(verb);
    let of = |code, subtype| Kind { rest: false, code, subtype, action };
    match (group, verb) {
        ("login", _) => Kind { action: "E", ..of(AUTHENTICATION, Some(("110122", "Login"))) },
        ("logout", _) => Kind { action: "E", ..of(AUTHENTICATION, Some(("110123", "Logout"))) },
        ("box", "start") => Kind { action: "E", ..of(ACTIVITY, Some(("110120", "Application Start"))) },
        ("box", "stop") => Kind { action: "E", ..of(ACTIVITY, Some(("110121", "Application Stop"))) },
        ("emergency" | "break-glass", "end") => of(ALERT, Some(("110138", "Emergency Override Stopped"))),
        ("break-glass", "use") => of(ALERT, Some(("110127", "Emergency Override Started"))),
        ("emergency" | "break-glass", _) => {
            Kind { action: "E", ..of(ALERT, Some(("110127", "Emergency Override Started"))) }
        }
        ("audit", "export") => Kind { action: "R", ..of(LOG_USED, Some(EXPORT)) },
        ("audit", _) => Kind { action: "R", ..of(LOG_USED, None) },
        (_, "export") | ("backup", _) => Kind { action: "R", ..of(EXPORT, None) },
        ("restored" | "restore", _) => Kind { action: "C", ..of(IMPORT, None) },
        ("setup", _) => Kind { action: "C", ..of(ALERT, Some(USER_SECURITY)) },
        ("user" | "session" | "token" | "password" | "factor", _) => of(ALERT, Some(USER_SECURITY)),
        ("step-up", _) => Kind { action: "E", ..of(AUTHENTICATION, Some(("110122", "Login"))) },
        ("access", _) => Kind { action: "E", ..of(ALERT, None) },
        ("certificate", _) => of(ALERT, Some(("110129", "Security Configuration"))),
        ("config" | "profile" | "template" | "update" | "settings", _) => {
            of(ALERT, Some(("110131", "Software Configuration")))
        }
        ("pairing" | "link" | "recording", _) => of(ALERT, Some(("110130", "Hardware Configuration"))),
        (_, "search" | "list" | "places") => {
            Kind { rest: true, code: REST, subtype: Some(SEARCH), action: "E" }
        }
        (_, "view") => Kind { rest: true, code: REST, subtype: Some(READ), action: "R" },
        ("association" | "patient", _) => of(PATIENT, None),
        ("worklist", _) => of(ORDER, None),
        // Letting results go to another system.
        ("entry" | "outgoing" | "destination", _) => Kind { action: "E", ..of(EXPORT, None) },
        _ => of(ACTIVITY, None),
    }
}

const USER_SECURITY: Code = ("110137", "User Security Attributes Changed");

fn action(verb: &str) -> &'static str {
    match verb {
        "add" | "make" | "new" | "create" | "accept" | "start" | "upload" => "C",
        "view" | "search" | "list" | "places" | "export" | "verify" | "test" | "preview" => "R",
        "remove" | "drop" | "delete" | "forget" | "cancel" | "discard" => "D",
        "" => "E",
        _ => "U",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn row(id: i64, who: &str, what: &str, detail: &str) -> AuditRow {
        let at = Timestamp::from_micros(1_795_348_800_000_000, true);
        AuditRow { id, at, who: who.into(), what: what.into(), detail: detail.into(), hash: vec![0xAB; 32] }
    }

    fn observer() -> Observer {
        Observer {
            identifier: "urn:uuid:6f2c0f5e-0000-4000-8000-000000000001".into(),
            site: "Ward 3".into(),
            host: "ward-3".into(),
            version: "0.1.0",
            simulated: false,
        }
    }

    fn event(who: &str, what: &str, detail: &str) -> Value {
        audit_event(&row(7, who, what, detail), &observer()).value()
    }

    #[test]
    fn reading_a_patient_is_the_pattern_of_ihe() {
        let read = event("ada", "patient.view", "done patient 3 from 10.0.0.7");
        assert_eq!(read["meta"]["profile"][0], PATIENT_READ);
        assert_eq!((&read["type"]["code"], &read["subtype"][0]["code"]), (&json!("rest"), &json!("read")));
        assert_eq!((&read["action"], &read["outcome"]), (&json!("R"), &json!("0")));
        let agents: Vec<_> =
            read["agent"].as_array().unwrap().iter().map(|a| &a["type"]["coding"][0]["code"]).collect();
        assert_eq!(agents, ["110152", "110153", "IRCP"]);
        assert_eq!(read["agent"][0]["network"], json!({ "address": "10.0.0.7", "type": "2" }));
        let requestors =
            read["agent"].as_array().unwrap().iter().filter(|agent| agent["requestor"] == true).count();
        assert_eq!(requestors, 1);
        let kinds: Vec<_> = read["entity"].as_array().unwrap().iter().map(|e| &e["type"]["code"]).collect();
        assert_eq!(kinds, ["1", "2", "4"], "one patient, one data, and the row");
        assert_eq!(read["entity"][0]["what"]["identifier"]["value"], "patient/3");
    }

    #[test]
    fn what_is_no_pattern_claims_none() {
        for (what, detail) in [
            ("patient.view", "done patient 3"),
            ("patient.view", "refused patient 3 from 10.0.0.7"),
            ("patient.view", "done patient 3x from 10.0.0.7"),
            ("patient.search", "done 2 found from 10.0.0.7"),
            ("login", "done from 10.0.0.7"),
        ] {
            assert_eq!(event("ada", what, detail)["meta"], Value::Null, "{what} {detail}");
        }
    }

    #[test]
    fn events_have_the_codes_of_dicom() {
        for (what, code, subtype, action) in [
            ("box.start", "110100", Some("110120"), "E"),
            ("box.stop", "110100", Some("110121"), "E"),
            ("login", "110114", Some("110122"), "E"),
            ("logout", "110114", Some("110123"), "E"),
            ("audit.view", "110101", None, "R"),
            ("recording.export", "110106", None, "R"),
            ("link.add", "110113", Some("110130"), "C"),
            ("config.change", "110113", Some("110131"), "U"),
            ("user.remove", "110113", Some("110137"), "D"),
            ("break-glass.begin", "110113", Some("110127"), "E"),
            ("break-glass.end", "110113", Some("110138"), "U"),
            ("step-up", "110114", Some("110122"), "E"),
            ("access.refused", "110113", None, "E"),
            ("factor.add", "110113", Some("110137"), "C"),
            ("association.make", "110110", None, "C"),
            ("worklist.cancel", "110109", None, "D"),
            ("entry.release", "110106", None, "E"),
            ("something.else", "110100", None, "U"),
        ] {
            let event = event("ada", what, "done");
            assert_eq!(event["type"]["code"], code, "{what}");
            assert_eq!(event["subtype"][0]["code"].as_str(), subtype, "{what}");
            assert_eq!(event["action"], action, "{what}");
        }
    }

    #[test]
    fn a_failure_says_so_and_the_box_itself_is_an_application() {
        let refused = event("unknown", "login", "refused anna from 10.0.0.9; too many tries");
        assert_eq!((&refused["outcome"], &refused["outcomeDesc"]), (&json!("4"), &json!("too many tries")));
        assert_eq!(event("ada", "entry.replay", "failed 3")["outcome"], "8");
        let start = event("bedside", "box.start", "done version 0.1.0");
        assert_eq!(start["agent"].as_array().unwrap().len(), 1);
        assert_eq!(start["agent"][0]["type"]["coding"][0]["code"], "110150");
    }

    #[test]
    fn the_same_row_is_the_same_event_and_carries_its_hash() {
        let one = audit_event(&row(7, "ada", "login", "done"), &observer());
        assert_eq!(one.id, audit_event(&row(7, "bob", "logout", "done"), &observer()).id);
        assert_ne!(one.id, audit_event(&row(8, "ada", "login", "done"), &observer()).id);
        assert_eq!(one.value()["entity"][0]["detail"][1]["valueString"], "ab".repeat(32));
        let simulated =
            audit_event(&row(7, "ada", "login", "done"), &Observer { simulated: true, ..observer() });
        assert_eq!(simulated.value()["meta"]["security"][0]["code"], "HTEST");
    }
}
