//! What `[upstream]` of bedside.toml says, and the checks that make it safe to use.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;
use utoipa::ToSchema;

use super::UpstreamError;

/// One FHIR server upstream.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What people call this server; shown on the desk.
    #[serde(default = "default_name")]
    pub name: String,
    /// The FHIR base, such as `https://fhir.example.org/r4`.
    pub base: String,
    /// How Bedside proves who it is.
    #[serde(default)]
    pub auth: Auth,
    /// The client id the server's people gave this box (`auth = "smart"`).
    #[serde(default)]
    pub client_id: String,
    /// Name of the secret that holds the private key (PEM).
    #[serde(default = "default_key_secret")]
    #[schema(ignore)]
    pub key_secret: String,
    /// Name of the secret that holds the key to change to; published beside the current one.
    #[serde(default)]
    #[schema(ignore)]
    pub next_key_secret: Option<String>,
    /// Where to ask for tokens. Default: what the server's `.well-known/smart-configuration` says.
    #[serde(default)]
    pub token_endpoint: Option<String>,
    /// SMART scopes to ask for. Default: write and read what Bedside delivers.
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
    /// Kinds that are only read; asked for where `scopes` names none.
    #[serde(skip)]
    pub reads: Vec<&'static str>,
    /// Kinds that are written besides; asked for where `scopes` names none.
    #[serde(skip)]
    pub writes: Vec<&'static str>,
    /// How resources are written.
    #[serde(default)]
    pub mode: ModeWish,
    /// In what kind of Bundle.
    #[serde(default)]
    pub bundles: Bundles,
    /// Whether a patient the server already knows by the same identifier is used instead of Bedside's own.
    #[serde(default)]
    pub patients: Patients,
    /// Whether request bodies are compressed. Default: `probe`, and `off` for a server on this box.
    #[serde(default)]
    pub gzip: Option<Gzip>,
    /// PEM file with the only certificate authorities to trust. Default: the system's and Mozilla's.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub ca_file: Option<PathBuf>,
    /// Writes without any authorization to a server that is not on this box.
    #[serde(default)]
    pub insecure_no_auth: bool,
    /// Speaks plain http to a server that is not on this box.
    #[serde(default)]
    pub insecure_http: bool,
    /// How long one request may take, in seconds.
    #[serde(default = "default_timeout")]
    pub timeout_s: u64,
    /// Largest Bundle sent, in bytes before compression.
    #[serde(default = "default_bundle_bytes")]
    pub max_bundle_bytes: usize,
    /// Largest Bundle sent, in resources.
    #[serde(default = "default_bundle_resources")]
    pub max_bundle_resources: usize,
    /// Largest answer read, in bytes after decompression.
    #[serde(default = "default_answer_bytes")]
    pub max_answer_bytes: usize,
    /// How many Bundles may be on their way at once (conditional mode: always one).
    #[serde(default = "default_in_flight")]
    pub in_flight: usize,
}

/// How Bedside proves who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = UpstreamAuth)]
pub enum Auth {
    /// SMART Backend Services: private_key_jwt.
    #[default]
    Smart,
    /// Not at all: for a server on this box, or behind something that asks for nothing.
    None,
}

/// How resources are to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = UpstreamModeWish)]
pub enum ModeWish {
    /// What the server's CapabilityStatement says, proven by the first write.
    #[default]
    Auto,
    /// PUT with the id Bedside derives.
    Put,
    /// Conditional create and update by identifier.
    Conditional,
}

/// The kind of Bundle that carries resources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = UpstreamBundles)]
pub enum Bundles {
    /// A transaction, unless the CapabilityStatement declares only batches (it is not asked with `mode = "put"`).
    #[default]
    Auto,
    Transaction,
    /// Each entry by itself: what others refer to goes first, in a Bundle of its own.
    Batch,
}

