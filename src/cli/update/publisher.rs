//! `bedside update keygen|root|release`: the publisher's side, on a computer that is no box.

use std::path::{Path, PathBuf};

use crate::buffer;
use crate::cli::{CliError, say, tell};
use crate::update::publish::{self, NewRelease, NewRoot, Signer};
use crate::update::slots::read_short;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The private key goes into FILE, which only its owner can read; keep the keys of the root on sticks in drawers \
of different people. The public key is printed: 64 digits for `bedside update root`."
)]
pub(in crate::cli) struct Keygen {
    /// The file to write; it must not exist
    file: PathBuf,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The root says whom boxes trust. The first one is FOLDER/1.json: give it to every box as \
/etc/bedside/update-root.json. To take a key out of use, or bring a new one in, write the next one with the keys that are to count \
from then on; sign it with enough keys of the root before AND of the new one. Every update file carries all roots.\n\nExample:\n  \
bedside update root roots --root-key \"$A\" --root-key \"$B\" --root-threshold 2 --release-key \"$C\" --expires 2031-01-01 --sign a.key --sign b.key"
)]
pub(in crate::cli) struct RootArguments {
    /// The folder of all roots
    folder: PathBuf,
    /// Public key of somebody who may sign the next root
    #[arg(long, required = true, value_name = "HEX")]
    root_key: Vec<String>,
    /// How many of them must
    #[arg(long, default_value_t = 1)]
    root_threshold: usize,
    /// Public key of somebody who may sign releases
    #[arg(long, required = true, value_name = "HEX")]
    release_key: Vec<String>,
    /// How many of them must
    #[arg(long, default_value_t = 1)]
    release_threshold: usize,
    /// Until when it is good: 2031-01-01, or with a time (RFC 3339)
    #[arg(long)]
    expires: String,
    /// Private key files that sign it
    #[arg(long, required = true, value_name = "FILE")]
    sign: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "OUTPUT is one file for a stick or a web server: all roots, the signed description, the programs. Boxes take \
release numbers that rise, from before the day it expires, and the program of their own architecture. newest.json is written beside it: put both \
into one folder of any web server (the update file first), and boxes with [update] url fetch from there; sign anew before it expires.\n\nExample:\n  bedside update \
release box-7.update --roots roots --number 7 --expires 2027-06-01 --sign c.key bedside-x86_64 bedside-aarch64"
)]
pub(in crate::cli) struct ReleaseArguments {
    /// The update file to write; it must not exist
    output: PathBuf,
    /// Programs, called bedside-x86_64, bedside-aarch64, bedside-armv7
    #[arg(required = true, value_name = "PROGRAM")]
    programs: Vec<PathBuf>,
    /// The folder of all roots
    #[arg(long, value_name = "FOLDER")]
    roots: PathBuf,
    /// Number of the release, above all before it
    #[arg(long)]
    number: u64,
    /// Until when it may be installed: 2027-06-01, or with a time (RFC 3339)
    #[arg(long)]
    expires: String,
    /// Version of the programs; that of this one unless said
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    product: String,
    /// Database schema of the programs; that of this one unless said
    #[arg(long, default_value_t = buffer::SCHEMA)]
    schema: i64,
    /// Private key files that sign it
    #[arg(long, required = true, value_name = "FILE")]
    sign: Vec<PathBuf>,
}

fn moment(text: &str) -> String {
    if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() }
}

fn signers(files: &[PathBuf]) -> Result<Vec<Signer>, CliError> {
    files.iter().map(|file| Signer::load(file).map_err(CliError::failed)).collect()
}

/// `1.json`, `2.json` … as far as they go.
fn roots_in(folder: &Path) -> Result<Vec<Vec<u8>>, CliError> {
    let mut roots = Vec::new();
    loop {
        let path = folder.join(format!("{}.json", roots.len() + 1));
        if !path.exists() {
            return Ok(roots);
        }
        roots.push(
            read_short(&path).map_err(|fault| CliError::failed(format!("{}: {fault}", path.display())))?,
        );
    }
}

pub(super) fn keygen(arguments: &Keygen) -> Result<(), CliError> {
    let signer = Signer::make(&arguments.file).map_err(CliError::failed)?;
    tell(format!("The private key is in {}. The public key:", arguments.file.display()));
    say(signer.public());
    Ok(())
}

pub(super) fn root(arguments: &RootArguments) -> Result<(), CliError> {
    let roots = roots_in(&arguments.folder)?;
    let before = if roots.is_empty() { None } else { Some(publish::last(&roots).map_err(CliError::failed)?) };
    let new = NewRoot {
        version: before.as_ref().map_or(1, |before| before.version + 1),
        expires: moment(&arguments.expires),
        root_keys: arguments.root_key.clone(),
        root_threshold: arguments.root_threshold,
        release_keys: arguments.release_key.clone(),
        release_threshold: arguments.release_threshold,
    };
    let bytes = publish::root(&new, before.as_ref(), &signers(&arguments.sign)?).map_err(CliError::failed)?;
    let path = arguments.folder.join(format!("{}.json", new.version));
    let fail = |fault| CliError::failed(format!("{}: {fault}", path.display()));
    std::fs::create_dir_all(&arguments.folder).map_err(fail)?;
    std::fs::write(&path, bytes).map_err(fail)?;
    say(format!("root {} is {}", new.version, path.display()));
    Ok(())
}

pub(super) fn release(arguments: &ReleaseArguments) -> Result<(), CliError> {
    let new = NewRelease {
        version: arguments.number,
        expires: moment(&arguments.expires),
        product: arguments.product.clone(),
        schema: arguments.schema,
        programs: arguments.programs.clone(),
    };
    let roots = roots_in(&arguments.roots)?;
    let release = publish::release(&new, &roots, &signers(&arguments.sign)?, &arguments.output);
    let release = release.map_err(CliError::failed)?;
    for target in &release.targets {
        say(format!("{}  {}  {} bytes", target.sha256, target.file, target.length));
    }
    let newest = publish::newest(&release, &roots, &signers(&arguments.sign)?, &arguments.output);
    tell(format!("For a web server's folder: {}", newest.map_err(CliError::failed)?.display()));
    say(format!("release {} ({}) is {}", release.version, release.product, arguments.output.display()));
    Ok(())
}
