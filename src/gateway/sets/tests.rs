use super::*;
use crate::admin::sets::{Sets as _, Step};
use crate::admin::store::EntryFilter;
use crate::buffer::{Config, NewFrame};
use crate::clock::TestClock;
use crate::config;
use crate::device::Identifier;
use crate::translate::Gateway;

const NOW: i64 = 1_773_477_000_000_000;
const LINKS: &str = "[site]\nname = \"Ward\"\n[buffer]\ndir = \"/unused\"\n\
    [[link]]\nname = \"bed-1\"\nprofile = \"masimo/ascii1\"\ntcp = { listen = \"127.0.0.1:0\" }\n";

struct Rig {
    _dir: tempfile::TempDir,
    clock: Arc<TestClock>,
    buffer: Buffer,
    sets: Sets,
}

fn rig() -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::at(NOW);
    let config = config::parse(LINKS, "ward.toml").unwrap();
    let kept = Config { dir: dir.path().into(), ..Config::default() };
    let buffer = Buffer::open(&kept, clock.clone()).unwrap();
    let me = Gateway {
        id: Identifier { system: "urn:x".into(), value: "box".into(), kind: None },
        name: "Ward".into(),
        version: "1".into(),
        patient_system: None,
    };
    let understanding = Arc::new(Understanding::new(config.links, me, true));
    let sets = Sets::new(buffer.clone(), understanding, None, clock.clone(), Arc::default());
    Rig { _dir: dir, clock, buffer, sets }
}

impl Rig {
    async fn keep(&self, text: &str, held: Option<&str>) -> i64 {
        let frame = NewFrame {
            link: "bed-1".into(),
            peer: "10.0.0.9:1".into(),
            received: Timestamp::from_micros(NOW, true),
            bytes: text.to_owned().into(),
            topic: None,
            dedupe: false,
            warnings: Vec::new(),
            held: held.map(Into::into),
        };
        self.buffer.keep(frame).await.unwrap().id
    }

    async fn freeze(&self, deed: Deed, filter: EntryFilter) -> Result<SetView, Refusal> {
        self.sets.freeze("anna".into(), SetWanted { deed, filter }).await
    }

