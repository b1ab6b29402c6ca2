//! Builds the box from its configuration, joins the rooms, supervises them, and stops them in order.

pub mod accounts;
mod again;
pub(crate) mod association;
mod audit;
mod background;
mod by_template;
mod certificate;
mod clock_keeper;
mod deliver;
mod desk;
mod host;
mod ingest;
pub mod installation;
mod links;
mod metrics;
mod numbers;
pub(crate) mod pairing;
mod people;
mod profiles;
mod recording;
mod registered;
mod routes;
mod running;
pub mod scheduled;
mod scrub;
mod sets;
mod site;
mod stopgap;
mod system;
mod telemetry;
mod translated;
mod triage;
pub mod understand;
mod update;
mod upstreams;
mod watch;
pub(crate) mod worklist;

use std::net::SocketAddr;
use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use crate::admin::{self, live::Live};
use crate::buffer::{Buffer, BufferError};
use crate::clock::SharedClock;
use crate::config::Config;
use crate::connector::Stop;
use crate::connector::unfinished::Unfinished;
use crate::device::Identifier;
use crate::secret::SecretStore;
use crate::translate;
use crate::upstream::Upstream;
use crate::upstream::otlp::Exporter;
use again::Again;
use association::Associations;
use association::witness::Witness;
use audit::Auditing;
pub use audit::SEAL_KEY;
use background::Background;
use deliver::Feeds;
pub use deliver::{pause_of_main, replay_main};
use ingest::Ingest;
use links::Roster;
use metrics::Metrics;
use pairing::Pairing;
use people::People;
use profiles::{Profiles, Shelf};
use recording::Recordings;
use registered::Registered;
use routes::{Building, Routes};
use sets::Sets;
use site::Sites;
use system::System;
use translated::Translated;
use triage::Triage;
use understand::Understanding;
use upstreams::{Source, Upstreams};
use worklist::Worklist;

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

/// Runs the box until `stop`; anew when somebody at the desk asks for it.
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
    let again = Arc::new(Again::default());
    let secrets = secrets.with_own(upstreams::own_folder(&config));
    loop {
        let (inner, forward) = again.round(&stop);
        let parts = (config.clone(), secrets.clone(), clock.clone());
        round(parts, inner, console.clone(), again.clone()).await?;
        forward.abort();
        if stop.is_told() || !again.is_wanted() {
            return Ok(());
        }
        if let Some(staged) = again.take_restore() {
            system::put_in_place(&again, config.buffer.dir.clone(), staged, &clock).await;
        }
        console.say("The box starts anew, as was asked for at the desk.");
    }
}

/// The main server as it is set up at the desk, where the file names none; and why it cannot be used.
async fn set_up_at_the_desk(config: &mut Config, buffer: &Buffer) -> Result<Option<String>, GatewayError> {
    if config.upstream.is_some() {
        return Ok(None);
    }
    match upstreams::remember(&buffer.reader()).await.map_err(opening)? {
        Some(Ok(remembered)) => {
            config.upstream = Some(remembered.config);
            config.delivery.max_bytes_per_s = config.delivery.max_bytes_per_s.or(remembered.throttle);
            Ok(None)
        }
        Some(Err(why)) => Ok(Some(why)),
        None => Ok(None),
    }
}

/// The FHIR server of the file, else the one that was set up at the desk.
struct Server {
    source: Source,
    upstream: Option<Arc<Upstream>>,
    /// Why the one of the desk cannot be used.
    trouble: Option<String>,
}

async fn server(
    config: &mut Config,
    secrets: &SecretStore,
    clock: &SharedClock,
    buffer: &Buffer,
    live: &Arc<Live>,
) -> Result<Server, GatewayError> {
    let source = match config.upstream {
        Some(_) => Source::File(config.origin.place.clone()),
        None => Source::Desk,
    };
    let mut trouble = set_up_at_the_desk(config, buffer).await?;
    let upstream = match upstream(config, secrets, clock, live) {
        Ok(upstream) => upstream,
        // What was kept at the desk must not keep the desk from opening.
        Err(fault) if source == Source::Desk => {
            trouble = Some(fault.to_string());
            None
        }
        Err(fault) => return Err(fault),
    };
    if let Some(why) = &trouble {
        tracing::error!(why, "The FHIR server set up at the desk cannot be used.");
        let next = "Open Upstream and set it up again. What devices say is kept meanwhile.";
        live.alarm(
            "upstream-unusable",
            admin::live::Severity::Critical,
            "The FHIR server that was set up cannot be used",
            next,
        );
    }
    Ok(Server { source, upstream, trouble })
}

