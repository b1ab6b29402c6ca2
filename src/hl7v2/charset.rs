//! Which bytes mean which letters: MSH-18 (HL7 table 0211), or the link's default.

use std::borrow::Cow;

use encoding_rs::Encoding;
use serde::Deserialize;

/// A character encoding. The default is UTF-8.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Charset(&'static Encoding);

/// A name that is neither in HL7 table 0211 nor a usual label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown character set \"{0}\": use a name of HL7 table 0211 such as \"UNICODE UTF-8\" or \"8859/1\", or a usual label such as \"windows-1252\" or \"GB18030\""
)]
pub struct UnknownCharset(String);

impl Default for Charset {
    fn default() -> Self {
        Self(encoding_rs::UTF_8)
    }
}

impl std::fmt::Debug for Charset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name())
    }
}

impl std::str::FromStr for Charset {
    type Err = UnknownCharset;

    fn from_str(name: &str) -> Result<Self, UnknownCharset> {
        Self::named(name).ok_or_else(|| UnknownCharset(name.chars().take(40).collect()))
    }
}

impl<'de> Deserialize<'de> for Charset {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

/// HL7 table 0211 beside the label the encoding standard uses.
const TABLE_0211: [(&str, &str); 10] = [
    ("UNICODE", "utf-8"),
    ("UNICODE UTF-8", "utf-8"),
    ("UNICODE UTF-16", "utf-16be"),
    ("GB 18030-2000", "gb18030"),
    ("BIG-5", "big5"),
    ("KS X 1001", "euc-kr"),
    ("ISO IR6", "utf-8"),
    ("ISO IR14", "shift_jis"),
    ("ISO IR87", "iso-2022-jp"),
    ("ISO IR159", "iso-2022-jp"),
];

impl Charset {
    /// The encoding called `name` in HL7 table 0211 or by a usual label, in any case.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.trim();
        if let Some((_, label)) = TABLE_0211.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            return Encoding::for_label(label.as_bytes()).map(Self);
        }
        // 8859/1, 8859-1, ISO8859/15 …
        if let Some((_, part)) = name.split_once("8859").filter(|(_, part)| part.len() <= 4) {
            let number = part.trim_start_matches(['/', '-', ' ', '_']);
            return Encoding::for_label(format!("iso-8859-{number}").as_bytes()).map(Self);
        }
        let unicode = name.strip_prefix("UNICODE ").unwrap_or(name);
        Encoding::for_label(unicode.as_bytes()).map(Self)
    }

    /// Name by the WHATWG encoding standard, e.g. `windows-1252` for 8859/1.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// The text, and whether some bytes had no meaning and became U+FFFD.
    pub(super) fn decode(self, bytes: &[u8]) -> (Cow<'_, str>, bool) {
        self.0.decode_without_bom_handling(bytes)
    }

    /// The bytes of a text; `None` when a letter of it has none in this encoding, and for UTF-16.
    pub fn encode(self, text: &str) -> Option<Vec<u8>> {
        let (bytes, used, replaced) = self.0.encode(text);
        (used == self.0 && !replaced).then(|| bytes.into_owned())
    }

    /// UTF-16 shows itself by its mark or by the zero bytes of `MSH`: then the encoding and the mark's length.
    pub(super) fn wide(bytes: &[u8]) -> Option<(Self, usize)> {
        match bytes {
            [0xFF, 0xFE, ..] => Some((Self(encoding_rs::UTF_16LE), 2)),
            [0xFE, 0xFF, ..] => Some((Self(encoding_rs::UTF_16BE), 2)),
            [b'M', 0, b'S', 0, ..] => Some((Self(encoding_rs::UTF_16LE), 0)),
            [0, b'M', 0, b'S', ..] => Some((Self(encoding_rs::UTF_16BE), 0)),
            _ => None,
        }
    }

    /// Says in which encoding the text of a message is, by its MSH-18 with all repetitions. `Ok(None)`: the
    /// message leaves it open. 7-bit names leave it open too: those who send more than ASCII under that name
    /// mean the charset of their site.
    pub(super) fn stated(field: &str, repetition: char) -> Result<Option<Self>, UnknownCharset> {
        let mut stated = None;
        for name in field.split(repetition).map(str::trim).filter(|name| !name.is_empty()) {
            let name = name.split('^').next().unwrap_or_default();
            if ["ASCII", "US-ASCII", "ISO IR6", "\"\""].iter().any(|seven| seven.eq_ignore_ascii_case(name)) {
                continue;
            }
            let charset: Self = name.parse()?;
            // A later repetition that switches by escape sequences (Japanese) includes what came before it.
            if stated.is_none() || charset.0 == encoding_rs::ISO_2022_JP {
                stated = Some(charset);
            }
        }
        Ok(stated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_table_0211_and_usual_labels_are_known() {
        let names = [
            ("UNICODE UTF-8", "UTF-8"),
            ("utf8", "UTF-8"),
            ("8859/1", "windows-1252"),
            ("8859/15", "ISO-8859-15"),
            ("ISO-8859-2", "ISO-8859-2"),
            ("Windows-1252", "windows-1252"),
            ("GB 18030-2000", "gb18030"),
            ("GB18030", "gb18030"),
            ("UNICODE UTF-16", "UTF-16BE"),
            ("BIG-5", "Big5"),
        ];
        for (name, known) in names {
            assert_eq!(Charset::named(name).unwrap().name(), known, "{name}");
        }
        assert!("EBCDIC".parse::<Charset>().unwrap_err().to_string().contains("EBCDIC"));
        assert!(Charset::named("8859/").is_none());
    }

    #[test]
    fn a_message_may_leave_its_charset_open() {
        for open in ["", "ASCII", "~", "\"\""] {
            assert_eq!(Charset::stated(open, '~'), Ok(None), "{open}");
        }
        assert_eq!(Charset::stated("ASCII~ISO IR87", '~').unwrap().unwrap().name(), "ISO-2022-JP");
        assert_eq!(Charset::stated("8859/1^x", '~').unwrap(), Charset::named("8859/1"));
        assert!(Charset::stated("KLINGON", '~').is_err());
    }
}
