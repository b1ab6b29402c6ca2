//! "Test connection": from the address to a read, one step at a time, each failure with what to do.

use std::time::Instant;

use reqwest::Method;
use serde::Serialize;

use super::http::{Body, Request, host};
use super::token::{Authority, NOTABLE_SKEW_S, skew_words};
use super::{Setback, Upstream, scope};

/// How long the port may take to answer.
const CONNECT: std::time::Duration = std::time::Duration::from_secs(10);

/// One step of the test, as the desk shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TestStep {
    pub name: &'static str,
    pub ok: bool,
    /// One sentence for a person.
    pub detail: String,
    pub ms: u64,
}

/// Walks until a step fails that the next ones need.
pub(super) async fn walk(up: &Upstream) -> Vec<TestStep> {
    let mut walk = Walk { steps: Vec::new(), begun: Instant::now() };
    let _way = walk.go(up).await;
    walk.steps
}

struct Walk {
    steps: Vec<TestStep>,
    begun: Instant,
}

impl Walk {
    /// None: a step failed.
    async fn go(&mut self, up: &Upstream) -> Option<()> {
        self.note("name", find_name(up).await)?;
        self.note("port", reach(up).await)?;
        let connection = connect(up).await;
        let skew = connection.as_ref().ok().and_then(|(_, skew)| *skew);
        self.note("connection", connection.map(|(detail, _)| detail))?;
        if let Some(skew) = skew {
            // A wrong clock is told, and the walk goes on: the server decides whether it minds.
            let _told = self.note("clock", clock(skew));
        }
        if let Some(authority) = &up.authority {
            self.note("discovery", discover(authority).await)?;
            self.note("token", token(up, authority).await)?;
        }
        self.note("capability", capability(up).await)?;
        self.note("read", read(up).await)?;
        self.note("validate", validate(up).await)
    }

    fn note(&mut self, name: &'static str, result: Result<String, String>) -> Option<()> {
        let ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.begun = Instant::now();
        let ok = result.is_ok();
        let (Ok(detail) | Err(detail)) = result;
        self.steps.push(TestStep { name, ok, detail, ms });
        ok.then_some(())
    }
}

async fn find_name(up: &Upstream) -> Result<String, String> {
    let host = host(&up.base);
    let addresses = tokio::net::lookup_host(&host).await;
    match addresses.map(Iterator::count) {
        Ok(count) if count > 0 => Ok(format!("{host} is found ({count} addresses).")),
        _ => Err(format!(
            "The name in {host} could not be found (DNS): check the address, the cable and the name server of this box."
        )),
    }
}

/// Whether anybody listens at the port, before anything is said.
async fn reach(up: &Upstream) -> Result<String, String> {
    let host = host(&up.base);
    let connecting = tokio::net::TcpStream::connect(host.clone());
    match tokio::time::timeout(CONNECT, connecting).await {
        Ok(Ok(_)) => Ok(format!("{host} takes connections.")),
        Ok(Err(fault)) if fault.kind() == std::io::ErrorKind::ConnectionRefused => Err(format!(
            "{host} refuses connections: nothing listens at this port, or a firewall turns it away. Check the port."
        )),
        Ok(Err(fault)) => {
            Err(format!("{host} cannot be reached ({fault}): check the cable, the network and the route."))
        }
        Err(_) => Err(format!(
            "{host} does not answer within {} s: a firewall between this box and the server probably drops it.",
            CONNECT.as_secs()
        )),
    }
}

/// Connects; also how far the server's clock is ahead of ours, in seconds, if it said.
async fn connect(up: &Upstream) -> Result<(String, Option<i64>), String> {
    let now = up.clock.now().micros.div_euclid(1_000_000);
    let request = Request { method: Method::GET, url: up.url("metadata"), bearer: None, body: Body::None };
    let answer = up.http.send(request, now).await.map_err(|fault| sentence(&fault.to_string()))?;
    let secure =
        if up.base.scheme() == "https" { "encrypted, the certificate is trusted" } else { "not encrypted" };
    Ok((format!("Connected to {} ({secure}).", host(&up.base)), answer.date.map(|date| date - now)))
}

fn clock(skew_s: i64) -> Result<String, String> {
    if skew_s.abs() <= NOTABLE_SKEW_S {
        return Ok("The clocks agree.".into());
    }
    Err(format!("{}: set the clock of this box.", skew_words(skew_s)))
}

