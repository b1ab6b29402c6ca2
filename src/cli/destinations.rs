//! `bedside destinations`: where results go. Looking is always possible; changes need a box that stands still, because a
//! running one has the folder and its own desk for them (Routes).

use clap::Subcommand;

use super::{CliError, ConfigPath, runtime, say, say_json, status};
use crate::admin::outgoing::ReplayWanted;
use crate::buffer::{self, Buffer, BufferError, Change, FeedChange, NewAudit, OutgoingChange};
use crate::clock::SystemClock;
use crate::config::{self, Config};
use crate::gateway;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the queues; also while the box runs
    List(List),
    /// Stop sending to one
    Pause(One),
    /// Go on sending to one
    Resume(One),
    /// Send what was received in a span of time again: the same resources under the same ids
    Replay(Replay),
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    config: ConfigPath,
    /// Say it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct One {
    #[command(flatten)]
    config: ConfigPath,
    /// Its name, or that of [upstream]
    name: String,
}

/// Sends what was received in a span of time again.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  bedside destinations replay EHR --from 2026-11-20T00:00:00+01:00 --until 2026-11-21T00:00:00+01:00\n\nFor a server that was restored from an older copy. What it still has stays as it is: every resource keeps its id. Entries that were purged are not sent. While the box runs, use the desk: Routes."
)]
pub(super) struct Replay {
    #[command(flatten)]
    config: ConfigPath,
    /// Its name, or that of [upstream]
    name: String,
    /// RFC 3339, by this box's clock
    #[arg(long, value_name = "TIME")]
    from: String,
    /// Not included
    #[arg(long, value_name = "TIME")]
    until: String,
}

const WHO: &str = "command line";

pub(super) fn main(command: Command) -> Result<(), CliError> {
    match command {
        Command::List(arguments) => list(&arguments),
        Command::Pause(arguments) => pause(&arguments, true),
        Command::Resume(arguments) => pause(&arguments, false),
        Command::Replay(arguments) => replay(arguments),
    }
}

fn list(arguments: &List) -> Result<(), CliError> {
    let config = config::load(&arguments.config.config).map_err(CliError::config)?;
    let rows = buffer::look_at_destinations(&config.buffer.dir).map_err(CliError::failed)?;
    if arguments.json {
        let all: Vec<_> = rows.iter().map(status::as_json).collect();
        say_json(&serde_json::json!({ "main": config.upstream.map(|main| main.name), "destinations": all }));
        return Ok(());
    }
    if let Some(main) = &config.upstream {
        say(format!("{}: the main server, see bedside status", main.name));
    }
    for one in rows {
        let state = match (one.wanted, one.paused) {
            (false, _) => "no longer in the configuration",
            (true, true) => "paused",
            (true, false) => "in use",
        };
        say(format!(
            "{}: {state}; {} to go, {} held, {} done",
            one.name,
            one.waiting + one.sent,
            one.held,
            one.done() + one.gone
        ));
    }
    Ok(())
}

fn pause(arguments: &One, paused: bool) -> Result<(), CliError> {
    let config = config::load(&arguments.config.config).map_err(CliError::config)?;
    let name = arguments.name.clone();
    let what = if paused { "destination.pause" } else { "destination.resume" };
    let change = match is_main(&config, &name) {
        true => gateway::pause_of_main(paused),
        false => Change::Outgoing(OutgoingChange::Pause { destination: name.clone(), paused }),
    };
    let audit = Change::Audit(NewAudit {
        who: WHO.into(),
        what: what.into(),
        detail: format!("done destination {name}"),
    });
    with_buffer(&config, async |buffer| buffer.change(vec![change, audit]).await)?;
    say(format!("{name}: {}", if paused { "paused" } else { "goes on with the next start" }));
    Ok(())
}

fn replay(arguments: Replay) -> Result<(), CliError> {
    let config = config::load(&arguments.config.config).map_err(CliError::config)?;
    let Replay { name, from, until, .. } = arguments;
    let detail = format!("done destination {name}, {} to {}", from.trim(), until.trim());
    let (start, end) = ReplayWanted { from, until }.span().map_err(CliError::failed)?;
    let main = is_main(&config, &name);
    let audit = Change::Audit(NewAudit { who: WHO.into(), what: "destination.replay".into(), detail });
    let count = with_buffer(&config, async |buffer| {
        let reader = buffer.reader();
        let first = reader.last_received_before(start).await? + 1;
        let last = reader.last_received_before(end).await?;
        if main {
            buffer.change(vec![audit]).await?;
            return gateway::replay_main(buffer, first, last).await;
        }
        let known = config.feeds.iter().any(|feed| *feed.name == *name);
        if !known {
            return Err(BufferError::NotAllowed(format!(
                "\"{name}\" is no FHIR server and no folder of the configuration"
            )));
        }
        let change = FeedChange::Replay { first, last };
        let change = Change::Outgoing(OutgoingChange::Feed { destination: name.clone(), change });
        buffer.change(vec![change, audit]).await?;
        Ok(u64::try_from(last - first + 1).unwrap_or(0))
    })?;
    say(format!("{count} entries go again with the next start"));
    Ok(())
}

fn is_main(config: &Config, name: &str) -> bool {
    config.upstream.as_ref().is_some_and(|main| main.name == name)
}

fn with_buffer<T>(
    config: &Config,
    work: impl AsyncFnOnce(&Buffer) -> Result<T, BufferError>,
) -> Result<T, CliError> {
    let done = runtime()?.block_on(async {
        let buffer = Buffer::open(&config.buffer, std::sync::Arc::new(SystemClock::default()))?;
        let done = work(&buffer).await;
        buffer.close().await;
        done
    });
    done.map_err(|fault| match fault {
        BufferError::InUse { .. } => {
            CliError::InUse(format!("{fault}. While the box runs, use its desk: Routes"))
        }
        other => CliError::failed(other),
    })
}
