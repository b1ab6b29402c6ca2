//! What callers of the buffer may rely on, tried through its front door.

mod faults;
mod flips;
mod killed;
mod model;
mod packed;
mod size;

use std::path::Path;
use std::time::{Duration, Instant};

use super::*;
use crate::clock::{Clock, TestClock};

/// 2026-11-22T00:00:00Z.
const START: i64 = 1_795_305_600_000_000;

/// A buffer in a folder of its own, with a clock that stands still.
struct Rig {
    dir: tempfile::TempDir,
    clock: Arc<TestClock>,
    buffer: Buffer,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = TestClock::at(START);
        let buffer = Buffer::open(&config(dir.path()), clock.clone()).unwrap();
        Self { dir, clock, buffer }
    }

    fn reader(&self) -> Reader {
        self.buffer.reader()
    }

    async fn reopen(&mut self) {
        self.buffer.close().await;
        self.buffer = Buffer::open(&config(self.dir.path()), self.clock.clone()).unwrap();
    }

    async fn keep(&self, bytes: impl Into<Bytes>) -> i64 {
        self.buffer.keep(frame("ward", bytes)).await.unwrap().id
    }

    async fn mark(&self, id: i64, to: Transition) -> Result<(), BufferError> {
        self.buffer.mark(vec![Mark { id, to }]).await
    }

    async fn state(&self, id: i64) -> State {
        self.reader().entry(id).await.unwrap().unwrap().row.state
    }

    /// Ids that could be delivered now.
    async fn waiting(&self) -> Vec<i64> {
        let waiting = self.reader().waiting(0, 1_000, 1 << 20).await.unwrap();
        waiting.entries.iter().map(|stored| stored.id).collect()
    }
}

fn config(dir: &Path) -> Config {
    Config { dir: dir.to_path_buf(), ..Config::default() }
}

fn frame(link: &str, bytes: impl Into<Bytes>) -> NewFrame {
    NewFrame {
        link: link.into(),
        peer: "10.0.0.7:40001".into(),
        received: Timestamp::from_micros(START, true),
        bytes: bytes.into(),
        topic: None,
        dedupe: true,
        warnings: Vec::new(),
        held: None,
    }
}

/// Bytes that cannot be packed: what they take on the disk is what they are.
fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

fn sent() -> Transition {
    Transition::Sent
}

fn accepted() -> Transition {
    Transition::Accepted { answer: String::from("{\"status\":201}") }
}

fn again(retry_after: Option<Timestamp>) -> Transition {
    Transition::Waiting { retry_after, reason: None }
}

/// Waits for what happens in idle moments.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_kept_frame_reads_back_as_it_was_said() {
    let mut rig = Rig::new();
    let kept = NewFrame {
        topic: Some("ble/kit/7".into()),
        warnings: vec![String::from("no start block")],
        ..frame("ward", &b"\x0bMSH|^~\\&|\r\x00\xff"[..])
    };
    let id = rig.buffer.keep(kept.clone()).await.unwrap().id;
    for _ in 0..2 {
        let detail = rig.reader().entry(id).await.unwrap().unwrap();
        assert_eq!(detail.bytes, kept.bytes);
        assert!(detail.intact);
        assert_eq!(detail.sha256, sha256(&kept.bytes));
        assert_eq!(detail.topic.as_deref(), Some("ble/kit/7"));
        assert_eq!(detail.warnings, ["no start block"]);
        assert_eq!((detail.row.link.as_str(), detail.row.peer.as_str()), ("ward", "10.0.0.7:40001"));
        assert_eq!((detail.row.received, detail.row.state), (kept.received, State::Waiting));
        let stored = rig.reader().waiting(0, 10, 1 << 20).await.unwrap().entries.remove(0);
        assert_eq!((stored.bytes, stored.topic.as_deref()), (kept.bytes.clone(), Some("ble/kit/7")));
        rig.reopen().await;
    }
    assert!(rig.reader().entry(id + 1).await.unwrap().is_none());
}

