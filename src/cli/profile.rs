//! `bedside profile`: check a firmware profile on bytes you captured, or list those that are known.

use std::path::{Path, PathBuf};

use super::{CliError, say, say_json};
use crate::clock::{Clock, SystemClock};
use crate::config;
use crate::firmware_profile::{self, LinkContext};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Check a profile, and decode a capture with it (exit code 78 when the profile is wrong)
    ///
    /// A capture is what the device said: `.hl7`, `.txt`, `.json` as it is, `.hex` as hex digits.
    Check {
        /// The profile.toml
        file: PathBuf,
        /// A capture to decode with it
        capture: Option<PathBuf>,
        /// The MQTT topic the capture came on
        #[arg(long)]
        topic: Option<String>,
        /// IANA zone of a device that states no offset
        #[arg(long, default_value = "UTC")]
        zone: String,
        /// Say it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Run a profile over a tape or a capture: frames, values, findings
    Run(super::promote::RunArguments),
    /// Make a test of a frame of a tape: capture, golden and the lines to add, without persons
    Promote(super::promote::PromoteArguments),
    /// Print the JSON Schema (2020-12) of a profile.toml, for editors
    ///
    /// Keep it in a file and name that file in the first line of the page: `#:schema ./profile.schema.json`.
    Schema,
    /// List the firmware profiles that are built in, and those of a folder
    List {
        /// The clinic's own folder of profiles
        #[arg(long, value_name = "FOLDER")]
        folder: Option<PathBuf>,
        /// Say it as JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn main(command: Command) -> Result<(), CliError> {
    match command {
        Command::Check { file, capture, topic, zone, json } => {
            checked(&file, capture, topic.as_deref(), &zone, json)
        }
        Command::Run(arguments) => super::promote::run(&arguments),
        Command::Promote(arguments) => super::promote::promote(&arguments),
        Command::Schema => {
            say_json(&firmware_profile::page_schema());
            Ok(())
        }
        Command::List { folder, json } => list(folder, json),
    }
}

fn checked(
    file: &Path,
    capture: Option<PathBuf>,
    topic: Option<&str>,
    zone: &str,
    json: bool,
) -> Result<(), CliError> {
    let Some(context) = LinkContext::new("check", zone, SystemClock::default().now()) else {
        return Err(CliError::failed(format!(
            "unknown time zone \"{zone}\": use an IANA name such as Europe/Berlin"
        )));
    };
    let unreadable = |path: &Path, e: std::io::Error| CliError::failed(format!("{}: {e}", path.display()));
    let page = std::fs::read_to_string(file).map_err(|e| unreadable(file, e))?;
    let capture = match &capture {
        Some(path) => {
            Some((path.display().to_string(), std::fs::read(path).map_err(|e| unreadable(path, e))?))
        }
        None => None,
    };
    let place = file.display().to_string();
    let capture = capture.as_ref().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
    let report = firmware_profile::check(&place, &page, capture, topic, &context);
    let mut report = report;
    let captures = file.parent().map(|folder| folder.join("captures"));
    if let Some(captures) = captures.filter(|captures| captures.is_dir()) {
        report.faults.extend(firmware_profile::missing_captures(&page, |name| captures.join(name).is_file()));
    }
    if json {
        say_json(&serde_json::to_value(&report).map_err(CliError::failed)?);
    } else {
        say(&report);
    }
    if report.is_good() {
        Ok(())
    } else {
        Err(CliError::config(format!("{place}: not a usable firmware profile")))
    }
}

fn list(folder: Option<PathBuf>, json: bool) -> Result<(), CliError> {
    let library = config::library(folder.as_deref()).map_err(CliError::config)?;
    if json {
        let all: Vec<_> = library
            .profiles()
            .map(|p| {
                serde_json::json!({
                    "id": &*p.id, "manufacturer": &*p.manufacturer, "model": &*p.model, "verified": p.verified,
                })
            })
            .collect();
        say_json(&serde_json::Value::Array(all));
        return Ok(());
    }
    for profile in library.profiles() {
        say(format!(
            "{:<28} {} {} (verified: {})",
            profile.id, profile.manufacturer, profile.model, profile.verified
        ));
    }
    Ok(())
}
