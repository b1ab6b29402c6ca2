//! The desk itself: what every route shares, and the rules about who is there.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::constant_time;
use tokio::sync::{Semaphore, watch};
use warp::http::StatusCode;
use warp::http::header::{AUTHORIZATION, HeaderMap};
use zeroize::Zeroizing;

use super::Services;
use super::admission::Sight;
use super::answer::Problem;
use super::live::Overview;
use super::pace::Pace;
use super::pages::Pages;
use super::pending::Pending;
use super::routes::{Call, Looks};
use super::store::{AuditRow, Outcome};
use crate::access::oidc::Attempts;
use crate::access::{Attempt, SetupCode, Throttle, hash_password, verify_password};
use crate::clock::Timestamp;

/// Passwords worked on at once: each takes 19 MiB and a core for tens of milliseconds.
const HASHING_AT_ONCE: usize = 2;
/// Who waits longer than this for a turn is told to come back.
const HASHING_WAIT: Duration = Duration::from_secs(10);
/// Live streams at once.
const SEATS: usize = 32;
/// Braked tries written into the audit trail at once, and one more after each [`BRAKED_REFILL`]: a flood of tries
/// must not fill the disk that results are kept on.
const BRAKED_BURST: u32 = 200;
const BRAKED_REFILL: Duration = Duration::from_secs(10);

/// Where a request came from. The accept loop puts it on every request.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) peer: SocketAddr,
    /// Host and port in the request's target (HTTP/2 `:authority`), when they are there.
    pub(super) authority: Option<String>,
}

/// What every route shares.
pub(super) struct Desk {
    pub(super) services: Services,
    pub(super) pages: Pages,
    pub(super) seats: Arc<Semaphore>,
    /// `true` when the desk is closing: streams end.
    pub(super) stopping: watch::Receiver<bool>,
    throttle: Mutex<Throttle>,
    pending: Mutex<Pending>,
    leaving: Mutex<Attempts>,
    setup_code: Mutex<Option<SetupCode>>,
    hashing: Semaphore,
    braked: Mutex<Braked>,
    looks: Mutex<Looks>,
    pace: Mutex<Pace>,
}

/// Lets so many braked tries into the audit trail and counts the rest.
struct Braked {
    left: u32,
    refilled: Timestamp,
    unwritten: u64,
}

impl Desk {
    pub(super) fn new(services: Services, pages: Pages, stopping: watch::Receiver<bool>) -> Self {
        Self {
            braked: Mutex::new(Braked { left: BRAKED_BURST, refilled: services.clock.now(), unwritten: 0 }),
            services,
            pages,
            seats: Arc::new(Semaphore::new(SEATS)),
            stopping,
            throttle: Mutex::default(),
            pending: Mutex::default(),
            leaving: Mutex::default(),
            setup_code: Mutex::default(),
            hashing: Semaphore::new(HASHING_AT_ONCE),
            looks: Mutex::default(),
            pace: Mutex::default(),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.services.clock.now()
    }

    pub(super) fn throttle(&self) -> MutexGuard<'_, Throttle> {
        lock(&self.throttle)
    }

