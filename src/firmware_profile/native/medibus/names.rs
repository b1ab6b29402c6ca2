//! What MEDIBUS codes are called. Facts of the device-specific MEDIBUS documents and of MEDIBUS.X as public readers list
//! them (mdpnp `*.map`, VitalSignsCaptureDraegerVent). Codes not listed differ between devices and stay without a name.

use crate::device::Unit;

type Names = &'static [(u8, &'static str)];
type Units = &'static [(u8, &'static str, &'static str)];

/// The name of a measured value of `cp1` or `cp2`.
pub(super) fn measured(page: &str, code: &str) -> Option<&'static str> {
    find(if page == "cp1" { CODEPAGE_1 } else { CODEPAGE_2 }, code)
}

/// Name and UCUM unit of a setting.
pub(super) fn setting(code: &str) -> Option<(&'static str, &'static str)> {
    find_unit(SETTINGS, code)
}

/// The name of a text message.
pub(super) fn message(code: &str) -> Option<&'static str> {
    find(MESSAGES, code)
}

/// Name and UCUM unit of a realtime stream.
pub(super) fn stream(code: &str) -> Option<(&'static str, &'static str)> {
    find_unit(STREAMS, code)
}

/// A unit by its UCUM code; `""` is none.
pub(super) fn unit(ucum: &str) -> Option<Unit> {
    (!ucum.is_empty()).then(|| Unit { ucum: ucum.into(), display: ucum.into() })
}

fn find(names: Names, code: &str) -> Option<&'static str> {
    let code = u8::from_str_radix(code, 16).ok()?;
    names
        .binary_search_by_key(&code, |(own, _)| *own)
        .ok()
        .and_then(|at| names.get(at))
        .map(|(_, name)| *name)
}

fn find_unit(names: Units, code: &str) -> Option<(&'static str, &'static str)> {
    let code = u8::from_str_radix(code, 16).ok()?;
    let at = names.binary_search_by_key(&code, |(own, ..)| *own).ok()?;
    names.get(at).map(|(_, name, unit)| (*name, *unit))
}

const CODEPAGE_1: Names = &[
    (0x05, "Airway pressure"),
    (0x06, "Compliance"),
    (0x07, "Compliance"),
    (0x08, "Airway resistance"),
    (0x09, "CO2 production"),
    (0x0a, "Minute volume, spontaneous, expired"),
    (0x0b, "Patient airway resistance"),
    (0x0d, "Minute volume, mandatory, expired"),
    (0x2a, "Correlation coefficient r2"),
    (0x50, "Inspired halothane"),
    (0x51, "End-tidal halothane"),
    (0x52, "Inspired enflurane"),
    (0x53, "End-tidal enflurane"),
    (0x54, "Inspired isoflurane"),
    (0x55, "End-tidal isoflurane"),
    (0x56, "Inspired desflurane"),
    (0x57, "End-tidal desflurane"),
    (0x58, "Inspired sevoflurane"),
    (0x59, "End-tidal sevoflurane"),
    (0x5a, "Inspired primary agent"),
    (0x5b, "End-tidal primary agent"),
    (0x5c, "Inspired secondary agent"),
    (0x5d, "End-tidal secondary agent"),
    (0x64, "O2 uptake"),
    (0x6b, "Ambient pressure"),
    (0x71, "Minimum airway pressure"),
    (0x72, "Occlusion pressure P0.1"),
    (0x73, "Mean airway pressure"),
    (0x74, "Plateau pressure"),
    (0x76, "Peak inspiratory flow"),
    (0x78, "PEEP"),
    (0x79, "Intrinsic PEEP"),
    (0x7a, "Minute volume, spontaneous"),
    (0x7b, "Respiratory rate, mandatory"),
    (0x7c, "Minute volume, mandatory"),
    (0x7d, "Peak airway pressure"),
    (0x7e, "Tidal volume, mandatory"),
    (0x7f, "Tidal volume, spontaneous"),
    (0x81, "Trapped volume"),
    (0x82, "Tidal volume"),
    (0x83, "Tidal volume, mandatory, expired"),
    (0x84, "Tidal volume, spontaneous, expired"),
    (0x85, "Tidal volume, mandatory, inspired"),
    (0x86, "Tidal volume, high-frequency oscillation"),
    (0x88, "Tidal volume"),
    (0x89, "Dead space"),
    (0x8a, "Dead space to tidal volume"),
    (0x8b, "Tidal volume, inspired"),
    (0xac, "Inspired MAC multiple"),
    (0xad, "Expired MAC multiple"),
    (0xae, "Inspired desflurane"),
    (0xaf, "End-tidal desflurane"),
    (0xb0, "Inspired sevoflurane"),
    (0xb1, "End-tidal sevoflurane"),
    (0xb2, "Leakage"),
    (0xb3, "Leakage, relative"),
    (0xb4, "Respiratory rate from pressure"),
    (0xb5, "Respiratory rate, spontaneous"),
    (0xb6, "Spontaneous part of minute volume"),
    (0xb7, "Minute volume, spontaneous"),
    (0xb8, "Minute volume"),
    (0xb9, "Minute volume"),
    (0xbd, "Apnoea time"),
    (0xc1, "Airway temperature"),
    (0xc4, "Inspired to expired O2 difference"),
    (0xc9, "Rapid shallow breathing index"),
    (0xd5, "Respiratory rate from CO2"),
    (0xd6, "Respiratory rate"),
    (0xd7, "Respiratory rate from flow"),
    (0xd9, "Respiratory rate"),
    (0xda, "Inspired CO2"),
    (0xdb, "End-tidal CO2"),
    (0xdc, "Heart rate"),
    (0xdd, "Fresh-gas flow, N2O"),
    (0xde, "Fresh-gas flow, air"),
    (0xdf, "Pulse rate"),
    (0xe1, "Pulse rate, oximeter"),
    (0xe2, "Fresh-gas flow, O2"),
    (0xe3, "End-tidal CO2"),
    (0xe5, "Inspired CO2"),
    (0xe6, "End-tidal CO2"),
    (0xe7, "I:E ratio, inspired part"),
    (0xe8, "I:E ratio, expired part"),
    (0xe9, "Inspired primary agent"),
    (0xea, "End-tidal primary agent"),
    (0xeb, "SpO2"),
    (0xed, "Inspired secondary agent"),
    (0xee, "End-tidal secondary agent"),
    (0xef, "End-tidal O2"),
    (0xf0, "Inspired O2"),
    (0xf4, "Inspired halothane"),
    (0xf5, "End-tidal halothane"),
    (0xf6, "Inspired enflurane"),
    (0xf7, "End-tidal enflurane"),
    (0xf8, "Inspired isoflurane"),
    (0xf9, "End-tidal isoflurane"),
    (0xfb, "Inspired N2O"),
    (0xfc, "End-tidal N2O"),
    (0xff, "Inspired CO2"),
];

