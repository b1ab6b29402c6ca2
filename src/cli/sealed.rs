//! Encrypted backups at the command line: `bedside backup-key` makes the key pair, `bedside backup-drill` tries a backup.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{CliError, say, tell};
use crate::buffer;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::gateway::scheduled;
use crate::sealed::{self, SealedError, With, Workroom};
use crate::secret::{self, Secret};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Keep FILE away from the box, twice: whoever has it can read every backup, and without it nobody can. The \
line that is printed goes into [backup] recipients. The stock `age` reads FILE too."
)]
pub(super) struct KeyArguments {
    /// The file to write; it must not exist
    file: PathBuf,
}

/// What opens an encrypted backup.
#[derive(Debug, clap::Args)]
pub(super) struct Opening {
    /// The private key of an encrypted backup, as `bedside backup-key` wrote it
    #[arg(long, value_name = "KEYFILE", conflicts_with = "passphrase_file")]
    identity: Option<PathBuf>,
    /// The file with the passphrase of an encrypted backup
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl Opening {
    fn with(&self) -> Option<With> {
        let passphrase = self.passphrase_file.clone().map(With::Passphrase);
        self.identity.clone().map(With::Identity).or(passphrase)
    }
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The backup is opened and restored into a folder of its own, everything in it is verified as `bedside check` \
does, and the folder is removed. No box is touched. Exit code 1 when it is not good. Needs room for two copies, plain: use a \
disk you trust (--folder)."
)]
pub(super) struct DrillArguments {
    /// The encrypted backup
    file: PathBuf,
    #[command(flatten)]
    opening: Opening,
    /// Where the folder of the drill is made
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

pub(super) fn key(arguments: &KeyArguments) -> Result<(), CliError> {
    let (secret, public) = sealed::new_identity();
    let text = format!("# public key: {public}\n{}\n", secret.as_str());
    let path = match arguments.file.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new(".").join(&arguments.file),
        _ => arguments.file.clone(),
    };
    secret::write_new(&path, &Secret::new(text.into_bytes()))
        .map_err(|fault| CliError::failed(format!("{}: {fault}", path.display())))?;
    tell(format!("The private key is in {}: move it away from the box, and keep it twice.", path.display()));
    tell("This line goes into [backup] recipients:");
    say(public);
    Ok(())
}

/// The plain copy to restore, and the folder it is in for a while where the backup is encrypted.
pub(super) fn plain(
    file: &Path,
    opening: &Opening,
    data: &Path,
) -> Result<(PathBuf, Option<Workroom>), CliError> {
    let is_sealed = sealed::is_sealed(file).map_err(CliError::failed)?;
    match (is_sealed, opening.with()) {
        (false, None) => Ok((file.into(), None)),
        (false, Some(_)) => Err(CliError::failed(format!(
            "{} is not an encrypted backup: restore it without a key, or it was damaged at its beginning. Nothing was changed",
            file.display()
        ))),
        (true, None) => Err(CliError::failed(format!(
            "{} is encrypted: say --identity KEYFILE or --passphrase-file FILE. Nothing was changed",
            file.display()
        ))),
        (true, Some(with)) => {
            let room = scheduled::workroom(data, "restore").map_err(CliError::failed)?;
            let copy = scheduled::open_into(room.path(), file, &with).map_err(CliError::failed)?;
            Ok((copy, Some(room)))
        }
    }
}

pub(super) fn drill(arguments: &DrillArguments) -> Result<(), CliError> {
    let (began, now) = (Instant::now(), SystemClock::default().now());
    let with = arguments.opening.with();
    let with = with.ok_or_else(|| CliError::failed("say --identity KEYFILE or --passphrase-file FILE"))?;
    let folder = arguments.folder.clone().unwrap_or_else(std::env::temp_dir);
    let room = folder.join(format!("bedside-drill-{}", std::process::id()));
    if room.exists() {
        return Err(CliError::failed(format!("{} is there already: remove it", room.display())));
    }
    let bad = |fault: &dyn std::fmt::Display| CliError::failed(format!("the backup is NOT good: {fault}"));
    let room = Workroom::new(&room).map_err(CliError::failed)?;
    let copy = scheduled::open_into(room.path(), &arguments.file, &with)
        .map_err(|fault: SealedError| bad(&fault))?;
    let target = room.path().join("box");
    std::fs::create_dir(&target).map_err(CliError::failed)?;
    let restored = buffer::restore(&target, &copy, false, now, &mut |_| {}).map_err(|fault| bad(&fault))?;
    let examined = buffer::examine(&target, &mut |_| {}).map_err(|fault| bad(&fault))?;
    super::backup::told(&examined);
    let manifest = restored.manifest.as_ref();
    match manifest.and_then(|manifest| manifest.made.parse::<jiff::Timestamp>().ok()) {
        Some(made) => {
            let age = now.since(Timestamp::from_micros(made.as_microsecond(), true)).as_secs();
            say(format!("age       {:>10}   hours {} minutes", age / 3600, age % 3600 / 60));
        }
        None => say("age          unknown   there is no manifest beside it"),
    }
    say(format!("took      {:>10}   seconds", began.elapsed().as_secs()));
    let expected = manifest.map_or(examined.frames, |manifest| manifest.frames);
    if examined.sound() && examined.frames == expected {
        say("The backup is good.");
        return Ok(());
    }
    Err(CliError::failed(format!(
        "the backup is NOT good: {expected} frames were in it, and not all is sound"
    )))
}
