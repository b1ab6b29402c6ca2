use super::*;

fn place(text: &str) -> Place {
    let (ward, bed) = text.split_once('/').unwrap_or((text, ""));
    Place::new("", ward, "", bed).unwrap()
}

fn visit(number: &str) -> Option<Visit> {
    (!number.is_empty()).then(|| Visit { system: "s".into(), number: number.into() })
}

/// `step visit place at [told]`, one a line.
fn told(text: &str) -> Vec<Movement> {
    text.split(';')
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let step = match words[0] {
                "arrive" => Step::Arrived,
                "move" => Step::Moved,
                "seen" => Step::Seen,
                "leave" => Step::Left,
                "away" => Step::Away,
                "back" => Step::Back,
                "no-arrive" => Step::NeverArrived,
                "no-move" => Step::NeverMoved,
                "no-leave" => Step::NeverLeft,
                "no-away" => Step::NeverAway,
                "no-back" => Step::NeverBack,
                "no-visit" => Step::NeverVisited,
                other => panic!("{other}"),
            };
            let at = words[3].parse().unwrap();
            Movement {
                step,
                visit: visit(words[1].trim_matches('-')),
                place: (words[2] != "-").then(|| place(words[2])),
                at,
                told: words.get(4).map_or(at, |told| told.parse().unwrap()),
            }
        })
        .collect()
}

fn shown(stays: &[Stay]) -> String {
    let line = |stay: &Stay| {
        let until = stay.until.map(|until| until.to_string()).unwrap_or_default();
        let leave = if stay.on_leave { "!" } else { "" };
        format!("{}{leave} {}..{until}", stay.place.label().replace(' ', "/"), stay.since)
    };
    stays.iter().map(line).collect::<Vec<_>>().join(", ")
}

/// What is said; the stays that follow; why.
const WAYS: &[(&str, &str, &str)] = &[
    (
        "arrive 1 W/1 10; move 1 W/2 20; leave 1 W/2 30",
        "W/1 10..20, W/2 20..30",
        "admitted, transferred, discharged",
    ),
    (
        "arrive - W/1 10; arrive - W/2 30; leave - - 20 40",
        "W/1 10..20, W/2 30..",
        "that somebody left is told when they have come again",
    ),
    (
        "arrive - W/1 10; arrive - W/2 30; leave - - 20 40; no-leave - W/2 45",
        "W/1 10..30, W/2 30..",
        "and taken back: they were there all the time",
    ),
    ("arrive - W/1 10; move - W/2 30; leave - - 20 40", "W/1 10..30", "nobody is moved after they left"),
    ("leave 1 - 30; arrive 1 W/1 10; move 1 W/2 20", "W/1 10..20, W/2 20..30", "told in another order"),
    (
        "arrive 1 W/1 10; seen 1 W/1 15; seen 1 W/2 20",
        "W/1 10..20, W/2 20..",
        "an update that says another bed",
    ),
    (
        "arrive 1 W/1 10; leave 1 - 20; seen 1 W/1 25",
        "W/1 10..20",
        "an update after the discharge opens nothing",
    ),
    ("seen 1 W/1 15", "W/1 15..", "first heard of in an update"),
    ("arrive 1 W/1 10; no-arrive 1 W/1 12", "", "A11"),
    ("arrive 1 W/1 10; move 1 W/2 11; no-arrive 1 - 12", "", "A11 takes the way with it"),
    ("arrive 1 W/1 10; move 1 W/2 20; no-move 1 W/1 22", "W/1 10..", "A12"),
    ("arrive 1 W/1 10; move 1 W/2 20; no-move 1 - 22", "W/1 10..", "A12 without a place"),
    ("arrive 1 W/1 10; move 1 W/2 20; no-move 1 W/3 22", "W/1 10..22, W/3 22..", "A12, and the bed is gone"),
    ("arrive 1 W/1 10; leave 1 - 20; no-leave 1 W/1 22", "W/1 10..", "A13"),
    ("arrive 1 W/1 10; leave 1 - 20; no-leave 1 W/2 22", "W/1 10..22, W/2 22..", "A13 into another bed"),
    ("no-leave 1 - 22; arrive 1 W/1 10; leave 1 - 20", "W/1 10..", "a cancellation that came first"),
    ("arrive 1 W/1 10; leave 1 - 20; arrive 1 W/1 30", "W/1 10..20, W/1 30..", "admitted again"),
    (
        "arrive 1 W/1 10; arrive 1 W/2 10 20",
        "W/1 10..20, W/2 20..",
        "an admission that is told again with another bed",
    ),
    ("arrive 1 W/1 10; arrive 2 W/2 20", "W/1 10..20, W/2 20..", "one person, one bed"),
    (
        "arrive 1 W/1 10; arrive 2 DIALYSIS 20; leave 2 - 25",
        "W/1 10.., DIALYSIS 20..25",
        "a clinic is no bed",
    ),
    (
        "arrive 1 W/1 10; arrive 2 DIALYSIS 20; leave - - 25",
        "W/1 10..25, DIALYSIS 20..25",
        "left, nobody says from where",
    ),
    ("arrive - W/1 10; leave 1 - 20", "W/1 10..20", "the visit's number comes later"),
    ("arrive 1 W/1 10; move - W/2 20; leave 1 - 30", "W/1 10..20, W/2 20..30", "and is left out in between"),
    ("arrive 1 W/1 10; leave 2 - 20", "W/1 10..", "another visit ended"),
    (
        "arrive 1 W/1 10; away 1 W/1 20; back 1 - 30",
        "W/1 10..20, W/1! 20..30, W/1 30..",
        "leave, the bed kept",
    ),
    ("arrive 1 W/1 10; away 1 - 20; back 1 - 30", "W/1 10..20, W/1 30..", "leave, the bed not kept"),
    (
        "arrive 1 W/1 10; away 1 W/1 20; back 1 W/2 30",
        "W/1 10..20, W/1! 20..30, W/2 30..",
        "back into another",
    ),
    ("arrive 1 W/1 10; away 1 W/1 20; no-away 1 - 21", "W/1 10..", "A52"),
    ("arrive 1 W/1 10; away 1 W/1 20; back 1 - 30; no-back 1 - 31", "W/1 10..20, W/1! 20..", "A53"),
    ("arrive 1 W/1 10; move 1 W/2 20; no-visit 1 - 30", "", "A23"),
    ("arrive 1 W/1 10; leave 1 - 5 20", "", "nobody leaves before they came"),
    ("arrive 1 W/1 10; leave 1 - 15 30; move 1 W/2 20 20", "W/1 10..20, W/2 20..20", ""),
    ("move 1 W/2 20; arrive 1 W/1 20", "W/1 20..", "what is given later wins the instant"),
];

