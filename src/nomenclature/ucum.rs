//! Whether a text is a UCUM unit: the grammar of UCUM (§2.1–2.3) over the atoms medical devices use.

/// Longer texts are no unit.
const LENGTH_MAX: usize = 60;

/// `true` when `text` is a valid UCUM expression over the atoms below, case sensitive.
pub fn is_ucum(text: &str) -> bool {
    if text.is_empty() || text.len() > LENGTH_MAX || !text.is_ascii() {
        return false;
    }
    let body = text.strip_prefix('/').unwrap_or(text);
    split_terms(body).is_some_and(|terms| !terms.is_empty() && terms.into_iter().all(is_simple))
}

/// Splits at `.` and `/` outside brackets and braces; `None` when those do not close.
fn split_terms(text: &str) -> Option<Vec<&str>> {
    let mut terms = Vec::new();
    let mut start = 0;
    let mut open: Option<u8> = None;
    for (at, byte) in text.bytes().enumerate() {
        match (open, byte) {
            (None, b'[' | b'{') => open = Some(byte),
            (Some(b'['), b']') | (Some(b'{'), b'}') => open = None,
            (Some(_), b'[' | b'{') | (None, b']' | b'}') => return None,
            (None, b'.' | b'/') => {
                terms.push(text.get(start..at)?);
                start = at + 1;
            }
            _ => {}
        }
    }
    if open.is_some() {
        return None;
    }
    terms.push(text.get(start..)?);
    Some(terms)
}

/// One factor: an integer, `10*3`, or prefix + atom + exponent, each with an optional annotation.
fn is_simple(term: &str) -> bool {
    let (unit, annotated) = match term.split_once('{') {
        Some((unit, annotation)) => (unit, annotation.ends_with('}')),
        None => (term, false),
    };
    if unit.is_empty() {
        return annotated;
    }
    if unit.bytes().all(|b| b.is_ascii_digit()) {
        return true;
    }
    for ten in ["10*", "10^"] {
        if let Some(power) = unit.strip_prefix(ten) {
            return power.is_empty() || is_exponent(power);
        }
    }
    let stem = unit.trim_end_matches(|c: char| c.is_ascii_digit());
    let exponent = unit.get(stem.len()..).unwrap_or_default();
    let stem = if exponent.is_empty() { stem } else { stem.strip_suffix(['-', '+']).unwrap_or(stem) };
    // An atom may itself end in a digit inside brackets, so both readings are tried.
    is_atom(stem) || is_atom(unit)
}

fn is_exponent(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    !digits.is_empty() && digits.len() <= 3 && digits.bytes().all(|b| b.is_ascii_digit())
}

fn is_atom(unit: &str) -> bool {
    PLAIN.contains(&unit)
        || METRIC.contains(&unit)
        || PREFIXES.iter().any(|prefix| unit.strip_prefix(prefix).is_some_and(|rest| METRIC.contains(&rest)))
}

const PREFIXES: &[&str] =
    &["da", "Y", "Z", "E", "P", "T", "G", "M", "k", "h", "d", "c", "m", "u", "n", "p", "f", "a"];

/// Atoms that take a prefix.
const METRIC: &[&str] = &[
    "m", "g", "s", "L", "l", "mol", "K", "Cel", "Pa", "bar", "V", "A", "W", "J", "Hz", "N", "Ohm", "S", "C",
    "F", "Bq", "Gy", "Sv", "cd", "lm", "lx", "eq", "osm", "kat", "U", "cal", "m[Hg]", "m[H2O]", "[IU]",
    "[iU]", "B", "[CFU]", "[PFU]", "[arb'U]", "[Cal]", "dyn",
];

/// Atoms that take none.
const PLAIN: &[&str] = &[
    "%", "min", "h", "d", "wk", "mo", "a", "rad", "deg", "[degF]", "[lb_av]", "[oz_av]", "[in_i]", "[ft_i]",
    "[psi]", "[pH]", "[ppth]", "[ppm]", "[ppb]", "[USP'U]", "[APL'U]", "[GPL'U]", "[MPL'U]", "[ELU]",
    "[EID_50]", "[hnsf'U]", "[drp]", "[diop]", "[HPF]", "[LPF]", "[NTU]", "[FNU]", "[beth'U]", "[todd'U]",
    "[ka'U]",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_devices_and_laboratories_are_ucum() {
        for unit in [
            "%",
            "/min",
            "mm[Hg]",
            "cm[H2O]",
            "Cel",
            "[degF]",
            "kg",
            "kg/m2",
            "10*3/uL",
            "10*12/L",
            "mg/dL",
            "u[IU]/mL",
            "m[IU]/L",
            "{ratio}",
            "{beats}/min",
            "mL/min/{1.73_m2}",
            "cm[H2O].s/L",
            "1",
            "[pH]",
            "mL/kg/h",
            "s-1",
            "fL",
            "meq/L",
            "L/min",
            "mosm/kg",
        ] {
            assert!(is_ucum(unit), "{unit}");
        }
    }

    #[test]
    fn what_people_write_is_not_ucum() {
        for unit in [
            "",
            "bpm",
            "mmHg",
            "MG/DL",
            "°C",
            "beats/min",
            "10^^3",
            "{open",
            "mm[Hg",
            "kg/",
            "x10",
            "thou/uL",
            "10*3uL",
        ] {
            assert!(!is_ucum(unit), "{unit}");
        }
        assert!(!is_ucum(&"m.".repeat(40)));
    }
}
