//! A simulated Philips IntelliVue monitor: answers an association, announces itself, and sends what it is polled for:
//! numerics (one of them invalid), three ECG leads at 500 Hz, a plethysmogram at 125 Hz, a patient and an alarm.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::SignedDuration;
use jiff::civil::{DateTime, datetime};
use jiff::tz::TimeZone;

use super::{Said, Speaker, Told};
use crate::demo::actor;
use crate::wire::intellivue::message::{
    ALERTS, CONFIRMED_ACTION, CONFIRMED_EVENT, CONFIRMED_SET, CONNECT, Cursor, INVOKE, MDS, MDS_CREATE,
    Message, NUMERIC, PATIENT, POLL, POLL_EXTENDED, RESULT, WAVE,
};
use crate::wire::intellivue::request::{operation, sized, user_information, words};
use crate::wire::intellivue::rs232::{self, Deframer, Found};

/// The monitor's side of a conversation, without a line.
#[derive(Debug)]
pub struct Monitor {
    serial: Option<Deframer>,
    /// Class, invoke id, poll number and sequence of each periodic poll, and until when.
    periodic: Vec<Periodic>,
    second: Duration,
    quarter: Duration,
    /// Periodic numerics that were sent.
    numerics: u32,
    /// What its clock said at the beginning.
    pub clock: DateTime,
    /// Whether an alarm sounds.
    pub alarm: bool,
}

/// When the monitor was switched on, if nobody says it.
const SWITCHED_ON: DateTime = datetime(2026, 3, 14, 14, 0, 0, 0);

#[derive(Debug)]
struct Periodic {
    class: u16,
    invoke: u16,
    number: u16,
    sequence: u16,
    until: Duration,
}

const WAVE_PERIOD: Duration = Duration::from_millis(256);

impl Monitor {
    /// On the serial line, or on the LAN.
    pub fn new(serial: bool) -> Self {
        Self {
            serial: serial.then(Deframer::default),
            periodic: Vec::new(),
            second: Duration::ZERO,
            quarter: Duration::ZERO,
            numerics: 0,
            clock: SWITCHED_ON,
            alarm: true,
        }
    }

    /// Takes bytes of the client; gives frames or datagrams to send.
    pub fn hear(&mut self, mut bytes: &[u8], now: Duration) -> Vec<Vec<u8>> {
        let mut answers = Vec::new();
        if self.serial.is_none() {
            self.answer(bytes, now, &mut answers);
            return answers;
        }
        while let Some(deframer) = &mut self.serial {
            let (found, rest) = deframer.take(bytes);
            bytes = rest;
            match found {
                Some(Found::Frame { message, .. }) => self.answer(&message, now, &mut answers),
                Some(Found::Trouble(_)) => {}
                None => break,
            }
        }
        self.on_line(answers)
    }

    /// What is due by itself.
    pub fn tick(&mut self, now: Duration) -> Vec<Vec<u8>> {
        let mut due = Vec::new();
        let waves = now >= self.quarter;
        if waves {
            self.quarter = now.max(self.quarter + WAVE_PERIOD);
        }
        let others = now >= self.second;
        if others {
            self.second = now.max(self.second + Duration::from_secs(1));
        }
        self.periodic.retain(|poll| poll.until > now);
        let (alarm, clock) = (self.alarm, self.clock);
        for poll in &mut self.periodic {
            if if poll.class == WAVE { waves } else { others } {
                poll.sequence = poll.sequence.wrapping_add(1);
                self.numerics = self.numerics.wrapping_add(u32::from(poll.class == NUMERIC));
                let objects = objects(poll.class, now, clock, alarm);
                let numbers = [poll.number, poll.sequence];
                due.push(result(POLL_EXTENDED, poll.class, poll.invoke, &numbers, now, &objects));
            }
        }
        self.on_line(due)
    }

    fn on_line(&self, messages: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        match &self.serial {
            Some(_) => messages.iter().filter_map(|message| rs232::frame(message)).collect(),
            None => messages,
        }
    }

