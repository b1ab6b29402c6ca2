//! What reading HL7 costs beside memchr over the same bytes: finding the segments, and resolving every last
//! sub-component of them; and writing the message again.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bedside::hl7v2::{Charset, Message};

use crate::message::message;

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(150);

/// Median over rounds of megabytes a second.
fn rate(bytes: &[u8], mut work: impl FnMut(&[u8])) -> f64 {
    super::median((0..ROUNDS).map(|_| {
        let (began, mut read) = (Instant::now(), 0_usize);
        while began.elapsed() < ROUND {
            work(black_box(bytes));
            read += bytes.len();
        }
        read as f64 / 1e6 / began.elapsed().as_secs_f64()
    }))
}

fn whole(bytes: &[u8]) -> usize {
    let message = Message::parse(bytes, Charset::default()).message.unwrap();
    let mut letters = 0;
    for segment in message.segments() {
        for field in segment.fields() {
            for component in field.repetitions().flat_map(|repetition| repetition.components()) {
                letters += component.subcomponents().map(|part| part.text().len()).sum::<usize>();
            }
        }
    }
    letters
}

pub(crate) fn run() {
    let framed = message(7);
    let one = framed[1..framed.len() - 2].to_vec();
    let rows = one.split_inclusive(|byte| *byte == b'\r').collect::<Vec<_>>();
    let many = [rows[..4].concat(), rows[4..].concat().repeat(10_000)].concat();
    let report =
        [rows[..4].concat(), b"OBX|1|ED|||^AP^PDF^Base64^".to_vec(), vec![b'A'; 5 << 20], b"\r".to_vec()];
    let report = report.concat();
    let latin = one.iter().map(|byte| if *byte == b'V' { 0xC4 } else { *byte }).collect::<Vec<u8>>();
    println!("\nReading HL7 (medians of {ROUNDS} rounds), MB/s");
    println!("  message                          bytes    memchr  segments  every part   written");
    let western = Charset::named("8859/1").unwrap();
    for (name, bytes, charset) in [
        ("10 OBX", &one, Charset::default()),
        ("10 OBX, 8859/1", &latin, western),
        ("100,000 OBX", &many, Charset::default()),
        ("a 5 MB document", &report, Charset::default()),
    ] {
        let floor = rate(bytes, |bytes| {
            black_box(memchr::memchr_iter(b'\r', bytes).count());
        });
        let segments = rate(bytes, |bytes| {
            black_box(Message::parse(bytes, charset).message.map(|message| message.segments().count()));
        });
        let every = rate(bytes, |bytes| {
            black_box(whole(bytes));
        });
        let message = Message::parse(bytes, charset).message.unwrap();
        let written = rate(bytes, |_| {
            black_box(message.encode());
        });
        let length = bytes.len();
        println!("  {name:<28} {length:>9} {floor:>9.0} {segments:>9.0} {every:>11.0} {written:>9.0}");
    }
}