/// Everything the box is made of, before any of it runs.
struct Built {
    parts: Parts,
    opened: Option<desk::Opened>,
    receivers: Vec<audit::Receiver>,
    telling: Option<Exporter>,
    wake: Arc<Notify>,
}

async fn build(
    config: &mut Config,
    secrets: &SecretStore,
    clock: &SharedClock,
    buffer: Buffer,
    (stop, again): (Stop, Arc<Again>),
) -> Result<Built, GatewayError> {
    let trouble_of_site = site::remember(config, &buffer).await.map_err(opening)?;
    let live = Live::with_clock_limit(clock.clone(), config.site.clock_limit_s);
    let Server { source, upstream, trouble } = server(config, secrets, clock, &buffer, &live).await?;
    let feeds = Arc::new(Feeds::new(config, secrets, clock, upstream.as_ref())?);
    let opened = match &config.desk {
        Some(desk) => Some(desk::open(desk, config, secrets, clock, (&buffer, &live)).await?),
        None => None,
    };
    let me = identity(&buffer, config).await.map_err(opening)?;
    let me_id = me.id.value.clone();
    let (ends, own) = (source.clone(), (buffer.clone(), secrets.clone()));
    let upstreams =
        Upstreams::new(own.0, own.1, config, clock.clone(), again.clone(), ends, upstream.clone(), trouble);
    let site = Sites::new(buffer.clone(), config, clock.clone(), again.clone(), trouble_of_site);
    let system = Arc::new(System::new(buffer.clone(), config, clock.clone(), again));
    let links = std::mem::take(&mut config.links);
    let understanding = Understanding::new(links, me, config.site.simulated);
    let understanding =
        Arc::new(understanding.naming(config.patients.systems.clone()).translating(config.templates.clone()));
    let shelf = Arc::new(Shelf::new(config.library.clone()));
    for saved in shelf.remember(&buffer).await.map_err(opening)? {
        understanding.exchange(&saved);
    }
    let (flow, read) = (buffer.clone(), understanding.clone());
    let pairing = Arc::new(Pairing::new(flow, read, shelf.clone(), config, clock.clone()));
    pairing.remember().await.map_err(opening)?;
    let (flow, read) = (buffer.clone(), understanding.clone());
    let profiles = Arc::new(Profiles::new(flow, shelf, read, pairing.clone(), config, clock.clone()));
    let recordings = Recordings::new(&config.buffer.dir, clock.clone(), understanding.clone(), live.clone());
    let worklist = Arc::new(Worklist::new(buffer.clone(), understanding.clone(), clock.clone()));
    let wake = Arc::new(Notify::new());
    let associations = associations(&buffer, &understanding, config, clock, &wake);
    let (index, known) = (buffer.clone(), understanding.clone());
    let people = Arc::new(People::new(index, known, config.patients.answers_max, config.association.late_h));
    let metrics: Arc<Metrics> = Arc::default();
    let mut figures = Registry::default();
    metrics.register(&mut figures);
    let figures = Arc::new(figures);
    let (auditing, receivers) = auditing(&buffer, config, &me_id, secrets, clock, &live)?;
    let telling = telemetry::exporter(config, me_id.clone(), secrets, clock)?;
    let building = Building::new(understanding.clone(), clock.clone(), &me_id, config);
    let routes = Arc::new(Routes::new(buffer.clone(), building, metrics.clone(), config, feeds.clone()));
    associations.goes_on(routes.clone());
    let (flow, read) = (buffer.clone(), understanding.clone());
    let sets = Arc::new(Sets::new(flow, read, upstream.clone(), clock.clone(), wake.clone()));
    #[rustfmt::skip]
    let parts = Parts {
        buffer, live, metrics, figures, understanding, pairing, recordings, worklist, associations, people, routes,
        sets, profiles, upstreams: Arc::new(upstreams), system, feeds, site: Arc::new(site), upstream, clock: clock.clone(), stop, auditing,
    };
    Ok(Built { parts, opened, receivers, telling, wake })
}