#[tokio::test]
async fn a_repetition_is_answered_and_counted_and_not_stored_twice() {
    let mut rig = Rig::new();
    let id = rig.keep("one").await;
    for _ in 0..3 {
        assert_eq!(rig.buffer.keep(frame("ward", "one")).await.unwrap(), Kept { id, duplicate: true });
    }
    let other_link = rig.buffer.keep(frame("laboratory", "one")).await.unwrap();
    let not_asked = rig.buffer.keep(NewFrame { dedupe: false, ..frame("ward", "one") }).await.unwrap();
    assert!(!other_link.duplicate && !not_asked.duplicate);
    rig.reopen().await;
    assert!(rig.buffer.keep(frame("ward", "one")).await.unwrap().duplicate);
    rig.reopen().await;
    let reader = rig.reader();
    let repeats = [id, not_asked.id].map(|id| reader.entry(id));
    let repeats = futures_util::future::join_all(repeats).await;
    let total: u32 = repeats.into_iter().map(|detail| detail.unwrap().unwrap().row.repeats).sum();
    assert_eq!((total, rig.reader().counts().kept), (4, 3));
}

#[tokio::test]
async fn two_of_the_same_in_one_group_are_kept_once() {
    let rig = Rig::new();
    let kept = futures_util::future::join_all((0..64).map(|_| rig.buffer.keep(frame("ward", "same")))).await;
    let new = kept.iter().filter(|kept| !kept.as_ref().unwrap().duplicate).count();
    assert_eq!((new, rig.reader().counts().kept), (1, 1));
}

#[tokio::test]
async fn many_senders_share_few_syncs() {
    let rig = Rig::new();
    for round in 0..20 {
        let frames = (0..64).map(|n| rig.buffer.keep(frame("ward", format!("{round}/{n}"))));
        for kept in futures_util::future::join_all(frames).await {
            kept.unwrap();
        }
    }
    let figures = rig.reader().figures();
    assert_eq!((figures.frames, rig.reader().counts().waiting), (1_280, 1_280));
    assert!(figures.commits < 400, "{} commits", figures.commits);
}

#[tokio::test]
async fn an_illegal_mark_is_named_and_the_others_are_written() {
    let rig = Rig::new();
    let (one, two) = (rig.keep("one").await, rig.keep("two").await);
    let marks =
        vec![Mark { id: one, to: accepted() }, Mark { id: two, to: sent() }, Mark { id: 99, to: sent() }];
    let Err(BufferError::IllegalMarks(illegal)) = rig.buffer.mark(marks).await else {
        panic!("all were written")
    };
    assert_eq!(
        illegal,
        [
            IllegalMark { id: one, from: Some(State::Waiting), to: "accepted" },
            IllegalMark { id: 99, from: None, to: "sent" },
        ]
    );
    assert_eq!((rig.state(one).await, rig.state(two).await), (State::Waiting, State::Sent));
}

#[tokio::test]
async fn the_story_of_an_entry_can_be_told() {
    let rig = Rig::new();
    let id = rig.keep("one").await;
    let later = Timestamp::from_micros(START, true).plus(Duration::from_secs(60));
    let seen =
        Transition::Seen { device: String::from("Masimo/Root/7"), summary: String::from("SpO2, pulse") };
    for to in [
        seen,
        sent(),
        Transition::Waiting { retry_after: Some(later), reason: Some(String::from("503")) },
        sent(),
        Transition::Held { reason: String::from("no such patient"), answer: Some(String::from("{}")) },
        Transition::Waiting { retry_after: None, reason: Some(String::from("released by ada")) },
        sent(),
        accepted(),
    ] {
        rig.clock.advance(Duration::from_secs(1));
        rig.mark(id, to).await.unwrap();
    }
    let detail = rig.reader().entry(id).await.unwrap().unwrap();
    assert_eq!(detail.row.attempts, 3);
    assert_eq!(detail.row.device.as_deref(), Some("Masimo/Root/7"));
    assert_eq!(detail.row.summary.as_deref(), Some("SpO2, pulse"));
    assert_eq!(detail.answer.unwrap().1, "{\"status\":201}");
    let told: Vec<String> = detail.timeline.into_iter().map(|(_, what)| what).collect();
    assert_eq!(
        told,
        [
            "Received and kept",
            "From sent to waiting: 503",
            "Held: no such patient",
            "From held to waiting: released by ada",
            "Sent, attempt 3",
            "Accepted",
        ]
    );
}

