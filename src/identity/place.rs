//! Beds: where a patient lies and where a device stands, written so that both can be compared.

use std::fmt;

use crate::device;

/// A bed, a room or a ward (PV1-3, HL7 2.5 §2.A.53 PL). Parts are trimmed and in capitals; an empty one is not stated.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub facility: Option<String>,
    pub point_of_care: Option<String>,
    pub room: Option<String>,
    pub bed: Option<String>,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place(…)")
    }
}

impl Place {
    /// A place as it was written; `None` when nothing of it is stated.
    pub fn new(facility: &str, point_of_care: &str, room: &str, bed: &str) -> Option<Self> {
        let part = |text: &str| {
            let words: Vec<&str> = text.split_whitespace().collect();
            let text = words.join(" ").to_uppercase();
            (!text.is_empty() && text != "\"\"").then_some(text)
        };
        let place = Self {
            facility: part(facility),
            point_of_care: part(point_of_care),
            room: part(room),
            bed: part(bed),
        };
        (place != Self::default()).then_some(place)
    }

    /// Whether both are the same bed: all parts that both state are equal, and both state the bed, or neither does and
    /// both state the room.
    pub fn is_same_bed(&self, other: &Self) -> bool {
        let agree = |own: &Option<String>, other: &Option<String>| match (own, other) {
            (Some(own), Some(other)) => own == other,
            _ => true,
        };
        let named = match (&self.bed, &other.bed) {
            (Some(_), Some(_)) => true,
            (None, None) => self.room.is_some() && other.room.is_some(),
            _ => false,
        };
        named
            && agree(&self.bed, &other.bed)
            && agree(&self.room, &other.room)
            && agree(&self.point_of_care, &other.point_of_care)
            && agree(&self.facility, &other.facility)
    }

    /// Whether it names a bed, where only one patient lies.
    pub const fn names_a_bed(&self) -> bool {
        self.bed.is_some()
    }

    /// For people: `ICU 4-2`, without the facility.
    pub fn label(&self) -> String {
        let inner: Vec<&str> =
            [&self.room, &self.bed].into_iter().filter_map(|part| part.as_deref()).collect();
        let parts = [self.point_of_care.clone().unwrap_or_default(), inner.join("-")];
        parts.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(" ")
    }
}

impl From<&device::Place> for Place {
    fn from(said: &device::Place) -> Self {
        let part = |text: &Option<std::sync::Arc<str>>| text.as_deref().unwrap_or_default().to_owned();
        Self::new(&part(&said.facility), &part(&said.point_of_care), &part(&said.room), &part(&said.bed))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(parts: [&str; 4]) -> Place {
        Place::new(parts[0], parts[1], parts[2], parts[3]).unwrap()
    }

    #[test]
    fn a_bed_is_the_same_however_it_is_written_and_however_much_of_it_is_said() {
        let bed = place(["North", "ICU", "4", "2"]);
        for (parts, same) in [
            (["NORTH", " icu ", "4", "2"], true),
            (["", "ICU", "4", "2"], true),
            (["", "", "", "2"], true),
            (["SOUTH", "ICU", "4", "2"], false),
            (["", "ICU", "5", "2"], false),
            (["", "ICU", "4", "3"], false),
            (["", "ICU", "4", ""], false),
            (["", "ICU", "", ""], false),
        ] {
            assert_eq!(bed.is_same_bed(&place(parts)), same, "{parts:?}");
            assert_eq!(place(parts).is_same_bed(&bed), same, "{parts:?}");
        }
        let room = place(["", "ICU", "4", ""]);
        assert!(room.is_same_bed(&place(["North", "ICU", "4", ""])));
        assert!(!place(["", "ICU", "", ""]).is_same_bed(&place(["", "ICU", "", ""])), "a ward is no bed");
    }

    #[test]
    fn what_states_nothing_is_no_place() {
        assert_eq!(Place::new(" ", "", "\"\"", ""), None);
        assert_eq!(place(["N", "med  surg", "", "7"]).label(), "MED SURG 7");
        assert_eq!(place(["N", "ICU", "4", "2"]).label(), "ICU 4-2");
    }
}
