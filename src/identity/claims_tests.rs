use super::*;
use crate::device::{AbsentReason, Specimen};
use crate::device::{Device, Domain, MeasurementStatus, Metric, MetricClass, ResultStatus, Value};

const S: i64 = 1_000_000;

/// A ward: people with numbers 1, 2 …, who lies where, and what was decided.
#[derive(Default)]
struct Ward {
    people: i64,
    beds: Vec<(Place, Bedded)>,
    associations: Vec<Claim>,
    homes: Vec<Home>,
    orders: Vec<(&'static str, i64)>,
    broken: bool,
}

fn person(id: i64) -> Person {
    let identifier = Identifier { system: "urn:oid:1".into(), value: id.to_string().into(), kind: None };
    Person { identifiers: vec![identifier], ..Person::default() }
}

fn known(id: i64) -> Whom {
    Whom::Known { id, person: Arc::new(person(id)) }
}

fn bed(name: &str) -> Place {
    Place::new("", "ICU", "", name).unwrap()
}

impl Facts for Ward {
    fn has_people(&self) -> Result<bool, Unavailable> {
        if self.broken { Err(Unavailable("the disk".into())) } else { Ok(self.people > 0) }
    }

    fn whom(&self, person: &Person) -> Result<Whom, Unavailable> {
        let id = person.identifiers.first().and_then(|id| id.value.parse::<i64>().ok());
        Ok(id.filter(|id| (1..=self.people).contains(id)).map_or_else(|| stranger(person), known))
    }

    fn in_bed(&self, place: &Place, when: Span) -> Result<Vec<Bedded>, Unavailable> {
        let here = self.beds.iter().filter(|(bed, _)| bed.is_same_bed(place)).map(|(_, one)| one.clone());
        Ok(here.filter(|one| touches(Some(one.since), one.until, when)).collect())
    }

    fn associations(&self, _device: &str) -> Result<Vec<Claim>, Unavailable> {
        Ok(self.associations.clone())
    }

    fn homes(&self, _device: &str) -> Result<Vec<Home>, Unavailable> {
        Ok(self.homes.clone())
    }