/// From opening the buffer to closing it.
async fn round(
    (mut config, secrets, clock): (Config, SecretStore, SharedClock),
    stop: Stop,
    console: Arc<dyn Console>,
    again: Arc<Again>,
) -> Result<(), GatewayError> {
    let opened = stopgap::open(&config, &secrets, &clock, stop.clone(), &*console).await?;
    let Some(buffer) = opened else { return Ok(()) };
    let Built { parts, opened, receivers, telling, wake } =
        build(&mut config, &secrets, &clock, buffer, (stop, again)).await?;
    parts.auditing.started(&config).await;
    let mut tasks = JoinSet::new();
    let background = Background::start().map_err(|e| GatewayError::Failed(e.to_string()))?;
    let (intake, seen) = parts.start_flow(&mut tasks, &background, &config, wake.clone()).await;
    parts.routes.start(&mut tasks, &background, &parts.stop).await.map_err(opening)?;
    parts.feeds.start(&parts, &mut tasks, &background, &seen, &wake).await.map_err(opening)?;
    let mut up = Up { desk: None, fingerprint: None, links: 0 };
    let (commands, orders) = mpsc::channel(COMMANDS_MAX);
    if let Some(opened) = opened {
        up.desk = Some(opened.address);
        up.fingerprint = Some(opened.identity.fingerprint());
        parts.start_desk(&mut tasks, opened, &config, commands, console.clone());
    }
    parts.start_auditing(&mut tasks, &background, receivers);
    if let Some(exporter) = telling {
        background.spawn(&mut tasks, telemetry::run(exporter, parts.figures.clone(), parts.stop.clone()));
    }
    let folder = config.buffer.dir.clone();
    tasks.spawn(accounts::serve(parts.buffer.clone(), folder, parts.clock.clone(), parts.stop.clone()));
    tasks.spawn(desk::obey(orders, parts.buffer.clone(), parts.upstream.clone(), wake, parts.stop.clone()));
    let roster = Roster::new(parts.live.clone(), intake, secrets, parts.clock.clone(), parts.stop.clone());
    let roster = Arc::new(roster);
    up.links = parts.pairing.start(roster.clone());
    if let Some(broker) = roster.broker(&config) {
        tasks.spawn(broker);
    }
    tasks.spawn(roster.supervise());
    tasks.spawn(running::run(parts.buffer.clone(), parts.clock.clone(), parts.stop.clone()));
    let updates =
        update::Updates::new(&config, parts.buffer.clone(), parts.live.clone(), parts.clock.clone());
    tasks.spawn(updates.run(parts.stop.clone()));
    scheduled::start(&parts, &mut tasks, &background, &config);
    parts.live.ready(true);
    console.up(&up);
    finish(tasks, parts.stop, &parts.buffer, &parts.auditing).await;
    Ok(())
}

/// What everybody in the box shares.
struct Parts {
    buffer: Buffer,
    live: Arc<Live>,
    metrics: Arc<Metrics>,
    figures: Arc<Registry>,
    understanding: Arc<Understanding>,
    pairing: Arc<Pairing>,
    recordings: Arc<Recordings>,
    worklist: Arc<Worklist>,
    routes: Arc<Routes>,
    feeds: Arc<Feeds>,
    associations: Arc<Associations>,
    people: Arc<People>,
    sets: Arc<Sets>,
    profiles: Arc<Profiles>,
    upstreams: Arc<Upstreams>,
    system: Arc<System>,
    site: Arc<Sites>,
    upstream: Option<Arc<Upstream>>,
    clock: SharedClock,
    stop: Stop,
    auditing: Arc<Auditing>,
}

