//! A disk that changes bits anywhere in the file: the box starts all the same, keeps what can be read, and hands out nothing
//! that was not said.

use std::collections::BTreeSet;
use std::fs;

use super::*;
use crate::buffer::UserRow;

const FRAMES: i64 = 90;
const PLACES: u32 = 300;

fn said(n: i64) -> Vec<u8> {
    match n % 3 {
        0 => format!("<frame {n} short>").into_bytes(),
        1 => noise(u32::try_from(n).unwrap(), 900),
        _ => format!("<frame {n} {}>", "OBX|1|NM|8867-4||61|".repeat(200)).into_bytes(),
    }
}

/// The file of a buffer with something in many tables.
async fn original() -> Vec<u8> {
    let rig = Rig::new();
    for n in 1..=FRAMES {
        rig.keep(said(n)).await;
    }
    for n in 1..=30 {
        rig.mark(n, sent()).await.unwrap();
        rig.mark(n, accepted()).await.unwrap();
    }
    rig.mark(40, Transition::Held { reason: "nobody knows".into(), answer: None }).await.unwrap();
    let user = UserRow::local("ada", "$argon2id$", "admin", rig.clock.now());
    rig.buffer.put_user(user).await.unwrap();
    for n in 0..20 {
        rig.buffer.put_setting(&format!("key {n}"), &"value ".repeat(n)).await.unwrap();
        let row = NewAudit { who: "ada".into(), what: "login".into(), detail: n.to_string() };
        rig.buffer.audit(row).await.unwrap();
    }
    let destinations = OutgoingChange::Destinations { names: vec!["ehr".into()] };
    rig.buffer.change(vec![Change::Outgoing(destinations)]).await.unwrap();
    let rows = (31..=60)
        .map(|entry| NewOutgoing { entry, part: 0, route: "all".into(), lane: entry % 7, held: None })
        .collect();
    let queue = OutgoingChange::Queue { destination: "ehr".into(), rows, through: 60 };
    rig.buffer.change(vec![Change::Outgoing(queue)]).await.unwrap();
    rig.buffer.close().await;
    fs::read(rig.dir.path().join("bedside.db")).unwrap()
}

/// Changes some bits of a few neighbouring bytes, or a whole stretch, at a place that `seed` chooses.
fn damaged(file: &[u8], seed: u32) -> Vec<u8> {
    let mut file = file.to_vec();
    let random = noise(seed, 64);
    let number = |at: usize| {
        usize::from(random[at]) << 16 | usize::from(random[at + 1]) << 8 | usize::from(random[at + 2])
    };
    // The first page and the pages of the schema are met as often as all others together.
    let within = if seed.is_multiple_of(2) { 12 * 4_096 } else { file.len() };
    let at = number(8) % within.min(file.len());
    match seed % 5 {
        0 | 3 => {
            let end = (at + 1 + number(16) % 600).min(file.len());
            file[at..end].fill(random[20]);
        }
        _ => file[at] ^= 1 << (random[24] % 8),
    }
    file
}

/// Everything that is handed out for delivery was said by a device, to the letter.
async fn hands_out_only_what_was_said(buffer: &Buffer, all: &BTreeSet<Vec<u8>>, seed: u32) -> i64 {
    let reader = buffer.reader();
    let waiting = reader.waiting(0, 1_000, 1 << 22).await.unwrap_or_default();
    for stored in waiting.entries {
        assert!(all.contains(&stored.bytes.to_vec()), "seed {seed}: entry {} was never said", stored.id);
    }
    let mut found = 0;
    for id in 1..=FRAMES {
        if let Ok(Some(entry)) = reader.entry(id).await
            && entry.intact
        {
            assert!(all.contains(&entry.bytes.to_vec()), "seed {seed}: entry {id} was never said");
            found += 1;
        }
    }
    found
}

#[allow(clippy::print_stdout, reason = "shown when the run fails: the seed is what finds it again")]
#[tokio::test]
async fn wherever_a_bit_flips_the_box_starts_and_says_nothing_that_was_not_said() {
    let file = original().await;
    let mut all: BTreeSet<Vec<u8>> = (1..=FRAMES).map(said).collect();
    all.insert(b"and it goes on".to_vec());
    let (mut salvaged, mut told, mut thin) = (0, 0, 0);
    for seed in 0..PLACES {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("bedside.db"), damaged(&file, seed)).unwrap();
        let opened = Buffer::open(&config(dir.path()), TestClock::at(START));
        let buffer = opened.unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
        hands_out_only_what_was_said(&buffer, &all, seed).await;
        // What the first reading found may have had the database salvaged meanwhile.
        let reader = buffer.reader();
        let mut kept = Err(Refused::closed());
        for _ in 0..100 {
            kept = buffer.keep(frame("ward", "and it goes on")).await;
            if kept.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(kept.is_ok(), "seed {seed}: {kept:?}");
        let row = NewAudit { who: "eve".into(), what: "login".into(), detail: String::new() };
        assert!(buffer.audit(row).await.is_ok(), "seed {seed}: the audit trail cannot be gone on with");
        let found = hands_out_only_what_was_said(&buffer, &all, seed).await;
        if found <= FRAMES / 2 {
            println!("seed {seed}: {found} of {FRAMES} frames are left");
            thin += 1;
        }
        let ledger = reader.ledger();
        assert!(ledger.balanced(), "seed {seed}: {ledger:?}");
        let alarms = reader.health().alarms;
        salvaged += u32::from(alarms.iter().any(|alarm| alarm.code == "database-salvaged"));
        told += u32::from(!alarms.is_empty());
        buffer.close().await;
    }
    #[allow(clippy::print_stdout, reason = "figures for whoever runs it by itself")]
    {
        println!(
            "{PLACES} places: {salvaged} databases salvaged, {told} with an alarm, {thin} with few frames left"
        );
    }
    assert!(thin <= PLACES / 20, "{thin} times most frames were lost to damage in one place");
    assert!(salvaged > PLACES / 20, "the damage is too mild to try anything");
}
