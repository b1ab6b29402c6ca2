//! "Test connection": from the address to a read, one step at a time, each failure with what to do.

use std::time::Instant;

use reqwest::Method;
use serde::Serialize;

use super::http::{Body, Request, host};
use super::token::{NOTABLE_SKEW_S, skew_words};
use super::{Setback, Upstream, scope};

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
    let mut steps = Vec::new();
    let (mut all_well, steps_ahead) =
        (true, ["name", "connection", "discovery", "token", "capability", "read"]);
    for name in steps_ahead {
        if up.authority.is_none() && matches!(name, "discovery" | "token") {
            continue;
        }
        let begun = Instant::now();
        let result = match name {
            "name" => find_name(up).await,
            "connection" => connect(up, &mut steps).await,
            "discovery" => discover(up).await,
            "token" => token(up).await,
            "capability" => capability(up).await,
            _ => read(up).await,
        };
        let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (ok, detail) = match result {
            Ok(detail) => (true, detail),
            Err(detail) => (false, detail),
        };
        // The clock is told right after the connection that measured it.
        steps.insert(
            steps.len()
                - usize::from(name == "connection" && steps.last().is_some_and(|step| step.name == "clock")),
            TestStep { name, ok, detail, ms },
        );
        all_well &= ok;
        if !all_well {
            break;
        }
    }
    steps
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

/// Connects and compares the clocks.
async fn connect(up: &Upstream, steps: &mut Vec<TestStep>) -> Result<String, String> {
    let now = up.clock.now().micros.div_euclid(1_000_000);
    let request = Request { method: Method::GET, url: up.url("metadata"), bearer: None, body: Body::None };
    let answer = up.http.send(request, now).await.map_err(|fault| sentence(&fault.to_string()))?;
    if let Some(skew) = answer.date.map(|date| date - now) {
        let ok = skew.abs() <= NOTABLE_SKEW_S;
        let detail = if ok {
            "The clocks agree.".into()
        } else {
            format!("{}: set the clock of this box.", skew_words(skew))
        };
        steps.push(TestStep { name: "clock", ok, detail, ms: 0 });
    }
    let secure =
        if up.base.scheme() == "https" { "encrypted, the certificate is trusted" } else { "not encrypted" };
    Ok(format!("Connected to {} ({secure}).", host(&up.base)))
}

async fn discover(up: &Upstream) -> Result<String, String> {
    let Some(authority) = &up.authority else { return Ok(String::new()) };
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
    Ok(if discovery.token_endpoint.is_empty() {
        "No smart-configuration; the written token_endpoint is used.".into()
    } else {
        "The server says where tokens are to be had.".into()
    })
}

async fn token(up: &Upstream) -> Result<String, String> {
    let Some(authority) = &up.authority else { return Ok(String::new()) };
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

fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}
