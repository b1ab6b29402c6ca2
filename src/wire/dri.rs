//! GE/Datex-Ohmeda S/5 Computer Interface: Datex-Ohmeda records over RS-232 (19200 8E1, RTS/CTS).
//!
//! The monitor says nothing until it is asked: this side sends transmission requests for displayed values and,
//! where the page names them, for waveforms, again when nothing comes. Nothing else can be sent. There are no
//! acknowledgements. Source: the maker's S/5 Computer Interface and Datex-Ohmeda Record specifications.

/// Records: the header, its subrecords, and the requests.
pub mod record;

use std::collections::VecDeque;
use std::time::Duration;

use serde::Deserialize;

use super::gather::Gather;
use super::{Answer, Framer, Step, Ticket, Warning};
use record::{Command, FLAG, Wave};

/// A record is at most 1490 bytes; with every byte escaped and its checksum it is twice that.
const STUFFED_MAX: usize = 4096;
/// The monitor sends no more than 600 samples a second, and takes eight waveforms at a time.
const WAVES_MAX: usize = 8;
/// The least time between two requests on a silent line.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// What is asked of the monitor.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Seconds between two transmissions of the displayed values; the monitor takes no less than 5.
    pub interval_s: u16,
    /// Waveforms to ask for, at most eight: `ecg1`, `pleth`, `invp1` …
    pub waves: Vec<Wave>,
    /// Records of so many milliseconds are kept as one frame.
    pub gather_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { interval_s: 10, waves: Vec::new(), gather_ms: 1000 }
    }
}

/// One connection to a monitor.
#[derive(Debug)]
pub struct DriFramer {
    settings: Settings,
    gather: Gather,
    /// The bytes of the record that is not ended yet, stuffed, without its flags.
    open: Vec<u8>,
    /// A flag was seen: what comes now is a record.
    in_record: bool,
    /// Bytes that belong to no record, told once they end.
    stray: usize,
    asked: bool,
    heard: Duration,
    ask_at: Option<Duration>,
    steps: VecDeque<Step>,
    tickets: u64,
}

impl DriFramer {
    /// A receiver at the start of a connection; it asks when [`Framer::tick`] is called first.
    pub fn new(mut settings: Settings) -> Self {
        settings.interval_s = settings.interval_s.max(5);
        settings.waves.truncate(WAVES_MAX);
        Self {
            gather: Gather::new(Duration::from_millis(settings.gather_ms)),
            settings,
            open: Vec::new(),
            in_record: false,
            stray: 0,
            asked: false,
            heard: Duration::ZERO,
            ask_at: Some(Duration::ZERO),
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

    fn send(&mut self, command: &Command<'_>) {
        self.steps.push_back(Step::Send(command.frame()));
    }

    fn ask(&mut self) {
        self.send(&Command::DisplayedValues { interval_s: self.settings.interval_s });
        if !self.settings.waves.is_empty() {
            let waves = self.settings.waves.clone();
            self.send(&Command::StartWaves(&waves));
        }
        self.asked = true;
    }

    /// How long a monitor that was asked may be silent before it is asked again.
    fn patience(&self) -> Duration {
        ASK_AGAIN.max(Duration::from_secs(3 * u64::from(self.settings.interval_s)))
    }

    fn byte(&mut self, byte: u8, now: Duration) {
        if byte == FLAG {
            self.flag(now);
        } else if !self.in_record {
            self.stray += 1;
        } else if self.open.len() < STUFFED_MAX {
            self.open.push(byte);
        } else {
            self.note("oversize", format!("A record longer than {STUFFED_MAX} bytes is left out."));
            self.open = Vec::new();
            self.in_record = false;
        }
    }

    /// A flag ends a record and may at once begin the next one. Two in a row hold nothing between them.
    fn flag(&mut self, now: Duration) {
        let open = std::mem::take(&mut self.open);
        let was_in_record = std::mem::replace(&mut self.in_record, true);
        if self.stray > 0 {
            let stray = std::mem::take(&mut self.stray);
            self.note("stray-bytes", format!("{stray} bytes before a record are left out."));
        }
        if !was_in_record || open.is_empty() {
            return;
        }
        match record::unstuffed(&open) {
            Some(record) if record::Record::parse(&record).is_some() => {
                self.heard = now;
                if self.asked {
                    self.ask_at = Some(now + self.patience());
                }
                let whole = [&[FLAG], open.as_slice(), &[FLAG]].concat();
                if let Some(frame) = self.gather.push(&whole, now) {
                    self.frame(frame);
                }
            }
            // What stands between two records looks like a damaged one: it is left out without losing the next.
            _ => self.note("bad-checksum", "A record whose checksum or header is wrong is left out."),
        }
    }
}

impl Framer for DriFramer {
    fn feed(&mut self, bytes: &[u8], now: Duration) {
        for byte in bytes {
            self.byte(*byte, now);
        }
    }

    fn step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    fn answer(&mut self, _ticket: Ticket, answer: Answer, _now: Duration) {
        if matches!(answer, Answer::Refused { .. }) {
            self.note("not-kept", "A frame could not be kept, and the monitor does not send it again.");
        }
    }

    fn deadline(&self) -> Option<Duration> {
        [self.ask_at, self.gather.due()].into_iter().flatten().min()
    }

    fn tick(&mut self, now: Duration) {
        if self.gather.due().is_some_and(|due| now >= due)
            && let Some(frame) = self.gather.take()
        {
            self.frame(frame);
        }
        if self.ask_at.is_some_and(|at| now >= at) {
            if self.asked {
                let silence = now.saturating_sub(self.heard).as_secs();
                self.note(
                    "asked-again",
                    format!("Nothing came for {silence} s; the monitor is asked again."),
                );
            }
            self.ask();
            self.ask_at = Some(now + self.patience());
        }
    }

    fn end(&mut self, _now: Duration) {
        if let Some(frame) = self.gather.take() {
            self.frame(frame);
        }
        if std::mem::take(&mut self.in_record) && !self.open.is_empty() {
            self.open = Vec::new();
            self.note("cut-record", "The connection ended within a record; it is left out.");
        }
        if std::mem::take(&mut self.asked) {
            if !self.settings.waves.is_empty() {
                self.send(&Command::StopWaves);
            }
            self.send(&Command::StopDisplayedValues);
        }
        self.ask_at = None;
    }
}

/// Fuzz body: whatever comes over the line, however it is cut.
pub fn fuzz(bytes: &[u8]) {
    super::fuzz_framer(|| Box::new(DriFramer::new(Settings::default())), bytes);
    for record in record::records(bytes).flatten() {
        if let Some(record) = record::Record::parse(&record) {
            assert!(record.subrecords().count() <= 8);
        }
    }
}

#[cfg(test)]
#[path = "dri/tests.rs"]
mod tests;
