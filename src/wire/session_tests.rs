use super::super::rig::Bench;
use super::super::{Codec, framer as of_codec};
use super::*;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn ask(send: &[u8], every: u64, expect: Option<&[u8]>, retries: u32) -> Ask {
    let expect = expect.map(<[u8]>::to_vec).into_iter().collect();
    Ask { send: send.to_vec(), every: ms(every), expect, timeout: ms(500), retries }
}

fn bench(dialogue: Dialogue) -> Bench {
    let codec: Codec = toml::from_str("codec = \"lines\"").unwrap();
    let mut bench = Bench::new(SessionFramer::new(of_codec(&codec), dialogue));
    bench.wait(Duration::ZERO);
    bench
}

fn poll(every: u64, expect: Option<&[u8]>, retries: u32) -> Dialogue {
    Dialogue { poll: vec![ask(b"SNDA\r", every, expect, retries)], ..Dialogue::default() }
}

#[test]
fn a_poll_is_sent_at_once_and_then_in_its_time() {
    let mut bench = bench(poll(1000, None, 0));
    assert_eq!(bench.sent(), b"SNDA\r");
    bench.wait(ms(100)).feed(b"MISCA,1\r").wait(ms(800));
    assert_eq!(bench.sent(), b"");
    bench.wait(ms(200));
    assert_eq!(
        (bench.sent().as_slice(), bench.said.messages()),
        (b"SNDA\r".as_slice(), vec!["MISCA,1".into()])
    );
    assert_eq!(bench.said.notes.len(), 0);
}

#[test]
fn a_device_that_does_not_answer_is_asked_again_and_told_of_once() {
    let mut bench = bench(poll(2000, None, 2));
    bench.wait(ms(1400));
    assert_eq!((bench.sent().as_slice(), bench.said.notes.len()), (b"SNDA\rSNDA\rSNDA\r".as_slice(), 0));
    bench.wait(ms(200));
    assert_eq!(bench.said.notes, ["no-answer"]);
    bench.wait(Duration::from_secs(30));
    assert_eq!(bench.said.notes, ["no-answer"]);
    bench.wait(Duration::from_secs(60));
    assert_eq!(bench.said.notes, ["no-answer", "no-answer"]);
    bench.feed(b"MISCA\r").wait(ms(400));
    assert_eq!(bench.said.messages(), ["MISCA"]);
}

#[test]
fn what_is_not_the_expected_answer_is_none() {
    let mut bench = bench(poll(5000, Some(b"MISCA,"), 0));
    bench.feed(b"noise\rMIS").wait(ms(400)).feed(b"CF,1\r").wait(ms(200));
    assert_eq!(bench.said.notes, ["no-answer"]);
    bench.wait(ms(5000)).feed(b"MIS").feed(b"CA,1\r").wait(ms(600));
    assert_eq!(bench.said.notes, ["no-answer"]);
    assert_eq!(bench.said.frames.len(), 3, "everything that came is kept, expected or not");
}

#[test]
fn a_handshake_goes_in_order_and_polls_wait_for_it() {
    let dialogue = Dialogue {
        on_connect: vec![ask(b"\x05", 0, Some(b"6510"), 1), ask(b"\x11", 0, None, 0)],
        ..poll(1000, None, 0)
    };
    let mut bench = bench(dialogue);
    assert_eq!(bench.sent(), b"\x05");
    bench.wait(ms(600));
    assert_eq!(bench.sent(), b"\x05", "the same again");
    bench.feed(b"6510 01.02\r");
    assert_eq!(bench.sent(), b"\x11SNDA\r");
}

#[test]
fn a_device_that_was_switched_off_is_greeted_again() {
    let dialogue = Dialogue { on_connect: vec![ask(b"hello", 0, Some(b"hi"), 0)], ..poll(1000, None, 0) };
    let mut bench = bench(dialogue);
    bench.feed(b"hi\r");
    assert_eq!(bench.sent(), b"helloSNDA\r");
    bench.wait(ms(600));
    assert_eq!((bench.sent().as_slice(), &*bench.said.notes), (b"".as_slice(), &["no-answer"][..]));
    bench.wait(GREET_AGAIN);
    assert_eq!(bench.sent(), b"hello");
}

#[test]
fn a_keep_alive_is_sent_in_its_time_but_not_into_an_answer() {
    let dialogue = Dialogue { keep_alive: vec![ask(b"K", 300, None, 0)], ..poll(10_000, None, 0) };
    let mut bench = bench(dialogue);
    assert_eq!(bench.sent(), b"KSNDA\r");
    bench.wait(ms(400));
    assert_eq!(bench.sent(), b"", "an answer is on its way");
    bench.feed(b"MISCA\r").wait(ms(700));
    assert_eq!(bench.sent(), b"KKK");
}

#[test]
fn a_reply_leaves_only_after_its_frame_is_kept() {
    let dialogue = Dialogue { reply: vec![(b"ASK".to_vec(), b"OK\r".to_vec())], ..Dialogue::default() };
    let mut bench = bench(dialogue);
    bench.hold = true;
    bench.feed(b"ASK 1\rother\rASK 2\r");
    assert_eq!((bench.sent().as_slice(), bench.open.len()), (b"".as_slice(), 3));
    let open = std::mem::take(&mut bench.open);
    bench.answer(open[0], Answer::Kept { body: None });
    assert_eq!(bench.sent(), b"OK\r");
    bench.answer(open[1], Answer::Kept { body: None });
    bench.answer(open[2], Answer::Refused { body: None });
    assert_eq!(bench.sent(), b"");
}

#[test]
fn a_link_without_a_dialogue_says_nothing() {
    let codec: Codec = toml::from_str("codec = \"lines\"").unwrap();
    let quiet = framer(of_codec(&codec), &Dialogue::default());
    assert_eq!(quiet.deadline(), None);
}
