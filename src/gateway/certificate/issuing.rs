//! The desk's certificate by ACME: when it is asked, what becomes of it, and what the desk is told. What is tried stands on
//! disk before it is tried, so that a box that restarts again and again asks no more often than one that does not.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::acme::{self, Fault, Kept, schedule};
use crate::admin::command::Refusal;
use crate::admin::issuance::{Issuance, Origin, State};
use crate::admin::live::{Live, Severity};
use crate::admin::{Identity, Source};
use crate::buffer::{Buffer, NewAudit};
use crate::clock::{SharedClock, Timestamp};
use crate::connector::{Later, Stop};
use crate::secret::SecretStore;

/// Settings of the buffer: what was filled in at the desk, and what was tried.
const SETTINGS: &str = "desk-acme";
const TRIED: &str = "desk-acme-tried";
const ITSELF: &str = "bedside";
const ALARM: &str = "certificate-acme";
/// Looked at again at least this often: clocks are set.
const LOOK: Duration = Duration::from_secs(10 * 60);
/// Faults in a row that raise the alarm while a certificate of the authority is still shown.
const FAULTS_ALARM: u32 = 3;

/// What was tried, as it is kept. Times are microseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Tried {
    /// The last ones, the newest last.
    tries: VecDeque<i64>,
    faults: u32,
    /// Not before then.
    next: Option<i64>,
    done: Option<i64>,
    what: Option<String>,
    todo: Option<String>,
    /// The directory and the names it was about.
    about: String,
}

struct Inner {
    origin: Origin,
    config: Option<acme::Config>,
    tried: Tried,
    busy: bool,
    /// Somebody wants it now.
    wanted: bool,
}

/// Asks the authority.
pub(in crate::gateway) struct Issuing {
    identity: Identity,
    buffer: Buffer,
    live: Arc<Live>,
    clock: SharedClock,
    secrets: SecretStore,
    kept: Kept,
    inner: Mutex<Inner>,
    wake: Notify,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Now,
    At(Timestamp),
    Never,
}

