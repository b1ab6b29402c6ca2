use super::super::answer::{Found, Patient, answer};
use super::*;
use crate::clock::Timestamp;
use crate::identity::Visit;

const NOW: Timestamp = Timestamp::from_micros(1_773_477_000_000_000, true);

fn asked(kind: &str, rest: &str) -> Query {
    let text = format!(
        "MSH|^~\\&|MON^00A0^EUI-64|M|BOX|W|20260314||{kind}|Q7|P|2.6||||||UNICODE UTF-8|||ITI-22^IHE\r{rest}\r"
    );
    query(text.as_bytes(), Charset::default(), &Issuers::default()).unwrap()
}

fn pdq(parameters: &str) -> Result<Criteria, Fault> {
    asked("QBP^Q22^QBP_Q21", &format!("QPD|IHE PDQ Query|T1|{parameters}\rRCP|I|10^RD")).criteria
}

fn jane() -> Patient {
    let number = |system: &str, value: &str, kind: &str| Identifier {
        system: system.into(),
        value: value.into(),
        kind: Some(kind.into()),
    };
    Patient {
        id: 41,
        person: Person {
            identifiers: vec![
                number("urn:bedside:authority:HOSP", "7", "MR"),
                number("urn:oid:1.2.3", "9", "PI"),
                number("urn:bedside:authority:unstated", "A1", "AN"),
            ],
            family: Some("O^Neil".into()),
            given: vec!["Jane".into(), "Q".into()],
            birth_date: Some("1980-01-02".into()),
            gender: Some("female".into()),
        },
        place: Place::new("N", "ICU", "4", "2"),
        visit: Some(Visit { system: "urn:bedside:authority:unstated".into(), number: "V1".into() }),
    }
}

fn written(query: &Query, found: Result<&Found, &Fault>) -> String {
    let bytes = answer(query, found, &Issuers::default(), NOW, "Asia/Kolkata");
    String::from_utf8(bytes).unwrap().replace('\r', "\n")
}

#[test]
fn parameters_are_read_as_askers_write_them() {
    let criteria = |text: &str| pdq(text).unwrap();
    assert_eq!(criteria("@PID.3.1^10003").number.as_deref(), Some("10003"));
    let whole = criteria("@PID.3^abc^^^&1.2.3&ISO^MR");
    assert_eq!((whole.number.as_deref(), whole.system.as_deref()), (Some("ABC"), Some("urn:oid:1.2.3")));
    let spread = criteria("@PID.3.1^1~@PID.3.4.1^HOSP~@PID.3.4.2^1.2.3~@PID.3.4.3^ISO");
    assert_eq!(spread.system.as_deref(), Some("urn:oid:1.2.3"));
    let named = criteria("@PID.5.1.1^Do*~@PID.5.2^jane~@PID.7^19800102~@PID.8^F~@PID.11.3^");
    assert_eq!(
        (
            named.family.as_deref(),
            named.given.as_deref(),
            named.birth_date.as_deref(),
            named.gender.as_deref()
        ),
        (Some("DO*"), Some("JANE"), Some("1980-01-02"), Some("female"))
    );
    let ward = criteria("@PID.18.1^A1|@PV1.3.1^icu~@PV1.3.3^2~@PV1.19.1^v1");
    assert_eq!(ward.place, [None, Some("ICU".into()), None, Some("2".into())]);
    assert_eq!((ward.account.as_deref(), ward.visit.as_deref()), (Some("A1"), Some("V1")));
    assert_eq!(criteria("@PV1.3^Ward 2").place, [None, Some("WARD 2".into()), None, None]);
}

#[test]
fn what_is_not_known_here_is_refused_and_not_left_out() {
    for (parameters, code) in [
        ("@PID.11.3^Cologne", "103"),
        ("@PV1.7.1^X~@PID.3.1^1", "103"),
        ("", "101"),
        ("@PID.8^F", "101"),
        ("@PID.7^x", "204"),
    ] {
        assert_eq!(pdq(parameters).unwrap_err().code, code, "{parameters}");
    }
}

#[test]
fn only_who_fits_all_that_is_asked_is_meant() {
    let jane = jane();
    let fits = |text: &str| {
        let place = jane.place.as_ref().unwrap();
        pdq(text).unwrap().fits(&jane.person, &jane.person.identifiers, Some((place, Some("V1"))))
    };
    for (text, fit) in [
        ("@PID.3.1^7", true),
        ("@PID.3^7^^^HOSP", true),
        ("@PID.3^7^^^OTHER", false),
        ("@PID.3.1^8", false),
        ("@PID.5.1^O\\S\\NEIL", true),
        ("@PID.5.1^O*~@PID.5.2^q", true),
        ("@PID.5.1^O", false),
        ("@PID.7^1980", true),
        ("@PID.7^19800103", false),
        ("@PID.3.1^7~@PID.8^M", false),
        ("@PV1.3.1^ICU~@PV1.3.3^2", true),
        ("@PV1.3.1^ICU~@PV1.3.3^3", false),
        ("@PV1.19^v1~@PID.18^a1", true),
    ] {
        assert_eq!(fits(text), fit, "{text}");
    }
}

