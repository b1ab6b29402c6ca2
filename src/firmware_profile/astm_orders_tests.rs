use super::*;
use crate::device::Identifier;
use crate::firmware_profile::Library;

fn page(orders: &str) -> FirmwareProfile {
    let text = format!(
        "[device]\nmanufacturer = \"T\"\nmodel = \"T\"\nverified = \"simulator\"\n[transport.tcp]\nrole = \"listen\"\nport = 4000\n[link]\ncodec = \"astm\"\n[record]\ngrammar = \"astm\"\n[specimen]\nid = \"O-3.1\"\nunreadable = [\"@192\"]\n{orders}\n[[metric]]\nmatch = \"TSH\"\nlabel = \"TSH\"\n"
    );
    FirmwareProfile::parse("t/t", &text).unwrap_or_else(|faults| panic!("{}", faults[0]))
}

fn ask(profile: &FirmwareProfile, records: &[u8]) -> Query {
    profile.query(records, &LinkContext::golden()).unwrap()
}

fn answer(profile: &FirmwareProfile, query: &Query, orders: &[Order]) -> String {
    let bytes = profile.encode_orders(query, orders, &LinkContext::golden()).unwrap();
    String::from_utf8(bytes).unwrap().replace('\r', "\n")
}

fn order(specimen: &str, tests: &[&str]) -> Order {
    let tests = tests.iter().map(|test| (*test).to_owned()).collect();
    Order { specimen: specimen.into(), tests, ..Order::default() }
}

fn person() -> Person {
    Person {
        identifiers: vec![Identifier { system: "urn:x".into(), value: "MRN^7".into(), kind: None }],
        family: Some("TEST".into()),
        given: vec!["PATIENT".into()],
        birth_date: Some("1980-02-03".into()),
        gender: Some("female".into()),
    }
}

#[test]
fn a_query_says_which_specimens_and_which_tests() {
    let profile = page("[orders]");
    for (records, specimens, tests) in [
        ("H|\\^&\rQ|1|^S-1||ALL\rL|1\r", vec!["S-1"], vec![]),
        ("H|\\^&\rQ|1|S-1||ALL\rQ|2|S-2||ALL\rQ|3|S-1||ALL\rL|1\r", vec!["S-1", "S-2"], vec![]),
        ("H|\\^&\rQ|1|PAT^S-1\\PAT^S-2||^^^TSH\\^^^FT4\r", vec!["S-1", "S-2"], vec!["TSH", "FT4"]),
        ("H|`^&\rQ|1|^A1`B2|||S|||||||O\rL|1|N\r", vec!["A1", "B2"], vec![]),
        ("H|\\^&\rQ|1|^@192||ALL\rL|1\r", vec![], vec![]),
    ] {
        let query = ask(&profile, records.as_bytes());
        assert_eq!(
            (query.specimens, query.tests),
            (
                specimens.iter().map(ToString::to_string).collect(),
                tests.iter().map(ToString::to_string).collect()
            ),
            "{records}"
        );
        assert_eq!((query.all, query.cancelled), (false, false), "{records}");
    }
    assert!(ask(&profile, b"H|\\^&\rQ|1|ALL||ALL\r").all);
    assert_eq!(ask(&profile, b"H|\\^&\rQ|1|^@192||ALL\r").unreadable, 1);
}

#[test]
fn results_and_orders_are_no_query() {
    let profile = page("[orders]");
    for records in ["H|\\^&\rP|1\rO|1|S\rR|1|^^^TSH|1\rL|1\r", "H|\\^&\rP|1\rO|1|S\rL|1\r", "", "noise", "H|"]
    {
        assert_eq!(profile.query(records.as_bytes(), &LinkContext::golden()), None, "{records}");
    }
}

