//! Power cuts of a real file system: an ext4 on a loop device is shut down under paced traffic, with everything the
//! kernel still held, then mounted again. Only answers heard before the cut count.

use std::time::{Duration, Instant};

use bedside::demo::template::Dice;

use crate::proof::clinic::{Clinic, Plan};
use crate::proof::oracle::Wrong;
use crate::tools::Disk;
use crate::{Sabotage, nothing_is, rounds, seed};

pub(crate) async fn cut(sabotage: Sabotage, cuts: u32) -> Vec<Wrong> {
    cut_by(sabotage, seed(), cuts).await
}

/// The same by this seed.
pub(crate) async fn cut_by(sabotage: Sabotage, seed: u64, cuts: u32) -> Vec<Wrong> {
    let mut dice = Dice(seed);
    let mut disk = Disk::new(64);
    let plan =
        Plan { data: Some(disk.at().join("data")), pace: Duration::from_millis(3), ..Plan::of("cuts") };
    let clinic = Clinic::open(plan.sabotaged(sabotage)).await;
    let began = Instant::now();
    for _ in 0..cuts {
        let mut running = clinic.start();
        clinic.wait_for_ports(&mut running);
        tokio::time::sleep(Duration::from_millis(50 + dice.below(250))).await;
        clinic.believe(false);
        disk.cut();
        clinic.kill(&mut running).await;
        disk.unmount();
        disk.mount();
        clinic.believe(true);
    }
    let took = began.elapsed();
    let (wrong, told) = clinic.close().await;
    println!("{cuts} cuts in {took:.1?}; {told}; {} things wrong", wrong.len());
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_the_power_of_the_disk_is_cut() {
    nothing_is(&cut(None, 60 * rounds()).await);
}
