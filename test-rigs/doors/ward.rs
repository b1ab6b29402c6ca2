//! A made-up ward through the whole binary: beds, transfers, swaps, merges and monitors over MLLP, told late and out of
//! order, into the FHIR server of the rig. Every value says whose it truly is, so the server's store says who got what.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::clinic::{Clinic, PATIENCE, Plan};
use crate::common;
use crate::speak::Line;

const PATIENTS: usize = 8;
const BEDS: usize = 10;
const DEVICES: usize = 8;
const MINUTES: i64 = 24 * 60;
/// 2026-03-14T00:00Z.
const START: i64 = 1_773_446_400;
/// From this one on patients come under a temporary number.
const TEMPORARY: usize = 6;
const MERGED: [i64; PATIENTS - TEMPORARY] = [700, 1000];

/// SplitMix64: the same ward each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) >> 1).unwrap() % n
    }
}

enum Word {
    Adt(String),
    /// The same, told after measurements that it is about.
    Late(String),
    Frame(String),
    /// Device and patient's number, from then on.
    Scan(usize, String, i64),
}

#[derive(Default)]
struct Counts {
    transfers: usize,
    swaps: usize,
    late: usize,
}

fn stamp(second: i64) -> String {
    let at = jiff::Timestamp::from_second(START + second).unwrap();
    at.strftime("%Y%m%d%H%M%S+0000").to_string()
}

/// The number a patient goes by at a minute.
fn number(patient: usize, minute: i64) -> String {
    let merged = patient < TEMPORARY || minute >= MERGED[patient - TEMPORARY];
    if merged { format!("P{patient}") } else { format!("T{patient}") }
}

fn pid(patient: usize, minute: i64) -> String {
    format!("PID|1||{}^^^H^MR||NAME{patient}\r", number(patient, minute))
}

fn pv1(bed: usize) -> String {
    format!("PV1|1|I|ICU^^B{bed}\r")
}

fn adt(event: &str, minute: i64, told: i64, body: &str) -> String {
    let (at, told) = (stamp(minute * 60), stamp(told * 60));
    format!("MSH|^~\\&|HIS|H|||{told}||ADT^{event}|{event}{minute}|P|2.5\rEVN|{event}|{told}||||{at}\r{body}")
}

/// Who truly is in which bed at each minute, and what is told of it.
fn people_move(
    dice: &mut Dice,
    words: &mut Vec<(i64, Word)>,
    counts: &mut Counts,
) -> Vec<[Option<usize>; BEDS]> {
    let mut beds = [None; BEDS];
    let mut history = Vec::new();
    for minute in 0..MINUTES {
        if minute % 12 == 0 {
            let late = dice.below(6) == 0;
            counts.late += usize::from(late);
            let told = minute + if late { 5 + i64::try_from(dice.below(55)).unwrap() } else { 0 };
            let patient = dice.below(PATIENTS);
            let of = |patient| pid(patient, minute);
            let empty: Vec<usize> = (0..BEDS).filter(|bed| beds[*bed].is_none()).collect();
            let own = (0..BEDS).find(|bed| beds[*bed] == Some(patient));
            let another = (0..BEDS).find(|bed| beds[*bed].is_some_and(|other| other != patient));
            let text = match (own, dice.below(6)) {
                (None, _) if !empty.is_empty() => {
                    let bed = empty[dice.below(empty.len())];
                    beds[bed] = Some(patient);
                    Some(("A01", of(patient) + &pv1(bed)))
                }
                (Some(bed), 0 | 1) if !empty.is_empty() => {
                    let to = empty[dice.below(empty.len())];
                    (beds[bed], beds[to]) = (None, Some(patient));
                    counts.transfers += 1;
                    Some(("A02", of(patient) + &pv1(to)))
                }
                (Some(bed), 2 | 3) if another.is_some() => {
                    let to = another.unwrap();
                    let other = beds[to].unwrap();
                    beds.swap(bed, to);
                    counts.swaps += 1;
                    Some(("A17", of(patient) + &pv1(to) + &of(other) + &pv1(bed)))
                }
                (Some(bed), 4) => {
                    beds[bed] = None;
                    Some(("A03", of(patient) + &pv1(bed)))
                }
                _ => None,
            };
            let word = if late { Word::Late } else { Word::Adt };
            words.extend(text.map(|(event, body)| (told * 60, word(adt(event, minute, told, &body)))));
        }
        for (patient, merged) in (TEMPORARY..).zip(MERGED) {
            if minute == merged {
                let body = format!("{}MRG|T{patient}^^^H^MR\r", pid(patient, minute));
                words.push((minute * 60, Word::Adt(adt("A40", minute, minute, &body))));
            }
        }
        history.push(beds);
    }
    history
}

