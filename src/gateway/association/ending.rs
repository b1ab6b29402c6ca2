//! When an open association ends by itself: pure.

use crate::buffer::StayRow;
use crate::config::association::{EndOn, Policy};

/// When an association that began at `since` and is open ended, and by what word: the patient left the bed they were in,
/// or the hospital, or the site's longest time is over. `stays` of the patient in any order; a leave is no end.
pub(super) fn ending(since: i64, stays: &[StayRow], policy: &Policy) -> Option<(i64, &'static str)> {
    let timeout = policy.timeout().map(|longest| (since.saturating_add(longest), "timeout"));
    left(since, stays, policy).into_iter().chain(timeout).min_by_key(|(at, _)| *at)
}

fn left(since: i64, stays: &[StayRow], policy: &Policy) -> Option<(i64, &'static str)> {
    let mut stays: Vec<&StayRow> =
        stays.iter().filter(|stay| stay.until.is_none_or(|until| until > since)).collect();
    stays.sort_by_key(|stay| stay.since);
    for (place, stay) in stays.iter().enumerate() {
        let until = stay.until?;
        let next = stays.get(place + 1).filter(|next| next.since <= until);
        match next {
            Some(next) if next.place == stay.place => {}
            Some(_) if policy.end_on.contains(&EndOn::Transfer) => return Some((until, "transfer")),
            Some(_) => {}
            None if policy.end_on.contains(&EndOn::Discharge) => return Some((until, "discharge")),
            None => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Place;

    fn stay(bed: &str, since: i64, until: Option<i64>) -> StayRow {
        let place = Place::new("", "ICU", "", bed).unwrap();
        StayRow { person: 1, place, visit: None, since, until, on_leave: false }
    }

    fn end(since: i64, stays: &[StayRow]) -> Option<(i64, &'static str)> {
        ending(since, stays, &Policy::default())
    }

    #[test]
    fn an_association_ends_when_the_patient_leaves_the_bed_or_the_hospital() {
        let ways = [stay("2", 50, Some(90)), stay("1", 0, Some(50))];
        assert_eq!(end(10, &ways), Some((50, "transfer")));
        assert_eq!(end(50, &ways), Some((90, "discharge")), "made where the patient went");
        assert_eq!(end(90, &ways), None, "made after all of it");
        assert_eq!(end(10, &[stay("1", 0, None)]), None);
        assert_eq!(end(10, &[]), None);
    }

    #[test]
    fn arriving_is_no_transfer_and_coming_back_later_is_no_longer_the_same_stay() {
        assert_eq!(end(0, &[stay("1", 20, None)]), None);
        assert_eq!(end(10, &[stay("1", 0, Some(50)), stay("1", 70, None)]), Some((50, "discharge")));
        assert_eq!(end(10, &[stay("1", 0, Some(50)), stay("1", 50, None)]), None, "a leave in the same bed");
    }

    #[test]
    fn the_site_says_what_ends_it() {
        let ways = [stay("1", 0, Some(50)), stay("2", 50, Some(90))];
        let only = |end_on: Vec<EndOn>, timeout_h| {
            ending(10, &ways, &Policy { end_on, timeout_h, ..Policy::default() })
        };
        assert_eq!(only(vec![EndOn::Discharge], None), Some((90, "discharge")));
        assert_eq!(only(Vec::new(), None), None);
        assert_eq!(only(Vec::new(), Some(1)), Some((3_600_000_010, "timeout")));
        assert_eq!(only(vec![EndOn::Transfer], Some(1)), Some((50, "transfer")), "whatever is first");
    }
}
