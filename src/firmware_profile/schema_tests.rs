use super::*;

/// A page without fault; each test breaks one thing.
const GOOD: &str = r#"[device]
manufacturer = "Example"
model = "Meter"
verified = "simulator"

[link]
codec = "lines"

[record]
grammar = "key-value"

[time]
from = "T"
formats = ["%d/%m/%Y %H:%M:%S"]

[[group]]
name = "cuff"
mdc = 150020

[[metric]]
match = "SPO2"
mdc = 150456
unit = "%"

[[metric]]
match = "SYS"
mdc = 150021
unit = "mm[Hg]"
group = "cuff"
"#;

fn faults(page: &str) -> Vec<Fault> {
    FirmwareProfile::parse("example/meter", page).err().unwrap_or_default()
}

#[test]
fn the_page_the_tests_break_is_good() {
    assert_eq!(faults(GOOD), []);
    let profile = FirmwareProfile::parse("example/meter", GOOD).unwrap();
    assert_eq!(profile.hash.len(), 64);
    assert_eq!(&*profile.id, "example/meter");
}

/// (what is replaced, by what, what the fault says, the text under the caret)
const MISTAKES: &[(&str, &str, &str, &str)] = &[
    ("manufacturer = ", "manufactorer = ", "did you mean `manufacturer`", "manufactorer"),
    ("model = \"Meter\"", "model = 7", "must be a text in quotes, not a TOML integer", "7"),
    ("model = \"Meter\"", "model = \"\"", "`model` in [device] is empty", "\"\""),
    ("verified = \"simulator\"", "verified = \"simulater\"", "did you mean `simulator`", "\"simulater\""),
    ("verified = \"simulator\"\n", "", "[device] needs `verified`", "[device]"),
    ("\n[link]", "\n[[device.caveat]]\ntext = \"odd\"\n[link]", "needs `source`", "[[device.caveat]]"),
    ("codec = \"lines\"", "codec = \"line\"", "did you mean `lines`", "\"line\""),
    ("codec = \"lines\"", "codec = \"lines\"\nmax_byte = 5", "did you mean `max_bytes`", "max_byte"),
    ("[link]\ncodec = \"lines\"\n", "", "needs a [link]", "["),
    ("grammar = \"key-value\"", "grammar = \"keyvalue\"", "did you mean `key-value`", "\"keyvalue\""),
    ("[record]\ngrammar = \"key-value\"\n", "", "needs a [record]", "["),
    ("[time]", "[transport.serial]\nbaud = 10\n[time]", "must be from 300 to 4000000", "10"),
    (
        "[time]",
        "[transport.tcp]\nrole = \"server\"\nport = 1\n[time]",
        "must be one of listen, connect",
        "\"server\"",
    ),
    (
        "[time]",
        "[session]\npoll = [{ send = \"hex:0g\" }]\n[time]",
        "hex: must be followed by bytes",
        "\"hex:0g\"",
    ),
    (
        "[time]",
        "[value]\nmissing = { x = \"gone\" }\n[time]",
        "must be one of unknown, temp-unknown",
        "\"gone\"",
    ),
    (
        "[time]",
        "[value.flags]\nq = \"questionible\"\n[time]",
        "did you mean `questionable`",
        "\"questionible\"",
    ),
    ("[time]", "[identify]\nfits = '('\n[time]", "is not a regular expression", "'('"),
    ("%d/%m/%Y %H:%M:%S", "iso", "is no time format", "\"iso\""),
    ("from = \"T\"", "from = \"T\"\nzone = \"Asia/Atlantis\"", "must be an IANA zone", "\"Asia/Atlantis\""),
    ("formats = [\"%d/%m/%Y %H:%M:%S\"]\n", "", "needs `formats`", "[time]"),
    ("match = \"SPO2\"\n", "", "[metric] needs `match`", "[[metric]]"),
    ("match = \"SYS\"", "match = \"SPO2\"", "is already matched on line 21", "\"SPO2\""),
    ("unit = \"%\"", "unit = \"percent\"", "in UCUM it is `%`", "\"percent\""),
    ("unit = \"%\"", "unit = \"furlong\"", "is not a UCUM unit", "\"furlong\""),
    ("unit = \"mm[Hg]\"", "unit = \"kPa\"", "FHIR allows only mm[Hg]", "\"kPa\""),
    ("unit = \"%\"\n", "", "a vital sign needs its `unit`", "[[metric]]"),
    ("mdc = 150456", "mdc = 150456\nloinc = \"59408-5\"", "needs LOINC 2708-6 beside it", "\"59408-5\""),
    ("mdc = 150456", "mdc = 150456\nloinc = \"2708-7\"", "the check digit is wrong", "\"2708-7\""),
    ("mdc = 150456", "mdc = 262688", "is a unit, not a metric", "262688"),
    ("group = \"cuff\"", "group = \"cuf\"", "no [[group]] named `cuf`", "\"cuf\""),
    ("group = \"cuff\"\n", "", "needs its `group`", "[[metric]]"),
    ("mdc = 150456", "mdc = 150456\nas = \"kwantity\"", "did you mean `quantity`", "\"kwantity\""),
    ("mdc = 150456", "mdc = 150456\nas = \"component\"", "a component needs its `group`", "\"component\""),
    ("mdc = 150456", "mdc = 150456\nas = \"coded\"", "a coded metric needs `values`", "[[metric]]"),
    ("mdc = 150456", "mdc = 150456\nscale = \"ten\"", "is not a decimal number", "\"ten\""),
    ("mdc = 150456", "mdc = 150456\nwhen = { A = 5 }", "compares with a text", "5"),
    ("mdc = 150020", "mdc = 150020\n[[group]]\nname = \"cuff\"", "two groups named `cuff`", "[[group]]"),
    ("[time]", "[time", "", "\n"),
    ("mdc = 150456", "mdc = 150999", "is not in the nomenclature", "150999"),
    ("mdc = 150456", "mdc = 150456\nwhen = \"value >\"", "no CEL condition", "\""),
    ("mdc = 150456", "mdc = 150456\nwhen = \"matches(SITE, 'l+')\"", "knows no `matches`", "matches"),
    ("mdc = 150456", "mdc = 150456\nwhen = \"value * 2\"", "must be true or false", "value * 2"),
    ("mdc = 150456", "mdc = 150456\nwhen = 5", "`when` is a condition", "5"),
    (
        "[[metric]]\nmatch = \"SPO2\"\nmdc = 150456\nunit = \"%\"",
        "[[metric]]\nmatch = \"GLU\"\nlabel = \"Glucose\"\ndomain = \"laboratory\"\nloinc = \"2345-7\"\nunit = \"mmol/L\"",
        "is for mg/dL, not for `mmol/L`",
        "\"mmol/L\"",
    ),
    ("grammar = \"key-value\"", "grammar = \"json\"", "is no JSON pointer", "\"T\""),
    ("grammar = \"key-value\"", "grammar = \"hl7\"", "does not begin with a segment name", "\"T\""),
    (
        "[time]",
        "[session]\npoll = [{ send = \"INF_START\", every_ms = 1000 }]\n[time]",
        "is never sent to a device",
        "\"INF_START\"",
    ),
    ("[time]", "[session]\npoll = [{ send = \"A\" }]\n[time]", "needs `every_ms`", "{ send = \"A\" }"),
    ("unit = \"%\"", "unit = \"%\"\ndecimals = 12", "must be from 0 to 9", "12"),
    ("unit = \"%\"", "unit = \"%\"\nclass = \"alert\"", "must be one of", "\"alert\""),
    ("[time]", "[transport.mqtt]\nqos = 1\n[time]", "needs `topics`", "[transport.mqtt]"),
    ("[time]", "[[record.ignore]]\nreason = \"x\"\n[time]", "needs `matches`, or `at`", "[[record.ignore]]"),
    ("[time]", "[orders]\n[time]", "speak LIS02", "[orders]"),
    (
        "mdc = 150456",
        "mdc = 150456\nnamed = \"SpO2\"",
        "`named` has a meaning in the hl7 grammar alone",
        "\"SpO2\"",
    ),
    (
        "[time]",
        "[[record.ignore]]\nmatches = \"x\"\nabsent = true\nreason = \"x\"\n[time]",
        "`absent` needs `at`",
        "true",
    ),
    ("from = \"T\"", "from = \"T\"\nmax_skew_s = \"1h\"", "must be a whole number", "\"1h\""),
    ("match = \"SPO2\"", "match = \"\"", "an empty name", "\"\""),
];

