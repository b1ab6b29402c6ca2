//! The desk: for whoever stands at the box and must see in one minute what arrives, what waits and why.
//!
//! HTTPS routes and the embedded pages. The desk reads through [`store::Store`] and [`live::Live`], derives through
//! [`explain::Explain`] and asks for changes through [`command::Command`]; it changes nothing in the flow itself.
//! No answer leaves without the security headers, no change is made without a session, our own page's proof and
//! a line in the audit trail. Nothing here waits for a device or for upstream.

mod admission;
mod answer;
pub mod association;
pub mod balp;
pub mod certificate;
pub mod command;
mod desk;
mod dressing;
pub mod explain;
mod guard;
mod identity;
pub mod issuance;
mod json;
mod kept;
mod listener;
pub mod live;
pub mod outgoing;
mod pace;
mod pages;
pub mod pairing;
mod pending;
pub mod people;
pub mod profiles;
mod uptime;
pub mod raw;
pub mod recording;
mod routes;
#[cfg(test)]
mod samples;
mod segments;
pub mod sets;
pub mod site;
mod stopgap;
pub mod store;
pub mod system;
#[cfg(test)]
mod tests;
pub mod trail;
pub mod upstreams;
pub mod worklist;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::access::{self, Seal};
use crate::acme;
use crate::clock::SharedClock;
use crate::federation::Federation;
use crate::secret::{Secret, SecretError};
use association::Associations;
use command::Command;
use desk::Desk;
use explain::Explain;
pub use identity::{Identity, Source};
use issuance::Issuance;
pub use kept::Kept;
pub(crate) use kept::{in_buffers_words, row as entry_row};
use listener::Patience;
use live::Live;
use outgoing::Outgoing;
use pages::Pages;
use pairing::Pairing;
use people::People;
use profiles::Profiles;
use recording::Recording;
use sets::Sets;
use site::Site;
pub use stopgap::serve_why_not;
use store::Store;
use system::System;
use trail::Trail;
use upstreams::Upstreams;
use worklist::Worklist;

/// Sessions that are over are forgotten this often.
const PURGE_EVERY: Duration = Duration::from_secs(10 * 60);

/// The `[desk]` section of `bedside.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address and port the desk listens on.
    pub listen: SocketAddr,
    /// Name of the secret with the certificate chain (PEM). Without one the box makes its own.
    pub certificate_secret: Option<String>,
    /// Name of the secret with the private key (PEM) for it.
    pub key_secret: Option<String>,
    /// Host name in a self-made certificate; else that of the box.
    pub hostname: Option<String>,
    /// Name of the secret with the token that lets a scraper read `/metrics` from afar.
    pub metrics_token_secret: Option<String>,
    /// The certificate comes from an authority, asked by ACME.
    pub acme: Option<acme::Config>,
}

impl Config {
    /// What is wrong with it: the key of `[desk.acme]` and a sentence.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let Some(acme) = &self.acme else { return Ok(()) };
        if self.certificate_secret.is_some() {
            let both = "certificate_secret names the desk's certificate, and [desk.acme] fetches one: keep one of them";
            return Err(("directory", both.into()));
        }
        acme.check()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8443)),
            certificate_secret: None,
            key_secret: None,
            hostname: None,
            metrics_token_secret: None,
            acme: None,
        }
    }
}

