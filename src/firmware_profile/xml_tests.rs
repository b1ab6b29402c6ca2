use super::*;
use crate::device::{MetricClass, ResultStatus, Value};

fn tree(text: &str) -> Tree {
    Tree::parse(text, &mut Vec::new()).unwrap()
}

fn path(text: &str) -> Locator {
    Locator::Xml(XmlPath::parse(text).unwrap())
}

const TWO: &str = "<a><svc r='1'><pt n='one'><o v='1'/><o v='2'><n>x</n><n>y</n></o></pt><spc k='s1'/></svc>\
    <svc r='2'><pt n='two'><o v='3'/></pt></svc></a>";

#[test]
fn a_path_from_the_top_goes_through_what_holds_the_item() {
    let tree = tree(TWO);
    let items = tree.select(&XmlPath::parse("/a/*/pt/o").unwrap(), None);
    assert_eq!(items.len(), 3);
    let at = |item: usize, place: &str| {
        let place_of = Place { tree: &tree, item: Some(items[item]), number: item + 1, text: "" };
        place_of.text(&path(place)).map(|text| text.into_owned())
    };
    assert_eq!(at(0, "/a/svc/pt@n").as_deref(), Some("one"));
    assert_eq!(at(2, "/a/svc/pt@n").as_deref(), Some("two"));
    assert_eq!(at(2, "/a/svc@r").as_deref(), Some("2"));
    assert_eq!(at(1, "/a/svc/spc@k").as_deref(), Some("s1"));
    assert_eq!(at(2, "/a/svc/spc@k"), None, "another's specimen is not taken");
    assert_eq!(at(1, ".@v").as_deref(), Some("2"));
    assert_eq!(at(1, "../../spc@k").as_deref(), Some("s1"));
    assert_eq!(at(1, "./n").as_deref(), Some("x"));
    assert_eq!(at(0, "./n"), None);
    let second = Place { tree: &tree, item: Some(items[1]), number: 2, text: "" };
    assert_eq!(second.all(&path("./n")), ["x", "y"]);
}

#[test]
fn a_wrong_path_says_what_to_write() {
    for wrong in ["", "a/b", "/", "/a//b", "./a/../b", "/../a", "/a@", "/a b", "//a", "@V"] {
        let error = XmlPath::parse(wrong).unwrap_err();
        assert!(error.contains("/OBS.R01/SVC"), "{wrong}: {error}");
    }
}

#[test]
fn prefixes_entities_and_sections_are_read_and_types_are_not() {
    let mut findings = Vec::new();
    let text = "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'boom'>]><x:a y:v='&lt;&#65;&b;'>1 &amp; 2<![CDATA[<3>]]>&b;</x:a>";
    let tree = Tree::parse(text, &mut findings).unwrap();
    let root = tree.node(0).unwrap();
    assert_eq!((&*root.name, root.text.as_str()), ("a", "1 & 2<3>&b;"));
    assert_eq!(root.attributes[0].1, "&lt;&#65;&b;", "an attribute with an unknown entity stays as it is");
    let codes: Vec<_> = findings.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["doctype", "unknown-entity"]);
}

#[test]
fn what_is_no_xml_is_told_without_its_words() {
    for text in ["<a><b></a>", "<a", "<a>", "</a>", "<a></a></b>"] {
        let error = Tree::parse(text, &mut Vec::new()).unwrap_err();
        assert!(error.starts_with("not XML"), "{text}: {error}");
    }
    assert!(Tree::parse(&"<a>".repeat(100), &mut Vec::new()).unwrap_err().contains("deeper"));
    let many = format!("<a>{}</a>", "<b/>".repeat(NODES_MAX));
    assert!(Tree::parse(&many, &mut Vec::new()).unwrap_err().contains("more than"));
}

#[test]
fn bytes_are_read_as_the_document_declares_when_they_are_not_utf_8() {
    let context = LinkContext::golden();
    let text = decoded_text(b"<?xml version=\"1.0\" encoding='iso-8859-2'?><a v=\"\xB1\"/>", &context);
    assert!(text.contains('\u{105}'), "{text}");
    assert!(decoded_text("<?xml encoding=\"iso-8859-2\"?><a v=\"ä\"/>".as_bytes(), &context).contains('ä'));
    assert!(decoded_text(b"<a v=\"\xE4\"/>", &context).contains('ä'));
}