async fn discover(authority: &Authority) -> Result<String, String> {
    if authority.endpoint_is_written() {
        return Ok("Not asked for: token_endpoint is written.".into());
    }
    let discovery = authority.discover().await.map_err(|refusal| sentence(&refusal.words))?;
    let key = authority.key().algorithm().name();
    let offers = &discovery.token_endpoint_auth_signing_alg_values_supported;
    if !offers.is_empty() && !offers.iter().any(|offer| offer == key) {
        return Err(format!(
            "The server does not offer {key}, the algorithm of this box's key: make another key."
        ));
    }
    let methods = &discovery.token_endpoint_auth_methods_supported;
    if !methods.is_empty() && !methods.iter().any(|method| method == "private_key_jwt") {
        return Err("The server does not offer private_key_jwt, which SMART Backend Services needs.".into());
    }
    Ok("The server says where tokens are to be had.".into())
}

async fn token(up: &Upstream, authority: &Authority) -> Result<String, String> {
    let grant = up.granted(authority).await.map_err(|setback| sentence(&setback.words))?;
    let missing = grant.granted.as_deref().map(|granted| scope::missing_writes(&grant.asked, granted));
    match missing.filter(|missing| !missing.is_empty()) {
        Some(missing) => Err(format!(
            "A token was given, but not for writing {}: ask for these scopes.",
            missing.join(", ")
        )),
        None => Ok(format!("A token was given; it is good for {} s.", grant.life_s)),
    }
}

async fn capability(up: &Upstream) -> Result<String, String> {
    let capability = up.capability_statement().await.map_err(|setback| sentence(&setback.words))?;
    let Some(capability) = capability else {
        return Err(
            "There is no FHIR server at this address: it has no CapabilityStatement under /metadata.".into(),
        );
    };
    if !capability.fhir_version.is_empty() && !capability.fhir_version.starts_with("4.") {
        return Err(format!("The server speaks FHIR {}, not R4.", capability.fhir_version));
    }
    if !capability.transaction {
        return Ok(
            "A FHIR server; it does not say that it takes transactions, which is tried all the same.".into()
        );
    }
    Ok(format!("FHIR {} {}, takes transactions.", capability.fhir_version, capability.software))
}

async fn read(up: &Upstream) -> Result<String, String> {
    let mut url = up.url("Observation");
    url.set_query(Some("_summary=count"));
    let answer =
        up.ask(Method::GET, url, || Body::None).await.map_err(|setback: Setback| sentence(&setback.words))?;
    match answer.status {
        200 => Ok("Observations can be read.".into()),
        401 => Err("The server does not accept its own token (HTTP 401).".into()),
        403 => Err("The server does not let this client read Observations (HTTP 403): delivery works, but a lost answer cannot be looked up.".into()),
        status => Err(format!("Reading Observations was answered with HTTP {status}.")),
    }
}

/// Has the server judge an Observation without keeping it (FHIR R4 Resource `$validate`). It is nobody's and holds no value.
async fn validate(up: &Upstream) -> Result<String, String> {
    let json = bytes::Bytes::from_static(
        br#"{"resourceType":"Observation","status":"final","code":{"coding":[{"system":"http://loinc.org","code":"8867-4"}]},
        "dataAbsentReason":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/data-absent-reason","code":"not-performed"}]}}"#,
    );
    let body = || Body::Fhir(json.clone(), false);
    let answer = up.ask(Method::POST, up.url("Observation/$validate"), body).await;
    let answer = answer.map_err(|setback: Setback| sentence(&setback.words))?;
    match answer.status {
        200..=299 => Ok("The server judges an Observation without keeping it: nothing was written.".into()),
        400 | 412 | 422 => {
            Ok("The server judged a trial Observation and has something against it; what devices say is \
            judged when it is sent."
                .into())
        }
        401 | 403 => Err(format!(
            "The server does not let this client have an Observation judged (HTTP {}): it may not let it write either. Ask its \
             people for system/Observation.crus.",
            answer.status
        )),
        404 | 405 | 501 => Ok("The server does not offer $validate; nothing was written.".into()),
        status => Ok(format!("$validate was answered with HTTP {status}; nothing was written.")),
    }
}

fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}
