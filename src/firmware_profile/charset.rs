//! The character set a page names for its files: the DOS code pages of older programs beside those of the web.

use std::borrow::Cow;

use encoding_rs::Encoding;

use super::LinkContext;
use super::text::to_text;

/// How bytes become letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charset {
    Known(&'static Encoding),
    /// A code page of DOS: the letters of 80H to FFH.
    Dos(&'static str),
}

/// IBM code page 437, 80H to FFH.
pub(super) const CP437: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐\
     └┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{A0}";
/// IBM code page 850, 80H to FFH.
pub(super) const CP850: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜø£Ø×ƒáíóúñÑªº¿®¬½¼¡«»░▒▓│┤ÁÂÀ©╣║╗╝¢¥┐\
     └┴┬├─┼ãÃ╚╔╩╦╠═╬¤ðÐÊËÈıÍÎÏ┘┌█▄¦Ì▀ÓßÔÒõÕµþÞÚÛÙýÝ¯´\u{AD}±‗¾¶§÷¸°¨·¹³²■\u{A0}";

impl Charset {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "cp437" | "ibm437" => Some(Self::Dos(CP437)),
            "cp850" | "ibm850" => Some(Self::Dos(CP850)),
            other => Encoding::for_label(other.as_bytes()).map(Self::Known),
        }
    }

    /// Every byte gives a letter.
    pub(super) fn decode<'b>(&self, bytes: &'b [u8]) -> Cow<'b, str> {
        match self {
            Self::Known(encoding) => encoding.decode(bytes).0,
            Self::Dos(page) => {
                let high: Vec<char> = page.chars().collect();
                let letter = |byte: &u8| match byte.checked_sub(0x80) {
                    Some(at) => high.get(usize::from(at)).copied().unwrap_or(char::REPLACEMENT_CHARACTER),
                    None => char::from(*byte),
                };
                Cow::Owned(bytes.iter().map(letter).collect())
            }
        }
    }
}

/// The text of a frame: Unicode where it is that, else in the charset its page names, else in that of its link.
pub(super) fn text<'b>(named: Option<Charset>, bytes: &'b [u8], context: &LinkContext) -> Cow<'b, str> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    // UTF-16, as spreadsheets save it, says so in front; the decoder heeds the mark.
    if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
        return encoding_rs::UTF_16LE.decode(bytes).0;
    }
    match named {
        Some(charset) if std::str::from_utf8(bytes).is_err() => charset.decode(bytes),
        _ => to_text(bytes, context),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_pages_are_whole_and_give_the_letters_of_their_tables() {
        assert_eq!((CP437.chars().count(), CP850.chars().count()), (128, 128));
        let read =
            |name: &str| Charset::named(name).unwrap().decode(b"M\x81ller \xE6mol/l \xF8C").into_owned();
        assert_eq!(read("cp437"), "M\u{FC}ller \u{B5}mol/l \u{B0}C");
        assert_eq!(read("CP850"), "M\u{FC}ller \u{B5}mol/l \u{B0}C");
        let sharp = |name: &str| Charset::named(name).unwrap().decode(b"\xE1\x9D").into_owned();
        assert_eq!((sharp("cp437"), sharp("cp850")), ("\u{DF}\u{A5}".into(), "\u{DF}\u{D8}".into()));
        assert_eq!(Charset::named("iso-8859-1").unwrap().decode(b"\xFC"), "\u{FC}");
        assert_eq!(Charset::named("klingon"), None);
    }
}
