use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::super::{
    Buffer, Change, Config, DestinationRow, Due, Mark, NewFrame, OutgoingFilter, OutgoingRow, Transition,
};
use super::*;
use crate::buffer::BufferError;
use crate::clock::{Clock, TestClock};

/// 2026-11-22T00:00:00Z.
const START: i64 = 1_795_305_600_000_000;

struct Rig {
    dir: tempfile::TempDir,
    clock: Arc<TestClock>,
    buffer: Buffer,
}

impl Rig {
    fn with(days: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = TestClock::at(START);
        let config = Config { dir: dir.path().to_path_buf(), keep_accepted_days: days, ..Config::default() };
        let buffer = Buffer::open(&config, clock.clone()).unwrap();
        Self { dir, clock, buffer }
    }

    /// With one destination, `ehr`.
    async fn new() -> Self {
        let rig = Self::with(30);
        rig.wanted(&["ehr"]).await;
        rig
    }

    async fn reopen(&mut self) {
        self.buffer.close().await;
        let config = Config { dir: self.dir.path().to_path_buf(), ..Config::default() };
        self.buffer = Buffer::open(&config, self.clock.clone()).unwrap();
    }

    async fn change(&self, change: OutgoingChange) -> Result<(), BufferError> {
        self.buffer.change(vec![Change::Outgoing(change)]).await
    }

    async fn wanted(&self, names: &[&str]) {
        let names = names.iter().map(ToString::to_string).collect();
        self.change(OutgoingChange::Destinations { names }).await.unwrap();
    }

    async fn keep(&self, text: &str) -> i64 {
        let frame = NewFrame {
            link: "ward".into(),
            peer: "peer".into(),
            received: self.clock.now(),
            bytes: Bytes::copy_from_slice(text.as_bytes()),
            topic: None,
            dedupe: false,
            warnings: Vec::new(),
            held: None,
        };
        self.buffer.keep(frame).await.unwrap().id
    }

    /// Keeps an entry and queues one message of it.
    async fn queue(&self, lane: i64) -> i64 {
        let entry = self.keep("MSH|^~\\&|").await;
        self.queue_of(entry, lane).await;
        self.rows().await[0].id
    }

    async fn queue_of(&self, entry: i64, lane: i64) {
        let row = NewOutgoing { entry, part: 0, route: "all".into(), lane, held: None };
        let queue = OutgoingChange::Queue { destination: "ehr".into(), rows: vec![row], through: entry };
        self.change(queue).await.unwrap();
    }

    async fn step(&self, id: i64, step: Step) -> Result<(), BufferError> {
        self.change(OutgoingChange::Step { id, step }).await
    }

    async fn sent(&self, id: i64) {
        self.step(id, Step::Sent { control: format!("C{id}"), message: None }).await.unwrap();
    }

    async fn accepted(&self, id: i64) {
        self.sent(id).await;
        self.step(id, Step::Accepted { answer: "AA".into() }).await.unwrap();
    }

    async fn due(&self, lane: (u32, u32)) -> Option<Due> {
        self.buffer.reader().next_outgoing("ehr", lane, self.clock.now()).await.unwrap()
    }

    async fn next(&self) -> Option<i64> {
        self.due((0, 1)).await.map(|due| due.row.id)
    }

    /// All rows, the latest first.
    async fn rows(&self) -> Vec<OutgoingRow> {
        self.buffer
            .reader()
            .outgoing(OutgoingFilter { limit: 100, ..OutgoingFilter::default() })
            .await
            .unwrap()
    }

    async fn destination(&self) -> DestinationRow {
        self.buffer.reader().destinations().await.unwrap().into_iter().find(|row| row.name == "ehr").unwrap()
    }

    fn later(&self, seconds: u64) -> Option<Timestamp> {
        Some(self.clock.now().plus(Duration::from_secs(seconds)))
    }
}

fn again(not_before: Option<Timestamp>) -> Step {
    Step::Again { not_before, reason: Some("busy".into()), answer: Some("AR".into()) }
}

#[tokio::test]
async fn a_message_is_queued_once_however_often_it_is_found() {
    let rig = Rig::new().await;
    let first = rig.queue(1).await;
    rig.queue_of(1, 1).await;
    assert_eq!(rig.rows().await.len(), 1);
    let due = rig.due((0, 1)).await.unwrap();
    assert_eq!((due.row.id, due.row.entry, due.message.is_none()), (first, 1, true));
    assert_eq!(&*due.stored.unwrap().bytes, b"MSH|^~\\&|");
}