    async fn done(&self, token: &str) -> SetView {
        for _ in 0..500 {
            let view = self.sets.set("anna", token).unwrap();
            if view.state == "done" {
                return view;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the set was never done");
    }

    async fn state(&self, id: i64) -> State {
        self.buffer.reader().states(vec![id]).await.unwrap()[0].1
    }
}

#[tokio::test]
async fn what_comes_after_a_set_was_frozen_is_not_released_with_it() {
    let rig = rig();
    let (first, other) = (rig.keep("a", Some("line 1")).await, rig.keep("b", Some("line 2")).await);
    let waiting = rig.keep("c", None).await;
    let set = rig.freeze(Deed::Release, EntryFilter::default()).await.unwrap();
    assert_eq!((set.count, set.confirm, set.state), (2, false, "frozen"));
    let late = rig.keep("d", Some("line 3")).await;
    rig.sets.run("anna".into(), set.token.clone()).await.unwrap();
    let done = rig.done(&set.token).await;
    assert_eq!((done.done, done.skipped), (2, 0));
    let states = [rig.state(first).await, rig.state(other).await, rig.state(waiting).await];
    assert_eq!(states, [State::Waiting; 3]);
    assert_eq!(rig.state(late).await, State::Held);
    let trail = rig.buffer.reader().audit(None, 1).await.unwrap();
    assert!(trail[0].detail.starts_with("done: 2 of 2, 0 left as they were"), "{}", trail[0].detail);
}

#[tokio::test]
async fn a_set_done_twice_is_done_once_and_leaves_what_has_moved_on() {
    let rig = rig();
    let (first, other) = (rig.keep("a", Some("x")).await, rig.keep("b", Some("x")).await);
    let set = rig.freeze(Deed::Release, EntryFilter::default()).await.unwrap();
    let to = Transition::Waiting { retry_after: None, reason: None };
    rig.buffer.mark(vec![Mark { id: first, to }]).await.unwrap();
    rig.sets.run("anna".into(), set.token.clone()).await.unwrap();
    let done = rig.done(&set.token).await;
    assert_eq!((done.done, done.skipped), (1, 1));
    let held = Transition::Held { reason: "again".into(), answer: None };
    rig.buffer.mark(vec![Mark { id: other, to: held }]).await.unwrap();
    assert_eq!(rig.sets.run("anna".into(), set.token.clone()).await.unwrap().state, "done");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(rig.state(other).await, State::Held, "a set is not done a second time");
    assert_eq!(rig.sets.run("ben".into(), set.token).await.err(), Some(Refusal::Unknown));
}

#[tokio::test]
async fn an_old_set_and_an_empty_one_are_refused() {
    let rig = rig();
    let none = rig.freeze(Deed::Replay, EntryFilter::default()).await.err();
    assert!(matches!(none, Some(Refusal::Conflict(why)) if why.contains("nothing to send again")));
    rig.keep("a", Some("x")).await;
    let set = rig.freeze(Deed::Replay, EntryFilter::default()).await.unwrap();
    rig.clock.advance(Duration::from_secs(16 * 60));
    let old = rig.sets.run("anna".into(), set.token).await.err();
    assert!(matches!(old, Some(Refusal::Conflict(why)) if why.contains("look again")));
}

#[tokio::test]
async fn what_is_held_is_told_by_reason_with_the_next_step() {
    let rig = rig();
    for n in 1..=7 {
        rig.keep(&format!("frame {n}"), Some(&format!("line {n} is no record"))).await;
    }
    rig.keep("other", Some("nobody has accepted the sender \"X\" yet: see Pairing")).await;
    let held = rig.sets.held().await.unwrap();
    assert_eq!((held.held, held.groups.len()), (8, 2));
    let lines = &held.groups[0];
    assert_eq!((lines.key.as_str(), lines.count, lines.step), ("line # is no record", 7, Step::Profile));
    assert_eq!((lines.reason.as_str(), lines.newest.len()), ("line 7 is no record", 5));
    assert_eq!(lines.links[0].profile.as_deref(), Some("masimo/ascii1"));
    assert_eq!(held.groups[1].step, Step::Pairing);
    let filter = EntryFilter { reason: Some(lines.key.clone()), ..EntryFilter::default() };
    assert_eq!(rig.freeze(Deed::Release, filter).await.unwrap().count, 7);
}

#[tokio::test]
async fn an_entry_is_found_by_its_kind_its_number_and_what_stands_in_it() {
    let rig = rig();
    let text = "MSH|^~\\&|A|B|C|D|20260101||ORU^R01^ORU_R01|CTL-7|P|2.6\rPID|||4711\r";
    let (oru, other) = (rig.keep(text, None).await, rig.keep("SpO2=97", None).await);
    let found = async |filter: crate::buffer::EntryFilter| {
        let page = rig.buffer.reader().entries(filter).await.unwrap();
        page.entries.iter().map(|row| row.id).collect::<Vec<_>>()
    };
    let filter = crate::buffer::EntryFilter::default;
    let some = |word: &str| Some(word.to_owned());
    assert_eq!(found(crate::buffer::EntryFilter { kind: some("ORU"), ..filter() }).await, [oru]);
    assert_eq!(found(crate::buffer::EntryFilter { message: some("CTL-7"), ..filter() }).await, [oru]);
    assert_eq!(found(crate::buffer::EntryFilter { message: some("2"), ..filter() }).await, [other]);
    assert_eq!(found(crate::buffer::EntryFilter { text: some("4711"), ..filter() }).await, [oru]);
    let soon = Some(Timestamp::from_micros(NOW + 1, true));
    assert!(found(crate::buffer::EntryFilter { from: soon, ..filter() }).await.is_empty());
    assert_eq!(found(crate::buffer::EntryFilter { until: soon, ..filter() }).await, [other, oru]);
}

#[tokio::test]
async fn a_frame_that_is_held_tells_why_instead_of_a_comparison() {
    let rig = rig();
    let id = rig.keep("not what it says", Some("x")).await;
    let compared = rig.sets.compare(id).await.unwrap();
    assert!(!compared.asked && compared.resources.is_empty());
    assert!(compared.detail.unwrap().starts_with("It would be held: "));
    assert_eq!(rig.sets.compare(99).await.err(), Some(Refusal::Unknown));
}

#[tokio::test]
async fn a_view_belongs_to_its_user() {
    let rig = rig();
    let view = SavedView { name: "mine".into(), terms: "state=held".into() };
    rig.sets.save_view("anna".into(), view.clone()).await.unwrap();
    assert_eq!(rig.sets.views("anna".into()).await.unwrap(), [view]);
    assert!(rig.sets.views("ann".into()).await.unwrap().is_empty());
    rig.sets.remove_view("anna".into(), "mine".into()).await.unwrap();
    assert!(rig.sets.views("anna".into()).await.unwrap().is_empty());
}
