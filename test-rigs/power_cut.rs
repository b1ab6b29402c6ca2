//! Pulls the plug: the real binary is killed at random moments under paced traffic on its connectors that
//! acknowledge (MLLP, ASTM, MQTT, POCT1-A, IEEE 11073-20601) and a folder that files are left in, while the server it delivers to is slow, loses answers and refuses. Afterwards everything that was
//! acknowledged is on the server exactly once. A binary that answers before it commits must be caught by the same rig.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, reason = "a rig says its seed and its numbers")]

#[path = "common/mod.rs"]
mod common;
#[path = "proof/mod.rs"]
mod proof;

use std::time::{Duration, Instant};

use bedside::demo::fhir_server::{Fault, On};
use bedside::demo::template::Dice;
use common::Bedside;
use proof::clinic::{Clinic, Plan};
use proof::devices::{SENDERS, Sender};
use proof::oracle::{LOST, Wrong, first};

/// `BEDSIDE_KILLS` says another number, for a long run.
const KILLS: u32 = 200;
/// Kills of the sabotaged binary: it loses something at about every third.
const KILLS_OF_CONTROL: u32 = 40;
/// Longest time between the ports' opening and the kill.
const LIFE_MAX_MS: u64 = 500;
/// One in so many is killed while it starts.
const KILLED_EARLY: u64 = 8;

/// Power for a while, then none.
async fn cut(clinic: &Clinic, dice: &mut Dice) {
    let mut running = clinic.start();
    if dice.below(KILLED_EARLY) > 0 {
        clinic.wait_for_ports(&mut running);
        tokio::time::sleep(Duration::from_millis(dice.below(LIFE_MAX_MS))).await;
    } else {
        tokio::time::sleep(Duration::from_millis(dice.below(150))).await;
    }
    clinic.kill(&mut running).await;
}

/// The seed of the times of the kills and of the server's faults: that of `BEDSIDE_SEED`, or a new one.
fn seed() -> u64 {
    let given = std::env::var("BEDSIDE_SEED").ok();
    given.map_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0, |seed| seed.parse().unwrap())
}

/// Cuts the power so many times; returns what is wrong afterwards.
async fn cuts(plan: Plan, kills: u32) -> Vec<Wrong> {
    let seed = seed();
    println!("BEDSIDE_SEED={seed}");
    let began = Instant::now();
    let mut dice = Dice(seed);
    let clinic = Clinic::open(plan).await;
    let late = |millis| Fault::Late(Duration::from_millis(millis));
    let faults = vec![
        (On::Transaction, Fault::CommitThenDrop),
        (On::Transaction, Fault::Drop),
        (On::Transaction, Fault::Status(503)),
        (On::Transaction, late(150)),
        (On::Any, late(40)),
    ];
    clinic.server.running.faults.random(dice.below(u64::MAX), 150, faults);
    for _ in 0..kills {
        cut(&clinic, &mut dice).await;
    }
    let cut = began.elapsed();
    let (faults, told) = clinic.close().await;
    println!(
        "{kills} kills in {cut:.1?}, all in {:.1?}; {told}; {} things wrong",
        began.elapsed(),
        faults.len()
    );
    faults
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_doubled_by_two_hundred_power_cuts() {
    let kills = std::env::var("BEDSIDE_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let faults = cuts(Plan::all("power-cut"), kills).await;
    assert!(faults.is_empty(), "{} things are wrong:\n{}", faults.len(), first(&faults));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_binary_that_answers_before_it_commits_is_caught() {
    let plan = Plan::all("power-cut").sabotaged(Some("AnswerBeforeCommit"));
    let faults = cuts(plan, KILLS_OF_CONTROL).await;
    let lost = |sender: &Sender| {
        let of = format!("{} number", sender.patient);
        faults.iter().filter(|fault| fault.text.starts_with(&of) && fault.text.ends_with(LOST)).count()
    };
    let by_way: Vec<(&str, usize)> = SENDERS.iter().map(|sender| (sender.way, lost(sender))).collect();
    println!("measurements {LOST}: {by_way:?}");
    let caught = |way: &str| by_way.iter().any(|(known, lost)| *known == way && *lost > 0);
    let any = by_way.iter().any(|(_, lost)| *lost > 0);
    assert!(any, "the rig did not see that answers came before commits:\n{}", first(&faults));
    assert!(caught("poct1a"), "nothing was lost over POCT1-A:\n{}", first(&faults));
}

#[tokio::test]
async fn a_second_instance_on_the_same_folder_ends_at_once_and_says_why() {
    let dir = common::scratch("second");
    let first = Bedside::start_mllp_only(dir.path()).await;
    let began = Instant::now();
    let second = std::process::Command::new(common::binary())
        .args(["run", "--config"])
        .arg(&first.config)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(75), "{said}");
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    let process = format!("in use by another Bedside (process {})", first.child.id());
    assert!(said.contains(&process) && said.contains("stop that one first"), "{said}");
    assert_eq!(first.status()["running"], true, "the first one goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_box_that_is_asked_to_stop_under_traffic_does_so_in_order_and_loses_nothing() {
    let clinic = Clinic::open(Plan::all("power-cut")).await;
    for _ in 0..3 {
        let mut running = clinic.start();
        clinic.wait_for_ports(&mut running);
        tokio::time::sleep(Duration::from_millis(400)).await;
        let began = Instant::now();
        assert_eq!(running.stop().code(), Some(0), "{}", running.log());
        assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
        clinic.dark().await;
    }
    let (faults, told) = clinic.close().await;
    println!("{told}");
    assert!(faults.is_empty(), "{told}:\n{}", first(&faults));
}