#[tokio::test]
async fn a_new_destination_begins_with_what_is_kept_from_now_on() {
    let rig = Rig::with(30);
    rig.keep("before").await;
    rig.wanted(&["ehr"]).await;
    assert_eq!(rig.destination().await.through, 1);
    let after = rig.keep("after").await;
    let (entries, through) = rig.buffer.reader().entries_after(1, 10, 1 << 20).await.unwrap();
    assert_eq!((entries.len(), through), (1, after));
    // Taken out of the file and put back, it goes on where it was.
    rig.wanted(&[]).await;
    assert!(!rig.destination().await.wanted);
    rig.wanted(&["ehr", "lab"]).await;
    assert_eq!((rig.destination().await.through, rig.destination().await.wanted), (1, true));
}

#[tokio::test]
async fn a_lane_keeps_its_order_and_does_not_stop_another() {
    let rig = Rig::new().await;
    let (a1, a2, b1) = (rig.queue(4).await, rig.queue(4).await, rig.queue(7).await);
    assert_eq!(rig.next().await, Some(a1));
    rig.sent(a1).await;
    rig.step(a1, again(rig.later(10))).await.unwrap();
    assert_eq!(rig.next().await, Some(b1), "the other patient goes on");
    rig.accepted(b1).await;
    assert_eq!(rig.next().await, None, "nothing overtakes");
    rig.clock.advance(Duration::from_secs(11));
    assert_eq!(rig.next().await, Some(a1));
    rig.accepted(a1).await;
    assert_eq!(rig.next().await, Some(a2));
    // Two connections share the lanes out.
    assert_eq!(rig.due((0, 2)).await.map(|due| due.row.id), Some(a2));
    assert!(rig.due((1, 2)).await.is_none());
}

#[tokio::test]
async fn what_was_on_its_way_goes_again_with_its_bytes_after_a_restart() {
    let mut rig = Rig::new().await;
    let (first, second) = (rig.queue(1).await, rig.queue(1).await);
    let message = Some(b"MSH|built".to_vec());
    rig.step(first, Step::Sent { control: "B1".into(), message }).await.unwrap();
    rig.reopen().await;
    let due = rig.due((0, 1)).await.unwrap();
    assert_eq!((due.row.id, due.row.attempts, due.row.control.as_deref()), (first, 1, Some("B1")));
    assert_eq!(due.message.as_deref(), Some(&b"MSH|built"[..]));
    rig.step(first, Step::Sent { control: "B1".into(), message: None }).await.unwrap();
    assert_eq!(
        rig.due((0, 1)).await.unwrap().message.as_deref(),
        Some(&b"MSH|built"[..]),
        "kept from the first try"
    );
    rig.step(first, Step::Accepted { answer: "AA".into() }).await.unwrap();
    assert_eq!(rig.next().await, Some(second));
    let (row, message) = rig.buffer.reader().outgoing_one(first).await.unwrap().unwrap();
    assert_eq!((row.state, message), (State::Accepted, None));
    assert_eq!(rig.destination().await.answer.map(|(_, text)| text).as_deref(), Some("AA"));
}