#[tokio::test]
async fn what_was_on_its_way_waits_again_after_a_restart() {
    let mut rig = Rig::new();
    let id = rig.keep("one").await;
    rig.mark(id, sent()).await.unwrap();
    assert_eq!(rig.reader().counts().sent, 1);
    rig.reopen().await;
    assert_eq!(rig.state(id).await, State::Waiting);
    assert_eq!(rig.reader().counts(), Counts { waiting: 1, kept: 1, ..Counts::default() });
}

#[tokio::test]
async fn a_delayed_entry_is_not_overtaken_by_its_own_device() {
    let rig = Rig::new();
    let seen = |device: &str| Transition::Seen { device: device.into(), summary: String::new() };
    let mut ids = Vec::new();
    for (n, device) in [(0, Some("a")), (1, Some("b")), (2, Some("a")), (3, None)] {
        let id = rig.keep(format!("frame {n}")).await;
        if let Some(device) = device {
            rig.mark(id, seen(device)).await.unwrap();
        }
        ids.push(id);
    }
    let elsewhere = rig.buffer.keep(frame("laboratory", "frame")).await.unwrap().id;
    let later = rig.clock.now().plus(Duration::from_secs(30));
    rig.mark(ids[0], sent()).await.unwrap();
    rig.mark(ids[0], again(Some(later))).await.unwrap();

    let waiting = rig.reader().waiting(0, 10, 1 << 20).await.unwrap();
    let offered: Vec<i64> = waiting.entries.iter().map(|stored| stored.id).collect();
    assert_eq!(offered, [ids[1], elsewhere], "a waits, b goes on, the unknown one could be a");
    assert_eq!(waiting.next_try, Some(later));
    rig.clock.advance(Duration::from_secs(30));
    assert_eq!(rig.waiting().await, [&ids[..], &[elsewhere]].concat());
}

#[tokio::test]
async fn what_waits_is_given_in_small_helpings() {
    let rig = Rig::new();
    for n in 0..10 {
        rig.keep(format!("{n}{}", "x".repeat(999))).await;
    }
    let reader = rig.reader();
    let by_bytes = reader.waiting(0, 100, 2_500).await.unwrap();
    assert_eq!((by_bytes.entries.len(), by_bytes.through), (2, 2));
    assert_eq!(reader.waiting(0, 100, 1).await.unwrap().entries.len(), 1, "one is always given");
    let rest = reader.waiting(by_bytes.through, 100, 1 << 20).await.unwrap();
    assert_eq!((rest.entries[0].id, rest.entries.len()), (3, 8));
    assert_eq!(reader.waiting(0, 3, 1 << 20).await.unwrap().entries.len(), 3);
}

#[tokio::test]
async fn pieces_are_replaced_by_the_whole_or_held_when_it_breaks_off() {
    let mut rig = Rig::new();
    let piece = |bytes: &'static str| rig.buffer.keep_part(frame("analyser", bytes));
    piece("H|").await.unwrap();
    piece("P|").await.unwrap();
    let whole = rig.buffer.keep(frame("analyser", "H|P|L|")).await.unwrap();
    let none =
        rig.buffer.break_parts("analyser".into(), "10.0.0.7:40001".into(), String::from("?")).await.unwrap();
    assert_eq!((whole.id, none), (1, None));

    piece("H|2").await.unwrap();
    piece("P|2").await.unwrap();
    let reason = String::from("the analyser said EOT too early");
    let held =
        rig.buffer.break_parts("analyser".into(), "10.0.0.7:40001".into(), reason).await.unwrap().unwrap();
    let detail = rig.reader().entry(held).await.unwrap().unwrap();
    assert_eq!((&detail.bytes[..], detail.row.state), (&b"H|2P|2"[..], State::Held));
    assert!(
        detail.row.reason.unwrap().starts_with("the analyser said EOT too early; these are the 2 piece(s)")
    );

    piece("H|3").await.unwrap();
    rig.reopen().await;
    let detail = rig.reader().entry(held + 1).await.unwrap().unwrap();
    assert_eq!((&detail.bytes[..], detail.row.state, detail.intact), (&b"H|3"[..], State::Held, true));
    assert!(detail.row.reason.unwrap().contains("stopped in the middle"));
}

