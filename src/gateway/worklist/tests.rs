use std::sync::Arc;

use super::*;
use crate::buffer::{Config, WorkFilter};
use crate::clock::TestClock;
use crate::config;
use crate::device::Identifier;
use crate::firmware_profile::OrderedTest;
use crate::translate::Gateway;

const LINKS: &str = "[site]\nname = \"Lab\"\nzone = \"Asia/Kolkata\"\n[buffer]\ndir = \"/unused\"\n\
    [[link]]\nname = \"chem\"\nprofile = \"generic/astm-analyser\"\ntcp = { listen = \"127.0.0.1:0\" }\n\
    [[link]]\nname = \"immuno\"\nprofile = \"roche/cobas-e411\"\ntcp = { listen = \"127.0.0.1:0\" }\n\
    [[link]]\nname = \"counter\"\nprofile = \"generic/hl7-lab\"\nmllp = { listen = \"127.0.0.1:0\" }\n\
    [[link]]\nname = \"bs\"\nprofile = \"mindray/bs-chemistry\"\nmllp = { listen = \"127.0.0.1:0\" }\n";

fn lab() -> (tempfile::TempDir, Worklist) {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::at(1_773_477_000_000_000);
    let config = config::parse(LINKS, "lab.toml").unwrap();
    let buffer =
        Buffer::open(&Config { dir: dir.path().into(), ..Config::default() }, clock.clone()).unwrap();
    let me = Gateway {
        id: Identifier { system: "urn:x".into(), value: "box".into(), kind: None },
        name: "Lab".into(),
        version: "1".into(),
        patient_system: None,
    };
    let understanding = Arc::new(Understanding::new(config.links, me, true));
    (dir, Worklist::new(buffer, understanding, clock))
}

fn person(number: &str) -> Person {
    let identifier = Identifier { system: "urn:x".into(), value: number.into(), kind: None };
    Person { identifiers: vec![identifier], family: Some("TEST".into()), ..Person::default() }
}

async fn put(lab: &Worklist, key: &str, specimen: &str, tests: &[&str], who: Option<&str>) {
    let order = NewOrder {
        specimen: specimen.into(),
        tests: tests.iter().map(|test| OrderedTest::typed(test)).collect(),
        urgent: false,
        person: who.map(person),
        kind: String::new(),
        collected: None,
        number: key.into(),
        source: WorkSource::Hl7,
        key: key.into(),
        author: "lis".into(),
    };
    lab.buffer.change(vec![Change::Work(WorkChange::Place { order, replace: false })]).await.unwrap();
}

async fn ask(lab: &Worklist, link: &str, message: &str) -> Option<Reply> {
    let frame = Frame {
        link: link.into(),
        peer: "p".into(),
        received: lab.now(),
        bytes: message.as_bytes().to_vec().into(),
        topic: None,
        redelivered: false,
        warnings: Vec::new(),
    };
    lab.reply(&frame).await
}

fn text(reply: &Reply) -> String {
    String::from_utf8(reply.message.clone()).unwrap()
}

async fn rows(lab: &Worklist) -> Vec<OrderRow> {
    let mut rows = lab.reader.orders(WorkFilter { limit: 99, ..WorkFilter::default() }).await.unwrap();
    rows.reverse();
    rows
}

const ASKED: &str = "H|\\^&|||CHEM\rQ|1|^S-1||ALL\rL|1|N\r";

