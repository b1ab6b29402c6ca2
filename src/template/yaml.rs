//! YAML as a tree that knows where each part stands, within limits: a page comes from a folder anybody may edit.
//!
//! No anchors, aliases and tags: a template has no use for them, and an alias may stand for gigabytes.

use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// Longest page, in bytes.
pub(super) const LENGTH_MAX: usize = 1 << 20;
const DEPTH_MAX: usize = 24;
const NODES_MAX: usize = 50_000;

/// A part of a page and the bytes it stands at.
#[derive(Clone, Debug)]
pub(super) struct Yaml {
    pub(super) node: Node,
    pub(super) at: Range<usize>,
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    /// The text, and whether it was written without quotes (only then is `true` a truth value).
    Scalar(String, bool),
    List(Vec<Yaml>),
    Map(Vec<(Key, Yaml)>),
}

/// A key of a mapping.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) at: Range<usize>,
}

/// What is wrong with a page, and at which of its bytes.
#[derive(Clone, Debug)]
pub(super) struct Wrong {
    pub(super) at: Range<usize>,
    pub(super) message: String,
}

impl Wrong {
    pub(super) fn new(at: Range<usize>, message: impl Into<String>) -> Self {
        Self { at, message: message.into() }
    }
}

impl Yaml {
    /// Reads the one document of a page.
    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        if text.len() > LENGTH_MAX {
            return Err(Wrong::new(0..1, format!("longer than {LENGTH_MAX} bytes")));
        }
        let mut tree = Tree { text, bytes: bytes_of(text), open: Vec::new(), done: None, nodes: 0 };
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| {
                let at = tree.byte(error.marker().index());
                Wrong::new(at..at + 1, format!("not YAML: {}", error.info()))
            })?;
            tree.take(event, span)?;
        }
        tree.done.ok_or_else(|| Wrong::new(0..1, "the page is empty"))
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.node {
            Node::Scalar(text, _) => Some(text),
            _ => None,
        }
    }

    /// Its parts, if it is a list; itself, if it is anything else.
    pub(super) fn items(&self) -> &[Self] {
        match &self.node {
            Node::List(items) => items,
            _ => std::slice::from_ref(self),
        }
    }

    pub(super) fn entries(&self, what: &str) -> Result<&[(Key, Self)], Wrong> {
        match &self.node {
            Node::Map(entries) => Ok(entries),
            _ => Err(Wrong::new(self.at.clone(), format!("{what} is a mapping: `key: value` lines"))),
        }
    }

    pub(super) fn scalar(&self, what: &str) -> Result<&str, Wrong> {
        self.text().ok_or_else(|| Wrong::new(self.at.clone(), format!("{what} is a single text")))
    }
}

/// Byte offset of every character; empty for ASCII, where both are the same.
fn bytes_of(text: &str) -> Vec<usize> {
    if text.is_ascii() { Vec::new() } else { text.char_indices().map(|(at, _)| at).collect() }
}

struct Tree<'t> {
    text: &'t str,
    bytes: Vec<usize>,
    open: Vec<Open>,
    done: Option<Yaml>,
    nodes: usize,
}

enum Open {
    List { items: Vec<Yaml>, start: usize },
    Map { entries: Vec<(Key, Yaml)>, key: Option<Key>, start: usize },
}

impl Tree<'_> {
    fn byte(&self, index: usize) -> usize {
        if self.bytes.is_empty() {
            return index.min(self.text.len());
        }
        self.bytes.get(index).copied().unwrap_or(self.text.len())
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Wrong> {
        let at = self.byte(span.start.index())..self.byte(span.end.index());
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(Wrong::new(at, format!("more than {NODES_MAX} parts on one page")));
        }
        if self.open.len() > DEPTH_MAX {
            return Err(Wrong::new(at, format!("nested deeper than {DEPTH_MAX}")));
        }
        match event {
            Event::Alias(_) => Err(Wrong::new(at, "aliases (`*name`) are not read: write it out")),
            Event::Scalar(_, _, anchor, ref tag) if anchor > 0 || tag.is_some() => {
                Err(Wrong::new(at, "anchors and tags are not read"))
            }
            Event::Scalar(text, style, ..) => {
                let plain = matches!(style, ScalarStyle::Plain);
                self.put(Yaml { node: Node::Scalar(text.into_owned(), plain), at })
            }
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) if anchor > 0 => {
                Err(Wrong::new(at, "anchors (`&name`) are not read"))
            }
            Event::SequenceStart(..) => {
                self.open.push(Open::List { items: Vec::new(), start: at.start });
                Ok(())
            }
            Event::MappingStart(..) => {
                self.open.push(Open::Map { entries: Vec::new(), key: None, start: at.start });
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List { items, start }) => {
                    let end = items.last().map_or(at.end, |last| last.at.end);
                    self.put(Yaml { node: Node::List(items), at: start..end })
                }
                Some(Open::Map { entries, start, .. }) => {
                    let end = entries.last().map_or(at.end, |(_, last)| last.at.end);
                    self.put(Yaml { node: Node::Map(entries), at: start..end })
                }
                None => Ok(()),
            },
            Event::DocumentStart(_) if self.done.is_some() => {
                Err(Wrong::new(at, "a page is one document: no second `---`"))
            }
            _ => Ok(()),
        }
    }

    fn put(&mut self, part: Yaml) -> Result<(), Wrong> {
        match self.open.last_mut() {
            None => self.done = Some(part),
            Some(Open::List { items, .. }) => items.push(part),
            Some(Open::Map { entries, key, .. }) => match key.take() {
                Some(key) => entries.push((key, part)),
                None => {
                    let Node::Scalar(text, _) = part.node else {
                        return Err(Wrong::new(part.at, "a key is a single text"));
                    };
                    if entries.iter().any(|(known, _)| known.text == text) {
                        return Err(Wrong::new(part.at, format!("`{text}` stands here twice")));
                    }
                    *key = Some(Key { text, at: part.at });
                }
            },
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_knows_its_bytes() {
        let text = "à: [x, \"y\"]\nlist:\n  - one\n";
        let page = Yaml::parse(text).unwrap();
        let entries = page.entries("page").unwrap();
        assert_eq!(&text[entries[0].0.at.clone()], "à");
        assert_eq!(&text[entries[0].1.items()[1].at.clone()], "\"y\"");
        assert_eq!(entries[1].1.items()[0].text(), Some("one"));
    }

    #[test]
    fn what_a_page_must_not_hold_is_told_with_its_place() {
        let deep = "[".repeat(60) + &"]".repeat(60);
        for (text, says) in [
            ("a: &x 1\nb: *x", "anchors"),
            ("a: !!int 1", "tags"),
            ("a: 1\na: 2", "twice"),
            ("a: [1", "not YAML"),
            ("", "empty"),
            ("a: 1\n---\nb: 2\n", "one document"),
            (deep.as_str(), "nested deeper"),
        ] {
            let wrong = Yaml::parse(text).unwrap_err();
            assert!(wrong.message.contains(says), "{text}: {}", wrong.message);
        }
        assert!(Yaml::parse(&"a".repeat(LENGTH_MAX + 1)).is_err());
    }
}
