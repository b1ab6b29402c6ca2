//! Every route of the desk in one table: path, method, who may, how much it takes. What is not in the table is
//! a page, or nothing.

mod account;
mod act;
mod associate;
mod audit;
mod call;
mod certificate;
mod describe;
mod enrol;
mod enter;
mod entrance;
mod factor;
mod live;
mod look;
mod onward;
mod pair;
mod people;
mod probe;
mod profiles;
mod record;
mod rows;
mod says;
mod seen;
mod sets;
mod site;
mod system;
mod upstreams;
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
/// A firmware profile or a page of templates.
const PAGE_BODY: usize = 600 << 10;
/// A piece of a backup.
const PIECE_BODY: usize = 4 << 20;
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
const PROFILES: Need = Need::Session(Permission::Profiles);
const UPSTREAMS: Need = Need::Session(Permission::Upstreams);
const BACKUP: Need = Need::Session(Permission::Backup);
const SETTINGS: Need = Need::Session(Permission::Settings);
const SITE: Need = Need::Session(Permission::Site);
const PRESENCE: Need = Need::Session(Permission::Presence);
const AUDIT: Need = Need::Session(Permission::Audit);

/// Every row.
fn routes() -> impl Iterator<Item = &'static Route> {
    entrance::ROUTES.iter().chain(rows::ROUTES)
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
pub(super) mod table;
