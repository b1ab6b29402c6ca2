use std::path::{Path, PathBuf};

use super::*;
use crate::buffer::{Config, Lookup};
use crate::clock::{Clock, TestClock};
use crate::config;
use crate::connector::{Frame, Reply};
use crate::device::Identifier;
use crate::gateway::understand::{Meaning, Said};
use crate::identity::Place;
use crate::translate::Gateway;

const LINKS: &str = "[site]\nname = \"Ward\"\nzone = \"UTC\"\n[buffer]\ndir = \"/unused\"\n\
    [patients]\nsystems = { HOSP = \"urn:oid:1.2.3\" }\nanswers_max = 2\n\
    [[link]]\nname = \"his\"\nprofile = \"hl7-system\"\nmllp = { listen = \"127.0.0.1:0\" }\n\
    [[link]]\nname = \"monitor\"\nprofile = \"ihe/pcd01-monitor\"\nanswers_patients = true\nmllp = { listen = \"127.0.0.1:0\" }\n\
    [[link]]\nname = \"other\"\nprofile = \"ihe/pcd01-monitor\"\nmllp = { listen = \"127.0.0.1:0\" }\n";

struct Ward {
    _dir: tempfile::TempDir,
    people: People,
    entry: i64,
}

fn ward() -> Ward {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::at(1_773_477_000_000_000);
    let config = config::parse(LINKS, "ward.toml").unwrap();
    let buffer =
        Buffer::open(&Config { dir: dir.path().into(), ..Config::default() }, clock.clone()).unwrap();
    let me = Gateway {
        id: Identifier { system: "urn:x".into(), value: "box".into(), kind: None },
        name: "Ward".into(),
        version: "1".into(),
        patient_system: None,
    };
    let understanding = Understanding::new(config.links, me, true).naming(config.patients.systems.clone());
    let people = People::new(buffer, Arc::new(understanding), config.patients.answers_max, 72);
    Ward { _dir: dir, people, entry: 0 }
}

impl Ward {
    /// What became of a message: the reason it was set aside with, or held for.
    async fn hear(&mut self, bytes: &[u8]) -> Result<String, String> {
        self.entry += 1;
        let said = Said {
            entry: None,
            link: "his",
            peer: "p",
            received: TestClock::at(1_773_477_000_000_000).now(),
            bytes,
            topic: None,
            sha256: [0; 32],
        };
        let understood = self.people.understanding.read(&said);
        self.people.tell("his", self.entry, understood.people).await?;
        match understood.meaning {
            Meaning::Nothing(why) => Ok(why),
            Meaning::Hold(why) => Err(why),
            _ => Ok("something else".into()),
        }
    }

    async fn adt(&mut self, event: &str, minute: u32, rest: &str) -> Result<String, String> {
        let text = format!(
            "MSH|^~\\&|HIS|A|||2026031408{minute:02}00||ADT^{event}|{minute}|P|2.5\nEVN||2026031408{minute:02}00\n{rest}"
        );
        self.hear(text.replace('\n', "\r").as_bytes()).await
    }

    async fn ask(&self, link: &str, kind: &str, rest: &str) -> Option<String> {
        let text = format!("MSH|^~\\&|MON||BOX||20260314||{kind}|Q7|P|2.6\n{rest}\n").replace('\n', "\r");
        let frame = Frame {
            link: link.into(),
            peer: "p".into(),
            received: TestClock::at(1_773_477_000_000_000).now(),
            bytes: text.into_bytes().into(),
            topic: None,
            redelivered: false,
            warnings: Vec::new(),
        };
        let Reply { acknowledgement, message, .. } = self.people.reply(&frame).await?;
        assert!(message.is_empty());
        Some(String::from_utf8(acknowledgement.unwrap()).unwrap().replace('\r', "\n"))
    }

    async fn bed(&self, bed: &str, minute: i64) -> Vec<String> {
        let at = 1_773_475_200_000_000 + minute * 60_000_000;
        let place = Place::new("", "ICU", "", bed).unwrap();
        let found = self.people.reader.in_bed(place, at).await.unwrap();
        found.iter().map(|row| row.person.identifiers[0].value.to_string()).collect()
    }
}

fn patient(number: &str, name: &str, bed: &str) -> String {
    format!("PID|1||{number}^^^HOSP^MR||{name}||19800102|F\nPV1|1|I|ICU^^{bed}||||||||||||||||V{number}\n")
}

