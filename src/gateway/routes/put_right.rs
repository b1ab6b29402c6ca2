//! What went on under another patient: withdrawn where it went, and told anew.
//!
//! Only messages that are built here are; what is passed on is its sender's own word. The withdrawal is the message as it
//! was, for the patient as it was, its results marked `W` ("post original as wrong, e.g. transmitted for wrong patient",
//! HL7 table 0085); it has the order number of the original (OBR-3) and stands in the original's lane, behind it.

use crate::buffer::{AssociationChange, BufferError, Change, NewOutgoing, OnwardRow};
use crate::route::How;

use super::Routes;
use super::built::rows_of_measurements;

impl Routes {
    /// Withdraws those messages of an entry and queues what is right instead, in one commit for each destination: doing
    /// it twice is doing it once. How many messages are withdrawn.
    ///
    /// # Errors
    /// [`BufferError`]: nothing of the destination was queued.
    pub(in crate::gateway) async fn put_right(
        &self,
        entry: i64,
        wrong: Vec<OnwardRow>,
    ) -> Result<usize, BufferError> {
        let Some(stored) = self.reader.stored(entry).await? else { return Ok(0) };
        let mut count = 0;
        for destination in &self.destinations {
            let own = wrong.iter().filter(|row| *row.destination == *destination.config.name);
            let own: Vec<&OnwardRow> = own.collect();
            let Some(first) = own.first() else { continue };
            let round = own.iter().map(|row| row.round).max().unwrap_or(0).saturating_add(1);
            let route = destination.routes.iter().find(|route| *route.name == *first.route);
            let rows = match route.map(|route| (route, &route.how)) {
                Some((route, How::Measurements(also))) => {
                    rows_of_measurements(&stored, destination, (route, *also), &self.building)
                }
                _ => Ok(Vec::new()),
            };
            // It waits for a person, or goes when somebody says whose it is.
            let held = |why| NewOutgoing {
                entry,
                part: 0,
                route: first.route.clone(),
                lane: first.lane,
                held: Some(why),
            };
            let rows = rows.unwrap_or_else(|why| vec![held(why)]);
            let withdraw: Vec<i64> = own.iter().map(|row| row.outgoing).collect();
            count += withdraw.len();
            let change = AssociationChange::PutRight { withdraw, rows, round };
            self.buffer.change(vec![Change::Association(change)]).await?;
            destination.wake.send_replace(());
        }
        Ok(count)
    }
}
