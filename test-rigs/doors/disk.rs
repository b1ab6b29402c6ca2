//! No room left: by the quota, and on the disk itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use bedside::demo::fhir_server::{Fault, On};
use bedside::secret::Secret;

use crate::clinic::{Clinic, PATIENCE, Plan};
use crate::common;
use crate::speak::{ACK, Line, Mqtt, NAK, Way, oru, records};

const PASSWORD: &str = "kit password of the rig";

fn links(mllp: u16, astm: u16, broker: u16) -> String {
    format!(
        "[[link]]\nname = \"monitors\"\nprofile = \"ihe/pcd01-monitor\"\nmllp = {{ listen = \"127.0.0.1:{mllp}\" }}\n\
         [[link]]\nname = \"lab\"\nprofile = \"generic/astm-analyser\"\ntcp = {{ listen = \"127.0.0.1:{astm}\" }}\n\
         [broker]\nlisten = \"127.0.0.1:{broker}\"\n[[broker.users]]\nname = \"kit\"\npassword_secret = \"kit-password\"\n\
         [[link]]\nname = \"kits\"\nprofile = \"ble-gateway/vital-kit\"\nbroker = {{ topics = [\"kits/#\"] }}\n"
    )
}

/// Letters and digits that do not pack well: what repeats itself is kept small.
fn noise(seed: u32, length: usize) -> String {
    const SIGNS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut state = u64::from(seed) * 2 + 0x9E37_79B9_7F4A_7C15;
    let signs = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(SIGNS[usize::try_from(state >> 58).unwrap()])
    });
    signs.take(length).collect()
}

/// A message of 200 kB, so that a small room fills quickly.
fn large(number: u32) -> String {
    oru(&format!("L{number}"), "P-1", "61", &format!("NTE|1||{}\r", noise(number, 200_000)))
}

/// Fills the box by MLLP until it refuses; how many it took.
async fn fill(port: u16) -> u32 {
    let mut line = Line::to(port).await;
    for number in 0..200 {
        let answer = line.say(&large(number)).await;
        if answer.code != "AA" {
            assert_eq!(answer.code, "AR", "{answer:?}");
            assert!(!answer.text.is_empty(), "the sender is told why");
            println!("after {number} messages: AR {}", answer.text);
            return number;
        }
    }
    panic!("200 messages of 200 kB fit into a few MiB");
}

