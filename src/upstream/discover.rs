//! What stands at an address before it is anybody's upstream: the SMART configuration and the CapabilityStatement, in words
//! for a person who sets it up.
//!
//! Sources: SMART App Launch 2.2, conformance (`.well-known/smart-configuration`); FHIR R4 CapabilityStatement.rest.

use reqwest::{Method, Url};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::config::Config;
use super::http::{Answer, Body, Http, Request};
use super::{UpstreamError, scope, token};
use crate::clock::SharedClock;

/// What Bedside writes, and so what a table of capabilities is about.
const KINDS: [&str; 6] = ["Observation", "Patient", "Device", "DeviceMetric", "Specimen", "Provenance"];
/// Words of a list from a server that are told.
const WORDS_MAX: usize = 40;

/// What a server says of itself.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = DiscoveredServer)]
pub struct Discovered {
    pub base: String,
    pub smart: Option<Smart>,
    /// Why there is no SMART configuration.
    pub smart_fault: Option<String>,
    pub metadata: Option<Metadata>,
    pub metadata_fault: Option<String>,
    /// The least scopes for what this box delivers, spelled as the server asks.
    pub scopes: Vec<String>,
    /// Seconds by which its clock is ahead of this box's.
    pub clock_skew_s: Option<i64>,
}

/// `.well-known/smart-configuration`.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = SmartConfiguration)]
pub struct Smart {
    pub token_endpoint: String,
    /// `private_key_jwt` is offered, or nothing is said.
    pub private_key_jwt: bool,
    /// Signature algorithms; empty when not said.
    pub algorithms: Vec<String>,
    pub capabilities: Vec<String>,
}

/// The CapabilityStatement.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = ServerMetadata)]
pub struct Metadata {
    pub software: String,
    pub fhir_version: String,
    pub transaction: bool,
    pub batch: bool,
    pub kinds: Vec<Kind>,
}

/// What it says of a kind of resource; `None` where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ServerKind)]
pub struct Kind {
    pub kind: String,
    pub listed: bool,
    pub create: bool,
    pub update: bool,
    pub read: bool,
    pub search: bool,
    pub update_create: Option<bool>,
    pub conditional_create: Option<bool>,
    pub conditional_update: Option<bool>,
}

/// Asks the server that `config` names, without any authorization.
///
/// # Errors
/// The address cannot be used; what the server says wrong is told in [`Discovered`].
pub async fn discover(config: &Config, clock: &SharedClock) -> Result<Discovered, UpstreamError> {
    let (base, http) = (config.base_url()?, Http::new(config)?);
    let now = clock.now().micros.div_euclid(1_000_000);
    let mut found = Discovered { base: base.to_string(), ..Discovered::default() };
    let under = |path: &str| {
        let mut url = base.clone();
        url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
        url
    };
    match get(&http, under(".well-known/smart-configuration"), now).await {
        Ok(answer) => {
            found.clock_skew_s = answer.date.map(|date| date - now);
            match smart(&answer) {
                Ok(smart) => found.smart = Some(smart),
                Err(why) => found.smart_fault = Some(why),
            }
        }
        Err(why) => found.smart_fault = Some(why),
    }
    match get(&http, under("metadata"), now).await {
        Ok(answer) => {
            found.clock_skew_s = answer.date.map(|date| date - now).or(found.clock_skew_s);
            match metadata(&answer) {
                Ok(metadata) => found.metadata = Some(metadata),
                Err(why) => found.metadata_fault = Some(why),
            }
        }
        Err(why) => found.metadata_fault = Some(why),
    }
    let capabilities = found.smart.as_ref().map(|smart| smart.capabilities.clone()).unwrap_or_default();
    found.scopes = scopes(config, &capabilities);
    Ok(found)
}

/// The scopes that are asked for where the configuration names none.
pub fn scopes(config: &Config, capabilities: &[String]) -> Vec<String> {
    match &config.scopes {
        Some(written) => written.clone(),
        None => scope::and_writes(scope::defaults(capabilities, &config.reads), &config.writes),
    }
}

async fn get(http: &Http, url: Url, now: i64) -> Result<Answer, String> {
    let request = Request { method: Method::GET, url, bearer: None, body: Body::None };
    http.send(request, now).await.map_err(|fault| fault.to_string())
}

fn smart(answer: &Answer) -> Result<Smart, String> {
    if answer.status != 200 {
        return Err(format!(
            "there is no .well-known/smart-configuration here (HTTP {}): ask the server's people for the token endpoint, or \
             whether this is the FHIR base",
            answer.status
        ));
    }
    let said = token::parse_discovery(&answer.body)?;
    let methods = &said.token_endpoint_auth_methods_supported;
    Ok(Smart {
        private_key_jwt: methods.is_empty() || methods.iter().any(|method| method == "private_key_jwt"),
        algorithms: few(said.token_endpoint_auth_signing_alg_values_supported),
        capabilities: few(said.capabilities),
        token_endpoint: said.token_endpoint,
    })
}

