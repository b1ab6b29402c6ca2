//! Text lines of a serial device.

use bedside::demo::pty::Pty;

use crate::clinic::{Clinic, PATIENCE};
use crate::common;

fn link() -> String {
    "[[link]]\nname = \"oximeter\"\nprofile = \"masimo/ascii1\"\nserial = { port = \"{dir}/oximeter\" }\n\
     patient = { system = \"urn:oid:1.2.3\", value = \"P-9\" }\n"
        .into()
}

fn line(second: u32, saturation: u32) -> String {
    format!(
        "03/14/26 13:55:{second:02} SN=0000093112 SPO2={saturation:03}% BPM=072 PI=05.12% PVI=014% SPCO=--.-% \
         SPMET=--.-% DESAT=-- PIDELTA=+-- ALARM=0000 EXC=000800\r\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_cut_lines_and_a_pulled_plug_lose_no_good_line() {
    let clinic = Clinic::open("doors-lines", link()).await;
    let port = clinic.dir.path().join("oximeter");
    let up = async || clinic.link("oximeter").await.0 == "up";
    let (state, detail) = clinic.link("oximeter").await;
    assert!(state != "up" && (detail.is_empty() || detail.contains("plugged in")), "{state}: {detail}");

    // Plugged in while the device speaks: the first line is cut. Then noise, and a line that never ends.
    let pty = Pty::open(Some(&port)).unwrap();
    common::until(PATIENCE, "the link comes up", up).await;
    pty.write_all(&line(1, 90).as_bytes()[40..]).await.unwrap();
    pty.write_all(line(2, 91).as_bytes()).await.unwrap();
    pty.write_all(b"\xff\xfe\x00\x11\x13\x80\x81\r\n").await.unwrap();
    pty.write_all(&vec![b'x'; 100_000]).await.unwrap();
    pty.write_all(b"\r\n").await.unwrap();
    pty.write_all(line(3, 92).as_bytes()).await.unwrap();
    common::until(PATIENCE, "the line after the noise arrives", async || clinic.valued("92") == 1).await;
    assert_eq!(clinic.valued("91"), 1);

    // Unplugged in the middle of a line, and plugged in again behind the same name.
    pty.write_all(&line(4, 93).as_bytes()[..30]).await.unwrap();
    drop(pty);
    common::until(PATIENCE, "the link says it is unplugged", async || {
        clinic.link("oximeter").await.0 == "retrying"
    })
    .await;
    let (_, detail) = clinic.link("oximeter").await;
    assert!(detail.contains("unplugged") || detail.contains("plugged in"), "{detail}");
    let pty = Pty::open(Some(&port)).unwrap();
    common::until(PATIENCE, "the link comes up again", up).await;
    pty.write_all(line(5, 94).as_bytes()).await.unwrap();
    common::until(PATIENCE, "the line after the plug arrives", async || clinic.valued("94") == 1).await;
    for (saturation, count) in [(90, 0), (93, 0)] {
        assert_eq!(clinic.valued(&saturation.to_string()), count, "half a line says nothing");
    }
    let held = clinic.entries("held").await;
    println!("held of lines: {:#?}", held.iter().map(|entry| &entry["reason"]).collect::<Vec<_>>());
    assert!(held.iter().all(|entry| entry["reason"].as_str().is_some_and(|reason| reason.len() > 10)));
    assert!(clinic.metric("bedside_link_notes_total", "link=\"oximeter\"").await > 0);
}
