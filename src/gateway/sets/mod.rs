//! Many entries at once, as the desk asks for them: what is held and why, sets frozen before they are done, and what would be
//! sent beside what the server holds.
//!
//! *Invariants:* a set is exactly the entries that were told with it; doing it twice does it once; an entry that is somewhere
//! else by then is left as it is.

mod compare;
mod held;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::admin::command::Refusal;
use crate::admin::sets::{self, Comparison, Deed, HeldView, SavedView, SetView, SetWanted, TYPED_ABOVE};
use crate::buffer::{Buffer, BufferError, Change, Mark, NewAudit, State, Transition};
use crate::clock::{SharedClock, Timestamp};
use crate::connector::Later;
use crate::gateway::understand::Understanding;
use crate::upstream::Upstream;

/// A set of more entries wants a narrower filter.
const MOST: usize = 100_000;
/// Sets remembered at once.
const SETS_MAX: usize = 32;
/// How long a set can be begun.
const LIFE: Duration = Duration::from_secs(15 * 60);
/// Entries done in one commit.
const AT_ONCE: usize = 200;
/// Entries to a page of the buffer.
const PAGE: u32 = 500;
/// Devices told of a set.
const DEVICES_TOLD: usize = 20;
/// Under which views are kept: `view:<user>U+001F<name>`.
const VIEW: &str = "view:";
const BETWEEN: char = '\u{1f}';
const VIEWS_MAX: usize = 50;

/// Sets as the gateway carries them out.
pub(super) struct Sets {
    buffer: Buffer,
    understanding: Arc<Understanding>,
    upstream: Option<Arc<Upstream>>,
    clock: SharedClock,
    wake: Arc<Notify>,
    frozen: Arc<Mutex<Vec<Frozen>>>,
}

struct Frozen {
    who: String,
    view: SetView,
    ids: Arc<[i64]>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(fault: BufferError) -> Refusal {
    Refusal::Failed(fault.to_string())
}

/// What was found for a set.
#[derive(Default)]
struct Found {
    ids: Vec<i64>,
    left_out: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    devices: HashMap<String, u64>,
}

/// Whether the deed can be done to an entry in this state.
const fn can(deed: Deed, state: State) -> bool {
    matches!((deed, state), (_, State::Held) | (Deed::Replay, State::Accepted))
}

impl Sets {
    pub(super) fn new(
        buffer: Buffer,
        understanding: Arc<Understanding>,
        upstream: Option<Arc<Upstream>>,
        clock: SharedClock,
        wake: Arc<Notify>,
    ) -> Self {
        Self { buffer, understanding, upstream, clock, wake, frozen: Arc::default() }
    }

    async fn find(&self, wanted: SetWanted) -> Result<Found, Refusal> {
        let deed = wanted.deed;
        let mut filter = crate::admin::in_buffers_words(wanted.filter);
        if deed == Deed::Release {
            filter.state = Some(State::Held);
        }
        filter.limit = PAGE;
        let (reader, mut found) = (self.buffer.reader(), Found::default());
        loop {
            let page = reader.entries(filter.clone()).await.map_err(failed)?;
            for row in page.entries {
                if !can(deed, row.state) {
                    found.left_out += 1;
                    continue;
                }
                if found.ids.len() == MOST {
                    let text = format!("more than {MOST} entries fit: choose a shorter time or one device");
                    return Err(Refusal::Conflict(text));
                }
                found.ids.push(row.id);
                found.first = Some(found.first.map_or(row.received, |first| first.min(row.received)));
                found.last = Some(found.last.map_or(row.received, |last| last.max(row.received)));
                *found.devices.entry(row.device.unwrap_or_else(|| "?".into())).or_default() += 1;
            }
            match page.next {
                Some(next) => filter.before = Some(next),
                None => return Ok(found),
            }
        }
    }

    fn targets(&self) -> Vec<String> {
        let server = |upstream: &Arc<Upstream>| {
            let standing = upstream.state();
            format!("{} ({})", standing.name, standing.base)
        };
        self.upstream.iter().map(server).collect()
    }

    async fn frozen(&self, who: String, wanted: SetWanted) -> Result<SetView, Refusal> {
        let deed = wanted.deed;
        let mut found = self.find(wanted).await?;
        if found.ids.is_empty() {
            let why = match deed {
                Deed::Release => "no held entry fits: there is nothing to release",
                Deed::Replay => "no accepted or held entry fits: there is nothing to send again",
            };
            return Err(Refusal::Conflict(why.into()));
        }
        // The oldest first: that is the order in which they go.
        found.ids.sort_unstable();
        let mut devices: Vec<(String, u64)> = found.devices.into_iter().collect();
        devices.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let (devices_all, count) = (devices.len() as u64, found.ids.len() as u64);
        devices.truncate(DEVICES_TOLD);
        let now = self.clock.now();
        let view = SetView {
            token: uuid::Uuid::new_v4().simple().to_string(),
            deed,
            count,
            first: found.first,
            last: found.last,
            devices,
            devices_all,
            targets: self.targets(),
            left_out: found.left_out,
            confirm: count > TYPED_ABOVE,
            until: now.plus(LIFE),
            state: "frozen",
            done: 0,
            skipped: 0,
            detail: String::new(),
        };
        let mut frozen = lock(&self.frozen);
        frozen.retain(|set| set.view.state == "running" || set.view.until > now);
        if frozen.len() >= SETS_MAX {
            let idle = frozen.iter().position(|set| set.view.state != "running");
            let busy = || Refusal::Conflict("too many sets are being worked on: wait for one to end".into());
            frozen.remove(idle.ok_or_else(busy)?);
        }
        frozen.push(Frozen { who, view: view.clone(), ids: found.ids.into() });
        Ok(view)
    }

