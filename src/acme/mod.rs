//! The desk's certificate from an authority over the network: ACME (RFC 8555), with the challenges that a box can answer by
//! itself, tls-alpn-01 (RFC 8737) on the desk's own port and http-01 on a port that is open while it is asked.
//!
//! This room asks, proves and brings back; what is shown to browsers, and when it is asked again, is decided above it. Names
//! may be host names or addresses (RFC 8738), wildcards may not: they want dns-01, and the box changes no name server.

pub mod challenge;
mod client;
mod fault;
mod kept;
mod order;
pub mod schedule;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use fault::Fault;
pub use kept::Kept;
pub use order::{Fetched, fetch};

use crate::secret::check_name;

/// Names in one certificate.
const HOSTS_MAX: usize = 10;
const CONTACTS_MAX: usize = 5;
const TEXT_MAX: usize = 500;
/// Authorities given as text.
const CA_MAX: usize = 64 << 10;

/// How the box shows the authority that a name is its own (RFC 8555 §8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = AcmeChallenge)]
pub enum Proof {
    /// RFC 8737: on the desk's own port, which the authority reaches as 443.
    #[default]
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// RFC 8555 §8.3: on `http_listen`, which the authority reaches as 80.
    #[serde(rename = "http-01")]
    Http01,
}

impl Proof {
    /// The word of the standard.
    pub const fn word(self) -> &'static str {
        match self {
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Http01 => "http-01",
        }
    }
}

/// The `[desk.acme]` section of `bedside.toml`; what is filled in at the desk has the same keys but `ca_file`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AcmeSettings)]
pub struct Config {
    /// Address of the authority's directory (RFC 8555 §7.1.1).
    pub directory: String,
    /// Names in the certificate; browsers are to reach the desk by each of them.
    pub hosts: Vec<String>,
    /// The terms of the authority are accepted. Nothing is asked without it.
    #[serde(default)]
    pub terms_agreed: bool,
    /// Mail addresses the authority may write to.
    #[serde(default)]
    pub contact: Vec<String>,
    #[serde(default)]
    pub challenge: Proof,
    /// Where http-01 is answered, only while the authority asks.
    #[serde(default = "http_listen")]
    #[schema(value_type = String)]
    pub http_listen: SocketAddr,
    /// The authorities (PEM) that certify the directory's own server, in place of those this system trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ca_file: Option<PathBuf>,
    /// The same as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
    /// External account binding (RFC 8555 §7.3.4): the key's identifier …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eab_key_id: Option<String>,
    /// … and the name of the secret with the MAC key (base64url, as authorities give it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eab_secret: Option<String>,
}

const fn http_listen() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 80)
}

impl Config {
    /// What is wrong with it: the key and a sentence.
    ///
    /// # Errors
    /// The first fault that is found.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let wrong = |key, why: &str| Err((key, why.to_owned()));
        if client::origin_of(&self.directory).is_none() || self.directory.len() > TEXT_MAX {
            return wrong(
                "directory",
                "directory is the https:// address of the authority's ACME directory, e.g. https://ca.clinic.example/acme/acme/directory",
            );
        }
        if self.hosts.is_empty() || self.hosts.len() > HOSTS_MAX {
            return Err(("hosts", format!("hosts has 1 to {HOSTS_MAX} names of this box")));
        }
        for (at, host) in self.hosts.iter().enumerate() {
            check_host(host).map_err(|why| ("hosts", why))?;
            if self.hosts.iter().take(at).any(|other| other == host) {
                return Err(("hosts", format!("hosts names \"{host}\" twice")));
            }
        }
        if !self.terms_agreed {
            return wrong(
                "terms_agreed",
                "terms_agreed = true says that you accept the terms of the authority; without it nothing is asked of it",
            );
        }
        if self.contact.len() > CONTACTS_MAX || !self.contact.iter().all(|one| is_mail(one)) {
            return Err((
                "contact",
                format!("contact has at most {CONTACTS_MAX} mail addresses, such as it@clinic.example"),
            ));
        }
        if self.ca_file.is_some() && self.ca_pem.is_some() {
            return wrong("ca_pem", "ca_file and ca_pem say the same: give one of them");
        }
        if self.ca_pem.as_ref().is_some_and(|pem| pem.len() > CA_MAX) {
            return wrong("ca_pem", "ca_pem is larger than 64 KiB");
        }
        match (&self.eab_key_id, &self.eab_secret) {
            (None, None) => Ok(()),
            (Some(id), Some(name)) if !id.is_empty() && id.len() <= TEXT_MAX => {
                check_name(name).map_err(|fault| ("eab_secret", fault.to_string()))
            }
            _ => {
                wrong("eab_key_id", "eab_key_id and eab_secret go together: the authority gives both or none")
            }
        }
    }

    /// The mail addresses as URLs (RFC 6068).
    fn contacts(&self) -> Vec<String> {
        self.contact
            .iter()
            .map(|one| if one.starts_with("mailto:") { one.clone() } else { format!("mailto:{one}") })
            .collect()
    }

    /// The file of authorities can be read; asked once, when the box starts or the desk saves.
    ///
    /// # Errors
    /// A sentence.
    pub fn check_authorities(&self) -> Result<(), String> {
        client::trust(self).map(drop)
    }

    /// Whether a certificate with these names is for every host that is wanted.
    pub fn is_met_by(&self, names: &[String]) -> bool {
        self.hosts.iter().all(|host| names.contains(&canonical(host)))
    }
}

