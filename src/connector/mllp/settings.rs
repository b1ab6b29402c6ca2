//! The `mllp` section of a link.

use std::net::SocketAddr;

use serde::Deserialize;

use super::{Network, Side, SideError};
use crate::tls;
use crate::wire::mllp::{Acknowledge, Settings};

/// One port for any number of senders, or one device that the box calls: exactly one of `listen` and `connect`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Config {
    pub side: Side,
    /// A longer message is answered AR and not kept.
    pub max_message_bytes: usize,
    /// One more sender is let in and closed at once, when listening.
    pub max_connections: u32,
    /// Closes a connection that was silent for so long, when listening; 0 never does. Senders keep connections open over
    /// night.
    pub idle_timeout_s: u64,
    /// Says that the link is quiet when nothing came for so long, when connecting; 0 never does.
    pub quiet_timeout_s: u64,
    /// How long one message may take to arrive.
    pub message_timeout_s: u64,
    /// For senders of bare HL7 without MLLP: see [`Settings::unframed_quiet_ms`].
    pub unframed_quiet_ms: Option<u64>,
    /// Who may connect, when listening; empty: everybody who reaches the port.
    pub allow: Vec<Network>,
    /// As the page of the device says, where it is not said here.
    pub acknowledge: Option<Acknowledge>,
    /// MLLP Release 2: a commit character after each content block, besides what `acknowledge` says.
    pub commit_characters: bool,
    /// Certificates; without it the link is not encrypted, which its state says.
    pub tls: Option<tls::Settings>,
}

/// Why a section cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error(transparent)]
    Side(#[from] SideError),
    #[error("{0}")]
    Tls(&'static str),
}

/// The section as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    listen: Option<SocketAddr>,
    connect: Option<String>,
    #[serde(default = "max_message_bytes")]
    max_message_bytes: usize,
    #[serde(default = "max_connections")]
    max_connections: u32,
    #[serde(default = "idle_timeout_s")]
    idle_timeout_s: u64,
    #[serde(default)]
    quiet_timeout_s: u64,
    #[serde(default = "message_timeout_s")]
    message_timeout_s: u64,
    #[serde(default)]
    unframed_quiet_ms: Option<u64>,
    #[serde(default)]
    allow: Vec<Network>,
    acknowledge: Option<Acknowledge>,
    #[serde(default)]
    commit_characters: bool,
    tls: Option<tls::Settings>,
}

impl TryFrom<Written> for Config {
    type Error = ConfigError;

    fn try_from(written: Written) -> Result<Self, ConfigError> {
        let side = Side::of("mllp", written.listen, written.connect)?;
        if let Some(tls) = &written.tls {
            let checked = match side {
                Side::Listen(_) => tls.check_listen(),
                Side::Connect(_) => tls.check_call(),
            };
            checked.map_err(ConfigError::Tls)?;
        }
        Ok(Self {
            side,
            max_message_bytes: written.max_message_bytes,
            max_connections: written.max_connections,
            idle_timeout_s: written.idle_timeout_s,
            quiet_timeout_s: written.quiet_timeout_s,
            message_timeout_s: written.message_timeout_s,
            unframed_quiet_ms: written.unframed_quiet_ms,
            allow: written.allow,
            acknowledge: written.acknowledge,
            commit_characters: written.commit_characters,
            tls: written.tls,
        })
    }
}

fn max_message_bytes() -> usize {
    Settings::default().max_message_bytes
}

pub(in super::super) fn max_connections() -> u32 {
    1024
}

pub(in super::super) fn idle_timeout_s() -> u64 {
    24 * 60 * 60
}

fn message_timeout_s() -> u64 {
    Settings::default().message_timeout_s
}

impl Config {
    pub(super) fn framing(&self) -> Settings {
        Settings {
            max_message_bytes: self.max_message_bytes,
            message_timeout_s: self.message_timeout_s,
            unframed_quiet_ms: self.unframed_quiet_ms,
            commit_characters: self.commit_characters,
            acknowledge: self.acknowledge.unwrap_or_default(),
        }
    }

    /// Takes from the page of the device what the section leaves open.
    pub fn fill(&mut self, page: &Settings) {
        self.acknowledge.get_or_insert(page.acknowledge);
        self.unframed_quiet_ms = self.unframed_quiet_ms.or(page.unframed_quiet_ms);
        self.commit_characters |= page.commit_characters;
    }

    /// Whether and how the link is encrypted, as its state says it.
    pub fn encrypted(&self) -> &'static str {
        match &self.tls {
            None => "not encrypted",
            Some(tls) if matches!(self.side, Side::Listen(_)) && !tls.asks_for_certificates() => {
                "TLS, for everybody"
            }
            Some(_) => "TLS",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_fills_what_the_section_leaves_open() {
        let page = Settings {
            acknowledge: Acknowledge::Original,
            unframed_quiet_ms: Some(300),
            commit_characters: true,
            ..Settings::default()
        };
        let filled = |text: &str| {
            let mut config: Config = toml::from_str(text).unwrap();
            config.fill(&page);
            (config.acknowledge, config.unframed_quiet_ms, config.commit_characters)
        };
        let own = "listen = \"127.0.0.1:1\"\nacknowledge = \"msh\"\nunframed_quiet_ms = 50";
        assert_eq!(filled(own), (Some(Acknowledge::Msh), Some(50), true));
        let open = "listen = \"127.0.0.1:1\"";
        assert_eq!(filled(open), (Some(Acknowledge::Original), Some(300), true));
        let none: Config = toml::from_str(open).unwrap();
        assert_eq!(none.framing().acknowledge, Acknowledge::Always);
    }
}
