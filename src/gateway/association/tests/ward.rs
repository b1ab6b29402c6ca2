//! The made-up ward: who truly was where, what was said of it and when, and what devices sent.
//!
//! 40 patients, 30 beds, 50 devices, four days over the change of the clocks. Devices 0 to 19 stand at a bed, 20 to 34 are
//! carried and scanned, 35 to 39 say the patient's number, 40 to 44 are scanned and say it too, 45 to 49 say nothing
//! and nobody says anything of them.

use jiff::tz::TimeZone;

pub(super) const S: i64 = 1_000_000;
pub(super) const MINUTE: i64 = 60 * S;
pub(super) const HOUR: i64 = 60 * MINUTE;
/// 2026-10-23T08:00Z; on the 25th at 01:00Z Berlin's clocks go back.
const START: i64 = 1_792_742_400 * S;
const MINUTES: i64 = 4 * 24 * 60;
pub(super) const PATIENTS: usize = 40;
pub(super) const DEVICES: usize = 50;
const BEDS: usize = 30;
/// Patients from this one on come under a temporary number, which is merged later.
const TEMPORARY: usize = 30;

/// SplitMix64: the same ward for the same seed.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: i64) -> i64 {
        i64::try_from(self.next() % u64::try_from(n).unwrap()).unwrap()
    }

    fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.below(i64::try_from(n).unwrap())).unwrap()
    }

    fn one_in(&mut self, n: i64) -> bool {
        self.below(n) == 0
    }
}

/// What reaches the box.
pub(super) enum Word {
    Adt(String),
    /// Device, patient's number, since, until.
    Scanned {
        device: usize,
        patient: usize,
        since: i64,
        until: Option<i64>,
    },
    TakenOff {
        device: usize,
        until: i64,
    },
    Home {
        device: usize,
        bed: usize,
        since: i64,
    },
    Frame(Sent),
}

pub(super) struct Sent {
    pub(super) device: usize,
    pub(super) text: String,
    /// Nothing speaks against telling whose it is.
    pub(super) clear: bool,
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) swaps: usize,
    pub(super) transfers: usize,
    pub(super) merges: usize,
    pub(super) late: usize,
}

pub(super) struct Ward {
    /// In the order of arrival.
    pub(super) words: Vec<(i64, Word)>,
    pub(super) counts: Counts,
}

/// Who truly was with what, as spans.
struct Truth {
    /// Per bed: (from, patient or nobody).
    beds: Vec<Vec<(i64, Option<usize>)>>,
    /// Per device: (from, patient or nobody); of those at a bed, by the bed.
    devices: Vec<Vec<(i64, Option<usize>)>>,
    /// Per device: (from, bed).
    homes: Vec<Vec<(i64, usize)>>,
    /// When a device's facts are in disorder on purpose.
    murky: Vec<Vec<(i64, i64)>>,
    murky_beds: Vec<Vec<(i64, i64)>>,
    /// When the temporary number of a patient was merged.
    merged: Vec<Option<i64>>,
}

fn at<T: Copy>(spans: &[(i64, T)], when: i64) -> Option<T> {
    spans.iter().rev().find(|(from, _)| *from <= when).map(|(_, what)| *what)
}

impl Truth {
    fn of(&self, device: usize, when: i64) -> Option<usize> {
        if device < 20 {
            return at(&self.beds[at(&self.homes[device], when)?], when).flatten();
        }
        at(&self.devices[device], when).flatten()
    }

    fn number(&self, patient: usize, when: i64) -> String {
        match self.merged[patient] {
            _ if patient < TEMPORARY => format!("P{patient:02}"),
            Some(merged) if when >= merged => format!("P{patient:02}"),
            _ => format!("T{patient:02}"),
        }
    }

    /// Whether nothing changes about a device between the two, and nothing is in disorder.
    fn is_calm(&self, device: usize, from: i64, to: i64) -> bool {
        let still = |moments: Vec<i64>| !moments.into_iter().any(|m| m >= from && m <= to);
        let clean = |murky: &[(i64, i64)]| !murky.iter().any(|(a, b)| *a <= to && *b >= from);
        let mut calm = still(self.devices[device].iter().map(|(m, _)| *m).collect())
            && still(self.homes[device].iter().map(|(m, _)| *m).collect())
            && clean(&self.murky[device]);
        for (since, bed) in &self.homes[device] {
            calm &= *since > to
                || (still(self.beds[*bed].iter().map(|(m, _)| *m).collect())
                    && clean(&self.murky_beds[*bed]));
        }
        calm
    }
}

/// The clock of a device: what it is ahead, whether it states its zone, whether it shows seconds.
#[derive(Clone, Copy)]
struct Clock {
    ahead: i64,
    zoned: bool,
    seconds: bool,
}

