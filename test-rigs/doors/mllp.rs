//! HL7 v2 over MLLP.

use bedside::wire::mllp::wrap;

use crate::clinic::Clinic;
use crate::common;
use crate::speak::{Line, oru};

fn link(port: u16, more: &str) -> String {
    format!(
        "[[link]]\nname = \"monitors\"\nprofile = \"ihe/pcd01-monitor\"\n{more}\n\
         mllp = {{ listen = \"127.0.0.1:{port}\", max_message_bytes = 20000 }}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_message_is_said_so_and_harms_no_other() {
    let port = common::free_port();
    let clinic = Clinic::open("doors-mllp", link(port, "")).await;

    // Bytes outside any frame, and half a frame: nothing to answer, nothing kept, but noted.
    let mut noise = Line::to(port).await;
    noise.send(&b"\xff\x00\x7fGET / HTTP/1.1\r\n\r\n".repeat(20)).await;
    drop(noise);
    let mut half = Line::to(port).await;
    let whole = wrap(oru("HALF", "P-1", "61", "").as_bytes());
    half.send(&whole[..whole.len() / 2]).await;
    drop(half);
    // Garbage within a frame, and no MSH: kept for a person, answered AR.
    let mut line = Line::to(port).await;
    for (number, garbage) in
        ["\u{1}\u{2}\u{3} garbage", "PID|||P-1\rOBX|1|NM|1^a^MDC||5|||||F\r"].iter().enumerate()
    {
        assert_eq!(line.say(garbage).await.code, "AR", "garbage {number}");
    }
    // Longer than the link takes: refused by its own control id, and the next one on the same connection is taken.
    let long = line.say(&oru("LONG", "P-1", "62", &format!("NTE|1||{}\r", "x".repeat(60_000)))).await;
    assert_eq!((&*long.code, &*long.control_id), ("AR", "LONG"));
    assert!(long.text.contains("20000"), "the limit is named: {}", long.text);
    assert_eq!(line.say(&oru("AFTER", "P-1", "63", "")).await.code, "AA");
    // An admission where results are expected.
    let adt = "MSH|^~\\&|ADT|H|||20260314083000||ADT^A01|ADT1|P|2.5\rPID|||P-1^^^Rig^MR||Doe^Jane\rPV1||I\r";
    assert_eq!(line.say(adt).await.code, "AA");
    // What the half frame's sender does next.
    assert_eq!(Line::to(port).await.say(&oru("HALF", "P-1", "61", "")).await.code, "AA");

    let reasons = clinic.settled(2, 3).await;
    println!("held over MLLP: {reasons:#?}");
    assert!(reasons[2].contains("ADT^A01"), "{}", reasons[2]);
    assert!(clinic.metric("bedside_link_notes_total", "link=\"monitors\"").await > 0);
    assert!(clinic.notes("monitors", "oversize").await >= 1);
    assert_eq!(clinic.valued("61"), 1);
    assert_eq!(clinic.valued("62"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_code_is_delivered_and_repetitions_are_stored_once() {
    let port = common::free_port();
    let clinic = Clinic::open("doors-codes", link(port, "")).await;
    let mut line = Line::to(port).await;
    let unknown = "OBX|2|NM|4711^Tissue glow^99RIG|1.1.1.2|17.30|mmol/L^^UCUM|||||F\r";
    assert_eq!(line.say(&oru("U1", "P-1", "64", unknown)).await.code, "AA");
    // Other delimiters, honestly declared; and none declared at all.
    let other = oru("D1", "P-1", "65", "").replace('|', "$").replace('^', "*");
    assert_eq!(
        line.say(&other).await,
        crate::speak::Acknowledged { code: "AA".into(), control_id: "D1".into(), text: String::new() }
    );
    let none = oru("D2", "P-1", "66", "").replacen("MSH|^~\\&|", "MSH||", 1);
    assert_eq!(line.say(&none).await.code, "AA", "kept all the same");
    // Two in one segment, answered in order.
    let two =
        [wrap(oru("T1", "P-1", "67", "").as_bytes()), wrap(oru("T2", "P-2", "68", "").as_bytes())].concat();
    line.send(&two).await;
    let answers = [line.acknowledged().await, line.acknowledged().await];
    assert_eq!(
        answers.map(|a| (a.code, a.control_id)),
        [("AA".into(), "T1".into()), ("AA".into(), "T2".into())]
    );
    // The same bytes again are the same message; the same control id with other bytes is another.
    for _ in 0..3 {
        assert_eq!(line.say(&oru("T2", "P-2", "68", "")).await.code, "AA");
    }
    let later = oru("T2", "P-2", "69", "");
    assert_eq!(line.say(&later).await.code, "AA");
    assert_eq!(clinic.notes("monitors", "control-id-reused").await, 1, "one number for two messages is told");

    let kept = clinic.entries("accepted").await.len() as u64 + clinic.entries("waiting").await.len() as u64;
    let held = clinic.entries("held").await.len() as u64;
    assert!(kept + held <= 6, "repetitions are stored once");
    let reasons = clinic.settled(6 - held, held).await;
    println!("{held} held for want of delimiters: {reasons:?}");
    let own = clinic.observations("\"code\":\"4711\"");
    assert_eq!(own.len(), 1, "the device's own code");
    assert!(own[0].to_string().contains("17.30") && own[0].to_string().contains("99RIG"), "{}", own[0]);
    assert!(clinic.metric("bedside_findings_total", "link=\"monitors\",code=\"unknown-code\"").await >= 1);
    for value in [64, 65, 66, 67, 68, 69] {
        assert_eq!(clinic.valued(&value.to_string()), 1, "heart rate {value}");
    }
    assert_eq!(clinic.metric("bedside_frames_repeated_total", "monitors").await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_goes_out_when_its_cause_is_mended() {
    let port = common::free_port();
    let mut clinic = Clinic::open("doors-held", link(port, "")).await;
    let mut line = Line::to(port).await;
    assert_eq!(line.say(&oru("N1", "", "71", "")).await.code, "AA");
    drop(line);
    let reasons = clinic.settled(0, 1).await;
    assert!(reasons[0].contains("no patient") && reasons[0].contains("then release"), "{}", reasons[0]);
    // Released with nothing mended, it is held again for the same reason.
    clinic.release_all().await;
    assert_eq!(clinic.settled(0, 1).await, reasons);
    // The link is taken out of the file, and comes back under the same name with the cause mended.
    clinic.restart_with(|config| config.replace("name = \"monitors\"", "name = \"others\""));
    clinic.release_all().await;
    let gone = clinic.settled(0, 1).await;
    assert!(gone[0].contains("\"monitors\" is no longer there"), "{}", gone[0]);
    clinic.restart_with(|config| {
        config.replace("name = \"others\"", "name = \"monitors\"\nunidentified = \"deliver\"")
    });
    clinic.release_all().await;
    clinic.settled(1, 0).await;
    assert_eq!(clinic.valued("71"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_id_for_two_messages_is_told_and_a_resend_is_none_across_a_restart() {
    let port = common::free_port();
    let mut clinic = Clinic::open("doors-mllp-reused", link(port, "")).await;
    let (first, second) = (oru("R7", "P-1", "61", ""), oru("R7", "P-2", "62", ""));
    assert_eq!(Line::to(port).await.say(&first).await.code, "AA");
    clinic.settled(1, 0).await;
    clinic.kill_and_restart();
    clinic.bedside.wait_for_port(port);
    let mut line = Line::to(port).await;
    assert_eq!(line.say(&first).await.code, "AA", "sent again: the sender may not have heard the answer");
    assert_eq!(line.say(&second).await.code, "AA", "another message under the same number is a message");
    clinic.settled(2, 0).await;
    assert_eq!(clinic.notes("monitors", "control-id-reused").await, 1);
    let entries = clinic.entries("accepted").await;
    let id = entries[1]["id"].as_i64().unwrap();
    let entry = clinic.desk.get(&format!("/api/v1/entries/{id}")).await.json();
    assert!(entry["warnings"].to_string().contains("control-id-reused"), "{entry}");
    assert_eq!((clinic.valued("61"), clinic.valued("62")), (1, 1));
}
