use super::super::{Buffer, Change, Config};
use super::*;
use crate::clock::TestClock;

fn buffer() -> (tempfile::TempDir, Buffer) {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { dir: dir.path().to_path_buf(), ..Config::default() };
    let buffer = Buffer::open(&config, TestClock::at(1_000_000)).unwrap();
    (dir, buffer)
}

fn order(key: &str, specimen: &str, tests: &[&str]) -> NewOrder {
    NewOrder {
        specimen: specimen.into(),
        tests: tests.iter().map(|test| OrderedTest::typed(test)).collect(),
        urgent: false,
        person: None,
        kind: String::new(),
        collected: None,
        number: key.into(),
        source: if key.starts_with("desk") { WorkSource::Desk } else { WorkSource::Hl7 },
        key: key.into(),
        author: "ada".into(),
    }
}

async fn put(buffer: &Buffer, order: NewOrder, replace: bool) -> Result<(), BufferError> {
    buffer.change(vec![Change::Work(WorkChange::Place { order, replace })]).await
}

async fn work(buffer: &Buffer, change: WorkChange) {
    buffer.change(vec![Change::Work(change)]).await.unwrap();
}

async fn state(buffer: &Buffer, key: &str) -> (WorkState, Vec<String>) {
    let row = buffer.reader().order_of_key(key).await.unwrap().unwrap();
    (row.state, row.tests.iter().map(|test| test.test.name().to_owned()).collect())
}

fn names(tests: &[&str]) -> Vec<String> {
    tests.iter().map(ToString::to_string).collect()
}

fn taken(ids: &[i64]) -> WorkChange {
    WorkChange::Asked { ids: ids.to_vec(), link: "lab".into(), outcome: "taken".into(), taken: true }
}

#[tokio::test]
async fn an_order_is_kept_whole_and_found_by_its_specimen() {
    let (_dir, buffer) = buffer();
    let person = Person {
        identifiers: vec![Identifier { system: "urn:x".into(), value: "MRN7".into(), kind: None }],
        family: Some("TEST".into()),
        given: vec!["PATIENT".into()],
        birth_date: Some("1980-02-03".into()),
        gender: Some("female".into()),
    };
    let collected = Some(Timestamp::from_micros(77_000_000, true));
    let whole = NewOrder {
        urgent: true,
        person: Some(person.clone()),
        collected,
        kind: "SER".into(),
        ..order("k", "S-1", &["GLU", "2345-7"])
    };
    put(&buffer, whole, false).await.unwrap();
    let found = buffer.reader().orders_of(vec!["S-1".into(), "S-2".into()]).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0].person, found[0].collected, found[0].urgent), (&Some(person), collected, true));
    assert_eq!(found[0].tests[1].test.loinc.as_deref(), Some("2345-7"));
    for (text, count) in [("mrn7", 1), ("nobody", 0)] {
        let filter = WorkFilter { text: Some(text.into()), limit: 9, ..WorkFilter::default() };
        assert_eq!(buffer.reader().orders(filter).await.unwrap().len(), count, "{text}");
    }
    assert_eq!(format!("{:?}", found[0]), "OrderRow(1, 2 tests, open)", "no patient is printed");
}

#[tokio::test]
async fn the_same_order_told_twice_is_one_order() {
    let (_dir, buffer) = buffer();
    for _ in 0..2 {
        put(&buffer, order("k", "S-1", &["GLU"]), false).await.unwrap();
    }
    put(&buffer, order("k", "S-1", &["K"]), false).await.unwrap();
    assert_eq!(
        state(&buffer, "k").await,
        (WorkState::Open, names(&["GLU", "K"])),
        "one number, two messages"
    );
    put(&buffer, order("k", "S-1", &["K", "NA"]), true).await.unwrap();
    assert_eq!(state(&buffer, "k").await, (WorkState::Open, names(&["K", "NA"])), "replaced");
    assert_eq!(buffer.reader().work_counts().await.unwrap().open, 1);
}

#[tokio::test]
async fn the_desk_does_not_order_the_same_twice_for_one_tube() {
    let (_dir, buffer) = buffer();
    put(&buffer, order("desk:1", "S-1", &["GLU", "K"]), false).await.unwrap();
    let again = put(&buffer, order("desk:2", "S-1", &["K", "GLU"]), false).await;
    assert!(matches!(again, Err(BufferError::NotAllowed(_))));
    put(&buffer, order("desk:3", "S-1", &["GLU"]), false).await.unwrap();
    assert!(matches!(
        put(&buffer, order("desk:4", "", &["GLU"]), false).await,
        Err(BufferError::NotAllowed(_))
    ));
    assert!(matches!(put(&buffer, order("desk:4", "S", &[]), false).await, Err(BufferError::NotAllowed(_))));
}

