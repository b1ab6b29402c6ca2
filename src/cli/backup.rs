//! `bedside check`, `bedside backup`, `bedside restore`: is all of it sound, a copy of all of it, and a box made of a copy.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{CliError, ConfigPath, say, say_json, tell};
use crate::buffer::{self, BufferError, Examined, Progress};
use crate::clock::{Clock, SystemClock};
use crate::config;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Nothing is changed, and the box may run meanwhile. Exit code 1 when something is wrong."
)]
pub(super) struct CheckArguments {
    #[command(flatten)]
    config: ConfigPath,
    /// Say it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The box may run meanwhile; no sender waits. The copy is one SQLite file, verified page by page and frame by \
frame before it gets its name; FILE.manifest beside it has its SHA-256. Both can be read by you alone: they hold patient data \
and password hashes. Secrets (keys, certificates) are not in it: keep the secrets folder as well."
)]
pub(super) struct BackupArguments {
    /// The file to write; it must not exist
    file: PathBuf,
    #[command(flatten)]
    config: ConfigPath,
    /// Say the manifest as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Stop the box first. What it delivered since the backup was made is delivered again under the same \
identifiers, which a FHIR server and a receiver that looks at control ids (MSH-10) take for the same. What devices said since \
then is not in the backup. Secrets (keys, certificates) are in no backup, also not in an encrypted one: put the secrets folder \
back as well."
)]
pub(super) struct RestoreArguments {
    /// The backup to restore
    file: PathBuf,
    #[command(flatten)]
    config: ConfigPath,
    /// Also over a buffer that holds something; it is kept beside the new one
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    opening: super::sealed::Opening,
}

/// A line on a terminal that is written over, or a line now and then in a log.
struct Bar {
    terminal: bool,
    last: Instant,
}

impl Bar {
    fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), last: Instant::now() }
    }

    fn show(&mut self, progress: Progress) {
        let every = if self.terminal { Duration::from_millis(200) } else { Duration::from_secs(10) };
        if self.last.elapsed() < every {
            return;
        }
        self.last = Instant::now();
        let Progress { what, done, of } = progress;
        let percent = done.saturating_mul(100).checked_div(of).unwrap_or(100);
        tell(format!("{what}: {done} of {of} ({percent} %)"));
    }
}

fn failure(fault: BufferError) -> CliError {
    match fault {
        BufferError::InUse { .. } => {
            CliError::InUse(format!("{fault}. A backup is restored into a folder that no box runs on"))
        }
        fault => CliError::failed(fault),
    }
}

pub(super) fn told(examined: &Examined) {
    say(format!("frames    {:>10}   verified, {} changed", examined.frames, examined.changed));
    for id in &examined.changed_ids {
        say(format!("          entry {id}: its bytes are not what the device said"));
    }
    for fault in &examined.faults {
        say(format!("FAULT     {fault}"));
    }
    say(format!("audit     {:>10}   rows", examined.audit_rows));
}

pub(super) fn check(arguments: &CheckArguments) -> Result<(), CliError> {
    let config = config::load(&arguments.config.config).map_err(CliError::config)?;
    let mut bar = Bar::new();
    let examined = buffer::examine(&config.buffer.dir, &mut |p| bar.show(p)).map_err(failure)?;
    if arguments.json {
        let mut json = serde_json::to_value(&examined).unwrap_or_default();
        if let Some(json) = json.as_object_mut() {
            json.insert("sound".into(), examined.sound().into());
        }
        say_json(&json);
    } else {
        told(&examined);
    }
    if examined.sound() {
        return Ok(());
    }
    Err(CliError::failed(
        "not all is sound: make a backup, replace the disk; a damaged database is salvaged at the next start",
    ))
}

pub(super) fn back_up(arguments: &BackupArguments) -> Result<(), CliError> {
    let config = config::load(&arguments.config.config).map_err(CliError::config)?;
    let mut bar = Bar::new();
    let now = SystemClock::default().now();
    let (manifest, examined) =
        buffer::back_up(&config.buffer.dir, &arguments.file, now, &mut |p| bar.show(p)).map_err(failure)?;
    if arguments.json {
        say_json(&serde_json::to_value(&manifest).unwrap_or_default());
    } else {
        told(&examined);
        say(format!(
            "written   {:>10} bytes to {}, and its manifest",
            manifest.bytes,
            arguments.file.display()
        ));
    }
    if examined.sound() {
        return Ok(());
    }
    Err(CliError::failed("the copy was written, and is as unsound as what it is a copy of: see above"))
}

pub(super) fn restore(arguments: &RestoreArguments) -> Result<(), CliError> {
    let config = config::load(&arguments.config.config).map_err(CliError::config)?;
    let mut bar = Bar::new();
    let now = SystemClock::default().now();
    let dir = &config.buffer.dir;
    let (from, _room) = super::sealed::plain(&arguments.file, &arguments.opening, dir)?;
    let done = buffer::restore(dir, &from, arguments.replace, now, &mut |p| bar.show(p)).map_err(failure)?;
    told(&done.examined);
    match &done.manifest {
        Some(manifest) => say(format!("restored  from a backup made {}", manifest.made)),
        None => say(
            "restored  from a file without a manifest: whether it is whole is known from its contents alone",
        ),
    }
    if let Some(aside) = &done.aside {
        say(format!("before    is kept in {}", aside.display()));
    }
    let queued = done.examined.ledger.queued;
    say(format!(
        "{queued} entries and {} messages to other systems wait in it: what was delivered since is delivered again as the same",
        done.outgoing
    ));
    Ok(())
}
