//! The client's side of a session (Programming Guide, chapters 3 and 6): associate, confirm the monitor's
//! announcement, ask for periodic results and keep asking, and begin again when the monitor falls silent.

use std::collections::VecDeque;
use std::time::Duration;

use super::message::{
    ABORT, ACCEPT, ALERTS, DISCONNECT, ENUMERATION, ERROR, MDS, Message, NUMERIC, Operation, PATIENT, REFUSE,
    RESULT, WAVE, agreed,
};
use super::request::{Asked, Request};
use super::{Kind, Settings};
use crate::wire::Warning;

/// What a session wants done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Say(Vec<u8>),
    Note(Warning),
}

#[derive(Debug)]
pub(super) struct Session {
    settings: Settings,
    state: State,
    /// When a message of the monitor came last.
    heard: Duration,
    /// When something was said last.
    said: Duration,
    /// Silence after which the association is over.
    timeout: Duration,
    extended: u32,
    /// Numbers of the next invocation and the next poll.
    invoke: u16,
    number: u16,
    plans: Vec<Plan>,
    /// Associations refused or not answered in a row.
    failures: u32,
    deeds: VecDeque<Deed>,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Not associated; asks again at this time.
    Apart {
        again: Duration,
    },
    /// Asked; gives up at this time.
    Asked {
        until: Duration,
    },
    /// Accepted; the monitor announces itself before this time.
    Accepted {
        until: Duration,
    },
    Together,
}

/// One kind of object that is polled.
#[derive(Debug)]
struct Plan {
    asked: Asked,
    /// Results come by themselves for a while after asking.
    extended: bool,
    every: Duration,
    due: Duration,
    asked_at: Option<Duration>,
    answered: Duration,
    invoke: u16,
    sequence: Option<u16>,
}

/// How long the monitor goes on by itself after an extended poll, and when it is asked anew.
const ACTIVE: Duration = Duration::from_secs(60);
const RENEW: Duration = Duration::from_secs(30);
/// Without a result for so long an extended poll is asked again.
const MISSED: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const ANNOUNCE_WITHIN: Duration = Duration::from_secs(10);
/// A monitor keeps an old association for 10 s at least.
const AGAIN: Duration = Duration::from_secs(2);
const AGAIN_MAX: Duration = Duration::from_secs(60);
const SYSTEM_EVERY: Duration = Duration::from_secs(60);
const TICKS_PER_MS: u32 = 8;
/// Options of the extended poll: numerics each second, waves, enumerations.
const NUMERICS_1S: u32 = 0x8000_0000;
const WAVES: u32 = 0x0800_0000;
const ENUMERATIONS: u32 = 0x0400_0000;
/// Groups: patient demographics, alert monitor, and the static context that makes the shortest answer.
const GROUP_PATIENT: u16 = 0x0807;
const GROUP_ALERTS: u16 = 0x0801;
const GROUP_STATIC: u16 = 0x0811;