#[test]
fn a_query_taken_back_is_not_answered() {
    let profile = page("[orders]");
    let query = ask(&profile, b"H|\\^&\rQ|1|^S-1||ALL||||||||A\rL|1\r");
    assert!(query.cancelled);
    assert_eq!(profile.encode_orders(&query, &[order("S-1", &["TSH"])], &LinkContext::golden()), None);
    assert!(!ask(&page("[orders]\ncancel = []"), b"H|\\^&\rQ|1|^S-1||ALL||||||||A\r").cancelled);
}

#[test]
fn the_answer_has_the_records_of_the_standard() {
    let profile = page("[orders]");
    let query = ask(&profile, b"H|\\^&|||X5^1|||||host||P|1\rQ|1|^S-1||ALL\rL|1\r");
    let urgent = Order { urgent: true, person: Some(person()), ..order("S-1", &["TSH", "FT4"]) };
    assert_eq!(
        answer(&profile, &query, &[urgent]),
        "H|\\^&|||Bedside|||||X5||P|LIS2-A2|20260314140000\nP|1||MRN&S&7||TEST^PATIENT||19800203|F\nO|1|S-1||^^^TSH\\^^^FT4|S||||||A||||||||||||||Q\nL|1|F\n"
    );
}

#[test]
fn an_answer_can_be_read_again_as_orders_for_the_same_specimens_and_tests() {
    let profile = page("[orders]");
    for head in ["H|\\^&", "H|`^&", "H!@$%", "H|@^\\"] {
        let (field, component) = (head.chars().nth(1).unwrap(), head.chars().nth(3).unwrap());
        let query = ask(&profile, format!("{head}\rQ{field}1{field}{component}S|1\r").as_bytes());
        let specimen = query.specimens.first().cloned().unwrap_or_default();
        let text = profile
            .encode_orders(&query, &[order("a|b^c\\d&e`f@g!h", &["T^1", "T2"])], &LinkContext::golden())
            .unwrap();
        let text = String::from_utf8(text).unwrap();
        let records = astm::records(&text, &mut Vec::new());
        let written = records.iter().find(|record| record.kind == 'O').unwrap();
        assert_eq!(written.unescaped(written.field(3)), "a|b^c\\d&e`f@g!h", "{head} {specimen}");
        let tests: Vec<_> = written.field(5).split(written.delimiters.repeat).collect();
        let codes: Vec<_> = tests
            .iter()
            .map(|test| written.unescaped(test.split(component).nth(3).unwrap()).into_owned())
            .collect();
        assert_eq!(codes, ["T^1", "T2"], "{head}");
    }
}

#[test]
fn without_orders_the_answer_says_that_there_are_none() {
    let profile = page("[orders]");
    let query = ask(&profile, b"H|\\^&|||X\rQ|1|^S-1||ALL\rL|1\r");
    let none = "H|\\^&|||Bedside|||||X||P|LIS2-A2|20260314140000\nL|1|I\n";
    assert_eq!(answer(&profile, &query, &[]), none);
    assert_eq!(answer(&profile, &query, &[order("S-1", &[])]), none, "an order of nothing is none");
    let own = page("[orders]\nnothing = ['P|1', 'O|1|{Q-3.2}||||||||||||||||||||||X', 'L|1|N']");
    let text = answer(&own, &ask(&own, b"H|\\^&\rQ|1|^S-1||ALL\r"), &[]);
    assert!(text.ends_with("P|1\nO|1|S-1||||||||||||||||||||||X\nL|1|N\n"), "{text}");
}

#[test]
fn each_page_writes_the_records_as_its_analyser_wants_them() {
    let profile = page(
        "[orders]\nfrom = \"Q-3.3\"\norder = 'O|{n}|{specimen}|{Q-3.4}^{Q-3.5}|{tests}|{priority}||||||N'\ntest = '^^^{test}^'\nend = 'L|1|N'\nurgent = \"STAT\"\none_test_per_record = true\nheader = 'H|\\^&|||host|||||{H-5.1}'",
    );
    let query = ask(&profile, b"H|\\^&|||e9^1\rQ|1|^^S-1^12^3\\^^S-2^13^1||ALL\rL|1\r");
    let orders = [Order { urgent: true, ..order("S-2", &["5", "7"]) }, order("S-1", &["5"])];
    assert_eq!(
        answer(&profile, &query, &orders),
        "H|\\^&|||host|||||e9\nP|1||||^|||\nO|1|S-2|13^1|^^^5^|STAT||||||N\nO|2|S-2|13^1|^^^7^|STAT||||||N\nP|2||||^|||\nO|1|S-1|12^3|^^^5^|R||||||N\nL|1|N\n"
    );
}