/// What the desk stands on. The gateway builds it.
#[derive(Clone)]
pub struct Services {
    pub about: About,
    /// Certificate and key: [`Identity::load_or_make`].
    pub identity: Identity,
    pub clock: SharedClock,
    pub store: Arc<dyn Store>,
    pub live: Arc<Live>,
    /// Bounded; a full queue refuses the command.
    pub commands: mpsc::Sender<Command>,
    pub explain: Arc<dyn Explain>,
    pub pairing: Arc<dyn Pairing>,
    pub recording: Arc<dyn Recording>,
    pub worklist: Arc<dyn Worklist>,
    pub outgoing: Arc<dyn Outgoing>,
    pub associations: Arc<dyn Associations>,
    pub people: Arc<dyn People>,
    pub trail: Arc<dyn Trail>,
    pub sets: Arc<dyn Sets>,
    pub profiles: Arc<dyn Profiles>,
    pub upstreams: Arc<dyn Upstreams>,
    pub system: Arc<dyn System>,
    pub issuance: Arc<dyn Issuance>,
    pub site: Arc<dyn Site>,
    /// What `/metrics` shows. Labels are bounded and never a patient's.
    pub metrics: Arc<Registry>,
    pub metrics_token: Option<Secret>,
    /// Who needs what to get in.
    pub access: Arc<access::Config>,
    /// Keeps the secrets of authenticator apps.
    pub seal: Arc<Seal>,
    /// Who else may vouch for users.
    pub federation: Federation,
    /// Shows the one-time set-up code where only someone at the box can read it.
    pub announce: Arc<dyn Fn(&str) + Send + Sync>,
}

/// What this box is.
#[derive(Clone, Debug)]
pub struct About {
    /// Name of the clinic or ward.
    pub site: String,
    /// All data is made up: the demo.
    pub simulated: bool,
    pub version: &'static str,
    /// `[update]` says who may publish programs for this box.
    pub updates: bool,
}

/// Why the desk does not open.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("the desk cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("the desk's certificate cannot be used: {0}")]
    Certificate(String),
    #[error("the desk's certificate: {0}")]
    Secret(#[from] SecretError),
    #[error("the desk's certificate cannot be kept in {}: {source}", path.display())]
    Keep { path: PathBuf, source: std::io::Error },
}

/// Opens the port. Separate from [`serve`], so that a taken port is told at the start and a test or the demo
/// learns which port `:0` became ([`TcpListener::local_addr`]).
pub async fn bind(config: &Config) -> Result<TcpListener, AdminError> {
    let listening = TcpListener::bind(config.listen).await;
    listening.map_err(|source| AdminError::Listen { address: config.listen, source })
}

/// Runs the desk until `stop`; shows a set-up code first when there is no user yet.
pub async fn serve(listener: TcpListener, services: Services, stop: impl Future<Output = ()> + Send) {
    serve_pages(listener, services, Pages::embedded(), Patience::default(), stop).await;
}

async fn serve_pages(
    listener: TcpListener,
    services: Services,
    pages: Pages,
    patience: Patience,
    stop: impl Future<Output = ()> + Send,
) {
    let (stopping, stopped) = watch::channel(false);
    let identity = services.identity.clone();
    let desk = Arc::new(Desk::new(services, pages, stopped));
    if let Err(problem) = desk.offer_setup().await {
        tracing::error!(
            detail = problem.detail,
            "no set-up code could be made; a first try at set-up makes one"
        );
    }
    let housekeeping = tokio::spawn(purge(desk.clone()));
    let stop = async {
        stop.await;
        // Streams first: they would hold their connections for ever.
        stopping.send(true).ok();
    };
    listener::accept(listener, &identity, patience, routes::filter(desk), stop).await;
    housekeeping.abort();
}

/// The description of the desk's API: OpenAPI 3.1, the same that `/api/openapi.json` answers.
pub fn openapi() -> serde_json::Value {
    routes::document()
}

/// How many files of the desk's pages are built in; `None` when they are not.
pub fn pages_built() -> Option<usize> {
    Pages::embedded().count()
}

async fn purge(desk: Arc<Desk>) {
    let mut ticks = interval(PURGE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        desk.purge_sessions().await;
        desk.look_at_glass().await;
    }
}

/// For the fuzzing rig: what the desk itself takes apart. The first byte chooses.
pub fn fuzz(bytes: &[u8]) {
    let Some((choice, rest)) = bytes.split_first() else { return };
    match choice % 5 {
        0 => routes::fuzz(rest),
        1 => guard::fuzz(rest),
        2 => raw::fuzz(rest),
        4 => certificate::fuzz(rest),
        _ => segments::fuzz(rest),
    }
}
