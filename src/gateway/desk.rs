//! What the desk stands on: its port and certificate, how it reads frames, and the commands it may give.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};

use crate::access::Seal;
use crate::admin::command::{Command, Refusal, TestStep};
use crate::admin::explain::{Explain, Explained, MeasurementView, StoredFrame};
use crate::admin::live::Live;
use crate::admin::{self, Identity};
use crate::buffer::{Buffer, BufferError, Mark, State, Transition};
use crate::clock::SharedClock;
use crate::config::Config;
use crate::connector::Stop;
use crate::federation::Federation;
use crate::gateway::GatewayError;
use crate::gateway::certificate::Issuing;
use crate::gateway::understand::{Meaning, Said, Understanding, Understood};
use crate::hl7v2::Charset;
use crate::secret::{self, Secret, SecretError, SecretStore};
use crate::upstream::Upstream;

/// The desk's open port and who it is.
pub(super) struct Opened {
    pub(super) listener: TcpListener,
    pub(super) address: SocketAddr,
    pub(super) identity: Identity,
    pub(super) metrics_token: Option<Secret>,
    pub(super) seal: Arc<Seal>,
    pub(super) federation: Federation,
    pub(super) issuing: Arc<Issuing>,
}

/// Name of the secret with the key under which secrets of authenticator apps are kept.
const ACCOUNT_KEY: &str = "account-key";

/// Binds the port and loads, or at the first start makes, the certificate.
pub(super) async fn open(
    desk: &admin::Config,
    config: &Config,
    secrets: &SecretStore,
    clock: &SharedClock,
    flow: (&Buffer, &Arc<Live>),
) -> Result<Opened, GatewayError> {
    let (listener, identity) = bind(desk, config, secrets, clock).await?;
    let address = listener.local_addr().map_err(|e| GatewayError::Failed(e.to_string()))?;
    let wrong = |e: &dyn std::fmt::Display| GatewayError::Config(e.to_string());
    let metrics_token = match &desk.metrics_token_secret {
        Some(name) => Some(secrets.load(name).map_err(|e| wrong(&e))?),
        None => None,
    };
    let seal = Arc::new(seal(secrets, &config.secrets)?);
    let federation = Federation::new(&config.access, secrets).map_err(GatewayError::Config)?;
    let own = (secrets.clone(), config.secrets.as_path());
    let issuing = Issuing::new(desk.acme.as_ref(), identity.clone(), own, flow, clock.clone()).await;
    let issuing = Arc::new(issuing.map_err(GatewayError::Config)?);
    Ok(Opened { listener, address, identity, metrics_token, seal, federation, issuing })
}

/// The port and the certificate alone: as much as a desk without its buffer can have.
pub(super) async fn bind(
    desk: &admin::Config,
    config: &Config,
    secrets: &SecretStore,
    clock: &SharedClock,
) -> Result<(TcpListener, Identity), GatewayError> {
    let listener = admin::bind(desk).await.map_err(|e| GatewayError::Failed(e.to_string()))?;
    let identity = Identity::load_or_make(desk, secrets, &config.secrets, clock.now())
        .map_err(|e| GatewayError::Config(e.to_string()))?;
    Ok((listener, identity))
}

/// Loads the key, or at the first start makes it.
fn seal(secrets: &SecretStore, folder: &Path) -> Result<Seal, GatewayError> {
    let wrong =
        |fault: &dyn std::fmt::Display| GatewayError::Config(format!("secret {ACCOUNT_KEY}: {fault}"));
    let key = match secrets.load(ACCOUNT_KEY) {
        Err(SecretError::Missing { .. }) => {
            let key = Seal::make_key().map_err(|fault| wrong(&fault))?;
            secret::write_new(&folder.join(ACCOUNT_KEY), &key).map_err(|fault| wrong(&fault))?;
            key
        }
        loaded => loaded.map_err(|fault| wrong(&fault))?,
    };
    Seal::new(&key).map_err(|fault| wrong(&fault))
}

