//! The real Mosquitto, in a folder and on ports of its own.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use bedside::connector::mqtt;
use bedside::secret::SecretStore;

use super::PATIENCE;

pub(crate) fn tool(name: &str) -> PathBuf {
    let folders = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/usr/local/sbin:/usr/bin";
    let found = folders.split(':').map(|folder| Path::new(folder).join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| {
        panic!("{name} is not installed: run `apt-get install -y mosquitto mosquitto-clients`")
    })
}

pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A folder with certificates, passwords and secrets, and a Mosquitto that uses them.
pub(crate) struct Mosquitto {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) port: u16,
    pub(crate) tls_port: u16,
    child: Option<Child>,
}

impl Mosquitto {
    pub(crate) fn start(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        certificates(dir.path());
        let (port, tls_port) = (free_port(), free_port());
        let at = |name: &str| dir.path().join(name).display().to_string();
        run(Command::new(tool("mosquitto_passwd")).args(["-b", "-c", &at("passwords"), "gateway", "s3cret"]));
        fs::write(dir.path().join("secret-password"), "s3cret\n").unwrap();
        fs::write(dir.path().join("secret-wrong"), "other\n").unwrap();
        let config = format!(
            "user root\nallow_anonymous false\npassword_file {}\npersistence true\npersistence_location {}/\n\
             autosave_interval 1\nautosave_on_changes true\n{more}\nlistener {port} 127.0.0.1\n\
             listener {tls_port} 127.0.0.1\ncertfile {}\nkeyfile {}\n",
            at("passwords"),
            dir.path().display(),
            at("server.pem"),
            at("server.key"),
        );
        fs::write(dir.path().join("mosquitto.conf"), config).unwrap();
        let mut broker = Self { dir, port, tls_port, child: None };
        broker.restart();
        broker
    }

    pub(crate) fn restart(&mut self) {
        let log = fs::File::create(self.dir.path().join("log")).unwrap();
        let mut command = Command::new(tool("mosquitto"));
        command.arg("-c").arg(self.dir.path().join("mosquitto.conf")).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let log = || fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(start.elapsed() < PATIENCE, "Mosquitto does not start: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Ends it in order: what it holds for us is written down.
    pub(crate) fn end(&mut self) {
        let mut child = self.child.take().unwrap();
        run(Command::new(tool("kill")).args(["-TERM", &child.id().to_string()]));
        child.wait().unwrap();
    }

    pub(crate) fn secrets(&self) -> SecretStore {
        SecretStore::new(Some(self.dir.path().into()), None)
    }

    pub(crate) fn config(&self, version: u8, more: &str) -> mqtt::Config {
        let text = format!(
            "broker = \"127.0.0.1\"\nport = {}\ntls = false\nversion = {version}\nusername = \"gateway\"\n\
             password_secret = \"secret-password\"\nclient_id = \"gateway-{version}\"\ntopics = [\"ward/#\"]\n\
             keep_alive_s = 5\n{more}",
            self.port
        );
        toml::from_str(&text).unwrap()
    }

    pub(crate) fn tls_config(&self, version: u8) -> mqtt::Config {
        let ca_file = Some(self.dir.path().join("ca.pem"));
        mqtt::Config {
            broker: "localhost".into(),
            port: Some(self.tls_port),
            tls: true,
            ca_file,
            ..self.config(version, "")
        }
    }

    /// Publishes with Mosquitto's own client; true when it was acknowledged.
    pub(crate) fn publish(&self, protocol: &str, qos: u8, topic: &str, text: &str) -> bool {
        let mut command = Command::new(tool("mosquitto_pub"));
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-u", "gateway", "-P", "s3cret"]);
        command.args(["-V", protocol, "-q", &qos.to_string(), "-t", topic, "-m", text]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// An authority, a server certificate for `localhost` signed by it, and a second authority nobody knows.
pub(crate) fn certificates(dir: &Path) {
    let authority = |name: &str| {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(dir.join(format!("{name}.pem")), certificate.pem()).unwrap();
        rcgen::Issuer::new(params, key)
    };
    let issuer = authority("ca");
    authority("stranger");
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    fs::write(dir.join("server.pem"), certificate.pem()).unwrap();
    fs::write(dir.join("server.key"), key.serialize_pem()).unwrap();
}