#[test]
fn every_kind_of_mistake_is_told_with_its_place() {
    for (from, to, says, marked) in MISTAKES {
        assert!(GOOD.contains(from), "{from}");
        let page = GOOD.replacen(from, to, 1);
        let faults = faults(&page);
        let fault = faults.iter().find(|fault| fault.message.contains(says));
        let fault = fault.unwrap_or_else(|| panic!("{to:?} gave {faults:#?}"));
        let under: String = fault.source_line.chars().skip(fault.column - 1).take(fault.width).collect();
        if *marked != "\n" {
            assert_eq!(under, *marked, "{fault}");
        }
        assert!(fault.to_string().contains('^'), "{fault}");
    }
}

/// Every mistake as a person reads it. `BLESS=1` writes the file anew: read it as a biomedical engineer would.
#[test]
fn every_mistake_reads_as_it_was_reviewed() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/firmware_profile/mistakes.golden");
    let mut says = String::new();
    for (from, to, _, _) in MISTAKES {
        let written = if to.is_empty() { format!("without {from:?}") } else { format!("{to:?}") };
        let all: Vec<String> = faults(&GOOD.replacen(from, to, 1)).iter().map(ToString::to_string).collect();
        says += &format!("── {written}\n{}\n\n", all.join("\n"));
    }
    let captures = crate::firmware_profile::missing_captures("[[test]]\ncapture = \"gone.txt\"\n", |_| false);
    says += &format!("── a capture that is not in the folder\n{}\n", captures[0]);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &says).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), says);
    assert!(MISTAKES.len() >= 50);
}

