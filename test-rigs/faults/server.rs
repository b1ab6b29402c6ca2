//! A server that refuses, is away, or does everything wrong it can.

use std::time::{Duration, Instant};

use bedside::demo::fhir_server::{Fault, On};
use bedside::demo::template::Dice;

use crate::proof::clinic::{Clinic, Plan};
use crate::proof::oracle::Wrong;
use crate::{Sabotage, nothing_is, rounds, seed};

/// Single entries are refused for good: they wait for a person, and nobody forgets them.
pub(crate) async fn refused(sabotage: Sabotage) -> Vec<Wrong> {
    let mut clinic = Clinic::open(Plan { may_hold: true, ..Plan::of("refused") }.sabotaged(sabotage)).await;
    let half = Fault::HalfAccept { every: 7, status: 422 };
    clinic.server.running.faults.always(On::Transaction, half);
    clinic.allow(25);
    let running = clinic.started();
    clinic.told_within(Duration::from_secs(30)).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (wrong, told) = clinic.finish(running).await;
    println!("{told}");
    // Such a server takes parts of what it is sent in one transaction: in which order is its own doing.
    wrong.into_iter().filter(|one| one.promise != "I3").collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_refuses_is_held_and_not_forgotten() {
    nothing_is(&refused(None).await);
}

/// A server whose answers are lost: to a box that goes on and may look, and to one that is killed while it waits for them
/// and knows nothing in its next life. What the server has is sent once more, and is the same.
pub(crate) async fn lost(sabotage: Sabotage) -> Vec<Wrong> {
    let plan = Plan { delivery: "pause_max_s = 1\nage_ms = 20", ..Plan::of("lost") };
    let mut clinic = Clinic::open(plan.sabotaged(sabotage)).await;
    let mut running = clinic.started();
    for fault in [Fault::CommitThenDrop, Fault::CommitThenHtml, Fault::CommitThenTruncated] {
        let has = |clinic: &Clinic| clinic.server.running.store.count_of("Observation");
        clinic.server.running.faults.once(On::Transaction, fault);
        clinic.allow(10);
        clinic.told_within(Duration::from_secs(30)).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (before, began) = (has(&clinic), Instant::now());
        let unanswered = Fault::CommitThenStall(Duration::from_secs(5));
        clinic.server.running.faults.once(On::Transaction, unanswered);
        clinic.allow(10);
        while has(&clinic) == before && began.elapsed() < Duration::from_secs(20) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        clinic.kill(&mut running).await;
        running = clinic.started();
    }
    let (wrong, told) = clinic.finish(running).await;
    println!("{told}");
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_did_not_say_it_has_is_sent_again_and_there_once() {
    nothing_is(&lost(None).await);
}

/// A server that answers nothing but 503 is asked at most once a second.
pub(crate) async fn dead(sabotage: Sabotage) -> Vec<Wrong> {
    let plan = Plan { delivery: "pause_max_s = 4", ..Plan::of("dead") };
    let mut clinic = Clinic::open(plan.sabotaged(sabotage)).await;
    clinic.server.running.faults.always(On::Transaction, Fault::Status(503));
    clinic.allow(20);
    let running = clinic.started();
    let taken = clinic.told_within(Duration::from_secs(30)).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (before, window) = (clinic.server.running.requests(), Duration::from_secs(6));
    tokio::time::sleep(window).await;
    let asked = clinic.server.running.requests() - before;
    println!("{asked} requests to a dead server in {window:?}");
    let (mut wrong, told) = clinic.finish(running).await;
    println!("{told}");
    if !taken {
        wrong.push(Wrong::of("I10", "devices are not answered while the server is away"));
    }
    if asked > window.as_secs() {
        wrong.push(Wrong::of("I10", format!("{asked} requests in {window:?} to a server that is away")));
    }
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_is_not_hammered() {
    nothing_is(&dead(None).await);
}

/// Memory and open files stay what they are, however much passes.
pub(crate) async fn bounded(sabotage: Sabotage) -> Vec<Wrong> {
    let plan = Plan { pace: Duration::from_millis(1), ..Plan::of("bounded") };
    let mut clinic = Clinic::open(plan.sabotaged(sabotage)).await;
    let running = clinic.started();
    let mut seen = Vec::new();
    for _ in 0..3 {
        clinic.allow(200);
        clinic.told_within(Duration::from_secs(60)).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        seen.push((running.resident_bytes() >> 20, running.open_files()));
    }
    println!("MiB resident and open files after each 400 messages: {seen:?}");
    let (mut wrong, told) = clinic.finish(running).await;
    println!("{told}");
    let grown = seen[2].0.saturating_sub(seen[0].0);
    if grown > 64 {
        wrong.push(Wrong::of("I9", format!("{grown} MiB more after 800 messages")));
    }
    if seen[2].1 > seen[0].1 + 8 {
        wrong.push(Wrong::of("I9", format!("{} open files, {} before", seen[2].1, seen[0].1)));
    }
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_and_open_files_do_not_grow_with_what_passes() {
    nothing_is(&bounded(None).await);
}

/// Everything the server can do wrong, by seed.
fn everything() -> Vec<(On, Fault)> {
    let short = Duration::from_millis(80);
    let mut all: Vec<(On, Fault)> = [401, 403, 404, 408, 409, 410, 412, 425, 429, 500, 502, 503, 504]
        .into_iter()
        .map(|status| (On::Transaction, Fault::Status(status)))
        .collect();
    all.extend([
        (On::Any, Fault::Drop),
        (On::Any, Fault::Late(short)),
        (On::Any, Fault::Stall(short)),
        (On::Transaction, Fault::CommitThenDrop),
        (On::Transaction, Fault::CommitThenStall(short)),
        (On::Transaction, Fault::CommitThenStallInBody(short)),
        (On::Transaction, Fault::CommitThenHtml),
        (On::Transaction, Fault::CommitThenTruncated),
        (On::Transaction, Fault::FewerEntries(1)),
        // All of a Bundle: who accepts half of it breaks the order by itself.
        (On::Transaction, Fault::HalfAccept { every: 1, status: 503 }),
        (On::Transaction, Fault::RetryAfterSeconds(429, 1)),
        (On::Transaction, Fault::RetryAfterDate(503, 1)),
        (On::Any, Fault::Html),
        (On::Any, Fault::HtmlStatus(502)),
        (On::Any, Fault::PlainStatus(500)),
        (On::Any, Fault::Bomb(64)),
        (On::Any, Fault::Redirect("http://127.0.0.1:9/elsewhere".into())),
        (On::Token, Fault::Status(503)),
        (On::Token, Fault::Drop),
        (On::Discovery, Fault::Status(500)),
        (On::Metadata, Fault::Html),
    ]);
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_everything_wrong_has_each_result_once_in_the_end() {
    let mut dice = Dice(seed());
    let plan = Plan { delivery: "pause_max_s = 1\nage_ms = 50\nentries_max = 8", ..Plan::of("chaos") };
    let mut clinic = Clinic::open(plan).await;
    clinic.server.running.faults.random(dice.below(u64::MAX), 500, everything());
    let mut running = clinic.started();
    let began = Instant::now();
    for _ in 0..4 * rounds() {
        clinic.server.running.revoke_tokens();
        tokio::time::sleep(Duration::from_secs(4)).await;
        clinic.kill(&mut running).await;
        running = clinic.started();
    }
    println!("{:.1?}, {} faults", began.elapsed(), clinic.server.running.faults.played());
    let (wrong, told) = clinic.finish(running).await;
    println!("{told}");
    nothing_is(&wrong);
}
