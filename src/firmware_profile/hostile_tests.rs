//! Documents and pages made to do harm: each is refused or held within bounds; nothing is expanded, read or run.

use std::time::{Duration, Instant};

use super::xml::Tree;
use super::*;

/// Far above what any of these takes, and far below what a machine that fell for one would.
const AGES: Duration = Duration::from_secs(20);

fn quickly<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = run();
    assert!(began.elapsed() < AGES, "{what} took {:?}", began.elapsed());
    done
}

fn page(grammar: &str, matches: &str) -> String {
    format!(
        "[device]\nmanufacturer = \"E\"\nmodel = \"M\"\nverified = \"simulator\"\n[link]\ncodec = \"lines\"\n\
         [record]\ngrammar = \"{grammar}\"\n{matches}\n"
    )
}

#[test]
fn a_hundred_thousand_brackets_of_json_are_held_and_no_stack_overflows() {
    let library = Library::embedded().unwrap();
    let profile = library.find("ble-gateway/vital-kit").unwrap();
    for (open, close) in [("[", "]"), ("{\"data\":", "}"), ("[{\"a\":", "}]")] {
        for depth in [200, 100_000] {
            let bytes = format!("{}1{}", open.repeat(depth), close.repeat(depth)).into_bytes();
            let decoded = quickly("json", || profile.decode(&bytes, Some("kits/1"), &LinkContext::golden()));
            assert!(decoded.held.is_some() && decoded.reports.is_empty(), "{open} {depth}");
        }
    }
}

#[test]
fn entities_of_a_document_are_neither_expanded_nor_fetched() {
    let mut laughs = String::from("<!DOCTYPE l [<!ENTITY l0 'ha'>");
    for n in 1..40 {
        laughs.push_str(&format!("<!ENTITY l{n} '&l{0};&l{0};'>", n - 1));
    }
    laughs.push_str("]><l>&l39;</l>");
    let files = [
        "<!DOCTYPE l [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><l>&x;</l>".to_owned(),
        "<!DOCTYPE l [<!ENTITY x SYSTEM 'http://127.0.0.1:9/x'>]><l>&x;</l>".to_owned(),
        "<!DOCTYPE l SYSTEM 'file:///etc/passwd' [<!ENTITY % p SYSTEM 'file:///etc/passwd'> %p;]><l>&p;</l>"
            .to_owned(),
        laughs,
    ];
    for text in files {
        let mut findings = Vec::new();
        let tree = quickly("entities", || Tree::parse(&text, &mut findings));
        if let Ok(tree) = tree {
            let said = tree.own_text();
            assert!(said.len() < 20 && !said.contains("root"), "{said}");
        }
        assert!(findings.iter().any(|finding| finding.code == "doctype"), "{text}");
    }
}

#[test]
fn attributes_without_end_and_names_without_end_stay_within_bounds() {
    let attributes: String = (0..50_000).map(|n| format!(" a{n}='x'")).collect();
    for text in [format!("<l{attributes}/>"), format!("<{}/>", "x".repeat(1 << 20)), "<a ".repeat(100_000)] {
        quickly("attributes", || drop(Tree::parse(&text, &mut Vec::new())));
    }
}

#[test]
fn a_pattern_that_would_fill_the_memory_is_refused_and_one_that_backtracks_elsewhere_ends() {
    for pattern in ["(a{1000}){1000}", "((a{100}){100}){100}", "([a-z]{500}){500}"] {
        let text = page("regex", &format!("pattern = \"{pattern}\""));
        let faults = quickly(pattern, || FirmwareProfile::parse("example/meter", &text)).err().unwrap();
        assert!(faults.iter().any(|fault| fault.message.contains("not a regular expression")), "{faults:?}");
    }
    // Exponential for engines that go back: this one does not.
    let evil = regex::Regex::new("^(a+)+$").unwrap();
    assert!(!quickly("(a+)+", || evil.is_match(&format!("{}!", "a".repeat(100_000)))));
}
