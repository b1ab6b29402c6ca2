//! Looks after the desk's certificate: fetches it by ACME where that is wanted, and says when it is about to expire, because
//! browsers then refuse the desk and nobody sees the box.

mod issuing;

use std::sync::Arc;
use std::time::Duration;

use crate::admin::certificate::{Facts, Urgency};
use crate::admin::live::{Live, Severity};
use crate::admin::{Identity, Source};
use crate::clock::{SharedClock, Timestamp};
use crate::connector::Stop;
pub(super) use issuing::Issuing;

const EVERY: Duration = Duration::from_secs(60);
const DAY_MICROS: i64 = 86_400_000_000;

/// Runs until told to stop.
pub(super) async fn run(
    issuing: Arc<Issuing>,
    identity: Identity,
    live: Arc<Live>,
    clock: SharedClock,
    stop: Stop,
) {
    tokio::join!(watch(identity, live, clock, stop.clone()), issuing.run(stop));
}

async fn watch(identity: Identity, live: Arc<Live>, clock: SharedClock, mut stop: Stop) {
    loop {
        judge(identity.facts().as_ref(), identity.source(), clock.now(), &live);
        tokio::select! {
            () = stop.wait() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

fn judge(facts: Option<&Facts>, source: Source, now: Timestamp, live: &Live) {
    // A box whose clock nobody set cannot tell.
    let due = facts.map(|facts| (facts, facts.urgency(source, now)));
    let Some((facts, urgency)) = due.filter(|(_, urgency)| *urgency != Urgency::Fine && now.synchronised)
    else {
        return live.clear_alarm("certificate-expiring");
    };
    let title = match (facts.not_after.micros - now.micros).div_euclid(DAY_MICROS) {
        ..0 => "The certificate of this desk has expired: browsers refuse it".to_owned(),
        0 => "The certificate of this desk expires today".to_owned(),
        1 => "The certificate of this desk expires tomorrow".to_owned(),
        days => format!("The certificate of this desk expires in {days} days"),
    };
    let severity = if urgency == Urgency::Now { Severity::Critical } else { Severity::Warning };
    let next = match source {
        Source::Acme => "Open Certificate: it says why the authority has not renewed it.",
        _ => "Open Certificate: give the renewed one, or let the box make a new one of its own.",
    };
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
        let said = |days: i64, synchronised: bool, source: Source| {
            clock.set_synchronised(synchronised);
            let until = clock.now().micros + days * DAY_MICROS + 1;
            let facts = Facts {
                subject: String::new(),
                issuer: String::new(),
                names: Vec::new(),
                not_before: Timestamp::from_micros(until - 90 * DAY_MICROS, true),
                not_after: Timestamp::from_micros(until, true),
                self_signed: false,
                chain: 1,
            };
            judge(Some(&facts), source, clock.now(), &live);
            let alarm = live.overview("x", false, &Backlog::default()).alarms.into_iter().next();
            alarm.map(|alarm| (alarm.title, alarm.severity == Severity::Critical, alarm.next_step))
        };
        let uploaded =
            |days, synchronised| said(days, synchronised, Source::Uploaded).map(|(a, b, _)| (a, b));
        assert_eq!(uploaded(30, true), None);
        assert_eq!(
            uploaded(29, true),
            Some(("The certificate of this desk expires in 29 days".into(), false))
        );
        assert!(!uploaded(7, true).unwrap().1);
        assert!(uploaded(6, true).unwrap().1);
        assert!(uploaded(0, true).unwrap().0.ends_with("expires today"));
        assert!(uploaded(-1, true).unwrap().0.contains("has expired"));
        assert_eq!(uploaded(-1, false), None, "a clock nobody set cannot tell");
        assert_eq!(uploaded(365, true), None);
        assert_eq!(said(29, true, Source::Acme), None, "it is renewed in these days");
        let late = said(20, true, Source::Acme).unwrap();
        assert!(!late.1 && late.2.contains("why the authority"));
    }
}
