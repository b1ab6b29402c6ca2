//! For everyone who looks and does not touch: the deliverer, the desk, the metrics. Connections that cannot
//! write, used on threads that may block.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::{Semaphore, watch};

use super::audit::{self, AuditCheck, AuditFilter, AuditRow, AuditSeal};
use super::browse::{self, EntryDetail, EntryFilter, Page};
use super::health::{Counts, Figures, Health, Shared};
use super::job::Suspicion;
use super::ledger::Ledger;
use super::lending::Pool;
use super::registry::{self, DeviceRow};
use super::{BufferError, Refused, State, Wanted, Writer, compact, sha256, store};
use crate::clock::Timestamp;
use crate::sabotage::{Sabotage, commits};

/// Connections reading at the same time.
const CONNECTIONS: usize = 4;

/// The reading side of the buffer. Cheap to clone; all calls may be made from async code.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
    writer: Writer,
    pool: Arc<Pool>,
    permits: Arc<Semaphore>,
}

/// A kept frame whose bytes were verified, as the deliverer needs it.
#[derive(Clone)]
pub struct Stored {
    pub id: i64,
    pub link: Arc<str>,
    pub peer: Arc<str>,
    pub received: Timestamp,
    pub bytes: Bytes,
    pub topic: Option<Arc<str>>,
    pub sha256: [u8; 32],
    /// The device's key, once decoding has told it.
    pub device: Option<Arc<str>>,
    /// Times it was sent already.
    pub attempts: u32,
    /// It was held or accepted before: entries that came after it may have gone already.
    pub late: bool,
}

impl std::fmt::Debug for Stored {
    /// Sizes only: frames hold patient data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stored(entry {}, {} bytes from link {})", self.id, self.bytes.len(), self.link)
    }
}

/// What can be delivered now.
#[derive(Clone, Debug, Default)]
pub struct Waiting {
    /// In the order of arrival.
    pub entries: Vec<Stored>,
    /// When the first of those left out because of their `retry_after` may be tried.
    pub next_try: Option<Timestamp>,
    /// The id to ask on from: entries up to it were looked at.
    pub through: i64,
    /// Entries up to it were all left out because of [`Wanted::behind`].
    pub lead: i64,
}

/// Entries left out in one go because of [`Wanted::behind`].
pub(super) const EXAMINED: usize = 5_000;

pub(super) const DELAYED: &str =
    "SELECT id, link, device, next_try FROM entry WHERE next_try IS NOT NULL AND next_try > ?1";
pub(super) const NEXT_WAITING: &str =
    "SELECT id, link, device FROM entry WHERE state < 3 AND state = 0 AND id > ?1 ORDER BY id";

/// What was delivered has an answer; what held nothing to deliver has none.
const GONE: &str = "SELECT id FROM entry WHERE id > ?2 AND device = (SELECT device FROM entry WHERE id = ?1)
    AND (state = 1 OR (state = 3 AND answer IS NOT NULL)) ORDER BY id LIMIT ?3";
