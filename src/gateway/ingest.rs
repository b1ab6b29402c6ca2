//! The way in: a frame goes to the buffer, and its sender is answered only after the commit.
//!
//! Nothing is decoded here, but a query for orders or patients, after it is kept. An answer depends on storage alone, so a wrong profile can never make the box refuse
//! what a device has to say.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::admin::live::Live;
use crate::buffer::{Buffer, NewFrame, Reader};
use crate::connector::unfinished::Unfinished;
use crate::connector::{Frame, Intake, Later, LinkState, Receipt, Reply};
use crate::gateway::metrics::Metrics;
use crate::gateway::numbers::Numbers;
use crate::gateway::people::People;
use crate::gateway::recording::Recordings;
use crate::gateway::understand::Understanding;
use crate::gateway::worklist::Worklist;
use crate::hl7v2::{self, Batch};
use crate::sabotage::{Sabotage, commits};
use crate::wire::Codec;
use crate::wire::sparkplug::Births;
use crate::wire::tape::Way;

/// Frames looked at when the box starts, for their control ids.
const REMEMBERED_ENTRIES: u32 = 4_096;
const REMEMBERED_BYTES: usize = 16 << 20;
/// Notes of something that began on a link and never became a frame.
const NEVER_WHOLE: [&str; 10] = [
    "noise",
    "half-frame",
    "oversize",
    "long-frame",
    "flood",
    "unframed",
    "bad-checksum",
    "bad-length",
    "aborted-frame",
    "unfinished",
];

/// The gateway's end of every connector.
pub(super) struct Ingest {
    buffer: Buffer,
    live: Arc<Live>,
    metrics: Arc<Metrics>,
    understanding: Arc<Understanding>,
    recordings: Arc<Recordings>,
    worklist: Arc<Worklist>,
    people: Arc<People>,
    /// Birth certificates in force, by link.
    births: Mutex<HashMap<Arc<str>, Births>>,
    numbers: Numbers,
    unfinished: Arc<Unfinished>,
    /// Woken when there is something new to understand.
    pub arrived: Arc<Notify>,
}

impl Ingest {
    pub(super) fn new(
        buffer: Buffer,
        live: Arc<Live>,
        metrics: Arc<Metrics>,
        understanding: Arc<Understanding>,
        recordings: Arc<Recordings>,
        worklist: Arc<Worklist>,
        people: Arc<People>,
    ) -> Self {
        Self {
            buffer,
            live,
            metrics,
            understanding,
            recordings,
            worklist,
            people,
            births: Mutex::default(),
            numbers: Numbers::default(),
            unfinished: Arc::default(),
            arrived: Arc::new(Notify::new()),
        }
    }

    /// With this bound of what all connections hold at once.
    pub(super) fn bounded(self, unfinished: Arc<Unfinished>) -> Self {
        Self { unfinished, ..self }
    }

    /// Whether identical bytes on this link are the same message sent again.
    fn repeats_are_resends(&self, frame: &Frame) -> bool {
        if commits(Sabotage::NoDedup) {
            return false;
        }
        match self.understanding.link(&frame.link).map(|link| link.codec()) {
            // A resend repeats MSH-7 and MSH-10 to the letter; a message with neither cannot be told from a new one.
            Some(Codec::Mllp(_)) => is_numbered(&frame.bytes),
            Some(Codec::Astm(_)) => true,
            // The header, which differs each time, is no part of the frame.
            Some(Codec::Poct1a(_)) => true,
            // MQTT 3.1.1 §3.3.1.1: only a packet with DUP set may be a repetition.
            Some(Codec::Message(_)) => frame.redelivered,
            _ => false,
        }
    }

