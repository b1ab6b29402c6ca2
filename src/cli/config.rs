//! `bedside config`: check a configuration, or show one to start from.

use super::{CliError, ConfigPath, say, say_json};
use crate::config::{self, Transport};

/// The commented configuration people start from; a test keeps it valid.
pub(super) const EXAMPLE: &str = include_str!("example.toml");

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Check a configuration without starting anything (exit code 78 when it is wrong)
    Check {
        #[command(flatten)]
        config: ConfigPath,
        /// Say it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a commented configuration to start from
    Example,
}

pub(super) fn main(command: Command) -> Result<(), CliError> {
    match command {
        Command::Example => {
            say(EXAMPLE.trim_end());
            Ok(())
        }
        Command::Check { config: path, json } => check(&path, json),
    }
}

/// Each route with what it says.
fn routes(config: &config::Config) -> impl Iterator<Item = (&crate::route::Route, String)> {
    config.routes.iter().filter_map(|route| {
        let to = config.destinations.iter().find(|one| one.name == route.to)?;
        let plain = if to.mllp.tls.is_some() { "with TLS" } else { "unencrypted" };
        Some((route, format!("{} ({plain})", route.says(&to.mllp.address))))
    })
}

fn check(path: &ConfigPath, json: bool) -> Result<(), CliError> {
    let place = path.config.display();
    match config::load(&path.config) {
        Ok(config) if json => {
            let links: Vec<_> = config
                .links
                .iter()
                .map(|l| {
                    serde_json::json!({"name": &*l.name, "profile": l.profile_word(), "kind": l.transport.kind(),
                        "encrypted": encrypted(&l.transport)})
                })
                .collect();
            let routes: Vec<_> = routes(&config)
                .map(
                    |(route, says)| serde_json::json!({"name": &*route.name, "to": &*route.to, "says": says}),
                )
                .collect();
            say_json(
                &serde_json::json!({"ok": true, "file": place.to_string(), "links": links, "routes": routes}),
            );
            Ok(())
        }
        Ok(config) => {
            say(format!("{place}: right"));
            for link in &config.links {
                let how = encrypted(&link.transport).map(|how| format!(" ({how})")).unwrap_or_default();
                let (kind, profile) = (link.transport.kind(), link.profile_word());
                say(format!("  link {:<20} {kind:<7} {profile}{how}", link.name));
            }
            for (route, says) in routes(&config) {
                say(format!("  route {:<19} {says}", route.name));
            }
            let unused = |to: &config::Destination| config.routes.iter().all(|route| route.to != to.name);
            for destination in config.destinations.iter().filter(|one| unused(one)) {
                say(format!("  destination \"{}\": no [[route]] leads there", destination.name));
            }
            if config.upstream.is_none() && config.routes.is_empty() {
                say("  no [upstream]: results are kept and wait until there is one");
            }
            Ok(())
        }
        Err(fault) => {
            if json {
                say_json(
                    &serde_json::json!({"ok": false, "file": place.to_string(), "fault": fault.to_string()}),
                );
            }
            Err(CliError::config(fault))
        }
    }
}

/// Whether what a link says over the network can be read on the way; `None` where a link has no such choice.
fn encrypted(transport: &Transport) -> Option<&'static str> {
    match transport {
        Transport::Mllp(mllp) => Some(mllp.encrypted()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_a_right_configuration() {
        let config = config::parse(EXAMPLE, "example.toml").unwrap();
        assert!(!config.links.is_empty());
    }
}
