//! The figures of a release: ten thousand kills, five thousand power cuts, five thousand errors of calls, a kill at every
//! call of start, migration and delivery, every prefix of three logs of a disk. Each is hours long, so each goes on where it
//! was interrupted: what is done stands in `target/faults/<rig>.json`, with the seed it began with. `make long RIG=…`
//! starts or goes on; delete the file to begin anew.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bedside::demo::template::Dice;
use serde::{Deserialize, Serialize};

use crate::proof::clinic::Plan;
use crate::proof::oracle::{Wrong, first};
use crate::{blocks, calls, cuts, kills, process, seed};

/// What is done of a rig.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Done {
    seed: u64,
    /// Kills, cuts, errors, points or images.
    count: u64,
    /// Stretches that ended with a word of the oracle.
    stretches: u64,
    /// Where a rig is that goes through a list: the place in the list, and the number there.
    #[serde(default)]
    at: (usize, u32),
    seconds: f64,
    /// Seeds of stretches after which something was wrong, and what.
    wrong: Vec<(u64, String)>,
}

struct Rig {
    name: &'static str,
    goal: u64,
    done: Done,
}

impl Rig {
    /// Goes on, or begins. `BEDSIDE_COUNT` says another goal.
    fn open(name: &'static str, goal: u64) -> Self {
        let goal = std::env::var("BEDSIDE_COUNT").map_or(goal, |count| count.parse().unwrap());
        let done = std::fs::read(Self::path(name)).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let done = done.unwrap_or_else(|| Done { seed: seed(), ..Done::default() });
        println!("{name}: {} of {goal} done, seed {}", done.count, done.seed);
        Self { name, goal, done }
    }

    fn path(name: &str) -> PathBuf {
        let dir = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/faults"));
        std::fs::create_dir_all(&dir).unwrap();
        dir.join(format!("{name}.json"))
    }

    const fn is_over(&self) -> bool {
        self.done.count >= self.goal
    }

    /// The seed of the next stretch.
    fn seed(&self) -> u64 {
        Dice(self.done.seed ^ self.done.stretches.wrapping_mul(0x9e37_79b9_7f4a_7c15)).below(u64::MAX >> 1)
    }

    /// Writes down a stretch; one after which something is wrong ends the run, and the next goes on behind it.
    fn stretch(&mut self, began: Instant, count: u64, wrong: &[Wrong]) {
        let seed = self.seed();
        self.done.count += count;
        self.done.stretches += 1;
        self.done.seconds += began.elapsed().as_secs_f64();
        if !wrong.is_empty() {
            self.done.wrong.push((seed, first(wrong)));
        }
        let part = Self::path(self.name).with_extension("part");
        std::fs::write(&part, serde_json::to_vec_pretty(&self.done).unwrap()).unwrap();
        std::fs::rename(part, Self::path(self.name)).unwrap();
        let Done { count, stretches, seconds, wrong: all, .. } = &self.done;
        println!(
            "{}: {count} of {} in {:.0?}, {stretches} stretches, {} of them with something wrong (this one: seed {seed})",
            self.name,
            self.goal,
            Duration::from_secs_f64(*seconds),
            all.len()
        );
        assert!(wrong.is_empty(), "seed {seed}:\n{}", first(wrong));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "hours: make long RIG=kills"]
async fn kills() {
    const STRETCH: u32 = 100;
    let mut rig = Rig::open("kills", 10_000);
    while !rig.is_over() {
        let began = Instant::now();
        let plan =
            if rig.done.stretches.is_multiple_of(2) { Plan::all("killed") } else { Plan::of("killed") };
        let wrong = kills::killed_of(plan, rig.seed(), STRETCH).await;
        rig.stretch(began, STRETCH.into(), &wrong);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "hours: make long RIG=cuts"]
async fn cuts() {
    const STRETCH: u32 = 100;
    let mut rig = Rig::open("cuts", 5_000);
    while !rig.is_over() {
        let began = Instant::now();
        let wrong = cuts::cut_by(None, rig.seed(), STRETCH).await;
        rig.stretch(began, STRETCH.into(), &wrong);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "hours: make long RIG=errors"]
async fn errors() {
    const STRETCH: u32 = 50;
    let mut rig = Rig::open("errors", 5_000);
    let most = calls::most_of_each().await;
    println!("calls of one life, by its busiest thread: {most:?}");
    while !rig.is_over() {
        let began = Instant::now();
        // Only errors that happened count.
        let (count, wrong) = calls::failing_at_random(rig.seed(), STRETCH, &most).await;
        rig.stretch(began, count.into(), &wrong);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "hours: make long RIG=points"]
async fn points() {
    const STRETCH: u32 = 60;
    // The end of the list is the goal, not the number.
    let mut rig = Rig::open("points", u64::MAX);
    let lives = calls::EVERY_CALL.len();
    while rig.done.at.0 < lives + process::MIGRATING_CALLS.len() {
        let (began, (place, n)) = (Instant::now(), rig.done.at);
        let (points, next, wrong) = match calls::EVERY_CALL.get(place) {
            Some((since, call)) => calls::killed_from(*since, call, n.max(1), STRETCH).await,
            None => {
                process::killed_migrating(process::MIGRATING_CALLS[place - lives], n.max(1), STRETCH).await
            }
        };
        rig.done.at = next.map_or((place + 1, 1), |n| (place, n));
        rig.stretch(began, points.into(), &wrong);
    }
    assert!(rig.done.count >= 2_000, "{} points are not all there are", rig.done.count);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "an hour: make long RIG=blocks"]
async fn blocks() {
    // Logs, each with its every prefix and so many torn images.
    const TORN: u32 = 1_000;
    let mut rig = Rig::open("blocks", 0);
    while rig.done.stretches < 3 {
        let began = Instant::now();
        let (images, wrong) = blocks::cut_at_every_write(rig.seed(), TORN).await;
        rig.stretch(began, images.into(), &wrong);
    }
}