    /// A frame must be readable by itself: what needs another message for it is kept with that message.
    fn whole(&self, mut frame: Frame) -> Frame {
        let is_sparkplug = |link: &crate::config::Link| link.codec().is_sparkplug();
        if !self.understanding.link(&frame.link).is_some_and(|link| is_sparkplug(&link)) {
            return frame;
        }
        let Some(topic) = &frame.topic else { return frame };
        let mut births = self.births.lock().unwrap_or_else(PoisonError::into_inner);
        let joined = births.entry(Arc::clone(&frame.link)).or_default().join(topic, &frame.bytes);
        if let Some(bytes) = joined.bytes {
            frame.bytes = bytes.into();
        }
        frame.warnings.extend(joined.warnings);
        frame
    }

    /// Control ids of what came before this start: one may come again across it.
    pub(super) async fn remember_recent(&self, reader: &Reader) {
        match reader.recent(REMEMBERED_ENTRIES, REMEMBERED_BYTES).await {
            Ok(kept) => {
                for stored in kept.iter().filter(|stored| self.is_hl7(&stored.link)) {
                    self.numbers.reused(&stored.link, &stored.bytes);
                }
            }
            Err(fault) => tracing::warn!(%fault, "The last frames could not be read for their control ids."),
        }
    }

    fn is_hl7(&self, link: &str) -> bool {
        self.understanding.link(link).is_some_and(|link| matches!(link.codec(), Codec::Mllp(_)))
    }

    /// One control id for two different messages: both are kept, and the second says so.
    fn number(&self, frame: &mut Frame) {
        if self.is_hl7(&frame.link) && self.numbers.reused(&frame.link, &frame.bytes) {
            let text = "The sender gave this control id (MSH-10) to another message before.";
            frame.warnings.push(("control-id-reused", text.into()));
        }
    }

    /// A frame, or each message of a batch by itself: what is wrong with one holds up no other. Kept when all of
    /// them are; sent again after a refusal, those that were kept are repetitions.
    async fn kept(&self, frame: Frame) -> Receipt {
        let frame = self.whole(frame);
        let batch = if self.may_be_batch(&frame) { hl7v2::batch(&frame.bytes) } else { Batch::default() };
        if batch.messages.len() < 2 {
            let dedupe = self.repeats_are_resends(&frame);
            return self.one(frame, dedupe).await;
        }
        let mut known = true;
        let mut findings = Some(batch.findings);
        for message in batch.messages {
            let mut one = Frame { bytes: frame.bytes.slice_ref(message), ..frame.clone() };
            // What is wrong with the batch is said once.
            for finding in findings.take().into_iter().flatten() {
                one.warnings.push((finding.code, finding.text));
            }
            let dedupe = is_numbered(message);
            match self.one(one, dedupe).await {
                Receipt::Kept { duplicate } => known &= duplicate,
                refused @ Receipt::Refused { .. } => return refused,
            }
        }
        Receipt::Kept { duplicate: known }
    }

    /// Whether more than one HL7 message may be in it.
    fn may_be_batch(&self, frame: &Frame) -> bool {
        let begins = |bytes: &[u8]| [&b"MSH"[..], b"FHS", b"BHS"].iter().any(|head| bytes.starts_with(head));
        let bytes = frame.bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&frame.bytes).trim_ascii_start();
        let codec = self.understanding.link(&frame.link).map(|link| link.codec());
        begins(bytes)
            && matches!(codec, Some(Codec::Mllp(_) | Codec::Message(_)))
            && memchr::memmem::find_iter(bytes, b"MSH").nth(1).is_some()
    }

    async fn one(&self, mut frame: Frame, dedupe: bool) -> Receipt {
        self.number(&mut frame);
        if commits(Sabotage::LogValue) {
            tracing::warn!(frame = %String::from_utf8_lossy(&frame.bytes), "Frame.");
        }
        if commits(Sabotage::Leak) {
            std::mem::forget(vec![7_u8; 256 << 10]);
        }
        let link = frame.link.clone();
        for (code, text) in &frame.warnings {
            self.metrics.noted(&link, code);
            tracing::debug!(link = %link, code, text, "Frame tolerated.");
        }
        let kept = self.buffer.keep(new_frame(frame, dedupe)).await;
        match kept {
            Ok(kept) => {
                self.metrics.kept(&link, kept.duplicate);
                self.live.link_frame(&link);
                if !kept.duplicate {
                    self.arrived.notify_one();
                }
                Receipt::Kept { duplicate: kept.duplicate }
            }
            Err(refused) => {
                self.metrics.refused(&link);
                self.live.link_refused(&link);
                Receipt::Refused { full: refused.full, reason: refused.reason }
            }
        }
    }
}