    fn ordered(&self, specimen: &str) -> Result<Vec<Person>, Unavailable> {
        Ok(self.orders.iter().filter(|(code, _)| *code == specimen).map(|(_, id)| person(*id)).collect())
    }
}

fn moment(at: i64, precision: Precision) -> Moment {
    Moment { micros: at, offset_minutes: 0, precision, offset: Offset::Stated, source: ClockSource::Device }
}

fn measured(taken: Moment) -> Measurement {
    let metric = Metric {
        codings: Vec::new(),
        label: "x".into(),
        domain: Domain::VitalSigns,
        class: MetricClass::Measurement,
        site: None,
    };
    Measurement {
        metric: Arc::new(metric),
        value: Value::Absent(AbsentReason::Unknown),
        status: MeasurementStatus::default(),
        result_status: ResultStatus::Final,
        taken,
        until: None,
        containment: None,
        interpretation: Vec::new(),
        reference_range: None,
        note: None,
    }
}

fn report(times: &[i64]) -> Report {
    Report {
        device: Device::default(),
        person: None,
        place: None,
        specimen: None,
        orders: Vec::new(),
        measurements: times.iter().map(|at| measured(moment(at * S, Precision::Fraction))).collect(),
    }
}

fn ask(report: &Report, ward: &Ward, clock: Clock) -> Vec<Part> {
    parts(&Asked { report, device: "d", bound: None, clock, unknown: Unknown::Deliver }, ward)
}

/// Person by measurement; 0: not told.
fn whose(parts: &[Part]) -> Vec<i64> {
    let mut all: Vec<(usize, i64)> = Vec::new();
    for part in parts {
        let id = match &part.attribution {
            Some(Attribution::Matched { whom: Whom::Known { id, .. }, .. }) => *id,
            _ => 0,
        };
        all.extend(part.measurements.iter().map(|place| (*place, id)));
    }
    all.sort_unstable();
    all.into_iter().map(|(_, id)| id).collect()
}

fn manual(id: i64, since: i64, until: Option<i64>) -> Claim {
    Claim {
        source: Source::Manual,
        whom: known(id),
        since: Some(since * S),
        until: until.map(|until| until * S),
        overrules: false,
    }
}

#[test]
fn without_an_index_and_without_decisions_the_frame_and_the_link_speak_for_themselves() {
    let mut said = report(&[1]);
    said.person = Some(person(7));
    assert_eq!(ask(&said, &Ward::default(), Clock::default())[0].attribution, None);
}

#[test]
fn a_report_over_a_swap_is_cut_where_the_device_changed_hands() {
    let ward = Ward {
        people: 2,
        associations: vec![manual(1, 0, Some(10)), manual(2, 10, None)],
        ..Ward::default()
    };
    let said = report(&[1, 12, 9, 10]);
    let parts = ask(&said, &ward, Clock::default());
    assert_eq!(whose(&parts), [1, 2, 1, 2]);
    assert_eq!(parts.len(), 2);
    assert_eq!(cut(&said, &parts[1]).measurements.len(), 2);
}

#[test]
fn the_bed_the_device_stands_at_is_asked_at_the_time_of_the_measurement() {
    let stay = |id, since: i64, until: Option<i64>| Bedded {
        whom: known(id),
        since: since * S,
        until: until.map(|until| until * S),
    };
    let mut ward = Ward {
        people: 3,
        beds: vec![
            (bed("1"), stay(1, 0, Some(100))),
            (bed("1"), stay(2, 100, None)),
            (bed("2"), stay(3, 0, None)),
        ],
        homes: vec![
            Home { place: bed("1"), since: 0, until: Some(200 * S) },
            Home { place: bed("2"), since: 200 * S, until: None },
        ],
        ..Ward::default()
    };
    let said = report(&[50, 150, 250]);
    assert_eq!(whose(&ask(&said, &ward, Clock::default())), [1, 2, 3]);
    // A second one in the bed, and nobody can say any more.
    ward.beds.push((bed("1"), stay(3, 40, Some(60))));
    assert_eq!(whose(&ask(&said, &ward, Clock::default())), [0, 2, 3]);
    // What the device says of its place is heard too, and must agree.
    let mut placed = report(&[150]);
    placed.place = Some(crate::device::Place { bed: Some("2".into()), ..Default::default() });
    let parts = ask(&placed, &ward, Clock::default());
    assert!(matches!(parts[0].attribution, Some(Attribution::Conflict { .. })));
}

#[test]
fn the_order_of_a_specimen_says_whose_it_is() {
    let ward = Ward { orders: vec![("S1", 4), ("S2", 4), ("S2", 5)], ..Ward::default() };
    let of = |code: &str| {
        let mut said = report(&[1]);
        said.specimen = Some(Specimen { identifier: Some(code.into()), kind: None });
        ask(&said, &ward, Clock::default()).remove(0).attribution
    };
    let Some(Attribution::Matched { whom, sources }) = of("S1") else { panic!() };
    assert!(whom.same(&stranger(&person(4))));
    assert_eq!(sources, [Source::Specimen]);
    assert!(matches!(of("S2"), Some(Attribution::Conflict { .. })));
    assert_eq!(of("S3"), None);
}

#[test]
fn a_name_without_a_number_is_no_claim() {
    let ward = Ward { people: 1, ..Ward::default() };
    let mut said = report(&[1]);
    said.person = Some(Person { family: Some("Test".into()), ..Person::default() });
    assert_eq!(ask(&said, &ward, Clock::default())[0].attribution, Some(Attribution::Orphan));
}

#[test]
fn near_a_boundary_a_coarse_or_doubted_time_is_for_a_person_to_decide() {
    let ward = Ward {
        people: 2,
        associations: vec![manual(1, 0, Some(630)), manual(2, 630, None)],
        ..Ward::default()
    };
    let one = |taken: Moment, clock: Clock| {
        let mut said = report(&[]);
        said.measurements = vec![measured(taken)];
        whose(&ask(&said, &ward, clock))[0]
    };
    let sure = Clock::default();
    assert_eq!(one(moment(600 * S, Precision::Minute), sure), 0, "10:00 may be before or after 10:00:30");
    assert_eq!(one(moment(540 * S, Precision::Minute), sure), 1);
    assert_eq!(one(moment(600 * S, Precision::Second), sure), 1);
    // Five minutes ahead: what it calls 700 was 400, or it was 700 all the same.
    let ahead = Clock { ahead: 300 * S, slack: 2 * S, ..sure };
    assert_eq!(one(moment(700 * S, Precision::Second), ahead), 0);
    assert_eq!(one(moment(1_000 * S, Precision::Second), ahead), 2);
    let received = Moment { source: ClockSource::Receipt, ..moment(900 * S, Precision::Fraction) };
    assert_eq!(one(received.clone(), sure), 2);
    assert_eq!(one(received, Clock { older: 600 * S, ..sure }), 0);
    let local = Moment { offset: Offset::Assumed("Europe/Berlin".into()), ..moment(0, Precision::Second) };
    assert_eq!(one(local.clone(), sure), 1);
    assert_eq!(one(local, Clock { twice: true, ..sure }), 0, "an hour that comes twice");
}

#[test]
fn a_period_is_somebodys_as_a_whole() {
    let ward = Ward {
        people: 2,
        associations: vec![manual(1, 0, Some(10)), manual(2, 10, None)],
        ..Ward::default()
    };
    let mut said = report(&[5]);
    said.measurements[0].until = Some(moment(15 * S, Precision::Fraction));
    assert_eq!(whose(&ask(&said, &ward, Clock::default())), [0]);
}

#[test]
fn an_index_that_cannot_be_read_holds_and_never_guesses() {
    let ward = Ward { broken: true, ..Ward::default() };
    let parts = ask(&report(&[1]), &ward, Clock::default());
    assert!(matches!(parts[0].attribution, Some(Attribution::Review { .. })));
}
