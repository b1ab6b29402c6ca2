//! Segments and fields by name, for people who look at a message (HL7 2.8.2, chapters 2 to 13; own wording).

use std::collections::HashMap;

use super::{Element, Message};

/// A line for each segment: its name, what it is, and its fields in order.
const TABLE: &str = include_str!("names.txt");

/// Names of segments and fields. Made once for a message: looking up is then cheap.
#[derive(Clone, Debug)]
pub struct Names(HashMap<&'static str, (&'static str, Vec<&'static str>)>);

impl Default for Names {
    fn default() -> Self {
        let entry = |line: &'static str| {
            let (name, rest) = line.split_once(' ')?;
            let (title, fields) = rest.split_once(": ")?;
            Some((name, (title, fields.split("; ").collect())))
        };
        Self(TABLE.lines().filter_map(entry).collect())
    }
}

impl Names {
    /// What a segment is, e.g. `Patient` for `PID`. A Z segment is told as one; `None` for others that are unknown.
    pub fn segment(&self, name: &str) -> Option<&'static str> {
        match self.0.get(name) {
            Some((title, _)) => Some(title),
            None => name.starts_with('Z').then_some("Local segment"),
        }
    }

    /// What a field is, e.g. `Name` for `PID`, 5.
    pub fn field(&self, segment: &str, number: u16) -> Option<&'static str> {
        let (_, fields) = self.0.get(segment)?;
        fields.get(usize::from(number).checked_sub(1)?).copied()
    }
}

/// Whether HL7 defines a segment called `name`, or its first letter says that a site does.
pub(super) fn is_segment(name: &[u8]) -> bool {
    let known = || TABLE.lines().any(|line| line.as_bytes().get(..3) == Some(name));
    name.len() == 3 && (name.first() == Some(&b'Z') || known())
}

/// One segment as a person reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// As written, e.g. `OBX`.
    pub segment: String,
    /// Which segment of that name, from 1.
    pub occurrence: usize,
    pub title: Option<&'static str>,
    /// The fields that are not empty.
    pub fields: Vec<NamedField>,
}

/// One field as a person reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedField {
    /// E.g. `OBX[3]-5`: the path that finds it.
    pub path: String,
    pub title: Option<&'static str>,
    /// Whether it is HL7's null: the sender says that there is no value.
    pub null: bool,
    /// Repetitions, components, subcomponents; escapes resolved. MSH-1 and MSH-2 are one text.
    pub parts: Vec<Vec<Vec<String>>>,
}

/// Takes `message` apart for people: at most `segments_max` segments, and no empty field.
pub fn named(message: &Message<'_>, segments_max: usize) -> Vec<Named> {
    let names = Names::default();
    let mut seen: HashMap<String, usize> = HashMap::new();
    let one = |segment: super::Segment<'_>| {
        let name = segment.name().to_owned();
        let count = seen.entry(name.clone()).or_default();
        *count += 1;
        let occurrence = *count;
        let which = if occurrence > 1 { format!("[{occurrence}]") } else { String::new() };
        let numbered = (1..=u16::MAX).zip(segment.fields());
        let fields = numbered.filter(|(_, field)| !field.is_empty()).map(|(number, field)| NamedField {
            path: format!("{name}{which}-{number}"),
            title: names.field(&name, number),
            null: field.is_null(),
            parts: parts(&field),
        });
        let fields = fields.collect();
        Named { title: names.segment(&name), segment: name, occurrence, fields }
    };
    message.segments().take(segments_max).map(one).collect()
}

