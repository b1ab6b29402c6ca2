//! What is kept of a period: whole frames as they crossed the wire, one after another, and before them what the
//! monitor had said earlier without which they cannot be read.
//!
//! A monitor says the scale of a wave, the name of a numeric, its own identity and its patient now and then, and
//! the values every second. Each kept frame must be readable by itself, years later; so the last such facts go in
//! front of it.
//!
//! | first byte | then |
//! |---|---|
//! | `C0` | a frame of the serial line up to its `C1`, as sent |
//! | `L` | length in 16 bits, a datagram of the LAN |
//! | `K` | length in 16 bits, facts said earlier: object class, context, handle, attribute list, again and again |

use super::message::{Attributes, Cursor, Object};
use super::rs232;

/// One piece of a kept frame.
#[derive(Debug)]
pub(crate) enum Piece<'a> {
    Message(std::borrow::Cow<'a, [u8]>),
    /// Facts said earlier, see [`facts`].
    Known(&'a [u8]),
    /// Bytes that are none of these; nothing is read after them.
    Unreadable(usize),
}

const DATAGRAM: u8 = b'L';
const KNOWN: u8 = b'K';

/// A datagram as it is kept.
pub(crate) fn datagram(message: &[u8]) -> Option<Vec<u8>> {
    tagged(DATAGRAM, message)
}

/// Facts as they are kept.
pub(crate) fn known(facts: &[u8]) -> Option<Vec<u8>> {
    tagged(KNOWN, facts)
}

fn tagged(tag: u8, bytes: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(bytes.len()).ok()?.to_be_bytes();
    Some([&[tag], length.as_slice(), bytes].concat())
}

/// Takes a kept frame apart. A message without any framing, as a capture of a network has it, is one too.
pub(crate) fn pieces(bytes: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let first = *rest.first()?;
        let piece = match first {
            0xC0 => frame(&mut rest),
            DATAGRAM | KNOWN => sized(&mut rest, first == KNOWN),
            _ => bare(&mut rest),
        };
        Some(piece.unwrap_or_else(|| Piece::Unreadable(std::mem::take(&mut rest).len())))
    })
}

fn frame<'a>(rest: &mut &'a [u8]) -> Option<Piece<'a>> {
    let end = rest.iter().position(|byte| *byte == 0xC1)?;
    let (raw, after) = rest.split_at_checked(end + 1)?;
    let message = rs232::message(raw).ok()?;
    *rest = after;
    Some(Piece::Message(message.into()))
}

fn sized<'a>(rest: &mut &'a [u8], known: bool) -> Option<Piece<'a>> {
    let mut cursor = Cursor(rest.get(1..)?);
    let inner = cursor.sized()?;
    *rest = cursor.0;
    Some(if known { Piece::Known(inner) } else { Piece::Message(inner.into()) })
}

fn bare<'a>(rest: &mut &'a [u8]) -> Option<Piece<'a>> {
    let length = super::message::length(rest).ok().flatten()?;
    let (message, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(Piece::Message(message.into()))
}

/// The objects of a `K` piece with their class.
pub(crate) fn facts(bytes: &[u8]) -> impl Iterator<Item = (u16, Object<'_>)> {
    let mut cursor = Cursor(bytes);
    std::iter::from_fn(move || {
        let (class, context, handle) = (cursor.u16()?, cursor.u16()?, cursor.u16()?);
        Some((class, Object { context, handle, attributes: Attributes::read(&mut cursor)? }))
    })
}
