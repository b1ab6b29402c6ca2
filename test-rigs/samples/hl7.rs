//! Every HL7 v2 message of the samples: read whole, written again the same, shown by name, answered with its number.

use std::collections::BTreeMap;
use std::fs;

use bedside::clock::Timestamp;
use bedside::hl7v2::{AckCode, Charset, Message, acknowledge, batch, header, named};

use super::{files, samples};

#[test]
fn every_message_is_read_written_named_and_answered() {
    let Some(folder) = samples() else { return };
    let (mut messages, mut segments, mut unnamed) = (0, 0, BTreeMap::<String, u32>::new());
    let mut findings = BTreeMap::<&'static str, Vec<String>>::new();
    let found = files(&folder.join("hl7"), &["hl7", "hl7v2", "txt"]);
    for path in found {
        let bytes = fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let batch = batch(&bytes);
        assert!(!batch.messages.is_empty(), "{name}: no message");
        for finding in batch.findings {
            findings.entry(finding.code).or_default().push(name.clone());
        }
        for one in batch.messages {
            let parsed = Message::parse(one, Charset::default());
            let message = parsed.message.unwrap_or_else(|| panic!("{name}: not read"));
            assert!(parsed.rest.is_empty(), "{name}: two messages in one");
            for finding in parsed.findings {
                findings.entry(finding.code).or_default().push(format!("{name} {}", finding.place));
            }
            let written = message.encode();
            let again = Message::parse(&written, Charset::default()).message.unwrap();
            assert!(
                again.segments().map(|s| s.raw()).eq(message.segments().map(|s| s.raw())),
                "{name}: written again it is another"
            );
            for segment in named(&message, usize::MAX) {
                segments += 1;
                if segment.title.is_none() {
                    *unnamed.entry(segment.segment).or_default() += 1;
                }
                for field in segment.fields.iter().filter(|field| field.title.is_none()) {
                    *unnamed.entry(field.path.clone()).or_default() += 1;
                }
            }
            let now = Timestamp::from_micros(0, true);
            let answer = acknowledge(one, AckCode::AA, "", "1", now).unwrap();
            let msa = Message::parse(&answer, Charset::default()).message.unwrap();
            let id = msa.segment("MSA", 1).unwrap().field(2).raw().to_owned();
            assert_eq!(id, header(one).unwrap().control_id, "{name}");
            messages += 1;
        }
    }
    println!("{messages} messages, {segments} segments");
    println!("findings: {findings:#?}");
    println!("without a name: {unnamed:?}");
    assert!(messages > 0);
    assert!(!findings.contains_key("not-a-segment"), "{:?}", findings["not-a-segment"]);
}
