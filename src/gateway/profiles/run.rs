//! Trying a page that is not in force: on a capture of its folder, or on what a device of this box said.

use std::sync::Arc;

use super::{Profiles, TEXT_MAX, failed, too_long};
use crate::admin::command::Refusal;
use crate::admin::explain::MeasurementView;
use crate::admin::profiles::{Ran, Tried};
use crate::buffer::EntryDetail;
use crate::firmware_profile::{Capture, Decoded, FirmwareProfile, Library, LinkContext};
use crate::gateway::desk::explained;
use crate::gateway::understand::{Meaning, Said, Understanding, context};

impl Profiles {
    pub(super) async fn ran(&self, id: String, text: String, what: Tried) -> Result<Ran, Refusal> {
        if text.len() > TEXT_MAX {
            return Ok(Ran { faults: vec![too_long()], ..Ran::default() });
        }
        let profile = match FirmwareProfile::parse(&id, &text) {
            Ok(profile) => Arc::new(profile),
            Err(faults) => return Ok(Ran { faults, ..Ran::default() }),
        };
        let in_force = self.shelf.library().find(&id);
        match what {
            Tried::Capture(name) => {
                let find = |capture: &Capture| capture.name == name;
                let capture = Library::shelf(&id, &profile).into_iter().find(find).ok_or(Refusal::Unknown)?;
                blocking(move || on_capture(&profile, in_force.as_deref(), capture)).await?
            }
            Tried::Entry(entry) => {
                let entry = self.buffer.reader().entry(entry).await.map_err(failed)?;
                let entry = entry.ok_or(Refusal::Unknown)?;
                if !entry.intact {
                    let why = "its bytes changed on the disk: nothing is read from them";
                    return Err(Refusal::Conflict(why.into()));
                }
                let understanding = self.understanding.clone();
                blocking(move || on_entry(&understanding, &profile, in_force.as_deref(), &entry)).await?
            }
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|fault| Refusal::Failed(fault.to_string()))
}

/// What was decoded, as goldens are written.
fn written(decoded: &Decoded) -> String {
    let mut text = serde_json::to_string_pretty(decoded).unwrap_or_default();
    text.push('\n');
    text
}

fn on_capture(
    profile: &FirmwareProfile,
    in_force: Option<&FirmwareProfile>,
    capture: Capture,
) -> Result<Ran, Refusal> {
    let context = LinkContext::of_goldens().ok_or_else(|| Refusal::Failed("no such zone".into()))?;
    let decode = |by: &FirmwareProfile| by.decode(&capture.frame, capture.topic.as_deref(), &context);
    let decoded = decode(profile);
    Ok(Ran {
        fits: profile.recognises(&capture.frame),
        measurements: measurements(&decoded),
        says: written(&decoded),
        golden: capture.golden.clone(),
        before: in_force.map(|own| written(&decode(own))),
        findings: decoded.findings,
        held: decoded.held,
        ignored: decoded.ignored,
        ..Ran::default()
    })
}

fn measurements(decoded: &Decoded) -> Vec<MeasurementView> {
    decoded.reports.iter().flat_map(|report| &report.measurements).flat_map(MeasurementView::of).collect()
}

fn on_entry(
    understanding: &Understanding,
    profile: &FirmwareProfile,
    in_force: Option<&FirmwareProfile>,
    entry: &EntryDetail,
) -> Result<Ran, Refusal> {
    let gone = || Refusal::Conflict(format!("link \"{}\" is no longer there", entry.row.link));
    let link = understanding.link(&entry.row.link).ok_or_else(gone)?;
    let said = Said {
        entry: Some(entry.row.id),
        link: &entry.row.link,
        peer: &entry.row.peer,
        received: entry.row.received,
        bytes: &entry.bytes,
        topic: entry.topic.as_deref(),
        sha256: entry.sha256,
    };
    let context = context(&link, said.received, said.entry);
    let decode = |by: &FirmwareProfile| written(&by.decode(said.bytes, said.topic, &context));
    let understood = understanding.read_with(&link, profile, &said);
    let (mut held, mut ignored) = (None, None);
    match &understood.meaning {
        Meaning::Hold(why) => held = Some(why.clone()),
        Meaning::Nothing(why) => ignored = Some(why.clone()),
        Meaning::Orders(_) => ignored = Some("orders for the worklist".into()),
        Meaning::Stranger(who) => held = Some(Meaning::reason(who)),
        Meaning::Deliver { .. } => {}
    }
    let ran = Ran {
        fits: profile.recognises(said.bytes),
        says: decode(profile),
        before: in_force.map(decode),
        held,
        ignored,
        ..Ran::default()
    };
    Ok(ran.explained(explained(understood, None)))
}
