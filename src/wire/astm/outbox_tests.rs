use super::super::frame::{ACK, ENQ, EOT, NAK};
use super::super::{Settings, fuzz};
use super::*;
use crate::wire::rig::Bench;

const QUERY: &[u8] = b"H|\\^&|||X^1|||||host|TSREQ|P|1\rQ|1|^S-77||ALL||||||||O\rL|1|N\r";
const ANSWER: &[u8] = b"H|\\^&|||host\rP|1\rO|1|S-77||^^^TSH|R\rL|1|N\r";
const NOTHING: [u8; 0] = [];

/// A simulated analyser: sends its query, then takes what the computer sends.
struct Analyser {
    line: Bench,
}

impl Analyser {
    fn asks(host: &mut Bench) -> Self {
        let mut sender = AstmSender::new(&[QUERY], &Sending::default(), host.now);
        while let Some(step) = sender.step() {
            if let Sent::Send(bytes) = step {
                host.feed(&bytes);
                sender.feed(&host.sent(), host.now);
            }
        }
        Self { line: Bench::new(AstmFramer::new(Settings::default())) }
    }

    /// Carries bytes both ways until neither side says more.
    fn listens(&mut self, host: &mut Bench) {
        loop {
            let said = host.sent();
            if said.is_empty() {
                return;
            }
            let answers = self.line.feed(&said).sent();
            host.feed(&answers);
        }
    }
}

fn host() -> Bench {
    Bench::new(AstmFramer::new(Settings::default()))
}

fn give(bench: &mut Bench, message: &[u8]) {
    bench.framer.send(message.to_vec(), bench.now).unwrap();
}

fn moment(bench: &mut Bench) -> Vec<u8> {
    bench.wait(QUIET_BEFORE_ENQUIRY).sent()
}

#[test]
fn a_query_is_answered_on_the_same_line_within_the_timers_of_the_standard() {
    let mut host = host();
    let mut analyser = Analyser::asks(&mut host);
    assert_eq!(host.said.messages(), [String::from_utf8_lossy(QUERY)]);
    give(&mut host, ANSWER);
    assert_eq!(host.framer.deadline(), Some(host.now + QUIET_BEFORE_ENQUIRY));
    host.wait(QUIET_BEFORE_ENQUIRY);
    analyser.listens(&mut host);
    assert_eq!(analyser.line.said.messages(), [String::from_utf8_lossy(ANSWER)]);
    assert_eq!((host.said.notes.as_slice(), host.framer.deadline()), (["sent"].as_slice(), None));
    // The line is the analyser's again.
    let again = Analyser::asks(&mut host);
    assert_eq!((host.said.frames.len(), again.line.said.frames.len()), (2, 0));
}

#[test]
fn nothing_is_sent_while_the_analyser_has_the_line() {
    let mut host = host();
    host.feed(&[ENQ]).sent();
    give(&mut host, ANSWER);
    assert_eq!(moment(&mut host), NOTHING);
    host.feed(&super::super::frame(1, QUERY, true)).feed(&[EOT]);
    assert_eq!(host.sent(), [ACK]);
    assert_eq!(moment(&mut host), [ENQ]);
}

#[test]
fn nothing_is_sent_before_the_query_is_kept() {
    let mut host = host();
    host.hold = true;
    host.feed(&[ENQ]).feed(&super::super::frame(1, QUERY, true)).feed(&[EOT]).sent();
    give(&mut host, ANSWER);
    assert_eq!(host.wait(Duration::from_secs(1)).sent(), NOTHING);
}

