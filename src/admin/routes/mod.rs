//! Every route of the desk in one table: path, method, who may, how much it takes. What is not in the table is
//! a page, or nothing.

mod account;
mod act;
mod associate;
mod call;
mod enter;
mod factor;
mod live;
mod look;
mod onward;
mod pair;
mod people;
mod probe;
mod record;
mod users;
mod vouched;
mod work;

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use warp::Filter;
use warp::http::header::{ALLOW, HeaderMap, HeaderValue};
use warp::http::{Method, StatusCode};
use warp::path::FullPath;
use warp::reply::Response as Answer;

use super::admission::{ANY_STAGE, Presence, Terms, bearer};
use super::answer::Problem;
use super::desk::{Arrival, Desk};
use super::guard;
use crate::access::{Permission, Stage};
pub(super) use call::fuzz;
use call::{Call, decoded};

/// One route.
struct Route {
    method: Method,
    /// Segments; `{}` stands for one that is taken as a parameter.
    path: &'static str,
    need: Need,
    /// What it asks besides.
    terms: Terms,
    /// Most bytes of a request body.
    body_max: usize,
    run: Run,
}

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Anyone.
    Nothing,
    /// A session whose role has this permission.
    Session(Permission),
    /// The box itself, a bearer of the metrics token, or any session.
    Scraper,
}

type Run = fn(Arc<Desk>, Call) -> Running;
type Running = Pin<Box<dyn Future<Output = Result<Answer, Problem>> + Send>>;
type Body = Pin<Box<dyn Stream<Item = Result<Bytes, warp::Error>> + Send>>;

const NO_BODY: usize = 0;
/// A name and a password, or a code with both.
const SMALL_BODY: usize = 4096;
/// A link with all its settings.
const LINK_BODY: usize = 16 << 10;
/// A body must be whole after this long.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

const fn get(path: &'static str, need: Need, run: Run) -> Route {
    Route { method: Method::GET, path, need, terms: NO_TERMS, body_max: NO_BODY, run }
}

const fn post(path: &'static str, need: Need, body_max: usize, run: Run) -> Route {
    Route { method: Method::POST, path, need, terms: NO_TERMS, body_max, run }
}

const NO_TERMS: Terms = Terms { risky: false, in_person: false, by_place: false, entering: &[] };

impl Route {
    /// Asks for a fresh proof of who it is.
    const fn risky(mut self) -> Self {
        self.terms.risky = true;
        self
    }

    /// Not with an API token.
    const fn in_person(mut self) -> Self {
        self.terms.in_person = true;
        self
    }

    /// Shows and changes only what is in sight of the caller. Every other route that needs more than a session is shut
    /// to users who are limited to places.
    const fn by_place(mut self) -> Self {
        self.terms.by_place = true;
        self
    }

    /// Open also to sessions that have come only so far.
    const fn entering(mut self, stages: &'static [Stage]) -> Self {
        self.terms.entering = stages;
        self
    }
}

const LOOK: Need = Need::Session(Permission::Look);
const READ: Need = Need::Session(Permission::ReadMessages);
const RESEND: Need = Need::Session(Permission::Resend);
const PAIR: Need = Need::Session(Permission::Pair);
const WORKLIST: Need = Need::Session(Permission::Worklist);
const ASSOCIATE: Need = Need::Session(Permission::Associate);
const PRESENCE: Need = Need::Session(Permission::Presence);
const USERS: Need = Need::Session(Permission::Users);

/// Where a second factor is being made because there must be one.
const ENROLLING: &[Stage] = &[Stage::Enrol];

