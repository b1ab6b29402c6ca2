use super::*;
use crate::firmware_profile::Library;
use crate::wire::{astm, mllp};

fn library() -> Library {
    Library::embedded().unwrap()
}

fn tape(codec: &str, pieces: &[&[u8]]) -> Tape {
    let chunk =
        |(at, bytes): (usize, &&[u8])| Chunk { ms: at as u64, bytes: bytes.to_vec(), ..Chunk::default() };
    let mut tape = Tape { chunks: pieces.iter().enumerate().map(chunk).collect(), ..Tape::default() };
    tape.head.codec = codec.into();
    tape
}

fn all(tape: &Tape) -> String {
    tape.chunks.iter().map(|chunk| String::from_utf8_lossy(&chunk.bytes).into_owned()).collect()
}

const HL7: &str = "MSH|^~\\&|MON^00|W|||20260314140000+0530||ORU^R01^ORU_R01|77|P|2.6\rPID|1||SECRET7^^^H^MR||Doe^Jane^^^^^L||19770404|F\rPV1|1|I|ICU^1^7||||||||||||||||V99\rOBR|1|P55|F66|1^x^MDC|||20260314135900\rOBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC|1.1.1.1|72|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||R|||20260314135900\r";

#[test]
fn persons_go_out_of_hl7_across_any_cut_and_values_and_times_stay() {
    let bytes = mllp::wrap(HL7.as_bytes());
    let profile = library().find("ihe/pcd01-monitor").unwrap();
    for size in [1, 7, 64, 4096] {
        let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
        for profile in [Some(&*profile), None] {
            let masked = mask(&tape("mllp", &pieces), profile, &LinkContext::golden()).unwrap();
            let text = all(&masked.tape);
            assert_eq!(text.len(), bytes.len());
            for secret in ["SECRET7", "Doe", "Jane", "19770404", "V99", "P55", "F66"] {
                assert!(!text.contains(secret), "{secret} in pieces of {size}");
            }
            assert!(text.contains("|XXXXXX0^^^X^XX||XXX^XXXX^^^^^X||00000000|F\r"), "{text}");
            assert!(text.contains("|72|") && text.contains("20260314135900") && text.contains("ICU^1^7"));
            assert!(masked.left.is_empty() && masked.tape.head.masked);
            let lengths = |tape: &Tape| tape.chunks.iter().map(|chunk| chunk.bytes.len()).collect::<Vec<_>>();
            assert_eq!(lengths(&masked.tape), lengths(&tape("mllp", &pieces)), "read boundaries stay");
        }
    }
}

#[test]
fn frames_of_lis01_are_whole_again_with_their_checksums_even_where_a_record_is_cut() {
    let records = b"H|\\^&|||XN-1000^00-01\rP|1|||SECRET7|Doe^Jane||19770404|F\rO|1|SAMPLE9||^^^WBC|R\rR|1|^^^WBC|5.6|10*3/uL||N||F\rL|1|N\r";
    // Frames of twenty characters cut every record.
    let mut bytes = vec![5];
    let pieces: Vec<&[u8]> = records.chunks(20).collect();
    for (at, piece) in pieces.iter().enumerate() {
        let number = u8::try_from((at + 1) % 8).unwrap();
        bytes.extend(astm::frame(number, piece, at + 1 == pieces.len()));
    }
    bytes.push(4);
    let masked = mask(&tape("astm", &[&bytes]), None, &LinkContext::golden()).unwrap();
    let codec = Codec::Astm(astm::Settings::default());
    let heard = masked.tape.frames(&|| crate::wire::framer(&codec));
    assert!(heard.notes.is_empty(), "{:?}", heard.notes);
    let text = String::from_utf8(heard.frames[0].bytes.clone()).unwrap();
    assert_eq!(text.len(), records.len());
    for secret in ["SECRET7", "Doe", "19770404", "SAMPLE9"] {
        assert!(!text.contains(secret), "{text}");
    }
    assert!(text.contains("O|1|XXXXXX0||^^^WBC|R\rR|1|^^^WBC|5.6|10*3/uL||N||F\r"), "{text}");
    assert!(text.contains("P|1|||XXXXXX0|XXX^XXXX||00000000|F\r"), "{text}");
}

#[test]
fn where_only_a_profile_knows_persons_it_is_needed_and_too_short_ones_are_told() {
    let context = LinkContext::golden();
    assert_eq!(mask(&tape("lines", &[b"x"]), None, &context).unwrap_err(), NoProfile);
    assert_eq!(mask(&tape("", &[b"x"]), None, &context).unwrap_err(), NoProfile);
    let library = library();
    let mut seen = 0;
    for profile in library.profiles() {
        for (name, frame) in library.captures(&profile.id) {
            let topic = crate::demo::actor::Script::of(&library, &profile.id, 1)
                .ok()
                .and_then(|mut script| script.next(context.received)?.topic);
            let before = profile.decode(&frame, topic.as_deref(), &context);
            let MaskedFrame { bytes: masked, left, .. } =
                profile.mask_frame(&frame, topic.as_deref(), &context);
            assert_eq!(masked.len(), frame.len());
            let after = profile.decode(&masked, topic.as_deref(), &context);
            let persons = before.reports.iter().filter_map(|report| report.person.as_ref());
            for person in persons {
                for identifier in &person.identifiers {
                    let again = after.reports.iter().filter_map(|report| report.person.as_ref());
                    let same =
                        again.flat_map(|p| &p.identifiers).any(|other| other.value == identifier.value);
                    let plain = identifier.value.chars().all(|c| "0-?*.xX_ ".contains(c));
                    assert!(
                        !same || plain || !left.is_empty(),
                        "{}: {name} still names a person",
                        profile.id
                    );
                    seen += 1;
                }
            }
            assert_eq!(before.measurements(), after.measurements(), "{}: {name} lost values", profile.id);
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn a_frame_whose_checksum_covers_a_name_gets_another_checksum() {
    let settings: delimited::Settings =
        toml::from_str("start = '\\x02'\nend = '\\x03'\nchecksum = { alg = 'sum8' }").unwrap();
    let mut masking = Masking::default();
    masking.add("Jane Doe");
    let body = b"name=Jane Doe;SpO2=98".to_vec();
    let mut bytes = [b"noise".to_vec(), delimited::wrap(&settings, &body)].concat();
    masking.frames(&settings, &[body], &mut bytes);
    assert_eq!(bytes, [b"noise".to_vec(), delimited::wrap(&settings, b"name=XXXX XXX;SpO2=98")].concat());
}

#[test]
fn a_name_is_found_in_each_encoding_and_never_within_a_longer_word() {
    let mut masking = Masking::default();
    masking.add("Ann");
    masking.add("Zoë");
    masking.add("12345");
    masking.add("77");
    masking.add_date("1977-04-04");
    let mut bytes = b"Ann Anna Ann1 12345 123456 04.04.1977 19770404 77 ".to_vec();
    bytes.extend("Zoë ".bytes());
    bytes.extend(b"Zo\xeb \0A\0n\0n ");
    masking.literals(&mut bytes);
    assert_eq!(
        bytes.escape_ascii().to_string(),
        "XXX Anna Ann1 00000 123456 00.00.0000 00000000 77 XXXX XXX \\x00X\\x00X\\x00X "
    );
    let left = masking.left(&tape("lines", &[b"id=77"]), "lines");
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(!left[0].contains("77"), "what is secret is not told");
}