impl Clock {
    const fn of(device: usize) -> Self {
        let ahead = match device % 8 {
            2 => 45 * S,
            4 => -50 * S,
            5 => 420 * S,
            6 => -430 * S,
            7 if device == 7 => 3 * HOUR,
            _ => 0,
        };
        Self { ahead, zoned: device % 5 != 0, seconds: device % 7 != 3 }
    }

    fn is_right(self) -> bool {
        self.ahead == 0 && self.zoned && self.seconds
    }

    fn write(self, when: i64) -> String {
        let instant = jiff::Timestamp::from_microsecond(when + self.ahead).unwrap();
        let zone = if self.zoned { TimeZone::UTC } else { TimeZone::get("Europe/Berlin").unwrap() };
        let local = instant.to_zoned(zone);
        let shape = if self.seconds { "%Y%m%d%H%M%S" } else { "%Y%m%d%H%M" };
        let zone = if self.zoned { "+0000" } else { "" };
        format!("{}{zone}", local.strftime(shape))
    }
}

fn adt(event: &str, number: &str, bed: Option<usize>, when: i64, more: &str) -> String {
    let time = Clock { ahead: 0, zoned: true, seconds: true }.write(when);
    let place = bed.map(|bed| format!("ICU^^B{bed:02}")).unwrap_or_default();
    let visit = if event == "A40" { String::new() } else { format!("PV1||I|{place}\r") };
    format!(
        "MSH|^~\\&|HIS|H|||{time}||ADT^{event}|{event}{number}{when}|P|2.5\rEVN|{event}|{time}||||{time}\r\
         PID|||{number}^^^H^MR||Test^{number}\r{more}{visit}"
    )
}

/// Makes a ward; a `share`-th of its frames.
pub(super) fn make(seed: u64, share: i64) -> Ward {
    let mut dice = Dice(seed);
    let mut words: Vec<(i64, Word)> = Vec::new();
    let mut counts = Counts::default();
    let mut truth = Truth {
        beds: vec![vec![(START, None)]; BEDS],
        devices: vec![Vec::new(); DEVICES],
        homes: vec![Vec::new(); DEVICES],
        murky: vec![Vec::new(); DEVICES],
        murky_beds: vec![Vec::new(); BEDS],
        merged: vec![None; PATIENTS],
    };
    // Per patient: times at which the bed was left.
    let mut left: Vec<Vec<i64>> = vec![Vec::new(); PATIENTS];
    people_move(&mut dice, &mut truth, &mut left, &mut words, &mut counts);
    homes(&mut dice, &mut truth, &mut words);
    for device in 20..DEVICES {
        carried(device, &mut dice, &mut truth, &left, &mut words);
    }
    for device in 0..DEVICES {
        frames(device, share, &mut dice, &truth, &mut words, &mut counts);
    }
    words.sort_by_key(|(arrival, _)| *arrival);
    Ward { words, counts }
}