impl Parts {
    /// Starts the first look, the way out and the watch; returns the way in.
    async fn start_flow(
        &self,
        tasks: &mut JoinSet<()>,
        background: &Background,
        config: &Config,
        wake: Arc<Notify>,
    ) -> (Arc<Ingest>, tokio::sync::watch::Receiver<i64>) {
        let intake = Ingest::new(
            self.buffer.clone(),
            self.live.clone(),
            self.metrics.clone(),
            self.understanding.clone(),
            self.recordings.clone(),
            self.worklist.clone(),
            self.people.clone(),
        );
        let unfinished = Arc::new(Unfinished::new(config.intake.unfinished_bytes));
        let intake = Arc::new(intake.bounded(unfinished.clone()));
        let (seen, seen_up_to) = tokio::sync::watch::channel(0);
        let translated = Arc::new(Translated::default());
        let triage = Triage {
            buffer: self.buffer.clone(),
            reader: self.buffer.reader(),
            understanding: self.understanding.clone(),
            live: self.live.clone(),
            metrics: self.metrics.clone(),
            arrived: intake.arrived.clone(),
            pairing: self.pairing.clone(),
            worklist: self.worklist.clone(),
            associations: self.associations.clone(),
            people: self.people.clone(),
            registered: Registered::default(),
            translated: self.upstream.is_some().then(|| translated.clone()),
            onward: self.upstream.is_none() && !(config.routes.is_empty() && self.feeds.is_empty()),
            seen,
        };
        background.spawn(tasks, self.associations.clone().follow(self.stop.clone()));
        intake.remember_recent(&self.buffer.reader()).await;
        triage.show_recent().await;
        background.spawn(tasks, triage.run(self.stop.clone()));
        let seen_by = seen_up_to.clone();
        if let Some(deliver) = self.feeds.main_delivery(self, config, translated, seen_by, wake) {
            background.spawn(tasks, deliver.run(self.stop.clone()));
        }
        self.start_polls(tasks, background, config);
        background.spawn(tasks, scrub::run(self.buffer.clone(), self.metrics.clone(), self.stop.clone()));
        let (live, metrics, upstream) = (self.live.clone(), self.metrics.clone(), self.upstream.clone());
        let (buffer, feeds) = (self.buffer.clone(), self.feeds.clone());
        let (told, dir) = ((live.clone(), metrics.clone(), self.clock.clone()), config.buffer.dir.clone());
        background.spawn(tasks, host::run(told.0, told.1, told.2, dir, self.stop.clone()));
        let watch = watch::Watch { buffer, live, metrics, upstream, feeds, unfinished };
        tasks.spawn(watch.run(self.stop.clone()));
        (intake, seen_up_to)
    }

    /// Asks the server for orders and patients now and then, where the configuration says so.
    fn start_polls(&self, tasks: &mut JoinSet<()>, background: &Background, config: &Config) {
        if let Some(upstream) = self.upstream.clone().filter(|_| config.worklist.fhir) {
            let every = std::time::Duration::from_secs(config.worklist.every_s);
            let looks = worklist::fhir::Looks { every, query: config.worklist.query.clone() };
            background.spawn(tasks, self.worklist.clone().follow(upstream, looks, self.stop.clone()));
        }
        if let Some(upstream) = self.upstream.clone().filter(|_| config.patients.fhir) {
            let every = std::time::Duration::from_secs(config.patients.every_s);
            let looks = people::fhir::Looks { every, query: config.patients.query.clone() };
            background.spawn(tasks, self.people.clone().follow(upstream, looks, self.stop.clone()));
        }
    }

    /// Seals and checks the audit trail, and forwards it to each receiver.
    fn start_auditing(
        &self,
        tasks: &mut JoinSet<()>,
        background: &Background,
        receivers: Vec<audit::Receiver>,
    ) {
        background.spawn(tasks, self.auditing.clone().watch(self.stop.clone()));
        for receiver in receivers {
            background.spawn(tasks, self.auditing.clone().forward(receiver, self.stop.clone()));
        }
    }

