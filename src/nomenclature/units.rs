//! Units: MDC dimension codes and the spellings devices use, each with its UCUM code.

/// A unit of IEEE 11073-10101 (dimension partition).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MdcUnit {
    pub code: u32,
    pub refid: &'static str,
    pub ucum: &'static str,
    /// What people read beside the number.
    pub display: &'static str,
}

/// The unit with this MDC number.
pub fn mdc_unit(code: u32) -> Option<&'static MdcUnit> {
    UNITS.iter().find(|unit| unit.code == code)
}

/// The UCUM code behind a spelling seen on devices. Spaces and case do not matter, except where two units differ
/// only in case; `None` when the text names no unit we know.
pub fn spelled_unit(text: &str) -> Option<&'static str> {
    let text = text.trim();
    let exact =
        |list: &'static [(&str, &str)]| list.iter().find(|(seen, _)| *seen == text).map(|(_, ucum)| *ucum);
    if let Some(ucum) = exact(SPELLINGS_EXACT) {
        return Some(ucum);
    }
    // One small copy, then comparisons that mostly end at the length.
    let plain: String = text.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect();
    SPELLINGS.iter().find(|(seen, _)| *seen == plain).map(|(_, ucum)| *ucum)
}

/// Dimension codes: 262144 + term code; the low digits carry the decimal prefix.
pub const UNITS: &[MdcUnit] = &[
    unit(262_656, "MDC_DIM_DIMLESS", "1", ""),
    unit(262_688, "MDC_DIM_PERCENT", "%", "%"),
    unit(263_424, "MDC_DIM_X_M", "m", "m"),
    unit(263_441, "MDC_DIM_CENTI_M", "cm", "cm"),
    unit(263_442, "MDC_DIM_MILLI_M", "mm", "mm"),
    unit(263_443, "MDC_DIM_MICRO_M", "um", "µm"),
    unit(263_488, "MDC_DIM_FOOT", "[ft_i]", "ft"),
    unit(263_520, "MDC_DIM_INCH", "[in_i]", "in"),
    unit(263_570, "MDC_DIM_MILLI_L_PER_M_SQ", "mL/m2", "mL/m²"),
    unit(263_616, "MDC_DIM_SQ_M", "m2", "m²"),
    unit(263_744, "MDC_DIM_L", "L", "L"),
    unit(263_762, "MDC_DIM_MILLI_L", "mL", "mL"),
    unit(263_840, "MDC_DIM_PER_L", "/L", "/L"),
    unit(263_860, "MDC_DIM_PER_NANO_LITER", "/nL", "/nL"),
    unit(263_872, "MDC_DIM_G", "g", "g"),
    unit(263_875, "MDC_DIM_KILO_G", "kg", "kg"),
    unit(263_890, "MDC_DIM_MILLI_G", "mg", "mg"),
    unit(263_891, "MDC_DIM_MICRO_G", "ug", "µg"),
    unit(263_892, "MDC_DIM_NANO_G", "ng", "ng"),
    unit(263_904, "MDC_DIM_LB", "[lb_av]", "lb"),
    unit(263_936, "MDC_DIM_OZ", "[oz_av]", "oz"),
    unit(264_000, "MDC_DIM_G_M", "g.m", "g·m"),
    unit(264_003, "MDC_DIM_KILO_G_M", "kg.m", "kg·m"),
    unit(264_032, "MDC_DIM_G_M_PER_M_SQ", "g.m/m2", "g·m/m²"),
    unit(264_035, "MDC_DIM_KILO_G_M_PER_M_SQ", "kg.m/m2", "kg·m/m²"),
    unit(264_096, "MDC_DIM_KG_PER_M_SQ", "kg/m2", "kg/m²"),
    unit(264_192, "MDC_DIM_G_PER_L", "g/L", "g/L"),
    unit(264_210, "MDC_DIM_MILLI_G_PER_L", "mg/L", "mg/L"),
    unit(264_212, "MDC_DIM_NANO_G_PER_L", "ng/L", "ng/L"),
    unit(264_256, "MDC_DIM_G_PER_DL", "g/dL", "g/dL"),
    unit(264_274, "MDC_DIM_MILLI_G_PER_DL", "mg/dL", "mg/dL"),
    unit(264_288, "MDC_DIM_G_PER_ML", "g/mL", "g/mL"),
    unit(264_306, "MDC_DIM_MILLI_G_PER_ML", "mg/mL", "mg/mL"),
    unit(264_307, "MDC_DIM_MICRO_G_PER_ML", "ug/mL", "µg/mL"),
    unit(264_308, "MDC_DIM_NANO_G_PER_ML", "ng/mL", "ng/mL"),
    unit(264_309, "MDC_DIM_PICO_G_PER_ML", "pg/mL", "pg/mL"),
    unit(264_320, "MDC_DIM_SEC", "s", "s"),
    unit(264_338, "MDC_DIM_MILLI_SEC", "ms", "ms"),
    unit(264_339, "MDC_DIM_MICRO_SEC", "us", "µs"),
    unit(264_352, "MDC_DIM_MIN", "min", "min"),
    unit(264_384, "MDC_DIM_HR", "h", "h"),
    unit(264_416, "MDC_DIM_DAY", "d", "d"),
    unit(264_448, "MDC_DIM_WEEKS", "wk", "weeks"),
    unit(264_480, "MDC_DIM_MON", "mo", "months"),
    unit(264_512, "MDC_DIM_YR", "a", "years"),
    unit(264_608, "MDC_DIM_PER_SEC", "/s", "/s"),
    unit(264_640, "MDC_DIM_HZ", "Hz", "Hz"),
    unit(264_672, "MDC_DIM_PER_MIN", "/min", "/min"),
    unit(264_704, "MDC_DIM_PER_HR", "/h", "/h"),
    unit(264_736, "MDC_DIM_PER_DAY", "/d", "/d"),
    unit(264_864, "MDC_DIM_BEAT_PER_MIN", "/min", "beats/min"),
    unit(264_896, "MDC_DIM_PULS_PER_MIN", "/min", "pulses/min"),
    unit(264_928, "MDC_DIM_RESP_PER_MIN", "/min", "breaths/min"),
    unit(264_960, "MDC_DIM_M_PER_SEC", "m/s", "m/s"),
    unit(264_978, "MDC_DIM_MILLI_M_PER_SEC", "mm/s", "mm/s"),
    unit(264_992, "MDC_DIM_L_PER_MIN_PER_M_SQ", "L/min/m2", "L/min/m²"),
    unit(265_010, "MDC_DIM_MILLI_L_PER_MIN_PER_M_SQ", "mL/min/m2", "mL/min/m²"),
    unit(265_184, "MDC_DIM_L_PER_SEC", "L/s", "L/s"),
    unit(265_216, "MDC_DIM_L_PER_MIN", "L/min", "L/min"),
    unit(265_234, "MDC_DIM_MILLI_L_PER_MIN", "mL/min", "mL/min"),
    unit(265_248, "MDC_DIM_L_PER_HR", "L/h", "L/h"),
    unit(265_266, "MDC_DIM_MILLI_L_PER_HR", "mL/h", "mL/h"),
    unit(265_280, "MDC_DIM_L_PER_DAY", "L/d", "L/d"),
    unit(265_298, "MDC_DIM_MILLI_L_PER_DAY", "mL/d", "mL/d"),
    unit(265_330, "MDC_DIM_MILLI_L_PER_KG", "mL/kg", "mL/kg"),
    unit(265_472, "MDC_DIM_G_PER_MIN", "g/min", "g/min"),
    unit(265_490, "MDC_DIM_MILLI_G_PER_MIN", "mg/min", "mg/min"),
    unit(265_491, "MDC_DIM_MICRO_G_PER_MIN", "ug/min", "µg/min"),
    unit(265_492, "MDC_DIM_NANO_G_PER_MIN", "ng/min", "ng/min"),
    unit(265_504, "MDC_DIM_G_PER_HR", "g/h", "g/h"),
    unit(265_522, "MDC_DIM_MILLI_G_PER_HR", "mg/h", "mg/h"),
    unit(265_523, "MDC_DIM_MICRO_G_PER_HR", "ug/h", "µg/h"),
    unit(265_524, "MDC_DIM_NANO_G_PER_HR", "ng/h", "ng/h"),
    unit(265_618, "MDC_DIM_MILLI_G_PER_KG_PER_MIN", "mg/kg/min", "mg/kg/min"),
    unit(265_619, "MDC_DIM_MICRO_G_PER_KG_PER_MIN", "ug/kg/min", "µg/kg/min"),
    unit(265_620, "MDC_DIM_NANO_G_PER_KG_PER_MIN", "ng/kg/min", "ng/kg/min"),
    unit(265_650, "MDC_DIM_MILLI_G_PER_KG_PER_HR", "mg/kg/h", "mg/kg/h"),
    unit(265_651, "MDC_DIM_MICRO_G_PER_KG_PER_HR", "ug/kg/h", "µg/kg/h"),
    unit(265_652, "MDC_DIM_NANO_G_PER_KG_PER_HR", "ng/kg/h", "ng/kg/h"),
    unit(265_984, "MDC_DIM_PASCAL", "Pa", "Pa"),
    unit(265_986, "MDC_DIM_HECTO_PASCAL", "hPa", "hPa"),
    unit(265_987, "MDC_DIM_KILO_PASCAL", "kPa", "kPa"),
    unit(266_016, "MDC_DIM_MMHG", "mm[Hg]", "mmHg"),
    unit(266_048, "MDC_DIM_CM_H2O", "cm[H2O]", "cmH2O"),
    unit(266_098, "MDC_DIM_MILLI_BAR", "mbar", "mbar"),
    unit(266_112, "MDC_DIM_JOULES", "J", "J"),
    unit(266_176, "MDC_DIM_WATT", "W", "W"),
    unit(266_194, "MDC_DIM_MILLI_WATT", "mW", "mW"),
    unit(266_196, "MDC_DIM_NANO_WATT", "nW", "nW"),
    unit(266_197, "MDC_DIM_PICO_WATT", "pW", "pW"),
    unit(266_272, "MDC_DIM_DYNE_PER_SEC_PER_CM5", "dyn.s/cm5", "dyn·s/cm⁵"),
    unit(266_304, "MDC_DIM_AMPS", "A", "A"),
    unit(266_322, "MDC_DIM_MILLI_AMPS", "mA", "mA"),
    unit(266_400, "MDC_DIM_VOLT", "V", "V"),
    unit(266_418, "MDC_DIM_MILLI_VOLT", "mV", "mV"),
    unit(266_419, "MDC_DIM_MICRO_VOLT", "uV", "µV"),
    unit(266_432, "MDC_DIM_OHM", "Ohm", "Ω"),
    unit(266_435, "MDC_DIM_OHM_K", "kOhm", "kΩ"),
    unit(266_528, "MDC_DIM_KELVIN", "K", "K"),
    unit(266_560, "MDC_DIM_FAHR", "[degF]", "°F"),
    unit(266_706, "MDC_DIM_MILLI_MOLE", "mmol", "mmol"),
    unit(266_770, "MDC_DIM_MILLI_OSM_PER_L", "mosm/L", "mosm/L"),
    unit(266_866, "MDC_DIM_MILLI_MOLE_PER_L", "mmol/L", "mmol/L"),
    unit(266_867, "MDC_DIM_MICRO_MOLE_PER_L", "umol/L", "µmol/L"),
    unit(266_994, "MDC_DIM_MILLI_EQUIV_PER_L", "meq/L", "mEq/L"),
    unit(267_616, "MDC_DIM_INTL_UNIT", "[IU]", "IU"),
    unit(267_634, "MDC_DIM_MILLI_INTL_UNIT", "m[IU]", "mIU"),
    unit(267_744, "MDC_DIM_INTL_UNIT_PER_ML", "[IU]/mL", "IU/mL"),
    unit(267_762, "MDC_DIM_MILLI_INTL_UNIT_PER_ML", "m[IU]/mL", "mIU/mL"),
    unit(267_808, "MDC_DIM_INTL_UNIT_PER_MIN", "[IU]/min", "IU/min"),
    unit(267_826, "MDC_DIM_MILLI_INTL_UNIT_PER_MIN", "m[IU]/min", "mIU/min"),
    unit(267_840, "MDC_DIM_INTL_UNIT_PER_HR", "[IU]/h", "IU/h"),
    unit(267_858, "MDC_DIM_MILLI_INTL_UNIT_PER_HR", "m[IU]/h", "mIU/h"),
    unit(268_050, "MDC_DIM_MILLI_L_PER_CM_H2O", "mL/cm[H2O]", "mL/cmH2O"),
    unit(268_064, "MDC_DIM_CM_H2O_PER_L_PER_SEC", "cm[H2O].s/L", "cmH2O/(L/s)"),
    unit(268_160, "MDC_DIM_DYNE_SEC_PER_M_SQ_PER_CM_5", "dyn.s.m2/cm5", "dyn·s·m²/cm⁵"),
    unit(268_192, "MDC_DIM_DEGC", "Cel", "°C"),
    unit(268_242, "MDC_DIM_MILLI_AMP_HR", "mA.h", "mAh"),
    unit(268_288, "MDC_DIM_CM_H2O_PER_L", "cm[H2O]/L", "cmH2O/L"),
    unit(268_306, "MDC_DIM_CM_H2O_PER_MILLI_L", "cm[H2O]/mL", "cmH2O/mL"),
    unit(268_562, "MDC_DIM_MILLI_L_PER_DL", "mL/dL", "mL/dL"),
    unit(268_576, "MDC_DIM_DECIBEL", "dB", "dB"),
    unit(268_704, "MDC_DIM_M_PER_MIN", "m/min", "m/min"),
];

