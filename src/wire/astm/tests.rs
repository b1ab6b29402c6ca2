//! What a receiver does on a line that behaves, and on one that does not.

use super::*;
use crate::wire::rig::{Bench, any_cut_gives_the_same};

const RESULT: &[u8] =
    b"H|\\^&|||Analyser^1|||||host||P|1\rP|1||X1\rO|1|S1||^^^GLU|R\rR|1|^^^GLU|5.4|mmol/L||N||F\rL|1|N\r";

const OTHER: &[u8] = b"H|\\^&|||Analyser^1\rR|1|^^^K|3.3|mmol/L\rL|1|N\r";
const NOTHING: [u8; 0] = [];

fn framer() -> AstmFramer {
    AstmFramer::new(Settings::default())
}

fn bench() -> Bench {
    Bench::new(framer())
}

/// The session as it crosses the wire when every frame is acknowledged.
fn session(messages: &[&[u8]], sending: &Sending) -> Vec<u8> {
    let mut sender = AstmSender::new(messages, sending, Duration::ZERO);
    let mut bytes = Vec::new();
    while let Some(step) = sender.step() {
        if let Sent::Send(sent) = step {
            bytes.extend(sent);
            sender.feed(&[ACK], Duration::ZERO);
        }
    }
    bytes
}

fn text(message: &[u8]) -> String {
    String::from_utf8(message.to_vec()).unwrap()
}

#[test]
fn any_cut_of_the_bytes_yields_the_same_frames() {
    let bytes = [
        b"\x05\x02H|\\^&\rL|1\r\x03\x04".to_vec(),
        session(&[RESULT, b"H|\\^&\rL|1\r"], &Sending::default()),
        b"\r\n noise".to_vec(),
        session(&[RESULT], &Sending { cut: Cut::Message, max_text: 30, ..Sending::default() }),
        b"\x01H|\\^&\rL|1\r\x04H|\\^&\rL|1\r\x05\x021H|half\x04".to_vec(),
    ]
    .concat();
    let said = any_cut_gives_the_same(framer, &bytes);
    let small = "H|\\^&\rL|1\r";
    assert_eq!(said.messages(), [small, &text(RESULT), small, &text(RESULT), small, small]);
    assert_eq!(said.notes, ["noise", "half-frame"]);
}

#[test]
fn every_way_to_cut_a_message_into_frames_gives_the_same_message() {
    for cut in [Cut::Records, Cut::Message] {
        for max_text in [1, 7, 30, 240, 64_000] {
            for etb_between in [false, true] {
                let sending = Sending { cut, max_text, etb_between, ..Sending::default() };
                let mut bench = bench();
                bench.feed(&session(&[RESULT, RESULT], &sending));
                assert_eq!(
                    bench.said.frames,
                    [(RESULT.to_vec(), vec![]), (RESULT.to_vec(), vec![])],
                    "{sending:?}"
                );
                assert!(bench.said.sent.iter().all(|byte| *byte == ACK));
            }
        }
    }
}

#[test]
fn bare_frames_are_understood_as_they_are_sent() {
    let sending = Sending { cut: Cut::Message, max_text: 64_000, bare: true, ..Sending::default() };
    let bytes = session(&[RESULT], &sending);
    assert_eq!(bytes, [&[ENQ, 2], RESULT, &[3, EOT]].concat());
    assert_eq!(any_cut_gives_the_same(framer, &bytes).messages(), [text(RESULT)]);
}

#[test]
fn an_enquiry_is_answered_at_once_and_a_burst_of_them_once() {
    let mut bench = bench();
    assert_eq!(bench.feed(&[ENQ]).sent(), [ACK]);
    assert_eq!(bench.feed(&[ENQ, ENQ]).wait(Duration::from_secs(5)).sent(), NOTHING);
}

#[test]
fn a_sender_that_begins_anew_without_ending_gets_its_answer_after_a_second_of_silence() {
    let mut bench = bench();
    bench.feed(&[ENQ]).wait(Duration::from_secs(2)).sent();
    assert_eq!(bench.feed(&[ENQ]).sent(), NOTHING);
    assert_eq!(bench.wait(Duration::from_secs(1)).sent(), [ACK]);
    bench.feed(&frame(1, RESULT, true)).sent();
    assert_eq!(bench.feed(&[ENQ]).wait(Duration::from_secs(1)).sent(), [ACK]);
    assert_eq!(bench.said.messages(), [text(RESULT)]);
}

