//! Starts every link's connector and keeps one failing link from ever stopping another.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::admin::live::Live;
use crate::clock::SharedClock;
use crate::config::{Config, Link, Transport};
use crate::connector::broker::Claim;
use crate::connector::{self, Intake, Stop};
use crate::gateway::ingest::Ingest;
use crate::secret::SecretStore;
use crate::wire::Codec;

/// A link as its connector needs it.
pub(super) struct Wiring {
    name: Arc<str>,
    codec: Codec,
    transport: Transport,
}

/// Splits links into what connectors need and what understanding needs, and shows them on the desk.
pub(super) fn plan(links: Vec<Link>, live: &Arc<Live>) -> (Vec<Wiring>, Vec<Link>) {
    let wiring = links
        .iter()
        .map(|link| {
            live.add_link(&link.name, link.transport.kind(), &link.profile.id);
            Wiring {
                name: link.name.clone(),
                codec: link.profile.codec.clone(),
                transport: link.transport.clone(),
            }
        })
        .collect();
    (wiring, links)
}

/// The embedded broker's settings; its sessions are remembered with the rest of the box.
pub(super) fn broker(config: &Config) -> Option<connector::broker::Config> {
    let mut broker = config.broker.clone()?;
    broker.session_file.get_or_insert_with(|| config.buffer.dir.join("broker-sessions"));
    Some(broker)
}

/// Starts the connectors; each reconnects by itself for as long as the box runs.
pub(super) fn spawn(
    tasks: &mut JoinSet<()>,
    wiring: Vec<Wiring>,
    broker: Option<connector::broker::Config>,
    intake: Arc<Ingest>,
    secrets: &SecretStore,
    clock: &SharedClock,
    stop: &Stop,
) {
    let mut claims = Vec::new();
    for Wiring { name, codec, transport } in wiring {
        let (intake, clock, stop) = (intake.clone() as Arc<dyn Intake>, clock.clone(), stop.clone());
        match transport {
            Transport::Mllp(config) => {
                tasks.spawn(connector::mllp::run(name, config, intake, clock, stop));
            }
            Transport::Serial(config) => {
                tasks.spawn(connector::serial::run(name, config, codec, intake, clock, stop));
            }
            Transport::Tcp(config) => {
                tasks.spawn(connector::tcp::run(name, config, codec, intake, clock, stop));
            }
            Transport::Mqtt(config) => {
                let secrets = secrets.clone();
                tasks.spawn(connector::mqtt::run(name, config, secrets, intake, clock, stop));
            }
            Transport::Folder(config) => {
                tasks.spawn(connector::folder::run(name, config, intake, clock, stop));
            }
            Transport::Broker { topics } => claims.push(Claim { link: name, topics }),
        }
    }
    if let Some(config) = broker {
        tasks.spawn(connector::broker::run(
            config,
            claims,
            secrets.clone(),
            intake,
            clock.clone(),
            stop.clone(),
        ));
    }
}
