use std::time::Duration;

use super::*;
use crate::admin::samples::{
    NOON, blood_pressure, heart_rate, measurement, metric, numeric, person, report, seconds_after_noon,
    sighting, standing,
};
use crate::admin::store::Counts;
use crate::clock::TestClock;
use crate::device::{AbsentReason, Coding, Place, Value};

struct Setting {
    clock: Arc<TestClock>,
    live: Arc<Live>,
    profile: ProfileView,
    backlog: Backlog,
}

fn setting() -> Setting {
    let clock = TestClock::at(NOON);
    let live = Live::new(clock.clone());
    let profile = ProfileView { verified: "simulator".into(), ..ProfileView::default() };
    Setting { clock, live, profile, backlog: Backlog::default() }
}

impl Setting {
    fn say(&self, report: &Report, second: i64) -> String {
        self.live.report(report, &sighting(&self.profile, second))
    }

    fn overview(&self) -> Overview {
        self.live.overview("Ward 3", false, &self.backlog)
    }

    fn upstream(&self, state: UpstreamState) {
        self.live.upstream_stands(Some(standing(state)));
    }
}

#[test]
fn the_last_value_is_the_one_measured_last_not_the_one_that_came_last() {
    let s = setting();
    s.say(&report("1", vec![heart_rate("72", 10)]), 10);
    s.say(&report("1", vec![heart_rate("60", 5)]), 11);
    let device = s.overview().devices.remove(0);
    assert_eq!(device.values[0].value.as_deref(), Some("72"));
    assert_eq!(device.last_seen, seconds_after_noon(11));
    let trend = s.live.trend(&device.key, "8867-4", 60).unwrap();
    let values: Vec<_> = trend.points.iter().map(|(_, value)| value.unwrap()).collect();
    assert_eq!(values, [60.0, 72.0], "the late one has its place in the trend");
}

#[test]
fn a_frame_that_names_nobody_does_not_stay_under_the_last_patient() {
    let s = setting();
    let mut named = report("1", vec![heart_rate("72", 0)]);
    named.person = Some(person("DOE", "12345"));
    s.say(&named, 0);
    assert_eq!(s.overview().devices[0].patient.as_deref(), Some("DOE · 12345"));
    s.say(&report("1", vec![heart_rate("72", 1)]), 1);
    assert_eq!(s.overview().devices[0].patient, None);
    s.say(&named, 0);
    assert_eq!(s.overview().devices[0].patient, None, "an older frame shown again changes nobody");
    let bound = Identifier { system: "urn:x".into(), value: "777".into(), kind: None };
    let sighting = Sighting { bound_patient: Some(&bound), ..sighting(&s.profile, 2) };
    s.live.report(&report("1", vec![]), &sighting);
    assert_eq!(s.overview().devices[0].patient.as_deref(), Some("777"));
}

#[test]
fn values_stand_in_the_order_the_device_says_them_and_compounds_are_taken_apart() {
    let s = setting();
    let mut report = report("1", vec![heart_rate("72", 0), blood_pressure("120", "80")]);
    report.place =
        Some(Place { point_of_care: Some("ICU".into()), bed: Some("3".into()), ..Place::default() });
    s.say(&report, 0);
    let device = s.overview().devices.remove(0);
    assert_eq!(device.label, "ICU 3 · Mon 1");
    let values: Vec<_> = device.values.iter().map(|v| (&*v.code, v.value.as_deref().unwrap())).collect();
    assert_eq!(values, [("8867-4", "72"), ("8480-6", "120"), ("8462-4", "80")]);
}

#[test]
fn two_values_of_one_metric_in_one_frame_are_both_shown() {
    let s = setting();
    let mut left = metric("8867-4", "Pulse").as_ref().clone();
    left.site = Some(Coding::new("x", "left", None));
    let left = measurement(Arc::new(left), numeric("70", "/min"), 0);
    s.say(&report("1", vec![heart_rate("72", 0), heart_rate("71", 0), left, heart_rate("73", 1)]), 0);
    let device = s.overview().devices.remove(0);
    let values: Vec<_> = device.values.iter().map(|v| (&*v.code, v.value.as_deref().unwrap())).collect();
    assert_eq!(values, [("8867-4", "73"), ("8867-4#2", "71"), ("8867-4@left", "70")]);
}

#[test]
fn an_absent_value_shows_no_number_and_leaves_a_gap() {
    let s = setting();
    s.say(&report("1", vec![heart_rate("72", 0)]), 0);
    let mut gone = heart_rate("0", 1);
    gone.value = Value::Absent(AbsentReason::TempUnknown);
    s.say(&report("1", vec![gone]), 1);
    let device = s.overview().devices.remove(0);
    assert_eq!((device.values[0].value.as_deref(), device.values[0].absent), (None, Some("temp-unknown")));
    assert_eq!(s.live.trend(&device.key, "8867-4", 60).unwrap().points[1].1, None);
}

