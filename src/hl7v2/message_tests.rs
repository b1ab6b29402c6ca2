use super::*;

/// A bedside monitor, in the shape of IHE PCD-01; every name and number is made up.
const MONITOR: &str = "MSH|^~\\&|VITALBOX^0A1B2C3D4E5F6071^EUI-64|WARD7||GATE|20260301081530.250+0100||ORU^R01^ORU_R01|\
    M-000417|P|2.6|||NE|AL||UNICODE UTF-8|||IHE_PCD_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.1.1^ISO\r\
    PID|||884422^^^LOCAL&1.2.3.4&ISO^MR~7712^^^NAT^PI||Müller^Eva^^^^^L||19611104|F\r\
    PV1||I|ICU^^B12\r\
    OBR|1|||69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|||20260301081530+0100\r\
    OBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC|1.6.1.1|72|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||R\r\
    OBX|2|NM|150456^MDC_PULS_OXIM_SAT_O2^MDC|1.3.1.1|\"\"|262688^MDC_DIM_PERCENT^MDC|||||X\r\
    OBX|3|ST|8^Note^L|1.0.0.1|a\\T\\b \\.br\\ c\\S\\d|||||||R\r";

fn parse(text: &str) -> Message<'_> {
    Message::parse(text.as_bytes(), Charset::default()).message.unwrap()
}

fn at<'m>(message: &'m Message<'_>, path: &str) -> Cow<'m, str> {
    message.get(&Path::parse(path).unwrap()).text()
}

fn codes(bytes: &[u8]) -> Vec<&'static str> {
    Message::parse(bytes, Charset::default()).findings.iter().map(|finding| finding.code).collect()
}

#[test]
fn every_place_of_a_message_can_be_named() {
    let message = parse(MONITOR);
    for (path, text) in [
        ("MSH-1", "|"),
        ("MSH-2", "^~\\&"),
        ("MSH-3.2", "0A1B2C3D4E5F6071"),
        ("MSH-9.2", "R01"),
        ("MSH-10", "M-000417"),
        ("PID-3.1", "884422"),
        ("PID-3[2].4.1", "NAT"),
        ("PID-3.4.2", "1.2.3.4"),
        ("PID-3[1].4.3", "ISO"),
        ("PID-5.1", "Müller"),
        ("PV1-3.3", "B12"),
        ("OBX[1]-5", "72"),
        ("OBX[1]-5.1.1", "72"),
        ("OBX[3]-5", "a&b \n c^d"),
        ("OBX[3]-99", ""),
        ("OBX[9]-5", ""),
        ("NK1-2", ""),
        ("PID-3[3].1", ""),
        ("PID-3.9.9", ""),
    ] {
        assert_eq!(at(&message, path), text, "{path}");
    }
    assert!(codes(MONITOR.as_bytes()).is_empty());
}

#[test]
fn null_is_not_the_same_as_nothing() {
    let message = parse(MONITOR);
    let null = message.get(&Path::parse("OBX[2]-5").unwrap());
    assert!(null.is_null() && !null.is_empty() && null.value().is_none());
    let nothing = message.get(&Path::parse("OBX[2]-7").unwrap());
    assert!(!nothing.is_null() && nothing.is_empty() && nothing.value().is_none());
}

#[test]
fn repetitions_components_and_segments_are_walked_in_order() {
    let message = parse(MONITOR);
    let names: Vec<&str> = message.segments().map(|segment| segment.name()).collect();
    assert_eq!(names, ["MSH", "PID", "PV1", "OBR", "OBX", "OBX", "OBX"]);
    let pid = message.segment("PID", 1).unwrap();
    let kinds: Vec<String> =
        pid.field(3).repetitions().map(|id| id.component(5).text().into_owned()).collect();
    assert_eq!(kinds, ["MR", "PI"]);
    let header: Vec<&str> = message.segment("MSH", 1).unwrap().fields().take(3).map(|f| f.raw()).collect();
    assert_eq!(header, ["|", "^~\\&", "VITALBOX^0A1B2C3D4E5F6071^EUI-64"]);
}

#[test]
fn the_text_is_borrowed_when_the_encoding_allows() {
    assert!(matches!(parse(MONITOR).text, Cow::Borrowed(_)));
}

