//! Persons out of a tape: identifiers, names, birth dates and specimen numbers become X and 0 of the same length, so that
//! frames keep their shape and checksums are right again.
//!
//! What is masked: HL7 fields of persons, orders and specimens, and notes; LIS02 P, O and Q records; POCT1-A patients and
//! operators; and everywhere each identifier, name and birth date that the firmware profile finds. What is not: times, the
//! device's own identity, free text a device sends as a value or comment, and what no field says is a person.

use std::collections::{BTreeMap, BTreeSet};

use super::schema::Grammar;
use super::{FirmwareProfile, LinkContext};
use crate::wire::tape::{Chunk, Tape, Way};
use crate::wire::{Codec, delimited};

/// A tape without persons.
#[derive(Clone, Debug, Default)]
pub struct Masked {
    pub tape: Tape,
    /// What a person must look at, in sentences; never the text itself. Empty: everything that was found is masked.
    pub left: Vec<String>,
}

/// One frame without persons.
#[derive(Clone, Debug, Default)]
pub struct MaskedFrame {
    pub bytes: Vec<u8>,
    pub topic: Option<String>,
    /// As in [`Masked::left`].
    pub left: Vec<String>,
}

/// Why a tape cannot be masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no firmware profile says where persons stand in this tape: name one")]
pub struct NoProfile;

/// Masks `tape`. HL7 and LIS02 need no profile; of everything else only a profile knows where persons stand.
///
/// # Errors
/// Without a profile, for any other codec.
pub fn mask(
    tape: &Tape,
    profile: Option<&FirmwareProfile>,
    context: &LinkContext,
) -> Result<Masked, NoProfile> {
    let word = profile.map_or(tape.head.codec.as_str(), |profile| profile.codec.word());
    if profile.is_none() && !matches!(word, "mllp" | "astm") {
        return Err(NoProfile);
    }
    let mut masking = Masking::default();
    let bodies = profile.map(|profile| masking.learn(tape, profile, context)).unwrap_or_default();
    let mut tape = tape.clone();
    for (places, mut bytes) in streams(&tape) {
        match word {
            "mllp" => hl7(&mut bytes),
            "astm" => lis02(&mut bytes),
            "poct1a" => poct1a(&mut bytes),
            _ if profile.is_some_and(FirmwareProfile::is_gdt) => gdt(&mut bytes),
            _ => {}
        }
        if let Some(Codec::Delimited(settings)) = profile.map(|profile| &profile.codec) {
            masking.frames(settings, &bodies, &mut bytes);
        }
        masking.literals(&mut bytes);
        if word == "astm" {
            sums(&mut bytes);
        }
        let mut at = 0;
        for place in places {
            let Some(chunk) = tape.chunks.get_mut(place) else { continue };
            let end = at + chunk.bytes.len();
            chunk.bytes = bytes.get(at..end).unwrap_or_default().to_vec();
            at = end;
        }
    }
    for topic in tape.chunks.iter_mut().filter_map(|chunk| chunk.topic.as_mut()) {
        let mut bytes = topic.clone().into_bytes();
        masking.literals(&mut bytes);
        *topic = String::from_utf8_lossy(&bytes).into_owned();
    }
    tape.head.masked = true;
    let left = masking.left(&tape, word);
    Ok(Masked { tape, left })
}

impl FirmwareProfile {
    /// Masks one frame, as it is kept: without the framing of its link.
    pub fn mask_frame(&self, frame: &[u8], topic: Option<&str>, context: &LinkContext) -> MaskedFrame {
        // A message by itself needs neither framing nor checksum.
        let mut masking = Masking::default();
        masking.learn_frame(self, frame, topic, context);
        let mut bytes = frame.to_vec();
        match self.codec.word() {
            "mllp" => hl7(&mut bytes),
            "astm" => lis02(&mut bytes),
            "poct1a" => poct1a(&mut bytes),
            _ if self.is_gdt() => gdt(&mut bytes),
            _ => {}
        }
        masking.literals(&mut bytes);
        let chunk = Chunk { bytes: bytes.clone(), ..Chunk::default() };
        let left = masking.left(&Tape { chunks: vec![chunk], ..Tape::default() }, self.codec.word());
        let topic = topic.map(|topic| {
            let mut topic = topic.as_bytes().to_vec();
            masking.literals(&mut topic);
            String::from_utf8_lossy(&topic).into_owned()
        });
        MaskedFrame { bytes, topic, left }
    }
}

