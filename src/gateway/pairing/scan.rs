//! Finding out what hangs on a serial port: listen, try the settings of the known profiles, and say what was tried.
//!
//! Listening comes first and sends nothing. Only when somebody asks for it are the bytes sent that a profile's
//! `[session]` or its codec lists, and never the answer to a frame: an answer promises that a result is kept, and
//! here nothing is kept.

use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::candidates;
use crate::admin::explain::MeasurementView;
use crate::admin::pairing::{Guess, ScanFound, ScanView, Trial};
use crate::clock::SharedClock;
use crate::connector::{Stop, serial};
use crate::firmware_profile::{FirmwareProfile, Library, LinkContext};
use crate::wire::{self, Answer, Codec, Framer, Step};

/// How long a setting is listened to, and how much longer when bytes come.
const LISTEN: Duration = Duration::from_secs(3);
const LISTEN_ON: Duration = Duration::from_secs(4);
/// How long an asked device may take.
const ASKED: Duration = Duration::from_secs(6);
/// The last bytes shown.
const SHOWN_BYTES: usize = 512;
/// What is heard at one setting is kept up to here.
const HEARD_MAX: usize = 64 << 10;
/// ASCII ENQ: an ASTM sender asks to send (E1381 §6.3).
const ENQ: u8 = 0x05;

/// What a scan needs.
pub(crate) struct Scan {
    pub library: Arc<Library>,
    pub port: String,
    /// All that speak over serial lines when empty.
    pub profiles: Vec<String>,
    pub ask: bool,
    pub clock: SharedClock,
    pub context: LinkContext,
    pub view: Arc<Mutex<ScanView>>,
}

/// Serial settings with the profiles that use them.
#[derive(Clone)]
struct Attempt {
    setting: Setting,
    profiles: Vec<Arc<FirmwareProfile>>,
    /// The profile whose bytes are sent.
    ask: bool,
}

/// The words of a `serial` table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    baud: u32,
    data_bits: u8,
    parity: &'static str,
    stop_bits: u8,
    flow: &'static str,
    dtr: Option<bool>,
    rts: Option<bool>,
}

/// How a scan ended.
enum Ended {
    Found,
    Nothing,
    Failed(String),
    Stopped,
}

impl Scan {
    /// Runs to its end; the view says how it stands all the while.
    pub(crate) async fn run(self, mut stop: Stop) {
        let plan = plan(&self.library, &self.profiles, self.ask);
        self.view(|view| {
            *view = ScanView { port: self.port.clone(), state: "listening", ..ScanView::default() };
            view.detail = format!("Listening on {} at {} settings.", self.port, plan.len());
        });
        let ended = tokio::select! {
            ended = self.attempts(&plan) => ended,
            () = stop.wait() => Ended::Stopped,
        };
        self.view(|view| match ended {
            Ended::Found => {
                view.state = "found";
                view.percent = 100;
                view.detail =
                    "A profile reads what the port says. Compare the values with the device's screen.".into();
            }
            Ended::Nothing => {
                view.state = "nothing";
                view.percent = 100;
                view.detail = advice(view, self.ask);
            }
            Ended::Failed(why) => {
                view.state = "failed";
                view.detail = why;
            }
            Ended::Stopped => {
                view.state = "stopped";
                view.detail = "The scan was stopped.".into();
            }
        });
    }

    async fn attempts(&self, plan: &[Attempt]) -> Ended {
        if plan.is_empty() {
            return Ended::Failed("None of these profiles speaks over a serial line.".into());
        }
        for (at, attempt) in plan.iter().enumerate() {
            self.view(|view| {
                view.percent = u8::try_from(at * 100 / plan.len()).unwrap_or(100);
                view.state = if attempt.ask { "asking" } else { "listening" };
                view.detail = attempt.in_words();
            });
            let Ok(config) = serde_json::from_value::<serial::Config>(attempt.setting.table(&self.port))
            else {
                continue;
            };
            let mut port = match serial::open(&config) {
                Ok(port) => port,
                Err(why) => return Ended::Failed(why),
            };
            match self.hear(&mut port, attempt).await {
                Ok(true) => return Ended::Found,
                Ok(false) => {}
                Err(fault) => return Ended::Failed(format!("{} was unplugged: {fault}", self.port)),
            }
        }
        let found = self.view(|view| !view.found.is_empty());
        if found { Ended::Found } else { Ended::Nothing }
    }

