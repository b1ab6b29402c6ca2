use super::*;

const ISSUER: &str = "urn:oid:1.2.3";

fn person(system: &str, value: &str) -> Arc<Person> {
    let identifier = Identifier { system: system.into(), value: value.into(), kind: None };
    Arc::new(Person { identifiers: vec![identifier], ..Person::default() })
}

fn known(id: i64) -> Whom {
    Whom::Known { id, person: person(ISSUER, &id.to_string()) }
}

fn stranger(system: &str, value: &str) -> Whom {
    Whom::Stranger(person(system, value))
}

fn spanning(source: Source, whom: Whom, since: i64, until: Option<i64>) -> Claim {
    Claim { since: Some(since), until, ..Claim::always(source, whom) }
}

fn asked(claims: &[Claim], when: Span) -> Attribution {
    attribute(claims, when, Unknown::Deliver, true)
}

fn id_of(attribution: &Attribution) -> Option<i64> {
    match attribution {
        Attribution::Matched { whom: Whom::Known { id, .. }, .. } => Some(*id),
        _ => None,
    }
}

fn why(attribution: Attribution) -> String {
    match attribution {
        Attribution::Conflict { why } | Attribution::Review { why } => why,
        other => format!("{other}"),
    }
}

#[test]
fn nobody_who_answers_makes_an_orphan() {
    assert_eq!(asked(&[], Span::at(5)), Attribution::Orphan);
    let later = [spanning(Source::Manual, known(1), 10, None)];
    assert_eq!(asked(&later, Span::at(9)), Attribution::Orphan);
}

#[test]
fn all_that_answer_are_heard_and_named() {
    let claims = [
        Claim::always(Source::Bed, known(1)),
        Claim::always(Source::DeviceReported, stranger("urn:bedside:authority:unstated", "1")),
        spanning(Source::Manual, known(1), 0, Some(10)),
    ];
    let Attribution::Matched { whom, sources } = asked(&claims, Span::at(5)) else { panic!() };
    assert_eq!(sources, [Source::DeviceReported, Source::Bed, Source::Manual]);
    assert!(matches!(whom, Whom::Known { id: 1, .. }), "the index's person stands for all");
}

#[test]
fn the_end_of_a_span_is_not_in_it_and_its_beginning_is() {
    let claims =
        [spanning(Source::Manual, known(1), 0, Some(10)), spanning(Source::Manual, known(2), 10, Some(20))];
    let at = |at| id_of(&asked(&claims, Span::at(at)));
    assert_eq!([at(0), at(9), at(10), at(19), at(20)], [Some(1), Some(1), Some(2), Some(2), None]);
}

#[test]
fn any_two_that_differ_are_a_conflict_whoever_they_are() {
    use Source::{Bed, DeviceReported, LinkBound, Manual, Scanned, Specimen};
    for a in [DeviceReported, LinkBound, Bed, Manual, Scanned, Specimen] {
        for b in [DeviceReported, LinkBound, Bed, Manual, Scanned, Specimen] {
            let claims = [Claim::always(a, known(1)), Claim::always(b, known(2))];
            assert!(matches!(asked(&claims, Span::at(0)), Attribution::Conflict { .. }), "{a:?} {b:?}");
        }
    }
}

#[test]
fn two_patients_in_one_bed_are_a_conflict_and_it_says_so() {
    let claims = [Claim::always(Source::Bed, known(1)), Claim::always(Source::Bed, known(2))];
    assert_eq!(why(asked(&claims, Span::at(0))), "two patients are in one bed");
}

#[test]
fn a_number_without_an_issuer_never_joins_two_people() {
    let claims = [
        Claim::always(Source::DeviceReported, stranger("urn:bedside:authority:unstated", "7")),
        Claim::always(Source::Manual, stranger("urn:oid:1", "7")),
        Claim::always(Source::Bed, stranger("urn:oid:2", "7")),
    ];
    assert!(matches!(asked(&claims, Span::at(0)), Attribution::Conflict { .. }));
    assert!(matches!(asked(&claims[..2], Span::at(0)), Attribution::Matched { .. }));
}

#[test]
fn a_time_that_is_not_sure_is_decided_only_where_it_makes_no_difference() {
    let claims =
        [spanning(Source::Manual, known(1), 0, Some(100)), spanning(Source::Manual, known(2), 100, None)];
    let within = |from, to| asked(&claims, Span { from, to });
    assert_eq!(id_of(&within(0, 99)), Some(1));
    assert_eq!(id_of(&within(100, 500)), Some(2));
    assert!(matches!(within(99, 100), Attribution::Review { .. }));
    assert!(matches!(within(-5, 5), Attribution::Review { .. }), "before the first nobody had it");
    // Given back and taken again within the span: the same person at both ends, and yet not sure.
    let gap = [spanning(Source::Manual, known(1), 0, Some(40)), spanning(Source::Manual, known(1), 60, None)];
    assert!(matches!(asked(&gap, Span { from: 30, to: 70 }), Attribution::Review { .. }));
    // A boundary of two claims for one person is none.
    let relayed =
        [spanning(Source::Manual, known(1), 0, Some(40)), spanning(Source::Scanned, known(1), 40, None)];
    assert_eq!(id_of(&asked(&relayed, Span { from: 30, to: 70 })), Some(1));
}

#[test]
fn a_ruling_stands_above_the_device_and_the_bed_within_its_time() {
    let mut ruling = spanning(Source::Manual, known(2), 10, Some(20));
    ruling.overrules = true;
    let claims = [
        Claim::always(Source::DeviceReported, known(1)),
        Claim::always(Source::Bed, known(3)),
        ruling.clone(),
    ];
    assert_eq!(id_of(&asked(&claims, Span::at(15))), Some(2));
    assert!(matches!(asked(&claims, Span::at(5)), Attribution::Conflict { .. }));
    let two = [ruling.clone(), Claim { whom: known(4), ..ruling }];
    assert!(
        matches!(asked(&two, Span::at(15)), Attribution::Conflict { .. }),
        "two rulings must agree as well"
    );
}

#[test]
fn a_number_of_several_people_is_a_conflict() {
    let claims = [Claim::always(Source::DeviceReported, Whom::Several)];
    assert!(why(asked(&claims, Span::at(0))).contains("several people"));
}

#[test]
fn what_the_index_does_not_hold_is_held_or_delivered_as_the_site_wants() {
    let claims = [Claim::always(Source::DeviceReported, stranger(ISSUER, "99"))];
    let ask = |unknown, indexed| attribute(&claims, Span::at(0), unknown, indexed);
    assert!(matches!(ask(Unknown::Deliver, true), Attribution::Matched { .. }));
    assert!(matches!(ask(Unknown::Hold, true), Attribution::Review { .. }));
    assert!(matches!(ask(Unknown::Hold, false), Attribution::Matched { .. }), "an empty index knows nobody");
}

#[test]
fn no_reason_holds_an_identifier() {
    let secret = "CANARY-4711";
    let claims = [
        Claim::always(Source::DeviceReported, stranger(ISSUER, secret)),
        Claim::always(Source::Bed, known(1)),
    ];
    assert!(!why(asked(&claims, Span::at(0))).contains(secret));
    assert!(!format!("{claims:?}").contains(secret));
}
