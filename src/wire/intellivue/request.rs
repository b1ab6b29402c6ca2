//! Everything Bedside ever says to a monitor. There is no other way to make a message: associate, confirm that the
//! monitor announced itself, poll, and choose which waves are exported. Nothing here changes a setting of a
//! measurement, an alarm limit or a patient.

use super::message::{
    CONFIRMED_ACTION, CONFIRMED_EVENT, CONFIRMED_SET, CONNECT, EXPORT, INVOKE, MDS, MDS_CREATE, POLL,
    POLL_EXTENDED, RESULT,
};

/// Objects and attribute group of a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) class: u16,
    /// 0: all groups.
    pub(crate) group: u16,
}

/// A message to the monitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request<'a> {
    /// Association Request. `poll_period` in 1/8 ms, `extended` the options of the extended poll.
    Associate { poll_period: u32, extended: u32 },
    /// Confirms the MDS Create Event of this invoke id and time.
    ConfirmCreate { invoke: u16, time: u32 },
    /// Single Poll Data Request.
    Poll { invoke: u16, number: u16, asked: Asked },
    /// Extended Poll Data Request: results come by themselves for `period` (1/8 ms).
    PollExtended { invoke: u16, number: u16, asked: Asked, period: u32 },
    /// Set Priority List: which waves the extended poll exports, by label.
    Waves { invoke: u16, labels: &'a [u32] },
}

/// Set of the list of waves and nothing else.
const WAVE_PRIORITY_LIST: u16 = 0xF23A;
const ACTIVE_PERIOD: u16 = 0xF13E;

impl Request<'_> {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match *self {
            Self::Associate { poll_period, extended } => associate(poll_period, extended),
            Self::ConfirmCreate { invoke, time } => {
                let mut body = managed_object();
                body.extend(time.to_be_bytes());
                body.extend(words(&[MDS_CREATE, 0]));
                operation(RESULT, invoke, CONFIRMED_EVENT, &body)
            }
            Self::Poll { invoke, number, asked } => {
                action(invoke, POLL, &words(&[number, 1, asked.class, asked.group]))
            }
            Self::PollExtended { invoke, number, asked, period } => {
                let mut body = words(&[number, 1, asked.class, asked.group, 1, 8, ACTIVE_PERIOD, 4]);
                body.extend(period.to_be_bytes());
                action(invoke, POLL_EXTENDED, &body)
            }
            Self::Waves { invoke, labels } => {
                let labels = labels.get(..labels.len().min(WAVES_MAX)).unwrap_or_default();
                let ids: Vec<u8> = labels.iter().flat_map(|label| label.to_be_bytes()).collect();
                let count = u16::try_from(labels.len()).unwrap_or_default();
                let mut list = words(&[count]);
                list.extend(sized(&ids));
                let mut change = words(&[REPLACE, WAVE_PRIORITY_LIST]);
                change.extend(sized(&list));
                let mut body = managed_object();
                body.extend([0; 4]);
                body.extend(words(&[1]));
                body.extend(sized(&change));
                operation(INVOKE, invoke, CONFIRMED_SET, &body)
            }
        }
    }
}

const REPLACE: u16 = 0;
/// Three ECG waves and eight others are the most a monitor exports.
pub(super) const WAVES_MAX: usize = 11;

/// The monitor itself.
fn managed_object() -> Vec<u8> {
    words(&[MDS, 0, 0])
}

pub(crate) fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// Bytes with their length before them. What Bedside says is short; a length that does not fit says nothing.
pub(crate) fn sized(bytes: &[u8]) -> Vec<u8> {
    let Ok(length) = u16::try_from(bytes.len()) else { return vec![0, 0] };
    [length.to_be_bytes().as_slice(), bytes].concat()
}

fn action(invoke: u16, action: u16, argument: &[u8]) -> Vec<u8> {
    let mut body = managed_object();
    body.extend([0; 4]);
    body.extend(words(&[action]));
    body.extend(sized(argument));
    operation(INVOKE, invoke, CONFIRMED_ACTION, &body)
}

/// A remote operation as a whole message.
pub(crate) fn operation(kind: u16, invoke: u16, command: u16, body: &[u8]) -> Vec<u8> {
    let mut inner = words(&[invoke, command]);
    inner.extend(sized(body));
    let mut message = EXPORT.to_vec();
    message.extend(words(&[kind]));
    message.extend(sized(&inner));
    message
}

/// What both sides say of themselves (MDSEUserInfoStd with PollProfileSupport and PollProfileExt).
pub(crate) fn user_information(system: u32, startup: u32, poll_period: u32, extended: u32) -> Vec<u8> {
    let doubles = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    let mut package = words(&[1]);
    let mut option = words(&[0xF001]);
    option.extend(sized(&[doubles(&[extended]), words(&[0, 0])].concat()));
    package.extend(sized(&option));
    // Profile revision 0, the shortest poll period, the longest messages, any bandwidth, dynamic objects.
    let support =
        [doubles(&[0x8000_0000, poll_period, 1364, 1364, 0xFFFF_FFFF, 0x6000_0000]), package].concat();
    let mut profile = words(&[1]);
    profile.extend(sized(&support));
    let mut user = doubles(&[0x8000_0000, 0x4000_0000, 0, system, startup]);
    user.extend(words(&[0, 0, 1]));
    user.extend(sized(&profile));
    user
}

