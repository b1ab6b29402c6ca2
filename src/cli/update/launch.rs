//! Before anything else: the program of the package gives way to one that was installed as an update.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::buffer;
use crate::cli::{CliError, tell};
use crate::clock::{Clock, SystemClock};
use crate::update::disk::Real;
use crate::update::slots::{self, Found, Slot, Slots};
use crate::update::start::{Loader, Next};
use crate::update::{self, Root, STARTED_AS, Version};

/// What the loader needs of the configuration. It passes over everything else: a newer program may know more of it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Place {
    buffer: BufferPlace,
    update: Option<UpdatePlace>,
}

#[derive(Deserialize)]
#[serde(default)]
struct BufferPlace {
    dir: PathBuf,
}

#[derive(Deserialize)]
struct UpdatePlace {
    root: Option<PathBuf>,
}

impl Default for BufferPlace {
    fn default() -> Self {
        Self { dir: buffer::Config::default().dir }
    }
}

impl Place {
    /// `None` where there is nothing to start but this very program, or it cannot be told: then it says why itself.
    fn read(config: &Path) -> Option<(Self, PathBuf)> {
        let place: Self = toml::from_str(&std::fs::read_to_string(config).ok()?).ok()?;
        let dir = slots::folder(&place.buffer.dir);
        let there = dir.join("state.json").exists() || dir.join("a").exists() || dir.join("b").exists();
        (there && update::this_process().is_none()).then_some((place, dir))
    }

    fn anchor(&self) -> Option<Root> {
        update::install::anchor(self.update.as_ref()?.root.as_deref()?).ok()
    }
}

/// Never more programs than this are tried at one start.
const TRIES: u32 = 6;
/// What putting the database back may take, in microseconds, before systemd takes the start for failed.
const LONG_START_US: u32 = 1_800_000_000;

/// Starts the chosen program in place of this one; returns when this one is to run.
pub(in crate::cli) fn launch(config: &Path) {
    let Some((place, dir)) = Place::read(config) else { return };
    let data = place.buffer.dir.clone();
    let clock = SystemClock::default();
    let mut set_back = |schema: i64, copy: Option<&Path>| {
        let _no_systemd = sd_notify::notify(&[sd_notify::NotifyState::ExtendTimeoutUsec(LONG_START_US)]);
        let done = buffer::set_back(&data, schema, copy, clock.now());
        done.map(|done| done.map(|done| done.to_string())).map_err(|fault| fault.to_string())
    };
    let mut loader = Loader {
        slots: Slots::new(&dir, &Real),
        anchor: place.anchor(),
        now: clock.now(),
        packaged: (Version::packaged(), buffer::SCHEMA),
        set_back: &mut set_back,
    };
    for _ in 0..TRIES {
        let (slot, found) = match loader.decide() {
            Next::Packaged(why) => {
                if let Some(why) = why {
                    tell(format!("The program of the package runs, not that of an update: {why}"));
                }
                return;
            }
            Next::Program { slot, found } => (slot, found),
        };
        let why = become_program(&found, slot);
        tell(format!("The program in slot {} could not be started: {why}", slot.name()));
        if loader.cannot_begin(slot, &why.to_string()).is_err() {
            return;
        }
    }
}

/// For commands beside a running box: the program that runs knows its configuration and its database.
pub(in crate::cli) fn follow() {
    let config = config_of(std::env::args_os().skip(1));
    let Some((place, dir)) = Place::read(&config) else { return };
    let slots = Slots::new(&dir, &Real);
    let (Ok(state), Some(anchor)) = (slots.state(), place.anchor()) else { return };
    let Some(slot) = state.runs() else { return };
    if let Ok(found) = slots.verified(slot, &anchor)
        && found.release.product() >= Version::packaged()
    {
        let why = become_program(&found, slot);
        tell(format!("The program in slot {} could not be started: {why}", slot.name()));
    }
}

