//! What a hospital system's messages are used for: patients for the index, orders for the worklist. The rest is kept.

use super::{Meaning, Said, Understanding, Understood, context, guarded};
use crate::config::{HL7_SYSTEM, Link, SystemReads};
use crate::device::Finding;
use crate::firmware_profile::{Arrival, LinkContext};
use crate::gateway::by_template;
use crate::hl7v2::{self, Message};
use crate::identity::adt::{self, Adt};

/// Messages of one frame.
const MESSAGES_MAX: usize = 10_000;
/// Findings told of one frame.
const FINDINGS_MAX: usize = 200;

/// What the messages of a frame came to.
#[derive(Default)]
struct Heard {
    people: Vec<Adt>,
    orders: Option<Arrival>,
    /// Kinds of the messages, the first ones.
    kinds: Vec<String>,
    /// Why messages change nothing here.
    unused: Vec<String>,
    findings: Vec<Finding>,
}

impl Understanding {
    /// Reads a frame of a hospital system: a message, or a batch of them (2.5 §2.10.3). One that cannot be used holds
    /// the frame, and then none of it is told.
    pub(super) fn read_system(&self, link: &Link, system: &SystemReads, said: &Said<'_>) -> Understood {
        let reading = || {
            let context = context(link, said.received);
            let batch = hl7v2::batch(said.bytes);
            if batch.messages.is_empty() {
                return Understood::unread(said, "not HL7", Meaning::Hold("not HL7: no MSH".into()));
            }
            if batch.messages.len() > MESSAGES_MAX {
                let why = format!("more than {MESSAGES_MAX} messages in one piece: send them in several");
                return Understood::unread(said, "too many messages", Meaning::Hold(why));
            }
            let mut heard = Heard { findings: batch.findings, ..Heard::default() };
            for message in batch.messages {
                if let Err(why) = self.hear(message, system, said, &context, &mut heard) {
                    let findings = heard.findings;
                    return Understood { findings, ..Understood::unread(said, "held", Meaning::Hold(why)) };
                }
            }
            let understood = heard.understood(said);
            match self.templates.as_ref().filter(|_| system.templates) {
                Some(templates) => {
                    let read = by_template::read(templates, &self.gateway, self.simulated, &context, said);
                    understood.delivered(read)
                }
                None => understood,
            }
        };
        guarded(reading).unwrap_or_else(|| self.failed(link, HL7_SYSTEM, said))
    }

    fn hear(
        &self,
        bytes: &[u8],
        system: &SystemReads,
        said: &Said<'_>,
        context: &LinkContext,
        heard: &mut Heard,
    ) -> Result<(), String> {
        let header = hl7v2::header(bytes).ok_or("not HL7: no MSH")?;
        let plain = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).take(8).collect::<String>();
        let kind = format!("{}^{}", plain(&header.message_type), plain(&header.trigger));
        if heard.kinds.len() < 8 && !heard.kinds.contains(&kind) {
            heard.kinds.push(kind.clone());
        }
        if let Some(arrival) = system.orders.arriving_orders(bytes, context) {
            let all = heard.orders.get_or_insert_default();
            all.orders.extend(arrival.orders);
            all.unusable.extend(arrival.unusable);
            return Ok(());
        }
        let adt = header.message_type.split('_').next() == Some("ADT");
        if !(adt && system.patients) {
            heard.unused.push(format!("{kind}: {}", unused(&header.message_type)));
            return Ok(());
        }
        let parsed = Message::parse(bytes, context.charset);
        heard.findings.extend(parsed.findings);
        heard.findings.truncate(FINDINGS_MAX);
        let message = parsed.message.ok_or("not HL7: no MSH")?;
        let context = adt::Context {
            zone: &context.zone,
            zone_name: &context.zone_name,
            received: said.received,
            issuers: self.issuers(),
        };
        heard.people.push(adt::read(&message, &context)?);
        Ok(())
    }
}

impl Understood {
    /// What a frame is used for here, and delivered as besides.
    fn delivered(self, read: by_template::Read) -> Self {
        let orders = match self.meaning {
            Meaning::Orders(arrival) => Some(arrival),
            _ => None,
        };
        Self { summary: read.summary, findings: read.findings, meaning: read.meaning, orders, ..self }
    }
}

