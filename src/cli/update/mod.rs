//! `bedside update`: a new program from a file, taken only from who may publish one; and the publisher's tools.

pub(super) mod launch;
mod publisher;

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::{CliError, ConfigPath, say, say_json, tell};
use crate::buffer::{self, BufferError};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::config::{self, Config};
use crate::update::disk::{Disk, Real};
use crate::update::install::{self, Checked, Trust};
use crate::update::slots::{self, Slots, Snapshot};
use crate::update::{ATTEMPTS, Release, Root, UpdateError, journal};

const WHO: &str = "command line";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Read an update file to its end and say whether this box would take it; changes nothing
    Check(File),
    /// Install an update file beside the program that runs; it is started at the next start
    #[command(after_help = INSTALL_HELP)]
    Install(File),
    /// Which program runs, which one is chosen, where the box would go back to
    Status(Status),
    /// Keep the new program now, without waiting until it ran well for long enough
    Confirm(Only),
    /// Go back to the program before, at the next start
    #[command(after_help = BACK_HELP)]
    Back(Only),
    /// For publishers: make a key pair
    Keygen(publisher::Keygen),
    /// For publishers: write the first or the next root, which says whom boxes trust
    Root(publisher::RootArguments),
    /// For publishers: sign programs and write the update file
    Release(publisher::ReleaseArguments),
}

const INSTALL_HELP: &str = "The box goes on running meanwhile. The file is read once to verify every signature, date, length and \
SHA-256, a second time to write the program into the slot that does not run, and that is read back from the disk before it is chosen. \
Where the new program has a newer database schema, a verified copy of the database is made first. Then, at a time that suits the ward:\n\n  \
systemctl restart bedside\n\nThe new program must run well for [update] confirm_after_s seconds. After three starts without that the box \
goes back by itself and raises an alarm.";

const BACK_HELP: &str = "Takes effect at the next start (systemctl restart bedside). Where the program before cannot read the newer \
database, that is moved aside and kept, and the copy from before takes its place with what came in since; the desk says what could not \
be brought over.";

#[derive(Debug, clap::Args)]
pub(super) struct File {
    /// The update file
    file: PathBuf,
    #[command(flatten)]
    config: ConfigPath,
}

#[derive(Debug, clap::Args)]
pub(super) struct Status {
    #[command(flatten)]
    config: ConfigPath,
    /// Say it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Only {
    #[command(flatten)]
    config: ConfigPath,
}

impl Command {
    /// Whether the program of an update does this, where one runs: it knows the database. What mends an update is done by
    /// the package's own program, which no update can break.
    pub(super) const fn follows(&self) -> bool {
        matches!(self, Self::Install(_) | Self::Check(_))
    }
}

pub(super) fn main(command: Command) -> Result<(), CliError> {
    match command {
        Command::Check(arguments) => Installation::of(&arguments.config)?.check(&arguments.file),
        Command::Install(arguments) => Installation::of(&arguments.config)?.install(&arguments.file),
        Command::Status(arguments) => Installation::of(&arguments.config)?.status(arguments.json),
        Command::Confirm(arguments) => Installation::of(&arguments.config)?.confirm(),
        Command::Back(arguments) => Installation::of(&arguments.config)?.back(),
        Command::Keygen(arguments) => publisher::keygen(&arguments),
        Command::Root(arguments) => publisher::root(&arguments),
        Command::Release(arguments) => publisher::release(&arguments),
    }
}

/// This box, as updates see it.
struct Installation {
    config: Config,
    dir: PathBuf,
    now: Timestamp,
}

impl Installation {
    fn of(config: &ConfigPath) -> Result<Self, CliError> {
        let config = config::load(&config.config).map_err(CliError::config)?;
        launch::as_owner(&config.buffer.dir)?;
        let dir = slots::folder(&config.buffer.dir);
        Ok(Self { config, dir, now: SystemClock::default().now() })
    }

