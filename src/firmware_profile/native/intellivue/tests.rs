use super::*;
use crate::firmware_profile::Library;

#[test]
fn what_is_no_message_is_held_and_half_of_one_is_told() {
    let library = Library::embedded().unwrap();
    let profile = library.find("philips/intellivue").unwrap();
    let held = profile.decode(b"\xC0\x11\x01", None, &LinkContext::golden());
    assert!(held.held.is_some() && held.findings[0].code == "half-message");
    let silent = profile.decode(b"\x0E\x00", None, &LinkContext::golden());
    assert!(silent.ignored.is_some());
}

#[test]
fn the_label_names_what_has_no_number() {
    let context = Context { label: Some(0x8007_0012), ..Context::default() };
    let statement = named(value::METRIC_NOS, (0, 1), &context, absent(AbsentReason::Unknown));
    assert_eq!((statement.code.as_ref(), statement.system.as_ref()), ("8007-0012", "MDIL"));
    let context = Context { label: Some(0x0002_4BB8), ..Context::default() };
    let statement = named(value::METRIC_NOS, (0, 1), &context, absent(AbsentReason::Unknown));
    assert_eq!(statement.code.as_ref(), "150456");
}
