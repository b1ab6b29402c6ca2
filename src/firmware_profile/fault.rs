//! What is wrong with a profile, shown where it stands.

use std::fmt;
use std::ops::Range;

use serde::Serialize;
use utoipa::ToSchema;

/// One mistake in a profile, with the line it is on. Its text never quotes a capture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = PageFault)]
pub struct Fault {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// How many characters to underline.
    pub width: usize,
    /// What is wrong and what to write instead.
    pub message: String,
    /// The line as written.
    pub source_line: String,
}

impl Fault {
    /// A fault about the bytes `span` of `source`.
    pub fn at(source: &str, span: Range<usize>, message: impl Into<String>) -> Self {
        let start =
            (0..=span.start.min(source.len())).rev().find(|at| source.is_char_boundary(*at)).unwrap_or(0);
        let before = source.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let source_line = source.get(line_start..).unwrap_or_default().lines().next().unwrap_or_default();
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        let end = (span.end..=source.len()).find(|at| source.is_char_boundary(*at)).unwrap_or(source.len());
        let marked = source.get(start..end.max(start)).unwrap_or_default().lines().next().unwrap_or_default();
        Self {
            line: before.matches('\n').count() + 1,
            column,
            width: marked.chars().count().max(1),
            message: message.into(),
            source_line: source_line.trim_end().to_owned(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gutter = self.line.to_string().len();
        writeln!(f, "line {}, column {}: {}", self.line, self.column, self.message)?;
        writeln!(f, "  {} | {}", self.line, self.source_line)?;
        // Tabs stay tabs, so that the caret stands under its word whatever a tab is worth.
        let indent: String = self
            .source_line
            .chars()
            .take(self.column - 1)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        write!(f, "  {:gutter$} | {indent}{}", "", "^".repeat(self.width))
    }
}

/// The candidate a mistyped word was probably meant to be: the nearest within a third of its length.
pub(crate) fn did_you_mean<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let limit = (word.chars().count() / 3).max(1);
    let near = candidates.into_iter().map(|candidate| (distance(word, candidate), candidate));
    near.filter(|(distance, _)| *distance <= limit).min_by_key(|(distance, _)| *distance).map(|(_, c)| c)
}

/// Levenshtein distance; both words are short names of a schema.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = i;
        let mut last = i + 1;
        let mut next = vec![last];
        for (b, above) in right.iter().zip(row.iter().skip(1)) {
            let cost = diagonal + usize::from(a != *b);
            last = cost.min(above + 1).min(last + 1);
            diagonal = *above;
            next.push(last);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_points_at_its_word() {
        let source = "[device]\nmodell = \"X\"\n";
        let fault = Fault::at(source, 9..15, "unknown key `modell`; did you mean `model`?");
        assert_eq!((fault.line, fault.column, fault.width), (2, 1, 6));
        assert_eq!(
            fault.to_string(),
            "line 2, column 1: unknown key `modell`; did you mean `model`?\n  2 | modell = \"X\"\n    | ^^^^^^"
        );
    }

    #[test]
    fn a_fault_at_the_end_or_inside_a_letter_does_not_break() {
        for at in 0..12 {
            let fault = Fault::at("é = \"ü\"\nß", at..at + 3, "x");
            assert!(fault.width >= 1 && fault.column >= 1, "{fault}");
        }
        assert_eq!(Fault::at("", 5..9, "x").line, 1);
    }

    #[test]
    fn the_nearest_word_is_proposed_and_a_far_one_is_not() {
        let words = ["manufacturer", "model", "verified"];
        assert_eq!(did_you_mean("modell", words), Some("model"));
        assert_eq!(did_you_mean("manufactorer", words), Some("manufacturer"));
        assert_eq!(did_you_mean("colour", words), None);
    }
}