/// Reads kept frames for the desk.
pub(super) struct Reading(pub(super) Arc<Understanding>);

impl Explain for Reading {
    fn charset(&self, link: &str) -> Charset {
        self.0.link(link).map(|link| link.charset).unwrap_or_default()
    }

    fn explain(&self, frame: &StoredFrame) -> Explained {
        let said = Said {
            entry: Some(frame.id),
            link: &frame.link,
            peer: &frame.peer,
            received: frame.received,
            bytes: &frame.bytes,
            topic: frame.topic.as_deref(),
            sha256: crate::buffer::sha256(&frame.bytes),
        };
        let page = self.0.link(&frame.link).and_then(|link| self.0.page(&link, &said).ok());
        explained(self.0.read(&said), page.map(|page| page.id.to_string()))
    }
}

/// What was understood, as the desk shows it.
pub(super) fn explained(understood: Understood, profile: Option<String>) -> Explained {
    let measurements =
        understood.reports.iter().flat_map(|r| &r.measurements).flat_map(MeasurementView::of).collect();
    let fhir = match understood.meaning {
        Meaning::Deliver { resources } => resources.into_iter().map(|resource| resource.json).collect(),
        Meaning::Hold(_) | Meaning::Nothing(_) | Meaning::Orders(_) | Meaning::Stranger(_) => Vec::new(),
    };
    Explained { profile, measurements, findings: understood.findings, fhir }
}

/// Carries out what people at the desk ask for, one at a time.
pub(super) async fn obey(
    mut orders: mpsc::Receiver<Command>,
    buffer: Buffer,
    upstream: Option<Arc<Upstream>>,
    wake: Arc<Notify>,
    mut stop: Stop,
) {
    loop {
        let order = tokio::select! {
            () = stop.wait() => return,
            order = orders.recv() => order,
        };
        match order {
            // The desk is off; nobody will ask again.
            None => return stop.wait().await,
            Some(Command::Release { id, reply }) => {
                let done = again(&buffer, id, true).await;
                wake.notify_one();
                let _asker_left = reply.send(done);
            }
            Some(Command::Replay { id, reply }) => {
                let done = again(&buffer, id, false).await;
                wake.notify_one();
                let _asker_left = reply.send(done);
            }
            Some(Command::TestUpstream { reply }) => {
                let upstream = upstream.clone();
                // A test may take as long as a slow server; other orders need not wait for it.
                tokio::spawn(async move {
                    let _asker_left = reply.send(test(upstream).await);
                });
            }
        }
    }
}

async fn again(buffer: &Buffer, id: i64, only_held: bool) -> Result<(), Refusal> {
    let entry = buffer.reader().entry(id).await.map_err(|e| Refusal::Failed(e.to_string()))?;
    let Some(entry) = entry else { return Err(Refusal::Unknown) };
    match entry.row.state {
        State::Held => {}
        State::Accepted if !only_held => {}
        state => return Err(Refusal::Conflict(format!("the entry is {state}; there is nothing to let go"))),
    }
    let to = Transition::Waiting { retry_after: None, reason: None };
    match buffer.mark(vec![Mark { id, to }]).await {
        Ok(()) => Ok(()),
        Err(fault @ BufferError::IllegalMarks(_)) => Err(Refusal::Conflict(fault.to_string())),
        Err(fault) => Err(Refusal::Failed(fault.to_string())),
    }
}

async fn test(upstream: Option<Arc<Upstream>>) -> Vec<TestStep> {
    let Some(upstream) = upstream else {
        let detail = "add an [upstream] section to the configuration and start again".into();
        return vec![TestStep { name: "configuration".into(), ok: false, detail, ms: 0 }];
    };
    let steps = upstream.test().await;
    steps
        .into_iter()
        .map(|s| TestStep { name: s.name.to_string(), ok: s.ok, detail: s.detail, ms: s.ms })
        .collect()
}
