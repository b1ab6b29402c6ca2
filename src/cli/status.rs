//! `bedside status`: what waits, what is held, what was accepted; read from the buffer, also while the box runs.

use super::{CliError, ConfigPath, say, say_json};
use crate::buffer;
use crate::config;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigPath,
    /// Say it as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn main(arguments: &Arguments) -> Result<(), CliError> {
    let config = config::load(&arguments.config.config).map_err(CliError::config)?;
    let glance = buffer::glance(&config.buffer.dir).map_err(CliError::failed)?;
    let counts = glance.counts;
    let destinations = buffer::look_at_destinations(&config.buffer.dir).map_err(CliError::failed)?;
    if arguments.json {
        say_json(&serde_json::json!({
            "running": glance.running,
            "bytes": glance.bytes,
            "quota_bytes": config.buffer.max_bytes,
            "counts": {
                "waiting": counts.waiting, "sent": counts.sent, "accepted": counts.accepted, "held": counts.held,
            },
            "gone": counts.gone,
            "kept": counts.kept,
            "destinations": destinations.iter().map(as_json).collect::<Vec<_>>(),
            "ledger": glance.ledger,
            "balanced": glance.ledger.balanced(),
        }));
        return Ok(());
    }
    say(if glance.running { "running" } else { "not running" });
    say(format!("waiting   {:>10}   to be delivered", counts.waiting));
    say(format!("sent      {:>10}   on their way, no answer yet", counts.sent));
    say(format!(
        "held      {:>10}   wait for a person: open the desk, Messages, filter \"held\"",
        counts.held
    ));
    say(format!("accepted  {:>10}   the server has them", counts.accepted));
    let ledger = glance.ledger;
    say(format!(
        "received  {:>10}   {} acknowledged, {} refused, {} noise",
        ledger.received, ledger.acknowledged, ledger.refused, ledger.noise
    ));
    say(format!(
        "acknowledged {:>7}   {} delivered, {} queued, {} held, {} said again, {} lost",
        ledger.acknowledged, ledger.delivered, ledger.queued, ledger.held, ledger.repeated, ledger.lost
    ));
    say(format!(
        "on disk   {:>10.1} MB of {:.1} GB",
        mega(glance.bytes),
        mega(config.buffer.max_bytes) / 1000.0
    ));
    for one in destinations.iter().filter(|one| one.wanted) {
        let paused = if one.paused { ", paused" } else { "" };
        let (open, held, done) = (one.waiting + one.sent, one.held, one.done() + one.gone);
        say(format!("{}: {open} to go, {held} held, {done} done{paused}", one.name));
    }
    Ok(())
}

/// queued = waiting + sent + held + done + gone; kept = waiting + sent + accepted + held + gone, of the main server.
pub(super) fn as_json(one: &buffer::DestinationRow) -> serde_json::Value {
    serde_json::json!({
        "name": one.name, "configured": one.wanted, "paused": one.paused, "looked_through": one.through,
        "queued": one.queued, "waiting": one.waiting, "sent": one.sent, "held": one.held, "done": one.done(),
        "gone": one.gone, "oldest": one.oldest.map(crate::clock::Timestamp::rfc3339),
    })
}

#[allow(clippy::cast_precision_loss, reason = "a size shown with one decimal")]
fn mega(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