/// The table. A test walks it with and without a session.
const ROUTES: &[Route] = &[
    get("/healthz", Need::Nothing, |desk, call| Box::pin(probe::healthz(desk, call))),
    get("/readyz", Need::Nothing, |desk, call| Box::pin(probe::readyz(desk, call))),
    get("/metrics", Need::Scraper, |desk, call| Box::pin(probe::metrics(desk, call))),
    get("/api/v1/setup", Need::Nothing, |desk, call| Box::pin(enter::setup_state(desk, call))),
    post("/api/v1/setup", Need::Nothing, SMALL_BODY, |desk, call| Box::pin(enter::setup(desk, call))),
    post("/api/v1/login", Need::Nothing, SMALL_BODY, |desk, call| Box::pin(enter::login(desk, call))),
    post("/api/v1/logout", PRESENCE, NO_BODY, |desk, call| Box::pin(enter::logout(desk, call)))
        .entering(ANY_STAGE)
        .in_person(),
    get("/api/v1/session", PRESENCE, |desk, call| Box::pin(enter::session(desk, call))).entering(ANY_STAGE),
    post("/api/v1/factor/challenge", PRESENCE, NO_BODY, |desk, call| Box::pin(factor::challenge(desk, call)))
        .entering(ANY_STAGE)
        .in_person(),
    post("/api/v1/factor/prove", PRESENCE, LINK_BODY, |desk, call| Box::pin(factor::prove(desk, call)))
        .entering(ANY_STAGE)
        .in_person(),
    get("/api/v1/oidc/begin", Need::Nothing, |desk, call| Box::pin(vouched::begin(desk, call))),
    get("/api/v1/oidc/return", Need::Nothing, |desk, call| Box::pin(vouched::back(desk, call))),
    get("/api/v1/account", PRESENCE, |desk, call| Box::pin(factor::account(desk, call)))
        .entering(ANY_STAGE)
        .in_person(),
    post("/api/v1/account/totp/begin", PRESENCE, NO_BODY, |desk, call| {
        Box::pin(factor::totp_begin(desk, call))
    })
    .entering(ENROLLING)
    .risky()
    .in_person(),
    post("/api/v1/account/totp", PRESENCE, SMALL_BODY, |desk, call| Box::pin(factor::totp_add(desk, call)))
        .entering(ENROLLING)
        .risky()
        .in_person(),
    post("/api/v1/account/passkey/begin", PRESENCE, NO_BODY, |desk, call| {
        Box::pin(factor::passkey_begin(desk, call))
    })
    .entering(ENROLLING)
    .risky()
    .in_person(),
    post("/api/v1/account/passkey", PRESENCE, LINK_BODY, |desk, call| {
        Box::pin(factor::passkey_add(desk, call))
    })
    .entering(ENROLLING)
    .risky()
    .in_person(),
    post("/api/v1/account/recovery", PRESENCE, NO_BODY, |desk, call| Box::pin(factor::recovery(desk, call)))
        .risky()
        .in_person(),
    post("/api/v1/account/factors/{}/remove", PRESENCE, NO_BODY, |desk, call| {
        Box::pin(factor::remove(desk, call))
    })
    .risky()
    .in_person(),
    post("/api/v1/account/password", PRESENCE, SMALL_BODY, |desk, call| {
        Box::pin(account::password(desk, call))
    })
    .entering(&[Stage::Password])
    .in_person(),
    get("/api/v1/account/sessions", PRESENCE, |desk, call| Box::pin(account::sessions(desk, call)))
        .in_person(),
    post("/api/v1/account/sessions/end-others", PRESENCE, NO_BODY, |desk, call| {
        Box::pin(account::end_others(desk, call))
    })
    .in_person(),
    post("/api/v1/account/sessions/{}/end", PRESENCE, NO_BODY, |desk, call| {
        Box::pin(account::end_session(desk, call))
    })
    .in_person(),
    get("/api/v1/account/tokens", PRESENCE, |desk, call| Box::pin(account::tokens(desk, call))).in_person(),
    post("/api/v1/account/tokens", PRESENCE, SMALL_BODY, |desk, call| {
        Box::pin(account::add_token(desk, call))
    })
    .risky()
    .in_person(),
    post("/api/v1/account/tokens/{}/revoke", PRESENCE, NO_BODY, |desk, call| {
        Box::pin(account::revoke_token(desk, call))
    })
    .in_person(),
    post("/api/v1/break-glass", Need::Session(Permission::BreakGlass), SMALL_BODY, |desk, call| {
        Box::pin(account::break_glass(desk, call))
    })
    .risky()
    .in_person()
    .by_place(),
    post("/api/v1/break-glass/end", PRESENCE, NO_BODY, |desk, call| {
        Box::pin(account::end_break_glass(desk, call))
    })
    .in_person(),
    get("/api/v1/break-glass", Need::Session(Permission::Audit), |desk, call| {
        Box::pin(account::break_glasses(desk, call))
    }),
    get("/api/v1/users", USERS, |desk, call| Box::pin(users::list(desk, call))),
    post("/api/v1/users", USERS, SMALL_BODY, |desk, call| Box::pin(users::add(desk, call)))
        .risky()
        .in_person(),
    post("/api/v1/users/{}/change", USERS, LINK_BODY, |desk, call| Box::pin(users::edit(desk, call)))
        .risky()
        .in_person(),
    post("/api/v1/users/{}/password", USERS, NO_BODY, |desk, call| {
        Box::pin(users::reset_password(desk, call))
    })
    .risky()
    .in_person(),
    post("/api/v1/users/{}/factors/reset", USERS, NO_BODY, |desk, call| {
        Box::pin(users::reset_factors(desk, call))
    })
    .risky()
    .in_person(),
    post("/api/v1/users/{}/remove", USERS, NO_BODY, |desk, call| Box::pin(users::remove(desk, call)))
        .risky()
        .in_person(),
    get("/api/v1/users/{}/sessions", USERS, |desk, call| Box::pin(users::sessions(desk, call))),
    post("/api/v1/users/{}/sessions/end", USERS, NO_BODY, |desk, call| {
        Box::pin(users::end_sessions(desk, call))
    })
    .in_person(),
    get("/api/v1/overview", LOOK, |desk, call| Box::pin(look::overview(desk, call))).by_place(),
    get("/api/v1/live", LOOK, |desk, call| Box::pin(live::live(desk, call))).by_place(),
    get("/api/v1/devices/{}", LOOK, |desk, call| Box::pin(look::device(desk, call))).by_place(),
    get("/api/v1/devices/{}/trend", LOOK, |desk, call| Box::pin(look::trend(desk, call))).by_place(),
    get("/api/v1/entries", READ, |desk, call| Box::pin(look::entries(desk, call))).by_place(),
    get("/api/v1/entries/{}", READ, |desk, call| Box::pin(look::entry(desk, call))).by_place(),
    get("/api/v1/entries/{}/hl7", READ, |desk, call| Box::pin(look::hl7(desk, call))).by_place(),
    post("/api/v1/entries/{}/release", RESEND, NO_BODY, |desk, call| Box::pin(act::release(desk, call)))
        .by_place(),
    post("/api/v1/entries/{}/replay", RESEND, NO_BODY, |desk, call| Box::pin(act::replay(desk, call)))
        .by_place(),
    get("/api/v1/upstream", LOOK, |desk, call| Box::pin(look::upstream(desk, call))),
    post("/api/v1/upstream/test", Need::Session(Permission::TestUpstream), NO_BODY, |desk, call| {
        Box::pin(act::test_upstream(desk, call))
    }),
    get("/api/v1/pairing", PAIR, |desk, call| Box::pin(pair::standing(desk, call))),
    post("/api/v1/pairing/preview", PAIR, SMALL_BODY, |desk, call| Box::pin(pair::preview(desk, call))),
    post("/api/v1/pairing/accept", PAIR, SMALL_BODY, |desk, call| Box::pin(pair::accept(desk, call))),
    post("/api/v1/pairing/forget", PAIR, SMALL_BODY, |desk, call| Box::pin(pair::forget(desk, call))),
    post("/api/v1/pairing/links", PAIR, LINK_BODY, |desk, call| Box::pin(pair::add_link(desk, call))),
    post("/api/v1/pairing/links/{}/remove", PAIR, NO_BODY, |desk, call| {
        Box::pin(pair::remove_link(desk, call))
    }),
    get("/api/v1/pairing/ports", PAIR, |desk, call| Box::pin(pair::ports(desk, call))),
    get("/api/v1/pairing/scan", PAIR, |desk, call| Box::pin(pair::scanning(desk, call))),
    post("/api/v1/pairing/scan", PAIR, SMALL_BODY, |desk, call| Box::pin(pair::scan(desk, call))),
    get("/api/v1/recordings", PAIR, |desk, call| Box::pin(record::list(desk, call))),
    post("/api/v1/recordings", PAIR, SMALL_BODY, |desk, call| Box::pin(record::start(desk, call))),
    get("/api/v1/recordings/{}", PAIR, |desk, call| Box::pin(record::export(desk, call))),
    post("/api/v1/recordings/{}/stop", PAIR, NO_BODY, |desk, call| Box::pin(record::stop(desk, call))),
    post("/api/v1/recordings/{}/remove", PAIR, NO_BODY, |desk, call| Box::pin(record::remove(desk, call))),
    get("/api/v1/worklist", WORKLIST, |desk, call| Box::pin(work::orders(desk, call))),
    post("/api/v1/worklist", WORKLIST, LINK_BODY, |desk, call| Box::pin(work::add(desk, call))),
    post("/api/v1/worklist/{}/cancel", WORKLIST, NO_BODY, |desk, call| Box::pin(work::cancel(desk, call))),
    get("/api/v1/destinations", LOOK, |desk, call| Box::pin(onward::destinations(desk, call))),
    get("/api/v1/destinations/{}/messages", READ, |desk, call| Box::pin(onward::messages(desk, call))),
    post("/api/v1/destinations/{}/pause", RESEND, NO_BODY, |desk, call| Box::pin(onward::pause(desk, call))),
    post("/api/v1/destinations/{}/resume", RESEND, NO_BODY, |desk, call| {
        Box::pin(onward::resume(desk, call))
    }),
    post("/api/v1/destinations/{}/release", RESEND, NO_BODY, |desk, call| {
        Box::pin(onward::release_all(desk, call))
    }),
    post("/api/v1/destinations/{}/replay", RESEND, SMALL_BODY, |desk, call| {
        Box::pin(onward::replay(desk, call))
    }),
    get("/api/v1/outgoing/{}", READ, |desk, call| Box::pin(onward::message(desk, call))),
    post("/api/v1/outgoing/{}/release", RESEND, NO_BODY, |desk, call| Box::pin(onward::release(desk, call))),
    post("/api/v1/outgoing/{}/rebuild", RESEND, NO_BODY, |desk, call| Box::pin(onward::rebuild(desk, call))),
    post("/api/v1/outgoing/{}/drop", RESEND, SMALL_BODY, |desk, call| Box::pin(onward::discard(desk, call))),
    get("/api/v1/associations", ASSOCIATE, |desk, call| Box::pin(associate::standing(desk, call))).by_place(),
    get("/api/v1/associations/devices/{}", ASSOCIATE, |desk, call| Box::pin(associate::timeline(desk, call)))
        .by_place(),
    get("/api/v1/associations/doubts", ASSOCIATE, |desk, call| Box::pin(associate::doubts(desk, call))),
    post("/api/v1/associations/find", ASSOCIATE, SMALL_BODY, |desk, call| {
        Box::pin(associate::find(desk, call))
    })
    .by_place(),
    post("/api/v1/associations", ASSOCIATE, SMALL_BODY, |desk, call| {
        Box::pin(associate::associate(desk, call))
    })
    .by_place(),
    post("/api/v1/associations/home", ASSOCIATE, SMALL_BODY, |desk, call| {
        Box::pin(associate::home(desk, call))
    })
    .by_place(),
    post("/api/v1/associations/{}/end", ASSOCIATE, SMALL_BODY, |desk, call| {
        Box::pin(associate::end(desk, call))
    })
    .by_place(),
    post("/api/v1/associations/{}/correct", ASSOCIATE, SMALL_BODY, |desk, call| {
        Box::pin(associate::correct(desk, call))
    })
    .by_place(),
    post("/api/v1/people", READ, SMALL_BODY, |desk, call| Box::pin(people::search(desk, call))),
    get("/api/v1/people/{}", READ, |desk, call| Box::pin(people::person(desk, call))),
    get("/api/v1/places", READ, |desk, call| Box::pin(people::places(desk, call))),
    post("/api/v1/people/merges/{}/undo", RESEND, NO_BODY, |desk, call| {
        Box::pin(people::unmerge(desk, call))
    }),
    post("/api/v1/pairing/scan/stop", PAIR, NO_BODY, |desk, call| Box::pin(pair::stop_scan(desk, call))),
];

