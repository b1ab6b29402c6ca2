//! What the rigs share: the real binary started on a configuration of its own, what it says of itself, and the FHIR
//! server it delivers to.
#![allow(dead_code, reason = "each rig uses its part of this module")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use bedside::clock::{Clock, SystemClock};
use bedside::demo::fhir_server;
use bedside::secret::{self, Secret};
use bedside::upstream::keys::{self, Algorithm, SigningKey};

/// A folder that goes away with the rig.
pub(crate) fn scratch(name: &str) -> tempfile::TempDir {
    tempfile::Builder::new().prefix(&format!("bedside-{name}-")).tempdir().unwrap()
}

/// Now, by the wall clock, as the devices and people of the rigs see it.
pub(crate) fn wall() -> jiff::Timestamp {
    jiff::Timestamp::from_microsecond(SystemClock::default().now().micros).unwrap()
}

/// A port nobody listens on right now, below those the kernel gives to outgoing connections: a box that is started
/// again on it must find it free, and a client that tries it meanwhile must not be connected to itself.
pub(crate) fn free_port() -> u16 {
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Rigs run side by side as processes of their own: each begins somewhere else.
    let own = std::process::id().wrapping_mul(97) as u16;
    (0..COUNT)
        .map(|_| FIRST + own.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

/// The binary under test.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("BEDSIDE_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_bedside").into(), PathBuf::from)
}

/// Polls until `what` is true; panics with `why` after `limit`.
pub(crate) async fn until(limit: Duration, why: &str, mut what: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !what().await {
        assert!(began.elapsed() < limit, "{why} (waited {limit:?})");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The same without a runtime.
pub(crate) fn until_blocking(limit: Duration, why: &str, mut what: impl FnMut() -> bool) {
    let began = Instant::now();
    while !what() {
        assert!(began.elapsed() < limit, "{why} (waited {limit:?})");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// One running `bedside run`, killed when dropped.
pub(crate) struct Bedside {
    pub(crate) child: Child,
    pub(crate) dir: PathBuf,
    pub(crate) config: PathBuf,
    pub(crate) mllp: u16,
}

impl Bedside {
    /// Writes `config` into `dir` and starts the binary on it; returns when `port` accepts connections.
    pub(crate) fn start(dir: &Path, config: &str, port: u16) -> Self {
        Self::start_binary(&binary(), dir, config, port)
    }

    /// The same with another build of the binary.
    pub(crate) fn start_binary(binary: &Path, dir: &Path, config: &str, port: u16) -> Self {
        let mut started = Self::spawn(binary, dir, config, port);
        started.wait_for_port(port);
        started
    }

    /// The same without waiting for a port.
    pub(crate) fn spawn(binary: &Path, dir: &Path, config: &str, port: u16) -> Self {
        Self::spawn_command(Command::new(binary), dir, config, port)
    }

    /// The same with a command that ends in the binary: its process must become Bedside's.
    pub(crate) fn spawn_command(mut command: Command, dir: &Path, config: &str, port: u16) -> Self {
        let path = dir.join("bedside.toml");
        std::fs::write(&path, config).unwrap();
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(dir.join("bedside.log")).unwrap();
        let child = command
            .args(["run", "--config"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, dir: dir.into(), config: path, mllp: port }
    }

    /// Returns when `port` accepts connections; a process that ended before is a panic with its log.
    pub(crate) fn wait_for_port(&mut self, port: u16) {
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("bedside ended with {status} before its port opened:\n{}", self.log());
            }
            assert!(began.elapsed() < Duration::from_secs(120), "port {port} never opened:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A box with one MLLP link, no upstream and no desk.
    pub(crate) async fn start_mllp_only(dir: &Path) -> Self {
        let port = free_port();
        Self::start(dir, &mllp_config(dir, port), port)
    }

    /// The same with `server` upstream.
    pub(crate) async fn start_with_upstream(dir: &Path, server: &FhirServer) -> Self {
        let port = free_port();
        let config = format!("{}\n{}", mllp_config(dir, port), server.upstream_section(dir));
        Self::start(dir, &config, port)
    }

    /// What was logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("bedside.log")).unwrap_or_default()
    }

    /// Ends the process as a power cut would: without a word.
    pub(crate) fn kill(&mut self) {
        let _already_gone = self.child.kill();
        let _status = self.child.wait();
    }

    /// Asks the process to stop and waits for it.
    pub(crate) fn stop(&mut self) -> std::process::ExitStatus {
        rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.child),
            rustix::process::Signal::TERM,
        )
        .unwrap();
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "did not stop on SIGTERM:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// `bedside status --json`.
    pub(crate) fn status(&self) -> serde_json::Value {
        status_of(&self.config)
    }

    /// Waits until nothing is waiting or sent; returns how many were accepted.
    pub(crate) async fn wait_until_drained(&self, limit: Duration) -> u64 {
        let began = Instant::now();
        loop {
            let counts = self.status()["counts"].clone();
            if counts["waiting"] == 0 && counts["sent"] == 0 {
                return counts["accepted"].as_u64().unwrap();
            }
            assert!(began.elapsed() < limit, "not drained: {counts}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Open file descriptors of the process, from /proc.
    pub(crate) fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Resident memory of the process, from /proc.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Bedside {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `bedside status --json` on a configuration.
pub(crate) fn status_of(config: &Path) -> serde_json::Value {
    let said = Command::new(binary()).args(["status", "--json", "--config"]).arg(config).output().unwrap();
    assert!(said.status.success(), "status failed: {}", String::from_utf8_lossy(&said.stderr));
    serde_json::from_slice(&said.stdout).unwrap()
}

/// The client id boxes of the rigs are registered under.
const CLIENT_ID: &str = "bedside-rig";

/// A FHIR + SMART server in the rig's own process, at which one box is registered: it survives what happens to the
/// box.
pub(crate) struct FhirServer {
    pub(crate) running: fhir_server::Running,
    key: Secret,
}

impl FhirServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// The same with its behaviour changed first.
    pub(crate) async fn start_with(change: impl FnOnce(&mut fhir_server::Config)) -> Self {
        let key = keys::generate(Algorithm::Es384).unwrap();
        let public = SigningKey::from_pem(key.expose()).unwrap().public_jwk().clone();
        let mut config = fhir_server::Config::new(Arc::new(SystemClock::default()));
        // A rig looks at everything it delivered.
        config.max_resources = 5_000_000;
        config.register(CLIENT_ID, serde_json::json!({ "keys": [public] }));
        change(&mut config);
        Self { running: fhir_server::start(config).await.unwrap(), key }
    }

    /// Puts another key among the secrets in `dir`; returns a `[[destination]]` section that uses it.
    pub(crate) fn destination_section(&self, dir: &Path, name: &str) -> String {
        write_secret(dir, &format!("{name}-key"), &self.key);
        format!(
            "[[destination]]\nname = \"{name}\"\n\
             fhir = {{ base = \"{}\", client_id = \"{CLIENT_ID}\", key_secret = \"{name}-key\", timeout_s = 3 }}\n\
             delivery = {{ pause_max_s = 1 }}\n",
            self.running.base_url
        )
    }

    /// Puts the box's key among the secrets in `dir`; returns the `[upstream]` section that uses it.
    pub(crate) fn upstream_section(&self, dir: &Path) -> String {
        write_secret(dir, "upstream-key", &self.key);
        format!(
            "[upstream]\nname = \"Rig server\"\nbase = \"{}\"\nclient_id = \"{CLIENT_ID}\"\nkey_secret = \"upstream-key\"\n",
            self.running.base_url
        )
    }
}

/// Writes a secret where the configurations of the rigs look for it; once for each name.
pub(crate) fn write_secret(dir: &Path, name: &str, secret: &Secret) {
    secret::write_new(&dir.join("secrets").join(name), secret).unwrap();
}

/// One MLLP link that speaks IHE PCD-01.
pub(crate) fn mllp_config(dir: &Path, port: u16) -> String {
    format!(
        "secrets = \"{0}/secrets\"\n[site]\nname = \"Rig\"\n[buffer]\ndir = \"{0}/data\"\n[log]\nformat = \"human\"\nfilter = \"warn\"\n\
         [[link]]\nname = \"monitors\"\nprofile = \"ihe/pcd01-monitor\"\nmllp = {{ listen = \"127.0.0.1:{port}\" }}\n",
        dir.display()
    )
}
