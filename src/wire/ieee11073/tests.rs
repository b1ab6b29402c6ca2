use super::apdu::{association_request, event_report, prst};
use super::standard::{attribute, configuration, list};
use super::*;
use crate::wire::rig::{Bench, any_cut_gives_the_same};

const AGENT: &[u8] = &[0x00, 0x60, 0x19, 0xFF, 0xFE, 0x01, 0x02, 0x03];
const SCAN: u16 = 0x0D1D;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|octet| u8::from_str_radix(octet, 16).unwrap()).collect()
}

fn manager() -> Ieee11073Framer {
    Ieee11073Framer::new(Settings { gather_ms: 0 })
}

/// A scan report of a pulse oximeter in its standard configuration: 98 %.
fn scan(invoke: u16, confirmed: bool) -> Vec<u8> {
    let information = hex("F0 00 00 00 00 01 00 06 00 01 00 02 00 62");
    event_report(invoke, confirmed, &Event { handle: 0, time: 0, kind: SCAN, information: &information })
}

fn confirmation(invoke: u16) -> Vec<u8> {
    let [a, b] = invoke.to_be_bytes();
    [hex("E7 00 00 12 00 10"), vec![a, b], hex("02 01 00 0A 00 00 00 00 00 00 0D 1D 00 00")].concat()
}

fn told_configuration(id: u16, objects: &[u8]) -> Vec<u8> {
    let information = [&id.to_be_bytes()[..], objects].concat();
    event_report(
        0x4321,
        true,
        &Event { handle: 0, time: 0, kind: apdu::NOTI_CONFIG, information: &information },
    )
}

fn attributes(invoke: u16) -> Vec<u8> {
    let model = [apdu::counted(b"TEST"), apdu::counted(b"OXI 1\0")].concat();
    let mut arguments = vec![0, 0];
    arguments.extend(list(1, &attribute(0x0928, &model)));
    prst(invoke, apdu::GET_RESULT, &arguments)
}

