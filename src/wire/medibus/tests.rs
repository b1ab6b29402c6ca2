use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::wire::Framer;
use crate::wire::rig::{Bench, any_cut_gives_the_same};

fn said(kind: Kind, code: u8, text: &str) -> Vec<u8> {
    Message { kind, code, text: text.into() }.wire()
}

fn reply(code: u8, text: &str) -> Vec<u8> {
    said(Kind::Reply, code, text)
}

fn command(code: u8) -> Vec<u8> {
    said(Kind::Command, code, "")
}

fn bench(settings: Settings) -> Bench {
    let mut bench = Bench::new(MedibusFramer::new(settings));
    bench.wait(Duration::ZERO);
    bench
}

fn two_pages() -> Settings {
    let (pages, rare_pages) = (vec![Page::Data1], vec![Page::Settings]);
    Settings { pages, rare_pages, rare_every: 2, ..Settings::default() }
}

/// Answers what the framer asks until it asks nothing more; the codes asked.
fn answer_all(bench: &mut Bench) -> Vec<u8> {
    let mut codes = Vec::new();
    loop {
        let asked: Vec<u8> = pieces(&bench.sent())
            .into_iter()
            .filter_map(|piece| match piece {
                Piece::Message(message) if message.kind == Kind::Command => Some(message.code),
                _ => None,
            })
            .collect();
        if asked.is_empty() {
            return codes;
        }
        for code in asked {
            codes.push(code);
            bench.feed(&reply(code, if code == b'$' { "EB 98 " } else { "" }));
        }
    }
}

#[test]
fn the_host_opens_the_link_and_one_round_is_one_frame() {
    let mut bench = bench(two_pages());
    assert_eq!(bench.sent(), command(b'Q'));
    bench.feed(&reply(b'Q', ""));
    assert_eq!(answer_all(&mut bench), b"R($)");
    let round = [reply(b'R', ""), reply(b'(', ""), reply(b'$', "EB 98 "), reply(b')', "")].concat();
    assert_eq!(bench.said.frames, [(round, vec![])]);
    bench.wait(Duration::from_millis(1900));
    assert_eq!(bench.sent(), b"");
    // The rare page is asked in the first and in every second round after it.
    let mut rounds = Vec::new();
    for _ in 0..12 {
        bench.wait(Duration::from_secs(1));
        let asked = answer_all(&mut bench);
        rounds.extend((asked.len() > 1).then_some(asked));
    }
    assert_eq!(rounds, [b"R($".to_vec(), b"R($)".to_vec()]);
}

#[test]
fn the_device_may_open_the_link_too_and_each_of_its_questions_is_answered() {
    let mut bench = bench(two_pages());
    assert_eq!(bench.sent(), command(b'Q'));
    bench.feed(&command(b'Q'));
    assert_eq!(bench.sent(), [reply(b'Q', ""), command(b'R')].concat());
    for code in [b'R', b'0', b'I', b'V', b'$'] {
        bench.feed(&command(code));
        assert_eq!(bench.sent(), reply(code, ""));
    }
    bench.feed(b"\x1b$00\r");
    assert_eq!(bench.sent(), reply(0x15, ""));
    bench.feed(&command(b'!'));
    assert_eq!((bench.sent(), bench.said.notes.last()), (vec![], Some(&"unknown-command")));
    bench.feed(&command(b'U'));
    assert_eq!(bench.sent(), reply(b'U', ""));
    bench.wait(Duration::from_secs(3));
    assert_eq!(bench.sent(), command(b'Q'), "a stopped link is opened again");
}

#[test]
fn until_the_device_answers_the_link_is_asked_for_every_three_seconds() {
    let mut bench = bench(Settings::default());
    bench.wait(Duration::from_secs(9));
    assert_eq!(bench.sent(), command(b'Q').repeat(4));
}

#[test]
fn nothing_to_say_is_said_every_two_seconds_and_silence_opens_the_link_again() {
    let mut bench = bench(Settings { poll_ms: 60_000, ..two_pages() });
    bench.feed(&reply(b'Q', ""));
    answer_all(&mut bench);
    for _ in 0..10 {
        bench.wait(Duration::from_secs(2));
        assert_eq!(bench.sent(), command(b'0'));
        bench.feed(&reply(b'0', ""));
    }
    bench.wait(Duration::from_millis(4999));
    assert_eq!(bench.sent(), command(b'0').repeat(2));
    bench.wait(Duration::from_millis(1));
    assert_eq!((bench.sent(), bench.said.notes.clone()), (command(b'Q'), vec!["silent"]));
}