#[test]
fn a_thousand_and_one_devices_push_out_the_one_silent_longest() {
    let s = setting();
    for n in 0..=1_000 {
        s.say(&report(&n.to_string(), vec![heart_rate("72", n)]), n);
    }
    let overview = s.overview();
    assert_eq!(overview.devices.len(), DEVICES_MAX);
    assert!(overview.devices.iter().all(|device| device.key != "ACME/Mon 1/0"));
}

#[test]
fn a_device_with_endless_metrics_is_shown_in_part() {
    let s = setting();
    let many = (0..1_000).map(|n| measurement(metric(&n.to_string(), "x"), numeric("1", "1"), 0)).collect();
    s.say(&report("1", many), 0);
    assert_eq!(s.overview().devices[0].values.len(), METRICS_MAX);
}

#[tokio::test]
async fn points_reach_whoever_looks_with_the_digits_of_the_device() {
    let s = setting();
    s.say(&report("1", vec![heart_rate("71", 0)]), 0);
    let mut points = s.live.points();
    s.say(&report("1", vec![heart_rate("72.0", 1)]), 1);
    let point = serde_json::to_string(&*points.recv().await.unwrap()).unwrap();
    assert!(point.contains(r#""value":72.0"#), "{point}");
    assert!(points.try_recv().is_err());
}

#[test]
fn since_moves_with_the_state_and_not_with_its_words() {
    let s = setting();
    s.live.add_link("ward", "mllp", "ihe/pcd01");
    let up = |connections| LinkState::Up { detail: "port 2575".into(), connections };
    s.clock.advance(Duration::from_secs(5));
    s.live.link_state("ward", &up(1));
    s.clock.advance(Duration::from_secs(5));
    s.live.link_state("ward", &up(2));
    s.live.link_frame("ward");
    s.live.link_note("ward", "no start block");
    s.live.link_state("elsewhere", &up(9));
    let overview = s.overview();
    assert_eq!(overview.links.len(), 1);
    let link = &overview.links[0];
    assert_eq!((link.state, link.since, link.connections), ("up", seconds_after_noon(5), 2));
    assert_eq!((link.frames, link.refused, link.notes), (1, 0, 1));
}

#[test]
fn the_verdict_says_that_all_is_well_in_one_sentence() {
    let s = setting();
    assert_eq!(s.overview().verdict, "No link is set up yet; 0 waiting; no upstream is set up");
    s.live.add_link("ward", "mllp", "ihe/pcd01");
    s.live.link_state("ward", &LinkState::Up { detail: String::new(), connections: 1 });
    s.upstream(UpstreamState::Up);
    for n in 0..6 {
        s.say(&report(&n.to_string(), vec![heart_rate("72", 0)]), 0);
    }
    s.clock.advance(Duration::from_secs(12));
    assert_eq!(s.overview().verdict, "All 6 devices are sending; 0 waiting; upstream answered 12 s ago");
}

#[test]
fn the_verdict_names_problems_first_and_the_worst_of_them_first() {
    let mut s = setting();
    s.live.add_link("ward", "mllp", "ihe/pcd01");
    s.live.link_state("ward", &LinkState::Retrying { detail: "port in use".into() });
    s.upstream(UpstreamState::Up);
    s.clock.advance(Duration::from_secs(300));
    s.upstream(UpstreamState::Down);
    s.backlog.counts = Counts { waiting: 120, sent: 0, accepted: 7, held: 1 };
    assert_eq!(
        s.overview().verdict,
        "Upstream last answered 5 min ago, 120 kept safely until then; 1 message is held and needs a person; \
         link ward is not connected"
    );
    s.live.alarm("disk", Severity::Critical, "the disk is full", "make room");
    assert!(s.overview().verdict.starts_with("The disk is full; "));
    assert!(s.overview().verdict.ends_with("; and 1 more"));
    s.live.clear_alarm("disk");
    assert!(!s.overview().verdict.contains("disk"));
}

#[test]
fn a_device_shows_what_does_not_fit_on_a_card() {
    let s = setting();
    let profile = ProfileView { caveats: Arc::new(["no seconds".to_string()]), ..s.profile.clone() };
    let mut report = report("42", vec![heart_rate("72", 0)]);
    report.device.firmware = Some("1.2".into());
    let key = s.live.report(&report, &sighting(&profile, 0));
    let detail = serde_json::to_value(s.live.device(&key).unwrap()).unwrap();
    assert_eq!(detail["key"], "ACME/Mon 1/42");
    assert_eq!(detail["identifiers"], serde_json::json!(["Serial number 42", "Firmware 1.2"]));
    assert_eq!(detail["metrics"][0]["code"], "8867-4");
    assert_eq!(detail["caveats"][0], "no seconds");
    assert_eq!(detail["clock"]["offset_s"], 0.0);
    assert_eq!(detail["clock"]["verdict"], "The clock agrees with the box: 0 s ahead.");
    assert!(s.live.device("nobody").is_none());
}