#[test]
fn an_enquiry_that_noise_made_is_never_acknowledged() {
    let mut bench = bench();
    bench.feed(&[ENQ]).feed(&frame(1, b"H|\\^&\r", true)).sent();
    let mut spoilt = frame(2, b"L|1\r", true);
    let checksum = spoilt.len() - 4;
    spoilt[checksum] = ENQ;
    assert_eq!(bench.feed(&spoilt).wait(Duration::from_secs(5)).sent(), [NAK]);
    assert_eq!(bench.feed(&frame(2, b"L|1\r", true)).sent(), [ACK]);
    assert_eq!(bench.said.messages(), ["H|\\^&\rL|1\r"]);
}

#[test]
fn records_after_a_frame_that_noise_cut_are_not_a_message() {
    let mut bench = bench();
    bench.feed(&[ENQ]).sent();
    bench.feed(b"\x021H|a\rR|1|\x03.4\rL|1\rH|b\rR|1|2\rL|1\r").wait(Duration::from_secs(15));
    assert_eq!((bench.sent(), bench.said.frames.len()), (vec![NAK], 0));
}

#[test]
fn no_frame_is_acknowledged_before_it_is_kept() {
    let mut bench = bench();
    bench.hold = true;
    bench.feed(&[ENQ]).sent();
    for (at, (piece, number)) in RESULT.split_inclusive(|byte| *byte == b'\r').zip(1..).enumerate() {
        assert_eq!(bench.feed(&frame(number, piece, true)).sent(), NOTHING, "frame {number}");
        let ticket = bench.open[at];
        assert_eq!(bench.answer(ticket, Answer::Kept { body: None }).sent(), [ACK], "frame {number}");
    }
    assert_eq!(bench.said.parts.concat(), RESULT.split_at(RESULT.len() - 6).0);
    assert_eq!(bench.said.messages(), [text(RESULT)]);
}

#[test]
fn a_frame_that_cannot_be_kept_is_refused_and_taken_when_it_comes_again() {
    let mut bench = bench();
    bench.feed(&[ENQ]).sent();
    bench.refuse = 1;
    let whole = frame(1, RESULT, true);
    assert_eq!(bench.feed(&whole).sent(), [NAK]);
    assert_eq!(bench.feed(&whole).sent(), [ACK]);
    assert_eq!(bench.said.frames.len(), 2, "it was offered twice and kept once");
}

#[test]
fn after_a_refusal_a_new_session_is_told_to_wait_ten_seconds() {
    let mut bench = bench();
    bench.refuse = 1;
    bench.feed(&[ENQ]).feed(&frame(1, RESULT, true)).feed(&[EOT]).sent();
    assert_eq!(bench.feed(&[ENQ]).sent(), [NAK]);
    bench.wait(Duration::from_secs(10));
    assert_eq!(bench.feed(&[ENQ]).sent(), [ACK]);
}

#[test]
fn a_wrong_checksum_is_refused_and_nothing_of_the_frame_is_used() {
    let mut bench = bench();
    bench.feed(&[ENQ]).sent();
    let mut bad = frame(1, RESULT, true);
    bad[30] ^= 1;
    assert_eq!(bench.feed(&bad).sent(), [NAK]);
    assert_eq!(bench.feed(&frame(1, RESULT, true)).sent(), [ACK]);
    assert_eq!(
        (bench.said.messages(), bench.said.notes.as_slice()),
        (vec![text(RESULT)], ["bad-checksum"].as_slice())
    );
}

#[test]
fn a_frame_repeated_because_its_ack_was_lost_is_acknowledged_and_used_once() {
    let mut bench = bench();
    bench.feed(&[ENQ]);
    for (piece, number) in RESULT.split_inclusive(|byte| *byte == b'\r').zip(1..) {
        bench.feed(&frame(number, piece, true)).sent();
        assert_eq!(bench.feed(&frame(number, piece, true)).sent(), [ACK]);
    }
    assert_eq!(bench.said.messages(), [text(RESULT)]);
}

#[test]
fn a_frame_out_of_sequence_is_refused() {
    let mut bench = bench();
    bench.feed(&[ENQ]).feed(&frame(1, b"H|\\^&\r", true)).sent();
    assert_eq!(bench.feed(&frame(3, b"P|2\r", true)).sent(), [NAK]);
    assert_eq!(bench.feed(&frame(2, b"L|1\r", true)).sent(), [ACK]);
    assert_eq!(bench.said.notes, ["wrong-frame-number"]);
}

