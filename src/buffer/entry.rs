//! For the one question "may this entry go from here to there?": the states of an outbox row and the steps
//! between them.

use std::fmt;

use crate::clock::Timestamp;

/// How far the delivery of one frame has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// To be delivered.
    Waiting,
    /// Handed to an upstream server that has not answered yet.
    Sent,
    /// An upstream server has it, or there is nothing in it to deliver.
    Accepted,
    /// A person must look at it.
    Held,
}

impl State {
    /// The number on disk. Accepted is the largest, so that the index of what is open is `state < 3`.
    pub(super) const fn number(self) -> i64 {
        match self {
            Self::Waiting => 0,
            Self::Sent => 1,
            Self::Held => 2,
            Self::Accepted => 3,
        }
    }

    /// A number nobody wrote reads as held: a person looks, nothing is delivered on a guess.
    pub(super) const fn of(number: i64) -> Self {
        match number {
            0 => Self::Waiting,
            1 => Self::Sent,
            3 => Self::Accepted,
            _ => Self::Held,
        }
    }

    /// The word on the desk and in the API.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::Accepted => "accepted",
            Self::Held => "held",
        }
    }

    /// The state a word stands for.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Waiting, Self::Sent, Self::Accepted, Self::Held].into_iter().find(|state| state.word() == word)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One step of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    pub id: i64,
    pub to: Transition,
}

/// What happened to an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition {
    /// It is on its way upstream; counts as one attempt. From waiting.
    Sent,
    /// Upstream has it; `answer` is its short JSON. From sent.
    Accepted { answer: String },
    /// There is nothing in it to deliver (a heartbeat), or no longer: the beginning of a transmission that came
    /// again whole. From waiting or held.
    Ignored { reason: String },
    /// A person must look. From waiting or sent.
    Held { reason: String, answer: Option<String> },
    /// To be delivered (again), not before `retry_after`. From any state: a retry, a release, a replay.
    Waiting { retry_after: Option<Timestamp>, reason: Option<String> },
    /// What decoding found: the device's key and a line for the desk. In any state, which it leaves alone.
    Seen { device: String, summary: String },
}

impl Transition {
    /// The state this leads to from `from`; `None` when the step is not legal.
    pub fn lead(&self, from: State) -> Option<State> {
        match (self, from) {
            (Self::Sent, State::Waiting) => Some(State::Sent),
            (Self::Accepted { .. }, State::Sent) | (Self::Ignored { .. }, State::Waiting | State::Held) => {
                Some(State::Accepted)
            }
            (Self::Held { .. }, State::Waiting | State::Sent) => Some(State::Held),
            (Self::Waiting { .. }, _) => Some(State::Waiting),
            (Self::Seen { .. }, from) => Some(from),
            _ => None,
        }
    }

    /// The word for messages.
    const fn word(&self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Accepted { .. } => "accepted",
            Self::Ignored { .. } => "ignored",
            Self::Held { .. } => "held",
            Self::Waiting { .. } => "waiting",
            Self::Seen { .. } => "seen",
        }
    }
}

/// A mark that was not applied. `from` is `None` when there is no such entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IllegalMark {
    pub id: i64,
    pub from: Option<State>,
    pub to: &'static str,
}

impl IllegalMark {
    pub(super) fn new(mark: &Mark, from: Option<State>) -> Self {
        Self { id: mark.id, from, to: mark.to.word() }
    }
}

impl fmt::Display for IllegalMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.from {
            Some(from) => write!(f, "entry {} cannot go from {from} to {}", self.id, self.to),
            None => write!(f, "there is no entry {} to mark as {}", self.id, self.to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 4] = [State::Waiting, State::Sent, State::Accepted, State::Held];

    fn legal_from(to: &Transition) -> Vec<State> {
        STATES.into_iter().filter(|from| to.lead(*from).is_some()).collect()
    }

    #[test]
    fn only_what_was_sent_can_be_accepted() {
        assert_eq!(legal_from(&Transition::Sent), [State::Waiting]);
        assert_eq!(legal_from(&Transition::Accepted { answer: String::new() }), [State::Sent]);
        assert_eq!(legal_from(&Transition::Ignored { reason: String::new() }), [State::Waiting, State::Held]);
    }

    #[test]
    fn what_is_accepted_cannot_be_held_any_more() {
        let held = Transition::Held { reason: String::new(), answer: None };
        assert_eq!(legal_from(&held), [State::Waiting, State::Sent]);
    }

    #[test]
    fn everything_can_wait_again_and_be_seen_where_it_is() {
        let waiting = Transition::Waiting { retry_after: None, reason: None };
        let seen = Transition::Seen { device: String::new(), summary: String::new() };
        for from in STATES {
            assert_eq!(waiting.lead(from), Some(State::Waiting));
            assert_eq!(seen.lead(from), Some(from));
        }
    }

    #[test]
    fn words_and_numbers_read_back_as_they_were_written() {
        for state in STATES {
            assert_eq!(State::parse(state.word()), Some(state));
            assert_eq!(State::of(state.number()), state);
        }
        assert_eq!(State::parse("lost"), None);
        assert_eq!(State::of(99), State::Held);
    }

    #[test]
    fn an_illegal_mark_says_which_entry_and_why() {
        let mark = Mark { id: 7, to: Transition::Sent };
        assert_eq!(
            IllegalMark::new(&mark, Some(State::Held)).to_string(),
            "entry 7 cannot go from held to sent"
        );
        assert_eq!(IllegalMark::new(&mark, None).to_string(), "there is no entry 7 to mark as sent");
    }
}