#[test]
fn the_message_chooses_its_own_separators() {
    let message = parse("MSH$*%!?$BOX$$$$20260101$$ORU*R01$7$P$2.3.1\rPID$1$$12*A?B%34$$Ro!F!y\r");
    assert_eq!(at(&message, "PID-3.2.2"), "B");
    assert_eq!(at(&message, "PID-3[2]"), "34");
    assert_eq!(at(&message, "PID-5"), "Ro$y");
    assert_eq!(at(&message, "MSH-9.2"), "R01");
}

#[test]
fn the_charset_is_taken_from_the_header_and_else_from_the_link() {
    let latin = b"MSH|^~\\&|A||||1||ORU^R01|1|P|2.3.1||||||8859/1\rPID|||1||M\xFCller\r";
    let parsed = Message::parse(latin, Charset::default());
    assert_eq!(at(&parsed.message.unwrap(), "PID-5"), "Müller");
    assert!(parsed.findings.is_empty());

    // GB18030: the second byte of the letter 亅 (81 7C) is the sign `|`.
    let chinese = b"MSH|^~\\&|\x81\x7C||||1||ORU^R01|77|P|2.3.1\rPID|||1||\xD5\xC5\r";
    let parsed = Message::parse(chinese, Charset::named("GB18030").unwrap());
    let message = parsed.message.unwrap();
    assert_eq!((at(&message, "MSH-10").as_ref(), at(&message, "PID-5").as_ref()), ("77", "张"));
}

#[test]
fn wrong_bytes_are_replaced_and_told() {
    let bytes = b"MSH|^~\\&|A||||1||ORU^R01|1|P|2.5||||||UNICODE UTF-8\rPID|||1||M\xFCller\r";
    let parsed = Message::parse(bytes, Charset::default());
    assert_eq!(at(&parsed.message.unwrap(), "PID-5"), "M\u{FFFD}ller");
    assert_eq!(parsed.findings[0].code, "bad-bytes");
    assert!(!parsed.findings[0].text.contains("ller"), "a finding holds no patient data");
    assert_eq!(codes(b"MSH|^~\\&|A||||1||ORU^R01|1|P|2.5||||||MARTIAN\r"), ["unknown-charset"]);
}

#[test]
fn utf_16_and_byte_order_marks_are_read() {
    for (mark, wide) in [
        (vec![0xFF, 0xFE], MONITOR.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>()),
        (vec![], MONITOR.encode_utf16().flat_map(u16::to_be_bytes).collect()),
    ] {
        let bytes = [mark, wide].concat();
        assert_eq!(at(&Message::parse(&bytes, Charset::default()).message.unwrap(), "PID-5.1"), "Müller");
    }
    let marked = [b"\xEF\xBB\xBF", MONITOR.as_bytes()].concat();
    assert_eq!(at(&parse(std::str::from_utf8(&marked).unwrap()), "MSH-10"), "M-000417");
    assert_eq!(codes(&marked), ["byte-order-mark"]);
}

#[test]
fn a_second_message_is_never_mixed_into_the_first() {
    let two = format!("{MONITOR}{}", MONITOR.replace("884422", "999999"));
    let parsed = Message::parse(two.as_bytes(), Charset::default());
    assert_eq!(parsed.message.unwrap().segments().count(), 7);
    assert_eq!(parsed.findings[0].code, "second-message");
    let second = Message::parse(parsed.rest, Charset::default());
    assert_eq!(at(&second.message.unwrap(), "PID-3.1"), "999999");
    assert!(second.rest.is_empty());
}

#[test]
fn odd_lines_are_told_and_do_not_stop_the_rest() {
    assert_eq!(codes(b"hello"), ["no-msh"]);
    assert_eq!(codes(b""), ["no-msh"]);
    assert!(codes(b"FHS|^~\\&|A\rBHS|^~\\&|A\rMSH|^~\\&|A\rPID|1\rBTS|1\rFTS|1\r").is_empty());
    assert_eq!(codes(b"hello\rMSH|^~\\&|A\rPID|1\r"), ["before-msh"]);
    assert_eq!(codes(b"MSH|^~\\&|A\rgarbage\rPID|1\robx|1\r\x1a\r"), ["not-a-segment", "not-a-segment"]);
    assert_eq!(codes(b"MSH|^~\\&|A\rOBX|1|TX|||two\rlines||\rPID|1\r"), ["line-break"]);
    assert_eq!(codes(b"MSH|^&|A\rPID|1\r"), ["odd-separators"]);
    assert_eq!(codes("garbage\r".repeat(99).as_bytes()), ["no-msh"]);
    let noisy = format!("MSH|^~\\&|A\r{}", "\u{1}garbage\r".repeat(999));
    assert_eq!(codes(noisy.as_bytes()).len(), FINDINGS_MAX);
}

