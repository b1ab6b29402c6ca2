//! The groups of the physiological database, class by class: where each value stands, its scale and its code.

use super::{Reading, containment, reason, statement};
use crate::device::Moment;
use crate::wire::dri::record::{i16_at, u16_at, u32_at};

/// Status bits every group has: the module is there, and it measures.
const MODULE: u32 = 1;
const ACTIVE: u32 = 2;
/// Status (32 bits) and label (16 bits) before the values of a group.
const GROUP_HEADER: usize = 6;

/// One value: its number in the group, code (an MDC number or our own name for the field), power of ten, unit, name.
struct Field(usize, &'static str, i16, &'static str, &'static str);

/// What the label of a group changes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Label {
    None,
    HeartRate,
    Pressure,
    Cuff,
    Temperature,
    Saturation,
    RespirationSource,
    Agent,
    Output,
    Relaxation,
}

/// A group of one class.
pub(super) struct Group {
    pub(super) name: &'static str,
    /// Offset in the 270 octets of its class.
    pub(super) at: usize,
    vmd: u32,
    channel: u32,
    label: Label,
    fields: &'static [Field],
}

const fn group(
    name: &'static str,
    at: usize,
    place: (u32, u32),
    label: Label,
    fields: &'static [Field],
) -> Group {
    Group { name, at, vmd: place.0, channel: place.1, label, fields }
}

const PRESSURE: &[Field] = &[
    Field(0, "sys", -2, "mm[Hg]", "systolic"),
    Field(1, "dia", -2, "mm[Hg]", "diastolic"),
    Field(2, "mean", -2, "mm[Hg]", "mean"),
    Field(3, "149522", 0, "/min", "Pulse rate, invasive"),
];
const TEMPERATURE: &[Field] = &[Field(0, "temp", -2, "Cel", "Temperature")];
const SPO2: &[Field] = &[
    Field(0, "150456", -2, "%", "SpO2"),
    Field(1, "149530", 0, "/min", "Pulse rate, oximeter"),
    Field(3, "so2", -2, "%", "Oxygen saturation"),
];

const BASIC: &[Group] = &[
    group(
        "ECG",
        0,
        (1, 1),
        Label::HeartRate,
        &[
            Field(0, "147842", 0, "/min", "Heart rate"),
            Field(1, "ecg.st1", -2, "mm", "ST, channel 1"),
            Field(2, "ecg.st2", -2, "mm", "ST, channel 2"),
            Field(3, "ecg.st3", -2, "mm", "ST, channel 3"),
            Field(4, "151578", 0, "/min", "Respiratory rate, impedance"),
        ],
    ),
    group("P1", 16, (2, 1), Label::Pressure, PRESSURE),
    group("P2", 30, (2, 2), Label::Pressure, PRESSURE),
    group("P3", 44, (2, 3), Label::Pressure, PRESSURE),
    group("P4", 58, (2, 4), Label::Pressure, PRESSURE),
    group(
        "NIBP",
        72,
        (3, 1),
        Label::Cuff,
        &[
            Field(0, "150021", -2, "mm[Hg]", "Systolic pressure, cuff"),
            Field(1, "150022", -2, "mm[Hg]", "Diastolic pressure, cuff"),
            Field(2, "150023", -2, "mm[Hg]", "Mean pressure, cuff"),
            Field(3, "149546", 0, "/min", "Pulse rate, cuff"),
        ],
    ),
    group("T1", 86, (4, 1), Label::Temperature, TEMPERATURE),
    group("T2", 94, (4, 2), Label::Temperature, TEMPERATURE),
    group("T3", 102, (4, 3), Label::Temperature, TEMPERATURE),
    group("T4", 110, (4, 4), Label::Temperature, TEMPERATURE),
    group("SpO2", 118, (5, 1), Label::Saturation, SPO2),
    group(
        "CO2",
        132,
        (6, 1),
        Label::RespirationSource,
        &[
            Field(0, "151708", -2, "%", "End-tidal CO2"),
            Field(1, "151716", -2, "%", "Inspired CO2"),
            Field(2, "151594", 0, "/min", "Respiratory rate, CO2"),
            Field(3, "co2.ambient", -1, "mm[Hg]", "Ambient pressure"),
        ],
    ),
    group(
        "O2",
        146,
        (6, 2),
        Label::None,
        &[Field(0, "152440", -2, "%", "End-tidal O2"), Field(1, "152196", -2, "%", "Inspired O2")],
    ),
    group(
        "N2O",
        156,
        (6, 3),
        Label::None,
        &[Field(0, "152108", -2, "%", "End-tidal N2O"), Field(1, "152192", -2, "%", "Inspired N2O")],
    ),
    group(
        "AA",
        166,
        (6, 4),
        Label::Agent,
        &[
            Field(0, "et", -2, "%", "End-tidal agent"),
            Field(1, "insp", -2, "%", "Inspired agent"),
            Field(2, "aa.mac", -2, "{MAC}", "MAC, sum"),
        ],
    ),
    group(
        "flow and volume",
        178,
        (7, 1),
        Label::None,
        &[
            Field(0, "151570", 0, "/min", "Respiratory rate, airway"),
            Field(1, "151957", -2, "cm[H2O]", "Peak airway pressure"),
            Field(2, "151976", -2, "cm[H2O]", "PEEP"),
            Field(3, "151784", -2, "cm[H2O]", "Plateau pressure"),
            Field(4, "flow.tv_insp", -1, "mL", "Tidal volume, inspired"),
            Field(5, "flow.tv_exp", -1, "mL", "Tidal volume, expired"),
            Field(6, "151688", -2, "mL/cm[H2O]", "Compliance"),
            Field(7, "151884", -2, "L/min", "Minute volume, expired"),
        ],
    ),
    group(
        "cardiac output",
        200,
        (8, 1),
        Label::Output,
        &[
            // The monitor counts in mL/min.
            Field(0, "150276", -3, "L/min", "Cardiac output"),
            Field(1, "188436", -2, "Cel", "Blood temperature"),
            Field(2, "co.rvef", -2, "%", "Right heart ejection fraction"),
            Field(3, "150052", -2, "mm[Hg]", "Pulmonary wedge pressure"),
        ],
    ),
    group(
        "NMT",
        214,
        (9, 1),
        Label::Relaxation,
        &[
            Field(0, "nmt.t1", -1, "%", "Twitch 1 of the control"),
            Field(1, "nmt.ratio", -1, "%", "Train-of-four ratio"),
        ],
    ),
    // ECG extra (226) has no header of its own: its rates are read beside the ECG's.
    group("SvO2", 232, (5, 3), Label::None, &[Field(0, "150332", -2, "%", "Venous oxygen saturation")]),
    group("P5", 240, (2, 5), Label::Pressure, PRESSURE),
    group("P6", 254, (2, 6), Label::Pressure, PRESSURE),
];

