//! The store on the buffer: what the desk asks, in the buffer's words.

use crate::access::TokenHash;
use crate::buffer::{self, Buffer, BufferError, Change, NewAudit, Reader, State, UserRow};
use crate::clock::Timestamp;

use super::live::{AlarmView, Severity};
use super::store::{
    Answered, AuditRow, Backlog, Counts, Day, EntryDetail, EntryFilter, EntryRow, EntryState, Happened,
    KnownDevice, Page, QuarterView, Session, Store, StoreError, UpstreamAnswer, Uptime, User,
};

/// The buffer as the desk's store.
#[derive(Clone)]
pub struct Kept {
    buffer: Buffer,
    reader: Reader,
    day: buffer::Day,
}

impl Kept {
    /// On this buffer.
    pub fn new(buffer: Buffer) -> Self {
        let reader = buffer.reader();
        Self { buffer, reader, day: buffer::Day::default() }
    }

    async fn change(&self, change: Change, audit: Option<AuditRow>) -> Result<(), BufferError> {
        let audit = audit.as_ref().map(|row| Change::Audit(trail(row)));
        self.buffer.change([change].into_iter().chain(audit).collect()).await
    }
}

impl Store for Kept {
    fn backlog(&self) -> Answered<'_, Backlog> {
        Box::pin(async {
            let counts = self.reader.counts();
            let health = self.reader.health();
            let oldest_waiting = match counts.waiting {
                0 => None,
                _ => self.reader.oldest_waiting().await.map_err(fault)?,
            };
            Ok(Backlog {
                counts: Counts {
                    waiting: counts.waiting,
                    sent: counts.sent,
                    accepted: counts.accepted,
                    held: counts.held,
                },
                ledger: self.reader.ledger(),
                scrub: self.reader.scrubbed().await.map_err(fault)?,
                oldest_waiting,
                bytes: health.bytes,
                quota_bytes: health.max_bytes,
                writing: health.writing,
                alarms: health.alarms.into_iter().map(alarm).collect(),
            })
        })
    }

    fn entries(&self, filter: EntryFilter) -> Answered<'_, Page> {
        let filter = in_buffers_words(filter);
        Box::pin(async {
            let page = self.reader.entries(filter).await.map_err(fault)?;
            Ok(Page { entries: page.entries.into_iter().map(row).collect(), next: page.next })
        })
    }

    fn entry(&self, id: i64) -> Answered<'_, Option<EntryDetail>> {
        Box::pin(async move { Ok(self.reader.entry(id).await.map_err(fault)?.map(detail)) })
    }

    fn entry_state(&self, id: i64) -> Answered<'_, Option<EntryState>> {
        // The one page whose only entry this can be: the frame itself stays on the disk.
        let filter = EntryFilter { before: id.checked_add(1), limit: 1, ..EntryFilter::default() };
        Box::pin(async move {
            let page = self.entries(filter).await?;
            Ok(page.entries.first().filter(|row| row.id == id).map(|row| row.state))
        })
    }

    fn day(&self) -> Answered<'_, Day> {
        Box::pin(async {
            let quarters = self.reader.day(&self.day).await.map_err(fault)?;
            let view = |quarter: buffer::Quarter| QuarterView {
                begins: Timestamp::from_micros(quarter.begins, true),
                entries: quarter.entries,
                held: quarter.held,
            };
            let quarters: Vec<QuarterView> = quarters.into_iter().map(view).collect();
            let ran = Uptime::read(self.reader.setting(Uptime::SETTING).await.map_err(fault)?.as_deref());
            let off = quarters.first().map(|first| ran.off(first.begins)).unwrap_or_default();
            Ok(Day { quarters, off })
        })
    }

    fn devices(&self) -> Answered<'_, Vec<KnownDevice>> {
        Box::pin(async {
            let devices = self.reader.devices().await.map_err(fault)?;
            let view = |row: buffer::DeviceRow| KnownDevice {
                key: row.key,
                label: row.label,
                manufacturer: row.manufacturer,
                model: row.model,
                link: row.link,
                first_seen: Timestamp::from_micros(row.first_seen, true),
            };
            Ok(devices.into_iter().map(view).collect())
        })
    }

    fn has_users(&self) -> Answered<'_, bool> {
        Box::pin(async { Ok(!self.reader.users().await.map_err(fault)?.is_empty()) })
    }

    fn user(&self, name: String) -> Answered<'_, Option<User>> {
        Box::pin(async move { Ok(self.reader.user(&name).await.map_err(fault)?.and_then(User::read)) })
    }

    fn add_first_user(&self, user: User, audit: AuditRow) -> Answered<'_, bool> {
        let row = UserRow::local(&user.name, &user.password_hash, user.role.as_str(), user.created);
        Box::pin(async move {
            match self.change(Change::FirstUser(row), Some(audit)).await {
                Ok(()) => Ok(true),
                Err(BufferError::NotAllowed(_)) => Ok(false),
                Err(other) => Err(fault(other)),
            }
        })
    }

    fn session(&self, token: TokenHash) -> Answered<'_, Option<Session>> {
        Box::pin(async move {
            Ok(self.reader.session(token.0.to_vec()).await.map_err(fault)?.and_then(Session::read))
        })
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
        let change = Change::UseSession { id_hash: token.0.to_vec(), at };
        Box::pin(async { self.change(change, None).await.map_err(fault) })
    }

    fn end_session(&self, token: TokenHash, audit: Option<AuditRow>) -> Answered<'_, ()> {
        let change = Change::EndSession { id_hash: token.0.to_vec() };
        Box::pin(async { self.change(change, audit).await.map_err(fault) })
    }

    fn purge_sessions(&self, now: Timestamp) -> Answered<'_, ()> {
        Box::pin(async move { self.change(Change::EndExpiredSessions { now }, None).await.map_err(fault) })
    }

    fn accounts(&self) -> &Reader {
        &self.reader
    }

    fn change_accounts(
        &self,
        changes: Vec<Change>,
        audit: Option<AuditRow>,
    ) -> Answered<'_, Result<(), String>> {
        let audit = audit.map(|row| Change::Audit(trail(&row)));
        let changes = changes.into_iter().chain(audit).collect();
        Box::pin(async move {
            match self.buffer.change(changes).await {
                Ok(()) => Ok(Ok(())),
                Err(BufferError::NotAllowed(why)) => Ok(Err(why)),
                Err(other) => Err(fault(other)),
            }
        })
    }

    fn audit(&self, row: AuditRow) -> Answered<'_, ()> {
        Box::pin(async move { self.buffer.audit(trail(&row)).await.map_err(fault) })
    }
}

