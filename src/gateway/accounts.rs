//! Users by the command line: the way back in when nobody can log in any more. A running box has the database to itself,
//! so the command line asks it over a socket in the data folder; a box that stands still is opened instead.
//!
//! Whoever can open the socket is the box's own user or root, and could edit the database just as well: nothing is asked
//! of them that they could not do. What they do stands in the audit trail.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as Blocking;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::access::Role;
use crate::buffer::{AccountChange, Buffer, BufferError, Change, NewAudit, UserRow};
use crate::clock::Timestamp;
use crate::connector::Stop;

/// Name of the socket in the data folder.
const SOCKET: &str = "console.sock";
/// Longest question and answer.
const LINE_MAX: u64 = 16 << 10;
const PATIENCE: Duration = Duration::from_secs(10);
/// In the audit trail.
const WHO: &str = "console";

/// What the command line wants done to a user. Passwords come as their Argon2id hashes.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Wanted {
    Add { name: String, role: Role, hash: String },
    Password { name: String, hash: String },
    ResetFactors { name: String },
    Disable { name: String },
    Enable { name: String },
}

/// Why it was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDone {
    /// It does not fit what is there, in words.
    #[error("{0}")]
    NotAllowed(String),
    #[error("{0}")]
    Failed(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    done: bool,
    why: Option<String>,
}

impl Wanted {
    /// Changes the users, together with the line about it.
    pub async fn carry_out(self, buffer: &Buffer, now: Timestamp) -> Result<(), NotDone> {
        let (what, target, changes) = self.changes(now);
        let audit = NewAudit {
            who: WHO.into(),
            what: what.into(),
            detail: format!("done {target} from the command line"),
        };
        let changes = changes.into_iter().map(Change::Account).chain([Change::Audit(audit)]).collect();
        match buffer.change(changes).await {
            Ok(()) => Ok(()),
            Err(BufferError::NotAllowed(why)) => Err(NotDone::NotAllowed(why)),
            Err(other) => Err(NotDone::Failed(other.to_string())),
        }
    }

    fn changes(self, now: Timestamp) -> (&'static str, String, Vec<AccountChange>) {
        let edit = |name: String, disabled| AccountChange::Edit {
            name,
            role: None,
            disabled: Some(disabled),
            grants: None,
        };
        match self {
            Self::Add { name, role, hash } => {
                let mut row = UserRow::local(&name, &hash, role.as_str(), now);
                row.must_change = true;
                ("user.add", format!("{name} as {}", role.as_str()), vec![AccountChange::Add(row)])
            }
            Self::Password { name, hash } => {
                let set = AccountChange::Password {
                    name: name.clone(),
                    password: hash,
                    must_change: true,
                    keep: None,
                };
                ("user.password", name, vec![set])
            }
            Self::ResetFactors { name } => {
                ("user.factors.reset", name.clone(), vec![AccountChange::ResetFactors { user: name }])
            }
            Self::Disable { name } => ("user.change", format!("{name}: disabled"), vec![edit(name, true)]),
            Self::Enable { name } => ("user.change", format!("{name}: enabled"), vec![edit(name, false)]),
        }
    }
}

/// Asks the box that runs on this folder; `None` when none does.
///
/// # Errors
/// What the box said against it, or that it does not answer.
pub fn ask(dir: &Path, wanted: &Wanted) -> Option<Result<(), NotDone>> {
    let link = Blocking::connect(dir.join(SOCKET)).ok()?;
    let failed = |fault: &dyn std::fmt::Display| NotDone::Failed(format!("the running box: {fault}"));
    let talk = || -> Result<(), NotDone> {
        link.set_read_timeout(Some(PATIENCE)).map_err(|fault| failed(&fault))?;
        link.set_write_timeout(Some(PATIENCE)).map_err(|fault| failed(&fault))?;
        let mut question = serde_json::to_vec(wanted).map_err(|fault| failed(&fault))?;
        question.push(b'\n');
        (&link).write_all(&question).map_err(|fault| failed(&fault))?;
        let mut answer = String::new();
        let mut reading = BufReader::new((&link).take(LINE_MAX));
        reading.read_line(&mut answer).map_err(|fault| failed(&fault))?;
        let said: Said = serde_json::from_str(&answer).map_err(|fault| failed(&fault))?;
        let why = said.why.unwrap_or_default();
        if said.done { Ok(()) } else { Err(NotDone::NotAllowed(why)) }
    };
    Some(talk())
}