    fn answer(&mut self, message: &[u8], now: Duration, answers: &mut Vec<Vec<u8>>) {
        match Message::parse(message) {
            Some(Message::Session(CONNECT, _)) => {
                self.periodic.clear();
                answers.push(accept());
                answers.push(announce(now, self.clock));
            }
            Some(Message::Operation(asked)) if (asked.kind, asked.command) == (INVOKE, CONFIRMED_ACTION) => {
                answers.extend(self.poll(asked.invoke, asked.body, now));
            }
            Some(Message::Operation(asked)) if asked.command == CONFIRMED_SET => {
                let body = [words(&[MDS, 0, 0]), words(&[0, 0])].concat();
                answers.push(operation(RESULT, asked.invoke, CONFIRMED_SET, &body));
            }
            _ => {}
        }
    }

    fn poll(&mut self, invoke: u16, body: &[u8], now: Duration) -> Option<Vec<u8>> {
        let mut cursor = Cursor(body);
        cursor.take(10)?;
        let action = cursor.u16()?;
        let mut argument = Cursor(cursor.sized()?);
        let number = argument.u16()?;
        argument.u16()?;
        let class = argument.u16()?;
        if action == POLL {
            let objects = objects(class, now, self.clock, self.alarm);
            return Some(result(POLL, class, invoke, &[number], now, &objects));
        }
        self.periodic.retain(|poll| poll.class != class);
        let until = now + Duration::from_secs(60);
        self.periodic.push(Periodic { class, invoke, number, sequence: 0, until });
        None
    }
}

/// A bed's monitor on either way in: the first byte that is heard tells which.
#[derive(Debug, Default)]
pub(super) struct Bed {
    monitor: Option<Monitor>,
    clock: Option<DateTime>,
    /// Numerics that had been sent when the message was said.
    said: Option<u32>,
    out: VecDeque<Said>,
}

impl Bed {
    fn push(&mut self, frames: Vec<Vec<u8>>) {
        self.out.extend(frames.into_iter().map(Said::Send));
        let sent = self.monitor.as_ref().map_or(0, |monitor| monitor.numerics);
        if self.said.is_some_and(|said| said != sent) {
            self.said = None;
            self.out.push_back(Said::Told(Told::Sent));
        }
    }
}

impl Speaker for Bed {
    fn open(&mut self, _now: Duration) {
        self.monitor = None;
        if self.said.take().is_some() {
            self.out.push_back(Said::Told(Told::Again("the line was lost".into())));
        }
    }

    fn say(&mut self, message: &actor::Message, now: Duration) {
        let at = message.at.and_then(|at| jiff::Timestamp::from_microsecond(at.micros).ok());
        let at = at.map(|at| at.to_zoned(TimeZone::UTC).datetime());
        self.clock = at.and_then(|at| at.checked_sub(SignedDuration::try_from(now).ok()?).ok());
        if let (Some(monitor), Some(clock)) = (&mut self.monitor, self.clock) {
            monitor.clock = clock;
        }
        self.said = Some(self.monitor.as_ref().map_or(0, |monitor| monitor.numerics));
    }

    fn hear(&mut self, bytes: &[u8], now: Duration) {
        let clock = self.clock.unwrap_or(SWITCHED_ON);
        let serial = bytes.first() == Some(&rs232::BEGIN);
        let monitor = self.monitor.get_or_insert_with(|| Monitor { clock, ..Monitor::new(serial) });
        let frames = monitor.hear(bytes, now);
        self.push(frames);
    }

    fn tick(&mut self, now: Duration) {
        let frames = self.monitor.as_mut().map(|monitor| monitor.tick(now)).unwrap_or_default();
        self.push(frames);
    }

    fn next(&mut self) -> Option<Said> {
        self.out.pop_front()
    }

    fn is_free(&self) -> bool {
        self.said.is_none()
    }
}

fn ticks(now: Duration) -> [u8; 4] {
    let ticks = u32::try_from(now.as_millis()).unwrap_or(u32::MAX).wrapping_mul(8).wrapping_add(0x10_0000);
    ticks.to_be_bytes()
}

