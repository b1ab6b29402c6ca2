//! Text → number, with everything devices write around a number: signs for missing, comparators, decimal commas,
//! flags and units. What is no number never becomes one.

use std::sync::Arc;

use crate::device::{AbsentReason, Comparator, Decimal, MeasurementStatus};

/// What a flag says about a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Status(StatusWord),
    /// HL7 table 0078: `H`, `L`, `HH`, `A` …
    Interpretation(Arc<str>),
    /// Known and without meaning for the value.
    Nothing,
}

/// The MeasurementStatus bits by name (IEEE 11073-10201), and the two OBX-8 words that stand for no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatusWord {
    Invalid,
    Questionable,
    NotAvailable,
    Calibration,
    Test,
    Demo,
    Validated,
    Early,
    Ongoing,
    Off,
    InAlarm,
    AlarmInhibited,
    NoInformation,
}

/// The words a profile may use, and what they mean.
pub(super) const STATUS_WORDS: &[(&str, StatusWord)] = &[
    ("invalid", StatusWord::Invalid),
    ("questionable", StatusWord::Questionable),
    ("not-available", StatusWord::NotAvailable),
    ("calibration", StatusWord::Calibration),
    ("test", StatusWord::Test),
    ("demo", StatusWord::Demo),
    ("validated", StatusWord::Validated),
    ("early", StatusWord::Early),
    ("ongoing", StatusWord::Ongoing),
    ("off", StatusWord::Off),
    ("in-alarm", StatusWord::InAlarm),
    ("alarm-inhibited", StatusWord::AlarmInhibited),
    ("no-information", StatusWord::NoInformation),
];

/// HL7 table 0078 codes that FHIR's ObservationInterpretation also knows.
pub(super) const INTERPRETATIONS: &[&str] = &[
    "N", "A", "AA", "H", "HH", "L", "LL", "HU", "LU", "<", ">", "U", "D", "B", "W", "S", "R", "I", "MS",
    "VS", "POS", "NEG", "IND", "DET", "ND", "RR", "WR", "NR",
];

/// What is known about one value beside the value.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    pub(super) status: MeasurementStatus,
    pub(super) interpretation: Vec<Arc<str>>,
    /// The value is to be taken as absent, whatever is written (PoCD mappingv2: dataAbsentReason and a value
    /// exclude each other).
    pub(super) absent: Option<AbsentReason>,
}

impl Marks {
    pub(super) fn apply(&mut self, effect: &Effect) {
        match effect {
            Effect::Status(word) => self.set(*word),
            Effect::Interpretation(code) => {
                if !self.interpretation.contains(code) {
                    self.interpretation.push(Arc::clone(code));
                }
            }
            Effect::Nothing => {}
        }
    }

    pub(super) fn set(&mut self, word: StatusWord) {
        let status = &mut self.status;
        match word {
            StatusWord::Invalid => {
                status.invalid = true;
                self.absent = Some(AbsentReason::Error);
            }
            StatusWord::Questionable => status.questionable = true,
            StatusWord::NotAvailable => {
                status.not_available = true;
                self.absent.get_or_insert(AbsentReason::TempUnknown);
            }
            StatusWord::Calibration => status.calibration_ongoing = true,
            StatusWord::Test => status.test_data = true,
            StatusWord::Demo => status.demo_data = true,
            StatusWord::Validated => status.validated = true,
            StatusWord::Early => status.early_indication = true,
            StatusWord::Ongoing => {
                status.msmt_ongoing = true;
                self.absent.get_or_insert(AbsentReason::TempUnknown);
            }
            StatusWord::Off => {
                status.off = true;
                self.absent.get_or_insert(AbsentReason::NotPerformed);
            }
            StatusWord::InAlarm => status.in_alarm = true,
            StatusWord::AlarmInhibited => status.alarm_inhibited = true,
            StatusWord::NoInformation => {
                self.absent.get_or_insert(AbsentReason::Unknown);
            }
        }
    }
}

/// How a device writes the sign before the decimals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum DecimalSign {
    #[default]
    Point,
    Comma,
    /// Either, but never both in one number.
    Either,
}

/// Bits of a status word of the device, each with its meaning.
#[derive(Clone, Debug)]
pub(super) struct BitField {
    pub(super) from: super::locate::Locator,
    pub(super) radix: u32,
    pub(super) bits: Vec<(u8, Effect)>,
    /// The device's codes of the metrics it speaks of; all when empty.
    pub(super) only: Vec<String>,
}