/// Admissions, transfers, swaps, discharges and merges, each told at once or late.
fn people_move(
    dice: &mut Dice,
    truth: &mut Truth,
    left: &mut [Vec<i64>],
    words: &mut Vec<(i64, Word)>,
    counts: &mut Counts,
) {
    let mut bed_of: Vec<Option<usize>> = vec![None; PATIENTS];
    let mut in_bed: Vec<Option<usize>> = vec![None; BEDS];
    // Of whom nobody was told that they left.
    let mut ghosts = [false; PATIENTS];
    let mut minute = 1;
    while minute < MINUTES {
        let when = START + minute * MINUTE + dice.below(60) * S;
        let mut delay = dice.below(60) * S;
        if dice.one_in(8) {
            delay = 5 * MINUTE + dice.below(115) * MINUTE;
            counts.late += 1;
        }
        let patient = dice.index(PATIENTS);
        let number = truth.number(patient, when);
        let move_to = |truth: &mut Truth, bed: usize, who: Option<usize>| truth.beds[bed].push((when, who));
        let empty: Vec<usize> = (0..BEDS).filter(|bed| in_bed[*bed].is_none()).collect();
        let text = match (bed_of[patient], dice.below(12)) {
            (None, _) if !empty.is_empty() => {
                let bed = empty[dice.index(empty.len())];
                (bed_of[patient], in_bed[bed]) = (Some(bed), Some(patient));
                move_to(truth, bed, Some(patient));
                if std::mem::take(&mut ghosts[patient]) {
                    // For whoever reads the index this is a transfer.
                    left[patient].push(when);
                }
                Some(adt("A01", &number, Some(bed), when, ""))
            }
            (Some(bed), 0..=3) if !empty.is_empty() => {
                let to = empty[dice.index(empty.len())];
                (bed_of[patient], in_bed[bed], in_bed[to]) = (Some(to), None, Some(patient));
                move_to(truth, bed, None);
                move_to(truth, to, Some(patient));
                left[patient].push(when);
                counts.transfers += 1;
                Some(adt("A02", &number, Some(to), when, ""))
            }
            (Some(bed), 4..=6) => {
                (bed_of[patient], in_bed[bed]) = (None, None);
                move_to(truth, bed, None);
                left[patient].push(when);
                Some(adt("A03", &number, Some(bed), when, ""))
            }
            (Some(bed), 7..=8) => {
                let other = (0..PATIENTS).find(|p| *p != patient && bed_of[*p].is_some() && dice.one_in(3));
                other.map(|other| {
                    let there = bed_of[other].unwrap();
                    (bed_of[patient], bed_of[other]) = (Some(there), Some(bed));
                    (in_bed[bed], in_bed[there]) = (Some(other), Some(patient));
                    move_to(truth, bed, Some(other));
                    move_to(truth, there, Some(patient));
                    left[patient].push(when);
                    left[other].push(when);
                    counts.swaps += 1;
                    let theirs = truth.number(other, when);
                    let more = format!(
                        "PV1||I|ICU^^B{there:02}\rPID|||{theirs}^^^H^MR||Test^{theirs}\rPV1||I|ICU^^B{bed:02}\r"
                    );
                    let text = adt("A17", &number, None, when, &more);
                    text.rsplit_once("PV1||I|\r").map_or(text.clone(), |(head, _)| head.to_owned())
                })
            }
            // Nobody is told that the one before left: two in the bed for whoever reads the index.
            (Some(bed), 9) if dice.one_in(3) => {
                let next = (0..PATIENTS).find(|p| bed_of[*p].is_none() && dice.one_in(2));
                next.map(|next| {
                    (bed_of[patient], bed_of[next], in_bed[bed]) = (None, Some(bed), Some(next));
                    move_to(truth, bed, Some(next));
                    truth.murky_beds[bed].push((when, i64::MAX));
                    left[patient].push(when);
                    ghosts[patient] = true;
                    if std::mem::take(&mut ghosts[next]) {
                        left[next].push(when);
                    }
                    adt("A01", &truth.number(next, when), Some(bed), when, "")
                })
            }
            (_, 10..) if patient >= TEMPORARY && truth.merged[patient].is_none() => {
                truth.merged[patient] = Some(when);
                counts.merges += 1;
                let more = format!("MRG|T{patient:02}^^^H^MR\r");
                Some(adt("A40", &format!("P{patient:02}"), None, when, &more))
            }
            _ => None,
        };
        if let Some(text) = text {
            words.push((when + delay, Word::Adt(text)));
            if delay > MINUTE {
                // Until it was told everybody believed otherwise; afterwards it is as if it had been told at once.
                counts.late += 1;
            }
        }
        minute += 2 + dice.below(9);
    }
}

/// Where the devices at beds stand; some are moved.
fn homes(dice: &mut Dice, truth: &mut Truth, words: &mut Vec<(i64, Word)>) {
    for device in 0..20 {
        let mut moves = vec![(START, device)];
        if device % 4 == 0 {
            let when = START + (600 + dice.below(3_000)) * MINUTE + dice.below(60) * S;
            moves.push((when, 20 + device / 4));
        }
        for (since, bed) in &moves {
            words.push((*since + dice.below(20) * MINUTE, Word::Home { device, bed: *bed, since: *since }));
        }
        truth.homes[device] = moves;
    }
}

