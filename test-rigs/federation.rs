//! Users that others vouch for, against systems written by others: the OpenID-certified `oidc-provider` (Node 20) and
//! OpenLDAP's slapd (Debian); and the desk's certificate from an ACME server written by others (pebble). What is asked for is what the box asks for; what lies is refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a rig that cannot go on stops"
)]

#[path = "federation/authority.rs"]
mod authority;
#[path = "common/mod.rs"]
mod common;
#[path = "federation/directory.rs"]
mod directory;
#[path = "federation/provider.rs"]
mod provider;

use std::process::Child;

use bedside::clock::Timestamp;
use bedside::secret::{Secret, SecretStore, write_new};

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A secrets folder with one secret.
fn secrets(name: &str, text: &str) -> (tempfile::TempDir, SecretStore) {
    let dir = tempfile::tempdir().unwrap();
    write_new(&dir.path().join(name), &Secret::new(text.as_bytes().to_vec())).unwrap();
    let store = SecretStore::new(None, Some(dir.path().into()));
    (dir, store)
}

/// The other systems go by the real clock.
fn now() -> Timestamp {
    use bedside::clock::{Clock, SystemClock};
    let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
    SystemClock::default().now()
}
