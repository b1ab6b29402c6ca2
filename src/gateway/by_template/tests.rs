use super::*;
use crate::buffer::{Buffer, Change, Config, PeopleChange};
use crate::clock::{TestClock, Timestamp};
use crate::config;
use crate::config::association::Policy;
use crate::gateway::association::witness::Witness;
use crate::gateway::understand::{Understanding, Understood};
use crate::identity::Unknown;
use crate::template;

/// 2026-03-14T09:30Z.
const RECEIVED: i64 = 1_773_480_600_000_000;

struct Rig {
    _dir: tempfile::TempDir,
    buffer: Buffer,
    understanding: Understanding,
}

fn plain(page: &str) -> Understanding {
    let page = format!(
        "name = \"his\"\nprofile = \"hl7-system\"\nzone = \"Europe/Berlin\"\nmllp = {{ listen = \"127.0.0.1:1\" }}\n{page}\n\
         [system]\ntemplates = true\n"
    );
    let site: config::Site = toml::from_str("name = \"T\"").unwrap();
    let library = crate::firmware_profile::Library::embedded().unwrap();
    let link = config::parse_link(&page, &site, &library, false).unwrap();
    let gateway = Gateway {
        id: Identifier { system: "urn:x".into(), value: "box".into(), kind: None },
        name: "Box".into(),
        version: "0".into(),
        patient_system: None,
    };
    let named = [("ST".to_owned(), "urn:oid:1.2.3".to_owned())].into_iter().collect();
    let templates = Arc::new(template::Library::embedded().unwrap());
    Understanding::new(vec![link], gateway, false).naming(named).translating(templates)
}

impl Rig {
    fn new(page: &str, unknown: Unknown) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let kept = Config { dir: dir.path().into(), ..Config::default() };
        let buffer = Buffer::open(&kept, TestClock::at(RECEIVED)).unwrap();
        let understanding = plain(page);
        let policy = Policy { unknown, ..Policy::default() };
        let witness = Witness::new(buffer.reader(), policy, understanding.issuers().clone(), 120);
        understanding.ask(Arc::new(witness));
        Self { _dir: dir, buffer, understanding }
    }

    async fn hear(&self, text: &str) {
        let said = self.read(text).people;
        assert!(!said.is_empty());
        let tell = PeopleChange::Tell { entry: None, source: "his".into(), said };
        self.buffer.change(vec![Change::People(tell)]).await.unwrap();
    }

    fn read(&self, text: &str) -> Understood {
        read(&self.understanding, text)
    }
}

fn said(text: &str) -> Said<'_> {
    Said {
        entry: None,
        link: "his",
        peer: "192.0.2.1:1",
        received: Timestamp::from_micros(RECEIVED, true),
        bytes: text.as_bytes(),
        topic: None,
        sha256: [0; 32],
    }
}

fn read(understanding: &Understanding, text: &str) -> Understood {
    understanding.read(&said(text))
}

fn adt(event: &str, number: &str, bed: &str, more: &str) -> String {
    format!(
        "MSH|^~\\&|HIS|H|||202603140800||ADT^{event}|{event}{number}|P|2.5\rEVN|{event}|202603140800||||202603140800\r\
         PID|1||{number}^^^ST^MR||ADT^{number}||19700101|F|||1 Lane^^Town\r{more}PV1|1|I|ICU^1^{bed}||||||||||||||||V{number}^^^ST^VN\r"
    )
}

/// A result of `number` taken at 09:00 at `place`.
fn oru(number: &str, place: &str, more: &str) -> String {
    format!(
        "MSH|^~\\&|LAB|L|||202603141000||ORU^R01|1|P|2.5.1\rPID|1||{number}\rPV1|1|I|{place}||||||||||||||||V7\r\
         OBR|1|P-1|F-1|24323-8^Panel^LN|||20260314090000|||||||||||||||||||F\r\
         OBX|1|NM|2345-7^Glucose^LN||101|mg/dL^^UCUM|||||F\r{more}"
    )
}

fn resources(understood: Understood) -> Vec<Resource> {
    match understood.meaning {
        Meaning::Deliver { resources } => resources,
        Meaning::Hold(why) => panic!("held: {why}"),
        _ => panic!("not delivered"),
    }
}

fn held(understood: &Understood) -> &str {
    match &understood.meaning {
        Meaning::Hold(why) => why,
        _ => panic!("not held"),
    }
}

fn only<'a>(all: &'a [Resource], kind: &str) -> &'a Resource {
    let mut found = all.iter().filter(|one| one.kind == kind);
    let first = found.next().unwrap_or_else(|| panic!("no {kind}"));
    assert!(found.next().is_none(), "more than one {kind}");
    first
}

fn patient(number: &str) -> String {
    crate::fhir::id("Patient", "urn:oid:1.2.3", number)
}

