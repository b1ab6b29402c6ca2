//! The command line: one file per subcommand, one way to fail.
//!
//! What a script reads goes to standard output, what is said to people goes to standard error. Exit codes:
//! 0 done · 1 it failed · 2 the command line is wrong · 75 another Bedside has the folder · 78 the configuration
//! or a profile is wrong (sysexits.h).

mod audit;
mod backup;
mod config;
mod console;
mod demo;
mod destinations;
mod devices;
mod hl7;
mod keys;
mod manual;
mod patients;
mod profile;
mod promote;
mod replay;
mod run;
mod sealed;
mod selftest;
mod simulate;
mod status;
mod template;
mod update;
mod user;
mod venue;
mod worklist;

use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::secret::SecretStore;

/// Reads bedside and lab devices, keeps what they said, and delivers it as HL7 FHIR R4.
#[derive(Debug, Parser)]
#[command(
    name = "bedside",
    version = crate::sabotage::VERSION,
    propagate_version = true,
    after_help = "Start here:\n  bedside demo                  see it work with simulated devices\n  bedside config example        a commented configuration to start from\n  bedside config check          is my configuration right?\n  bedside profile list          which devices are known\n  bedside devices scan          what speaks on a serial port\n\nExit codes: 0 done, 1 failed, 2 wrong command line, 75 folder in use, 78 wrong configuration."
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until it is told to stop (SIGTERM, SIGINT)
    Run(run::Arguments),
    /// Run everything at once with simulated devices, a FHIR server and a throw-away folder
    Demo(demo::Arguments),
    /// Check that this binary works on this machine
    Selftest(selftest::Arguments),
    /// Check or show a configuration
    #[command(subcommand)]
    Config(config::Command),
    /// Check or list firmware profiles
    #[command(subcommand)]
    Profile(profile::Command),
    /// Check templates from HL7 v2 to FHIR, or translate a message with them
    #[command(subcommand)]
    Template(template::Command),
    /// List serial ports, and find out what speaks on them
    #[command(subcommand)]
    Devices(devices::Command),
    /// Speak as any known device: over TCP, a pseudo-terminal or MQTT, with faults on request
    Simulate(simulate::Arguments),
    /// Write what a serial port says to a tape, with its timing
    Record(replay::RecordArguments),
    /// Play a tape to a box as the device did
    Replay(replay::ReplayArguments),
    /// Make the key pair this box signs in with upstream
    #[command(subcommand)]
    Keys(keys::Command),
    /// Look at HL7 v2 messages by name, send them, print acknowledgements
    #[command(subcommand)]
    Hl7(hl7::Command),
    /// What analysers are to measure: list, add or cancel orders
    #[command(subcommand)]
    Worklist(worklist::Command),
    /// Who this box knows, and who lies where
    #[command(subcommand)]
    Patients(patients::Command),
    /// Who may log in at the desk: list, add, new passwords; the way back in when nobody can
    #[command(subcommand)]
    User(user::Command),
    /// Where results go: list, pause, go on, send a span of time again
    #[command(subcommand)]
    Destinations(destinations::Command),
    /// Say what waits, what is held and what was accepted
    Status(status::Arguments),
    /// Is the audit trail whole, and all of it as FHIR AuditEvent
    #[command(subcommand)]
    Audit(audit::Command),
    /// Verify everything kept: pages, SHA-256 of every frame, references, tallies, the audit trail
    Check(backup::CheckArguments),
    /// Copy everything kept into one file, while the box runs, and verify the copy
    Backup(backup::BackupArguments),
    /// Make the key pair that encrypted backups are sealed for and opened with
    BackupKey(sealed::KeyArguments),
    /// Try an encrypted backup: restore it into a folder of its own, verify all of it, remove it
    BackupDrill(sealed::DrillArguments),
    /// Make the box's buffer of a backup
    Restore(backup::RestoreArguments),
    /// Install signed updates, go back from one; and the publisher's tools
    #[command(subcommand)]
    Update(update::Command),
    /// Print the description of the desk's API (OpenAPI 3.1)
    Openapi,
    /// Print what this program is made of (CycloneDX), or the licences of it
    Sbom(manual::SbomArguments),
    /// Write the manual pages to a folder
    Manual(manual::ManualArguments),
    /// Print the completions for a shell: `bedside completions bash > /etc/bash_completion.d/bedside`
    Completions(manual::CompletionsArguments),
}