#[test]
fn another_text_under_the_last_number_is_new_and_is_not_lost() {
    let mut bench = bench();
    bench.feed(&[ENQ]).feed(&frame(1, b"H|\\^&\r", true)).feed(&frame(2, b"R|1|a\r", true)).sent();
    assert_eq!(bench.feed(&frame(2, b"R|2|b\r", true)).feed(&frame(3, b"L|1\r", true)).sent(), [ACK, ACK]);
    assert_eq!(bench.said.frames, [(b"H|\\^&\rR|1|a\rR|2|b\rL|1\r".to_vec(), vec!["number-twice"])]);
}

#[test]
fn a_device_that_numbers_every_message_anew_is_understood() {
    let mut bench = bench();
    let other = text(RESULT).replace("5.4", "6.1");
    bench.feed(&[ENQ]).feed(&frame(1, RESULT, true)).feed(&frame(1, other.as_bytes(), true)).feed(&[EOT]);
    assert_eq!(bench.said.frames[1], (other.into_bytes(), vec!["renumbered"]));
}

#[test]
fn frames_without_number_and_checksum_are_taken_with_warnings() {
    let said = any_cut_gives_the_same(framer, b"\x05\x02H|\\^&\rR|1|^^^TSH|1.2\rL|1|N\r\x03\x04");
    assert_eq!(said.messages(), ["H|\\^&\rR|1|^^^TSH|1.2\rL|1|N\r"]);
    assert_eq!(said.frames[0].1, ["no-checksum", "no-frame-number"]);
    assert_eq!(said.sent, [ACK, ACK]);
}

#[test]
fn a_sender_without_checksum_that_waits_gets_its_answer_after_a_second() {
    let mut bench = bench();
    bench.feed(b"\x05\x02H|\\^&\rL|1|N\r\x03").sent();
    bench.wait(Duration::from_millis(999));
    assert_eq!(bench.sent(), NOTHING);
    bench.wait(Duration::from_millis(2));
    assert_eq!(bench.sent(), [ACK]);
}

#[test]
fn a_missing_checksum_is_refused_from_a_device_that_sends_them() {
    let mut bench = bench();
    bench.feed(&[ENQ]).feed(&frame(1, b"H|\\^&\r", true)).sent();
    assert_eq!(bench.feed(b"\x022L|1\r\x03\r\n").sent(), [NAK]);
}

#[test]
fn a_lost_frame_number_is_recovered_from_the_checksum() {
    let mut lost = frame(2, b"P|1\r", true);
    lost.remove(1);
    let mut bench = bench();
    bench.feed(&[ENQ]).feed(&frame(1, b"H|\\^&\r", true)).feed(&lost).feed(&frame(3, b"L|1\r", true));
    assert_eq!(bench.said.frames, [(b"H|\\^&\rP|1\rL|1\r".to_vec(), vec!["lost-frame-number"])]);
}

#[test]
fn the_strict_and_the_lax_settings_do_what_they_say() {
    let settings = Settings { checksum: ChecksumRule::Required, ..Settings::default() };
    let mut strict = Bench::new(AstmFramer::new(settings));
    strict.feed(b"\x05\x021H|\\^&\rL|1\r\x03\r\n");
    assert_eq!((strict.sent(), strict.said.messages().len()), (vec![ACK, NAK], 0));

    let (checksum, frame_numbers) = (ChecksumRule::Ignored, NumberRule::Ignored);
    let mut lax = Bench::new(AstmFramer::new(Settings { checksum, frame_numbers, ..Settings::default() }));
    lax.feed(b"\x05\x021H|\\^&\r\x0300\r\n\x021P|1\r\x0300\r\n\x021L|1\r\x0300\r\n");
    assert_eq!(lax.said.frames, [(b"H|\\^&\rP|1\rL|1\r".to_vec(), vec!["checksum-ignored"])]);
}

#[test]
fn several_messages_in_a_session_or_a_frame_are_several_frames() {
    let mut bench = bench();
    let three = b"H|a\rL|1\rH|b\rQ|1\rH|c\rL|1\r";
    bench.feed(&[ENQ]).feed(&frame(1, three, true)).feed(&[EOT]);
    let expected = [("H|a\rL|1\r", vec![]), ("H|b\rQ|1\r", vec!["no-terminator"]), ("H|c\rL|1\r", vec![])];
    assert_eq!(bench.said.frames, expected.map(|(text, codes)| (text.as_bytes().to_vec(), codes)));
    assert_eq!(bench.sent(), [ACK, ACK], "one for the ENQ, one for the frame with all three");
}

