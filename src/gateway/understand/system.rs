//! What a hospital system's messages are used for: patients for the index, orders for the worklist. The rest is kept.

use super::{Meaning, Said, Understanding, Understood, context, guarded};
use crate::config::{HL7_SYSTEM, Link, SystemReads};
use crate::device::Finding;
use crate::fhir::Resource;
use crate::firmware_profile::{Arrival, LinkContext, is_order};
use crate::gateway::by_template::{self, Translator};
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
            let context = context(link, said.received, said.entry);
            let batch = hl7v2::batch(said.bytes);
            if batch.messages.is_empty() {
                return Understood::unread(said, "not HL7", Meaning::Hold("not HL7: no MSH".into()));
            }
            let translator = self.translator(link, system, &context);
            let most = if translator.is_some() { by_template::MESSAGES_MAX } else { MESSAGES_MAX };
            if batch.messages.len() > most {
                let why = format!("more than {most} messages in one piece: send them in several");
                return Understood::unread(said, "too many messages", Meaning::Hold(why));
            }
            let mut heard = Heard { findings: batch.findings, ..Heard::default() };
            let mut messages = Vec::new();
            for bytes in batch.messages {
                let hearing = Hearing { system, said, context: &context, all: translator.is_some() };
                match self.hear(bytes, &hearing, &mut heard) {
                    Ok(message) => messages.extend(message),
                    Err(why) => {
                        let findings = heard.findings;
                        return Understood {
                            findings,
                            ..Understood::unread(said, "held", Meaning::Hold(why))
                        };
                    }
                }
            }
            let mut understood = heard.understood(said);
            if let Some(translator) = translator {
                let mut read = translator.read(&messages, said);
                read.findings.splice(0..0, std::mem::take(&mut understood.findings));
                return understood.delivered(read);
            }
            understood
        };
        guarded(reading).unwrap_or_else(|| self.failed(link, HL7_SYSTEM, said))
    }

    /// What messages of this link are translated with, where the site wants that.
    fn translator<'a>(
        &'a self,
        link: &'a Link,
        system: &'a SystemReads,
        context: &'a LinkContext,
    ) -> Option<Translator<'a>> {
        let library = self.templates.as_ref().filter(|_| system.templates)?;
        Some(Translator {
            library,
            gateway: &self.gateway,
            issuers: &self.issuers,
            simulated: self.simulated,
            link,
            context,
            page: &system.orders,
            whose: self.whose.get(),
        })
    }

    /// What the messages of a frame give when they are delivered as was written down once; `withdrawn`: taken back.
    pub(super) fn system_under(
        &self,
        link: &Link,
        system: &SystemReads,
        said: &Said<'_>,
        text: &str,
        withdrawn: bool,
    ) -> Option<Vec<Resource>> {
        let context = context(link, said.received, said.entry);
        let translator = self.translator(link, system, &context)?;
        let batch = hl7v2::batch(said.bytes);
        let parsed = batch.messages.iter().map(|bytes| Message::parse(bytes, context.charset).message);
        translator.under(&parsed.collect::<Option<Vec<_>>>()?, text, withdrawn)
    }

    /// Uses one message; gives it when it was read as a whole.
    fn hear<'b>(
        &self,
        bytes: &'b [u8],
        hearing: &Hearing<'_>,
        heard: &mut Heard,
    ) -> Result<Option<Message<'b>>, String> {
        const NO_HEADER: &str = "not HL7: no MSH";
        let Hearing { system, said, context, all } = *hearing;
        let header = hl7v2::header(bytes).ok_or(NO_HEADER)?;
        let plain = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).take(8).collect::<String>();
        let kind = format!("{}^{}", plain(&header.message_type), plain(&header.trigger));
        if heard.kinds.len() < 8 && !heard.kinds.contains(&kind) {
            heard.kinds.push(kind.clone());
        }
        let order = is_order(&header.message_type);
        let adt = header.message_type.split('_').next() == Some("ADT") && system.patients;
        let mut message = None;
        if order || adt || all {
            let parsed = Message::parse(bytes, context.charset);
            if adt || all {
                heard.findings.extend(parsed.findings);
                heard.findings.truncate(FINDINGS_MAX);
            }
            message = parsed.message;
        }
        let whole = message.as_ref();
        if let Some(arrival) = whole.filter(|_| order).and_then(|m| system.orders.orders_in(m, context)) {
            let all = heard.orders.get_or_insert_default();
            all.orders.extend(arrival.orders);
            all.unusable.extend(arrival.unusable);
        } else if adt {
            let context = adt::Context {
                zone: &context.zone,
                zone_name: &context.zone_name,
                received: said.received,
                issuers: self.issuers(),
            };
            heard.people.push(adt::read(whole.ok_or(NO_HEADER)?, &context)?);
        } else {
            heard.unused.push(format!("{kind}: {}", unused(&header.message_type)));
        }
        Ok(message)
    }
}

/// How a message is heard.
#[derive(Clone, Copy)]
struct Hearing<'h> {
    system: &'h SystemReads,
    said: &'h Said<'h>,
    context: &'h LinkContext,
    /// Every message is read as a whole.
    all: bool,
}

impl Understood {
    /// What a frame is used for here, and delivered as besides.
    fn delivered(self, read: by_template::Read) -> Self {
        let orders = match self.meaning {
            Meaning::Orders(arrival) => Some(arrival),
            _ => None,
        };
        let by_template::Read { summary, findings, meaning, whose } = read;
        Self { summary, findings, meaning, orders, whose, ..self }
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
            entry: None,
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