const PAGE: &str = r#"
[device]
manufacturer = "T"
model = "T"
verified = "simulator"
[link]
codec = "poct1a"
[record]
grammar = "xml"
items = ["/O/S/P/R", "/O/S/C/R"]
code = "./id@V"
system = "./id@SN"
value = "./v@V"
unit = "./v@U"
absent = "./v@NULL"
range = "./range@V"
status = "./st@V"
statuses = { A = "final", R = "rejected" }
[time]
from = "/O/S@t"
formats = ["rfc3339"]
[subject]
id = "/O/S/P@id"
[[quality_control]]
at = "/O/S/C@lot"
[[metric]]
match = "G"
loinc = [{ code = "14749-6", unit = "mmol/L" }]
"#;

fn read(frame: &str) -> Decoded {
    let profile = FirmwareProfile::parse("t/t", PAGE).map_err(|faults| faults[0].to_string()).unwrap();
    profile.decode(frame.as_bytes(), None, &LinkContext::golden())
}

#[test]
fn a_control_has_no_patient_and_a_rejected_result_no_value() {
    let decoded = read(
        "<O><S t='2026-03-14T08:00:00Z'><P id='A1'><R><id V='G'/><v V='5.0' U='mmol/L'/><range V='[3;6]'/><st V='A'/></R>\
         <R><id V='G'/><v V='9.9' U='mmol/L'/><st V='R'/></R></P></S>\
         <S t='2026-03-14T08:01:00Z'><C lot='L1'><R><id V='G'/><v V='4.0' U='mmol/L'/></R></C></S></O>",
    );
    assert_eq!(decoded.reports.len(), 2, "{decoded:?}");
    let patient = &decoded.reports[0];
    assert!(patient.person.is_some());
    assert_eq!(patient.measurements[0].reference_range.as_deref(), Some("3-6"));
    assert_eq!(patient.measurements[1].result_status, ResultStatus::Cancelled);
    assert!(matches!(patient.measurements[1].value, Value::Absent(_)));
    let control = &decoded.reports[1];
    assert!(control.person.is_none());
    assert_eq!(control.measurements[0].metric.class, MetricClass::QualityControl);
}

#[test]
fn what_is_absent_says_why_and_what_is_unused_is_told() {
    let decoded = read(
        "<O><S><P id='A1'><R><id V='G'/><v NULL='NASK'/><odd V='1'/></R><R><id V='X'/><v V='1e3'/></R></P></S></O>",
    );
    let [absent, other] = decoded.reports[0].measurements.as_slice() else { panic!("{decoded:?}") };
    assert!(matches!(absent.value, Value::Absent(crate::device::AbsentReason::NotPerformed)));
    assert!(matches!(other.value, Value::Numeric { .. }));
    let codes: Vec<_> = decoded.findings.iter().map(|finding| (finding.code, &*finding.place)).collect();
    assert!(
        codes.contains(&("unused", "odd")) && codes.contains(&("unknown-code", "item 2 code")),
        "{codes:?}"
    );
}

#[test]
fn a_page_can_give_each_value_a_place_of_its_own() {
    let page = r#"
[device]
manufacturer = "T"
model = "T"
verified = "simulator"
[link]
codec = "message"
[record]
grammar = "xml"
items = "/all/one"
[subject]
id = "./@pid"
[[metric]]
match = "./temp"
mdc = 150364
unit = "Cel"
"#
    .replace("./@pid", ".@pid");
    let profile = FirmwareProfile::parse("t/t", &page).map_err(|faults| faults[0].to_string()).unwrap();
    let frame = b"<all><one pid='A1'><temp>36.6</temp></one><one pid='A2'><temp>37.7</temp></one></all>";
    let decoded = profile.decode(frame, None, &LinkContext::golden());
    let people: Vec<_> = decoded
        .reports
        .iter()
        .map(|report| report.person.as_ref().unwrap().identifiers[0].value.to_string())
        .collect();
    assert_eq!(people, ["A1", "A2"]);
}
