//! Nonin serial data formats 2, 7, 8 and 13 (Nonin OEM III, Xpod, WristOx2 3150 and Onyx II 9560 specifications).
//!
//! Formats 2 and 7 are packets of 25 frames of 5 bytes, 75 frames a second; the frame with the SYNC bit is the first, and
//! a value stands in the frame with its number. Format 8 is 4 bytes a second, format 13 a record of one spot check.
//!
//! The kept frame is whole packets of `gather_ms`, one behind the other as they came: 125 bytes each in formats 2 and 7
//! (a frame with a wrong checksum stays in its place, so that the others keep theirs), 4 bytes in format 8, records in
//! format 13. A packet with too few frames is left out: nobody can say which of its values is which.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Deserialize;

use super::gather::Gather;
use super::{Answer, Framer, Step, Ticket, Warning};

/// Bytes of a frame and frames of a packet, formats 2 and 7.
pub const FRAME: usize = 5;
pub const FRAMES: usize = 25;
pub const PACKET: usize = FRAME * FRAMES;
/// Bytes of a packet in format 8.
pub const PACKET_8: usize = 4;
/// Start and type of a record in format 13.
const HEAD_13: [u8; 4] = [0x00, 0x02, 0x00, 0x0d];
const DATA_13: std::ops::RangeInclusive<usize> = 14..=64;

const ACK: u8 = 0x06;
const NAK: u8 = 0x15;
const SELECT_EVERY: Duration = Duration::from_secs(1);
const ATTEMPTS: u8 = 3;
/// So many bytes without a packet are not a disturbance any more.
const UNREADABLE: usize = 1000;

/// The data format the device sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u8")]
pub enum Format {
    #[default]
    Two,
    Seven,
    Eight,
    Thirteen,
}

impl TryFrom<u8> for Format {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        match number {
            2 => Ok(Self::Two),
            7 => Ok(Self::Seven),
            8 => Ok(Self::Eight),
            13 => Ok(Self::Thirteen),
            other => Err(format!("format {other} is not read: use 2, 7, 8 or 13")),
        }
    }
}

/// Whether the device is asked for the format when the link opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Select {
    /// The device sends it by itself; nothing is sent.
    #[default]
    Off,
    /// `02 70 02 02 format 03` (9560, 4100).
    Plain,
    /// `02 70 04 02 format 00 sum 03` (3150, 3230).
    Checked,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub format: Format,
    pub select: Select,
    /// Format 13: say ACK to a record that is kept and NAK to one that is not; the device then forgets it or sends it again.
    pub acknowledge: bool,
    /// Packets of this time make one frame; a record of format 13 is always one.
    pub gather_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { format: Format::Two, select: Select::Off, acknowledge: false, gather_ms: 1000 }
    }
}

impl Settings {
    /// The one command that is ever sent.
    fn command(&self) -> Option<Vec<u8>> {
        let number = match self.format {
            Format::Two => 2,
            Format::Seven => 7,
            Format::Eight => 8,
            Format::Thirteen => 13,
        };
        match self.select {
            Select::Off => None,
            Select::Plain => Some(vec![0x02, 0x70, 0x02, 0x02, number, 0x03]),
            Select::Checked => {
                let body = [0x70, 0x04, 0x02, number, 0x00];
                let sum = body.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
                Some([&[0x02][..], &body, &[sum, 0x03]].concat())
            }
        }
    }
}

/// Whether five bytes are a frame of format 2 or 7: bit 7 of the status and the sum of the four before the last.
pub fn is_frame(format: Format, bytes: &[u8]) -> bool {
    let &[first, second, third, fourth, sum] = bytes else { return false };
    let (marked, status) = match format {
        Format::Two => (first == 0x01, second),
        _ => (true, first),
    };
    let total = [first, second, third, fourth].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    marked && status & 0x80 != 0 && total == sum
}

/// Status byte of a frame.
pub fn status_of(format: Format, frame: &[u8]) -> u8 {
    let at = if format == Format::Two { 1 } else { 0 };
    frame.get(at).copied().unwrap_or(0)
}