#[tokio::test]
async fn a_patient_is_admitted_moved_found_and_discharged() {
    let mut ward = ward();
    assert_eq!(ward.adt("A01", 1, &patient("1", "DOE^JANE", "7")).await.unwrap(), "patient index: admitted");
    assert_eq!(
        ward.adt("A02", 5, &patient("1", "DOE^JANE", "8")).await.unwrap(),
        "patient index: transferred"
    );
    assert_eq!((ward.bed("7", 3).await, ward.bed("8", 6).await), (vec!["1".into()], vec!["1".to_owned()]));
    let told =
        ward.ask("monitor", "QBP^ZV1^QBP_Q21", "QPD|N|T1|@PV1.3.1^ICU~@PV1.3.3^8\nRCP|I|5^RD").await.unwrap();
    assert!(
        told.contains("QAK|T1|OK|N|1|1|0\n")
            && told.contains("\nPID|1||1^^^HOSP&1.2.3&ISO^MR||DOE^JANE^^^^^L||19800102|F"),
        "{told}"
    );
    assert!(told.contains("\nPV1|1|U|ICU^^8|"), "{told}");
    assert_eq!(
        ward.adt("A03", 9, &patient("1", "DOE^JANE", "8")).await.unwrap(),
        "patient index: discharged"
    );
    assert!(ward.bed("8", 9).await.is_empty());
    assert!(ward.adt("A01", 10, "PID|1||\n").await.unwrap_err().contains("names nobody"));
}

#[tokio::test]
async fn a_batch_is_told_in_its_order_and_results_in_it_are_not() {
    let mut ward = ward();
    let one = |kind: &str, minute: u32, bed: &str| {
        let at = format!("2026031408{minute:02}00");
        format!("MSH|^~\\&|HIS|A|||{at}||{kind}|{minute}|P|2.5\rPID|1||1^^^HOSP^MR\rPV1|1|I|ICU^^{bed}\r")
    };
    let batch = format!(
        "BHS|^~\\&\r{}{}{}BTS|3\r",
        one("ADT^A01", 1, "7"),
        one("ADT^A02", 5, "8"),
        one("ORU^R01", 6, "9")
    );
    let reason = ward.hear(batch.as_bytes()).await.unwrap();
    assert_eq!(
        reason,
        "patient index: admitted; patient index: transferred; ORU^R01: nothing on this link uses it"
    );
    assert_eq!(
        (ward.bed("7", 3).await, ward.bed("8", 6).await, ward.bed("9", 6).await),
        (vec!["1".into()], vec!["1".to_owned()], vec![])
    );
    let broken = format!("{}MSH|^~\\&|HIS||||1||ADT^A03|9|P|2.5\rPID|1||\r", one("ADT^A02", 9, "7"));
    assert!(ward.hear(broken.as_bytes()).await.is_err());
    assert!(ward.bed("7", 10).await.is_empty(), "half a batch is not told");
}

#[tokio::test]
async fn only_a_link_that_may_is_told_of_patients() {
    let mut ward = ward();
    ward.adt("A28", 1, &patient("1", "DOE^JANE", "")).await.unwrap();
    let asked = "QPD|N|T1|@PID.3.1^1";
    assert!(ward.ask("monitor", "QBP^Q22^QBP_Q21", asked).await.unwrap().contains("\nPID|"));
    assert!(ward.ask("his", "QBP^Q22^QBP_Q21", asked).await.unwrap().contains("\nPID|"));
    assert_eq!(ward.ask("other", "QBP^Q22^QBP_Q21", asked).await, None);
    assert_eq!(ward.ask("monitor", "QRY^Q02", "QRD|1|R|D|2|||RD|S-7").await, None, "the worklist's");
}

#[tokio::test]
async fn an_answer_holds_no_more_than_it_may_and_goes_on_where_it_stopped() {
    let mut ward = ward();
    for number in 1..=5 {
        ward.adt("A28", number, &patient(&format!("M{number}"), "TEST", "")).await.unwrap();
    }
    let (mut seen, mut rest) = (Vec::new(), String::new());
    for _ in 0..5 {
        let asked = format!("QPD|N|T1|@PID.5.1^TEST\nRCP|I|9^RD{rest}");
        let told = ward.ask("monitor", "QBP^Q22^QBP_Q21", &asked).await.unwrap();
        assert!(told.contains("QAK|T1|OK|N|5|"), "{told}");
        seen.extend(told.lines().filter(|line| line.starts_with("PID|")).map(|line| line[7..9].to_owned()));
        let Some(pointer) = told.lines().find(|line| line.starts_with("DSC|")) else { break };
        rest = format!("\n{pointer}");
    }
    assert_eq!(seen, ["M1", "M2", "M3", "M4", "M5"]);
    let none = ward.ask("monitor", "QBP^Q22^QBP_Q21", "QPD|N|T1|@PID.5.1^NOBODY").await.unwrap();
    assert!(none.contains("MSA|AA|Q7\nQAK|T1|NF|N|0|0|0\n"), "{none}");
}