fn parts(field: &Element<'_>) -> Vec<Vec<Vec<String>>> {
    let texts =
        |component: Element<'_>| component.subcomponents().map(|part| part.text().into_owned()).collect();
    field.repetitions().map(|repetition| repetition.components().map(texts).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hl7v2::{Charset, Path};

    #[test]
    fn the_table_is_whole_and_in_no_line_twice() {
        let names = Names::default();
        assert_eq!(names.0.len(), TABLE.lines().count());
        for line in TABLE.lines() {
            assert!(is_segment(&line.as_bytes()[..3]) && line.contains(": "), "{line}");
            assert!(line.split("; ").all(|field| !field.is_empty() && field.len() < 60), "{line}");
        }
    }

    /// Places everybody knows by heart, at the beginning, in the middle and at the end of the long segments.
    #[test]
    fn well_known_places_have_their_names() {
        let names = Names::default();
        for (segment, number, title) in [
            ("MSH", 9, "Message type"),
            ("MSH", 10, "Message control id"),
            ("MSH", 16, "Application acknowledgement wanted"),
            ("MSH", 18, "Character set"),
            ("PID", 3, "Patient identifiers"),
            ("PID", 30, "Death"),
            ("PID", 40, "Telecommunication"),
            ("PV1", 3, "Location (ward, room, bed)"),
            ("PV1", 19, "Visit number"),
            ("PV1", 44, "Admitted at"),
            ("PV2", 38, "Mode of arrival"),
            ("OBR", 25, "Result status"),
            ("OBR", 49, "Result handling"),
            ("OBX", 11, "Result status"),
            ("OBX", 14, "Observed at"),
            ("OBX", 18, "Equipment"),
            ("OBX", 23, "Performing organization"),
            ("ORC", 12, "Ordering provider"),
            ("ORC", 25, "Order status modifier"),
            ("SPM", 17, "Collected at"),
            ("SCH", 25, "Filler status"),
            ("TXA", 12, "Document number"),
            ("RXA", 20, "Completion status"),
            ("RXE", 15, "Prescription number"),
            ("IN1", 36, "Policy number"),
            ("FT1", 19, "Diagnosis"),
            ("MRG", 7, "Prior name"),
            ("ERR", 8, "Message for the user"),
            ("DG1", 15, "Priority"),
            ("IN1", 49, "Insured's identifiers"),
            ("IN1", 55, "Action code"),
            ("IN2", 25, "Payor id"),
            ("IN2", 61, "Member number"),
            ("IN2", 72, "Patient's relationship to insured"),
            ("GT1", 45, "Contact"),
            ("GT1", 57, "VIP"),
            ("FT1", 36, "Special processing"),
            ("FT1", 43, "National drug quantity"),
            ("STF", 18, "Job title"),
            ("DRG", 33, "Status of admission"),
            ("IAR", 2, "Severity"),
            ("ECR", 1, "Response"),
            ("BPX", 13, "Expires"),
        ] {
            assert_eq!(names.field(segment, number), Some(title), "{segment}-{number}");
        }
        assert_eq!(names.segment("ZV1"), Some("Local segment"));
        assert_eq!((names.segment("QQQ"), names.field("PID", 0), names.field("PID", 99)), (None, None, None));
    }

    #[test]
    fn a_message_is_shown_by_name_with_paths_that_find_the_same_again() {
        let text = "MSH|^~\\&|A||||1||ORU^R01|1|P|2.5\rPID|||7^^^X&1.2&ISO~8||D\\T\\E^J\rOBX|1||||\"\"\rOBX|2||||5\rZZ1|x\r";
        let message = Message::parse(text.as_bytes(), Charset::default()).message.unwrap();
        let shown = named(&message, 100);
        let heads: Vec<_> =
            shown.iter().map(|one| (one.segment.as_str(), one.occurrence, one.title)).collect();
        assert_eq!(
            heads[1..],
            [
                ("PID", 1, Some("Patient")),
                ("OBX", 1, Some("Observation")),
                ("OBX", 2, Some("Observation")),
                ("ZZ1", 1, Some("Local segment")),
            ]
        );
        assert_eq!(shown[0].fields[0].parts, [[["|"]]]);
        let pid3 = &shown[1].fields[0];
        assert_eq!((pid3.path.as_str(), pid3.title), ("PID-3", Some("Patient identifiers")));
        assert_eq!(pid3.parts[0][3], ["X", "1.2", "ISO"]);
        assert_eq!(pid3.parts[1], [["8"]]);
        assert_eq!(shown[1].fields[1].parts[0][0], ["D&E"]);
        assert!(shown[2].fields.last().unwrap().null);
        assert_eq!(shown[3].fields[1].path, "OBX[2]-5");
        for field in shown.iter().flat_map(|one| &one.fields) {
            let found = message.get(&Path::parse(&field.path).unwrap());
            assert_eq!(parts(&found), field.parts, "{}", field.path);
        }
        assert_eq!(named(&message, 2).len(), 2);
    }
}
