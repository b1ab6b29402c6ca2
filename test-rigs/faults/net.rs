//! Networks that break: in a network namespace of its own, where packets are dropped, connections reset and the
//! interface goes down.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bedside::demo::template::Dice;

use crate::proof::clinic::{Clinic, Plan};
use crate::tools::{run, tool};
use crate::{nothing_is, rounds, seed};

/// Said to the process in the namespace.
const INSIDE: &str = "BEDSIDE_RIG_IN_NAMESPACE";

fn rule(words: &str) {
    let mut all = vec!["add", "rule", "inet", "rig", "in"];
    all.extend(words.split(' '));
    run("nft", &all);
}

async fn broken_and_mended() {
    let mut dice = Dice(seed());
    run("nft", &["add", "table", "inet", "rig"]);
    run("nft", &["add", "chain", "inet", "rig", "in", "{ type filter hook input priority 0; }"]);
    let mut clinic = Clinic::open(Plan::all("network")).await;
    let running = clinic.started();
    let (device, server) = (clinic.ports[0], clinic.server.running.port);
    let began = Instant::now();
    for round in 0..10 * rounds() {
        let port = if dice.below(2) == 0 { device } else { server };
        let fault = match round % 5 {
            0 => format!("tcp dport {port} drop"),
            1 => format!("tcp dport {port} reject with tcp reset"),
            2 => format!("tcp sport {port} drop"),
            3 => "numgen random mod 100 < 30 drop".to_owned(),
            _ => String::new(),
        };
        println!(
            "{:>5.1?} {}",
            began.elapsed(),
            if fault.is_empty() { "the interface goes down" } else { &fault }
        );
        if fault.is_empty() {
            run("ip", &["link", "set", "lo", "down"]);
        } else {
            rule(&fault);
        }
        tokio::time::sleep(Duration::from_millis(300 + dice.below(900))).await;
        run("nft", &["flush", "chain", "inet", "rig", "in"]);
        run("ip", &["link", "set", "lo", "up"]);
        tokio::time::sleep(Duration::from_millis(300 + dice.below(500))).await;
    }
    let (wrong, told) = clinic.finish(running).await;
    println!("{told}");
    nothing_is(&wrong);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_breaks_and_mends_loses_and_doubles_nothing() {
    if std::env::var_os(INSIDE).is_some() {
        return broken_and_mended().await;
    }
    tool("nft");
    let done = Command::new(tool("unshare"))
        .args(["-n", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "net::a_network_that_breaks_and_mends_loses_and_doubles_nothing", "--nocapture"])
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(done.success(), "in its namespace: {done}");
}
