//! The box's figures for an OpenTelemetry collector: OTLP over HTTP, in its JSON form, at a fixed pace.
//!
//! Off unless `[telemetry]` is written. What is sent is what `/metrics` shows, and nothing else: labels are links,
//! destinations, codes and states, never a patient. A collector that does not answer costs one request a period.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, Url};
use serde::Deserialize;

use super::UpstreamError;
use super::config::Config as Server;
use super::http::{Body, Http, Request, host};
use crate::clock::{SharedClock, Timestamp};
use crate::secret::{Secret, SecretStore};

mod points;

/// OTLP/HTTP: the path of metrics where only the collector's base is written.
const METRICS_PATH: &str = "v1/metrics";

/// `[telemetry]`: where figures go.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The collector's OTLP/HTTP address, such as `https://otel.example.org:4318`; `/v1/metrics` is added.
    pub otlp: String,
    /// Seconds between two tellings.
    #[serde(default = "every")]
    pub every_s: u64,
    /// PEM file with the only certificate authorities to trust. Default: the system's and Mozilla's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Name of the secret sent as bearer token.
    #[serde(default)]
    pub token_secret: Option<String>,
    /// Speaks plain http to a collector that is not on this box.
    #[serde(default)]
    pub insecure_http: bool,
}

const fn every() -> u64 {
    60
}

impl Config {
    /// The faults a person can repair in the file: (key, sentence).
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        self.url().map_err(|fault| ("otlp", fault.to_string().replacen("upstream: base", "otlp", 1)))?;
        if (5..=3600).contains(&self.every_s) {
            Ok(())
        } else {
            Err(("every_s", "every_s must be 5 to 3600".into()))
        }
    }

    fn url(&self) -> Result<Url, UpstreamError> {
        let mut base = self.server().base_url()?;
        let path = base.path().trim_end_matches('/').to_owned();
        if !path.ends_with(METRICS_PATH) {
            base.set_path(&format!("{path}/{METRICS_PATH}"));
        }
        Ok(base)
    }

    fn server(&self) -> Server {
        Server {
            ca_file: self.ca_file.clone(),
            insecure_http: self.insecure_http,
            timeout_s: 10,
            max_answer_bytes: 1 << 16,
            ..Server::new(&self.otlp)
        }
    }
}

/// Who tells: the attributes of the OTLP resource.
#[derive(Clone, Debug)]
pub struct About {
    /// The box's own identity, stable over restarts.
    pub instance: String,
    pub site: String,
    pub version: &'static str,
}

/// Tells one collector.
pub struct Exporter {
    http: Http,
    url: Url,
    token: Option<Secret>,
    about: About,
    started: Timestamp,
    clock: SharedClock,
    every: Duration,
}

impl Exporter {
    /// Builds the client; touches no network.
    pub fn new(
        config: &Config,
        about: About,
        secrets: &SecretStore,
        clock: SharedClock,
    ) -> Result<Self, UpstreamError> {
        let token = config.token_secret.as_deref().map(|name| secrets.load(name)).transpose()?;
        Ok(Self {
            http: Http::new(&config.server())?,
            url: config.url()?,
            token,
            about,
            started: clock.now(),
            clock,
            every: Duration::from_secs(config.every_s),
        })
    }

    /// How long to wait between two tellings.
    pub const fn every(&self) -> Duration {
        self.every
    }

    /// Tells what `exposition` (OpenMetrics text) says. The error is a sentence for a person.
    pub async fn tell(&self, exposition: &str) -> Result<(), String> {
        let now = self.clock.now();
        let body = points::request(exposition, &self.about, self.started.micros, now.micros);
        let request = Request {
            method: Method::POST,
            url: self.url.clone(),
            bearer: self.token.as_ref(),
            body: Body::Json(Bytes::from(body.to_string())),
        };
        let answer =
            self.http.send(request, now.micros / 1_000_000).await.map_err(|fault| fault.to_string())?;
        match answer.status {
            200..=299 => Ok(()),
            401 | 403 => Err(format!("{} does not let this box in ({})", host(&self.url), answer.status)),
            404 | 405 => {
                Err(format!("{} has no OTLP metrics at this address ({})", host(&self.url), answer.status))
            }
            status => Err(format!("{} answered {status}", host(&self.url))),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::clock::TestClock;

    const NOW: i64 = 1_800_000_000_000_000;

    fn config(otlp: &str) -> Config {
        Config { otlp: otlp.into(), every_s: 60, ca_file: None, token_secret: None, insecure_http: false }
    }

    #[test]
    fn the_path_of_metrics_is_added_once() {
        let url = |text: &str| config(text).url().unwrap().to_string();
        assert_eq!(url("https://c.example:4318"), "https://c.example:4318/v1/metrics");
        assert_eq!(url("https://c.example/otlp/"), "https://c.example/otlp/v1/metrics");
        assert_eq!(url("https://c.example/v1/metrics"), "https://c.example/v1/metrics");
    }

    #[test]
    fn what_cannot_work_is_told_with_its_key() {
        let (key, wrong) = config("http://c.example:4318").check().unwrap_err();
        assert_eq!(key, "otlp");
        assert!(wrong.starts_with("otlp = ") && wrong.contains("plain http"), "{wrong}");
        let often = Config { every_s: 1, ..config("https://c.example") };
        assert_eq!(often.check().unwrap_err().0, "every_s");
        assert!(config("http://127.0.0.1:4318").check().is_ok());
    }

    /// Answers one request with `status`; gives what was asked.
    async fn collector(status: &'static str) -> (String, tokio::task::JoinHandle<String>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let heard = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"}]}") {
                let mut chunk = [0; 4096];
                let n = stream.read(&mut chunk).await.unwrap();
                assert!(n > 0, "the request ended early: {}", String::from_utf8_lossy(&asked));
                asked.extend_from_slice(&chunk[..n]);
            }
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}");
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(asked).unwrap()
        });
        (base, heard)
    }

    fn exporter(base: &str) -> Exporter {
        let about = About { instance: "urn:uuid:1".into(), site: "Ward".into(), version: "1" };
        let clock: SharedClock = TestClock::at(NOW);
        Exporter::new(&config(base), about, &SecretStore::default(), clock).unwrap()
    }

    #[tokio::test]
    async fn a_collector_is_told_in_one_request() {
        let (base, heard) = collector("200 OK").await;
        exporter(&base).tell("# TYPE a counter\na_total 3\n# EOF\n").await.unwrap();
        let asked = heard.await.unwrap();
        assert!(asked.starts_with("POST /v1/metrics HTTP/1.1\r\n"), "{asked}");
        assert!(asked.to_ascii_lowercase().contains("content-type: application/json\r\n"), "{asked}");
        assert!(asked.contains("\"asInt\":\"3\""), "{asked}");
    }

    #[tokio::test]
    async fn a_refusal_is_one_sentence() {
        let (base, _heard) = collector("401 Unauthorized").await;
        let said = exporter(&base).tell("# TYPE a counter\na_total 3\n# EOF\n").await.unwrap_err();
        assert!(said.ends_with("does not let this box in (401)"), "{said}");
        let said = exporter("http://127.0.0.1:1").tell("# EOF\n").await.unwrap_err();
        assert!(said.contains("no connection"), "{said}");
    }
}