    /// Listens at one setting; `true` when a profile recognises what it hears.
    async fn hear(
        &self,
        port: &mut (impl AsyncRead + AsyncWrite + Unpin),
        attempt: &Attempt,
    ) -> std::io::Result<bool> {
        let started = Instant::now();
        let mut ears: Vec<Ear> = attempt.ears();
        let mut heard: Vec<u8> = Vec::new();
        let mut until = started + if attempt.ask { ASKED } else { LISTEN };
        let mut count = 0_u64;
        let (mut found, mut read_up_to) = (Vec::new(), 0);
        let mut buffer = [0_u8; 1024];
        loop {
            for ear in &mut ears {
                for bytes in ear.steps(started.elapsed(), attempt.ask) {
                    port.write_all(&bytes).await?;
                }
            }
            let next = ears.iter().filter_map(|ear| ear.framer.deadline()).min().map(|at| started + at);
            let wake = next.map_or(until, |next| next.max(Instant::now() + TICK).min(until));
            let read = tokio::select! {
                read = port.read(&mut buffer) => Some(read?),
                () = tokio::time::sleep_until(wake) => None,
            };
            if let Some(size) = read {
                if size == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                let bytes = buffer.get(..size).unwrap_or_default();
                if count == 0 {
                    until = until.max(Instant::now() + LISTEN_ON);
                }
                count += size as u64;
                heard.extend_from_slice(
                    bytes.get(..bytes.len().min(HEARD_MAX.saturating_sub(heard.len()))).unwrap_or_default(),
                );
                ears.iter_mut().for_each(|ear| ear.framer.feed(bytes, started.elapsed()));
                self.view(|view| show(view, &heard));
            }
            for ear in &mut ears {
                ear.steps(started.elapsed(), false);
            }
            // Every profile reads the last frame anew only when there is a new one.
            let told: u64 = ears.iter().map(|ear| ear.told).sum();
            if told != read_up_to {
                read_up_to = told;
                found = self.found(attempt, &ears);
            }
            let sure = found.iter().any(|found| found.guess.fits && found.guess.held.is_none());
            if sure || Instant::now() >= until {
                let frames = ears.iter().map(|ear| ear.told).max().unwrap_or_default();
                let trial = attempt.trial(count, frames, &heard, &found);
                self.view(|view| {
                    view.tried.push(trial);
                    view.found.extend(found);
                    view.found.sort_by_key(rank);
                });
                return Ok(sure);
            }
        }
    }

    /// The profiles of an attempt that read what its ears heard.
    fn found(&self, attempt: &Attempt, ears: &[Ear]) -> Vec<ScanFound> {
        let mut found = Vec::new();
        for profile in &attempt.profiles {
            let ear = ears.iter().find(|ear| ear.serves(profile, attempt.ask));
            let Some(frame) = ear.and_then(|ear| ear.frames.last()) else { continue };
            let Some(guess) = candidates::guess(profile, frame, None, &self.context()) else { continue };
            // A page that takes any line would fit every device.
            if !guess.fits && guess.measurements <= guess.unknown {
                continue;
            }
            let decoded = profile.decode(frame, None, &self.context());
            let measured = decoded.reports.iter().flat_map(|report| &report.measurements);
            found.push(ScanFound {
                serial: attempt.setting.table(&self.port),
                measurements: measured.flat_map(MeasurementView::of).take(20).collect(),
                findings: decoded.findings.into_iter().take(20).collect(),
                guess,
            });
        }
        found.sort_by_key(rank);
        found
    }

    fn context(&self) -> LinkContext {
        LinkContext { received: self.clock.now(), ..self.context.clone() }
    }

    fn view<T>(&self, change: impl FnOnce(&mut ScanView) -> T) -> T {
        let mut view: MutexGuard<'_, ScanView> = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut view)
    }
}

/// A framer that listens for the profiles of one codec.
struct Ear {
    codec: Codec,
    /// Set when this ear speaks for one profile alone.
    profile: Option<Arc<str>>,
    framer: Box<dyn Framer>,
    frames: Vec<Vec<u8>>,
    /// Frames heard, also those no longer remembered.
    told: u64,
}

