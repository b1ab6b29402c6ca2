//! What a firmware profile may set about an analyser's link.

use serde::Deserialize;

use super::Sending;

/// How an analyser departs from the standard. The defaults take the known dialects.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The longest message. The frame that would exceed it is refused with NAK.
    pub max_message_bytes: usize,
    /// The longest frame. E1381-95 allows 240 characters of text, LIS01-A2 64,000; devices exceed both.
    pub max_frame_bytes: usize,
    pub checksum: ChecksumRule,
    pub frame_numbers: NumberRule,
    /// Records typed without frames count as a message when their L record is ended, or after this much silence.
    pub unframed_quiet_ms: u64,
    /// How the answers to the analyser's queries are cut into frames: `{ cut = "message", max_text = 64000 }`.
    pub sending: Sending,
}

/// What is asked of a frame's checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChecksumRule {
    /// A wrong one is refused. A missing one is taken with a warning while the device never sent one.
    Auto,
    /// A wrong or missing one is refused.
    Required,
    /// For devices that compute it wrongly: taken with a warning.
    Ignored,
}

/// What is asked of a frame's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NumberRule {
    /// They count 1 to 7, then 0. A device that leaves them out in its first frame of a session may.
    Auto,
    /// For devices that number wrongly.
    Ignored,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_message_bytes: 4 * 1024 * 1024,
            max_frame_bytes: 1024 * 1024,
            checksum: ChecksumRule::Auto,
            frame_numbers: NumberRule::Auto,
            unframed_quiet_ms: 10_000,
            sending: Sending::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Cut;
    use super::*;

    #[test]
    fn a_profile_names_the_dialect_in_words() {
        let text = "checksum = \"ignored\"\nframe_numbers = \"ignored\"\nunframed_quiet_ms = 60000";
        let settings: Settings = toml::from_str(text).unwrap();
        assert_eq!((settings.checksum, settings.frame_numbers), (ChecksumRule::Ignored, NumberRule::Ignored));
        assert_eq!(settings.max_message_bytes, Settings::default().max_message_bytes);
        assert!(toml::from_str::<Settings>("checksum = \"sometimes\"").is_err());
        let settings: Settings = toml::from_str("sending = { cut = \"message\", max_text = 64000 }").unwrap();
        assert_eq!((settings.sending.cut, settings.sending.max_text), (Cut::Message, 64_000));
        assert!(toml::from_str::<Settings>("sending = { role = \"instrument\" }").is_err());
    }
}
