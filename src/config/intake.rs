//! What the box takes in at once.

use serde::Deserialize;

use crate::connector::unfinished::Unfinished;

/// The least that is taken: one message of the length that links take unless they say another.
const LEAST_BYTES: usize = 16 << 20;

/// Section `[intake]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Intake {
    /// Bytes that messages on their way in may have, of all connections together: those that have begun and not ended, and
    /// those that wait for the disk. Over it the connection that holds most for longest is closed.
    pub unfinished_bytes: usize,
}

impl Default for Intake {
    fn default() -> Self {
        Self { unfinished_bytes: Unfinished::DEFAULT_BYTES }
    }
}

impl Intake {
    /// What is wrong: the key, and why.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if self.unfinished_bytes < LEAST_BYTES {
            let message = format!(
                "unfinished_bytes is {}: a single message may have {LEAST_BYTES} bytes (16 MiB), so less is no bound but a wall",
                self.unfinished_bytes
            );
            return Err(("unfinished_bytes", message));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_has_room_for_one_great_message_at_least() {
        let of = |text: &str| toml::from_str::<Intake>(text).unwrap();
        assert_eq!(of("").unfinished_bytes, 64 << 20);
        assert!(of("").check().is_ok() && of("unfinished_bytes = 16777216").check().is_ok());
        let (key, why) = of("unfinished_bytes = 1048576").check().unwrap_err();
        assert!(key == "unfinished_bytes" && why.contains("16 MiB"), "{why}");
        assert!(toml::from_str::<Intake>("unfinished = 1").is_err());
    }
}
