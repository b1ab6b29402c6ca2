//! Kills at random moments, under a server that is slow, loses answers and refuses.

use std::time::Duration;

use bedside::demo::fhir_server::{Fault, On};
use bedside::demo::template::Dice;

use crate::proof::clinic::{Clinic, Plan};
use crate::proof::oracle::Wrong;
use crate::{Sabotage, seed};

/// So many kills of a box with two monitors. (test-rigs/power_cut.rs does two hundred with every kind of device.)
pub(crate) async fn killed(sabotage: Sabotage, kills: u32) -> Vec<Wrong> {
    killed_of(Plan::of("killed").sabotaged(sabotage), seed(), kills).await
}

/// The same by this seed.
pub(crate) async fn killed_of(plan: Plan, seed: u64, kills: u32) -> Vec<Wrong> {
    let mut dice = Dice(seed);
    // Often on its way to the server, so that a kill finds it there.
    let plan = Plan { delivery: "pause_max_s = 1\nage_ms = 20", ..plan };
    let clinic = Clinic::open(plan).await;
    let faults = vec![
        (On::Transaction, Fault::CommitThenDrop),
        // Killed meanwhile, the next life knows nothing of what the server has.
        (On::Transaction, Fault::CommitThenStall(Duration::from_millis(700))),
        (On::Transaction, Fault::Drop),
        (On::Transaction, Fault::Status(503)),
        (On::Any, Fault::Late(Duration::from_millis(40))),
    ];
    clinic.server.running.faults.random(dice.below(u64::MAX), 300, faults);
    for _ in 0..kills {
        let mut running = clinic.start();
        clinic.wait_for_ports(&mut running);
        tokio::time::sleep(Duration::from_millis(100 + dice.below(500))).await;
        clinic.kill(&mut running).await;
    }
    let (wrong, told) = clinic.close().await;
    println!("{kills} kills; {told}; {} things wrong", wrong.len());
    wrong
}