#[test]
fn all_faults_of_a_page_are_told_at_once_and_in_order() {
    let page = GOOD.replace("model =", "modell =").replace("unit = \"%\"", "unit = \"pct\"");
    let faults = faults(&page);
    assert!(faults.len() >= 3, "{faults:#?}");
    assert!(faults.windows(2).all(|pair| pair[0].line <= pair[1].line));
}

#[test]
fn a_group_or_column_that_is_not_there_is_told() {
    let page =
        GOOD.replace("grammar = \"key-value\"", "grammar = \"regex\"\npattern = '(?P<SPO>\\d+)(?P<SYS>)'");
    let said: Vec<String> = faults(&page).into_iter().map(|fault| fault.message).collect();
    assert!(said.iter().any(|m| m.contains("no named group `SPO2`; did you mean `SPO`")), "{said:?}");
    let page = GOOD
        .replace("grammar = \"key-value\"", "grammar = \"columns\"\nseparator = \";\"\ncolumns = [\"SYS\"]");
    let said: Vec<String> = faults(&page).into_iter().map(|fault| fault.message).collect();
    assert!(said.iter().any(|m| m.contains("no column `SPO2`")), "{said:?}");
}

#[test]
fn only_the_bytes_a_page_lists_may_be_sent() {
    let page = GOOD.replace(
        "[time]",
        "[session]\non_connect = [{ send = \"hex:02 70\" }]\npoll = [{ send = \"SNDA\\r\", every_ms = 1000 }]\n[time]",
    );
    let profile = FirmwareProfile::parse("x/y", &page).unwrap();
    let allowed: Vec<&[u8]> = profile.session.allowed().collect();
    assert_eq!(allowed, [b"\x02\x70".as_slice(), b"SNDA\r"]);
}