fn few(mut words: Vec<String>) -> Vec<String> {
    words.retain(|word| word.len() <= 100);
    words.truncate(WORDS_MAX);
    words
}

fn metadata(answer: &Answer) -> Result<Metadata, String> {
    if answer.status != 200 {
        return Err(format!("there is no CapabilityStatement under /metadata (HTTP {})", answer.status));
    }
    let wrong =
        || String::from("what stands under /metadata is no CapabilityStatement: is this the FHIR base?");
    let said: Value = serde_json::from_slice(&answer.body).map_err(|_| wrong())?;
    if text(&said, "resourceType") != "CapabilityStatement" {
        return Err(wrong());
    }
    let rests = said.get("rest").and_then(Value::as_array);
    let server = rests.into_iter().flatten().find(|rest| text(rest, "mode") != "client");
    let nothing = Value::Null;
    let server = server.unwrap_or(&nothing);
    let (interactions, software) = (codes(server), said.get("software").unwrap_or(&nothing));
    let name = format!("{} {}", text(software, "name"), text(software, "version"));
    Ok(Metadata {
        software: super::answer::clean(name.trim(), 120),
        fhir_version: super::answer::clean(text(&said, "fhirVersion"), 20),
        transaction: interactions.contains(&"transaction"),
        batch: interactions.contains(&"batch"),
        kinds: KINDS.iter().map(|kind| of_kind(server, kind)).collect(),
    })
}

fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value.get(member).and_then(Value::as_str).unwrap_or_default()
}

fn codes(of: &Value) -> Vec<&str> {
    let list = of.get("interaction").and_then(Value::as_array);
    list.into_iter().flatten().map(|one| text(one, "code")).collect()
}

fn of_kind(server: &Value, kind: &str) -> Kind {
    let listed = server.get("resource").and_then(Value::as_array).into_iter().flatten();
    let Some(own) = listed.into_iter().find(|own| text(own, "type") == kind) else {
        return Kind { kind: kind.into(), ..Kind::default() };
    };
    let can = codes(own);
    let says = |member: &str| own.get(member).and_then(Value::as_bool);
    Kind {
        kind: kind.into(),
        listed: true,
        create: can.contains(&"create"),
        update: can.contains(&"update"),
        read: can.contains(&"read"),
        search: can.contains(&"search-type"),
        update_create: says("updateCreate"),
        conditional_create: says("conditionalCreate"),
        conditional_update: says("conditionalUpdate"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, html: false, retry_after: None, date: None, redirect: None, body: body.into() }
    }

    #[test]
    fn a_capability_statement_becomes_a_table() {
        let body = r#"{"resourceType":"CapabilityStatement","fhirVersion":"4.0.1","software":{"name":"Acme","version":"7"},
            "rest":[{"mode":"server","interaction":[{"code":"transaction"}],"resource":[{"type":"Observation",
            "interaction":[{"code":"create"},{"code":"update"},{"code":"read"}],"updateCreate":true}]}]}"#;
        let told = metadata(&answer(200, body)).unwrap();
        assert_eq!((told.software.as_str(), told.transaction, told.batch), ("Acme 7", true, false));
        let observation = &told.kinds[0];
        assert!(observation.listed && observation.create && observation.read && !observation.search);
        assert_eq!((observation.update_create, observation.conditional_create), (Some(true), None));
        assert!(!told.kinds[1].listed);
    }

    #[test]
    fn what_is_not_there_is_told_with_what_to_do() {
        assert!(metadata(&answer(404, "")).unwrap_err().contains("HTTP 404"));
        assert!(metadata(&answer(200, "<html>")).unwrap_err().contains("is this the FHIR base"));
        assert!(metadata(&answer(200, r#"{"resourceType":"Bundle"}"#)).is_err());
        assert!(smart(&answer(404, "")).unwrap_err().contains("token endpoint"));
        assert!(smart(&answer(200, "{}")).is_err());
        let body = r#"{"token_endpoint":"https://a/token","token_endpoint_auth_methods_supported":["client_secret_basic"]}"#;
        assert!(!smart(&answer(200, body)).unwrap().private_key_jwt);
    }

    #[test]
    fn scopes_are_computed_from_what_is_delivered_and_spelled_as_the_server_asks() {
        let config = Config::new("https://fhir.example.org");
        assert!(scopes(&config, &[]).contains(&"system/Observation.crus".to_owned()));
        let older = scopes(&config, &["permission-v1".to_owned()]);
        assert!(older.iter().any(|scope| scope == "system/Observation.write"), "{older:?}");
    }
}
