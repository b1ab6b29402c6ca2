//! Associations as the desk sees and makes them.

use std::collections::HashMap;
use std::sync::Arc;

use super::Associations;
use super::reconsider::Cause;
use crate::admin::association::{
    self, AssociationView, AssociationWanted, CorrectionWanted, DeviceView, Done, DoubtCounts, DoubtView,
    Doubts, DoubtsWanted, EndWanted, HomeView, HomeWanted, PersonView, PlaceView, PolicyView, Standing,
    Timeline, VoidView,
};
use crate::admin::command::Refusal;
use crate::admin::worklist::{PatientWanted, instant};
use crate::buffer::{
    AssociationChange, AssociationRow, BufferError, Change, DeviceRow, Doubt, DoubtRow, HomeRow,
    NewAssociation, NewAudit,
};
use crate::clock::Timestamp;
use crate::connector::Later;
use crate::device::{Person, Place};
use crate::gateway::worklist::person;
use crate::identity::{Facts, Unknown, Whom};

/// Entries of the queue shown at once, and counted at most.
const SHOWN_MAX: usize = 200;
const COUNTED_MAX: u32 = 50_000;
/// A clock on the wall may be this much ahead of the box.
const AHEAD_MAX: i64 = 120_000_000;
/// Longest reason.
const REASON_MAX: usize = 400;

impl association::Associations for Associations {
    fn standing(&self) -> Later<'_, Result<Standing, Refusal>> {
        Box::pin(self.all_devices())
    }

    fn timeline(&self, device: String) -> Later<'_, Result<Timeline, Refusal>> {
        Box::pin(self.one_device(device))
    }

    fn doubts(&self, wanted: DoubtsWanted) -> Later<'_, Result<Doubts, Refusal>> {
        Box::pin(self.queue(wanted))
    }

    fn find(&self, code: String) -> Later<'_, Result<DeviceView, Refusal>> {
        Box::pin(async move {
            let row = self.device(&code).await?;
            Ok(self.one_device(row.key).await?.device)
        })
    }

    fn associate(&self, wanted: AssociationWanted, audit: NewAudit) -> Later<'_, Result<Done, Refusal>> {
        Box::pin(self.make(wanted, audit))
    }

    fn end(&self, id: i64, wanted: EndWanted, audit: NewAudit) -> Later<'_, Result<Done, Refusal>> {
        Box::pin(async move {
            let row = self.reader.association(id).await.map_err(refusal)?.ok_or(Refusal::Unknown)?;
            let until = self.time(wanted.at.as_deref())?.unwrap_or_else(|| self.clock.now().micros);
            let why = reason(wanted.reason)?;
            let by = audit.who.clone();
            let end = AssociationChange::End { id, until, by: by.clone(), why: why.clone() };
            let cause = Cause { who: by, why: why.unwrap_or_else(|| "the association ended".into()) };
            let span = Span { device: row.device, since: until, until: None };
            let done = self.decide(end, span, cause, audit).await?;
            Ok(Done { id: Some(id), ..done })
        })
    }

    fn correct(
        &self,
        id: i64,
        wanted: CorrectionWanted,
        audit: NewAudit,
    ) -> Later<'_, Result<Done, Refusal>> {
        Box::pin(self.put_right(id, wanted, audit))
    }

    fn home(&self, wanted: HomeWanted, audit: NewAudit) -> Later<'_, Result<Done, Refusal>> {
        Box::pin(async move {
            let device = self.device(&wanted.device).await?.key;
            let since = self.time(wanted.from.as_deref())?.unwrap_or_else(|| self.clock.now().micros);
            let place = match wanted.place {
                None => None,
                Some(place) => {
                    let known = crate::identity::Place::new(
                        &place.facility,
                        &place.point_of_care,
                        &place.room,
                        &place.bed,
                    )
                    .filter(|place| place.bed.is_some() || place.room.is_some());
                    let Some(known) = known else {
                        return Err(conflict("a place has a bed, or a room with one bed"));
                    };
                    let part = |text: Option<String>| text.map(Into::into);
                    Some(Place {
                        facility: part(known.facility),
                        point_of_care: part(known.point_of_care),
                        room: part(known.room),
                        bed: part(known.bed),
                    })
                }
            };
            let by = audit.who.clone();
            let home = AssociationChange::Home { device: device.clone(), place, since, by: by.clone() };
            let cause = Cause { who: by, why: "the device was given its place".into() };
            self.decide(home, Span { device, since, until: None }, cause, audit).await
        })
    }
}