#[test]
fn a_frame_with_several_messages_is_acknowledged_only_when_all_are_kept() {
    let mut bench = bench();
    bench.hold = true;
    bench.feed(&[ENQ]).feed(&frame(1, b"H|a\rL|1\rH|b\rL|1\rH|c\r", false)).sent();
    let [a, b, rest]: [Ticket; 3] = bench.open.clone().try_into().unwrap();
    assert_eq!(
        bench.answer(b, Answer::Kept { body: None }).answer(a, Answer::Kept { body: None }).sent(),
        NOTHING
    );
    assert_eq!(bench.answer(rest, Answer::Refused { body: None }).sent(), [NAK]);
    assert_eq!(bench.said.parts, [b"H|c\r"]);
}

#[test]
fn a_message_without_terminator_ends_with_the_session() {
    let said = any_cut_gives_the_same(framer, &session(&[b"H|\\^&\rP|1\rR|1|x\r"], &Sending::default()));
    assert_eq!(said.frames, [(b"H|\\^&\rP|1\rR|1|x\r".to_vec(), vec!["no-terminator"])]);
    assert_eq!((said.parts.len(), said.broken), (3, 0));
}

#[test]
fn a_transmission_that_breaks_off_is_broken_and_never_a_message() {
    let begin = || {
        let mut bench = bench();
        bench
            .feed(&[ENQ])
            .feed(&frame(1, b"H|\\^&\r", true))
            .feed(&frame(2, b"P|1|half of a rec", false))
            .sent();
        bench
    };
    let mut by_end = begin();
    by_end.feed(&[EOT]);
    let mut by_enquiry = begin();
    by_enquiry.wait(Duration::from_secs(2)).feed(&[ENQ]).wait(Duration::from_secs(2));
    let mut by_first_frame = begin();
    by_first_frame.feed(&[ENQ]).feed(&frame(1, b"H|\\^&\r", true)[..8]).feed(&frame(1, b"H|\\^&\r", true));
    let mut by_silence = begin();
    by_silence.wait(Duration::from_secs(31));
    let mut by_close = begin();
    by_close.end();
    let mut by_refusals = begin();
    by_refusals.feed(&frame(3, b"ord\r", true)[..5]).feed(b"\x03zz\r\n\x04");
    for bench in [by_end, by_enquiry, by_first_frame, by_silence, by_close, by_refusals] {
        assert_eq!((bench.said.frames.len(), bench.said.broken), (0, 1), "{:?}", bench.said);
        assert_eq!(bench.said.notes.last(), Some(&"broken-transmission"));
    }
}

#[test]
fn a_session_the_sender_gave_up_after_refusals_is_no_message_without_terminator() {
    let mut bench = bench();
    bench.feed(&[ENQ]).feed(&frame(1, b"H|\\^&\r", true)).feed(b"\x022R|1\r\x03zz\r\n").feed(&[EOT]);
    assert_eq!((bench.said.frames.len(), bench.said.broken), (0, 1));
}

#[test]
fn an_answer_that_comes_too_late_is_not_sent() {
    for (wait, then, sent) in [
        (Duration::from_secs(16), [].as_slice(), [].as_slice()),
        (Duration::from_secs(3), &[EOT, ENQ], &[ACK]),
        (Duration::from_secs(3), &[], &[ACK]),
    ] {
        let mut bench = bench();
        bench.hold = true;
        bench.feed(&[ENQ]).feed(&frame(1, RESULT, true)).sent();
        bench.wait(wait).feed(then);
        let ticket = bench.open[0];
        // After EOT and ENQ the one ACK is that of the new session.
        assert_eq!(bench.answer(ticket, Answer::Kept { body: None }).sent(), sent);
        assert_eq!(bench.said.notes.contains(&"late-answer"), !then.is_empty() || sent.is_empty());
    }
}

#[test]
fn a_frame_without_a_session_is_taken_only_if_it_begins_a_message() {
    let mut bench = bench();
    assert_eq!(bench.feed(&frame(5, b"R|1|x\r", true)).sent(), [NAK]);
    bench.feed(b"\x06\x06").feed(&frame(1, RESULT, true)).feed(&[EOT]);
    assert_eq!(bench.said.frames, [(RESULT.to_vec(), vec!["no-enquiry"])]);
}

