//! Every route of the desk in one table: path, method, who may, how much it takes. What is not in the table is
//! a page, or nothing.

mod account;
mod act;
mod associate;
mod audit;
mod call;
mod certificate;
mod describe;
mod enter;
mod entrance;
mod factor;
mod live;
mod look;
mod onward;
mod pair;
mod people;
mod probe;
mod record;
mod says;
mod seen;
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

use super::admission::{Presence, Terms, bearer};
use super::answer::Problem;
use super::desk::{Arrival, Desk};
use super::guard;
use crate::access::{Permission, Stage};
use call::decoded;
pub(super) use call::{Call, fuzz};
pub(super) use describe::document;
use says::Says;
pub(super) use seen::Looks;

/// One route.
struct Route {
    method: Method,
    /// Segments; one in braces is taken as a parameter, `{id}` as a number.
    path: &'static str,
    need: Need,
    /// What it asks besides.
    terms: Terms,
    /// Most bytes of a request body.
    body_max: usize,
    run: Run,
    /// What the description of the API says of it.
    says: Says,
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
/// A certificate chain and its key.
const CERTIFICATE_BODY: usize = 64 << 10;
/// A link with all its settings.
const LINK_BODY: usize = 16 << 10;
/// A body must be whole after this long.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

const fn get(path: &'static str, need: Need, run: Run) -> Route {
    Route {
        method: Method::GET,
        path,
        need,
        terms: NO_TERMS,
        body_max: NO_BODY,
        run,
        says: says::UNDESCRIBED,
    }
}

const fn post(path: &'static str, need: Need, body_max: usize, run: Run) -> Route {
    Route { method: Method::POST, path, need, terms: NO_TERMS, body_max, run, says: says::UNDESCRIBED }
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

    const fn says(mut self, says: Says) -> Self {
        self.says = says;
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
const SETTINGS: Need = Need::Session(Permission::Settings);
const AUDIT: Need = Need::Session(Permission::Audit);

/// The table. Tests walk it: every role, every method, every body that is too long.
///
/// Each row names, with `.says(…)`, a constant beside its code that describes it: its name (unique, it becomes the name of
/// a function in programs made from the description), its topic, one sentence; then what it takes and gives.
///
/// ```text
/// pub(super) const TREND: Says = says("deviceTrend", DEVICES, "The last minutes of one metric of a device")
///     .asks(&[text("code", "the metric").needed(), number("minutes", 1, 1440, "how far back")])   // the query
///     .takes::<Wanted>()                    // the body: a type that derives Deserialize and ToSchema
///     .gives::<Trend>(200, "The points")    // the answer: a type that derives Serialize and ToSchema
///     .refuses(&[(409, "Why")]);            // beside 400, 401, 403, 404, 408, 413 and 503, which follow from the row
/// ```
///
/// What is said of the query is held against it before the route runs. Two types of one name need `#[schema(as = Other)]`;
/// a word that is one of few, `#[schema(schema_with = …)]` with [`words`](super::json::words). `BLESS=1 cargo nextest run
/// openapi` writes `web/openapi.json`; every answer in the tests of this room is held against it.
const ROUTES: &[Route] = &[
    get("/api/openapi.json", PRESENCE, |desk, call| Box::pin(describe::openapi(desk, call)))
        .says(describe::OPENAPI),
    get("/api/v1/openapi.json", PRESENCE, |desk, call| Box::pin(describe::openapi(desk, call)))
        .says(describe::OPENAPI_V1),
    get("/healthz", Need::Nothing, |desk, call| Box::pin(probe::healthz(desk, call))).says(probe::HEALTHZ),
    get("/readyz", Need::Nothing, |desk, call| Box::pin(probe::readyz(desk, call))).says(probe::READYZ),
    get("/metrics", Need::Scraper, |desk, call| Box::pin(probe::metrics(desk, call))).says(probe::METRICS),
    get("/api/v1/overview", LOOK, |desk, call| Box::pin(look::overview(desk, call)))
        .says(look::OVERVIEW)
        .by_place(),
    get("/api/v1/live", LOOK, |desk, call| Box::pin(live::live(desk, call))).says(live::LIVE).by_place(),
    get("/api/v1/devices/{key}", LOOK, |desk, call| Box::pin(look::device(desk, call)))
        .says(look::DEVICE)
        .by_place(),
    get("/api/v1/devices/{key}/trend", LOOK, |desk, call| Box::pin(look::trend(desk, call)))
        .says(look::TREND)
        .by_place(),
    get("/api/v1/entries", READ, |desk, call| Box::pin(look::entries(desk, call)))
        .says(look::ENTRIES)
        .by_place(),
    get("/api/v1/entries/{id}", READ, |desk, call| Box::pin(look::entry(desk, call)))
        .says(look::ENTRY)
        .by_place(),
    get("/api/v1/entries/{id}/hl7", READ, |desk, call| Box::pin(look::hl7(desk, call)))
        .says(look::HL7)
        .by_place(),
    post("/api/v1/entries/{id}/release", RESEND, NO_BODY, |desk, call| Box::pin(act::release(desk, call)))
        .says(act::RELEASE)
        .by_place(),
    post("/api/v1/entries/{id}/replay", RESEND, NO_BODY, |desk, call| Box::pin(act::replay(desk, call)))
        .says(act::REPLAY)
        .by_place(),
    get("/api/v1/upstream", LOOK, |desk, call| Box::pin(look::upstream(desk, call))).says(look::UPSTREAM),
    post("/api/v1/upstream/test", Need::Session(Permission::TestUpstream), NO_BODY, |desk, call| {
        Box::pin(act::test_upstream(desk, call))
    })
    .says(act::TEST),
    get("/api/v1/pairing", PAIR, |desk, call| Box::pin(pair::standing(desk, call))).says(pair::STANDING),
    post("/api/v1/pairing/preview", PAIR, SMALL_BODY, |desk, call| Box::pin(pair::preview(desk, call)))
        .says(pair::PREVIEW),
    post("/api/v1/pairing/accept", PAIR, SMALL_BODY, |desk, call| Box::pin(pair::accept(desk, call)))
        .says(pair::ACCEPT),
    post("/api/v1/pairing/forget", PAIR, SMALL_BODY, |desk, call| Box::pin(pair::forget(desk, call)))
        .says(pair::FORGET),
    post("/api/v1/pairing/links", PAIR, LINK_BODY, |desk, call| Box::pin(pair::add_link(desk, call)))
        .says(pair::ADD_LINK),
    post("/api/v1/pairing/links/{name}/remove", PAIR, NO_BODY, |desk, call| {
        Box::pin(pair::remove_link(desk, call))
    })
    .says(pair::REMOVE_LINK),
    get("/api/v1/pairing/ports", PAIR, |desk, call| Box::pin(pair::ports(desk, call))).says(pair::PORTS),
    get("/api/v1/pairing/scan", PAIR, |desk, call| Box::pin(pair::scanning(desk, call))).says(pair::SCANNING),
    post("/api/v1/pairing/scan", PAIR, SMALL_BODY, |desk, call| Box::pin(pair::scan(desk, call)))
        .says(pair::SCAN),
    get("/api/v1/recordings", PAIR, |desk, call| Box::pin(record::list(desk, call))).says(record::LIST),
    post("/api/v1/recordings", PAIR, SMALL_BODY, |desk, call| Box::pin(record::start(desk, call)))
        .says(record::START),
    get("/api/v1/recordings/{name}", PAIR, |desk, call| Box::pin(record::export(desk, call)))
        .says(record::EXPORT),
    post("/api/v1/recordings/{name}/stop", PAIR, NO_BODY, |desk, call| Box::pin(record::stop(desk, call)))
        .says(record::STOP),
    post("/api/v1/recordings/{name}/remove", PAIR, NO_BODY, |desk, call| {
        Box::pin(record::remove(desk, call))
    })
    .says(record::REMOVE),
    get("/api/v1/worklist", WORKLIST, |desk, call| Box::pin(work::orders(desk, call))).says(work::ORDERS),
    post("/api/v1/worklist", WORKLIST, LINK_BODY, |desk, call| Box::pin(work::add(desk, call)))
        .says(work::ADD),
    post("/api/v1/worklist/find", WORKLIST, SMALL_BODY, |desk, call| Box::pin(work::find(desk, call)))
        .says(work::FIND),
    post("/api/v1/worklist/{id}/cancel", WORKLIST, NO_BODY, |desk, call| Box::pin(work::cancel(desk, call)))
        .says(work::CANCEL),
    get("/api/v1/destinations", LOOK, |desk, call| Box::pin(onward::destinations(desk, call)))
        .says(onward::DESTINATIONS),
    get("/api/v1/destinations/{name}/messages", READ, |desk, call| Box::pin(onward::messages(desk, call)))
        .says(onward::MESSAGES),
    post("/api/v1/destinations/{name}/pause", RESEND, NO_BODY, |desk, call| {
        Box::pin(onward::pause(desk, call))
    })
    .says(onward::PAUSE),
    post("/api/v1/destinations/{name}/resume", RESEND, NO_BODY, |desk, call| {
        Box::pin(onward::resume(desk, call))
    })
    .says(onward::RESUME),
    post("/api/v1/destinations/{name}/release", RESEND, NO_BODY, |desk, call| {
        Box::pin(onward::release_all(desk, call))
    })
    .says(onward::RELEASE_ALL),
    post("/api/v1/destinations/{name}/replay", RESEND, SMALL_BODY, |desk, call| {
        Box::pin(onward::replay(desk, call))
    })
    .says(onward::REPLAY),
    get("/api/v1/outgoing/{id}", READ, |desk, call| Box::pin(onward::message(desk, call)))
        .says(onward::MESSAGE),
    post("/api/v1/outgoing/{id}/release", RESEND, NO_BODY, |desk, call| {
        Box::pin(onward::release(desk, call))
    })
    .says(onward::RELEASE),
    post("/api/v1/outgoing/{id}/rebuild", RESEND, NO_BODY, |desk, call| {
        Box::pin(onward::rebuild(desk, call))
    })
    .says(onward::REBUILD),
    post("/api/v1/outgoing/{id}/drop", RESEND, SMALL_BODY, |desk, call| {
        Box::pin(onward::discard(desk, call))
    })
    .says(onward::DISCARD),
    get("/api/v1/associations", ASSOCIATE, |desk, call| Box::pin(associate::standing(desk, call)))
        .says(associate::STANDING)
        .by_place(),
    get("/api/v1/associations/devices/{key}", ASSOCIATE, |desk, call| {
        Box::pin(associate::timeline(desk, call))
    })
    .says(associate::TIMELINE)
    .by_place(),
    get("/api/v1/associations/doubts", ASSOCIATE, |desk, call| Box::pin(associate::doubts(desk, call)))
        .says(associate::DOUBTS),
    post("/api/v1/associations/find", ASSOCIATE, SMALL_BODY, |desk, call| {
        Box::pin(associate::find(desk, call))
    })
    .says(associate::FIND)
    .by_place(),
    post("/api/v1/associations", ASSOCIATE, SMALL_BODY, |desk, call| {
        Box::pin(associate::associate(desk, call))
    })
    .says(associate::ASSOCIATE)
    .by_place(),
    post("/api/v1/associations/home", ASSOCIATE, SMALL_BODY, |desk, call| {
        Box::pin(associate::home(desk, call))
    })
    .says(associate::HOME)
    .by_place(),
    post("/api/v1/associations/{id}/end", ASSOCIATE, SMALL_BODY, |desk, call| {
        Box::pin(associate::end(desk, call))
    })
    .says(associate::END)
    .by_place(),
    post("/api/v1/associations/{id}/correct", ASSOCIATE, SMALL_BODY, |desk, call| {
        Box::pin(associate::correct(desk, call))
    })
    .says(associate::CORRECT)
    .by_place(),
    post("/api/v1/people", READ, SMALL_BODY, |desk, call| Box::pin(people::search(desk, call)))
        .says(people::SEARCH),
    get("/api/v1/people/{id}", READ, |desk, call| Box::pin(people::person(desk, call))).says(people::PERSON),
    get("/api/v1/places", READ, |desk, call| Box::pin(people::places(desk, call))).says(people::PLACES),
    post("/api/v1/people/merges/{id}/undo", RESEND, NO_BODY, |desk, call| {
        Box::pin(people::unmerge(desk, call))
    })
    .says(people::UNMERGE),
    get("/api/v1/certificate", SETTINGS, |desk, call| Box::pin(certificate::show(desk, call)))
        .says(certificate::SHOW),
    post("/api/v1/certificate", SETTINGS, CERTIFICATE_BODY, |desk, call| {
        Box::pin(certificate::upload(desk, call))
    })
    .says(certificate::UPLOAD),
    post("/api/v1/certificate/own", SETTINGS, NO_BODY, |desk, call| Box::pin(certificate::own(desk, call)))
        .says(certificate::OWN),
    get("/api/v1/audit", AUDIT, |desk, call| Box::pin(audit::rows(desk, call))).says(audit::ROWS),
    post("/api/v1/audit/verify", AUDIT, NO_BODY, |desk, call| Box::pin(audit::verify(desk, call)))
        .says(audit::VERIFY),
    get("/api/v1/audit/export", AUDIT, |desk, call| Box::pin(audit::export(desk, call))).says(audit::EXPORT),
    post("/api/v1/pairing/scan/stop", PAIR, NO_BODY, |desk, call| Box::pin(pair::stop_scan(desk, call)))
        .says(pair::STOP_SCAN),
];

/// Every row.
fn routes() -> impl Iterator<Item = &'static Route> {
    entrance::ROUTES.iter().chain(ROUTES)
}

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
    if let Err(problem) = desk.passes(arrival.peer.ip()) {
        return problem.into_answer();
    }
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
    route.says.check(&query)?;
    let authority = guard::authority(arrival.authority.as_deref(), &headers).map(ToOwned::to_owned);
    let call = Call { parameters, query, headers, body, peer: arrival.peer.ip(), authority, presence };
    let answer = shown(desk, route, call).await;
    tracing::debug!(
        route = route.path,
        method = %route.method,
        status = answer.as_ref().map_or_else(|problem| problem.status, |answer| answer.status()).as_u16(),
        "the desk answered"
    );
    answer
}

/// Runs the route; what it shows of patients is written down before it is shown.
async fn shown(desk: Arc<Desk>, route: &'static Route, call: Call) -> Result<Answer, Problem> {
    let Some(shows) = seen::shows(&route.method, route.path) else { return (route.run)(desk, call).await };
    let target = shows.target.replace("{}", call.parameters.first().map_or("", String::as_str));
    let look = call.looker();
    let answer = (route.run)(desk.clone(), call).await?;
    if answer.status().is_success() {
        desk.looked(&look, shows.action, target).await?;
    }
    Ok(answer)
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
    for route in routes() {
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
            _ if expected.starts_with('{') => parameters.push(decoded(segment)?),
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
    use super::{Found, Method, Need, find, routes};
    use crate::access::Permission;

    /// A row.
    pub(in crate::admin) struct Row {
        pub(in crate::admin) method: Method,
        /// With each parameter filled: 1.
        pub(in crate::admin) path: String,
        /// What a session must be allowed to; `None` on routes that need none.
        pub(in crate::admin) permission: Option<Permission>,
        pub(in crate::admin) body_max: usize,
        pub(in crate::admin) id: &'static str,
    }

    pub(in crate::admin) fn rows() -> Vec<Row> {
        routes()
            .map(|route| Row {
                method: route.method.clone(),
                path: filled(route.path),
                permission: match route.need {
                    Need::Session(permission) => Some(permission),
                    Need::Nothing | Need::Scraper => None,
                },
                body_max: route.body_max,
                id: route.says.id,
            })
            .collect()
    }

    /// The row a request finds, as it is described.
    pub(in crate::admin) fn pattern(method: &Method, path: &str) -> Option<&'static str> {
        match find(path, method) {
            Found::Route(route, _) => Some(route.path),
            Found::OtherMethod(_) | Found::Nothing => None,
        }
    }

    fn filled(pattern: &str) -> String {
        let fill = |segment| if str::starts_with(segment, '{') { "1" } else { segment };
        pattern.split('/').map(fill).collect::<Vec<_>>().join("/")
    }
}