/// The bytes of each connection and way in one piece, with the chunks they come from. Each message is by itself.
fn streams(tape: &Tape) -> Vec<(Vec<usize>, Vec<u8>)> {
    let mut done = Vec::new();
    let mut open: BTreeMap<(u32, bool), (Vec<usize>, Vec<u8>)> = BTreeMap::new();
    for (at, chunk) in tape.chunks.iter().enumerate() {
        if chunk.topic.is_some() {
            done.push((vec![at], chunk.bytes.clone()));
        } else if matches!(chunk.way, Way::Open | Way::Closed) {
            done.extend([true, false].into_iter().filter_map(|way| open.remove(&(chunk.connection, way))));
        } else {
            let (places, bytes) = open.entry((chunk.connection, chunk.way == Way::In)).or_default();
            places.push(at);
            bytes.extend_from_slice(&chunk.bytes);
        }
    }
    done.extend(open.into_values());
    done
}

/// What is to be masked wherever it stands.
#[derive(Debug, Default)]
struct Masking {
    texts: BTreeSet<String>,
    /// Texts that are too short to be looked for: they would hit values.
    short: BTreeSet<String>,
    unchecked: usize,
}

impl Masking {
    /// Learns who is on the tape; returns the kept frames.
    fn learn(&mut self, tape: &Tape, profile: &FirmwareProfile, context: &LinkContext) -> Vec<Vec<u8>> {
        let heard = tape.frames(&|| profile.speech().framer());
        for frame in &heard.frames {
            self.learn_frame(profile, &frame.bytes, frame.topic.as_deref(), context);
        }
        heard.frames.into_iter().map(|frame| frame.bytes).collect()
    }

    fn learn_frame(
        &mut self,
        profile: &FirmwareProfile,
        frame: &[u8],
        topic: Option<&str>,
        context: &LinkContext,
    ) {
        for report in profile.decode(frame, topic, context).reports {
            if let Some(person) = &report.person {
                let identifiers = person.identifiers.iter().map(|identifier| &identifier.value);
                identifiers.chain(&person.family).chain(&person.given).for_each(|text| self.add(text));
                person.birth_date.iter().for_each(|date| self.add_date(date));
            }
            if let Some(specimen) = &report.specimen {
                specimen.identifier.iter().for_each(|text| self.add(text));
            }
            report.orders.iter().for_each(|order| self.add(&order.value));
        }
    }

    fn add(&mut self, text: &str) {
        let text = text.trim();
        if text.chars().all(|c| "0-?*.xX_ ".contains(c)) {
            return;
        }
        let digits = text.chars().all(|c| c.is_ascii_digit());
        let least = if digits { 5 } else { 3 };
        let list = if text.chars().count() >= least { &mut self.texts } else { &mut self.short };
        list.insert(text.to_owned());
    }

    /// A date in the orders devices write it.
    fn add_date(&mut self, date: &str) {
        let mut parts = date.split('-');
        let (Some(year), Some(month), Some(day)) = (parts.next(), parts.next(), parts.next()) else { return };
        for between in ["", "-", ".", "/"] {
            for order in [[year, month, day], [day, month, year], [month, day, year]] {
                self.texts.insert(order.join(between));
            }
        }
    }

    /// Masks every text that is known, in the encodings devices use.
    fn literals(&self, bytes: &mut [u8]) {
        // Longer ones first: a name within a name is then gone already.
        let mut texts: Vec<&String> = self.texts.iter().collect();
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        for needle in texts.into_iter().flat_map(|text| encodings(text)) {
            for at in found(bytes, &needle) {
                let end = at + needle.len();
                bytes.get_mut(at..end).unwrap_or_default().iter_mut().for_each(cover);
            }
        }
    }

    /// Frames whose checksum covers what is masked.
    fn frames(&mut self, settings: &delimited::Settings, bodies: &[Vec<u8>], bytes: &mut [u8]) {
        for body in bodies {
            let mut masked = body.clone();
            self.literals(&mut masked);
            if masked == *body {
                continue;
            }
            let (before, after) = (delimited::wrap(settings, body), delimited::wrap(settings, &masked));
            let places = if before.len() == after.len() { occurrences(bytes, &before) } else { Vec::new() };
            self.unchecked += usize::from(before.len() != after.len());
            for at in places {
                if let Some(place) = bytes.get_mut(at..at + after.len()) {
                    place.copy_from_slice(&after);
                }
            }
        }
    }