#[test]
fn records_typed_without_frames_count_after_silence() {
    let mut bench = bench();
    bench.feed(b"H|\\^&\rR|1|x").wait(Duration::from_secs(9));
    assert_eq!(bench.said.frames.len(), 0);
    bench.wait(Duration::from_secs(2));
    assert_eq!(bench.said.frames, [(b"H|\\^&\rR|1|x".to_vec(), vec!["unframed", "no-terminator"])]);
    assert_eq!(bench.sent(), NOTHING);
}

#[test]
fn a_block_between_soh_and_eot_gets_one_acknowledgement() {
    let mut bench = bench();
    bench.feed(b"\x01H|\\^&|||ABL\rR|1|^^^pH|?7.412\rL|1\r").sent();
    assert_eq!(bench.feed(&[EOT]).sent(), [ACK]);
    assert_eq!(bench.said.frames[0].1, Vec::<&str>::new());
}

#[test]
fn an_oversize_frame_or_message_is_refused_and_the_session_goes_on() {
    let settings = Settings { max_frame_bytes: 50, max_message_bytes: 60, ..Settings::default() };
    let mut bench = Bench::new(AstmFramer::new(settings));
    bench.feed(&[ENQ]).sent();
    assert_eq!(bench.feed(&frame(1, &[b'x'; 80], true)).sent(), [NAK]);
    assert_eq!(
        bench.feed(&frame(1, b"H|\\^&|0123456789012345678901234567890123456789\r", true)).sent(),
        [ACK]
    );
    assert_eq!(bench.feed(&frame(2, b"P|0123456789012345\r", true)).sent(), [NAK]);
    assert_eq!(bench.feed(&frame(2, b"L|1\r", true)).sent(), [ACK]);
    assert_eq!(bench.said.frames.len(), 1);
}

#[test]
fn a_flood_while_an_answer_is_awaited_closes_the_line() {
    let mut bench = bench();
    bench.hold = true;
    bench.feed(&[ENQ]).feed(&frame(1, RESULT, true));
    for _ in 0..5 {
        bench.feed(&vec![0; 1024 * 1024]);
    }
    assert!(bench.said.closed);
}

#[test]
fn the_fuzz_body_holds_on_short_strings_of_the_alphabet() {
    let alphabet = [ENQ, 0x02, 0x03, EOT, b'1', b'H', b'|', b'\r', 0x01];
    for n in 0..alphabet.len().pow(5) {
        fuzz(
            &(0..5).map(|place| alphabet[n / alphabet.len().pow(place) % alphabet.len()]).collect::<Vec<_>>(),
        );
    }
    fuzz(&[session(&[RESULT], &Sending::default()), vec![b'x'; 3000]].concat());
}

/// A line that drops and garbles bytes in both directions, always the same for one seed.
struct NoisyLine {
    state: u64,
    receiver: AstmFramer,
    kept: Vec<(Vec<u8>, Vec<Warning>)>,
}

impl NoisyLine {
    fn new(seed: u64) -> Self {
        Self { state: seed, receiver: framer(), kept: Vec::new() }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % below
    }

    /// Carries bytes to the receiver and its answers back. At most one byte of a frame is hit: two can leave the
    /// checksum as it was, and no receiver could know.
    fn carry(&mut self, bytes: &[u8], now: Duration) -> Vec<u8> {
        let hit = usize::try_from(self.random(3 * bytes.len() as u64)).unwrap();
        for (at, byte) in bytes.iter().enumerate() {
            match self.random(2) {
                _ if at != hit => self.receiver.feed(&[*byte], now),
                0 => {}
                _ => {
                    let garbled = u8::try_from(self.random(256)).unwrap();
                    self.receiver.feed(&[garbled], now);
                }
            }
        }
        self.answers(now)
    }