impl Associations {
    async fn make(&self, wanted: AssociationWanted, audit: NewAudit) -> Result<Done, Refusal> {
        let device = self.device(&wanted.device).await?.key;
        let since = self.time(wanted.from.as_deref())?.unwrap_or_else(|| self.clock.now().micros);
        let until = self.time(wanted.until.as_deref())?;
        let why = reason(wanted.reason)?;
        if wanted.overrules && why.is_none() {
            return Err(conflict("what stands above the device's own word needs a reason"));
        }
        let person = self.person(wanted.patient, wanted.unknown)?;
        let others: Vec<AssociationRow> = self
            .reader
            .associations(Some(device.clone()), false)
            .await
            .map_err(refusal)?
            .into_iter()
            .filter(|row| row.overrules == wanted.overrules && row.until.is_none_or(|end| end > since))
            .filter(|row| until.is_none_or(|until| row.since < until))
            .collect();
        if !others.is_empty() && !wanted.replace {
            let text = "the device is with a patient in that time already: end that first, or say that this one takes its place";
            return Err(asks("association-taken", text));
        }
        let new = NewAssociation {
            device: device.clone(),
            person,
            since,
            until,
            scanned: wanted.scanned,
            overrules: wanted.overrules,
            author: audit.who.clone(),
            reason: why.clone(),
        };
        let cause =
            Cause { who: audit.who.clone(), why: why.unwrap_or_else(|| "associated at the desk".into()) };
        let replaces = others.iter().map(|row| row.id).collect();
        let make = AssociationChange::Make { new, replaces };
        let span = Span { device: device.clone(), since, until };
        let done = self.decide(make, span, cause, audit).await?;
        let rows = self.reader.associations(Some(device), false).await.map_err(refusal)?;
        let id = rows.iter().filter(|row| row.since == since).map(|row| row.id).max();
        Ok(Done { id, ..done })
    }

    async fn put_right(&self, id: i64, wanted: CorrectionWanted, audit: NewAudit) -> Result<Done, Refusal> {
        let row = self.reader.association(id).await.map_err(refusal)?.ok_or(Refusal::Unknown)?;
        let Some(why) = reason(Some(wanted.reason))? else {
            return Err(conflict("a correction needs a reason"));
        };
        let by = audit.who.clone();
        let since = self.time(wanted.from.as_deref())?.unwrap_or(row.since);
        let right = match wanted.nobody {
            true => None,
            false => Some(NewAssociation {
                device: row.device.clone(),
                person: match wanted.patient {
                    Some(patient) => self.person(patient, wanted.unknown)?,
                    None => row.person.clone(),
                },
                since,
                until: if wanted.open { None } else { self.time(wanted.until.as_deref())?.or(row.until) },
                scanned: row.scanned,
                overrules: wanted.overrules.unwrap_or(row.overrules),
                author: by.clone(),
                reason: Some(why.clone()),
            }),
        };
        let right_until = right.as_ref().map_or(row.until, |right| right.until);
        let correct = AssociationChange::Correct { id, right, by: by.clone(), why: why.clone() };
        let ends = [row.until, right_until].into_iter().collect::<Option<Vec<i64>>>();
        let until = ends.and_then(|ends| ends.into_iter().max());
        let span = Span { device: row.device, since: since.min(row.since), until };
        let done = self.decide(correct, span, Cause { who: by, why }, audit).await?;
        let now = self.reader.association(id).await.map_err(refusal)?;
        Ok(Done { id: now.and_then(|row| row.replaced_by), ..done })
    }

