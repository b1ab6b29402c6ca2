//! Who may go through a route: a session or an API token, how far its user has come, what they may, and whether they
//! must prove again who they are. Everything is asked anew with each request.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use warp::http::StatusCode;
use warp::http::header::{AUTHORIZATION, HeaderMap, USER_AGENT};

use super::answer::Problem;
use super::desk::Desk;
use super::guard;
use super::live::Severity;
use super::store::{AuditRow, Outcome, Session, User};
use crate::access::{
    Grants, Permission, Permissions, Place, Proof, Role, SessionState, Stage, TokenHash, judge,
};
use crate::buffer::{AccountChange, BreakGlassRow, Change};
use crate::clock::Timestamp;

/// `last_seen` of a session or token is written at most this often.
const TOUCH_EVERY: Duration = Duration::from_secs(60);
/// Characters of a browser's name of itself that are kept.
const AGENT_MAX: usize = 200;
/// What an emergency gives besides everything the user has.
const IN_AN_EMERGENCY: [Permission; 3] = [Permission::Look, Permission::ReadMessages, Permission::Associate];

/// Who is there.
#[derive(Clone, Debug)]
pub(super) struct Presence {
    /// Of the session's cookie, or of the API token.
    pub(super) token: TokenHash,
    pub(super) user: String,
    pub(super) role: Role,
    pub(super) source: String,
    pub(super) stage: Stage,
    pub(super) permissions: Permissions,
    pub(super) grants: Grants,
    /// `None` for an API token.
    pub(super) session: Option<Session>,
    pub(super) break_glass: Option<BreakGlassRow>,
}

/// What a route asks of those who come, beside the permission.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Terms {
    /// A fresh proof of who it is.
    pub(super) risky: bool,
    /// No API token.
    pub(super) in_person: bool,
    /// The route shows only what is in sight of the caller.
    pub(super) by_place: bool,
    /// Besides whole sessions, those that have come so far.
    pub(super) entering: &'static [Stage],
}

/// Every stage, for routes that somebody needs to get in or out.
pub(super) const ANY_STAGE: &[Stage] = &[Stage::Factor, Stage::Password, Stage::Enrol];

/// What a user sees of the devices.
#[derive(Clone, Debug)]
pub(super) enum Sight {
    All,
    /// Only these, by key.
    Only(HashSet<String>),
}

impl Sight {
    pub(super) fn covers(&self, device: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(keys) => keys.contains(device),
        }
    }

    /// An unseen device is not told from one that does not exist.
    pub(super) fn check(&self, device: Option<&str>) -> Result<(), Problem> {
        let seen = match device {
            Some(device) => self.covers(device),
            None => matches!(self, Self::All),
        };
        if seen { Ok(()) } else { Err(Problem::not_found()) }
    }
}

fn refused(code: &'static str, detail: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, code, detail)
}

/// What the browser calls itself, cut.
pub(super) fn agent(headers: &HeaderMap) -> String {
    let text = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.chars().filter(|c| !c.is_control()).take(AGENT_MAX).collect()
}

/// The API token a request bears: then no cookie counts, and no page of another site can have sent it.
pub(super) fn bearer(headers: &HeaderMap) -> Option<Option<TokenHash>> {
    let given = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer bds_")?;
    Some(TokenHash::of(given))
}

impl Desk {
    /// Who sends this request, if anyone; counts as use of the session or token.
    pub(super) async fn presence(&self, headers: &HeaderMap) -> Result<Option<Presence>, Problem> {
        if let Some(token) = bearer(headers) {
            return match token {
                Some(token) => self.presence_by_token(token).await,
                None => Ok(None),
            };
        }
        let Some(token) = guard::claimed_session(headers) else { return Ok(None) };
        let Some((session, user)) = self.live_session(token).await? else { return Ok(None) };
        let now = self.now();
        if now.since(session.last_seen) >= TOUCH_EVERY || session.last_seen.micros > now.micros {
            self.services.store.use_session(token, now).await?;
        }
        self.present(user, token, Some(session), now).await.map(Some)
    }

