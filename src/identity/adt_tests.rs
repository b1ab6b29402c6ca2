use super::*;

/// 2026-03-14T08:30:00Z
const RECEIVED: Timestamp = Timestamp::from_micros(1_773_477_000_000_000, true);

fn read_text(text: &str) -> Result<Adt, String> {
    let issuers = Issuers::default();
    let zone = TimeZone::get("Asia/Kolkata").unwrap();
    let context = Context { zone: &zone, zone_name: "Asia/Kolkata", received: RECEIVED, issuers: &issuers };
    let bytes = text.replace('\n', "\r");
    read(&Message::parse(bytes.as_bytes(), Default::default()).message.unwrap(), &context)
}

fn message(event: &str, rest: &str) -> String {
    format!("MSH|^~\\&|HIS|A|||20260314120000||ADT^{event}|1|P|2.5\nEVN|A99|20260314120000|||||\n{rest}")
}

const PATIENT: &str = "PID|1||~7^^^HOSP^MR~ 9 ^^^EMPI&1.2.3&ISO^PI||DOE^JANE^Q||19800102|F||||||||||ACC1\n";

fn word(fact: &Fact) -> String {
    match fact {
        Fact::Moved(_, movement) => {
            let place = movement.place.as_ref().map(Place::label).unwrap_or_default();
            let visit = movement.visit.as_ref().map(|visit| visit.number.clone()).unwrap_or_default();
            format!("{:?} {visit} {place}", movement.step)
        }
        Fact::Person(_) => "Person".into(),
        Fact::Merged { old, .. } => format!("Merged {}", old[0].value),
        Fact::Renumbered { old, .. } => format!("Renumbered {}", old[0].value),
        Fact::VisitMoved { from, to, .. } => format!("VisitMoved {} {}", from.number, to.number),
        Fact::Swapped { .. } => "Swapped".into(),
        Fact::Removed(_) => "Removed".into(),
        Fact::VisitSeen { .. } => "VisitSeen".into(),
    }
}

#[test]
fn every_event_says_what_it_is_about() {
    let visit = "PV1|1|I|ICU^4^2^N||||||||||||||||V1\n";
    for (event, rest, expected) in [
        ("A01", visit, "Arrived V1 ICU 4-2"),
        ("A02", visit, "Moved V1 ICU 4-2"),
        ("A03", visit, "Left V1 ICU 4-2"),
        ("A04", "PV1|1|O|CLINIC\n", "Arrived ACC1 CLINIC"),
        ("A05", visit, "Person"),
        ("A06", visit, "Moved V1 ICU 4-2"),
        ("A08", visit, "Seen V1 ICU 4-2"),
        ("A08", "PV1|1|P|ICU^4^2\n", "Person"),
        ("A08", "", "Person"),
        ("A08", "PV1|1|I|ICU^4^2||||||||||||||||V1||||||||||||||||||||||||||202603141100\n", "Left V1 "),
        ("A09", visit, "Person"),
        ("A10", visit, "Person"),
        ("A11", visit, "NeverArrived V1 ICU 4-2"),
        ("A12", visit, "NeverMoved V1 ICU 4-2"),
        ("A13", visit, "NeverLeft V1 ICU 4-2"),
        ("A14", visit, "Person"),
        ("A18", "MRG|8^^^HOSP^MR\n", "Merged 8"),
        ("A20", "", ""),
        ("A21", visit, "Away V1 ICU 4-2"),
        ("A22", "PV1|1|I\n", "Back ACC1 "),
        ("A23", visit, "NeverVisited V1 ICU 4-2"),
        ("A24", "", ""),
        ("A27", visit, "Person"),
        ("A28", "PV1|1|N\n", "Person"),
        ("A29", "", "Removed"),
        ("A31", visit, "Person"),
        ("A34", "MRG|8\n", "Merged 8"),
        ("A36", "MRG|8^^^HOSP||A1\n", "Merged 8"),
        ("A40", "MRG|~8^^^HOSP^MR\n", "Merged 8"),
        ("A45", "MRG|8||||V9\nPV1|1|I|||||||||||||||||V9\n", "VisitMoved V9 V9"),
        ("A47", "MRG|8^^^HOSP^MR\n", "Renumbered 8"),
        ("A50", "MRG|7||||V8\nPV1|1|I|||||||||||||||||V9\n", "VisitMoved V8 V9"),
        ("A52", visit, "NeverAway V1 ICU 4-2"),
        ("A53", visit, "NeverBack V1 ICU 4-2"),
        ("A60", visit, "Person"),
    ] {
        let adt = read_text(&message(event, &format!("{PATIENT}{rest}"))).unwrap();
        assert_eq!(adt.facts.iter().map(word).collect::<Vec<_>>().join(", "), expected, "{event} {rest}");
        assert_eq!(adt.event, event, "MSH-9 counts, not EVN-1");
    }
}

