//! Looks after the box once a second: figures for Prometheus, how upstream stands, what is held, the watchdog.

use std::sync::Arc;
use std::time::Duration;

use crate::admin::live::{Live, Severity, UpstreamStanding, UpstreamState};
use crate::buffer::Buffer;
use crate::connector::Stop;
use crate::gateway::metrics::Metrics;
use crate::upstream::{self, Upstream};

const EVERY: Duration = Duration::from_secs(1);

/// Runs until told to stop.
pub(super) async fn run(
    buffer: Buffer,
    live: Arc<Live>,
    metrics: Arc<Metrics>,
    upstream: Option<Arc<Upstream>>,
    mut stop: Stop,
) {
    let reader = buffer.reader();
    loop {
        let counts = reader.counts();
        metrics.buffer(
            reader.health().bytes,
            [
                ("waiting", counts.waiting),
                ("sent", counts.sent),
                ("accepted", counts.accepted),
                ("held", counts.held),
            ],
        );
        held(&live, counts.held);
        if let Some(upstream) = &upstream {
            show_upstream(&live, upstream);
        }
        let _no_systemd = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
        tokio::select! {
            () = stop.wait() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

fn held(live: &Live, count: u64) {
    if count == 0 {
        return live.clear_alarm("held");
    }
    let title = if count == 1 { "1 frame is held".into() } else { format!("{count} frames are held") };
    let next = "Open Messages, filter by \"held\": each says why. Mend the cause, then release it.";
    live.alarm("held", Severity::Warning, &title, next);
}

/// How upstream stands, for the desk.
pub(super) fn show_upstream(live: &Live, upstream: &Upstream) {
    let standing = upstream.state();
    live.upstream_stands(Some(UpstreamStanding {
        name: standing.name,
        base: standing.base,
        state: match standing.state {
            upstream::State::Up => UpstreamState::Up,
            upstream::State::Down => UpstreamState::Down,
            upstream::State::Refusing => UpstreamState::Refusing,
            upstream::State::Unconfigured => UpstreamState::Unconfigured,
        },
        since: standing.since,
        last_success: standing.last_success,
        detail: standing.detail,
        auth: standing.auth,
        client_id: Some(standing.client_id).filter(|id| !id.is_empty()),
        mode: standing.mode,
        kid: standing.kid,
        algorithm: standing.algorithm,
        scopes: standing.scopes,
        granted: standing.granted,
        jwks: upstream.jwks(),
    }));
}
