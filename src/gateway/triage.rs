//! The first look at what was kept: every new entry is read once, shown on the desk, and held when nobody could
//! deliver it. It runs whether or not an upstream answers, so that a device nobody knows is seen at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::admin::live::{Live, ProfileView, Sighting};
use crate::buffer::{Buffer, BufferError, Change, EntryFilter, Mark, Reader, State, Stored, Transition};
use crate::clock::Timestamp;
use crate::connector::Stop;
use crate::device::{Finding, Report};
use crate::firmware_profile::FirmwareProfile;
use crate::gateway::association::{Associations, doubt_of};
use crate::gateway::background;
use crate::gateway::metrics::Metrics;
use crate::gateway::pairing::Pairing;
use crate::gateway::people::People;
use crate::gateway::registered::Registered;
use crate::gateway::translated::Translated;
use crate::gateway::understand::{Meaning, Said, Understanding, Understood};
use crate::gateway::worklist::{self, Worklist};
use crate::identity::UNREADABLE;
use crate::wire::Codec;

/// Entries read at one time; a pause between batches leaves the processor to the senders.
const BATCH_ENTRIES: u32 = 256;
/// Entries read at the start to fill the desk.
const RECENT_ENTRIES: u32 = 300;
const BATCH_BYTES: usize = 4 << 20;
/// Held beginnings compared with a whole transmission.
const BEGINNINGS_MAX: u32 = 50;
const PAUSE: Duration = Duration::from_millis(10);
/// How often in one batch what is known is asked again while it cannot be read, and how long after: only what nobody
/// could read for longer is held.
const ASKED_AGAIN: u32 = 20;
const ASKED_AFTER: Duration = Duration::from_millis(100);

/// What a frame reported, when it was received, and the page it was read with.
type Results = (Arc<FirmwareProfile>, Timestamp, Vec<Report>);

/// What the first look needs.
pub(super) struct Triage {
    pub buffer: Buffer,
    pub reader: Reader,
    pub understanding: Arc<Understanding>,
    pub live: Arc<Live>,
    pub metrics: Arc<Metrics>,
    pub arrived: Arc<Notify>,
    pub pairing: Arc<Pairing>,
    pub worklist: Arc<Worklist>,
    pub associations: Arc<Associations>,
    pub people: Arc<People>,
    pub registered: Registered,
    /// Takes what was translated, where there is somebody to deliver it.
    pub translated: Option<Arc<Translated>>,
    /// There is no FHIR server, and other systems get the results: what is understood is done with here.
    pub onward: bool,
    /// The last entry that was looked at: delivery never goes past it.
    pub seen: watch::Sender<i64>,
}

