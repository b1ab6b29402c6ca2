use super::*;
use crate::buffer::{Buffer, Change, Config, Reader};
use crate::clock::TestClock;
use crate::identity::{Fact, Movement, Said, Step};

struct Index {
    _dir: tempfile::TempDir,
    buffer: Buffer,
    reader: Reader,
    entry: i64,
}

impl Index {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { dir: dir.path().to_path_buf(), ..Config::default() };
        let buffer = Buffer::open(&config, TestClock::at(1_000_000)).unwrap();
        Self { _dir: dir, reader: buffer.reader(), buffer, entry: 0 }
    }

    async fn tell(&mut self, told: i64, facts: Vec<Fact>) -> Result<(), String> {
        self.entry += 1;
        let said = Adt { event: "A01".into(), told, facts, done: "told", left_out: Vec::new() };
        let change = PeopleChange::Tell { entry: Some(self.entry), source: "his".into(), said: vec![said] };
        self.buffer.change(vec![Change::People(change)]).await.map_err(|why| why.to_string())
    }

    async fn who(&self, number: &str) -> Option<PersonRow> {
        match self.reader.person_by(vec![mr(number)]).await.unwrap() {
            Lookup::One(row) => Some(*row),
            Lookup::None => None,
            Lookup::Several => panic!("several have {number}"),
        }
    }

    async fn bed(&self, bed: &str, at: i64) -> Vec<String> {
        let all = self.reader.in_bed(place(bed), at).await.unwrap();
        all.into_iter().map(|row| row.person.identifiers[0].value.to_string()).collect()
    }
}

fn mr(value: &str) -> Identifier {
    Identifier { system: "urn:oid:1.2.3".into(), value: value.into(), kind: Some("MR".into()) }
}

fn place(bed: &str) -> Place {
    Place::new("", "ICU", "1", bed).unwrap()
}

fn said(number: &str) -> Said {
    Said { identifiers: vec![mr(number)], ..Said::default() }
}

fn named(number: &str, family: Told<&str>) -> Said {
    let family = match family {
        Told::Said(family) => Told::Said(family.into()),
        Told::Deleted => Told::Deleted,
        Told::Unsaid => Told::Unsaid,
    };
    Said { family, ..said(number) }
}

fn moved(number: &str, step: Step, bed: &str, at: i64) -> Fact {
    let place = (!bed.is_empty()).then(|| place(bed));
    Fact::Moved(said(number), Movement { step, visit: None, place, at, told: at })
}

#[tokio::test]
async fn a_person_is_known_by_any_of_their_numbers_however_written() {
    let mut index = Index::new();
    let national = Identifier { system: "urn:oid:9".into(), value: "xy7".into(), kind: Some("NI".into()) };
    let said = Said { identifiers: vec![mr("a1"), national.clone()], ..said("a1") };
    index.tell(1, vec![Fact::Person(said)]).await.unwrap();
    let id = index.who("A1").await.unwrap().id;
    assert!(
        matches!(index.reader.person_by(vec![national]).await.unwrap(), Lookup::One(row) if row.id == id)
    );
    let bare = |value: &str| Identifier {
        system: "urn:bedside:authority:unstated".into(),
        value: value.into(),
        kind: None,
    };
    assert!(
        matches!(index.reader.person_by(vec![bare("a1 ")]).await.unwrap(), Lookup::One(row) if row.id == id)
    );
    assert_eq!(index.reader.person_by(vec![bare("a2")]).await.unwrap(), Lookup::None);
    let elsewhere = Identifier { system: "urn:oid:4".into(), ..mr("a1") };
    assert_eq!(index.reader.person_by(vec![elsewhere]).await.unwrap(), Lookup::None);
}

#[tokio::test]
async fn an_older_message_does_not_undo_a_newer_one() {
    let mut index = Index::new();
    index.tell(5, vec![Fact::Person(named("1", Told::Said("NEW")))]).await.unwrap();
    index.tell(3, vec![Fact::Person(named("1", Told::Said("OLD")))]).await.unwrap();
    assert_eq!(index.who("1").await.unwrap().person.family.as_deref(), Some("NEW"));
    index.tell(6, vec![Fact::Person(named("1", Told::Unsaid))]).await.unwrap();
    assert_eq!(index.who("1").await.unwrap().person.family.as_deref(), Some("NEW"), "empty says nothing");
    index.tell(7, vec![Fact::Person(named("1", Told::Deleted))]).await.unwrap();
    assert_eq!(index.who("1").await.unwrap().person.family, None, "the null of HL7 deletes");
}