const CODEPAGE_2: Names = &[
    (0x00, "Tidal volume, spontaneous"),
    (0x03, "Pressure amplitude, high-frequency oscillation"),
    (0x06, "Elastance"),
    (0x07, "Time constant"),
    (0x09, "Expiratory time constant"),
    (0x0a, "Static compliance"),
    (0x0b, "C20 to dynamic compliance"),
    (0x0d, "Rapid shallow breathing index"),
    (0x21, "Tidal volume, expired"),
    (0x22, "Tidal volume, inspired"),
    (0x23, "End-inspiratory pressure"),
    (0x31, "Upper pressure level, APRV"),
    (0x32, "Lower pressure level, APRV"),
    (0x36, "Tidal volume per ideal body weight"),
    (0x37, "Leakage minute volume"),
    (0x38, "Inspiratory time"),
];

const SETTINGS: Units = &[
    (0x01, "Inspired O2, set", "%"),
    (0x02, "Inspiratory flow, set", "L/min"),
    (0x04, "Inspired tidal volume, set", "L"),
    (0x05, "Inspiratory time, set", "s"),
    (0x06, "Expiratory time, set", "s"),
    (0x07, "I:E ratio, inspired part, set", "1"),
    (0x08, "I:E ratio, expired part, set", "1"),
    (0x09, "Respiratory rate, set", "/min"),
    (0x0a, "Minimum respiratory rate, set", "/min"),
    (0x0b, "PEEP, set", "mbar"),
    (0x0c, "Intermittent PEEP, set", "mbar"),
    (0x0d, "Lower pressure level, set", "mbar"),
    (0x0e, "Upper pressure level, set", "mbar"),
    (0x0f, "Time of lower pressure level, set", "s"),
    (0x10, "Time of upper pressure level, set", "s"),
    (0x11, "Apnoea alarm time, set", "s"),
    (0x12, "Pressure support, set", "mbar"),
    (0x13, "Pressure limit, set", "mbar"),
    (0x15, "Pressure trigger, set", "mbar"),
    (0x16, "Tachypnoea rate, set", "/min"),
    (0x27, "Plateau time, set", "%"),
    (0x29, "Flow trigger, set", "L/min"),
    (0x2e, "Pressure rise time, set", "s"),
    (0x2f, "Fresh-gas flow, set", "mL/min"),
    (0x40, "Inspired tidal volume, set", "mL"),
    (0x42, "Respiratory rate for apnoea ventilation, set", "/min"),
    (0x44, "Tidal volume for apnoea ventilation, set", "L"),
    (0x45, "Inspiratory pressure, set", "mbar"),
    (0x4a, "Age, set", ""),
    (0x4b, "Weight, set", "kg"),
    (0x6e, "Tidal volume for apnoea ventilation, set", "mL"),
    (0x6f, "Ideal body weight, set", "kg"),
];