/// `[value]`.
#[derive(Clone, Debug, Default)]
pub(super) struct ValueRules {
    /// Texts that stand for no value, with the reason they give.
    pub(super) missing: Vec<(String, AbsentReason)>,
    pub(super) decimal: DecimalSign,
    /// A unit may follow the number (`098%`).
    pub(super) unit_in_value: bool,
    /// Signs and words around a value or in a flag field.
    pub(super) flags: Vec<(String, Effect)>,
    pub(super) bit_fields: Vec<BitField>,
}

/// What a text turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number<'t> {
    Value {
        value: Decimal,
        comparator: Option<Comparator>,
        unit: Option<&'t str>,
    },
    Absent(AbsentReason),
    /// Something else.
    Words,
}

impl ValueRules {
    /// What a text that stands for nothing says: its reason. `None` for a text that says something.
    pub(super) fn absent(&self, text: &str) -> Option<AbsentReason> {
        if text.is_empty() {
            return Some(AbsentReason::Unknown);
        }
        let listed = self.missing.iter().find(|(token, _)| token == text).map(|(_, reason)| *reason);
        listed.or_else(|| only_dashes(text).then_some(AbsentReason::Unknown))
    }

    /// What a flag means, if the profile lists it.
    pub(super) fn flag(&self, text: &str) -> Option<&Effect> {
        self.flags.iter().find(|(flag, _)| flag == text).map(|(_, effect)| effect)
    }

    /// Reads a number. Flags written on it go to `marks`.
    pub(super) fn number<'t>(&self, text: &'t str, marks: &mut Marks) -> Number<'t> {
        let text = text.trim();
        if let Some(reason) = self.absent(text) {
            return Number::Absent(reason);
        }
        let text = self.strip_flags(text, marks);
        if let Some(reason) = self.absent(text) {
            return Number::Absent(reason);
        }
        let (comparator, rest) = comparator(text);
        let rest = rest.trim_start();
        let (sign, digits) = match rest.strip_prefix(['+', '-']) {
            Some(digits) => (rest.starts_with('-'), digits.trim_start()),
            None => (false, rest),
        };
        let end =
            digits.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ',')).unwrap_or(digits.len());
        let end = end + exponent_length(digits.get(end..).unwrap_or_default());
        let (number, unit) = digits.split_at_checked(end).unwrap_or((digits, ""));
        let unit = unit.trim();
        if !unit.is_empty() && !self.unit_in_value {
            return special(text).map_or(Number::Words, Number::Absent);
        }
        match self.decimal(sign, number) {
            Some(value) => Number::Value { value, comparator, unit: (!unit.is_empty()).then_some(unit) },
            None => special(text).map_or(Number::Words, Number::Absent),
        }
    }

    fn decimal(&self, negative: bool, digits: &str) -> Option<Decimal> {
        let comma = match self.decimal {
            DecimalSign::Point => false,
            DecimalSign::Comma => true,
            DecimalSign::Either => digits.contains(','),
        };
        let value: Decimal = if comma {
            if digits.contains('.') || digits.matches(',').count() > 1 {
                return None;
            }
            digits.replace(',', ".").parse().ok()?
        } else {
            digits.parse().ok()?
        };
        Some(if negative { Decimal::new(-value.mantissa, value.exponent) } else { value })
    }

    /// Takes listed signs off both ends. Signs that begin a number (`-`, `<`) are never taken for flags.
    fn strip_flags<'t>(&self, text: &'t str, marks: &mut Marks) -> &'t str {
        let mut text = text;
        for (flag, effect) in &self.flags {
            if flag.is_empty() || flag.contains(|c: char| c.is_ascii_alphanumeric() || "+-<>.,".contains(c)) {
                continue;
            }
            let stripped = text.strip_suffix(flag.as_str()).or_else(|| text.strip_prefix(flag.as_str()));
            if let Some(rest) = stripped {
                marks.apply(effect);
                text = rest.trim();
            }
        }
        text
    }
}

/// `---`, `--.-`, `+ -----`: no device means a number by it.
fn only_dashes(text: &str) -> bool {
    text.matches('-').count() >= 2 && text.chars().all(|c| matches!(c, '-' | '.' | '+' | '%' | ' '))
}

fn comparator(text: &str) -> (Option<Comparator>, &str) {
    const SIGNS: [(&str, Comparator); 6] = [
        (">=", Comparator::GreaterOrEqual),
        ("<=", Comparator::LessOrEqual),
        ("≥", Comparator::GreaterOrEqual),
        ("≤", Comparator::LessOrEqual),
        (">", Comparator::Greater),
        ("<", Comparator::Less),
    ];
    for (sign, comparator) in SIGNS {
        if let Some(rest) = text.strip_prefix(sign) {
            return (Some(comparator), rest);
        }
    }
    (None, text)
}

