//! Whatever can break is broken, and one oracle says afterwards whether a promise was: kills at every system call,
//! errors of every system call, power cuts of a real file system, torn and reordered writes, disks that are full, slow,
//! read-only or rotten, lost networks, servers that misbehave, jumping clocks. A build that commits faults on purpose is
//! caught by the same rigs, fault by fault.
//!
//! Needs root, and the tools that `make deps` installs: without them it fails, it does not skip. `BEDSIDE_ROUNDS`
//! multiplies what is done (`make test-faults ROUNDS=…`), `BEDSIDE_SEED` repeats a run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, reason = "a rig says its seed and its numbers")]

#[path = "common/mod.rs"]
mod common;
#[path = "proof/mod.rs"]
mod proof;

#[path = "faults/blocks.rs"]
mod blocks;
#[path = "faults/bridge.rs"]
mod bridge;
#[path = "faults/calls.rs"]
mod calls;
#[path = "faults/clock.rs"]
mod clock;
#[path = "faults/crowd.rs"]
mod crowd;
#[path = "faults/cuts.rs"]
mod cuts;
#[path = "faults/disk.rs"]
mod disk;
#[path = "faults/folder.rs"]
mod folder;
#[path = "faults/kills.rs"]
mod kills;
#[path = "faults/lines.rs"]
mod lines;
#[path = "faults/long.rs"]
mod long;
#[path = "faults/net.rs"]
mod net;
#[path = "faults/process.rs"]
mod process;
#[path = "faults/receiver.rs"]
mod receiver;
#[path = "faults/sabotage.rs"]
mod sabotage;
#[path = "faults/server.rs"]
mod server;
#[path = "faults/soak.rs"]
mod soak;
#[path = "faults/tools.rs"]
mod tools;

use proof::oracle::{Wrong, first};

/// The fault a build for the rigs is to commit; none for the real one.
pub(crate) type Sabotage = Option<&'static str>;

/// How many times more than a push asks for.
pub(crate) fn rounds() -> u32 {
    std::env::var("BEDSIDE_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap())
}

/// The seed of this run: that of `BEDSIDE_SEED`, or a new one.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("BEDSIDE_SEED").ok();
    let seed = given.map_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0 >> 1, |seed| seed.parse().unwrap());
    println!("BEDSIDE_SEED={seed}");
    seed
}

/// Ends a rig: nothing may be wrong.
pub(crate) fn nothing_is(wrong: &[Wrong]) {
    assert!(wrong.is_empty(), "{} things are wrong:\n{}", wrong.len(), first(wrong));
}