/// Devices 0 to 3 stand at a bed and say it, 4 and 5 are scanned, 6 says the patient's number, 7 nothing.
fn frame(device: usize, minute: i64, truth: Option<usize>, sequence: usize) -> String {
    let value = |metric: usize| 100_000 * truth.map_or(0, |patient| patient + 1) + 10 * sequence + metric;
    let at = stamp(minute * 60 + 30);
    let now = common::wall().strftime("%Y%m%d%H%M%S+0000");
    let who = match (device, truth) {
        (6, Some(patient)) => pid(patient, minute),
        _ => "PID|1||\r".into(),
    };
    let place = if device < 4 { pv1(device) } else { String::new() };
    let row = |place: usize, code: &str, unit: &str| {
        format!("OBX|{place}|NM|{code}^MDC|1.1.1.{place}|{}|{unit}^MDC|||||R\r", value(place))
    };
    format!(
        "MSH|^~\\&|RIG^012345678900000{device}^EUI-64|W|||{now}||ORU^R01^ORU_R01|F{sequence}|P|2.6\r{who}{place}\
         OBR|1|||182777000^monitoring of patient^SCT|||{at}\r{}{}",
        row(1, "147842^MDC_ECG_HEART_RATE", "264864^MDC_DIM_BEAT_PER_MIN"),
        row(2, "149530^MDC_PULS_OXIM_PULS_RATE", "264864^MDC_DIM_BEAT_PER_MIN"),
    )
}

fn frames(
    dice: &mut Dice,
    history: &[[Option<usize>; BEDS]],
    words: &mut Vec<(i64, Word)>,
    wanted: usize,
) -> usize {
    let mut carried: [Option<usize>; DEVICES] = [None; DEVICES];
    let mut sequence = 0;
    for minute in 0..MINUTES {
        let beds = history[usize::try_from(minute).unwrap()];
        let inside: Vec<usize> = beds.iter().flatten().copied().collect();
        for (device, on) in carried.iter_mut().enumerate().take(7).skip(4) {
            if (minute + 20 * i64::try_from(device).unwrap()) % 90 == 0 && minute > 60 && !inside.is_empty() {
                let patient = inside[dice.below(inside.len())];
                *on = Some(patient);
                if device < 6 {
                    let scan = Word::Scan(device, number(patient, minute), START + minute * 60);
                    words.push((minute * 60 + 1, scan));
                }
            }
        }
        for (device, on) in carried.iter().enumerate() {
            if dice.below(usize::try_from(MINUTES).unwrap() * DEVICES) >= wanted {
                continue;
            }
            let truth = match device {
                0..4 => beds[device],
                7 => inside.first().copied(),
                _ => *on,
            };
            sequence += 1;
            let late = if dice.below(5) == 0 { 60 * i64::try_from(dice.below(90)).unwrap() } else { 0 };
            words.push((minute * 60 + 31 + late, Word::Frame(frame(device, minute, truth, sequence))));
        }
    }
    sequence
}

/// What the server holds: value → (status, number) of each Observation with it.
fn upstream(clinic: &Clinic) -> BTreeMap<u64, Vec<(String, String)>> {
    let store = &clinic.server.running.store;
    let mut all: BTreeMap<u64, Vec<(String, String)>> = BTreeMap::new();
    for id in store.ids("Observation") {
        let Some(tree) = store.resource("Observation", &id) else { continue };
        let value = tree["valueQuantity"]["value"].to_string().parse().unwrap();
        let reference = tree["subject"]["reference"].as_str().unwrap_or_default();
        let patient = reference.strip_prefix("Patient/").and_then(|id| store.resource("Patient", id));
        let number = patient.map(|one| one["identifier"][0]["value"].as_str().unwrap_or_default().to_owned());
        let status = tree["status"].as_str().unwrap_or_default().to_owned();
        all.entry(value).or_default().push((status, number.unwrap_or_default()));
    }
    all
}