    fn answers(&mut self, now: Duration) -> Vec<u8> {
        let mut back = Vec::new();
        while let Some(step) = self.receiver.step() {
            match step {
                Step::Send(bytes) => back.extend(bytes),
                Step::Frame { ticket, bytes, warnings } => {
                    let full = self.random(10) == 0;
                    if !full {
                        self.kept.push((bytes, warnings));
                    }
                    let refused = Answer::Refused { body: None };
                    self.receiver.answer(
                        ticket,
                        if full { refused } else { Answer::Kept { body: None } },
                        now,
                    );
                }
                Step::Part { ticket, .. } => self.receiver.answer(ticket, Answer::Kept { body: None }, now),
                _ => {}
            }
        }
        // Noise may swallow an answer or spoil it; that it makes an ACK of a NAK no protocol can survive.
        back.retain(|_| self.random(15) != 0);
        back.into_iter().map(|byte| if self.random(15) == 0 { b'?' } else { byte }).collect()
    }

    /// One session; whether the sender believes that everything arrived.
    fn session(&mut self, sending: &Sending, now: &mut Duration) -> bool {
        let mut sender = AstmSender::new(&[RESULT, OTHER], sending, *now);
        loop {
            match sender.step() {
                Some(Sent::Send(bytes)) => {
                    let back = self.carry(&bytes, *now);
                    sender.feed(&back, *now);
                }
                Some(Sent::Done) => return true,
                Some(Sent::Failed(_)) => return false,
                None => {
                    let until =
                        [sender.deadline(), self.receiver.deadline()].into_iter().flatten().min().unwrap();
                    *now = until.max(*now);
                    self.receiver.tick(*now);
                    let back = self.answers(*now);
                    sender.feed(&back, *now);
                    sender.tick(*now);
                }
            }
        }
    }
}

#[test]
fn on_a_noisy_line_whatever_the_sender_believes_delivered_is_kept_whole_and_nothing_else_is() {
    let mut failed = 0;
    for seed in 1..=300 {
        let mut line = NoisyLine::new(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed));
        let max_text = [16, 240, 64_000][usize::try_from(seed % 3).unwrap()];
        let cut = if seed % 2 == 0 { Cut::Records } else { Cut::Message };
        let sending = Sending { cut, max_text, etb_between: seed % 5 == 0, ..Sending::default() };
        let mut now = Duration::ZERO;
        let sessions = (1..=10_000).find(|_| {
            let done = line.session(&sending, &mut now);
            now += Duration::from_secs(20);
            done
        });
        failed += sessions.expect("a message must get through in the end") - 1;
        assert!(
            line.kept.iter().any(|(bytes, _)| bytes == RESULT),
            "seed {seed}: believed delivered, not kept"
        );
        for (bytes, warnings) in &line.kept {
            let said = warnings.iter().any(|warning| warning.code == "no-terminator");
            assert!(
                bytes == RESULT || bytes == OTHER || said,
                "seed {seed}: a wrong message without a warning"
            );
        }
    }
    assert!(failed > 50, "the line was not noisy enough to show anything: {failed} sessions failed");
}

/// Real captures, where the folder is given: every frame of them is understood.
#[allow(clippy::print_stderr, reason = "says what came out of each capture, or that there was none")]
#[test]
fn real_captures_come_out_as_whole_messages() {
    let Some(folder) = std::env::var_os("BEDSIDE_SAMPLES") else {
        return eprintln!("skipped: BEDSIDE_SAMPLES names no folder of captures");
    };
    let mut files = 0;
    for entry in std::fs::read_dir(std::path::Path::new(&folder).join("astm")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("SOURCE") || name.ends_with(".json") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let said = any_cut_of_a_capture(&bytes);
        eprintln!("{name}: {} messages, notes {:?}", said.frames.len(), said.notes);
        for (message, codes) in &said.frames {
            eprintln!("  {} bytes, {codes:?}", message.len());
            assert!(message.starts_with(b"H|"), "{name}");
        }
        assert!(!said.frames.is_empty(), "{name}: nothing came out");
        assert!(!said.sent.contains(&NAK), "{name}: a frame was refused");
        assert_eq!(said.broken, 0, "{name}: broken");
        files += 1;
    }
    assert!(files > 0, "no captures in the folder");
}

fn any_cut_of_a_capture(bytes: &[u8]) -> crate::wire::rig::Said {
    let said = |size: usize| {
        let mut bench = bench();
        for chunk in bytes.chunks(size) {
            bench.feed(chunk);
        }
        bench.wait(Duration::from_secs(60)).end();
        bench.said
    };
    let whole = said(bytes.len());
    for size in [1, 2, 3, 7, 8, 64, 1000] {
        assert_eq!(said(size), whole, "pieces of {size} bytes");
    }
    whole
}