impl Heard {
    fn understood(self, said: &Said<'_>) -> Understood {
        let summary = self.kinds.join(", ");
        let mut words: Vec<String> =
            self.people.iter().map(|adt| format!("patient index: {}", adt.done)).collect();
        words.extend(self.people.iter().flat_map(|adt| adt.left_out.clone()));
        words.extend(self.unused);
        words.dedup();
        words.truncate(8);
        let meaning = match self.orders {
            Some(arrival) => Meaning::Orders(arrival),
            None => Meaning::Nothing(words.join("; ")),
        };
        let (people, findings) = (self.people, self.findings);
        Understood { people, findings, ..Understood::unread(said, &summary, meaning) }
    }
}

/// Why a hospital system's message of this type (MSH-9.1) changes nothing here.
fn unused(kind: &str) -> &'static str {
    match kind {
        "ADT" => "this link tells the patient index nothing ([link.system] patients)",
        "ACK" | "RSP" | "ADR" | "MCF" | "ORR" | "ORL" => "an answer; this link asks nothing",
        "QBP" | "QRY" | "QCN" | "QSX" => "a query",
        _ => "nothing on this link uses it",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::Timestamp;
    use crate::config;
    use crate::device::Identifier;
    use crate::firmware_profile::Library;
    use crate::{template, translate};

    fn read(system: &str, text: &str) -> Understood {
        let page = format!(
            "name = \"his\"\nprofile = \"hl7-system\"\nzone = \"Europe/Berlin\"\nmllp = {{ listen = \"127.0.0.1:1\" }}\n{system}"
        );
        let site: config::Site = toml::from_str("name = \"T\"").unwrap();
        let link = config::parse_link(&page, &site, &Library::embedded().unwrap(), false).unwrap();
        let gateway = translate::Gateway {
            id: Identifier { system: "urn:x".into(), value: "box".into(), kind: None },
            name: "Box".into(),
            version: "0".into(),
            patient_system: None,
        };
        let templates = Arc::new(template::Library::embedded().unwrap());
        let understanding = Understanding::new(vec![link], gateway, false).translating(templates);
        understanding.read(&Said {
            link: "his",
            peer: "192.0.2.1:1",
            received: Timestamp::from_micros(1_773_477_000_000_000, true),
            bytes: text.as_bytes(),
            topic: None,
            sha256: [0; 32],
        })
    }

    const ORDER: &str = "MSH|^~\\&|LIS|L|||202603141000||ORM^O01|5|P|2.5\rPID|1||TEST-1^^^MRN^MR||TEST^PATIENT\r\
        ORC|NW|A-1\rOBR|1|A-1||2345-7^Glucose^LN\r";
    const ADMITTED: &str = "MSH|^~\\&|HIS|H|||202603141000||ADT^A01|6|P|2.5\rEVN||202603141000\r\
        PID|1||TEST-1^^^MRN^MR||TEST^PATIENT\rPV1|1|I|ICU^4^2\r";

    #[test]
    fn an_order_goes_to_the_worklist_and_by_template_to_the_server_where_that_is_asked() {
        let plain = read("", ORDER);
        assert!(matches!(plain.meaning, Meaning::Orders(_)) && plain.orders.is_none());
        let both = read("[system]\ntemplates = true\n", ORDER);
        let Meaning::Deliver { resources } = &both.meaning else { panic!("not delivered") };
        assert!(resources.iter().any(|one| one.kind == "ServiceRequest"));
        assert_eq!(both.orders.map(|orders| orders.orders.len()), Some(1));
    }

    #[test]
    fn an_admission_tells_the_index_whether_or_not_it_is_delivered() {
        let plain = read("", ADMITTED);
        assert!(matches!(plain.meaning, Meaning::Nothing(_)) && plain.people.len() == 1);
        let both = read("[system]\ntemplates = true\n", ADMITTED);
        assert!(matches!(both.meaning, Meaning::Deliver { .. }) && both.people.len() == 1);
        let deaf = read("[system]\npatients = false\n", ADMITTED);
        assert!(matches!(deaf.meaning, Meaning::Nothing(_)) && deaf.people.is_empty());
    }
}