/// Length of `E+05` at the start of `rest`, 0 when there is none: a unit may also begin with E.
fn exponent_length(rest: &str) -> usize {
    let Some(power) = rest.strip_prefix(['e', 'E']) else { return 0 };
    let digits = power.strip_prefix(['+', '-']).unwrap_or(power);
    if digits.is_empty() || digits.len() > 3 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        0
    } else {
        rest.len()
    }
}

/// The special values of IEEE 11073-20601 FLOAT, as words.
fn special(text: &str) -> Option<AbsentReason> {
    Some(match text.to_ascii_lowercase().as_str() {
        "nan" => AbsentReason::NotANumber,
        "inf" | "+inf" | "infinity" | "+infinity" => AbsentReason::PositiveInfinity,
        "-inf" | "-infinity" => AbsentReason::NegativeInfinity,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> ValueRules {
        ValueRules {
            missing: vec![("---".into(), AbsentReason::TempUnknown), (".....".into(), AbsentReason::Error)],
            decimal: DecimalSign::Either,
            unit_in_value: true,
            flags: vec![
                ("*".into(), Effect::Status(StatusWord::InAlarm)),
                ("?".into(), Effect::Status(StatusWord::Questionable)),
            ],
            bit_fields: Vec::new(),
        }
    }

    fn read(text: &str) -> String {
        let mut marks = Marks::default();
        let number = rules().number(text, &mut marks);
        let marks = format!(
            "{}{}",
            if marks.status.in_alarm { " alarm" } else { "" },
            if marks.status.questionable { " questionable" } else { "" }
        );
        match number {
            Number::Value { value, comparator, unit } => {
                let sign = comparator.map_or(String::new(), |c| format!("{c:?} "));
                format!("{sign}{value}{}{marks}", unit.map_or(String::new(), |u| format!(" {u}")))
            }
            Number::Absent(reason) => format!("absent {}{marks}", reason.code()),
            Number::Words => "not a number".into(),
        }
    }

    #[test]
    fn every_way_to_write_a_number_is_read_exactly() {
        for (text, read_as) in [
            ("98", "98"),
            ("098%", "98 %"),
            (" 2.0 ", "2.0"),
            ("> 15000.00", "Greater 15000.00"),
            (">8", "Greater 8"),
            ("<= 0.5 mg/L", "LessOrEqual 0.5 mg/L"),
            ("≥3", "GreaterOrEqual 3"),
            ("7,41", "7.41"),
            ("98*", "98 alarm"),
            ("?7.412", "7.412 questionable"),
            ("- 12.3 kg", "-12.3 kg"),
            ("+  70.50kg", "70.50 kg"),
            ("1.5E3", "15E2"),
            ("36.43000031", "36.43000031"),
        ] {
            assert_eq!(read(text), read_as, "{text}");
        }
    }

    #[test]
    fn what_is_missing_is_absent_and_never_zero() {
        for (text, read_as) in [
            ("", "absent unknown"),
            ("---", "absent temp-unknown"),
            ("---*", "absent temp-unknown alarm"),
            ("--.-%", "absent unknown"),
            ("+ -------", "absent unknown"),
            (".....", "absent error"),
            ("NaN", "absent not-a-number"),
            ("-INF", "absent negative-infinity"),
            ("Infinity", "absent positive-infinity"),
        ] {
            assert_eq!(read(text), read_as, "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_told() {
        for text in [
            "ERR",
            "-",
            "1.2.3",
            "1,234.5",
            "1,2,3",
            ">",
            "٣",
            "12-3".trim_end_matches("-3").repeat(20).as_str(),
        ] {
            assert_eq!(read(text), "not a number", "{text}");
        }
        let plain = ValueRules::default();
        assert_eq!(plain.number("7,41", &mut Marks::default()), Number::Words);
        assert_eq!(plain.number("98%", &mut Marks::default()), Number::Words);
    }

    #[test]
    fn a_status_that_means_no_value_says_why() {
        for (word, reason) in [
            (StatusWord::Invalid, Some(AbsentReason::Error)),
            (StatusWord::NotAvailable, Some(AbsentReason::TempUnknown)),
            (StatusWord::Ongoing, Some(AbsentReason::TempUnknown)),
            (StatusWord::Off, Some(AbsentReason::NotPerformed)),
            (StatusWord::NoInformation, Some(AbsentReason::Unknown)),
            (StatusWord::Questionable, None),
            (StatusWord::Calibration, None),
            (StatusWord::Early, None),
        ] {
            let mut marks = Marks::default();
            marks.set(word);
            assert_eq!(marks.absent, reason, "{word:?}");
        }
    }
}
