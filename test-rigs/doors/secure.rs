//! HL7 over TLS through the real binary: to receivers, from senders, and by hand.

use std::process::{Command, Output};

use crate::authority::rig::{Authority, Issued};
use crate::authority::{shown, trusted};
use crate::clinic::{Clinic, PATIENCE};
use crate::common;
use crate::routes::Receiver;
use crate::speak::{Line, oru};

fn destination(name: &str, port: u16, tls: &str) -> String {
    format!(
        "[[destination]]\nname = \"{name}\"\nmllp = {{ address = \"127.0.0.1:{port}\", answer_timeout_s = 2, tls = {{ {tls} }} }}\n\
         pause_max_s = 1\n[[route]]\nname = \"to-{name}\"\nto = \"{name}\"\nhow = \"pass\"\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_goes_on_only_to_the_receiver_it_is_meant_for() {
    let (authority, other) = (Authority::new("Clinic CA"), Authority::new("Somebody else"));
    let right = authority.issue("ehr.clinic", 2090);
    let (expired, revoked) = (authority.issue("ehr.clinic", 2021), authority.issue("ehr.clinic", 2090));
    let (stranger, own) = (other.issue("ehr.clinic", 2090), authority.issue("bedside.clinic", 2090));
    let list = authority.revoke(&[&revoked]).unwrap();
    let listen = async |issued: &Issued, ask: bool| {
        let mut settings = issued.settings();
        settings.ca_file = authority.ca_file().filter(|_| ask);
        Receiver::secure(&settings, |_, _| "AA").await
    };
    let trust = format!("{}, server_name = \"ehr.clinic\"", trusted(&authority));
    let checked = format!("{trust}, crl_file = \"{}\"", list.display());
    let (plain_name, with_own) = (trusted(&authority), format!("{trust}, {}", shown(&own)));
    // Name, who listens, whether it asks for a certificate, what the box has, and why nothing goes there.
    let cases = [
        ("right", &right, false, &trust, None),
        ("listed", &right, false, &checked, None),
        ("mutual", &right, true, &with_own, None),
        ("nobody", &right, true, &trust, Some("wants a certificate of this box")),
        ("other-authority", &stranger, false, &trust, Some("an authority this box does not trust")),
        ("expired", &expired, false, &trust, Some("has expired")),
        ("wrong-name", &right, false, &plain_name, Some("is not for \"127.0.0.1\"")),
        ("revoked", &revoked, false, &checked, Some("has been revoked")),
    ];
    let (port, mut routes, mut receivers) = (common::free_port(), String::new(), Vec::new());
    for (name, issued, ask, tls, why) in cases {
        let receiver = listen(issued, ask).await;
        routes += &destination(name, receiver.port, tls);
        receivers.push((name, receiver, why));
    }
    let link = format!(
        "[[link]]\nname = \"monitors\"\nprofile = \"ihe/pcd01-monitor\"\nmllp = {{ listen = \"127.0.0.1:{port}\" }}\n"
    );
    let clinic = Clinic::open("doors-secure-out", link + &routes).await;
    let message = oru("T1", "P-1", "61", "");
    assert_eq!(Line::to(port).await.say(&message).await.code, "AA");
    for (name, receiver, why) in &receivers {
        let mut seen = serde_json::Value::Null;
        common::until(PATIENCE, &format!("{name} has its outcome"), async || {
            let all = clinic.desk.get("/api/v1/destinations").await.json();
            let all = all["destinations"].as_array().unwrap();
            seen = all.iter().find(|one| one["name"] == *name).unwrap().clone();
            match why {
                None => seen["accepted"] == 1,
                Some(why) => seen["trouble"].as_str().is_some_and(|trouble| trouble.contains(why)),
            }
        })
        .await;
        assert_eq!(seen["tls"], true);
        let heard = receiver.heard();
        match why {
            None => assert_eq!(heard, [message.as_str()], "{name}"),
            Some(_) => {
                assert!(heard.is_empty(), "{name} heard something");
                assert_eq!(
                    (seen["state"].as_str(), seen["held"].as_u64()),
                    (Some("retrying"), Some(0)),
                    "{seen}"
                );
            }
        }
    }
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = Command::new(common::binary()).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (status.code(), text(&stdout), text(&stderr))
}

/// Off the threads that answer.
async fn send(arguments: Vec<String>) -> (Option<i32>, String, String) {
    let all = move || {
        let all: Vec<&str> =
            ["hl7", "send"].into_iter().chain(arguments.iter().map(String::as_str)).collect();
        run(&all)
    };
    tokio::task::spawn_blocking(all).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_certificates_of_a_link_may_speak_on_it() {
    let (authority, other) = (Authority::new("Clinic CA"), Authority::new("Somebody else"));
    let own = authority.issue("localhost", 2090);
    let monitor = authority.issue("monitor-7.ward", 2090);
    let (another, expired) =
        (authority.issue("monitor-8.ward", 2090), authority.issue("monitor-7.ward", 2021));
    let (revoked, stranger) = (authority.issue("monitor-7.ward", 2090), other.issue("monitor-7.ward", 2090));
    let list = authority.revoke(&[&revoked]).unwrap();
    let port = common::free_port();
    let link = format!(
        "[[link]]\nname = \"monitors\"\nprofile = \"ihe/pcd01-monitor\"\n[link.mllp]\nlisten = \"127.0.0.1:{port}\"\n\
         tls = {{ {}, {}, crl_file = \"{}\", peers = [\"monitor-7.ward\"] }}\n",
        shown(&own),
        trusted(&authority),
        list.display()
    );
    let clinic = Clinic::open("doors-secure-in", link).await;
    let file = clinic.dir.path().join("oru.hl7");
    std::fs::write(&file, oru("S1", "P-1", "61", "").replace('\r', "\n")).unwrap();
    let by = |issued: Option<&Issued>| {
        let mut arguments = vec![format!("localhost:{port}"), file.display().to_string()];
        arguments.extend(["--ca".into(), authority.ca_file().unwrap().display().to_string()]);
        if let Some(issued) = issued {
            arguments.extend(["--cert".into(), issued.cert_file.display().to_string()]);
            arguments.extend(["--key".into(), issued.key_file.display().to_string()]);
        }
        arguments
    };
    let (code, said, wrong) = send(by(Some(&monitor))).await;
    assert_eq!((code, said.as_str()), (Some(0), "S1\tAA\n"), "{wrong}");
    for (name, shown) in [
        ("nobody", None),
        ("another monitor", Some(&another)),
        ("expired", Some(&expired)),
        ("revoked", Some(&revoked)),
        ("another authority", Some(&stranger)),
    ] {
        let (code, said, wrong) = send(by(shown)).await;
        assert_eq!((code, said.as_str()), (Some(1), ""), "{name}: {wrong}");
        assert!(
            wrong.contains(&format!("localhost:{port}")) && !wrong.contains("panicked"),
            "{name}: {wrong}"
        );
    }
    // Who speaks plainly to it is not heard either.
    let (code, _, wrong) =
        send(vec![format!("localhost:{port}"), file.display().to_string(), "--timeout=3".into()]).await;
    assert_eq!(code, Some(1), "{wrong}");
    clinic.settled(1, 0).await;
    assert!(clinic.notes("monitors", "tls-refused").await >= 5);
    let links = clinic.desk.get("/api/v1/overview").await.text;
    assert!(links.contains(", TLS"), "the link says that it is encrypted: {links}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_sent_by_hand_and_the_exit_code_says_how_it_went() {
    let receiver = Receiver::start(|_, message| match message {
        _ if message.contains("|H2|") => "AE patient is not known here",
        _ => "AA",
    })
    .await;
    let dir = common::scratch("doors-hl7-send");
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (one, two) = (file("1.hl7", &oru("H1", "P-1", "61", "")), file("2.hl7", &oru("H2", "P-1", "62", "")));
    let batch = format!(
        "FHS|^~\\&\r\nBHS|^~\\&\r\n{}{}BTS|2\r\nFTS|1\r\n",
        oru("H3", "P-1", "63", ""),
        oru("H4", "P-1", "64", "")
    );
    let (batch, none) = (file("b.hl7", &batch), file("none.hl7", "no message at all\n"));
    let address = format!("127.0.0.1:{}", receiver.port);
    let to = |files: &[&String]| {
        [&address].into_iter().chain(files.iter().copied()).cloned().collect::<Vec<String>>()
    };
    assert_eq!(send(to(&[&one])).await, (Some(0), "H1\tAA\n".into(), String::new()));
    let (code, said, wrong) = send(to(&[&one, &two, &batch])).await;
    assert_eq!(said, "H1\tAA\nH2\tAE patient is not known here\nH3\tAA\nH4\tAA\n");
    assert!(code == Some(1) && wrong.contains("1 of 4 messages were not taken"), "{wrong}");
    assert_eq!(receiver.ids(), ["H1", "H1", "H2", "H3", "H4"]);
    assert_eq!(receiver.heard()[0], oru("H1", "P-1", "61", ""));
    // Errors a user would read.
    let (code, _, wrong) = send(to(&[&none])).await;
    assert!(code == Some(1) && wrong.contains("none.hl7: no line begins with MSH"), "{wrong}");
    let (code, _, wrong) = send(to(&[&"nowhere.hl7".to_owned()])).await;
    assert!(code == Some(1) && wrong.contains("nowhere.hl7: No such file"), "{wrong}");
    let nobody = common::free_port();
    let (code, _, wrong) = send(vec![format!("127.0.0.1:{nobody}"), one.clone()]).await;
    assert!(
        code == Some(1) && wrong.contains(&format!("127.0.0.1:{nobody}")) && wrong.contains("refused"),
        "{wrong}"
    );
    let (code, _, wrong) = send(vec!["no-port".into(), one.clone()]).await;
    assert!(code == Some(2) && wrong.contains("HOST:PORT"), "{wrong}");
    let (code, _, wrong) = send([to(&[&one]), vec!["--cert".into(), "a.pem".into()]].concat()).await;
    assert!(code == Some(2) && wrong.contains("--key"), "{wrong}");
    let (code, _, wrong) = send([to(&[&one]), vec!["--tls".into(), "--timeout=3".into()]].concat()).await;
    assert!(code == Some(1) && wrong.contains("TLS"), "{wrong}");
}

#[test]
fn a_message_is_shown_by_name_and_acknowledged_on_paper() {
    let dir = common::scratch("doors-hl7-parse");
    let path = dir.path().join("m.hl7");
    let text = "MSH|^~\\&|HIS|A|BOX|W|20260314||ADT^A01|17|P|2.5|||AL|NE\nPID|1||7^^^H^MR~8||DOE^JANE||\"\"|F\nZZ1|x\nnot a segment\n";
    std::fs::write(&path, text).unwrap();
    let file = path.display().to_string();
    let (code, said, wrong) = run(&["hl7", "parse", &file]);
    assert_eq!(code, Some(0), "{wrong}");
    for words in [
        "PID  Patient\n",
        "PID-3          Patient identifiers              7 ·  ·  · H · MR | 8",
        "\"\" (no value)",
        "ZZ1  Local segment",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(wrong.contains("message 1: "), "findings go to standard error: {wrong}");
    let (code, said, _) = run(&["hl7", "parse", &file, "--path", "PID-3[2].1", "--path", "MSH-10"]);
    assert_eq!((code, said.as_str()), (Some(0), "8\t17\n"));
    let (code, said, _) = run(&["hl7", "parse", &file, "--json"]);
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, json[0]["segments"][1]["segment"].as_str()), (Some(0), Some("PID")));
    let (code, _, wrong) = run(&["hl7", "parse", &file, "--path", "PID"]);
    assert!(code == Some(2) && wrong.contains("PID"), "{wrong}");
    let (code, _, wrong) = run(&["hl7", "parse", "--charset", "EBCDIC", &file]);
    assert!(code == Some(2) && wrong.contains("8859/1"), "{wrong}");

    let (code, said, _) = run(&["hl7", "ack", &file]);
    assert!(code == Some(0) && said.contains("\rMSA|CA|17\r"), "what MSH-15 and MSH-16 ask for: {said}");
    let (code, said, _) = run(&["hl7", "ack", &file, "--code", "AE", "--text", "no room"]);
    assert!(code == Some(0) && said.contains("\rMSA|AE|17") && said.contains("no room"), "{said}");
    let (code, _, wrong) = run(&["hl7", "ack", &file, "--code", "XX"]);
    assert!(code == Some(2) && wrong.contains("AA, AE, AR"), "{wrong}");
}
