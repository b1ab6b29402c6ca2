use super::*;
use crate::firmware_profile::Library;

fn arrival(message: &str) -> Option<Arrival> {
    let page = Library::embedded().unwrap().find("generic/hl7-orders").unwrap();
    page.arriving_orders(message.as_bytes(), &LinkContext::golden())
}

fn message(kind: &str, rest: &str) -> String {
    format!(
        "MSH|^~\\&|LIS|LAB|||20260314083000||{kind}|1|P|2.5\rPID|1||MRN-7^^^HOSP^MR||TEST^PATIENT||19800203|F\r{rest}"
    )
}

#[test]
fn a_general_order_says_whose_specimen_is_to_be_measured_for_what() {
    let text = message(
        "ORM^O01",
        "ORC|NW|P-1||||||20260314\rOBR|1|P-1|S-9|GLU^Glucose^L|||20260314081500||||||||SER||||||||||||^^^^^S\r",
    );
    let arrival = arrival(&text).unwrap();
    assert_eq!(arrival.unusable, [""; 0]);
    let [order] = &arrival.orders[..] else { panic!("{arrival:?}") };
    assert_eq!(
        (order.wish, &*order.number, &*order.sender, &*order.specimen),
        (Wish::Place, "P-1", "LIS|LAB", "S-9")
    );
    assert_eq!(
        order.tests,
        [OrderedTest { own: Some("GLU".into()), loinc: None, text: Some("Glucose".into()) }]
    );
    assert!(order.urgent && order.kind == "SER");
    // 08:15 in the link's zone, Asia/Kolkata.
    assert_eq!(order.collected.unwrap().rfc3339(), "2026-03-14T02:45:00.000Z");
    let person = order.person.as_ref().unwrap();
    assert_eq!((person.family.as_deref(), person.birth_date.as_deref()), (Some("TEST"), Some("1980-02-03")));
    assert_eq!(format!("{order:?}"), "Placed(Place, 1 tests)", "no patient is printed");
}

#[test]
fn in_specimen_centred_orders_the_specimen_stands_first() {
    let text = message(
        "OML^O33^OML_O33",
        "SPM|1|A-1&LIS^A-2||SER\rSAC|||C-1\rORC|NW|1\rTQ1|1||||||||S^Stat^HL70485\rOBR|1|1||2345-7^Glucose^LN^GLU^^L\rORC|NW|2\rOBR|1|2||6690-2^WBC^LN\rSPM|2|B-1\rORC|NW|3\rOBR|1|3||K^^L\r",
    );
    let orders = arrival(&text).unwrap().orders;
    let seen: Vec<_> = orders.iter().map(|o| (&*o.number, &*o.specimen, o.urgent)).collect();
    assert_eq!(seen, [("1", "A-1", true), ("2", "A-1", false), ("3", "B-1", false)]);
    assert_eq!(
        (orders[0].tests[0].own.as_deref(), orders[0].tests[0].loinc.as_deref()),
        (Some("GLU"), Some("2345-7"))
    );
}

#[test]
fn in_other_orders_the_specimen_stands_behind() {
    let text =
        message("OML^O21", "ORC|NW|1\rOBR|1|1||GLU^^L\rSPM|1|A-1\rORC|NW|2\rOBR|1|2||K^^L\rSAC|||C-2\r");
    let orders = arrival(&text).unwrap().orders;
    assert_eq!(orders.iter().map(|o| &*o.specimen).collect::<Vec<_>>(), ["A-1", "C-2"]);
}

#[test]
fn several_tests_under_one_number_are_one_order() {
    let text = message("ORM^O01", "ORC|NW|1\rOBR|1|1|S-9|GLU^^L\rOBR|2|1|S-9|K^^L\rOBR|3|1|S-8|NA^^L\r");
    let arrival = arrival(&text).unwrap();
    assert_eq!(arrival.orders.len(), 1);
    assert_eq!(arrival.orders[0].tests.iter().map(OrderedTest::name).collect::<Vec<_>>(), ["GLU", "K"]);
    assert_eq!(arrival.unusable, ["order 3: one placer's number stands for two specimens"]);
}

#[test]
fn order_control_says_what_becomes_of_an_order() {
    let of = |code: &str| arrival(&message("ORM^O01", &format!("ORC|{code}|1\rOBR|1|1|S|GLU^^L\r"))).unwrap();
    for (code, wish) in [
        ("NW", Wish::Place),
        ("", Wish::Place),
        ("XO", Wish::Replace),
        ("CA", Wish::Cancel),
        ("DC", Wish::Cancel),
        ("OC", Wish::Cancel),
    ] {
        assert_eq!(of(code).orders[0].wish, wish, "{code}");
    }
    assert_eq!(of("OK"), Arrival::default());
    assert_eq!(of("ZZ").unusable, ["order 1: ORC-1 says ZZ, which is not understood"]);
    let bare = arrival(&message("ORM^O01", "ORC|CA|1\r")).unwrap();
    assert_eq!((bare.orders[0].wish, bare.orders[0].tests.len()), (Wish::Cancel, 0));
}

#[test]
fn what_cannot_be_used_is_told_and_the_rest_is() {
    let text = message(
        "ORM^O01",
        "ORC|NW|1\rOBR|1|1|S|4548^HbA1c^SCT\rORC|NW\rOBR|1|||K^^L\rORC|NW|3\rORC|NW|4\rOBR|1|4|S|NA^^L\r",
    );
    let arrival = arrival(&text).unwrap();
    assert_eq!(arrival.orders.len(), 1);
    assert_eq!(
        arrival.unusable,
        [
            "order 1: OBR-4 names its test by SCT: local codes and LOINC (LN) are understood",
            "order 2: neither ORC-2 nor OBR-2 holds the placer's number",
            "order 3: there is no OBR that names the test",
        ]
    );
}

#[test]
fn results_and_queries_are_no_orders() {
    for text in [message("ORU^R01", "OBR|1|1|S|GLU\r"), message("ORM^O01", "ORC|RF||S-1\r"), String::new()] {
        assert_eq!(arrival(&text), None);
    }
    assert_eq!(arrival(&message("OML^O21", "")).unwrap().unusable.len(), 1);
}
