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
        ("' OR 1=1 --", 0),
        ("'; DROP TABLE person; --", 0),
        ("\" OR \"\"=\"", 0),
    ] {
        assert_eq!(index.reader.search_people(text.into(), 10).await.unwrap().len(), count, "{text}");
    }
    assert_eq!(index.reader.search_people(String::new(), 1).await.unwrap().len(), 1);
}

/// A ward book: where each person lay, by their own number, and who was found to be whom.
#[derive(Default)]
struct Book {
    /// Bed, since, until.
    lines: Vec<Vec<(usize, i64, Option<i64>)>>,
    /// Person → who answers for them.
    same: std::collections::BTreeMap<usize, usize>,
}

impl Book {
    fn open(&self, person: usize) -> Option<usize> {
        self.lines[person].last().filter(|line| line.2.is_none()).map(|line| line.0)
    }

    fn put(&mut self, person: usize, bed: Option<usize>, at: i64) {
        if bed.is_some() && self.open(person) == bed {
            return;
        }
        if let Some(last) = self.lines[person].last_mut().filter(|line| line.2.is_none()) {
            last.2 = Some(at);
        }
        self.lines[person].extend(bed.map(|bed| (bed, at, None)));
    }

    fn in_bed(&self, bed: usize, at: i64) -> Vec<String> {
        let lies = |line: &(usize, i64, Option<i64>)| {
            line.0 == bed && line.1 <= at && line.2.is_none_or(|until| until > at)
        };
        let who = (0..self.lines.len()).filter(|person| self.lines[*person].iter().any(lies));
        let mut who: Vec<String> =
            who.map(|person| format!("P{}", self.same.get(&person).unwrap_or(&person))).collect();
        who.sort();
        who
    }
}

const MOVERS: usize = 4;

/// One random event, told to the book; what a system would say of it.
fn event(book: &mut Book, next: &mut impl FnMut(usize) -> usize, at: i64) -> Option<Fact> {
    let person = next(MOVERS);
    let (who, other) = (format!("P{person}"), (person + 1 + next(MOVERS - 1)) % MOVERS);
    let bed = next(5);
    let twin = person + MOVERS;
    Some(match (next(8), book.open(person)) {
        (0, Some(_)) => {
            book.put(person, None, at);
            moved(&who, Step::Left, "", at)
        }
        (1, Some(here)) if book.open(other).is_some_and(|there| there != here) => {
            let there = book.open(other);
            book.put(person, there, at);
            book.put(other, Some(here), at);
            Fact::Swapped { first: said(&who), second: said(&format!("P{other}")), at }
        }
        // A registration that never lay anywhere turns out to be this person, or the other way round.
        (2, _) if !book.same.contains_key(&person) && !book.same.contains_key(&twin) => {
            let (into, gone) = if next(2) == 0 { (person, twin) } else { (twin, person) };
            book.same.insert(gone, into);
            Fact::Merged { person: said(&format!("P{into}")), old: vec![mr(&format!("P{gone}"))] }
        }
        (3 | 4, Some(_)) => {
            book.put(person, Some(bed), at);
            moved(&who, Step::Moved, &bed.to_string(), at)
        }
        (5, Some(_)) => {
            book.put(person, Some(bed), at);
            moved(&who, Step::Seen, &bed.to_string(), at)
        }
        (_, None) => {
            book.put(person, Some(bed), at);
            moved(&who, Step::Arrived, &bed.to_string(), at)
        }
        _ => return None,
    })
}

#[tokio::test]
async fn a_ward_book_kept_by_hand_says_the_same() {
    let mut state = 0x5DEE_CE66_D1CE_4E5Bu64;
    let mut next = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    for round in 0..12 {
        let mut index = Index::new();
        let mut book = Book { lines: vec![Vec::new(); 2 * MOVERS], ..Book::default() };
        for person in 0..2 * MOVERS {
            index.tell(0, vec![Fact::Person(said(&format!("P{person}")))]).await.unwrap();
        }
        for at in 1..=60 {
            if let Some(fact) = event(&mut book, &mut next, at) {
                index.tell(at, vec![fact]).await.unwrap();
            }
            if next(20) == 0
                && let Some((gone, into)) = book.same.pop_first()
            {
                let id = index.who(&format!("P{into}")).await.unwrap().id;
                let merges = index.reader.person_detail(id).await.unwrap().unwrap().merges;
                let merge = merges.iter().find(|merge| merge.undone.is_none()).unwrap().id;
                let undo = PeopleChange::Unmerge { merge, by: "anna".into() };
                index.buffer.change(vec![Change::People(undo)]).await.unwrap();
                assert_ne!(index.who(&format!("P{gone}")).await.unwrap().id, id);
            }
        }
        for at in 0..=61 {
            for bed in 0..5 {
                let mut found = index.bed(&bed.to_string(), at).await;
                found.sort();
                assert_eq!(found, book.in_bed(bed, at), "round {round}: bed {bed} at {at}");
            }
        }
    }
}

#[tokio::test]
async fn who_was_not_spoken_of_for_long_is_forgotten_unless_they_are_here() {
    let mut index = Index::new();
    index.tell(1, vec![moved("1", Step::Arrived, "7", 1), moved("2", Step::Arrived, "8", 1)]).await.unwrap();
    index.tell(2, vec![moved("2", Step::Left, "", 2)]).await.unwrap();
    index.tell(3, vec![Fact::Merged { person: said("2"), old: vec![mr("3")] }]).await.unwrap();
    index.buffer.close().await;
    let mut conn = crate::buffer::schema::connect_writing(&index._dir.path().join("bedside.db")).unwrap();
    crate::buffer::schema::migrate(&mut conn).unwrap();
    let day = |days: i64| crate::clock::Timestamp::from_micros(1_000_000 + days * 86_400_000_000, true);
    let count = |conn: &rusqlite::Connection| {
        conn.query_row("SELECT count(*) FROM person_identifier", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    forget(&conn, day(399)).unwrap();
    assert_eq!(count(&conn), 3);
    forget(&conn, day(401)).unwrap();
    assert_eq!(count(&conn), 1, "the one who lies in a bed stays");
}
