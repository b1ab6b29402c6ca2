use super::super::{Buffer, BufferError, Change, Config, NewFrame};
use super::*;
use crate::clock::TestClock;

const S: i64 = 1_000_000;

fn buffer() -> (tempfile::TempDir, Buffer) {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { dir: dir.path().to_path_buf(), ..Config::default() };
    let buffer = Buffer::open(&config, TestClock::at(1_000 * S)).unwrap();
    (dir, buffer)
}

fn person(value: &str) -> Person {
    let identifier = Identifier { system: "urn:oid:1".into(), value: value.into(), kind: Some("MR".into()) };
    Person { identifiers: vec![identifier], family: Some("Test".into()), ..Person::default() }
}

fn new(device: &str, value: &str, since: i64, until: Option<i64>) -> NewAssociation {
    NewAssociation {
        device: device.into(),
        person: person(value),
        since: since * S,
        until: until.map(|until| until * S),
        scanned: true,
        overrules: false,
        author: "anna".into(),
        reason: None,
    }
}

async fn change(buffer: &Buffer, change: AssociationChange) -> Result<(), String> {
    match buffer.change(vec![Change::Association(change)]).await {
        Err(BufferError::NotAllowed(why)) => Err(why),
        other => {
            other.unwrap();
            Ok(())
        }
    }
}

async fn make(buffer: &Buffer, new: NewAssociation, replaces: &[i64]) -> Result<(), String> {
    change(buffer, AssociationChange::Make { new, replaces: replaces.to_vec() }).await
}

fn spans(buffer: &Buffer, device: &str) -> Vec<(String, i64, Option<i64>)> {
    let rows = buffer.reader().associations_now(device).unwrap();
    let whose = |row: &AssociationRow| row.person.identifiers[0].value.to_string();
    rows.iter().map(|row| (whose(row), row.since / S, row.until.map(|until| until / S))).collect()
}

#[tokio::test]
async fn a_device_is_with_one_patient_at_a_time() {
    let (_dir, buffer) = buffer();
    make(&buffer, new("a", "1", 10, None), &[]).await.unwrap();
    for over in [new("a", "2", 20, None), new("a", "2", 5, None), new("a", "2", 5, Some(11))] {
        assert!(make(&buffer, over, &[]).await.unwrap_err().contains("in that time already"));
    }
    make(&buffer, new("a", "2", 5, Some(10)), &[]).await.unwrap();
    make(&buffer, new("b", "2", 20, None), &[]).await.unwrap();
    make(&buffer, new("a", "3", 20, None), &[1]).await.unwrap();
    assert_eq!(
        spans(&buffer, "a"),
        [("2".into(), 5, Some(10)), ("1".into(), 10, Some(20)), ("3".into(), 20, None)]
    );
    let empty = make(&buffer, new("c", "1", 7, Some(7)), &[]).await.unwrap_err();
    assert!(empty.contains("ends after it begins"));
}

#[tokio::test]
async fn what_has_ended_is_only_corrected() {
    let (_dir, buffer) = buffer();
    make(&buffer, new("a", "1", 10, None), &[]).await.unwrap();
    let end = |until: i64| AssociationChange::End { id: 1, until: until * S, by: "anna".into(), why: None };
    assert!(change(&buffer, end(10)).await.is_err());
    change(&buffer, end(30)).await.unwrap();
    assert!(change(&buffer, end(40)).await.unwrap_err().contains("correct it"));
    let right = new("a", "9", 10, Some(40));
    let correct =
        |right| AssociationChange::Correct { id: 1, right, by: "bob".into(), why: "other bed".into() };
    change(&buffer, correct(Some(right))).await.unwrap();
    assert_eq!(spans(&buffer, "a"), [("9".into(), 10, Some(40))]);
    let old = buffer.reader().association(1).await.unwrap().unwrap();
    let (_, by, why) = old.void.unwrap();
    assert_eq!(
        (by.as_str(), why.as_str(), old.replaced_by, old.until),
        ("bob", "other bed", Some(2), Some(30 * S))
    );
    assert!(change(&buffer, correct(None)).await.unwrap_err().contains("corrected already"));
}

#[tokio::test]
async fn a_correction_that_does_not_fit_leaves_everything_as_it_was() {
    let (_dir, buffer) = buffer();
    make(&buffer, new("a", "1", 10, Some(20)), &[]).await.unwrap();
    make(&buffer, new("a", "2", 20, None), &[]).await.unwrap();
    let right = Some(new("a", "1", 10, Some(25)));
    let correct = AssociationChange::Correct { id: 1, right, by: "bob".into(), why: "w".into() };
    assert!(change(&buffer, correct).await.unwrap_err().contains("another patient in that time"));
    assert_eq!(spans(&buffer, "a").len(), 2);
    assert!(buffer.reader().association(1).await.unwrap().unwrap().void.is_none());
}

