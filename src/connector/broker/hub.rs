//! Sessions of the broker: who is connected, what outlives a connection, and who watches.
//!
//! A device whose session is gone must forget what it has not had acknowledged (MQTT 5 §3.2.2.1.1). So that a
//! power cut of the gateway does not cost those messages, the names of the sessions are kept in a file and go
//! on after a start. What was in them need not: a repeated QoS 2 message carries DUP and is known by its bytes.
//! Sessions of those who watch are not in the file, because their subscriptions are not.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Duration, Instant};

use crate::connector::mqtt::packet::{Publish, matches};

/// Sessions of clients that are away and may come back.
const SESSIONS_MAX: usize = 1024;
/// After a start nobody remembers when a client left: it gets this long to come back.
const EXPIRY_AFTER_START: Duration = Duration::from_secs(7 * 24 * 3600);
/// Messages a slow watcher may be behind; then it misses some (QoS 0).
const WATCHER_QUEUE: usize = 64;

/// User and client id. Two users may use one client id; neither gets at the other's session.
pub(super) type Key = (Arc<str>, String);

#[derive(Debug, Default)]
pub(super) struct Hub {
    sessions: Mutex<Sessions>,
    /// Where the names of sessions are kept; one writer at a time, so that the newest list is the last.
    file: Option<tokio::sync::Mutex<PathBuf>>,
}

#[derive(Debug, Default)]
struct Sessions {
    by_key: HashMap<Key, Session>,
    connections: u64,
}

#[derive(Debug, Default)]
struct Session {
    /// Which connection holds it; an older one must not touch it any more.
    connection: u64,
    /// Tells the connection that holds it that another one took over.
    eject: Option<oneshot::Sender<()>>,
    watcher: Option<mpsc::Sender<Arc<Publish>>>,
    filters: Vec<String>,
    /// Kept QoS 2 messages whose PUBREL has not come yet.
    unreleased: HashSet<u16>,
    /// Nobody holds it; it ends then.
    ends: Option<Instant>,
    /// Its name is in the file.
    durable: bool,
}

/// A connection's hold on its session.
#[derive(Debug)]
pub(super) struct Hold {
    pub(super) key: Key,
    connection: u64,
    /// There was a session, and it goes on.
    pub(super) present: bool,
    /// The file must change: a durable session begins, or one that was durable is no more.
    pub(super) to_save: bool,
    /// Completes when another connection takes over.
    pub(super) ejected: oneshot::Receiver<()>,
    /// What this client watches.
    pub(super) watched: mpsc::Receiver<Arc<Publish>>,
}

