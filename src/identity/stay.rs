//! From what was said of a person's ways to where they lay when: pure, whatever the order in which it was said.
//!
//! What took effect later counts later, however late it was told; what was taken back never was. A person lies in one
//! bed at a time: being put into one ends the stay in another. A place without a bed (a clinic, an operating room)
//! belongs to its own visit and ends no bed.

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
    /// On leave; the bed is kept where it is stated (A21).
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

impl Step {
    /// What this one takes back.
    const fn takes_back(self) -> Option<Self> {
        match self {
            Self::NeverArrived => Some(Self::Arrived),
            Self::NeverMoved => Some(Self::Moved),
            Self::NeverLeft => Some(Self::Left),
            Self::NeverAway => Some(Self::Away),
            Self::NeverBack => Some(Self::Back),
            _ => None,
        }
    }

    const fn places(self) -> bool {
        matches!(self, Self::Arrived | Self::Moved | Self::Seen | Self::Back)
    }
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

/// Where a person was, the oldest first. `movements` in any order; of those told at the same time the later given wins.
pub fn stays(movements: &[Movement]) -> Vec<Stay> {
    let mut valid = valid(movements);
    valid.sort_by_key(|movement| (movement.at, movement.told));
    let mut way = Way::default();
    for movement in &valid {
        way.go(movement);
    }
    let mut stays = way.stays;
    // What was corrected in the same instant was no stay.
    stays.retain(|stay| stay.until.is_none_or(|until| until > stay.since));
    stays.sort_by_key(|stay| stay.since);
    stays
}

fn concerns(one: Option<&Visit>, other: Option<&Visit>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    }
}

/// What was said and not taken back, in the order in which it was said.
fn valid(movements: &[Movement]) -> Vec<Movement> {
    let mut sorted: Vec<&Movement> = movements.iter().collect();
    sorted.sort_by_key(|movement| movement.told);
    let mut valid: Vec<Movement> = Vec::with_capacity(sorted.len());
    for movement in sorted.iter().copied() {
        let visit = movement.visit.as_ref();
        let mine = |one: &Movement| concerns(one.visit.as_ref(), visit);
        let last_left = valid.iter().rposition(|one| one.step == Step::Left && mine(one));
        let mut said = movement.clone();
        if movement.step == Step::NeverVisited {
            valid.retain(|one| !mine(one));
            continue;
        }
        if let Some(taken_back) = movement.step.takes_back() {
            if let Some(at) = valid.iter().rposition(|one| one.step == taken_back && mine(one)) {
                valid.remove(at);
                if taken_back == Step::Arrived {
                    // Who never came went nowhere either.
                    let (mut place, mut number) = (at, 0);
                    while let Some(one) = valid.get(place) {
                        if mine(one) {
                            drop(valid.remove(place))
                        } else {
                            place += 1
                        }
                        number += 1;
                        if number > movements.len() {
                            break;
                        }
                    }
                }
            }
            if said.place.is_none() || taken_back == Step::Arrived {
                continue;
            }
            said.step = Step::Seen;
        }
        match said.step {
            // Said again of someone who is there: where they are now, not where they came to.
            Step::Arrived => {
                let since = last_left.map_or(0, |at| at + 1);
                let again = |one: &Movement| {
                    one.step == Step::Arrived && one.visit == said.visit && !left_between(&sorted, one, &said)
                };
                if valid.iter().skip(since).any(again) {
                    said.step = Step::Seen;
                    said.at = said.told;
                }
            }
            // Nobody leaves before they came.
            Step::Left => {
                let ways = || valid.iter().filter(|one| one.step.places() && mine(one));
                let was_there = ways().any(|one| one.at <= said.at);
                // Who has come again since left before that, however late it was told.
                let came_again = ways().filter(|one| one.step == Step::Arrived && one.at > said.at);
                let came_again = came_again.map(|one| one.at).min().filter(|_| was_there);
                let before = |at: &i64| came_again.is_none_or(|again| *at < again);
                let came = ways().map(|one| one.at).filter(before).max();
                said.at = came.map_or(said.at, |came| came.max(said.at));
            }
            _ => {}
        }
        valid.push(said);
    }
    valid
}

/// Whether it was told later that the person left between these two arrivals, and not taken back.
fn left_between(all: &[&Movement], came: &Movement, again: &Movement) -> bool {
    let mine = |one: &Movement| concerns(one.visit.as_ref(), again.visit.as_ref());
    let mut later = all.iter().filter(|one| one.told > again.told && mine(one));
    let left = |one: &Movement| one.step == Step::Left && came.at <= one.at && one.at <= again.at;
    let Some(left) = later.clone().find(|one| left(one)) else { return false };
    !later.any(|one| one.step == Step::NeverLeft && one.told > left.told)
}

