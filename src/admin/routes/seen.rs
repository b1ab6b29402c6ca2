//! Looking at patients' data leaves a line in the audit trail, before it is shown: which routes show any, and as what.
//!
//! Who looks at the same thing again within a few minutes leaves one line: a page that refreshes itself, or a message
//! opened with its parts, is one look.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use warp::http::Method;

use crate::clock::Timestamp;

/// Looks at the same thing within this time are one.
const ONE_LOOK: Duration = Duration::from_secs(5 * 60);
/// Looks remembered at once.
const LOOKS_MAX: usize = 4_096;

/// What a route shows of patients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shows {
    /// The word in the trail.
    pub(super) action: &'static str,
    /// What is looked at; `{}` is the first parameter of the path.
    pub(super) target: &'static str,
}

const fn get(
    path: &'static str,
    action: &'static str,
    target: &'static str,
) -> (Method, &'static str, Shows) {
    (Method::GET, path, Shows { action, target })
}

const fn post(
    path: &'static str,
    action: &'static str,
    target: &'static str,
) -> (Method, &'static str, Shows) {
    (Method::POST, path, Shows { action, target })
}

/// Routes that show patients' data and do not write their own line.
const SHOWN: &[(Method, &str, Shows)] = &[
    get("/api/v1/overview", "live.view", "values of all devices"),
    get("/api/v1/live", "live.view", "values of all devices"),
    get("/api/v1/devices/{key}", "device.view", "device {}"),
    get("/api/v1/devices/{key}/trend", "device.view", "device {}"),
    get("/api/v1/devices/{key}/waves", "device.view", "device {}"),
    get("/api/v1/entries", "entry.list", "entries"),
    get("/api/v1/entries/{id}", "entry.view", "entry {}"),
    get("/api/v1/entries/{id}/hl7", "entry.view", "entry {}"),
    post("/api/v1/search", "entries.search", "entries"),
    get("/api/v1/held", "entry.list", "held entries"),
    get("/api/v1/sets/{token}", "entry.list", "a set of entries"),
    get("/api/v1/destinations/{name}/messages", "outgoing.list", "destination {}"),
    get("/api/v1/outgoing/{id}", "outgoing.view", "outgoing message {}"),
    get("/api/v1/associations", "association.list", "associations"),
    get("/api/v1/associations/devices/{key}", "association.view", "device {}"),
    get("/api/v1/associations/doubts", "association.list", "doubts"),
    post("/api/v1/associations/find", "association.find", "a device"),
    post("/api/v1/pairing/preview", "pairing.preview", "a message of an unknown sender"),
    get("/api/v1/worklist", "worklist.list", "orders"),
    post("/api/v1/worklist/find", "worklist.list", "orders"),
];

/// Routes that show none, or write their own line. A test wants every route that reads to be here or above.
#[cfg(test)]
const OTHERS: &[&str] = &[
    "/api/v1/oidc/begin",
    "/api/v1/oidc/return",
    "/api/v1/account",
    "/api/v1/account/sessions",
    "/api/v1/account/tokens",
    "/api/v1/break-glass",
    "/api/v1/users",
    "/api/v1/users/{name}/sessions",
    "/api/openapi.json",
    "/api/v1/openapi.json",
    "/healthz",
    "/readyz",
    "/metrics",
    "/api/v1/setup",
    "/api/v1/session",
    "/api/v1/day",
    "/api/v1/first-steps",
    "/api/v1/devices",
    "/api/v1/upstream",
    "/api/v1/pairing",
    "/api/v1/pairing/ports",
    "/api/v1/pairing/scan",
    "/api/v1/recordings",
    "/api/v1/recordings/{name}",
    "/api/v1/destinations",
    "/api/v1/people/{id}",
    "/api/v1/places",
    "/api/v1/audit",
    "/api/v1/audit/export",
    "/api/v1/certificate",
    "/api/v1/certificate/acme",
    "/api/v1/entries/{id}/compare",
    "/api/v1/views",
    "/api/v1/profiles",
    "/api/v1/profiles/schema",
    "/api/v1/profiles/{profile}",
    "/api/v1/profiles/{profile}/export",
    "/api/v1/templates",
    "/api/v1/templates/{name}",
    "/api/v1/upstream/setup",
    "/api/v1/backups",
    "/api/v1/backups/{name}",
    "/api/v1/settings",
    "/api/v1/sbom",
    "/api/v1/licences",
    "/api/v1/updates",
];

/// What this route shows of patients, if anything.
pub(super) fn shows(method: &Method, path: &str) -> Option<Shows> {
    SHOWN.iter().find(|(of, route, _)| of == method && *route == path).map(|(.., shows)| *shows)
}

/// Who looked at what lately.
#[derive(Debug, Default)]
pub(in crate::admin) struct Looks(HashMap<(String, IpAddr, &'static str, String), Timestamp>);

impl Looks {
    /// Whether this look is one of its own.
    pub(in crate::admin) fn is_new(
        &self,
        who: &str,
        from: IpAddr,
        action: &'static str,
        target: &str,
        now: Timestamp,
    ) -> bool {
        let last = self.0.get(&(who.to_owned(), from, action, target.to_owned()));
        last.is_none_or(|last| now.since(*last) >= ONE_LOOK || *last > now)
    }

    /// Remembers a look that was written down.
    pub(in crate::admin) fn written(
        &mut self,
        who: &str,
        from: IpAddr,
        action: &'static str,
        target: String,
        now: Timestamp,
    ) {
        if self.0.len() >= LOOKS_MAX {
            self.0.retain(|_, last| now.since(*last) < ONE_LOOK && *last <= now);
        }
        if self.0.len() >= LOOKS_MAX {
            // Forgetting costs a line too many, never one too few.
            self.0.clear();
        }
        self.0.insert((who.to_owned(), from, action, target), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::routes::routes;

    #[test]
    fn every_route_that_reads_says_whether_it_shows_patients() {
        let gets = || routes().filter(|route| route.method == Method::GET).map(|route| route.path);
        for path in gets() {
            let shown = shows(&Method::GET, path).is_some();
            assert!(shown != OTHERS.contains(&path), "{path}: exactly one of both lists in routes/seen.rs");
        }
        for (method, path, _) in SHOWN {
            assert!(
                routes().any(|route| route.method == method && route.path == *path),
                "{path} is no route"
            );
        }
        for path in OTHERS {
            assert!(gets().any(|route| route == *path), "{path} is no route");
        }
    }

    #[test]
    fn a_look_is_one_for_five_minutes_and_for_one_person_at_one_place() {
        let (mut looks, ward) = (Looks::default(), IpAddr::from([10, 0, 0, 7]));
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000, true);
        assert!(looks.is_new("anna", ward, "entry.view", "entry 1", at(0)));
        looks.written("anna", ward, "entry.view", "entry 1".into(), at(0));
        assert!(!looks.is_new("anna", ward, "entry.view", "entry 1", at(299)));
        assert!(looks.is_new("anna", ward, "entry.view", "entry 1", at(300)));
        assert!(looks.is_new("anna", ward, "entry.view", "entry 1", at(-1)), "the clock was set back");
        assert!(looks.is_new("anna", ward, "entry.view", "entry 2", at(1)));
        assert!(looks.is_new("bob", ward, "entry.view", "entry 1", at(1)));
        assert!(looks.is_new("anna", IpAddr::from([10, 0, 0, 8]), "entry.view", "entry 1", at(1)));
        for n in 0..10_000 {
            looks.written("anna", ward, "entry.view", format!("entry {n}"), at(1));
        }
        assert!(looks.0.len() <= LOOKS_MAX);
    }
}