/// The whole desk as one warp filter; it never rejects.
pub(super) fn filter(desk: Arc<Desk>) -> impl Filter<Extract = (Answer,), Error = Infallible> + Clone {
    let query = warp::query::<HashMap<String, String>>()
        .or_else(|_| async { Ok::<_, warp::Rejection>((HashMap::new(),)) });
    warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<Arrival>())
        .and(warp::body::stream().map(|stream| -> Body { Box::pin(stream_of_bytes(stream)) }))
        .then(move |method, path: FullPath, query, headers, arrival: Option<Arrival>, body| {
            let desk = desk.clone();
            async move {
                let asked = Asked { method, path: path.as_str().into(), query, headers, body };
                let mut answer = match arrival {
                    Some(arrival) => answer(desk, asked, arrival).await,
                    None => Problem::unavailable("a request without its peer's address").into_answer(),
                };
                guard::dress(answer.headers_mut());
                answer
            }
        })
        .recover(|_| async {
            let mut answer = Problem::bad("the request could not be read").into_answer();
            guard::dress(answer.headers_mut());
            Ok::<_, Infallible>(answer)
        })
        .unify()
}

fn stream_of_bytes<B: Buf>(
    stream: impl Stream<Item = Result<B, warp::Error>>,
) -> impl Stream<Item = Result<Bytes, warp::Error>> {
    stream.map(|chunk| chunk.map(|mut chunk| chunk.copy_to_bytes(chunk.remaining())))
}

