//! The patient index as the desk sees it.

use super::People;
use crate::admin::command::Refusal;
use crate::admin::people::{
    self, EntryView, Known, MergeView, NumberView, Occupant, Occupied, PersonDetail, PersonView, PlaceView,
    Places, Search, SourceView, StayView, Unmerged,
};
use crate::buffer::{
    AssociationChange, BufferError, Change, MergeRow, NewAudit, PeopleChange, PersonRow, StayRow,
};
use crate::clock::Timestamp;
use crate::connector::Later;
use crate::device::Identifier;
use crate::gateway::association::no_longer;
use crate::identity::Place;

impl people::People for People {
    fn search(&self, text: String, limit: u32) -> Later<'_, Result<Search, Refusal>> {
        Box::pin(async move {
            let found = self.reader.search_people(text, limit).await.map_err(refusal)?;
            let mut people = Vec::with_capacity(found.len());
            for row in found {
                let stays = self.reader.stays_of(row.id).await.map_err(refusal)?;
                let now = stays.into_iter().find(|stay| stay.until.is_none());
                people.push(person(row, now.as_ref(), &[]));
            }
            Ok(Search { people, known: self.known().await? })
        })
    }

    fn person(&self, id: i64) -> Later<'_, Result<PersonDetail, Refusal>> {
        Box::pin(async move {
            let found = self.reader.person_detail(id).await.map_err(refusal)?.ok_or(Refusal::Unknown)?;
            let now = found.stays.iter().find(|stay| stay.until.is_none());
            let entry = |source: crate::buffer::SourceRow| EntryView {
                entry: source.entry,
                event: source.event,
                told: source.told,
            };
            Ok(PersonDetail {
                person: person(found.row, now, &found.retired),
                stays: found.stays.iter().map(stay).collect(),
                merges: found.merges.into_iter().map(merge).collect(),
                sources: found.sources.into_iter().map(entry).collect(),
            })
        })
    }

    fn places(&self) -> Later<'_, Result<Places, Refusal>> {
        Box::pin(async move {
            let all = self.reader.who_is_in().await.map_err(refusal)?;
            let mut places: Vec<Occupied> = Vec::new();
            for (row, stay) in all {
                let shown = place(&stay.place);
                let who = occupant(row, &stay);
                match places.last_mut().filter(|last| last.place == shown) {
                    Some(last) => last.occupants.push(who),
                    None => places.push(Occupied { place: shown, occupants: vec![who], conflict: false }),
                }
            }
            for place in &mut places {
                let lying = place.occupants.iter().filter(|one| !one.on_leave).count();
                place.conflict = place.place.bed.is_some() && lying > 1;
            }
            Ok(Places { places, known: self.known().await? })
        })
    }

    fn unmerge(&self, merge: i64, audit: NewAudit) -> Later<'_, Result<Unmerged, Refusal>> {
        Box::pin(async move {
            // What came before the merge was put on one person with it, where the site wants that.
            let merged = self.reader.merged_at(merge).await.map_err(refusal)?.ok_or(Refusal::Unknown)?;
            let since = merged.saturating_sub(self.late);
            let beyond = self.reader.purged_of(None, since, i64::MAX).await.map_err(refusal)?;
            let undo = Change::People(PeopleChange::Unmerge { merge, by: audit.who.clone() });
            let (who, why) = (audit.who.clone(), "a merge was taken back at the desk".into());
            let look = Change::Association(AssociationChange::Look { device: None, since, who, why });
            let audit = NewAudit { detail: format!("{}{}", audit.detail, no_longer(beyond)), ..audit };
            self.buffer.change(vec![undo, look, Change::Audit(audit)]).await.map_err(refusal)?;
            self.understanding.facts().changed();
            Ok(Unmerged { beyond })
        })
    }
}

impl People {
    async fn known(&self) -> Result<Known, Refusal> {
        let counts = self.reader.people_counts().await.map_err(refusal)?;
        let source = |(name, heard)| SourceView { name, heard };
        Ok(Known {
            persons: counts.persons,
            occupied: counts.occupied,
            sources: counts.heard.into_iter().map(source).collect(),
        })
    }
}

fn refusal(fault: BufferError) -> Refusal {
    match fault {
        BufferError::NotAllowed(why) => Refusal::Conflict(why),
        other => Refusal::Failed(other.to_string()),
    }
}

fn time(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros, true)
}

fn text(text: Option<&std::sync::Arc<str>>) -> Option<String> {
    text.map(ToString::to_string)
}

fn given(row: &PersonRow) -> Option<String> {
    (!row.person.given.is_empty()).then(|| row.person.given.join(" "))
}

fn person(row: PersonRow, now: Option<&StayRow>, retired: &[Identifier]) -> PersonView {
    let number = |one: &Identifier, retired: bool| NumberView {
        system: one.system.to_string(),
        value: one.value.to_string(),
        kind: text(one.kind.as_ref()),
        retired,
    };
    let mut identifiers: Vec<_> = row.person.identifiers.iter().map(|one| number(one, false)).collect();
    identifiers.extend(retired.iter().map(|one| number(one, true)));
    PersonView {
        id: row.id,
        family: text(row.person.family.as_ref()),
        given: given(&row),
        birth_date: text(row.person.birth_date.as_ref()),
        gender: text(row.person.gender.as_ref()),
        identifiers,
        place: now.map(|stay| place(&stay.place)),
        told: row.told,
        removed: row.removed,
    }
}

fn place(place: &Place) -> PlaceView {
    PlaceView {
        facility: place.facility.clone(),
        point_of_care: place.point_of_care.clone(),
        room: place.room.clone(),
        bed: place.bed.clone(),
        label: place.label(),
    }
}

fn stay(row: &StayRow) -> StayView {
    StayView {
        place: place(&row.place),
        visit: row.visit.as_ref().map(|visit| visit.number.clone()),
        since: time(row.since),
        until: row.until.map(time),
        on_leave: row.on_leave,
    }
}

fn merge(row: MergeRow) -> MergeView {
    let (undone, undone_by) = row.undone.unzip();
    MergeView {
        id: row.id,
        survivor: row.survivor,
        gone: row.gone,
        at: row.at,
        entry: row.entry,
        undone,
        undone_by,
    }
}

fn occupant(row: PersonRow, stay: &StayRow) -> Occupant {
    Occupant {
        id: row.id,
        number: row.person.identifiers.first().map(|one| one.value.to_string()),
        family: text(row.person.family.as_ref()),
        given: given(&row),
        birth_date: text(row.person.birth_date.as_ref()),
        since: time(stay.since),
        on_leave: stay.on_leave,
    }
}
