//! The store of the tests: everything in memory, and faults on demand.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use crate::access::TokenHash;
use crate::admin::Kept;
use crate::admin::samples::seconds_after_noon;
use crate::admin::store::*;
use crate::buffer::{AccountChange, Buffer, Change, Config, Reader, UserRow};
use crate::clock::{SharedClock, Timestamp};

pub(super) struct Memory {
    inner: Mutex<Inner>,
    /// Accounts are a real buffer's: its rules hold here too.
    accounts: Kept,
    buffer: Buffer,
    /// The audit trail cannot be written.
    pub(super) audit_broken: AtomicBool,
    _folder: tempfile::TempDir,
}

/// Waits on a thread of its own, where a test may not.
fn waited<T: Send>(work: impl Future<Output = T> + Send) -> T {
    let wait = || tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work);
    std::thread::scope(|scope| scope.spawn(wait).join().unwrap())
}

#[derive(Default)]
struct Inner {
    entries: BTreeMap<i64, EntryDetail>,
    audit: Vec<AuditRow>,
}

impl Memory {
    pub(super) fn new(clock: SharedClock) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { dir: folder.path().into(), ..Config::default() };
        let buffer = Buffer::open(&config, clock).unwrap();
        Self {
            inner: Mutex::default(),
            accounts: Kept::new(buffer.clone()),
            buffer,
            audit_broken: AtomicBool::default(),
            _folder: folder,
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Keeps a frame as an entry.
    pub(super) fn keep(&self, id: i64, state: EntryState, frame: &'static [u8]) {
        let row = EntryRow {
            id,
            received: seconds_after_noon(id),
            link: "ward".into(),
            peer: "10.0.0.9:40000".into(),
            device: Some("ACME/Mon 1/42".into()),
            state,
            reason: (state == EntryState::Held).then(|| "no patient identifier".into()),
            bytes: frame.len() as u64,
            summary: Some("1 measurement".into()),
            attempts: 0,
            repeats: 0,
            kind: None,
            message: None,
        };
        let detail = EntryDetail {
            row,
            frame: frame.into(),
            intact: id != 66,
            topic: None,
            sha256: "00".repeat(32),
            warnings: vec!["no start block".into()],
            answer: None,
            timeline: vec![Happened { at: seconds_after_noon(id), what: "kept".into() }],
        };
        self.inner().entries.insert(id, detail);
    }

    pub(super) fn set_state(&self, id: i64, state: EntryState) {
        self.inner().entries.get_mut(&id).unwrap().row.state = state;
    }

    pub(super) fn state(&self, id: i64) -> EntryState {
        self.inner().entries[&id].row.state
    }

    pub(super) fn put_user(&self, user: User) {
        let row = UserRow {
            disabled: user.disabled,
            source: user.source.clone(),
            grants: user.grants.written(),
            must_change: user.must_change,
            ..UserRow::local(&user.name, &user.password_hash, user.role.as_str(), user.created)
        };
        waited(self.buffer.put_user(row)).unwrap();
    }

    /// Changes accounts, whatever the rules of the desk say.
    pub(super) fn change(&self, change: AccountChange) {
        waited(self.buffer.change(vec![Change::Account(change)])).unwrap();
    }

    pub(super) fn sessions(&self) -> usize {
        waited(self.buffer.reader().sessions(None)).unwrap().len()
    }

    /// The audit trail as `actor action target outcome` lines.
    pub(super) fn trail(&self) -> Vec<String> {
        let line = |row: &AuditRow| {
            let words =
                [row.actor.as_deref(), Some(row.action), row.target.as_deref(), Some(row.outcome.as_str())];
            words.map(|word| word.unwrap_or("-")).join(" ")
        };
        self.inner().audit.iter().map(line).collect()
    }

    fn write(&self, row: Option<AuditRow>, change: impl FnOnce(&mut Inner)) -> Result<(), StoreError> {
        let mut inner = self.inner();
        if row.is_some() && self.audit_broken.load(Ordering::SeqCst) {
            return Err(StoreError("the audit trail cannot be written".into()));
        }
        inner.audit.extend(row);
        change(&mut inner);
        Ok(())
    }
}

impl Store for Memory {
    fn backlog(&self) -> Answered<'_, Backlog> {
        let mut counts = Counts::default();
        for detail in self.inner().entries.values() {
            match detail.row.state {
                EntryState::Waiting => counts.waiting += 1,
                EntryState::Sent => counts.sent += 1,
                EntryState::Accepted => counts.accepted += 1,
                EntryState::Held => counts.held += 1,
            }
        }
        let backlog =
            Backlog { counts, bytes: 1_000, quota_bytes: 1_000_000, writing: true, ..Backlog::default() };
        Box::pin(async move { Ok(backlog) })
    }