    fn slots(&self) -> Slots<'_> {
        Slots::new(&self.dir, &Real)
    }

    fn anchor(&self) -> Result<Root, UpdateError> {
        let section = self.config.update.as_ref().ok_or(UpdateError::NoAnchor)?;
        install::anchor(&section.root).map_err(|fault| match fault {
            UpdateError::Disk { path, source } => UpdateError::NotNow(format!(
                "the root that [update] names cannot be read, so nobody may publish for this box: {}: {source}. It is the 1.json \
                 of the publisher",
                path.display()
            )),
            fault => fault,
        })
    }

    fn trust(&self) -> Result<Trust, UpdateError> {
        Trust::new(self.anchor()?, &self.slots(), self.now)
    }

    /// Writes down what came of it; what cannot be written down is not said to be done.
    fn told<T>(&self, what: &str, done: Result<(T, String), UpdateError>) -> Result<T, CliError> {
        let (line, answer) = match done {
            Ok((value, detail)) => (format!("done {detail}"), Ok(value)),
            Err(fault) => (format!("refused {fault}"), Err(CliError::failed(fault))),
        };
        let written = if self.config.buffer.dir.is_dir() {
            journal::tell(&self.slots(), self.now, WHO, what, &line)
        } else {
            Ok(())
        };
        match (answer, written) {
            (Ok(value), Ok(())) => Ok(value),
            (Ok(_), Err(fault)) => Err(CliError::failed(format!("done, but not written down: {fault}"))),
            (Err(fault), _) => Err(fault),
        }
    }

    fn check(&self, file: &Path) -> Result<(), CliError> {
        let checked = self.trust().and_then(|trust| install::check(file, &trust));
        let checked = self.told("update.check", checked.map(|checked| (checked.clone(), words(&checked))))?;
        say(format!("good: {}", words(&checked)));
        unsure(&checked);
        Ok(())
    }

    fn install(&self, file: &Path) -> Result<(), CliError> {
        if !self.config.buffer.dir.is_dir() {
            return Err(CliError::failed(format!(
                "{} is not there: start the box once before it is updated",
                self.config.buffer.dir.display()
            )));
        }
        let slots = self.slots();
        let mut snapshotting = |release: &Release| self.snapshot(release);
        let installed =
            self.trust().and_then(|trust| install::install(&slots, &trust, file, &mut snapshotting));
        let installed = installed.map(|installed| {
            let kept = installed.snapshot.as_ref().map_or_else(String::new, |snapshot| {
                format!(", copy of the database (schema {}) in {}", snapshot.schema, snapshot.file)
            });
            let words = format!("{} into slot {}{kept}", words(&installed.checked), installed.slot.name());
            (installed, words)
        });
        let installed = self.told("update.install", installed)?;
        unsure(&installed.checked);
        say(format!("installed {} in slot {}", words(&installed.checked), installed.slot.name()));
        if let Some(snapshot) = &installed.snapshot {
            say(format!(
                "the database as it is now was copied to {}",
                slots.snapshots().join(&snapshot.file).display()
            ));
        }
        say("it is started at the next start: systemctl restart bedside");
        Ok(())
    }

    /// A copy of the database where the release writes a newer schema than this program, which is the one that runs.
    fn snapshot(&self, release: &Release) -> Result<Option<Snapshot>, UpdateError> {
        let data = &self.config.buffer.dir;
        if release.schema <= buffer::SCHEMA || !data.join("bedside.db").exists() {
            return Ok(None);
        }
        let folder = self.slots().snapshots();
        let fail = UpdateError::disk(&folder);
        Real.remove_folder(&folder).map_err(fail)?;
        Real.folder(&folder).map_err(fail)?;
        let file = format!("before-release-{}.backup", release.version);
        tell("Copying the database, for the way back.");
        let copied = buffer::back_up(data, &folder.join(&file), self.now, &mut |_| {});
        let (manifest, examined) = copied.map_err(|fault: BufferError| {
            UpdateError::NotNow(format!("the database could not be copied for the way back: {fault}"))
        })?;
        if !examined.sound() {
            return Err(UpdateError::NotNow(
                "the database is not sound, so that there would be no way back: bedside check".into(),
            ));
        }
        Ok(Some(Snapshot { file, schema: manifest.schema, release: release.version }))
    }

    fn confirm(&self) -> Result<(), CliError> {
        let slots = self.slots();
        let done = (|| {
            let state = slots.state()?;
            let slot = state.chosen.filter(|_| !state.confirmed && state.attempts > 0).ok_or_else(|| {
                UpdateError::NotNow("no update waits to be confirmed: one is started first".into())
            })?;
            let found = slots.verified(slot, &self.anchor()?)?;
            slots.confirm(slot, (found.release.version, &found.target.sha256))?;
            Ok(((), format!("release {} ({})", found.release.version, found.release.product)))
        })();
        self.told("update.confirm", done)?;
        say("kept");
        Ok(())
    }

    fn back(&self) -> Result<(), CliError> {
        let done = (|| {
            let state = self.slots().state()?;
            let slot = state
                .chosen
                .ok_or_else(|| UpdateError::NotNow("the program of the package runs already".into()))?;
            self.slots().change(|state| {
                state.back_wanted = Some("somebody asked for it at the command line".into())
            })?;
            Ok(((), format!("back from slot {} is wanted", slot.name())))
        })();
        self.told("update.back", done)?;
        say("the program before is started at the next start: systemctl restart bedside");
        Ok(())
    }

    fn status(&self, json: bool) -> Result<(), CliError> {
        let slots = self.slots();
        let state = slots.state().map_err(CliError::failed)?;
        let anchor = self.anchor();
        let held = |slot| {
            let found = anchor.as_ref().ok().map(|anchor| slots.verified(slot, anchor));
            match found {
                Some(Ok(found)) => format!("release {} ({})", found.release.version, found.release.product),
                Some(Err(fault)) => format!("not usable: {fault}"),
                None => "not looked at".into(),
            }
        };
        if json {
            say_json(&serde_json::json!({
                "package": env!("CARGO_PKG_VERSION"), "schema": buffer::SCHEMA, "state": state,
                "chosen": state.chosen.map(held), "before": state.before.map(held),
                "refuses_all": anchor.as_ref().err().map(ToString::to_string),
            }));
            return Ok(());
        }
        say(format!("package    {}", env!("CARGO_PKG_VERSION")));
        match state.chosen {
            None => say("chosen     the program of the package"),
            Some(slot) => say(format!("chosen     slot {}: {}", slot.name(), held(slot))),
        }
        if state.chosen.is_some() {
            say(match (state.confirmed, state.attempts) {
                (true, _) => "           it proved itself".to_owned(),
                (false, 0) => "           it was not started yet: systemctl restart bedside".to_owned(),
                (false, n) => {
                    format!("           started {n} of {ATTEMPTS} times, has not proved itself yet")
                }
            });
            match state.before {
                None => say("before     the program of the package"),
                Some(slot) => say(format!("before     slot {}: {}", slot.name(), held(slot))),
            }
        }
        if let Some(back) = &state.gone_back {
            say(format!(
                "WENT BACK  from {} (release {}) at {}: {}",
                back.product, back.release, back.at, back.why
            ));
            if let Some(database) = &back.database {
                say(format!("           {database}"));
            }
        }
        if let Err(fault) = anchor {
            tell(fault);
        }
        Ok(())
    }
}

fn words(checked: &Checked) -> String {
    let Checked { release, target, root, .. } = checked;
    format!(
        "release {} ({}, schema {}) for {}, root {}, SHA-256 {}",
        release.version, release.product, release.schema, target.architecture, root.version, target.sha256
    )
}

fn unsure(checked: &Checked) {
    if let Some(unsure) = checked.unsure {
        tell(unsure);
    }
}