#[tokio::test]
async fn a_ruling_may_lie_over_an_association_but_not_over_a_ruling() {
    let (_dir, buffer) = buffer();
    make(&buffer, new("a", "1", 10, None), &[]).await.unwrap();
    let ruling = NewAssociation { overrules: true, ..new("a", "2", 12, Some(14)) };
    make(&buffer, ruling.clone(), &[]).await.unwrap();
    assert!(make(&buffer, ruling, &[]).await.is_err());
    assert_eq!(spans(&buffer, "a").len(), 2);
}

#[tokio::test]
async fn a_device_moves_from_bed_to_bed_and_its_past_stays() {
    let (_dir, buffer) = buffer();
    let to = |bed: Option<&str>, since: i64| AssociationChange::Home {
        device: "a".into(),
        place: bed.map(|bed| Place { bed: Some(bed.into()), ..Place::default() }),
        since: since * S,
        by: "anna".into(),
    };
    change(&buffer, to(Some("1"), 10)).await.unwrap();
    change(&buffer, to(Some("2"), 20)).await.unwrap();
    assert!(change(&buffer, to(Some("3"), 15)).await.unwrap_err().contains("moved after that time"));
    change(&buffer, to(None, 30)).await.unwrap();
    let homes = buffer.reader().homes_now("a").unwrap();
    let spans: Vec<_> =
        homes.iter().map(|h| (h.place.bed.as_deref().unwrap(), h.since / S, h.until)).collect();
    assert_eq!(spans, [("1", 10, Some(20 * S)), ("2", 20, Some(30 * S))]);
}

#[tokio::test]
async fn under_whom_an_entry_went_out_is_remembered_until_it_is_taken_back() {
    let (_dir, buffer) = buffer();
    let reader = buffer.reader();
    let went = |parts: &str| AssociationChange::Attributed { entry: 7, parts: parts.into() };
    let standing = || -> Vec<(String, bool)> {
        let rows = reader.attributed_now(7).unwrap();
        rows.iter().filter(|r| r.withdrawn.is_none()).map(|r| (r.parts.clone(), r.cause.is_some())).collect()
    };
    change(&buffer, went("A")).await.unwrap();
    let back =
        AssociationChange::Withdraw { entry: 7, parts: "A".into(), who: "anna".into(), why: "w".into() };
    change(&buffer, back).await.unwrap();
    change(&buffer, went("B")).await.unwrap();
    assert_eq!(standing(), [("A".into(), true), ("B".into(), false)]);
    change(&buffer, AssociationChange::Withdrawn { entry: 7, parts: vec!["A".into()] }).await.unwrap();
    assert_eq!(standing(), [("B".into(), false)]);
    assert_eq!(reader.attributed_now(7).unwrap().len(), 2, "what was taken back is history, not gone");
    change(&buffer, went("A")).await.unwrap();
    assert_eq!(standing().len(), 2, "delivered under it again, it stands again");
}

#[tokio::test]
async fn only_held_entries_wait_for_a_patient() {
    let (_dir, buffer) = buffer();
    let frame = |held: Option<String>| NewFrame {
        link: "ward".into(),
        peer: "p".into(),
        received: Timestamp::from_micros(S, true),
        bytes: bytes::Bytes::from_static(b"x"),
        topic: None,
        dedupe: false,
        warnings: Vec::new(),
        held,
    };
    let held = buffer.keep(frame(Some("no patient".into()))).await.unwrap().id;
    let waiting = buffer.keep(frame(None)).await.unwrap().id;
    for entry in [held, waiting] {
        let why = "nobody".into();
        let row = DoubtRow { entry, device: "a".into(), doubt: Doubt::Conflict, why, first: 1, last: 2 };
        change(&buffer, AssociationChange::Doubt(row)).await.unwrap();
    }
    let rows = buffer.reader().doubts(0, 10).await.unwrap();
    assert_eq!(rows.iter().map(|row| (row.entry, row.doubt)).collect::<Vec<_>>(), [(held, Doubt::Conflict)]);
    change(&buffer, AssociationChange::Settled { entry: held }).await.unwrap();
    assert!(buffer.reader().doubts(0, 10).await.unwrap().is_empty());
}

#[test]
fn nothing_printed_names_a_patient() {
    let new = new("a", "CANARY", 1, None);
    assert!(!format!("{new:?}").contains("CANARY"));
    assert!(!format!("{:?}", AssociationChange::Make { new, replaces: Vec::new() }).contains("CANARY"));
}
