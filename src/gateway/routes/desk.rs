//! The queues as the desk sees them, and what people may do with them.

use crate::admin::command::Refusal;
use crate::admin::outgoing::{
    Act, AnswerView, ConnectionView, DestinationView, LeftOutView, MainView, MessageBytes, MessageView,
    Outgoing, RouteView,
};
use crate::buffer::{
    BufferError, Change, DestinationRow, NewAudit, OutgoingChange, OutgoingFilter, OutgoingStep, State,
};
use crate::connector::Later;
use crate::hl7v2::Message;
use crate::route::{How, Route};

use super::built::{Made, built};
use super::{Outbound, Routes};

impl Outgoing for Routes {
    fn destinations(&self) -> Later<'_, Result<Vec<DestinationView>, Refusal>> {
        Box::pin(async move {
            let rows = self.reader.destinations().await.map_err(refusal)?;
            Ok(rows.into_iter().map(|row| self.view(row)).collect())
        })
    }

    fn main(&self) -> Option<MainView> {
        self.feeds.main_view()
    }

    fn messages(&self, filter: OutgoingFilter) -> Later<'_, Result<Vec<MessageView>, Refusal>> {
        Box::pin(async move {
            let rows = self.reader.outgoing(filter).await.map_err(refusal)?;
            Ok(rows.into_iter().map(MessageView::from).collect())
        })
    }

    fn message(&self, id: i64) -> Later<'_, Result<MessageBytes, Refusal>> {
        Box::pin(async move {
            let (row, kept) = self.reader.outgoing_one(id).await.map_err(refusal)?.ok_or(Refusal::Unknown)?;
            let bytes = match kept {
                Some(bytes) => Ok(bytes),
                None => self.as_it_would_be(&row).await,
            };
            let (bytes, why) = match bytes {
                Ok(bytes) => (Some(self.readable(&bytes, &row).await), None),
                Err(why) => (None, Some(why)),
            };
            Ok(MessageBytes { message: row.into(), bytes, why })
        })
    }

    fn act(&self, wanted: Act, audit: NewAudit) -> Later<'_, Result<u64, Refusal>> {
        Box::pin(async move {
            if let Act::Pause(name) | Act::Resume(name) = &wanted
                && let Some(done) =
                    self.feeds.pause_main(&self.buffer, (name, matches!(wanted, Act::Pause(_))), &audit).await
            {
                return done;
            }
            if let Act::Replay { destination, span } = &wanted {
                return self.feeds.replay(&self.buffer, (destination, span), audit).await;
            }
            let (change, count) = self.change_for(wanted, &audit).await?;
            self.buffer
                .change(vec![Change::Outgoing(change), Change::Audit(audit)])
                .await
                .map_err(refusal)?;
            for one in &self.destinations {
                one.wake.send_replace(());
            }
            self.feeds.wake();
            Ok(count)
        })
    }
}

impl Routes {
    async fn change_for(&self, wanted: Act, audit: &NewAudit) -> Result<(OutgoingChange, u64), Refusal> {
        let (id, step) = match wanted {
            Act::Release(id) => {
                let again = OutgoingStep::Again { not_before: None, reason: None, answer: None };
                (id, again)
            }
            Act::Rebuild(id) => (id, OutgoingStep::Anew),
            Act::Drop { id, reason } => {
                (id, OutgoingStep::Dropped { reason: format!("not sent, by {}: {reason}", audit.who) })
            }
            Act::Pause(destination) => return Ok((OutgoingChange::Pause { destination, paused: true }, 0)),
            Act::Resume(destination) => return Ok((OutgoingChange::Pause { destination, paused: false }, 0)),
            Act::Replay { .. } => return Err(Refusal::Unknown),
            Act::ReleaseAll(destination) => {
                let rows = self.reader.destinations().await.map_err(refusal)?;
                let held = rows.iter().find(|row| row.name == destination).ok_or(Refusal::Unknown)?.held;
                return Ok((OutgoingChange::ReleaseAll { destination }, held));
            }
        };
        let (row, _) = self.reader.outgoing_one(id).await.map_err(refusal)?.ok_or(Refusal::Unknown)?;
        // A FHIR server gets the same resources whenever they are made: nothing is built anew.
        let again = OutgoingStep::Again { not_before: None, reason: None, answer: None };
        let step = if row.of_feed() && step == OutgoingStep::Anew { again } else { step };
        let only_held = matches!(step, OutgoingStep::Again { .. }) && !row.of_feed();
        if only_held && row.state != State::Held {
            return Err(Refusal::Conflict(format!(
                "the message is {}; there is nothing to let go",
                row.state
            )));
        }
        Ok((OutgoingChange::Step { id, step }, 1))
    }