fn fault(fault: BufferError) -> StoreError {
    StoreError(fault.to_string())
}

fn alarm(alarm: buffer::Alarm) -> AlarmView {
    let severity = match alarm.severity {
        buffer::Severity::Warning => Severity::Warning,
        buffer::Severity::Critical => Severity::Critical,
    };
    let buffer::Alarm { code, title, next_step, since, .. } = alarm;
    AlarmView { code: code.into(), severity, title, next_step, since }
}

/// A filter in the words of the buffer.
pub(crate) fn in_buffers_words(filter: EntryFilter) -> buffer::EntryFilter {
    let EntryFilter { state, link, device, before, from, until, kind, message, reason, text, limit } = filter;
    let state = state.map(buffers);
    buffer::EntryFilter { state, link, device, before, from, until, kind, message, reason, text, limit }
}

const fn buffers(state: EntryState) -> State {
    match state {
        EntryState::Waiting => State::Waiting,
        EntryState::Sent => State::Sent,
        EntryState::Accepted => State::Accepted,
        EntryState::Held => State::Held,
    }
}

/// A row in the words of the desk.
pub(crate) fn row(row: buffer::EntryRow) -> EntryRow {
    let state = match row.state {
        State::Waiting => EntryState::Waiting,
        State::Sent => EntryState::Sent,
        State::Accepted => EntryState::Accepted,
        State::Held => EntryState::Held,
    };
    EntryRow {
        id: row.id,
        received: row.received,
        link: row.link.into(),
        peer: row.peer.into(),
        device: row.device,
        state,
        reason: row.reason,
        bytes: row.bytes,
        summary: row.summary,
        attempts: row.attempts,
        repeats: row.repeats,
        kind: row.headline.kind,
        message: row.headline.control,
    }
}

