//! Who else may vouch for a user of the desk: an OpenID Connect provider, an LDAP directory. This room asks over the
//! network; what is asked and what is believed of the answer is decided in `access`.
//!
//! Nothing here decides that somebody is in, and nothing is kept: when the other system is away, users of the box itself
//! still log in.

mod directory;
mod provider;

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::access::oidc::{self, Attempt, OidcFault};
use crate::access::{Config, Vouched};
use crate::clock::Timestamp;
use crate::connector::Later;
use crate::secret::SecretStore;

/// The other system could not be asked. For the log; no name and no password is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreachable(pub String);

/// Why a provider's answer lets nobody in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the user is in no group that has a role here")]
    NoRole,
    #[error("{0}")]
    Unreachable(String),
    #[error("{0}")]
    Untrue(String),
}

impl From<OidcFault> for Refused {
    fn from(fault: OidcFault) -> Self {
        match fault {
            OidcFault::NoRole => Self::NoRole,
            other => Self::Untrue(other.to_string()),
        }
    }
}

/// A directory that knows passwords.
pub trait Directory: Send + Sync {
    /// Whom it vouches for with this name and password; `None`: nobody, for whatever reason.
    fn log_in(
        &self,
        username: String,
        password: Zeroizing<String>,
    ) -> Later<'_, Result<Option<Vouched>, Unreachable>>;
}

/// An OpenID Connect provider.
pub trait Provider: Send + Sync {
    /// On the button.
    fn name(&self) -> &str {
        &self.config().name
    }
    fn config(&self) -> &oidc::Config;
    /// It promised to name itself in its answers (RFC 9207), as far as it was asked.
    fn names_itself(&self) -> bool;
    /// Where browsers are sent.
    fn authorization_endpoint(&self, now: Timestamp) -> Later<'_, Result<String, Unreachable>>;
    /// Redeems a code for what the provider says of its user.
    fn redeem(&self, code: String, attempt: Attempt, now: Timestamp) -> Later<'_, Result<Vouched, Refused>>;
}

/// Who may vouch on this box.
#[derive(Clone, Default)]
pub struct Federation {
    pub provider: Option<Arc<dyn Provider>>,
    pub directory: Option<Arc<dyn Directory>>,
}

impl Federation {
    /// As configured; asks nobody yet. The error is a sentence.
    pub fn new(config: &Config, secrets: &SecretStore) -> Result<Self, String> {
        let provider = match &config.oidc {
            Some(config) => Some(Arc::new(provider::Remote::new(config, secrets)?) as Arc<dyn Provider>),
            None => None,
        };
        let directory = match &config.ldap {
            Some(config) => Some(Arc::new(directory::Remote::new(config, secrets)?) as Arc<dyn Directory>),
            None => None,
        };
        Ok(Self { provider, directory })
    }
}
