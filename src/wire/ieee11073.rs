//! The manager of ISO/IEEE 11073-20601 over a byte stream (serial, TCP): association, configuration, and the scan
//! reports an agent sends by itself.
//!
//! A confirmed event report is confirmed only after its frame was kept; without a confirmation the agent keeps the
//! measurement and sends it again. A kept frame is APDUs as they came, put so that it can be read by itself: the
//! association, the configuration told (none for a standard one), the MDS attributes, then the reports. What can be
//! sent is fixed here: answers to associations and configurations, Get of the MDS, confirmations, release, abort.

/// APDUs: reading and writing.
pub mod apdu;
/// The standard configurations of the device specialisations.
pub mod standard;

use std::collections::VecDeque;
use std::time::Duration;

use serde::Deserialize;

use super::{Answer, Framer, Step, Ticket, Warning};
use apdu::{Apdu, Event, Offer, Operation};

/// The longest APDU an agent may send (ISO/IEEE 11073-20601 §8.4: 63 KiB), with its header.
const APDU_MAX: usize = 64_512 + 4;
/// How long an agent has to tell its configuration (TO config).
const CONFIGURATION: Duration = Duration::from_secs(10);
/// Reports wait so long for the MDS attributes: less than the 3 s in which an agent wants its confirmation.
const MDS: Duration = Duration::from_millis(1500);
/// The rest of an APDU comes within this, or it never was one.
const HALF: Duration = Duration::from_secs(5);
/// Reports that wait for the MDS attributes.
const WAITING_MAX: usize = 32;
/// Extended configurations remembered within a connection.
const REMEMBERED_MAX: usize = 4;
/// More octets of unconfirmed reports than this are not gathered.
const GATHERED_MAX: usize = 128 << 10;
/// The manager's EUI-64, locally administered.
const SYSTEM_ID: [u8; 8] = *b"\x02BEDSIDE";

const ACCEPTED: u16 = 0;
const ACCEPTED_UNKNOWN_CONFIG: u16 = 3;
const NO_COMMON_PROTOCOL: u16 = 4;
const NO_COMMON_PARAMETER: u16 = 5;
const UNSUPPORTED_VERSION: u16 = 8;

const CONFIG_ACCEPTED: u16 = 0;
const CONFIG_UNSUPPORTED: u16 = 1;
const CONFIG_STANDARD_UNKNOWN: u16 = 2;

const ABORT_UNDEFINED: u16 = 0;
const ABORT_CONFIGURATION_TIMEOUT: u16 = 3;

/// How agents are listened to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Unconfirmed reports of so many milliseconds are kept as one frame.
    pub gather_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { gather_ms: 5000 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unassociated,
    /// Accepted; its configuration is not known yet.
    Configuring {
        until: Duration,
    },
    /// Configured; reports wait for the MDS attributes.
    Asking {
        until: Duration,
    },
    Operating,
}

/// One connection to an agent.
#[derive(Debug)]
pub struct Ieee11073Framer {
    settings: Settings,
    input: Vec<u8>,
    /// When half an APDU is given up.
    input_until: Option<Duration>,
    /// Octets that begin no APDU, told when one does.
    stray: usize,
    state: State,
    /// APDUs of this association that a frame needs: the request, the configuration, the MDS attributes.
    request: Vec<u8>,
    configuration: Vec<u8>,
    mds: Vec<u8>,
    /// System id with configuration id, and the APDU that told it.
    remembered: VecDeque<(Vec<u8>, Vec<u8>)>,
    invoke: u16,
    waiting: VecDeque<(Vec<u8>, Option<Confirmation>)>,
    gathered: Vec<u8>,
    gather_until: Option<Duration>,
    /// Frames that are not answered yet and confirm something.
    open: VecDeque<(Ticket, Confirmation)>,
    steps: VecDeque<Step>,
    tickets: u64,
}