    /// What somebody was asked and has not answered yet.
    pub(super) fn pending(&self) -> MutexGuard<'_, Pending> {
        lock(&self.pending)
    }

    /// Who is on the way to the provider that vouches for users.
    pub(super) fn leaving(&self) -> MutexGuard<'_, Attempts> {
        lock(&self.leaving)
    }

    /// Lets a request of this address pass, unless it makes far too many.
    pub(super) fn passes(&self, from: IpAddr) -> Result<(), Problem> {
        lock(&self.pace).pass(from, Instant::now()).map_err(|wait| {
            let detail = "this address asks too often; wait a moment";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", detail).wait(wait.as_secs())
        })
    }

    /// Everything on the first page.
    pub(super) async fn overview(&self, sight: &Sight) -> Result<Overview, Problem> {
        let backlog = self.services.store.backlog().await?;
        let about = &self.services.about;
        let mut overview = self.services.live.overview(&about.site, about.simulated, &backlog);
        overview.devices.retain(|device| sight.covers(&device.key));
        Ok(overview)
    }

    // ── sessions ──

    /// Forgets sessions that are over. Called now and then.
    pub(super) async fn purge_sessions(&self) {
        if let Err(fault) = self.services.store.purge_sessions(self.now()).await {
            tracing::warn!(%fault, "old sessions could not be forgotten");
        }
    }

    /// Whether a request may read `/metrics` without a session.
    pub(super) fn is_scraper(&self, headers: &HeaderMap, peer: IpAddr) -> bool {
        let given = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        let token = self.services.metrics_token.as_ref().map(|token| token.expose().trim_ascii_end());
        let bears = match (given, token) {
            (Some(given), Some(token)) if !token.is_empty() => {
                constant_time::verify_slices_are_equal(given, token).is_ok()
            }
            _ => false,
        };
        peer.to_canonical().is_loopback() || bears
    }

    // ── passwords ──

    pub(super) async fn hash(&self, password: Zeroizing<String>) -> Result<String, Problem> {
        let _turn = self.turn().await?;
        let hashed = tokio::task::spawn_blocking(move || hash_password(&password)).await;
        hashed.map_err(Problem::unavailable)?.map_err(Problem::unavailable)
    }

    /// Without `stored` it takes as long and says no.
    pub(super) async fn verify(
        &self,
        password: Zeroizing<String>,
        stored: Option<String>,
    ) -> Result<bool, Problem> {
        let _turn = self.turn().await?;
        let verified =
            tokio::task::spawn_blocking(move || verify_password(&password, stored.as_deref())).await;
        verified.map_err(Problem::unavailable)
    }

    async fn turn(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Problem> {
        let busy = |_| Problem::unavailable("too many log-ins at once").wait(HASHING_WAIT.as_secs());
        let turn = tokio::time::timeout(HASHING_WAIT, self.hashing.acquire()).await.map_err(busy)?;
        turn.map_err(Problem::unavailable)
    }

    // ── the set-up code ──

    /// Makes and shows a code when no user exists yet.
    pub(super) async fn offer_setup(&self) -> Result<(), Problem> {
        if !self.services.store.has_users().await? {
            self.new_setup_code()?;
        }
        Ok(())
    }

    /// Checks a code; one that is spent or too old is replaced by a new one on the console.
    pub(super) fn try_setup_code(&self, given: &str) -> Result<(), Problem> {
        let now = self.now();
        let attempt =
            lock(&self.setup_code).as_mut().map_or(Attempt::Expired, |code| code.attempt(given, now));
        let wrong = |detail: String| Err(Problem::new(StatusCode::FORBIDDEN, "wrong-code", detail));
        match attempt {
            Attempt::Right => Ok(()),
            Attempt::Wrong { left } => {
                let tries = if left == 1 { "try is" } else { "tries are" };
                wrong(format!("that is not the code on the console; {left} {tries} left"))
            }
            Attempt::Spent => {
                self.new_setup_code()?;
                wrong("that was wrong too often; the console shows a new code".into())
            }
            Attempt::Expired => {
                self.new_setup_code()?;
                wrong("that code is too old; the console shows a new one".into())
            }
        }
    }

    pub(super) fn drop_setup_code(&self) {
        *lock(&self.setup_code) = None;
    }

    fn new_setup_code(&self) -> Result<(), Problem> {
        let code = SetupCode::make(self.now()).map_err(Problem::unavailable)?;
        (self.services.announce)(&Zeroizing::new(code.text()));
        *lock(&self.setup_code) = Some(code);
        Ok(())
    }

    // ── the audit trail ──

    /// A line of the audit trail about now.
    pub(super) fn line(
        &self,
        actor: Option<&str>,
        action: &'static str,
        outcome: Outcome,
        from: IpAddr,
    ) -> AuditRow {
        AuditRow {
            at: self.now(),
            actor: actor.map(Into::into),
            action,
            target: None,
            outcome,
            from: from.to_canonical().to_string(),
            note: None,
        }
    }

    /// Writes it down. An error refuses the action: what cannot be written down is not done.
    pub(super) async fn audit(&self, row: AuditRow) -> Result<(), Problem> {
        Ok(self.services.store.audit(row).await?)
    }

    /// Writes down that somebody looks at patients' data, unless the same look was written down a moment ago. An error
    /// refuses the look.
    pub(super) async fn looked(
        &self,
        call: &Call,
        action: &'static str,
        target: String,
    ) -> Result<(), Problem> {
        let user = &call.presence()?.user;
        self.audit_once(self.line(Some(user), action, Outcome::Done, call.peer), user, call.peer, target)
            .await
    }

    /// Writes down that somebody was refused what they may not, unless the same was written down a moment ago.
    pub(super) async fn audit_refusal(
        &self,
        user: &str,
        route: &'static str,
        why: &'static str,
        from: IpAddr,
    ) -> Result<(), Problem> {
        let line = self.line(Some(user), "access.refused", Outcome::Refused, from);
        let line = AuditRow { note: Some(why.into()), ..line };
        self.audit_once(line, user, from, route.into()).await
    }

    async fn audit_once(
        &self,
        line: AuditRow,
        user: &str,
        from: IpAddr,
        target: String,
    ) -> Result<(), Problem> {
        let (from, action, now) = (from.to_canonical(), line.action, line.at);
        if !lock(&self.looks).is_new(user, from, action, &target, now) {
            return Ok(());
        }
        self.audit(AuditRow { target: Some(target.clone()), ..line }).await?;
        lock(&self.looks).written(user, from, action, target, now);
        Ok(())
    }

    /// Writes down a try that was braked; of a flood the first ones, and then how many were not written.
    pub(super) async fn audit_braked(&self, from: IpAddr) -> Result<(), Problem> {
        let Some(unwritten) = lock(&self.braked).admit(self.now()) else { return Ok(()) };
        let note = match unwritten {
            0 => "too many tries".into(),
            more => format!("too many tries; {more} before this one were not written down"),
        };
        self.audit(AuditRow { note: Some(note), ..self.line(None, "login", Outcome::Refused, from) }).await
    }
}

impl Braked {
    /// `Some(unwritten before)` when this one is to be written.
    fn admit(&mut self, now: Timestamp) -> Option<u64> {
        let refills = now.since(self.refilled).as_secs() / BRAKED_REFILL.as_secs();
        if refills > 0 || self.refilled > now {
            self.left =
                u32::try_from(refills).unwrap_or(u32::MAX).saturating_add(self.left).min(BRAKED_BURST);
            self.refilled = now;
        }
        if self.left == 0 {
            self.unwritten += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.unwritten))
    }
}

/// What a panic left behind in these is still whole: each change is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_tries_is_written_down_in_part_and_counted() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000, true);
        let mut braked = Braked { left: BRAKED_BURST, refilled: at(0), unwritten: 0 };
        let written = (0..10_000).filter(|_| braked.admit(at(1)).is_some()).count();
        assert_eq!(written, 200);
        assert_eq!(braked.admit(at(10)), Some(9_800));
        assert_eq!(braked.admit(at(11)), None);
    }
}
