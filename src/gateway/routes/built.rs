//! The bytes of a message: as they came, filtered, or built of what was measured.

use crate::buffer::{OutgoingRow, Stored};
use crate::hl7v2::{Charset, Message, header};
use crate::route::How;

use super::Outbound;

/// A message ready to go.
pub(super) struct Built {
    pub(super) bytes: Vec<u8>,
    /// MSH-10.
    pub(super) control_id: String,
    /// MSH-16 asks for the answer of the receiver's application.
    pub(super) application: bool,
    /// The bytes are not those of the frame: they are to be kept.
    pub(super) own: bool,
}

/// The message of a row; the error is why a person must look.
pub(super) fn built(row: &OutgoingRow, stored: &Stored, destination: &Outbound) -> Result<Built, String> {
    let route = destination.routes.iter().find(|route| *route.name == *row.route).ok_or_else(|| {
        format!("the route \"{}\" is no longer in the configuration: put it back, then release", row.route)
    })?;
    match &route.how {
        How::Pass => again(stored.bytes.to_vec(), false),
        How::Filtered(filter) => {
            let parsed = Message::parse(&stored.bytes, Charset::default());
            let message = parsed.message.ok_or("the frame is no HL7 message")?;
            again(filter.apply(&message).map_err(|why| why.to_string())?, true)
        }
        How::Measurements => Err("not yet".into()),
    }
}

/// A message by its bytes.
pub(super) fn again(bytes: Vec<u8>, own: bool) -> Result<Built, String> {
    let head = header(&bytes).ok_or("the message has no MSH")?;
    let control_id = head.control_id.trim().to_owned();
    let application = matches!(&*head.application_condition, "AL" | "ER" | "SU");
    Ok(Built { control_id, application, own, bytes })
}