/// Whose Patient resources are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = UpstreamPatients)]
pub enum Patients {
    /// The server's, when exactly one carries the same identifier; else Bedside's own.
    #[default]
    Match,
    /// Always Bedside's own.
    Own,
}

/// Whether request bodies are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = UpstreamGzip)]
pub enum Gzip {
    /// Ask once with an empty batch whether the server reads gzip.
    Probe,
    On,
    Off,
}

impl Config {
    /// A configuration for `base` with every default, to be changed by field.
    pub fn new(base: &str) -> Self {
        Self {
            name: default_name(),
            base: base.into(),
            auth: Auth::Smart,
            client_id: String::new(),
            key_secret: default_key_secret(),
            next_key_secret: None,
            token_endpoint: None,
            scopes: None,
            reads: Vec::new(),
            writes: Vec::new(),
            mode: ModeWish::Auto,
            bundles: Bundles::Auto,
            patients: Patients::Match,
            gzip: None,
            ca_file: None,
            insecure_no_auth: false,
            insecure_http: false,
            timeout_s: default_timeout(),
            max_bundle_bytes: default_bundle_bytes(),
            max_bundle_resources: default_bundle_resources(),
            max_answer_bytes: default_answer_bytes(),
            in_flight: default_in_flight(),
        }
    }

    /// The faults a person can repair in the file, without touching the network or the secrets.
    pub fn check(&self) -> Result<(), UpstreamError> {
        let base = self.base_url()?;
        if self.auth == Auth::None && !self.insecure_no_auth && !is_loopback(&base) {
            return Err(config(
                "auth = \"none\" sends results to another machine without authorization: use auth = \"smart\", or \
                 write insecure_no_auth = true if the network in between is trusted",
            ));
        }
        if self.auth == Auth::Smart && self.client_id.trim().is_empty() {
            return Err(config(
                "client_id is missing: it is the name under which the server's people registered this box",
            ));
        }
        if let Some(endpoint) = &self.token_endpoint {
            self.trusted_url("token_endpoint", endpoint)?;
        }
        for scope in self.scopes.iter().flatten() {
            let printable = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\'; // RFC 6749 §3.3
            if scope.is_empty() || !scope.chars().all(printable) {
                return Err(config(&format!("scopes: \"{scope}\" is not one scope")));
            }
        }
        let limits = [
            ("timeout_s", self.timeout_s >= 1 && self.timeout_s <= 3600, "1 to 3600"),
            ("max_bundle_bytes", (1 << 12..=1 << 28).contains(&self.max_bundle_bytes), "4096 to 268435456"),
            ("max_bundle_resources", (1..=100_000).contains(&self.max_bundle_resources), "1 to 100000"),
            ("max_answer_bytes", (1 << 12..=1 << 30).contains(&self.max_answer_bytes), "4096 to 1073741824"),
            ("in_flight", (1..=64).contains(&self.in_flight), "1 to 64"),
        ];
        match limits.iter().find(|(_, fits, _)| !fits) {
            Some((name, _, range)) => Err(config(&format!("{name} must be {range}"))),
            None => Ok(()),
        }
    }

    /// The FHIR base without a slash at its end.
    pub(super) fn base_url(&self) -> Result<Url, UpstreamError> {
        let mut base = self.trusted_url("base", &self.base)?;
        if base.query().is_some() || base.fragment().is_some() {
            return Err(config("base must not hold a query or a fragment"));
        }
        let path = base.path().trim_end_matches('/').to_owned();
        base.set_path(&path);
        Ok(base)
    }

