//! What `mllp = { … }` of a `[[destination]]` says.

use std::time::Duration;

use serde::Deserialize;

use crate::tls;

/// One receiver.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `HOST:PORT`
    pub address: String,
    /// Without it the connection is plain.
    pub tls: Option<tls::Settings>,
    #[serde(default = "connect_timeout_s")]
    pub connect_timeout_s: u64,
    /// How long an acknowledgement may take; then the connection is closed and the message sent again.
    #[serde(default = "answer_timeout_s")]
    pub answer_timeout_s: u64,
    /// Connections side by side. What has to stay in order stays on one.
    #[serde(default = "connections")]
    pub connections: u32,
}

const fn connect_timeout_s() -> u64 {
    10
}

const fn answer_timeout_s() -> u64 {
    30
}

const fn connections() -> u32 {
    1
}

/// More connections to one receiver are a fault of whoever wrote the file.
const CONNECTIONS_MAX: u32 = 32;
const SECONDS_MAX: u64 = 3_600;

/// Which acknowledgements a receiver gives (HL7 2.5 §2.9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Acknowledge {
    /// One: AA, AE or AR.
    #[default]
    Original,
    /// CA, CE or CR at once; AA, AE or AR later, where MSH-16 asks for it.
    Enhanced,
}

impl Acknowledge {
    /// The word of the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Original => "original",
            Self::Enhanced => "enhanced",
        }
    }
}

impl Config {
    /// What is wrong with it, as a sentence.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), String> {
        let port = self.address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        if port.and_then(|(_, port)| port.parse::<u16>().ok()).is_none_or(|port| port == 0) {
            return Err(format!("address \"{}\" is not HOST:PORT", self.address));
        }
        for (name, seconds) in
            [("connect_timeout_s", self.connect_timeout_s), ("answer_timeout_s", self.answer_timeout_s)]
        {
            if !(1..=SECONDS_MAX).contains(&seconds) {
                return Err(format!("{name} is 1 to {SECONDS_MAX} seconds"));
            }
        }
        if !(1..=CONNECTIONS_MAX).contains(&self.connections) {
            return Err(format!("connections is 1 to {CONNECTIONS_MAX}"));
        }
        match &self.tls {
            Some(tls) => tls.check_call().map_err(str::to_owned),
            None => Ok(()),
        }
    }

    /// The host without its port.
    pub(super) fn host(&self) -> &str {
        let host = self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }

    pub(super) const fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout_s)
    }

    pub(super) const fn answer_timeout(&self) -> Duration {
        Duration::from_secs(self.answer_timeout_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(), String> {
        toml::from_str::<Config>(text).unwrap().check()
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        assert_eq!(check("address = \"ehr.local:2575\""), Ok(()));
        assert_eq!(check("address = \"[fe80::1]:2575\""), Ok(()));
        for wrong in ["ehr.local", ":2575", "ehr:0", "ehr:99999", ""] {
            assert!(check(&format!("address = \"{wrong}\"")).unwrap_err().contains("HOST:PORT"), "{wrong}");
        }
    }

    #[test]
    fn nonsense_is_refused_in_words() {
        let of = |more: &str| check(&format!("address = \"a:1\"\n{more}")).unwrap_err();
        assert!(of("answer_timeout_s = 0").contains("answer_timeout_s is 1 to"));
        assert!(of("connections = 0").contains("connections is 1 to"));
        assert!(toml::from_str::<Config>("address = \"a:1\"\nretry = 1").is_err());
    }
}
