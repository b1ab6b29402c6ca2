//! What hospital systems send, translated by templates: frame → messages → FHIR resources.

use crate::device::Finding;
use crate::fhir::Resource;
use crate::firmware_profile::LinkContext;
use crate::gateway::understand::{Meaning, Said};
use crate::hl7v2::{Message, Parsed};
use crate::template::{Context, Library};
use crate::translate::Gateway;

/// Messages in one frame; a batch beyond this is not from an interface that speaks MLLP.
const MESSAGES_MAX: usize = 1000;

/// What the messages of a frame became: one line for people, the findings and the meaning.
pub(super) struct Read {
    pub(super) summary: String,
    pub(super) findings: Vec<Finding>,
    pub(super) meaning: Meaning,
}

/// Translates every message of a frame, all or none: half a frame delivered is a result nobody will look for.
pub(super) fn read(
    library: &Library,
    gateway: &Gateway,
    simulated: bool,
    link: &LinkContext,
    said: &Said<'_>,
) -> Read {
    let context = Context { link, gateway, simulated };
    let (mut resources, mut findings): (Vec<Resource>, Vec<Finding>) = (Vec::new(), Vec::new());
    let (mut rest, mut messages) = (said.bytes, 0);
    while let Parsed { message: Some(message), rest: after, findings: odd } =
        Message::parse(rest, link.charset)
    {
        if messages == MESSAGES_MAX {
            let why = format!("more than {MESSAGES_MAX} messages in one piece: send them in several");
            return Read { summary: "too many messages".into(), findings, meaning: Meaning::Hold(why) };
        }
        messages += 1;
        findings.extend(odd);
        match library.convert(&message, &context) {
            Ok(made) => {
                // The header is about the message; a server keeps what the message is about.
                resources.extend(made.resources.into_iter().filter(|one| one.kind != "MessageHeader"));
                findings.extend(made.findings);
            }
            Err(why) => {
                let meaning = Meaning::Hold(why.to_string());
                return Read { summary: "no template".into(), findings, meaning };
            }
        }
        if after.is_empty() || after.len() >= rest.len() {
            break;
        }
        rest = after;
    }
    let meaning = match resources.is_empty() {
        true => Meaning::Hold("the template makes nothing of this message".into()),
        false => Meaning::Deliver { resources: distinct(resources) },
    };
    Read { summary: format!("{messages} message(s) by template"), findings, meaning }
}

/// The later of two resources with one id stays, as it would on a server.
fn distinct(resources: Vec<Resource>) -> Vec<Resource> {
    let mut places = std::collections::HashMap::new();
    let mut kept: Vec<Resource> = Vec::with_capacity(resources.len());
    for resource in resources {
        match places.get(&resource.id).and_then(|place: &usize| kept.get_mut(*place)) {
            Some(earlier) => *earlier = resource,
            None => {
                places.insert(resource.id.clone(), kept.len());
                kept.push(resource);
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::device::Identifier;

    fn meaning(text: &str) -> Read {
        let received = Timestamp::from_micros(1_773_477_000_000_000, true);
        let link = LinkContext::new("his", "Europe/Berlin", received).unwrap();
        let gateway = Gateway {
            id: Identifier { system: "urn:x".into(), value: "box".into(), kind: None },
            name: "Box".into(),
            version: "0".into(),
            patient_system: None,
        };
        let said = Said {
            link: "his",
            peer: "192.0.2.1:1",
            received,
            bytes: text.as_bytes(),
            topic: None,
            sha256: [0; 32],
        };
        read(&Library::embedded().unwrap(), &gateway, false, &link, &said)
    }

    #[test]
    fn a_message_becomes_resources_and_its_header_is_not_delivered() {
        let read = meaning("MSH|^~\\&|H|F|||20260301||ADT^A08|1|P|2.5\rPID|||7^^^A^MR||X^Y\rZZ1|x\r");
        let Meaning::Deliver { resources } = read.meaning else { panic!("not delivered") };
        let patient = resources.iter().find(|one| one.kind == "Patient").unwrap();
        assert!(patient.replaces, "ADT is the authority on a person");
        assert!(resources.iter().all(|one| one.kind != "MessageHeader"));
        assert!(read.findings.iter().any(|f| f.code == "not-translated" && f.place == "ZZ1-1"));
    }

    #[test]
    fn a_frame_of_too_many_messages_is_held_and_none_of_it_is_dropped() {
        let one = "MSH|^~\\&|H|F|||20260301||ADT^A08|1|P|2.5\rPID|||7^^^A^MR\r";
        assert!(matches!(meaning(&one.repeat(MESSAGES_MAX)).meaning, Meaning::Deliver { .. }));
        let Meaning::Hold(reason) = meaning(&one.repeat(MESSAGES_MAX + 1)).meaning else {
            panic!("not held")
        };
        assert!(reason.contains("in several"), "{reason}");
    }

    #[test]
    fn a_message_without_a_template_is_held_with_its_type_and_the_whole_frame_with_it() {
        let text = "MSH|^~\\&|H|F|||20260301||ADT^A08|1|P|2.5\rPID|||7^^^A^MR\rMSH|^~\\&|H|F|||20260301||QQQ^Q99|2|P|2.5\rPID|||8\r";
        let Meaning::Hold(reason) = meaning(text).meaning else { panic!("not held") };
        assert!(reason.contains("QQQ^Q99"), "{reason}");
    }
}