impl Ear {
    fn serves(&self, profile: &FirmwareProfile, asking: bool) -> bool {
        if asking { self.profile.as_ref() == Some(&profile.id) } else { self.codec == profile.codec }
    }

    /// Takes what the framer has to say: frames are remembered and refused, because nothing is kept here; what it
    /// would send is returned, and dropped unless somebody asked for it.
    fn steps(&mut self, now: Duration, ask: bool) -> Vec<Vec<u8>> {
        let mut send = Vec::new();
        if self.framer.deadline().is_some_and(|at| now >= at) {
            self.framer.tick(now);
        }
        while let Some(step) = self.framer.step() {
            match step {
                Step::Send(bytes) if ask => send.push(bytes),
                Step::Frame { ticket, bytes, .. } => {
                    self.told += 1;
                    self.frames.push(bytes);
                    if self.frames.len() > FRAMES_MAX {
                        self.frames.remove(0);
                    }
                    self.framer.answer(ticket, Answer::Refused { body: None }, now);
                }
                Step::Part { ticket, .. } | Step::Refuse { ticket, .. } => {
                    self.framer.answer(ticket, Answer::Refused { body: None }, now);
                }
                Step::Send(_)
                | Step::Sent { .. }
                | Step::Unsent { .. }
                | Step::Broken { .. }
                | Step::Note(_)
                | Step::Close(_) => {}
            }
        }
        send
    }
}

/// Frames of one ear that are remembered.
const FRAMES_MAX: usize = 16;
/// A framer's timers are looked at no more often than this.
const TICK: Duration = Duration::from_millis(5);

impl Attempt {
    fn ears(&self) -> Vec<Ear> {
        let mut ears: Vec<Ear> = Vec::new();
        for profile in &self.profiles {
            if self.ask || !ears.iter().any(|ear| ear.codec == profile.codec) {
                // A dialogue belongs to one profile; who only listens hears what is common to the codec.
                let framer = if self.ask { profile.speech().framer() } else { wire::framer(&profile.codec) };
                let own = self.ask.then(|| profile.id.clone());
                ears.push(Ear {
                    codec: profile.codec.clone(),
                    profile: own,
                    framer,
                    frames: Vec::new(),
                    told: 0,
                });
            }
        }
        ears
    }

    fn in_words(&self) -> String {
        let setting = self.setting.to_string();
        match self.profiles.first().filter(|_| self.ask) {
            Some(profile) => format!("Asking at {setting} as {} lists it.", profile.id),
            None => format!("Listening at {setting} for {} profiles.", self.profiles.len()),
        }
    }

    fn trial(&self, bytes: u64, frames: u64, heard: &[u8], found: &[ScanFound]) -> Trial {
        let outcome = match found.first() {
            Some(found) if found.guess.fits => format!("recognised by {}", found.guess.profile),
            Some(found) => format!("{} reads {} values of it", found.guess.profile, found.guess.measurements),
            None if bytes == 0 => "silence".into(),
            None if heard.contains(&ENQ) && heard.iter().all(|byte| *byte == ENQ) => {
                "an analyser asks to send (ASTM ENQ); it gets no answer here, because an answer promises that its results are kept".into()
            }
            None if frames > 0 => "whole frames that no profile reads".into(),
            None => "bytes that are no frames: perhaps another speed or parity".into(),
        };
        let asked = self.profiles.first().filter(|_| self.ask).map(|profile| profile.id.clone());
        Trial { setting: self.setting.to_string(), asked, bytes, frames, outcome }
    }
}

impl Setting {
    fn table(&self, port: &str) -> serde_json::Value {
        let mut table = serde_json::json!({
            "port": port,
            "baud": self.baud,
            "data_bits": self.data_bits,
            "parity": self.parity,
            "stop_bits": self.stop_bits,
            "flow": self.flow,
        });
        for (key, level) in [("dtr", self.dtr), ("rts", self.rts)] {
            if let (Some(level), Some(table)) = (level, table.as_object_mut()) {
                table.insert(key.into(), level.into());
            }
        }
        table
    }
}

