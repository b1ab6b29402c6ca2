//! A message as templates read it: every value knows where it stands, and whether anything has read it.

use std::borrow::Cow;
use std::cell::Cell;

use super::path::{Place, tag};
use crate::hl7v2::{Element, Message, Segment};

/// Where a value stands: segment (index in the message), field, repetition, component, subcomponent; 0 is "all".
pub(super) type Spot = (u32, [u16; 4]);

/// A message with its segments and the places nobody has read yet.
pub(super) struct Source<'m> {
    pub(super) segments: Vec<Segment<'m>>,
    /// Their names as numbers.
    tags: Vec<u32>,
    /// The fields of all segments, and where those of each segment begin.
    fields: Vec<Element<'m>>,
    starts: Vec<usize>,
    /// Every place that holds something, in order.
    leaves: Vec<Spot>,
    used: Vec<Cell<bool>>,
}

/// A value of a message, or a segment.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'m> {
    element: Option<Element<'m>>,
    spot: Spot,
    /// 0 segment, 1 field, 2 repetition, 3 component, 4 subcomponent.
    depth: usize,
}

impl<'m> Source<'m> {
    pub(super) fn new(message: &'m Message<'m>) -> Self {
        let segments: Vec<Segment<'m>> = message.segments().collect();
        let tags = segments.iter().map(|segment| tag(segment.name())).collect();
        let (mut fields, mut starts, mut leaves) = (Vec::new(), Vec::new(), Vec::new());
        for (index, segment) in (0u32..).zip(&segments) {
            starts.push(fields.len());
            for (field, element) in (1u16..).zip(segment.fields()) {
                fields.push(element);
                if element.raw().is_empty() {
                    continue;
                }
                for (repetition, one) in (1u16..).zip(element.repetitions()) {
                    for (component, part) in (1u16..).zip(one.components()) {
                        for (number, leaf) in (1u16..).zip(part.subcomponents()) {
                            if !leaf.raw().trim().is_empty() {
                                leaves.push((index, [field, repetition, component, number]));
                            }
                        }
                    }
                }
            }
        }
        let used = vec![Cell::new(false); leaves.len()];
        Self { segments, tags, fields, starts, leaves, used }
    }

    /// The name of a segment.
    pub(super) fn name(&self, index: u32) -> &'m str {
        self.segment(index).map_or("", |segment| segment.name())
    }

    fn segment(&self, index: u32) -> Option<&Segment<'m>> {
        self.segments.get(usize::try_from(index).ok()?)
    }

    /// A whole segment.
    pub(super) fn at(&self, index: u32) -> Cursor<'m> {
        Cursor { element: None, spot: (index, [0; 4]), depth: 0 }
    }

    /// Marks all that stands at a cursor as read.
    pub(super) fn read(&self, cursor: &Cursor<'_>) {
        let (segment, spot) = cursor.spot;
        let depth = cursor.depth;
        let inside =
            |leaf: &Spot| leaf.0 == segment && leaf.1.iter().zip(spot).take(depth).all(|(a, b)| *a == b);
        let start = self.leaves.partition_point(|leaf| *leaf < (segment, spot));
        let here = self.leaves.iter().zip(&self.used).skip(start).take_while(|(leaf, _)| inside(leaf));
        for (_, used) in here {
            used.set(true);
        }
    }

    /// Whether all that stands at a cursor has been read.
    pub(super) fn is_read(&self, cursor: &Cursor<'_>) -> bool {
        let (segment, spot) = cursor.spot;
        let inside = |leaf: &Spot| {
            leaf.0 == segment && leaf.1.iter().zip(spot).take(cursor.depth).all(|(a, b)| *a == b)
        };
        let start = self.leaves.partition_point(|leaf| *leaf < (segment, spot));
        let mut here =
            self.leaves.iter().zip(&self.used).skip(start).take_while(|(leaf, _)| inside(leaf)).peekable();
        here.peek().is_some() && here.all(|(_, used)| used.get())
    }

    /// Whether a segment has this name, given as [`tag`] makes it.
    pub(super) fn is(&self, index: u32, tag: u32) -> bool {
        usize::try_from(index).ok().and_then(|at| self.tags.get(at)) == Some(&tag)
    }

    fn element(&self, index: u32, field: u16) -> Option<Element<'m>> {
        let at = usize::try_from(index).ok()?;
        let start = *self.starts.get(at)?;
        let end = self.starts.get(at + 1).copied().unwrap_or(self.fields.len());
        let place = start + usize::from(field).checked_sub(1)?;
        (place < end).then(|| self.fields.get(place).copied())?
    }

    /// What a field of a segment holds: each repetition, or the one that is asked for; then the part of it.
    pub(super) fn field(&self, index: u32, place: &Place) -> Vec<Cursor<'m>> {
        let Some(field) = place.field else { return vec![self.at(index)] };
        match self.element(index, field).filter(|element| !element.raw().is_empty()) {
            Some(element) => within(index, field, element, place).collect(),
            None => Vec::new(),
        }
    }

    /// The first of [`Self::field`].
    pub(super) fn first_of(&self, index: u32, place: &Place) -> Option<Cursor<'m>> {
        let Some(field) = place.field else { return Some(self.at(index)) };
        let element = self.element(index, field).filter(|element| !element.raw().is_empty())?;
        within(index, field, element, place).next()
    }

    /// The places nobody has read, as paths such as `OBX[2]-5.1`; the first `max`, and how many there are.
    pub(super) fn unread(&self, max: usize) -> (Vec<String>, usize) {
        let unread =
            || self.leaves.iter().zip(&self.used).filter(|(_, used)| !used.get()).map(|(leaf, _)| leaf);
        let mut seen: Option<(u32, u16)> = None;
        let mut paths = Vec::new();
        for leaf in unread() {
            if paths.len() >= max {
                break;
            }
            let path = self.path(leaf);
            if seen != Some((leaf.0, leaf.1[0])) || paths.last() != Some(&path) {
                paths.push(path);
            }
            seen = Some((leaf.0, leaf.1[0]));
        }
        (paths, unread().count())
    }

    fn path(&self, (index, [field, repetition, component, number]): &Spot) -> String {
        let name = self.name(*index);
        let before = self.tags.iter().take(usize::try_from(*index).unwrap_or(0));
        let occurrence = before.filter(|one| **one == tag(name)).count() + 1;
        let mut path = name.to_owned();
        if occurrence > 1 {
            path.push_str(&format!("[{occurrence}]"));
        }
        path.push_str(&format!("-{field}"));
        if *repetition > 1 {
            path.push_str(&format!("[{repetition}]"));
        }
        let own = (*index, [*field, *repetition, *component, *number]);
        // They stand in order: whoever shares the beginning of a place stands beside it.
        let at = self.leaves.partition_point(|leaf| *leaf < own);
        let leaf = |level: fn(&Spot) -> [u16; 4], own: &Spot| {
            let start = at.saturating_sub(1);
            let near = self.leaves.iter().skip(start).take(3);
            near.filter(|other| other.0 == own.0 && level(other) == level(own)).count() > 1
        };
        let several = leaf(|(_, [f, r, ..])| [*f, *r, 0, 0], &own);
        if *component > 1 || *number > 1 || several {
            path.push_str(&format!(".{component}"));
            if *number > 1 || leaf(|(_, [f, r, c, _])| [*f, *r, *c, 0], &own) {
                path.push_str(&format!(".{number}"));
            }
        }
        path
    }

    /// The path of a cursor, for findings.
    pub(super) fn place(&self, cursor: &Cursor<'_>) -> String {
        let (index, spot) = cursor.spot;
        let own = spot.map(|part| part.max(1));
        match cursor.depth {
            0 => self.name(index).to_owned(),
            _ => self.path(&(index, own)),
        }
    }
}