    /// An address that tokens and results may be sent to.
    pub(super) fn trusted_url(&self, field: &str, text: &str) -> Result<Url, UpstreamError> {
        let url = Url::parse(text)
            .map_err(|fault| config(&format!("{field} = \"{text}\" is not an address: {fault}")))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(config(&format!("{field} must not hold a user name or password")));
        }
        match url.scheme() {
            "https" => Ok(url),
            "http" if is_loopback(&url) || self.insecure_http => Ok(url),
            "http" => Err(config(&format!(
                "{field} = \"{text}\" is plain http: results would cross the network readable; use https, or write \
                 insecure_http = true if the network in between is trusted"
            ))),
            other => Err(config(&format!("{field} = \"{text}\": the scheme {other} is not https"))),
        }
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_s)
    }

    /// What to do about gzip when nothing is written: compressing for a server on this box only costs time.
    pub(super) fn gzip_wish(&self) -> Gzip {
        match self.gzip {
            Some(wish) => wish,
            None if self.base_url().is_ok_and(|base| is_loopback(&base)) => Gzip::Off,
            None => Gzip::Probe,
        }
    }
}

/// Whether the address is this machine, by its spelling: no name is looked up.
pub(super) fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn config(text: &str) -> UpstreamError {
    UpstreamError::Config(text.to_owned())
}

fn default_name() -> String {
    String::from("FHIR server")
}

fn default_key_secret() -> String {
    String::from("upstream-key")
}

const fn default_timeout() -> u64 {
    60
}

const fn default_bundle_bytes() -> usize {
    2 << 20
}

const fn default_bundle_resources() -> usize {
    1_000
}

const fn default_answer_bytes() -> usize {
    32 << 20
}

const fn default_in_flight() -> usize {
    4
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::new("https://fhir.example.org/r4/");
        config.client_id = "box".into();
        change(&mut config);
        config.check().err().map(|fault| fault.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_plain_configuration_is_accepted_and_its_base_loses_the_last_slash() {
        assert_eq!(fault(|_| ()), "");
        assert_eq!(
            Config::new("https://fhir.example.org/r4/").base_url().unwrap().as_str(),
            "https://fhir.example.org/r4"
        );
    }

    #[test]
    fn plain_http_is_for_this_box_only_unless_written() {
        assert!(fault(|c| c.base = "http://fhir.example.org/r4".into()).contains("plain http"));
        assert_eq!(fault(|c| c.base = "http://127.0.0.1:8080/fhir".into()), "");
        assert_eq!(fault(|c| c.base = "http://[::1]:8080/fhir".into()), "");
        assert!(fault(|c| c.base = "http://127.0.0.1.evil.example/fhir".into()).contains("plain http"));
        assert!(
            fault(|c| c.token_endpoint = Some("http://auth.example.org/token".into()))
                .contains("token_endpoint")
        );
        let written = |c: &mut Config| {
            c.base = "http://10.0.0.2/fhir".into();
            c.insecure_http = true;
        };
        assert_eq!(fault(written), "");
    }

    #[test]
    fn no_authorization_must_be_written_down_for_another_machine() {
        assert!(fault(|c| c.auth = Auth::None).contains("insecure_no_auth"));
        let written = |c: &mut Config| {
            c.auth = Auth::None;
            c.insecure_no_auth = true;
        };
        assert_eq!(fault(written), "");
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_name() {
        assert!(fault(|c| c.client_id.clear()).contains("client_id"));
        assert!(fault(|c| c.base = "fhir.example.org".into()).contains("base"));
        assert!(fault(|c| c.base = "ftp://fhir.example.org".into()).contains("ftp"));
        assert!(fault(|c| c.base = "https://me:pw@fhir.example.org".into()).contains("password"));
        assert!(fault(|c| c.timeout_s = 0).contains("timeout_s"));
        assert!(fault(|c| c.scopes = Some(vec!["a b".into()])).contains("not one scope"));
    }

    #[test]
    fn an_unknown_key_in_the_file_is_refused() {
        let text = "base = \"https://fhir.example.org\"\nclient_id = \"box\"\ncliend_secret = \"x\"";
        assert!(toml::from_str::<Config>(text).is_err());
        let text = "base = \"https://fhir.example.org\"\nclient_id = \"box\"\nmode = \"put\"\ngzip = \"on\"";
        assert_eq!(toml::from_str::<Config>(text).unwrap().mode, ModeWish::Put);
    }
}
