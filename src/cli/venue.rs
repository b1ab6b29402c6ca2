//! Where a simulated or replayed device plays, as the command line says it.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{CliError, secret_store, tell};
use crate::demo::actor::kit::Broker;
use crate::demo::stage::Place;
use crate::secret::Secret;

/// One way to the box, and what MQTT needs besides.
#[derive(Debug, clap::Args)]
pub(super) struct Venue {
    /// Open a pseudo-terminal and link it here; point a serial link of the box at it
    #[arg(long, value_name = "PATH", group = "way")]
    pty: Option<PathBuf>,
    /// Connect to the box at this address
    #[arg(long, value_name = "HOST:PORT", group = "way")]
    tcp: Option<String>,
    /// Wait for the box at this address, as devices do that are TCP servers
    #[arg(long, value_name = "ADDRESS", group = "way")]
    listen: Option<SocketAddr>,
    /// Answer the datagrams of the box at this address
    #[arg(long, value_name = "ADDRESS", group = "way")]
    udp: Option<SocketAddr>,
    /// Publish to the broker at this address
    #[arg(long, value_name = "HOST:PORT", group = "way")]
    mqtt: Option<String>,
    /// MQTT topic; that of each message when not set
    #[arg(long, requires = "mqtt")]
    topic: Option<String>,
    /// MQTT user
    #[arg(long, requires = "mqtt", default_value = "", hide_default_value = true)]
    user: String,
    /// Name of the secret with the MQTT password
    #[arg(long, value_name = "NAME", requires = "mqtt")]
    password_secret: Option<String>,
    /// The secrets folder
    #[arg(long, default_value = "/etc/bedside/secrets", value_name = "FOLDER")]
    folder: PathBuf,
}

impl Venue {
    /// The place; `None`: no way was named.
    pub(super) fn place(&self) -> Option<Place> {
        Some(match (&self.pty, self.tcp.as_ref().or(self.mqtt.as_ref()), self.listen, self.udp) {
            (Some(path), ..) => Place::Pty(path.clone()),
            (_, Some(address), ..) => Place::Dial(address.clone()),
            (_, _, Some(address), _) => Place::Listen(address),
            (.., Some(address)) => Place::Udp(address),
            _ => return None,
        })
    }

    pub(super) const fn is_mqtt(&self) -> bool {
        self.mqtt.is_some()
    }

    pub(super) const fn has_topic(&self) -> bool {
        self.topic.is_some()
    }

    /// As whom to publish.
    pub(super) fn broker(&self, client_id: String) -> Result<Broker, CliError> {
        let password = match &self.password_secret {
            Some(name) => secret_store(self.folder.clone()).load(name).map_err(CliError::failed)?,
            None => Secret::new(Vec::new()),
        };
        password.expose_text().map_err(CliError::failed)?;
        Ok(Broker { client_id, user: self.user.clone(), password, topic: self.topic.clone() })
    }

    /// Says what a person waits for.
    pub(super) fn announce(&self) {
        match self.place() {
            Some(Place::Pty(path)) => tell(format!("speaking on {}", path.display())),
            Some(Place::Listen(address)) => tell(format!("waiting for the box at {address}")),
            Some(Place::Udp(address)) => tell(format!("waiting for datagrams of the box at {address}")),
            Some(Place::Dial(address)) => tell(format!("connecting to {address}")),
            None => {}
        }
    }
}
