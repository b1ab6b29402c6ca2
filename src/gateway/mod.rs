//! Builds the box from its configuration, joins the rooms, supervises them, and stops them in order.

mod deliver;
mod desk;
mod ingest;
mod links;
mod metrics;
mod triage;
pub mod understand;
mod watch;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use crate::admin::{self, live::Live};
use crate::buffer::{Buffer, BufferError};
use crate::clock::SharedClock;
use crate::config::Config;
use crate::connector::{Stop, broker};
use crate::device::Identifier;
use crate::secret::SecretStore;
use crate::translate;
use crate::upstream::Upstream;
use deliver::Deliver;
use ingest::Ingest;
use metrics::Metrics;
use triage::Triage;
use understand::Understanding;

/// Why the box did not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Another instance holds the folder.
    #[error("{0}")]
    InUse(String),
    /// The configuration names something that cannot be used.
    #[error("{0}")]
    Config(String),
    #[error("{0}")]
    Failed(String),
}

/// What a started box tells its console.
#[derive(Clone, Debug)]
pub struct Up {
    /// Address of the desk, when there is one.
    pub desk: Option<SocketAddr>,
    /// SHA-256 of the desk's certificate, to compare with what the browser shows.
    pub fingerprint: Option<String>,
    pub links: usize,
}

/// The console's side: told once when everything runs, and each time a set-up code is made.
pub trait Console: Send + Sync {
    fn up(&self, up: &Up);
    fn setup_code(&self, code: &str);
    /// Anything else worth a line.
    fn say(&self, line: &str);
}

/// The setting that holds the box's own identifier.
const IDENTITY: &str = "gateway-identifier";
/// How many commands of the desk may wait.
const COMMANDS_MAX: usize = 32;

/// Runs the box until `stop`.
///
/// # Errors
/// Only at the start: once it runs, a fault of a link, the upstream or the disk is shown and tried again.
pub async fn run(
    config: Config,
    secrets: SecretStore,
    clock: SharedClock,
    stop: Stop,
    console: Arc<dyn Console>,
) -> Result<(), GatewayError> {
    let buffer = Buffer::open(&config.buffer, clock.clone()).map_err(opening)?;
    let live = Live::new(clock.clone());
    let metrics = Arc::new(Metrics::default());
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let upstream = upstream(&config, &secrets, &clock, &live)?;
    let desk = match &config.desk {
        Some(desk) => Some((desk::open(desk, &config, &secrets, &clock).await?, desk.clone())),
        None => None,
    };
    let me = identity(&buffer, &config).await.map_err(opening)?;
    let simulated = config.site.simulated;
    let (wiring, links) = links::plan(config.links, &live);
    let understanding = Arc::new(Understanding::new(links, me, simulated));
    let ingest = Ingest::new(buffer.clone(), live.clone(), metrics.clone(), understanding.clone());
    let arrived = ingest.arrived.clone();
    let wake = Arc::new(Notify::new());
    let (seen, seen_up_to) = tokio::sync::watch::channel(0);

    let mut tasks = JoinSet::new();
    let triage = Triage {
        buffer: buffer.clone(),
        reader: buffer.reader(),
        understanding: understanding.clone(),
        live: live.clone(),
        metrics: metrics.clone(),
        arrived,
        seen,
    };
    triage.show_recent().await;
    tasks.spawn(triage.run(stop.clone()));
    if let Some(upstream) = upstream.clone() {
        let deliver = Deliver {
            buffer: buffer.clone(),
            reader: buffer.reader(),
            understanding: understanding.clone(),
            upstream,
            live: live.clone(),
            metrics: metrics.clone(),
            clock: clock.clone(),
            config: config.delivery.clone(),
            seen: seen_up_to,
            wake: wake.clone(),
        };
        tasks.spawn(deliver.run(stop.clone()));
    }
    let mut up = Up { desk: None, fingerprint: None, links: understanding.links().count() };
    let (commands, orders) = mpsc::channel(COMMANDS_MAX);
    if let Some((opened, _)) = desk {
        up.desk = Some(opened.address);
        up.fingerprint = Some(opened.identity.fingerprint().into());
        let services = admin::Services {
            about: admin::About {
                site: config.site.name.clone(),
                simulated,
                version: env!("CARGO_PKG_VERSION"),
            },
            identity: opened.identity,
            clock: clock.clone(),
            store: Arc::new(admin::Kept::new(buffer.clone())),
            live: live.clone(),
            commands,
            explain: Arc::new(desk::Reading(understanding.clone())),
            metrics: Arc::new(registry),
            metrics_token: opened.metrics_token,
            announce: {
                let console = console.clone();
                Arc::new(move |code: &str| console.setup_code(code))
            },
        };
        let mut desk_stop = stop.clone();
        tasks.spawn(async move {
            admin::serve(opened.listener, services, async move { desk_stop.wait().await }).await
        });
    }
    tasks.spawn(desk::obey(orders, buffer.clone(), upstream.clone(), wake, stop.clone()));
    tasks.spawn(watch::run(buffer.clone(), live.clone(), metrics.clone(), upstream, stop.clone()));
    let intake: Arc<Ingest> = Arc::new(ingest);
    let broker = config.broker.map(|broker| remembering(broker, &config.buffer.dir));
    links::spawn(&mut tasks, wiring, broker, intake, &secrets, &clock, &stop)?;
    live.ready(true);
    console.up(&up);
    finish(tasks, stop, &buffer).await;
    Ok(())
}