#[tokio::test]
async fn other_numbers_are_told_to_those_who_know_one() {
    let mut ward = ward();
    let both = "PID|1||1^^^HOSP^MR~77^^^LAB^PI||DOE^JANE\n";
    ward.adt("A28", 1, both).await.unwrap();
    let told = ward.ask("his", "QBP^Q23^QBP_Q21", "QPD|PIX|T1|77^^^LAB").await.unwrap();
    assert!(
        told.contains("RSP^K23") && told.contains("\nPID|1||1^^^HOSP&1.2.3&ISO^MR||~^^^^^^S\n"),
        "{told}"
    );
    let other = ward.ask("his", "QBP^Q23^QBP_Q21", "QPD|PIX|T1|77^^^LAB|^^^NONE").await.unwrap();
    assert!(other.contains("MSA|AA|Q7\nQAK|T1|NF|PIX|0|0|0\n"), "{other}");
    let nobody = ward.ask("his", "QBP^Q23^QBP_Q21", "QPD|PIX|T1|78^^^LAB").await.unwrap();
    assert!(nobody.contains("MSA|AE|Q7") && nobody.contains("|204^"), "{nobody}");
    let one = ward.ask("his", "QBP^Q21^QBP_Q21", "QPD|Q21|T1|77^^^LAB").await.unwrap();
    assert!(one.contains("RSP^K21") && one.contains("||DOE^JANE^^^^^L"), "{one}");
    let old = ward.ask("his", "QRY^A19", "QRD|1|R|I|Q1|||1^RD|1|DEM|").await.unwrap();
    assert!(old.contains("ADR^A19") && old.contains("\nPV1|1|U\n"), "{old}");
}

#[tokio::test]
async fn a_merge_of_two_who_lay_in_beds_leaves_one() {
    let mut ward = ward();
    ward.adt("A01", 1, &patient("1", "DOE^JANE", "7")).await.unwrap();
    ward.adt("A28", 2, "PID|1||2^^^HOSP^MR||DOE^JANE^Q\n").await.unwrap();
    ward.adt("A40", 3, "PID|1||2^^^HOSP^MR||DOE^JANE^Q\nMRG|1^^^HOSP^MR\n").await.unwrap();
    assert_eq!(ward.bed("7", 4).await, ["2"]);
    let told = ward.ask("monitor", "QBP^Q22^QBP_Q21", "QPD|N|T1|@PID.3.1^1").await.unwrap();
    assert!(told.contains("\nPID|1||2^^^HOSP&1.2.3&ISO^MR||DOE^JANE^Q"), "{told}");
}

#[tokio::test]
async fn the_number_of_two_persons_is_nobodys() {
    let mut ward = ward();
    ward.adt("A28", 1, "PID|1||1^^^HOSP^MR~77^^^LAB^PI\n").await.unwrap();
    ward.adt("A28", 2, "PID|1||2^^^HOSP^MR~77^^^LAB^PI\n").await.unwrap();
    let by = |value: &str, system: &str| {
        vec![Identifier { system: system.into(), value: value.into(), kind: None }]
    };
    let lookup = ward.people.reader.person_by(by("77", "urn:bedside:authority:LAB")).await.unwrap();
    assert_eq!(
        lookup,
        Lookup::Several,
        "one issuer gave two record numbers: two persons, and the other number is in doubt"
    );
    let one = ward.people.reader.person_by(by("2", "urn:oid:1.2.3")).await.unwrap();
    assert!(matches!(one, Lookup::One(_)));
    let both = [by("1", "urn:oid:1.2.3"), by("2", "urn:oid:1.2.3")].concat();
    assert_eq!(ward.people.reader.person_by(both).await.unwrap(), Lookup::Several);
    assert!(ward.adt("A31", 3, "PID|1||77^^^LAB^PI\n").await.unwrap_err().contains("several persons"));
}

fn messages(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            messages(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "hl7") {
            found.push(path);
        }
    }
}

/// Real ADT messages, where a folder of them is given: each is told to the index, or held with a reason.
#[tokio::test]
async fn the_samples_are_told_when_they_are_there() {
    let Some(folder) = std::env::var_os("BEDSIDE_SAMPLES") else { return };
    let mut paths = Vec::new();
    messages(&PathBuf::from(folder).join("hl7"), &mut paths);
    paths.sort();
    let (mut ward, mut told, mut held) = (ward(), 0, Vec::new());
    for path in &paths {
        let bytes = std::fs::read(path).unwrap();
        if crate::hl7v2::header(&bytes).is_none_or(|head| head.message_type != "ADT") {
            continue;
        }
        match ward.hear(&bytes).await {
            Ok(_) => told += 1,
            Err(why) => held.push(format!("{}: {why}", path.file_name().unwrap().to_string_lossy())),
        }
    }
    assert!(told > 0 && held.len() * 10 <= told, "{told} told, held: {held:#?}");
}
