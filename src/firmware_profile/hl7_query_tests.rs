use super::*;
use crate::device::{Identifier, Person};

fn page(orders: &str) -> FirmwareProfile {
    let text = format!(
        "[device]\nmanufacturer = \"T\"\nmodel = \"T\"\nverified = \"simulator\"\n[transport.tcp]\nrole = \"listen\"\nport = 5100\n[link]\ncodec = \"mllp\"\n[record]\ngrammar = \"hl7\"\n[specimen]\nid = \"OBR-2\"\nunreadable = [\"Invalid\"]\n{orders}\n"
    );
    FirmwareProfile::parse("t/t", &text).unwrap_or_else(|faults| panic!("{}", faults[0]))
}

const QRY: &str = "MSH|^~\\&|A|B|||20260314083000||QRY^Q02|17|P|2.3.1||||||ASCII\rQRD|20260314083000|R|D|2|||RD|S-9|OTH|||T|\rQRF|BS|||||RCT|COR|ALL||\r";

fn order() -> Order {
    let person = Person {
        identifiers: vec![Identifier { system: "urn:x".into(), value: "M|7".into(), kind: None }],
        family: Some("TEST".into()),
        given: vec!["PATIENT".into()],
        birth_date: Some("1980-02-03".into()),
        gender: Some("female".into()),
    };
    Order {
        specimen: "S-9".into(),
        specimen_kind: "serum".into(),
        tests: vec!["2".into(), "5".into()],
        urgent: true,
        person: Some(person),
        ..Order::default()
    }
}

fn answered(page: &FirmwareProfile, message: &str, orders: &[Order]) -> (String, String) {
    let context = LinkContext::golden();
    let query = page.query(message.as_bytes(), &context).expect("a query");
    let Answered { acknowledgement, message } = page.answer(&query, orders, &context).expect("an answer");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace('\r', "\n");
    (text(acknowledgement.unwrap_or_default()), text(message))
}

#[test]
fn a_display_query_is_acknowledged_and_then_answered_by_rows() {
    let (qck, dsr) = answered(&page("[orders]"), QRY, &[order()]);
    let lines: Vec<&str> = qck.lines().collect();
    assert!(lines[0].starts_with("MSH|^~\\&|||A|B|20260314140000||QCK^Q02|"), "{qck}");
    assert!(lines[0].ends_with("|P|2.3.1||||||ASCII"), "{qck}");
    assert_eq!(lines[1..], ["MSA|AA|17|Message accepted", "ERR|0", "QAK|SR|OK"]);
    let lines: Vec<&str> = dsr.lines().collect();
    assert!(lines[0].contains("||DSR^Q03|"));
    assert_eq!(
        lines[1..6],
        [
            "MSA|AA|17|Message accepted",
            "ERR|0",
            "QAK|SR|OK",
            "QRD|20260314083000|R|D|2|||RD|S-9|OTH|||T|",
            "QRF|BS|||||RCT|COR|ALL||"
        ]
    );
    for row in [
        "DSP|1||M\\F\\7|||",
        "DSP|2|||||",
        "DSP|3||TEST PATIENT|||",
        "DSP|4||19800203000000|||",
        "DSP|5||F|||",
        "DSP|21||S-9|||",
        "DSP|24||Y|||",
        "DSP|26||serum|||",
        "DSP|29||2^^^|||",
        "DSP|30||5^^^|||",
    ] {
        assert!(lines.contains(&row), "{row} is missing in {dsr}");
    }
    assert_eq!((lines.len(), lines[lines.len() - 1]), (6 + 30 + 1, "DSC||"));
    assert_ne!(qck.split('|').nth(9), dsr.split('|').nth(9), "each message has a control id of its own");
}

#[test]
fn without_an_order_the_acknowledgement_says_so_and_nothing_follows() {
    let (qck, dsr) = answered(&page("[orders]"), QRY, &[]);
    assert!(qck.ends_with("QAK|SR|NF\n") && dsr.is_empty(), "{qck}{dsr}");
    let (qck, _) = answered(&page("[orders]"), &QRY.replace("S-9", "Invalid"), &[order()][..0]);
    assert!(qck.ends_with("QAK|SR|NF\n"));
    let everything =
        page("[orders]").query(QRY.replace("S-9", "").as_bytes(), &LinkContext::golden()).unwrap();
    assert_eq!((everything.all, everything.unreadable), (false, 1));
}

