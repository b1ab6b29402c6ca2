//! All servers results go to: the main one, and the FHIR servers and folders beside it. Each has a queue and a delivery of its
//! own.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::buffer::{BufferError, FeedChange, Mark, Transition, Wanted};
use crate::clock::SharedClock;
use crate::config::{Config, Delivery, FeedTo};
use crate::connector::Stop;
use crate::gateway::background::Background;
use crate::gateway::metrics::Metrics;
use crate::gateway::translated::Translated;
use crate::gateway::{GatewayError, Parts};
use crate::route::Only;
use crate::secret::SecretStore;
use crate::upstream::Upstream;
use crate::upstream::ndjson::Folder;

use super::queue::{Queue, feed};
use super::{Deliver, Sink, Split, Standing};

/// A moment for company before entries are taken into the queues.
const GATHER: Duration = Duration::from_millis(50);
const IDLE: Duration = Duration::from_secs(1);
/// Released entries looked at in one go where there is no main server.
const RELEASED: usize = 256;

/// The setting that says that a person has paused the main server.
pub(super) const PAUSED: &str = "delivery-paused";

/// A FHIR server or a folder beside the main server.
pub(in crate::gateway) struct Out {
    pub(in crate::gateway) name: Arc<str>,
    pub(super) sink: Sink,
    pub(super) only: Arc<Only>,
    pub(super) delivery: Delivery,
    in_flight: usize,
    pub(super) standing: Arc<Standing>,
    pub(super) wake: Arc<Notify>,
}

/// The main server, as far as the desk looks at it.
pub(in crate::gateway) struct Main {
    pub(in crate::gateway) name: String,
    pub(in crate::gateway) sink: Sink,
    pub(in crate::gateway) standing: Arc<Standing>,
}

/// All of them.
pub(in crate::gateway) struct Feeds {
    pub(super) main: Option<Main>,
    pub(super) all: Vec<Arc<Out>>,
    zone: TimeZone,
}

impl Feeds {
    /// Sets up every server; speaks to none.
    pub(in crate::gateway) fn new(
        config: &Config,
        secrets: &SecretStore,
        clock: &SharedClock,
        main: Option<&Arc<Upstream>>,
    ) -> Result<Self, GatewayError> {
        let mut all = Vec::new();
        for one in &config.feeds {
            let wrong = |fault: crate::upstream::UpstreamError| {
                GatewayError::Config(format!("destination \"{}\": {fault}", one.name))
            };
            let (sink, in_flight) = match &one.to {
                FeedTo::Fhir(server) => {
                    let mut own = (**server).clone();
                    own.writes.extend(crate::gateway::written(config));
                    let upstream = Upstream::new(own, secrets, clock.clone()).map_err(wrong)?;
                    (Sink::Fhir(Arc::new(upstream)), server.in_flight)
                }
                FeedTo::Ndjson(folder) => {
                    (Sink::Folder(Arc::new(Folder::new(folder.clone())), Arc::new(AtomicU64::new(0))), 1)
                }
            };
            all.push(Arc::new(Out {
                name: one.name.clone(),
                sink,
                only: Arc::new(one.only.clone()),
                delivery: one.delivery.clone(),
                in_flight,
                standing: Arc::default(),
                wake: Arc::default(),
            }));
        }
        let main = main.map(|upstream| Main {
            name: upstream.state().name,
            sink: Sink::Fhir(Arc::clone(upstream)),
            standing: Arc::default(),
        });
        let zone = TimeZone::get(&config.site.zone).unwrap_or(TimeZone::UTC);
        Ok(Self { main, all, zone })
    }

    pub(in crate::gateway) const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The delivery to the main server, where there is one.
    pub(in crate::gateway) fn main_delivery(
        &self,
        parts: &Parts,
        config: &Config,
        translated: Arc<Translated>,
        seen: watch::Receiver<i64>,
        wake: Arc<Notify>,
    ) -> Option<Deliver> {
        let main = self.main.as_ref()?;
        Some(Deliver {
            buffer: parts.buffer.clone(),
            reader: parts.buffer.reader(),
            understanding: parts.understanding.clone(),
            translated: Some(translated),
            associations: parts.associations.clone(),
            sink: main.sink.clone(),
            queue: Queue::Main,
            only: Arc::default(),
            standing: main.standing.clone(),
            live: parts.live.clone(),
            metrics: parts.metrics.clone(),
            clock: parts.clock.clone(),
            zone: self.zone.clone(),
            config: config.delivery.clone(),
            in_flight: config.upstream.as_ref().map_or(1, |upstream| upstream.in_flight),
            seen: Some(seen),
            wake,
            split: Split::default(),
            walked: 0.into(),
            again: 0.into(),
        })
    }

