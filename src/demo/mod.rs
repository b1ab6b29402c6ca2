//! The demo: seven simulated devices and a stranger to pair, that speak their real protocols over ptys, TCP and MQTT, a small FHIR + SMART
//! server, a hospital system that admits patients, an EHR that takes HL7 v2, and the box between them, in one process and a throw-away folder. The rigs and `bedside simulate` use
//! its parts.

pub mod actor;
pub mod fault;
pub mod fhir_server;
mod hospital;
pub mod pty;
pub mod replay;
pub mod stage;
pub mod template;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{SharedClock, SystemClock};
use crate::config;
use crate::connector::Stop;
use crate::firmware_profile::Library;
use crate::gateway::{self, Console, GatewayError, Up};
use crate::secret::{self, Secret, SecretStore};
use crate::upstream::keys::{self, Algorithm, SigningKey};
use actor::kit::{Broker, Kit};
use actor::{Script, Speaker, speaker};
use fault::{Faults, FaultyLine};
use stage::{Place, Play};

const CLIENT_ID: &str = "bedside-demo";
const KIT_USER: &str = "kit-gateway";
const KIT_TOPIC: &str = "kits/ward-3/vitals";

/// The simulated devices: link name, firmware profile, seconds between messages.
const DEVICES: [(&str, &str, u64); 7] = [
    ("icu-monitor", "ihe/pcd01-monitor", 2),
    ("oximeter", OXIMETER, 1),
    ("chemistry-analyser", ANALYSER, 7),
    ("vital-signs-kit", KIT, 4),
    ("chemistry-analyser-2", CHEMISTRY, 9),
    ("scale", SCALE, 11),
    ("finger-clip", PLETH, 1),
];
const OXIMETER: &str = "masimo/ascii1";
/// The one with a wave: 75 samples a second.
const PLETH: &str = "nonin/oem3";
const ANALYSER: &str = "generic/astm-analyser";
const KIT: &str = "ble-gateway/vital-kit";
const CHEMISTRY: &str = "mindray/bs-chemistry";
const SCALE: &str = "denver/line-scale";

/// One more that nobody has paired: it waits on the Pairing page. Its identity and patient are its own.
const STRANGER: (&str, &str, u64) = ("new-devices", "ihe/pcd01-monitor", 10);
const STRANGER_IS: [(&str, &str); 5] = [
    ("BEDMON^00A0370000000101", "NEWMON^00A0370000000202"),
    ("00A03700000001A5", "00A03700000002A5"),
    ("SIM-0001", "SIM-0007"),
    ("ICU^3^BED-1", "ICU^4^BED-1"),
    ("^BEDMON|", "^NEWMON|"),
];

/// Everything the demo keeps on disk; gone when it ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> std::io::Result<Self> {
        let name = format!("bedside-demo-{}", uuid::Uuid::new_v4().simple());
        let path = std::env::temp_dir().join(name);
        std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is in the system's temporary folder and holds only simulated data.
        let _left_behind = std::fs::remove_dir_all(&self.0);
    }
}

fn failed(fault: impl std::fmt::Display) -> GatewayError {
    GatewayError::Failed(format!("the demo: {fault}"))
}

/// Runs the demo until `stop`; the desk listens on `desk`.
pub async fn run(desk: SocketAddr, stop: Stop, console: Arc<dyn Console>) -> Result<(), GatewayError> {
    let clock: SharedClock = Arc::new(SystemClock::default());
    let folder = Folder::new().map_err(failed)?;
    let key = keys::generate(Algorithm::Es384).map_err(failed)?;
    let public = SigningKey::from_pem(key.expose()).map_err(failed)?.public_jwk().clone();
    let password = Secret::new(uuid::Uuid::new_v4().simple().to_string().into_bytes());
    let secrets = folder.0.join("secrets");
    secret::write_new(&secrets.join("upstream-key"), &key).map_err(failed)?;
    secret::write_new(&secrets.join("kit-password"), &password).map_err(failed)?;

    let mut server = fhir_server::Config::new(clock.clone());
    server.register(CLIENT_ID, serde_json::json!({ "keys": [public] }));
    let server = fhir_server::start(server).await.map_err(failed)?;

    let ports = Ports::pick().map_err(failed)?;
    let text = configuration(&folder.0, desk, &server.base_url, &ports);
    let config = config::parse(&text, "the demo's configuration").map_err(failed)?;
    let store = SecretStore::new(None, Some(secrets));

    let library = Library::embedded().map_err(failed)?;
    let mut devices = tokio::task::JoinSet::new();
    for (number, (name, profile, seconds)) in DEVICES.into_iter().enumerate() {
        let place = place(&folder.0, name, profile, &ports);
        let kit = (profile == KIT).then(|| Broker {
            client_id: name.into(),
            user: KIT_USER.into(),
            password: password.clone(),
            topic: Some(KIT_TOPIC.into()),
        });
        let seed = number as u64 + 1;
        let play = match profile {
            PLETH => {
                played(profile, Script::of(&library, profile, seed).map_err(failed)?, kit, seconds, seed)?
            }
            _ => simulated(profile, &simulation(profile)?, kit, seconds, seed)?,
        };
        devices.spawn(play.run(place, clock.clone(), stop.clone(), |_, _| ()));
    }
    let place = Place::Dial(local(ports.newcomers).to_string());
    devices.spawn(stranger()?.run(place, clock.clone(), stop.clone(), |_, _| ()));
    let (script, count) = hospital::admissions().map_err(failed)?;
    let admissions = Play { count: Some(count), ..played("generic/hl7-orders", script, None, 2, 0)? };
    let place = Place::Dial(local(ports.admissions).to_string());
    devices.spawn(admissions.run(place, clock.clone(), stop.clone(), |_, _| ()));
    devices.spawn(hospital::Ehr::new(clock.clone()).run(local(ports.ehr), stop.clone()));
    let console = Arc::new(Banner { inner: console, fhir: server.base_url.clone() });
    let done = gateway::run(config, store, clock, stop, console).await;
    devices.abort_all();
    done
}