const GONE_THERE: &str = "SELECT entry FROM outgoing
    WHERE destination = (SELECT id FROM destination WHERE name = ?4) AND entry > ?2 AND part = 0
    AND lane = (SELECT coalesce(device * 2, link * 2 + 1) FROM entry WHERE id = ?1)
    AND (state = 1 OR (state = 3 AND answer IS NOT NULL)) ORDER BY entry LIMIT ?3";

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, writer: Writer) -> Self {
        let pool = shared.lending.pool();
        Self { shared, writer, pool, permits: Arc::new(Semaphore::new(CONNECTIONS)) }
    }

    /// Runs `ask` on a connection of the pool, on a thread that may block.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        doing: &'static str,
        ask: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, BufferError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| Refused::closed())?;
        let (pool, shared) = (Arc::clone(&self.pool), Arc::clone(&self.shared));
        let answered = tokio::task::spawn_blocking(move || {
            let answer = pool.ask(&shared, ask);
            drop(permit);
            answer
        });
        answered.await.map_err(|_| Refused::closed())?.map_err(|source| self.failed(doing, source))
    }

    /// Reading failed: the writer hears of what it has to see to.
    fn failed(&self, doing: &'static str, source: rusqlite::Error) -> BufferError {
        let suspicion = match () {
            () if store::damaged(&source) => Some(Suspicion::Damage),
            () if store::locked(&source) => Some(Suspicion::Lock),
            () => None,
        };
        if let Some((what, writer)) = suspicion.zip(self.writer.upgrade()) {
            writer.suspect(what);
        }
        BufferError::Storage { doing, source }
    }

    /// Runs `ask` at once, on the caller's thread: for a few rows by their key, where the caller cannot wait.
    pub(super) fn read_now<T>(
        &self,
        doing: &'static str,
        ask: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, BufferError> {
        self.pool.ask(&self.shared, ask).map_err(|source| self.failed(doing, source))
    }

    /// Entries waiting for delivery after `after`, in the order they came, at most `limit` of them and about
    /// `max_bytes` (one is always given). What has a `retry_after` in the future is left out, and so is everything
    /// behind it that is of the same device, or of the same link while its device is not known: nothing is
    /// overtaken. Bytes are verified; an entry whose bytes changed is held, and left out.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn waiting(&self, after: i64, limit: usize, max_bytes: usize) -> Result<Waiting, BufferError> {
        self.waiting_for(Wanted { after, limit, max_bytes, behind: None }).await
    }

    /// As [`waiting`](Self::waiting), without the devices that `wanted` names: they have a backlog, and nothing of theirs is
    /// overtaken.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn waiting_for(&self, wanted: Wanted) -> Result<Waiting, BufferError> {
        let now = self.shared.clock.now();
        let find = move |conn: &Connection| find_waiting(conn, now, &wanted);
        let (waiting, changed) = self.read("reading what waits", find).await?;
        for id in changed {
            self.quarantine(id);
        }
        Ok(waiting)
    }

    /// Everything about one entry; `None` when there is no such entry. Bytes are verified, see `intact`.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn entry(&self, id: i64) -> Result<Option<EntryDetail>, BufferError> {
        let detail = self.read("reading an entry", move |conn| browse::entry(conn, id)).await?;
        if detail.as_ref().is_some_and(|detail| !detail.intact) {
            self.quarantine(id);
        }
        Ok(detail)
    }

    pub(super) fn raise_copy_changed(&self, id: i64) {
        self.shared.raise_copy_changed(id);
    }

    pub(super) fn quarantine(&self, id: i64) {
        self.shared.raise_changed(id);
        if let Some(writer) = self.writer.upgrade() {
            writer.quarantine(id);
        }
    }

    /// Entries of the device of entry `of` that a destination (`None`: the main server) has or is being sent, after entry
    /// `after` in the order they came; what cannot be read any more is left out.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn gone_after(
        &self,
        destination: Option<&str>,
        of: i64,
        after: i64,
        limit: usize,
    ) -> Result<Vec<Stored>, BufferError> {
        let destination = destination.map(ToOwned::to_owned);
        let find = move |conn: &Connection| {
            let number = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let ids: Vec<i64> = match destination {
                Some(name) => conn
                    .prepare_cached(GONE_THERE)?
                    .query_map(params![of, after, limit, name], number)?
                    .collect::<rusqlite::Result<_>>()?,
                None => conn
                    .prepare_cached(GONE)?
                    .query_map(params![of, after, limit], number)?
                    .collect::<rusqlite::Result<_>>()?,
            };
            let stored =
                ids.into_iter().map(|id| read_stored(conn, id)).collect::<rusqlite::Result<Vec<_>>>()?;
            Ok(stored.into_iter().flatten().collect())
        };
        self.read("reading what went before a late entry", find).await
    }

    /// A page of entries, the latest first.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn entries(&self, filter: EntryFilter) -> Result<Page, BufferError> {
        self.read("reading entries", move |conn| browse::entries(conn, &filter)).await
    }

    /// Where these entries stand now; those that are gone are left out.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn states(&self, ids: Vec<i64>) -> Result<Vec<(i64, State)>, BufferError> {
        self.read("reading where entries stand", move |conn| browse::states(conn, &ids)).await
    }

    /// When the frame arrived that waits longest, delivered or held ones aside.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn oldest_waiting(&self) -> Result<Option<Timestamp>, BufferError> {
        self.read("reading what waits longest", browse::oldest_waiting).await
    }

    /// All devices this box has heard of, by key.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn devices(&self) -> Result<Vec<DeviceRow>, BufferError> {
        self.read("reading the devices", registry::read_devices).await
    }

    /// A setting.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn setting(&self, key: &str) -> Result<Option<String>, BufferError> {
        let key = key.to_owned();
        self.read("reading a setting", move |conn| registry::read_setting(conn, &key)).await
    }

    /// The settings whose keys begin with `prefix`, by key without it.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn settings(&self, prefix: &str) -> Result<Vec<(String, String)>, BufferError> {
        let prefix = prefix.to_owned();
        self.read("reading settings", move |conn| registry::read_settings(conn, &prefix)).await
    }

    /// The latest audit rows before `before`, newest first.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn audit(&self, before: Option<i64>, limit: u32) -> Result<Vec<AuditRow>, BufferError> {
        let wanted = AuditFilter { before, limit, ..AuditFilter::default() };
        Ok(self.audit_page(wanted).await?.0)
    }

    /// The audit rows that are wanted, newest first, and the id to ask on from when there may be more.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn audit_page(&self, wanted: AuditFilter) -> Result<(Vec<AuditRow>, Option<i64>), BufferError> {
        self.read("reading the audit trail", move |conn| audit::page(conn, &wanted)).await
    }

    /// The audit rows behind `after`, oldest first.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn audit_after(&self, after: i64, limit: u32) -> Result<Vec<AuditRow>, BufferError> {
        self.read("reading the audit trail", move |conn| audit::after(conn, after, limit)).await
    }

    /// How many rows the audit trail has, and the hash of the last one.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn audit_head(&self) -> Result<(u64, Vec<u8>), BufferError> {
        let (rows, head) = self.read("reading the audit trail", audit::head).await?;
        Ok((rows.unsigned_abs(), head))
    }

    /// Checks the whole audit trail.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn verify_audit(&self) -> Result<AuditCheck, BufferError> {
        self.verify_audit_with(None).await
    }

    /// The same, against the seal too.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn verify_audit_with(&self, seal: Option<AuditSeal>) -> Result<AuditCheck, BufferError> {
        let check = move |conn: &Connection| {
            // The rows and their count are of one moment.
            let snapshot = conn.unchecked_transaction()?;
            audit::verify(&snapshot, seal.as_ref())
        };
        self.read("checking the audit trail", check).await
    }

    pub(super) fn shared_clock(&self) -> &crate::clock::SharedClock {
        &self.shared.clock
    }

    /// How many entries there are in each state, as of the last commit.
    pub fn counts(&self) -> Counts {
        self.shared.counts()
    }

    /// Where everything went that came to this box, as of the last commit.
    pub fn ledger(&self) -> Ledger {
        self.shared.ledger()
    }

    /// What the writer has done since the start.
    pub fn figures(&self) -> Figures {
        self.shared.figures()
    }

    /// Room, faults and alarms.
    pub fn health(&self) -> Health {
        self.shared.health()
    }

    /// Changes with every commit; the deliverer and the live view wait on it.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }
}