impl Triage {
    /// Runs until told to stop.
    pub(super) async fn run(self, mut stop: Stop) {
        loop {
            let after = *self.seen.borrow();
            let batch = match self.reader.fresh(after, BATCH_ENTRIES, BATCH_BYTES).await {
                Ok(batch) => batch,
                Err(fault) => {
                    tracing::error!(%fault, "New entries could not be read.");
                    Vec::new()
                }
            };
            let pause = if batch.is_empty() { Duration::from_secs(1) } else { PAUSE };
            if let Some(last) = batch.last().map(|stored| stored.id) {
                self.look(&batch).await;
                self.seen.send_replace(last);
                if let Some(translated) = &self.translated {
                    translated.room().await;
                }
            }
            let arrived = self.arrived.notified();
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep(pause) => {}
                () = arrived, if batch.is_empty() => {}
            }
        }
    }

    async fn look(&self, batch: &[Stored]) {
        let mut marks = Vec::with_capacity(batch.len());
        let (mut results, mut doubts) = (Vec::new(), Vec::new());
        let mut again = ASKED_AGAIN;
        for stored in batch {
            background::let_senders_pass();
            let understood = self.understood(stored, &mut again).await;
            let mark = self.one(stored, understood, &mut results, &mut doubts).await;
            marks.push(mark);
        }
        // Before the marks of those whose patient is in doubt, which are seen and held.
        let understood = marks.iter().filter(|mark| matches!(mark.to, Transition::Seen { .. }));
        let understood: Vec<i64> = understood.map(|mark| mark.id).filter(|_| self.onward).collect();
        let (seen, doubts): (Vec<Mark>, Vec<Change>) = doubts.into_iter().unzip();
        marks.splice(0..0, seen);
        if !doubts.is_empty()
            && let Err(fault) = self.buffer.change(doubts).await
        {
            tracing::error!(%fault, "What waits for a patient could not be written down.");
        }
        let devices = self.registered.take();
        if !devices.is_empty()
            && let Err(fault) = self.buffer.change(devices).await
        {
            tracing::error!(%fault, "What devices call themselves could not be written down.");
        }
        if !results.is_empty() {
            self.worklist.measured(results).await;
        }
        for stored in batch {
            marks.extend(self.beginnings_of(stored).await);
        }
        let reason = "there is no FHIR server to deliver it to; see Routes for where it goes";
        let done = |id| Mark { id, to: Transition::Ignored { reason: reason.into() } };
        marks.extend(understood.into_iter().map(done));
        self.write_down(marks).await;
    }

    /// Until the buffer takes it: an entry whose device nobody wrote down is in no order with the others of that device.
    async fn write_down(&self, marks: Vec<Mark>) {
        let mut told = false;
        loop {
            match self.buffer.mark(marks.clone()).await {
                Ok(()) => return,
                Err(BufferError::IllegalMarks(illegal)) => {
                    return tracing::warn!(
                        count = illegal.len(),
                        "Entries changed while they were looked at."
                    );
                }
                Err(fault) if !told => {
                    tracing::error!(%fault, "What the first look found could not be written down; tried again.");
                    told = true;
                }
                Err(_) => {}
            }
            tokio::time::sleep(ASKED_AFTER).await;
        }
    }

    /// An analyser whose transmission broke off says it again from the start. The acknowledged beginning that is
    /// held since is then whole elsewhere, and no longer anybody's work.
    async fn beginnings_of(&self, stored: &Stored) -> Vec<Mark> {
        let astm = self.understanding.link(&stored.link).is_some_and(|l| matches!(l.codec(), Codec::Astm(_)));
        if !astm || self.reader.counts().held == 0 {
            return Vec::new();
        }
        let held = EntryFilter {
            state: Some(State::Held),
            link: Some(stored.link.to_string()),
            before: Some(stored.id),
            limit: BEGINNINGS_MAX,
            ..EntryFilter::default()
        };
        let Ok(page) = self.reader.entries(held).await else { return Vec::new() };
        let mut marks = Vec::new();
        for row in page.entries.iter().filter(|row| row.bytes < stored.bytes.len() as u64) {
            let Ok(Some(beginning)) = self.reader.entry(row.id).await else { continue };
            if beginning.intact && !beginning.bytes.is_empty() && stored.bytes.starts_with(&beginning.bytes) {
                let reason = format!("the analyser sent it again, whole: entry {}", stored.id);
                marks.push(Mark { id: row.id, to: Transition::Ignored { reason } });
            }
        }
        marks
    }

    /// A frame read, and with which facts. While the disk does not say who is who it waits, and all behind it: held,
    /// it would be overtaken.
    async fn understood(&self, stored: &Stored, again: &mut u32) -> (Understood, u64) {
        loop {
            let generation = self.associations.generation();
            let understood = self.understanding.read(&said(stored));
            let unread = matches!(&understood.meaning, Meaning::Hold(why) if why.contains(UNREADABLE));
            if !unread || *again == 0 {
                return (understood, generation);
            }
            *again -= 1;
            tokio::time::sleep(ASKED_AFTER).await;
        }
    }

    /// `results` takes what may be the result of an order.
    async fn one(
        &self,
        stored: &Stored,
        (understood, generation): (Understood, u64),
        results: &mut Vec<Results>,
        doubts: &mut Vec<(Mark, Change)>,
    ) -> Mark {
        for finding in &understood.findings {
            self.metrics.found(&stored.link, finding.code);
        }
        self.show(stored, &understood);
        if let Meaning::Hold(reason) = &understood.meaning {
            doubts.extend(doubt_of(stored.id, &understood, reason));
        }
        let attributed = understood.whose.as_ref().and_then(|whose| whose.text.clone());
        let named = |report: &Report| report.specimen.as_ref().is_some_and(|one| one.identifier.is_some());
        if understood.reports.iter().any(named)
            && let Some(link) = self.understanding.link(&stored.link)
            && let Ok(page) = self.understanding.page(&link, &said(stored))
        {
            results.push((page, stored.received, understood.reports));
        }
        let meaning = match self.people.tell(&stored.link, stored.id, understood.people).await {
            Ok(()) => understood.meaning,
            Err(why) => Meaning::Hold(why),
        };
        let taken = match understood.orders {
            Some(orders) if matches!(meaning, Meaning::Deliver { .. }) => {
                worklist::take(&self.buffer, &stored.link, orders).await
            }
            _ => Transition::Sent,
        };
        let meaning = match taken {
            Transition::Held { reason, .. } => Meaning::Hold(reason),
            _ => meaning,
        };
        let to = match meaning {
            Meaning::Orders(arrival) => {
                let to = worklist::take(&self.buffer, &stored.link, arrival).await;
                if matches!(to, Transition::Held { .. }) {
                    self.metrics.held();
                }
                to
            }
            Meaning::Deliver { resources } => {
                if let Some(translated) = &self.translated {
                    translated.put(stored.id, generation, (resources, attributed));
                }
                Transition::Seen { device: understood.device, summary: understood.summary }
            }
            Meaning::Hold(reason) => {
                self.metrics.held();
                Transition::Held { reason, answer: None }
            }
            Meaning::Nothing(reason) => Transition::Ignored { reason },
            Meaning::Stranger(who) => {
                self.metrics.held();
                let reason = Meaning::reason(&who);
                self.pairing.saw(who, stored);
                Transition::Held { reason, answer: None }
            }
        };
        Mark { id: stored.id, to }
    }
}

