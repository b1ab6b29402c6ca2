//! Looks after the box once a second: figures for Prometheus, how upstream stands, what is held, the watchdog.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::admin::live::{Live, Severity, UpstreamStanding, UpstreamState};
use crate::buffer::Buffer;
use crate::connector::Stop;
use crate::connector::unfinished::Unfinished;
use crate::gateway::deliver::Feeds;
use crate::gateway::metrics::Metrics;
use crate::upstream::{self, Upstream};

const EVERY: Duration = Duration::from_secs(1);
/// How long somebody has to see that senders were turned away.
const CROWD_TOLD_FOR: Duration = Duration::from_secs(600);

/// What it looks at.
pub(super) struct Watch {
    pub(super) buffer: Buffer,
    pub(super) live: Arc<Live>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) upstream: Option<Arc<Upstream>>,
    pub(super) feeds: Arc<Feeds>,
    pub(super) unfinished: Arc<Unfinished>,
}

impl Watch {
    /// Runs until told to stop.
    pub(super) async fn run(self, mut stop: Stop) {
        let Self { buffer, live, metrics, upstream, feeds, unfinished } = self;
        let reader = buffer.reader();
        let mut crowd = Crowd::default();
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
            metrics.ledger(&reader.ledger());
            held(&live, counts.held);
            queues(&buffer, &live, &metrics, &feeds).await;
            feeds.figures(&metrics);
            metrics.unfinished(unfinished.bytes(), unfinished.turned_away());
            crowd.look(&live, unfinished.turned_away(), Instant::now());
            clocks(&live, &metrics);
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
}

/// Great messages that were turned away for want of room, and when that was last seen.
#[derive(Debug, Default)]
struct Crowd {
    known: u64,
    last: Option<Instant>,
}

impl Crowd {
    fn look(&mut self, live: &Live, turned_away: u64, now: Instant) {
        if turned_away > self.known {
            self.known = turned_away;
            self.last = Some(now);
            let title =
                format!("Too many great messages at once: {turned_away} were turned away since the start");
            let next = "Links says which: look for a sender that begins messages and does not end them. If all are meant, allow \
                        more (intake.unfinished_bytes).";
            live.alarm("unfinished", Severity::Warning, &title, next);
        } else if self.last.is_some_and(|last| now.saturating_duration_since(last) >= CROWD_TOLD_FOR) {
            self.last = None;
            live.clear_alarm("unfinished");
        }
    }
}

/// The queues of the destinations, and one alarm for all that is held in them.
async fn queues(buffer: &Buffer, live: &Live, metrics: &Metrics, feeds: &Feeds) {
    let Ok(rows) = buffer.reader().destinations().await else { return };
    let now = buffer.reader().now();
    stalled(live, feeds.stalled(&rows, now));
    let mut held = 0;
    for row in rows {
        let oldest = row.oldest.map_or(0, |at| now.since(at).as_secs());
        let states = [("waiting", row.waiting), ("sent", row.sent), ("held", row.held)];
        metrics.outgoing_queue(&row.name, states, oldest);
        held += row.held;
    }
    if held == 0 {
        return live.clear_alarm("outgoing-held");
    }
    let title = format!("{held} message{} to other systems held", if held == 1 { " is" } else { "s are" });
    let next = "Open Routes: each says why. Mend the cause there or here, then release it.";
    live.alarm("outgoing-held", Severity::Warning, &title, next);
}

/// A server or folder beside the main server that has taken nothing for long.
fn stalled(live: &Live, which: Option<(String, String)>) {
    let Some((name, why)) = which else { return live.clear_alarm("destination-stalled") };
    let title = format!("Results wait for {name}: {why}");
    let next = "Nothing is lost and the others go on. Open Routes: mend what it says, or pause it.";
    live.alarm("destination-stalled", Severity::Warning, &title, next);
}

fn held(live: &Live, count: u64) {
    if count == 0 {
        return live.clear_alarm("held");
    }
    let title = if count == 1 { "1 frame is held".into() } else { format!("{count} frames are held") };
    let next = "Open Messages, filter by \"held\": each says why. Mend the cause, then release it.";
    live.alarm("held", Severity::Warning, &title, next);
}

/// The worst clock of each link, and one alarm for all devices whose clock is wrong.
fn clocks(live: &Live, metrics: &Metrics) {
    let all = live.clocks();
    let mut worst: BTreeMap<&str, f64> = BTreeMap::new();
    for (link, _, clock) in &all {
        let known = worst.entry(link).or_default();
        if clock.offset_s.abs() > known.abs() {
            *known = clock.offset_s;
        }
    }
    metrics.clocks(&worst);
    let mut wrong: Vec<_> = all.iter().filter(|(_, _, clock)| clock.wrong).collect();
    wrong.sort_by(|a, b| a.1.cmp(&b.1));
    let Some((_, label, clock)) = wrong.first() else { return live.clear_alarm("device-clock") };
    let others = match wrong.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    let title = format!("The clock of {label}{others} is wrong: its results carry a wrong time");
    live.alarm("device-clock", Severity::Warning, &title, &clock.verdict);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::live::{ProfileView, Sighting};
    use crate::clock::{TestClock, Timestamp};
    use crate::device::{ClockSource, Device, Moment, Offset, Precision, Report};

    const NOW: i64 = 1_773_477_000_000_000;

    /// What a device says of the time, so many seconds ahead, received that many seconds after the start.
    fn says(live: &Live, ahead_s: i64, after_s: i64) {
        let clock = Moment {
            micros: NOW + (after_s + ahead_s) * 1_000_000,
            offset_minutes: 0,
            precision: Precision::Second,
            offset: Offset::Stated,
            source: ClockSource::Device,
        };
        let report = Report {
            device: Device { model: "Mon 1".into(), clock: Some(clock), ..Device::default() },
            person: None,
            place: None,
            specimen: None,
            orders: Vec::new(),
            measurements: Vec::new(),
        };
        let received = Timestamp::from_micros(NOW + after_s * 1_000_000, true);
        let profile = ProfileView::default();
        live.report(
            &report,
            &Sighting { link: "ward", profile: &profile, received, bound_patient: None, distrusted: false },
        );
    }

    #[test]
    fn senders_that_were_turned_away_are_an_alarm_for_ten_minutes() {
        let live = Live::with_clock_limit(TestClock::at(NOW), 120);
        let alarms = || live.overview("x", false, &crate::admin::store::Backlog::default()).alarms;
        let (mut crowd, now) = (Crowd::default(), Instant::now());
        crowd.look(&live, 0, now);
        assert!(alarms().is_empty());
        crowd.look(&live, 3, now);
        crowd.look(&live, 3, now);
        assert!(alarms()[0].title.contains("3 were turned away"), "{:?}", alarms());
        crowd.look(&live, 3, now + CROWD_TOLD_FOR);
        assert!(alarms().is_empty());
    }

    #[test]
    fn a_wrong_clock_is_an_alarm_with_a_next_step_until_it_is_set() {
        let (live, metrics) = (Live::with_clock_limit(TestClock::at(NOW), 120), Metrics::default());
        let mut registry = prometheus_client::registry::Registry::default();
        metrics.register(&mut registry);
        let alarms = || live.overview("x", false, &crate::admin::store::Backlog::default()).alarms;
        says(&live, 100, 0);
        clocks(&live, &metrics);
        assert!(alarms().is_empty());
        says(&live, 3_601, 1);
        clocks(&live, &metrics);
        assert_eq!(alarms()[0].code, "device-clock");
        assert!(
            alarms()[0].title.contains("Mon 1") && alarms()[0].next_step.contains("zone"),
            "{:?}",
            alarms()
        );
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("bedside_device_clock_offset_seconds{link=\"ward\"} 3601.0"), "{text}");
        for stretch in 1..3 {
            says(&live, 2, stretch * 600);
        }
        clocks(&live, &metrics);
        assert!(alarms().is_empty());
    }
}
