//! Many entries at once: what is held and why, sets that are frozen before they are done, saved views.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use warp::http::StatusCode;
use warp::reply::Response as Answer;

use super::call::Call;
use super::look::Entries;
use super::pair::{audited, problem};
use super::says::{MESSAGES, Says, says};
use crate::admin::answer::{Problem, empty, json};
use crate::admin::desk::Desk;
use crate::admin::sets::{Comparison, Deed, HeldView, SavedView, SetView, SetWanted, TYPED_ABOVE};
use crate::admin::store::{AuditRow, EntryFilter, EntryState, Outcome, PAGE_MAX};
use crate::clock::Timestamp;

/// Longest word of a filter.
const WORD_MAX: usize = 200;

/// Which entries. A patient's number comes in a body, never in an address.
#[derive(Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = EntryTerms)]
struct Wanted {
    state: Option<String>,
    link: Option<String>,
    device: Option<String>,
    /// RFC 3339.
    from: Option<String>,
    until: Option<String>,
    kind: Option<String>,
    message: Option<String>,
    reason: Option<String>,
    text: Option<String>,
    before: Option<i64>,
    limit: Option<u32>,
}

impl Wanted {
    fn filter(self) -> Result<EntryFilter, Problem> {
        let words =
            [&self.link, &self.device, &self.kind, &self.message, &self.text, &self.from, &self.until];
        if words.into_iter().flatten().any(|word| word.len() > WORD_MAX) {
            return Err(Problem::bad("a word of the filter is too long"));
        }
        let said = |word: Option<String>| word.filter(|word| !word.is_empty());
        let state = match said(self.state) {
            None => None,
            Some(word) => Some(
                EntryState::parse(&word)
                    .ok_or_else(|| Problem::bad("\"state\" is waiting, sent, accepted or held"))?,
            ),
        };
        Ok(EntryFilter {
            state,
            link: said(self.link),
            device: said(self.device),
            before: self.before.filter(|before| *before > 0),
            from: said(self.from).map(|text| time("from", &text)).transpose()?,
            until: said(self.until).map(|text| time("until", &text)).transpose()?,
            kind: said(self.kind),
            message: said(self.message),
            reason: said(self.reason),
            text: said(self.text),
            limit: self.limit.unwrap_or(50).clamp(1, PAGE_MAX),
        })
    }
}

/// A time of a filter.
pub(super) fn time(name: &str, text: &str) -> Result<Timestamp, Problem> {
    let wrong = || Problem::bad(format!("\"{name}\" is a time such as 2026-03-01T08:00:00Z"));
    let at: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
    Ok(Timestamp::from_micros(at.as_microsecond(), true))
}

pub(super) const SEARCH: Says = says(
    "searchEntries",
    MESSAGES,
    "Messages, also by what stands in them: a patient's number comes in the body",
)
.takes::<Wanted>()
.gives::<Entries>(200, "A page");

/// `POST /api/v1/search`: as `GET /api/v1/entries`, also by a patient's number.
pub(super) async fn search(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let wanted: Wanted = call.json()?;
    let filter = wanted.filter()?;
    let store = &desk.services.store;
    let page = store.entries(filter).await?;
    let counts = store.backlog().await?.counts;
    Ok(json(&Entries { entries: page.entries, next: page.next, counts }))
}

pub(super) const HELD: Says = says("held", MESSAGES, "What is held, by reason")
    .gives::<HeldView>(200, "The groups")
    .refuses(&[(404, "There is no such thing"), (409, "It cannot be so; the detail says why")]);