/// Finds what can be delivered now, and the ids of those whose bytes are not what they were.
fn find_waiting(conn: &Connection, now: Timestamp, wanted: &Wanted) -> rusqlite::Result<(Waiting, Vec<i64>)> {
    let after = wanted.after;
    let is_behind =
        |device: Option<i64>| wanted.behind.as_ref().is_some_and(|all| all.contains(&device.unwrap_or(0)));
    // One snapshot for both questions: an entry must not become delayed between them.
    let conn = conn.unchecked_transaction()?;
    let delayed = Delayed::read(&conn, now)?;
    let mut found = Waiting { next_try: delayed.next_try, through: after, lead: after, ..Waiting::default() };
    let mut next = conn.prepare_cached(NEXT_WAITING)?;
    let mut rows = next.query([after])?;
    let candidates = || {
        let Some(row) = rows.next()? else { return Ok(None) };
        let (id, link, device) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(Some(Candidate {
            id,
            behind: is_behind(device),
            stopped: delayed.stops(id, link, device),
            own: None,
        }))
    };
    let changed = gather(&conn, wanted, &mut found, candidates)?;
    Ok((found, changed))
}

/// One entry of a queue, in its order.
pub(super) struct Candidate {
    pub(super) id: i64,
    /// Older entries of its kind wait: it is the backlog's turn to take it.
    pub(super) behind: bool,
    /// It has to wait, itself or for one before it.
    pub(super) stopped: bool,
    /// Tries so far and whether it is late, where the queue counts its own.
    pub(super) own: Option<(u32, bool)>,
}

