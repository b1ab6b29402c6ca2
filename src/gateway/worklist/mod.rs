//! The worklist: analysers ask for a specimen and are told what to measure; orders come from the desk, from HL7 v2 and
//! from the FHIR server, and are done when their results are there.
//!
//! - An analyser is told only what is on the disk, and only of the specimen it asked for.
//! - Two orders for one barcode that name different patients are told to nobody.
//! - A test is told in the analyser's own code. One that belongs to another analyser, or that nobody can turn, is left
//!   out, and the order says so.
//! - Open and sent orders are told again each time they are asked for: an analyser that lost the answer asks again.

mod desk;
pub(super) mod fhir;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::buffer::{
    Buffer, BufferError, Change, NewOrder, OrderRow, Reader, Transition, WorkChange, WorkSource, WorkState,
};
use crate::clock::{SharedClock, Timestamp};
use crate::config::{Link, Reads};
use crate::connector::{Frame, Reply};
use crate::device::{Person, Report, ResultStatus, Value};
use crate::firmware_profile::{Arrival, FirmwareProfile, Order, OrderedTest, Placed, Query, Wish};
pub(crate) use desk::{new_order, person};

use crate::gateway::understand::{Said, Understanding, context, guarded};

/// Orders told in answer to "everything".
const ALL_MAX: u32 = 500;

/// The worklist as the gateway keeps it.
pub(super) struct Worklist {
    buffer: Buffer,
    reader: Reader,
    understanding: Arc<Understanding>,
    clock: SharedClock,
}

/// What an analyser is to be told, and of which orders.
#[derive(Default)]
struct Told {
    orders: Vec<Order>,
    ids: Vec<i64>,
    /// What people should know of orders that were left out, in whole or in part.
    notes: Vec<(i64, String)>,
}

impl Worklist {
    pub(super) fn new(buffer: Buffer, understanding: Arc<Understanding>, clock: SharedClock) -> Self {
        let reader = buffer.reader();
        Self { buffer, reader, understanding, clock }
    }

    /// What answers a kept frame, if it is a query and its page says how.
    pub(super) async fn reply(&self, frame: &Frame) -> Option<Reply> {
        let link = self.understanding.link(&frame.link)?;
        let said = Said {
            entry: None,
            link: &frame.link,
            peer: &frame.peer,
            received: frame.received,
            bytes: &frame.bytes,
            topic: frame.topic.as_deref(),
            sha256: [0; 32],
        };
        let page = self.understanding.page(&link, &said).ok().filter(|page| page.answers_queries())?;
        let context = context(&link, frame.received, None);
        let query = guarded(|| page.query(&frame.bytes, &context))??;
        let told = match self.told(&link, &page, &query).await {
            Ok(told) => told,
            Err(fault) => {
                // Not answered: the analyser asks again, and is not told that there is no order.
                tracing::error!(%fault, link = %frame.link, "The worklist could not be read; the query is not answered.");
                return None;
            }
        };
        let answer = guarded(|| page.answer(&query, &told.orders, &context))??;
        self.note(told.notes).await;
        let ids: Vec<String> = told.ids.iter().map(ToString::to_string).collect();
        Some(Reply {
            acknowledgement: answer.acknowledgement,
            message: answer.message,
            reference: ids.join(",").into(),
        })
    }

    /// What became of an answer.
    pub(super) async fn replied(&self, link: &str, reference: &str, outcome: Result<(), String>) {
        let ids: Vec<i64> = reference.split(',').filter_map(|id| id.parse().ok()).collect();
        if ids.is_empty() {
            return;
        }
        let taken = outcome.is_ok();
        let outcome = outcome.map_or_else(|why| format!("not taken: {why}"), |()| "taken".into());
        let change = WorkChange::Asked { ids, link: link.into(), outcome, taken };
        if let Err(fault) = self.buffer.change(vec![Change::Work(change)]).await {
            // The order stays as it was, and is told again when it is asked for.
            tracing::error!(%fault, link, "What became of an answer to a query could not be written down.");
        }
    }

    async fn told(&self, link: &Link, page: &FirmwareProfile, query: &Query) -> Result<Told, BufferError> {
        let rows = match query.all {
            true => self.reader.live_orders(ALL_MAX).await?,
            false => self.reader.orders_of(query.specimens.clone()).await?,
        };
        let others: Vec<Arc<FirmwareProfile>> = self.pages_beside(link);
        let mut by_specimen: BTreeMap<&str, Vec<&OrderRow>> = BTreeMap::new();
        for row in &rows {
            by_specimen.entry(&row.specimen).or_default().push(row);
        }
        let mut told = Told::default();
        for rows in by_specimen.values() {
            told.specimen(rows, page, query, &others);
        }
        Ok(told)
    }

