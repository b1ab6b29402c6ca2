//! The transaction Bundle that carries resources to a server (R4 3.1.0.11).

use std::collections::HashMap;
use std::fmt::Write;

use super::Resource;

/// How a server is made to keep one copy of a resource however often it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `PUT Kind/id` with our own ids: the server creates or overwrites. `base` is the server's FHIR address.
    Put { base: String },
    /// `POST Kind` with `ifNoneExist` on the identifier, for servers that give ids themselves; resources that replace
    /// are sent as `PUT Kind?identifier=…`.
    Conditional,
}

/// A transaction in the making. It never holds two entries with one key: what comes later replaces what came
/// before, as it would have on the server.
#[derive(Debug)]
pub struct Transaction<'a> {
    mode: Mode,
    resources: Vec<&'a Resource>,
    places: HashMap<(&'static str, &'a str), usize>,
    bytes: usize,
}

impl<'a> Transaction<'a> {
    /// An empty transaction.
    pub fn new(mode: Mode) -> Self {
        let mode = match mode {
            Mode::Put { base } => Mode::Put { base: base.trim_end_matches('/').into() },
            Mode::Conditional => Mode::Conditional,
        };
        Self { mode, resources: Vec::new(), places: HashMap::new(), bytes: 0 }
    }

    /// Adds a resource, or replaces the one with the same kind and id.
    pub fn add(&mut self, resource: &'a Resource) {
        let next = self.resources.len();
        let place = *self.places.entry((resource.kind, resource.id.as_str())).or_insert(next);
        self.bytes += self.cost(resource);
        match self.resources.get_mut(place) {
            Some(earlier) => {
                let dropped = *earlier;
                *earlier = resource;
                self.bytes -= self.cost(dropped);
            }
            None => self.resources.push(resource),
        }
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.resources.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }

