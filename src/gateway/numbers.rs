//! HL7 control ids (MSH-10) that come again with other content: told, never taken for a repetition.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use crate::hl7v2;

/// Messages that are remembered; beyond, the oldest are forgotten, and nothing but a finding is lost.
const REMEMBERED: usize = 16_384;
/// A sender that gives one number to so many different messages does not number them.
const TOLD: u8 = 8;

/// The last messages by link, sender and control id.
#[derive(Default)]
pub(super) struct Numbers {
    hasher: RandomState,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Content, and how often another one came.
    content: HashMap<u64, (u64, u8)>,
    order: VecDeque<u64>,
}

impl Numbers {
    /// Remembers `message`; whether its control id was on this link before, by the same sender (MSH-3, MSH-4), with
    /// other content.
    pub(super) fn reused(&self, link: &str, message: &[u8]) -> bool {
        let Some(header) = hl7v2::header(message).filter(|header| !header.control_id.is_empty()) else {
            return false;
        };
        let key = self.hasher.hash_one((link, &header.application, &header.facility, &header.control_id));
        let content = self.hasher.hash_one(message);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, times)) = seen.content.get_mut(&key) {
            if *known == content {
                return false;
            }
            *known = content;
            *times = times.saturating_add(1);
            return *times <= TOLD;
        }
        if seen.order.len() >= REMEMBERED
            && let Some(oldest) = seen.order.pop_front()
        {
            seen.content.remove(&oldest);
        }
        seen.order.push_back(key);
        seen.content.insert(key, (content, 0));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(sender: &str, id: &str, value: usize) -> Vec<u8> {
        format!("MSH|^~\\&|{sender}||||20260301||ORU^R01|{id}|P|2.6\rOBX|1|NM|a||{value}\r").into_bytes()
    }

    #[test]
    fn a_number_that_comes_again_is_told_when_its_content_is_another() {
        let numbers = Numbers::default();
        assert!(!numbers.reused("a", &message("M", "7", 1)));
        assert!(!numbers.reused("a", &message("M", "7", 1)), "a resend");
        assert!(numbers.reused("a", &message("M", "7", 2)));
        assert!(!numbers.reused("a", &message("M", "7", 2)), "a resend of the second");
        assert!(!numbers.reused("b", &message("M", "7", 3)), "another link");
        assert!(!numbers.reused("a", &message("N", "7", 3)), "another sender");
        assert!(!numbers.reused("a", &message("M", "", 1)) && !numbers.reused("a", &message("M", "", 2)));
        assert!(!numbers.reused("a", b"no header") && !numbers.reused("a", b"none at all"));
    }

    #[test]
    fn a_sender_that_does_not_number_is_told_some_times_only() {
        let numbers = Numbers::default();
        let told = (0..100).filter(|value| numbers.reused("a", &message("M", "1", *value))).count();
        assert_eq!(told, usize::from(TOLD));
    }

    #[test]
    fn memory_is_bounded() {
        let numbers = Numbers::default();
        for id in 0..REMEMBERED + 10 {
            numbers.reused("a", &message("M", &id.to_string(), 1));
        }
        let seen = numbers.seen.lock().unwrap();
        assert_eq!((seen.content.len(), seen.order.len()), (REMEMBERED, REMEMBERED));
    }
}