    /// Pages of the other links that answer queries.
    fn pages_beside(&self, link: &Link) -> Vec<Arc<FirmwareProfile>> {
        let links = self.understanding.links().into_iter().filter(|other| other.name != link.name);
        let pages = links.filter_map(|other| match &other.reads {
            Reads::Profile(page) if page.answers_queries() => Some(page.clone()),
            _ => None,
        });
        pages.collect()
    }

    async fn note(&self, notes: Vec<(i64, String)>) {
        if notes.is_empty() {
            return;
        }
        let change = |(id, note)| Change::Work(WorkChange::Note { id, note });
        if let Err(fault) = self.buffer.change(notes.into_iter().map(change).collect()).await {
            tracing::error!(%fault, "A note on an order could not be written down.");
        }
    }

    /// Results came: orders of their specimens are measured, in part or whole. `received`: of the frame.
    pub(super) async fn measured(&self, results: Vec<(Arc<FirmwareProfile>, Timestamp, Vec<Report>)>) {
        let barcodes = results.iter().flat_map(|(_, _, reports)| reports).filter_map(barcode);
        let mut specimens: Vec<String> = barcodes.map(ToOwned::to_owned).collect();
        specimens.sort();
        specimens.dedup();
        if specimens.is_empty() {
            return;
        }
        let rows = match self.reader.orders_of(specimens).await {
            Ok(rows) => rows,
            Err(fault) => return tracing::error!(%fault, "The worklist could not be read."),
        };
        let mut changes = Vec::new();
        for row in &rows {
            let came = |test: &OrderedTest| {
                results.iter().any(|(page, received, reports)| {
                    let own = reports.iter().filter(|report| barcode(report) == Some(&row.specimen));
                    received.micros >= row.created.micros
                        && own.into_iter().any(|report| has(report, page, test))
                })
            };
            let tests = row.tests.iter().enumerate().filter(|(_, test)| !test.done && came(&test.test));
            let tests: Vec<usize> = tests.map(|(at, _)| at).collect();
            if !tests.is_empty() {
                changes.push(Change::Work(WorkChange::Measured { id: row.id, tests }));
            }
        }
        if changes.is_empty() {
            return;
        }
        if let Err(fault) = self.buffer.change(changes).await {
            tracing::error!(%fault, "That orders were measured could not be written down.");
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

fn barcode(report: &Report) -> Option<&str> {
    report.specimen.as_ref().and_then(|specimen| specimen.identifier.as_deref())
}

/// Whether a report holds a result of `test`: a value that is final, not the reason why there is none.
fn has(report: &Report, page: &FirmwareProfile, test: &OrderedTest) -> bool {
    report.measurements.iter().any(|one| {
        let valid = matches!(one.result_status, ResultStatus::Final | ResultStatus::Corrected);
        valid
            && !one.status.invalid
            && !matches!(one.value, Value::Absent(_))
            && page.measures(test, &one.metric.codings)
    })
}

impl Told {
    /// All orders of one specimen, as one.
    fn specimen(
        &mut self,
        rows: &[&OrderRow],
        page: &FirmwareProfile,
        query: &Query,
        others: &[Arc<FirmwareProfile>],
    ) {
        let Some(first) = rows.first() else { return };
        if conflicting(rows) {
            let note = "not told to any analyser: another order for this specimen names another patient";
            return self.notes.extend(rows.iter().map(|row| (row.id, note.to_owned())));
        }
        let mut order = Order {
            specimen: first.specimen.clone(),
            specimen_kind: rows
                .iter()
                .map(|row| &row.kind)
                .find(|kind| !kind.is_empty())
                .cloned()
                .unwrap_or_default(),
            tests: Vec::new(),
            urgent: rows.iter().any(|row| row.urgent),
            person: rows.iter().find_map(|row| row.person.clone()),
            ordered: Some(first.created),
            collected: rows.iter().find_map(|row| row.collected),
        };
        for row in rows {
            let (mut some, mut strange) = (false, 0);
            for test in row.tests.iter().filter(|test| !test.done) {
                match own_code(page, others, &test.test) {
                    Turned::Own(code) if query.tests.is_empty() || query.tests.contains(&code) => {
                        some = true;
                        if !order.tests.contains(&code) {
                            order.tests.push(code);
                        }
                    }
                    Turned::Own(_) | Turned::OfAnother => {}
                    Turned::Unknown => strange += 1,
                }
            }
            if some {
                self.ids.push(row.id);
            }
            if strange > 0 {
                let note = format!(
                    "{strange} of its tests left out: {} does not say by which code it is ordered",
                    page.id
                );
                if row.note.as_deref() != Some(&note) {
                    self.notes.push((row.id, note));
                }
            }
        }
        if !order.tests.is_empty() {
            self.orders.push(order);
        }
    }
}

/// A test in an analyser's own code.
#[derive(Debug, PartialEq, Eq)]
enum Turned {
    Own(String),
    /// Another analyser of this box measures it.
    OfAnother,
    Unknown,
}

fn own_code(page: &FirmwareProfile, others: &[Arc<FirmwareProfile>], test: &OrderedTest) -> Turned {
    if let Some(code) = page.order_code(test) {
        return Turned::Own(code);
    }
    if others.iter().any(|other| other.order_code(test).is_some()) {
        return Turned::OfAnother;
    }
    // A page lists what was published; the analyser may be set up for more. What is no LOINC is its own word.
    match (&test.own, &test.loinc) {
        (Some(own), None) => Turned::Own(own.clone()),
        _ => Turned::Unknown,
    }
}

/// Whether the orders name patients who cannot be the same.
fn conflicting(rows: &[&OrderRow]) -> bool {
    let people: Vec<&Person> = rows.iter().filter_map(|row| row.person.as_ref()).collect();
    let differ = |a: &Person, b: &Person| {
        let values =
            |person: &Person| person.identifiers.iter().map(|id| id.value.clone()).collect::<Vec<_>>();
        let (of_a, of_b) = (values(a), values(b));
        match of_a.is_empty() || of_b.is_empty() {
            true => a.family != b.family || a.birth_date != b.birth_date,
            false => !of_a.iter().any(|id| of_b.contains(id)),
        }
    };
    people.iter().enumerate().any(|(at, a)| people.iter().skip(at + 1).any(|b| differ(a, b)))
}

/// Takes the orders of a message onto the worklist, and says what becomes of its entry. Doing it twice is the same as
/// once.
pub(super) async fn take(buffer: &Buffer, link: &str, arrival: Arrival) -> Transition {
    let (mut put, mut ended, mut unusable) = (0, 0, arrival.unusable);
    for placed in arrival.orders {
        let number = if placed.wish == Wish::Cancel { &mut ended } else { &mut put };
        match buffer.change(vec![Change::Work(change(link, placed))]).await {
            Ok(()) => *number += 1,
            Err(fault) => unusable.push(fault.to_string()),
        }
    }
    let count = |number: u32, what: &str| match number {
        0 => None,
        1 => Some(format!("1 order {what}")),
        more => Some(format!("{more} orders {what}")),
    };
    let done = [count(put, "put on the worklist"), count(ended, "cancelled")];
    let done: Vec<String> = done.into_iter().flatten().collect();
    if unusable.is_empty() {
        let reason = if done.is_empty() { "nothing is ordered".into() } else { done.join(", ") };
        return Transition::Ignored { reason };
    }
    let left = unusable.iter().take(5).cloned().collect::<Vec<_>>().join("; ");
    let done = if done.is_empty() { String::new() } else { format!("{}; ", done.join(", ")) };
    Transition::Held { reason: format!("{done}not on the worklist: {left}"), answer: None }
}

fn change(link: &str, placed: Placed) -> WorkChange {
    let key = format!("hl7:{}:{}", placed.sender, placed.number);
    let replace = match placed.wish {
        Wish::Cancel => {
            return WorkChange::End { key, state: WorkState::Cancelled, tests: placed.tests };
        }
        Wish::Replace => true,
        Wish::Place => false,
    };
    let order = NewOrder {
        specimen: placed.specimen,
        tests: placed.tests,
        urgent: placed.urgent,
        person: placed.person,
        kind: placed.kind,
        collected: placed.collected,
        number: placed.number,
        source: WorkSource::Hl7,
        key,
        author: link.into(),
    };
    WorkChange::Place { order, replace }
}

#[cfg(test)]
mod tests;
