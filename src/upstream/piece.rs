//! Entries cut into Bundles, and Bundles cut in half.

use crate::fhir::Resource;

/// Resources `from..to` of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) entry: usize,
    pub(super) from: usize,
    pub(super) to: usize,
}

/// What goes into one Bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) spans: Vec<Span>,
    /// Also what the server is known to hold: it said that something is missing.
    pub(super) whole: bool,
    /// The copies on the server have been looked up: do not do it again.
    pub(super) repaired: bool,
}

impl Piece {
    /// Between two entries if there are several, else within the only one; None: it is one resource.
    pub(super) fn halves(&self) -> Option<[Self; 2]> {
        let halves = match self.spans.as_slice() {
            [] => return None,
            [span] if span.to - span.from < 2 => return None,
            [span] => {
                let middle = span.from + (span.to - span.from) / 2;
                [vec![Span { to: middle, ..*span }], vec![Span { from: middle, ..*span }]]
            }
            spans => {
                let (left, right) = spans.split_at(spans.len() / 2);
                [left.to_vec(), right.to_vec()]
            }
        };
        Some(halves.map(|spans| Self { spans, ..*self }))
    }
}

/// Cuts entries into pieces of at most `most` resources. An entry is cut only when it is larger than that.
pub(super) fn cut(entries: &[Vec<Resource>], most: usize) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let (mut open, mut size) = (Piece::default(), 0);
    for (entry, resources) in entries.iter().enumerate() {
        let mut from = 0;
        while from < resources.len() {
            if size == most || (size > 0 && size + resources.len() > most) {
                pieces.push(std::mem::take(&mut open));
                size = 0;
            }
            let to = resources.len().min(from + most - size);
            open.spans.push(Span { entry, from, to });
            size += to - from;
            from = to;
        }
    }
    pieces.push(open);
    pieces.retain(|piece| !piece.spans.is_empty());
    pieces
}

/// All resources of the entry a span is of.
pub(super) fn entry_of<'a>(entries: &'a [Vec<Resource>], span: &Span) -> &'a [Resource] {
    entries.get(span.entry).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(resources: usize) -> Vec<Resource> {
        let json = || serde_json::value::RawValue::from_string("{}".into()).unwrap();
        let resource = |n: usize| Resource {
            kind: "Device",
            id: n.to_string(),
            identifier: (String::new(), String::new()),
            json: json(),
            replaces: false,
        };
        (0..resources).map(resource).collect()
    }

    /// Each piece as `entry:from-to` of its spans.
    fn told(pieces: &[Piece]) -> Vec<String> {
        let span = |span: &Span| format!("{}:{}-{}", span.entry, span.from, span.to);
        pieces.iter().map(|piece| piece.spans.iter().map(span).collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn entries_stay_whole_unless_they_are_too_large() {
        let entries = [entry(2), entry(3), entry(0), entry(4), entry(11), entry(1)];
        assert_eq!(told(&cut(&entries, 5)), ["0:0-2 1:0-3", "3:0-4", "4:0-5", "4:5-10", "4:10-11 5:0-1"]);
        assert!(cut(&[entry(0)], 5).is_empty());
    }

    #[test]
    fn halves_are_cut_between_entries_first() {
        let piece = cut(&[entry(2), entry(2), entry(2)], 100).remove(0);
        let [left, right] = piece.halves().unwrap();
        assert_eq!(told(&[left.clone(), right]), ["0:0-2", "1:0-2 2:0-2"]);
        let [left, right] = left.halves().unwrap();
        assert_eq!(told(&[left.clone(), right]), ["0:0-1", "0:1-2"]);
        assert_eq!(left.halves(), None);
    }
}
