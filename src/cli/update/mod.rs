//! `bedside update`: a new program from a file, taken only from who may publish one; and the publisher's tools.

pub(super) mod launch;
mod publisher;

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::{CliError, ConfigPath, say, say_json, tell};
use crate::buffer;
use crate::clock::{Clock, SystemClock};
use crate::config;
use crate::gateway::installation::{Installation, words};
use crate::update::install::Checked;
use crate::update::{ATTEMPTS, Newest, UpdateError};

const WHO: &str = "command line";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Say whether this box would take an update file, or without one: what the publisher's server has; installs nothing
    Check(Check),
    /// Fetch what is newest from the publisher's server and verify it; installs nothing
    #[command(after_help = FETCH_HELP)]
    Fetch(Only),
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

const FETCH_HELP: &str = "Needs [update] url, a folder of a web server with newest.json and the update file. What is there must be signed, \
not expired, for this box's architecture and no older than what it knows. A download that was cut off goes on where it stopped when this is \
run again. The file it names at the end is installed with: bedside update install FILE";

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
pub(super) struct Check {
    /// The update file; without it the server of [update] url is asked
    file: Option<PathBuf>,
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
        matches!(self, Self::Install(_) | Self::Check(_) | Self::Fetch(_))
    }
}

pub(super) fn main(command: Command) -> Result<(), CliError> {
    match command {
        Command::Check(arguments) => match &arguments.file {
            Some(file) => Console::of(&arguments.config)?.check(file),
            None => Console::of(&arguments.config)?.fetch(&arguments.config, false),
        },
        Command::Fetch(arguments) => Console::of(&arguments.config)?.fetch(&arguments.config, true),
        Command::Install(arguments) => Console::of(&arguments.config)?.install(&arguments.file),
        Command::Status(arguments) => Console::of(&arguments.config)?.status(arguments.json),
        Command::Confirm(arguments) => Console::of(&arguments.config)?.confirm(),
        Command::Back(arguments) => Console::of(&arguments.config)?.back(),
        Command::Keygen(arguments) => publisher::keygen(&arguments),
        Command::Root(arguments) => publisher::root(&arguments),
        Command::Release(arguments) => publisher::release(&arguments),
    }
}

/// This box, at the command line.
struct Console(Installation);

impl Console {
    fn of(config: &ConfigPath) -> Result<Self, CliError> {
        let config = config::load(&config.config).map_err(CliError::config)?;
        launch::as_owner(&config.buffer.dir)?;
        let root = config.update.as_ref().map(|section| section.root.as_path());
        Ok(Self(Installation::new(&config.buffer.dir, root, SystemClock::default().now(), WHO)))
    }

    fn check(&self, file: &Path) -> Result<(), CliError> {
        let checked = self.0.check(file).map_err(CliError::failed)?;
        say(format!("good: {}", words(&checked)));
        unsure(&checked);
        Ok(())
    }

    fn fetch(&self, config: &ConfigPath, take: bool) -> Result<(), CliError> {
        let config = config::load(&config.config).map_err(CliError::config)?;
        let section = config.update.ok_or(UpdateError::NoAnchor).map_err(CliError::failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let fetching = self.0.fetch(&section, take);
        let offer = runtime.map_err(CliError::failed)?.block_on(fetching).map_err(CliError::failed)?;
        let Newest { version, product, length, expires, .. } = &offer.newest;
        say(format!("newest: release {version} ({product}), {length} bytes, good until {expires}"));
        match (&offer.file, offer.held) {
            (_, Some(why)) => say(why),
            (Some(file), None) => {
                say(format!("fetched and verified: bedside update install {}", file.display()))
            }
            (None, None) => say("this box would take it: bedside update fetch"),
        }
        Ok(())
    }

    fn install(&self, file: &Path) -> Result<(), CliError> {
        let installed = self.0.install(file, &mut |words| tell(words)).map_err(CliError::failed)?;
        unsure(&installed.checked);
        say(format!("installed {} in slot {}", words(&installed.checked), installed.slot.name()));
        if let Some(snapshot) = &installed.snapshot {
            say(format!(
                "the database as it is now was copied to {}",
                self.0.slots().snapshots().join(&snapshot.file).display()
            ));
        }
        say("it is started at the next start: systemctl restart bedside");
        Ok(())
    }

    fn confirm(&self) -> Result<(), CliError> {
        let slots = self.0.slots();
        let done = (|| {
            let state = slots.state()?;
            let slot = state.chosen.filter(|_| !state.confirmed && state.attempts > 0).ok_or_else(|| {
                UpdateError::NotNow("no update waits to be confirmed: one is started first".into())
            })?;
            let found = slots.verified(slot, &self.0.anchor()?)?;
            slots.confirm(slot, (found.release.version, &found.target.sha256))?;
            Ok(((), format!("release {} ({})", found.release.version, found.release.product)))
        })();
        self.0.told("update.confirm", done).map_err(CliError::failed)?;
        say("kept");
        Ok(())
    }

    fn back(&self) -> Result<(), CliError> {
        let done = (|| {
            let state = self.0.slots().state()?;
            let slot = state
                .chosen
                .ok_or_else(|| UpdateError::NotNow("the program of the package runs already".into()))?;
            self.0.slots().change(|state| {
                state.back_wanted = Some("somebody asked for it at the command line".into())
            })?;
            Ok(((), format!("back from slot {} is wanted", slot.name())))
        })();
        self.0.told("update.back", done).map_err(CliError::failed)?;
        say("the program before is started at the next start: systemctl restart bedside");
        Ok(())
    }

    fn status(&self, json: bool) -> Result<(), CliError> {
        let slots = self.0.slots();
        let state = slots.state().map_err(CliError::failed)?;
        let anchor = self.0.anchor();
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

fn unsure(checked: &Checked) {
    if let Some(unsure) = checked.unsure {
        tell(unsure);
    }
}
