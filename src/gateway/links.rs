//! Runs every link's connector, lets links come and go, and keeps one failing link from ever stopping another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

use crate::admin::live::Live;
use crate::clock::SharedClock;
use crate::config::{Config, Link, Reads, Transport};
use crate::connector::broker::{Claim, Claims};
use crate::connector::{self, Intake, Stop};
use crate::gateway::ingest::Ingest;
use crate::secret::SecretStore;

/// All running links.
pub(super) struct Roster {
    live: Arc<Live>,
    intake: Arc<Ingest>,
    secrets: SecretStore,
    clock: SharedClock,
    /// The box's own stop; a link has one of its own besides.
    stop: Stop,
    claims: Claims,
    running: Mutex<HashMap<Arc<str>, Running>>,
}

/// A link's own switch, and its task where it has one.
struct Running {
    switch: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

impl Roster {
    pub(super) fn new(
        live: Arc<Live>,
        intake: Arc<Ingest>,
        secrets: SecretStore,
        clock: SharedClock,
        stop: Stop,
    ) -> Self {
        Self { live, intake, secrets, clock, stop, claims: Claims::default(), running: Mutex::default() }
    }

    /// Starts the embedded broker, where there is one; links claim topics on it while it runs.
    pub(super) fn broker(&self, config: &Config) -> Option<impl Future<Output = ()> + Send + 'static> {
        let mut broker = config.broker.clone()?;
        // Its sessions are remembered with the rest of the box.
        broker.session_file.get_or_insert_with(|| config.buffer.dir.join("broker-sessions"));
        Some(connector::broker::run(
            broker,
            self.claims.clone(),
            self.secrets.clone(),
            self.intake.clone(),
            self.clock.clone(),
            self.stop.clone(),
        ))
    }

    /// Shows a link on the desk and starts its connector, which reconnects by itself for as long as it may run.
    pub(super) fn start(&self, link: &Link) {
        self.live.add_link(&link.name, link.transport.kind(), link.profile_word());
        let (switch, stop) = Stop::pair();
        let task = self.connector(link, stop).map(tokio::spawn);
        let running = Running { switch, task };
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(link.name.clone(), running);
    }

    /// Stops a link and waits until it has put down what it holds.
    pub(super) async fn end(&self, name: &str) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        self.claims.remove(name);
        if let Some(running) = running {
            running.finish().await;
        }
        self.live.remove_link(name);
    }

    /// Runs until the box stops, and then until every link has put down what it holds.
    pub(super) async fn supervise(self: Arc<Self>) {
        let mut stop = self.stop.clone();
        stop.wait().await;
        let running: Vec<Running> = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.drain().map(|(_, link)| link).collect()
        };
        for link in &running {
            link.switch.send(true).ok();
        }
        for link in running {
            link.finish().await;
        }
    }

    fn connector(&self, link: &Link, stop: Stop) -> Option<connector::Later<'static, ()>> {
        let name = link.name.clone();
        let speech = link.speech();
        let (intake, clock) = (self.intake.clone() as Arc<dyn Intake>, self.clock.clone());
        Some(match link.transport.clone() {
            Transport::Mllp(config) => Box::pin(connector::mllp::run(name, config, intake, clock, stop)),
            Transport::Serial(config) => {
                Box::pin(connector::serial::run(name, config, speech, intake, clock, stop))
            }
            Transport::Tcp(config) => {
                Box::pin(connector::tcp::run(name, config, speech, intake, clock, stop))
            }
            Transport::Mqtt(config) => {
                Box::pin(connector::mqtt::run(name, config, self.secrets.clone(), intake, clock, stop))
            }
            Transport::Folder(config) => Box::pin(connector::folder::run(name, config, intake, clock, stop)),
            Transport::Broker { topics } => {
                let last = matches!(link.reads, Reads::BySender);
                self.claims.add(Claim { link: name, topics, last });
                return None;
            }
        })
    }
}

impl Running {
    async fn finish(self) {
        // An error means that its connector has ended already.
        self.switch.send(true).ok();
        let Some(task) = self.task else { return };
        let abort: AbortHandle = task.abort_handle();
        if tokio::time::timeout(PATIENCE, task).await.is_err() {
            tracing::warn!("A link did not stop in time.");
            abort.abort();
        }
    }
}

/// How long a link may take to put down what it holds.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(8);