/// A device that goes from patient to patient.
fn carried(
    device: usize,
    dice: &mut Dice,
    truth: &mut Truth,
    left: &[Vec<i64>],
    words: &mut Vec<(i64, Word)>,
) {
    let scanned = (20..35).contains(&device) || (40..45).contains(&device);
    let mut now = START + dice.below(120) * MINUTE;
    let mut stood_open = false;
    // Nobody says the second thing before the first.
    let mut spoken = 0;
    while now < START + MINUTES * MINUTE {
        let patient = dice.index(PATIENTS);
        let planned = now + (30 + dice.below(420)) * MINUTE + dice.below(60) * S;
        // Whoever leaves the bed leaves the device behind.
        let gone = left[patient].iter().copied().find(|at| *at > now && *at < planned).filter(|_| scanned);
        let end = gone.unwrap_or(planned);
        truth.devices[device].push((now, Some(patient)));
        let pause = if dice.one_in(3) { 0 } else { dice.below(90) * MINUTE + dice.below(60) * S };
        if pause > 0 {
            truth.devices[device].push((end, None));
        }
        if scanned {
            let late = dice.one_in(10) && !stood_open && gone.is_none();
            let until = late.then_some(end);
            let delay = if late { end - now + dice.below(300) * MINUTE } else { dice.below(50) * S };
            let said = if late { now + delay } else { (now + delay).max(spoken + S) };
            spoken = if late { spoken } else { said };
            words.push((said, Word::Scanned { device, patient, since: now, until }));
            stood_open = false;
            if !late && gone.is_none() {
                if pause > 0 {
                    spoken = (end + dice.below(50) * S).max(spoken + S);
                    words.push((spoken, Word::TakenOff { device, until: end }));
                } else {
                    stood_open = true;
                }
            }
            if gone.is_some() {
                stood_open = true;
                // Until the word of the leaving came the next patient's association had taken its place.
                truth.murky[device].push((end - MINUTE, end + 2 * HOUR));
            }
        }
        now = end + pause;
    }
}

/// Ten measurements to a message; values say whose they are.
fn frames(
    device: usize,
    share: i64,
    dice: &mut Dice,
    truth: &Truth,
    words: &mut Vec<(i64, Word)>,
    counts: &mut Counts,
) {
    const TEN: usize = 10;
    let clock = Clock::of(device);
    let step = if clock.seconds { 76 * S } else { 60 * S };
    let mut serial = 0;
    let mut now = START + dice.below(60) * S;
    let mut pending: Vec<(i64, usize)> = Vec::new();
    while now < START + MINUTES * MINUTE {
        now += step + if clock.seconds { dice.below(5) * S } else { 0 };
        if device >= 45 {
            pending.push((now, dice.index(PATIENTS)));
        } else if let Some(patient) = truth.of(device, now) {
            pending.push((now, patient));
        }
        // A message is of one patient where the device says who it is.
        let full = pending.len() == TEN
            || (device >= 35
                && pending.first().is_some_and(|(_, first)| pending.iter().any(|(_, p)| p != first)));
        if !full {
            continue;
        }
        let keep =
            if device >= 35 && pending.first().map(|p| p.1) != pending.last().map(|p| p.1) && device < 45 {
                pending.pop()
            } else {
                None
            };
        let taken = std::mem::take(&mut pending);
        pending.extend(keep);
        if taken.is_empty() || !dice.one_in(share) {
            continue;
        }
        let sent = message(device, clock, &taken, &mut serial, now, dice, truth, counts);
        words.push(sent);
    }
}

#[allow(clippy::too_many_arguments, reason = "all of it is one message")]
fn message(
    device: usize,
    clock: Clock,
    taken: &[(i64, usize)],
    serial: &mut usize,
    now: i64,
    dice: &mut Dice,
    truth: &Truth,
    counts: &mut Counts,
) -> (i64, Word) {
    let (first, last) = (taken[0].0, taken[taken.len() - 1].0);
    let mut arrival = now + dice.below(5) * S;
    let mut composed = now;
    let mut late = false;
    if dice.one_in(12) {
        late = true;
        counts.late += 1;
        arrival = now + 10 * MINUTE + dice.below(350) * MINUTE;
        if dice.one_in(2) {
            composed = arrival;
        }
    }
    let mut whose = String::from("PID|||");
    let mut stale = false;
    if (35..45).contains(&device) {
        let patient = taken[0].1;
        let mut number = truth.number(patient, composed);
        if device >= 40 && dice.one_in(15) {
            // Still the one before.
            stale = true;
            number = truth.number((patient + 1) % PATIENTS, composed);
        }
        whose = format!("PID|||{number}^^^H^MR||Test^{number}");
    }
    let mut text = format!(
        "MSH|^~\\&|MON^{device:016X}^EUI-64|W|||{}||ORU^R01^ORU_R01|{device}-{now}|P|2.6\r{whose}\r\
         OBR|1|||182777000^monitoring of patient^SCT|||{}\r",
        clock.write(composed),
        clock.write(first)
    );
    for (place, (when, patient)) in taken.iter().enumerate() {
        *serial += 1;
        let value = (patient + 1) * 100_000 + *serial % 100_000;
        text.push_str(&format!(
            "OBX|{}|NM|147842^MDC_ECG_HEART_RATE^MDC|1.1.1.1|{value}|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||F|||{}\r",
            place + 1,
            clock.write(*when)
        ));
    }
    let calm = truth.is_calm(device, first - 10 * MINUTE, last + 10 * MINUTE);
    let clear = calm && clock.is_right() && !late && !stale && device < 45;
    (arrival, Word::Frame(Sent { device, text, clear }))
}