struct Asked {
    method: Method,
    path: String,
    query: HashMap<String, String>,
    headers: HeaderMap,
    body: Body,
}

async fn answer(desk: Arc<Desk>, asked: Asked, arrival: Arrival) -> Answer {
    // HEAD is GET without the body (RFC 9110 §9.3.2).
    let head = asked.method == Method::HEAD;
    let method = if head { Method::GET } else { asked.method.clone() };
    let mut answer = match find(&asked.path, &method) {
        Found::Route(route, parameters) => match run(desk, route, parameters, asked, arrival).await {
            Ok(answer) => answer,
            Err(problem) => problem.into_answer(),
        },
        Found::OtherMethod(allowed) => not_allowed(&allowed),
        Found::Nothing if asked.path == "/api" || asked.path.starts_with("/api/") => {
            Problem::not_found().into_answer()
        }
        Found::Nothing if method != Method::GET => not_allowed("GET, HEAD"),
        Found::Nothing => desk.pages.answer(&asked.path, &asked.headers),
    };
    if head {
        *answer.body_mut() = Bytes::new().into();
    }
    answer
}

/// Everything that stands before a route, in this order: our own page, who may, how much.
async fn run(
    desk: Arc<Desk>,
    route: &'static Route,
    parameters: Vec<String>,
    asked: Asked,
    arrival: Arrival,
) -> Result<Answer, Problem> {
    let Asked { query, headers, body, .. } = asked;
    if route.method != Method::GET
        && bearer(&headers).is_none()
        && !guard::same_origin(&headers, guard::authority(arrival.authority.as_deref(), &headers))
    {
        let detail =
            "changes are taken only from the desk's own pages (X-Bedside-Csrf and Origin or Sec-Fetch-Site)";
        return Err(Problem::new(StatusCode::FORBIDDEN, "foreign-origin", detail));
    }
    let presence = match route.need {
        Need::Nothing => None,
        Need::Session(permission) => {
            Some(desk.admit(&headers, arrival.peer.ip(), permission, route.terms, route.path).await?)
        }
        Need::Scraper => {
            let whole = |presence: &Presence| presence.stage == Stage::In;
            if !desk.is_scraper(&headers, arrival.peer.ip())
                && !desk.presence(&headers).await?.as_ref().is_some_and(whole)
            {
                return Err(Problem::unauthenticated());
            }
            None
        }
    };
    let body = read(body, route.body_max).await?;
    let authority = guard::authority(arrival.authority.as_deref(), &headers).map(ToOwned::to_owned);
    let call = Call { parameters, query, headers, body, peer: arrival.peer.ip(), authority, presence };
    let answer = (route.run)(desk, call).await;
    tracing::debug!(
        route = route.path,
        method = %route.method,
        status = answer.as_ref().map_or_else(|problem| problem.status, |answer| answer.status()).as_u16(),
        "the desk answered"
    );
    answer
}