/// What a confirmation repeats of its event report.
#[derive(Clone, Copy, Debug)]
struct Confirmation {
    invoke: u16,
    handle: u16,
    kind: u16,
}

impl Ieee11073Framer {
    /// A manager at the start of a connection: it waits for an agent to associate.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            input: Vec::new(),
            input_until: None,
            stray: 0,
            state: State::Unassociated,
            request: Vec::new(),
            configuration: Vec::new(),
            mds: Vec::new(),
            remembered: VecDeque::new(),
            invoke: 0,
            waiting: VecDeque::new(),
            gathered: Vec::new(),
            gather_until: None,
            open: VecDeque::new(),
            steps: VecDeque::new(),
            tickets: 0,
        }
    }

    fn note(&mut self, code: &'static str, text: impl Into<String>) {
        self.steps.push_back(Step::Note(Warning::new(code, text)));
    }

    fn send(&mut self, bytes: Vec<u8>) {
        self.steps.push_back(Step::Send(bytes));
    }

    fn abort(&mut self, reason: u16) {
        self.send(apdu::apdu(apdu::ABRT, &reason.to_be_bytes()));
        self.leave();
    }

    /// Ends the association. What was reported without confirmation is handed on; the rest the agent still has.
    fn leave(&mut self) {
        self.hand_on_waiting();
        self.hand_on_gathered();
        self.state = State::Unassociated;
        // Nothing is confirmed in another association.
        self.open.clear();
    }

    /// Takes whole APDUs off the input.
    fn whole(&mut self, now: Duration) {
        let mut input = std::mem::take(&mut self.input);
        let mut rest = input.as_slice();
        while let Some(head) = rest.first_chunk::<4>() {
            let [a, b, c, d] = *head;
            let (choice, length) = (u16::from_be_bytes([a, b]), usize::from(u16::from_be_bytes([c, d])));
            if !apdu::is_apdu(choice) || length + 4 > APDU_MAX {
                self.stray += 1;
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            let Some((whole, after)) = rest.split_at_checked(length + 4) else { break };
            rest = after;
            self.told_stray();
            let contents = whole.get(4..).unwrap_or_default();
            self.apdu(Apdu { choice, contents }, whole, now);
        }
        let taken = input.len() - rest.len();
        input.drain(..taken);
        self.input_until = (!input.is_empty()).then_some(now + HALF);
        self.input = input;
    }

    fn told_stray(&mut self) {
        let stray = std::mem::take(&mut self.stray);
        if stray > 0 {
            self.note("stray-bytes", format!("{stray} octets that begin no APDU are left out."));
        }
    }

    fn apdu(&mut self, apdu: Apdu<'_>, whole: &[u8], now: Duration) {
        match apdu.choice {
            apdu::AARQ => self.associate(apdu.contents, whole, now),
            apdu::RLRQ => {
                self.leave();
                self.send(apdu::apdu(apdu::RLRE, &[0, 0]));
            }
            apdu::ABRT => {
                if self.state != State::Unassociated {
                    self.note("aborted", "The agent ended the association.");
                }
                self.leave();
            }
            apdu::PRST if self.state == State::Unassociated => {
                // The agent believes in an association of before: it begins anew, with all it was not confirmed.
                self.note("not-associated", "The agent spoke without association; it is told to begin anew.");
                self.abort(ABORT_UNDEFINED);
            }
            apdu::PRST => match apdu::operation(apdu.contents) {
                Some(operation) => self.operation(&operation, whole, now),
                None => self.malformed(),
            },
            apdu::RLRE => self.leave(),
            _ => self.note("unexpected", "An APDU that only a manager sends is left out."),
        }
    }

    fn malformed(&mut self) {
        self.note("malformed", "An APDU cannot be read; the agent is told to begin anew.");
        self.abort(ABORT_UNDEFINED);
    }

    fn associate(&mut self, contents: &[u8], whole: &[u8], now: Duration) {
        if self.state != State::Unassociated {
            self.leave();
        }
        let Some(association) = apdu::association(contents) else { return self.malformed() };
        let mder =
            |offer: &Offer<'_>| offer.encoding_rules & 0x8000 != 0 && offer.protocol_version >> 31 == 1;
        let refusal = match association.offer {
            _ if association.version >> 31 == 0 => Some(UNSUPPORTED_VERSION),
            None => Some(NO_COMMON_PROTOCOL),
            Some(offer) => (!mder(&offer)).then_some(NO_COMMON_PARAMETER),
        };
        let (None, Some(offer)) = (refusal, association.offer) else {
            let reason = refusal.unwrap_or(NO_COMMON_PROTOCOL);
            self.note("rejected", format!("The agent's association was rejected with reason {reason}."));
            return self.send(apdu::apdu(apdu::AARE, &[&reason.to_be_bytes()[..], &[0; 4]].concat()));
        };
        self.request = whole.to_vec();
        self.mds.clear();
        let known = self.remembered.iter().find(|(key, _)| *key == configuration_key(&offer));
        self.configuration = known.map(|(_, apdu)| apdu.clone()).unwrap_or_default();
        let is_known = !self.configuration.is_empty() || standard::is_standard(offer.config_id);
        self.send(accepted(if is_known { ACCEPTED } else { ACCEPTED_UNKNOWN_CONFIG }));
        if is_known {
            self.ask_mds(now);
        } else {
            self.state = State::Configuring { until: now + CONFIGURATION };
        }
    }

    fn ask_mds(&mut self, now: Duration) {
        self.invoke = self.invoke.wrapping_add(1);
        // Handle 0 is the MDS; an empty list asks for all attributes.
        self.send(apdu::prst(self.invoke, apdu::GET, &[0; 6]));
        self.state = State::Asking { until: now + MDS };
    }

    fn operation(&mut self, operation: &Operation<'_>, whole: &[u8], now: Duration) {
        match operation.choice {
            apdu::EVENT | apdu::CONFIRMED_EVENT => match apdu::event(operation.arguments) {
                Some(event) => self.event(operation, &event, whole, now),
                None => self.malformed(),
            },
            apdu::GET_RESULT => {
                if matches!(self.state, State::Asking { .. }) && operation.invoke == self.invoke {
                    self.mds = whole.to_vec();
                    // By itself: the moment it came ties the agent's clock to this box.
                    let frame = self.prefix();
                    self.frame(frame, None);
                    self.operate(now);
                } else {
                    self.note("unexpected", "Attributes nobody waits for are left out.");
                }
            }
            other => self.note("unexpected", format!("An operation of kind {other:04X} is left out.")),
        }
    }

    fn event(&mut self, operation: &Operation<'_>, event: &Event<'_>, whole: &[u8], now: Duration) {
        let confirmation = (operation.choice == apdu::CONFIRMED_EVENT).then_some(Confirmation {
            invoke: operation.invoke,
            handle: event.handle,
            kind: event.kind,
        });
        if event.kind == apdu::NOTI_CONFIG {
            self.configured(operation.invoke, event, whole, now);
        } else if !apdu::is_scan(event.kind) || matches!(self.state, State::Configuring { .. }) {
            self.note("unexpected", format!("An event of type {} is not kept nor confirmed.", event.kind));
        } else if matches!(self.state, State::Asking { .. }) && self.waiting.len() < WAITING_MAX {
            self.waiting.push_back((whole.to_vec(), confirmation));
        } else {
            self.report(whole, confirmation, now);
        }
    }

    fn configured(&mut self, invoke: u16, event: &Event<'_>, whole: &[u8], now: Duration) {
        let offer = apdu::apdus(&self.request).next().and_then(|apdu| apdu::association(apdu.contents));
        let Some(offer) = offer.and_then(|association| association.offer) else { return self.malformed() };
        let mut octets = apdu::Octets(event.information);
        let (Some(id), Some((count, objects))) = (octets.u16(), octets.sequence()) else {
            return self.malformed();
        };
        let answer = if id != offer.config_id {
            CONFIG_UNSUPPORTED
        } else if count == 0 || objects.is_empty() {
            // Only a standard configuration may be told by its number alone.
            if standard::is_standard(id) { CONFIG_ACCEPTED } else { CONFIG_STANDARD_UNKNOWN }
        } else {
            CONFIG_ACCEPTED
        };
        let mut arguments = event.handle.to_be_bytes().to_vec();
        arguments.extend([0; 4]);
        arguments.extend(event.kind.to_be_bytes());
        arguments.extend([0, 4]);
        arguments.extend(id.to_be_bytes());
        arguments.extend(answer.to_be_bytes());
        if answer != CONFIG_ACCEPTED {
            self.send(apdu::prst(invoke, apdu::EVENT_RESULT, &arguments));
            self.note("configuration-unknown", format!("Configuration {id:04X} is answered with {answer}."));
            return;
        }
        if count > 0 {
            self.configuration = whole.to_vec();
            let key = configuration_key(&offer);
            self.remembered.retain(|(known, _)| *known != key);
            self.remembered.push_back((key, whole.to_vec()));
            while self.remembered.len() > REMEMBERED_MAX {
                self.remembered.pop_front();
            }
        }
        self.send(apdu::prst(invoke, apdu::EVENT_RESULT, &arguments));
        if matches!(self.state, State::Configuring { .. }) {
            self.ask_mds(now);
        }
    }

    /// The MDS attributes are there, or are waited for no longer.
    fn operate(&mut self, now: Duration) {
        self.state = State::Operating;
        self.hand_on_waiting();
        if !self.gathered.is_empty() {
            self.gather_until = Some(now + Duration::from_millis(self.settings.gather_ms));
        }
    }

    fn hand_on_waiting(&mut self) {
        while let Some((whole, confirmation)) = self.waiting.pop_front() {
            if confirmation.is_some() {
                self.hand_on_gathered();
                self.keep(&whole, confirmation);
            } else {
                self.gathered.extend(whole);
            }
        }
    }

    fn report(&mut self, whole: &[u8], confirmation: Option<Confirmation>, now: Duration) {
        if confirmation.is_some() {
            self.hand_on_gathered();
            return self.keep(whole, confirmation);
        }
        let period = Duration::from_millis(self.settings.gather_ms);
        self.gathered.extend_from_slice(whole);
        let until = *self.gather_until.get_or_insert(now + period);
        if now >= until || self.gathered.len() >= GATHERED_MAX {
            self.hand_on_gathered();
        }
    }

    fn hand_on_gathered(&mut self) {
        self.gather_until = None;
        let gathered = std::mem::take(&mut self.gathered);
        if !gathered.is_empty() {
            self.keep(&gathered, None);
        }
    }

    fn prefix(&self) -> Vec<u8> {
        [self.request.as_slice(), &self.configuration, &self.mds].concat()
    }

    fn keep(&mut self, reports: &[u8], confirmation: Option<Confirmation>) {
        let mut bytes = self.prefix();
        bytes.extend_from_slice(reports);
        self.frame(bytes, confirmation);
    }

    fn frame(&mut self, bytes: Vec<u8>, confirmation: Option<Confirmation>) {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        if let Some(confirmation) = confirmation {
            self.open.push_back((ticket, confirmation));
        }
        self.steps.push_back(Step::Frame { ticket, bytes, warnings: Vec::new() });
    }
}