#[tokio::test]
async fn a_page_shows_the_latest_first_and_filters() {
    let rig = Rig::new();
    for n in 0..30 {
        let link = if n % 3 == 0 { "laboratory" } else { "ward" };
        let held = (n % 10 == 0).then(|| String::from("not HL7"));
        let id = rig.buffer.keep(NewFrame { held, ..frame(link, format!("{n}")) }).await.unwrap().id;
        let device = format!("device {}", n % 2);
        rig.mark(id, Transition::Seen { device, summary: String::from("x") }).await.unwrap();
    }
    let reader = rig.reader();
    let ids = |page: &Page| page.entries.iter().map(|row| row.id).collect::<Vec<_>>();
    let first = reader.entries(EntryFilter { limit: 20, ..EntryFilter::default() }).await.unwrap();
    assert_eq!(ids(&first), (11..=30).rev().collect::<Vec<_>>());
    let rest = reader.entries(EntryFilter { before: first.next, ..EntryFilter::default() }).await.unwrap();
    assert_eq!((ids(&rest), rest.next), ((1..=10).rev().collect(), None));

    let held = EntryFilter { state: Some(State::Held), ..EntryFilter::default() };
    assert_eq!(ids(&reader.entries(held).await.unwrap()), [21, 11, 1]);
    let narrow = EntryFilter {
        state: Some(State::Waiting),
        link: Some(String::from("laboratory")),
        device: Some(String::from("device 0")),
        ..EntryFilter::default()
    };
    assert_eq!(ids(&reader.entries(narrow).await.unwrap()), [25, 19, 13, 7]);
    let unknown = EntryFilter { link: Some(String::from("attic")), ..EntryFilter::default() };
    assert_eq!(reader.entries(unknown).await.unwrap(), Page::default());
}

#[tokio::test]
async fn accepted_entries_go_after_their_days_and_nothing_else_does() {
    let mut rig = Rig::new();
    for n in 0..6 {
        let id = rig.keep(format!("{n}")).await;
        if n < 3 {
            rig.mark(id, sent()).await.unwrap();
            rig.mark(id, accepted()).await.unwrap();
        }
    }
    rig.mark(4, Transition::Held { reason: String::from("?"), answer: None }).await.unwrap();
    rig.clock.advance(Duration::from_secs(29 * 86_400));
    rig.reopen().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(rig.reader().counts().gone, 0);
    rig.clock.advance(Duration::from_secs(2 * 86_400));
    rig.clock.set_synchronised(false);
    rig.reopen().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(rig.reader().counts().gone, 0, "nobody vouches for the clock");
    rig.clock.set_synchronised(true);
    rig.reopen().await;
    let reader = rig.reader();
    until("the purge", || reader.counts().gone > 0).await;
    assert_eq!(reader.counts(), Counts { waiting: 2, sent: 0, accepted: 0, held: 1, gone: 3, kept: 6 });
    rig.reopen().await;
    assert_eq!(rig.reader().counts(), reader.counts());
    assert_eq!(rig.keep("7").await, 7, "no id is given twice");
}

#[tokio::test]
async fn no_quota_drops_what_is_not_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::at(START);
    let config = Config { max_bytes: LEAST_MAX_BYTES, ..config(dir.path()) };
    let buffer = Buffer::open(&config, clock.clone()).unwrap();
    let reader = buffer.reader();
    let mut kept = Vec::new();
    let refused = loop {
        match buffer.keep(frame("ward", noise(kept.len() as u32, 100_000))).await {
            Ok(ok) => kept.push(ok.id),
            Err(refused) => break refused,
        }
    };
    assert!(refused.full, "{refused}");
    assert!(reader.health().full && reader.health().bytes <= config.max_bytes);
    assert_eq!(reader.health().alarms[0].code, "quota-full");
    assert_eq!(reader.counts().waiting as usize, kept.len());

    for to in [sent(), accepted()] {
        let marks = kept[..10].iter().map(|id| Mark { id: *id, to: to.clone() }).collect();
        buffer.mark(marks).await.unwrap();
    }
    buffer.keep(frame("ward", "there is room again")).await.unwrap();
    assert!(reader.health().alarms.is_empty() && !reader.health().full);
    assert_eq!(reader.counts().waiting as usize, kept.len() - 10 + 1);
    for id in &kept[10..] {
        assert!(reader.entry(*id).await.unwrap().unwrap().intact);
    }
}

