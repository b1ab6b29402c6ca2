//! The look at each entry: which of its messages this destination gets.

use std::sync::Arc;
use std::time::Duration;

use crate::buffer::{Buffer, BufferError, Change, NewOutgoing, OutgoingChange, Reader, Stored};
use crate::connector::Stop;
use crate::hl7v2::Message;
use crate::route::{How, Lane, Route};

use super::Outbound;
use super::built::{Building, rows_of_measurements, stranger};

const BATCH_ENTRIES: u32 = 256;
const BATCH_BYTES: usize = 4 << 20;
/// How long to look away when nothing is new; a commit wakes sooner.
const IDLE: Duration = Duration::from_secs(1);
/// A moment for company: commits come in bursts.
const GATHER: Duration = Duration::from_millis(5);

/// The look of one destination.
pub(super) struct Fill {
    pub(super) buffer: Buffer,
    pub(super) reader: Reader,
    pub(super) building: Building,
    pub(super) destination: Arc<Outbound>,
    /// Entries up to it were looked at.
    pub(super) through: i64,
}

impl Fill {
    pub(super) async fn run(mut self, mut stop: Stop) {
        let mut changed = self.reader.changed();
        loop {
            let pause = match self.look().await {
                Ok(true) => continue,
                Ok(false) => GATHER,
                Err(fault) => {
                    tracing::error!(%fault, destination = %self.destination.config.name, "New entries could not be queued.");
                    IDLE
                }
            };
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep(IDLE) => {}
                _ = changed.changed() => tokio::time::sleep(pause).await,
            }
        }
    }

    /// Looks at the next entries; whether there were some.
    async fn look(&mut self) -> Result<bool, BufferError> {
        let (entries, through) = self.reader.entries_after(self.through, BATCH_ENTRIES, BATCH_BYTES).await?;
        if through == self.through {
            return Ok(false);
        }
        let (building, destination) = (self.building.clone(), self.destination.clone());
        let finding = tokio::task::spawn_blocking(move || {
            entries.iter().flat_map(|entry| rows(entry, &destination, &building)).collect::<Vec<_>>()
        });
        let Ok(rows) = finding.await else { return Ok(false) };
        let any = !rows.is_empty();
        let queue =
            OutgoingChange::Queue { destination: self.destination.config.name.to_string(), rows, through };
        self.buffer.change(vec![Change::Outgoing(queue)]).await?;
        self.through = through;
        if any {
            self.destination.wake.send_replace(());
        }
        Ok(true)
    }
}

/// What of an entry goes to this destination.
fn rows(entry: &Stored, destination: &Outbound, building: &Building) -> Vec<NewOutgoing> {
    let parsed = Message::parse(&entry.bytes, building.charset(&entry.link));
    let message = parsed.message.as_ref();
    let row = |route: &Route, part: u32, lane: Lane, held: Option<String>| NewOutgoing {
        entry: entry.id,
        part,
        route: route.name.to_string(),
        lane: lane.0,
        held,
    };
    let order = destination.config.in_order;
    let lane = || match message {
        Some(message) => Lane::of_message(order, message, &entry.link, entry.id),
        None => Lane::of_link(order, &entry.link, entry.id),
    };
    for route in &destination.routes {
        match route.takes(&entry.link, message) {
            Ok(false) => {}
            Err(why) => return vec![row(route, 0, lane(), Some(why.into()))],
            Ok(true) => {
                let How::Measurements(also) = route.how else {
                    return vec![row(route, 0, lane(), stranger(entry, building).err())];
                };
                return rows_of_measurements(entry, destination, (route, also), building)
                    .unwrap_or_else(|why| vec![row(route, 0, lane(), Some(why))]);
            }
        }
    }
    Vec::new()
}
