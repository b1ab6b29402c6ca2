use super::record::{MAIN_PHYSIOLOGICAL, MAIN_WAVE, Record, encode, framed, records, u16_at};
use super::*;
use crate::wire::rig::{Bench, any_cut_gives_the_same};

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn at_once() -> Settings {
    Settings { gather_ms: 0, ..Settings::default() }
}

/// A record whose body needs escapes everywhere.
fn reply(fill: u8) -> Vec<u8> {
    framed(&encode(7, 0x7E7D_7E7D, MAIN_PHYSIOLOGICAL, &[(0, 1)], &vec![fill; 278]))
}

#[test]
fn the_request_is_the_one_of_the_specification() {
    // Header of 40 bytes, one subrecord of type 0, then displayed values every 10 s of all four classes.
    let request = Command::DisplayedValues { interval_s: 10 }.frame();
    assert_eq!(request.len(), 1 + 49 + 1 + 1);
    assert_eq!(request[..5], [0x7E, 0x31, 0, 0, 0]);
    assert_eq!(request[17..23], [0, 0, 0, 0, 0, 0xFF]);
    assert_eq!(request[41..50], [1, 10, 0, 0x0E, 0, 0, 0, 0, 0]);
    let sum = request[1..50].iter().map(|byte| u32::from(*byte)).sum::<u32>();
    assert_eq!(u32::from(request[50]), sum & 0xFF);
    let waves = Command::StartWaves(&[Wave::Ecg1, Wave::Pleth]).frame();
    assert_eq!((waves[1], waves[15]), (72, 1));
    assert_eq!(waves[41..53], [0, 0, 0, 0, 1, 8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
}

#[test]
fn any_cut_of_the_line_gives_the_same_records() {
    let mut line = b"\x00garbage\x7E\x7E".to_vec();
    line.extend(reply(0x7E));
    let mut damaged = reply(3);
    damaged[60] ^= 1;
    line.extend(damaged);
    line.extend(reply(0x7D));
    // The flag between two records may be one.
    line.extend(&reply(5)[1..]);
    line.extend(&reply(6)[..90]);
    let said = any_cut_gives_the_same(|| DriFramer::new(at_once()), &line);
    let frames: Vec<Vec<u8>> = said.frames.into_iter().map(|(bytes, _)| bytes).collect();
    assert_eq!(frames, [reply(0x7E), reply(0x7D), reply(5)]);
    assert_eq!(said.notes, ["stray-bytes", "bad-checksum", "cut-record"]);
}

#[test]
fn a_monitor_is_asked_at_once_and_again_when_nothing_comes() {
    let mut bench = Bench::new(DriFramer::new(Settings { waves: vec![Wave::Ecg1], ..at_once() }));
    assert_eq!(bench.sent(), b"");
    bench.wait(s(1));
    let asked =
        [Command::DisplayedValues { interval_s: 10 }.frame(), Command::StartWaves(&[Wave::Ecg1]).frame()]
            .concat();
    assert_eq!(bench.sent(), asked);
    bench.wait(s(28));
    assert_eq!(bench.sent(), b"");
    bench.wait(s(2));
    assert_eq!(bench.sent(), asked);
    bench.feed(&reply(1)).wait(s(29));
    assert_eq!(bench.sent(), b"", "it spoke, so it is not asked");
    bench.wait(s(2)).end();
    assert!(bench.sent().starts_with(&asked));
    assert_eq!(bench.said.notes, ["asked-again", "asked-again"]);
}

#[test]
fn nothing_but_requests_to_transmit_and_to_stop_is_ever_sent() {
    let mut bench = Bench::new(DriFramer::new(Settings { waves: vec![Wave::Pleth; 20], ..at_once() }));
    for round in 0..20u8 {
        bench.feed(&reply(round)).feed(b"\x7E\x00\xFF\x7E").wait(s(40));
    }
    bench.end();
    let sent: Vec<Vec<u8>> = records(&bench.sent()).map(Result::unwrap).collect();
    assert!(sent.len() > 4);
    for request in &sent {
        let record = Record::parse(request).unwrap();
        let parts: Vec<_> = record.subrecords().collect();
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].0, 0, "subrecord type 0 is a request");
        match record.main {
            MAIN_PHYSIOLOGICAL => assert_eq!((parts[0].1.len(), parts[0].1[0]), (9, 1)),
            MAIN_WAVE => assert!(parts[0].1.len() == 32 && u16_at(parts[0].1, 0).unwrap() <= 1),
            other => panic!("main type {other}"),
        }
    }
    assert_eq!(
        sent.last().unwrap(),
        &records(&Command::StopDisplayedValues.frame()).next().unwrap().unwrap()
    );
}

#[test]
fn records_of_a_period_are_one_frame_and_the_rest_goes_at_the_end() {
    let mut bench = Bench::new(DriFramer::new(Settings { gather_ms: 2000, ..Settings::default() }));
    bench.feed(&reply(1)).wait(s(1)).feed(&reply(2)).wait(s(2));
    assert_eq!(bench.said.frames, [([reply(1), reply(2)].concat(), vec![])]);
    bench.feed(&reply(3)).end();
    assert_eq!(bench.said.frames.len(), 2);
}

#[test]
fn memory_is_bounded_and_a_good_record_after_noise_is_found() {
    let mut framer = DriFramer::new(at_once());
    framer.feed(&[FLAG], s(0));
    for _ in 0..1000 {
        framer.feed(&[0x55; 1000], s(0));
        assert!(framer.open.len() <= STUFFED_MAX);
    }
    let mut bench = Bench::new(framer);
    bench.feed(&reply(9));
    assert_eq!(bench.said.frames.len(), 1);
    assert_eq!(bench.said.notes, ["oversize", "stray-bytes"]);
}

#[test]
fn a_refused_frame_is_told_since_the_monitor_will_not_repeat_it() {
    let mut bench = Bench::new(DriFramer::new(at_once()));
    bench.refuse = 1;
    bench.feed(&reply(1));
    assert_eq!(bench.said.notes, ["not-kept"]);
}

#[test]
fn the_fuzz_body_takes_good_and_bad_bytes() {
    let line = [reply(1), b"\x7E\x7D\x7E".to_vec(), reply(0x7D)].concat();
    for at in 0..line.len() {
        fuzz(&line[at..]);
    }
}
