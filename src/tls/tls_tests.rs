use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::rig::{Authority, Issued};
use super::*;

const WORDS: Words<'static> = Words { other: "the other side", plain: "no tls section" };

/// Both ends of one handshake, and a byte each way: how it ended for the port and for the caller.
async fn shake(port: &Acceptor, caller: &Settings, host: &str) -> (Result<(), String>, Result<(), String>) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let accept = async {
        let mut stream = port.accept(near, WORDS).await.0?;
        let byte = stream.read_u8().await.map_err(|error| error.to_string())?;
        stream.write_u8(byte).await.map_err(|error| error.to_string())?;
        stream.shutdown().await.map_err(|error| error.to_string())
    };
    let call = async {
        let mut stream = call(caller, host, far, WORDS).await?;
        stream.write_u8(7).await.map_err(|error| error.to_string())?;
        let byte = stream.read_u8().await.map_err(|error| explain(&error, host, WORDS))?;
        if byte == 7 { Ok(()) } else { Err("another byte".into()) }
    };
    tokio::join!(accept, call)
}

fn port(own: &Issued, more: impl FnOnce(&mut Settings)) -> Acceptor {
    let mut settings = own.settings();
    more(&mut settings);
    Acceptor::new(settings).unwrap()
}

#[tokio::test]
async fn only_the_right_client_gets_in_and_each_fault_is_told_to_both() {
    let (ours, other) = (Authority::new("Clinic"), Authority::new("Other"));
    let own = ours.issue("gateway.ward", 2090);
    let (right, second) = (ours.issue("monitor-7.ward", 2090), ours.issue("monitor-8.ward", 2090));
    let (expired, revoked) = (ours.issue("monitor-7.ward", 2021), ours.issue("monitor-7.ward", 2090));
    let foreign = other.issue("monitor-7.ward", 2090);
    let crl = ours.revoke(&[&revoked]);
    let port = port(&own, |settings| {
        settings.ca_file = ours.ca_file();
        settings.crl_file = crl.clone();
        settings.peers = vec![Peer::Name("monitor-7.ward".into())];
    });
    for (shown, at_port, at_caller) in [
        (None, "showed no certificate", "wants a certificate"),
        (Some(&foreign), "authority this box does not trust", "does not trust the authority"),
        (Some(&expired), "expired", "expired"),
        (Some(&revoked), "revoked", "revoked"),
        (Some(&second), "none of those this link takes", "does not take"),
    ] {
        let shown = shown.map(Issued::settings).unwrap_or_default();
        let caller = Settings { ca_file: ours.ca_file(), ..shown };
        let (port_said, caller_said) = shake(&port, &caller, "gateway.ward").await;
        let (port_said, caller_said) = (port_said.unwrap_err(), caller_said.unwrap_err());
        assert!(port_said.contains(at_port), "{port_said}");
        assert!(caller_said.contains(at_caller), "{caller_said}");
    }
    let caller = Settings { ca_file: ours.ca_file(), ..right.settings() };
    assert_eq!(shake(&port, &caller, "gateway.ward").await, (Ok(()), Ok(())));
}

#[tokio::test]
async fn a_caller_takes_only_the_right_server() {
    let (ours, other) = (Authority::new("Clinic"), Authority::new("Other"));
    let (right, expired) = (ours.issue("his.clinic", 2090), ours.issue("his.clinic", 2021));
    let (revoked, foreign) = (ours.issue("his.clinic", 2090), other.issue("his.clinic", 2090));
    let wrong_name = ours.issue("elsewhere.clinic", 2090);
    let caller =
        Settings { ca_file: ours.ca_file(), crl_file: ours.revoke(&[&revoked]), ..Settings::default() };
    for (own, word) in [
        (&expired, "expired"),
        (&revoked, "revoked"),
        (&foreign, "authority this box does not trust"),
        (&wrong_name, "not for \"his.clinic\""),
    ] {
        let said = shake(&port(own, |_| ()), &caller, "his.clinic").await.1.unwrap_err();
        assert!(said.contains(word), "{said}");
    }
    assert_eq!(shake(&port(&right, |_| ()), &caller, "his.clinic").await, (Ok(()), Ok(())));
    let renamed = Settings { server_name: Some("elsewhere.clinic".into()), ..caller.clone() };
    assert_eq!(shake(&port(&wrong_name, |_| ()), &renamed, "his.clinic").await.1, Ok(()));
    let bound = Settings { peers: vec![wrong_name.fingerprint.clone()], ..caller };
    let said = shake(&port(&right, |_| ()), &bound, "his.clinic").await.1.unwrap_err();
    assert!(said.contains("tls.peers"), "{said}");
}

