//! Holds the plan of the house: floors, doors, homes of crates and sizes, read from the sources themselves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const DOORS: [&str; 4] = ["access", "buffer", "connector", "upstream"];
const PURE: [&str; 10] = [
    "nomenclature",
    "device",
    "wire",
    "hl7v2",
    "fhir",
    "firmware_profile",
    "identity",
    "translate",
    "template",
    "route",
];
/// A crate and the only rooms that may name it.
const HOMES: [(&str, &[&str]); 10] = [
    ("rusqlite", &["buffer"]),
    ("warp", &["admin"]),
    ("mqtt3", &["connector"]),
    ("mqtt5", &["connector"]),
    ("tokio_serial", &["connector"]),
    ("serialport", &["connector"]),
    ("reqwest", &["upstream", "federation", "acme", "update"]),
    ("instant_acme", &["acme"]),
    ("age", &["sealed"]),
    ("anyhow", &["main"]),
];
const FILE_LINES_MAX: usize = 600;

struct Source {
    room: String,
    path: PathBuf,
    /// The file without its tests.
    code: String,
    lines: usize,
    test_lines: usize,
}

fn rooms() -> Vec<String> {
    let plan = fs::read_to_string("src/lib.rs").unwrap();
    let names: Vec<String> = plan
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub mod ")?.strip_suffix(';').map(String::from))
        .collect();
    assert!(names.len() >= 15, "lib.rs no longer reads as the plan");
    names
}

fn walk(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    walk(Path::new("src"), &mut paths);
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let room = path.strip_prefix("src").unwrap().components().next().unwrap();
            let room = room.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_string();
            let is_test_file = path.file_name().is_some_and(|n| n.to_string_lossy().ends_with("tests.rs"))
                || path.iter().any(|p| p == "tests");
            let code = if is_test_file {
                String::new()
            } else {
                text.split("#[cfg(test)]\nmod tests").next().unwrap().to_string()
            };
            let code = without_comments(&code);
            let lines = text.lines().count();
            let code_lines = text.split("#[cfg(test)]\nmod tests").next().unwrap().lines().count();
            let test_lines = if is_test_file { lines } else { lines - code_lines };
            Source { room, path, code, lines, test_lines }
        })
        .collect()
}

fn without_comments(code: &str) -> String {
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Every `crate::name` in the code, also inside `use crate::{a, b::c}`.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut name = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => found.push(std::mem::take(&mut name)),
                    _ if depth == 0 => name.push(c),
                    _ => {}
                }
            }
            found.push(name);
        } else {
            found.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    found
        .into_iter()
        .map(|name| name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
        .collect()
}

fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(&format!("{name}::"))
        .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
        || code.contains(&format!("use {name};"))
}

