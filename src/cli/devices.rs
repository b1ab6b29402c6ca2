//! `bedside devices`: which serial ports there are, and what speaks on them.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Subcommand;

use super::run::signalled;
use super::{CliError, runtime, say, say_json, tell};
use crate::admin::pairing::ScanView;
use crate::clock::{Clock, SystemClock};
use crate::config;
use crate::connector::{Stop, ports};
use crate::firmware_profile::LinkContext;
use crate::gateway::pairing::scan::Scan;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the serial ports
    Ports {
        /// Say it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Find out what speaks on a serial port: listen, then try the settings of the known profiles
    Scan(ScanArguments),
}

/// Listens on a serial port at every setting a known profile uses and says which profile reads what comes. Nothing is
/// sent unless --ask is given, and then only the bytes a profile lists. Nothing is kept and nothing is acknowledged.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  bedside devices scan\n  bedside devices scan /dev/serial/by-id/usb-FTDI_FT232R-if00-port0\n  bedside devices scan /dev/ttyUSB0 --ask --profile puritan-bennett/840\n\nA running box holds the ports of its links: scan those from the desk, or stop the box first."
)]
pub(super) struct ScanArguments {
    /// The port; the only one when there is one
    port: Option<PathBuf>,
    /// Also send what profiles list to wake a silent device (polls and handshakes, never a command)
    #[arg(long)]
    ask: bool,
    /// Only these profiles, see `bedside profile list`
    #[arg(long = "profile", value_name = "ID")]
    profiles: Vec<String>,
    /// A folder with firmware profiles of your own
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// Say the outcome as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn main(command: Command) -> Result<(), CliError> {
    match command {
        Command::Ports { json } => list(json),
        Command::Scan(arguments) => scan(arguments),
    }
}

fn list(json: bool) -> Result<(), CliError> {
    let found = ports::list();
    if json {
        let all: Vec<_> = found
            .iter()
            .map(|port| serde_json::json!({ "path": port.path, "device": port.device, "name": port.name }))
            .collect();
        say_json(&serde_json::json!({ "ports": all }));
        return Ok(());
    }
    if found.is_empty() {
        say("no serial ports: is the adapter plugged in?");
    }
    for port in found {
        say(format!("{}  {}  {}", port.path, port.device, port.name.as_deref().unwrap_or("built in")));
    }
    Ok(())
}

fn scan(arguments: ScanArguments) -> Result<(), CliError> {
    let library = Arc::new(config::library(arguments.folder.as_deref()).map_err(CliError::config)?);
    if let Some(unknown) = arguments.profiles.iter().find(|id| library.find(id).is_none()) {
        return Err(CliError::failed(format!(
            "no firmware profile \"{unknown}\", see `bedside profile list`"
        )));
    }
    let port = chosen(arguments.port)?;
    let clock = Arc::new(SystemClock::default());
    let context = LinkContext::new("scan", "UTC", clock.now());
    let context = context.ok_or_else(|| CliError::failed("the time zone UTC is missing"))?;
    let view = Arc::new(Mutex::new(ScanView::default()));
    let scan = Scan {
        library,
        port,
        profiles: arguments.profiles,
        ask: arguments.ask,
        clock,
        context,
        view: view.clone(),
    };
    runtime()?.block_on(async {
        let (switch, stop) = Stop::pair();
        tokio::spawn(async move {
            signalled().await;
            switch.send_replace(true);
        });
        let telling = tokio::spawn(progress(view.clone()));
        scan.run(stop).await;
        telling.abort();
    });
    let view = view.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if arguments.json {
        say_json(&serde_json::to_value(&view).unwrap_or_default());
    } else {
        tell_outcome(&view);
    }
    if view.state == "found" { Ok(()) } else { Err(CliError::failed(view.detail)) }
}

/// The port that was named, or the only one there is.
fn chosen(named: Option<PathBuf>) -> Result<String, CliError> {
    if let Some(port) = named {
        return Ok(port.to_string_lossy().into_owned());
    }
    let mut found = ports::list();
    match (found.pop(), found.is_empty()) {
        (Some(only), true) => Ok(only.path),
        (None, _) => Err(CliError::failed("no serial ports: is the adapter plugged in?")),
        (Some(last), false) => {
            let all: Vec<String> = found.into_iter().chain([last]).map(|port| port.path).collect();
            Err(CliError::failed(format!("there are several ports, name one: {}", all.join(", "))))
        }
    }
}

/// Tells each step once; on a terminal a long one shows that it goes on.
async fn progress(view: Arc<Mutex<ScanView>>) {
    let mut told = String::new();
    let dots = std::io::stderr().is_terminal();
    loop {
        let (detail, percent) = {
            let view = view.lock().unwrap_or_else(PoisonError::into_inner);
            (view.detail.clone(), view.percent)
        };
        if detail != told && !detail.is_empty() {
            tell(format!("{percent:>3} %  {detail}"));
            told = detail;
        } else if dots && !told.is_empty() {
            tell("       …");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn tell_outcome(view: &ScanView) {
    tell("");
    for trial in &view.tried {
        let asked = trial.asked.as_ref().map(|id| format!(", asked as {id}")).unwrap_or_default();
        tell(format!(
            "  {:<14} {:>6} bytes {:>4} frames  {}{asked}",
            trial.setting, trial.bytes, trial.frames, trial.outcome
        ));
    }
    for found in &view.found {
        let sure = if found.guess.fits { "recognised" } else { "readable" };
        say(format!(
            "{}  {sure}, {} values, {} of them without a code",
            found.guess.profile, found.guess.measurements, found.guess.unknown
        ));
        for measurement in &found.measurements {
            let value = measurement.value.as_deref().or(measurement.absent).unwrap_or("-");
            say(format!(
                "    {:<32} {value} {}",
                measurement.label,
                measurement.unit.as_deref().unwrap_or_default()
            ));
        }
        if let Ok(serial) = config::page_of(&found.serial) {
            let one_line = serial.trim().replace('\n', ", ");
            say(format!(
                "    [[link]]\n    name = \"…\"\n    profile = \"{}\"\n    serial = {{ {one_line} }}",
                found.guess.profile
            ));
        }
    }
    tell(format!("\n{}", view.detail));
}