/// Who works in the data folder as root becomes the user it belongs to: that user could put a link where root is about to
/// write. Returns when this process is that user already.
///
/// # Errors
/// When root cannot become the owner.
pub(super) fn as_owner(data: &Path) -> Result<(), CliError> {
    let Ok(about) = std::fs::metadata(data) else { return Ok(()) };
    if !rustix::process::geteuid().is_root() || about.uid() == 0 {
        return Ok(());
    }
    let own = std::env::current_exe().map_err(CliError::failed)?;
    let mut command = std::process::Command::new(own);
    command.args(std::env::args_os().skip(1)).uid(about.uid()).gid(about.gid());
    let fault = command.exec();
    Err(CliError::failed(format!(
        "the data folder is user {}'s, and root could not act as them: {fault}",
        about.uid()
    )))
}

/// What root starts must not lie where another user can exchange it after it was verified: a copy that nobody else has a
/// name for, verified as it is made. `None`: the file itself is as good.
fn own_copy(found: &Found) -> std::io::Result<Option<File>> {
    let mut from = File::open(&found.path)?;
    if !rustix::process::geteuid().is_root() || from.metadata()?.uid() == 0 {
        return Ok(None);
    }
    let mut copy = File::from(rustix::fs::memfd_create("bedside", rustix::fs::MemfdFlags::empty())?);
    std::io::copy(&mut from.by_ref().take(found.target.length), &mut copy)?;
    copy.rewind()?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", copy.as_raw_fd()));
    let (length, sum) = slots::sum_of(&path, found.target.length)?;
    if (length, &sum) != (found.target.length, &found.target.sha256) {
        return Err(std::io::Error::other("it changed while it was read"));
    }
    Ok(Some(copy))
}

/// Returns only when it failed.
fn become_program(found: &Found, slot: Slot) -> std::io::Error {
    let copy = match own_copy(found) {
        Ok(copy) => copy,
        Err(fault) => return fault,
    };
    let path = copy.as_ref().map_or_else(
        || found.path.clone(),
        |copy| PathBuf::from(format!("/proc/self/fd/{}", copy.as_raw_fd())),
    );
    let release = found.release.version;
    let mut command = std::process::Command::new(path);
    command.args(std::env::args_os().skip(1)).env(STARTED_AS, format!("{}:{release}", slot.name()));
    command.exec()
}

/// The configuration file a command line names, without understanding the rest of it.
fn config_of(arguments: impl Iterator<Item = OsString>) -> PathBuf {
    let mut named = None;
    let mut next_is = false;
    for argument in arguments {
        let text = argument.to_string_lossy();
        if std::mem::take(&mut next_is) {
            named = Some(PathBuf::from(&argument));
        } else if text == "--config" || text == "-c" {
            next_is = true;
        } else if let Some(path) = text.strip_prefix("--config=") {
            named = Some(PathBuf::from(path));
        }
    }
    let told = || std::env::var_os("BEDSIDE_CONFIG").map(PathBuf::from);
    named.or_else(told).unwrap_or_else(|| "/etc/bedside/bedside.toml".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_found_on_any_command_line() {
        let of = |line: &str| config_of(line.split(' ').map(OsString::from));
        assert_eq!(of("status --json -c /a/b.toml"), Path::new("/a/b.toml"));
        assert_eq!(of("update install x.update --config /c.toml"), Path::new("/c.toml"));
        assert_eq!(of("status --config=/d.toml"), Path::new("/d.toml"));
    }

    #[test]
    fn a_configuration_of_a_newer_program_is_read_for_what_the_loader_needs() {
        let text = "[buffer]\ndir = \"/x\"\nnews = 1\n[update]\nroot = \"/r\"\nwhen = 2\n[invented]\n";
        let place: Place = toml::from_str(text).unwrap();
        assert_eq!(place.buffer.dir, Path::new("/x"));
        assert_eq!(place.update.unwrap().root.unwrap(), Path::new("/r"));
    }
}
