//! `bedside template`: check templates from HL7 v2 to FHIR, and run a message through them.

use std::path::{Path, PathBuf};

use super::{CliError, say, say_json, tell};
use crate::clock::{Clock, SystemClock};
use crate::config::templates;
use crate::device::Identifier;
use crate::fhir::{Mode, Transaction};
use crate::firmware_profile::LinkContext;
use crate::hl7v2::{Charset, Message};
use crate::template::{self, Context, Library};
use crate::translate::Gateway;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Check a page of templates, or all that are in use (exit code 78 when one is wrong)
    Check {
        /// The page; without it the built-in templates and those of the folder
        file: Option<PathBuf>,
        /// The clinic's own folder of templates
        #[arg(long, value_name = "FOLDER")]
        folder: Option<PathBuf>,
        /// Say it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Translate a message: the transaction Bundle to standard output, the findings to standard error
    Run {
        /// The message, in ER7 (`|`), with any line ends
        file: PathBuf,
        /// The clinic's own folder of templates
        #[arg(long, value_name = "FOLDER")]
        folder: Option<PathBuf>,
        /// IANA zone for times without one
        #[arg(long, default_value = "UTC")]
        zone: String,
        /// Bundle and findings as one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema (2020-12) of a page of templates, for editors
    ///
    /// Keep it in a file and name that file in the first line of the page:
    /// `# yaml-language-server: $schema=./template.schema.json`.
    Schema,
    /// List the messages that are translated
    List {
        /// The clinic's own folder of templates
        #[arg(long, value_name = "FOLDER")]
        folder: Option<PathBuf>,
    },
}

pub(super) fn main(command: Command) -> Result<(), CliError> {
    match command {
        Command::Check { file: Some(file), folder: _, json } => checked(&file, json),
        Command::Check { file: None, folder, json } => {
            let library = library(folder.as_deref())?;
            let names: Vec<_> = library.messages().map(|(name, _)| name.to_owned()).collect();
            if json {
                say_json(&serde_json::json!({"faults": [], "messages": names}));
            } else {
                say(format!("all templates are good: {}", names.join(", ")));
            }
            Ok(())
        }
        Command::Run { file, folder, zone, json } => run(&file, folder.as_deref(), &zone, json),
        Command::Schema => {
            say_json(&template::page_schema());
            Ok(())
        }
        Command::List { folder } => {
            for (name, events) in library(folder.as_deref())?.messages() {
                say(format!("{name:<20} {}", events.join(" ")));
            }
            Ok(())
        }
    }
}

fn library(folder: Option<&Path>) -> Result<Library, CliError> {
    templates(folder).map_err(CliError::config)
}

fn checked(file: &Path, json: bool) -> Result<(), CliError> {
    let unreadable = |e: std::io::Error| CliError::failed(format!("{}: {e}", file.display()));
    let text = std::fs::read_to_string(file).map_err(unreadable)?;
    let report = template::check(&file.display().to_string(), &text);
    if json {
        say_json(&serde_json::to_value(&report).map_err(CliError::failed)?);
    } else {
        say(&report);
    }
    match report.is_good() {
        true => Ok(()),
        false => Err(CliError::config(format!("{}: not a usable page of templates", file.display()))),
    }
}

fn run(file: &Path, folder: Option<&Path>, zone: &str, json: bool) -> Result<(), CliError> {
    let library = library(folder)?;
    let Some(link) = LinkContext::new("run", zone, SystemClock::default().now()) else {
        let text = format!("unknown time zone \"{zone}\": use an IANA name such as Europe/Berlin");
        return Err(CliError::failed(text));
    };
    let bytes = std::fs::read(file).map_err(|e| CliError::failed(format!("{}: {e}", file.display())))?;
    let parsed = Message::parse(&bytes, Charset::default());
    let Some(message) = parsed.message else {
        return Err(CliError::failed("no HL7 message: no line begins with MSH and a field separator"));
    };
    let gateway = Gateway {
        id: Identifier { system: "urn:bedside:gateway".into(), value: "template-run".into(), kind: None },
        name: "bedside template run".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        patient_system: None,
    };
    let context = Context { link: &link, gateway: &gateway, simulated: false };
    let converted = library.convert(&message, &context).map_err(CliError::failed)?;
    let mut transaction = Transaction::new(Mode::Conditional);
    converted.resources.iter().for_each(|resource| transaction.add(resource));
    let bundle: serde_json::Value = serde_json::from_str(&transaction.json()).map_err(CliError::failed)?;
    let findings: Vec<_> = parsed.findings.iter().chain(&converted.findings).collect();
    if json {
        say_json(&serde_json::json!({"bundle": bundle, "findings": findings}));
        return Ok(());
    }
    say_json(&bundle);
    for finding in findings {
        tell(format!("{:<16} {:<14} {}", finding.code, finding.place, finding.text));
    }
    Ok(())
}