#[test]
fn a_way_is_what_took_effect_and_was_not_taken_back() {
    for (said, expected, why) in WAYS {
        let expected =
            expected.split(", ").filter(|one| !one.ends_with("20..20")).collect::<Vec<_>>().join(", ");
        assert_eq!(shown(&stays(&told(said))), expected, "{said} ({why})");
    }
}

/// What a nurse would write on a board: the present bed, and when each bed was taken and given up.
#[derive(Default)]
struct Board {
    open: Option<(usize, i64)>,
    done: Vec<(usize, i64, i64)>,
}

impl Board {
    fn put(&mut self, bed: usize, at: i64) {
        if self.open.is_some_and(|(present, _)| present == bed) {
            return;
        }
        self.clear(at);
        self.open = Some((bed, at));
    }

    fn clear(&mut self, at: i64) {
        if let Some((bed, since)) = self.open.take() {
            self.done.push((bed, since, at));
        }
    }
}

#[test]
fn any_way_told_in_any_order_is_the_way_that_was_gone() {
    let mut state = 0x0123_4567_89AB_CDEFu64;
    let mut next = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    for round in 0..3_000 {
        let (mut board, mut said, mut before) = (Board::default(), Vec::new(), Vec::new());
        let mut number = 0;
        for step in 1..=12_i64 {
            let at = step * 10;
            let bed = next(4);
            let present = board.open.is_some();
            let name = format!("V{number}");
            let put = |step, with: bool, at| Movement {
                step,
                visit: visit(&name),
                place: with.then(|| place(&format!("W/{bed}"))),
                at,
                told: at,
            };
            match (present, next(6)) {
                (false, _) => {
                    number += 1;
                    before.clear();
                    let arrived =
                        Movement { visit: visit(&format!("V{number}")), ..put(Step::Arrived, true, at) };
                    said.push(arrived);
                    board.put(bed, at);
                }
                (true, 0) => {
                    said.push(put(Step::Left, false, at));
                    board.clear(at);
                }
                (true, 1 | 2) => {
                    before.push((board.open, board.done.clone()));
                    said.push(put(Step::Moved, true, at));
                    board.put(bed, at);
                }
                (true, 3) if !before.is_empty() => {
                    // Only what nothing was said after can be compared with the board.
                    let last = said.last().is_some_and(|last: &Movement| last.step == Step::Moved);
                    if last {
                        said.push(put(Step::NeverMoved, false, at));
                        (board.open, board.done) = before.pop().unwrap();
                    }
                }
                (true, _) => {
                    said.push(put(Step::Seen, true, at));
                    before.clear();
                    board.put(bed, at);
                }
            }
        }
        for one in (1..said.len()).rev() {
            said.swap(one, next(one + 1));
        }
        let mut expected: Vec<(String, i64, Option<i64>)> =
            board.done.iter().map(|(bed, since, until)| (format!("W {bed}"), *since, Some(*until))).collect();
        expected.extend(board.open.map(|(bed, since)| (format!("W {bed}"), since, None)));
        expected.sort_by_key(|one| one.1);
        let found: Vec<_> =
            stays(&said).iter().map(|one| (one.place.label(), one.since, one.until)).collect();
        assert_eq!(found, expected, "round {round}: {said:?}");
    }
}
