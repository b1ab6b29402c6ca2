//! `bedside demo`: the whole thing in one process and a throw-away folder.

use std::net::SocketAddr;
use std::sync::Arc;

use super::console::Terminal;
use super::run::{failure, signalled, start_log};
use super::{CliError, install_crypto, runtime};
use crate::config::{Log, LogFormat};
use crate::connector::Stop;
use crate::demo;

/// Six simulated devices, an embedded broker, a small FHIR + SMART server and the desk. Everything is simulated.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where the desk listens
    #[arg(long, default_value = "127.0.0.1:8443", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Log more: a tracing filter such as `info`
    #[arg(long, default_value = "warn", value_name = "FILTER")]
    log: String,
}

pub(super) fn main(arguments: Arguments) -> Result<(), CliError> {
    start_log(&Log { filter: Some(arguments.log), format: LogFormat::Human });
    install_crypto();
    runtime()?.block_on(async move {
        let (switch, stop) = Stop::pair();
        tokio::spawn(async move {
            signalled().await;
            switch.send_replace(true);
        });
        demo::run(arguments.listen, stop, Arc::new(Terminal)).await.map_err(failure)
    })
}
