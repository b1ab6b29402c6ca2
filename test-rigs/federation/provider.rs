//! Code flow with PKCE against oidc-provider.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bedside::access::oidc::{Attempts, is_of_issuer};
use bedside::access::{Config, Role, TokenHash};
use bedside::federation::{Federation, Provider, Refused};
use serde_json::{Value, json};

use super::{Process, free_port, now, secrets};

const RETURN: &str = "https://desk.rig:8443/api/v1/oidc/return";

struct Rig {
    issuer: String,
    config: Config,
    provider: Arc<dyn Provider>,
    attempts: Attempts,
    http: reqwest::Client,
    process: Option<Process>,
    _secrets: tempfile::TempDir,
}

fn account(groups: &[&str]) -> Value {
    json!({ "sub": "u-1", "username": "Anna", "groups": groups })
}

impl Rig {
    fn start(secret: Option<&str>) -> Self {
        now();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("test-rigs/peers");
        if !folder.join("node_modules/oidc-provider").exists() {
            let npm =
                Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&folder).status();
            assert!(npm.expect("npm is needed").success());
        }
        let port = free_port();
        let settings = json!({
            "port": port, "clientId": "bedside", "secret": secret, "redirect": RETURN, "account": account(&["nurses"]),
        });
        let mut child = Command::new("node")
            .arg(folder.join("login.mjs"))
            .arg(settings.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node is needed");
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let process = Process(child);
        assert!(out.any(|line| line.contains("\"ready\":true")), "the provider did not start");
        // Nobody reads what it says next, but it must be able to say it.
        std::thread::spawn(move || out.for_each(drop));
        let issuer = format!("http://127.0.0.1:{port}");
        let name = if secret.is_some() { "client_secret = \"oidc-client\"\n" } else { "" };
        let config: Config = toml::from_str(&format!(
            "[oidc]\nissuer = \"{issuer}\"\nclient_id = \"bedside\"\n{name}desk = \"https://desk.rig:8443\"\n\
             roles = {{ nurses = \"clinician\", it = \"admin\", icu = \"icu-nurse\" }}\n\
             [roles.icu-nurse]\npermissions = [\"devices.see\"]\nplaces = [\"ICU\"]"
        ))
        .unwrap();
        config.check().unwrap();
        let (dir, store) = secrets("oidc-client", secret.unwrap_or("unused"));
        let provider = Federation::new(&config, &store).unwrap().provider.unwrap();
        let tls = rustls::ClientConfig::builder()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        let attempts = Attempts::default();
        Self { issuer, config, provider, attempts, http, process: Some(process), _secrets: dir }
    }

    /// Logs in at the provider as a browser does; what it is sent back with, and the browser's own cookie.
    async fn away(&mut self) -> (HashMap<String, String>, TokenHash) {
        let endpoint = self.provider.authorization_endpoint(now()).await.unwrap();
        let off = self.attempts.begin(self.config.oidc.as_ref().unwrap(), now()).unwrap();
        let mut url = format!("{endpoint}?{}", off.query);
        let mut cookies: HashMap<String, String> = HashMap::new();
        for _ in 0..10 {
            if let Some(query) = url.strip_prefix(&format!("{RETURN}?")) {
                let terms = query.split('&').filter_map(|term| term.split_once('=')).map(|(name, value)| {
                    let value = percent_encoding::percent_decode_str(value).decode_utf8().unwrap();
                    (name.to_owned(), value.into_owned())
                });
                return (terms.collect(), off.browser.hash());
            }
            let own =
                cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
            let answer = self.http.get(&url).header("cookie", own).send().await.unwrap();
            for cookie in answer.headers().get_all("set-cookie") {
                let pair = cookie.to_str().unwrap().split(';').next().unwrap();
                let (name, value) = pair.split_once('=').unwrap();
                cookies.insert(name.into(), value.into());
            }
            let next = answer.headers().get("location").map(|next| next.to_str().unwrap().to_owned());
            let Some(next) = next else { panic!("no way on from {url}: {}", answer.text().await.unwrap()) };
            url = if next.starts_with('/') { format!("{}{next}", self.issuer) } else { next };
        }
        panic!("the provider sends in circles");
    }