    /// What is still there, or could not be looked for.
    fn left(&self, tape: &Tape, word: &str) -> Vec<String> {
        let mut left = Vec::new();
        let holds = |text: &String| {
            let needles = encodings(text);
            streams(tape)
                .iter()
                .any(|(_, bytes)| needles.iter().any(|needle| !found(bytes, needle).is_empty()))
        };
        let structured = matches!(word, "mllp" | "astm" | "poct1a");
        let short = self.short.iter().filter(|text| !structured && holds(text)).count();
        if short > 0 {
            left.push(format!(
                "{short} identifiers are too short to be told from values; take them out by hand."
            ));
        }
        let long = self.texts.iter().filter(|text| holds(text)).count();
        if long > 0 {
            left.push(format!("{long} identifiers, names or dates are still there."));
        }
        if self.unchecked > 0 {
            left.push(format!("{} frames have a checksum that could not be made right.", self.unchecked));
        }
        left
    }
}

impl FirmwareProfile {
    fn is_gdt(&self) -> bool {
        matches!(self.plan.grammar, Grammar::Gdt(_))
    }
}

/// GDT and LDT (QMS, record description): the fields of the person (30xx, 31xx, 36xx) and of orders and samples
/// (831x, 8320). A line is its length in three digits, the field in four, and the content.
fn gdt(bytes: &mut [u8]) {
    for line in bytes.split_mut(|byte| matches!(byte, b'\r' | b'\n')) {
        let field = line.get(3..7).unwrap_or_default();
        let person =
            [b"30".as_slice(), b"31", b"36", b"831", b"832"].iter().any(|start| field.starts_with(start));
        // 3110 is the sex.
        if person && field != b"3110" {
            line.get_mut(7..).unwrap_or_default().iter_mut().for_each(cover);
        }
    }
}

/// A text as UTF-8, ISO 8859-1 and UTF-16 (IntelliVue).
fn encodings(text: &str) -> Vec<Vec<u8>> {
    let mut all = vec![text.as_bytes().to_vec()];
    if !text.is_ascii() {
        let latin: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
        all.extend(latin);
    }
    all.push(text.encode_utf16().flat_map(u16::to_be_bytes).collect());
    all
}

fn occurrences(bytes: &[u8], needle: &[u8]) -> Vec<usize> {
    memchr::memmem::find_iter(bytes, needle).collect()
}

/// Where a text stands by itself: not within a longer word or number.
fn found(bytes: &[u8], needle: &[u8]) -> Vec<usize> {
    let joins = |at: Option<usize>| {
        at.and_then(|at| bytes.get(at)).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte >= 0x80)
    };
    // A letter behind an escape character is a command and no part of a word.
    let command = |at: &usize| at.checked_sub(2).and_then(|at| bytes.get(at)) == Some(&0x1b);
    let alone = |at: &usize| (!joins(at.checked_sub(1)) || command(at)) && !joins(Some(at + needle.len()));
    occurrences(bytes, needle).into_iter().filter(alone).collect()
}

fn cover(byte: &mut u8) {
    *byte = match *byte {
        b'0'..=b'9' => b'0',
        b'A'..=b'Z' | b'a'..=b'z' | 0x80.. => b'X',
        other => other,
    };
}

/// Fields of a segment that speak of persons, orders or specimens; `None`: nothing of it. An empty list: all but the
/// set number and the sex (PID-8).
const SEGMENTS: &[(&[u8; 3], &[usize])] = &[
    (b"PID", &[]),
    (b"PD1", &[]),
    (b"NK1", &[]),
    (b"MRG", &[]),
    (b"GT1", &[]),
    (b"IN1", &[]),
    (b"IN2", &[]),
    (b"ROL", &[]),
    (b"DSP", &[3]),
    (b"NTE", &[3]),
    (b"PV1", &[7, 8, 9, 17, 19, 50, 52]),
    (b"OBR", &[2, 3, 10, 16, 20, 21, 28, 32, 33, 34, 35]),
    (b"ORC", &[2, 3, 4, 10, 11, 12, 19]),
    (b"OBX", &[16, 25]),
    (b"SPM", &[2, 3]),
    (b"SAC", &[3, 4]),
    (b"QRD", &[8]),
    (b"QPD", &[3, 4, 5, 6, 7, 8]),
    (b"EVN", &[5]),
];

fn hl7(bytes: &mut [u8]) {
    let mut separator = b'|';
    for segment in bytes.split_mut(|byte| matches!(byte, b'\r' | b'\n' | 0x0b | 0x1c)) {
        let Some(name) = segment.first_chunk::<3>().copied() else { continue };
        if name == *b"MSH" {
            separator = segment.get(3).copied().unwrap_or(separator);
        }
        let Some((_, listed)) = SEGMENTS.iter().find(|(known, _)| **known == name) else { continue };
        for (at, field) in segment.split_mut(|byte| *byte == separator).enumerate() {
            let meant = if listed.is_empty() { at > 1 && at != 8 } else { listed.contains(&at) };
            // `""` means that nothing is there.
            if meant && at > 0 {
                field.iter_mut().for_each(cover);
            }
        }
    }
}