const MESSAGES: Names = &[
    (0x01, "Mode IPPV"),
    (0x02, "Mode IPPV/Assist"),
    (0x04, "Mode CPPV"),
    (0x05, "Mode CPPV/Assist"),
    (0x06, "Mode SIMV"),
    (0x07, "Mode SIMV/ASB"),
    (0x08, "Mode SB"),
    (0x09, "Mode ASB"),
    (0x0a, "Mode CPAP"),
    (0x0b, "Mode CPAP/ASB"),
    (0x0c, "Mode MMV"),
    (0x0d, "Mode MMV/ASB"),
    (0x0e, "Mode BIPAP"),
    (0x0f, "Synchronised, master"),
    (0x10, "Synchronised, slave"),
    (0x11, "Apnoea ventilation"),
    (0x18, "Mode BIPAP/SIMV"),
    (0x19, "Mode BIPAP/SIMV/ASB"),
    (0x1a, "Mode BIPAP/APRV"),
    (0x1e, "Ventilator standby"),
    (0x20, "Adults"),
    (0x21, "Neonates"),
    (0x22, "CO2 in mmHg"),
    (0x23, "CO2 in kPa"),
    (0x24, "CO2 in %"),
    (0x25, "Agent halothane"),
    (0x26, "Agent enflurane"),
    (0x27, "Agent isoflurane"),
    (0x28, "Agent desflurane"),
    (0x29, "Agent sevoflurane"),
    (0x2a, "No agent"),
    (0x2b, "Mode manual or spontaneous"),
    (0x2c, "Language"),
    (0x34, "Mode PCV"),
    (0x36, "Fresh gas external"),
    (0x37, "Carrier gas air"),
    (0x38, "Carrier gas N2O"),
    (0x53, "Leakage test"),
    (0x54, "Device standby"),
    (0x56, "Agents in kPa"),
    (0x57, "Agents in %"),
    (0x58, "Heart-lung machine mode"),
    (0x59, "Volume mode"),
    (0x5a, "Pressure mode"),
    (0x5b, "Pressure support mode"),
    (0x5c, "Pressure support added"),
    (0x5d, "Mode SIMV"),
];

const STREAMS: Units = &[
    (0x00, "Airway pressure", "mbar"),
    (0x01, "Flow", "L/min"),
    (0x02, "Plethysmogram", "%"),
    (0x03, "Volume of the breath", "mL"),
    (0x05, "O2", "%"),
    (0x06, "CO2", "mm[Hg]"),
    (0x07, "CO2", "kPa"),
    (0x08, "CO2", "%"),
    (0x0a, "Primary agent", "%"),
    (0x0b, "Halothane", "%"),
    (0x0c, "Enflurane", "%"),
    (0x0d, "Isoflurane", "%"),
    (0x0e, "Desflurane", "%"),
    (0x0f, "Sevoflurane", "%"),
    (0x1c, "Tracheal pressure", "mbar"),
    (0x1e, "Inspiratory device flow", "L/min"),
    (0x20, "Inspiratory flow", "L/min"),
    (0x21, "Expiratory flow", "L/min"),
    (0x24, "Expiratory volume", "mL"),
    (0x2a, "Primary agent", "kPa"),
    (0x2b, "Halothane", "kPa"),
    (0x2c, "Enflurane", "kPa"),
    (0x2d, "Isoflurane", "kPa"),
    (0x2e, "Desflurane", "kPa"),
    (0x2f, "Sevoflurane", "kPa"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_sorted_so_that_each_code_is_found() {
        for names in [CODEPAGE_1, CODEPAGE_2, MESSAGES] {
            assert!(names.windows(2).all(|two| two[0].0 < two[1].0));
        }
        for names in [SETTINGS, STREAMS] {
            assert!(names.windows(2).all(|two| two[0].0 < two[1].0));
            assert!(names.iter().all(|(_, _, unit)| unit.is_empty() || crate::nomenclature::is_ucum(unit)));
        }
        assert_eq!(measured("cp1", "EB"), Some("SpO2"));
        assert_eq!(measured("cp2", "EB"), None);
        assert_eq!(setting("0B"), Some(("PEEP, set", "mbar")));
    }
}