    /// The person typed or scanned, as the index knows them.
    fn person(&self, wanted: PatientWanted, sure: bool) -> Result<Person, Refusal> {
        let wanted = wanted.checked().map_err(|faults| conflict(&faults.join("; ")))?;
        let typed = person(wanted);
        let failed = |fault: crate::identity::Unavailable| Refusal::Failed(fault.to_string());
        match self.witness.whom(&typed).map_err(failed)? {
            Whom::Known { person, .. } => Ok(Person::clone(&person)),
            Whom::Several => {
                Err(asks("association-several-people", "several people have that number: say who gave it"))
            }
            Whom::Stranger(_) if !sure && self.witness.has_people().map_err(failed)? => Err(asks(
                "association-unknown-person",
                "the patient index does not know that number: check it, or say that it is right",
            )),
            Whom::Stranger(_) => Ok(typed),
        }
    }

    /// The device a code stands for.
    async fn device(&self, code: &str) -> Result<DeviceRow, Refusal> {
        let code = code.trim();
        let devices = self.reader.devices().await.map_err(refusal)?;
        if let Some(row) = devices.iter().find(|row| row.key == code) {
            return Ok(row.clone());
        }
        let serial = |row: &DeviceRow| {
            row.key.rsplit(['/', '@']).next().is_some_and(|own| own.eq_ignore_ascii_case(code))
        };
        let named = |row: &DeviceRow| {
            serial(row)
                || row.label.eq_ignore_ascii_case(code)
                || row.identifiers.iter().any(|own| own.eq_ignore_ascii_case(code))
        };
        let mut found = devices.iter().filter(|row| named(row));
        match (found.next(), found.next()) {
            (Some(row), None) => Ok(row.clone()),
            (Some(_), Some(_)) => {
                Err(asks("association-several-devices", "that code stands for several devices: choose one"))
            }
            (None, _) => Err(Refusal::Unknown),
        }
    }

    /// A time as typed.
    fn time(&self, text: Option<&str>) -> Result<Option<i64>, Refusal> {
        let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
        let at = instant(text)
            .ok_or_else(|| conflict("a time with its offset, such as 2026-03-14T08:15:00+01:00"))?;
        if at.micros > self.clock.now().micros.saturating_add(AHEAD_MAX) {
            return Err(conflict("that time lies in the future"));
        }
        Ok(Some(at.micros))
    }

    /// Writes a decision, the look at entries that it asks for and who made it in one commit, and looks. What is no longer
    /// kept cannot be corrected: whoever decides is told how much that is, and so is the trail.
    async fn decide(
        &self,
        change: AssociationChange,
        span: Span,
        cause: Cause,
        audit: NewAudit,
    ) -> Result<Done, Refusal> {
        let Span { device, since, until } = span;
        let until = until.unwrap_or_else(|| self.clock.now().micros);
        let beyond = self.reader.purged_of(Some(device.clone()), since, until).await.map_err(refusal)?;
        let look = cause.look(Some(device.clone()), since);
        let audit = NewAudit { detail: format!("{}{}", audit.detail, no_longer(beyond)), ..audit };
        let changes = vec![Change::Association(change), look, Change::Audit(audit)];
        self.buffer.change(changes).await.map_err(refusal)?;
        self.changed();
        Ok(Done { beyond, ..self.after(device, since, cause).await })
    }

    async fn all_devices(&self) -> Result<Standing, Refusal> {
        let now = self.clock.now().micros;
        let devices = self.reader.devices().await.map_err(refusal)?;
        let rows = self.reader.associations(None, false).await.map_err(refusal)?;
        let homes = self.reader.homes().await.map_err(refusal)?;
        let waiting = self.waiting(None).await?;
        let mut of_device: HashMap<&str, DoubtCounts> = HashMap::new();
        let mut all = DoubtCounts::default();
        for row in &waiting {
            count(of_device.entry(&row.device).or_default(), row.doubt);
            count(&mut all, row.doubt);
        }
        let mut views = Vec::with_capacity(devices.len());
        for device in &devices {
            let own = rows.iter().filter(|row| row.device == device.key);
            let home = homes.iter().filter(|home| home.device == device.key);
            let waiting = of_device.get(device.key.as_str()).copied().unwrap_or_default();
            views.push(self.view(device.clone(), own, home, waiting, now));
        }
        Ok(Standing { devices: views, waiting: all, policy: self.policy() })
    }