#[test]
fn a_room_imports_only_rooms_on_lower_floors() {
    let rooms = rooms();
    let floor = |name: &str| rooms.iter().position(|room| room == name);
    let mut wrong = Vec::new();
    for source in sources() {
        let Some(own) = floor(&source.room) else { continue };
        for import in imports(&source.code) {
            if floor(&import).is_some_and(|other| other > own) {
                wrong.push(format!("{}: {} looks up to {import}", source.path.display(), source.room));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_door_never_imports_another_door() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|s| DOORS.contains(&s.room.as_str())) {
        for import in imports(&source.code) {
            if DOORS.contains(&import.as_str()) && import != source.room {
                wrong.push(format!("{}: door {} opens door {import}", source.path.display(), source.room));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_crate_is_named_only_in_its_home() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (name, homes) in HOMES {
            if names_crate(&source.code, name) && !homes.contains(&source.room.as_str()) {
                wrong.push(format!(
                    "{}: names {name}, whose home is {}",
                    source.path.display(),
                    homes.join(", ")
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_pure_room_does_no_io_and_measures_nothing_in_binary_floats() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|s| PURE.contains(&s.room.as_str())) {
        for banned in ["tokio::", "std::net", "std::fs", "rusqlite::", "std::thread", "f64", "f32"] {
            // Decimal::for_chart is the one door out of exact numbers, for drawing only.
            let chart_only = banned == "f64" && source.path.ends_with("device/decimal.rs");
            // A float that came as one over the wire, written out at once; and what CEL compares.
            let of_others = ["wire/sparkplug.rs", "native/sparkplug.rs", "firmware_profile/condition.rs"];
            let chart_only = chart_only
                || banned.starts_with('f') && of_others.iter().any(|file| source.path.ends_with(file));
            if source.code.contains(banned) && !chart_only {
                wrong.push(format!("{}: a pure room names {banned}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_clock_reads_the_clock() {
    for source in sources().iter().filter(|s| s.room != "clock") {
        for banned in ["SystemTime::now", "Timestamp::now()", "Zoned::now"] {
            assert!(!source.code.contains(banned), "{}: reads the clock by {banned}", source.path.display());
        }
    }
}

#[test]
fn nothing_is_global_and_no_queue_is_unbounded() {
    for source in sources() {
        for line in source.code.lines().map(str::trim) {
            let global = (line.starts_with("static ") || line.starts_with("pub static "))
                && ["Mutex", "RwLock", "OnceLock", "OnceCell", "Atomic"]
                    .iter()
                    .any(|kind| line.contains(kind));
            assert!(!global, "{}: a global handle: {line}", source.path.display());
            assert!(!line.contains("unbounded_channel"), "{}: an unbounded queue", source.path.display());
        }
    }
}

#[test]
fn words_that_mean_nothing_are_not_names() {
    for source in sources() {
        for line in source.code.lines().map(str::trim) {
            let Some(name) = ["struct ", "enum ", "trait ", "mod "].iter().find_map(|kind| {
                line.trim_start_matches("pub ").trim_start_matches("pub(crate) ").strip_prefix(kind)
            }) else {
                continue;
            };
            let name: String = name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            for word in ["Manager", "Handler", "Util", "Helper", "manager", "handler", "helper", "utils"] {
                assert!(!name.contains(word), "{}: {name} says nothing", source.path.display());
            }
        }
    }
}

#[test]
fn a_file_stays_small_enough_to_read() {
    let all = sources();
    let mut wrong = Vec::new();
    for source in &all {
        if source.lines > FILE_LINES_MAX {
            wrong.push(format!(
                "{}: {} lines, the limit is {FILE_LINES_MAX}",
                source.path.display(),
                source.lines
            ));
        }
    }
    let total: usize = all.iter().map(|s| s.lines).sum();
    let tests: usize = all.iter().map(|s| s.test_lines).sum();
    println!("{} files, {total} lines, {tests} of them tests beside the code", all.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_is_forbidden_in_every_crate_root() {
    for root in ["src/lib.rs", "src/main.rs"] {
        assert!(fs::read_to_string(root).unwrap().contains("#![forbid(unsafe_code)]"), "{root}");
    }
}

/// The code a call such as `.raise("code", …)` names, by its text or by a constant of the same file.
fn code_after<'a>(call: &'a str, file: &'a str) -> Option<&'a str> {
    let argument = call.trim_start();
    if let Some(text) = argument.strip_prefix('"') {
        return text.split('"').next();
    }
    let name =
        argument.split(|c: char| !c.is_ascii_uppercase() && c != '_').next().filter(|n| n.len() > 1)?;
    let value = file.split(&format!("const {name}: &str = \"")).nth(1)?;
    value.split('"').next()
}

#[test]
fn every_alarm_is_explained_in_the_desks_help_and_nothing_else_is() {
    let help = fs::read_to_string("web/src/lib/alarms.ts").unwrap();
    let mut explained: Vec<&str> = help
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.strip_suffix(": {").filter(|code| !code.starts_with(' ')))
        .map(|code| code.trim_matches('\''))
        .collect();
    explained.sort_unstable();
    let sources = sources();
    let mut raised: Vec<&str> = Vec::new();
    for source in &sources {
        for call in [".raise(", ".alarm("] {
            raised
                .extend(source.code.split(call).skip(1).filter_map(|after| code_after(after, &source.code)));
        }
    }
    raised.sort_unstable();
    raised.dedup();
    assert!(raised.len() >= 10, "the calls that raise an alarm are no longer found: {raised:?}");
    assert_eq!(raised, explained, "left: raised by the box; right: explained in web/src/lib/alarms.ts");
}

/// The sources of the rigs, without what npm brought.
fn rigs(dir: &Path, into: &mut String) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("node_modules") {
            rigs(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

/// Every test of the program and its rigs by name; one that is ignored is none.
fn tests_by_name() -> BTreeSet<String> {
    let mut code = String::new();
    rigs(Path::new("src"), &mut code);
    rigs(Path::new("test-rigs"), &mut code);
    let mut found = BTreeSet::new();
    let (mut is_test, mut ignored) = (false, false);
    for line in code.lines().map(str::trim) {
        is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        ignored |= line.starts_with("#[ignore");
        let Some(name) = line.trim_start_matches("async ").strip_prefix("fn ") else { continue };
        if is_test && !ignored {
            found.extend(name.split('(').next().map(str::to_owned));
        }
        (is_test, ignored) = (false, false);
    }
    found
}

/// Whether what a table names is there: a test, a rig's file, or `FILE#words` that a check of a rig prints.
fn is_there(name: &str, tests: &BTreeSet<String>) -> bool {
    match name.split_once('#') {
        Some((file, words)) => fs::read_to_string(file).is_ok_and(|text| text.contains(words)),
        None if name.contains('/') => Path::new(name).exists(),
        None => tests.contains(name),
    }
}

#[test]
fn every_attack_names_tests_that_exist() {
    let table = fs::read_to_string("test-rigs/attacks.md").unwrap();
    let tests = tests_by_name();
    assert!(tests.len() > 800, "tests are no longer found: {}", tests.len());
    let rows: Vec<&str> = table.lines().filter_map(|line| line.strip_prefix("- **")).collect();
    let wanted = (1..=12).map(|n| format!("A{n} "));
    let wanted = wanted.chain((1..=5).map(|n| format!("S{n} "))).chain((1..=4).map(|n| format!("T{n} ")));
    for wanted in wanted.chain((1..=18).map(|n| format!("I{n} "))) {
        assert_eq!(rows.iter().filter(|row| row.starts_with(&wanted)).count(), 1, "row {wanted}");
    }
    for row in rows {
        let names: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test: {row}");
        for name in names {
            assert!(is_there(name, &tests), "{name} is gone: {row}");
        }
    }
}

/// The tables an auditor reads, and how many rows each has: none vanishes unnoticed.
const PAPERS: [(&str, usize); 5] =
    [("asvs", 252), ("etsi-en-303-645", 68), ("iec-62443-4-2", 65), ("mds2", 115), ("threat-model", 52)];

/// The cells of each row of the tables that have an answer: `id | what | answer | how | test`.
fn answers(paper: &str) -> Vec<Vec<&str>> {
    let rows = paper.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let cells = rows.map(|row| row.split(" | ").map(str::trim).collect::<Vec<_>>());
    cells.filter(|cells| cells.len() == 5 && cells[0] != "id" && !cells[0].starts_with("--")).collect()
}

/// What is wrong with a paper: rows whose answer is none, who claim without a test, or name one that is gone.
fn wrong_answers(paper: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut ids = BTreeSet::new();
    for cells in answers(paper) {
        let (id, answer, how) = (cells[0], cells[2], cells[3]);
        let names: Vec<&str> = cells[4].split('`').skip(1).step_by(2).collect();
        if !ids.insert(id) {
            wrong.push(format!("{id}: twice"));
        }
        match answer {
            "yes" | "partly" if names.is_empty() => wrong.push(format!("{id}: \"{answer}\" without a test")),
            "yes" | "partly" | "no" | "not applicable" => {}
            other => wrong.push(format!("{id}: \"{other}\" is no answer")),
        }
        if how.is_empty() || how == "–" {
            wrong.push(format!("{id}: does not say how, or what stands instead"));
        }
        let gone = names.iter().filter(|name| !is_there(name, tests));
        wrong.extend(gone.map(|name| format!("{id}: {name} is gone")));
    }
    let rows = paper.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| --")).count();
    let heads = paper.lines().filter(|line| line.starts_with("| id |")).count();
    if rows != ids.len() + heads {
        wrong.push(format!("{} rows are none of five cells", rows - heads - ids.len().min(rows - heads)));
    }
    wrong
}

#[test]
fn every_yes_of_the_papers_names_tests_that_exist() {
    let tests = tests_by_name();
    for (name, rows) in PAPERS {
        let paper = fs::read_to_string(format!("docs/{name}.md")).unwrap();
        let wrong = wrong_answers(&paper, &tests);
        assert!(wrong.is_empty(), "docs/{name}.md:\n{}", wrong.join("\n"));
        assert_eq!(answers(&paper).len(), rows, "docs/{name}.md: rows came or went");
    }
}

#[test]
fn what_the_papers_lead_to_is_there() {
    let mut links = 0;
    for paper in fs::read_dir("docs").unwrap().map(|entry| entry.unwrap().path()) {
        let Some(text) =
            fs::read_to_string(&paper).ok().filter(|_| paper.extension().is_some_and(|e| e == "md"))
        else {
            continue;
        };
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            links += 1;
            let there = Path::new("docs").join(link.split('#').next().unwrap()).exists();
            assert!(there || link.starts_with("https://"), "{}: {link} is not there", paper.display());
        }
    }
    assert!(links > 20, "links are no longer found: {links}");
}

#[test]
fn the_support_period_names_the_release_it_is_for() {
    let manifest = fs::read_to_string("Cargo.toml").unwrap();
    let version = manifest.lines().find_map(|line| line.strip_prefix("version = \"")).unwrap();
    let release = version.rsplit_once('.').unwrap().0;
    let policy = fs::read_to_string("docs/security.md").unwrap();
    assert!(
        policy.lines().any(|line| line.starts_with(&format!("| {release} | ")) && line.contains(" until ")),
        "docs/security.md does not say how long {release} is supported"
    );
}

#[test]
fn a_paper_that_claims_what_no_test_shows_is_found() {
    let tests = tests_by_name();
    let head = "| id | asks | answer | how | test |\n| -- | -- | -- | -- | -- |\n";
    let own = "`a_paper_that_claims_what_no_test_shows_is_found`";
    let sound =
        format!("{head}| X-1 | it | yes | so | {own} |\n| X-2 | it | no | this stands instead | – |\n");
    assert_eq!(wrong_answers(&sound, &tests), [""; 0]);
    let cases = [
        ("yes | so | – |", "without a test"),
        ("partly | so | none |", "without a test"),
        ("yes | so | `a_test_that_nobody_wrote` |", "is gone"),
        ("yes | so | `kills` |", "is gone"),
        ("yes | so | `wrong_answers` |", "is gone"),
        ("yes | so | `test-rigs/desk/gone.mjs` |", "is gone"),
        ("yes | so | `test-rigs/desk/walk.mjs#words nobody prints` |", "is gone"),
        ("mostly | so | `kills` |", "no answer"),
        ("no | – | – |", "what stands instead"),
        ("yes | so |", "five cells"),
    ];
    for (cells, word) in cases {
        let wrong = wrong_answers(&format!("{head}| X-1 | it | {cells}\n"), &tests);
        assert!(wrong.iter().any(|fault| fault.contains(word)), "{cells}: {wrong:?}");
    }
    let twice = format!("{head}| X-1 | it | yes | so | {own} |\n| X-1 | it | yes | so | {own} |\n");
    assert!(wrong_answers(&twice, &tests).iter().any(|fault| fault.contains("twice")));
}

/// Names of query parameters a route may take. None holds a patient's name, number or birth date: what is searched for comes in
/// a body. `who` is a user of the desk, `code` a code of a metric.
const QUERY: [&str; 26] = [
    "after", "at", "before", "code", "device", "entry", "from", "kind", "limit", "link", "manifest",
    "message", "minutes", "seconds", "name", "outcome", "profile", "reason", "state", "to", "type",
    "unmasked", "until", "what", "who", "zone",
];

#[test]
fn no_address_asks_for_a_patient() {
    let mut found = 0;
    for source in sources().iter().filter(|source| source.path.starts_with("src/admin/routes")) {
        for call in [".asked(\"", ".number(\"", ".query.get(\"", "time(&call, \""] {
            for after in source.code.split(call).skip(1) {
                let name = after.split('"').next().unwrap();
                assert!(
                    QUERY.contains(&name),
                    "{}: ?{name}= may hold a patient: take it in a body",
                    source.path.display()
                );
                found += 1;
            }
        }
    }
    assert!(found >= 15, "the calls that read a query are no longer found: {found}");
}

#[test]
fn nothing_is_exported_as_a_spreadsheet() {
    // A cell that begins with = + - @ is run by spreadsheets: who adds an export of rows escapes them and says so here.
    for source in
        sources().iter().filter(|source| ["admin", "cli", "gateway"].contains(&source.room.as_str()))
    {
        for kind in ["text/csv", "spreadsheetml", "tab-separated-values"] {
            assert!(!source.code.contains(kind), "{}: exports {kind}", source.path.display());
        }
    }
}
