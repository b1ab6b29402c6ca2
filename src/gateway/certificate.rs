//! Looks whether the desk's certificate is about to expire: browsers then refuse the desk, and nobody sees the box.

use std::sync::Arc;
use std::time::Duration;

use crate::admin::Identity;
use crate::admin::live::{Live, Severity};
use crate::clock::{SharedClock, Timestamp};
use crate::connector::Stop;

const EVERY: Duration = Duration::from_secs(60);
/// Days left at which the alarm begins, and at which it becomes critical.
const SOON: i64 = 30;
const NOW: i64 = 7;
const DAY_MICROS: i64 = 86_400_000_000;

/// Runs until told to stop.
pub(super) async fn run(identity: Identity, live: Arc<Live>, clock: SharedClock, mut stop: Stop) {
    loop {
        let until = identity.facts().map(|facts| facts.not_after);
        judge(until, clock.now(), &live);
        tokio::select! {
            () = stop.wait() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

fn judge(until: Option<Timestamp>, now: Timestamp, live: &Live) {
    let days = until.map(|until| (until.micros - now.micros).div_euclid(DAY_MICROS));
    // A box whose clock nobody set cannot tell.
    let Some(days) = days.filter(|days| *days < SOON && now.synchronised) else {
        return live.clear_alarm("certificate-expiring");
    };
    let title = match days {
        ..0 => "The certificate of this desk has expired: browsers refuse it".to_owned(),
        0 => "The certificate of this desk expires today".to_owned(),
        1 => "The certificate of this desk expires tomorrow".to_owned(),
        days => format!("The certificate of this desk expires in {days} days"),
    };
    let severity = if days < NOW { Severity::Critical } else { Severity::Warning };
    let next = "Open Certificate: give the renewed one, or let the box make a new one of its own.";
    live.alarm("certificate-expiring", severity, &title, next);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::store::Backlog;
    use crate::clock::{Clock, TestClock};

    #[test]
    fn a_certificate_is_an_alarm_for_its_last_thirty_days_and_critical_for_its_last_seven() {
        let clock = TestClock::at(1_795_348_800_000_000);
        let live = Live::new(clock.clone());
        let said = |days: i64, synchronised: bool| {
            clock.set_synchronised(synchronised);
            let until = Timestamp::from_micros(clock.now().micros + days * DAY_MICROS + 1, true);
            judge(Some(until), clock.now(), &live);
            let alarm = live.overview("x", false, &Backlog::default()).alarms.into_iter().next();
            alarm.map(|alarm| (alarm.title, alarm.severity == Severity::Critical))
        };
        assert_eq!(said(30, true), None);
        assert_eq!(said(29, true), Some(("The certificate of this desk expires in 29 days".into(), false)));
        assert!(!said(7, true).unwrap().1);
        assert!(said(6, true).unwrap().1);
        assert!(said(0, true).unwrap().0.ends_with("expires today"));
        assert!(said(-1, true).unwrap().0.contains("has expired"));
        assert_eq!(said(-1, false), None, "a clock nobody set cannot tell");
        assert_eq!(said(365, true), None);
    }
}
