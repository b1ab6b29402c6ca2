//! Sessions: a random token for the browser, only its SHA-256 for the box, and two limits in time.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::{AccessError, random};
use crate::clock::Timestamp;

/// A session unused for this long is over (NIST SP 800-63B AAL2: 30 minutes).
pub const SESSION_IDLE: Duration = Duration::from_secs(30 * 60);
/// A session is over after this long in any case (AAL2: 12 hours).
pub const SESSION_LIFE: Duration = Duration::from_secs(12 * 60 * 60);
/// A session from the future by more than this means that the clock was set back: nobody can say how old it is.
const CLOCK_SLACK: Duration = Duration::from_secs(5 * 60);
/// 256 random bits.
const TOKEN_BYTES: usize = 32;
/// Those bits in unpadded base64url.
const TOKEN_CHARS: usize = 43;

/// What the browser holds. It is shown once, in the cookie, and never stored.
pub struct Token(Zeroizing<String>);

impl Token {
    /// A fresh token.
    pub fn make() -> Result<Self, AccessError> {
        let bytes = Zeroizing::new(random::<TOKEN_BYTES>()?);
        Ok(Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()))))
    }

    /// The text for the cookie.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// What is stored of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash::hash(&self.0)
    }
}

/// What an API token begins with, so that one that was published by mistake is found.
const API_PREFIX: &str = "bds_";

impl Token {
    /// The text of an API token.
    pub fn api_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{API_PREFIX}{}", self.text()))
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(***)")
    }
}

/// SHA-256 of a token: enough to find its session, useless to whoever reads the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// The hash of a token as a browser sent it; `None` when it cannot be one of ours.
    pub fn of(text: &str) -> Option<Self> {
        let ours = text.len() == TOKEN_CHARS
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        ours.then(|| Self::hash(text))
    }

    /// The hash of an API token as it was sent; `None` when it cannot be one of ours.
    pub fn of_api(text: &str) -> Option<Self> {
        text.strip_prefix(API_PREFIX).and_then(Self::of)
    }

    fn hash(text: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
        Self(hash)
    }
}

/// Whether a session still counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    Live,
    /// Unused for too long.
    Idle,
    /// Too old, or the clock was set back behind its beginning.
    Old,
}

/// How long a session lasts on this box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Unused.
    pub idle: Duration,
    /// In any case.
    pub life: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { idle: SESSION_IDLE, life: SESSION_LIFE }
    }
}

/// How far somebody has come who is logging in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// All was proven that is asked for.
    In,
    /// A second factor is still to be proven.
    Factor,
    /// The password was given by somebody else and is to be changed.
    Password,
    /// A second factor is asked for and there is none: it is to be made.
    Enrol,
}

impl Stage {
    /// The word stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Factor => "factor",
            Self::Password => "password",
            Self::Enrol => "enrol",
        }
    }

    /// The stage behind a stored word; of a word that is not known nothing was proven.
    pub fn parse(word: &str) -> Self {
        match word {
            "in" => Self::In,
            "password" => Self::Password,
            "enrol" => Self::Enrol,
            _ => Self::Factor,
        }
    }
}

/// Judges a session by when it began and when it was last used.
pub fn judge(created: Timestamp, last_seen: Timestamp, now: Timestamp, limits: Limits) -> SessionState {
    if now.since(created) >= limits.life
        || created.since(now) > CLOCK_SLACK
        || last_seen.since(now) > CLOCK_SLACK
    {
        SessionState::Old
    } else if now.since(last_seen) >= limits.idle {
        SessionState::Idle
    } else {
        SessionState::Live
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000, true)
    }

    #[test]
    fn tokens_are_long_unlike_each_other_and_never_printed() {
        let (a, b) = (Token::make().unwrap(), Token::make().unwrap());
        assert_ne!(a.text(), b.text());
        assert_eq!(a.text().len(), TOKEN_CHARS);
        assert_eq!(TokenHash::of(a.text()), Some(a.hash()));
        assert_eq!(format!("{a:?}"), "Token(***)");
    }

    #[test]
    fn what_is_not_a_token_is_not_looked_up() {
        for text in ["", "short", &"a".repeat(44), &"=".repeat(43), &"ü".repeat(22)] {
            assert_eq!(TokenHash::of(text), None, "{text}");
        }
    }

    #[test]
    fn an_api_token_is_told_from_a_cookie() {
        let token = Token::make().unwrap();
        assert_eq!(TokenHash::of_api(&token.api_text()), Some(token.hash()));
        assert_eq!(TokenHash::of_api(token.text()), None);
        assert_eq!(TokenHash::of(&token.api_text()), None);
    }

    #[test]
    fn a_stage_that_is_not_known_has_proven_nothing() {
        for stage in [Stage::In, Stage::Factor, Stage::Password, Stage::Enrol] {
            assert_eq!(Stage::parse(stage.as_str()), stage);
        }
        assert_eq!(Stage::parse("whole"), Stage::Factor);
    }

    #[test]
    fn a_session_ends_by_idleness_by_age_and_by_a_clock_set_back() {
        assert_eq!(judge(at(0), at(0), at(1799), Limits::default()), SessionState::Live);
        assert_eq!(judge(at(0), at(0), at(1800), Limits::default()), SessionState::Idle);
        assert_eq!(judge(at(0), at(43_100), at(43_199), Limits::default()), SessionState::Live);
        assert_eq!(judge(at(0), at(43_100), at(43_200), Limits::default()), SessionState::Old);
        assert_eq!(
            judge(at(1000), at(1000), at(800), Limits::default()),
            SessionState::Live,
            "a small step back is forgiven"
        );
        assert_eq!(judge(at(10_000), at(10_000), at(0), Limits::default()), SessionState::Old);
    }
}
