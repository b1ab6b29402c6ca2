//! What would be sent of an entry now, beside what the server holds: before something is sent again, a person sees what
//! would change.

use serde_json::Value;

use super::{Sets, failed};
use crate::admin::command::Refusal;
use crate::admin::sets::{Compared, Comparison};
use crate::buffer::EntryDetail;
use crate::gateway::understand::{Meaning, Said};

/// Resources looked up at the server; a frame with more is compared as far as these.
const MOST: usize = 60;

impl Sets {
    pub(super) async fn compared(&self, id: i64) -> Result<Comparison, Refusal> {
        let entry = self.buffer.reader().entry(id).await.map_err(failed)?.ok_or(Refusal::Unknown)?;
        if !entry.intact {
            return Err(Refusal::Conflict("its bytes changed on the disk: nothing is made of them".into()));
        }
        let understanding = self.understanding.clone();
        let read = tokio::task::spawn_blocking(move || understanding.read(&said(&entry)).meaning);
        let resources = match read.await.map_err(|fault| Refusal::Failed(fault.to_string()))? {
            Meaning::Deliver { resources } => resources,
            Meaning::Hold(why) => return Ok(nothing(format!("It would be held: {why}"))),
            Meaning::Nothing(why) => return Ok(nothing(format!("There is nothing to send: {why}"))),
            Meaning::Orders(_) => return Ok(nothing("It holds orders, which stay on this box.".into())),
            Meaning::Stranger(who) => {
                return Ok(nothing(format!("It would be held: {}", Meaning::reason(&who))));
            }
        };
        let mut comparison = Comparison { asked: self.upstream.is_some(), ..Comparison::default() };
        if self.upstream.is_none() {
            comparison.detail = Some("No FHIR server is set up, so there is nothing to compare with.".into());
        }
        for (at, resource) in resources.iter().enumerate() {
            let now = serde_json::from_str(resource.json.get()).unwrap_or_default();
            let mut there = None;
            if let Some(upstream) = self.upstream.as_ref().filter(|_| comparison.asked && at < MOST) {
                match upstream.holds(resource).await {
                    Ok(found) => there = found,
                    Err(why) => {
                        comparison.asked = false;
                        comparison.detail = Some(format!("The server could not be asked: {why}"));
                    }
                }
            }
            comparison.resources.push(beside(resource.kind, &resource.id, now, there));
        }
        if resources.len() > MOST && comparison.asked {
            comparison.detail =
                Some(format!("Only the first {MOST} resources were looked up at the server."));
        }
        Ok(comparison)
    }
}

fn nothing(detail: String) -> Comparison {
    Comparison { detail: Some(detail), ..Comparison::default() }
}

fn said(entry: &EntryDetail) -> Said<'_> {
    Said {
        entry: Some(entry.row.id),
        link: &entry.row.link,
        peer: &entry.row.peer,
        received: entry.row.received,
        bytes: &entry.bytes,
        topic: entry.topic.as_deref(),
        sha256: entry.sha256,
    }
}

/// Both sides as text that can be laid side by side: members sorted, what the server adds of its own left out.
fn beside(kind: &str, id: &str, mut now: Value, there: Option<Value>) -> Compared {
    plain(&mut now);
    let there = there.map(|mut there| {
        plain(&mut there);
        there
    });
    let text = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default();
    Compared {
        kind: kind.into(),
        id: id.into(),
        same: there.as_ref().is_some_and(|there| *there == now),
        now: Some(text(&now)),
        there: there.as_ref().map(text),
    }
}

/// Without what a server writes itself (FHIR R4 Resource.meta.versionId, lastUpdated, source) or may derive (text).
fn plain(value: &mut Value) {
    let Some(members) = value.as_object_mut() else { return };
    if let Some(meta) = members.get_mut("meta").and_then(Value::as_object_mut) {
        for own in ["versionId", "lastUpdated", "source"] {
            meta.remove(own);
        }
        if meta.is_empty() {
            members.remove("meta");
        }
    }
    let narrated = members.get("text").and_then(|text| text.get("status")).and_then(Value::as_str);
    if narrated == Some("generated") {
        members.remove("text");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_adds_of_its_own_is_no_difference_and_a_digit_is() {
        let now = |value: &str| {
            let text =
                format!(r#"{{"resourceType":"Observation","id":"a","valueQuantity":{{"value":{value}}}}}"#);
            serde_json::from_str::<Value>(&text).unwrap()
        };
        let there = serde_json::from_str(
            r#"{"id":"a","meta":{"versionId":"3","lastUpdated":"2026-01-01T00:00:00Z"},"resourceType":"Observation",
            "text":{"status":"generated","div":"<div/>"},"valueQuantity":{"value":2.0}}"#,
        )
        .unwrap();
        let same = beside("Observation", "a", now("2.0"), Some(there));
        assert!(same.same, "{same:?}");
        assert!(
            !beside("Observation", "a", now("2.00"), Some(now("2.0"))).same,
            "digits are told as written"
        );
        assert!(!beside("Observation", "a", now("1"), None).same);
    }
}