#[test]
fn limits_hold_and_cut_only_between_segments() {
    let many = format!("MSH|^~\\&|A\r{}", "OBX|1\r".repeat(SEGMENTS_MAX + 5));
    assert_eq!(parse(&many).segments().count(), SEGMENTS_MAX);
    assert_eq!(codes(many.as_bytes()), ["too-many-segments"]);
    let long = format!("MSH|^~\\&|A\rOBX|1||||7\rOBX|2||||{}", "1".repeat(LENGTH_MAX));
    let parsed = Message::parse(long.as_bytes(), Charset::default());
    assert_eq!(parsed.message.unwrap().segments().count(), 2, "half a number is not a number");
    assert_eq!(parsed.findings[0].code, "too-long");
}

#[test]
fn debug_shows_sizes_and_nothing_of_the_patient() {
    let message = parse(MONITOR);
    let pid = message.segment("PID", 1).unwrap();
    let shown = format!("{message:?} {pid:?} {:?}", pid.field(5));
    assert!(!shown.contains("Eva") && !shown.contains("884422"), "{shown}");
}

#[test]
fn groups_begin_with_a_segment_and_end_before_the_next_of_its_name() {
    let message = parse("MSH|^~\\&|A\rPID|1\rOBR|1\rOBX|1||||5\rOBX|2||||6\rNTE|1||a\rOBR|2\rOBX|1||||7\r");
    for (path, text) in [
        ("OBR/OBX-5", "5"),
        ("OBR[1]/OBX[2]-5", "6"),
        ("OBR[2]/OBX-5", "7"),
        ("OBR[2]/OBX[2]-5", ""),
        ("OBR[2]/NTE-3", ""),
        ("OBR/NTE-3", "a"),
        ("OBR[2]/OBR-1", "2"),
        ("OBR[3]/OBX-5", ""),
        ("ZZZ/OBX-5", ""),
        ("OBX[3]-5", "7"),
    ] {
        assert_eq!(at(&message, path), text, "{path}");
    }
    assert_eq!(message.group("OBR", 2).count(), 2);
    assert_eq!(message.group("OBR", 0).count(), 0);
}

#[test]
fn a_second_message_in_utf_16_is_read_by_itself_too() {
    let two = format!("{MONITOR}{}", MONITOR.replace("884422", "999999").replace("Eva", "\u{1F600}"));
    for mark in [vec![], vec![0xFF, 0xFE]] {
        let bytes = [mark, two.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>()].concat();
        let first = Message::parse(&bytes, Charset::default());
        let second = Message::parse(first.rest, Charset::default());
        let message = second.message.unwrap();
        assert_eq!(
            (at(&message, "PID-3.1").as_ref(), at(&message, "PID-5.2").as_ref()),
            ("999999", "\u{1F600}")
        );
    }
}

#[test]
fn a_charset_that_cannot_be_meant_is_told_and_not_used() {
    let wide = b"MSH|^~\\&|A||||1||ORU^R01|1|P|2.5||||||UNICODE UTF-16\rPID|||1||M\xC3\xBCller\r";
    let parsed = Message::parse(wide, Charset::default());
    assert_eq!(at(&parsed.message.unwrap(), "PID-5"), "Müller");
    assert_eq!(parsed.findings[0].code, "unknown-charset");
    // The mark in the bytes counts for more than MSH-18.
    let marked = "\u{FEFF}MSH|^~\\&|A||||1||ORU^R01|1|P|2.5||||||8859/1\rPID|||1||Müller\r";
    assert_eq!(at(&parse(marked), "PID-5"), "Müller");
}

