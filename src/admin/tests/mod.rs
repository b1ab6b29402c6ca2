//! The desk over real TLS sockets, as browsers, scrapers and attackers meet it.

mod act;
mod associate;
mod attack;
mod client;
mod described;
mod enter;
mod factor;
mod issue;
mod live;
mod memory;
mod onward;
mod pair;
mod people;
mod profiles;
mod record;
mod trail;
mod sets;
mod site;
mod system;
mod upstreams;
mod users;
mod walk;
mod wire;
mod work;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::command::{Command, Refusal, TestStep};
use super::explain::{Explain, Explained, MeasurementView, StoredFrame};
use super::listener::Patience;
use super::live::Live;
use super::pages::Pages;
use super::samples::{NOON, heart_rate, seconds_after_noon};
use super::store::{EntryState, Session, User};
use super::{About, Config, Identity, Services, bind, serve_pages};
use crate::access::{self, Role, SESSION_LIFE, Seal, SelfMade, Stage, Token, hash_password};
use crate::clock::{Clock, TestClock};
use crate::device::Finding;
use crate::federation::Federation;
use crate::secret::Secret;
use client::Client;
use memory::Memory;

const PASSWORD: &str = "violet tram at noon";

/// A running desk with everything around it.
struct Rig {
    client: Client,
    clock: Arc<TestClock>,
    store: Arc<Memory>,
    live: Arc<Live>,
    /// Set-up codes as the console showed them.
    codes: Arc<Mutex<Vec<String>>>,
    services: Services,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl Rig {
    /// A box nobody has set up.
    async fn fresh() -> Self {
        let pages = Pages::of([("index.html".to_string(), Bytes::from_static(b"<!doctype html>"))]);
        Self::with(pages, Patience::default()).await
    }

    async fn with(pages: Pages, patience: Patience) -> Self {
        // Second factors are asked for where a test is about them.
        let lenient = access::Config { second_factor: Vec::new(), ..access::Config::default() };
        Self::under(pages, patience, lenient, Federation::default()).await
    }

    /// A box nobody has set up, with these rules.
    async fn ruled(access: access::Config, federation: Federation) -> Self {
        let pages = Pages::of([("index.html".to_string(), Bytes::from_static(b"<!doctype html>"))]);
        Self::under(pages, Patience::default(), access, federation).await
    }

    async fn under(pages: Pages, patience: Patience, access: access::Config, federation: Federation) -> Self {
        let clock = TestClock::at(NOON);
        let made = SelfMade::make("ward-3", &[], clock.now()).unwrap();
        let store = Arc::new(Memory::new(clock.clone()));
        let live = Live::new(clock.clone());
        let codes = Arc::new(Mutex::new(Vec::new()));
        let (commands, asked) = mpsc::channel(8);
        tokio::spawn(gateway(asked, store.clone()));
        let shown = codes.clone();
        let mut metrics = Registry::default();
        metrics.register("bedside_frames", "Frames kept", Counter::<u64>::default());
        let services = Services {
            about: About { site: "Ward 3".into(), simulated: true, version: "0.1.0", updates: true },
            identity: Identity::try_from(&made).unwrap(),
            clock: clock.clone(),
            store: store.clone(),
            live: live.clone(),
            commands,
            explain: Arc::new(OneHeartRate),
            pairing: Arc::new(pair::Ward::default()),
            recording: Arc::new(record::Shelf),
            worklist: Arc::new(work::Bench::new(store.clone())),
            outgoing: Arc::new(onward::Rack::default()),
            associations: Arc::new(associate::Ward::default()),
            people: people::index(),
            trail: Arc::new(trail::Book::of(store.clone())),
            sets: Arc::new(sets::Drawer::default()),
            profiles: Arc::new(profiles::Bookcase),
            upstreams: Arc::new(upstreams::Socket::default()),
            system: Arc::new(system::Cellar::new()),
            issuance: Arc::new(issue::Authority::default()),
            site: Arc::new(site::Plate::default()),
            metrics: Arc::new(metrics),
            metrics_token: Some(Secret::new(b"scrape-me\n".to_vec())),
            access: Arc::new(access),
            seal: Arc::new(Seal::new(&Seal::make_key().unwrap()).unwrap()),
            federation,
            announce: Arc::new(move |code| shown.lock().unwrap().push(code.to_string())),
        };
        let listener =
            bind(&Config { listen: ([127, 0, 0, 1], 0).into(), ..Config::default() }).await.unwrap();
        let certificate = CertificateDer::from_pem_slice(made.certificate_pem.as_bytes()).unwrap();
        let client = Client::new(listener.local_addr().unwrap(), certificate);
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(serve_pages(listener, services.clone(), pages, patience, async move {
            stopped.await.ok();
        }));
        // It answers: the set-up code is shown by now.
        assert_eq!(client.get("/healthz").await.status, 200);
        Self { client, clock, store, live, codes, services, stop: Some(stop), serving }
    }

    /// A box with the user `anna` and her session in the client.
    async fn with_anna() -> Self {
        let mut rig = Self::fresh().await;
        rig.add_user("anna", Role::Admin);
        rig.client = rig.logged_in("anna").await;
        rig
    }

    fn add_user(&self, name: &str, role: Role) {
        let password_hash = hash_password(PASSWORD).unwrap();
        self.store.put_user(User::local(name, role, password_hash, seconds_after_noon(0)));
    }

    /// A client with a session of this user, without the work of a password.
    async fn logged_in(&self, name: &str) -> Client {
        use super::store::Store;
        let token = Token::make().unwrap();
        let now = self.clock.now();
        let session = Session {
            id: 0,
            token: token.hash(),
            user: name.into(),
            stage: Stage::In,
            created: now,
            last_seen: now,
            expires: now.plus(SESSION_LIFE),
            proven: now,
            peer: "127.0.0.1".into(),
            agent: String::new(),
        };
        self.store.begin_session(session, Vec::new(), None).await.unwrap().unwrap();
        self.client.with_token(token.text())
    }

    fn code(&self) -> String {
        self.codes.lock().unwrap().last().unwrap().clone()
    }

    async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.serving.await.unwrap();
    }
}