/// The way of one person, as far as it was gone.
#[derive(Default)]
struct Way {
    stays: Vec<Stay>,
    /// Visits that are over, and when that was told.
    left: Vec<(Option<Visit>, i64)>,
}

impl Way {
    fn go(&mut self, movement: &Movement) {
        match (movement.step, &movement.place) {
            (Step::Arrived | Step::Moved | Step::Seen | Step::Back, Some(place)) => {
                self.place(movement, place)
            }
            (Step::Left, _) => {
                self.leave(movement);
                self.left.push((movement.visit.clone(), movement.told));
            }
            (Step::Away, Some(_)) => self.turn(movement, true),
            (Step::Away, None) => self.leave(movement),
            (Step::Back, None) => self.back(movement),
            _ => {}
        }
    }

    /// The open stay that a movement is about.
    fn open(&self, visit: Option<&Visit>) -> Option<usize> {
        let mut open = self.stays.iter().enumerate().filter(|(_, stay)| stay.until.is_none());
        match visit {
            Some(_) => {
                let all: Vec<(usize, &Stay)> = open.collect();
                let own = all.iter().find(|(_, stay)| stay.visit.as_ref() == visit);
                own.or_else(|| all.iter().find(|(_, stay)| stay.visit.is_none())).map(|(at, _)| *at)
            }
            None => {
                let first = open.next();
                match (first, open.next()) {
                    (Some((at, _)), None) => Some(at),
                    _ => self.stays.iter().position(|stay| stay.until.is_none() && stay.visit.is_none()),
                }
            }
        }
    }

    fn place(&mut self, movement: &Movement, place: &Place) {
        let visit = movement.visit.as_ref();
        let over = |told: &i64| movement.step == Step::Seen || *told > movement.told;
        let open = self.open(visit);
        let mut known = visit.cloned();
        if let Some(stay) = open.and_then(|at| self.stays.get_mut(at)) {
            known = known.or_else(|| stay.visit.clone());
            if stay.place == *place && !stay.on_leave {
                stay.visit = known;
                return;
            }
            stay.until = Some(movement.at);
        } else if movement.step != Step::Arrived
            && self.left.iter().any(|(left, told)| concerns(left.as_ref(), visit) && over(told))
        {
            return;
        }
        if place.names_a_bed() {
            for other in self.stays.iter_mut().filter(|stay| stay.until.is_none() && stay.place.names_a_bed())
            {
                other.until = Some(movement.at);
            }
        }
        self.stays.push(Stay {
            place: place.clone(),
            visit: known,
            since: movement.at,
            until: None,
            on_leave: false,
        });
    }

    /// Ends the stay of the visit; of all visits where it is not said which.
    fn leave(&mut self, movement: &Movement) {
        match (&movement.visit, self.open(movement.visit.as_ref())) {
            (Some(_), None) => {}
            (Some(_), Some(at)) => {
                if let Some(stay) = self.stays.get_mut(at) {
                    stay.until = Some(movement.at);
                }
            }
            (None, _) => {
                for stay in self.stays.iter_mut().filter(|stay| stay.until.is_none()) {
                    stay.until = Some(movement.at);
                }
            }
        }
    }

    /// The same place, from now on with the patient in it or not.
    fn turn(&mut self, movement: &Movement, on_leave: bool) {
        let Some(stay) = self.open(movement.visit.as_ref()).and_then(|at| self.stays.get_mut(at)) else {
            return;
        };
        if stay.on_leave == on_leave {
            return;
        }
        let next = Stay { since: movement.at, on_leave, ..stay.clone() };
        stay.until = Some(movement.at);
        self.stays.push(next);
    }

    /// Back without a word about where: into the bed that was kept, else into the last one.
    fn back(&mut self, movement: &Movement) {
        let visit = movement.visit.as_ref();
        if self.open(visit).is_some() {
            return self.turn(movement, false);
        }
        let last = self.stays.iter().rfind(|stay| concerns(stay.visit.as_ref(), visit));
        if let Some(place) = last.map(|stay| stay.place.clone()) {
            self.place(movement, &place);
        }
    }
}

#[cfg(test)]
#[path = "stay_tests.rs"]
mod tests;
