//! `bedside patients`: who this box knows and who lies where. It only looks, also while the box runs.

use clap::Subcommand;

use super::{CliError, ConfigPath, say, say_json};
use crate::buffer::{self, PersonDetail, PersonRow, StayRow};
use crate::clock::Timestamp;
use crate::config;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List persons whose name, number or birth date holds every word
    List(List),
    /// Show one person: numbers, stays, merges and the messages they came from
    Show(Show),
    /// List the beds and who is in them
    WhoIsIn(WhoIsIn),
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  bedside patients list doe jane\n  bedside patients list 26000123\n  bedside patients list 1980-01"
)]
pub(super) struct List {
    #[command(flatten)]
    config: ConfigPath,
    /// Parts of the name, the number or the birth date
    words: Vec<String>,
    /// Say it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    #[command(flatten)]
    config: ConfigPath,
    /// The person's id on this box, see `bedside patients list`
    id: i64,
    /// Say it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct WhoIsIn {
    #[command(flatten)]
    config: ConfigPath,
    /// Only places whose name holds this, such as a ward or a bed
    place: Option<String>,
    /// Say it as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn main(command: Command) -> Result<(), CliError> {
    match command {
        Command::List(arguments) => list(&arguments),
        Command::Show(arguments) => show(&arguments),
        Command::WhoIsIn(arguments) => who_is_in(&arguments),
    }
}

fn list(arguments: &List) -> Result<(), CliError> {
    let config = config::load(&arguments.config.config).map_err(CliError::config)?;
    let text = arguments.words.join(" ");
    let found = buffer::look_at_people(&config.buffer.dir, Some(&text)).map_err(CliError::failed)?;
    tell(&found, arguments.json, "nobody");
    Ok(())
}

fn who_is_in(arguments: &WhoIsIn) -> Result<(), CliError> {
    let config = config::load(&arguments.config.config).map_err(CliError::config)?;
    let mut found = buffer::look_at_people(&config.buffer.dir, None).map_err(CliError::failed)?;
    if let Some(wanted) = arguments.place.as_ref().map(|place| place.trim().to_uppercase()) {
        found.retain(|(_, stay)| stay.as_ref().is_some_and(|stay| stay.place.label().contains(&wanted)));
    }
    tell(&found, arguments.json, "every bed is free, as far as this box knows");
    Ok(())
}

fn tell(found: &[(PersonRow, Option<StayRow>)], json: bool, nobody: &str) {
    if json {
        let all: Vec<_> = found.iter().map(|(person, stay)| as_json(person, stay.as_ref())).collect();
        return say_json(&serde_json::json!({ "people": all }));
    }
    if found.is_empty() {
        say(nobody);
    }
    for (person, stay) in found {
        let place = stay.as_ref().map(|stay| stay.place.label()).unwrap_or_default();
        let leave = if stay.as_ref().is_some_and(|stay| stay.on_leave) { " (on leave)" } else { "" };
        let born = person.person.birth_date.as_deref().unwrap_or_default();
        say(format!(
            "{:>6}  {place:<16}  {}  {born:<10}  {}{leave}",
            person.id,
            number(person),
            name(person)
        ));
    }
}

fn number(person: &PersonRow) -> &str {
    person.person.identifiers.first().map_or("-", |one| &*one.value)
}

fn name(person: &PersonRow) -> String {
    let given = person.person.given.iter().map(|name| &**name);
    person.person.family.as_deref().into_iter().chain(given).collect::<Vec<_>>().join(" ")
}

fn time(micros: i64) -> String {
    Timestamp::from_micros(micros, true).rfc3339()
}

fn as_json(person: &PersonRow, stay: Option<&StayRow>) -> serde_json::Value {
    let numbers: Vec<_> = person
        .person
        .identifiers
        .iter()
        .map(|one| serde_json::json!({ "system": *one.system, "value": *one.value, "kind": one.kind.as_deref() }))
        .collect();
    serde_json::json!({
        "id": person.id, "family": person.person.family.as_deref(), "given": person.person.given.join(" "),
        "birth_date": person.person.birth_date.as_deref(), "gender": person.person.gender.as_deref(),
        "identifiers": numbers, "told": person.told.rfc3339(), "place": stay.map(|stay| stay.place.label()),
        "since": stay.map(|stay| time(stay.since)),
    })
}

fn show(arguments: &Show) -> Result<(), CliError> {
    let config = config::load(&arguments.config.config).map_err(CliError::config)?;
    let found = buffer::look_at_person(&config.buffer.dir, arguments.id).map_err(CliError::failed)?;
    let found = found.ok_or_else(|| CliError::failed(format!("there is no patient {}", arguments.id)))?;
    if arguments.json {
        let open = found.stays.iter().find(|stay| stay.until.is_none());
        let mut shown = as_json(&found.row, open);
        let stays: Vec<_> = found.stays.iter().map(stay_json).collect();
        let sources: Vec<_> = found
            .sources
            .iter()
            .map(|one| serde_json::json!({ "entry": one.entry, "event": one.event }))
            .collect();
        if let Some(fields) = shown.as_object_mut() {
            fields.insert("stays".into(), stays.into());
            fields.insert("sources".into(), sources.into());
        }
        say_json(&shown);
        return Ok(());
    }
    show_person(&found);
    Ok(())
}

fn stay_json(stay: &StayRow) -> serde_json::Value {
    serde_json::json!({
        "place": stay.place.label(), "since": time(stay.since), "until": stay.until.map(time), "on_leave": stay.on_leave,
        "visit": stay.visit.as_ref().map(|visit| &visit.number),
    })
}

fn show_person(found: &PersonDetail) {
    let person = &found.row.person;
    let words = [
        name(&found.row),
        person.birth_date.as_deref().unwrap_or_default().into(),
        person.gender.as_deref().unwrap_or_default().into(),
    ];
    say(format!(
        "{}  (patient {}, last told {})",
        words.join("  ").trim(),
        found.row.id,
        found.row.told.rfc3339()
    ));
    for (one, past) in person
        .identifiers
        .iter()
        .map(|one| (one, ""))
        .chain(found.retired.iter().map(|one| (one, "  no longer used")))
    {
        say(format!("  {:<3} {}  {}{past}", one.kind.as_deref().unwrap_or("-"), one.value, one.system));
    }
    for stay in &found.stays {
        let until = stay.until.map_or_else(|| "now".into(), time);
        say(format!(
            "  {}  {} to {until}{}",
            stay.place.label(),
            time(stay.since),
            if stay.on_leave { "  on leave" } else { "" }
        ));
    }
    for merge in &found.merges {
        let undone = merge.undone.as_ref().map(|(_, by)| format!(", taken back by {by}")).unwrap_or_default();
        say(format!("  merged: {} into {} at {}{undone}", merge.gone, merge.survivor, merge.at.rfc3339()));
    }
    for source in &found.sources {
        say(format!("  {} in entry {}", source.event, source.entry));
    }
}