#[test]
fn a_monitors_query_gets_patients_with_their_beds() {
    let query = asked("QBP^ZV1^QBP_Q21", "QPD|IHE PDQ Query|T1|@PID.3.1^7\rRCP|I|50^RD");
    assert_eq!((query.question, query.limit), (Question::Visits, Some(50)));
    let found = Found { patients: vec![jane()], total: 1, left: 0 };
    assert_eq!(
        written(&query, Ok(&found)),
        "MSH|^~\\&|BOX|W|MON^00A0^EUI-64|M|20260314140000+0530||RSP^ZV2^RSP_ZV2|64CF7CA9A3200P|P|2.6||||||UNICODE UTF-8|||ITI-22^IHE\n\
         MSA|AA|Q7\nQAK|T1|OK|IHE PDQ Query|1|1|0\nQPD|IHE PDQ Query|T1|@PID.3.1^7\n\
         PID|1||7^^^HOSP^MR~9^^^&1.2.3&ISO^PI||O\\S\\Neil^Jane^Q^^^^L||19800102|F||||||||||A1^^^^AN\n\
         PV1|1|U|ICU^4^2^N||||||||||||||||V1^^^^VN\n"
    );
}

#[test]
fn nobody_is_nf_and_too_many_are_counted_and_gone_on_with() {
    let query = asked("QBP^Q22^QBP_Q21", "QPD|Q|T1|@PID.5.1^O*\rRCP|I|1^RD\rDSC|P40|I");
    assert_eq!(query.after, Some(40));
    let none = written(&query, Ok(&Found::default()));
    assert!(none.contains("MSA|AA|Q7\nQAK|T1|NF|Q|0|0|0\n") && !none.contains("\nPID|"), "{none}");
    let found = Found { patients: vec![jane()], total: 3, left: 2 };
    let some = written(&query, Ok(&found));
    assert!(some.contains("RSP^K22^RSP_K21") && some.contains("QAK|T1|OK|Q|3|1|2\n"), "{some}");
    assert!(some.ends_with("DSC|P41|I\n"), "{some}");
    let fault = written(&asked("QBP^Q22", "QPD|Q|T1|@PID.11^X"), Ok(&found));
    assert!(
        fault.contains("MSA|AE|Q7|")
            && fault.contains("\nERR||QPD^1^3|103^")
            && fault.contains("\nQAK|T1|AE|Q\n")
    );
    assert!(!fault.contains("\nPID|"), "{fault}");
}

#[test]
fn the_other_numbers_of_a_person_are_told_without_a_name() {
    let query = asked("QBP^Q23^QBP_Q21", "QPD|IHE PIX Query|T1|7^^^HOSP|^^^&1.2.3&ISO");
    let criteria = query.criteria.clone().unwrap();
    assert_eq!(
        (criteria.number.as_deref(), criteria.system.as_deref()),
        (Some("7"), Some("urn:bedside:authority:HOSP"))
    );
    let found = Found { patients: vec![jane()], total: 1, left: 0 };
    let text = written(&query, Ok(&found));
    assert!(
        text.contains("RSP^K23^RSP_K23") && text.contains("PID|1||9^^^&1.2.3&ISO^PI||~^^^^^^S\n"),
        "{text}"
    );
    let text = written(&query, Err(&Fault::nobody()));
    assert!(text.contains("ERR||QPD^1^3^1^1|204^Unknown key identifier^HL70357|E||||no patient"), "{text}");
}

#[test]
fn an_old_query_gets_an_old_answer() {
    let text = "MSH|^~\\&|MON||BOX||20260314||QRY^A19|5|P|2.3\rQRD|20260314|R|I|Q1|||1^RD|7^DOE|DEM|\r";
    let query = query(text.as_bytes(), Charset::default(), &Issuers::default()).unwrap();
    let criteria = query.criteria.clone().unwrap();
    assert_eq!(
        (criteria.number.as_deref(), criteria.family.as_deref(), query.limit),
        (Some("7"), Some("DOE"), Some(1))
    );
    let found = Found { patients: vec![jane()], total: 1, left: 0 };
    let text = written(&query, Ok(&found));
    assert!(
        text.contains("||ADR^A19|")
            && text.contains("\nQAK|Q1|OK||1|1|0\nQRD|20260314|R|I|Q1|||1^RD|7^DOE|DEM|\nPID|1|")
    );
    assert!(text.contains("\nPV1|1|U|ICU^4^2^N|"), "{text}");
}

#[test]
fn what_asks_nothing_of_patients_is_left_to_others() {
    for kind in ["QRY^Q02", "QBP^Q11", "ORU^R01", "ADT^A19", "QCN^X"] {
        let text = format!("MSH|^~\\&|A||||1||{kind}|1|P|2.5\rQPD|x|y|z\r");
        assert!(query(text.as_bytes(), Charset::default(), &Issuers::default()).is_none(), "{kind}");
    }
    let enough = asked("QCN^J01^QCN_J01", "QID|T1|IHE PDQ Query");
    assert!(written(&enough, Ok(&Found::default())).contains("||ACK^J01^ACK|"));
}

#[test]
fn no_bytes_break_it() {
    let seeds = [
        "MSH|^~\\&|M||||1||QBP^ZV1^QBP_Q21|7|P|2.6\rQPD|N|T|@PID.3.1^1~@PID.5.1.1^D~@PV1.3^A^B^C^D|x|||@|^^^A~^^^&1&ISO\rRCP|I|5^RD\rDSC|P1|I\r",
        "MSH|^~\\&|M||||1||QRY^A19|7|P|2.3\rQRD|1|R|I|Q|||1^RD|7^D^J|DEM|\r",
        "MSH|^~\\&|M||||1||QBP^Q23|7|P|2.5\rQPD|N|T|1^^^A&B&C|^^^X\r",
    ];
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below.max(1) as u64).unwrap()
    };
    for round in 0..3_000 {
        let mut bytes = seeds[round % seeds.len()].as_bytes().to_vec();
        for _ in 0..next(6) {
            let at = next(bytes.len());
            match next(3) {
                0 => bytes[at] = u8::try_from(next(256)).unwrap(),
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, b"|^~&\r@.*7"[next(9)]),
            }
        }
        fuzz(&bytes);
    }
}