#[tokio::test]
async fn what_was_taken_over_is_not_sent_again_and_frees_the_line() {
    let mut rig = Rig::new().await;
    let (first, second) = (rig.queue(1).await, rig.queue(1).await);
    rig.sent(first).await;
    rig.step(first, Step::Committed { answer: "CA".into() }).await.unwrap();
    rig.reopen().await;
    assert_eq!(rig.next().await, Some(second));
    let reader = rig.buffer.reader();
    assert_eq!(reader.committed_before("ehr", rig.clock.now()).await.unwrap().len(), 1);
    rig.step(first, Step::Held { reason: "AE later".into(), answer: Some("AE".into()) }).await.unwrap();
    assert_eq!(reader.committed_before("ehr", rig.clock.now()).await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_person_lets_go_builds_anew_drops_and_pauses() {
    let rig = Rig::new().await;
    let (a, b) = (rig.queue(1).await, rig.queue(2).await);
    rig.step(a, Step::Sent { control: "C".into(), message: Some(b"old".to_vec()) }).await.unwrap();
    rig.step(a, Step::Held { reason: "AE".into(), answer: Some("AE 101".into()) }).await.unwrap();
    assert_eq!(rig.next().await, Some(b), "what is held stops nothing");
    rig.step(a, again(None)).await.unwrap();
    assert_eq!(rig.due((0, 1)).await.unwrap().message.as_deref(), Some(&b"old"[..]), "the same bytes");
    rig.step(a, Step::Held { reason: "AE".into(), answer: None }).await.unwrap();
    rig.step(a, Step::Anew).await.unwrap();
    let due = rig.due((0, 1)).await.unwrap();
    assert_eq!((due.row.id, due.row.revision, due.row.control, due.message), (a, 1, None, None));
    rig.step(a, Step::Dropped { reason: "ada".into() }).await.unwrap();
    assert!(rig.step(a, Step::Sent { control: "C".into(), message: None }).await.is_err());
    assert!(rig.step(99, Step::Anew).await.is_err() && rig.step(b, Step::Anew).await.is_err());
    rig.change(OutgoingChange::Pause { destination: "ehr".into(), paused: true }).await.unwrap();
    assert_eq!(rig.next().await, None);
    rig.change(OutgoingChange::Pause { destination: "ehr".into(), paused: false }).await.unwrap();
    assert_eq!(rig.next().await, Some(b));
    assert!(rig.change(OutgoingChange::Pause { destination: "x".into(), paused: true }).await.is_err());
    let standing = rig.destination().await;
    assert_eq!((standing.waiting, standing.sent, standing.held), (1, 0, 0));
    assert_eq!(standing.oldest.map(|at| at.micros), Some(START));
}

#[tokio::test]
async fn what_was_held_before_it_was_sent_goes_with_its_entry() {
    let rig = Rig::new().await;
    let entry = rig.keep("x").await;
    let held = NewOutgoing { entry, part: 0, route: "r".into(), lane: 1, held: Some("no patient".into()) };
    let queue = OutgoingChange::Queue { destination: "ehr".into(), rows: vec![held], through: entry };
    rig.change(queue).await.unwrap();
    assert_eq!((rig.rows().await[0].state, rig.next().await), (State::Held, None));
    for to in [
        Transition::Held { reason: "no patient".into(), answer: None },
        Transition::Waiting { retry_after: None, reason: None },
    ] {
        rig.buffer.mark(vec![Mark { id: entry, to }]).await.unwrap();
    }
    assert_eq!(rig.next().await, Some(1));
}

#[tokio::test]
async fn a_frame_stays_while_a_destination_needs_it() {
    let rig = Rig::with(0);
    rig.wanted(&["ehr"]).await;
    let queued = rig.queue(1).await;
    let unseen = rig.keep("not looked at").await;
    for id in [1, unseen] {
        let to = Transition::Ignored { reason: "nothing".into() };
        rig.buffer.mark(vec![Mark { id, to }]).await.unwrap();
    }
    rig.clock.advance(Duration::from_secs(60));
    // The writer purges while nobody asks it for anything.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let reader = rig.buffer.reader();
    assert!(reader.entry(1).await.unwrap().is_some() && reader.entry(unseen).await.unwrap().is_some());
    rig.accepted(queued).await;
    let all = OutgoingChange::Queue { destination: "ehr".into(), rows: Vec::new(), through: unseen };
    rig.change(all).await.unwrap();
    // Its own look at what is too old is ten minutes away: a buffer that is opened looks at once.
    let (dir, clock) = (rig.dir, rig.clock);
    rig.buffer.close().await;
    let config = Config { dir: dir.path().to_path_buf(), keep_accepted_days: 0, ..Config::default() };
    let buffer = Buffer::open(&config, clock).unwrap();
    let reader = buffer.reader();
    for _ in 0..200 {
        if reader.entry(1).await.unwrap().is_none() && reader.entry(unseen).await.unwrap().is_none() {
            let rows =
                reader.outgoing(OutgoingFilter { limit: 9, ..OutgoingFilter::default() }).await.unwrap();
            assert!(rows.is_empty(), "its message goes with it");
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("what nobody needs any more was not purged");
}
