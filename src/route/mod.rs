//! Which kept frames go on to another system, and as which HL7 v2 messages. Pure: choosing, filtering and building; the
//! queue is the buffer's, the sending upstream's.

mod condition;
mod filter;
mod only;
pub mod oru;
mod order;

use std::fmt;
use std::sync::Arc;

use crate::hl7v2::{Charset, Message};

pub use condition::Condition;
pub use filter::{Change, Filter, FilterError};
pub use only::{Class, Only, has_alarm};
pub use order::{InOrder, Lane};

/// From links to a destination.
#[derive(Clone, Debug)]
pub struct Route {
    pub name: Arc<str>,
    /// Links it takes from; empty: all.
    pub from: Vec<Arc<str>>,
    /// Kinds of message it takes; empty: all.
    pub messages: Vec<Kind>,
    pub when: Option<Condition>,
    /// Name of the destination.
    pub to: Arc<str>,
    pub how: How,
}

/// What is sent of a frame.
#[derive(Clone, Debug)]
pub enum How {
    /// The bytes as they came.
    Pass,
    /// The message without some of its parts, or with others in their place.
    Filtered(Filter),
    /// A message built from the measurements, whatever the device spoke.
    Measurements(oru::Also),
}

impl How {
    /// The word of the configuration.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Filtered(_) => "filtered",
            Self::Measurements(_) => "measurements",
        }
    }
}

/// A kind of message: MSH-9.1, and MSH-9.2 where it is stated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    pub code: Arc<str>,
    pub trigger: Option<Arc<str>>,
}

impl Kind {
    /// Reads `ORU` or `ORU^R01`.
    pub fn parse(text: &str) -> Option<Self> {
        let (code, trigger) = match text.split_once(['^', '_']) {
            Some((code, trigger)) => (code, Some(trigger)),
            None => (text, None),
        };
        let word = |text: &str| {
            text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
        };
        let right = word(code) && trigger.is_none_or(word);
        right.then(|| Self { code: code.into(), trigger: trigger.map(Into::into) })
    }

    fn is(&self, message: &Message<'_>) -> bool {
        let Some(header) = message.segment("MSH", 1) else { return false };
        let part = |number| header.field(9).component(number).text().trim().to_owned();
        // Careless senders write `ORU_R01`.
        let (code, trigger) = (part(1), part(2));
        let (code, rest) = code.split_once('_').unwrap_or((&code, ""));
        let trigger = if trigger.is_empty() { rest } else { &trigger };
        *self.code == *code && self.trigger.as_deref().is_none_or(|wanted| wanted == trigger)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code)?;
        self.trigger.as_ref().map_or(Ok(()), |trigger| write!(f, "^{trigger}"))
    }
}

impl Route {
    /// What goes where, as a sentence.
    pub fn says(&self, address: &str) -> String {
        let listed = |names: &[Arc<str>]| names.iter().map(|name| &**name).collect::<Vec<_>>().join(", ");
        let kinds = self.messages.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let what = if kinds.is_empty() { "every message".to_owned() } else { kinds };
        let from = if self.from.is_empty() { "every link".to_owned() } else { listed(&self.from) };
        let when = self.when.as_ref().map(|when| format!(" where {when}")).unwrap_or_default();
        let how = match &self.how {
            How::Pass => "goes on as it came".to_owned(),
            How::Filtered(filter) => format!("goes on changed in {} places", filter.changes().len()),
            How::Measurements(also) => {
                let more = match (also.waveforms, also.alarms) {
                    (false, false) => "",
                    (true, false) => " and waves",
                    (false, true) => ", each alarm as an ORU^R40,",
                    (true, true) => " and waves, each alarm as an ORU^R40,",
                };
                format!("goes on as an ORU^R01 built of its measurements{more}")
            }
        };
        format!("{what} of {from}{when} {how} to {} at {address}", self.to)
    }

