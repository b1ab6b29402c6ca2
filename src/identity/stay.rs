//! From what was said of a person's ways to where they lay when: pure, whatever the order in which it was said.

use super::{Place, Visit};

/// What was said of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Came to stay (A01, A04).
    Arrived,
    /// Went to another place (A02, A06, A07, A17).
    Moved,
    /// Was said to be there in passing (A08 and the like).
    Seen,
    /// Left for good (A03).
    Left,
    /// On leave, the bed kept (A21).
    Away,
    /// Back from leave (A22).
    Back,
    /// The last of that kind never was (A11, A12, A13, A52, A53).
    NeverArrived,
    NeverMoved,
    NeverLeft,
    NeverAway,
    NeverBack,
    /// The whole visit never was (A23).
    NeverVisited,
}

/// One thing that was said of a person's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movement {
    pub step: Step,
    pub visit: Option<Visit>,
    pub place: Option<Place>,
    /// When it took effect, microseconds since 1970.
    pub at: i64,
    /// When it was said, microseconds since 1970.
    pub told: i64,
}

/// A time in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stay {
    pub place: Place,
    pub visit: Option<Visit>,
    /// Microseconds since 1970, the first one of the stay.
    pub since: i64,
    /// The first one after it; `None` while it lasts.
    pub until: Option<i64>,
    /// The bed is kept, the patient is not in it.
    pub on_leave: bool,
}

/// Where a person was, the oldest first. `movements` in any order; equal times keep the order given.
pub fn stays(movements: &[Movement]) -> Vec<Stay> {
    let mut sorted: Vec<&Movement> = movements.iter().collect();
    sorted.sort_by_key(|movement| (movement.at, movement.told));
    let mut stays: Vec<Stay> = Vec::new();
    for movement in sorted {
        let open = stays.iter_mut().find(|stay| stay.until.is_none());
        match (movement.step, &movement.place) {
            (Step::Arrived | Step::Moved | Step::Seen, Some(place)) => {
                if let Some(open) = open {
                    if open.place == *place {
                        continue;
                    }
                    open.until = Some(movement.at);
                }
                stays.push(Stay {
                    place: place.clone(),
                    visit: movement.visit.clone(),
                    since: movement.at,
                    until: None,
                    on_leave: false,
                });
            }
            (Step::Left, _) => {
                if let Some(open) = open {
                    open.until = Some(movement.at);
                }
            }
            _ => {}
        }
    }
    stays
}