    fn begin(&self, who: &str, token: &str) -> Result<SetView, Refusal> {
        let now = self.clock.now();
        let mut frozen = lock(&self.frozen);
        let set = frozen.iter_mut().find(|set| set.who == who && set.view.token == token);
        let set = set.ok_or(Refusal::Unknown)?;
        if set.view.state != "frozen" {
            return Ok(set.view.clone());
        }
        if set.view.until <= now {
            return Err(Refusal::Conflict("the set is older than a quarter of an hour: look again".into()));
        }
        set.view.state = "running";
        let work = Work {
            buffer: self.buffer.clone(),
            wake: self.wake.clone(),
            frozen: self.frozen.clone(),
            token: token.to_owned(),
            who: who.to_owned(),
            deed: set.view.deed,
            ids: set.ids.clone(),
        };
        tokio::spawn(work.run());
        Ok(set.view.clone())
    }

    async fn kept_views(&self, who: String) -> Result<Vec<SavedView>, Refusal> {
        let prefix = format!("{VIEW}{who}{BETWEEN}");
        let kept = self.buffer.reader().settings(&prefix).await.map_err(failed)?;
        Ok(kept.into_iter().map(|(name, terms)| SavedView { name, terms }).collect())
    }

    async fn keep_view(&self, who: String, view: SavedView) -> Result<(), Refusal> {
        let kept = self.kept_views(who.clone()).await?;
        if kept.len() >= VIEWS_MAX && !kept.iter().any(|known| known.name == view.name) {
            return Err(Refusal::Conflict(format!("there are {VIEWS_MAX} views already: remove one first")));
        }
        let key = format!("{VIEW}{who}{BETWEEN}{}", view.name);
        self.buffer.put_setting(&key, &view.terms).await.map_err(failed)
    }

    async fn forget_view(&self, who: String, name: String) -> Result<(), Refusal> {
        let key = format!("{VIEW}{who}{BETWEEN}{name}");
        self.buffer.change(vec![Change::RemoveSetting { key }]).await.map_err(failed)
    }
}

/// A set that is being done.
struct Work {
    buffer: Buffer,
    wake: Arc<Notify>,
    frozen: Arc<Mutex<Vec<Frozen>>>,
    token: String,
    who: String,
    deed: Deed,
    ids: Arc<[i64]>,
}

impl Work {
    async fn run(self) {
        let ended = self.go().await;
        let (state, detail) = match &ended {
            Ok(()) => ("done", String::new()),
            Err(fault) => ("failed", fault.to_string()),
        };
        let told = self.change(|view| {
            view.state = state;
            view.detail.clone_from(&detail);
            (view.done, view.skipped)
        });
        let (done, skipped) = told.unwrap_or_default();
        let token = self.token.get(..8).unwrap_or_default();
        let detail =
            format!("{state}: {done} of {}, {skipped} left as they were, set {token}", self.ids.len());
        let row = NewAudit { who: self.who.clone(), what: format!("{}.end", self.deed.action()), detail };
        if let Err(fault) = self.buffer.audit(row).await {
            tracing::error!(%fault, "The end of a set could not be written into the audit trail.");
        }
    }

    async fn go(&self) -> Result<(), BufferError> {
        let reader = self.buffer.reader();
        for ids in self.ids.chunks(AT_ONCE) {
            let states = reader.states(ids.to_vec()).await?;
            let to = || Transition::Waiting { retry_after: None, reason: None };
            let marks: Vec<Mark> = states
                .iter()
                .filter(|(_, state)| can(self.deed, *state))
                .map(|(id, _)| Mark { id: *id, to: to() })
                .collect();
            let (all, going) = (ids.len() as u64, marks.len() as u64);
            if !marks.is_empty() {
                match self.buffer.mark(marks).await {
                    // Gone meanwhile: there is nothing left to do for these.
                    Ok(()) | Err(BufferError::IllegalMarks(_)) => {}
                    Err(fault) => return Err(fault),
                }
            }
            self.wake.notify_one();
            self.change(|view| {
                view.done += going;
                view.skipped += all - going;
            });
        }
        Ok(())
    }

    fn change<T>(&self, change: impl FnOnce(&mut SetView) -> T) -> Option<T> {
        let mut frozen = lock(&self.frozen);
        let set = frozen.iter_mut().find(|set| set.view.token == self.token)?;
        Some(change(&mut set.view))
    }
}

impl sets::Sets for Sets {
    fn held(&self) -> Later<'_, Result<HeldView, Refusal>> {
        Box::pin(self.held_now())
    }

    fn freeze(&self, who: String, wanted: SetWanted) -> Later<'_, Result<SetView, Refusal>> {
        Box::pin(self.frozen(who, wanted))
    }

    fn set(&self, who: &str, token: &str) -> Option<SetView> {
        let frozen = lock(&self.frozen);
        let set = frozen.iter().find(|set| set.who == who && set.view.token == token);
        set.map(|set| set.view.clone())
    }

    fn run(&self, who: String, token: String) -> Later<'_, Result<SetView, Refusal>> {
        Box::pin(async move { self.begin(&who, &token) })
    }

    fn compare(&self, id: i64) -> Later<'_, Result<Comparison, Refusal>> {
        Box::pin(self.compared(id))
    }

    fn views(&self, who: String) -> Later<'_, Result<Vec<SavedView>, Refusal>> {
        Box::pin(self.kept_views(who))
    }

    fn save_view(&self, who: String, view: SavedView) -> Later<'_, Result<(), Refusal>> {
        Box::pin(self.keep_view(who, view))
    }

    fn remove_view(&self, who: String, name: String) -> Later<'_, Result<(), Refusal>> {
        Box::pin(self.forget_view(who, name))
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