    async fn one_device(&self, key: String) -> Result<Timeline, Refusal> {
        let now = self.clock.now().micros;
        let devices = self.reader.devices().await.map_err(refusal)?;
        let device = devices.into_iter().find(|row| row.key == key).ok_or(Refusal::Unknown)?;
        let rows = self.reader.associations(Some(key.clone()), true).await.map_err(refusal)?;
        let mut homes = self.reader.homes().await.map_err(refusal)?;
        homes.retain(|home| home.device == key);
        let mut waiting = DoubtCounts::default();
        for row in self.waiting(Some(&key)).await? {
            count(&mut waiting, row.doubt);
        }
        let standing = rows.iter().filter(|row| row.void.is_none());
        let device = self.view(device, standing, homes.iter(), waiting, now);
        let mut associations: Vec<AssociationView> = rows.iter().map(|row| self.shown(row)).collect();
        associations.reverse();
        let homes = homes.into_iter().rev().map(|home| HomeView {
            place: place_view(&home.place),
            since: time(home.since),
            until: home.until.map(time),
            by: home.author,
        });
        Ok(Timeline { device, associations, homes: homes.collect() })
    }

    async fn queue(&self, wanted: DoubtsWanted) -> Result<Doubts, Refusal> {
        let rows = self.waiting(wanted.device.as_deref()).await?;
        let mut counts = DoubtCounts::default();
        rows.iter().for_each(|row| count(&mut counts, row.doubt));
        let chosen = |row: &&DoubtRow| {
            row.entry > wanted.after && wanted.state.as_deref().is_none_or(|state| state == row.doubt.word())
        };
        let doubts: Vec<DoubtView> = rows
            .iter()
            .filter(chosen)
            .take(SHOWN_MAX)
            .map(|row| DoubtView {
                entry: row.entry,
                device: row.device.clone(),
                state: row.doubt.word(),
                why: row.why.clone(),
                first: time(row.first),
                last: time(row.last),
            })
            .collect();
        let next = doubts.last().filter(|_| doubts.len() == SHOWN_MAX).map(|last| last.entry);
        Ok(Doubts { doubts, counts, next })
    }

    pub(super) async fn waiting(&self, device: Option<&str>) -> Result<Vec<DoubtRow>, Refusal> {
        let mut rows = self.reader.doubts(0, COUNTED_MAX).await.map_err(refusal)?;
        rows.retain(|row| device.is_none_or(|device| row.device == device));
        Ok(rows)
    }