fn within<'m, 'p>(
    index: u32,
    field: u16,
    element: Element<'m>,
    place: &'p Place,
) -> impl Iterator<Item = Cursor<'m>> + use<'m, 'p> {
    let wanted = (1u16..)
        .zip(element.repetitions())
        .filter(|(number, _)| place.repetition.is_none_or(|wanted| wanted == *number));
    let cursors = wanted.map(move |(number, element)| Cursor {
        element: Some(element),
        spot: (index, [field, number, 0, 0]),
        depth: 2,
    });
    cursors.filter_map(|cursor| cursor.part(&place.parts)).filter(Cursor::is_filled)
}

impl<'m> Cursor<'m> {
    /// Where it stands; parts that are 0 are not told apart.
    pub(super) fn spot(&self) -> Spot {
        self.spot
    }

    /// The segment it stands in.
    pub(super) fn segment(&self) -> u32 {
        self.spot.0
    }

    /// The value's own part: component and subcomponent of a repetition, subcomponent of a component.
    pub(super) fn part(&self, parts: &[u16]) -> Option<Self> {
        let mut cursor = *self;
        for number in parts {
            cursor = cursor.child(*number)?;
        }
        Some(cursor)
    }

    fn child(&self, number: u16) -> Option<Self> {
        let element = self.element?;
        let (segment, [field, repetition, component, _]) = self.spot;
        match self.depth {
            2 => Some(Self {
                element: Some(element.component(number)),
                spot: (segment, [field, repetition, number, 0]),
                depth: 3,
            }),
            3 => Some(Self {
                element: Some(element.subcomponent(number)),
                spot: (segment, [field, repetition, component, number]),
                depth: 4,
            }),
            // A simple value where a structured one is meant is its first part.
            4 if number == 1 => Some(*self),
            _ => None,
        }
    }

    /// Whether anything is there; HL7's null counts.
    pub(super) fn is_filled(&self) -> bool {
        self.element.is_none_or(|element| !element.raw().trim().is_empty())
    }

    /// `""`: the sender asks to delete.
    pub(super) fn is_null(&self) -> bool {
        self.element.is_some_and(|element| element.is_null())
    }

    /// The value as one text; of a repetition with components the first of them.
    pub(super) fn first(&self) -> Self {
        match self.depth {
            2 => self.child(1).unwrap_or(*self),
            _ => *self,
        }
    }

    /// Escapes resolved.
    pub(super) fn text(&self) -> Cow<'m, str> {
        self.element.and_then(|element| element.value()).unwrap_or_default()
    }

    /// As written.
    pub(super) fn raw(&self) -> &'m str {
        self.element.map_or("", |element| element.raw())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hl7v2::Charset;

    #[test]
    fn what_nobody_read_is_listed_by_path_without_values() {
        let bytes = b"MSH|^~\\&|A\rPID|||1^^^X&1.2&ISO^MR~2||Doe^John\rPID|x\r";
        let parsed = Message::parse(bytes, Charset::default());
        let message = parsed.message.unwrap();
        let source = Source::new(&message);
        for path in ["PID-3[1].4", "PID-5"] {
            let place = Place::parse(path).unwrap();
            source.field(1, &place).iter().for_each(|cursor| source.read(cursor));
        }
        let (paths, count) = source.unread(100);
        assert_eq!(paths, ["MSH-1", "MSH-2", "MSH-3", "PID-3.1", "PID-3.5", "PID-3[2]", "PID[2]-1"]);
        assert_eq!(count, 7);
    }
}
