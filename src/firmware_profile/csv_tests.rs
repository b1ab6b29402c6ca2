use super::*;
use crate::device::Value;
use crate::firmware_profile::{Decoded, LinkContext};

fn read(record: &str, metrics: &str, file: &[u8]) -> Decoded {
    let page = format!(
        "[device]\nmanufacturer = \"T\"\nmodel = \"T\"\nverified = \"simulator\"\n[link]\ncodec = \"message\"\n\
         [record]\ngrammar = \"csv\"\npreamble = true\n{record}\n[value]\ndecimal = \"either\"\n[identify]\nserial = \"@Serial\"\n\
         [time]\nfrom = \"Test Date + Test Time\"\nformats = [\"%Y-%m-%d %H:%M\"]\n[subject]\nid = \"ID\"\n{metrics}"
    );
    let profile = FirmwareProfile::parse("t/t", &page).map_err(|faults| faults[0].to_string()).unwrap();
    profile.decode(file, None, &LinkContext::golden())
}

const HEADER: &str = "header = 'Test'";
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

fn cut_lines(decoded: &Decoded) -> usize {
    decoded.findings.iter().filter(|finding| finding.code == "cut-line").count()
}

#[test]
fn rows_are_read_by_the_names_above_them_whatever_parts_the_fields() {
    for sign in [",", ";", "\t"] {
        let file = "Serial|S-9\n\nID|Test|Result|Unit\nA1|CRP|\"5,5\"|mg/L\nA2|CRP|\"say \"\"hi\"\"\"|\n"
            .replace('|', sign);
        let decoded = read(HEADER, CRP, file.as_bytes());
        assert_eq!(values(&decoded)[0], "5.5", "{sign:?} {decoded:?}");
        assert_eq!(decoded.reports.len(), 2);
        assert_eq!(decoded.reports[0].device.serial.as_deref(), Some("S-9"));
    }
}

#[test]
fn what_stands_above_the_header_is_read_however_it_is_written() {
    for above in ["Serial,S-9", "Serial: S-9,,", "* Serial = S-9", "# Serial: S-9"] {
        let file = format!("{above}\n[Results]\nID,Test,Result,Unit\nA1,CRP,5,mg/L\n");
        let decoded = read(HEADER, CRP, file.as_bytes());
        assert_eq!(decoded.reports[0].device.serial.as_deref(), Some("S-9"), "{above}");
    }
}

#[test]
fn columns_with_blanks_in_their_names_are_joined() {
    let file = b"ID,Test,Result,Unit,Test Date,Test Time\nA1,CRP,5,mg/L,2026-03-14,13:30\n";
    let decoded = read(HEADER, CRP, file);
    let taken = &decoded.reports[0].measurements[0].taken;
    // 13:30 in Kolkata, the zone of the link.
    assert_eq!((taken.micros, taken.source), (1_773_475_200_000_000, crate::device::ClockSource::Device));
}

#[test]
fn a_row_of_an_unlisted_code_is_kept_under_it() {
    let record = "header = 'Test'\ncode = \"Test\"\nvalue = \"Result\"";
    let decoded = read(record, CRP, b"ID,Test,Result,Unit\nA1,CRP,5,mg/L\nA1,HBA1C,7.1,%\n");
    assert_eq!(values(&decoded), ["5", "7.1"]);
    let told: Vec<&str> = decoded.findings.iter().map(|finding| finding.code).collect();
    assert!(told.contains(&"unknown-code") && !told.contains(&"no-condition"), "{told:?}");
}

#[test]
fn a_cut_row_is_told_and_a_blank_line_ends_the_table() {
    let file =
        b"ID,Test,Result,Unit\nA1,CRP,5,mg/L\nA2,CR\nA3,CRP,6,mg/L,x\n\nA4,CRP,7,mg/L\nA5,CRP,8,mg/L\n";
    let decoded = read(HEADER, CRP, file);
    assert_eq!(values(&decoded), ["5"]);
    let told: Vec<&str> = decoded.findings.iter().map(|finding| finding.code).collect();
    assert_eq!(told.iter().filter(|code| **code == "cut-line").count(), 2, "{told:?}");
    assert_eq!(told.iter().filter(|code| **code == "after-table").count(), 1, "{told:?}");
    assert!(read(HEADER, CRP, b"a,b\n1,2\n").held.is_some());
    assert!(read(HEADER, CRP, b"").held.is_some());
}

#[test]
fn another_header_begins_another_table() {
    let file = b"ID,Test,Result,Unit\nA1,CRP,5,mg/L\n\nMelt\nTest,ID,Unit,Result,,\nCRP,A2,mg/L,6\n";
    assert_eq!(values(&read(HEADER, CRP, file)), ["5", "6"]);
}

#[test]
fn fields_may_be_left_out_where_the_page_says_so() {
    let record = "header = 'Test'\nleast = 3";
    let decoded = read(record, CRP, b"ID,Test,Result,Unit\nA1,CRP,5\nA2,CRP\n");
    assert_eq!(values(&decoded), ["5"]);
    assert_eq!(cut_lines(&decoded), 1);
}

#[test]
fn a_field_in_quotes_goes_on_over_lines_and_a_quote_that_does_not_end_is_told() {
    let file = b"ID,Test,Result,Unit,Note\r\nA1,CRP,5,mg/L,\"two\r\n\r\nlines\"\r\nA2,CRP,6,mg/L,\"cut\r\n";
    let decoded = read("header = 'Test'", CRP, file);
    assert_eq!((values(&decoded), cut_lines(&decoded)), (vec!["5".into()], 1));
    let cut = b"ID,Test,Result,Unit\nA1,CRP,\"5,mg/L\nA2,CRP,6,mg/L\n";
    let decoded = read("header = 'Test'", CRP, cut);
    assert_eq!((values(&decoded), cut_lines(&decoded)), (vec!["6".into()], 1));
}

#[test]
fn columns_without_a_name_go_by_number_and_letters_by_the_charset_of_the_page() {
    let metric = "[[metric]]\nmatch = \"#2\"\nas = \"text\"\nlabel = \"Words\"\n";
    let decoded =
        read("header = '^ID'\ncharset = \"cp850\"\nseparator = \";\"", metric, b"ID;;N\nA1;M\x81ller;\n");
    assert_eq!(values(&decoded), ["M\u{FC}ller"]);
    let wide: Vec<u8> =
        "\u{FEFF}ID;;X\r\nA1;\u{B5}g;1\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(values(&read("header = '^ID'", metric, &wide)), ["\u{B5}g"]);
}