const EXTENDED_1: &[Group] = &[
    group(
        "arrhythmia",
        0,
        (1, 2),
        Label::None,
        &[Field(0, "arrhythmia.hr", 0, "/min", "Heart rate, arrhythmia analysis")],
    ),
    group(
        "12-lead ST",
        48,
        (1, 3),
        Label::None,
        &[
            Field(0, "131841", -2, "mm", "ST lead I"),
            Field(1, "131842", -2, "mm", "ST lead II"),
            Field(2, "131901", -2, "mm", "ST lead III"),
            Field(3, "131903", -2, "mm", "ST lead aVL"),
            Field(4, "131902", -2, "mm", "ST lead aVR"),
            Field(5, "131904", -2, "mm", "ST lead aVF"),
            Field(6, "131843", -2, "mm", "ST lead V1"),
            Field(7, "ecg12.st_v2", -2, "mm", "ST lead V2"),
            Field(8, "ecg12.st_v3", -2, "mm", "ST lead V3"),
            Field(9, "ecg12.st_v4", -2, "mm", "ST lead V4"),
            Field(10, "ecg12.st_v5", -2, "mm", "ST lead V5"),
            Field(11, "ecg12.st_v6", -2, "mm", "ST lead V6"),
        ],
    ),
    group("P7", 78, (2, 7), Label::Pressure, PRESSURE),
    group("P8", 92, (2, 8), Label::Pressure, PRESSURE),
    group("SpO2, second", 106, (5, 2), Label::Saturation, SPO2),
    group("T5", 120, (4, 5), Label::Temperature, TEMPERATURE),
    group("T6", 128, (4, 6), Label::Temperature, TEMPERATURE),
];

const EXTENDED_2: &[Group] = &[
    group(
        "BIS",
        96,
        (10, 1),
        Label::None,
        &[
            Field(0, "bis", 0, "{index}", "Bispectral index"),
            Field(1, "bis.sqi", 0, "%", "Bispectral index, signal quality"),
            Field(3, "bis.sr", 0, "%", "Bispectral index, suppression ratio"),
        ],
    ),
    group(
        "entropy",
        112,
        (11, 1),
        Label::None,
        &[
            Field(0, "entropy.se", 0, "{index}", "State entropy"),
            Field(1, "entropy.re", 0, "{index}", "Response entropy"),
            Field(2, "entropy.bsr", 0, "%", "Burst suppression ratio"),
        ],
    ),
];