#[tokio::test]
async fn a_query_is_answered_from_the_list_again_and_again_until_the_results_are_there() {
    let (_dir, lab) = lab();
    put(&lab, "a", "S-1", &["GLU", "2345-7"], Some("M1")).await;
    put(&lab, "b", "S-1", &["TSH"], Some("M1")).await;
    put(&lab, "c", "S-2", &["GLU"], None).await;
    for _ in 0..2 {
        let reply = ask(&lab, "chem", ASKED).await.unwrap();
        assert_eq!(&*reply.reference, "1,2");
        assert!(text(&reply).contains("\rO|1|S-1||^^^GLU\\^^^TSH|R|"), "{}", text(&reply));
        lab.replied("chem", &reply.reference, Ok(())).await;
    }
    let now = rows(&lab).await;
    assert_eq!(
        now.iter().map(|row| row.state).collect::<Vec<_>>(),
        [WorkState::Sent, WorkState::Sent, WorkState::Open]
    );
    assert_eq!((now[0].asked.len(), now[0].asked[0].outcome.as_str()), (2, "taken"));

    let results =
        "H|\\^&|||CHEM\rP|1||M1\rO|1|S-1||^^^GLU\rR|1|^^^GLU|91|mg/dL||N||F||||20260314083000\rL|1|N\r";
    measure(&lab, results).await;
    let now = rows(&lab).await;
    assert_eq!((now[0].state, now[1].state), (WorkState::Done, WorkState::Sent));
    let reply = ask(&lab, "chem", ASKED).await.unwrap();
    assert!(
        text(&reply).contains("||^^^TSH|") && !text(&reply).contains("GLU"),
        "what is measured is not ordered again"
    );
}

async fn measure(lab: &Worklist, message: &str) {
    let link = lab.understanding.link("chem").unwrap();
    let said = Said {
        entry: None,
        link: "chem",
        peer: "p",
        received: lab.now(),
        bytes: message.as_bytes(),
        topic: None,
        sha256: [0; 32],
    };
    let page = lab.understanding.page(&link, &said).unwrap();
    let reports = lab.understanding.read(&said).reports;
    lab.measured(vec![(page, lab.now(), reports)]).await;
}

#[tokio::test]
async fn a_value_that_is_absent_or_of_another_tube_finishes_nothing() {
    let (_dir, lab) = lab();
    put(&lab, "a", "S-1", &["GLU"], None).await;
    let result = |tube: &str, value: &str| {
        format!(
            "H|\\^&|||C\rP|1\rO|1|{tube}||^^^GLU\rR|1|^^^GLU|{value}|mg/dL||N||F||||20260314083000\rL|1|N\r"
        )
    };
    measure(&lab, &result("S-1", "NR")).await;
    measure(&lab, &result("S-2", "91")).await;
    assert_eq!(rows(&lab).await[0].state, WorkState::Open);
    measure(&lab, &result("S-1", "91")).await;
    assert_eq!(rows(&lab).await[0].state, WorkState::Done);
}

#[tokio::test]
async fn who_asks_for_an_unknown_tube_is_told_that_there_is_no_order() {
    let (_dir, lab) = lab();
    put(&lab, "a", "S-2", &["GLU"], None).await;
    let reply = ask(&lab, "chem", ASKED).await.unwrap();
    assert!(text(&reply).ends_with("\rL|1|I\r") && reply.reference.is_empty(), "{}", text(&reply));
    lab.replied("chem", &reply.reference, Ok(())).await;
    assert_eq!(rows(&lab).await[0].state, WorkState::Open);
    assert!(
        ask(&lab, "chem", "H|\\^&\rP|1\rO|1|S\rR|1|^^^GLU|1\rL|1\r").await.is_none(),
        "results are no query"
    );
    assert!(
        ask(&lab, "counter", "MSH|^~\\&|A|B|||1||QRY^Q02|1|P|2.3.1\rQRD|1|R|D|2|||RD|S-1\r").await.is_none(),
        "a page without [orders]"
    );
    assert!(ask(&lab, "gone", ASKED).await.is_none());
}

#[tokio::test]
async fn two_patients_on_one_tube_are_told_to_nobody() {
    let (_dir, lab) = lab();
    put(&lab, "a", "S-1", &["GLU"], Some("M1")).await;
    put(&lab, "b", "S-1", &["TSH"], Some("M2")).await;
    let reply = ask(&lab, "chem", ASKED).await.unwrap();
    assert!(text(&reply).ends_with("\rL|1|I\r"), "{}", text(&reply));
    assert!(
        rows(&lab)
            .await
            .iter()
            .all(|row| row.note.as_deref().is_some_and(|note| note.contains("another patient")))
    );
}

