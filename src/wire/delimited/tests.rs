use super::*;
use crate::wire::rig::{Bench, any_cut_gives_the_same};

fn settings(text: &str) -> Settings {
    toml::from_str(text).unwrap()
}

fn framer(text: &str) -> DelimitedFramer {
    DelimitedFramer::new(settings(text))
}

const STX_SUM_ETX: &str =
    "start = '\\x02'\nend = '\\x03'\nmax_bytes = 40\nchecksum = { alg = 'sum8' }\ntrailer = '\\r\\n'";

fn sent(text: &str, body: &[u8]) -> Vec<u8> {
    wrap(&settings(text), body)
}

#[test]
fn a_frame_between_marks_is_kept_without_them_however_it_is_cut() {
    let stream = [sent(STX_SUM_ETX, b"\r\n6510  01.02\r\n"), sent(STX_SUM_ETX, b"GLU NEGATIV")].concat();
    let said = any_cut_gives_the_same(|| framer(STX_SUM_ETX), &stream);
    assert_eq!(said.messages(), ["\r\n6510  01.02\r\n", "GLU NEGATIV"]);
    assert_eq!((said.notes.len(), said.sent.as_slice()), (0, b"".as_slice()));
}

#[test]
fn a_published_identification_packet_of_a_urine_reader_fits_its_sum() {
    // Clinitek 50: the sum reaches from after STX to before itself; the manual's packet ends in 48.
    let packet = b"\x02\r\n6510  01.02 9706201349\r\nDEUTSCH - CONV.\r\nMULTISTIX 8 SG\r\n48\x03";
    let said = any_cut_gives_the_same(
        || framer("start = '\\x02'\nend = '\\x03'\nchecksum = { alg = 'sum8' }"),
        packet,
    );
    assert_eq!(said.frames.len(), 1, "{:?}", said.notes);
}

#[test]
fn nothing_is_kept_of_a_frame_whose_sum_is_wrong_and_the_next_one_is_taken() {
    let mut stream = sent(STX_SUM_ETX, b"SpO2 98");
    stream[3] ^= 1;
    stream.extend(sent(STX_SUM_ETX, b"SpO2 97"));
    let said = any_cut_gives_the_same(|| framer(STX_SUM_ETX), &stream);
    assert_eq!((said.messages(), &*said.notes), (vec![String::from("SpO2 97")], &["bad-checksum"][..]));
}

#[test]
fn a_page_may_tolerate_a_check_that_is_known_to_be_wrong() {
    let page = "start = '\\x02'\nend = '\\x03'\nchecksum = { alg = 'sum8', tolerate = true }";
    let said = any_cut_gives_the_same(|| framer(page), b"\x02LEU 0\r\nFF\x03");
    assert_eq!(said.frames, [(b"LEU 0\r\n".to_vec(), vec!["bad-checksum"])]);
}

#[test]
fn a_new_start_leaves_the_half_frame_behind() {
    let stream = [b"noise\x02half ".as_slice(), &sent(STX_SUM_ETX, b"whole"), b"\x02cut"].concat();
    let said = any_cut_gives_the_same(|| framer(STX_SUM_ETX), &stream);
    assert_eq!(said.messages(), ["whole"]);
    assert_eq!(said.notes, ["outside-frame", "half-frame", "half-frame"]);
}

#[test]
fn acknowledgements_leave_only_when_the_frame_is_kept() {
    let page = format!("{STX_SUM_ETX}\nack = '\\x06'\nnak = '\\x15'");
    let mut bench = Bench::new(framer(&page));
    bench.hold = true;
    bench.feed(&sent(&page, b"a"));
    assert_eq!(bench.sent(), b"");
    let ticket = bench.open.remove(0);
    bench.answer(ticket, Answer::Kept { body: None });
    assert_eq!(bench.sent(), b"\x06");
    bench.feed(&sent(&page, b"b"));
    let ticket = bench.open.remove(0);
    bench.answer(ticket, Answer::Refused { body: None });
    bench.feed(b"\x02c00\x03");
    assert_eq!(bench.sent(), b"\x15\x15");
}

#[test]
fn a_length_field_says_where_the_frame_ends_even_when_the_end_mark_stands_inside() {
    let page = "start = '\\x85'\nescape = { byte = '\\x80', xor = 128 }\nlength = { width = 1, as = 'big-endian' }\nchecksum = { alg = 'xor8', render = 'byte' }";
    let body = b"\x05\x01\x85\x80\xff\x00";
    let stream = [b"\x01\x02".as_slice(), &sent(page, body), &sent(page, b"\x01\x07")].concat();
    assert!(stream.windows(2).any(|pair| pair == [0x80, 0x05]), "the start mark is escaped inside");
    let said = any_cut_gives_the_same(|| framer(page), &stream);
    let bodies: Vec<&[u8]> = said.frames.iter().map(|(bytes, _)| bytes.as_slice()).collect();
    assert_eq!(bodies, [body.as_slice(), b"\x01\x07"]);
    assert_eq!(said.notes, ["outside-frame"]);
}

