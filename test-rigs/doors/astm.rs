//! ASTM E1381 / LIS01-A2 over TCP and over a serial line.

use bedside::demo::pty::Pty;
use bedside::wire::astm::frame;

use crate::clinic::Clinic;
use crate::common;
use crate::speak::{ACK, ENQ, EOT, Line, NAK, Way, records};

fn links(port: u16) -> String {
    format!(
        "[[link]]\nname = \"lab-tcp\"\nprofile = \"generic/astm-analyser\"\ntcp = {{ listen = \"127.0.0.1:{port}\" }}\n\
         [[link]]\nname = \"lab-serial\"\nprofile = \"generic/astm-analyser\"\nserial = {{ port = \"{{dir}}/lab\" }}\n"
    )
}

/// A frame whose last checksum digit is wrong.
fn with_wrong_checksum(mut frame: Vec<u8>) -> Vec<u8> {
    let at = frame.len() - 3;
    frame[at] = if frame[at] == b'0' { b'1' } else { b'0' };
    frame
}

/// What goes wrong on the line and is put right; two good results come of it.
async fn faults_and_repairs(way: &mut Way, name: &str) {
    // A damaged frame is asked for again; so is one with a wrong number.
    let message = records(&format!("{name}-1"), "91.50");
    way.enquire().await;
    way.send(&with_wrong_checksum(frame(1, &message, true))).await;
    assert_eq!(way.byte().await, Some(NAK), "{name}: wrong checksum");
    way.send(&frame(1, &message[..60], false)).await;
    assert_eq!(way.byte().await, Some(ACK), "{name}: put right");
    way.send(&frame(4, &message[60..], true)).await;
    assert_eq!(way.byte().await, Some(NAK), "{name}: wrong frame number");
    way.send(&frame(2, &message[60..], true)).await;
    assert_eq!(way.byte().await, Some(ACK), "{name}: put right");
    way.send(&[EOT]).await;
    // Noise, then an analyser that asks for the line over and over.
    way.send(b"\xff\x00\x11\x13noise").await;
    way.send(&[ENQ; 40]).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    way.send(&[EOT]).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
}

/// Reads away what an ENQ storm was answered with, until a fresh session works.
async fn good_session(mut way: Way, message: &[u8]) -> Way {
    loop {
        way.send(&[ENQ]).await;
        let mut last = way.byte().await;
        // Answers to the storm may still be on the line.
        loop {
            let next = tokio::time::timeout(std::time::Duration::from_millis(300), way.byte()).await;
            match next {
                Ok(byte @ Some(_)) => last = byte,
                _ => break,
            }
        }
        if last == Some(ACK) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    way.send(&frame(1, message, true)).await;
    assert_eq!(way.byte().await, Some(ACK));
    way.send(&[EOT]).await;
    way
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_faulty_analyser_is_asked_again_and_what_breaks_off_is_kept_for_a_person() {
    let port = common::free_port();
    let clinic = Clinic::open("doors-astm", links(port)).await;
    let pty = Pty::open(Some(&clinic.dir.path().join("lab"))).unwrap();
    common::until(crate::clinic::PATIENCE, "the serial link comes up", async || {
        clinic.link("lab-serial").await.0 == "up"
    })
    .await;
    let mut tcp = Way::Tcp(Line::to(port).await);
    let mut serial = Way::Serial(pty);
    faults_and_repairs(&mut tcp, "TCP").await;
    faults_and_repairs(&mut serial, "SER").await;
    let mut tcp = good_session(tcp, &records("TCP-2", "92.50")).await;
    let mut serial = good_session(serial, &records("SER-2", "93.50")).await;
    clinic.settled(4, 0).await;

    // It breaks off after a frame that was acknowledged: what came is all there is, and somebody must look.
    let message = records("BROKEN", "94.50");
    for way in [&mut tcp, &mut serial] {
        way.enquire().await;
        way.send(&frame(1, &message[..80], false)).await;
        assert_eq!(way.byte().await, Some(ACK));
    }
    drop(tcp);
    // Pulling the plug of the serial line.
    drop(serial);
    let reasons = clinic.settled(4, 2).await;
    println!("held over ASTM: {reasons:#?}");

    for (value, count) in [("91.50", 2), ("92.50", 1), ("93.50", 1), ("94.50", 0)] {
        assert_eq!(clinic.valued(value), count, "{value}");
    }
    for link in ["lab-tcp", "lab-serial"] {
        assert!(
            clinic.metric("bedside_link_notes_total", &format!("link=\"{link}\"")).await > 0,
            "{link} noted nothing"
        );
    }
    // The same transmission again, whole: the analyser does so after its power comes back.
    let mut way = Way::Tcp(Line::to(port).await);
    assert_eq!(way.session(&message).await, Some(ACK));
    // One more accepted, and the beginning that was held on this link is nobody's work any more.
    clinic.settled(6, 1).await;
    assert_eq!(clinic.valued("94.50"), 1);
    // What was sent twice, frame and all, is stored once.
    let mut way = Way::Tcp(Line::to(port).await);
    assert_eq!(way.session(&message).await, Some(ACK));
    clinic.settled(6, 1).await;
}