    /// Starts the desk on its open port.
    fn start_desk(
        &self,
        tasks: &mut JoinSet<()>,
        opened: desk::Opened,
        config: &Config,
        commands: mpsc::Sender<admin::command::Command>,
        console: Arc<dyn Console>,
    ) {
        let (identity, live, clock) = (opened.identity.clone(), self.live.clone(), self.clock.clone());
        let looked = certificate::run(opened.issuing.clone(), identity, live, clock, self.stop.clone());
        tasks.spawn(looked);
        let services = admin::Services {
            about: admin::About {
                site: config.site.name.clone(),
                simulated: config.site.simulated,
                version: env!("CARGO_PKG_VERSION"),
                updates: config.update.is_some(),
            },
            identity: opened.identity,
            clock: self.clock.clone(),
            store: Arc::new(admin::Kept::new(self.buffer.clone())),
            live: self.live.clone(),
            commands,
            pairing: self.pairing.clone(),
            recording: self.recordings.clone(),
            worklist: self.worklist.clone(),
            outgoing: self.routes.clone(),
            associations: self.associations.clone(),
            people: self.people.clone(),
            trail: self.auditing.clone(),
            sets: self.sets.clone(),
            profiles: self.profiles.clone(),
            upstreams: self.upstreams.clone(),
            system: self.system.clone(),
            issuance: opened.issuing,
            site: self.site.clone(),
            explain: Arc::new(desk::Reading(self.understanding.clone())),
            metrics: self.figures.clone(),
            metrics_token: opened.metrics_token,
            access: Arc::new(config.access.clone()),
            seal: opened.seal,
            federation: opened.federation,
            announce: Arc::new(move |code: &str| console.setup_code(code)),
        };
        let mut stop = self.stop.clone();
        tasks.spawn(async move {
            admin::serve(opened.listener, services, async move { stop.wait().await }).await
        });
    }
}

/// Fuzz body: resources of a FHIR server, whatever they are, become orders and facts about patients, or nothing.
pub fn fuzz_fhir(bytes: &[u8]) {
    worklist::fhir::fuzz(bytes);
}

/// Waits for the word, then for everybody to put down what they hold, then closes the buffer last.
async fn finish(mut tasks: JoinSet<()>, mut stop: Stop, buffer: &Buffer, auditing: &Auditing) {
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
    auditing.stopped().await;
    buffer.close().await;
    tracing::info!("Stopped.");
}

/// Devices and patients, who answer from now on whose an observation is.
fn associations(
    buffer: &Buffer,
    understanding: &Arc<Understanding>,
    config: &Config,
    clock: &SharedClock,
    wake: &Arc<Notify>,
) -> Arc<Associations> {
    let mut policy = config.association.clone();
    policy.unknown = config.patients.unknown;
    let issuers = understanding.issuers().clone();
    let witness = Witness::new(buffer.reader(), policy, issuers, config.site.clock_limit_s);
    Arc::new(Associations::new(buffer.clone(), understanding.clone(), witness, clock.clone(), wake.clone()))
}

/// What keeps the audit trail sealed and forwards it.
fn auditing(
    buffer: &Buffer,
    config: &Config,
    me: &str,
    secrets: &SecretStore,
    clock: &SharedClock,
    live: &Arc<Live>,
) -> Result<(Arc<Auditing>, Vec<audit::Receiver>), GatewayError> {
    let auditing = Auditing::new(buffer.clone(), config, me, secrets, clock.clone(), live.clone());
    let receivers = audit::receivers(config, secrets, clock);
    let receivers = receivers.map_err(|fault| GatewayError::Config(fault.to_string()))?;
    Ok((Arc::new(auditing), receivers))
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
        name: config.site.gateway.as_deref().unwrap_or(&config.site.name).into(),
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

/// Kinds that are written beside those of devices, because templates make them.
fn written(config: &Config) -> Vec<&'static str> {
    use crate::config::{Link, Reads};
    let translates = |link: &Link| matches!(&link.reads, Reads::System(system) if system.templates);
    if config.links.iter().any(translates) { config.templates.kinds() } else { Vec::new() }
}

fn upstream(
    config: &Config,
    secrets: &SecretStore,
    clock: &SharedClock,
    live: &Arc<Live>,
) -> Result<Option<Arc<Upstream>>, GatewayError> {
    let Some(mut upstream) = config.upstream.clone() else { return Ok(None) };
    if config.worklist.fhir {
        worklist::fhir::widen(&mut upstream);
    }
    if config.patients.fhir {
        people::fhir::widen(&mut upstream);
    }
    upstream.writes.extend(written(config));
    let upstream =
        Upstream::new(upstream, secrets, clock.clone()).map_err(|e| GatewayError::Config(e.to_string()))?;
    watch::show_upstream(live, &upstream);
    Ok(Some(Arc::new(upstream)))
}
