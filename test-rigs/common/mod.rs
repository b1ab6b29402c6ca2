//! What the rigs share: the real binary started on a configuration of its own, and what it says of itself.
#![allow(dead_code, reason = "each rig uses its part of this module")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A folder that goes away with the rig.
pub fn scratch(name: &str) -> tempfile::TempDir {
    tempfile::Builder::new().prefix(&format!("bedside-{name}-")).tempdir().unwrap()
}

/// A port nobody listens on right now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The binary under test.
pub fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_bedside"))
}

/// Polls until `what` is true; panics with `why` after `limit`.
pub async fn until(limit: Duration, why: &str, mut what: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !what().await {
        assert!(began.elapsed() < limit, "{why} (waited {limit:?})");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The same without a runtime.
pub fn until_blocking(limit: Duration, why: &str, mut what: impl FnMut() -> bool) {
    let began = Instant::now();
    while !what() {
        assert!(began.elapsed() < limit, "{why} (waited {limit:?})");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// One running `bedside run`, killed when dropped.
pub struct Bedside {
    pub child: Child,
    pub dir: PathBuf,
    pub config: PathBuf,
    pub mllp: u16,
}

impl Bedside {
    /// Writes `config` into `dir` and starts the binary on it; returns when `port` accepts connections.
    pub fn start(dir: &Path, config: &str, port: u16) -> Self {
        Self::start_binary(&binary(), dir, config, port)
    }

    /// The same with another build of the binary.
    pub fn start_binary(binary: &Path, dir: &Path, config: &str, port: u16) -> Self {
        let path = dir.join("bedside.toml");
        std::fs::write(&path, config).unwrap();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("bedside.log")).unwrap();
        let child = Command::new(binary)
            .args(["run", "--config"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut started = Self { child, dir: dir.into(), config: path, mllp: port };
        started.wait_for_port(port);
        started
    }

    fn wait_for_port(&mut self, port: u16) {
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("bedside ended with {status} before its port opened:\n{}", self.log());
            }
            assert!(began.elapsed() < Duration::from_secs(30), "port {port} never opened:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A box with one MLLP link, no upstream and no desk.
    pub async fn start_mllp_only(dir: &Path) -> Self {
        let port = free_port();
        Self::start(dir, &mllp_config(dir, port), port)
    }

    /// The same with `server` upstream.
    pub async fn start_with_upstream(dir: &Path, server: &FhirServer) -> Self {
        let port = free_port();
        let config = format!("{}\n{}", mllp_config(dir, port), server.upstream_section(dir));
        Self::start(dir, &config, port)
    }

    /// What was logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("bedside.log")).unwrap_or_default()
    }

    /// Ends the process as a power cut would: without a word.
    pub fn kill(&mut self) {
        let _already_gone = self.child.kill();
        let _status = self.child.wait();
    }

    /// Asks the process to stop and waits for it.
    pub fn stop(&mut self) -> std::process::ExitStatus {
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
    pub fn status(&self) -> serde_json::Value {
        status_of(&self.config)
    }

    /// Waits until nothing is waiting or sent; returns how many were accepted.
    pub async fn wait_until_drained(&self, limit: Duration) -> u64 {
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

    /// Resident memory of the process, from /proc.
    pub fn resident_bytes(&self) -> u64 {
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
pub fn status_of(config: &Path) -> serde_json::Value {
    let said = Command::new(binary()).args(["status", "--json", "--config"]).arg(config).output().unwrap();
    assert!(said.status.success(), "status failed: {}", String::from_utf8_lossy(&said.stderr));
    serde_json::from_slice(&said.stdout).unwrap()
}

/// One MLLP link that speaks IHE PCD-01.
pub fn mllp_config(dir: &Path, port: u16) -> String {
    format!(
        "secrets = \"{0}/secrets\"\n[site]\nname = \"Rig\"\n[buffer]\ndir = \"{0}/data\"\n[log]\nformat = \"human\"\nfilter = \"warn\"\n\
         [[link]]\nname = \"monitors\"\nprofile = \"ihe/pcd01-monitor\"\nmllp = {{ listen = \"127.0.0.1:{port}\" }}\n",
        dir.display()
    )
}
