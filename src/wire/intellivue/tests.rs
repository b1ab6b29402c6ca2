use super::request::{operation, words};
use super::*;
use crate::wire::rig::{Bench, any_cut_gives_the_same};

fn result(number: u8) -> Vec<u8> {
    let reply = [words(&[1]), vec![0; 4], vec![0xFF; 8], words(&[1, 6, 0, 0, 0])].concat();
    let body = [words(&[0x21, 0, 0, 0x0C16]), request::sized(&reply)].concat();
    operation(message::RESULT, number.into(), message::CONFIRMED_ACTION, &body)
}

fn passive(transport: Transport) -> IntellivueFramer {
    IntellivueFramer::new(Settings { transport, passive: true, ..Settings::default() })
}

#[test]
fn any_cut_gives_the_same_frames_and_garbage_costs_only_itself() {
    let (one, two) = (rs232::frame(&result(1)).unwrap(), rs232::frame(&result(2)).unwrap());
    let mut bad = two.clone();
    bad[9] ^= 0x10;
    let stream = [b"garbage".to_vec(), one.clone(), bad, two.clone(), one[..9].to_vec()].concat();
    let said = any_cut_gives_the_same(|| passive(Transport::Rs232), &stream);
    assert_eq!(said.frames, vec![([one, two].concat(), vec![])]);
    assert_eq!(said.notes, ["noise", "bad-checksum", "half-frame"]);
    let stream = [b"garbage".to_vec(), result(1), result(2), result(3)[..9].to_vec()].concat();
    let said = any_cut_gives_the_same(|| passive(Transport::Lan), &stream);
    assert_eq!(said.frames.len(), 1);
    let whole = pieces(&said.frames[0].0).filter(|piece| matches!(piece, Piece::Message(_))).count();
    assert_eq!((whole, said.notes), (2, vec!["noise", "half-frame"]));
}

#[test]
fn a_client_asks_again_when_nobody_answers_and_says_nothing_when_passive() {
    let mut bench = Bench::new(IntellivueFramer::new(Settings::default()));
    bench.wait(Duration::from_secs(60));
    let requests = bench.said.sent.windows(5).filter(|w| w[..3] == [0xC0, 0x11, 0x01]).count();
    assert!((3..12).contains(&requests), "{requests}");
    assert!(bench.said.notes.iter().all(|note| *note == "no-association"));
    let mut bench = Bench::new(passive(Transport::Rs232));
    bench.wait(Duration::from_secs(60)).feed(&rs232::frame(&result(1)).unwrap()).wait(Duration::from_secs(2));
    assert_eq!((bench.said.sent.len(), bench.said.frames.len()), (0, 1));
}

#[test]
fn a_refusal_is_told_and_tried_again_later() {
    let mut bench =
        Bench::new(IntellivueFramer::new(Settings { transport: Transport::Lan, ..Settings::default() }));
    bench.wait(Duration::ZERO).feed(&[message::REFUSE, 2, 0, 0]);
    assert_eq!((bench.said.notes.clone(), bench.said.frames.len()), (vec!["association-refused"], 0));
    bench.sent();
    bench.wait(Duration::from_secs(3));
    assert_eq!(bench.sent().first(), Some(&message::CONNECT));
}

#[test]
fn the_fuzz_body_holds_on_plain_cases() {
    for choice in 0..4 {
        fuzz(&[&[choice], rs232::frame(&result(1)).unwrap().as_slice(), &result(2)].concat());
    }
}