const EXTENDED_3: &[Group] = &[
    group(
        "gas exchange",
        0,
        (12, 1),
        Label::None,
        &[
            Field(0, "gasex.vo2", -1, "mL/min", "Oxygen consumption"),
            Field(1, "gasex.vco2", -1, "mL/min", "CO2 production"),
        ],
    ),
    group(
        "flow and volume 2",
        14,
        (7, 2),
        Label::None,
        &[
            Field(0, "flow2.peep_i", -2, "cm[H2O]", "PEEP, intrinsic"),
            Field(1, "151975", -2, "cm[H2O]", "Mean airway pressure"),
            Field(3, "152004", -2, "L/min", "Minute volume, inspired"),
            Field(4, "flow2.peep_e", -2, "cm[H2O]", "PEEP, extrinsic"),
            Field(5, "flow2.mv_spont", -2, "L/min", "Minute volume, spontaneous"),
        ],
    ),
    group(
        "balance gas",
        60,
        (6, 5),
        Label::None,
        &[
            Field(0, "balance.et", -2, "%", "Balance gas, expired"),
            Field(1, "balance.fi", -2, "%", "Balance gas, inspired"),
        ],
    ),
];

/// The groups of a class: basic, extended 1, 2 and 3.
pub(super) fn of_class(class: u16) -> Option<&'static [Group]> {
    Some(match class {
        0 => BASIC,
        1 => EXTENDED_1,
        2 => EXTENDED_2,
        3 => EXTENDED_3,
        _ => return None,
    })
}

/// Reads one group. A module that is not there says nothing, and its special values are no reasons.
pub(super) fn read(
    group: &Group,
    octets: &[u8],
    place: &dyn Fn() -> String,
    taken: Option<&Moment>,
    reading: &mut Reading<'_>,
) {
    let (Some(status), Some(label)) = (u32_at(octets, 0), u16_at(octets, 4)) else { return };
    let measures = status & (MODULE | ACTIVE) == MODULE | ACTIVE;
    let value = |number: usize| i16_at(octets, GROUP_HEADER + 2 * number);
    // Its own time, where the monitor repeats an old value for minutes.
    let mut taken = taken;
    let cuff_time = reading.cuff_time.clone();
    if group.label == Label::Cuff {
        taken = cuff_time.as_ref().or(taken);
    }
    for field in group.fields {
        let Some(raw) = value(field.0) else { continue };
        if !measures && reason(raw).is_some() {
            continue;
        }
        if is_old(group, field.0, label) && cuff_time.is_none() {
            reading.tell(
                "old-value",
                &place(),
                "A value older than 60 s was told when it was new; it is left out.",
            );
            continue;
        }
        let Some((code, name)) = code(group, field, label, status) else { continue };
        let mut statement = statement(&code, raw, field.2, field.3, &name);
        if !measures {
            statement.status.questionable = true;
            reading.tell(
                "inactive-module",
                &place(),
                "A module that does not measure shows a value; it is questionable.",
            );
        }
        statement.containment = Some(containment(group.vmd, group.channel));
        statement.taken = taken.cloned();
        statement.place = place();
        statement.note = note(group, field.0, label, status);
        reading.statements.push(statement);
    }
}

/// Labels that say that a value is older than 60 s: bit 8 of the cuff, bits 0 and 1 of output and wedge.
fn is_old(group: &Group, field: usize, label: u16) -> bool {
    match (group.label, field) {
        (Label::Cuff, _) => label & 0x100 != 0,
        (Label::Output, 0) => label & 1 != 0,
        (Label::Output, 3) => label & 2 != 0,
        _ => false,
    }
}

/// The code and name of a field; `None` when it says nothing by itself.
fn code(group: &Group, field: &Field, label: u16, status: u32) -> Option<(String, String)> {
    let own = || Some((field.1.to_owned(), field.4.to_owned()));
    match (group.label, field.0) {
        // A heart rate that is not from the ECG is a pulse rate.
        (Label::HeartRate, 0) if !matches!((status >> 3) & 0xF, 0 | 1) => {
            Some(("149514".into(), "Pulse rate".into()))
        }
        (Label::Pressure, 0..=2) => Some(pressure(field, label)),
        (Label::Temperature, _) => Some(temperature(label)),
        (Label::Saturation, 3) => match label & 3 {
            1 => Some(("150324".into(), "Arterial oxygen saturation".into())),
            2 => Some(("150332".into(), "Venous oxygen saturation".into())),
            _ => Some(("150316".into(), "Oxygen saturation".into())),
        },
        (Label::RespirationSource, 2) if label & 7 == 2 => {
            Some(("151578".into(), "Respiratory rate, impedance".into()))
        }
        (Label::Agent, 0 | 1) => agent(field, label),
        _ => own(),
    }
}

