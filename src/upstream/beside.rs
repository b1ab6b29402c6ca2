//! What the server holds of a resource, for a person who compares it with what would be sent.

use reqwest::Method;
use serde_json::Value;

use super::Upstream;
use super::bundle::key;
use super::http::Body;
use super::search::Found;
use crate::fhir::Resource;

impl Upstream {
    /// The resource as the server has it: under the id Bedside gives it, else the one with its identifier.
    ///
    /// # Errors
    /// A sentence: the server was not reached or does not let this box read.
    pub async fn holds(&self, resource: &Resource) -> Result<Option<Value>, String> {
        if let Some(found) = self.read_at(&key(resource)).await? {
            return Ok(Some(found));
        }
        match self.find(resource).await.map_err(|setback| setback.words)? {
            Found::One(place) | Found::Several(place, _) => self.read_at(&place).await,
            Found::Nothing | Found::Unsearchable => Ok(None),
        }
    }

    /// What stands at `kind/id`.
    async fn read_at(&self, place: &str) -> Result<Option<Value>, String> {
        let answer = self.ask(Method::GET, self.url(place), || Body::None).await;
        let answer = answer.map_err(|setback| setback.words)?;
        match answer.status {
            200 => serde_json::from_slice(&answer.body)
                .map(Some)
                .map_err(|_| String::from("its answer is no JSON")),
            404 | 410 => Ok(None),
            401 | 403 => Err(format!("it does not let this box read (HTTP {})", answer.status)),
            status => Err(format!("it answered HTTP {status}")),
        }
    }
}