#[test]
fn one_patient_with_two_specimens_is_one_patient_record() {
    let profile = page("[orders]");
    let query = ask(&profile, b"H|\\^&\rQ|1|^S-1\\^S-2||ALL\r");
    let with = |specimen| Order { person: Some(person()), ..order(specimen, &["TSH"]) };
    let text = answer(&profile, &query, &[with("S-1"), with("S-2"), order("S-3", &["TSH"])]);
    let kinds: String = text.lines().map(|line| &line[..3]).collect();
    assert_eq!(kinds, "H|\\P|1O|1O|2P|2O|1L|1");
}

#[test]
fn an_answer_to_single_bytes_is_in_single_bytes() {
    let profile = page("[orders]");
    let query = ask(&profile, b"H|\xA5^&|||U\rQ|1|^S-1||ALL\r");
    let bytes = profile.encode_orders(&query, &[order("S-1", &["A", "B"])], &LinkContext::golden()).unwrap();
    assert!(bytes.starts_with(b"H|\xA5^&") && bytes.windows(9).any(|w| w == b"^^^A\xA5^^^B"));
}

#[test]
fn no_value_breaks_out_of_its_record() {
    let profile = page("[orders]");
    let query = ask(&profile, b"H|\\^&\rQ|1|^S-1||ALL\r");
    let text = answer(&profile, &query, &[order("S\rL|1|N\n\x03\x04", &["T\x02\rP|9"])]);
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(!text.contains(['\x02', '\x03', '\x04']));
}

#[test]
fn a_page_without_orders_answers_nothing() {
    let profile = page("");
    let query = ask(&profile, b"H|\\^&\rQ|1|^S-1||ALL\r");
    assert!(!profile.answers_queries());
    assert_eq!(profile.encode_orders(&query, &[order("S-1", &["TSH"])], &LinkContext::golden()), None);
}

#[test]
fn faults_of_the_section_are_told() {
    for (orders, word) in [
        ("order = 'O|{specimne}'", "specimne"),
        ("order = 'O|{specimen'", "ends with }"),
        ("from = \"O-3\"", "Q field"),
        ("oder = 'O'", "oder"),
    ] {
        let text = format!(
            "[device]\nmanufacturer = \"T\"\nmodel = \"T\"\nverified = \"simulator\"\n[link]\ncodec = \"astm\"\n[record]\ngrammar = \"astm\"\n[orders]\n{orders}\n"
        );
        let faults = FirmwareProfile::parse("t/t", &text).unwrap_err();
        assert!(faults.iter().any(|fault| fault.to_string().contains(word)), "{orders}: {faults:?}");
    }
}

#[test]
fn any_query_gets_an_answer_that_is_records_only() {
    let library = Library::embedded().unwrap();
    let context = LinkContext::golden();
    for profile in library.profiles().filter(|profile| profile.answers_queries()) {
        for records in
            [&b"H|\\^&\rQ|1|^S||ALL\r"[..], b"H|`^&\rQ|1|\r", b"Q", b"H|\\^&\rQ|1|^a\\^b^^^|||||||||||||||"]
        {
            let Some(query) = profile.query(records, &context) else { continue };
            let orders = [order("a|^\\&", &["T"])];
            let bytes = profile.encode_orders(&query, &orders, &context).unwrap();
            assert!(bytes.starts_with(b"H") && bytes.ends_with(b"\r"), "{}", profile.id);
        }
    }
}
