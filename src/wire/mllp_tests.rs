use super::*;
use crate::wire::rig::{Bench, Said, any_cut_gives_the_same, kept};

fn framer() -> MllpFramer {
    MllpFramer::new(Settings { max_message_bytes: 60, ..Settings::default() })
}

#[test]
fn any_cut_of_the_bytes_yields_the_same_frames() {
    let said = any_cut_gives_the_same(
        framer,
        b"\x0bMSH|1\rPID\r\x1c\r\r\n \x0bMSH|2\r\x1c\r\x0bhalf\x0bMSH|3\x1c\x0bMSH|4\x1c\x1c\r junk \x0bMSH|5\x1c\r\
          \x0b\x0bMSH|6\r\x1c\nMSH|7\r\x1cMSH|8\r\x1c\r\x0b\x1c\r\x0bMSH|0123456789012345678901234567890123456789012345\
          678901234567890\x1c\r\x0bMSH|9",
    );
    let messages: Vec<String> = (1..=8)
        .map(|n| match n {
            1 => String::from("MSH|1\rPID\r"),
            3 => String::from("MSH|3"),
            4 => String::from("MSH|4"),
            5 => String::from("MSH|5"),
            n => format!("MSH|{n}\r"),
        })
        .collect();
    assert_eq!(said.messages(), messages);
    assert_eq!(
        said.notes,
        ["half-message", "noise", "double-start-block", "empty-message", "oversize", "half-message"]
    );
}

fn warnings_of(bytes: &[u8]) -> Vec<(String, Vec<&'static str>)> {
    let said = any_cut_gives_the_same(framer, bytes);
    said.frames.into_iter().map(|(bytes, codes)| (String::from_utf8(bytes).unwrap(), codes)).collect()
}

#[test]
fn a_message_without_start_block_is_taken_with_a_warning() {
    assert_eq!(warnings_of(b"\r\nMSH|1\r\x1c\r"), [(String::from("MSH|1\r"), vec!["no-start-block"])]);
}

#[test]
fn something_else_with_an_end_block_is_a_frame_too_so_that_it_is_kept_and_refused() {
    assert_eq!(warnings_of(b"HELLO\x1c\r"), [(String::from("HELLO"), vec!["no-start-block"])]);
}

#[test]
fn an_end_block_without_carriage_return_ends_the_message_with_a_warning() {
    let expected = [(String::from("MSH|1\r"), vec!["no-carriage-return"]), (String::from("MSH|2\r"), vec![])];
    assert_eq!(warnings_of(b"\x0bMSH|1\r\x1c\x0bMSH|2\r\x1c\r"), expected);
}

#[test]
fn an_end_block_followed_by_silence_ends_the_message() {
    let mut bench = Bench::new(framer());
    bench.feed(b"\x0bMSH|1\r\x1c");
    assert_eq!(bench.said.frames, []);
    bench.wait(Duration::from_secs(1));
    assert_eq!(bench.said.frames, [(b"MSH|1\r".to_vec(), vec!["no-carriage-return"])]);
}

#[test]
fn an_end_block_inside_the_text_does_not_cut_a_message_short() {
    let expected = [(String::from("MSH|9\x1c8\r"), vec!["stray-end-block"])];
    assert_eq!(warnings_of(b"\x0bMSH|9\x1c8\r\x1c\r"), expected);
}

#[test]
fn two_messages_with_nothing_between_but_an_end_block_stay_two() {
    let said = warnings_of(b"\x0bMSH|1\r\x1cMSH|2\r\x1c\r");
    assert_eq!(said[0], (String::from("MSH|1\r"), vec!["no-carriage-return"]));
    assert_eq!(said[1], (String::from("MSH|2\r"), vec!["no-start-block"]));
}

#[test]
fn a_half_message_is_noted_and_never_a_frame() {
    let said = any_cut_gives_the_same(framer, b"\x0bMSH|1\rOBX|9\x0bMSH|2\r\x1c\r\x0bMSH|3");
    assert_eq!((said.messages(), said.notes), (vec![String::from("MSH|2\r")], vec!["half-message"; 2]));
}

#[test]
fn answers_leave_in_the_order_of_the_frames_and_together() {
    let mut bench = Bench::new(framer());
    bench.hold = true;
    bench.feed(b"\x0ba\x1c\r\x0bb\x1c\r\x0bc\x1c\r");
    let [a, b, c]: [Ticket; 3] = bench.open.clone().try_into().unwrap();
    bench.answer(c, kept(b"c")).answer(b, kept(b"b"));
    assert_eq!(bench.sent(), b"");
    bench.answer(a, Answer::Refused { body: Some(b"no".to_vec()) });
    assert_eq!(bench.sent(), b"\x0bno\x1c\r\x0bAb\x1c\r\x0bAc\x1c\r");
}

