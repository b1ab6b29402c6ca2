//! Entries on their way out: which resources go into a transaction Bundle, and how each one is written.
//!
//! Source: FHIR R4 §3.1.0.11 (transaction), §3.1.0.4.1 (update as create), §3.1.0.8.1 (conditional create).

use std::collections::HashMap;

use aws_lc_rs::digest;

use crate::fhir::Resource;

/// SHA-256 of the JSON that was sent.
pub(super) type Digest = [u8; 32];

/// How one resource is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// PUT Type/id with the id Bedside derived.
    Put,
    /// PUT to the id the server gave it.
    PutAt(String),
    /// PUT Type?identifier=…: the match is updated, else created.
    UpdateMatch,
    /// POST with ifNoneExist: the match stays as it is, else created.
    CreateUnlessMatch,
}

/// One resource ready to be sent.
#[derive(Clone, Debug)]
pub(super) struct Line<'a> {
    pub(super) resource: &'a Resource,
    pub(super) style: Style,
}

/// `Type/id`: the identity by which no resource is twice in a Bundle or twice on its way.
pub(super) fn key(resource: &Resource) -> String {
    format!("{}/{}", resource.kind, resource.id)
}

/// Whether a resource describes something that stays (device, patient) rather than what was measured.
pub(super) fn lasting(resource: &Resource) -> bool {
    !matches!(resource.kind, "Observation" | "DiagnosticReport" | "Provenance")
}

/// The digest by which an unchanged resource is recognised.
pub(super) fn digest(resource: &Resource) -> Digest {
    let json = serde_json::to_vec(&resource.json).unwrap_or_default();
    let mut digest = Digest::default();
    digest.copy_from_slice(digest::digest(&digest::SHA256, &json).as_ref());
    digest
}

