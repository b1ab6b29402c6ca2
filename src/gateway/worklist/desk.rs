//! The worklist as the desk sees it.

use uuid::Uuid;

use super::Worklist;
use crate::admin::command::Refusal;
use crate::admin::worklist::{self, AskedView, OrderView, OrderWanted, Orders, PatientView, PatientWanted};
use crate::buffer::{
    BufferError, Change, NewAudit, NewOrder, OrderRow, WorkChange, WorkFilter, WorkSource, WorkState,
};
use crate::connector::Later;
use crate::device::{Identifier, Person};
use crate::firmware_profile::OrderedTest;

/// Orders shown at once.
const SHOWN_MAX: u32 = 500;
/// Issuer of a patient's number that was typed without one.
const NO_AUTHORITY: &str = "urn:bedside:authority:unstated";

impl worklist::Worklist for Worklist {
    fn orders(&self, state: Option<String>, text: Option<String>) -> Later<'_, Result<Orders, Refusal>> {
        Box::pin(async move {
            let state = state.as_deref().and_then(WorkState::parse);
            let orders =
                self.reader.orders(WorkFilter { state, text, limit: SHOWN_MAX }).await.map_err(refusal)?;
            let counts = self.reader.work_counts().await.map_err(refusal)?;
            Ok(Orders { orders: orders.into_iter().map(view).collect(), counts })
        })
    }

    fn add(&self, wanted: OrderWanted, audit: NewAudit) -> Later<'_, Result<i64, Refusal>> {
        Box::pin(async move {
            let key = format!("desk:{}", Uuid::new_v4());
            let order = new_order(wanted, &key, &audit.who);
            let place = Change::Work(WorkChange::Place { order, replace: false });
            self.buffer.change(vec![place, Change::Audit(audit)]).await.map_err(refusal)?;
            let row = self.reader.order_of_key(&key).await.map_err(refusal)?;
            row.map(|row| row.id).ok_or(Refusal::Unknown)
        })
    }

    fn cancel(&self, id: i64, audit: NewAudit) -> Later<'_, Result<(), Refusal>> {
        Box::pin(async move {
            self.reader.order(id).await.map_err(refusal)?.ok_or(Refusal::Unknown)?;
            let cancel = Change::Work(WorkChange::Cancel { id });
            self.buffer.change(vec![cancel, Change::Audit(audit)]).await.map_err(refusal)
        })
    }
}

fn refusal(fault: BufferError) -> Refusal {
    match fault {
        BufferError::NotAllowed(why) => Refusal::Conflict(why),
        other => Refusal::Failed(other.to_string()),
    }
}

/// A patient as typed.
pub(crate) fn person(patient: PatientWanted) -> Person {
    Person {
        identifiers: vec![Identifier {
            system: patient.system.as_deref().unwrap_or(NO_AUTHORITY).into(),
            value: patient.id.as_str().into(),
            kind: None,
        }],
        family: patient.family.map(Into::into),
        given: patient.given.map(Into::into).into_iter().collect(),
        birth_date: patient.birth_date.map(Into::into),
        gender: patient.gender.map(Into::into),
    }
}

/// An order as a person at the desk, or on the command line, wants it.
pub(crate) fn new_order(wanted: OrderWanted, key: &str, who: &str) -> NewOrder {
    NewOrder {
        specimen: wanted.specimen,
        tests: wanted.tests.iter().map(|test| OrderedTest::typed(test)).collect(),
        urgent: wanted.priority.is_some_and(|priority| priority.is_urgent()),
        person: wanted.patient.map(person),
        kind: wanted.specimen_kind.unwrap_or_default(),
        collected: wanted.collected.and_then(|at| worklist::instant(&at)),
        number: String::new(),
        source: WorkSource::Desk,
        key: key.into(),
        author: who.into(),
    }
}

fn view(row: OrderRow) -> OrderView {
    let patient = row.person.map(|person| PatientView {
        id: person.identifiers.first().map(|id| id.value.to_string()).unwrap_or_default(),
        family: person.family.map(|text| text.to_string()),
        given: (!person.given.is_empty()).then(|| person.given.join(" ")),
        birth_date: person.birth_date.map(|text| text.to_string()),
        gender: person.gender.map(|text| text.to_string()),
    });
    let asked = row.asked.into_iter().map(|asked| AskedView {
        at: asked.at,
        link: asked.link,
        outcome: asked.outcome,
    });
    OrderView {
        id: row.id,
        specimen: row.specimen,
        tests: row.tests.iter().map(|test| test.test.name().to_owned()).collect(),
        measured: row.tests.iter().filter(|test| test.done).map(|test| test.test.name().to_owned()).collect(),
        priority: if row.urgent { "stat" } else { "routine" },
        patient,
        specimen_kind: row.kind,
        collected: row.collected,
        source: row.source.as_str(),
        number: row.number,
        created: row.created,
        by: row.author,
        state: row.state.as_str(),
        note: row.note,
        asked: asked.collect(),
    }
}