/// `GET /api/v1/held`
pub(super) async fn held(desk: Arc<Desk>, _call: Call) -> Result<Answer, Problem> {
    Ok(json(&desk.services.sets.held().await.map_err(problem)?))
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct NewSet {
    deed: Deed,
    #[serde(default)]
    filter: Wanted,
}

pub(super) const FREEZE: Says = says("freezeSet", MESSAGES, "The exact entries a deed would be done to")
    .takes::<NewSet>()
    .gives::<SetView>(201, "The set, which nobody else can use")
    .refuses(&[(404, "There is no such thing"), (409, "It cannot be so; the detail says why")]);

/// `POST /api/v1/sets`: the exact entries a deed would be done to.
pub(super) async fn freeze(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let wanted: NewSet = call.json()?;
    let who = call.presence()?.user.clone();
    let wanted = SetWanted { deed: wanted.deed, filter: wanted.filter.filter()? };
    let set = desk.services.sets.freeze(who, wanted).await.map_err(problem)?;
    let mut made = json(&set);
    *made.status_mut() = StatusCode::CREATED;
    Ok(made)
}

fn own(desk: &Desk, call: &Call) -> Result<SetView, Problem> {
    let who = &call.presence()?.user;
    desk.services.sets.set(who, call.parameter()?).ok_or_else(Problem::not_found)
}

pub(super) const SET: Says =
    says("set", MESSAGES, "A frozen set and how far it has come").gives::<SetView>(200, "The set");

/// `GET /api/v1/sets/{token}`
pub(super) async fn set(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    Ok(json(&own(&desk, &call)?))
}

#[derive(Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SetConfirmation)]
struct Confirmation {
    /// The number of entries, as the person typed it.
    #[serde(default)]
    count: Option<u64>,
}

pub(super) const RUN: Says = says("runSet", MESSAGES, "Does what a set was frozen for, once")
    .may_take::<Confirmation>()
    .gives::<SetView>(202, "It has begun")
    .or::<SetView>(200, "It had begun before")
    .refuses(&[(409, "It cannot be so; the detail says why")]);

/// `POST /api/v1/sets/{token}/run`
pub(super) async fn run(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let said: Confirmation = if call.body.is_empty() { Confirmation::default() } else { call.json()? };
    let set = own(&desk, &call)?;
    if said.count.is_some_and(|count| count != set.count) || (said.count.is_none() && set.count > TYPED_ABOVE)
    {
        let detail = format!("type the number of entries, {}, to say that they are meant", set.count);
        return Err(Problem::new(StatusCode::CONFLICT, "set-count", detail));
    }
    if set.state != "frozen" {
        return Ok(json(&set));
    }
    let who = call.presence()?.user.clone();
    let span = |at: Option<Timestamp>| at.map_or_else(|| "?".into(), |at| at.rfc3339());
    let target = format!(
        "{} entries received from {} to {}, set {}",
        set.count,
        span(set.first),
        span(set.last),
        set.token.get(..8).unwrap_or_default()
    );
    let doing = desk.services.sets.run(who, set.token);
    let begun = audited(&desk, &call, set.deed.action(), target, doing).await?;
    let mut answer = json(&begun);
    *answer.status_mut() = StatusCode::ACCEPTED;
    Ok(answer)
}

pub(super) const COMPARE: Says =
    says("compareEntry", MESSAGES, "What would be sent of an entry now beside what the server holds")
        .gives::<Comparison>(200, "Both sides")
        .refuses(&[(409, "It cannot be so; the detail says why")]);

/// `GET /api/v1/entries/{id}/compare`: what would be sent now beside what the server holds.
pub(super) async fn compare(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let id = call.id()?;
    let presence = call.presence()?;
    let line = desk.line(Some(&presence.user), "entry.compare", Outcome::Done, call.peer);
    desk.audit(AuditRow { target: Some(id.to_string()), ..line }).await?;
    Ok(json(&desk.services.sets.compare(id).await.map_err(problem)?))
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = SavedViews)]
struct Views {
    views: Vec<SavedView>,
}

pub(super) const VIEWS: Says = says("views", MESSAGES, "The lists this user comes back to")
    .gives::<Views>(200, "Names and terms")
    .refuses(&[(404, "There is no such thing"), (409, "It cannot be so; the detail says why")]);

/// `GET /api/v1/views`
pub(super) async fn views(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let who = call.presence()?.user.clone();
    let views = desk.services.sets.views(who).await.map_err(problem)?;
    Ok(json(&Views { views }))
}

pub(super) const SAVE_VIEW: Says = says("saveView", MESSAGES, "Keeps a list under a name")
    .takes::<SavedView>()
    .refuses(&[(404, "There is no such thing"), (409, "It cannot be so; the detail says why")]);

/// `POST /api/v1/views`
pub(super) async fn save_view(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let view: SavedView = call.json()?;
    let who = call.presence()?.user.clone();
    let fits = |text: &str, most: usize| {
        !text.trim().is_empty() && text.len() <= most && !text.chars().any(char::is_control)
    };
    if !fits(&view.name, 80) || view.terms.len() > 1_000 || view.terms.chars().any(char::is_control) {
        return Err(Problem::bad("a view has a name of 1 to 80 characters and terms of at most 1000"));
    }
    let name = view.name.clone();
    audited(&desk, &call, "view.save", name, desk.services.sets.save_view(who, view)).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ViewNamed)]
struct Named {
    name: String,
}

pub(super) const REMOVE_VIEW: Says = says("removeView", MESSAGES, "Forgets a list")
    .takes::<Named>()
    .refuses(&[(404, "There is no such thing"), (409, "It cannot be so; the detail says why")]);

/// `POST /api/v1/views/remove`
pub(super) async fn remove_view(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let Named { name } = call.json()?;
    let who = call.presence()?.user.clone();
    let done = desk.services.sets.remove_view(who, name.clone());
    audited(&desk, &call, "view.remove", name, done).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