#[test]
fn when_both_ask_for_the_line_the_analyser_has_it_and_the_answer_follows_after_twenty_seconds() {
    let mut host = host();
    give(&mut host, ANSWER);
    assert_eq!(moment(&mut host), [ENQ]);
    assert_eq!(host.feed(&[ENQ]).sent(), NOTHING);
    assert_eq!(host.wait(Duration::from_secs(1)).feed(&[ENQ]).sent(), [ACK]);
    host.feed(&super::super::frame(1, QUERY, true)).sent();
    // The analyser keeps the line beyond the 20 s, and gives it back.
    assert_eq!(host.wait(Duration::from_secs(25)).sent(), NOTHING);
    host.feed(&[EOT]);
    assert_eq!(moment(&mut host), [ENQ]);
    let mut analyser = Analyser { line: self::host() };
    host.said.sent.push(ENQ);
    analyser.listens(&mut host);
    assert_eq!(host.said.notes, ["sent"]);
    assert_eq!(host.said.frames.len(), 1);
}

#[test]
fn a_busy_analyser_is_asked_again_after_ten_seconds_and_given_up_after_six_tries() {
    let mut host = host();
    give(&mut host, ANSWER);
    moment(&mut host);
    for _ in 0..5 {
        assert_eq!(host.feed(&[NAK]).wait(Duration::from_millis(9_999)).sent(), NOTHING);
        assert_eq!(host.wait(Duration::from_millis(1)).sent(), [ENQ]);
    }
    assert_eq!(host.feed(&[NAK]).wait(Duration::from_secs(10)).sent(), [EOT]);
    assert_eq!(host.said.notes, ["not-sent"]);
}

#[test]
fn a_frame_refused_six_times_or_never_answered_is_not_sent() {
    for answers in [&[NAK; 6][..], &[]] {
        let mut host = host();
        give(&mut host, ANSWER);
        moment(&mut host);
        host.feed(&[ACK]).feed(answers).wait(Duration::from_secs(15));
        assert_eq!(host.sent().last(), Some(&EOT));
        assert_eq!(host.said.notes, ["not-sent"]);
    }
}

#[test]
fn a_connection_that_ends_leaves_nothing_that_seems_sent() {
    let mut host = host();
    give(&mut host, ANSWER);
    give(&mut host, ANSWER);
    moment(&mut host);
    host.feed(&[ACK, ACK]).end();
    assert_eq!(host.said.notes, ["not-sent", "not-sent"]);
    assert!(host.framer.send(ANSWER.to_vec(), host.now).is_err());
}

#[test]
fn what_would_break_the_frames_is_not_taken() {
    let mut host = host();
    for message in [&b""[..], b"H|\\^&\rO|1|S\x03\rL|1\r", b"H|\n", &vec![b'x'; 5 * 1024 * 1024]] {
        assert_eq!(host.framer.send(message.to_vec(), Duration::ZERO).unwrap_err().code, "cannot-send");
    }
    for _ in 0..WAITING_MAX {
        give(&mut host, ANSWER);
    }
    assert!(host.framer.send(ANSWER.to_vec(), Duration::ZERO).is_err());
}

#[test]
fn the_answer_is_cut_as_the_page_says() {
    let sending = Sending { cut: super::super::Cut::Message, ..Sending::default() };
    let mut host = Bench::new(AstmFramer::new(Settings { sending, ..Settings::default() }));
    give(&mut host, ANSWER);
    moment(&mut host);
    assert_eq!(host.feed(&[ACK]).sent(), super::super::frame(1, ANSWER, true));
}

#[test]
fn whatever_the_analyser_says_the_line_goes_on() {
    let alphabet = [ACK, NAK, ENQ, EOT, 2, b'x'];
    for n in 0..alphabet.len().pow(4) {
        let bytes: Vec<u8> = (0..4).map(|at| alphabet[n / alphabet.len().pow(at) % alphabet.len()]).collect();
        let mut host = host();
        give(&mut host, ANSWER);
        moment(&mut host);
        host.feed(&bytes).wait(Duration::from_secs(600)).end();
        let ended = host.said.notes.iter().filter(|note| matches!(**note, "sent" | "not-sent")).count();
        assert_eq!(ended, 1, "{bytes:?} {:?}", host.said.notes);
        fuzz(&bytes);
    }
}
