//! `bedside audit`: is the trail whole, and all of it for whoever keeps such trails. It only looks, also while the box runs;
//! an export leaves no line then, because nobody but the running box writes.

use std::io::Write;
use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

use super::{CliError, ConfigPath, say, say_json, secret_store, tell};
use crate::admin::balp::audit_event;
use crate::admin::trail::{Observer, RowView};
use crate::buffer::{self, AuditRow, AuditSeal, SealError};
use crate::config::{self, Config};
use crate::gateway::SEAL_KEY;
use crate::secret::SecretError;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check every row, its link to the one before, the end of the trail and the seal
    Verify(Verify),
    /// Write the whole trail, oldest first, one row a line
    Export(Export),
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Each row holds the SHA-256 of the row before it; how many rows there are stands in a second place, and a seal made \
with a key of the secrets folder in a third. So a changed bit, a row that was taken out or moved, and a trail that was cut off \
or written anew are found, and the row is named. Exit code 1 when something is wrong. Run it as the user that can read the \
secrets, or the seal is not checked."
)]
pub(super) struct Verify {
    #[command(flatten)]
    config: ConfigPath,
    /// Say it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  bedside audit export > audit.ndjson             FHIR R4 AuditEvent (IHE BALP, DICOM codes)\n  \
bedside audit export --as rows | jq .           the rows as the desk shows them"
)]
pub(super) struct Export {
    #[command(flatten)]
    config: ConfigPath,
    /// What a line is
    #[arg(long = "as", value_enum, default_value = "fhir")]
    form: Form,
    /// The file to write; it must not exist. Without it: standard output
    #[arg(long, short)]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// FHIR R4 AuditEvent
    Fhir,
    /// The row: id, at, who, what, outcome, target, origin, note
    Rows,
}

pub(super) fn main(command: Command) -> Result<(), CliError> {
    match command {
        Command::Verify(arguments) => verify(&arguments),
        Command::Export(arguments) => export(&arguments),
    }
}

/// The seal, or why it says nothing; the second value tells that somebody replaced it.
fn seal(config: &Config) -> (Option<AuditSeal>, Option<String>, bool) {
    let key = match secret_store(config.secrets.clone()).load(SEAL_KEY) {
        Ok(key) => key,
        Err(SecretError::Missing { .. }) => {
            return (
                None,
                Some(format!("there is no secret \"{SEAL_KEY}\": no seal was made, or another box made it")),
                false,
            );
        }
        Err(fault) => return (None, Some(fault.to_string()), false),
    };
    match AuditSeal::read(&config.buffer.dir, key.expose()) {
        Ok(Some(seal)) => (Some(seal), None, false),
        Ok(None) => (None, Some("there is no seal".into()), false),
        Err(fault @ SealError::Forged) => (None, Some(fault.to_string()), true),
        Err(fault) => (None, Some(fault.to_string()), false),
    }
}

fn verify(arguments: &Verify) -> Result<(), CliError> {
    let config = config::load(&arguments.config.config).map_err(CliError::config)?;
    let (seal, fault, forged) = seal(&config);
    let found = buffer::verify_trail(&config.buffer.dir, seal.as_ref()).map_err(CliError::failed)?;
    let sound = found.broken.is_none() && !forged;
    if arguments.json {
        let broken = found.broken.as_ref().map(|(row, why)| serde_json::json!({ "row": row, "why": why }));
        say_json(&serde_json::json!({
            "sound": sound, "rows": found.rows, "broken": broken, "sealed_rows": seal.as_ref().map(|seal| seal.rows),
            "sealed_at": seal.as_ref().map(|seal| seal.at.rfc3339()), "seal_fault": fault,
        }));
    } else {
        say(format!("rows      {:>10}", found.rows));
        match (&seal, &fault) {
            (Some(seal), _) => say(format!("sealed    {:>10}   at {}", seal.rows, seal.at.rfc3339())),
            (None, fault) => say(format!("NO SEAL              {}", fault.as_deref().unwrap_or_default())),
        }
        if let Some((row, why)) = &found.broken {
            say(format!("BROKEN    at row {row}: {why}"));
        }
    }
    if sound {
        return Ok(());
    }
    Err(CliError::failed(
        "the audit trail is not as it was written: keep the folder as it is, and make a copy of it",
    ))
}

fn export(arguments: &Export) -> Result<(), CliError> {
    let config = config::load(&arguments.config.config).map_err(CliError::config)?;
    let mut out: Box<dyn Write> = match &arguments.output {
        None => Box::new(std::io::stdout().lock()),
        Some(path) => {
            use std::os::unix::fs::OpenOptionsExt;
            let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            Box::new(opened.map_err(|fault| CliError::failed(format!("{}: {fault}", path.display())))?)
        }
    };
    let (identifier, mut count) = (buffer::identity_of(&config.buffer.dir).map_err(CliError::failed)?, 0_u64);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let observer = Observer {
        identifier,
        site: config.site.name.clone(),
        host: host.trim().to_owned(),
        version: env!("CARGO_PKG_VERSION"),
        simulated: config.site.simulated,
    };
    let mut closed = false;
    let each = &mut |row: &AuditRow| {
        let line = match arguments.form {
            Form::Fhir => audit_event(row, &observer).json.get().to_owned(),
            Form::Rows => serde_json::to_string(&RowView::from(row)).unwrap_or_default(),
        };
        count += 1;
        // A reader that went away (`| head`) is no failure.
        closed = writeln!(out, "{line}").is_err();
        !closed
    };
    buffer::walk_trail(&config.buffer.dir, each).map_err(CliError::failed)?;
    if closed && arguments.output.is_some() {
        return Err(CliError::failed("the file could not be written to its end"));
    }
    out.flush().map_err(CliError::failed)?;
    tell(format!("{count} rows"));
    Ok(())
}