/// Ports nobody listens on right now.
struct Ports {
    monitors: u16,
    chemistry: u16,
    newcomers: u16,
    broker: u16,
    /// Where the box hears of admissions, and where the EHR takes HL7 v2.
    admissions: u16,
    ehr: u16,
}

impl Ports {
    fn pick() -> std::io::Result<Self> {
        let free = || -> std::io::Result<(TcpListener, u16)> {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let port = listener.local_addr()?.port();
            Ok((listener, port))
        };
        // All are held until all are chosen, so that no two are the same.
        let (a, b, c, d, e, f) = (free()?, free()?, free()?, free()?, free()?, free()?);
        Ok(Self { monitors: a.1, chemistry: b.1, newcomers: c.1, broker: d.1, admissions: e.1, ehr: f.1 })
    }
}

fn configuration(folder: &Path, desk: SocketAddr, base: &str, ports: &Ports) -> String {
    let folder = folder.display();
    let patient = |n: u32| {
        format!("patient = {{ system = \"urn:oid:2.16.840.1.113883.3.9999.1\", value = \"SIM-{n:04}\" }}\n")
    };
    format!(
        "secrets = \"{folder}/secrets\"\n[site]\nname = \"Demo clinic\"\nzone = \"UTC\"\nsimulated = true\n\
         [buffer]\ndir = \"{folder}/data\"\n\
         [desk]\nlisten = \"{desk}\"\n\
         [access]\nsecond_factor = []\n\
         [upstream]\nname = \"Demo EHR\"\nbase = \"{base}\"\nclient_id = \"{CLIENT_ID}\"\nkey_secret = \"upstream-key\"\n\
         [broker]\nlisten = \"127.0.0.1:{broker}\"\n[[broker.users]]\nname = \"{KIT_USER}\"\npassword_secret = \"kit-password\"\n\
         [[link]]\nname = \"icu-monitor\"\nprofile = \"ihe/pcd01-monitor\"\nmllp = {{ listen = \"127.0.0.1:{monitors}\" }}\n\
         [[link]]\nname = \"oximeter\"\nprofile = \"{OXIMETER}\"\nserial = {{ port = \"{folder}/oximeter\" }}\n{p2}\
         [[link]]\nname = \"chemistry-analyser\"\nprofile = \"{ANALYSER}\"\nserial = {{ port = \"{folder}/chemistry-analyser\" }}\n\
         [[link]]\nname = \"vital-signs-kit\"\nprofile = \"{KIT}\"\nbroker = {{ topics = [\"kits/#\"] }}\n\
         [[link]]\nname = \"chemistry-analyser-2\"\nprofile = \"{CHEMISTRY}\"\nmllp = {{ listen = \"127.0.0.1:{chemistry}\" }}\n\
         [[link]]\nname = \"{newcomers}\"\nprofile = \"by-sender\"\nmllp = {{ listen = \"127.0.0.1:{door}\" }}\n\
         [[link]]\nname = \"scale\"\nprofile = \"{SCALE}\"\nserial = {{ port = \"{folder}/scale\" }}\n{p4}\
         [[link]]\nname = \"finger-clip\"\nprofile = \"{PLETH}\"\nserial = {{ port = \"{folder}/finger-clip\" }}\n{p5}\
         [[link]]\nname = \"admissions\"\nprofile = \"hl7-system\"\nmllp = {{ listen = \"127.0.0.1:{admissions}\" }}\n\
         [[destination]]\nname = \"ward-ehr\"\nmllp = {{ address = \"127.0.0.1:{ehr}\" }}\n\
         receiver = {{ application = \"EHR\", facility = \"DEMO\" }}\n\
         [[route]]\nname = \"admissions\"\nfrom = [\"admissions\"]\nmessages = [\"ADT\"]\nto = \"ward-ehr\"\nhow = \"pass\"\n\
         [[route]]\nname = \"results\"\nfrom = [\"icu-monitor\", \"chemistry-analyser\", \"chemistry-analyser-2\", \"scale\"]\n\
         to = \"ward-ehr\"\nhow = \"measurements\"\nalarms = true\n",
        admissions = ports.admissions,
        ehr = ports.ehr,
        broker = ports.broker,
        monitors = ports.monitors,
        chemistry = ports.chemistry,
        newcomers = STRANGER.0,
        door = ports.newcomers,
        p2 = patient(2),
        p4 = patient(4),
        p5 = patient(5),
    )
}

