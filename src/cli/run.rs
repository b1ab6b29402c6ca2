//! `bedside run`: the gateway itself.

use std::io::IsTerminal;
use std::sync::Arc;

use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::console::Terminal;
use super::{CliError, ConfigPath, install_crypto, runtime, secret_store};
use crate::clock::SystemClock;
use crate::config::{self, Log, LogFormat};
use crate::connector::Stop;
use crate::gateway::{self, GatewayError};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigPath,
}

pub(super) fn main(arguments: Arguments) -> Result<(), CliError> {
    super::update::launch::launch(&arguments.config.config);
    let config = config::load(&arguments.config.config).map_err(CliError::config)?;
    start_log(&config.log);
    if cfg!(feature = "sabotage") {
        tracing::error!(version = crate::sabotage::VERSION, "Not for use.");
    }
    install_crypto();
    allow_files();
    let secrets = secret_store(config.secrets.clone());
    runtime()?.block_on(async move {
        let (switch, stop) = Stop::pair();
        tokio::spawn(async move {
            signalled().await;
            let _no_systemd = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
            switch.send_replace(true);
        });
        gateway::run(config, secrets, Arc::new(SystemClock::default()), stop, Arc::new(Terminal))
            .await
            .map_err(failure)
    })
}

/// Takes as many open files as the system lets it: each connection is one, and a thousand senders may come.
fn allow_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.map_or(FILES, |maximum| maximum.min(FILES));
    if limit.current.is_some_and(|current| current < most) {
        // Refused, it stays as it was: then accepting fails sooner, and the link's state says so.
        let _refused = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum });
    }
}

/// More is never needed.
const FILES: u64 = 65_536;

/// The exit code a gateway's failure deserves.
pub(super) fn failure(fault: GatewayError) -> CliError {
    match fault {
        GatewayError::InUse(_) => CliError::InUse(fault.to_string()),
        GatewayError::Config(_) => CliError::Config(fault.to_string()),
        GatewayError::Failed(_) => CliError::Failed(fault.to_string()),
    }
}

/// Ends when the box is asked to stop.
pub(super) async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

/// Human on a terminal, JSON otherwise. Control characters in values are escaped by the formatter.
///
/// The filter is for our own words. Libraries beneath stay at `info` whatever it says: they carry headers and bodies,
/// and nobody here decides what they write of them.
pub(super) fn start_log(log: &Log) {
    let filter =
        log.filter.clone().or_else(|| std::env::var("BEDSIDE_LOG").ok()).unwrap_or_else(|| "info".into());
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let terminal = std::io::stderr().is_terminal();
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Human => false,
        LogFormat::Auto => !terminal,
    };
    let calm = filter_fn(|line| *line.level() <= Level::INFO || line.target().starts_with("bedside"));
    let registry = tracing_subscriber::registry().with(filter).with(calm);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    // An error means that a log is already started, as in a test.
    let _already = if json {
        registry.with(layer.json().flatten_event(true)).try_init()
    } else {
        registry.with(layer.with_ansi(terminal).compact()).try_init()
    };
}
