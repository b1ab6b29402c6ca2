use bytes::Bytes;

use super::*;
use crate::buffer::{
    AssociationChange, Buffer, Change, Config, Mark, NewFrame, OutgoingChange, OutgoingFilter, OutgoingStep,
    Transition,
};
use crate::clock::TestClock;
use crate::device::{Identifier, Person};
use crate::identity::adt::Adt;

const S: i64 = 1_000_000;

struct Rig {
    dir: tempfile::TempDir,
    days: u32,
    buffer: Buffer,
    clock: std::sync::Arc<TestClock>,
}

impl Rig {
    fn new(days: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = TestClock::at(1_773_477_000 * S);
        let buffer = Self::open(&dir, days, &clock);
        Self { dir, days, buffer, clock }
    }

    fn open(dir: &tempfile::TempDir, days: u32, clock: &std::sync::Arc<TestClock>) -> Buffer {
        let config = Config { dir: dir.path().to_path_buf(), keep_accepted_days: days, ..Config::default() };
        Buffer::open(&config, clock.clone()).unwrap()
    }

    async fn keep(&self, text: &str) -> i64 {
        let frame = NewFrame {
            link: "ward".into(),
            peer: "peer".into(),
            received: crate::clock::Clock::now(&*self.clock),
            bytes: Bytes::copy_from_slice(text.as_bytes()),
            topic: None,
            dedupe: false,
            warnings: Vec::new(),
            held: None,
        };
        self.buffer.keep(frame).await.unwrap().id
    }

    async fn change(&self, change: AssociationChange) {
        self.buffer.change(vec![Change::Association(change)]).await.unwrap();
    }

    async fn outgoing(&self, change: OutgoingChange) {
        self.buffer.change(vec![Change::Outgoing(change)]).await.unwrap();
    }

    /// Part, round, whether it withdraws, state, the oldest first.
    async fn rows(&self) -> Vec<(u32, u32, bool, State)> {
        let filter = OutgoingFilter { limit: 100, ..OutgoingFilter::default() };
        let mut rows = self.buffer.reader().outgoing(filter).await.unwrap();
        rows.reverse();
        rows.into_iter().map(|row| (row.part, row.round, row.withdraws, row.state)).collect()
    }
}

fn row(entry: i64, part: u32, lane: i64) -> NewOutgoing {
    NewOutgoing { entry, part, route: "all".into(), lane, held: None }
}

#[tokio::test]
async fn what_was_told_of_the_wrong_person_is_withdrawn_once_and_told_anew_once() {
    let rig = Rig::new(0);
    rig.outgoing(OutgoingChange::Destinations { names: vec!["ehr".into()] }).await;
    let entry = rig.keep("MSH|^~\\&|1").await;
    let rows = vec![row(entry, 0, 7), row(entry, 1, 7)];
    rig.outgoing(OutgoingChange::Queue { destination: "ehr".into(), rows, through: entry }).await;
    let reader = rig.buffer.reader();
    assert!(reader.onward_now(entry).unwrap().is_empty(), "nothing was told yet");
    let first =
        reader.next_outgoing("ehr", (0, 1), crate::clock::Clock::now(&*rig.clock)).await.unwrap().unwrap();
    let sent = OutgoingStep::Sent { control: "C1".into(), message: Some(b"MSH".to_vec()) };
    rig.outgoing(OutgoingChange::Step { id: first.row.id, step: sent }).await;
    rig.change(AssociationChange::Onward { outgoing: first.row.id, parts: "[1]".into() }).await;
    let told = reader.onward_now(entry).unwrap();
    assert_eq!((told.len(), told[0].parts.as_str(), told[0].round), (1, "[1]", 0));

    // The other part was never sent: it needs no withdrawal.
    let right = |lane| AssociationChange::PutRight {
        withdraw: vec![told[0].outgoing],
        rows: vec![row(entry, 0, lane)],
        round: 1,
    };
    rig.change(right(9)).await;
    rig.change(right(9)).await;
    let expected = [
        (0, 0, false, State::Sent),
        (1, 0, false, State::Accepted),
        (0, 0, true, State::Waiting),
        (0, 1, false, State::Waiting),
    ];
    assert_eq!(rig.rows().await, expected);
    assert!(reader.onward_now(entry).unwrap().is_empty(), "it is taken back");
    let rows = reader.outgoing(OutgoingFilter { limit: 9, ..OutgoingFilter::default() }).await.unwrap();
    assert_eq!((rows[1].under.as_deref(), rows[1].withdraws), (Some("[1]"), true), "as it was told");
    assert_eq!((&rows[0].taken_back, &rows[0].under), (&vec!["[1]".to_owned()], &None));
    // More parts that come to light are of the same telling.
    let rows = vec![row(entry, 0, 9), row(entry, 1, 9)];
    rig.outgoing(OutgoingChange::Queue { destination: "ehr".into(), rows, through: 0 }).await;
    assert_eq!(rig.rows().await[4..], [(1, 1, false, State::Waiting)]);
}