    /// Whether it takes a frame of `link`; `message` is the frame read as HL7 v2, where it can be. The error says why that
    /// cannot be told.
    ///
    /// # Errors
    /// A sentence without patient data.
    pub fn takes(&self, link: &str, message: Option<&Message<'_>>) -> Result<bool, &'static str> {
        if !self.from.is_empty() && !self.from.iter().any(|name| **name == *link) {
            return Ok(false);
        }
        let Some(message) = message else {
            let any = self.messages.is_empty() && self.when.is_none();
            return Ok(any && matches!(self.how, How::Measurements(_)));
        };
        if !self.messages.is_empty() && !self.messages.iter().any(|kind| kind.is(message)) {
            return Ok(false);
        }
        self.when.as_ref().map_or(Ok(true), |condition| condition.holds(message))
    }
}

/// Fuzz body: any message is filtered into one that reads as a message, or not at all.
pub fn fuzz(bytes: &[u8]) {
    let parsed = Message::parse(bytes, Charset::default());
    let Some(message) = parsed.message else { return };
    let changes = [
        Change::drop("Z*"),
        Change::drop("PID-5"),
        Change::set("MSH-5.2", "a|b"),
        Change::set("PID-3[2].4", ""),
    ];
    let filter = Filter::new(changes.into_iter().flatten().collect());
    if let Ok(filtered) = filter.apply(&message, None) {
        let again = Message::parse(&filtered, message.charset());
        assert!(again.message.is_some(), "a filtered message is a message");
    }
    let other = Charset::named("8859/1").unwrap_or_default();
    if let Ok(filtered) = filter.apply(&message, Some(other)) {
        let again = Message::parse(&filtered, Charset::default());
        assert!(again.message.is_some(), "a message in another encoding is a message");
    }
    for order in [InOrder::Patient, InOrder::Device, InOrder::None] {
        assert!(Lane::of_message(order, &message, "link", 1).0 >= 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn route(from: &[&str], messages: &[&str], when: Option<&str>, how: How) -> Route {
        Route {
            name: "r".into(),
            from: from.iter().map(|name| (*name).into()).collect(),
            messages: messages.iter().map(|kind| Kind::parse(kind).unwrap()).collect(),
            when: when.map(|text| Condition::parse(text).unwrap()),
            to: "ehr".into(),
            how,
        }
    }

    fn takes(route: &Route, link: &str, text: &str) -> Result<bool, &'static str> {
        let parsed = Message::parse(text.as_bytes(), Charset::default());
        route.takes(link, parsed.message.as_ref())
    }

    const ORU: &str = "MSH|^~\\&|MON|W|||1||ORU^R01^ORU_R01|1|P|2.6\rPID|1||7\rPV1|1|I|ICU^1^2\r";
    const ADT: &str = "MSH|^~\\&|ADT|H|||1||ADT^A01|2|P|2.5\rPID|1||7\r";

    #[test]
    fn a_route_takes_its_links_its_kinds_and_what_its_condition_says() {
        let all = route(&[], &[], None, How::Pass);
        assert_eq!((takes(&all, "a", ORU), takes(&all, "b", ADT)), (Ok(true), Ok(true)));
        assert_eq!(takes(&all, "a", "H|\\^&|astm"), Ok(false), "what is no HL7 cannot be passed on as HL7");
        let some = route(&["icu"], &["ORU", "ADT^A08"], None, How::Pass);
        assert_eq!(takes(&some, "icu", ORU), Ok(true));
        assert_eq!((takes(&some, "lab", ORU), takes(&some, "icu", ADT)), (Ok(false), Ok(false)));
        let ward = route(&[], &[], Some("at('PV1-3.1') == 'ICU'"), How::Pass);
        assert_eq!((takes(&ward, "a", ORU), takes(&ward, "a", ADT)), (Ok(true), Ok(false)));
    }

    #[test]
    fn measurements_come_of_any_device() {
        let built = route(&[], &[], None, How::Measurements(oru::Also::default()));
        assert_eq!((takes(&built, "a", "H|\\^&|astm"), takes(&built, "a", ORU)), (Ok(true), Ok(true)));
        let named = route(&[], &["ORU"], None, How::Measurements(oru::Also::default()));
        assert_eq!((takes(&named, "a", "H|\\^&|astm"), takes(&named, "a", ORU)), (Ok(false), Ok(true)));
    }

    #[test]
    fn a_kind_is_a_code_and_perhaps_a_trigger() {
        let kind =
            |text| Kind::parse(text).map(|kind| (kind.code.to_string(), kind.trigger.map(|t| t.to_string())));
        assert_eq!(kind("ORU"), Some(("ORU".into(), None)));
        assert_eq!(kind("ORU^R01"), Some(("ORU".into(), Some("R01".into()))));
        assert_eq!(kind("ORU_R01"), kind("ORU^R01"));
        for wrong in ["", "oru", "ORU^", "ORUS", "ORU^R01^ORU_R01", "*"] {
            assert_eq!(kind(wrong), None, "{wrong}");
        }
    }
}