    /// About how many bytes [`Self::json`] will be; exact to a few per cent.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The resources in the order of the entries, which is the order of a server's response entries.
    pub fn entries(&self) -> Vec<&'a Resource> {
        let mut entries = self.resources.clone();
        entries.sort_by_key(|resource| resource.rank());
        entries
    }

    /// The Bundle as JSON text.
    pub fn json(&self) -> String {
        let mut text = String::with_capacity(self.bytes + 64);
        text.push_str(r#"{"resourceType":"Bundle","type":"transaction","entry":["#);
        for (index, resource) in self.entries().into_iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            self.write_entry(resource, &mut text);
        }
        text.push_str("]}");
        text
    }

    fn write_entry(&self, resource: &Resource, text: &mut String) {
        let Resource { kind, id, json, .. } = resource;
        match &self.mode {
            Mode::Put { base } => {
                quoted(&format!("{base}/{kind}/{id}"), r#"{"fullUrl":"#, text);
                text.push_str(r#","resource":"#);
                text.push_str(json.get());
                quoted(&format!("{kind}/{id}"), r#","request":{"method":"PUT","url":"#, text);
            }
            Mode::Conditional => {
                quoted(&format!("urn:uuid:{id}"), r#"{"fullUrl":"#, text);
                text.push_str(r#","resource":"#);
                self.write_without_ids(resource, text);
                let query = identifier_query(&resource.identifier.0, &resource.identifier.1);
                if resource.replaces {
                    quoted(&format!("{kind}?{query}"), r#","request":{"method":"PUT","url":"#, text);
                } else {
                    quoted(kind, r#","request":{"method":"POST","url":"#, text);
                    quoted(&query, r#","ifNoneExist":"#, text);
                }
            }
        }
        text.push_str("}}");
    }

    /// Copies a resource, leaves its own id out (some servers refuse a create that brings one) and turns references
    /// to other entries into their `urn:uuid`.
    ///
    /// Searching the text is sound: it is compact JSON of our own making, and inside a JSON string a quote is always
    /// preceded by a backslash, so `"reference":"` can only be a key and its value.
    fn write_without_ids(&self, resource: &Resource, text: &mut String) {
        const MARK: &str = r#""reference":""#;
        let own_id = format!(r#""id":"{}","#, resource.id);
        let json = resource.json.get();
        let (head, mut rest) = json.split_once(&own_id).unwrap_or(("", json));
        text.push_str(head);
        while let Some((before, after)) = rest.split_once(MARK) {
            text.push_str(before);
            text.push_str(MARK);
            let (target, tail) = after.split_once('"').unwrap_or((after, ""));
            match target.split_once('/').filter(|(kind, id)| self.holds(kind, id)) {
                Some((_, id)) => {
                    text.push_str("urn:uuid:");
                    text.push_str(id);
                }
                None => text.push_str(target),
            }
            text.push('"');
            rest = tail;
        }
        text.push_str(rest);
    }

    fn holds(&self, kind: &str, id: &str) -> bool {
        ["Device", "DeviceMetric", "Patient", "Specimen", "Observation"]
            .iter()
            .any(|known| *known == kind && self.places.contains_key(&(*known, id)))
    }

    /// The entry's envelope: full URL, request, and in conditional mode the encoded identifier.
    fn cost(&self, resource: &Resource) -> usize {
        let envelope = match &self.mode {
            Mode::Put { base } => base.len() + 2 * resource.kind.len() + 140,
            Mode::Conditional => 160 + resource.identifier.0.len() + 2 * resource.identifier.1.len(),
        };
        resource.json.get().len() + envelope
    }
}

fn quoted(value: &str, before: &str, text: &mut String) {
    text.push_str(before);
    text.push_str(&serde_json::Value::from(value).to_string());
}

/// The search that finds a resource by its identifier: `identifier=system%7Cvalue`.
pub fn identifier_query(system: &str, value: &str) -> String {
    format!("identifier={}%7C{}", query_value(system), query_value(value))
}

/// One value of a FHIR search, safe in a URL: `\`, `,`, `|` and `$` escaped as R4 3.1.1.4.0.1 asks, then everything
/// but RFC 3986's unreserved characters percent-encoded (a bare `http://…` is refused by some servers).
pub fn query_value(value: &str) -> String {
    let mut text = String::with_capacity(value.len() * 2);
    for byte in value.bytes() {
        if matches!(byte, b'\\' | b',' | b'|' | b'$') {
            text.push_str("%5C");
        }
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else if write!(text, "%{byte:02X}").is_err() {
            // Writing to a String does not fail.
            return text;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn resource(kind: &'static str, value: &str, body: Value) -> Resource {
        let id = super::super::id(kind, "urn:s", value);
        let mut text = format!(r#"{{"resourceType":"{kind}","id":"{id}""#);
        for (key, element) in body.as_object().unwrap() {
            text.push_str(&format!(r#","{key}":{element}"#));
        }
        text.push('}');
        Resource {
            kind,
            id,
            identifier: ("urn:s".into(), value.into()),
            json: serde_json::value::RawValue::from_string(text).unwrap(),
            replaces: false,
        }
    }

    fn bundle(transaction: &Transaction) -> Value {
        serde_json::from_str(&transaction.json()).unwrap()
    }

    #[test]
    fn a_put_names_our_own_id_and_copies_the_resource_untouched() {
        let patient = resource("Patient", "7", json!({"active": true}));
        let mut transaction = Transaction::new(Mode::Put { base: "https://fhir.example/r4/".into() });
        transaction.add(&patient);
        let bundle = bundle(&transaction);
        assert_eq!(bundle["type"], "transaction");
        let entry = &bundle["entry"][0];
        assert_eq!(entry["fullUrl"], format!("https://fhir.example/r4/Patient/{}", patient.id));
        assert_eq!(entry["request"], json!({"method": "PUT", "url": format!("Patient/{}", patient.id)}));
        assert_eq!(entry["resource"], patient.value());
    }

    #[test]
    fn a_conditional_create_carries_no_id_and_refers_by_urn() {
        let device =
            resource("Device", "a b|c,d", json!({"type": {"text": "it says \"reference\":\"Device/x\""}}));
        let reference = format!("Device/{}", device.id);
        let observation = resource(
            "Observation",
            "1",
            json!({"subject": {"reference": "Patient/elsewhere"}, "device": {"reference": reference}}),
        );
        let mut transaction = Transaction::new(Mode::Conditional);
        transaction.add(&observation);
        transaction.add(&device);
        let bundle = bundle(&transaction);
        let [first, second] = [&bundle["entry"][0], &bundle["entry"][1]];
        assert_eq!(first["fullUrl"], format!("urn:uuid:{}", device.id));
        assert_eq!(first["resource"]["type"]["text"], "it says \"reference\":\"Device/x\"");
        assert_eq!(
            first["request"],
            json!({"method": "POST", "url": "Device", "ifNoneExist": "identifier=urn%3As%7Ca%20b%5C%7Cc%5C%2Cd"})
        );
        assert!(second["resource"].get("id").is_none());
        assert_eq!(second["resource"]["device"]["reference"], format!("urn:uuid:{}", device.id));
        assert_eq!(second["resource"]["subject"]["reference"], "Patient/elsewhere");
    }

    #[test]
    fn a_correction_overwrites_even_where_the_server_gives_the_ids() {
        let mut observation = resource("Observation", "1", json!({}));
        observation.replaces = true;
        let mut transaction = Transaction::new(Mode::Conditional);
        transaction.add(&observation);
        assert_eq!(
            bundle(&transaction)["entry"][0]["request"],
            json!({"method": "PUT", "url": "Observation?identifier=urn%3As%7C1"})
        );
    }

    #[test]
    fn one_key_never_stands_in_a_bundle_twice_and_the_later_one_stays() {
        let old = resource("Device", "1", json!({"serialNumber": "old"}));
        let new = resource("Device", "1", json!({"serialNumber": "newer"}));
        let mut transaction = Transaction::new(Mode::Put { base: "http://x".into() });
        transaction.add(&old);
        transaction.add(&new);
        assert_eq!(transaction.len(), 1);
        assert_eq!(bundle(&transaction)["entry"][0]["resource"]["serialNumber"], "newer");
    }

    #[test]
    fn what_is_referred_to_comes_first_and_the_size_is_known_before_writing() {
        let all: Vec<Resource> = ["Observation", "Specimen", "Patient", "DeviceMetric", "Device"]
            .into_iter()
            .map(|kind| resource(kind, "1", json!({"a": "x".repeat(500)})))
            .collect();
        for mode in [Mode::Put { base: "https://fhir.example/r4".into() }, Mode::Conditional] {
            let mut transaction = Transaction::new(mode);
            all.iter().for_each(|resource| transaction.add(resource));
            let kinds: Vec<&str> = transaction.entries().iter().map(|r| r.kind).collect();
            assert_eq!(kinds, ["Device", "DeviceMetric", "Patient", "Specimen", "Observation"]);
            let (told, real) = (transaction.bytes(), transaction.json().len());
            assert!(told.abs_diff(real) * 10 < real, "told {told}, is {real}");
        }
    }
}