#[tokio::test]
async fn a_test_that_cannot_be_turned_is_left_out_with_a_note() {
    let (_dir, lab) = lab();
    // A filtration rate by LOINC, which no page of this lab knows; a word that only the analyser knows; TSH by LOINC.
    put(&lab, "a", "S-1", &["33914-3", "OWN-7", "3016-3"], None).await;
    let reply = ask(&lab, "chem", ASKED).await.unwrap();
    assert!(text(&reply).contains("||^^^OWN-7\\^^^TSH|"), "{}", text(&reply));
    let note = rows(&lab).await[0].note.clone().unwrap();
    assert!(note.starts_with("1 of its tests left out: generic/astm-analyser"), "{note}");
    // The cobas lists 4 as its own: it is not told to the other analyser.
    put(&lab, "b", "S-2", &["4", "GLU"], None).await;
    let reply = ask(&lab, "chem", &ASKED.replace("S-1", "S-2")).await.unwrap();
    assert!(text(&reply).contains("||^^^GLU|"), "{}", text(&reply));
}

#[tokio::test]
async fn an_analyser_that_did_not_take_the_answer_leaves_the_order_open() {
    let (_dir, lab) = lab();
    put(&lab, "a", "S-1", &["GLU"], None).await;
    lab.replied("chem", "1", Err("no reply to ENQ".into())).await;
    let row = &rows(&lab).await[0];
    assert_eq!((row.state, row.asked[0].outcome.as_str()), (WorkState::Open, "not taken: no reply to ENQ"));
}

#[tokio::test]
async fn over_hl7_the_acknowledgement_itself_says_whether_there_is_an_order() {
    let (_dir, lab) = lab();
    put(&lab, "a", "S-1", &["2"], None).await;
    let query = "MSH|^~\\&|A|B|||20260314083000||QRY^Q02|17|P|2.3.1\rQRD|1|R|D|2|||RD|S-1|OTH|||T|\rQRF|BS\r";
    let reply = ask(&lab, "bs", query).await.unwrap();
    let acknowledgement = String::from_utf8(reply.acknowledgement.clone().unwrap()).unwrap();
    assert!(
        acknowledgement.contains("||QCK^Q02|") && acknowledgement.contains("\rQAK|SR|OK\r"),
        "{acknowledgement}"
    );
    assert!(text(&reply).contains("\rDSP|29||2^^^|||\r"), "{}", text(&reply));
}

fn arrived(message: &str) -> Arrival {
    let library = crate::firmware_profile::Library::embedded().unwrap();
    let context = crate::firmware_profile::LinkContext::golden();
    library.find("generic/hl7-orders").unwrap().arriving_orders(message.as_bytes(), &context).unwrap()
}

#[tokio::test]
async fn orders_of_a_laboratory_system_come_and_go() {
    let (_dir, lab) = lab();
    let message = |control: &str, test: &str| {
        arrived(&format!(
            "MSH|^~\\&|LIS|L|||1||ORM^O01|1|P|2.5\rPID|1||M1\rORC|{control}|P-1\rOBR|1|P-1|S-1|{test}\r"
        ))
    };
    for _ in 0..2 {
        let to = take(&lab.buffer, "lis", message("NW", "GLU^^L")).await;
        assert!(matches!(to, Transition::Ignored { reason } if reason == "1 order put on the worklist"));
    }
    assert_eq!(rows(&lab).await.len(), 1);
    let to = take(&lab.buffer, "lis", message("CA", "")).await;
    assert!(matches!(to, Transition::Ignored { reason } if reason == "1 order cancelled"));
    assert_eq!(rows(&lab).await[0].state, WorkState::Cancelled);
    let to = take(&lab.buffer, "lis", message("NW", "1^x^SCT")).await;
    assert!(matches!(to, Transition::Held { reason, .. } if reason.contains("OBR-4 names its test by SCT")));
    let moved = "MSH|^~\\&|LIS|L|||1||ORM^O01|1|P|2.5\rORC|NW|P-2\rOBR|1|P-2|S-1|K^^L\r";
    take(&lab.buffer, "lis", arrived(moved)).await;
    let to = take(&lab.buffer, "lis", arrived(&moved.replace("S-1", "S-9"))).await;
    assert!(matches!(to, Transition::Held { reason, .. } if reason.contains("another specimen")));
}
