//! The way on to other systems: every destination looks at every entry, queues what its routes take, and sends it in order.
//!
//! Each destination runs by itself: its own look at the entries, its own queue on disk, its own connections and its own
//! patience. Nothing here waits for the FHIR server or for another destination.
//!
//! - What is queued and how far the destination looked stand in one commit: nothing is missed and nothing queued twice,
//!   whenever the process ends.
//! - A message is `sent` on disk before its first byte leaves; after a crash it is sent again with the same bytes and the
//!   same control id (MSH-10).
//! - A message is done when the receiver said so, or a person did.

mod built;
mod desk;
mod fill;
mod lane;
mod put_right;
mod standing;

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::buffer::{Buffer, BufferError, Change, OutgoingChange, Reader};
use crate::clock::SharedClock;
use crate::config::{Config, Destination};
use crate::connector::Stop;
use crate::gateway::background::Background;
use crate::gateway::deliver::Feeds;
use crate::gateway::metrics::Metrics;
use crate::route::Route;
pub(super) use built::Building;
use fill::Fill;
use lane::LaneTask;
use standing::Standing;

/// All destinations of the box.
pub(super) struct Routes {
    buffer: Buffer,
    reader: Reader,
    building: Building,
    metrics: Arc<Metrics>,
    clock: SharedClock,
    destinations: Vec<Arc<Outbound>>,
    /// FHIR servers and folders, which the desk shows beside them.
    feeds: Arc<Feeds>,
}

/// One destination with what leads to it.
pub(super) struct Outbound {
    pub(super) config: Destination,
    /// In the order of the file: the first that takes a frame counts.
    pub(super) routes: Vec<Route>,
    pub(super) standing: Standing,
    /// Something may be there to be sent.
    pub(super) wake: watch::Sender<()>,
}

impl Routes {
    pub(super) fn new(
        buffer: Buffer,
        building: Building,
        metrics: Arc<Metrics>,
        config: &Config,
        feeds: Arc<Feeds>,
    ) -> Self {
        let of = |destination: &Destination| {
            let routes = config.routes.iter().filter(|route| route.to == destination.name).cloned().collect();
            let standing = Standing::new(destination.mllp.connections);
            Arc::new(Outbound { config: destination.clone(), routes, standing, wake: watch::Sender::new(()) })
        };
        let destinations = config.destinations.iter().map(of).collect();
        let reader = buffer.reader();
        let clock = building.clock.clone();
        Self { buffer, reader, building, metrics, clock, destinations, feeds }
    }

    /// Tells the buffer which destinations there are, and starts each.
    pub(super) async fn start(
        &self,
        tasks: &mut JoinSet<()>,
        background: &Background,
        stop: &Stop,
    ) -> Result<(), BufferError> {
        let names = self.destinations.iter().map(|d| d.config.name.to_string());
        let names: Vec<String> = names.chain(self.feeds.names()).collect();
        if names.is_empty() && self.reader.destinations().await?.is_empty() {
            return Ok(());
        }
        let wanted = OutgoingChange::Destinations { names };
        self.buffer.change(vec![Change::Outgoing(wanted)]).await?;
        let known = self.reader.destinations().await?;
        for destination in &self.destinations {
            let through =
                known.iter().find(|row| *row.name == *destination.config.name).map_or(0, |row| row.through);
            let fill = Fill {
                buffer: self.buffer.clone(),
                reader: self.reader.clone(),
                building: self.building.clone(),
                destination: destination.clone(),
                through,
            };
            background.spawn(tasks, fill.run(stop.clone()));
            let lanes = destination.config.mllp.connections.max(1);
            for lane in 0..lanes {
                let task = LaneTask::new(self, destination.clone(), (lane, lanes));
                background.spawn(tasks, task.run(stop.clone()));
            }
        }
        Ok(())
    }
}