/// Reads a body up to its limit. Nothing beyond is taken, whatever `Content-Length` said.
async fn read(mut body: Body, max: usize) -> Result<Bytes, Problem> {
    let reading = async {
        let mut bytes = BytesMut::new();
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|_| Problem::bad("the request broke off"))?;
            if bytes.len() + chunk.len() > max {
                let detail = format!("the body is larger than the {max} bytes taken here");
                return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    };
    let slow = |_| Problem::new(StatusCode::REQUEST_TIMEOUT, "too-slow", "the body took too long");
    tokio::time::timeout(BODY_TIMEOUT, reading).await.map_err(slow)?
}

enum Found {
    Route(&'static Route, Vec<String>),
    /// The path is there, with these methods.
    OtherMethod(String),
    Nothing,
}

fn find(path: &str, method: &Method) -> Found {
    let mut methods: Vec<&str> = Vec::new();
    for route in ROUTES {
        let Some(parameters) = matches(route.path, path) else { continue };
        if route.method == method {
            return Found::Route(route, parameters);
        }
        methods.push(route.method.as_str());
        if route.method == Method::GET {
            methods.push("HEAD");
        }
    }
    if methods.is_empty() { Found::Nothing } else { Found::OtherMethod(methods.join(", ")) }
}

/// The parameters of `path`, decoded, when it has the shape of `pattern`.
fn matches(pattern: &str, path: &str) -> Option<Vec<String>> {
    let mut parameters = Vec::new();
    let mut segments = path.split('/');
    for expected in pattern.split('/') {
        let segment = segments.next()?;
        match expected {
            "{}" => parameters.push(decoded(segment)?),
            _ if expected == segment => {}
            _ => return None,
        }
    }
    segments.next().is_none().then_some(parameters)
}

fn not_allowed(methods: &str) -> Answer {
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", format!("here only {methods}"));
    let mut answer = problem.into_answer();
    if let Ok(methods) = HeaderValue::from_str(methods) {
        answer.headers_mut().insert(ALLOW, methods);
    }
    answer
}

#[cfg(test)]
pub(super) mod table {
    //! The table as tests walk it.
    use super::{Method, Need, ROUTES};

    /// (method, path with `{}` filled, what it asks for) of every route that asks for a session.
    pub(in crate::admin) fn permissions() -> Vec<(Method, String, crate::access::Permission)> {
        ROUTES
            .iter()
            .filter_map(|route| match route.need {
                Need::Session(permission) => {
                    Some((route.method.clone(), route.path.replace("{}", "1"), permission))
                }
                _ => None,
            })
            .collect()
    }

    /// (method, path with `{}` filled, needs a session, is a scraper's)
    pub(in crate::admin) fn rows() -> Vec<(Method, String, bool, bool)> {
        ROUTES
            .iter()
            .map(|route| {
                let session = matches!(route.need, Need::Session(_));
                (route.method.clone(), route.path.replace("{}", "1"), session, route.need == Need::Scraper)
            })
            .collect()
    }
}