#[tokio::test]
async fn a_frame_that_nobody_may_send_is_refused_with_the_limit() {
    let rig = Rig::new();
    let refused = rig.buffer.keep(frame("ward", vec![0; MAX_FRAME_BYTES + 1])).await.unwrap_err();
    assert!(!refused.full && refused.reason.contains(&MAX_FRAME_BYTES.to_string()), "{refused}");
    let large = rig.buffer.keep(frame("ward", vec![7; 20 << 20])).await.unwrap();
    assert!(rig.reader().entry(large.id).await.unwrap().unwrap().intact);
}

#[tokio::test]
async fn a_closed_buffer_refuses_and_gives_its_folder_free() {
    let rig = Rig::new();
    rig.keep("one").await;
    rig.buffer.close().await;
    assert!(!rig.buffer.keep(frame("ward", "two")).await.unwrap_err().full);
    assert!(rig.mark(1, sent()).await.is_err());
    let again = Buffer::open(&config(rig.dir.path()), rig.clock.clone()).unwrap();
    assert_eq!(again.reader().counts().kept, 1);
}

#[test]
fn a_quota_too_small_to_work_with_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { max_bytes: 1, ..config(dir.path()) };
    let Err(error) = Buffer::open(&config, TestClock::at(START)) else { panic!("it was opened") };
    assert_eq!(error.to_string(), "max_bytes is 1, the least is 4194304 (4 MiB)");
}

#[tokio::test]
async fn a_page_of_a_rare_link_says_where_to_go_on() {
    let rig = Rig::new();
    rig.buffer.keep(frame("attic", "rare")).await.unwrap();
    let (done, wait) = oneshot::channel();
    let many = move |store: &mut store::Store| {
        let insert = "WITH RECURSIVE n(id) AS (SELECT 2 UNION ALL SELECT id + 1 FROM n WHERE id < 120000)
            INSERT INTO entry (id, state, link, prefix) SELECT id, 3, 999, id FROM n";
        store.conn.execute(insert, []).unwrap();
        done.send(()).unwrap();
    };
    rig.buffer.inner.queue(Job::Meddle(Box::new(many))).unwrap();
    wait.await.unwrap();
    let reader = rig.reader();
    let mut filter = EntryFilter { link: Some(String::from("attic")), ..EntryFilter::default() };
    let mut pages = 0;
    let found = loop {
        let page = reader.entries(filter.clone()).await.unwrap();
        pages += 1;
        match page.next {
            Some(_) if page.entries.is_empty() => filter.before = page.next,
            _ => break page,
        }
    };
    assert_eq!((found.entries.len(), found.entries[0].id, pages), (1, 1, 3));
}

#[tokio::test]
async fn readers_are_told_of_every_commit() {
    let rig = Rig::new();
    let mut changed = rig.reader().changed();
    changed.mark_unchanged();
    rig.keep("one").await;
    assert!(changed.has_changed().unwrap());
    changed.mark_unchanged();
    rig.mark(1, sent()).await.unwrap();
    assert!(changed.has_changed().unwrap());
}

#[tokio::test]
async fn a_quota_is_kept_by_purging_the_oldest_accepted_in_idle_moments() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { max_bytes: LEAST_MAX_BYTES, ..config(dir.path()) };
    let buffer = Buffer::open(&config, TestClock::at(START)).unwrap();
    let reader = buffer.reader();
    for n in 0..60_u8 {
        let id = buffer.keep(frame("ward", noise(n.into(), 100_000))).await.unwrap().id;
        for to in [sent(), accepted()] {
            buffer.mark(vec![Mark { id, to }]).await.unwrap();
        }
    }
    until("the idle purge", || reader.health().bytes < config.max_bytes / 10 * 9).await;
    assert!(reader.entry(60).await.unwrap().is_some(), "the latest stays");
    assert!(reader.entry(1).await.unwrap().is_none(), "the oldest went");
}

#[test]
fn the_config_reads_from_toml_and_knows_its_words() {
    let config: Config = toml::from_str("dir = \"/data\"\nmax_bytes = 5000000").unwrap();
    assert_eq!(
        (config.dir, config.max_bytes, config.keep_accepted_days),
        (PathBuf::from("/data"), 5_000_000, 30)
    );
    let error = toml::from_str::<Config>("max_byte = 1").unwrap_err().to_string();
    assert!(error.contains("unknown field `max_byte`"), "{error}");
}