impl Triage {
    /// Fills the desk with what was said last, so that a restart does not make every device look silent.
    pub(super) async fn show_recent(&self) {
        match self.reader.recent(RECENT_ENTRIES, BATCH_BYTES).await {
            Ok(recent) => {
                for stored in &recent {
                    let understood = self.understanding.read(&said(stored));
                    if let Meaning::Stranger(who) = &understood.meaning {
                        self.pairing.saw(who.clone(), stored);
                    }
                    self.show(stored, &understood);
                }
            }
            Err(fault) => tracing::warn!(%fault, "The last frames could not be read for the desk."),
        }
    }

    fn show(&self, stored: &Stored, understood: &Understood) {
        let Some(link) = self.understanding.link(&stored.link) else { return };
        let Ok(page) = self.understanding.page(&link, &said(stored)) else { return };
        let profile = ProfileView {
            id: page.id.clone(),
            verified: page.verified.to_string().into(),
            caveats: page.caveats.iter().map(ToString::to_string).collect(),
        };
        let bound_patient = link.patient.as_ref();
        let off =
            |finding: &Finding| matches!(finding.code, "clock-skew" | "future-time" | "impossible-time");
        let sighting = Sighting {
            link: &stored.link,
            profile: &profile,
            received: stored.received,
            bound_patient,
            distrusted: understood.findings.iter().any(off),
        };
        for report in &*understood.delivered_reports() {
            self.live.report(report, &sighting);
            self.registered.see(report, &stored.link, stored.received);
        }
    }
}

/// The parts of a stored frame that reading it needs.
pub(super) fn said(stored: &Stored) -> Said<'_> {
    Said {
        entry: Some(stored.id),
        link: &stored.link,
        peer: &stored.peer,
        received: stored.received,
        bytes: &stored.bytes,
        topic: stored.topic.as_deref(),
        sha256: stored.sha256,
    }
}
