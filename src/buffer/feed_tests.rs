use std::time::Duration;

use bytes::Bytes;

use super::super::{Buffer, Change, Config, Mark, NewFrame, OutgoingChange, Transition};
use super::*;
use crate::clock::{Clock, TestClock};

/// 2026-11-22T00:00:00Z.
const START: i64 = 1_795_305_600_000_000;

struct Rig {
    dir: tempfile::TempDir,
    clock: Arc<TestClock>,
    buffer: Buffer,
}

impl Rig {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = TestClock::at(START);
        let config = Config { dir: dir.path().to_path_buf(), keep_accepted_days: 1, ..Config::default() };
        let buffer = Buffer::open(&config, clock.clone()).unwrap();
        let rig = Self { dir, clock, buffer };
        let names = vec!["b".into(), "stick".into()];
        rig.buffer.change(vec![Change::Outgoing(OutgoingChange::Destinations { names })]).await.unwrap();
        rig
    }

    /// Keeps an entry and gives it its first look.
    async fn keep(&self, device: &str) -> i64 {
        let id = self.unseen(device).await;
        let to = Transition::Seen { device: device.into(), summary: String::new() };
        self.buffer.mark(vec![Mark { id, to }]).await.unwrap();
        id
    }

    async fn unseen(&self, text: &str) -> i64 {
        let frame = NewFrame {
            link: "ward".into(),
            peer: "peer".into(),
            received: self.clock.now(),
            bytes: Bytes::from(text.to_owned()),
            topic: None,
            dedupe: false,
            warnings: Vec::new(),
            held: None,
        };
        self.buffer.keep(frame).await.unwrap().id
    }

    async fn change(&self, change: FeedChange) -> Result<(), BufferError> {
        let change = OutgoingChange::Feed { destination: "b".into(), change };
        self.buffer.change(vec![Change::Outgoing(change)]).await
    }

    async fn step(&self, entry: i64, to: Step) {
        self.change(FeedChange::Mark { entry, to }).await.unwrap();
    }

    async fn sent(&self, entry: i64) {
        self.step(entry, Step::Sent { control: String::new(), message: None }).await;
    }

    async fn accepted(&self, entry: i64) {
        self.sent(entry).await;
        self.step(entry, Step::Accepted { answer: "{}".into() }).await;
    }

    async fn waiting(&self) -> Vec<i64> {
        self.waiting_but(None, 0).await
    }

    async fn waiting_but(&self, behind: Option<Behind>, after: i64) -> Vec<i64> {
        let wanted = Wanted { after, limit: 100, max_bytes: 1 << 20, behind };
        let found = self.buffer.reader().waiting_at("b", wanted).await.unwrap();
        found.entries.iter().map(|one| one.id).collect()
    }

    /// waiting, sent, held, done, gone; checked against what was queued.
    async fn counts(&self) -> [u64; 5] {
        let rows = self.buffer.reader().destinations().await.unwrap();
        let row = rows.into_iter().find(|row| row.name == "b").unwrap();
        let counts = [row.waiting, row.sent, row.held, row.done(), row.gone];
        let conn = super::super::schema::connect_querying(&self.dir.path().join("bedside.db")).unwrap();
        let done: i64 = conn
            .query_row(
                "SELECT count(*) FROM outgoing WHERE state = 3 AND destination = (SELECT id FROM destination WHERE name = 'b')",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(done.unsigned_abs(), row.done(), "what was queued = waiting + sent + held + done + gone");
        counts
    }
}

#[tokio::test]
async fn an_entry_is_queued_once_when_it_had_its_first_look_and_goes_in_the_order_of_its_device() {
    let rig = Rig::new().await;
    let (a, b) = (rig.keep("a").await, rig.keep("b").await);
    let unseen = rig.unseen("x").await;
    let later = rig.keep("a").await;
    rig.change(FeedChange::Take { seen: 0 }).await.unwrap();
    rig.change(FeedChange::Take { seen: 0 }).await.unwrap();
    assert_eq!(rig.waiting().await, [a, b], "nobody has looked at the third, and nothing passes it");
    rig.change(FeedChange::Take { seen: unseen }).await.unwrap();
    assert_eq!(rig.waiting().await, [a, b, unseen, later]);
    rig.sent(a).await;
    let not_before = Some(rig.clock.now().plus(Duration::from_secs(5)));
    rig.step(a, Step::Again { not_before, reason: Some("busy".into()), answer: None }).await;
    assert_eq!(rig.waiting().await, [b, unseen], "what is behind it waits too");
    rig.clock.advance(Duration::from_secs(6));
    assert_eq!(rig.waiting().await, [a, b, unseen, later]);
    assert_eq!(rig.counts().await, [4, 0, 0, 0, 0]);
}

#[tokio::test]
async fn what_was_on_its_way_at_a_restart_waits_again_and_a_paused_queue_gives_nothing() {
    let rig = Rig::new().await;
    let id = rig.keep("a").await;
    rig.change(FeedChange::Take { seen: id }).await.unwrap();
    rig.sent(id).await;
    assert!(rig.waiting().await.is_empty());
    rig.change(FeedChange::Restart).await.unwrap();
    assert_eq!(rig.waiting().await, [id]);
    let pause = OutgoingChange::Pause { destination: "b".into(), paused: true };
    rig.buffer.change(vec![Change::Outgoing(pause)]).await.unwrap();
    assert!(rig.waiting().await.is_empty());
    assert!(rig.change(FeedChange::Mark { entry: 99, to: Step::Anew }).await.is_err());
}