impl std::fmt::Display for Setting {
    /// `9600 8N1`, as engineers write it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parity = self.parity.chars().next().unwrap_or('n').to_ascii_uppercase();
        write!(f, "{} {}{parity}{}", self.baud, self.data_bits, self.stop_bits)?;
        match self.flow {
            "none" => Ok(()),
            flow => write!(f, " {flow} flow control"),
        }
    }
}

/// Best first.
fn rank(found: &ScanFound) -> (bool, bool, bool, std::cmp::Reverse<usize>, Arc<str>) {
    let Guess { profile, fits, measurements, unknown, held } = &found.guess;
    let known = std::cmp::Reverse(measurements.saturating_sub(*unknown));
    (held.is_some(), !fits, profile.starts_with("generic/"), known, profile.clone())
}

/// First every setting in silence, those of most profiles first; then, when asked for, each profile that has
/// something to send. Analysers that wait for an acknowledgement are not asked: they would take it for a promise.
fn plan(library: &Library, wanted: &[String], ask: bool) -> Vec<Attempt> {
    let mut silent: Vec<Attempt> = Vec::new();
    let mut asking: Vec<Attempt> = Vec::new();
    for profile in library.profiles() {
        let Some(serial) = &profile.transport.serial else { continue };
        if !wanted.is_empty() && !wanted.iter().any(|id| **id == *profile.id) {
            continue;
        }
        for (nth, baud) in serial.baud.iter().enumerate() {
            let setting = Setting {
                baud: *baud,
                data_bits: serial.data_bits,
                parity: serial.parity,
                stop_bits: serial.stop_bits,
                flow: serial.flow,
                dtr: serial.dtr,
                rts: serial.rts,
            };
            match silent.iter_mut().find(|attempt| attempt.setting == setting) {
                Some(attempt) => attempt.profiles.push(profile.clone()),
                None => {
                    let profiles = vec![profile.clone()];
                    silent.push(Attempt { setting: setting.clone(), profiles, ask: false });
                }
            }
            if ask && nth == 0 && asks(profile) {
                asking.push(Attempt { setting, profiles: vec![profile.clone()], ask: true });
            }
        }
    }
    silent.sort_by_key(|attempt| std::cmp::Reverse(attempt.profiles.len()));
    silent.extend(asking);
    silent
}

/// Whether a profile has something to send by itself.
fn asks(profile: &FirmwareProfile) -> bool {
    match &profile.codec {
        Codec::Mllp(_) | Codec::Astm(_) | Codec::Poct1a(_) | Codec::Message(_) => false,
        _ => profile.speech().framer().deadline().is_some(),
    }
}

fn show(view: &mut ScanView, heard: &[u8]) {
    let tail = heard.get(heard.len().saturating_sub(SHOWN_BYTES)..).unwrap_or_default();
    view.text = tail.iter().map(|byte| picture(*byte)).collect();
    view.hex = tail.iter().fold(String::with_capacity(tail.len() * 3), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _always_ok = write!(hex, "{byte:02x} ");
        hex
    });
}

/// A control character as its Unicode picture, what is no ASCII as a dot.
fn picture(byte: u8) -> char {
    match byte {
        0x20..=0x7e => char::from(byte),
        0x00..=0x1f => char::from_u32(0x2400 + u32::from(byte)).unwrap_or('·'),
        0x7f => '␡',
        _ => '·',
    }
}

/// What to do next when nothing fits.
fn advice(view: &ScanView, asked: bool) -> String {
    let heard = view.tried.iter().any(|trial| trial.bytes > 0);
    if view.tried.iter().any(|trial| trial.outcome.contains("ENQ")) {
        "A laboratory analyser asks to send. Choose its profile (or generic/astm-analyser) and make the link: what it sends is then kept and answered.".into()
    } else if heard {
        "Bytes came, but no profile reads them. Compare speed and parity with the device's menu, record the port (bedside record) and write a profile from it.".into()
    } else if asked {
        "Nothing came at any setting, though it was asked. Check the cable (crossed or straight), and that the device's serial output is switched on.".into()
    } else {
        "Nothing came at any setting. Some devices speak only when asked or when a value is printed: take a value now, or scan again with asking allowed.".into()
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
