//! The audit trail's own life: it is sealed and checked while the box runs, told what the box itself does, and forwarded.
//!
//! Forwarding has a position of its own for each receiver, written down after it took something: a receiver that is away
//! gets everything later, a crash tells it the last batch twice (the same ids), and nobody waits for one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::admin::balp::audit_event;
use crate::admin::live::{Live, Severity};
use crate::admin::store::{Answered, StoreError};
use crate::admin::trail::{BrokenRow, Observer, Trail, Verified};
use crate::buffer::{AuditFilter, AuditRow, AuditSeal, Buffer, BufferError, NewAudit};
use crate::clock::SharedClock;
use crate::config::Config;
use crate::connector::Stop;
use crate::secret::{self, Secret, SecretError, SecretStore};
use crate::upstream::syslog::{self, Event, Sender};
use crate::upstream::{Upstream, UpstreamError, Verdict};

/// The secret the seal is made with.
pub const SEAL_KEY: &str = "audit-seal.key";
/// The box itself, in the trail.
const ITSELF: &str = "bedside";
/// The seal is renewed this often where there is something new.
const SEAL_EVERY: Duration = Duration::from_secs(10);
/// The whole trail is checked at the start and this often.
const CHECK_EVERY: Duration = Duration::from_secs(24 * 3600);
const LOOK_EVERY: Duration = Duration::from_secs(1);
const BATCH: u32 = 100;
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The setting that holds the digest of the configuration of the last start.
const CONFIGURATION: &str = "audit-configuration";
/// The settings that hold how far each receiver has come.
const FORWARDED: &str = "audit-forwarded:";

/// The audit trail of this box.
pub(super) struct Auditing {
    buffer: Buffer,
    dir: PathBuf,
    /// None: no seal can be made, and why.
    key: Result<Secret, String>,
    observer: Observer,
    clock: SharedClock,
    live: Arc<Live>,
    alarm_after: Duration,
    /// Receivers that are behind, and why.
    behind: Mutex<BTreeMap<&'static str, String>>,
}

/// A receiver of the trail.
pub(super) enum Receiver {
    Syslog(Sender),
    Fhir(Box<Upstream>),
}

/// The receivers that the configuration names; speaks to none.
pub(super) fn receivers(
    config: &Config,
    secrets: &SecretStore,
    clock: &SharedClock,
) -> Result<Vec<Receiver>, UpstreamError> {
    let mut all: Vec<Receiver> = Vec::new();
    all.extend(config.audit.syslog.clone().map(|syslog| Receiver::Syslog(Sender::new(syslog))));
    if let Some(server) = config.audit.server() {
        all.push(Receiver::Fhir(Box::new(Upstream::new(server, secrets, clock.clone())?)));
    }
    Ok(all)
}

/// The key the trail is sealed with; made where there is none and it can be kept.
fn seal_key(secrets: &SecretStore, config: &Config) -> Result<Secret, String> {
    match secrets.load(SEAL_KEY) {
        Err(SecretError::Missing { .. }) => {}
        loaded => return loaded.map_err(|fault| fault.to_string()),
    }
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| "the system gave no random bytes".to_owned())?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let key = Secret::new(text.into_bytes());
    let path = config.secrets.join(SEAL_KEY);
    secret::write_new(&path, &key)
        .map_err(|fault| format!("{} cannot be written: {fault}", path.display()))?;
    Ok(key)
}