    async fn log_in(&mut self, later: Duration) -> Result<(String, (Role, Option<String>)), Refused> {
        let (back, browser) = self.away().await;
        let attempt = self.attempts.take(&back["state"], Some(browser), now()).unwrap();
        let oidc = self.config.oidc.as_ref().unwrap();
        assert!(is_of_issuer(oidc, back.get("iss").map(String::as_str), self.provider.names_itself()));
        let who = self.provider.redeem(back["code"].clone(), attempt, now().plus(later)).await?;
        assert_eq!(who.subject, format!("{}|u-1", self.issuer));
        Ok((who.username, self.config.chosen(&who.roles).unwrap()))
    }

    async fn control(&self, what: Value) {
        let url = format!("{}/control", self.issuer);
        self.http.post(url).body(what.to_string()).send().await.unwrap().error_for_status().unwrap();
    }
}

#[tokio::test]
async fn a_user_of_the_provider_is_vouched_for_with_the_role_of_their_groups() {
    for secret in [Some("a secret of the rig, long enough"), None] {
        let mut rig = Rig::start(secret);
        assert_eq!(rig.log_in(Duration::ZERO).await, Ok(("Anna".into(), (Role::Clinician, None))));
        assert!(rig.provider.names_itself(), "oidc-provider keeps RFC 9207");
        rig.control(json!({ "account": account(&["nurses", "it"]) })).await;
        assert_eq!(rig.log_in(Duration::ZERO).await, Ok(("Anna".into(), (Role::Admin, None))));
        rig.control(json!({ "account": account(&["icu"]) })).await;
        let own = (Role::Clinician, Some("icu-nurse".to_string()));
        assert_eq!(rig.log_in(Duration::ZERO).await, Ok(("Anna".into(), own)), "a role of the clinic's own");
        rig.control(json!({ "account": account(&["gardeners"]) })).await;
        assert_eq!(rig.log_in(Duration::ZERO).await, Err(Refused::NoRole));
    }
}

#[tokio::test]
async fn keys_that_turn_over_are_found_and_not_asked_for_without_end() {
    let mut rig = Rig::start(None);
    rig.log_in(Duration::ZERO).await.unwrap();
    rig.control(json!({ "generation": 2 })).await;
    assert!(matches!(rig.log_in(Duration::ZERO).await, Err(Refused::Untrue(_))), "asked for a moment ago");
    assert!(rig.log_in(Duration::from_secs(31)).await.is_ok(), "asked again after a while");
}

#[tokio::test]
async fn a_code_counts_for_its_verifier_and_its_nonce_only() {
    let mut rig = Rig::start(None);
    let (back, browser) = rig.away().await;
    let attempt = rig.attempts.take(&back["state"], Some(browser), now()).unwrap();
    let (other, other_browser) = rig.away().await;
    let others = rig.attempts.take(&other["state"], Some(other_browser), now()).unwrap();
    let stolen = rig.provider.redeem(back["code"].clone(), others, now()).await;
    assert!(matches!(stolen, Err(Refused::Unreachable(why)) if why.contains("invalid_grant")), "PKCE");
    let own = rig.provider.redeem(back["code"].clone(), attempt, now()).await;
    assert!(own.is_ok(), "with its own verifier it counts");
    let (back, browser) = rig.away().await;
    let mut attempt = rig.attempts.take(&back["state"], Some(browser), now()).unwrap();
    attempt.nonce = "of another log-in".into();
    let replayed = rig.provider.redeem(back["code"].clone(), attempt, now()).await;
    assert!(matches!(replayed, Err(Refused::Untrue(why)) if why.contains("another log-in")));
    assert!(rig.attempts.take("made up", Some(browser), now()).is_none());
}

#[tokio::test]
async fn a_wrong_secret_and_a_provider_that_is_away_let_nobody_in() {
    let mut rig = Rig::start(Some("a secret of the rig, long enough"));
    let (_dir, store) = secrets("oidc-client", "another secret");
    let wrong = Federation::new(&rig.config, &store).unwrap().provider.unwrap();
    let (back, browser) = rig.away().await;
    let attempt = rig.attempts.take(&back["state"], Some(browser), now()).unwrap();
    let refused = wrong.redeem(back["code"].clone(), attempt, now()).await;
    assert!(matches!(refused, Err(Refused::Unreachable(why)) if why.contains("invalid_client")));
    drop(rig.process.take());
    let (_dir, store) = secrets("oidc-client", "x");
    let fresh = Federation::new(&rig.config, &store).unwrap().provider.unwrap();
    assert!(fresh.authorization_endpoint(now()).await.is_err());
}
