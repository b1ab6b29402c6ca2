//! `bedside user`: who may log in at the desk, from the box's own console. It is the way back in when nobody can log in
//! any more; it works beside a running box and needs no password but the right to read the box's folder.

use std::io::Read;
use std::sync::Arc;

use clap::Subcommand;
use zeroize::Zeroizing;

use super::{CliError, ConfigPath, runtime, say, say_json, tell};
use crate::access::{Role, check_password, check_username, hash_password, one_time_password};
use crate::buffer::{self, Buffer, BufferError, UserSummary};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config};
use crate::gateway::accounts::{self, NotDone, Wanted};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List who may log in
    List(List),
    /// Add a user with a one-time password
    Add(Add),
    /// Give a user a one-time password
    Passwd(Passwd),
    /// Forget a user's second factors, when the telephone or the key is lost
    ResetFactors(One),
    /// Shut a user out; open sessions end
    Disable(One),
    /// Let a user in again
    Enable(One),
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
#[command(
    after_help = "Example:\n  bedside user add anna --role clinician\n\nThe password is printed once and must be changed at the first log-in."
)]
pub(super) struct Add {
    #[command(flatten)]
    config: ConfigPath,
    /// The user's name
    name: String,
    /// admin, engineer, clinician, auditor or integrator
    #[arg(long, value_parser = role)]
    role: Role,
    /// Read the password from standard input instead of making one
    #[arg(long)]
    stdin: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Passwd {
    #[command(flatten)]
    config: ConfigPath,
    /// The user's name
    name: String,
    /// Read the password from standard input instead of making one
    #[arg(long)]
    stdin: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct One {
    #[command(flatten)]
    config: ConfigPath,
    /// The user's name
    name: String,
}

fn role(word: &str) -> Result<Role, String> {
    Role::parse(word).ok_or_else(|| "admin, engineer, clinician, auditor or integrator".into())
}

/// Longest password that is read.
const PASSWORD_BYTES: u64 = 4096;

pub(super) fn main(command: Command) -> Result<(), CliError> {
    match command {
        Command::List(arguments) => list(&arguments),
        Command::Add(Add { config, name, role, stdin }) => {
            let (config, name) = (load(&config)?, check(&name)?);
            let (hash, made) = password(&config, &name, stdin)?;
            carry_out(&config, Wanted::Add { name: name.clone(), role, hash })?;
            tell(format!("{name} may log in as {}.", role.as_str()));
            show(made);
            Ok(())
        }
        Command::Passwd(Passwd { config, name, stdin }) => {
            let (config, name) = (load(&config)?, check(&name)?);
            let (hash, made) = password(&config, &name, stdin)?;
            carry_out(&config, Wanted::Password { name: name.clone(), hash })?;
            tell(format!("{name} has a new password; open sessions ended."));
            show(made);
            Ok(())
        }
        Command::ResetFactors(one) => {
            let name = each(&one, |name| Wanted::ResetFactors { name })?;
            tell(format!("{name} has no second factor any more and sets up a new one at the next log-in."));
            Ok(())
        }
        Command::Disable(one) => {
            let name = each(&one, |name| Wanted::Disable { name })?;
            tell(format!("{name} is shut out; open sessions ended."));
            Ok(())
        }
        Command::Enable(one) => {
            let name = each(&one, |name| Wanted::Enable { name })?;
            tell(format!("{name} may log in again."));
            Ok(())
        }
    }
}

fn load(config: &ConfigPath) -> Result<Config, CliError> {
    config::load(&config.config).map_err(CliError::config)
}

fn check(name: &str) -> Result<String, CliError> {
    check_username(name).map_err(CliError::failed)
}

fn each(one: &One, wanted: impl Fn(String) -> Wanted) -> Result<String, CliError> {
    let (config, name) = (load(&one.config)?, check(&one.name)?);
    carry_out(&config, wanted(name.clone()))?;
    Ok(name)
}

/// The hash, and the password itself when it was made here.
fn password(
    config: &Config,
    name: &str,
    stdin: bool,
) -> Result<(String, Option<Zeroizing<String>>), CliError> {
    let given = match stdin {
        true => {
            let mut text = Zeroizing::new(String::new());
            let read = std::io::stdin().lock().take(PASSWORD_BYTES).read_to_string(&mut text);
            read.map_err(|fault| CliError::failed(format!("standard input: {fault}")))?;
            let line = Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned());
            check_password(&line, name, &[&config.site.name]).map_err(CliError::failed)?;
            line
        }
        false => one_time_password().map_err(CliError::failed)?,
    };
    let hash = hash_password(&given).map_err(CliError::failed)?;
    Ok((hash, (!stdin).then_some(given)))
}

/// The password on standard output, alone, for whoever pipes it.
fn show(made: Option<Zeroizing<String>>) {
    if let Some(made) = made {
        tell("The one-time password, shown once:");
        say(made.as_str());
    }
}

fn carry_out(config: &Config, wanted: Wanted) -> Result<(), CliError> {
    let dir = &config.buffer.dir;
    let done = match accounts::ask(dir, &wanted) {
        Some(done) => done,
        None => {
            let clock = Arc::new(SystemClock::default());
            let opened = Buffer::open(&config.buffer, clock.clone()).map_err(|fault| match fault {
                BufferError::InUse { .. } => CliError::InUse(
                    "the box is running and its console.sock cannot be reached: try as root or as the box's user".into(),
                ),
                other => CliError::failed(other),
            })?;
            runtime()?.block_on(async {
                let done = wanted.carry_out(&opened, clock.now()).await;
                opened.close().await;
                done
            })
        }
    };
    done.map_err(|fault| match fault {
        NotDone::NotAllowed(why) => CliError::failed(why),
        NotDone::Failed(why) => CliError::failed(why),
    })
}

fn list(arguments: &List) -> Result<(), CliError> {
    let config = load(&arguments.config)?;
    let users = buffer::look_at_users(&config.buffer.dir).map_err(CliError::failed)?;
    if arguments.json {
        let all: Vec<_> = users.iter().map(as_json).collect();
        say_json(&serde_json::json!({ "users": all }));
        return Ok(());
    }
    if users.is_empty() {
        say("nobody yet: open the desk and set the box up");
    }
    for UserSummary { row, factors, sessions } in &users {
        let state = if row.disabled { "disabled" } else { "active" };
        let factors = if factors.is_empty() { "no second factor".into() } else { factors.join(", ") };
        say(format!(
            "{:<24}  {:<10}  {:<6}  {state:<8}  {factors}; {sessions} session(s)",
            row.name, row.role, row.source
        ));
    }
    Ok(())
}

fn as_json(user: &UserSummary) -> serde_json::Value {
    let row = &user.row;
    serde_json::json!({
        "name": row.name, "role": row.role, "source": row.source, "disabled": row.disabled,
        "must_change": row.must_change, "factors": user.factors, "sessions": user.sessions,
        "created": row.created.rfc3339(), "last_login": row.last_login.map(|at| at.rfc3339()),
    })
}