#[test]
fn a_message_becomes_resources_and_its_header_is_not_delivered() {
    let text = "MSH|^~\\&|H|F|||20260301||ADT^A08|1|P|2.5\rPID|||7^^^A^MR||X^Y\rZZ1|x\r";
    let read = read(&plain(""), text);
    assert!(read.findings.iter().any(|f| f.code == "not-translated" && f.place == "ZZ1-1"));
    let all = resources(read);
    assert!(only(&all, "Patient").replaces, "ADT is the authority on a person");
    assert!(all.iter().all(|one| one.kind != "MessageHeader"));
}

#[test]
fn a_frame_of_too_many_messages_is_held_and_none_of_it_is_dropped() {
    let one = "MSH|^~\\&|H|F|||20260301||ADT^A08|1|P|2.5\rPID|||7^^^A^MR\r";
    let plain = plain("");
    assert!(matches!(read(&plain, &one.repeat(MESSAGES_MAX)).meaning, Meaning::Deliver { .. }));
    let many = one.repeat(MESSAGES_MAX + 1);
    assert!(held(&read(&plain, &many)).contains("in several"));
}

#[test]
fn a_message_without_a_template_is_held_with_its_type_and_the_whole_frame_with_it() {
    let text = "MSH|^~\\&|H|F|||20260301||ADT^A08|1|P|2.5\rPID|||7^^^A^MR\rMSH|^~\\&|H|F|||20260301||QQQ^Q99|2|P|2.5\rPID|||8\r";
    assert!(held(&read(&plain(""), text)).contains("QQQ^Q99"));
}

#[tokio::test]
async fn a_result_goes_to_whom_the_index_knows_by_its_number() {
    let rig = Rig::new("", Unknown::Deliver);
    rig.hear(&adt("A01", "7", "A", "")).await;
    let understood = rig.read(&oru("7^^^ST^MR", "ICU^1^A", ""));
    assert_eq!(understood.whose.as_ref().unwrap().text, None, "as it says");
    let all = resources(understood);
    assert_eq!(only(&all, "Patient").id, patient("7"));
    assert!(!only(&all, "Patient").replaces);
    let subject = only(&all, "Observation").value()["subject"]["reference"].clone();
    assert_eq!(subject, format!("Patient/{}", patient("7")));
    // By its other number: the same Patient, and the visit stays.
    let by_adt = resources(rig.read(&adt("A08", "7", "A", "")));
    assert_eq!(only(&by_adt, "Patient").id, patient("7"), "as the results of the person know it");
}

#[tokio::test]
async fn a_result_whose_number_and_bed_are_two_peoples_is_held_as_a_conflict() {
    let rig = Rig::new("", Unknown::Deliver);
    rig.hear(&adt("A01", "7", "A", "")).await;
    rig.hear(&adt("A01", "8", "B", "")).await;
    let understood = rig.read(&oru("7^^^ST^MR", "ICU^1^B", ""));
    assert!(held(&understood).contains("conflict"), "{}", held(&understood));
    assert_eq!(understood.whose.unwrap().doubt, Some(crate::buffer::Doubt::Conflict));
}

#[tokio::test]
async fn a_number_nobody_knows_is_held_or_delivered_as_the_site_wants() {
    let rig = Rig::new("", Unknown::Hold);
    rig.hear(&adt("A01", "7", "A", "")).await;
    let understood = rig.read(&oru("9^^^ST^MR", "", ""));
    assert_eq!(understood.whose.as_ref().unwrap().doubt, Some(crate::buffer::Doubt::Review));
    assert!(held(&understood).contains("not in the patient index"));
    let rig = Rig::new("", Unknown::Deliver);
    rig.hear(&adt("A01", "7", "A", "")).await;
    let all = resources(rig.read(&oru("9^^^ST^MR", "", "")));
    assert_eq!(only(&all, "Patient").id, patient("9"));
}

#[tokio::test]
async fn a_result_that_names_nobody_waits_unless_the_site_or_the_bed_says_otherwise() {
    let orphan = plain("");
    let understood = read(&orphan, &oru("", "", ""));
    assert_eq!(understood.whose.as_ref().unwrap().doubt, Some(crate::buffer::Doubt::Orphan));
    let free = resources(read(&plain("unidentified = \"deliver\""), &oru("^^^^", "", "")));
    assert!(free.iter().all(|one| one.kind != "Patient" && !one.json.get().contains("Patient/")));
    let specimen = resources(read(&orphan, &oru("", "", "SPM|1|S-1\r")));
    assert!(only(&specimen, "Observation").value().get("subject").is_none(), "the tube's number finds them");
    let rig = Rig::new("", Unknown::Deliver);
    rig.hear(&adt("A01", "7", "A", "")).await;
    let understood = rig.read(&oru("", "ICU^1^A", ""));
    assert!(understood.whose.as_ref().unwrap().text.is_some(), "not what the message says");
    let all = resources(understood);
    assert_eq!(only(&all, "Patient").id, patient("7"));
    let subject = only(&all, "Observation").value()["subject"]["reference"].clone();
    assert_eq!(subject, format!("Patient/{}", patient("7")));
}

