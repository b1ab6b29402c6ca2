//! Whose results are, on a made-up ward where every value says whose it truly is.

mod canary;
mod ward;

use canary::{Sabotage, Tally, run};

#[test]
fn a_hundred_thousand_measurements_never_reach_another_patient() {
    let tally = run(0x5eed_0001, 2, Sabotage::None);
    println!("{tally}");
    assert!(tally.measurements >= 100_000, "{tally}");
    assert_eq!(tally.wrong, 0, "{tally}");
    assert_eq!(tally.orphans_delivered, 0, "{tally}");
    assert_eq!(tally.clear_but_held, 0, "what can be told is not held: {tally}");
    assert!(tally.delivered * 10 >= tally.measurements * 6, "most can be told: {tally}");
    assert!(
        tally.conflict > 0 && tally.review > 0 && tally.orphan > 0,
        "every kind of doubt occurs: {tally}"
    );
    assert!(tally.corrected > 0 && tally.released > 0, "late words change what was decided: {tally}");
}

#[test]
fn another_seed_is_another_ward_and_as_safe() {
    let tally = run(0x5eed_0002, 10, Sabotage::None);
    println!("{tally}");
    assert_eq!((tally.wrong, tally.orphans_delivered, tally.clear_but_held), (0, 0, 0), "{tally}");
}

#[test]
fn the_rig_catches_a_resolver_that_takes_the_time_of_arrival() {
    let tally = run(0x5eed_0001, 20, Sabotage::ArrivalTime);
    println!("{tally}");
    assert!(tally.wrong > 0, "{tally}");
}

#[test]
fn the_rig_catches_a_resolver_that_asks_for_no_time_at_all() {
    let tally = run(0x5eed_0001, 20, Sabotage::Timeless);
    println!("{tally}");
    assert!(tally.wrong > 0, "{tally}");
}

#[test]
fn the_rig_catches_a_resolver_that_believes_every_clock() {
    let tally = run(0x5eed_0001, 5, Sabotage::EveryClock);
    println!("{tally}");
    assert!(tally.wrong > 0, "{tally}");
}

fn percent(part: usize, whole: usize) -> usize {
    (part * 100).checked_div(whole).unwrap_or(0)
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} measurements in {} frames over {} devices, {} words of systems and people ({} swaps, {} transfers, {} merges, \
             {} late): {} delivered ({} %), {} wrong; held: {} orphan, {} conflict, {} review; of every third frame \
             late words released {} and corrected {} ({} had gone to another patient until then); {} clear but held; {} reports cut",
            self.measurements,
            self.frames,
            self.devices,
            self.words,
            self.swaps,
            self.transfers,
            self.merges,
            self.late,
            self.delivered,
            percent(self.delivered, self.measurements),
            self.wrong,
            self.orphan,
            self.conflict,
            self.review,
            self.released,
            self.corrected,
            self.wrong_at_first,
            self.clear_but_held,
            self.cut,
        )
    }
}
