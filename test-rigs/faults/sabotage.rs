//! Faults committed on purpose, each in the same binary by an environment variable: every one is caught, by the promise
//! it breaks. And the binary that people get has none of it.

use std::pin::Pin;
use std::process::Command;
use std::time::Instant;

use crate::proof::oracle::{Wrong, first, promises};
use crate::{calls, common, cuts, disk, folder, kills, receiver, server};

type Run = Pin<Box<dyn Future<Output = Vec<Wrong>>>>;
/// The fault, what runs, and the promises of which one must be seen to be broken.
type Case = (&'static str, fn(&'static str) -> Run, &'static [&'static str]);

const CASES: [Case; 19] = [
    ("AnswerBeforeCommit", |fault| Box::pin(kills::killed(Some(fault), 20)), &["I1"]),
    ("AnswerOnError", |fault| Box::pin(calls::disk_errors("pwrite64", Some(fault))), &["I1"]),
    ("SyncNormal", |fault| Box::pin(cuts::cut(Some(fault), 8)), &["I1"]),
    ("NoDedup", |fault| Box::pin(calls::answers_cut_off(Some(fault))), &["I2"]),
    ("LateAnswer", |fault| Box::pin(receiver::late(Some(fault))), &["I5"]),
    ("DropOldest", |fault| Box::pin(disk::full(Some(fault))), &["I1", "I4"]),
    ("SkipHash", |fault| Box::pin(disk::rotten(Some(fault))), &["I7", "I6"]),
    ("LogValue", |fault| Box::pin(kills::killed(Some(fault), 1)), &["I11"]),
    ("IgnoreOrder", |fault| Box::pin(kills::killed(Some(fault), 2)), &["I3"]),
    ("RandomIds", |fault| Box::pin(server::lost(Some(fault))), &["I2"]),
    ("WrongPatient", |fault| Box::pin(kills::killed(Some(fault), 1)), &["I6", "I1", "I2"]),
    ("HotRetry", |fault| Box::pin(server::dead(Some(fault))), &["I10"]),
    ("ForgetHeld", |fault| Box::pin(server::refused(Some(fault))), &["I1"]),
    ("CountWrong", |fault| Box::pin(kills::killed(Some(fault), 1)), &["I4"]),
    ("EditAudit", |fault| Box::pin(folder::audited(Some(fault))), &["I8"]),
    ("NeverReopen", |fault| Box::pin(calls::disk_errors("fsync", Some(fault))), &["I10"]),
    ("Leak", |fault| Box::pin(server::bounded(Some(fault))), &["I9"]),
    ("NoLock", |fault| Box::pin(folder::shared(Some(fault))), &["I13"]),
    ("TakeNewer", |fault| Box::pin(folder::newer(Some(fault))), &["I13"]),
];

/// The cases whose number leaves `part` when divided by `of`: they run in as many processes.
async fn caught(part: usize, of: usize) {
    let mut missed = Vec::new();
    for (_, (fault, run, expected)) in CASES.iter().enumerate().filter(|(at, _)| at % of == part) {
        let began = Instant::now();
        let wrong = run(fault).await;
        let broken = promises(&wrong);
        let seen = broken.iter().any(|promise| expected.contains(promise));
        let example = wrong.iter().find(|one| expected.contains(&one.promise));
        let example = example.map(|one| one.text.chars().take(90).collect::<String>());
        println!(
            "SABOTAGE {fault:<20} {:<14} {:>5.1?}  {}",
            broken.join(" "),
            began.elapsed(),
            example.unwrap_or_default()
        );
        if !seen {
            missed.push(format!("{fault}: {expected:?} was not seen to be broken, but {}", first(&wrong)));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_committed_on_purpose_is_caught_first_half() {
    caught(0, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_committed_on_purpose_is_caught_second_half() {
    caught(1, 2).await;
}

#[test]
fn the_binary_that_people_get_cannot_be_told_to_commit_a_fault() {
    let has = |path: &std::path::Path| {
        let bytes = std::fs::read(path).unwrap();
        memchr::memmem::find(&bytes, b"BEDSIDE_SABOTAGE").is_some()
    };
    let sabotaged = common::binary().with_file_name("bedside-sabotaged");
    assert!(has(&sabotaged), "the build for the rigs has no switch: what it catches means nothing");
    assert!(!has(&common::binary()), "the real binary has the switch");
    let says = |path: &std::path::Path, word: &str| {
        let said = Command::new(path).arg(word).output().unwrap();
        (said.status.success(), String::from_utf8_lossy(&said.stdout).into_owned())
    };
    assert!(says(&sabotaged, "--version").1.contains("SABOTAGED"));
    let (sound, text) = says(&sabotaged, "selftest");
    assert!(!sound && text.contains("SABOTAGED"), "{text}");
    assert!(!says(&common::binary(), "--version").1.contains("SABOTAGED"));
}