/// What every other door says while there is no room.
async fn every_door_refuses(ports: [u16; 3]) {
    let [_, astm, broker] = ports;
    // Records as large as what did not fit.
    let mut lab = records("FULL", "95.50");
    lab.splice(lab.len() - 6.., format!("C|1|I|{}\rL|1|N\r", noise(1000, 200_000)).into_bytes());
    assert_eq!(Way::Tcp(Line::to(astm).await).session(&lab).await, Some(NAK));
    let mut kit = Mqtt::connect(broker, "kit-1", "kit", PASSWORD).await.unwrap();
    assert!(!kit.publish("kits/1", noise(1001, 200_000).as_bytes()).await, "no PUBACK for what is not kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_quota_refuses_at_every_door_until_there_is_room() {
    let ports = [common::free_port(), common::free_port(), common::free_port()];
    let plan = Plan {
        buffer: "max_bytes = 4194304",
        ..Plan::of("doors-quota", links(ports[0], ports[1], ports[2]))
    };
    let clinic = Clinic::planned(plan).await;
    common::write_secret(clinic.dir.path(), "kit-password", &Secret::new(PASSWORD.into()));
    common::until(PATIENCE, "the broker starts", async || clinic.link("kits").await.0 == "up").await;
    clinic.server.running.faults.always(On::Any, Fault::Status(503));
    let taken = fill(ports[0]).await;
    every_door_refuses(ports).await;
    let alarms = clinic.alarms().await;
    println!("alarms: {alarms:?}");
    assert!(alarms.iter().any(|code| code.contains("full")), "{alarms:?}");
    assert!(clinic.metric("bedside_frames_refused_total", "monitors").await >= 1);
    let counts = clinic.bedside.status()["counts"].clone();
    // Some may be on their way to the server that does not take them.
    let open = counts["waiting"].as_u64().unwrap() + counts["sent"].as_u64().unwrap();
    assert_eq!(open, u64::from(taken), "nothing was dropped to make room: {counts}");
    // The server comes back, what is accepted makes room, and the senders are taken again.
    clinic.server.running.faults.clear();
    common::until(PATIENCE, "there is room again", async || {
        Line::to(ports[0]).await.say(&large(1000)).await.code == "AA"
    })
    .await;
    assert_eq!(Way::Tcp(Line::to(ports[1]).await).session(&records("AFTER", "96.50")).await, Some(ACK));
    common::until(PATIENCE, "everything is accepted", async || clinic.valued("96.50") == 1).await;
    common::until(PATIENCE, "the alarm ends", async || {
        !clinic.alarms().await.iter().any(|c| c.contains("full"))
    })
    .await;
}

/// A small file system of its own; unmounted at the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let done =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=28m,mode=0700", "tmpfs"]).arg(at).output();
        done.is_ok_and(|done| done.status.success()).then(|| Self(at.into()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _status = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_recovers_by_itself() {
    let folder = common::scratch("doors-small");
    let Some(disk) = SmallDisk::mount(&folder.path().join("disk")) else {
        println!("not root, or mounting is not allowed here: a full disk was not tried");
        return;
    };
    let ports = [common::free_port(), common::free_port(), common::free_port()];
    let data = disk.0.join("data");
    let plan = Plan { data: Some(&data), ..Plan::of("doors-disk", links(ports[0], ports[1], ports[2])) };
    let clinic = Clinic::planned(plan).await;
    common::write_secret(clinic.dir.path(), "kit-password", &Secret::new(PASSWORD.into()));
    common::until(PATIENCE, "the broker starts", async || clinic.link("kits").await.0 == "up").await;
    let before = Line::to(ports[0]).await.say(&oru("OK1", "P-1", "81", "")).await;
    assert_eq!(before.code, "AA");
    clinic.server.running.faults.always(On::Any, Fault::Status(503));
    let taken = u64::from(fill(ports[0]).await);
    every_door_refuses(ports).await;
    println!("alarms: {:?}", clinic.alarms().await);
    assert!(!clinic.alarms().await.is_empty(), "somebody is told");
    let counts = clinic.bedside.status()["counts"].clone();
    let kept = ["waiting", "sent", "accepted", "held"]
        .iter()
        .map(|state| counts[state].as_u64().unwrap())
        .sum::<u64>();
    assert_eq!(kept, taken + 1, "exactly what was acknowledged: {counts}");
    // Somebody makes the disk larger.
    let larger = Command::new("mount").args(["-o", "remount,size=80m"]).arg(&disk.0).status().unwrap();
    assert!(larger.success());
    clinic.server.running.faults.clear();
    common::until(PATIENCE, "there is room again", async || {
        Line::to(ports[0]).await.say(&oru("OK2", "P-1", "82", "")).await.code == "AA"
    })
    .await;
    clinic.settled(taken + 2, 0).await;
    for value in [81, 82] {
        assert_eq!(clinic.valued(&value.to_string()), 1);
    }
}

/// What the desk of a box says that waits for its disk.
async fn waits_for_its_disk(clinic: &Clinic, why: &str) {
    common::until(PATIENCE, "the desk says why", async || {
        let page = clinic.desk.get("/").await;
        page.status == 503 && page.text.contains(why) && page.text.contains("No device is answered")
    })
    .await;
    assert_eq!(clinic.desk.get("/readyz").await.status, 503);
    assert_eq!(clinic.desk.get("/healthz").await.status, 200, "nobody is to kill it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_box_whose_disk_cannot_be_written_at_the_start_says_why_and_goes_on_by_itself() {
    let folder = common::scratch("doors-read-only");
    let Some(disk) = SmallDisk::mount(&folder.path().join("disk")) else {
        println!("not root, or mounting is not allowed here: a read-only disk was not tried");
        return;
    };
    let remount = |how: &str| {
        let done =
            Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&disk.0).status().unwrap();
        assert!(done.success(), "{how}");
    };
    let ports = [common::free_port(), common::free_port(), common::free_port()];
    let data = disk.0.join("data");
    let plan = Plan { data: Some(&data), ..Plan::of("doors-waits", links(ports[0], ports[1], ports[2])) };
    let mut clinic = Clinic::planned(plan).await;
    common::write_secret(clinic.dir.path(), "kit-password", &Secret::new(PASSWORD.into()));
    assert_eq!(Line::to(ports[0]).await.say(&oru("R1", "P-1", "81", "")).await.code, "AA");
    clinic.settled(1, 0).await;

    assert!(clinic.bedside.stop().success());
    remount("ro");
    clinic.restart();
    waits_for_its_disk(&clinic, "is read-only").await;
    assert!(std::net::TcpStream::connect(("127.0.0.1", ports[0])).is_err(), "no device is answered");
    remount("rw");
    common::until(PATIENCE, "it goes on", async || clinic.desk.status("/readyz").await == Some(200)).await;
    assert_eq!(Line::to(ports[0]).await.say(&oru("R2", "P-1", "82", "")).await.code, "AA");
    clinic.settled(2, 0).await;

    // Full to the last byte, and the room that was kept for this gone too.
    assert!(clinic.bedside.stop().success());
    std::fs::remove_file(data.join("ballast")).unwrap();
    let filler = disk.0.join("filler");
    let _full = std::fs::write(&filler, vec![7; 40 << 20]);
    clinic.restart();
    common::until(PATIENCE, "somebody is told", async || {
        clinic.desk.status("/readyz").await == Some(503)
            || clinic.alarms().await.iter().any(|code| code == "disk-full")
    })
    .await;
    std::fs::remove_file(&filler).unwrap();
    common::until(PATIENCE, "there is room again", async || {
        let Ok(stream) = std::net::TcpStream::connect(("127.0.0.1", ports[0])) else { return false };
        drop(stream);
        Line::to(ports[0]).await.say(&oru("R3", "P-1", "83", "")).await.code == "AA"
    })
    .await;
    clinic.settled(3, 0).await;
    for value in [81, 82, 83] {
        assert_eq!(clinic.valued(&value.to_string()), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_made_while_it_runs_makes_the_same_box_elsewhere() {
    let ports = [common::free_port(), common::free_port(), common::free_port()];
    let mut clinic = Clinic::open("doors-backup", links(ports[0], ports[1], ports[2])).await;
    common::write_secret(clinic.dir.path(), "kit-password", &Secret::new(PASSWORD.into()));
    let mut line = Line::to(ports[0]).await;
    for number in 0..20 {
        let told = oru(&format!("B{number}"), "P-1", &(100 + number).to_string(), "");
        assert_eq!(line.say(&told).await.code, "AA");
    }
    clinic.settled(20, 0).await;
    let run = |arguments: &[&str]| {
        let said = Command::new(common::binary())
            .args(arguments)
            .arg("--config")
            .arg(&clinic.bedside.config)
            .output();
        let said = said.unwrap();
        let text =
            format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        (said.status.code(), text)
    };
    let file = clinic.dir.path().join("copy.db");
    let file = file.to_str().unwrap();
    let (code, said) = run(&["backup", file]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run(&["restore", file]);
    assert_eq!(code, Some(75), "a running box is not restored over: {said}");
    let (code, said) = run(&["check", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    let status = clinic.bedside.status();
    assert_eq!((&status["balanced"], &status["ledger"]["delivered"]), (&true.into(), &20.into()), "{status}");

    assert!(line.say(&oru("AFTER", "P-1", "199", "")).await.code == "AA");
    clinic.settled(21, 0).await;
    let before = clinic.server.running.requests();
    assert!(clinic.bedside.stop().success());
    let run = |arguments: &[&str]| {
        let said = Command::new(common::binary())
            .args(arguments)
            .arg("--config")
            .arg(&clinic.bedside.config)
            .output();
        said.unwrap().status.code()
    };
    assert_eq!(run(&["restore", file]), Some(1), "not over a box that holds something");
    assert_eq!(run(&["restore", "--replace", file]), Some(0));
    clinic.restart();
    common::until(PATIENCE, "the desk says where it comes from", async || {
        clinic.alarms().await.iter().any(|code| code == "restored")
    })
    .await;
    // The device says it again: it is as new, and the server has it once.
    assert_eq!(Line::to(ports[0]).await.say(&oru("AFTER", "P-1", "199", "")).await.code, "AA");
    clinic.settled(21, 0).await;
    assert!(clinic.server.running.requests() > before);
    assert_eq!(clinic.valued("199"), 1, "delivered twice, and once on the server");
}
