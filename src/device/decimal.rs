//! Numbers exactly as a device wrote them: mantissa × 10^exponent, so 2.0 stays 2.0.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A decimal number that keeps its written precision. Never a binary float.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decimal {
    /// All digits without the point, signed.
    pub mantissa: i128,
    /// Power of ten of the last digit; `2.0` is mantissa 20, exponent -1.
    pub exponent: i16,
}

/// More digits than any device has; keeps the arithmetic inside `i128`.
const DIGITS_MAX: usize = 30;
const EXPONENT_MAX: i16 = 60;

/// Why a text is not a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    #[error("not a decimal number")]
    NotANumber,
    #[error("more than 30 digits, or an exponent beyond ±60")]
    TooLong,
}

impl Decimal {
    pub const fn new(mantissa: i128, exponent: i16) -> Self {
        Self { mantissa, exponent }
    }

    /// `self × factor`, exact; `None` when the digits no longer fit.
    pub fn times(self, factor: Self) -> Option<Self> {
        let product = Self {
            mantissa: self.mantissa.checked_mul(factor.mantissa)?,
            exponent: self.exponent.checked_add(factor.exponent)?,
        };
        product.fits().then_some(product)
    }

    /// `self + other`, exact at the finer of both precisions; `None` when the digits no longer fit.
    pub fn plus(self, other: Self) -> Option<Self> {
        let exponent = self.exponent.min(other.exponent);
        let sum = Self {
            mantissa: self.mantissa_at(exponent)?.checked_add(other.mantissa_at(exponent)?)?,
            exponent,
        };
        sum.fits().then_some(sum)
    }

    /// The same value to `places` digits after the point, half rounded away from zero.
    pub fn rounded(self, places: u8) -> Self {
        let exponent = -i16::from(places);
        if self.exponent >= exponent {
            return self;
        }
        let drop = u32::from(exponent.abs_diff(self.exponent));
        let divisor = 10i128.checked_pow(drop).unwrap_or(i128::MAX);
        let half = if self.mantissa < 0 { -(divisor / 2) } else { divisor / 2 };
        Self { mantissa: (self.mantissa.saturating_add(half)) / divisor, exponent }
    }

    fn mantissa_at(self, exponent: i16) -> Option<i128> {
        let shift = u32::try_from(self.exponent.checked_sub(exponent)?).ok()?;
        self.mantissa.checked_mul(10i128.checked_pow(shift)?)
    }

    fn fits(self) -> bool {
        self.mantissa.unsigned_abs() < 10u128.pow(DIGITS_MAX as u32) && self.exponent.abs() <= EXPONENT_MAX
    }

    /// The nearest `f64`, for drawing a chart and nothing else.
    pub fn for_chart(self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }
}

impl FromStr for Decimal {
    type Err = DecimalError;

    /// Accepts an optional sign, digits with an optional point, and an optional decimal exponent.
    fn from_str(text: &str) -> Result<Self, DecimalError> {
        let (body, power) = match text.split_once(['e', 'E']) {
            Some((body, power)) => (body, power.parse::<i16>().map_err(|_| DecimalError::NotANumber)?),
            None => (text, 0),
        };
        let (negative, digits) = match body.as_bytes().first() {
            Some(b'-') => (true, body.get(1..)),
            Some(b'+') => (false, body.get(1..)),
            _ => (false, Some(body)),
        };
        let digits = digits.ok_or(DecimalError::NotANumber)?;
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && fraction.is_empty() {
            return Err(DecimalError::NotANumber);
        }
        if whole.len() + fraction.len() > DIGITS_MAX {
            return Err(DecimalError::TooLong);
        }
        let mut mantissa: i128 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            if !byte.is_ascii_digit() {
                return Err(DecimalError::NotANumber);
            }
            mantissa = mantissa * 10 + i128::from(byte - b'0');
        }
        let places = i16::try_from(fraction.len()).map_err(|_| DecimalError::TooLong)?;
        let exponent = power.checked_sub(places).ok_or(DecimalError::TooLong)?;
        let value = Self { mantissa: if negative { -mantissa } else { mantissa }, exponent };
        if value.fits() { Ok(value) } else { Err(DecimalError::TooLong) }
    }
}

impl fmt::Display for Decimal {
    /// Plain digits with trailing zeros kept; a large positive exponent is written as `E`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.exponent >= 0 {
            if self.exponent == 0 {
                return write!(f, "{}", self.mantissa);
            }
            return write!(f, "{}E{}", self.mantissa, self.exponent);
        }
        let places = usize::from(self.exponent.unsigned_abs());
        let digits = format!("{:0>width$}", self.mantissa.unsigned_abs(), width = places + 1);
        let (whole, fraction) = digits.split_at(digits.len() - places);
        write!(f, "{}{whole}.{fraction}", if self.mantissa < 0 { "-" } else { "" })
    }
}

impl Serialize for Decimal {
    /// A JSON number with exactly these digits.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_string()
            .parse::<serde_json::Number>()
            .map_err(serde::ser::Error::custom)?
            .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_as_it_was_read() {
        for text in ["2.0", "0", "-0.318", "36.43000031", "120", "0.050", "-1", "1000000"] {
            let value: Decimal = text.parse().unwrap();
            assert_eq!(value.to_string(), text);
            assert_eq!(serde_json::to_string(&value).unwrap(), text);
        }
        assert_eq!("1.5e3".parse::<Decimal>().unwrap(), Decimal::new(15, 2));
        assert_eq!(".5".parse::<Decimal>().unwrap().to_string(), "0.5");
    }

    #[test]
    fn what_is_not_a_number_is_refused() {
        for text in ["", "-", ".", "1,5", "NaN", "1 2", "--", "0x10", "1e", "٣"] {
            assert_eq!(text.parse::<Decimal>(), Err(DecimalError::NotANumber), "{text}");
        }
        assert_eq!("9".repeat(31).parse::<Decimal>(), Err(DecimalError::TooLong));
        assert_eq!("1e99".parse::<Decimal>(), Err(DecimalError::TooLong));
    }

    #[test]
    fn scaling_is_exact() {
        let tenth: Decimal = "0.1".parse().unwrap();
        assert_eq!("715".parse::<Decimal>().unwrap().times(tenth).unwrap().to_string(), "71.5");
        let sum = "98.6".parse::<Decimal>().unwrap().plus("-32".parse().unwrap()).unwrap();
        assert_eq!(sum.to_string(), "66.6");
        assert_eq!("-2.345".parse::<Decimal>().unwrap().rounded(2).to_string(), "-2.35");
    }
}
