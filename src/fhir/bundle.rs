//! The transaction Bundle that carries resources to a server (R4 3.1.0.11).

use std::borrow::Cow;
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

/// Where one resource goes when the server has a say in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// As the mode says.
    Usual,
    /// `PUT` to the place the server is known to keep it at: `Kind/id`.
    At(String),
    /// `PUT Kind?identifier=…`: a match is overwritten.
    Match,
}

/// A transaction in the making. It never holds two entries with one key: what comes later replaces what came
/// before, as it would have on the server.
#[derive(Debug)]
pub struct Transaction<'a> {
    mode: Mode,
    resources: Vec<&'a Resource>,
    places: HashMap<(&'static str, &'a str), usize>,
    ids: HashMap<&'a str, &'static str>,
    /// By id: ids are hashes over the kind too.
    placements: HashMap<&'a str, Placement>,
    spelled: HashMap<String, String>,
    bytes: usize,
}

impl<'a> Transaction<'a> {
    /// An empty transaction.
    pub fn new(mode: Mode) -> Self {
        let mode = match mode {
            Mode::Put { base } => Mode::Put { base: base.trim_end_matches('/').into() },
            Mode::Conditional => Mode::Conditional,
        };
        Self {
            mode,
            resources: Vec::new(),
            places: HashMap::new(),
            ids: HashMap::new(),
            placements: HashMap::new(),
            spelled: HashMap::new(),
            bytes: 0,
        }
    }