/// Answers the command line until the box stops. A socket that cannot be made costs the command line, not the box.
pub(super) async fn serve(buffer: Buffer, dir: PathBuf, clock: crate::clock::SharedClock, mut stop: Stop) {
    let path = dir.join(SOCKET);
    // The folder's lock is ours: whatever lies there is of a box that is no more.
    std::fs::remove_file(&path).ok();
    let listener = match UnixListener::bind(&path) {
        Ok(listener) => listener,
        Err(fault) => {
            tracing::warn!(%fault, "the socket for the command line could not be made");
            return stop.wait().await;
        }
    };
    if let Err(fault) = std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)) {
        tracing::warn!(%fault, "the socket for the command line could not be kept private");
        return stop.wait().await;
    }
    loop {
        tokio::select! {
            () = stop.wait() => break,
            link = listener.accept() => match link {
                Ok((link, _)) => {
                    // One at a time: whoever is here has all the rights there are, and little to say.
                    let answering = answer(link, &buffer, clock.now());
                    if tokio::time::timeout(PATIENCE, answering).await.is_err() {
                        tracing::warn!("the command line fell silent");
                    }
                }
                Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
    }
    std::fs::remove_file(&path).ok();
}

async fn answer(mut link: UnixStream, buffer: &Buffer, now: Timestamp) {
    let own = rustix::process::geteuid().as_raw();
    let trusted = link.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0);
    if !trusted {
        return;
    }
    let mut line = String::new();
    let (from, mut to) = link.split();
    if tokio::io::BufReader::new(from.take(LINE_MAX)).read_line(&mut line).await.is_err() {
        return;
    }
    let done = match serde_json::from_str::<Wanted>(&line) {
        Ok(wanted) => wanted.carry_out(buffer, now).await.map_err(|fault| fault.to_string()),
        Err(_) => Err("the box does not know what is wanted; is the command of another version?".into()),
    };
    let said = Said { done: done.is_ok(), why: done.err() };
    if let Ok(mut text) = serde_json::to_vec(&said) {
        text.push(b'\n');
        to.write_all(&text).await.ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::{Config, look_at_users};
    use crate::clock::TestClock;

    fn buffer(dir: &Path) -> Buffer {
        let config = Config { dir: dir.to_path_buf(), ..Config::default() };
        Buffer::open(&config, TestClock::at(1_000_000)).unwrap()
    }

    fn add(name: &str) -> Wanted {
        Wanted::Add { name: name.into(), role: Role::Admin, hash: "$argon2id$".into() }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_running_box_is_asked_and_what_it_does_stands_in_the_trail() {
        let dir = tempfile::tempdir().unwrap();
        let buffer = buffer(dir.path());
        assert!(ask(dir.path(), &add("ada")).is_none(), "nobody runs");
        std::fs::write(dir.path().join(SOCKET), b"of a box that is no more").unwrap();
        let (switch, stop) = Stop::pair();
        let clock = TestClock::at(1_000_000);
        let serving = tokio::spawn(serve(buffer.clone(), dir.path().into(), clock, stop));
        let here = dir.path().to_path_buf();
        let asked = tokio::task::spawn_blocking(move || {
            let wait = || {
                (0..100).find_map(|_| {
                    std::thread::sleep(Duration::from_millis(20));
                    ask(&here, &add("ada"))
                })
            };
            let first = wait().unwrap();
            let mode = std::fs::metadata(here.join(SOCKET)).unwrap().permissions().mode() & 0o777;
            let again = ask(&here, &add("ada")).unwrap();
            let last = ask(&here, &Wanted::Disable { name: "ada".into() }).unwrap();
            let reset = ask(&here, &Wanted::ResetFactors { name: "ada".into() }).unwrap();
            (first, mode, again, last, reset)
        });
        let (first, mode, again, last, reset) = asked.await.unwrap();
        assert_eq!((first, mode, reset), (Ok(()), 0o600, Ok(())));
        assert_eq!(again, Err(NotDone::NotAllowed("this name is taken".into())));
        assert_eq!(last, Err(NotDone::NotAllowed("this is the last admin of this box".into())));
        let rows = buffer.reader().audit(None, 10).await.unwrap();
        let lines: Vec<_> = rows.iter().map(|row| (&*row.who, &*row.what)).collect();
        assert_eq!(lines, [("console", "user.factors.reset"), ("console", "user.add")]);
        switch.send_replace(true);
        serving.await.unwrap();
        assert!(!dir.path().join(SOCKET).exists());
    }

    #[tokio::test]
    async fn a_box_that_stands_still_is_changed_directly() {
        let dir = tempfile::tempdir().unwrap();
        let buffer = buffer(dir.path());
        let now = Timestamp::from_micros(1, true);
        add("ada").carry_out(&buffer, now).await.unwrap();
        let password = Wanted::Password { name: "ada".into(), hash: "$new".into() };
        password.carry_out(&buffer, now).await.unwrap();
        let nobody = Wanted::Password { name: "eve".into(), hash: "$new".into() };
        assert!(matches!(nobody.carry_out(&buffer, now).await, Err(NotDone::NotAllowed(_))));
        let users = look_at_users(dir.path()).unwrap();
        assert_eq!((users[0].row.password.as_str(), users[0].row.must_change), ("$new", true));
    }
}