#[test]
fn a_question_without_reply_is_left_after_ten_seconds_and_the_round_goes_on() {
    let mut bench = bench(two_pages());
    bench.feed(&reply(b'Q', ""));
    assert_eq!(pieces(&bench.sent()).len(), 2);
    for _ in 0..5 {
        bench.wait(Duration::from_secs(2));
        bench.feed(&reply(b'0', ""));
    }
    assert_eq!(bench.said.notes, ["no-reply"]);
    let sent = bench.sent();
    assert!(
        sent.ends_with(&[command(b'('), command(b'0')].concat()) || sent.ends_with(&command(b'(')),
        "{sent:?}"
    );
}

#[test]
fn a_question_the_device_could_not_read_is_asked_three_times() {
    let mut bench = bench(two_pages());
    bench.feed(&reply(b'Q', ""));
    bench.sent();
    for _ in 0..2 {
        bench.feed(&reply(0x15, ""));
        assert_eq!(bench.sent(), command(b'R'));
    }
    bench.feed(&reply(0x15, ""));
    assert_eq!((bench.sent(), bench.said.notes.clone()), (command(b'('), vec!["refused"]));
}

#[test]
fn a_pause_is_respected_and_ended_by_the_device_or_by_time() {
    let mut bench = bench(two_pages());
    bench.feed(&reply(b'Q', ""));
    bench.sent();
    bench.feed(b"\x13").feed(&reply(b'R', ""));
    assert_eq!(bench.sent(), b"");
    bench.feed(b"\x11").wait(Duration::ZERO);
    assert_eq!(bench.sent(), command(b'('));
    bench.feed(b"\x13").feed(&reply(b'(', ""));
    for _ in 0..5 {
        bench.wait(Duration::from_secs(2)).feed(&reply(b'0', ""));
    }
    assert_eq!(bench.said.notes, ["suspended"]);
    assert!(bench.sent().windows(5).any(|sent| sent == command(b'$')));
}

#[test]
fn realtime_streams_are_chosen_switched_on_and_kept_in_whole_records() {
    let realtime = ["00", "06"].map(|code| words::Stream::try_from(code.to_owned()).unwrap()).to_vec();
    let mut bench = bench(Settings { realtime, ..two_pages() });
    bench.feed(&reply(b'Q', ""));
    bench.sent();
    for code in b"R($)" {
        bench.feed(&reply(*code, ""));
    }
    bench.sent();
    bench.feed(&reply(b'S', "00"));
    let choice = said(Kind::Command, b'T', "00010601");
    assert_eq!(bench.sent(), choice);
    bench.feed(&reply(b'T', ""));
    assert_eq!(bench.sent(), b"\xd0\xc3\xc0\xc2\xc0\xc1\xc3\xc0\xc0");
    bench.feed(b"\xd3\x81\x82\x83\x84\xd3\x85\x86");
    for _ in 0..5 {
        bench.wait(Duration::from_secs(1)).feed(&reply(b'0', ""));
    }
    answer_all(&mut bench);
    let frames = &bench.said.frames;
    assert_eq!(frames.len(), 2);
    assert!(frames[1].0.starts_with(&choice));
    assert!(frames[1].0.windows(5).any(|record| record == b"\xd3\x81\x82\x83\x84"));
    assert!(!frames[1].0.contains(&0x86), "half a record waits for the next frame");
    bench.end();
    assert!(bench.said.frames[2].0.ends_with(b"\xd3\x85\x86"));
}

#[test]
fn a_listener_sends_nothing_and_keeps_what_others_asked() {
    let mut bench = bench(Settings { mode: Mode::Passive, ..Settings::default() });
    bench.feed(&[command(b'Q'), reply(b'Q', ""), command(b'$'), reply(b'$', "EB 98 ")].concat());
    bench.wait(Duration::from_secs(1)).feed(b"\x1b$00\r");
    assert_eq!((bench.sent(), bench.said.frames.len()), (vec![], 1));
    assert_eq!(bench.said.frames[0].0, reply(b'$', "EB 98 "));
    assert!(bench.framer.deadline().is_none());
}