fn is_first(format: Format, frame: &[u8]) -> bool {
    is_frame(format, frame) && status_of(format, frame) & 0x01 != 0
}

/// Takes a record of format 13 off the front: the record's data without head, sum and end, and its whole length.
pub fn record(bytes: &[u8]) -> Result<(&[u8], usize), Record13> {
    let head = bytes.len().min(HEAD_13.len());
    if bytes.get(..head) != HEAD_13.get(..head) {
        return Err(Record13::No);
    }
    let &[_, _, _, _, high, low, ..] = bytes else { return Err(Record13::More) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if !DATA_13.contains(&length) {
        return Err(Record13::No);
    }
    let Some(rest) = bytes.get(6..6 + length + 2) else { return Err(Record13::More) };
    let (data, tail) = rest.split_at_checked(length).ok_or(Record13::No)?;
    let sum = data.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    if tail == [sum, 0x03] { Ok((data, 6 + length + 2)) } else { Err(Record13::No) }
}

/// Why there is no record at the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record13 {
    No,
    /// It may become one.
    More,
}

/// Receiver of one connection.
#[derive(Debug)]
pub struct NoninFramer {
    settings: Settings,
    buffer: VecDeque<u8>,
    packet: Vec<u8>,
    /// Frames of the packet whose checksum is wrong.
    corrupt: usize,
    /// The last packet ended where the next begins.
    aligned: bool,
    skipped: usize,
    kept: Gather,
    /// Attempts to select the format, and when the next is due; `None` when that is settled.
    select: Option<(u8, Duration)>,
    steps: VecDeque<Step>,
    tickets: u64,
}

impl NoninFramer {
    /// A receiver at the start of a connection.
    pub fn new(settings: Settings) -> Self {
        let period = if settings.format == Format::Thirteen { 0 } else { settings.gather_ms };
        Self {
            select: settings.command().map(|_| (0, Duration::ZERO)),
            kept: Gather::new(Duration::from_millis(period)),
            settings,
            buffer: VecDeque::new(),
            packet: Vec::new(),
            corrupt: 0,
            aligned: false,
            skipped: 0,
            steps: VecDeque::new(),
            tickets: 0,
        }
    }

    fn note(&mut self, code: &'static str, text: impl Into<String>) {
        self.steps.push_back(Step::Note(Warning::new(code, text)));
    }

    fn frame(&mut self, bytes: Vec<u8>) {
        self.tickets += 1;
        self.steps.push_back(Step::Frame { ticket: Ticket(self.tickets), bytes, warnings: Vec::new() });
    }

    fn keep(&mut self, packet: &[u8], now: Duration) {
        self.select = None;
        self.say_skipped();
        if let Some(frame) = self.kept.push(packet, now) {
            self.frame(frame);
        }
    }

    fn say_skipped(&mut self) {
        let skipped = std::mem::take(&mut self.skipped);
        if skipped > 0 {
            self.note("noise", format!("{skipped} bytes outside any packet."));
        }
    }

    /// Goes on one byte; an answer to the selection of the format may stand between packets.
    fn skip(&mut self) {
        self.aligned = false;
        match (self.buffer.pop_front(), self.select) {
            (Some(ACK), Some(_)) => self.select = None,
            (Some(NAK), Some(_)) => {
                self.select = None;
                self.note("select-refused", "The device does not take the data format that was asked for.");
            }
            _ => self.skipped += 1,
        }
        if self.skipped == UNREADABLE {
            let text =
                "The bytes that come are no packets of this data format: look at format and baud rate.";
            self.note("no-packets", text);
        }
    }

    fn front<const N: usize>(&self) -> Option<[u8; N]> {
        let bytes: Vec<u8> = self.buffer.iter().take(N).copied().collect();
        bytes.try_into().ok()
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        self.buffer.drain(..count.min(self.buffer.len())).collect()
    }

    /// One step in the buffer; `false` when more bytes are needed.
    fn advance(&mut self, now: Duration) -> bool {
        match self.settings.format {
            Format::Two | Format::Seven if self.packet.is_empty() => self.find_packet(),
            Format::Two | Format::Seven => self.fill_packet(now),
            Format::Eight => self.packet_8(now),
            Format::Thirteen => self.record_13(now),
        }
    }

