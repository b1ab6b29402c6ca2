//! What somebody was asked a moment ago and has to answer: a passkey's challenge, a new authenticator app's first code.
//! Kept in memory, bound to the session that asked, for minutes, and answered once.

use std::collections::HashMap;
use std::time::Duration;

use crate::access::{Expected, TokenHash, Totp};
use crate::clock::Timestamp;

/// Who does not answer within this time is asked again.
const LIFE: Duration = Duration::from_secs(10 * 60);
/// Questions kept at once; the oldest makes room.
const QUESTIONS_MAX: usize = 1_000;

/// What was asked.
pub(super) enum Question {
    /// To answer with a passkey that is known.
    Assertion(Expected),
    /// To make a new passkey.
    Registration(Expected),
    /// To show that a new app has the secret.
    Totp(Totp),
}

/// Which kind: one of each for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Assertion,
    Registration,
    Totp,
}

impl Question {
    const fn kind(&self) -> Kind {
        match self {
            Self::Assertion(_) => Kind::Assertion,
            Self::Registration(_) => Kind::Registration,
            Self::Totp(_) => Kind::Totp,
        }
    }
}

/// All of them.
#[derive(Default)]
pub(super) struct Pending(HashMap<(TokenHash, Kind), (Timestamp, Question)>);

impl Pending {
    /// Asks; an older question of the kind is forgotten.
    pub(super) fn ask(&mut self, of: TokenHash, question: Question, now: Timestamp) {
        self.0.retain(|_, (asked, _)| now.since(*asked) < LIFE);
        if self.0.len() >= QUESTIONS_MAX
            && let Some(oldest) = self.0.iter().min_by_key(|(_, (asked, _))| *asked).map(|(key, _)| *key)
        {
            self.0.remove(&oldest);
        }
        self.0.insert((of, question.kind()), (now, question));
    }

    /// Takes the question back: right or wrong, it is answered.
    pub(super) fn take(&mut self, of: TokenHash, kind: Kind, now: Timestamp) -> Option<Question> {
        let (asked, question) = self.0.remove(&(of, kind))?;
        (now.since(asked) < LIFE).then_some(question)
    }

    /// The app that is being set up: a mistyped code does not cost its secret.
    pub(super) fn totp(&self, of: TokenHash, now: Timestamp) -> Option<&Totp> {
        match self.0.get(&(of, Kind::Totp)) {
            Some((asked, Question::Totp(totp))) if now.since(*asked) < LIFE => Some(totp),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Token;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000, true)
    }

    fn question() -> Question {
        Question::Assertion(Expected::make("ward.local").unwrap().unwrap())
    }

    #[test]
    fn a_question_is_answered_once_in_time_and_by_whom_it_was_put_to() {
        let (anna, eve) = (Token::make().unwrap().hash(), Token::make().unwrap().hash());
        let mut pending = Pending::default();
        pending.ask(anna, question(), at(0));
        assert!(pending.take(eve, Kind::Assertion, at(1)).is_none());
        assert!(pending.take(anna, Kind::Registration, at(1)).is_none());
        assert!(pending.take(anna, Kind::Assertion, at(1)).is_some());
        assert!(pending.take(anna, Kind::Assertion, at(1)).is_none());
        pending.ask(anna, question(), at(0));
        assert!(pending.take(anna, Kind::Assertion, at(600)).is_none());
        pending.ask(anna, Question::Totp(Totp::make().unwrap()), at(0));
        assert!(pending.totp(anna, at(1)).is_some() && pending.totp(anna, at(1)).is_some());
        assert!(pending.totp(anna, at(600)).is_none() && pending.totp(eve, at(1)).is_none());
    }

    #[test]
    fn a_flood_of_questions_takes_bounded_memory() {
        let mut pending = Pending::default();
        for _ in 0..QUESTIONS_MAX + 100 {
            pending.ask(Token::make().unwrap().hash(), question(), at(0));
        }
        assert_eq!(pending.0.len(), QUESTIONS_MAX);
    }
}
