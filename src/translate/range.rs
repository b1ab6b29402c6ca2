//! Limits as devices write them in OBX-7 and its like: `3.5-5.1`, `<200`, `> 60`.

use crate::device::Decimal;

/// Both ends as far as they are stated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) low: Option<Decimal>,
    pub(super) high: Option<Decimal>,
}

/// The numbers of a range (HL7 v2.7 section 7.4.2.7: `lower-upper`, `> lower`, `< upper`); `None` when the text says
/// anything more than that, because half a range is worse than its words.
pub(super) fn parse(text: &str) -> Option<Range> {
    let number = |text: &str| text.trim().parse::<Decimal>().ok();
    let text = text.trim();
    if let Some(rest) = text.strip_prefix('<') {
        return Some(Range { low: None, high: Some(number(rest.strip_prefix('=').unwrap_or(rest))?) });
    }
    if let Some(rest) = text.strip_prefix('>') {
        return Some(Range { low: Some(number(rest.strip_prefix('=').unwrap_or(rest))?), high: None });
    }
    // The first hyphen may be the sign of the lower end.
    let hyphens = text.char_indices().skip(1).filter(|(_, c)| *c == '-');
    let ends = |(at, _)| Some((number(text.get(..at)?)?, number(text.get(at + 1..)?)?));
    let (low, high) = hyphens.map(ends).find_map(|pair| pair)?;
    let ordered = high.plus(Decimal::new(low.mantissa.checked_neg()?, low.exponent))?.mantissa >= 0;
    ordered.then_some(Range { low: Some(low), high: Some(high) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_two_numbers_or_one_open_end() {
        for (text, low, high) in [
            ("3.5-5.1", "3.5", "5.1"),
            (" 40 - 120 ", "40", "120"),
            ("-2.0-2.0", "-2.0", "2.0"),
            ("-4--1", "-4", "-1"),
            ("<200", "", "200"),
            ("<= 0.5", "", "0.5"),
            (">60", "60", ""),
        ] {
            let range = parse(text).unwrap();
            let shown = |end: Option<Decimal>| end.map(|d| d.to_string()).unwrap_or_default();
            assert_eq!((shown(range.low).as_str(), shown(range.high).as_str()), (low, high), "{text}");
        }
    }

    #[test]
    fn what_says_more_than_a_range_stays_its_words() {
        for text in
            ["", "-", "negative", "3.5", "M: 14-18 F: 12-16", "5.1-3.5", "3,5-5,1", "1-2-3", "<", "1-"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