impl Issuing {
    /// As the file says, else as it was filled in at the desk.
    pub(in crate::gateway) async fn new(
        file: Option<&acme::Config>,
        identity: Identity,
        secrets: (SecretStore, &std::path::Path),
        (buffer, live): (&Buffer, &Arc<Live>),
        clock: SharedClock,
    ) -> Result<Self, String> {
        let reader = buffer.reader();
        let kept = |text: Option<String>| text.and_then(|text| serde_json::from_str(&text).ok());
        let mut config = file.cloned();
        let mut origin = if config.is_some() { Origin::File } else { Origin::None };
        if let Some(file) = &config {
            file.check_authorities().map_err(|why| format!("[desk.acme]: {why}"))?;
        } else if let Some(text) = reader.setting(SETTINGS).await.map_err(|fault| fault.to_string())?
            && !text.is_empty()
        {
            match serde_json::from_str::<acme::Config>(&text).map(|read| (read.check(), read)) {
                Ok((Ok(()), read)) => (config, origin) = (Some(read), Origin::Desk),
                // What was kept at the desk must not keep the desk from opening.
                _ => tracing::error!(
                    "The settings of the certificate by ACME cannot be used; set it up again."
                ),
            }
        }
        let tried = reader.setting(TRIED).await.map_err(|fault| fault.to_string())?;
        let tried: Tried = kept(tried).unwrap_or_default();
        let inner = Inner { origin, config, tried, busy: false, wanted: false };
        Ok(Self {
            identity,
            buffer: buffer.clone(),
            live: live.clone(),
            clock,
            kept: Kept::new(secrets.1),
            secrets: secrets.0,
            inner: Mutex::new(inner),
            wake: Notify::new(),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks when it is time, until told to stop.
    pub(super) async fn run(&self, mut stop: Stop) {
        loop {
            let wait = match self.due() {
                Due::Now => {
                    tokio::select! {
                        () = stop.wait() => return,
                        () = self.ask() => {}
                    }
                    continue;
                }
                Due::At(at) => at.since(self.clock.now()).clamp(Duration::from_secs(1), LOOK),
                Due::Never => LOOK,
            };
            tokio::select! {
                () = stop.wait() => return,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn due(&self) -> Due {
        let now = self.clock.now();
        let inner = self.inner();
        let Some(config) = &inner.config else { return Due::Never };
        let at = self.wanted_at(config, &inner, now);
        if at.micros > now.micros {
            return Due::At(at);
        }
        let tries: Vec<i64> = inner.tried.tries.iter().copied().collect();
        match schedule::allowed(&tries, now) {
            Ok(()) => Due::Now,
            Err(later) => Due::At(later),
        }
    }

    /// When it is to be asked, whatever was tried lately.
    fn wanted_at(&self, config: &acme::Config, inner: &Inner, now: Timestamp) -> Timestamp {
        if inner.wanted {
            return now;
        }
        let tried = &inner.tried;
        // A pause counts for what it followed, and one longer than any is of a clock that was set back.
        let own = tried.next.filter(|next| tried.about == about(config) && next - now.micros <= PAUSE_MAX);
        let paused = own.map_or(now, |next| Timestamp::from_micros(next, now.synchronised));
        let shown = self.identity.facts().filter(|_| self.identity.source() == Source::Acme);
        match shown.filter(|facts| config.is_met_by(&facts.names) && !self.kept.is_under_way(config)) {
            Some(facts) => {
                let chance = schedule::chance(&self.identity.fingerprint());
                schedule::renew_at(facts.not_before, facts.not_after, chance).max(paused)
            }
            None => paused,
        }
    }

    async fn ask(&self) {
        let now = self.clock.now();
        let config = {
            let mut inner = self.inner();
            let Some(config) = inner.config.clone() else { return };
            (inner.busy, inner.wanted) = (true, false);
            if inner.tried.about != about(&config) {
                let tries = std::mem::take(&mut inner.tried.tries);
                inner.tried = Tried { tries, about: about(&config), ..Tried::default() };
            }
            inner.tried.tries.push_back(now.micros);
            while inner.tried.tries.len() > 2 * schedule::TRIES_PER_HOUR {
                inner.tried.tries.pop_front();
            }
            config
        };
        let _idle = Idle(self);
        if let Err(why) = self.keep_tried().await {
            // A try that nobody remembers could be one of thousands.
            tracing::error!(
                why,
                "The certificate is not asked for by ACME: what is tried cannot be written down."
            );
            tokio::time::sleep(Duration::from_secs(60)).await;
            return;
        }
        tracing::info!(directory = config.directory, "The desk's certificate is asked for by ACME.");
        let renews = self.identity.source() == Source::Acme;
        let asking = acme::fetch(&config, &self.secrets, &self.kept, self.identity.board(), now);
        // The library takes answers apart by code that is not ours.
        let fetched = AssertUnwindSafe(asking).catch_unwind().await.unwrap_or_else(|_| Err(Fault::broken()));
        let done = fetched.and_then(|fetched| {
            self.identity.issued(&fetched.chain_pem, &fetched.key_pem, &config, self.clock.now()).map_err(
                |why| {
                    self.kept.forget_order();
                    Fault::unfit(&why)
                },
            )
        });
        if done.is_ok() {
            self.kept.forget_order();
        }
        self.tell(&config, renews, done).await;
    }

    /// Writes down what came of it: for the trail, for the desk, for the next start.
    async fn tell(&self, config: &acme::Config, renews: bool, done: Result<(), Fault>) {
        let (now, hosts) = (self.clock.now(), config.hosts.join(", "));
        let what = if renews { "certificate.renew" } else { "certificate.issue" };
        let detail = match &done {
            Ok(()) => {
                let until = self.identity.facts().map(|facts| facts.not_after.rfc3339()).unwrap_or_default();
                tracing::info!(hosts, until, "The desk shows a certificate that came by ACME.");
                format!("done {hosts} until {until}, {}", self.identity.fingerprint())
            }
            Err(fault) => {
                tracing::warn!(hosts, why = fault.what, next = fault.next, "No certificate came by ACME.");
                format!("failed {hosts}: {}", fault.what)
            }
        };
        let row = NewAudit { who: ITSELF.into(), what: what.into(), detail };
        if let Err(fault) = self.buffer.audit(row).await {
            tracing::error!(%fault, what, "The audit trail could not be written.");
        }
        let faults = {
            let left = self.identity.facts().map(|facts| facts.not_after.since(now));
            let tried = &mut self.inner().tried;
            match done {
                Ok(()) => {
                    (tried.faults, tried.what, tried.todo) = (0, None, None);
                    tried.done = Some(now.micros);
                    // An authority that gives the same old certificate again is not asked without end.
                    let life = self.identity.facts().map(|facts| facts.not_after.since(facts.not_before));
                    let rest = life.unwrap_or_default() / 6;
                    tried.next = Some(now.plus(rest.min(REST_MAX)).micros);
                }
                Err(fault) => {
                    tried.faults = tried.faults.saturating_add(1);
                    let own = left.filter(|_| self.identity.source() == Source::Acme);
                    let pause = schedule::pause(tried.faults, fault.wait, own, drawn());
                    tried.next = Some(now.plus(pause).micros);
                    (tried.what, tried.todo) = (Some(fault.what), Some(fault.next));
                }
            }
            tried.faults
        };
        self.alarm(faults);
        if let Err(why) = self.keep_tried().await {
            tracing::error!(why, "What came of asking by ACME could not be written down.");
        }
    }

    fn alarm(&self, faults: u32) {
        let shown = self.identity.source() == Source::Acme;
        if faults == 0 || (shown && faults < FAULTS_ALARM) {
            return self.live.clear_alarm(ALARM);
        }
        let next =
            "Open Certificate: it says what went wrong and what to do. The desk goes on with the one it has.";
        self.live.alarm(ALARM, Severity::Warning, "The authority gives the desk no certificate (ACME)", next);
    }

    async fn keep_tried(&self) -> Result<(), String> {
        let text = serde_json::to_string(&self.inner().tried).map_err(|fault| fault.to_string())?;
        self.buffer.put_setting(TRIED, &text).await.map_err(|fault| fault.to_string())
    }

    fn changeable(&self) -> Result<(), Refusal> {
        if self.inner().origin == Origin::File {
            return Err(Refusal::Conflict(
                "the configuration file has it ([desk.acme]): change it there".into(),
            ));
        }
        self.identity.replaceable().map(drop).map_err(Refusal::Conflict)
    }

    async fn put(&self, config: Option<acme::Config>) -> Result<State, Refusal> {
        self.changeable()?;
        let text = match &config {
            Some(config) => {
                serde_json::to_string(config).map_err(|fault| Refusal::Failed(fault.to_string()))?
            }
            None => String::new(),
        };
        self.buffer.put_setting(SETTINGS, &text).await.map_err(|fault| Refusal::Failed(fault.to_string()))?;
        {
            let mut inner = self.inner();
            inner.origin = if config.is_some() { Origin::Desk } else { Origin::None };
            inner.wanted = config.is_some();
            if config.is_none() {
                let tries = std::mem::take(&mut inner.tried.tries);
                inner.tried = Tried { tries, ..Tried::default() };
                self.live.clear_alarm(ALARM);
            }
            inner.config = config;
        }
        self.wake.notify_one();
        Ok(self.state())
    }
}

/// How long it is left alone after a certificate came, at most.
const REST_MAX: Duration = Duration::from_secs(6 * 3600);
/// The longest pause that can have been meant: what a server may ask for at most.
const PAUSE_MAX: i64 = 24 * 3600 * 1_000_000;

fn about(config: &acme::Config) -> String {
    format!("{} {}", config.directory, config.hosts.join(" "))
}

/// Pauses of several boxes that met the same fault are not the same.
fn drawn() -> u16 {
    let mut bytes = [0; 2];
    // Without chance the pause is the shortest: no fault worth a word.
    aws_lc_rs::rand::fill(&mut bytes).ok();
    u16::from_be_bytes(bytes)
}

/// Not busy any more, however the try ended.
struct Idle<'a>(&'a Issuing);

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.0.inner().busy = false;
    }
}

impl Issuance for Issuing {
    fn state(&self) -> State {
        let now = self.clock.now();
        let due = self.due();
        let inner = self.inner();
        let at = |micros: i64| Timestamp::from_micros(micros, true);
        let own = inner.config.as_ref().is_some_and(|config| inner.tried.about == about(config));
        let tried = if own { inner.tried.clone() } else { Tried::default() };
        State {
            origin: inner.origin,
            account: inner.config.as_ref().is_some_and(|config| self.kept.has_account(config)),
            settings: inner.config.clone(),
            busy: inner.busy,
            last_try: tried.tries.back().copied().map(at),
            last_done: tried.done.map(at),
            next_try: match due {
                Due::Now => Some(now),
                Due::At(at) => Some(at),
                Due::Never => None,
            },
            faults: tried.faults,
            what: tried.what,
            next: tried.todo,
        }
    }

    fn holds(&self) -> Option<String> {
        match self.inner().origin {
            Origin::None => None,
            Origin::Desk => Some("it comes from an authority by ACME: end that first".into()),
            Origin::File => {
                Some("it comes from an authority by ACME ([desk.acme] of the configuration file): take that out first".into())
            }
        }
    }

    fn save(&self, settings: acme::Config) -> Later<'_, Result<State, Refusal>> {
        Box::pin(self.put(Some(settings)))
    }

    fn try_now(&self) -> Later<'_, Result<State, Refusal>> {
        let asked = || {
            let mut inner = self.inner();
            if inner.config.is_none() {
                return Err(Refusal::Conflict("it is not set up".into()));
            }
            if !inner.busy {
                let tries: Vec<i64> = inner.tried.tries.iter().copied().collect();
                schedule::allowed(&tries, self.clock.now()).map_err(|later| {
                    let at = later.rfc3339();
                    Refusal::Conflict(format!("it was asked often enough within an hour: again from {at} on"))
                })?;
                inner.wanted = true;
            }
            Ok(())
        };
        let asked = asked();
        self.wake.notify_one();
        Box::pin(std::future::ready(asked.map(|()| self.state())))
    }

    fn end(&self) -> Later<'_, Result<State, Refusal>> {
        Box::pin(self.put(None))
    }
}

#[cfg(test)]
#[path = "issuing_tests.rs"]
mod tests;