/// The gateway of the tests: does what it is told to the store, but entries 13 and 14 bring bad luck.
async fn gateway(mut asked: mpsc::Receiver<Command>, store: Arc<Memory>) {
    while let Some(command) = asked.recv().await {
        match command {
            Command::Release { id: 13, reply } => {
                reply.send(Err(Refusal::Conflict("it was released a moment ago".into()))).unwrap();
            }
            // It forgot to answer.
            Command::Release { id: 14, reply } => drop(reply),
            Command::Release { id, reply } | Command::Replay { id, reply } => {
                store.set_state(id, EntryState::Waiting);
                reply.send(Ok(())).unwrap();
            }
            Command::TestUpstream { reply } => {
                let step = TestStep { name: "DNS".into(), ok: true, detail: "192.0.2.1".into(), ms: 3 };
                reply.send(vec![step]).unwrap();
            }
        }
    }
}

/// Says of every frame that it holds one heart rate.
struct OneHeartRate;

impl Explain for OneHeartRate {
    fn charset(&self, _: &str) -> crate::hl7v2::Charset {
        crate::hl7v2::Charset::named("8859/1").unwrap()
    }

    fn explain(&self, frame: &StoredFrame) -> Explained {
        Explained {
            profile: Some("ihe/pcd01-monitor".into()),
            measurements: MeasurementView::of(&heart_rate("72.0", 0)),
            findings: vec![Finding {
                code: "no-zone",
                place: "MSH-7".into(),
                text: format!("of entry {}", frame.id),
            }],
            fhir: vec![serde_json::from_str(r#"{"resourceType":"Observation","value":72.0}"#).unwrap()],
        }
    }
}