fn detail(detail: buffer::EntryDetail) -> EntryDetail {
    let buffer::EntryDetail { row: about, bytes, topic, sha256, intact, warnings, answer, timeline } = detail;
    EntryDetail {
        row: row(about),
        frame: bytes,
        intact,
        topic: topic.map(Into::into),
        sha256: sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
        warnings,
        answer: answer.map(|(at, body)| UpstreamAnswer { at, status: status(&body), body }),
        timeline: timeline.into_iter().map(|(at, what)| Happened { at, what }).collect(),
    }
}

/// The HTTP status in an answer: its own, else the highest of its resources.
fn status(answer: &str) -> Option<u16> {
    let answer: serde_json::Value = serde_json::from_str(answer).ok()?;
    let of = |value: &serde_json::Value| {
        value.get("status")?.as_u64().and_then(|status| u16::try_from(status).ok())
    };
    of(&answer).or_else(|| answer.get("resources")?.as_array()?.iter().filter_map(of).max())
}

/// One line of the trail: `done 42 from 10.0.0.7; note`.
fn trail(row: &AuditRow) -> NewAudit {
    let mut detail = String::from(row.outcome.as_str());
    if let Some(target) = &row.target {
        detail.push_str(&format!(" {target}"));
    }
    detail.push_str(&format!(" from {}", row.from));
    if let Some(note) = &row.note {
        detail.push_str(&format!("; {note}"));
    }
    NewAudit { who: row.actor.clone().unwrap_or_else(|| "unknown".into()), what: row.action.into(), detail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Role, SESSION_LIFE, Stage, Token};
    use crate::admin::samples::{NOON, seconds_after_noon};
    use crate::admin::store::Outcome;
    use crate::buffer::{Config, Mark, NewFrame, Transition};
    use crate::clock::TestClock;

    struct Rig {
        kept: Kept,
        buffer: Buffer,
        _dir: tempfile::TempDir,
    }

    fn fresh() -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { dir: dir.path().into(), ..Config::default() };
        let buffer = Buffer::open(&config, TestClock::at(NOON)).unwrap();
        Rig { kept: Kept::new(buffer.clone()), buffer, _dir: dir }
    }

    fn line(action: &'static str, target: Option<&str>) -> AuditRow {
        AuditRow {
            at: seconds_after_noon(0),
            actor: Some("anna".into()),
            action,
            target: target.map(Into::into),
            outcome: Outcome::Done,
            from: "10.0.0.7".into(),
            note: None,
        }
    }

    fn user(name: &str) -> User {
        User::local(name, Role::Admin, "$x".into(), seconds_after_noon(0))
    }

    #[tokio::test]
    async fn only_one_user_can_be_the_first_and_the_refused_one_leaves_no_line() {
        let b = fresh();
        assert!(!b.kept.has_users().await.unwrap());
        assert!(b.kept.add_first_user(user("anna"), line("setup", Some("anna"))).await.unwrap());
        assert!(!b.kept.add_first_user(user("eve"), line("setup", Some("eve"))).await.unwrap());
        assert_eq!(b.kept.user("anna".into()).await.unwrap().unwrap().role, Role::Admin);
        assert!(b.kept.user("eve".into()).await.unwrap().is_none());
        let rows = b.buffer.reader().audit(None, 10).await.unwrap();
        let lines: Vec<_> = rows.iter().map(|row| (&*row.who, &*row.what, &*row.detail)).collect();
        assert_eq!(lines, [("anna", "setup", "done anna from 10.0.0.7")]);
    }

    #[tokio::test]
    async fn a_session_lives_in_the_buffer_until_it_ends() {
        let b = fresh();
        b.kept.add_first_user(user("anna"), line("setup", None)).await.unwrap();
        let token = Token::make().unwrap().hash();
        let now = seconds_after_noon(0);
        let mut session = Session {
            id: 0,
            token,
            user: "anna".into(),
            stage: Stage::Factor,
            created: now,
            last_seen: now,
            expires: now.plus(SESSION_LIFE),
            proven: now,
            peer: "10.0.0.7".into(),
            agent: "Fox".into(),
        };
        b.kept.begin_session(session.clone(), Vec::new(), Some(line("login", None))).await.unwrap().unwrap();
        session.id = 1;
        assert_eq!(b.kept.session(token).await.unwrap(), Some(session.clone()));
        b.kept.use_session(token, seconds_after_noon(60)).await.unwrap();
        assert_eq!(
            b.kept.session(token).await.unwrap().unwrap().last_seen.micros,
            seconds_after_noon(60).micros
        );
        b.kept.purge_sessions(seconds_after_noon(60)).await.unwrap();
        assert!(b.kept.session(token).await.unwrap().is_some());
        b.kept.purge_sessions(now.plus(SESSION_LIFE)).await.unwrap();
        assert!(b.kept.session(token).await.unwrap().is_none());
        b.kept.begin_session(session, Vec::new(), None).await.unwrap().unwrap();
        b.kept.end_session(token, Some(line("logout", None))).await.unwrap();
        assert!(b.kept.session(token).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn entries_are_told_as_they_stand() {
        let b = fresh();
        for held in [None, Some(String::from("not HL7: no MSH"))] {
            let frame = NewFrame {
                link: "ward".into(),
                peer: "10.0.0.9:1".into(),
                received: seconds_after_noon(0),
                bytes: "MSH|".into(),
                topic: None,
                dedupe: false,
                warnings: vec!["no start block".into()],
                held,
            };
            b.buffer.keep(frame).await.unwrap();
        }
        let answer = r#"{"resources":[{"status":200,"at":"x"},{"status":201,"at":"y"}]}"#;
        b.buffer.mark(vec![Mark { id: 1, to: Transition::Sent }]).await.unwrap();
        b.buffer
            .mark(vec![Mark { id: 1, to: Transition::Accepted { answer: answer.into() } }])
            .await
            .unwrap();
        let backlog = b.kept.backlog().await.unwrap();
        assert_eq!(backlog.counts, Counts { waiting: 0, sent: 0, accepted: 1, held: 1 });
        assert!(backlog.writing && backlog.quota_bytes > 0 && backlog.bytes > 0);
        assert_eq!(b.kept.entry_state(1).await.unwrap(), Some(EntryState::Accepted));
        assert_eq!(b.kept.entry_state(2).await.unwrap(), Some(EntryState::Held));
        assert_eq!(b.kept.entry_state(3).await.unwrap(), None);
        let one = b.kept.entry(1).await.unwrap().unwrap();
        assert_eq!((one.frame.as_ref(), one.intact, one.sha256.len()), (&b"MSH|"[..], true, 64));
        assert_eq!(one.answer.unwrap().status, Some(201));
        let held = EntryFilter { state: Some(EntryState::Held), limit: 10, ..EntryFilter::default() };
        let page = b.kept.entries(held).await.unwrap();
        assert_eq!(page.entries[0].reason.as_deref(), Some("not HL7: no MSH"));
    }

    #[tokio::test]
    async fn a_closed_buffer_refuses_what_would_have_been_written_down() {
        let b = fresh();
        b.buffer.close().await;
        assert!(b.kept.audit(line("entry.release", Some("1"))).await.is_err());
        assert!(!b.kept.backlog().await.unwrap().writing);
    }

    #[test]
    fn the_status_of_an_answer_is_found_where_it_is() {
        assert_eq!(status(r#"{"text":"no","status":422}"#), Some(422));
        assert_eq!(status("no JSON"), None);
        assert_eq!(status(r#"{"resources":[]}"#), None);
    }
}