#[tokio::test]
async fn a_fingerprint_alone_admits_a_certificate_without_an_authority() {
    let (ours, other) = (Authority::new("Clinic"), Authority::new("Other"));
    let own = ours.issue("gateway.ward", 2090);
    let (known, stranger) = (other.issue("m", 2021), other.issue("m", 2090));
    let port = port(&own, |settings| settings.peers = vec![known.fingerprint.clone()]);
    let pinned = |shown: &Issued| Settings { peers: vec![own.fingerprint.clone()], ..shown.settings() };
    assert_eq!(shake(&port, &pinned(&known), "any.name").await, (Ok(()), Ok(())));
    assert!(shake(&port, &pinned(&stranger), "any.name").await.0.unwrap_err().contains("tls.peers"));
}

#[tokio::test]
async fn a_changed_file_counts_from_the_next_handshake_and_a_broken_one_does_not() {
    let ours = Authority::new("Clinic");
    let own = ours.issue("gateway.ward", 2090);
    let client = ours.issue("monitor-7.ward", 2090);
    let crl = ours.revoke(&[]);
    let port = port(&own, |settings| {
        settings.ca_file = ours.ca_file();
        settings.crl_file = crl.clone();
    });
    let caller = Settings { ca_file: ours.ca_file(), ..client.settings() };
    assert_eq!(shake(&port, &caller, "gateway.ward").await.0, Ok(()));
    ours.revoke(&[&client]);
    assert!(shake(&port, &caller, "gateway.ward").await.0.unwrap_err().contains("revoked"));
    std::fs::write(crl.unwrap(), "no list").unwrap();
    let (still, stale) = port.config();
    assert!(stale.unwrap().contains("crl.pem") && Arc::strong_count(&still) > 1);
    assert!(shake(&port, &caller, "gateway.ward").await.0.unwrap_err().contains("revoked"));
}

#[tokio::test]
async fn who_speaks_no_tls_is_told_how_to_be_plain() {
    let ours = Authority::new("Clinic");
    let port = port(&ours.issue("gateway.ward", 2090), |_| ());
    let (near, mut far) = tokio::io::duplex(1 << 10);
    far.write_all(b"\x0bMSH|^~\\&|MON\r\x1c\r").await.unwrap();
    let said = port.accept(near, WORDS).await.0.unwrap_err();
    assert!(said.contains("no tls section"), "{said}");
}

#[test]
fn settings_that_cannot_work_say_what_is_missing() {
    let read = |text: &str| toml::from_str::<Settings>(text).unwrap();
    let cert = "cert_file = \"c\"\nkey_file = \"k\"\n";
    for (text, word) in [
        (String::new(), "cert_file and key_file"),
        ("cert_file = \"c\"".into(), "together"),
        (format!("{cert}crl_file = \"r\""), "crl_file needs ca_file"),
        (format!("{cert}server_name = \"n\""), "for a box that calls"),
        (format!("{cert}peers = [\"m7.ward\"]"), "need ca_file"),
    ] {
        assert!(read(&text).check_listen().unwrap_err().contains(word), "{text}");
    }
    assert!(read(&format!("{cert}ca_file = \"a\"\npeers = [\"CN=m 7\"]")).check_listen().is_ok());
    assert!(read("").check_call().is_ok() && read("key_file = \"k\"").check_call().is_err());
    assert!(toml::from_str::<Settings>("ca_fil = \"c\"").is_err());
    assert!(toml::from_str::<Settings>("peers = [\"two words\"]").is_err());
}