#[tokio::test]
async fn a_look_is_owed_from_the_commit_that_changed_the_facts_until_it_was_done() {
    let rig = Rig::new(0);
    let reader = rig.buffer.reader();
    let said = crate::identity::Said {
        identifiers: vec![Identifier { system: "urn:x".into(), value: "7".into(), kind: Some("MR".into()) }],
        ..crate::identity::Said::default()
    };
    let adt = Adt {
        event: "A08".into(),
        told: 5 * S,
        facts: vec![crate::identity::Fact::Person(said)],
        done: "updated",
        left_out: Vec::new(),
    };
    let tell = |entry| crate::buffer::PeopleChange::Tell {
        entry: Some(entry),
        source: "his".into(),
        said: vec![adt.clone()],
    };
    rig.buffer.change(vec![Change::People(tell(1))]).await.unwrap();
    rig.buffer.change(vec![Change::People(tell(1))]).await.unwrap();
    let (who, why) = ("anna".to_owned(), "wrong bed".to_owned());
    rig.change(AssociationChange::Look { device: Some("mon".into()), since: 7 * S, who, why }).await;
    let owed = reader.looks_now().unwrap();
    let seen: Vec<_> =
        owed.iter().map(|look| (look.device.as_deref(), look.since, look.who.as_str())).collect();
    assert_eq!(
        seen,
        [(None, 5 * S, ADMINISTRATION), (Some("mon"), 7 * S, "anna")],
        "told twice is told once"
    );
    rig.change(AssociationChange::Looked { through: owed[1].id, device: Some("mon".into()) }).await;
    assert_eq!(reader.looks_now().unwrap().len(), 1);
    rig.change(AssociationChange::Looked { through: owed[1].id, device: None }).await;
    assert!(reader.looks_now().unwrap().is_empty());
}

#[tokio::test]
async fn an_order_that_names_a_patient_owes_a_look_at_its_specimen() {
    let rig = Rig::new(0);
    let person = Person {
        identifiers: vec![Identifier { system: "urn:x".into(), value: "7".into(), kind: None }],
        ..Person::default()
    };
    let order = |person: Option<Person>, key: &str| {
        let test = crate::firmware_profile::OrderedTest { own: Some("GLU".into()), ..Default::default() };
        let order = crate::buffer::NewOrder {
            specimen: "S-1".into(),
            tests: vec![test],
            urgent: false,
            person,
            kind: String::new(),
            collected: None,
            number: key.into(),
            source: crate::buffer::WorkSource::Hl7,
            key: key.into(),
            author: "lis".into(),
        };
        Change::Work(crate::buffer::WorkChange::Place { order, replace: false })
    };
    rig.buffer.change(vec![order(None, "a")]).await.unwrap();
    assert!(rig.buffer.reader().looks_now().unwrap().is_empty(), "it says nothing of whose it is");
    rig.buffer.change(vec![order(Some(person.clone()), "b")]).await.unwrap();
    rig.buffer.change(vec![order(Some(person), "b")]).await.unwrap();
    let owed = rig.buffer.reader().looks_now().unwrap();
    assert_eq!((owed.len(), owed[0].specimen.as_deref()), (1, Some("S-1")), "said again it is no news");
}

#[tokio::test]
async fn what_is_purged_is_counted_for_whoever_corrects_its_time() {
    let mut rig = Rig::new(1);
    let first = crate::clock::Clock::now(&*rig.clock).micros;
    for text in ["a", "b"] {
        let id = rig.keep(text).await;
        let seen = Transition::Seen { device: "mon".into(), summary: String::new() };
        let marks = [seen, Transition::Sent, Transition::Accepted { answer: "{}".into() }];
        rig.buffer.mark(marks.into_iter().map(|to| Mark { id, to }).collect()).await.unwrap();
        rig.change(AssociationChange::Attributed { entry: id, parts: "[1]".into() }).await;
    }
    assert_eq!(rig.buffer.reader().purged_of(None, first, first).await.unwrap(), 0);
    // The upkeep comes soon after the start.
    rig.clock.advance(std::time::Duration::from_secs(3 * 86_400));
    rig.buffer.close().await;
    rig.buffer = Rig::open(&rig.dir, rig.days, &rig.clock);
    let reader = rig.buffer.reader();
    let gone =
        async |device: &str, since| reader.purged_of(Some(device.to_owned()), since, i64::MAX).await.unwrap();
    let began = std::time::Instant::now();
    while gone("mon", first).await < 2 {
        assert!(began.elapsed().as_secs() < 30, "the upkeep never came");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!((gone("other", first).await, gone("mon", first + 86_400 * S).await), (0, 0));
    assert_eq!(reader.purged_of(None, first, first).await.unwrap(), 2);
    assert!(reader.attributed_now(1).unwrap().is_empty(), "what was noted of them is gone with them");
}