    fn view(&self, row: DestinationRow) -> DestinationView {
        let own = self.destinations.iter().find(|one| *one.config.name == *row.name);
        let now = self.clock.now();
        let rows = (row.queued, row.done(), row.gone);
        if let Some(mut view) = self.feeds.view(&row, now) {
            (view.queued, view.done, view.gone) = rows;
            return view;
        }
        let mut view = DestinationView {
            configured: row.wanted && own.is_some(),
            waiting: row.waiting,
            sent: row.sent,
            held: row.held,
            oldest: row.oldest,
            age_s: row.oldest.map(|at| now.since(at).as_secs()),
            answer: row.answer.map(|(at, text)| AnswerView { at, text }),
            name: row.name,
            state: "gone",
            ..DestinationView::default()
        };
        (view.queued, view.done, view.gone) = rows;
        let Some(own) = own else { return view };
        let seen = own.standing.seen();
        view.address = Some(own.config.mllp.address.clone());
        view.tls = own.config.mllp.tls.is_some();
        view.acknowledge = Some(own.config.acknowledge.word());
        view.in_order = Some(own.config.in_order.word());
        view.trouble = seen.lanes.iter().find_map(|lane| lane.trouble.clone());
        view.state = match (row.paused, &view.trouble) {
            (true, _) => "paused",
            (false, Some(_)) => "retrying",
            (false, None) if seen.lanes.iter().any(|lane| lane.connected) => "up",
            (false, None) => "idle",
        };
        let connection = |lane: super::standing::LaneState| ConnectionView {
            connected: lane.connected,
            trouble: lane.trouble,
        };
        view.connections = seen.lanes.into_iter().map(connection).collect();
        (view.accepted, view.accepted_at, view.foreign) = (seen.accepted, seen.accepted_at, seen.foreign);
        view.routes = own.routes.iter().map(|route| route_view(route, own)).collect();
        view
    }

    /// A message as text, by its MSH-18; where that says nothing, in what its destination's messages or, passed on, those
    /// of its link are written in.
    async fn readable(&self, bytes: &[u8], row: &crate::buffer::OutgoingRow) -> String {
        let own = self.destinations.iter().find(|one| *one.config.name == *row.destination);
        let passed = own.and_then(|own| own.routes.iter().find(|route| *route.name == *row.route));
        let of_link = match passed.map(|route| &route.how) {
            Some(How::Measurements(_)) => None,
            _ => self.reader.entry(row.entry).await.ok().flatten(),
        };
        let own = own.and_then(|own| own.config.charset);
        let charset = of_link.map(|entry| self.building.charset(&entry.row.link)).or(own).unwrap_or_default();
        match Message::parse(bytes, charset).message {
            Some(message) => message.segments().map(|segment| format!("{}\r", segment.raw())).collect(),
            None => String::from_utf8_lossy(bytes).into_owned(),
        }
    }

    /// The bytes of a message that were not kept, built as they would be now.
    async fn as_it_would_be(&self, row: &crate::buffer::OutgoingRow) -> Result<Vec<u8>, String> {
        let own = self.destinations.iter().find(|one| *one.config.name == *row.destination);
        if row.of_feed() {
            return Err("what goes there are the FHIR resources of its entry: see Messages".into());
        }
        let own = own.ok_or("its destination is no longer in the configuration")?;
        let entry = self.reader.stored(row.entry).await.map_err(|fault| fault.to_string())?;
        let entry = entry.ok_or("the disk changed the bytes it comes of")?;
        match built(row, &entry, own, &self.building)? {
            Made::Ready(built) => Ok(built.bytes),
            Made::Nothing(why) => Err(why),
            Made::Others(_) => Err("its entry makes other messages".into()),
        }
    }
}

fn route_view(route: &Route, destination: &Outbound) -> RouteView {
    let left_out = destination.standing.left_out_by(&route.name);
    RouteView {
        name: route.name.to_string(),
        from: route.from.iter().map(ToString::to_string).collect(),
        messages: route.messages.iter().map(ToString::to_string).collect(),
        when: route.when.as_ref().map(ToString::to_string),
        how: route.how.word(),
        says: route.says(&destination.config.mllp.address),
        left_out: LeftOutView { waveforms: left_out.waveforms, alarms: left_out.alarms },
    }
}

fn refusal(fault: BufferError) -> Refusal {
    match fault {
        BufferError::NotAllowed(why) => Refusal::Conflict(why),
        other => Refusal::Failed(other.to_string()),
    }
}