fn accept() -> Vec<u8> {
    let user = user_information(0x0080_0000, 0x2000_0000, 8000, 0x8C00_0000);
    let mut body =
        vec![0x05, 0x08, 0x13, 0x01, 0x00, 0x16, 0x01, 0x02, 0x80, 0x00, 0x14, 0x02, 0x00, 0x02, 0xC1];
    let mut inner = vec![0x31, 0x80, 0x61, 0x80, 0xBE, 0x80, 0x28, 0x80, 0x02, 0x01, 0x02, 0x81];
    inner.push(u8::try_from(user.len()).unwrap_or_default());
    inner.extend(user);
    inner.extend([0; 16]);
    body.push(u8::try_from(inner.len()).unwrap_or_default());
    body.extend(inner);
    let mut message = vec![0x0E, u8::try_from(body.len()).unwrap_or_default()];
    message.extend(body);
    message
}

type Attribute = (u16, Vec<u8>);

fn list(attributes: &[Attribute]) -> Vec<u8> {
    let each = attributes.iter().flat_map(|(id, value)| [words(&[*id]), sized(value)].concat());
    let count = u16::try_from(attributes.len()).unwrap_or_default();
    [words(&[count]), sized(&each.collect::<Vec<_>>())].concat()
}

fn wide(text: &str) -> Vec<u8> {
    sized(&text.encode_utf16().chain([0]).flat_map(u16::to_be_bytes).collect::<Vec<_>>())
}

fn system(now: Duration, clock: DateTime) -> Vec<Attribute> {
    let model = [sized(b"Philips\0"), sized(b"M8000\0")].concat();
    let seconds = now.as_secs();
    let at = SignedDuration::try_from(Duration::from_secs(seconds)).unwrap_or_default();
    let at = clock.checked_add(at).unwrap_or(clock);
    let bcd = |value: i16| u8::try_from(value % 100 / 10 * 16 + value % 10).unwrap_or_default();
    let (date, time) = (at.date(), at.time());
    let day = [date.year() / 100, date.year(), date.month().into(), date.day().into()];
    let hour = [time.hour().into(), time.minute().into(), time.second().into(), 0];
    let time = day.into_iter().chain(hour).map(bcd).collect();
    let whole = Duration::from_secs(seconds);
    vec![
        (0x0984, sized(&[0x00, 0x09, 0xFB, 0x00, 0x00, 0x01])),
        (0x0928, model),
        (0x091E, wide("BED 7")),
        (0x0987, time),
        (0x098F, ticks(whole).to_vec()),
    ]
}

fn announce(now: Duration, clock: DateTime) -> Vec<u8> {
    let info = [words(&[MDS, 0, 0]), list(&system(now, clock))].concat();
    let body = [words(&[MDS, 0, 0]), ticks(now).to_vec(), words(&[MDS_CREATE]), sized(&info)].concat();
    operation(INVOKE, 1, CONFIRMED_EVENT, &body)
}

/// An object: its handle and its attributes.
type Object = (u16, Vec<Attribute>);

fn objects(class: u16, now: Duration, clock: DateTime, alarm: bool) -> Vec<Object> {
    match class {
        NUMERIC => numerics(now),
        WAVE => waves(now),
        PATIENT => vec![(0x0001, patient())],
        ALERTS => vec![(0x0036, vec![(0x0902, alarms(alarm)), (0x0904, words(&[0, 0]))])],
        MDS => vec![(0, system(now, clock))],
        _ => Vec::new(),
    }
}

fn result(
    action: u16,
    class: u16,
    invoke: u16,
    numbers: &[u16],
    now: Duration,
    objects: &[Object],
) -> Vec<u8> {
    let polls =
        objects.iter().flat_map(|(handle, attributes)| [words(&[*handle]), list(attributes)].concat());
    let polls = sized(&polls.collect::<Vec<_>>());
    let count = u16::try_from(objects.len()).unwrap_or_default();
    let context = [words(&[0, count]), polls].concat();
    let mut reply = words(numbers);
    reply.extend(ticks(now));
    reply.extend([0xFF; 8]);
    reply.extend(words(&[1, class, 0, 1]));
    reply.extend(sized(&context));
    let body = [words(&[MDS, 0, 0, action]), sized(&reply)].concat();
    operation(RESULT, invoke, CONFIRMED_ACTION, &body)
}

