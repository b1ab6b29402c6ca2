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
    ("codec = \"lines\"", "codec = \"lines\"\nmax_byte = 5", "unknown field", "[link]"),
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
    ("mdc = 150456", "mdc = 262688", "is a unit, not a metric", "[[metric]]"),
    ("group = \"cuff\"", "group = \"cuf\"", "no [[group]] named `cuf`", "\"cuf\""),
    ("group = \"cuff\"\n", "", "needs its `group`", "[[metric]]"),
    ("mdc = 150456", "mdc = 150456\nas = \"kwantity\"", "did you mean `quantity`", "\"kwantity\""),
    ("mdc = 150456", "mdc = 150456\nas = \"component\"", "a component needs its `group`", "\"component\""),
    ("mdc = 150456", "mdc = 150456\nas = \"coded\"", "a coded metric needs `values`", "[[metric]]"),
    ("mdc = 150456", "mdc = 150456\nscale = \"ten\"", "is not a decimal number", "\"ten\""),
    ("mdc = 150456", "mdc = 150456\nwhen = { A = 5 }", "compares with a text", "5"),
    ("mdc = 150020", "mdc = 150020\n[[group]]\nname = \"cuff\"", "two groups named `cuff`", "[[group]]"),
    ("[time]", "[time", "", "\n"),
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