/// Invasive pressures by the label the staff chose; one without a known label keeps the name of its channel.
fn pressure(field: &Field, label: u16) -> (String, String) {
    let (name, codes) = match label {
        1 => ("Arterial pressure", [150_033, 150_034, 150_035]),
        2 => ("Central venous pressure", [0, 0, 150_087]),
        3 => ("Pulmonary artery pressure", [150_045, 150_046, 150_047]),
        4 => ("Right atrial pressure", [0, 0, 150_071]),
        5 => ("Right ventricular pressure", [0; 3]),
        6 => ("Left atrial pressure", [0, 150_066, 150_067]),
        7 => ("Intracranial pressure", [0, 0, 153_611]),
        8 => ("Arterial pressure", [150_037, 150_038, 150_039]),
        _ => ("Invasive pressure", [0; 3]),
    };
    let text = format!("{name}, {}", field.4);
    match codes.get(field.0).filter(|code| **code != 0) {
        Some(code) => (code.to_string(), text),
        None => (format!("{}.{}", PRESSURE_NAMES.get(usize::from(label)).unwrap_or(&"p"), field.1), text),
    }
}

const PRESSURE_NAMES: &[&str] = &[
    "p", "art", "cvp", "pa", "rap", "rvp", "lap", "icp", "abp", "p1", "p2", "p3", "p4", "p5", "p6", "sp",
    "fem", "uac", "uvc", "icp2", "p7", "p8", "femv",
];

/// Temperatures by their label: a room is not a body.
fn temperature(label: u16) -> (String, String) {
    let (code, name) = match label {
        1 => ("150372", "Oesophageal temperature"),
        2 => ("150380", "Nasopharyngeal temperature"),
        3 => ("150392", "Tympanic temperature"),
        4 => ("188420", "Rectal temperature"),
        5 => ("temp.bladder", "Bladder temperature"),
        6 => ("188496", "Axillary temperature"),
        7 => ("150388", "Skin temperature"),
        8 => ("temp.airway", "Airway temperature"),
        9 => ("temp.room", "Room temperature"),
        10 => ("temp.myocardium", "Myocardial temperature"),
        15 => ("150368", "Core temperature"),
        16 => ("temp.surface", "Surface temperature"),
        _ => ("temp", "Temperature, site not told"),
    };
    (code.into(), name.into())
}

/// Anaesthetic agents; without one there is no concentration.
fn agent(field: &Field, label: u16) -> Option<(String, String)> {
    let (name, et, inspired) = match label {
        1 => return None,
        2 => ("halothane", "aa.hal.et", "aa.hal.insp"),
        3 => ("enflurane", "aa.enf.et", "aa.enf.insp"),
        4 => ("isoflurane", "aa.iso.et", "aa.iso.insp"),
        5 => ("desflurane", "152084", "152168"),
        6 => ("sevoflurane", "152096", "152180"),
        _ => ("unknown agent", "aa.et", "aa.insp"),
    };
    let is_expired = field.0 == 0;
    let text = format!("{} {name}", if is_expired { "End-tidal" } else { "Inspired" });
    Some((if is_expired { et } else { inspired }.into(), text))
}

/// What the label says that no code does.
fn note(group: &Group, field: usize, label: u16, status: u32) -> Option<String> {
    const LEADS: [&str; 8] = ["not told", "I", "II", "III", "aVR", "aVL", "aVF", "V"];
    const SOURCES: [&str; 9] = [
        "not told",
        "ECG",
        "invasive pressure 1",
        "invasive pressure 2",
        "invasive pressure 3",
        "invasive pressure 4",
        "SpO2",
        "invasive pressure 5",
        "invasive pressure 6",
    ];
    let words = |list: &[&'static str], at: usize| list.get(at).copied().unwrap_or("not told");
    match (group.label, field) {
        (Label::HeartRate, 0) => {
            let source = usize::try_from((status >> 3) & 0xF).unwrap_or(0);
            (source > 1).then(|| format!("Source: {}", words(&SOURCES, source)))
        }
        (Label::HeartRate, 1..=3) => {
            let lead = usize::from((label >> (4 * (field - 1))) & 0xF);
            (lead != 0).then(|| format!("Lead by its label: {}", words(&LEADS, lead)))
        }
        (Label::Pressure, 0..=2) if !(1..=8).contains(&label) => Some(format!(
            "Label of the channel: {}",
            words(PRESSURE_NAMES, usize::from(label)).to_uppercase()
        )),
        (Label::Relaxation, 1) => {
            const MODES: [&str; 4] = ["train of four", "double burst", "single twitch", "post-tetanic count"];
            Some(format!("Mode: {}", words(&MODES, usize::try_from((status >> 2) & 3).unwrap_or(0))))
        }
        _ => None,
    }
}