impl Auditing {
    pub(super) fn new(
        buffer: Buffer,
        config: &Config,
        me: &str,
        secrets: &SecretStore,
        clock: SharedClock,
        live: Arc<Live>,
    ) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let key = seal_key(secrets, config);
        if let Err(why) = &key {
            tracing::warn!(
                why,
                "The audit trail cannot be sealed: only its own chain tells whether it is whole."
            );
        }
        Self {
            buffer,
            dir: config.buffer.dir.clone(),
            key,
            observer: Observer {
                identifier: me.to_owned(),
                site: config.site.name.clone(),
                host: host.trim().to_owned(),
                version: env!("CARGO_PKG_VERSION"),
                simulated: config.site.simulated,
            },
            clock,
            live,
            alarm_after: Duration::from_secs(config.audit.alarm_after_s),
            behind: Mutex::default(),
        }
    }

    /// A line of the box itself. Where it cannot be written the box goes on: devices come first.
    async fn note(&self, what: &str, detail: String) {
        let row = NewAudit { who: ITSELF.into(), what: what.into(), detail };
        if let Err(fault) = self.buffer.audit(row).await {
            tracing::error!(%fault, what, "The audit trail could not be written.");
        }
    }

    /// The box starts; says so, and whether its configuration is another one than at the last start.
    pub(super) async fn started(&self, config: &Config) {
        self.note("box.start", format!("done version {}", env!("CARGO_PKG_VERSION"))).await;
        let known = self.buffer.reader().setting(CONFIGURATION).await.ok().flatten();
        if known.as_deref() != Some(&config.digest) {
            if known.is_some() {
                let short = config.digest.get(..16).unwrap_or_default();
                self.note("config.change", format!("done configuration file sha256 {short}")).await;
            }
            if let Err(fault) = self.buffer.put_setting(CONFIGURATION, &config.digest).await {
                tracing::warn!(%fault, "Which configuration this box was started with could not be written down.");
            }
        }
    }

    /// The box stops; the last thing that is written and sealed.
    pub(super) async fn stopped(&self) {
        self.note("box.stop", "done".into()).await;
        self.seal(None).await;
    }

    /// Renews the seal where the trail has grown since `last`; returns how long it is.
    async fn seal(&self, last: Option<u64>) -> Option<u64> {
        let Ok(key) = &self.key else { return last };
        let Ok((rows, head)) = self.buffer.reader().audit_head().await else { return last };
        if last == Some(rows) {
            return last;
        }
        let seal = AuditSeal { rows, head, at: self.clock.now() };
        match seal.write(&self.dir, key.expose()) {
            Ok(()) => Some(rows),
            Err(fault) => {
                tracing::warn!(%fault, "The seal of the audit trail could not be written.");
                last
            }
        }
    }

    /// The seal as it stands, or what is wrong with it.
    fn sealed(&self) -> Result<Option<AuditSeal>, String> {
        let key = self.key.as_ref().map_err(Clone::clone)?;
        AuditSeal::read(&self.dir, key.expose()).map_err(|fault| fault.to_string())
    }

    async fn check(&self) -> Result<Verified, BufferError> {
        let (seal, fault) = match self.sealed() {
            Ok(Some(seal)) => (Some(seal), None),
            Ok(None) => (None, Some("there is no seal yet".to_owned())),
            Err(fault) => (None, Some(fault)),
        };
        let forged = fault.as_deref().is_some_and(|fault| fault.contains("replaced"));
        let (sealed_rows, sealed_at) =
            (seal.as_ref().map(|seal| seal.rows), seal.as_ref().map(|seal| seal.at));
        let found = self.buffer.reader().verify_audit_with(seal).await?;
        Ok(Verified {
            sound: found.broken.is_none() && !forged,
            rows: found.rows,
            broken: found.broken.map(|(row, why)| BrokenRow { row, why }),
            sealed_rows,
            sealed_at,
            seal_fault: fault,
        })
    }

    /// Seals and checks until told to stop. The first check is of what the box found at its start, before it seals anew.
    pub(super) async fn watch(self: Arc<Self>, mut stop: Stop) {
        let (mut sealed, mut checked) = (None, None);
        loop {
            let now = self.clock.now();
            if checked.is_none_or(|at| now.since(at) >= CHECK_EVERY || at > now) {
                checked = Some(now);
                self.judge().await;
            }
            sealed = self.seal(sealed).await;
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep(SEAL_EVERY) => {}
            }
        }
    }

    async fn judge(&self) {
        let found = match self.check().await {
            Ok(found) => found,
            Err(fault) => return tracing::error!(%fault, "The audit trail could not be checked."),
        };
        if found.sound {
            return self.live.clear_alarm("audit-broken");
        }
        let at =
            found.broken.map_or_else(String::new, |broken| format!(" at row {}: {}", broken.row, broken.why));
        let title = format!("The audit trail is not as it was written{at}");
        tracing::error!(title, "The audit trail is broken.");
        let next =
            "Open Audit and verify it; keep a backup as it is, and ask who had access to this box's disk.";
        self.live.alarm("audit-broken", Severity::Critical, &title, next);
    }

    /// Forwards to one receiver until told to stop.
    pub(super) async fn forward(self: Arc<Self>, mut to: Receiver, mut stop: Stop) {
        let name = to.name();
        let key = format!("{FORWARDED}{name}");
        let known = self.buffer.reader().setting(&key).await.ok().flatten();
        let mut through: i64 = known.and_then(|text| text.parse().ok()).unwrap_or(0);
        let (mut pause, mut failing) = (LOOK_EVERY, false);
        loop {
            let rows = self.buffer.reader().audit_after(through, BATCH).await.unwrap_or_default();
            let sent = if rows.is_empty() { Ok(0) } else { to.take(&rows, &self.observer).await };
            match sent {
                Ok(0) => {
                    pause = LOOK_EVERY;
                    self.caught_up(name);
                }
                Ok(count) => {
                    if failing {
                        tracing::info!(receiver = name, "The receiver of the audit trail takes it again.");
                    }
                    (failing, pause) = (false, LOOK_EVERY);
                    through = rows.get(count - 1).map_or(through, |row| row.id);
                    if let Err(fault) = self.buffer.put_setting(&key, &through.to_string()).await {
                        tracing::warn!(%fault, "How far the audit trail was forwarded could not be written down.");
                    }
                    if count == rows.len() {
                        continue;
                    }
                }
                Err(why) => {
                    if !failing {
                        tracing::warn!(
                            receiver = name,
                            why,
                            "The audit trail is not forwarded; tried again."
                        );
                    }
                    failing = true;
                    self.late(name, rows.first(), &why);
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn late(&self, name: &'static str, oldest: Option<&AuditRow>, why: &str) {
        let waits = oldest.map_or(Duration::ZERO, |row| self.clock.now().since(row.at));
        if waits >= self.alarm_after {
            self.behind(|behind| drop(behind.insert(name, why.to_owned())));
        }
    }

    fn caught_up(&self, name: &'static str) {
        self.behind(|behind| drop(behind.remove(name)));
    }

    fn behind(&self, change: impl FnOnce(&mut BTreeMap<&'static str, String>)) {
        let mut behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        let before = behind.clone();
        change(&mut behind);
        if *behind == before {
            return;
        }
        let Some((name, why)) = behind.first_key_value() else {
            return self.live.clear_alarm("audit-behind");
        };
        let title = format!("The audit trail is not forwarded ({name}): {why}");
        let next = "Nothing is lost: it is kept here and goes on when the receiver answers. Look at [audit] in the configuration.";
        self.live.alarm("audit-behind", Severity::Warning, &title, next);
    }
}

impl Trail for Auditing {
    fn page(&self, wanted: AuditFilter) -> Answered<'_, (Vec<AuditRow>, Option<i64>)> {
        Box::pin(async move { self.buffer.reader().audit_page(wanted).await.map_err(fault) })
    }

    fn after(&self, after: i64, limit: u32) -> Answered<'_, Vec<AuditRow>> {
        Box::pin(async move { self.buffer.reader().audit_after(after, limit).await.map_err(fault) })
    }

    fn verify(&self) -> Answered<'_, Verified> {
        Box::pin(async move { self.check().await.map_err(fault) })
    }

    fn observer(&self) -> Observer {
        self.observer.clone()
    }
}

fn fault(fault: BufferError) -> StoreError {
    StoreError(fault.to_string())
}

impl Receiver {
    const fn name(&self) -> &'static str {
        match self {
            Self::Syslog(_) => "syslog",
            Self::Fhir(_) => "fhir",
        }
    }

    /// Takes rows from the beginning on; says how many it took, or why it took none.
    async fn take(&mut self, rows: &[AuditRow], observer: &Observer) -> Result<usize, String> {
        match self {
            Self::Syslog(sender) => {
                let messages: Vec<String> = rows.iter().map(|row| message(row, &observer.host)).collect();
                sender.send(&messages).await.map(|()| rows.len())
            }
            Self::Fhir(server) => {
                let entries: Vec<_> = rows.iter().map(|row| vec![audit_event(row, observer)]).collect();
                let mut taken = 0;
                for verdict in server.deliver(&entries).await {
                    match verdict {
                        Verdict::Accepted { .. } => taken += 1,
                        Verdict::Refused { reason, .. } | Verdict::Retry { reason, .. } if taken == 0 => {
                            return Err(reason);
                        }
                        _ => break,
                    }
                }
                Ok(taken)
            }
        }
    }
}

fn message(row: &AuditRow, host: &str) -> String {
    let (told, at) = (row.told(), row.at.rfc3339());
    let origin = told.origin.map(|address| address.to_string());
    let hash: String = row.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let event = Event {
        row: row.id,
        at: &at,
        who: &row.who,
        what: &row.what,
        outcome: told.outcome,
        target: told.target,
        origin: origin.as_deref(),
        note: told.note,
        hash: &hash,
    };
    syslog::message(&event, host)
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