    async fn present(
        &self,
        user: User,
        token: TokenHash,
        session: Option<Session>,
        now: Timestamp,
    ) -> Result<Presence, Problem> {
        let break_glass = self.services.store.accounts().break_glass(&user.name, now).await;
        let break_glass = break_glass.map_err(Problem::unavailable)?;
        let grants = self.services.access.granted(user.grants);
        let mut permissions = grants.permissions(user.role);
        if break_glass.is_some() {
            permissions = IN_AN_EMERGENCY.into_iter().fold(permissions, Permissions::with);
        }
        Ok(Presence {
            token,
            user: user.name,
            role: user.role,
            source: user.source,
            stage: session.as_ref().map_or(Stage::In, |session| session.stage),
            permissions,
            grants,
            session,
            break_glass,
        })
    }

    async fn presence_by_token(&self, hash: TokenHash) -> Result<Option<Presence>, Problem> {
        let store = &self.services.store;
        let token = store.accounts().token(hash.0.to_vec()).await.map_err(Problem::unavailable)?;
        let now = self.now();
        let Some(token) = token.filter(|token| now.micros < token.expires.micros) else { return Ok(None) };
        let user = store.user(token.user.clone()).await?.filter(|user| !user.disabled);
        let Some(user) = user else { return Ok(None) };
        if token.last_used.is_none_or(|at| now.since(at) >= TOUCH_EVERY || at.micros > now.micros) {
            let used = Change::Account(AccountChange::UseToken { id: token.id });
            store.change_accounts(vec![used], None).await?.map_err(Problem::unavailable)?;
        }
        let mut presence = self.present(user, hash, None, now).await?;
        // An emergency is a person's; a token has what it was given, and never more than its owner has now.
        presence.break_glass = None;
        let given: Permissions = token
            .permissions
            .split(' ')
            .filter_map(Permission::parse)
            .chain([Permission::Presence])
            .collect();
        let owns = presence.grants.permissions(presence.role);
        presence.permissions = given.both(owns);
        Ok(Some(presence))
    }

    /// Whether a session or token still counts for what it began; looking does not count as use.
    pub(super) async fn still_there(&self, presence: &Presence) -> bool {
        if presence.session.is_none() {
            let token = self.services.store.accounts().token(presence.token.0.to_vec()).await;
            let live = matches!(token, Ok(Some(token)) if self.now().micros < token.expires.micros);
            let user = self.services.store.user(presence.user.clone()).await;
            return live && matches!(user, Ok(Some(user)) if !user.disabled);
        }
        matches!(self.live_session(presence.token).await, Ok(Some((session, _))) if session.stage == Stage::In)
    }

    async fn live_session(&self, token: TokenHash) -> Result<Option<(Session, User)>, Problem> {
        let store = &self.services.store;
        let Some(session) = store.session(token).await? else { return Ok(None) };
        let limits = self.services.access.limits();
        if judge(session.created, session.last_seen, self.now(), limits) != SessionState::Live {
            store.end_session(token, None).await?;
            return Ok(None);
        }
        // Asked each time: a user who is removed, disabled or gets another role is out or changed at once.
        let user = store.user(session.user.clone()).await?.filter(|user| !user.disabled);
        Ok(user.map(|user| (session, user)))
    }

    /// Lets a request through to a route that asks for this, or says why not.
    pub(super) async fn admit(
        &self,
        headers: &HeaderMap,
        peer: IpAddr,
        permission: Permission,
        terms: Terms,
        route: &'static str,
    ) -> Result<Presence, Problem> {
        let presence = self.presence(headers).await?.ok_or_else(Problem::unauthenticated)?;
        if presence.session.is_none() && terms.in_person {
            return Err(refused("in-person", "this is done by a person at the desk, not with an API token"));
        }
        match presence.stage {
            Stage::In => {}
            stage if terms.entering.contains(&stage) => return Ok(presence),
            Stage::Password => return Err(refused("password-change", "choose a password of your own first")),
            Stage::Factor => return Err(refused("second-factor", "prove your second factor first")),
            Stage::Enrol => return Err(refused("second-factor", "set up a second factor first")),
        }
        if !presence.permissions.holds(permission) {
            self.audit_refusal(&presence.user, route, permission.word(), peer).await?;
            return Err(refused("role", "your role may not do that"));
        }
        let limited = presence.grants.is_limited() && presence.break_glass.is_none();
        if limited && !terms.by_place && permission != Permission::Presence {
            self.audit_refusal(&presence.user, route, "beyond the user's places", peer).await?;
            return Err(refused("place", "you may use only what belongs to your places; this has no place"));
        }
        self.check_proof(&presence, headers, peer, terms)?;
        if presence.break_glass.is_some()
            && matches!(permission, Permission::ReadMessages | Permission::Associate)
        {
            let line = self.line(Some(&presence.user), "break-glass.use", Outcome::Done, peer);
            self.audit(AuditRow { target: Some(route.into()), ..line }).await?;
        }
        Ok(presence)
    }

