//! An HL7 v2 message segment by segment, each field by its name and place, for people who look for what a sender said.

use serde::Serialize;
use utoipa::ToSchema;

use super::raw::seen;
use crate::hl7v2::{Charset, Message, Named, NamedField, named};

/// Most bytes of a frame that are taken apart.
const BYTES_MAX: usize = 256 * 1024;
/// Most segments shown.
const SEGMENTS_MAX: usize = 500;
/// Most characters shown of one value: documents travel in OBX-5.
const TEXT_MAX: usize = 2000;

/// A message taken apart; empty fields are left out.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Hl7Message)]
pub(super) struct Segments {
    segments: Vec<SegmentView>,
    /// False when there is more than is shown.
    whole: bool,
}

/// One segment.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Hl7Segment)]
struct SegmentView {
    segment: String,
    /// Which segment of that name, from 1.
    occurrence: usize,
    title: Option<&'static str>,
    fields: Vec<FieldView>,
}

/// One field.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Hl7Field)]
struct FieldView {
    /// Where it is, e.g. `OBX[3]-5`.
    path: String,
    title: Option<&'static str>,
    /// HL7's null: the sender says that there is no value.
    null: bool,
    /// Repetitions, components, subcomponents.
    parts: Vec<Vec<Vec<String>>>,
}

impl Segments {
    /// The beginning of a frame, in `charset` where MSH-18 says nothing; `None` when it is no HL7 v2 message.
    pub(super) fn of(frame: &[u8], charset: Charset) -> Option<Self> {
        let shown = beginning(frame);
        let message = Message::parse(shown, charset).message?;
        let more = message.segments().nth(SEGMENTS_MAX).is_some();
        let segments = named(&message, SEGMENTS_MAX).into_iter().map(segment).collect();
        Some(Self { segments, whole: shown.len() == frame.len() && !more })
    }
}

/// What is taken apart of a long frame: up to the end of a segment, where there is one.
fn beginning(frame: &[u8]) -> &[u8] {
    let Some(cut) = frame.get(..BYTES_MAX) else { return frame };
    let end = cut.iter().rposition(|byte| matches!(byte, b'\r' | b'\n'));
    end.and_then(|end| cut.get(..end)).unwrap_or(cut)
}

fn segment(named: Named) -> SegmentView {
    let Named { segment, occurrence, title, fields } = named;
    SegmentView {
        segment: shown(&segment),
        occurrence,
        title,
        fields: fields.into_iter().map(field).collect(),
    }
}

fn field(named: NamedField) -> FieldView {
    let NamedField { path, title, null, parts } = named;
    let component = |component: Vec<String>| component.iter().map(|text| shown(text)).collect();
    let repetition = |repetition: Vec<Vec<String>>| repetition.into_iter().map(component).collect();
    FieldView { path: shown(&path), title, null, parts: parts.into_iter().map(repetition).collect() }
}

/// A text for the eye: its beginning, its control characters visible; the end of a line stays one.
fn shown(text: &str) -> String {
    let mut shown: String =
        text.chars().take(TEXT_MAX).map(|c| if c == '\n' { c } else { seen(c) }).collect();
    if text.chars().nth(TEXT_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// For the fuzzing rig: whatever bytes come, what is shown is bounded and holds no control character but the line end.
pub(super) fn fuzz(bytes: &[u8]) {
    let Some(view) = Segments::of(bytes, Charset::default()) else { return };
    assert!(view.segments.len() <= SEGMENTS_MAX);
    for field in view.segments.iter().flat_map(|segment| &segment.fields) {
        for text in field.parts.iter().flatten().flatten() {
            assert!(text.chars().all(|c| !c.is_control() || c == '\n'));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_shown_by_name_and_place() {
        let frame = b"\x0bMSH|^~\\&|A||||1||ORU^R01|1|P|2.5\rPID|||7^^^X&1.2&ISO~8\rOBX|1||||\"\"\r\x1c\r";
        let view = serde_json::to_value(Segments::of(frame, Charset::default()).unwrap()).unwrap();
        assert_eq!(view["whole"], true);
        assert_eq!(view["segments"][1]["segment"], "PID");
        assert_eq!(view["segments"][1]["title"], "Patient");
        let field = &view["segments"][1]["fields"][0];
        assert_eq!(field["path"], "PID-3");
        assert_eq!(field["title"], "Patient identifiers");
        assert_eq!(field["parts"], serde_json::json!([[["7"], [""], [""], ["X", "1.2", "ISO"]], [["8"]]]));
        assert_eq!(view["segments"][2]["fields"][1]["null"], true);
    }

    #[test]
    fn what_is_no_message_is_not_taken_apart() {
        assert_eq!(Segments::of(b"SpO2=97 BPM=60\r\n", Charset::default()), None);
        assert_eq!(Segments::of(b"", Charset::default()), None);
    }

    #[test]
    fn a_long_message_is_shown_to_the_end_of_a_segment_and_says_so() {
        let mut frame = b"MSH|^~\\&|A\r".to_vec();
        while frame.len() < BYTES_MAX {
            frame.extend_from_slice(b"NTE|1||");
            frame.resize(frame.len() + 3000, b'x');
            frame.push(b'\r');
        }
        let view = Segments::of(&frame, Charset::default()).unwrap();
        assert!(!view.whole);
        let last = view.segments.last().unwrap();
        let text = &last.fields.last().unwrap().parts[0][0][0];
        assert_eq!(text.chars().count(), TEXT_MAX + 1, "the last segment is a whole one, its text cut");
        assert!(text.ends_with("x…"));

        let many = [b"MSH|^~\\&|A\r".to_vec(), b"NTE|1\r".repeat(SEGMENTS_MAX)].concat();
        let view = Segments::of(&many, Charset::default()).unwrap();
        assert_eq!((view.segments.len(), view.whole), (SEGMENTS_MAX, false));
    }

    #[test]
    fn marks_that_turn_text_around_are_seen() {
        let frame = "MSH|^~\\&|A\u{202e}B\rNTE|1||a\\.br\\b\u{9b}\r";
        let view = Segments::of(frame.as_bytes(), Charset::default()).unwrap();
        let texts: Vec<_> =
            view.segments.iter().flat_map(|one| &one.fields).flat_map(|one| &one.parts[0][0]).collect();
        assert!(texts.iter().any(|text| *text == "A▯B"), "{texts:?}");
        assert!(!texts.iter().any(|text| text.contains('\u{9b}')), "{texts:?}");
    }
}