/// Whether the same bytes again are the same message again: it has a time or a number of its own.
fn is_numbered(message: &[u8]) -> bool {
    hl7v2::header(message).is_none_or(|header| header.time_present || !header.control_id.is_empty())
}

fn new_frame(frame: Frame, dedupe: bool) -> NewFrame {
    NewFrame {
        link: frame.link,
        peer: frame.peer,
        received: frame.received,
        bytes: frame.bytes,
        topic: frame.topic,
        dedupe,
        warnings: frame.warnings.into_iter().map(|(code, text)| format!("{code}: {text}")).collect(),
        held: None,
    }
}

impl Intake for Ingest {
    fn keep(&self, frame: Frame) -> Later<'_, Receipt> {
        Box::pin(self.kept(frame))
    }

    fn keep_part(&self, frame: Frame) -> Later<'_, Receipt> {
        Box::pin(async move {
            match self.buffer.keep_part(new_frame(frame, false)).await {
                Ok(_) => Receipt::Kept { duplicate: false },
                Err(refused) => Receipt::Refused { full: refused.full, reason: refused.reason },
            }
        })
    }

    fn parts_broken(&self, link: Arc<str>, peer: Arc<str>, reason: String) -> Later<'_, ()> {
        Box::pin(async move {
            if let Err(refused) = self.buffer.break_parts(link.clone(), peer, reason).await {
                tracing::error!(link = %link, reason = refused.reason, "Parts of a broken transmission could not be held.");
            }
        })
    }

    fn crossed(&self, link: &Arc<str>, peer: &Arc<str>, way: Way, topic: Option<&str>, bytes: &[u8]) {
        self.recordings.crossed(link, peer, way, topic, bytes);
    }

    fn reply(&self, frame: Frame) -> Later<'_, Option<Reply>> {
        Box::pin(async move {
            match self.people.reply(&frame).await {
                Some(reply) => Some(reply),
                None => self.worklist.reply(&frame).await,
            }
        })
    }

    fn replied(&self, link: Arc<str>, reference: Arc<str>, outcome: Result<(), String>) -> Later<'_, ()> {
        Box::pin(async move { self.worklist.replied(&link, &reference, outcome).await })
    }

    fn unfinished(&self) -> Arc<Unfinished> {
        self.unfinished.clone()
    }

    fn note(&self, link: &str, code: &'static str, text: &str) {
        self.metrics.noted(link, code);
        if NEVER_WHOLE.contains(&code) {
            self.buffer.noise();
        }
        self.live.link_note(link, text);
        // The words may name a topic, and a topic may name a person: they are for the desk, behind its log-in.
        tracing::warn!(link, code, "Link noted; the desk says more.");
    }

    fn state(&self, link: &str, state: LinkState) {
        match &state {
            LinkState::Up { detail, connections } => tracing::info!(link, detail, connections, "Link up."),
            LinkState::Retrying { detail } => {
                tracing::warn!(link, detail, "Link not usable; it is tried again.")
            }
            LinkState::Quiet { detail } => tracing::warn!(link, detail, "Link is quiet."),
            LinkState::Starting | LinkState::Stopped => tracing::info!(link, state = ?state, "Link state."),
        }
        self.live.link_state(link, &state);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::clock::{SharedClock, TestClock};
    use crate::config;
    use crate::connector::{Stop, folder};
    use crate::device::Identifier;
    use crate::firmware_profile::{Library, LinkContext};
    use crate::wire::sparkplug::parts;
    use crate::wire::sparkplug::payload::{Metric, Payload, Value};

    fn archived(dir: &Path) -> usize {
        let below = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path());
        below(&dir.join("archive")).flat_map(|year| below(&year)).flat_map(|month| below(&month)).count()
    }

    /// An intake with these links and a buffer in `dir`.
    fn intake(dir: &Path, pages: &[String], clock: &SharedClock) -> (Arc<Ingest>, Buffer) {
        let library = Library::embedded().unwrap();
        let site: config::Site = toml::from_str("name = \"T\"").unwrap();
        let links = pages.iter().map(|page| config::parse_link(page, &site, &library, true).unwrap());
        let held = crate::buffer::Config { dir: dir.join("data"), ..Default::default() };
        let buffer = Buffer::open(&held, clock.clone()).unwrap();
        let id = Identifier { system: "urn:test".into(), value: "TEST".into(), kind: None };
        let gateway =
            crate::translate::Gateway { id, name: "test".into(), version: "0".into(), patient_system: None };
        let understanding = Arc::new(Understanding::new(links.collect(), gateway, true));
        let live = Live::new(clock.clone());
        let worklist = Arc::new(Worklist::new(buffer.clone(), understanding.clone(), clock.clone()));
        let recordings = Recordings::new(dir, clock.clone(), understanding.clone(), live.clone());
        let people = Arc::new(People::new(buffer.clone(), understanding.clone(), 50, 72));
        let intake =
            Ingest::new(buffer.clone(), live, Arc::default(), understanding, recordings, worklist, people);
        (Arc::new(intake), buffer)
    }

    /// What one metric of an edge node says.
    fn payload(seq: u64, name: Option<&str>, alias: u64, value: u32) -> Vec<u8> {
        use prost::Message;
        let metric = Metric {
            name: name.map(Into::into),
            alias: Some(alias),
            datatype: Some(3),
            value: Some(Value::Int(value)),
            ..Metric::default()
        };
        Payload { timestamp: Some(1_773_477_000_000), metrics: vec![metric], seq: Some(seq) }.encode_to_vec()
    }

    #[tokio::test]
    async fn numbers_of_an_edge_node_are_kept_with_the_birth_of_their_own_link() {
        let dir = tempfile::tempdir().unwrap();
        let page = |name: &str| {
            format!(
                "name = \"{name}\"\nprofile = \"sparkplug/edge-node\"\n[broker]\ntopics = [\"{name}/#\"]\n"
            )
        };
        let clock: SharedClock = TestClock::at(1_773_477_000_000_000);
        let (intake, buffer) = intake(dir.path(), &[page("ward"), page("theatre")], &clock);
        let keep = async |link: &str, kind: &str, bytes: Vec<u8>, redelivered: bool| {
            let topic = format!("spBv1.0/g/{kind}/e/d").replace("NBIRTH/e/d", "NBIRTH/e");
            let frame = Frame {
                link: link.into(),
                peer: "kit".into(),
                received: clock.now(),
                bytes: bytes.into(),
                topic: Some(topic.into()),
                redelivered,
                warnings: Vec::new(),
            };
            match intake.keep(frame).await {
                Receipt::Kept { duplicate } => duplicate,
                Receipt::Refused { reason, .. } => panic!("{reason}"),
            }
        };
        for link in ["ward", "theatre"] {
            keep(link, "NBIRTH", payload(0, Some("bdSeq"), 0, 0), false).await;
        }
        let birth = payload(1, Some("Vitals/SpO2"), 5, 98);
        keep("ward", "DBIRTH", birth.clone(), false).await;
        let saturation = payload(2, None, 5, 97);
        assert!(!keep("ward", "DDATA", saturation.clone(), false).await);
        assert!(keep("ward", "DDATA", saturation.clone(), true).await, "sent again with DUP it is the same");
        // Another link was never told what number 5 is, and after a gap nobody knows it.
        keep("theatre", "DDATA", payload(1, None, 5, 41), false).await;
        keep("ward", "DDATA", payload(9, None, 5, 42), false).await;

        let kept = buffer.reader().recent(10, 1 << 20).await.unwrap();
        let library = Library::embedded().unwrap();
        let profile = library.find("sparkplug/edge-node").unwrap();
        let mut said: Vec<_> = kept
            .iter()
            .map(|one| {
                let decoded = profile.decode(&one.bytes, one.topic.as_deref(), &LinkContext::golden());
                let values = decoded.reports.iter().flat_map(|report| &report.measurements);
                let values = values.filter(|m| m.metric.code_in(crate::device::MDC) == Some("150456"));
                let values = values.filter_map(|m| match &m.value {
                    crate::device::Value::Numeric { value, .. } => Some(value.to_string()),
                    _ => None,
                });
                let values: Vec<_> = values.collect();
                (one.link.to_string(), parts(&one.bytes).unwrap().0 == Some(&birth[..]), values.join(" "))
            })
            .collect();
        said.sort();
        let read = |value: &str| said.iter().filter(|(.., said)| said.contains(value)).count();
        assert_eq!(said.len(), 6, "{said:?}");
        assert_eq!(said.iter().filter(|(link, joined, _)| link == "ward" && *joined).count(), 1);
        assert!(said.iter().all(|(link, joined, _)| link == "ward" || !joined));
        assert_eq!((read("98"), read("97"), read("41"), read("42")), (1, 1, 0, 0), "{said:?}");
        buffer.close().await;
    }

    /// What is kept of these files, written one after the other.
    async fn through_a_folder(profile: &str, files: &[&str]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let drop_dir = dir.path().join("drop");
        std::fs::create_dir_all(&drop_dir).unwrap();
        let section = format!("dir = \"{}\"\nsettle_s = 0\npoll_s = 1", drop_dir.display());
        let page = format!("name = \"files\"\nprofile = \"{profile}\"\n[folder]\n{section}\n");
        let clock: SharedClock = TestClock::at(1_773_477_000_000_000);
        let (intake, buffer) = intake(dir.path(), &[page], &clock);
        let (switch, stop) = Stop::pair();
        let watched: folder::Config = toml::from_str(&section).unwrap();
        let task = tokio::spawn(folder::run("files".into(), watched, intake, clock, stop));
        for (count, text) in files.iter().enumerate() {
            std::fs::write(drop_dir.join("export.csv"), text).unwrap();
            for _ in 0..1000 {
                if archived(&drop_dir) > count {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert_eq!(archived(&drop_dir), count + 1, "the file is archived");
        }
        let kept = buffer.reader().recent(100, 1 << 20).await.unwrap();
        let mut said: Vec<_> =
            kept.iter().map(|one| String::from_utf8_lossy(&one.bytes).into_owned()).collect();
        said.sort();
        switch.send_replace(true);
        task.await.unwrap();
        buffer.close().await;
        said
    }

    #[tokio::test]
    async fn an_export_that_is_repeated_is_one_entry_and_both_files_are_archived() {
        let said = through_a_folder("wondfo/finecare-csv", &["one", "one", "two"]).await;
        assert_eq!(said, ["one", "two"]);
    }

    #[tokio::test]
    async fn each_message_of_a_batch_is_an_entry_of_its_own_and_sent_again_none_is_new() {
        let message = |id: u8| format!("MSH|^~\\&|A||||20260301||ADT^A08|{id}|P|2.5\rPID|1\r");
        let batch = |ids: [u8; 2]| {
            let [one, two] = ids.map(message);
            format!("FHS|^~\\&\rBHS|^~\\&\r{one}{two}BTS|2\rFTS|1\r")
        };
        let files = [batch([1, 2]), batch([1, 2]), batch([2, 3]), format!("{}{}", message(3), message(4))];
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let said = through_a_folder("hl7-system", &files).await;
        assert_eq!(said, [1, 2, 3, 4].map(message));
    }
}