impl Session {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            state: State::Apart { again: Duration::ZERO },
            heard: Duration::ZERO,
            said: Duration::ZERO,
            timeout: Duration::from_secs(10),
            extended: 0,
            invoke: 0,
            number: 0,
            plans: Vec::new(),
            failures: 0,
            deeds: VecDeque::new(),
        }
    }

    pub(super) fn deed(&mut self) -> Option<Deed> {
        self.deeds.pop_front()
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        Some(match self.state {
            State::Apart { again } => again,
            State::Asked { until } | State::Accepted { until } => until,
            State::Together => {
                let polls = self.plans.iter().map(|plan| plan.due);
                let own = [self.heard + self.timeout, self.said + self.timeout / 3];
                polls.chain(own).min().unwrap_or_default()
            }
        })
    }

    pub(super) fn tick(&mut self, now: Duration) {
        match self.state {
            State::Apart { again } if now >= again => self.associate(now),
            State::Asked { until } if now >= until => {
                self.apart("no-association", "The monitor does not answer the association request.", now);
            }
            State::Accepted { until } if now >= until => {
                self.apart("no-announcement", "The monitor accepted the association and fell silent.", now);
            }
            State::Together if now >= self.heard + self.timeout => {
                let text = format!("Nothing came for {} s: the association is over.", self.timeout.as_secs());
                self.apart("association-timeout", &text, now);
            }
            State::Together => self.poll(now),
            _ => {}
        }
    }

    /// A message of the monitor.
    pub(super) fn hear(&mut self, message: &Message<'_>, now: Duration) {
        self.heard = now;
        match message {
            Message::Session(ACCEPT, bytes) => self.accepted(bytes, now),
            Message::Session(REFUSE, _) => self.refused(now),
            Message::Session(ABORT, _) => {
                self.apart("association-aborted", "The monitor ended the association.", now);
            }
            Message::Session(DISCONNECT, _) => {
                self.apart("association-released", "The monitor released the association.", now);
            }
            Message::Session(..) => {}
            Message::Operation(operation) => self.operation(operation, now),
        }
    }

    fn say(&mut self, request: &Request<'_>, now: Duration) {
        self.said = now;
        self.deeds.push_back(Deed::Say(request.bytes()));
    }

    fn note(&mut self, code: &'static str, text: &str) {
        self.deeds.push_back(Deed::Note(Warning::new(code, text)));
    }

    fn associate(&mut self, now: Duration) {
        let millis = u32::try_from(self.settings.poll_ms).unwrap_or(u32::MAX);
        let asks = |kind: Kind| self.settings.poll.contains(&kind);
        let mut extended = NUMERICS_1S;
        extended |= if asks(Kind::Waves) { WAVES } else { 0 };
        extended |= if asks(Kind::Enumerations) { ENUMERATIONS } else { 0 };
        let poll_period = millis.saturating_mul(TICKS_PER_MS);
        self.state = State::Asked { until: now + ANSWER_WITHIN };
        self.say(&Request::Associate { poll_period, extended }, now);
    }

    fn accepted(&mut self, response: &[u8], now: Duration) {
        if !matches!(self.state, State::Asked { .. }) {
            return;
        }
        match agreed(response) {
            Some(agreed) => {
                self.extended = agreed.extended;
                self.timeout = timeout(agreed.min_poll_period);
            }
            None => {
                self.extended = 0;
                self.note(
                    "bad-association",
                    "The monitor's terms are not as published; it is polled simply.",
                );
            }
        }
        self.state = State::Accepted { until: now + ANNOUNCE_WITHIN };
    }

    fn refused(&mut self, now: Duration) {
        let text = "The monitor refuses the association: does another client have it, or is data export off?";
        self.apart("association-refused", text, now);
    }

    fn apart(&mut self, code: &'static str, text: &str, now: Duration) {
        let again = AGAIN.saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(AGAIN_MAX);
        self.failures = self.failures.saturating_add(1).min(16);
        self.note(code, text);
        self.plans.clear();
        self.state = State::Apart { again: now + again };
    }

    fn operation(&mut self, operation: &Operation<'_>, now: Duration) {
        if let Some((time, _)) = operation.mds_create() {
            // Said again until confirmed: each is confirmed, the first begins the polls.
            self.say(&Request::ConfirmCreate { invoke: operation.invoke, time }, now);
            if self.state != State::Together {
                self.begin(now);
            }
            return;
        }
        if operation.kind == ERROR {
            return self.declined(operation, now);
        }
        if let Some(result) = operation.poll_result() {
            // Each part of a linked result carries the number of the whole.
            let is_last = operation.kind == RESULT;
            self.answered(result.class, result.sequence.filter(|_| is_last), now);
        }
    }

    fn begin(&mut self, now: Duration) {
        self.state = State::Together;
        self.failures = 0;
        let every = Duration::from_millis(self.settings.poll_ms);
        let patient = Duration::from_millis(self.settings.patient_ms);
        let can = |option: u32| self.extended & option != 0;
        let mut plans = vec![Plan::new(MDS, 0, false, SYSTEM_EVERY, now)];
        for kind in &self.settings.poll {
            plans.push(match kind {
                Kind::Patient => Plan::new(PATIENT, GROUP_PATIENT, false, patient, now),
                Kind::Numerics => Plan::new(NUMERIC, 0, can(NUMERICS_1S), every, now),
                Kind::Alarms => Plan::new(ALERTS, GROUP_ALERTS, can(NUMERICS_1S), every, now),
                // Neither can be polled singly.
                Kind::Waves if can(WAVES) => Plan::new(WAVE, 0, true, every, now),
                Kind::Enumerations if can(ENUMERATIONS) => Plan::new(ENUMERATION, 0, true, every, now),
                Kind::Waves | Kind::Enumerations => {
                    let text = format!("The monitor does not export {}.", kind.word());
                    self.deeds.push_back(Deed::Note(Warning::new("not-exported", text)));
                    continue;
                }
            });
        }
        // Who it is about comes before what it says.
        plans.sort_by_key(|plan| plan.asked.class != PATIENT);
        self.plans = plans;
        if can(WAVES) && !self.settings.waves.is_empty() {
            let labels = self.settings.waves.clone();
            let invoke = self.next_invoke();
            self.say(&Request::Waves { invoke, labels: &labels }, now);
        }
        self.poll(now);
    }

    fn next_invoke(&mut self) -> u16 {
        self.invoke = self.invoke.wrapping_add(1);
        self.invoke
    }

    /// Says every poll that is due, and a short one when nothing else was said for long.
    fn poll(&mut self, now: Duration) {
        let mut due = Vec::new();
        for (at, plan) in self.plans.iter_mut().enumerate() {
            if now < plan.due {
                continue;
            }
            // Results still come: ask only when it is time to renew.
            let renew = plan.asked_at.map(|asked| asked + RENEW);
            if plan.extended
                && let Some(renew) = renew.filter(|renew| now < *renew)
                && now < plan.answered + MISSED
            {
                plan.due = renew.min(plan.answered + MISSED);
                continue;
            }
            due.push(at);
        }
        for at in due {
            let invoke = self.next_invoke();
            self.number = self.number.wrapping_add(1);
            let number = self.number;
            let Some(plan) = self.plans.get_mut(at) else { continue };
            plan.asked_at = Some(now);
            plan.invoke = invoke;
            plan.sequence = None;
            plan.due = now + if plan.extended { MISSED } else { plan.every };
            let asked = plan.asked;
            let period = u32::try_from(ACTIVE.as_millis()).unwrap_or(u32::MAX).saturating_mul(TICKS_PER_MS);
            let request = if plan.extended {
                Request::PollExtended { invoke, number, asked, period }
            } else {
                Request::Poll { invoke, number, asked }
            };
            self.say(&request, now);
        }
        if now >= self.said + self.timeout / 3 {
            let invoke = self.next_invoke();
            self.number = self.number.wrapping_add(1);
            let asked = Asked { class: ALERTS, group: GROUP_STATIC };
            self.say(&Request::Poll { invoke, number: self.number, asked }, now);
        }
    }

    fn answered(&mut self, class: u16, sequence: Option<u16>, now: Duration) {
        let Some(plan) = self.plans.iter_mut().find(|plan| plan.asked.class == class) else { return };
        plan.answered = now;
        let Some(sequence) = sequence else { return };
        let before = plan.sequence.replace(sequence);
        let lost = before.map_or(0, |before| sequence.wrapping_sub(before).saturating_sub(1));
        // A smaller number is the answer to a new request.
        if (1..0x8000).contains(&lost) {
            let text = format!("{lost} results of the monitor did not arrive.");
            self.note("results-lost", &text);
        }
    }

    fn declined(&mut self, operation: &Operation<'_>, now: Duration) {
        let text = format!("The monitor declines a request with error {}.", operation.command);
        self.note("request-declined", &text);
        let Some(plan) = self.plans.iter_mut().find(|plan| plan.invoke == operation.invoke) else { return };
        if plan.extended && matches!(plan.asked.class, NUMERIC | ALERTS) {
            plan.extended = false;
            plan.due = now + plan.every;
        } else {
            plan.due = now + AGAIN_MAX;
            plan.asked_at = None;
        }
    }
}

impl Plan {
    fn new(class: u16, group: u16, extended: bool, every: Duration, now: Duration) -> Self {
        Self {
            asked: Asked { class, group },
            extended,
            every,
            due: now,
            asked_at: None,
            answered: now,
            invoke: 0,
            sequence: None,
        }
    }
}

/// Silence after which a monitor takes the association as over (guide: three poll periods within 10 and 130 s).
fn timeout(min_poll_period: u32) -> Duration {
    let millis = u64::from(min_poll_period / TICKS_PER_MS);
    match millis {
        0..3300 => Duration::from_secs(10),
        3300..=43_000 => Duration::from_millis(3 * millis),
        _ => Duration::from_secs(130),
    }
}