/// Which agent, and which of its configurations.
fn configuration_key(offer: &Offer<'_>) -> Vec<u8> {
    [offer.system_id, &offer.config_id.to_be_bytes()].concat()
}

/// An association response that accepts (ISO/IEEE 11073-20601 §8.7.3).
fn accepted(result: u16) -> Vec<u8> {
    let mut information = Vec::with_capacity(38);
    // Protocol version 1, MDER, nomenclature version 1, no functional units, system type manager.
    for word in [0x8000u16, 0, 0x8000, 0x8000, 0, 0, 0, 0x8000, 0] {
        information.extend(word.to_be_bytes());
    }
    information.extend(apdu::counted(&SYSTEM_ID));
    // A manager has no configuration, no data request modes, no options.
    information.extend([0; 10]);
    let mut contents = result.to_be_bytes().to_vec();
    contents.extend(apdu::PROTOCOL_20601.to_be_bytes());
    contents.extend(apdu::counted(&information));
    apdu::apdu(apdu::AARE, &contents)
}

impl Framer for Ieee11073Framer {
    fn feed(&mut self, bytes: &[u8], now: Duration) {
        self.input.extend_from_slice(bytes);
        self.whole(now);
    }

    fn step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    fn answer(&mut self, ticket: Ticket, answer: Answer, _now: Duration) {
        let Some(at) = self.open.iter().position(|(open, _)| *open == ticket) else {
            if matches!(answer, Answer::Refused { .. }) {
                self.note(
                    "not-kept",
                    "An unconfirmed report could not be kept; the agent does not repeat it.",
                );
            }
            return;
        };
        let Some((_, confirmation)) = self.open.remove(at) else { return };
        if matches!(answer, Answer::Refused { .. }) {
            return self.note(
                "not-confirmed",
                "A report could not be kept and is not confirmed; the agent keeps it.",
            );
        }
        let mut arguments = confirmation.handle.to_be_bytes().to_vec();
        arguments.extend([0; 4]);
        arguments.extend(confirmation.kind.to_be_bytes());
        arguments.extend([0, 0]);
        self.send(apdu::prst(confirmation.invoke, apdu::EVENT_RESULT, &arguments));
    }