    fn check_proof(
        &self,
        presence: &Presence,
        headers: &HeaderMap,
        peer: IpAddr,
        terms: Terms,
    ) -> Result<(), Problem> {
        let Some(session) = &presence.session else { return Ok(()) };
        // Proving, leaving and asking who one is must always be possible.
        if !terms.entering.is_empty() && !terms.risky {
            return Ok(());
        }
        let proof = Proof { at: session.proven, from: &session.peer, agent: &session.agent };
        let rules = &self.services.access.step_up;
        match rules.doubts(proof, peer, &agent(headers), terms.risky, self.now()) {
            None => Ok(()),
            Some(doubt) => Err(refused("step-up-required", doubt.why())),
        }
    }

    /// Raises the alarm of an emergency while one lasts, also one from before the box was started.
    pub(super) async fn look_at_glass(&self) {
        let Ok(all) = self.services.store.accounts().break_glasses().await else { return };
        let now = self.now().micros;
        if all.iter().any(|one| one.ended.is_none() && one.until.micros > now) {
            self.services.live.alarm(
                "break-glass",
                Severity::Warning,
                "A user opened the box beyond their places",
                "see who and why under Users, and talk to them",
            );
        } else {
            self.services.live.clear_alarm("break-glass");
        }
    }

    /// As [`Self::sight`], with the emergency as it stands now.
    pub(super) async fn sight_now(&self, presence: &Presence) -> Result<Sight, Problem> {
        let glass = self.services.store.accounts().break_glass(&presence.user, self.now()).await;
        let own = presence.session.is_some();
        let break_glass = glass.map_err(Problem::unavailable)?.filter(|_| own);
        self.sight(&Presence { break_glass, ..presence.clone() }).await
    }

    /// What of the devices a user sees: those whose home is in their places, and those named.
    pub(super) async fn sight(&self, presence: &Presence) -> Result<Sight, Problem> {
        if !presence.grants.is_limited() || presence.break_glass.is_some() {
            return Ok(Sight::All);
        }
        let standing = self.services.associations.standing().await;
        let standing = standing.map_err(|_| Problem::unavailable("the devices' places could not be read"))?;
        let seen = standing.devices.into_iter().filter(|device| {
            let home = device.home.as_ref().map(|home| Place {
                facility: home.facility.as_deref(),
                point_of_care: home.point_of_care.as_deref(),
                room: home.room.as_deref(),
                bed: home.bed.as_deref(),
            });
            presence.grants.covers(&device.key, home)
        });
        let named = presence.grants.devices.iter().flatten().cloned();
        Ok(Sight::Only(seen.map(|device| device.key).chain(named).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warp::http::header::HeaderValue;

    #[test]
    fn only_a_token_of_ours_is_a_bearer() {
        let token = crate::access::Token::make().unwrap();
        let with = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            bearer(&headers)
        };
        assert_eq!(with(&format!("Bearer {}", token.api_text().as_str())), Some(Some(token.hash())));
        assert_eq!(with("Bearer bds_short"), Some(None), "it is nobody, whatever cookie comes with it");
        assert_eq!(with("Bearer scrape-me"), None);
        assert_eq!(with("Basic bds_x"), None);
        assert_eq!(bearer(&HeaderMap::new()), None);
    }

    #[test]
    fn a_browsers_name_is_cut_and_plain() {
        let mut headers = HeaderMap::new();
        assert_eq!(agent(&headers), "");
        headers.insert(
            USER_AGENT,
            HeaderValue::from_str(&"é".repeat(500)).unwrap_or(HeaderValue::from_static("x")),
        );
        assert!(agent(&headers).chars().count() <= AGENT_MAX);
        headers.insert(USER_AGENT, HeaderValue::from_static("Fox\t1"));
        assert_eq!(agent(&headers), "Fox1");
    }

    #[test]
    fn what_is_out_of_sight_is_not_there() {
        let some = Sight::Only(["a".to_string()].into());
        assert!(some.check(Some("a")).is_ok());
        assert_eq!(some.check(Some("b")).unwrap_err().status, StatusCode::NOT_FOUND);
        assert!(some.check(None).is_err(), "what is of no device is of no place");
        assert!(Sight::All.check(None).is_ok());
    }
}
