//! Pages of templates beside the profiles: what they are, whether they hold together, and what a message becomes by them.

use super::{Profiles, TEXT_MAX, failed, too_long};
use crate::admin::command::Refusal;
use crate::admin::profiles::{Source, TemplateRan, TemplateRow, Templates};
use crate::buffer::EntryDetail;
use crate::firmware_profile::LinkContext;
use crate::gateway::understand::{Understanding, context};
use crate::hl7v2::{self, Message};
use crate::template::{Context, Library};

impl Profiles {
    pub(super) fn all_templates(&self) -> Templates {
        let row = |source| {
            move |(name, text): &(String, String)| TemplateRow {
                name: name.clone(),
                source,
                bytes: text.len(),
            }
        };
        let shipped = Library::shipped();
        let own = self.own_templates.iter().map(row(Source::Folder));
        let pages = own.chain(shipped.iter().map(row(Source::Shipped))).collect();
        let messages = self.templates.messages().map(|(name, events)| (name.to_owned(), events)).collect();
        Templates { pages, messages }
    }

    pub(super) fn template_text(&self, name: &str) -> Option<String> {
        let own = self.own_templates.iter().find(|(known, _)| known == name).map(|(_, text)| text.clone());
        own.or_else(|| Library::shipped().into_iter().find(|(known, _)| known == name).map(|(_, text)| text))
    }

    pub(super) async fn ran_template(
        &self,
        id: i64,
        name: String,
        text: Option<String>,
    ) -> Result<TemplateRan, Refusal> {
        if text.as_ref().is_some_and(|text| text.len() > TEXT_MAX) {
            return Ok(TemplateRan { faults: vec![too_long()], ..TemplateRan::default() });
        }
        let entry = self.buffer.reader().entry(id).await.map_err(failed)?.ok_or(Refusal::Unknown)?;
        if !entry.intact {
            return Err(Refusal::Conflict("its bytes changed on the disk: nothing is read from them".into()));
        }
        let mut own = self.own_templates.clone();
        let (known, zone, understanding) =
            (self.templates.clone(), self.zone.clone(), self.understanding.clone());
        let run = move || {
            let Some(text) = text else { return translated(&known, &understanding, &zone, &entry) };
            own.retain(|(page, _)| *page != name);
            own.push((name, text));
            match Library::embedded_with(own) {
                Ok(library) => translated(&library, &understanding, &zone, &entry),
                Err(wrong) => TemplateRan { faults: wrong.faults, ..TemplateRan::default() },
            }
        };
        tokio::task::spawn_blocking(run).await.map_err(|fault| Refusal::Failed(fault.to_string()))
    }
}

/// The messages of an entry, translated; people are as the messages name them.
fn translated(
    library: &Library,
    understanding: &Understanding,
    zone: &str,
    entry: &EntryDetail,
) -> TemplateRan {
    let link = understanding
        .link(&entry.row.link)
        .map(|link| context(&link, entry.row.received, Some(entry.row.id)));
    let Some(link) = link.or_else(|| LinkContext::new(&entry.row.link, zone, entry.row.received)) else {
        return TemplateRan { detail: Some("the site's zone is unknown".into()), ..TemplateRan::default() };
    };
    let batch = hl7v2::batch(&entry.bytes);
    if batch.messages.is_empty() {
        return TemplateRan { detail: Some("it is no HL7 v2 message".into()), ..TemplateRan::default() };
    }
    let mut ran = TemplateRan { findings: batch.findings, ..TemplateRan::default() };
    let context =
        Context { link: &link, gateway: understanding.gateway(), simulated: understanding.simulated() };
    for bytes in batch.messages {
        let parsed = Message::parse(bytes, link.charset);
        ran.findings.extend(parsed.findings);
        let Some(message) = parsed.message else { continue };
        match library.convert(&message, &context) {
            Ok(converted) => {
                ran.findings.extend(converted.findings);
                ran.fhir.extend(converted.resources.into_iter().map(|resource| resource.json));
            }
            Err(why) => ran.detail = Some(why.to_string()),
        }
    }
    ran
}