/// Waits for the word, then for everybody to put down what they hold, then closes the buffer last.
async fn finish(mut tasks: JoinSet<()>, mut stop: Stop, buffer: &Buffer) {
    let stopping = async {
        stop.wait().await;
        tracing::info!("Stopping.");
        tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    };
    tokio::pin!(stopping);
    loop {
        tokio::select! {
            () = &mut stopping => {
                tracing::warn!(left = tasks.len(), "Some tasks did not stop in time.");
                break;
            }
            ended = tasks.join_next() => match ended {
                None => break,
                Some(Ok(())) => {}
                Some(Err(fault)) => tracing::error!(%fault, "A task of the box ended by a fault."),
            },
        }
    }
    tasks.abort_all();
    buffer.close().await;
    tracing::info!("Stopped.");
}

/// The broker's sessions outlive a power cut: a device that is told that its session is gone must forget what was not
/// acknowledged (MQTT 5 §3.2.2.1.1).
fn remembering(mut broker: broker::Config, dir: &Path) -> broker::Config {
    broker.session_file.get_or_insert_with(|| dir.join("mqtt-sessions"));
    broker
}

/// This box, as FHIR names it: a UUID made at the first start and kept with what it kept.
async fn identity(buffer: &Buffer, config: &Config) -> Result<translate::Gateway, BufferError> {
    let value = match buffer.reader().setting(IDENTITY).await? {
        Some(known) => known,
        None => {
            let made = format!("urn:uuid:{}", uuid::Uuid::new_v4());
            buffer.put_setting(IDENTITY, &made).await?;
            made
        }
    };
    Ok(translate::Gateway {
        id: Identifier { system: "urn:ietf:rfc:3986".into(), value: value.into(), kind: None },
        name: config.site.name.as_str().into(),
        version: env!("CARGO_PKG_VERSION").into(),
        patient_system: config.site.patient_system.as_deref().map(Into::into),
    })
}

fn opening(fault: BufferError) -> GatewayError {
    match fault {
        BufferError::InUse { .. } => GatewayError::InUse(fault.to_string()),
        BufferError::Config(_) => GatewayError::Config(fault.to_string()),
        _ => GatewayError::Failed(fault.to_string()),
    }
}

fn upstream(
    config: &Config,
    secrets: &SecretStore,
    clock: &SharedClock,
    live: &Arc<Live>,
) -> Result<Option<Arc<Upstream>>, GatewayError> {
    let Some(upstream) = config.upstream.clone() else { return Ok(None) };
    let upstream =
        Upstream::new(upstream, secrets, clock.clone()).map_err(|e| GatewayError::Config(e.to_string()))?;
    watch::show_upstream(live, &upstream);
    Ok(Some(Arc::new(upstream)))
}