fn value(physio: u16, state: u16, unit: u16, float: u32) -> Vec<u8> {
    [words(&[physio, state, unit]), float.to_be_bytes().to_vec()].concat()
}

fn numerics(now: Duration) -> Vec<Object> {
    let rate = 72 + u32::try_from(now.as_secs() % 5).unwrap_or_default();
    let one = |handle: u16, text: &str, value: Vec<u8>| (handle, vec![(0x0927, wide(text)), (0x0950, value)]);
    let pressures = [value(0x4A15, 0, 3872, 121), value(0x4A16, 0, 3872, 79), value(0x4A17, 0, 3872, 93)];
    let pressures = [words(&[3]), sized(&pressures.concat())].concat();
    vec![
        one(0x8100, "HR", value(0x4182, 0, 2720, rate)),
        one(0x8101, "SpO2", value(0x4BB8, 0x0002, 544, 0xFF00_03D2)),
        one(0x8102, "Temp", value(0x4B48, 0x8000, 6048, 0x007F_FFFF)),
        one(0x8103, "RR", value(0x500A, 0x2000, 2784, 0x007F_FFFF)),
        (0x8104, vec![(0x0927, wide("ABP")), (0x094B, pressures)]),
    ]
}

fn waves(now: Duration) -> Vec<Object> {
    let at = u16::try_from(now.as_millis() / 2 % 4096).unwrap_or_default();
    let samples = |physio: u16, count: u16, middle: u16| {
        let run: Vec<u16> = (0..count).map(|n| middle + (at + n) % 64).collect();
        [words(&[physio, 0]), sized(&words(&run))].concat()
    };
    let leads = [samples(0x0101, 128, 8192), samples(0x0102, 128, 8192), samples(0x013D, 128, 8192)];
    let ecg = vec![
        (0x0924, vec![0, 2, 1, 0]),
        (0x0927, wide("ECG")),
        (0x0996, words(&[4274])),
        (0x096D, vec![0, 128, 16, 14, 0x30, 0]),
        (0x098D, vec![0, 0, 0, 16]),
        (0x096F, [0xFEFF_F000_u32, 0xFD00_9FFB, 16_383].map(u32::to_be_bytes).concat()),
        (0x0A16, words(&[1, 4, 1, 0x4000])),
        (0x0967, [words(&[3]), sized(&leads.concat())].concat()),
    ];
    let pleth = vec![
        (0x0927, wide("Pleth")),
        (0x0996, words(&[512])),
        (0x096D, vec![0, 32, 16, 12, 0x80, 0]),
        (0x098D, vec![0, 0, 0, 64]),
        (0x096F, [0x007F_FFFF_u32, 0x007F_FFFF, 4095].map(u32::to_be_bytes).concat()),
        (0x096E, samples(0x4BB4, 32, 2048)),
    ];
    vec![(0x02CA, ecg), (0x0402, pleth)]
}

fn patient() -> Vec<Attribute> {
    vec![
        (0x0957, words(&[2])),
        (0x095D, wide("PATIENT")),
        (0x095C, wide("TEST")),
        (0x095A, wide("SIM-0007")),
        (0x0958, vec![0x19, 0x70, 0x01, 0x31, 0, 0, 0, 0]),
        (0x0961, words(&[2])),
    ]
}

fn alarms(alarm: bool) -> Vec<u8> {
    let text = wide("** SpO2 97 HIGH");
    let info = [words(&[1, 0, 0, 0, 0]), text].concat();
    let entry = [words(&[0x4BB8, 40, 512, 8, NUMERIC, 0, 0x8101, 516]), sized(&info)].concat();
    if alarm { [words(&[1]), sized(&entry)].concat() } else { words(&[0, 0]) }
}

#[cfg(test)]
#[path = "intellivue_tests.rs"]
mod tests;
