//! The live stream: server-sent events with the overview and new points, for as long as the session lasts.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::poll_fn;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc::Sender;
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use warp::Reply;
use warp::http::StatusCode;
use warp::http::header::{CACHE_CONTROL, HeaderValue};
use warp::reply::Response as Answer;
use warp::sse::Event;

use super::call::Call;
use super::says::{OVERVIEW, Says, Shape, says};
use crate::admin::admission::{Presence, Sight};
use crate::admin::answer::Problem;
use crate::admin::desk::Desk;
use crate::admin::live::{Overview, Point};

/// An overview is sent at most this often …
const OVERVIEW_EVERY: Duration = Duration::from_secs(1);
/// … and a long one less often: so many bytes a second for one who looks.
const OVERVIEW_BYTES_PER_S: usize = 200_000;
/// A comment keeps the connection alive and shows that it is.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// One who takes nothing for this long is gone.
const STALLED: Duration = Duration::from_secs(30);
/// Pieces on their way to one who looks.
const QUEUE: usize = 16;

pub(super) const LIVE: Says =
    says("live", OVERVIEW, "The overview and new numbers as they come, until the session ends").streams(
        &[("overview", Shape::of::<Overview>()), ("point", Shape::of::<Point>())],
        "Server-sent events; a comment every ten seconds shows that the connection lives",
    );

/// `GET /api/v1/live`
pub(super) async fn live(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let presence = call.presence()?.clone();
    let Ok(seat) = desk.seats.clone().try_acquire_owned() else {
        let detail = "too many pages are open at once; close one";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-streams", detail).wait(10));
    };
    let (out, mut pieces) = mpsc::channel(QUEUE);
    let points = desk.services.live.points();
    tokio::spawn(feed(desk, presence, points, out, seat));
    let stream =
        poll_fn(move |context| pieces.poll_recv(context).map(|piece| piece.map(Ok::<_, Infallible>)));
    let mut answer = warp::sse::reply(stream).into_response();
    // Warp says no-cache; what is said of patients is not even kept.
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}

/// Feeds one stream until its reader, its session or the desk ends. `_seat` is given back then.
async fn feed(
    desk: Arc<Desk>,
    presence: Presence,
    mut points: broadcast::Receiver<Arc<Point>>,
    out: Sender<Event>,
    _seat: OwnedSemaphorePermit,
) {
    let mut stopping = desk.stopping.clone();
    let mut heartbeat = interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut check = interval(Duration::from_secs(1));
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut due = Instant::now();
    let Ok(mut sight) = desk.sight(&presence).await else { return };
    loop {
        let piece = tokio::select! {
            () = closing(&mut stopping) => return,
            () = out.closed() => return,
            _ = check.tick() => {
                if !desk.still_there(&presence).await {
                    return;
                }
                // What somebody sees of the devices changes while they look: a device is moved, an emergency ends.
                if presence.grants.is_limited() {
                    let Ok(now) = desk.sight_now(&presence).await else { return };
                    sight = now;
                }
                continue;
            }
            () = sleep_until(due) => {
                let Some(text) = overview(&desk, &sight).await else { return };
                due = Instant::now() + pause(text.len());
                Event::default().event("overview").data(text)
            }
            point = points.recv() => match point {
                Ok(point) if !sight.covers(&point.device) => continue,
                Ok(point) => match serde_json::to_string(&*point) {
                    Ok(text) => Event::default().event("point").data(text),
                    Err(_) => continue,
                },
                // A slow reader misses points; the trend has them.
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            },
            _ = heartbeat.tick() => Event::default().comment(" still here"),
        };
        if !matches!(timeout(STALLED, out.send(piece)).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// Returns when the desk closes. Of its own so that no guard lives across the select.
async fn closing(stopping: &mut watch::Receiver<bool>) {
    stopping.wait_for(|stop| *stop).await.ok();
}

async fn overview(desk: &Desk, sight: &Sight) -> Option<String> {
    let overview = desk.overview(sight).await.ok()?;
    serde_json::to_string(&overview).ok()
}

fn pause(bytes: usize) -> Duration {
    let seconds = u64::try_from(bytes / OVERVIEW_BYTES_PER_S).unwrap_or(u64::MAX);
    OVERVIEW_EVERY.saturating_add(Duration::from_secs(seconds))
}