impl Hub {
    /// Takes up the sessions named in `file`, when there is one.
    pub(super) fn open(file: Option<&Path>, now: Instant) -> Result<Self, String> {
        let Some(file) = file else { return Ok(Self::default()) };
        let failed = |error: String| format!("session file {}: {error}", file.display());
        let text = match std::fs::read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => b"[]".to_vec(),
            Err(error) => return Err(failed(error.to_string())),
        };
        let keys: Vec<(String, String)> =
            serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?;
        let mut sessions = Sessions::default();
        for (user, client_id) in keys.into_iter().take(SESSIONS_MAX) {
            let session =
                Session { ends: Some(now + EXPIRY_AFTER_START), durable: true, ..Session::default() };
            sessions.by_key.insert((user.into(), client_id), session);
        }
        Ok(Self { sessions: Mutex::new(sessions), file: Some(tokio::sync::Mutex::new(file.into())) })
    }

    /// Writes the names of durable sessions down; returns when they are on disk.
    pub(super) async fn save(&self) -> std::io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let file = file.lock().await;
        let names = {
            let sessions = self.lock();
            let durable = sessions.by_key.iter().filter(|(_, session)| session.durable).map(|(key, _)| key);
            serde_json::to_vec(&durable.collect::<Vec<&Key>>())?
        };
        let path = file.clone();
        let written = tokio::task::spawn_blocking(move || {
            let draft = path.with_extension("draft");
            let mut open = std::fs::File::create(&draft)?;
            open.write_all(&names)?;
            open.sync_all()?;
            std::fs::rename(&draft, &path)?;
            // The new name is on disk when its folder is.
            path.parent().map_or(Ok(()), |folder| std::fs::File::open(folder)?.sync_all())
        });
        written.await.map_err(std::io::Error::other)?
    }

    fn lock(&self) -> MutexGuard<'_, Sessions> {
        // Nothing panics while it is held; what is inside is whole in any case.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the session of `key` to a new connection; whoever held it is told to go. `clean` starts afresh.
    /// `durable`: it is to outlive the process.
    pub(super) fn hold(&self, key: Key, clean: bool, durable: bool, now: Instant) -> Hold {
        let mut sessions = self.lock();
        sessions.by_key.retain(|_, session| session.ends.is_none_or(|ends| ends > now));
        sessions.connections += 1;
        let connection = sessions.connections;
        if !sessions.by_key.contains_key(&key) && sessions.by_key.len() >= SESSIONS_MAX {
            sessions.forget_one();
        }
        let mut session = sessions.by_key.remove(&key);
        if let Some(eject) = session.as_mut().and_then(|session| session.eject.take()) {
            // It may be ending by itself just now: then nobody is left to be told.
            eject.send(()).ok();
        }
        let present = session.is_some() && !clean;
        let to_save = durable != session.as_ref().is_some_and(|session| session.durable);
        let mut session = session.filter(|_| present).unwrap_or_default();
        let (eject, ejected) = oneshot::channel();
        let (watcher, watched) = mpsc::channel(WATCHER_QUEUE);
        session.connection = connection;
        session.eject = Some(eject);
        session.watcher = Some(watcher);
        session.ends = None;
        session.durable = durable;
        sessions.by_key.insert(key.clone(), session);
        Hold { key, connection, present, to_save, ejected, watched }
    }

    /// The connection ended; its session lives on for `expiry_s` seconds.
    pub(super) fn release(&self, hold: &Hold, expiry_s: u32, now: Instant) {
        let mut sessions = self.lock();
        let Some(session) = sessions.by_key.get_mut(&hold.key) else { return };
        if session.connection != hold.connection {
            return;
        }
        if expiry_s == 0 {
            sessions.by_key.remove(&hold.key);
            return;
        }
        session.eject = None;
        session.watcher = None;
        session.ends = Some(now + Duration::from_secs(expiry_s.into()));
    }

    /// Works on the session, if this connection still holds it.
    fn of<T>(&self, hold: &Hold, work: impl FnOnce(&mut Session) -> T) -> Option<T> {
        let mut sessions = self.lock();
        let session = sessions.by_key.get_mut(&hold.key)?;
        (session.connection == hold.connection).then(|| work(session))
    }

    /// Remembers that a QoS 2 message is kept until its PUBREL.
    pub(super) fn kept(&self, hold: &Hold, pkid: u16) {
        self.of(hold, |session| session.unreleased.insert(pkid));
    }

    /// Whether a QoS 2 message is already kept.
    pub(super) fn is_kept(&self, hold: &Hold, pkid: u16) -> bool {
        self.of(hold, |session| session.unreleased.contains(&pkid)).unwrap_or(false)
    }

    /// PUBREL came; `false` when nothing was open under this number.
    pub(super) fn released(&self, hold: &Hold, pkid: u16) -> bool {
        self.of(hold, |session| session.unreleased.remove(&pkid)).unwrap_or(false)
    }

    /// Adds a filter; `false` when there are `max` already.
    pub(super) fn watch(&self, hold: &Hold, filter: String, max: usize) -> bool {
        let added = self.of(hold, |session| {
            if session.filters.contains(&filter) {
                return true;
            }
            let room = session.filters.len() < max;
            if room {
                session.filters.push(filter);
            }
            room
        });
        added.unwrap_or(false)
    }

    /// Takes a filter away; `false` when there was none.
    pub(super) fn unwatch(&self, hold: &Hold, filter: &str) -> bool {
        let removed = self.of(hold, |session| {
            let before = session.filters.len();
            session.filters.retain(|known| known != filter);
            session.filters.len() < before
        });
        removed.unwrap_or(false)
    }

    /// Shows a message to everyone who watches its topic.
    pub(super) fn show(&self, publish: &Arc<Publish>) {
        for session in self.lock().by_key.values() {
            let Some(watcher) = &session.watcher else { continue };
            if session.filters.iter().any(|filter| matches(&publish.topic, filter)) {
                // A watcher that is behind misses this one: QoS 0 promises nothing.
                drop(watcher.try_send(Arc::clone(publish)));
            }
        }
    }
}