#[test]
fn a_message_is_written_in_its_charset_and_as_utf_8_when_that_has_no_letter_for_it() {
    let latin = b"MSH|^~\\&|A||||1||ORU^R01|1|P|2.3.1||||||8859/1\nPID|||1||M\xFCller\n\n";
    let message = Message::parse(latin, Charset::default()).message.unwrap();
    assert_eq!(
        message.encode(),
        [&latin[..latin.len() - 2], b""]
            .concat()
            .iter()
            .map(|b| if *b == b'\n' { b'\r' } else { *b })
            .chain([b'\r'])
            .collect::<Vec<u8>>()
    );
    let broken = b"MSH|^~\\&|A||||1||ORU^R01|1|P|2.3.1||||||8859/7\rPID|||1||M\xFFller\r";
    let message = Message::parse(broken, Charset::default()).message.unwrap();
    assert!(message.encode().starts_with("\u{FEFF}MSH|".as_bytes()));
    same(broken, Charset::default());
}

fn same(bytes: &[u8], default: Charset) {
    let Some(message) = Message::parse(bytes, default).message else { return };
    let written = message.encode();
    let again = Message::parse(&written, default).message.unwrap();
    let raws = |message: &Message<'_>| {
        message.segments().map(|segment| segment.raw().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(raws(&again), raws(&message), "{bytes:?}");
    assert_eq!(again.separators(), message.separators());
    assert_eq!(again.encode(), written, "written again it is the same bytes");
}

/// Messages put together by chance from pieces that matter, in every charset, cut and joined by chance.
#[test]
fn parse_encode_parse_is_the_same_message_whatever_it_was() {
    const PIECES: [&[u8]; 32] = [
        b"MSH|^~\\&|",
        b"MSH$*%!?#$",
        b"\rPID|",
        b"\nOBX|1|TX|||",
        b"\r\n",
        b"\n",
        b"\r",
        b"\n\n",
        b"\r\r",
        b"|||",
        b"^",
        b"~",
        b"&",
        b"\\F\\",
        b"\\X41\\",
        b"\"\"",
        b"EVN",
        b"NAD",
        b"text: more",
        b"\x1b$B45<T\x1b(B",
        b"\x1b(J\\",
        b"\xD5\xC5",
        b"\x81\x7C",
        b"\xC3\xBC",
        b"\xFF",
        b"\0",
        b"\x1a",
        b"|||||||||||||||||8859/1",
        b"\rBTS|1",
        b"\rFHS|^~\\&",
        b"\rmsh|",
        b"\xEF\xBB\xBF",
    ];
    const CHARSETS: [&str; 10] = [
        "utf-8",
        "8859/1",
        "8859/7",
        "GB 18030-2000",
        "Shift_JIS",
        "ISO IR87",
        "BIG-5",
        "KS X 1001",
        "windows-1252",
        "8859/15",
    ];
    let mut state = 0x2545_F491_4F6C_DD1Du64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    for round in 0..20_000 {
        let mut bytes = Vec::new();
        if round % 3 == 0 {
            let stated = CHARSETS[next(CHARSETS.len())];
            bytes.extend(format!("MSH|^~\\&|A||||1||ORU^R01|7|P|2.5||||||{stated}").into_bytes());
        } else if round % 3 == 1 {
            bytes.extend(b"MSH|^~\\&|");
        }
        for _ in 0..next(24) {
            bytes.extend(PIECES[next(PIECES.len())]);
        }
        if round % 17 == 0 {
            bytes = String::from_utf8_lossy(&bytes).encode_utf16().flat_map(u16::to_be_bytes).collect();
        }
        same(&bytes, Charset::named(CHARSETS[next(CHARSETS.len())]).unwrap());
    }
}

#[test]
fn great_messages_are_read_whole_and_hold_little_beside_their_bytes() {
    let many = format!("MSH|^~\\&|A\r{}", "OBX|1|NM|8867-4^Heart rate^LN||72|/min|||||F\r".repeat(99_999));
    let message = parse(&many);
    assert_eq!(message.segments().count(), 100_000);
    assert!(matches!(message.text, Cow::Borrowed(_)), "the text is not copied");
    assert!(message.segments.capacity() * size_of::<(usize, usize)>() <= many.len());
    assert_eq!(at(&message, "OBX[60000]-5"), "72");
    assert_eq!(message.encode(), many.as_bytes());

    let report = "A".repeat(5 << 20);
    let long = format!("MSH|^~\\&|A\rOBX|1|ED|||^AP^PDF^Base64^{report}||||||F\rOBX|2|NM|||7\r");
    let message = parse(&long);
    assert_eq!(at(&message, "OBX-5.5").len(), report.len());
    assert_eq!((at(&message, "OBX-11").as_ref(), at(&message, "OBX[2]-5").as_ref()), ("F", "7"));
}
