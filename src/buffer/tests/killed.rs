//! Faults that only a process of its own can have: it is killed, its disk is full, it may not write any more. The
//! test runs itself again as a child.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use super::*;

/// Tells the child its folder; nobody else sets it.
const FOLDER: &str = "BEDSIDE_TEST_FOLDER";

/// This test, as a child, in `folder`, behind `prefix` (a shell line that ends by starting `"$@"`).
fn child(test: &str, folder: &Path, prefix: &str) -> Child {
    let itself = std::env::current_exe().unwrap();
    Command::new("sh")
        .args(["-c", &format!("{prefix} exec \"$@\""), "sh"])
        .arg(itself)
        .args([&format!("buffer::tests::killed::{test}"), "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// Runs the child to its end; what it says when it fails is what this test says.
fn passes(child: Child) {
    let output = child.wait_with_output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

fn acknowledge(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{line}").unwrap();
    out.flush().unwrap();
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    if let Some(folder) = folder() {
        return send_until_killed(&folder).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..12_u64 {
        let mut child = child("nothing_acknowledged_is_lost_when_the_process_is_killed", dir.path(), "");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let wanted = 5 + (round * 37) % 90;
        let said = lines.map_while(Result::ok).filter(|line| line.starts_with("kept "));
        acknowledged.extend(said.take(wanted as usize));
        child.kill().unwrap();
        child.wait().unwrap();

        let buffer = Buffer::open(&config(dir.path()), TestClock::at(START)).unwrap();
        let reader = buffer.reader();
        for line in &acknowledged {
            let mut words = line.split(' ').skip(1);
            let (id, text) = (words.next().unwrap().parse().unwrap(), words.next().unwrap());
            let detail = reader.entry(id).await.unwrap().expect("an acknowledged frame is there");
            assert!(detail.intact && detail.bytes == text.as_bytes());
        }
        let counts = reader.counts();
        assert_eq!(counts.waiting, counts.kept, "{counts:?}");
        assert!(reader.health().alarms.is_empty());
        buffer.close().await;
    }
    assert!(acknowledged.len() > 300, "{}", acknowledged.len());
}

async fn send_until_killed(folder: &Path) {
    let buffer = Buffer::open(&config(folder), TestClock::at(START)).unwrap();
    for n in 0.. {
        let texts = (0..4).map(|sender| format!("{}-{sender}-{n}", std::process::id()));
        let buffer = &buffer;
        let kept = texts.map(|text| async move {
            let kept = buffer.keep(frame("ward", text.clone())).await.unwrap();
            acknowledge(&format!("kept {} {text}", kept.id));
        });
        futures_util::future::join_all(kept).await;
    }
}

#[tokio::test]
async fn a_full_disk_refuses_frames_takes_marks_and_recovers_by_itself() {
    if let Some(folder) = folder() {
        return fill_the_disk(&folder).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=40m none \"$BEDSIDE_TEST_FOLDER\" || { echo 'this test needs the right to mount a tmpfs'; exit 1; };";
    let test = "a_full_disk_refuses_frames_takes_marks_and_recovers_by_itself";
    // A mount namespace of the child's own: the disk goes with it.
    let inner = format!(
        "exec unshare --user --map-root-user --mount sh -c '{}' sh \"$@\";",
        format!("{mount} exec \"$@\"").replace('\'', "'\\''")
    );
    passes(child(test, dir.path(), &inner));
}

async fn fill_the_disk(folder: &Path) {
    let clock = TestClock::at(START);
    let dir = folder.join("data");
    let open = || Buffer::open(&config(&dir), clock.clone()).unwrap();
    let buffer = open();
    let first = buffer.keep(frame("ward", "first")).await.unwrap().id;

    // Another program takes the rest of the disk.
    let hog = folder.join("hog");
    let mut file = std::fs::File::create(&hog).unwrap();
    while file.write_all(&[1; 4_096]).is_ok() {}
    let mut kept = Vec::new();
    let refused = loop {
        match buffer.keep(frame("ward", noise(kept.len() as u32, 50_000))).await {
            Ok(ok) => kept.push(ok.id),
            Err(refused) => break refused,
        }
        assert!(kept.len() < 1_000);
    };
    assert!(refused.full, "{refused}");
    let reader = buffer.reader();
    assert_eq!(reader.health().alarms[0].code, "disk-full");
    for to in [sent(), accepted()] {
        buffer.mark(vec![Mark { id: first, to }]).await.expect("marks go into the reserved room");
    }
    assert!(buffer.keep(frame("ward", "still full")).await.unwrap_err().full);
    buffer.close().await;

    // Opening a full disk works, and everything acknowledged is there.
    let buffer = open();
    let reader = buffer.reader();
    for id in &kept {
        assert!(reader.entry(*id).await.unwrap().unwrap().intact);
    }
    assert_eq!((reader.counts().accepted, reader.counts().waiting as usize), (1, kept.len()));
    let full_again = buffer.keep(frame("ward", noise(9, 1 << 20))).await;
    assert!(full_again.unwrap_err().full);

    drop(file);
    std::fs::remove_file(&hog).unwrap();
    until("the disk is used again", || !reader.health().full).await;
    buffer.keep(frame("ward", noise(9, 1 << 20))).await.unwrap();
    assert!(reader.health().alarms.is_empty());
    assert!(dir.join("ballast").exists());
}

#[tokio::test]
async fn a_disk_that_fails_writes_gets_refusals_and_a_fresh_connection() {
    if let Some(folder) = folder() {
        return write_past_the_limit(&folder).await;
    }
    let dir = tempfile::tempdir().unwrap();
    // Writes past 12 MiB of any file fail with EFBIG, which SQLite reports as an I/O error.
    passes(child(
        "a_disk_that_fails_writes_gets_refusals_and_a_fresh_connection",
        dir.path(),
        "trap '' XFSZ; ulimit -f 24576;",
    ));
}

async fn write_past_the_limit(folder: &Path) {
    let buffer = Buffer::open(&config(folder), TestClock::at(START)).unwrap();
    let reader = buffer.reader();
    let mut kept = Vec::new();
    let mut refused = 0;
    for n in 0..400_u32 {
        let bytes = [&n.to_be_bytes()[..], &noise(n, 100_000)].concat();
        match buffer.keep(frame("ward", bytes)).await {
            Ok(ok) => kept.push((ok.id, n)),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 0 && kept.len() > 50, "{refused} refused, {} kept", kept.len());
    assert!(reader.figures().reopened > 0 || !reader.health().writing, "the connection was given up");
    for (id, n) in kept {
        let detail = reader.entry(id).await.unwrap().expect("an acknowledged frame is there");
        assert!(detail.intact && detail.bytes.starts_with(&n.to_be_bytes()));
    }
    let counts = reader.counts();
    assert_eq!(counts.kept, counts.waiting + counts.sent + counts.accepted + counts.held + counts.gone);
}
