//! The way each server is written to is kept in the buffer.

use super::{Deliver, Sink};
use crate::buffer::{Buffer, Reader};
use crate::upstream::{Kept, Memory};

/// Before the address of the server.
const PREFIX: &str = "written-by ";

struct InBuffer {
    buffer: Buffer,
    reader: Reader,
    key: String,
}

impl Memory for InBuffer {
    fn recall(&self) -> Kept<'_, Option<String>> {
        Box::pin(async { self.reader.setting(&self.key).await.map_err(|fault| fault.to_string()) })
    }

    fn keep(&self, way: String) -> Kept<'_, ()> {
        Box::pin(
            async move { self.buffer.put_setting(&self.key, &way).await.map_err(|fault| fault.to_string()) },
        )
    }
}

impl Deliver {
    /// From now on the server's way is remembered.
    pub(super) fn remember(&self) {
        let Sink::Fhir(upstream) = &self.sink else { return };
        upstream.remembers(Box::new(InBuffer {
            buffer: self.buffer.clone(),
            reader: self.reader.clone(),
            key: format!("{PREFIX}{}", upstream.state().base),
        }));
    }
}