/// The name as a certificate's reader writes it.
fn canonical(host: &str) -> String {
    host.parse::<IpAddr>().map_or_else(|_| host.to_owned(), |address| address.to_string())
}

fn is_mail(text: &str) -> bool {
    let address = text.strip_prefix("mailto:").unwrap_or(text);
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, ',' | '?' | '<' | '>' | '"' | '&');
    address.len() <= TEXT_MAX
        && address.chars().all(plain)
        && address.split_once('@').is_some_and(|(who, host)| !who.is_empty() && !host.is_empty())
}

/// A host name in small letters, or an address.
fn check_host(host: &str) -> Result<(), String> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return match address.is_unspecified() || address.is_loopback() || address.is_multicast() {
            true => Err(format!("\"{host}\" is no address that the authority could reach this box by")),
            false => Ok(()),
        };
    }
    if host.starts_with("*.") {
        return Err(format!(
            "\"{host}\": a wildcard wants dns-01, which this box does not speak; name the box itself"
        ));
    }
    if host == "localhost" {
        return Err("\"localhost\" is every machine's name: no authority certifies it".into());
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    match host.len() <= 253 && host.split('.').all(label) {
        true => Ok(()),
        false => Err(format!(
            "\"{host}\" is no host name: small letters, digits and hyphens between dots, without https:// and port (names with other letters as xn--…)"
        )),
    }
}

/// For the fuzzing rig: whatever a server answers, it is refused or taken.
pub fn fuzz(bytes: &[u8]) {
    client::fuzz(bytes);
    fault::fuzz(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<Config, String> {
        let head = "directory = \"https://ca.clinic.example/acme/acme/directory\"\nterms_agreed = true\n";
        let config: Config = toml::from_str(&format!("{head}{text}")).map_err(|fault| fault.to_string())?;
        config.check().map(|()| config.clone()).map_err(|(_, why)| why)
    }

    #[test]
    fn what_is_needed_is_a_directory_names_and_the_terms() {
        let plain = config("hosts = [\"bedside.clinic.example\", \"bedside\", \"10.0.3.7\"]").unwrap();
        assert_eq!(plain.challenge, Proof::TlsAlpn01);
        assert_eq!(plain.http_listen.port(), 80);
        let full = config(
            "hosts = [\"bedside\"]\ncontact = [\"it@clinic.example\", \"mailto:b@x\"]\nchallenge = \"http-01\"\n\
             http_listen = \"10.0.3.7:8080\"\neab_key_id = \"k1\"\neab_secret = \"acme-eab\"",
        )
        .unwrap();
        assert_eq!(full.contacts(), ["mailto:it@clinic.example", "mailto:b@x"]);
    }

    #[test]
    fn each_setting_that_cannot_be_is_refused_with_what_to_write() {
        for (text, word) in [
            ("hosts = []", "1 to 10"),
            ("hosts = [\"*.clinic.example\"]", "dns-01"),
            ("hosts = [\"localhost\"]", "every machine"),
            ("hosts = [\"127.0.0.1\"]", "no address"),
            ("hosts = [\"https://bedside\"]", "without https://"),
            ("hosts = [\"Bedside\"]", "small letters"),
            ("hosts = [\"bedside:8443\"]", "port"),
            ("hosts = [\"a\", \"a\"]", "twice"),
            ("hosts = [\"a\"]\ncontact = [\"it\"]", "mail addresses"),
            ("hosts = [\"a\"]\nchallenge = \"dns-01\"", "tls-alpn-01"),
            ("hosts = [\"a\"]\neab_key_id = \"x\"", "go together"),
            ("hosts = [\"a\"]\neab_key_id = \"x\"\neab_secret = \"../x\"", "secret name"),
            ("hosts = [\"a\"]\nca_file = \"/x\"\nca_pem = \"y\"", "one of them"),
            ("hosts = [\"a\"]\nkey_type = \"rsa\"", "unknown field"),
        ] {
            let why = config(text).unwrap_err();
            assert!(why.contains(word), "{word}: {why}");
        }
        let of = |directory: &str, terms_agreed| {
            let hosts = vec!["a".into()];
            let text = format!("directory = \"{directory}\"\nhosts = [\"a\"]\nterms_agreed = {terms_agreed}");
            Config { hosts, ..toml::from_str(&text).unwrap() }.check()
        };
        assert_eq!(of("https://ca.example/dir", true), Ok(()));
        assert_eq!(of("https://ca.example/dir", false).unwrap_err().0, "terms_agreed");
        for directory in
            ["http://ca.example/dir", "ca.example", "https://", "https://a@ca.example/d", "https:///d"]
        {
            assert_eq!(of(directory, true).unwrap_err().0, "directory", "{directory}");
        }
    }

    #[test]
    fn a_certificate_for_other_names_is_not_the_one_that_is_wanted() {
        let config = config("hosts = [\"bedside\", \"2001:DB8::7\"]").unwrap();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_string()).collect::<Vec<_>>();
        assert!(config.is_met_by(&names(&["2001:db8::7", "more", "bedside"])));
        assert!(!config.is_met_by(&names(&["bedside"])) && !config.is_met_by(&names(&["bedside", "other"])));
    }
}
