//! Deliveries as the desk sees them, and what people may do with them: pause, go on, send a span of time again.

use std::time::Duration;

use crate::admin::command::Refusal;
use crate::admin::outgoing::{AnswerView, DeliveryView, DestinationView, MainView, ReplayWanted, RouteView};
use crate::buffer::{Buffer, BufferError, Change, DestinationRow, FeedChange, Mark, NewAudit, Transition};
use crate::clock::Timestamp;
use crate::config::Send;

use super::feeds::{Feeds, PAUSED};
use super::queue::feed;
use super::{Sink, Standing};

/// A queue in which something waits for longer is told of.
const STALLED: Duration = Duration::from_secs(300);
/// Entries of the main queue sent again in one commit.
const PAGE: u32 = 1_000;

impl Feeds {
    /// A queue of this room; `None` when it is another's.
    pub(in crate::gateway) fn view(&self, row: &DestinationRow, now: Timestamp) -> Option<DestinationView> {
        let own = self.all.iter().find(|one| *one.name == *row.name)?;
        let seen = own.standing.seen();
        let mut view = DestinationView {
            name: row.name.clone(),
            address: Some(own.sink.address()),
            tls: own.sink.address().starts_with("https:"),
            in_order: Some("device"),
            configured: row.wanted,
            state: match () {
                () if row.paused => "paused",
                () if seen.trouble.is_some() => "retrying",
                () if seen.accepted > 0 => "up",
                () => "idle",
            },
            trouble: seen.trouble,
            waiting: row.waiting,
            sent: row.sent,
            held: row.held,
            oldest: row.oldest,
            age_s: row.oldest.map(|at| now.since(at).as_secs()),
            accepted: seen.accepted,
            accepted_at: seen.accepted_at,
            answer: row.answer.clone().map(|(at, text)| AnswerView { at, text }),
            ..DestinationView::default()
        };
        view.delivery = Some(delivery(&own.sink, &own.standing));
        let name = if own.only.is_everything() { "all results" } else { "only" };
        let route = RouteView {
            name: name.into(),
            how: own.sink.word(),
            says: own.only.says(),
            ..RouteView::default()
        };
        view.routes = vec![RouteView { from: own.only.links.clone(), ..route }];
        Some(view)
    }

    /// The first that has taken nothing for minutes, and why; not one that a person has paused.
    pub(in crate::gateway) fn stalled(
        &self,
        rows: &[DestinationRow],
        now: Timestamp,
    ) -> Option<(String, String)> {
        let late = |row: &&DestinationRow| {
            !row.paused && row.oldest.is_some_and(|oldest| now.since(oldest) > STALLED)
        };
        rows.iter().filter(late).find_map(|row| {
            let own = self.all.iter().find(|one| *one.name == *row.name)?;
            Some((row.name.clone(), own.standing.seen().trouble?))
        })
    }

    /// The main server.
    pub(in crate::gateway) fn main_view(&self) -> Option<MainView> {
        let main = self.main.as_ref()?;
        let paused = main.standing.seen().paused;
        Some(MainView { name: main.name.clone(), paused, delivery: delivery(&main.sink, &main.standing) })
    }

    /// Stops or goes on with the main server if that is what `name` means.
    pub(in crate::gateway) async fn pause_main(
        &self,
        buffer: &Buffer,
        (name, paused): (&str, bool),
        audit: &NewAudit,
    ) -> Option<Result<u64, Refusal>> {
        let main = self.main.as_ref().filter(|main| main.name == name)?;
        let written = buffer.change(vec![pause_of_main(paused), Change::Audit(audit.clone())]).await;
        Some(match written {
            Ok(()) => {
                main.standing.pause(paused);
                Ok(0)
            }
            Err(fault) => Err(refusal(fault)),
        })
    }

    /// Sends what was received in a span of time again; how many entries. The same resources under the same ids: what the
    /// server has already stays as it is.
    pub(in crate::gateway) async fn replay(
        &self,
        buffer: &Buffer,
        (name, wanted): (&str, &ReplayWanted),
        audit: NewAudit,
    ) -> Result<u64, Refusal> {
        let (from, until) = wanted.span().map_err(Refusal::Conflict)?;
        let reader = buffer.reader();
        let first = reader.last_received_before(from).await.map_err(refusal)? + 1;
        let last = reader.last_received_before(until).await.map_err(refusal)?;
        if self.main.as_ref().is_some_and(|main| main.name == name) {
            buffer.change(vec![Change::Audit(audit)]).await.map_err(refusal)?;
            return replay_main(buffer, first, last).await.map_err(refusal);
        }
        if !self.all.iter().any(|one| *one.name == *name) {
            return Err(Refusal::Unknown);
        }
        let change = feed(name, FeedChange::Replay { first, last });
        buffer.change(vec![change, Change::Audit(audit)]).await.map_err(refusal)?;
        self.wake();
        Ok(u64::try_from(last - first + 1).unwrap_or(0))
    }
}

/// Stops the main server, or lets it go on: what is written down of it.
pub fn pause_of_main(paused: bool) -> Change {
    let key = String::from(PAUSED);
    match paused {
        true => Change::Setting { key, value: "yes".into() },
        false => Change::RemoveSetting { key },
    }
}

/// Lets accepted entries of the main queue that were once sent wait again.
///
/// # Errors
/// As those of the buffer.
pub async fn replay_main(buffer: &Buffer, first: i64, last: i64) -> Result<u64, BufferError> {
    let (reader, mut after, mut count) = (buffer.reader(), first - 1, 0);
    loop {
        let ids = reader.sent_between(after, last, PAGE).await?;
        let Some(end) = ids.last().copied() else { return Ok(count) };
        let again = |id| Mark {
            id,
            to: Transition::Waiting { retry_after: None, reason: Some("sent again on request".into()) },
        };
        count += ids.len() as u64;
        buffer.mark(ids.into_iter().map(again).collect()).await?;
        after = end;
    }
}

fn delivery(sink: &Sink, standing: &Standing) -> DeliveryView {
    let seen = standing.seen();
    DeliveryView {
        kind: sink.word(),
        breaker: seen.breaker(),
        failures: seen.failures,
        batch: seen.load.map(|load| load.entries),
        in_flight: seen.load.map(|load| load.requests),
        bytes_sent: sink.bytes_sent(),
        sends: match seen.sends {
            Send::All => "all",
            Send::Alarms => "alarms",
            Send::Nothing => "nothing",
        },
        capability: match sink {
            Sink::Fhir(upstream) => Some(upstream.capability()),
            Sink::Folder(..) => None,
        },
        clock_skew_s: match sink {
            Sink::Fhir(upstream) => upstream.clock_skew_s(),
            Sink::Folder(..) => None,
        },
    }
}

fn refusal(fault: BufferError) -> Refusal {
    match fault {
        BufferError::NotAllowed(why) => Refusal::Conflict(why),
        other => Refusal::Failed(other.to_string()),
    }
}