#[test]
fn the_numbers_of_a_person_lead_by_what_they_are() {
    let adt = read_text(&message("A01", &format!("{PATIENT}PV1|1|I|||||||||||||||||V1\n"))).unwrap();
    let Fact::Moved(said, _) = &adt.facts[0] else { panic!() };
    let numbers: Vec<String> = said
        .identifiers
        .iter()
        .map(|one| format!("{} {} {}", one.system, one.value, one.kind.as_deref().unwrap_or("-")))
        .collect();
    assert_eq!(
        numbers,
        [
            "urn:bedside:authority:HOSP 7 MR",
            "urn:oid:1.2.3 9 PI",
            "urn:bedside:authority:unstated ACC1 AN",
            "urn:bedside:authority:unstated V1 VN"
        ]
    );
    assert_eq!(said.family.said().map(|text| &**text), Some("DOE"));
    assert_eq!(said.given.said().map(Vec::len), Some(2));
    assert_eq!(said.birth_date.said().map(|text| &**text), Some("1980-01-02"));
    assert_eq!(said.gender.said().map(|text| &**text), Some("female"));
}

#[test]
fn empty_says_nothing_and_the_null_of_hl7_deletes() {
    let adt = read_text(&message("A31", "PID|1||7^^^H^MR||\"\"||\"\"|\n")).unwrap();
    let Fact::Person(said) = &adt.facts[0] else { panic!() };
    assert_eq!(
        (&said.family, &said.given, &said.birth_date),
        (&Told::Deleted, &Told::Deleted, &Told::Deleted)
    );
    assert_eq!(said.gender, Told::Unsaid);
    let adt = read_text(&message("A31", "PID|1||7^^^H^MR||DOE^\"\"\n")).unwrap();
    let Fact::Person(said) = &adt.facts[0] else { panic!() };
    assert_eq!((said.family.is_news(), &said.given), (true, &Told::Deleted));
}

#[test]
fn times_are_those_of_the_event_and_never_of_tomorrow() {
    let at = |evn: &str, pv1_44: &str| {
        let tail = "|".repeat(24);
        let text = format!(
            "MSH|^~\\&|HIS||||20260314115900||ADT^A01|1|P|2.5\nEVN||{evn}\nPID|1||7\nPV1|1|I|ICU^4^2||||||||||||||||V1|{tail}{pv1_44}\n"
        );
        let adt = read_text(&text).unwrap();
        let Fact::Moved(_, movement) = &adt.facts[0] else { panic!() };
        (adt.told - RECEIVED.micros, movement.at - RECEIVED.micros)
    };
    let minutes = |minutes: i64| minutes * 60_000_000;
    // 14:00 in Kolkata is the time of receipt, 08:30 UTC.
    assert_eq!(at("20260314140000", ""), (0, 0));
    assert_eq!(at("20260314083000+0000", "202603141330"), (0, minutes(-30)));
    assert_eq!(
        at("20260314140000||||20260314133000", "202603141300"),
        (0, minutes(-30)),
        "EVN-6 before PV1-44"
    );
    assert_eq!(at("20260314140000", "20260314"), (0, 0), "a day is not when it was");
    assert_eq!(at("20260314140000", "202603151300"), (0, 0), "an admission of tomorrow is not yet");
    assert_eq!(at("20290314140000", ""), (0, 0), "a clock of the future is not believed");
    assert_eq!(at("20260314", "").0, minutes(-121), "MSH-7 where EVN-2 is only a day");
}

#[test]
fn two_patients_who_change_beds_are_two_movements() {
    let pair = |first: &str, second: &str| {
        format!("PID|1||1^^^H^MR\nPV1|1|I|{first}\nPID|2||2^^^H^MR\nPV1|1|I|{second}\n")
    };
    let words =
        |text: &str| read_text(text).map(|adt| adt.facts.iter().map(word).collect::<Vec<_>>().join(", "));
    assert_eq!(words(&message("A17", &pair("W^^1", "W^^2"))).unwrap(), "Moved  W 1, Moved  W 2");
    assert_eq!(words(&message("A17", &pair("", "W^^2"))).unwrap(), "Swapped, Person");
    assert!(words(&message("A17", "PID|1||1\n")).is_err());
}

#[test]
fn several_merges_in_one_message_are_all_told() {
    let text = message("A40", "PID|1||1^^^H^MR\nMRG|2^^^H^MR\nPID|1||3^^^H^MR\nPD1\nMRG|4^^^H^MR\n");
    let adt = read_text(&text).unwrap();
    assert_eq!(adt.facts.iter().map(word).collect::<Vec<_>>(), ["Merged 2", "Merged 4"]);
    assert!(read_text(&message("A40", "PID|1||1\n")).is_err(), "no MRG");
    assert!(read_text(&message("A40", "PID|1||1\nMRG|1\n")).is_err(), "merged with oneself");
}

#[test]
fn a_message_that_names_nobody_is_for_a_person() {
    for rest in ["", "PID|1||\n", "PID|1||000000^^^H^MR\n", "PID|1||\"\"||DOE^JANE\n"] {
        assert!(read_text(&message("A01", rest)).is_err(), "{rest}");
    }
}

#[test]
fn no_bytes_break_it() {
    let seed = message("A40", &format!("{PATIENT}PV1|1|I|ICU^4^2||||||||||||||||V1\nMRG|8~9\n"));
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below.max(1) as u64).unwrap()
    };
    for _ in 0..3_000 {
        let mut bytes = seed.replace("A40", ["A01", "A17", "A40", "A08", "A47", "A45"][next(6)]).into_bytes();
        for _ in 0..next(8) {
            let at = next(bytes.len());
            match next(3) {
                0 => bytes[at] = u8::try_from(next(256)).unwrap(),
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, b"|^~&\r\"7"[next(7)]),
            }
        }
        fuzz(&bytes);
    }
}