    /// Adds a resource, or replaces the one with the same kind and id.
    pub fn add(&mut self, resource: &'a Resource) {
        let next = self.resources.len();
        self.ids.insert(&resource.id, resource.kind);
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

    /// Whether it holds a version of `resource` that overwrites what the server has.
    pub fn overwrites(&self, resource: &Resource) -> bool {
        let place = self.places.get(&(resource.kind, resource.id.as_str()));
        place.and_then(|place| self.resources.get(*place)).is_some_and(|known| known.replaces)
    }

    /// Adds a resource that goes elsewhere than the mode says.
    pub fn place(&mut self, resource: &'a Resource, placement: Placement) {
        self.add(resource);
        match placement {
            Placement::Usual => self.placements.remove(resource.id.as_str()),
            placement => self.placements.insert(&resource.id, placement),
        };
    }

    /// References to `own` (`Kind/id`), which is not an entry, are written as `spelled`: the server's own `Kind/id`, or
    /// a conditional reference.
    pub fn refer(&mut self, own: String, spelled: String) {
        self.spelled.insert(own, spelled);
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
        self.json_as("transaction")
    }

    /// The same as a `batch` (R4 3.1.0.11.1): each entry by itself.
    pub fn json_as_batch(&self) -> String {
        self.json_as("batch")
    }

    fn json_as(&self, kind: &str) -> String {
        let mut text = String::with_capacity(self.bytes + 64);
        text.push_str(r#"{"resourceType":"Bundle","type":""#);
        text.push_str(kind);
        text.push_str(r#"","entry":["#);
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
        let Resource { kind, id, identifier: (system, value), .. } = resource;
        let urn = || format!("urn:uuid:{id}");
        let query = || identifier_query(system, value);
        match (&self.mode, self.placement(id)) {
            (Mode::Put { base }, Placement::Usual) => {
                let own = format!("{kind}/{id}");
                self.write_put(resource, &format!("{base}/{own}"), &own, text);
            }
            (_, Placement::At(at)) => self.write_put(resource, &urn(), at, text),
            (Mode::Conditional, Placement::Usual) if !resource.replaces => {
                quoted(&urn(), r#"{"fullUrl":"#, text);
                text.push_str(r#","resource":"#);
                self.write_resource(resource, None, text);
                quoted(kind, r#","request":{"method":"POST","url":"#, text);
                quoted(&query(), r#","ifNoneExist":"#, text);
            }
            _ => self.write_put(resource, &urn(), &format!("{kind}?{}", query()), text),
        }
        text.push_str("}}");
    }

    fn write_put(&self, resource: &Resource, full_url: &str, url: &str, text: &mut String) {
        quoted(full_url, r#"{"fullUrl":"#, text);
        text.push_str(r#","resource":"#);
        let id = url.split_once('/').filter(|_| !url.contains('?')).map(|(_, id)| id);
        self.write_resource(resource, id, text);
        quoted(url, r#","request":{"method":"PUT","url":"#, text);
    }

    fn placement(&self, id: &str) -> &Placement {
        self.placements.get(id).unwrap_or(&Placement::Usual)
    }

    /// Copies a resource with the id it is to have there (none: some servers refuse a create that brings one), and
    /// spells references as they are to be read there.
    ///
    /// Searching the text is sound: it is compact JSON of our own making, and inside a JSON string a quote is always
    /// preceded by a backslash, so `"reference":"` can only be a key and its value.
    fn write_resource(&self, resource: &Resource, id: Option<&str>, text: &mut String) {
        const MARK: &str = r#""reference":""#;
        let json = resource.json.get();
        if id == Some(resource.id.as_str()) && self.spelled.is_empty() && self.placements.is_empty() {
            return text.push_str(json);
        }
        let own_id = format!(r#""id":"{}","#, resource.id);
        let (head, mut rest) = json.split_once(&own_id).unwrap_or(("", json));
        text.push_str(head);
        if let Some(id) = id.filter(|_| !head.is_empty()) {
            quoted(id, r#""id":"#, text);
            text.push(',');
        }
        while let Some((before, after)) = rest.split_once(MARK) {
            text.push_str(before);
            let (target, tail) = after.split_once('"').unwrap_or((after, ""));
            quoted(&self.spelling(target), r#""reference":"#, text);
            rest = tail;
        }
        text.push_str(rest);
    }

    fn spelling<'t>(&'t self, target: &'t str) -> Cow<'t, str> {
        if let Some(spelled) = self.spelled.get(target) {
            return Cow::Borrowed(spelled);
        }
        let Some((_, id)) = target.split_once('/').filter(|(kind, id)| self.holds(kind, id)) else {
            return Cow::Borrowed(target);
        };
        match (self.placement(id), &self.mode) {
            (Placement::At(at), _) => Cow::Borrowed(at),
            (Placement::Usual, Mode::Put { .. }) => Cow::Borrowed(target),
            _ => Cow::Owned(format!("urn:uuid:{id}")),
        }
    }

    fn holds(&self, kind: &str, id: &str) -> bool {
        // Ids are hashes over the kind too.
        self.ids.get(id).is_some_and(|own| *own == kind)
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
    fn what_the_server_keeps_elsewhere_is_written_there_and_referred_to_there() {
        let device = resource("Device", "1", json!({"status": "active"}));
        let references = json!({"subject": {"reference": "Patient/ours"}, "device": {"reference": format!("Device/{}", device.id)}});
        let observation = resource("Observation", "1", references);
        for mode in [Mode::Put { base: "https://h".into() }, Mode::Conditional] {
            let mut transaction = Transaction::new(mode);
            transaction.place(&device, Placement::At("Device/77".into()));
            transaction.place(&observation, Placement::Match);
            transaction.refer("Patient/ours".into(), "Patient/theirs".into());
            let bundle = bundle(&transaction);
            let [first, second] = [&bundle["entry"][0], &bundle["entry"][1]];
            assert_eq!(
                (&first["request"]["url"], &first["resource"]["id"]),
                (&json!("Device/77"), &json!("77"))
            );
            assert_eq!(second["resource"]["device"]["reference"], "Device/77");
            assert_eq!(second["resource"]["subject"]["reference"], "Patient/theirs");
            assert_eq!(second["request"]["url"], "Observation?identifier=urn%3As%7C1");
            assert!(second["resource"].get("id").is_none());
        }
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