#[test]
fn a_frame_without_application_answer_does_not_hold_up_the_next() {
    let mut bench = Bench::new(framer());
    bench.hold = true;
    bench.feed(b"\x0ba\x1c\r\x0bb\x1c\r");
    let [a, b]: [Ticket; 2] = bench.open.clone().try_into().unwrap();
    bench.answer(a, Answer::Kept { body: None }).answer(b, kept(b"b"));
    assert_eq!(bench.sent(), b"\x0bAb\x1c\r");
}

#[test]
fn a_message_over_the_limit_is_refused_in_its_turn_and_the_next_is_taken() {
    let long = [b"\x0bMSH|", [b'x'; 70].as_slice(), b"\x1c\r\x0bMSH|2\x1c\r"].concat();
    let said = any_cut_gives_the_same(framer, &long);
    assert_eq!((said.notes, said.frames), (vec!["oversize"], vec![(b"MSH|2".to_vec(), vec![])]));
    assert!(said.refused[0].starts_with(b"MSH|xxx"));
    assert_eq!(said.sent, b"\x0bR\x1c\r\x0bAM\x1c\r");
}

#[test]
fn an_endless_message_closes_the_connection_without_growing() {
    let mut framer = MllpFramer::new(Settings { max_message_bytes: 10_000, ..Settings::default() });
    framer.feed(b"\x0bMSH|", Duration::ZERO);
    for _ in 0..10 {
        framer.feed(&[b'x'; 5_000], Duration::ZERO);
        assert!(framer.body.capacity() <= 20_000);
    }
    let Some(Step::Close(warning)) = framer.step() else { panic!("not closed") };
    assert!(warning.text.contains("10000 bytes"), "{}", warning.text);
    framer.feed(b"\x0bMSH|\x1c\r", Duration::ZERO);
    assert_eq!(framer.step(), None);
}

#[test]
fn a_sender_who_drips_is_closed_after_the_time_limit() {
    let mut bench = Bench::new(framer());
    bench.feed(b"\x0b");
    for _ in 0..40 {
        bench.feed(b"x").wait(Duration::from_secs(8));
    }
    assert!(bench.said.closed);
    assert_eq!(bench.said.notes, ["slow-message"]);
}

#[test]
fn bare_hl7_is_a_message_after_silence_only_where_the_profile_says_so() {
    let bare = b"MSH|1\rPID|1\r";
    let mut strict = Bench::new(framer());
    strict.feed(bare).wait(Duration::from_secs(5)).end();
    assert_eq!((strict.said.frames, strict.said.notes), (vec![], vec!["half-message"]));

    let settings = Settings { unframed_quiet_ms: Some(2000), ..Settings::default() };
    let mut tolerant = Bench::new(MllpFramer::new(settings));
    tolerant.feed(&bare[..8]).wait(Duration::from_secs(5));
    assert_eq!(tolerant.said, Said::default(), "a segment that is not ended is not the last");
    tolerant.feed(&bare[8..]).wait(Duration::from_secs(5));
    assert_eq!(tolerant.said.frames, [(bare.to_vec(), vec!["unframed"])]);
}

#[test]
fn bytes_that_are_no_message_are_noted_and_forgotten() {
    let mut bench = Bench::new(framer());
    bench.feed(b"GET / HTTP/1.0").wait(Duration::from_secs(400));
    assert_eq!((bench.said.notes.as_slice(), bench.said.closed), (["noise"].as_slice(), false));
}

#[test]
fn the_fuzz_body_holds_on_all_short_strings_of_the_alphabet() {
    let alphabet = [START, END, b'\r', b'M', b'x'];
    for n in 0..alphabet.len().pow(6) {
        let text: Vec<u8> =
            (0..6).map(|place| alphabet[n / alphabet.len().pow(place) % alphabet.len()]).collect();
        fuzz(&text);
    }
    fuzz(&[b"\x0bMSH|1\x1cMSH|2\x1c\r".as_slice(), &[b'x'; 2000]].concat());
}

const ORDERS: &[u8] = b"MSH|^~\\&|A||||1||DSR^Q03|77|P|2.3.1\rMSA|AA|4\r";

fn roomy() -> MllpFramer {
    MllpFramer::new(Settings::default())
}

fn steps(framer: &mut MllpFramer) -> Vec<Step> {
    std::iter::from_fn(|| framer.step()).collect()
}

fn ack(code: &str, id: &str) -> Vec<u8> {
    wrap(format!("MSH|^~\\&|||||1||ACK^Q03|5|P|2.3.1\rMSA|{code}|{id}\r").as_bytes())
}