impl Command {
    /// Whether it asks the database or the configuration of a box, which the program that runs there knows best.
    const fn follows(&self) -> bool {
        match self {
            Self::Update(command) => command.follows(),
            Self::Config(_)
            | Self::User(_)
            | Self::Destinations(_)
            | Self::Patients(_)
            | Self::Worklist(_)
            | Self::Status(_)
            | Self::Audit(_)
            | Self::Check(_)
            | Self::Backup(_)
            | Self::Restore(_) => true,
            _ => false,
        }
    }
}

/// Where the configuration is, for every command that wants one.
#[derive(Debug, clap::Args)]
struct ConfigPath {
    /// The configuration file
    #[arg(
        short,
        long,
        default_value = "/etc/bedside/bedside.toml",
        env = "BEDSIDE_CONFIG",
        value_name = "FILE"
    )]
    config: PathBuf,
}

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration or a profile is wrong.
    #[error("{0}")]
    Config(String),
    /// Another instance holds the folder.
    #[error("{0}")]
    InUse(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl CliError {
    /// The exit code, as sysexits.h has it.
    pub const fn code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::InUse(_) => 75,
            Self::Config(_) => 78,
        }
    }

    fn failed(reason: impl Display) -> Self {
        Self::Failed(reason.to_string())
    }

    fn config(reason: impl Display) -> Self {
        Self::Config(reason.to_string())
    }
}

/// Does what the command line asks.
pub fn main(arguments: Arguments) -> Result<(), CliError> {
    if arguments.command.follows() {
        update::launch::follow();
    }
    match arguments.command {
        Command::Run(arguments) => run::main(arguments),
        Command::Demo(arguments) => demo::main(arguments),
        Command::Selftest(arguments) => selftest::main(&arguments),
        Command::Config(command) => config::main(command),
        Command::Profile(command) => profile::main(command),
        Command::Template(command) => template::main(command),
        Command::Devices(command) => devices::main(command),
        Command::Simulate(arguments) => simulate::main(arguments),
        Command::Record(arguments) => replay::record(arguments),
        Command::Replay(arguments) => replay::replay(arguments),
        Command::Keys(command) => keys::main(command),
        Command::Hl7(command) => hl7::main(command),
        Command::Destinations(command) => destinations::main(command),
        Command::Patients(command) => patients::main(command),
        Command::User(command) => user::main(command),
        Command::Worklist(command) => worklist::main(command),
        Command::Status(arguments) => status::main(&arguments),
        Command::Audit(command) => audit::main(command),
        Command::Check(arguments) => backup::check(&arguments),
        Command::Backup(arguments) => backup::back_up(&arguments),
        Command::BackupKey(arguments) => sealed::key(&arguments),
        Command::BackupDrill(arguments) => sealed::drill(&arguments),
        Command::Restore(arguments) => backup::restore(&arguments),
        Command::Update(command) => update::main(command),
        Command::Openapi => {
            say_json(&crate::admin::openapi());
            Ok(())
        }
        Command::Sbom(arguments) => {
            manual::sbom(&arguments);
            Ok(())
        }
        Command::Manual(arguments) => manual::manual(&arguments),
        Command::Completions(arguments) => {
            manual::completions(&arguments);
            Ok(())
        }
    }
}

/// Writes to standard output; a reader that went away (`| head`) is no failure.
fn say(text: impl Display) {
    let _closed = writeln!(std::io::stdout().lock(), "{text}");
}

/// Writes to the person at the terminal.
fn tell(text: impl Display) {
    let _closed = writeln!(std::io::stderr().lock(), "{text}");
}

fn say_json(value: &serde_json::Value) {
    say(serde_json::to_string_pretty(value).unwrap_or_default());
}

fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CliError::failed)
}

/// systemd's credentials first, the configured folder second.
fn secret_store(folder: PathBuf) -> SecretStore {
    SecretStore::new(std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from), Some(folder))
}

/// One crypto provider for everything, installed before the first TLS or signature.
fn install_crypto() {
    // An error means that it is already installed, which is what we want.
    let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
