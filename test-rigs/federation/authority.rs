//! The desk's certificate by ACME against pebble, the ACME test server of Let's Encrypt's makers (Debian), and its server of
//! made-up names.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bedside::access::SelfMade;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::common::{Bedside, until};
use super::{Process, free_port, now};

/// Without sleeping before it looks; taking every nonce.
const QUICK: [(&str, &str); 2] = [("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_WFE_NONCEREJECT", "0")];
const PATIENCE: Duration = Duration::from_secs(60);

/// An authority with the ports at which it looks for a box.
struct Authority {
    dir: tempfile::TempDir,
    directory: u16,
    management: u16,
    names: u16,
    tls: u16,
    http: u16,
    _processes: Vec<Process>,
}

impl Authority {
    /// One whose certificates live for so many seconds.
    fn start(life_s: u32, settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = SelfMade::make("localhost", &[], now()).unwrap();
        std::fs::write(dir.path().join("cert.pem"), &made.certificate_pem).unwrap();
        std::fs::write(dir.path().join("key.pem"), made.key_pem.expose()).unwrap();
        let [directory, management, names, dns, tls, http] = [(); 6].map(|()| free_port());
        let here = dir.path().display();
        let config = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{directory}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": format!("{here}/cert.pem"), "privateKey": format!("{here}/key.pem"),
            "httpPort": http, "tlsPort": tls, "ocspResponderURL": "",
            "externalAccountBindingRequired": true,
            "externalAccountMACKeys": { "kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W" },
            "certificateValidityPeriod": life_s,
        }});
        std::fs::write(dir.path().join("pebble.json"), config.to_string()).unwrap();
        let log = |name: &str| std::fs::File::create(dir.path().join(name)).unwrap();
        let dns_server = Command::new("pebble-challtestsrv")
            .args(["-dns01", &format!("127.0.0.1:{dns}"), "-management", &format!("127.0.0.1:{names}")])
            .args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""])
            .stdout(log("names.log"))
            .stderr(Stdio::null())
            .spawn()
            .expect("pebble-challtestsrv is needed (test-rigs/install-deps)");
        let pebble = Command::new("pebble")
            .args(["-config", &format!("{here}/pebble.json"), "-dnsserver", &format!("127.0.0.1:{dns}")])
            .envs(settings.iter().copied())
            .stdout(log("pebble.log"))
            .stderr(log("pebble.err"))
            .spawn()
            .expect("pebble is needed (test-rigs/install-deps)");
        let _processes = vec![Process(dns_server), Process(pebble)];
        Self { dir, directory, management, names, tls, http, _processes }
    }

    fn ca(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    /// A name that leads there.
    async fn leads(&self, host: &str, address: &str) {
        let body = serde_json::json!({ "host": format!("{host}."), "addresses": [address] }).to_string();
        let url = format!("http://127.0.0.1:{}/add-a", self.names);
        let _with_provider = now();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        until(PATIENCE, "the names are not served", async || {
            client.post(&url).body(body.clone()).send().await.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
    }

    /// What browsers would trust of it.
    async fn root(&self) -> CertificateDer<'static> {
        let own = CertificateDer::from_pem_file(self.ca()).unwrap();
        let client =
            reqwest::Client::builder().tls_backend_preconfigured(trusting(own)).no_proxy().build().unwrap();
        let url = format!("https://127.0.0.1:{}/roots/0", self.management);
        let mut pem = String::new();
        until(PATIENCE, "pebble says no root", async || match client.get(&url).send().await {
            Ok(answer) => {
                pem = answer.text().await.unwrap();
                true
            }
            Err(_) => false,
        })
        .await;
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    }
}

fn trusting(root: CertificateDer<'static>) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root).unwrap();
    rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()
}

/// A box with a desk that asks this authority.
fn config(dir: &Path, authority: &Authority, desk: u16, more: &str) -> String {
    let (here, port, ca) = (dir.display(), authority.directory, authority.ca());
    std::fs::create_dir_all(dir.join("secrets")).unwrap();
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W\n";
    let eab = dir.join("secrets/acme-eab");
    if !eab.exists() {
        bedside::secret::write_new(&eab, &bedside::secret::Secret::new(key.into())).unwrap();
    }
    format!(
        "secrets = \"{here}/secrets\"\n[site]\nname = \"Rig\"\n[buffer]\ndir = \"{here}/data\"\n[log]\nformat = \"human\"\n\
         filter = \"info\"\n[desk]\nlisten = \"127.0.0.1:{desk}\"\n[desk.acme]\n\
         directory = \"https://localhost:{port}/dir\"\nterms_agreed = true\ncontact = [\"it@clinic.example\"]\n\
         eab_key_id = \"kid-1\"\neab_secret = \"acme-eab\"\n{}{more}",
        if more.contains("ca_file") { String::new() } else { format!("ca_file = \"{}\"\n", ca.display()) }
    )
}

/// A connection to the desk under this name that takes only certificates of this root.
async fn connect(root: &CertificateDer<'static>, name: &str, port: u16) -> Option<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(trusting(root.clone()))).connect(name, stream).await.ok()
}

fn shown(connection: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    connection.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

/// Asks on a connection that stays open.
async fn alive(connection: &mut TlsStream<TcpStream>) -> bool {
    let request = b"GET /healthz HTTP/1.1\r\nHost: desk.rig\r\n\r\n";
    if connection.write_all(request).await.is_err() {
        return false;
    }
    let mut said = [0; 4096];
    match connection.read(&mut said).await {
        Ok(some) => said[..some].starts_with(b"HTTP/1.1 200"),
        Err(_) => false,
    }
}

fn kept(dir: &Path, name: &str) -> Option<String> {
    std::fs::read_to_string(dir.join("secrets").join(name)).ok()
}

fn audited(bedside: &mut Bedside, word: &str) -> usize {
    bedside.stop();
    let out = Command::new(super::common::binary())
        .args(["audit", "export", "--config"])
        .arg(&bedside.config)
        .output()
        .unwrap();
    String::from_utf8_lossy(&out.stdout).matches(word).count()
}

#[tokio::test]
async fn the_desk_gets_its_certificate_and_renews_it_under_an_open_connection_though_half_the_nonces_are_refused()
 {
    let authority = Authority::start(30, &[("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_WFE_NONCEREJECT", "50")]);
    authority.leads("desk.rig", "127.0.0.1").await;
    let root = authority.root().await;
    let dir = tempfile::tempdir().unwrap();
    let text = config(dir.path(), &authority, authority.tls, "hosts = [\"desk.rig\"]\n");
    let mut bedside = Bedside::start(dir.path(), &text, authority.tls);
    let mut first = None;
    until(PATIENCE, "the desk shows no certificate of the authority", async || {
        first = connect(&root, "desk.rig", authority.tls).await;
        first.is_some()
    })
    .await;
    let mut first = first.unwrap();
    assert!(connect(&root, "other.rig", authority.tls).await.is_none(), "it is for its name only");
    for name in ["desk-acme.pem", "desk-acme-account.json"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(dir.path().join("secrets").join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert!(alive(&mut first).await);
    let before = shown(&first);
    until(PATIENCE, "it was not renewed at two thirds of its life", async || {
        // One that asks nothing for a quarter of a minute is closed, renewed or not.
        assert!(alive(&mut first).await);
        let now = connect(&root, "desk.rig", authority.tls).await;
        now.is_some_and(|connection| shown(&connection) != before)
    })
    .await;
    assert!(alive(&mut first).await, "who was connected still is");
    assert_eq!(shown(&first), before);
    let log = bedside.log();
    assert!(!log.contains("PRIVATE KEY") && !log.contains("key_pkcs8"), "no key in the log");
    assert_eq!(audited(&mut bedside, "certificate.issue"), 1, "{log}");
}

#[tokio::test]
async fn http_01_is_answered_on_its_own_port_and_an_order_is_gone_on_with_after_a_kill() {
    let slow = [("PEBBLE_VA_NOSLEEP", "0"), ("PEBBLE_VA_SLEEPTIME", "4"), ("PEBBLE_WFE_NONCEREJECT", "0")];
    let authority = Authority::start(86_400, &slow);
    authority.leads("desk.rig", "127.0.0.1").await;
    authority.leads("ward.rig", "127.0.0.1").await;
    let root = authority.root().await;
    let dir = tempfile::tempdir().unwrap();
    let desk = free_port();
    let more = format!(
        "hosts = [\"desk.rig\", \"ward.rig\"]\nchallenge = \"http-01\"\nhttp_listen = \"127.0.0.1:{}\"\n",
        authority.http
    );
    let text = config(dir.path(), &authority, desk, &more);
    let mut bedside = Bedside::start(dir.path(), &text, desk);
    until(PATIENCE, "no order was begun", async || kept(dir.path(), "desk-acme-order.json").is_some()).await;
    bedside.kill();
    let order: HashMap<String, serde_json::Value> =
        serde_json::from_str(&kept(dir.path(), "desk-acme-order.json").unwrap()).unwrap();
    assert_eq!(kept(dir.path(), "desk-acme.pem"), None, "killed between order and certificate");
    let _bedside = Bedside::start(dir.path(), &text, desk);
    until(PATIENCE, "the order was not gone on with", async || {
        connect(&root, "ward.rig", desk).await.is_some()
    })
    .await;
    let (key, given) = (order["key_pem"].as_str().unwrap(), kept(dir.path(), "desk-acme.pem").unwrap());
    assert!(given.contains(key.trim()), "the certificate is of the key of the order before the kill");
    assert_eq!(kept(dir.path(), "desk-acme-order.json"), None);
    assert!(TcpStream::connect(("127.0.0.1", authority.http)).await.is_err(), "the port is closed again");
}

#[tokio::test]
async fn what_goes_wrong_is_told_in_words_and_the_desk_goes_on_with_what_it_has() {
    let authority = Authority::start(86_400, &QUICK);
    authority.leads("elsewhere.rig", "127.0.0.2").await;
    authority.root().await;
    let other = SelfMade::make("another", &[], now()).unwrap();
    let other_ca = authority.dir.path().join("other.pem");
    std::fs::write(&other_ca, other.certificate_pem).unwrap();
    let desk = "hosts = [\"desk.rig\"]\n";
    let unknown = format!("{desk}ca_file = \"{}\"\n", other_ca.display());
    let here = format!("https://localhost:{}/dir", authority.directory);
    for (more, from, to, words) in [
        (
            "hosts = [\"elsewhere.rig\"]\n",
            "",
            "",
            ["elsewhere.rig: the authority did not find this box", "port 443"],
        ),
        (&unknown, "", "", ["an authority this box does not trust", "ca_file"]),
        (desk, here.as_str(), "https://localhost:9/dir", ["no connection to localhost:9", "firewall"]),
        (desk, here.as_str(), &format!("{here}/none"), ["answered with status 404", "directory"]),
        (
            desk,
            "eab_key_id = \"kid-1\"",
            "eab_key_id = \"kid-2\"",
            ["the authority does not allow it", "eab_key_id"],
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let text = config(dir.path(), &authority, authority.tls, more).replace(from, to);
        let text = if from.is_empty() { config(dir.path(), &authority, authority.tls, more) } else { text };
        let mut bedside = Bedside::start(dir.path(), &text, authority.tls);
        until(PATIENCE, "nothing was told", async || bedside.log().contains("No certificate came by ACME"))
            .await;
        let log = bedside.log();
        for word in words {
            assert!(log.contains(word), "{word}: {log}");
        }
        let own =
            CertificateDer::from_pem_slice(kept(dir.path(), "desk-certificate.pem").unwrap().as_bytes());
        let mut connection =
            connect(&own.unwrap(), "localhost", authority.tls).await.expect("its own certificate");
        assert!(alive(&mut connection).await);
        drop(connection);
        assert_eq!(audited(&mut bedside, "certificate.issue"), 1);
    }
}