const OBJECT_IDENTIFIER: [u8; 12] = [0x2A, 0x86, 0x48, 0xCE, 0x14, 0x02, 0x01, 0x00, 0x00, 0x00, 0x01, 0x01];

fn object_identifier(last: u8) -> [u8; 14] {
    let mut coded = [0x06, 0x0C, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (to, from) in coded.iter_mut().skip(2).zip(OBJECT_IDENTIFIER) {
        *to = from;
    }
    let [.., before, _] = &mut coded;
    *before = last;
    coded
}

/// Session and presentation layer around the user information; the bytes between are fixed by the guide.
fn associate(poll_period: u32, extended: u32) -> Vec<u8> {
    let user = user_information(0x8000_0000, 0x2000_0000, poll_period, extended);
    let mut presentation: Vec<u8> =
        vec![0x31, 0x80, 0xA0, 0x80, 0x80, 0x01, 0x01, 0x00, 0x00, 0xA2, 0x80, 0xA0, 0x03, 0x00, 0x00, 0x01];
    // Two presentation contexts, each with its abstract and transfer syntax.
    presentation.extend([0xA4, 0x80, 0x30, 0x80, 0x02, 0x01, 0x01, 0x06, 0x04, 0x52, 0x01, 0x00, 0x01]);
    presentation.extend([0x30, 0x80, 0x06, 0x02, 0x51, 0x01, 0x00, 0x00, 0x00, 0x00]);
    presentation.extend([0x30, 0x80, 0x02, 0x01, 0x02]);
    presentation.extend(object_identifier(1));
    presentation.extend([0x30, 0x80]);
    presentation.extend(object_identifier(2));
    presentation.extend([0x00, 0x00, 0x00, 0x00, 0x00, 0x00]);
    // The association request itself, in the first context.
    presentation.extend([0x61, 0x80, 0x30, 0x80, 0x02, 0x01, 0x01, 0xA0, 0x80, 0x60, 0x80, 0xA1, 0x80]);
    presentation.extend(object_identifier(3));
    presentation.extend([0x00, 0x00, 0xBE, 0x80, 0x28, 0x80]);
    presentation.extend(object_identifier(1));
    presentation.extend([0x02, 0x01, 0x02, 0x81]);
    presentation.extend(asn_length(user.len()));
    presentation.extend(user);
    presentation.extend([0; 16]);
    let mut session =
        vec![0x05, 0x08, 0x13, 0x01, 0x00, 0x16, 0x01, 0x02, 0x80, 0x00, 0x14, 0x02, 0x00, 0x02];
    session.push(0xC1);
    session.extend(length_indicator(presentation.len()));
    session.extend(presentation);
    let mut message = vec![CONNECT];
    message.extend(length_indicator(session.len()));
    message.extend(session);
    message
}

/// Length of a session parameter: one byte, or FF and two.
fn length_indicator(length: usize) -> Vec<u8> {
    match u8::try_from(length) {
        Ok(short) if short < 0xFF => vec![short],
        _ => [&[0xFF], u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes().as_slice()].concat(),
    }
}

/// ASN.1 length: one byte to 127, else the number of bytes and the bytes.
fn asn_length(length: usize) -> Vec<u8> {
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => vec![short],
        _ => [&[0x82], u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes().as_slice()].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::intellivue::message::{Message, agreed};

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_association_request_has_the_lengths_of_the_guide() {
        let request = Request::Associate { poll_period: 8000, extended: 0x8800_0000 }.bytes();
        assert_eq!(request.len(), 238);
        assert!(
            hex(&request).starts_with("0dec0508130100160102800014020002c1dc3180a0808001010000a280a003000001")
        );
        assert!(hex(&request).ends_with(&format!("f0010008880000000000000{}", "0".repeat(33))));
        assert!(hex(&request).contains("02010281488000000040000000000000008000000020000000"));
        // The monitor answers in the same words.
        let heard = agreed(&request);
        assert_eq!(heard.map(|a| (a.min_poll_period, a.extended)), Some((8000, 0x8800_0000)));
    }

    #[test]
    fn each_request_is_as_published() {
        let asked = Asked { class: 6, group: 0 };
        let poll = Request::Poll { invoke: 1, number: 2, asked }.bytes();
        assert_eq!(
            hex(&poll),
            "e10000020001001c000100070016002100000000000000000c16000800020001000600\
             00"
            .replace(' ', "")
        );
        let extended = Request::PollExtended {
            invoke: 1,
            number: 3,
            asked: Asked { class: 9, group: 0 },
            period: 480_000,
        };
        assert_eq!(
            hex(&extended.bytes()),
            "e100000200010028000100070022002100000000000000 00f13b001400030001000900000001 0008f13e000400075300"
                .replace(' ', "")
        );
        let confirm = Request::ConfirmCreate { invoke: 1, time: 0x000A_BD00 }.bytes();
        assert_eq!(hex(&confirm), "e10000020002001400010001000e002100000000000abd000d060000");
        let waves = Request::Waves { invoke: 0, labels: &[0x0002_0102] }.bytes();
        assert_eq!(
            hex(&waves),
            "e10000020001002200000005001c0021000000000000000000 01000e0000f23a000800010004000201 02"
                .replace(' ', "")
        );
        for bytes in [poll, extended.bytes(), confirm, waves] {
            assert!(matches!(Message::parse(&bytes), Some(Message::Operation(_))));
        }
    }
}
