//! Pulls the plug.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "common/mod.rs"]
mod common;

use std::time::{Duration, Instant};

use common::Bedside;

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
    assert!(began.elapsed() < Duration::from_secs(2), "it took {:?}", began.elapsed());
    assert!(said.contains("another"), "{said}");
    eprintln!("{said} {}", first.status());
}