    fn entries(&self, filter: EntryFilter) -> Answered<'_, Page> {
        let all = self.inner();
        let fits = |row: &&EntryRow| {
            filter.before.is_none_or(|before| row.id < before)
                && filter.state.is_none_or(|state| row.state == state)
                && filter.link.as_deref().is_none_or(|link| *row.link == *link)
                && filter.device.as_deref().is_none_or(|device| row.device.as_deref() == Some(device))
        };
        let mut rows: Vec<EntryRow> =
            all.entries.values().rev().map(|detail| &detail.row).filter(fits).cloned().collect();
        let more = rows.len() > filter.limit as usize;
        rows.truncate(filter.limit as usize);
        let next = if more { rows.last().map(|row| row.id) } else { None };
        Box::pin(async move { Ok(Page { entries: rows, next }) })
    }

    fn entry(&self, id: i64) -> Answered<'_, Option<EntryDetail>> {
        let entry = self.inner().entries.get(&id).cloned();
        Box::pin(async move { Ok(entry) })
    }

    fn entry_state(&self, id: i64) -> Answered<'_, Option<EntryState>> {
        let state = self.inner().entries.get(&id).map(|detail| detail.row.state);
        Box::pin(async move { Ok(state) })
    }

    fn day(&self) -> Answered<'_, Day> {
        let rows: Vec<EntryRow> = self.inner().entries.values().map(|detail| detail.row.clone()).collect();
        let held = rows.iter().filter(|row| row.state == EntryState::Held).count() as u64;
        let quarter = QuarterView {
            begins: seconds_after_noon(0),
            entries: Some([("ward".into(), rows.len() as u64)].into()),
            held: [("ward".into(), held)].into(),
        };
        let unknown = QuarterView { begins: seconds_after_noon(-900), entries: None, held: BTreeMap::new() };
        Box::pin(async move { Ok(Day { quarters: vec![unknown, quarter], off: Vec::new() }) })
    }

    fn devices(&self) -> Answered<'_, Vec<KnownDevice>> {
        let known = KnownDevice {
            key: "ACME/Mon 1/42".into(),
            label: "ACME Mon 1".into(),
            manufacturer: "ACME".into(),
            model: "Mon 1".into(),
            link: "ward".into(),
            first_seen: seconds_after_noon(0),
        };
        Box::pin(async move { Ok(vec![known]) })
    }

    fn has_users(&self) -> Answered<'_, bool> {
        self.accounts.has_users()
    }

    fn user(&self, name: String) -> Answered<'_, Option<User>> {
        self.accounts.user(name)
    }

    fn add_first_user(&self, user: User, audit: AuditRow) -> Answered<'_, bool> {
        Box::pin(async move {
            if self.audit_broken.load(Ordering::SeqCst) {
                self.write(Some(audit.clone()), |_| ())?;
            }
            let added = self.accounts.add_first_user(user, audit.clone()).await?;
            if added {
                self.write(Some(audit), |_| ())?;
            }
            Ok(added)
        })
    }

    fn session(&self, token: TokenHash) -> Answered<'_, Option<Session>> {
        self.accounts.session(token)
    }

    fn begin_session(
        &self,
        session: Session,
        with: Vec<Change>,
        audit: Option<AuditRow>,
    ) -> Answered<'_, Result<(), String>> {
        let changes = with.into_iter().chain([Change::Session(session.written())]).collect();
        self.change_accounts(changes, audit)
    }

    fn use_session(&self, token: TokenHash, at: Timestamp) -> Answered<'_, ()> {
        self.accounts.use_session(token, at)
    }

    fn end_session(&self, token: TokenHash, audit: Option<AuditRow>) -> Answered<'_, ()> {
        Box::pin(async move {
            self.write(audit, |_| ())?;
            self.accounts.end_session(token, None).await
        })
    }

    fn purge_sessions(&self, now: Timestamp) -> Answered<'_, ()> {
        self.accounts.purge_sessions(now)
    }

    fn accounts(&self) -> &Reader {
        self.accounts.accounts()
    }

    fn change_accounts(
        &self,
        changes: Vec<Change>,
        audit: Option<AuditRow>,
    ) -> Answered<'_, Result<(), String>> {
        Box::pin(async move {
            if audit.is_some() && self.audit_broken.load(Ordering::SeqCst) {
                self.write(audit.clone(), |_| ())?;
            }
            let done = self.accounts.change_accounts(changes, None).await?;
            if done.is_ok() {
                self.write(audit, |_| ())?;
            }
            Ok(done)
        })
    }

    fn audit(&self, row: AuditRow) -> Answered<'_, ()> {
        let done = self.write(Some(row), |_| ());
        Box::pin(async move { done })
    }
}