#[tokio::test]
async fn a_bed_has_who_is_in_it_and_had_who_was() {
    let mut index = Index::new();
    index.tell(10, vec![moved("1", Step::Arrived, "7", 10)]).await.unwrap();
    index.tell(20, vec![moved("1", Step::Moved, "8", 20)]).await.unwrap();
    index.tell(25, vec![moved("2", Step::Arrived, "7", 25)]).await.unwrap();
    index.tell(30, vec![moved("1", Step::Left, "", 30)]).await.unwrap();
    for (bed, at, who) in [
        ("7", 9, vec![]),
        ("7", 10, vec!["1"]),
        ("7", 20, vec![]),
        ("8", 29, vec!["1"]),
        ("8", 30, vec![]),
        ("7", 99, vec!["2"]),
    ] {
        assert_eq!(index.bed(bed, at).await, who, "bed {bed} at {at}");
    }
    let id = index.who("1").await.unwrap().id;
    assert_eq!(index.reader.stays_of(id).await.unwrap().len(), 2);
    let counts = index.reader.people_counts().await.unwrap();
    assert_eq!((counts.persons, counts.occupied, counts.heard.len()), (2, 1, 1));
}

#[tokio::test]
async fn a_merge_answers_with_the_survivor_and_can_be_taken_back_whole() {
    let mut index = Index::new();
    index.tell(10, vec![moved("1", Step::Arrived, "7", 10)]).await.unwrap();
    index.tell(11, vec![Fact::Person(named("2", Told::Said("TEST")))]).await.unwrap();
    let (one, two) = (index.who("1").await.unwrap().id, index.who("2").await.unwrap().id);
    index.tell(12, vec![Fact::Merged { person: said("2"), old: vec![mr("1")] }]).await.unwrap();
    assert_eq!(index.who("1").await.unwrap().id, two);
    assert_eq!(index.reader.person(one).await.unwrap().unwrap().id, two);
    assert_eq!(index.bed("7", 15).await, ["2"]);
    let detail = index.reader.person_detail(two).await.unwrap().unwrap();
    assert_eq!((detail.retired, detail.merges.len(), detail.sources.len()), (vec![mr("1")], 1, 3));
    let undo = PeopleChange::Unmerge { merge: detail.merges[0].id, by: "anna".into() };
    index.buffer.change(vec![Change::People(undo.clone())]).await.unwrap();
    assert_eq!((index.who("1").await.unwrap().id, index.bed("7", 15).await), (one, vec!["1".to_owned()]));
    assert!(index.buffer.change(vec![Change::People(undo)]).await.is_err(), "once");
    let again = index.reader.person_detail(two).await.unwrap().unwrap();
    assert_eq!(again.merges[0].undone.as_ref().map(|(_, by)| by.as_str()), Some("anna"));
}

#[tokio::test]
async fn a_search_finds_by_name_number_and_birth_date() {
    let mut index = Index::new();
    let who = Said {
        given: Told::Said(vec!["Änne".into()]),
        birth_date: Told::Said("1950-01-02".into()),
        ..named("M17", Told::Said("Müller"))
    };
    index.tell(1, vec![Fact::Person(who)]).await.unwrap();
    index.tell(2, vec![Fact::Person(named("M18", Told::Said("Test")))]).await.unwrap();
    for (text, count) in [
        ("müller", 1),
        ("ÄNNE, mül", 1),
        ("m17", 1),
        ("M1", 2),
        ("1950-01", 1),
        ("", 2),
        ("müller test", 0),
        ("%", 0),
    ] {
        assert_eq!(index.reader.search_people(text.into(), 10).await.unwrap().len(), count, "{text}");
    }
    assert_eq!(index.reader.search_people(String::new(), 1).await.unwrap().len(), 1);
}