    fn deadline(&self) -> Option<Duration> {
        let state = match self.state {
            State::Configuring { until } | State::Asking { until } => Some(until),
            State::Unassociated | State::Operating => None,
        };
        [state, self.gather_until, self.input_until].into_iter().flatten().min()
    }

    fn tick(&mut self, now: Duration) {
        match self.state {
            State::Configuring { until } if now >= until => {
                self.note("configuration-timeout", "The agent told no configuration within 10 s.");
                self.abort(ABORT_CONFIGURATION_TIMEOUT);
            }
            State::Asking { until } if now >= until => {
                self.note(
                    "no-mds",
                    "The agent did not tell its attributes; its reports are kept without them.",
                );
                self.operate(now);
            }
            _ => {}
        }
        if self.gather_until.is_some_and(|until| now >= until) {
            self.hand_on_gathered();
        }
        if self.input_until.is_some_and(|until| now >= until) {
            self.input_until = None;
            self.stray += std::mem::take(&mut self.input).len();
            self.told_stray();
        }
    }

    fn end(&mut self, _now: Duration) {
        if self.state != State::Unassociated {
            self.hand_on_waiting();
            self.hand_on_gathered();
            self.send(apdu::apdu(apdu::RLRQ, &[0, 0]));
            self.state = State::Unassociated;
        }
        self.stray += std::mem::take(&mut self.input).len();
        self.told_stray();
    }
}

/// Fuzz body: whatever comes from an agent, however it is cut; a kept frame begins with its association.
pub fn fuzz(bytes: &[u8]) {
    let make = || -> Box<dyn Framer> { Box::new(Ieee11073Framer::new(Settings::default())) };
    let whole = super::frames_of(make(), &mut std::iter::once(bytes));
    let singly = super::frames_of(make(), &mut bytes.chunks(1));
    assert!(whole == singly, "single bytes changed the frames");
    for frame in &whole {
        assert!(frame.len() <= 4 * APDU_MAX + GATHERED_MAX, "a frame is longer than what it is made of");
        assert!(apdu::apdus(frame).next().is_some_and(|first| first.choice == apdu::AARQ));
    }
}

#[cfg(test)]
#[path = "ieee11073/tests.rs"]
mod tests;