/// Fills `found` up to what is wanted; the ids of those whose bytes are not what they were.
pub(super) fn gather(
    conn: &Connection,
    wanted: &Wanted,
    found: &mut Waiting,
    mut next: impl FnMut() -> rusqlite::Result<Option<Candidate>>,
) -> rusqlite::Result<Vec<i64>> {
    let (mut bytes, mut examined, mut changed) = (0, 0, Vec::new());
    while found.entries.len() < wanted.limit
        && let Some(candidate) = next()?
    {
        if candidate.behind {
            if found.lead == found.through {
                found.lead = candidate.id;
            }
            found.through = candidate.id;
            examined += 1;
            if examined >= EXAMINED {
                break;
            }
            continue;
        }
        if !candidate.stopped {
            match read_stored(conn, candidate.id)? {
                Some(stored) => {
                    bytes += stored.bytes.len();
                    if bytes > wanted.max_bytes && !found.entries.is_empty() {
                        break;
                    }
                    let (attempts, late) = candidate.own.unwrap_or((stored.attempts, stored.late));
                    found.entries.push(Stored { attempts, late, ..stored });
                }
                None => changed.push(candidate.id),
            }
        }
        found.through = candidate.id;
    }
    Ok(changed)
}

/// Entries that wait for their time, and whom they stop: device → first id, link → first id.
#[derive(Default)]
struct Delayed {
    next_try: Option<Timestamp>,
    devices: HashMap<i64, i64>,
    /// By any entry of the link: stops those whose device is not known yet.
    links: HashMap<i64, i64>,
    /// By an entry whose own device is not known yet: stops the whole link.
    whole_links: HashMap<i64, i64>,
}

impl Delayed {
    fn read(conn: &Connection, now: Timestamp) -> rusqlite::Result<Self> {
        let mut delayed = Self::default();
        let mut all = conn.prepare_cached(DELAYED)?;
        let mut rows = all.query([now.micros])?;
        let first = |of: &mut HashMap<i64, i64>, key, id: i64| {
            of.entry(key).and_modify(|first| *first = id.min(*first)).or_insert(id);
        };
        while let Some(row) = rows.next()? {
            let (id, link, device, at): (i64, i64, Option<i64>, i64) =
                (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            first(&mut delayed.links, link, id);
            match device {
                Some(device) => first(&mut delayed.devices, device, id),
                None => first(&mut delayed.whole_links, link, id),
            }
            let at = Timestamp::from_micros(at, now.synchronised);
            delayed.next_try = Some(delayed.next_try.map_or(at, |earliest| earliest.min(at)));
        }
        Ok(delayed)
    }

    /// Whether an entry is delayed itself or would overtake one that is.
    fn stops(&self, id: i64, link: i64, device: Option<i64>) -> bool {
        let reached = |of: &HashMap<i64, i64>, key| of.get(&key).is_some_and(|first| *first <= id);
        match device {
            Some(device) => reached(&self.devices, device) || reached(&self.whole_links, link),
            None => reached(&self.links, link),
        }
    }
}

/// Reads and verifies a frame: between the disk and the one who uses it. `None` when it is not what it was.
pub(super) fn read_stored(conn: &Connection, id: i64) -> rusqlite::Result<Option<Stored>> {
    conn.prepare_cached(
        "SELECT coalesce(link.name, ''), frame.peer, frame.received, frame.synchronised, frame.topic, frame.sha256, frame.bytes,
                device.key, entry.attempts, frame.packed, entry.late
         FROM entry JOIN frame ON frame.id = entry.id LEFT JOIN link ON link.id = entry.link
         LEFT JOIN device ON device.id = entry.device WHERE entry.id = ?1",
    )?
    .query_row(params![id], |row| {
        Ok(Stored {
            id,
            link: row.get(0)?,
            peer: row.get(1)?,
            received: Timestamp::from_micros(row.get(2)?, row.get(3)?),
            topic: row.get(4)?,
            // A hash of another length matches nothing, and is found to be changed.
            sha256: row.get_ref(5)?.as_blob()?.try_into().unwrap_or([0; 32]),
            bytes: compact::frame(row.get_ref(6)?.as_blob()?, row.get(9)?).into_owned().into(),
            device: row.get(7)?,
            attempts: row.get(8)?,
            late: row.get::<_, Option<bool>>(10)?.unwrap_or(false),
        })
    })
    .optional()
    .map(|stored| stored.filter(|stored| sha256(&stored.bytes) == stored.sha256 || commits(Sabotage::SkipHash)))
}