#[tokio::test]
async fn a_merged_number_goes_to_who_remains_and_what_was_delivered_can_be_told_and_taken_back() {
    let rig = Rig::new("", Unknown::Deliver);
    rig.hear(&adt("A01", "7", "A", "")).await;
    rig.hear(&adt("A01", "70", "A", "")).await;
    let merge = adt("A40", "7", "A", "MRG|70^^^ST^MR\r");
    rig.hear(&merge).await;
    let text = oru("70^^^ST^MR", "", "");
    let understood = rig.read(&text);
    let written = understood.whose.as_ref().unwrap().text.clone().unwrap();
    let all = resources(understood);
    assert_eq!(only(&all, "Patient").id, patient("7"));
    assert!(all.iter().any(|one| one.kind == "Encounter"), "the same person's visit");
    // As it was delivered then, whatever is known now; and as it would have been before the merge.
    let again = rig.understanding.under(&said(&text), &written, false).unwrap();
    assert_eq!(only(&again, "Observation"), only(&all, "Observation"));
    let back = rig.understanding.under(&said(&text), whose::AS_SAID, true).unwrap();
    let old = only(&back, "Observation");
    assert_ne!(old.id, only(&all, "Observation").id);
    assert_eq!((old.value()["status"].clone(), old.replaces), ("entered-in-error".into(), true));
    assert_eq!(only(&back, "Patient").id, patient("70"));
    // Administration's late word on the number that is gone makes no second patient.
    let late = rig.read(&adt("A08", "70", "A", ""));
    assert!(late.findings.iter().any(|one| one.code == "retired-number"));
    let all = resources(late);
    assert_eq!(only(&all, "Patient").id, patient("7"));
    assert!(!only(&all, "Patient").replaces, "what administration says of who remains is not undone");
    let subject = only(&all, "Encounter").value()["subject"]["reference"].clone();
    assert_eq!(subject, format!("Patient/{}", patient("7")));
    // The merge itself still tells of both.
    let both = resources(rig.read(&merge));
    let ids: Vec<&str> = both.iter().filter(|one| one.kind == "Patient").map(|one| one.id.as_str()).collect();
    assert!(ids.contains(&patient("7").as_str()) && ids.contains(&patient("70").as_str()));
}

#[tokio::test]
async fn two_patients_of_one_message_each_get_their_own_and_what_cannot_be_told_apart_is_held() {
    let rig = Rig::new("", Unknown::Deliver);
    rig.hear(&adt("A01", "7", "A", "")).await;
    rig.hear(&adt("A01", "8", "B", "")).await;
    let second = "PID|2||8^^^ST^MR\rOBR|1||F-2|718-7^Hb^LN|||20260314090000\rOBX|1|NM|718-7^Hb^LN||9|g/dL^^UCUM|||||F\r";
    let all = resources(rig.read(&oru("7^^^ST^MR", "ICU^1^A", second)));
    for (code, number) in [("2345-7", "7"), ("718-7", "8")] {
        let of = |one: &&Resource| one.kind == "Observation" && one.json.get().contains(code);
        let subject = all.iter().find(of).unwrap().value()["subject"]["reference"].clone();
        assert_eq!(subject, format!("Patient/{}", patient(number)), "{code}");
    }
    let nobody = second.replace("8^^^ST^MR", "");
    assert!(held(&rig.read(&oru("7^^^ST^MR", "", &nobody))).contains("no patient"));
    // Two numbers that make one Patient, and a third: whose is whose is a guess.
    let third = second.replace("8^^^ST^MR", "7^^^ST^MR~9^^^ST^XX");
    assert!(held(&rig.read(&oru("7^^^ST^MR", "", &third))).contains("several people"));
    // The second is in another's bed: none of the message goes.
    let wrong = second.replace("OBR|1", "PV1|1|I|ICU^1^A\rOBR|1");
    assert!(held(&rig.read(&oru("7^^^ST^MR", "ICU^1^A", &wrong))).contains("conflict"));
}

#[tokio::test]
async fn the_order_of_the_specimen_has_its_say() {
    let rig = Rig::new("", Unknown::Deliver);
    rig.hear(&adt("A01", "7", "A", "")).await;
    rig.hear(&adt("A01", "8", "B", "")).await;
    let order = "MSH|^~\\&|LIS|L|||202603140830||OML^O21|5|P|2.5\rPID|1||8^^^ST^MR||TEST^P\rORC|NW|A-1\r\
        OBR|1|A-1||2345-7^Glucose^LN\rSPM|1|S-1\r";
    let arrival = rig.read(order).orders.unwrap();
    let taken = crate::gateway::worklist::take(&rig.buffer, "his", arrival).await;
    assert!(
        matches!(taken, crate::buffer::Transition::Sent | crate::buffer::Transition::Ignored { .. }),
        "{taken:?}"
    );
    let understood = rig.read(&oru("7^^^ST^MR", "ICU^1^A", "SPM|1|S-1\r"));
    assert!(held(&understood).contains("the order of the specimen"), "{}", held(&understood));
    let own = rig.read(&oru("8^^^ST^MR", "ICU^1^B", "SPM|1|S-1\r"));
    assert_eq!(only(&resources(own), "Patient").id, patient("8"));
}