const STX: u8 = 2;
const ETX: u8 = 3;
const ETB: u8 = 0x17;

/// LIS02 records, in frames or as they are; a record goes on in the next frame.
fn lis02(bytes: &mut [u8]) {
    let (mut kind, mut delimiter, mut component_mark) = (None, b'|', b'^');
    let (mut field, mut component, mut place) = (1usize, 1usize, 0usize);
    let (mut number, mut trailer) = (false, 0u8);
    for byte in bytes.iter_mut() {
        match *byte {
            STX => (number, trailer) = (true, 0),
            ETX | ETB => trailer = 3,
            // The CR behind a checksum ends the frame, not the record.
            b'\r' if trailer > 0 => trailer = 0,
            _ if trailer > 1 => trailer -= 1,
            // Frames of some senders have no number.
            b'0'..=b'9' if number => number = false,
            b'\n' | 4 | 5 | 6 | 0x15 => {}
            b'\r' => (kind, field, component, place) = (None, 1, 1, 0),
            _ => {
                number = false;
                let at = (&mut field, &mut component, &mut place);
                text(byte, &mut kind, &mut delimiter, &mut component_mark, at);
            }
        }
    }
}

/// One character of a record.
fn text(
    byte: &mut u8,
    kind: &mut Option<u8>,
    delimiter: &mut u8,
    component_mark: &mut u8,
    (field, component, place): (&mut usize, &mut usize, &mut usize),
) {
    *place += 1;
    let first = *kind.get_or_insert(*byte);
    match (first, *place) {
        (b'H', 2) => *delimiter = *byte,
        // LIS02 §5.4.1: the delimiters are field, repeat, component, escape.
        (b'H', 4) => *component_mark = *byte,
        _ => {}
    }
    if *byte == *delimiter && *place > 1 {
        (*field, *component) = (*field + 1, 1);
    } else if *byte == *component_mark {
        *component += 1;
    } else {
        let meant = match first {
            b'P' => *field > 2 && *field != 9,
            b'O' => matches!(*field, 3 | 4) && *component < 3 || *field == 17,
            b'Q' => matches!(*field, 3 | 4),
            b'R' => *field == 11,
            _ => false,
        };
        if meant {
            cover(byte);
        }
    }
}

/// Checksums of LIS01 frames anew.
fn sums(bytes: &mut [u8]) {
    let mut from = None;
    for at in 0..bytes.len() {
        match bytes.get(at) {
            Some(&STX) => from = Some(at + 1),
            Some(&(ETX | ETB)) => {
                let Some(text) = from.take().and_then(|from: usize| bytes.get(from..=at)) else { continue };
                let sum = text.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
                if let Some(field) =
                    bytes.get_mut(at + 1..at + 3).filter(|field| field.iter().all(u8::is_ascii_hexdigit))
                {
                    let lower = field.iter().any(u8::is_ascii_lowercase);
                    let text = if lower { format!("{sum:02x}") } else { format!("{sum:02X}") };
                    field.copy_from_slice(text.as_bytes());
                }
            }
            _ => {}
        }
    }
}

/// `V="…"` of the elements of patients, operators and orders, but the sex.
fn poct1a(bytes: &mut [u8]) {
    let elements: [&[u8]; 3] = [b"<PT.", b"<OPR.", b"<ORD."];
    let starts: Vec<usize> = elements.iter().flat_map(|element| occurrences(bytes, element)).collect();
    for start in starts {
        let rest = bytes.get(start..).unwrap_or_default();
        let length = rest.iter().position(|byte| *byte == b'>').unwrap_or(rest.len());
        let element = rest.get(..length).unwrap_or_default();
        if element.starts_with(b"<PT.gender") || element.starts_with(b"<ORD.universal") {
            continue;
        }
        let Some(value) = memchr::memmem::find(element, b"V=\"").map(|at| at + 3) else { continue };
        let long = element.get(value..).unwrap_or_default();
        let long = long.iter().position(|byte| *byte == b'"').unwrap_or(long.len());
        let place = bytes.get_mut(start + value..start + value + long);
        place.unwrap_or_default().iter_mut().for_each(cover);
    }
}

/// Fuzz body: masking keeps the length of everything and never fails.
pub fn fuzz(bytes: &[u8]) {
    for run in [hl7, lis02, poct1a, sums] {
        let mut masked = bytes.to_vec();
        run(&mut masked);
        assert!(masked.len() == bytes.len(), "masking changed the length");
    }
}

#[cfg(test)]
#[path = "mask_tests.rs"]
mod tests;