#[tokio::test]
async fn an_order_goes_from_open_to_sent_to_done_and_is_asked_for_until_then() {
    let (_dir, buffer) = buffer();
    put(&buffer, order("k", "S-1", &["GLU", "K"]), false).await.unwrap();
    let refused =
        WorkChange::Asked { ids: vec![1, 99], link: "lab".into(), outcome: "no reply".into(), taken: false };
    work(&buffer, refused).await;
    assert_eq!(state(&buffer, "k").await.0, WorkState::Open);
    work(&buffer, taken(&[1])).await;
    assert_eq!(state(&buffer, "k").await.0, WorkState::Sent);
    work(&buffer, WorkChange::Measured { id: 1, tests: vec![1] }).await;
    let live = buffer.reader().live_orders(10).await.unwrap();
    assert_eq!(live[0].tests.iter().map(|test| test.done).collect::<Vec<_>>(), [false, true]);
    work(&buffer, WorkChange::Measured { id: 1, tests: vec![0, 7] }).await;
    assert_eq!(state(&buffer, "k").await.0, WorkState::Done);
    work(&buffer, taken(&[1])).await;
    assert_eq!(state(&buffer, "k").await.0, WorkState::Done, "what is done is not sent again");
    assert!(buffer.reader().orders_of(vec!["S-1".into()]).await.unwrap().is_empty());
    let told = buffer.reader().orders(WorkFilter { limit: 1, ..WorkFilter::default() }).await.unwrap();
    let outcomes: Vec<&str> = told[0].asked.iter().map(|asked| asked.outcome.as_str()).collect();
    assert_eq!(outcomes, ["no reply", "taken", "taken"]);
}

#[tokio::test]
async fn a_new_test_opens_a_sent_or_done_order_again() {
    let (_dir, buffer) = buffer();
    put(&buffer, order("k", "S-1", &["GLU"]), false).await.unwrap();
    work(&buffer, WorkChange::Measured { id: 1, tests: vec![0] }).await;
    put(&buffer, order("k", "S-1", &["GLU"]), false).await.unwrap();
    assert_eq!(state(&buffer, "k").await.0, WorkState::Done, "a repetition changes nothing");
    put(&buffer, order("k", "S-1", &["K"]), false).await.unwrap();
    let live = buffer.reader().live_orders(10).await.unwrap();
    assert_eq!(live[0].tests.iter().map(|test| test.done).collect::<Vec<_>>(), [true, false]);
}

#[tokio::test]
async fn what_is_cancelled_stays_cancelled_until_it_is_something_else() {
    let (_dir, buffer) = buffer();
    put(&buffer, order("k", "S-1", &["GLU", "K"]), false).await.unwrap();
    let end = |tests: &[&str]| WorkChange::End {
        key: "k".into(),
        state: WorkState::Cancelled,
        tests: tests.iter().map(|test| OrderedTest::typed(test)).collect(),
    };
    work(&buffer, end(&["K"])).await;
    assert_eq!(state(&buffer, "k").await, (WorkState::Open, names(&["GLU"])), "one test was taken back");
    work(&buffer, end(&[])).await;
    put(&buffer, order("k", "S-1", &["GLU"]), false).await.unwrap();
    put(&buffer, order("k", "S-1", &["GLU"]), true).await.unwrap();
    assert_eq!(state(&buffer, "k").await.0, WorkState::Cancelled);
    put(&buffer, order("k", "S-1", &["NA"]), true).await.unwrap();
    assert_eq!(state(&buffer, "k").await, (WorkState::Open, names(&["NA"])));
    work(&buffer, WorkChange::Cancel { id: 1 }).await;
    let again = buffer.change(vec![Change::Work(WorkChange::Cancel { id: 1 })]).await;
    assert!(again.unwrap_err().to_string().contains("is cancelled"));
    let unknown = WorkChange::End { key: "x".into(), state: WorkState::Done, tests: vec![] };
    work(&buffer, unknown).await;
}

#[tokio::test]
async fn what_analysers_were_told_is_remembered_up_to_a_limit() {
    let (_dir, buffer) = buffer();
    put(&buffer, order("k", "S-1", &["GLU"]), false).await.unwrap();
    for _ in 0..25 {
        work(&buffer, taken(&[1])).await;
    }
    let told = buffer.reader().orders(WorkFilter { limit: 1, ..WorkFilter::default() }).await.unwrap();
    assert_eq!(told[0].asked.len(), 20);
}

#[test]
fn ended_orders_are_forgotten_after_thirty_days_and_live_ones_never() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.db");
    std::fs::write(&path, b"").unwrap();
    let mut conn = schema::connect_writing(&path).unwrap();
    schema::migrate(&mut conn).unwrap();
    let day = |days: i64| Timestamp::from_micros(days * 86_400_000_000, true);
    for key in ["a", "b"] {
        place(&conn, &order(key, "S-1", &["GLU"]), false, day(1)).unwrap().unwrap();
    }
    apply(&conn, &taken(&[1]), day(1)).unwrap().unwrap();
    apply(&conn, &WorkChange::Cancel { id: 1 }, day(2)).unwrap().unwrap();
    forget(&conn, day(31)).unwrap();
    assert_eq!(counted(&conn).unwrap().cancelled, 1);
    forget(&conn, day(33)).unwrap();
    assert_eq!(counted(&conn).unwrap(), WorkCounts { open: 1, ..WorkCounts::default() });
    place(&conn, &order("c", "S-1", &["GLU"]), false, day(40)).unwrap().unwrap();
    assert_eq!(find(&conn, "source_key = ?1", "c").unwrap().unwrap().id, 3, "no id is given twice");
}

#[test]
fn the_orders_of_a_specimen_are_found_by_an_index() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.db");
    std::fs::write(&path, b"").unwrap();
    let mut conn = schema::connect_writing(&path).unwrap();
    schema::migrate(&mut conn).unwrap();
    for which in ["specimen = ?1 AND state < 2 ORDER BY id", "source_key = ?1"] {
        let mut plan = conn.prepare(&format!("EXPLAIN QUERY PLAN {COLUMNS} WHERE {which}")).unwrap();
        let lines: Vec<String> = plan.raw_query().mapped(|row| row.get(3)).collect::<Result<_, _>>().unwrap();
        assert!(lines.iter().any(|line| line.contains("work_order_")), "{which}: {lines:?}");
    }
}