/// Where case decides between two units.
const SPELLINGS_EXACT: &[(&str, &str)] = &[
    ("C", "Cel"),
    ("F", "[degF]"),
    ("mV", "mV"),
    ("MV", "mV"),
    ("{beat}/min", "/min"),
    ("{beats}/min", "/min"),
    ("{breath}/min", "/min"),
    ("{breaths}/min", "/min"),
    ("1/min", "/min"),
];

/// Lower case, no spaces. Left: as seen on devices; right: UCUM.
const SPELLINGS: &[(&str, &str)] = &[
    // rates
    ("bpm", "/min"),
    ("beats/min", "/min"),
    ("beat/min", "/min"),
    ("beats/minute", "/min"),
    ("breaths/min", "/min"),
    ("breath/min", "/min"),
    ("brpm", "/min"),
    ("rpm", "/min"),
    ("resp/min", "/min"),
    ("permin", "/min"),
    ("min-1", "/min"),
    // pressures
    ("mmhg", "mm[Hg]"),
    ("mm(hg)", "mm[Hg]"),
    ("mm[hg]", "mm[Hg]"),
    ("torr", "mm[Hg]"),
    ("kpa", "kPa"),
    ("hpa", "hPa"),
    ("mbar", "mbar"),
    ("cmh2o", "cm[H2O]"),
    ("cmh20", "cm[H2O]"),
    ("cm[h2o]", "cm[H2O]"),
    // temperature
    ("°c", "Cel"),
    ("degc", "Cel"),
    ("deg.c", "Cel"),
    ("celsius", "Cel"),
    ("cel", "Cel"),
    ("℃", "Cel"),
    ("°f", "[degF]"),
    ("degf", "[degF]"),
    ("fahrenheit", "[degF]"),
    ("℉", "[degF]"),
    // proportions and counts
    ("percent", "%"),
    ("pct", "%"),
    ("%spo2", "%"),
    ("vol%", "%"),
    ("ratio", "{ratio}"),
    ("index", "{index}"),
    ("inr", "{INR}"),
    ("inrisi", "{INR}"),
    ("rlu", "{RLU}"),
    ("s/co", "{s_co_ratio}"),
    ("s/coratio", "{s_co_ratio}"),
    ("coi", "{cutoff_index}"),
    ("cells/ul", "{cells}/uL"),
    ("cells/mm3", "{cells}/uL"),
    ("copies/ml", "{copies}/mL"),
    ("titer", "{titer}"),
    ("ph", "[pH]"),
    ("iu/l", "[IU]/L"),
    ("iu/ml", "[IU]/mL"),
    ("miu/ml", "m[IU]/mL"),
    ("miu/l", "m[IU]/L"),
    ("uiu/ml", "u[IU]/mL"),
    ("µiu/ml", "u[IU]/mL"),
    ("u/l", "U/L"),
    ("u/ml", "U/mL"),
    ("ku/l", "kU/L"),
    // body
    ("kg", "kg"),
    ("kgs", "kg"),
    ("lb", "[lb_av]"),
    ("lbs", "[lb_av]"),
    ("pounds", "[lb_av]"),
    ("g", "g"),
    ("gm", "g"),
    ("cm", "cm"),
    ("m", "m"),
    ("in", "[in_i]"),
    ("inch", "[in_i]"),
    ("inches", "[in_i]"),
    ("kg/m2", "kg/m2"),
    ("kg/m^2", "kg/m2"),
    ("kg/m²", "kg/m2"),
    // mass and amount concentrations
    ("mg/dl", "mg/dL"),
    ("mg%", "mg/dL"),
    ("mg/l", "mg/L"),
    ("g/dl", "g/dL"),
    ("gm/dl", "g/dL"),
    ("g%", "g/dL"),
    ("g/l", "g/L"),
    ("ug/dl", "ug/dL"),
    ("µg/dl", "ug/dL"),
    ("ug/l", "ug/L"),
    ("µg/l", "ug/L"),
    ("ug/ml", "ug/mL"),
    ("µg/ml", "ug/mL"),
    ("ng/ml", "ng/mL"),
    ("ng/dl", "ng/dL"),
    ("ng/l", "ng/L"),
    ("pg/ml", "pg/mL"),
    ("mmol/l", "mmol/L"),
    ("umol/l", "umol/L"),
    ("µmol/l", "umol/L"),
    ("nmol/l", "nmol/L"),
    ("pmol/l", "pmol/L"),
    ("meq/l", "meq/L"),
    ("mmol/mol", "mmol/mol"),
    ("mosm/kg", "mosm/kg"),
    // cell counts
    ("10*3/ul", "10*3/uL"),
    ("10^3/ul", "10*3/uL"),
    ("10e3/ul", "10*3/uL"),
    ("10³/ul", "10*3/uL"),
    ("10^3/µl", "10*3/uL"),
    ("x10^3/ul", "10*3/uL"),
    ("x10e3/ul", "10*3/uL"),
    ("k/ul", "10*3/uL"),
    ("thou/ul", "10*3/uL"),
    ("th/ul", "10*3/uL"),
    ("thousand/ul", "10*3/uL"),
    ("10*6/ul", "10*6/uL"),
    ("10^6/ul", "10*6/uL"),
    ("10e6/ul", "10*6/uL"),
    ("10^6/µl", "10*6/uL"),
    ("x10^6/ul", "10*6/uL"),
    ("x10e6/ul", "10*6/uL"),
    ("m/ul", "10*6/uL"),
    ("mill/ul", "10*6/uL"),
    ("10*9/l", "10*9/L"),
    ("10^9/l", "10*9/L"),
    ("10e9/l", "10*9/L"),
    ("g.l-1", "g/L"),
    ("giga.l-1", "10*9/L"),
    ("giga/l", "10*9/L"),
    ("tera.l-1", "10*12/L"),
    ("tera/l", "10*12/L"),
    ("10*12/l", "10*12/L"),
    ("10^12/l", "10*12/L"),
    ("10e12/l", "10*12/L"),
    ("um3", "fL"),
    ("µm3", "fL"),
    ("fl", "fL"),
    ("pg", "pg"),
    // volumes, flows, times, electricity
    ("ml", "mL"),
    ("cc", "mL"),
    ("l", "L"),
    ("ul", "uL"),
    ("dl", "dL"),
    ("l/min", "L/min"),
    ("lpm", "L/min"),
    ("ml/min", "mL/min"),
    ("ml/h", "mL/h"),
    ("ml/hr", "mL/h"),
    ("ml/min/1.73m2", "mL/min/{1.73_m2}"),
    ("sec", "s"),
    ("s", "s"),
    ("ms", "ms"),
    ("msec", "ms"),
    ("min", "min"),
    ("mm/h", "mm/h"),
    ("mm/hr", "mm/h"),
    ("hz", "Hz"),
    ("ohm", "Ohm"),
];