#[tokio::test]
async fn an_entry_is_purged_when_every_server_is_done_with_it_and_the_sum_still_holds() {
    let rig = Rig::new().await;
    let id = rig.keep("a").await;
    let marks = [Transition::Sent, Transition::Accepted { answer: "{}".into() }];
    rig.buffer.mark(marks.into_iter().map(|to| Mark { id, to }).collect()).await.unwrap();
    rig.change(FeedChange::Take { seen: id }).await.unwrap();
    let take = OutgoingChange::Feed { destination: "stick".into(), change: FeedChange::Take { seen: id } };
    rig.buffer.change(vec![Change::Outgoing(take)]).await.unwrap();
    let conn = super::super::schema::connect_writing(&rig.dir.path().join("bedside.db")).unwrap();
    let needed = || outgoing::needs(&conn, id).unwrap();
    assert!(needed());
    rig.accepted(id).await;
    assert!(needed(), "the stick has not got it");
    let mark = FeedChange::Mark { entry: id, to: Step::Dropped { reason: "nothing in it".into() } };
    let drop = OutgoingChange::Feed { destination: "stick".into(), change: mark };
    rig.buffer.change(vec![Change::Outgoing(drop)]).await.unwrap();
    assert!(!needed());
    assert_eq!(rig.counts().await, [0, 0, 0, 1, 0]);
    forget_entry(&conn, id).unwrap();
    assert_eq!(rig.counts().await, [0, 0, 0, 0, 1]);
}

#[tokio::test]
async fn a_span_of_time_goes_again_also_what_was_never_queued() {
    let rig = Rig::new().await;
    let ids = [rig.keep("a").await, rig.keep("a").await, rig.keep("a").await];
    rig.change(FeedChange::Take { seen: ids[2] }).await.unwrap();
    for id in ids {
        rig.accepted(id).await;
    }
    rig.change(FeedChange::Replay { first: ids[1], last: ids[2] }).await.unwrap();
    assert_eq!(rig.waiting().await, [ids[1], ids[2]]);
    assert_eq!(rig.counts().await, [2, 0, 0, 1, 0]);
    let reader = rig.buffer.reader();
    assert!(reader.sent_between(0, 99, 10).await.unwrap().is_empty(), "the main queue had none");
    let ends = (
        reader.last_received_before(START).await.unwrap(),
        reader.last_received_before(START + 1).await.unwrap(),
    );
    assert_eq!(ends, (0, ids[2]));
}

#[tokio::test]
async fn who_has_a_backlog_is_left_out_of_what_is_live() {
    let rig = Rig::new().await;
    let (old, live) = (rig.keep("a").await, rig.keep("b").await);
    let next = rig.keep("a").await;
    rig.change(FeedChange::Take { seen: next }).await.unwrap();
    let behind = rig.buffer.reader().behind(Some("b"), old).await.unwrap();
    assert_eq!(rig.waiting_but(Some(behind), old).await, [live], "the next of a stays behind the old one");
    let lane = rig.buffer.reader().behind(Some("b"), old).await.unwrap();
    let wanted = Wanted { after: 0, limit: 100, max_bytes: 1 << 20, behind: Some(lane) };
    let found = rig.buffer.reader().waiting_at("b", wanted).await.unwrap();
    assert_eq!(
        (found.lead, found.through),
        (old, next),
        "what is before the first live one need not be looked at again"
    );
    let main = rig.buffer.reader().behind(None, old).await.unwrap();
    assert_eq!(main.len(), 1);
    let wanted = Wanted { after: old, limit: 100, max_bytes: 1 << 20, behind: Some(main) };
    let found = rig.buffer.reader().waiting_for(wanted).await.unwrap();
    assert_eq!(found.entries.iter().map(|one| one.id).collect::<Vec<_>>(), [live]);
}

#[tokio::test]
async fn under_whom_an_entry_went_is_known_for_each_server_by_itself() {
    let rig = Rig::new().await;
    let id = rig.keep("a").await;
    rig.change(FeedChange::Take { seen: id }).await.unwrap();
    let reader = rig.buffer.reader();
    rig.change(FeedChange::Attributed { entry: id, parts: "[1]".into() }).await.unwrap();
    assert!(reader.sent_to_now(id).unwrap().is_empty(), "it has not been there");
    rig.accepted(id).await;
    assert_eq!(reader.sent_to_now(id).unwrap(), [("b".to_owned(), State::Accepted)]);
    let withdraw =
        FeedChange::Withdraw { entry: id, parts: "[1]".into(), who: "anna".into(), why: "bed".into() };
    rig.change(withdraw).await.unwrap();
    let rows = reader.attributed_at_now("b", id).unwrap();
    assert_eq!((rows.len(), rows[0].cause.clone()), (1, Some(("anna".into(), "bed".into()))));
    assert!(
        reader.attributed_at_now("stick", id).unwrap().is_empty()
            && reader.attributed_now(id).unwrap().is_empty()
    );
    rig.change(FeedChange::Withdrawn { entry: id, parts: vec!["[1]".into()] }).await.unwrap();
    assert!(reader.attributed_at_now("b", id).unwrap()[0].withdrawn.is_some());
}