/// Waits until nothing has changed for longer than late words are gathered.
async fn calm(clinic: &Clinic) -> Value {
    let (mut last, mut since) = (Value::Null, Instant::now());
    let began = Instant::now();
    while since.elapsed() < Duration::from_secs(8) {
        assert!(began.elapsed() < PATIENCE * 6, "it never comes to rest: {last}");
        let counts = clinic.desk.get("/api/v1/entries").await.json()["counts"].clone();
        if counts != last || counts["waiting"] != 0 || counts["sent"] != 0 {
            (last, since) = (counts, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    last
}

/// Once everything that may go has gone.
async fn gone(clinic: &Clinic) {
    let began = Instant::now();
    loop {
        let counts = clinic.desk.get("/api/v1/entries").await.json()["counts"].clone();
        if counts["waiting"] == 0 && counts["sent"] == 0 {
            return;
        }
        assert!(began.elapsed() < PATIENCE * 6, "it does not go: {counts}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whoever walks with the scanner, and the devices as the desk knows them.
struct Scanner {
    keys: BTreeMap<usize, String>,
    scans: usize,
}

impl Scanner {
    /// A device and a patient's number are scanned; a device that never spoke is not there to be scanned.
    async fn scans_in(&mut self, clinic: &Clinic, device: usize, number: &str, from: i64) {
        if let Entry::Vacant(place) = self.keys.entry(device) {
            let all = clinic.desk.get("/api/v1/associations").await.json();
            let mut known = all["devices"].as_array().unwrap().iter().map(|one| one["key"].as_str().unwrap());
            let Some(own) = known.find(|key| key.ends_with(&format!("00000{device}"))) else { return };
            place.insert(own.to_owned());
        }
        let from = jiff::Timestamp::from_second(from).unwrap().to_string();
        let wanted = json!({ "device": self.keys[&device], "from": from, "scanned": true, "replace": true, "unknown": true,
            "patient": { "system": "urn:bedside:authority:H", "id": number, "family": "X" } });
        let made = clinic.desk.post("/api/v1/associations", &wanted.to_string()).await;
        assert_eq!(made.status, 201, "{}", made.text);
        self.scans += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_thousand_measurements_reach_nobody_but_their_patients() {
    let (his, monitors) = (common::free_port(), common::free_port());
    let links = format!(
        "[[link]]\nname = \"his\"\nprofile = \"hl7-system\"\nmllp = {{ listen = \"127.0.0.1:{his}\" }}\n\
         [[link]]\nname = \"monitors\"\nprofile = \"ihe/pcd01-monitor\"\nmllp = {{ listen = \"127.0.0.1:{monitors}\" }}\n"
    );
    let clinic = Clinic::planned(Plan { log: "warn", ..Plan::of("doors-ward", links) }).await;
    let (mut dice, mut words, mut counts) = (Dice(0x5eed), Vec::new(), Counts::default());
    let history = people_move(&mut dice, &mut words, &mut counts);
    let sent = frames(&mut dice, &history, &mut words, 1_600);
    words.sort_by_key(|(arrival, _)| *arrival);
    assert!(sent * 2 >= 3_000, "{sent} frames");

    let (mut system, mut line) = (Line::to(his).await, Line::to(monitors).await);
    let mut scanner = Scanner { keys: BTreeMap::new(), scans: 0 };
    for (_, word) in &words {
        match word {
            Word::Adt(text) => assert_eq!(system.say(text).await.code, "AA", "{text}"),
            Word::Late(text) => {
                // What was said of the place before stands upstream by then, and is taken back.
                gone(&clinic).await;
                assert_eq!(system.say(text).await.code, "AA", "{text}");
            }
            Word::Frame(text) => assert_eq!(line.say(text).await.code, "AA"),
            Word::Scan(device, number, from) => scanner.scans_in(&clinic, *device, number, *from).await,
        }
    }
    let scans = scanner.scans;
    let entries = calm(&clinic).await;
    let held = entries["held"].as_u64().unwrap();
    let all = upstream(&clinic);
    let (mut right, mut wrong, mut twice, mut taken_back) = (0, Vec::new(), Vec::new(), 0);
    for (value, told) in &all {
        let patient = (value / 100_000).checked_sub(1);
        let own = patient.map(|patient| [format!("P{patient}"), format!("T{patient}")]);
        let standing: Vec<&(String, String)> =
            told.iter().filter(|(status, _)| status != "entered-in-error").collect();
        taken_back += told.len() - standing.len();
        if standing.iter().any(|(_, number)| !own.as_ref().is_some_and(|own| own.contains(number))) {
            wrong.push((*value, told.clone()));
        }
        right += usize::from(standing.len() == 1);
        if standing.len() > 1 {
            twice.push((*value, told.clone()));
        }
    }
    println!(
        "{} measurements, {} words ({} transfers, {} swaps, {} merges, {} late), {scans} scans: {right} right, {} wrong, \
         {taken_back} taken back, {} entries held",
        2 * sent,
        words.len() - sent,
        counts.transfers,
        counts.swaps,
        MERGED.len(),
        counts.late,
        wrong.len(),
        held,
    );
    assert!(wrong.is_empty(), "{wrong:?}\n{}", clinic.bedside.log());
    assert!(twice.is_empty(), "{twice:?}");
    // Whatever does not stand upstream is held, and shown with its kind of doubt.
    assert_eq!(u64::try_from(2 * sent - right).unwrap(), 2 * held);
    let doubts = clinic.desk.get("/api/v1/associations/doubts").await.json()["counts"].clone();
    let doubtful: u64 =
        ["orphan", "conflict", "review"].iter().map(|word| doubts[*word].as_u64().unwrap()).sum();
    assert_eq!(doubtful, held, "{doubts}");
    assert!(right * 10 >= 2 * sent * 5, "most can be told");
    assert!(counts.swaps > 5 && counts.transfers > 5 && counts.late > 5 && scans > 10 && taken_back > 0);
}