#[test]
fn any_cut_gives_the_same_frames_and_garbage_does_not_cost_the_next_reply() {
    let stream = [
        b"\xfe\x02garbage\r\x01$EB 9".to_vec(),
        reply(b'Q', ""),
        reply(b'R', "8888'Test'03.00:03.00"),
        b"\x01$EB 9\xd1\x818 00\r".to_vec(),
        b"\xd1\x82\x83".to_vec(),
        reply(b'$', "EB 98 "),
        b"\x01(12".to_vec(),
    ]
    .concat();
    let said = any_cut_gives_the_same(|| MedibusFramer::new(two_pages()), &stream);
    let kept = [
        reply(b'R', "8888'Test'03.00:03.00"),
        b"\xfe\xd1\x81".to_vec(),
        reply(b'$', "EB 98 "),
        b"\xd1\x82\x83".to_vec(),
    ];
    assert_eq!(said.frames, [(kept.concat(), vec![])]);
    assert!(said.notes.contains(&"bad-checksum") && said.notes.contains(&"half-message"), "{:?}", said.notes);
}

#[test]
fn memory_is_bounded_by_the_limits() {
    let mut bench = bench(Settings::default());
    bench.feed(&[0x01]).feed(&vec![b'A'; 100_000]);
    assert!(bench.said.notes.contains(&"oversize"));
    for _ in 0..200 {
        bench.feed(&[0x81; 4096]);
    }
    assert!(bench.said.frames.iter().all(|(frame, _)| frame.len() < 300_000));
    assert!(bench.said.frames.len() >= 2);
}

/// All that is in the tables, spelt out.
fn may_be_sent(streams: usize) -> BTreeSet<Vec<u8>> {
    let questions = b"#$%&'()*+,-.0QRS".iter().map(|code| command(*code));
    let answers = b"#$%&'()*+,-.0IJQRSTUVlm\x15".iter().map(|code| reply(*code, ""));
    let choice = match streams {
        0 => Vec::new(),
        _ => vec![said(Kind::Command, b'T', "00010601"), b"\xd0\xc3\xc0\xc2\xc0\xc1\xc3\xc0\xc0".to_vec()],
    };
    questions.chain(answers).chain(choice).collect()
}

#[test]
fn whatever_the_device_says_only_listed_bytes_are_sent() {
    let mut dice = 0x2545_f491_4f6c_dd1du64;
    let mut roll = move |sides: usize| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        usize::try_from(dice % u64::try_from(sides).unwrap()).unwrap()
    };
    let realtime = ["00", "06"].map(|code| words::Stream::try_from(code.to_owned()).unwrap()).to_vec();
    let pages = vec![
        Page::Data1,
        Page::LowLimits1,
        Page::HighLimits1,
        Page::Alarms1,
        Page::Settings,
        Page::Text,
        Page::Data2,
        Page::LowLimits2,
        Page::HighLimits2,
        Page::Alarms2,
        Page::Alarms3,
    ];
    for realtime in [Vec::new(), realtime] {
        let allowed = may_be_sent(realtime.len());
        let mut seen = BTreeSet::new();
        let settings = Settings { pages: pages.clone(), realtime, ..Settings::default() };
        let mut framer = MedibusFramer::new(settings);
        let mut now = Duration::ZERO;
        for _ in 0..20_000 {
            let code = u8::try_from(roll(128)).unwrap();
            match roll(6) {
                0 => framer.feed(&command(code), now),
                1 => framer.feed(&reply(code, "00"), now),
                2 => framer.feed(&reply(framer.asked.map_or(b'Q', |asked| asked.code), ""), now),
                3 => framer.feed(&[code, code.wrapping_mul(2)], now),
                4 => framer.feed(b"\x01Q52\r", now),
                _ => {
                    now += Duration::from_millis(u64::try_from(roll(3000)).unwrap());
                    framer.tick(now);
                }
            }
            while let Some(step) = framer.step() {
                if let Step::Send(bytes) = step {
                    assert!(allowed.contains(&bytes), "{bytes:02x?}");
                    seen.insert(bytes);
                }
            }
        }
        assert!(seen.len() > 30, "the rig reaches the words: {}", seen.len());
    }
}

#[test]
fn settings_are_words_and_a_wrong_one_is_refused() {
    let text = "pages = [\"data-1\", \"alarms-3\"]\nrealtime = [\"00\", \"2A\"]\nmode = \"passive\"";
    let settings: Settings = toml::from_str(text).unwrap();
    assert_eq!(settings.pages, [Page::Data1, Page::Alarms3]);
    assert!(toml::from_str::<Settings>("pages = [\"data-9\"]").is_err());
    assert!(
        toml::from_str::<Settings>("realtime = [\"100\"]").unwrap_err().to_string().contains("hex digits")
    );
}