    fn view<'a>(
        &self,
        device: DeviceRow,
        rows: impl Iterator<Item = &'a AssociationRow>,
        homes: impl Iterator<Item = &'a HomeRow>,
        waiting: DoubtCounts,
        now: i64,
    ) -> DeviceView {
        let home =
            homes.into_iter().find(|home| home.since <= now && home.until.is_none_or(|until| now < until));
        let holds = |row: &&AssociationRow| {
            let until = row.until.or_else(|| Some(row.since.saturating_add(self.witness.policy.timeout()?)));
            row.since <= now && until.is_none_or(|until| now < until)
        };
        let in_bed = home.map(|home| self.in_bed(home, now)).unwrap_or_default();
        let association = rows.into_iter().filter(holds).max_by_key(|row| (row.overrules, row.since));
        DeviceView {
            label: if device.label.is_empty() { device.key.clone() } else { device.label },
            key: device.key,
            link: device.link,
            home: home.map(|home| place_view(&home.place)),
            association: association.map(|row| self.shown(row)),
            in_bed,
            waiting,
        }
    }

    fn in_bed(&self, home: &HomeRow, now: i64) -> Vec<PersonView> {
        let place = crate::identity::Place::from(&home.place);
        let bedded = self.witness.in_bed(&place, crate::identity::Span::at(now)).unwrap_or_default();
        bedded.iter().map(|one| whom_view(&one.whom)).collect()
    }

    fn shown(&self, row: &AssociationRow) -> AssociationView {
        let whom =
            self.witness.whom(&row.person).unwrap_or_else(|_| Whom::Stranger(Arc::new(row.person.clone())));
        let patient = match &whom {
            Whom::Several => person_view(&row.person, false),
            whom => whom_view(whom),
        };
        AssociationView {
            id: row.id,
            patient,
            since: time(row.since),
            until: row.until.map(time),
            source: row.source().word(),
            overrules: row.overrules,
            by: row.author.clone(),
            made: row.made,
            reason: row.reason.clone(),
            ended_by: row.ended_by.clone(),
            ended_why: row.ended_why.clone(),
            void: row.void.clone().map(|(at, by, why)| VoidView {
                at,
                by,
                why,
                replaced_by: row.replaced_by,
            }),
        }
    }

    fn policy(&self) -> PolicyView {
        let policy = &self.witness.policy;
        PolicyView {
            unknown: match policy.unknown {
                Unknown::Deliver => "deliver",
                Unknown::Hold => "hold",
            },
            timeout_h: policy.timeout_h,
            end_on: policy.end_on.iter().map(|word| word.word()).collect(),
            on_merge: policy.on_merge.word(),
        }
    }
}

/// Of what a decision speaks.
struct Span {
    device: String,
    since: i64,
    until: Option<i64>,
}

/// What the trail says of entries that are gone.
pub(in crate::gateway) fn no_longer(beyond: u64) -> String {
    match beyond {
        0 => String::new(),
        beyond => {
            format!("; {beyond} entries of that time are no longer kept and stay as they were delivered")
        }
    }
}

const fn count(counts: &mut DoubtCounts, doubt: Doubt) {
    let number = match doubt {
        Doubt::Orphan => &mut counts.orphan,
        Doubt::Conflict => &mut counts.conflict,
        Doubt::Review => &mut counts.review,
    };
    *number += 1;
}

fn whom_view(whom: &Whom) -> PersonView {
    whom.person().map(|person| person_view(person, matches!(whom, Whom::Known { .. }))).unwrap_or_default()
}

fn person_view(person: &Person, known: bool) -> PersonView {
    let text = |text: &Option<Arc<str>>| text.as_ref().map(ToString::to_string);
    let first = person.identifiers.first();
    PersonView {
        id: first.map(|id| id.value.to_string()).unwrap_or_default(),
        system: first.map(|id| id.system.to_string()).unwrap_or_default(),
        family: text(&person.family),
        given: (!person.given.is_empty()).then(|| person.given.join(" ")),
        birth_date: text(&person.birth_date),
        gender: text(&person.gender),
        known,
    }
}

fn place_view(place: &Place) -> PlaceView {
    let text = |text: &Option<Arc<str>>| text.as_ref().map(ToString::to_string);
    PlaceView {
        facility: text(&place.facility),
        point_of_care: text(&place.point_of_care),
        room: text(&place.room),
        bed: text(&place.bed),
        label: crate::identity::Place::from(place).label(),
    }
}

/// A reason without blanks; none when it is empty.
fn reason(text: Option<String>) -> Result<Option<String>, Refusal> {
    let text = text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    if text
        .as_ref()
        .is_some_and(|text| text.chars().count() > REASON_MAX || text.chars().any(char::is_control))
    {
        return Err(conflict("a reason has at most 400 printable characters"));
    }
    Ok(text)
}

const fn time(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros, true)
}

/// A refusal that is a question: the same again with the answer is done.
fn asks(code: &'static str, why: &str) -> Refusal {
    Refusal::Asks { code, why: why.into() }
}

fn conflict(text: &str) -> Refusal {
    Refusal::Conflict(text.into())
}

pub(super) fn refusal(fault: BufferError) -> Refusal {
    match fault {
        BufferError::NotAllowed(why) => Refusal::Conflict(why),
        other => Refusal::Failed(other.to_string()),
    }
}