    /// The names under which the buffer keeps their queues.
    pub(in crate::gateway) fn names(&self) -> impl Iterator<Item = String> {
        self.all.iter().map(|one| one.name.to_string())
    }

    /// Somebody released or replayed something.
    pub(in crate::gateway) fn wake(&self) {
        self.all.iter().for_each(|one| one.wake.notify_one());
    }

    pub(in crate::gateway) fn figures(&self, metrics: &Metrics) {
        for one in &self.all {
            let seen = one.standing.seen();
            metrics.delivery(&one.name, one.sink.bytes_sent(), seen.failures, seen.load);
        }
        if let Some(main) = &self.main {
            let seen = main.standing.seen();
            metrics.delivery(&main.name, main.sink.bytes_sent(), seen.failures, seen.load);
        }
    }

    /// Starts the delivery of each; the buffer knows their names already.
    pub(in crate::gateway) async fn start(
        &self,
        parts: &Parts,
        tasks: &mut JoinSet<()>,
        background: &Background,
        seen: &watch::Receiver<i64>,
        wake: &Arc<Notify>,
    ) -> Result<(), BufferError> {
        if let Some(main) = &self.main {
            main.standing.pause(parts.buffer.reader().setting(PAUSED).await?.is_some());
        }
        for one in &self.all {
            background
                .spawn(tasks, fill(one.clone(), parts.buffer.clone(), seen.clone(), parts.stop.clone()));
            let deliver = Deliver {
                buffer: parts.buffer.clone(),
                reader: parts.buffer.reader(),
                understanding: parts.understanding.clone(),
                translated: None,
                associations: parts.associations.clone(),
                sink: one.sink.clone(),
                queue: Queue::Feed(one.name.clone()),
                only: one.only.clone(),
                standing: one.standing.clone(),
                live: parts.live.clone(),
                metrics: parts.metrics.clone(),
                clock: parts.clock.clone(),
                zone: self.zone.clone(),
                config: one.delivery.clone(),
                in_flight: one.in_flight,
                seen: None,
                wake: one.wake.clone(),
                split: Split::default(),
                walked: 0.into(),
                again: 0.into(),
            };
            background.spawn(tasks, deliver.run(parts.stop.clone()));
        }
        if self.main.is_none() && !self.all.is_empty() {
            background
                .spawn(tasks, settle(parts.buffer.clone(), seen.clone(), wake.clone(), parts.stop.clone()));
        }
        Ok(())
    }
}

/// Takes entries into the queue of one server once they have had their first look.
async fn fill(out: Arc<Out>, buffer: crate::buffer::Buffer, mut seen: watch::Receiver<i64>, mut stop: Stop) {
    let reader = buffer.reader();
    let mut through = None;
    loop {
        let looked = *seen.borrow_and_update();
        let kept = i64::try_from(reader.counts().kept).unwrap_or(i64::MAX);
        let mut moved = false;
        if through.is_none_or(|through| through < kept) {
            let take = feed(&out.name, FeedChange::Take { seen: looked });
            if let Err(fault) = buffer.change(vec![take]).await {
                tracing::error!(%fault, destination = %out.name, "New entries could not be queued.");
            }
            let now = reader
                .destinations()
                .await
                .ok()
                .and_then(|rows| rows.into_iter().find(|row| *row.name == *out.name));
            let now = now.map(|row| row.through);
            moved = now > through && through.is_some();
            through = now.or(through);
        }
        if moved {
            out.wake.notify_one();
        }
        tokio::select! {
            () = stop.wait() => return,
            () = tokio::time::sleep(if moved { GATHER } else { IDLE }) => {}
            _ = seen.changed(), if !moved => tokio::time::sleep(GATHER).await,
        }
    }
}

/// Where there is no main server, an entry that was let go is done with: the queues of the others have it.
async fn settle(
    buffer: crate::buffer::Buffer,
    seen: watch::Receiver<i64>,
    wake: Arc<Notify>,
    mut stop: Stop,
) {
    let reader = buffer.reader();
    loop {
        let looked = *seen.borrow();
        let wanted = Wanted { after: 0, limit: RELEASED, max_bytes: 1 << 20, behind: None };
        if let Ok(waiting) = reader.waiting_for(wanted).await {
            let reason = "there is no main FHIR server; see Routes for where it goes";
            let released = waiting.entries.iter().filter(|one| one.id <= looked && one.device.is_some());
            let done = |id| Mark { id, to: Transition::Ignored { reason: reason.into() } };
            let marks: Vec<Mark> = released.map(|one| done(one.id)).collect();
            if !marks.is_empty()
                && let Err(fault) = buffer.mark(marks).await
            {
                tracing::error!(%fault, "Released entries could not be settled.");
            }
        }
        tokio::select! {
            () = stop.wait() => return,
            () = tokio::time::sleep(IDLE) => {}
            () = wake.notified() => {}
        }
    }
}
