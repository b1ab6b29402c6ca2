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
const TABLE_0211: [(&str, &str); 14] = [
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
    // Names of table 0211 that other tables write otherwise, and of older versions.
    ("GB2312", "gb18030"),
    ("CNS 11643-1992", "big5"),
    ("JIS X 0201-1976", "shift_jis"),
    ("JIS X 0208-1990", "iso-2022-jp"),
];

impl Charset {
    /// The encoding called `name` in HL7 table 0211 or by a usual label, in any case.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.trim();
        if let Some((_, label)) = TABLE_0211.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            return Encoding::for_label_no_replacement(label.as_bytes()).map(Self);
        }
        // 8859/1, 8859-1, ISO8859/15 …
        if let Some((_, part)) = name.split_once("8859").filter(|(_, part)| part.len() <= 4) {
            let number = part.trim_start_matches(['/', '-', ' ', '_']);
            return Encoding::for_label_no_replacement(format!("iso-8859-{number}").as_bytes()).map(Self);
        }
        let unicode = name.strip_prefix("UNICODE ").unwrap_or(name);
        Encoding::for_label_no_replacement(unicode.as_bytes()).map(Self)
    }

    /// Name by the WHATWG encoding standard, e.g. `windows-1252` for 8859/1.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// The text, and whether some bytes had no meaning and became U+FFFD.
    pub(super) fn decode(self, bytes: &[u8]) -> (Cow<'_, str>, bool) {
        if self.0 == encoding_rs::ISO_2022_JP {
            return japanese(bytes);
        }
        self.0.decode_without_bom_handling(bytes)
    }

    /// Name for MSH-18 by HL7 table 0211, with the repetition an encoding of several alphabets needs; the usual label of
    /// one that the table does not list.
    pub fn table_0211(self) -> Cow<'static, str> {
        let name = self.0.name();
        // What browsers call windows-1252 is what senders call 8859/1.
        if self.0 == encoding_rs::WINDOWS_1252 {
            return "8859/1".into();
        }
        if self.0 == encoding_rs::ISO_2022_JP {
            return "ISO IR6~ISO IR87".into();
        }
        let listed = [
            (encoding_rs::UTF_8, "UNICODE UTF-8"),
            (encoding_rs::UTF_16BE, "UNICODE UTF-16"),
            (encoding_rs::GB18030, "GB 18030-2000"),
            (encoding_rs::BIG5, "BIG-5"),
            (encoding_rs::EUC_KR, "KS X 1001"),
        ];
        if let Some((_, listed)) = listed.iter().find(|(encoding, _)| *encoding == self.0) {
            return (*listed).into();
        }
        match name.strip_prefix("ISO-8859-") {
            Some(part) => format!("8859/{part}").into(),
            None => name.into(),
        }
    }

    /// MSH-20, the scheme by which a text changes its alphabet (HL7 table 0356); empty where it never does.
    pub fn scheme(self) -> &'static str {
        if self.0 == encoding_rs::ISO_2022_JP { "ISO 2022-1994" } else { "" }
    }

    /// The bytes of `text`; a letter that has none becomes `?`.
    pub fn encode_lossy(self, text: &str) -> Vec<u8> {
        self.encode(text).unwrap_or_else(|| {
            let known = |sign: char| self.encode(sign.encode_utf8(&mut [0; 4])).is_some();
            let plain: String = text.chars().map(|sign| if known(sign) { sign } else { '?' }).collect();
            self.encode(&plain).unwrap_or_default()
        })
    }

    /// The bytes of `text`; `None` when some letter has none.
    pub fn encode(self, text: &str) -> Option<Vec<u8>> {
        if self.is_wide() {
            let little = self.0 == encoding_rs::UTF_16LE;
            let bytes = |unit: u16| if little { unit.to_le_bytes() } else { unit.to_be_bytes() };
            return Some(text.encode_utf16().flat_map(bytes).collect());
        }
        let (bytes, _, unmappable) = self.0.encode(text);
        (!unmappable).then(|| bytes.into_owned())
    }

    /// UTF-16: two bytes a letter.
    pub fn is_wide(self) -> bool {
        self.0 == encoding_rs::UTF_16LE || self.0 == encoding_rs::UTF_16BE
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

/// ISO-2022-JP line by line: the alphabet begins anew with each segment, whatever the one before ended in. ISO 646-JP
/// (`ESC ( J`) counts as ASCII: it shows the escape sign as ¥, and a sender who means ¥ cannot use the escape sign.
fn japanese(bytes: &[u8]) -> (Cow<'_, str>, bool) {
    if !bytes.iter().any(|b| *b == 0x1B || *b >= 0x80) {
        return encoding_rs::UTF_8.decode_without_bom_handling(bytes);
    }
    let (mut text, mut replaced) = (String::with_capacity(bytes.len()), false);
    for line in bytes.split_inclusive(|b| matches!(b, b'\r' | b'\n')) {
        // The end of the line is no half of a letter, also where the alphabet was left open.
        let end = line.last().filter(|b| matches!(b, b'\r' | b'\n')).copied();
        let mut line = line.get(..line.len() - usize::from(end.is_some())).unwrap_or_default().to_vec();
        for at in memchr::memmem::find_iter(&line.clone(), b"\x1b(J") {
            if let Some(letter) = line.get_mut(at + 2) {
                *letter = b'B';
            }
        }
        let (read, bad) = encoding_rs::ISO_2022_JP.decode_without_bom_handling(&line);
        text.push_str(&read);
        text.extend(end.map(char::from));
        replaced |= bad;
    }
    (Cow::Owned(text), replaced)
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
    fn japanese_text_is_read_segment_by_segment() {
        let charset = Charset::named("ISO IR87").unwrap();
        // 患者, whose second letter contains no delimiter; 検 is 0x38 0x21; ^ and | are halves of letters too.
        let line = b"PID|||1||\x1b$B45<T\x1b(B^\x1b$BB@O:\x1b(J\\T\\\r";
        assert_eq!(charset.decode(line), ("PID|||1||患者^太郎\\T\\\r".into(), false));
        let open = b"NTE|1||\x1b$B45<T\rNTE|2||plain\r";
        assert_eq!(charset.decode(open).0, "NTE|1||患者\rNTE|2||plain\r", "an alphabet left open");
        let halves = b"\x1b$B|^5^\x1b(B|x";
        assert!(!charset.decode(halves).0.starts_with('|') && charset.decode(halves).0.ends_with("|x"));
        assert!(charset.decode(b"\xA1").1 && !charset.decode(b"plain").1);
    }

    #[test]
    fn what_a_charset_can_write_it_can_read() {
        let text = "MSH|^~\\&|é\rPID|1\r";
        for name in ["8859/1", "UNICODE UTF-8", "UNICODE UTF-16", "windows-1252", "8859/15"] {
            let charset = Charset::named(name).unwrap();
            assert_eq!(charset.decode(&charset.encode(text).unwrap()), (text.into(), false), "{name}");
        }
        assert_eq!(Charset::named("8859/5").unwrap().encode(text), None);
        let chinese = Charset::named("GB 18030-2000").unwrap();
        assert_eq!(chinese.encode("张").unwrap(), b"\xD5\xC5");
    }

    #[test]
    fn a_charset_is_named_so_that_it_reads_back() {
        for name in
            ["8859/1", "8859/15", "UNICODE UTF-8", "GB 18030-2000", "BIG-5", "Shift_JIS", "ISO IR6~ISO IR87"]
        {
            let charset = Charset::stated(name, '~').unwrap().unwrap();
            assert_eq!(charset.table_0211(), name);
        }
        assert_eq!(Charset::named("ISO IR87").unwrap().scheme(), "ISO 2022-1994");
        assert_eq!(Charset::named("8859/1").unwrap().encode_lossy("5 \u{2103} \u{b5}"), b"5 ? \xB5");
    }

    #[test]
    fn labels_without_a_decoder_are_unknown() {
        for name in ["iso-2022-cn", "hz-gb-2312", "UNICODE UTF-32", "KS X 1001^x"] {
            assert!(Charset::named(name).is_none(), "{name}");
        }
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