const RF: &str = "MSH|^~\\&|BC|M|||20260314083000||ORM^O01|4|P|2.3.1||||||UNICODE\rORC|RF||S-9||IP\r";

#[test]
fn a_blood_counters_query_is_answered_in_the_acknowledgement() {
    let rules = "[orders]\nservice = \"00001^Automated Count^99MRC\"\nrow = \"08003^Test Mode^99MRC\"";
    let (orr, follows) = answered(&page(rules), RF, &[Order { tests: vec!["CBC".into()], ..order() }]);
    assert!(follows.is_empty() && orr.contains("||ORR^O02|"), "{orr}");
    let lines: Vec<&str> = orr.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "MSA|AA|4",
            "PID|1||M\\F\\7^^^^MR||TEST^PATIENT||19800203|F",
            "PV1|1",
            "ORC|AF|S-9",
            "OBR|1|S-9||00001^Automated Count^99MRC",
            "OBX|1|IS|08003^Test Mode^99MRC||CBC||||||F",
        ]
    );
    let (orr, _) = answered(&page(rules), RF, &[]);
    assert!(orr.ends_with("MSA|AR|4\n"), "{orr}");
    let (orr, _) = answered(&page("[orders]"), RF, &[order()]);
    assert!(orr.contains("\nOBR|1|S-9||2\nOBR|2|S-9||5\n"), "{orr}");
}

#[test]
fn a_work_step_query_gets_its_orders_in_a_message_of_their_own() {
    let asked = "MSH|^~\\&|AN|L|||20260314083000||QBP^Q11^QBP_Q11|8|P|2.5.1||||||UNICODE UTF-8\rQPD|WOS^Work Order Step^IHE_LABTF|t1|S-9\rRCP|I\r";
    let (rsp, oml) = answered(&page("[orders]"), asked, &[order()]);
    assert!(
        rsp.contains("||RSP^K11^RSP_K11|")
            && rsp.contains("\nQAK|t1|OK|WOS^Work Order Step^IHE_LABTF\nQPD|WOS^"),
        "{rsp}"
    );
    assert!(
        oml.contains("\nSPM|1|S-9||serum\nSAC|||S-9\nORC|NW|S-9-1\nTQ1|||||||||S\nOBR||S-9-1||2\n"),
        "{oml}"
    );
    let (rsp, oml) = answered(&page("[orders]"), asked, &[]);
    assert!(rsp.contains("\nQAK|t1|NF|") && oml.is_empty());
}

#[test]
fn what_is_no_query_is_none_and_a_page_without_orders_answers_nothing() {
    let context = LinkContext::golden();
    for message in [
        "MSH|^~\\&|A|B|||1||ORU^R01|1|P|2.3.1\rOBR|1\r",
        "MSH|^~\\&|A|B|||1||ORM^O01|1|P|2.3.1\rORC|NW|1\rOBR|1\r",
        "MSH|^~\\&|A|B|||1||QRY^A19|1|P|2.3.1\rQRD|1\r",
        "QRD|1",
        "",
    ] {
        assert_eq!(page("[orders]").query(message.as_bytes(), &context), None, "{message}");
    }
    let silent = page("");
    let query = silent.query(QRY.as_bytes(), &context).unwrap();
    assert!(!silent.answers_queries() && silent.answer(&query, &[order()], &context).is_none());
}

#[test]
fn the_answer_is_in_the_signs_and_the_charset_of_the_query() {
    let odd = QRY
        .replace('|', "*")
        .replace("^~\\&", "$~\\&")
        .replace("QRY^Q02", "QRY$Q02")
        .replace("ASCII", "8859/1");
    let mut order = order();
    order.person.as_mut().unwrap().family = Some("Müller Ж".into());
    let context = LinkContext::golden();
    let page = page("[orders]");
    let query = page.query(odd.as_bytes(), &context).unwrap();
    let dsr = page.answer(&query, &[order], &context).unwrap().message;
    let text = encoding_rs::WINDOWS_1252.decode(&dsr).0.into_owned();
    assert!(text.contains("\rDSP*3**Müller ? PATIENT***\r"), "{text}");
    assert!(text.contains("\rDSP*29**2$$$***\r"), "{text}");
}