const fn unit(code: u32, refid: &'static str, ucum: &'static str, display: &'static str) -> MdcUnit {
    MdcUnit { code, refid, ucum, display }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nomenclature::is_ucum;

    #[test]
    fn every_spelling_leads_to_ucum() {
        for (seen, ucum) in SPELLINGS.iter().chain(SPELLINGS_EXACT) {
            assert!(is_ucum(ucum), "{seen} → {ucum}");
        }
        for (seen, _) in SPELLINGS {
            assert_eq!(*seen, seen.to_lowercase().replace(' ', ""), "spelled so that it can never match");
        }
    }

    #[test]
    fn free_text_units_of_real_devices_are_understood() {
        for (text, ucum) in [
            ("beats/min", "/min"),
            ("bpm", "/min"),
            ("mmHg", "mm[Hg]"),
            ("MG/DL", "mg/dL"),
            ("gm/dl", "g/dL"),
            ("THOU/uL", "10*3/uL"),
            ("10^3/uL", "10*3/uL"),
            ("10E3/uL", "10*3/uL"),
            ("giga.l-1", "10*9/L"),
            ("mm(hg)", "mm[Hg]"),
            (" mmol/L ", "mmol/L"),
            ("C", "Cel"),
            ("{beat}/min", "/min"),
        ] {
            assert_eq!(spelled_unit(text), Some(ucum), "{text}");
        }
        assert_eq!(spelled_unit("furlongs"), None);
        assert_eq!(spelled_unit(""), None);
    }
}
