//! Every route of the desk in one table: path, method, who may, how much it takes. What is not in the table is
//! a page, or nothing.

mod act;
mod associate;
mod call;
mod enter;
mod live;
mod look;
mod onward;
mod pair;
mod people;
mod probe;
mod profiles;
mod record;
mod sets;
mod system;
mod upstreams;
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

use super::answer::Problem;
use super::desk::{Arrival, Desk};
use super::guard;
use crate::access::Permission;
pub(super) use call::fuzz;
use call::{Call, decoded};

/// One route.
struct Route {
    method: Method,
    /// Segments; `{}` stands for one that is taken as a parameter.
    path: &'static str,
    need: Need,
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
/// A firmware profile or a page of templates.
const PAGE_BODY: usize = 600 << 10;
/// A piece of a backup.
const PIECE_BODY: usize = 4 << 20;
/// A body must be whole after this long.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

const fn get(path: &'static str, need: Need, run: Run) -> Route {
    Route { method: Method::GET, path, need, body_max: NO_BODY, run }
}

const fn post(path: &'static str, need: Need, body_max: usize, run: Run) -> Route {
    Route { method: Method::POST, path, need, body_max, run }
}

const LOOK: Need = Need::Session(Permission::Look);
const READ: Need = Need::Session(Permission::ReadMessages);
const RESEND: Need = Need::Session(Permission::Resend);
const PAIR: Need = Need::Session(Permission::Pair);
const WORKLIST: Need = Need::Session(Permission::Worklist);
const ASSOCIATE: Need = Need::Session(Permission::Associate);
const PROFILES: Need = Need::Session(Permission::Profiles);
const UPSTREAMS: Need = Need::Session(Permission::Upstreams);
const BACKUP: Need = Need::Session(Permission::Backup);
const SETTINGS: Need = Need::Session(Permission::Settings);
const PRESENCE: Need = Need::Session(Permission::Presence);

/// The table. A test walks it with and without a session.
const ROUTES: &[Route] = &[
    get("/healthz", Need::Nothing, |desk, call| Box::pin(probe::healthz(desk, call))),
    get("/readyz", Need::Nothing, |desk, call| Box::pin(probe::readyz(desk, call))),
    get("/metrics", Need::Scraper, |desk, call| Box::pin(probe::metrics(desk, call))),
    get("/api/v1/setup", Need::Nothing, |desk, call| Box::pin(enter::setup_state(desk, call))),
    post("/api/v1/setup", Need::Nothing, SMALL_BODY, |desk, call| Box::pin(enter::setup(desk, call))),
    post("/api/v1/login", Need::Nothing, SMALL_BODY, |desk, call| Box::pin(enter::login(desk, call))),
    post("/api/v1/logout", PRESENCE, NO_BODY, |desk, call| Box::pin(enter::logout(desk, call))),
    get("/api/v1/session", PRESENCE, |desk, call| Box::pin(enter::session(desk, call))),
    get("/api/v1/overview", LOOK, |desk, call| Box::pin(look::overview(desk, call))),
    get("/api/v1/live", LOOK, |desk, call| Box::pin(live::live(desk, call))),
    get("/api/v1/devices/{}", LOOK, |desk, call| Box::pin(look::device(desk, call))),
    get("/api/v1/devices/{}/trend", LOOK, |desk, call| Box::pin(look::trend(desk, call))),
    get("/api/v1/entries", READ, |desk, call| Box::pin(look::entries(desk, call))),
    post("/api/v1/search", READ, SMALL_BODY, |desk, call| Box::pin(sets::search(desk, call))),
    get("/api/v1/held", READ, |desk, call| Box::pin(sets::held(desk, call))),
    post("/api/v1/sets", RESEND, SMALL_BODY, |desk, call| Box::pin(sets::freeze(desk, call))),
    get("/api/v1/sets/{}", RESEND, |desk, call| Box::pin(sets::set(desk, call))),
    post("/api/v1/sets/{}/run", RESEND, SMALL_BODY, |desk, call| Box::pin(sets::run(desk, call))),
    get("/api/v1/entries/{}/compare", RESEND, |desk, call| Box::pin(sets::compare(desk, call))),
    get("/api/v1/views", READ, |desk, call| Box::pin(sets::views(desk, call))),
    post("/api/v1/views", READ, SMALL_BODY, |desk, call| Box::pin(sets::save_view(desk, call))),
    post("/api/v1/views/remove", READ, SMALL_BODY, |desk, call| Box::pin(sets::remove_view(desk, call))),
    get("/api/v1/entries/{}", READ, |desk, call| Box::pin(look::entry(desk, call))),
    get("/api/v1/entries/{}/hl7", READ, |desk, call| Box::pin(look::hl7(desk, call))),
    post("/api/v1/entries/{}/release", RESEND, NO_BODY, |desk, call| Box::pin(act::release(desk, call))),
    post("/api/v1/entries/{}/replay", RESEND, NO_BODY, |desk, call| Box::pin(act::replay(desk, call))),
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
    get("/api/v1/profiles", PROFILES, |desk, call| Box::pin(profiles::list(desk, call))),
    get("/api/v1/profiles/schema", PROFILES, |desk, call| Box::pin(profiles::schema(desk, call))),
    get("/api/v1/profiles/{}", PROFILES, |desk, call| Box::pin(profiles::page(desk, call))),
    get("/api/v1/profiles/{}/export", PROFILES, |desk, call| Box::pin(profiles::export(desk, call))),
    post("/api/v1/profiles/{}/check", PROFILES, PAGE_BODY, |desk, call| {
        Box::pin(profiles::check(desk, call))
    }),
    post("/api/v1/profiles/{}/run", PROFILES, PAGE_BODY, |desk, call| Box::pin(profiles::run(desk, call))),
    post("/api/v1/profiles/{}/save", PROFILES, PAGE_BODY, |desk, call| Box::pin(profiles::save(desk, call))),
    post("/api/v1/profiles/{}/revert", PROFILES, NO_BODY, |desk, call| {
        Box::pin(profiles::revert(desk, call))
    }),
    get("/api/v1/templates", PROFILES, |desk, call| Box::pin(profiles::templates(desk, call))),
    get("/api/v1/templates/{}", PROFILES, |desk, call| Box::pin(profiles::template(desk, call))),
    post("/api/v1/templates/{}/check", PROFILES, PAGE_BODY, |desk, call| {
        Box::pin(profiles::check_template(desk, call))
    }),
    post("/api/v1/templates/{}/run", PROFILES, PAGE_BODY, |desk, call| {
        Box::pin(profiles::run_template(desk, call))
    }),
    get("/api/v1/upstream/setup", UPSTREAMS, |desk, call| Box::pin(upstreams::set_up(desk, call))),
    post("/api/v1/upstream/discover", UPSTREAMS, LINK_BODY, |desk, call| {
        Box::pin(upstreams::discover(desk, call))
    }),
    post("/api/v1/upstream/try", UPSTREAMS, LINK_BODY, |desk, call| Box::pin(upstreams::try_out(desk, call))),
    post("/api/v1/upstream/keys", UPSTREAMS, SMALL_BODY, |desk, call| {
        Box::pin(upstreams::new_key(desk, call))
    }),
    post("/api/v1/upstream/keys/rotate", UPSTREAMS, NO_BODY, |desk, call| {
        Box::pin(upstreams::rotate(desk, call))
    }),
    post("/api/v1/upstream/keys/drop", UPSTREAMS, NO_BODY, |desk, call| {
        Box::pin(upstreams::drop_next(desk, call))
    }),
    post("/api/v1/upstream/save", UPSTREAMS, LINK_BODY, |desk, call| Box::pin(upstreams::save(desk, call))),
    post("/api/v1/upstream/remove", UPSTREAMS, NO_BODY, |desk, call| Box::pin(upstreams::remove(desk, call))),
    get("/api/v1/backups", BACKUP, |desk, call| Box::pin(system::backups(desk, call))),
    post("/api/v1/backups", BACKUP, NO_BODY, |desk, call| Box::pin(system::make(desk, call))),
    get("/api/v1/backups/{}", BACKUP, |desk, call| Box::pin(system::download(desk, call))),
    post("/api/v1/backups/{}/check", BACKUP, NO_BODY, |desk, call| Box::pin(system::check(desk, call))),
    post("/api/v1/backups/{}/remove", BACKUP, NO_BODY, |desk, call| Box::pin(system::remove(desk, call))),
    post("/api/v1/backups/{}/restore", BACKUP, NO_BODY, |desk, call| Box::pin(system::restore(desk, call))),
    post("/api/v1/backups/{}/upload", BACKUP, PIECE_BODY, |desk, call| Box::pin(system::upload(desk, call))),
    get("/api/v1/settings", SETTINGS, |desk, call| Box::pin(system::settings(desk, call))),
    get("/api/v1/updates", SETTINGS, |desk, call| Box::pin(system::updates(desk, call))),
    post("/api/v1/restart", SETTINGS, NO_BODY, |desk, call| Box::pin(system::restart(desk, call))),
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
    get("/api/v1/associations", ASSOCIATE, |desk, call| Box::pin(associate::standing(desk, call))),
    get("/api/v1/associations/devices/{}", ASSOCIATE, |desk, call| Box::pin(associate::timeline(desk, call))),
    get("/api/v1/associations/doubts", ASSOCIATE, |desk, call| Box::pin(associate::doubts(desk, call))),
    post("/api/v1/associations/find", ASSOCIATE, SMALL_BODY, |desk, call| {
        Box::pin(associate::find(desk, call))
    }),
    post("/api/v1/associations", ASSOCIATE, SMALL_BODY, |desk, call| {
        Box::pin(associate::associate(desk, call))
    }),
    post("/api/v1/associations/home", ASSOCIATE, SMALL_BODY, |desk, call| {
        Box::pin(associate::home(desk, call))
    }),
    post("/api/v1/associations/{}/end", ASSOCIATE, SMALL_BODY, |desk, call| {
        Box::pin(associate::end(desk, call))
    }),
    post("/api/v1/associations/{}/correct", ASSOCIATE, SMALL_BODY, |desk, call| {
        Box::pin(associate::correct(desk, call))
    }),
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
        && !guard::same_origin(&headers, guard::authority(arrival.authority.as_deref(), &headers))
    {
        let detail =
            "changes are taken only from the desk's own pages (X-Bedside-Csrf and Origin or Sec-Fetch-Site)";
        return Err(Problem::new(StatusCode::FORBIDDEN, "foreign-origin", detail));
    }
    let presence = match route.need {
        Need::Nothing => None,
        Need::Session(permission) => {
            let presence = desk.presence(&headers).await?.ok_or_else(Problem::unauthenticated)?;
            if !presence.role.may(permission) {
                return Err(Problem::new(StatusCode::FORBIDDEN, "role", "your role may not do that"));
            }
            Some(presence)
        }
        Need::Scraper => {
            if !desk.is_scraper(&headers, arrival.peer.ip()) && desk.presence(&headers).await?.is_none() {
                return Err(Problem::unauthenticated());
            }
            None
        }
    };
    let body = read(body, route.body_max).await?;
    let call = Call { parameters, query, headers, body, peer: arrival.peer.ip(), presence };
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