impl Sessions {
    /// Makes room by forgetting the session that would end first.
    fn forget_one(&mut self) {
        let away = self.by_key.iter().filter_map(|(key, session)| session.ends.map(|ends| (ends, key)));
        if let Some(key) = away.min().map(|(_, key)| key.clone()) {
            self.by_key.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::connector::mqtt::packet::QoS;

    fn key(client: &str) -> Key {
        ("ward".into(), client.into())
    }

    fn publish(topic: &str) -> Arc<Publish> {
        Arc::new(Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: topic.into(),
            pkid: 0,
            bytes: Bytes::new(),
            aliased: false,
        })
    }

    #[test]
    fn a_session_goes_on_until_it_expires_or_is_started_afresh() {
        let now = Instant::now();
        let hub = Hub::default();
        let first = hub.hold(key("a"), false, false, Instant::now());
        assert!(!first.present);
        hub.kept(&first, 7);
        hub.release(&first, 60, now);
        let second = hub.hold(key("a"), false, false, Instant::now());
        assert!(second.present && hub.is_kept(&second, 7));
        assert!(hub.released(&second, 7) && !hub.released(&second, 7));
        hub.release(&second, 60, now);
        let later = now + Duration::from_secs(61);
        assert!(!hub.hold(key("a"), false, false, later).present);
        assert!(!hub.hold(key("a"), true, false, later).present);
    }

    #[test]
    fn a_newcomer_takes_over_and_the_old_connection_can_do_no_harm() {
        let hub = Hub::default();
        let mut old = hub.hold(key("a"), false, false, Instant::now());
        let new = hub.hold(key("a"), false, false, Instant::now());
        assert!(new.present);
        assert_eq!(old.ejected.try_recv(), Ok(()));
        hub.kept(&old, 3);
        assert!(!hub.is_kept(&new, 3));
        hub.release(&old, 0, Instant::now());
        hub.kept(&new, 4);
        assert!(hub.is_kept(&new, 4));
    }

    #[test]
    fn one_user_cannot_take_the_session_of_another() {
        let hub = Hub::default();
        let mut ward = hub.hold(key("a"), false, false, Instant::now());
        assert!(!hub.hold(("lab".into(), "a".into()), false, false, Instant::now()).present);
        assert!(ward.ejected.try_recv().is_err());
    }

    #[test]
    fn only_those_who_watch_a_topic_are_shown_it() {
        let hub = Hub::default();
        let mut near = hub.hold(key("a"), true, false, Instant::now());
        let mut far = hub.hold(key("b"), true, false, Instant::now());
        assert!(hub.watch(&near, "ward/#".into(), 1) && !hub.watch(&near, "lab/#".into(), 1));
        assert!(hub.watch(&near, "ward/#".into(), 1), "the same again is no second one");
        hub.show(&publish("ward/7"));
        assert_eq!(near.watched.try_recv().unwrap().topic, "ward/7");
        assert!(far.watched.try_recv().is_err());
        assert!(hub.unwatch(&near, "ward/#") && !hub.unwatch(&near, "ward/#"));
        hub.show(&publish("ward/7"));
        assert!(near.watched.try_recv().is_err());
    }

    #[test]
    fn sessions_have_a_limit_and_the_one_that_ends_first_goes() {
        let hub = Hub::default();
        for number in 0..SESSIONS_MAX {
            let hold = hub.hold(key(&number.to_string()), false, false, Instant::now());
            hub.release(&hold, if number == 5 { 10 } else { 1000 }, Instant::now());
        }
        drop(hub.hold(key("one more"), false, false, Instant::now()));
        assert_eq!(hub.lock().by_key.len(), SESSIONS_MAX);
        assert!(!hub.lock().by_key.contains_key(&key("5")));
    }

    #[tokio::test]
    async fn sessions_of_devices_go_on_after_a_power_cut() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sessions.json");
        let now = Instant::now();
        let hub = Hub::open(Some(&file), now).unwrap();
        let device = hub.hold(key("a"), false, true, now);
        assert!(device.to_save && !device.present);
        assert!(!hub.hold(key("watcher"), false, false, now).to_save);
        hub.save().await.unwrap();
        assert!(!hub.hold(key("a"), false, true, now).to_save, "its name is there already");
        drop(hub);

        let hub = Hub::open(Some(&file), now).unwrap();
        assert!(hub.hold(key("a"), false, true, now).present);
        assert!(!hub.hold(key("watcher"), false, false, now).present);
        let afresh = hub.hold(key("a"), true, false, now);
        assert!(afresh.to_save && !afresh.present);
        hub.save().await.unwrap();
        assert!(!Hub::open(Some(&file), now).unwrap().hold(key("a"), false, true, now).present);
    }

    #[test]
    fn a_damaged_session_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sessions.json");
        std::fs::write(&file, "[[\"ward\"").unwrap();
        assert!(Hub::open(Some(&file), Instant::now()).unwrap_err().contains("sessions.json"));
    }
}