#[test]
fn a_known_configuration_is_accepted_and_the_attributes_are_asked_for() {
    let mut bench = Bench::new(manager());
    bench.feed(&association_request(AGENT, 0x0190));
    // The association response and the Get of the standard's own examples (Annex H), with this manager's system id.
    let response =
        hex("E3 00 00 2C 00 00 50 79 00 26 80 00 00 00 80 00 80 00 00 00 00 00 00 00 80 00 00 00 00 08
         02 42 45 44 53 49 44 45 00 00 00 00 00 00 00 00 00 00");
    let get = hex("E7 00 00 0E 00 0C 00 01 01 03 00 06 00 00 00 00 00 00");
    assert_eq!(bench.sent(), [response, get].concat());
    bench.feed(&hex("E4 00 00 02 00 00"));
    assert_eq!(bench.sent(), hex("E5 00 00 02 00 00"));
}

#[test]
fn an_own_configuration_is_asked_for_accepted_and_remembered() {
    let mut bench = Bench::new(manager());
    let objects = configuration(0x0190).unwrap();
    bench.feed(&association_request(AGENT, 0x4000));
    assert_eq!(bench.sent()[4..6], [0, 3], "accepted, configuration unknown");
    bench.feed(&told_configuration(0x4000, &objects));
    let answer = hex("E7 00 00 16 00 14 43 21 02 01 00 0E 00 00 00 00 00 00 0D 1C 00 04 40 00 00 00");
    assert!(bench.sent().starts_with(&answer));
    bench.feed(&attributes(1)).feed(&scan(7, true));
    assert_eq!(bench.sent(), confirmation(7));
    bench.feed(&hex("E4 00 00 02 00 00")).sent();
    bench.feed(&association_request(AGENT, 0x4000));
    assert_eq!(bench.sent()[4..6], [0, 0], "the same agent need not tell it twice");
    bench.feed(&attributes(2)).feed(&scan(8, true));
    let told = told_configuration(0x4000, &objects);
    let (last, _) = bench.said.frames.last().unwrap();
    assert!(last.windows(told.len()).any(|window| window == told), "and it is in front of every report");
}

#[test]
fn a_configuration_that_cannot_be_is_answered_as_such() {
    let objects = configuration(0x0190).unwrap();
    for (told, objects, code) in [(0x4001, objects, 1), (0x4000, list(0, &[]), 2)] {
        let mut bench = Bench::new(manager());
        bench.feed(&association_request(AGENT, 0x4000)).sent();
        bench.feed(&told_configuration(told, &objects));
        assert_eq!(bench.sent().last(), Some(&code));
        assert_eq!(bench.said.notes, ["configuration-unknown"]);
    }
}

#[test]
fn a_kept_frame_can_be_read_by_itself() {
    let mut bench = Bench::new(manager());
    bench.feed(&association_request(AGENT, 0x0190)).feed(&attributes(1)).feed(&scan(9, true));
    let head = [association_request(AGENT, 0x0190), attributes(1)].concat();
    let frames: Vec<Vec<u8>> = bench.said.frames.iter().map(|(bytes, _)| bytes.clone()).collect();
    assert_eq!(frames, [head.clone(), [head, scan(9, true)].concat()]);
}

#[test]
fn a_report_is_confirmed_after_it_was_kept_and_not_before() {
    let mut bench = Bench::new(manager());
    bench.feed(&association_request(AGENT, 0x0190)).feed(&attributes(1)).sent();
    bench.hold = true;
    bench.feed(&scan(5, true));
    assert_eq!((bench.sent(), bench.open.len()), (vec![], 1));
    let ticket = bench.open[0];
    bench.answer(ticket, Answer::Kept { body: None });
    assert_eq!(bench.sent(), confirmation(5));
    bench.answer(ticket, Answer::Kept { body: None });
    assert_eq!(bench.sent(), b"", "once");
}

#[test]
fn a_report_that_is_not_kept_is_not_confirmed_and_the_agent_sends_it_again() {
    let mut bench = Bench::new(manager());
    bench.feed(&association_request(AGENT, 0x0190)).feed(&attributes(1)).sent();
    bench.refuse = 1;
    bench.feed(&scan(5, true));
    assert_eq!(bench.sent(), b"");
    // Without confirmation the agent ends the association (response timeout) and begins anew.
    bench.feed(&hex("E6 00 00 02 00 02")).feed(&association_request(AGENT, 0x0190)).sent();
    bench.feed(&attributes(2)).feed(&scan(1, true));
    assert_eq!(bench.sent(), confirmation(1));
    assert_eq!(bench.said.notes, ["not-confirmed", "aborted"]);
}

#[test]
fn a_confirmation_never_reaches_another_association() {
    let mut bench = Bench::new(manager());
    bench.feed(&association_request(AGENT, 0x0190)).feed(&attributes(1));
    bench.hold = true;
    bench.feed(&scan(5, true)).feed(&hex("E6 00 00 02 00 00")).sent();
    let ticket = bench.open[0];
    bench.answer(ticket, Answer::Kept { body: None });
    assert_eq!(bench.sent(), b"");
}

#[test]
fn reports_wait_a_moment_for_the_attributes() {
    let mut bench = Bench::new(manager());
    bench.feed(&association_request(AGENT, 0x0190)).feed(&scan(5, true)).sent();
    assert!(bench.said.frames.is_empty());
    bench.wait(ms(1499));
    assert!(bench.said.frames.is_empty());
    bench.wait(ms(1));
    assert_eq!((bench.said.frames.len(), bench.sent()), (1, confirmation(5)));
    bench.feed(&attributes(1)).feed(&scan(6, true));
    assert_eq!(bench.said.notes, ["no-mds", "unexpected"]);
    let (first, _) = &bench.said.frames[1];
    assert!(
        !first.windows(4).any(|window| window == b"TEST"),
        "one association, one description of the agent"
    );
}

#[test]
fn unconfirmed_reports_of_a_period_are_one_frame() {
    let mut bench = Bench::new(Ieee11073Framer::new(Settings { gather_ms: 3000 }));
    bench.feed(&association_request(AGENT, 0x0190)).feed(&attributes(1)).sent();
    bench.feed(&scan(1, false)).wait(ms(1000)).feed(&scan(2, false)).wait(ms(2000)).feed(&scan(3, false));
    assert_eq!(bench.said.frames.len(), 2, "the attributes, and a period");
    assert!(bench.said.frames[1].0.ends_with(&[scan(1, false), scan(2, false)].concat()));
    bench.feed(&scan(4, true));
    assert!(bench.said.frames[2].0.ends_with(&scan(3, false)), "what came before is kept before");
    assert!(bench.said.frames[3].0.ends_with(&scan(4, true)));
    assert_eq!(bench.sent(), confirmation(4));
}

#[test]
fn an_agent_that_tells_no_configuration_is_let_go_after_ten_seconds() {
    let mut bench = Bench::new(manager());
    bench.feed(&association_request(AGENT, 0x4000)).sent();
    bench.wait(ms(9_999));
    assert_eq!(bench.sent(), b"");
    bench.wait(ms(1));
    assert_eq!(bench.sent(), hex("E6 00 00 02 00 03"));
    assert_eq!(bench.said.notes, ["configuration-timeout"]);
}

#[test]
fn what_cannot_be_associated_is_rejected_with_its_reason() {
    let good = association_request(AGENT, 0x0190);
    let mut version = good.clone();
    version[4] = 0;
    let mut protocol = good.clone();
    protocol[12] = 0;
    let mut encoding = good.clone();
    encoding[20] = 0x20;
    for (request, reason) in [(version, 8), (protocol, 4), (encoding, 5)] {
        let mut bench = Bench::new(manager());
        bench.feed(&request);
        assert_eq!(bench.sent(), [hex("E3 00 00 06 00"), vec![reason, 0, 0, 0, 0]].concat());
        bench.feed(&scan(1, true));
        assert_eq!(bench.sent(), hex("E6 00 00 02 00 00"), "nothing is confirmed without association");
        assert!(bench.said.frames.is_empty());
    }
}

/// A day with every kind of APDU and noise.
fn day() -> Vec<u8> {
    [
        b"noise".to_vec(),
        scan(1, true),
        association_request(AGENT, 0x4000),
        told_configuration(0x4000, &configuration(0x02BC).unwrap()),
        scan(2, true),
        attributes(2),
        attributes(1),
        scan(3, false),
        hex("E7 00 00 04 00 02 00 00"),
        association_request(AGENT, 0x0190),
        event_report(9, true, &Event { handle: 0, time: 0, kind: 0x0D21, information: &[] }),
        scan(4, true),
        hex("E3 00 00 02 00 00 E5 00 00 02 00 00"),
        association_request(AGENT, 0x0191),
        scan(5, true),
        hex("E6 00 00 02 00 00"),
        vec![0xE7; 5],
    ]
    .concat()
}

#[test]
fn any_cut_of_the_stream_gives_the_same() {
    let orderly = [
        b"noise".to_vec(),
        association_request(AGENT, 0x4000),
        told_configuration(0x4000, &configuration(0x02BC).unwrap()),
        scan(1, true),
        attributes(1),
        scan(2, true),
        scan(3, false),
        scan(4, true),
        vec![0xE7; 5],
    ]
    .concat();
    let said = any_cut_gives_the_same(manager, &orderly);
    assert_eq!((said.frames.len(), said.notes), (5, vec!["stray-bytes", "stray-bytes"]));
}

#[test]
fn what_is_kept_of_a_wild_agent_does_not_depend_on_the_cut() {
    let frames = |size: usize| crate::wire::frames_of(Box::new(manager()), &mut day().chunks(size));
    let whole = frames(10_000);
    assert_eq!(whole.len(), 5);
    for size in 1..60 {
        assert_eq!(frames(size), whole, "{size} octets at a time");
    }
}

#[test]
fn nothing_but_answers_get_confirmations_release_and_abort_is_ever_sent() {
    let mut bench = Bench::new(Ieee11073Framer::new(Settings::default()));
    for _ in 0..3 {
        bench.feed(&day()).wait(ms(20_000));
    }
    bench.feed(&association_request(AGENT, 0x0190)).end();
    let sent = bench.sent();
    let mut octets = 0;
    for apdu in apdu::apdus(&sent) {
        octets += apdu.contents.len() + 4;
        match apdu.choice {
            apdu::AARE | apdu::RLRE | apdu::RLRQ | apdu::ABRT => {}
            apdu::PRST => {
                let operation = apdu::operation(apdu.contents).unwrap();
                match operation.choice {
                    apdu::EVENT_RESULT => {}
                    apdu::GET => assert_eq!(operation.arguments, [0; 6], "all attributes of the MDS"),
                    other => panic!("operation {other:04X}"),
                }
            }
            other => panic!("APDU {other:04X}"),
        }
    }
    assert_eq!(octets, sent.len());
    assert!(sent.ends_with(&hex("E4 00 00 02 00 00")), "released at the end");
}

#[test]
fn half_an_apdu_is_given_up_and_the_next_agent_is_heard() {
    let mut bench = Bench::new(manager());
    bench.feed(&hex("E7 00 FB 00 01 02 03")).wait(ms(5000));
    assert_eq!(bench.said.notes, ["stray-bytes"]);
    bench.feed(&association_request(AGENT, 0x0190));
    assert_eq!(bench.sent()[..2], [0xE3, 0]);
}

#[test]
fn memory_is_bounded_by_the_longest_apdu() {
    let mut framer = manager();
    for _ in 0..200 {
        framer.feed(&[0xE7; 1000], Duration::ZERO);
        framer.feed(&[0x00; 1000], Duration::ZERO);
        while framer.step().is_some() {}
        assert!(framer.input.len() <= APDU_MAX + 1000, "{}", framer.input.len());
    }
}

#[test]
fn every_standard_configuration_is_objects_with_a_type_and_a_map() {
    for id in [0x0190, 0x0191, 0x02BC, 0x0320, 0x05DC, 0x06A4] {
        assert!(standard::is_standard(id));
        let objects = configuration(id).unwrap();
        let mut octets = apdu::Octets(&objects);
        let (count, inner) = octets.sequence().unwrap();
        assert!(octets.is_empty() && count > 0 && !inner.is_empty(), "{id:04X}");
    }
    assert!(!standard::is_standard(0x4000) && configuration(0x4000).is_none());
}

#[test]
fn the_fuzz_body_takes_good_and_bad_bytes() {
    let day = day();
    for at in (0..day.len()).step_by(7) {
        fuzz(&day[at..]);
    }
}