    fn find_packet(&mut self) -> bool {
        let format = self.settings.format;
        let Some(first) = self.front::<FRAME>() else { return false };
        if !is_first(format, &first) {
            self.skip();
            return true;
        }
        // A sum of one byte fits by chance too often: without a packet before it, the next frame must fit as well.
        if !self.aligned {
            let Some(both) = self.front::<{ 2 * FRAME }>() else { return false };
            if !is_frame(format, both.get(FRAME..).unwrap_or_default()) {
                self.skip();
                return true;
            }
        }
        self.packet = self.take(FRAME);
        self.corrupt = 0;
        true
    }

    fn fill_packet(&mut self, now: Duration) -> bool {
        let format = self.settings.format;
        let Some(frame) = self.front::<FRAME>() else { return false };
        if is_first(format, &frame) {
            let frames = self.packet.len() / FRAME;
            self.note(
                "short-packet",
                format!("A packet of {frames} instead of {FRAMES} frames is left out."),
            );
            self.packet.clear();
            self.aligned = true;
            return true;
        }
        if !is_frame(format, &frame) {
            let Some(both) = self.front::<{ 2 * FRAME }>() else { return false };
            if !is_frame(format, both.get(FRAME..).unwrap_or_default()) {
                let frames = self.packet.len() / FRAME;
                self.note(
                    "bad-checksum",
                    format!("A packet that cannot be read from frame {} on.", frames + 1),
                );
                self.packet.clear();
                self.skip();
                return true;
            }
            self.corrupt += 1;
        }
        let frame = self.take(FRAME);
        self.packet.extend(frame);
        if self.packet.len() == PACKET {
            if self.corrupt > 0 {
                self.note("bad-checksum", format!("{} frames of a packet are skipped.", self.corrupt));
            }
            self.aligned = true;
            let packet = std::mem::take(&mut self.packet);
            self.keep(&packet, now);
        }
        true
    }

    fn packet_8(&mut self, now: Duration) -> bool {
        let Some(packet) = self.front::<PACKET_8>() else { return false };
        let marks = packet.map(|byte| byte & 0x80 != 0);
        if marks == [true, false, false, false] {
            self.take(PACKET_8);
            self.keep(&packet, now);
        } else {
            self.skip();
        }
        true
    }

    fn record_13(&mut self, now: Duration) -> bool {
        let whole = record(self.buffer.make_contiguous()).map(|(_, length)| length);
        match whole {
            Ok(length) => {
                let record = self.take(length);
                self.keep(&record, now);
            }
            Err(Record13::No) => self.skip(),
            Err(Record13::More) => return false,
        }
        true
    }
}

impl Framer for NoninFramer {
    fn feed(&mut self, bytes: &[u8], now: Duration) {
        self.buffer.extend(bytes);
        while !self.buffer.is_empty() && self.advance(now) {}
    }

    fn step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    fn answer(&mut self, _ticket: Ticket, answer: Answer, _now: Duration) {
        if self.settings.acknowledge && self.settings.format == Format::Thirteen {
            let word = if matches!(answer, Answer::Kept { .. }) { ACK } else { NAK };
            self.steps.push_back(Step::Send(vec![word]));
        }
    }

    fn deadline(&self) -> Option<Duration> {
        self.kept.due().into_iter().chain(self.select.map(|(_, due)| due)).min()
    }

    fn tick(&mut self, now: Duration) {
        if self.kept.due().is_some_and(|due| now >= due)
            && let Some(frame) = self.kept.take()
        {
            self.frame(frame);
        }
        let Some((attempts, _)) = self.select.filter(|(_, due)| now >= *due) else { return };
        if attempts >= ATTEMPTS {
            self.select = None;
            return self
                .note("select-unanswered", "The device did not answer to the choice of its data format.");
        }
        self.select = Some((attempts + 1, now + SELECT_EVERY));
        let command = self.settings.command();
        self.steps.extend(command.map(Step::Send));
    }