#[test]
fn a_false_start_with_a_length_is_looked_at_again() {
    let page = "start = 'S'\nend = 'E'\nlength = { width = 2 }\nmax_bytes = 50";
    let said = any_cut_gives_the_same(|| framer(page), b"S10aS03SESES02okE");
    assert_eq!(said.messages(), ["03SES", "02ok"].map(String::from));
    assert_eq!(said.notes, ["bad-end"]);
}

#[test]
fn stuffing_by_pairs_and_a_length_that_counts_everything() {
    let page = "start = '\\x01'\nend = '\\x04'\nescape = { pairs = { 'EX' = 'D', 'EE' = 'E' } }\n\
                length = { width = 5, add = -12 }\nchecksum = { alg = 'sum8', over = 'start-and-body', render = 'dec5' }";
    let text = b"\x021/1/1>DED\x03";
    let body = [format!("{:05}", text.len() + 12).as_bytes(), text].concat();
    let stream = sent(page, &body);
    assert!(stream.windows(6).any(|part| part == b"EXEEEX"));
    let said = any_cut_gives_the_same(|| framer(page), &stream);
    assert_eq!(said.frames, [(body, vec![])]);
}

#[test]
fn a_check_after_the_end_and_one_over_start_and_end() {
    for page in [
        "start = '!'\nend = '|'\ntrailer = '\\r'\nchecksum = { alg = 'crc16-1021', render = 'hex4', at = 'after-end' }",
        "start = '\\x02'\nend = '\\x03'\nchecksum = { alg = 'crc16-1021-ffff', render = 'word-be', over = 'body-and-end', at = 'after-end' }",
        "start = '$'\nend = '\\r\\n'\nchecksum = { alg = 'sum16', render = 'hex4-lower', over = 'start-body-and-end' }",
    ] {
        let said =
            any_cut_gives_the_same(|| framer(page), &[sent(page, b"INF^12"), sent(page, b"x")].concat());
        assert_eq!((said.messages(), said.notes), (vec!["INF^12".into(), "x".into()], vec![]), "{page}");
    }
}

#[test]
fn silence_ends_a_frame_where_nothing_else_does() {
    let mut bench = Bench::new(framer("idle_ms = 200\nmax_bytes = 20"));
    bench
        .feed(b"pH 7")
        .wait(Duration::from_millis(100))
        .feed(b".41")
        .wait(Duration::from_secs(1))
        .feed(b"next");
    bench.wait(Duration::from_secs(1));
    assert_eq!(bench.said.messages(), ["pH 7.41", "next"]);
}

#[test]
fn two_halves_from_different_moments_are_not_one_frame() {
    let mut bench = Bench::new(framer(STX_SUM_ETX));
    bench.feed(b"\x02half").wait(Duration::from_secs(60)).feed(&sent(STX_SUM_ETX, b"whole"));
    assert_eq!(
        (bench.said.messages(), &*bench.said.notes),
        (vec![String::from("whole")], &["half-frame"][..])
    );
}

#[test]
fn a_flood_stays_within_the_limit_and_the_next_frame_is_taken() {
    let mut framer = framer(STX_SUM_ETX);
    framer.feed(b"\x02", Duration::ZERO);
    for _ in 0..1000 {
        framer.feed(&[b'x'; 1000], Duration::ZERO);
        assert!(framer.raw.capacity() + framer.body.capacity() < 2000, "{}", framer.raw.capacity());
    }
    framer.feed(&sent(STX_SUM_ETX, b"ok"), Duration::ZERO);
    let mut bench = Bench::new(framer);
    bench.feed(b"");
    assert_eq!((bench.said.messages(), &*bench.said.notes), (vec![String::from("ok")], &["oversize"][..]));
}

#[test]
fn a_page_that_cannot_work_is_refused() {
    for (text, word) in [
        ("start = '\\x02'", "nobody knows where it ends"),
        ("end = '\\x0'", "no byte"),
        ("end = 'x'\nescape = { byte = 'ab', xor = 1 }", "one byte"),
        ("end = 'x'\nescape = { pairs = { 'a' = 'b' } }", "two bytes"),
        ("length = { width = 9 }", "1 to 8"),
        ("end = 'x'\nmax_bytes = 0", "max_bytes"),
        ("end = 'x'\nchecksum = { alg = 'md5' }", "md5"),
        ("end = 'x'\nstrat = 'y'", "strat"),
    ] {
        let error = toml::from_str::<Settings>(text).unwrap_err().to_string();
        assert!(error.contains(word), "{text}: {error}");
    }
}

#[test]
fn the_fuzz_body_holds_on_all_short_strings_of_the_alphabet() {
    for text in FUZZED {
        settings(text);
    }
    let alphabet = [2, 3, b'0', 0x85, b'A', b'B'];
    for n in 0..alphabet.len().pow(5) {
        fuzz(
            &(0..5).map(|place| alphabet[n / alphabet.len().pow(place) % alphabet.len()]).collect::<Vec<_>>(),
        );
    }
    fuzz(&[0x85; 500]);
    fuzz(&[2; 500]);
}