fn place(folder: &Path, name: &str, profile: &str, ports: &Ports) -> Place {
    let port = match profile {
        OXIMETER | SCALE | ANALYSER | PLETH => return Place::Pty(folder.join(name)),
        CHEMISTRY => ports.chemistry,
        KIT => ports.broker,
        _ => ports.monitors,
    };
    Place::Dial(local(port).to_string())
}

fn simulated(
    profile: &str,
    template: &str,
    kit: Option<Broker>,
    seconds: u64,
    seed: u64,
) -> Result<Play, GatewayError> {
    let script = Script::of_template(template, None, seed).map_err(failed)?;
    played(profile, script, kit, seconds, seed)
}

fn played(
    profile: &str,
    script: Script,
    kit: Option<Broker>,
    seconds: u64,
    seed: u64,
) -> Result<Play, GatewayError> {
    let library = Library::embedded().map_err(failed)?;
    let profile = library.find(profile).ok_or_else(|| failed(format!("there is no {profile}")))?;
    let speaker: Box<dyn Speaker> = match kit {
        Some(broker) => Box::new(Kit::new(broker)),
        None => speaker(&profile, &[]).map_err(failed)?,
    };
    let faults = FaultyLine::new(Faults::default(), seed);
    Ok(Play { speaker, script, faults, every: Duration::from_secs(seconds), count: None })
}

/// The device that nobody has paired yet: the monitor again, as another bed's.
fn stranger() -> Result<Play, GatewayError> {
    let (_, profile, seconds) = STRANGER;
    let own = |text: String, (theirs, its): &(&str, &str)| text.replace(theirs, its);
    let text = STRANGER_IS.iter().fold(simulation(profile)?, own);
    simulated(profile, &text, None, seconds, DEVICES.len() as u64 + 1)
}

fn simulation(profile: &str) -> Result<String, GatewayError> {
    let library = Library::embedded().map_err(failed)?;
    let text = library.simulation(profile).ok_or_else(|| failed(format!("{profile} has no simulate.tpl")))?;
    Ok(text.to_string())
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Adds to the console what is special about the demo.
struct Banner {
    inner: Arc<dyn Console>,
    fhir: String,
}

impl Console for Banner {
    fn up(&self, up: &Up) {
        self.inner.up(up);
        self.inner.say("This is a demo: every device and every value is simulated and marked HTEST in FHIR.");
        self.inner.say(&format!("The demo's FHIR server: {} (it asks for a token)", self.fhir));
        self.inner
            .say("A hospital system admits patients, and an EHR takes HL7 v2: see HL7 routes at the desk.");
        self.inner.say("Stop it with Ctrl-C; its folder goes with it.");
    }

    fn setup_code(&self, code: &str) {
        self.inner.setup_code(code);
    }

    fn say(&self, line: &str) {
        self.inner.say(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demos_configuration_has_devices_a_hospital_and_a_way_on() {
        let ports = Ports::pick().unwrap();
        let desk = local(8443);
        let text = configuration(Path::new("/tmp/demo"), desk, "http://127.0.0.1:1/fhir", &ports);
        let config =
            config::parse(&text, "the demo's configuration").unwrap_or_else(|wrong| panic!("{wrong}"));
        assert_eq!(config.links.len(), DEVICES.len() + 2);
        assert_eq!((config.destinations.len(), config.routes.len()), (1, 2));
        assert!(config.site.simulated);
        assert!(config.access.second_factor.is_empty(), "whoever tries the demo needs no telephone");
        assert_eq!(config.secrets, Path::new("/tmp/demo/secrets"), "its keys go with its folder");
    }
}