/// Writes the transaction. `elsewhere` says how references to resources are to be spelled that are not in this
/// Bundle under the id Bedside gave them: `Type/id` → the server's `Type/id` or a conditional reference.
pub(super) fn write(base: &str, lines: &[Line<'_>], elsewhere: &HashMap<String, String>) -> Vec<u8> {
    let mut spelled = elsewhere.clone();
    for line in lines {
        match &line.style {
            Style::Put => {}
            Style::PutAt(at) => drop(spelled.insert(key(line.resource), at.clone())),
            Style::UpdateMatch | Style::CreateUnlessMatch => {
                spelled.insert(key(line.resource), urn(line.resource));
            }
        }
    }
    let mut out = Vec::with_capacity(lines.len() * 1_500 + 100);
    out.extend_from_slice(br#"{"resourceType":"Bundle","type":"transaction","entry":["#);
    for (position, line) in lines.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        entry(&mut out, base, line, &spelled);
    }
    out.extend_from_slice(b"]}");
    out
}

fn entry(out: &mut Vec<u8>, base: &str, line: &Line<'_>, spelled: &HashMap<String, String>) {
    let resource = line.resource;
    let own = key(resource);
    let query = || format!("identifier={}", identifier_query(resource));
    let (full_url, method, url, unless) = match &line.style {
        Style::Put => (format!("{base}/{own}"), "PUT", own, None),
        Style::PutAt(at) => (format!("{base}/{at}"), "PUT", at.clone(), None),
        Style::UpdateMatch => (urn(resource), "PUT", format!("{}?{}", resource.kind, query()), None),
        Style::CreateUnlessMatch => (urn(resource), "POST", resource.kind.to_owned(), Some(query())),
    };
    let unless = unless.map(|query| format!(r#","ifNoneExist":{}"#, quoted(&query))).unwrap_or_default();
    out.extend_from_slice(format!(r#"{{"fullUrl":{},"resource":"#, quoted(&full_url)).as_bytes());
    out.extend_from_slice(json(line, spelled).as_bytes());
    let request = format!(r#","request":{{"method":"{method}","url":{}{unless}}}}}"#, quoted(&url));
    out.extend_from_slice(request.as_bytes());
}

/// The resource as it is sent: with the id that fits its style, and its references spelled as `spelled` says.
pub(super) fn json(line: &Line<'_>, spelled: &HashMap<String, String>) -> String {
    let written = match &line.style {
        Style::Put => serde_json::to_string(&line.resource.json),
        style => {
            let mut json = line.resource.json.clone();
            if let Some(fields) = json.as_object_mut() {
                match style {
                    Style::PutAt(at) => {
                        let id = at.rsplit('/').next().unwrap_or_default();
                        fields.insert("id".into(), id.into());
                    }
                    // A server refuses an id it did not choose where it is to choose one.
                    _ => drop(fields.remove("id")),
                }
            }
            serde_json::to_string(&json)
        }
    };
    respell(written.unwrap_or_default(), spelled)
}

/// Compact JSON never escapes inside `"reference":"Type/uuid"`, and a quote within any other text is escaped: this
/// pattern is a reference and nothing else.
fn respell(json: String, spelled: &HashMap<String, String>) -> String {
    const OPENING: &str = "\"reference\":\"";
    if spelled.is_empty() || !json.contains(OPENING) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 64);
    let mut rest = json.as_str();
    while let Some((before, after)) = rest.split_once(OPENING) {
        out.push_str(before);
        out.push_str(OPENING);
        let (target, tail) = after.split_once('"').unwrap_or((after, ""));
        match spelled.get(target) {
            Some(other) => out.push_str(quoted(other).trim_matches('"')),
            None => out.push_str(target),
        }
        out.push('"');
        rest = tail;
    }
    out.push_str(rest);
    out
}

/// `system|value`, percent-encoded: a raw `http://…` in a query is refused by some servers.
pub(super) fn identifier_query(resource: &Resource) -> String {
    let (system, value) = &resource.identifier;
    percent_encoded(&format!("{system}|{value}"))
}

/// RFC 3986 §2.3: everything but the unreserved characters.
pub(super) fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn urn(resource: &Resource) -> String {
    format!("urn:uuid:{}", resource.id)
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn patient() -> Resource {
        let id = "6f9619ff-8b86-5011-b42d-00c04fc964ff";
        let identifier = (String::from("http://clinic.example/mrn"), String::from("12 & 3"));
        let json = json!({ "resourceType": "Patient", "id": id, "identifier": [{ "system": identifier.0, "value": identifier.1 }] });
        Resource { kind: "Patient", id: id.into(), identifier, json }
    }

    fn observation() -> Resource {
        let id = "1b4e28ba-2fa1-51d2-883f-0016d3cca427";
        let subject = key(&patient());
        let json = json!({ "resourceType": "Observation", "id": id, "subject": { "reference": subject },
            "note": [{ "text": format!("not a \"reference\":\"{subject}\" at all") }], "valueQuantity": { "value": 2.0 } });
        Resource { kind: "Observation", id: id.into(), identifier: ("urn:bedside".into(), "o1".into()), json }
    }

    fn written(lines: &[Line<'_>], elsewhere: &HashMap<String, String>) -> Value {
        serde_json::from_slice(&write("https://fhir.example.org/r4", lines, elsewhere)).unwrap()
    }

    #[test]
    fn in_put_mode_ids_and_references_are_ours() {
        let (patient, observation) = (patient(), observation());
        let lines = [&patient, &observation].map(|resource| Line { resource, style: Style::Put });
        let bundle = written(&lines, &HashMap::new());
        assert_eq!(bundle["type"], "transaction");
        let put = &bundle["entry"][1];
        assert_eq!(put["request"]["method"], "PUT");
        assert_eq!(put["request"]["url"], key(&observation));
        assert_eq!(put["fullUrl"], format!("https://fhir.example.org/r4/{}", key(&observation)));
        assert_eq!(put["resource"], observation.json);
    }

    #[test]
    fn in_conditional_mode_the_server_chooses_ids_and_references_are_urns() {
        let (patient, observation) = (patient(), observation());
        let lines =
            [&patient, &observation].map(|resource| Line { resource, style: Style::CreateUnlessMatch });
        let bundle = written(&lines, &HashMap::new());
        let create = &bundle["entry"][0];
        assert_eq!(
            create["request"]["ifNoneExist"],
            "identifier=http%3A%2F%2Fclinic.example%2Fmrn%7C12%20%26%203"
        );
        assert!(create["resource"].get("id").is_none());
        assert_eq!(bundle["entry"][1]["resource"]["subject"]["reference"], create["fullUrl"]);
        assert_eq!(bundle["entry"][1]["request"]["method"], "POST");
    }

    #[test]
    fn a_patient_the_server_has_is_referred_to_by_the_servers_id() {
        let observation = observation();
        let theirs = HashMap::from([(key(&patient()), String::from("Patient/77"))]);
        let lines = [Line { resource: &observation, style: Style::Put }];
        let sent = written(&lines, &theirs)["entry"][0]["resource"].clone();
        assert_eq!(sent["subject"]["reference"], "Patient/77");
        assert_eq!(
            sent["note"], observation.json["note"],
            "a text that looks like a reference is left alone"
        );
    }

    #[test]
    fn a_resource_with_a_known_place_is_written_there() {
        let observation = observation();
        let lines = [Line { resource: &observation, style: Style::PutAt("Observation/9".into()) }];
        let entry = written(&lines, &HashMap::new())["entry"][0].clone();
        assert_eq!(entry["request"]["url"], "Observation/9");
        assert_eq!(entry["resource"]["id"], "9");
    }

    #[test]
    fn a_number_keeps_its_digits_on_the_way_out() {
        let mut observation = observation();
        observation.json["valueQuantity"]["value"] = serde_json::from_str("2.00").unwrap();
        let lines = [Line { resource: &observation, style: Style::Put }];
        let sent = write("http://h", &lines, &HashMap::from([(key(&patient()), "Patient/1".into())]));
        assert!(String::from_utf8(sent).unwrap().contains("\"value\":2.00"));
    }

    #[test]
    fn every_reserved_character_of_a_query_is_encoded() {
        assert_eq!(percent_encoded("a|b c&d=é/~"), "a%7Cb%20c%26d%3D%C3%A9%2F~");
    }
}
