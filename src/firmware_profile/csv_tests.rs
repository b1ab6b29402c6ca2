use super::*;
use crate::device::Value;

fn read(record: &str, metrics: &str, file: &[u8]) -> Decoded {
    let page = format!(
        "[device]\nmanufacturer = \"T\"\nmodel = \"T\"\nverified = \"simulator\"\n[link]\ncodec = \"message\"\n\
         [record]\ngrammar = \"csv\"\n{record}\n[value]\ndecimal = \"either\"\n[identify]\nserial = \"@Serial\"\n\
         [subject]\nid = \"ID\"\n{metrics}"
    );
    let profile = FirmwareProfile::parse("t/t", &page).map_err(|faults| faults[0].to_string()).unwrap();
    profile.decode(file, None, &LinkContext::golden())
}

const CRP: &str =
    "[[metric]]\nmatch = \"Result\"\nlabel = \"CRP\"\nwhen = { Test = \"CRP\" }\nunit_from = \"Unit\"\n";

fn values(decoded: &Decoded) -> Vec<String> {
    let all = decoded.reports.iter().flat_map(|report| &report.measurements);
    all.map(|measurement| match &measurement.value {
        Value::Numeric { value, .. } => value.to_string(),
        Value::Text(text) => text.to_string(),
        other => format!("{other:?}"),
    })
    .collect()
}

#[test]
fn rows_are_read_by_the_names_above_them_whatever_parts_the_cells() {
    for sign in [",", ";", "\t"] {
        let file = "Serial|S-9\n\nID|Test|Result|Unit\nA1|CRP|\"5,5\"|mg/L\nA2|CRP|\"say \"\"hi\"\"\"|\n"
            .replace('|', sign);
        let decoded = read("header = \"Test\"", CRP, file.as_bytes());
        assert_eq!(values(&decoded)[0], "5.5", "{sign:?} {decoded:?}");
        assert_eq!(decoded.reports.len(), 2);
        assert_eq!(decoded.reports[0].device.serial.as_deref(), Some("S-9"));
    }
}

#[test]
fn a_row_of_an_unlisted_code_is_kept_under_it() {
    let record = "header = \"Test\"\ncode = \"Test\"\nvalue = \"Result\"";
    let decoded = read(record, CRP, b"ID,Test,Result,Unit\nA1,CRP,5,mg/L\nA1,HBA1C,7.1,%\n");
    assert_eq!(values(&decoded), ["5", "7.1"]);
    assert!(decoded.findings.iter().any(|finding| finding.code == "unknown-code"));
}

#[test]
fn a_cut_row_is_told_and_a_blank_line_ends_the_table() {
    let decoded =
        read("header = \"Test\"", CRP, b"ID,Test,Result,Unit\nA1,CRP,5,mg/L\nA2,CR\n\nA3,CRP,6,mg/L\n");
    assert_eq!(values(&decoded), ["5"]);
    assert_eq!(decoded.findings[0].code, "cut-line");
    assert!(read("header = \"Test\"", CRP, b"a,b\n1,2\n").held.is_some());
    assert!(read("", CRP, b"").held.is_some());
}

#[test]
fn columns_go_by_number_too_and_letters_by_the_charset_of_the_page() {
    let metric = "[[metric]]\nmatch = \"#2\"\nas = \"text\"\nlabel = \"Words\"\n";
    let decoded = read("charset = \"cp850\"\nseparator = \";\"", metric, b"ID;X\nA1;M\x81ller\n");
    assert_eq!(values(&decoded), ["M\u{FC}ller"]);
    let wide: Vec<u8> = "\u{FEFF}ID;X\r\nA1;\u{B5}g\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(values(&read("", metric, &wide)), ["\u{B5}g"]);
}