#[test]
fn a_message_to_the_device_is_sent_until_it_is_acknowledged_by_its_number() {
    for (code, taken) in [("AA", true), ("CA", true), ("AE", false), ("AR", false)] {
        let mut framer = roomy();
        let ticket = framer.send(ORDERS.to_vec(), Duration::ZERO).unwrap();
        assert_eq!(steps(&mut framer), [Step::Send(wrap(ORDERS))]);
        framer.feed(&ack(code, "76"), Duration::ZERO);
        assert!(
            matches!(&steps(&mut framer)[..], [Step::Frame { .. }]),
            "the answer to something else is a frame"
        );
        framer.feed(&ack(code, "77"), Duration::ZERO);
        let told = steps(&mut framer);
        assert_eq!(told.len(), 1, "no frame, nothing to acknowledge");
        match &told[0] {
            Step::Sent { ticket: of } => assert!(taken && *of == ticket),
            Step::Unsent { ticket: of, .. } => assert!(!taken && *of == ticket),
            other => panic!("{other:?}"),
        }
        assert_eq!(framer.deadline(), None);
    }
}

#[test]
fn a_message_nobody_acknowledges_is_given_up_in_time_or_with_the_connection() {
    let mut framer = roomy();
    framer.send(ORDERS.to_vec(), Duration::from_secs(1)).unwrap();
    steps(&mut framer);
    assert_eq!(framer.deadline(), Some(Duration::from_secs(31)));
    framer.tick(Duration::from_secs(30));
    assert!(steps(&mut framer).is_empty());
    framer.tick(Duration::from_secs(31));
    assert!(
        matches!(&steps(&mut framer)[..], [Step::Unsent { warning, .. }] if warning.code == "not-acknowledged")
    );
    framer.send(ORDERS.to_vec(), Duration::from_secs(40)).unwrap();
    steps(&mut framer);
    framer.end(Duration::from_secs(41));
    assert!(matches!(&steps(&mut framer)[..], [Step::Unsent { .. }]));
    assert!(framer.send(ORDERS.to_vec(), Duration::from_secs(42)).is_err(), "after the end nothing is sent");
}

#[test]
fn what_cannot_be_acknowledged_is_not_sent_and_the_queue_is_bounded() {
    let mut framer = roomy();
    assert!(framer.send(b"MSH|^~\\&|A".to_vec(), Duration::ZERO).is_err());
    for _ in 0..SENT_MAX {
        framer.send(ORDERS.to_vec(), Duration::ZERO).unwrap();
    }
    assert!(framer.send(ORDERS.to_vec(), Duration::ZERO).is_err());
}

#[test]
fn release_2_says_with_one_byte_whether_a_block_was_kept_and_takes_such_bytes_for_no_message() {
    let settings = Settings { commit_characters: true, ..Settings::default() };
    let mut framer = MllpFramer::new(settings);
    for (answer, sign) in [
        (Answer::Kept { body: None }, COMMIT),
        (Answer::Refused { body: Some(b"MSH|1".to_vec()) }, NO_COMMIT),
    ] {
        framer.feed(&wrap(b"MSH|^~\\&|A\r"), Duration::ZERO);
        let Some(Step::Frame { ticket, .. }) = framer.step() else { panic!("a frame") };
        let body = if sign == COMMIT { Vec::new() } else { wrap(b"MSH|1") };
        framer.answer(ticket, answer, Duration::ZERO);
        assert_eq!(steps(&mut framer), [Step::Send([wrap(&[sign]), body].concat())]);
    }
    framer.feed(&wrap(&[COMMIT]), Duration::ZERO);
    assert_eq!(steps(&mut framer), []);
    framer.feed(&wrap(&[NO_COMMIT]), Duration::ZERO);
    assert!(matches!(&steps(&mut framer)[..], [Step::Note(warning)] if warning.code == "not-committed"));
}

#[test]
fn joined_messages_leave_in_blocks_of_their_own() {
    let (one, two) = (b"MSH|1\r".to_vec(), b"MSH|2\r".to_vec());
    assert_eq!(wrap(&join(&[one.clone(), two.clone()])), [wrap(&one), wrap(&two)].concat());
    assert_eq!(wrap(&join(std::slice::from_ref(&one))), wrap(&one));
}

#[test]
fn a_caller_takes_whole_blocks_out_of_what_it_read() {
    let mut read = [b"noise".as_slice(), &wrap(b"MSH|1"), b"\r\n", &wrap(b"MSH|2"), &[START, b'M']].concat();
    assert_eq!(take_block(&mut read).unwrap(), b"MSH|1");
    assert_eq!(take_block(&mut read).unwrap(), b"MSH|2");
    assert_eq!(take_block(&mut read), None);
    assert_eq!(read, [START, b'M']);
    read.extend([END]);
    assert_eq!(take_block(&mut read), None, "half an end");
    read.extend(b"\r");
    assert_eq!((take_block(&mut read), read.len()), (Some(b"M".to_vec()), 0));
    let mut noise = b"no block".to_vec();
    assert_eq!((take_block(&mut noise), noise.len()), (None, 0));
}