    fn end(&mut self, _now: Duration) {
        let half = self.packet.len() + self.buffer.len();
        self.say_skipped();
        if half > 0 {
            self.note("half-packet", format!("{half} bytes of a packet without its end."));
        }
        self.packet.clear();
        self.buffer.clear();
        self.aligned = false;
        if let Some(frame) = self.kept.take() {
            self.frame(frame);
        }
    }
}

/// Fuzz body: in every format the cut does not matter.
pub fn fuzz(bytes: &[u8]) {
    for format in [Format::Two, Format::Seven, Format::Eight, Format::Thirteen] {
        let settings = || Settings { format, ..Settings::default() };
        super::fuzz_framer(|| Box::new(NoninFramer::new(settings())), bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::rig::{Bench, any_cut_gives_the_same};

    fn frame(format: Format, first: bool, value: u8) -> Vec<u8> {
        let status = if first { 0x81 } else { 0x80 };
        let mut frame = match format {
            Format::Two => vec![0x01, status, 0x40, value],
            _ => vec![status, 0x40, 0x11, value],
        };
        frame.push(frame.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)));
        frame
    }

    fn packet(format: Format, spo2: u8) -> Vec<u8> {
        (0..25).flat_map(|at| frame(format, at == 0, if at == 2 { spo2 } else { 0 })).collect()
    }

    fn record_of(spo2: u8) -> Vec<u8> {
        let data = [0x20, 0x26, 0x03, 0x14, 0x08, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 72, 0, spo2];
        let sum = data.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        [&HEAD_13[..], &[0, 14], &data, &[sum, 0x03]].concat()
    }

    fn framer(format: Format) -> NoninFramer {
        NoninFramer::new(Settings { format, ..Settings::default() })
    }

    fn frames(said: &crate::wire::rig::Said) -> Vec<Vec<u8>> {
        said.frames.iter().map(|(frame, _)| frame.clone()).collect()
    }

    #[test]
    fn packets_of_a_second_are_one_frame() {
        for format in [Format::Two, Format::Seven] {
            let mut bench = Bench::new(framer(format));
            for spo2 in 97..101 {
                bench.feed(&packet(format, spo2)).wait(Duration::from_millis(334));
            }
            let said = frames(&bench.said);
            assert_eq!(said.len(), 1);
            assert_eq!(said[0], (97..100).flat_map(|spo2| packet(format, spo2)).collect::<Vec<_>>());
            assert_eq!((bench.sent(), bench.said.notes.len()), (vec![], 0));
        }
    }

    #[test]
    fn any_cut_gives_the_same_and_garbage_does_not_cost_the_next_packet() {
        for format in [Format::Two, Format::Seven] {
            let stream =
                [&b"\x01\x81\x81\x03\x06\xffgarbage"[..], &packet(format, 98), &packet(format, 97)].concat();
            let said = any_cut_gives_the_same(|| framer(format), &stream);
            assert_eq!(frames(&said), [[packet(format, 98), packet(format, 97)].concat()], "{format:?}");
            assert_eq!(said.notes, ["noise"]);
        }
        let eight =
            [&b"\x00\x7f\x80\x81"[..], &[0x80, 72, 98, 0x20], &[0x80, 0xff], &[0x80, 73, 97, 0]].concat();
        let said = any_cut_gives_the_same(|| framer(Format::Eight), &eight);
        assert_eq!(frames(&said), [vec![0x80, 72, 98, 0x20, 0x80, 73, 97, 0]]);
        let bad = [&record_of(98)[..20], &[0x55, 0x03]].concat();
        let thirteen =
            [b"\x00\x00\x02".to_vec(), record_of(98), bad, record_of(97), record_of(96)[..9].to_vec()];
        let said = any_cut_gives_the_same(|| framer(Format::Thirteen), &thirteen.concat());
        assert_eq!(frames(&said), [record_of(98), record_of(97)]);
        assert_eq!(said.notes, ["noise", "noise", "half-packet"]);
    }

    #[test]
    fn a_corrupt_frame_keeps_its_place_and_a_lost_one_costs_the_packet() {
        for format in [Format::Two, Format::Seven] {
            let mut corrupt = packet(format, 98);
            corrupt[13] ^= 0x10;
            let said =
                any_cut_gives_the_same(|| framer(format), &[&corrupt[..], &packet(format, 97)].concat());
            assert_eq!(frames(&said), [[corrupt, packet(format, 97)].concat()]);
            assert_eq!(said.notes, ["bad-checksum"]);
            let mut lost = packet(format, 98);
            lost.drain(50..55);
            let said = any_cut_gives_the_same(|| framer(format), &[&lost[..], &packet(format, 97)].concat());
            assert_eq!(frames(&said), [packet(format, 97)]);
            assert_eq!(said.notes, ["short-packet"]);
            let mut torn = packet(format, 98);
            torn.remove(52);
            let said = any_cut_gives_the_same(|| framer(format), &[&torn[..], &packet(format, 97)].concat());
            assert_eq!(frames(&said), [packet(format, 97)]);
            assert!(said.notes.contains(&"bad-checksum"));
        }
    }

    #[test]
    fn the_format_is_chosen_only_where_a_setting_asks_and_with_listed_bytes() {
        for (select, sent) in [
            (Select::Plain, &[0x02, 0x70, 0x02, 0x02, 0x0d, 0x03][..]),
            (Select::Checked, &[0x02, 0x70, 0x04, 0x02, 0x0d, 0x00, 0x83, 0x03]),
        ] {
            let settings =
                Settings { format: Format::Thirteen, select, acknowledge: true, ..Settings::default() };
            let mut bench = Bench::new(NoninFramer::new(settings.clone()));
            bench.wait(Duration::from_secs(9));
            assert_eq!((bench.sent(), bench.said.notes.clone()), (sent.repeat(3), vec!["select-unanswered"]));
            let mut bench = Bench::new(NoninFramer::new(settings.clone()));
            bench.wait(Duration::ZERO).feed(&[ACK]).wait(Duration::from_secs(9));
            assert_eq!((bench.sent(), bench.said.notes.len()), (sent.to_vec(), 0));
            let mut bench = Bench::new(NoninFramer::new(settings));
            bench.wait(Duration::ZERO).feed(&[NAK]).wait(Duration::from_secs(9));
            assert_eq!((bench.sent(), bench.said.notes.clone()), (sent.to_vec(), vec!["select-refused"]));
        }
        let mut bench = Bench::new(framer(Format::Thirteen));
        bench.wait(Duration::from_secs(9)).feed(&record_of(98));
        assert_eq!(bench.sent(), b"", "without a setting nothing is sent");
    }

    #[test]
    fn a_spot_check_is_acknowledged_only_when_it_is_kept() {
        let settings = Settings { format: Format::Thirteen, acknowledge: true, ..Settings::default() };
        let mut bench = Bench::new(NoninFramer::new(settings));
        bench.hold = true;
        bench.feed(&record_of(98));
        assert_eq!(bench.sent(), b"");
        let ticket = bench.open[0];
        bench.answer(ticket, Answer::Kept { body: None });
        assert_eq!(bench.sent(), [ACK]);
        (bench.hold, bench.refuse) = (false, 1);
        bench.feed(&record_of(97));
        assert_eq!(bench.sent(), [NAK]);
    }

    #[test]
    fn a_wrong_format_is_told_once_and_nothing_is_gathered() {
        let mut bench = Bench::new(framer(Format::Two));
        for _ in 0..100 {
            bench.feed(&[0x55; 100]);
        }
        assert_eq!(bench.said.notes, ["no-packets"]);
        bench.end();
        assert_eq!(bench.said.notes, ["no-packets", "noise", "half-packet"]);
    }

    #[test]
    fn only_known_formats_are_settings() {
        let settings: Settings = toml::from_str("format = 7\nselect = \"plain\"").unwrap();
        assert_eq!((settings.format, settings.select), (Format::Seven, Select::Plain));
        assert!(toml::from_str::<Settings>("format = 3").unwrap_err().to_string().contains("2, 7, 8 or 13"));
    }
}
