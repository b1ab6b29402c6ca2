//! `bedside worklist`: what analysers are to measure. Looking is always possible; changes need a box that stands still,
//! because a running one has the folder and its own desk for them.

use clap::Subcommand;

use super::{CliError, ConfigPath, runtime, say, say_json};
use crate::admin::worklist::{OrderWanted, PatientWanted, Priority};
use crate::buffer::{
    self, Buffer, BufferError, Change, NewAudit, OrderRow, WorkChange, WorkFilter, WorkState,
};
use crate::clock::SystemClock;
use crate::config;
use crate::gateway::worklist::new_order;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the orders, the latest first; also while the box runs
    List(List),
    /// Put an order on the list of a box that is stopped
    Add(Add),
    /// Cancel an order on the list of a box that is stopped
    Cancel(Cancel),
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    config: ConfigPath,
    /// Only these: open, sent, done or cancelled
    #[arg(long, value_parser = state)]
    state: Option<WorkState>,
    /// Say it as JSON
    #[arg(long)]
    json: bool,
}

/// Puts an order on the worklist. The analyser is told when it asks for the specimen.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  bedside worklist add 26000123 GLU K NA\n  bedside worklist add 26000123 2345-7 --stat --patient MRN-7 --family Doe --given Jane\n\nA test is the analyser's own code or a LOINC code that its profile knows. While the box runs, use the desk: Worklist."
)]
pub(super) struct Add {
    #[command(flatten)]
    config: ConfigPath,
    /// The specimen's code, as the barcode reads
    specimen: String,
    /// The tests
    #[arg(required = true)]
    tests: Vec<String>,
    /// Before all others
    #[arg(long)]
    stat: bool,
    /// The patient's number
    #[arg(long, value_name = "NUMBER")]
    patient: Option<String>,
    #[arg(long, requires = "patient")]
    family: Option<String>,
    #[arg(long, requires = "patient")]
    given: Option<String>,
    /// YYYY-MM-DD
    #[arg(long, requires = "patient", value_name = "DATE")]
    birth_date: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Cancel {
    #[command(flatten)]
    config: ConfigPath,
    /// The order's id, see `bedside worklist list`
    id: i64,
}

fn state(word: &str) -> Result<WorkState, String> {
    WorkState::parse(word).ok_or_else(|| "open, sent, done or cancelled".into())
}

/// Who changed something on the command line, for the trail.
const WHO: &str = "command line";
/// Orders listed at once.
const LISTED_MAX: u32 = 1_000;

pub(super) fn main(command: Command) -> Result<(), CliError> {
    match command {
        Command::List(arguments) => list(&arguments),
        Command::Add(arguments) => add(arguments),
        Command::Cancel(arguments) => cancel(&arguments),
    }
}

fn list(arguments: &List) -> Result<(), CliError> {
    let config = config::load(&arguments.config.config).map_err(CliError::config)?;
    let filter = WorkFilter { state: arguments.state, text: None, limit: LISTED_MAX };
    let orders = buffer::look_at_orders(&config.buffer.dir, &filter).map_err(CliError::failed)?;
    if arguments.json {
        let all: Vec<_> = orders.iter().map(as_json).collect();
        say_json(&serde_json::json!({ "orders": all }));
        return Ok(());
    }
    if orders.is_empty() {
        say("no orders");
    }
    for order in orders {
        let tests: Vec<&str> = order.tests.iter().map(|test| test.test.name()).collect();
        let urgent = if order.urgent { " stat" } else { "" };
        let (id, state, source) = (order.id, order.state.as_str(), order.source.as_str());
        say(format!("{id:>6}  {state:<9}  {source:<4}  {}  {}{urgent}", order.specimen, tests.join(" ")));
        if let Some(note) = order.note {
            say(format!("        {note}"));
        }
    }
    Ok(())
}

fn as_json(order: &OrderRow) -> serde_json::Value {
    let tests: Vec<&str> = order.tests.iter().map(|test| test.test.name()).collect();
    serde_json::json!({
        "id": order.id, "state": order.state.as_str(), "specimen": order.specimen, "tests": tests, "urgent": order.urgent,
        "source": order.source.as_str(), "number": order.number, "created": order.created.rfc3339(), "note": order.note,
    })
}

fn add(arguments: Add) -> Result<(), CliError> {
    let Add { config, specimen, tests, stat, patient, family, given, birth_date } = arguments;
    let patient =
        patient.map(|id| PatientWanted { system: None, id, family, given, birth_date, gender: None });
    let priority = stat.then_some(Priority::Stat);
    let wanted = OrderWanted { specimen, tests, priority, patient, specimen_kind: None, collected: None };
    let wanted = wanted.checked().map_err(|faults| CliError::failed(faults.join("\n")))?;
    let key = format!("desk:{}", uuid::Uuid::new_v4());
    let order = new_order(wanted, &key, WHO);
    let audit = line("worklist.add", format!("an order of {} tests", order.tests.len()));
    write(&config, vec![Change::Work(WorkChange::Place { order, replace: false }), audit])?;
    say("the order is on the worklist");
    Ok(())
}

fn cancel(arguments: &Cancel) -> Result<(), CliError> {
    let id = arguments.id;
    let audit = line("worklist.cancel", format!("order {id}"));
    write(&arguments.config, vec![Change::Work(WorkChange::Cancel { id }), audit])?;
    say(format!("order {id} is cancelled"));
    Ok(())
}

fn line(what: &str, target: String) -> Change {
    Change::Audit(NewAudit { who: WHO.into(), what: what.into(), detail: format!("done {target}") })
}

fn write(config: &ConfigPath, changes: Vec<Change>) -> Result<(), CliError> {
    let config = config::load(&config.config).map_err(CliError::config)?;
    let clock = std::sync::Arc::new(SystemClock::default());
    let opened = Buffer::open(&config.buffer, clock).map_err(|fault| match fault {
        BufferError::InUse { .. } => {
            CliError::InUse("the box is running: change its worklist at the desk, or stop it first".into())
        }
        other => CliError::failed(other),
    })?;
    runtime()?.block_on(async {
        let done = opened.change(changes).await;
        opened.close().await;
        done.map_err(CliError::failed)
    })
}
