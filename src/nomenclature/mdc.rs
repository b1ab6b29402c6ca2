//! The MDC table, grouped by what is measured. Source of each pair: IEEE 11073-10101 numbers as seen in public
//! device messages and guides; the partition (code >> 16) of a metric is 2.

use super::{Kind, Loinc, Name, Term};

/// Partition 1: devices and attributes.
pub const PARTITION_OBJECTS: u32 = 1;
/// Partition 2: metrics.
pub const PARTITION_METRICS: u32 = 2;
/// Partition 8: device specialisations (`MDC_DEV_SPEC_PROFILE_…`) and infrastructure.
pub const PARTITION_INFRASTRUCTURE: u32 = 8;

/// Every metric, in groups.
pub const TERMS: &[&[Term]] = &[
    HEART,
    CUFF_PRESSURE,
    INVASIVE_PRESSURE,
    OXIMETRY,
    RESPIRATION,
    VENTILATION,
    TEMPERATURE,
    BODY,
    GLUCOSE,
    BLOOD_GAS,
    INFUSION,
    WAVES,
];

const HR: &[Loinc] = &[any("8867-4")];
const RR: &[Loinc] = &[any("9279-1")];
const BODY_TEMP: &[Loinc] = &[any("8310-5")];
const SYSTOLIC: &[Loinc] = &[any("8480-6")];
const DIASTOLIC: &[Loinc] = &[any("8462-4")];
const MEAN: &[Loinc] = &[any("8478-0")];
const PANEL: &[Loinc] = &[any("85354-9")];

const HEART: &[Term] = &[
    vital(147_842, "MDC_ECG_HEART_RATE", "Heart rate", HR, "/min"),
    vital(149_514, "MDC_PULS_RATE", "Pulse rate", HR, "/min"),
    vital(149_522, "MDC_BLD_PULS_RATE_INV", "Pulse rate, invasive", HR, "/min"),
    vital(
        149_530,
        "MDC_PULS_OXIM_PULS_RATE",
        "Pulse rate, oximeter",
        &[any("8867-4"), any("8889-8")],
        "/min",
    ),
    vital(149_546, "MDC_PULS_RATE_NON_INV", "Pulse rate, cuff", HR, "/min"),
    vital(8_454_258, "MDC_HF_HR", "Heart rate, exercise", HR, "/min"),
    vital(148_065, "MDC_ECG_V_P_C_CNT", "Ventricular premature beats", &[], "{count}"),
    vital(148_066, "MDC_ECG_V_P_C_RATE", "Ventricular premature beat rate", &[], "/min"),
    vital(147_232, "MDC_ECG_TIME_PD_QT_GL", "QT interval", &[any("8634-8")], "ms"),
    vital(147_236, "MDC_ECG_TIME_PD_QTc", "QTc interval", &[any("8636-3")], "ms"),
    vital(147_240, "MDC_ECG_TIME_PD_RR_GL", "RR interval", &[], "ms"),
    vital(131_841, "MDC_ECG_AMPL_ST_I", "ST lead I", &[], "mm"),
    vital(131_842, "MDC_ECG_AMPL_ST_II", "ST lead II", &[], "mm"),
    vital(131_843, "MDC_ECG_AMPL_ST_V1", "ST lead V1", &[], "mm"),
    vital(131_844, "MDC_ECG_AMPL_ST_V2", "ST lead V2", &[], "mm"),
    vital(131_845, "MDC_ECG_AMPL_ST_V3", "ST lead V3", &[], "mm"),
    vital(131_846, "MDC_ECG_AMPL_ST_V4", "ST lead V4", &[], "mm"),
    vital(131_847, "MDC_ECG_AMPL_ST_V5", "ST lead V5", &[], "mm"),
    vital(131_848, "MDC_ECG_AMPL_ST_V6", "ST lead V6", &[], "mm"),
    vital(131_901, "MDC_ECG_AMPL_ST_III", "ST lead III", &[], "mm"),
    vital(131_902, "MDC_ECG_AMPL_ST_AVR", "ST lead aVR", &[], "mm"),
    vital(131_903, "MDC_ECG_AMPL_ST_AVL", "ST lead aVL", &[], "mm"),
    vital(131_904, "MDC_ECG_AMPL_ST_AVF", "ST lead aVF", &[], "mm"),
    vital(131_907, "MDC_ECG_AMPL_ST_V", "ST lead V", &[], "mm"),
    vital(131_915, "MDC_ECG_AMPL_ST_MCL", "ST lead MCL", &[], "mm"),
    vital(184_327, "MDC_ECG_STAT_RHY", "ECG rhythm", &[], ""),
    vital(149_760, "MDC_RES_VASC_SYS_INDEX", "Systemic vascular resistance index", &[], "dyn.s.m2/cm5"),
    vital(149_772, "MDC_OUTPUT_CARD_INDEX", "Cardiac index", &[], "L/min/m2"),
    vital(150_312, "MDC_RES_VASC_SYS", "Systemic vascular resistance", &[], "dyn.s/cm5"),
    vital(150_492, "MDC_OUTPUT_CARD_CTS", "Cardiac output, continuous", &[], "L/min"),
    vital(150_276, "MDC_OUTPUT_CARD", "Cardiac output", &[any("8741-1")], "L/min"),
    vital(150_404, "MDC_VOL_BLD_STROKE", "Stroke volume", &[], "mL"),
];

const CUFF_PRESSURE: &[Term] = &[
    vital(150_020, "MDC_PRESS_BLD_NONINV", "Blood pressure, cuff", PANEL, "mm[Hg]"),
    part(150_021, "MDC_PRESS_BLD_NONINV_SYS", "Systolic pressure, cuff", SYSTOLIC, 150_020),
    part(150_022, "MDC_PRESS_BLD_NONINV_DIA", "Diastolic pressure, cuff", DIASTOLIC, 150_020),
    part(150_023, "MDC_PRESS_BLD_NONINV_MEAN", "Mean pressure, cuff", MEAN, 150_020),
    vital(150_300, "MDC_PRESS_CUFF", "Blood pressure, cuff", PANEL, "mm[Hg]"),
    part(150_301, "MDC_PRESS_CUFF_SYS", "Systolic pressure, cuff", SYSTOLIC, 150_300),
    part(150_302, "MDC_PRESS_CUFF_DIA", "Diastolic pressure, cuff", DIASTOLIC, 150_300),
    part(150_303, "MDC_PRESS_CUFF_MEAN", "Mean pressure, cuff", MEAN, 150_300),
];

const ABP_SYS: &[Loinc] = &[any("8480-6"), any("76215-3")];
const ABP_DIA: &[Loinc] = &[any("8462-4"), any("76213-8")];
const ABP_MEAN: &[Loinc] = &[any("8478-0"), any("76214-6")];

const INVASIVE_PRESSURE: &[Term] = &[
    vital(150_016, "MDC_PRESS_BLD", "Blood pressure", PANEL, "mm[Hg]"),
    part(150_017, "MDC_PRESS_BLD_SYS", "Systolic pressure", SYSTOLIC, 150_016),
    part(150_018, "MDC_PRESS_BLD_DIA", "Diastolic pressure", DIASTOLIC, 150_016),
    part(150_019, "MDC_PRESS_BLD_MEAN", "Mean pressure", MEAN, 150_016),
    vital(150_028, "MDC_PRESS_BLD_AORT", "Aortic pressure", &[], "mm[Hg]"),
    part(150_029, "MDC_PRESS_BLD_AORT_SYS", "Aortic systolic", &[], 150_028),
    part(150_030, "MDC_PRESS_BLD_AORT_DIA", "Aortic diastolic", &[], 150_028),
    part(150_031, "MDC_PRESS_BLD_AORT_MEAN", "Aortic mean", &[], 150_028),
    vital(150_032, "MDC_PRESS_BLD_ART", "Arterial pressure", PANEL, "mm[Hg]"),
    part(150_033, "MDC_PRESS_BLD_ART_SYS", "Systolic pressure, arterial line", ABP_SYS, 150_032),
    part(150_034, "MDC_PRESS_BLD_ART_DIA", "Diastolic pressure, arterial line", ABP_DIA, 150_032),
    part(150_035, "MDC_PRESS_BLD_ART_MEAN", "Mean pressure, arterial line", ABP_MEAN, 150_032),
    vital(150_036, "MDC_PRESS_BLD_ART_ABP", "Arterial pressure", PANEL, "mm[Hg]"),
    part(150_037, "MDC_PRESS_BLD_ART_ABP_SYS", "Systolic pressure, arterial line", ABP_SYS, 150_036),
    part(150_038, "MDC_PRESS_BLD_ART_ABP_DIA", "Diastolic pressure, arterial line", ABP_DIA, 150_036),
    part(150_039, "MDC_PRESS_BLD_ART_ABP_MEAN", "Mean pressure, arterial line", ABP_MEAN, 150_036),
    vital(150_044, "MDC_PRESS_BLD_ART_PULM", "Pulmonary artery pressure", &[], "mm[Hg]"),
    part(150_045, "MDC_PRESS_BLD_ART_PULM_SYS", "Pulmonary artery systolic", &[any("8440-0")], 150_044),
    part(150_046, "MDC_PRESS_BLD_ART_PULM_DIA", "Pulmonary artery diastolic", &[any("8385-7")], 150_044),
    part(150_047, "MDC_PRESS_BLD_ART_PULM_MEAN", "Pulmonary artery mean", &[any("8414-5")], 150_044),
    vital(150_052, "MDC_PRESS_BLD_ART_PULM_WEDGE", "Pulmonary wedge pressure", &[], "mm[Hg]"),
    vital(150_056, "MDC_PRESS_BLD_ART_UMB", "Umbilical artery pressure", &[], "mm[Hg]"),
    part(150_057, "MDC_PRESS_BLD_ART_UMB_SYS", "Umbilical artery systolic", &[], 150_056),
    part(150_058, "MDC_PRESS_BLD_ART_UMB_DIA", "Umbilical artery diastolic", &[], 150_056),
    part(150_059, "MDC_PRESS_BLD_ART_UMB_MEAN", "Umbilical artery mean", &[], 150_056),
    vital(150_064, "MDC_PRESS_BLD_ATR_LEFT", "Left atrial pressure", &[], "mm[Hg]"),
    vital(150_065, "MDC_PRESS_BLD_ATR_LEFT_SYS", "Left atrial systolic", &[], "mm[Hg]"),
    vital(150_066, "MDC_PRESS_BLD_ATR_LEFT_DIA", "Left atrial diastolic", &[], "mm[Hg]"),
    vital(150_067, "MDC_PRESS_BLD_ATR_LEFT_MEAN", "Left atrial mean", &[], "mm[Hg]"),
    vital(150_068, "MDC_PRESS_BLD_ATR_RIGHT", "Right atrial pressure", &[], "mm[Hg]"),
    vital(150_069, "MDC_PRESS_BLD_ATR_RIGHT_SYS", "Right atrial systolic", &[], "mm[Hg]"),
    vital(150_070, "MDC_PRESS_BLD_ATR_RIGHT_DIA", "Right atrial diastolic", &[], "mm[Hg]"),
    vital(150_071, "MDC_PRESS_BLD_ATR_RIGHT_MEAN", "Right atrial mean", &[], "mm[Hg]"),
    vital(150_084, "MDC_PRESS_BLD_VEN_CENT", "Central venous pressure", &[any("60985-9")], "mm[Hg]"),
    vital(
        150_087,
        "MDC_PRESS_BLD_VEN_CENT_MEAN",
        "Central venous pressure, mean",
        &[any("8591-0")],
        "mm[Hg]",
    ),
    vital(150_085, "MDC_PRESS_BLD_VEN_CENT_SYS", "Central venous pressure, systolic", &[], "mm[Hg]"),
    vital(150_086, "MDC_PRESS_BLD_VEN_CENT_DIA", "Central venous pressure, diastolic", &[], "mm[Hg]"),
    vital(150_088, "MDC_PRESS_BLD_VEN_UMB", "Umbilical vein pressure", &[], "mm[Hg]"),
    part(150_089, "MDC_PRESS_BLD_VEN_UMB_SYS", "Umbilical vein systolic", &[], 150_088),
    part(150_090, "MDC_PRESS_BLD_VEN_UMB_DIA", "Umbilical vein diastolic", &[], 150_088),
    part(150_091, "MDC_PRESS_BLD_VEN_UMB_MEAN", "Umbilical vein mean", &[], 150_088),
    vital(153_609, "MDC_PRESS_INTRA_CRAN_SYS", "Intracranial pressure, systolic", &[], "mm[Hg]"),
    vital(153_610, "MDC_PRESS_INTRA_CRAN_DIA", "Intracranial pressure, diastolic", &[], "mm[Hg]"),
    vital(153_604, "MDC_PRESS_CEREB_PERF", "Cerebral perfusion pressure", &[], "mm[Hg]"),
    vital(153_608, "MDC_PRESS_INTRA_CRAN", "Intracranial pressure", &[any("60956-0")], "mm[Hg]"),
    vital(153_611, "MDC_PRESS_INTRA_CRAN_MEAN", "Intracranial pressure, mean", &[any("60956-0")], "mm[Hg]"),
];

const OXIMETRY: &[Term] = &[
    vital(150_456, "MDC_PULS_OXIM_SAT_O2", "SpO2", &[any("2708-6"), any("59408-5")], "%"),
    vital(150_316, "MDC_SAT_O2", "Oxygen saturation", &[any("2708-6")], "%"),
    vital(150_324, "MDC_SAT_O2_ART", "Arterial oxygen saturation", &[any("2708-6")], "%"),
    vital(150_332, "MDC_SAT_O2_VEN", "Venous oxygen saturation", &[], "%"),
    vital(150_468, "MDC_PULS_OXIM_SAT_O2_DIFF", "SpO2 difference", &[], "%"),
    vital(150_472, "MDC_PULS_OXIM_SAT_O2_ART_LEFT", "SpO2, left", &[any("2708-6"), any("59408-5")], "%"),
    vital(150_476, "MDC_PULS_OXIM_SAT_O2_ART_RIGHT", "SpO2, right", &[any("2708-6"), any("59408-5")], "%"),
    vital(150_448, "MDC_PULS_OXIM_PERF_REL", "Perfusion index", &[any("61006-3")], "%"),
    vital(150_488, "MDC_BLD_PERF_INDEX", "Perfusion index", &[any("61006-3")], "%"),
    vital(160_324, "MDC_SPO2_SIGNAL_QUALITY_INDEX", "SpO2 signal quality", &[], "%"),
    vital(150_320, "MDC_SAT_O2_QUAL", "SpO2 quality", &[], "%"),
];

const ETCO2: &[Loinc] =
    &[Loinc { code: "19891-1", units: &["mm[Hg]", "kPa"] }, Loinc { code: "19889-5", units: &["%"] }];

const RESPIRATION: &[Term] = &[
    vital(151_562, "MDC_RESP_RATE", "Respiratory rate", RR, "/min"),
    vital(151_570, "MDC_AWAY_RESP_RATE", "Respiratory rate, airway", RR, "/min"),
    vital(151_578, "MDC_TTHOR_RESP_RATE", "Respiratory rate, impedance", RR, "/min"),
    vital(151_594, "MDC_CO2_RESP_RATE", "Respiratory rate, CO2", RR, "/min"),
    vital(151_708, "MDC_CONC_AWAY_CO2_ET", "End-tidal CO2", ETCO2, "mm[Hg]"),
    vital(151_712, "MDC_CONC_AWAY_CO2_EXP", "Expired CO2", ETCO2, "mm[Hg]"),
    vital(151_716, "MDC_CONC_AWAY_CO2_INSP", "Inspired CO2", &[], "mm[Hg]"),
    vital(151_718, "MDC_CONC_AWAY_CO2_INSP_MIN", "Inspired CO2, minimum", &[], "mm[Hg]"),
    vital(151_728, "MDC_AWAY_CO2_ET", "End-tidal CO2", ETCO2, "mm[Hg]"),
    vital(151_738, "MDC_AWAY_CO2_INSP_MIN", "Inspired CO2, minimum", &[], "mm[Hg]"),
    vital(151_856, "MDC_TIME_PD_APNEA", "Apnoea time", &[], "s"),
    vital(152_196, "MDC_CONC_AWAY_O2_INSP", "Inspired O2", &[any("3150-0")], "%"),
    vital(152_440, "MDC_CONC_AWAY_O2_ET", "End-tidal O2", &[], "%"),
    vital(152_192, "MDC_CONC_AWAY_N2O_INSP", "Inspired N2O", &[], "%"),
    vital(152_108, "MDC_CONC_AWAY_N2O_ET", "End-tidal N2O", &[], "%"),
    vital(152_180, "MDC_CONC_AWAY_SEVOFL_INSP", "Inspired sevoflurane", &[], "%"),
    vital(152_096, "MDC_CONC_AWAY_SEVOFL_ET", "End-tidal sevoflurane", &[], "%"),
    vital(152_084, "MDC_CONC_AWAY_DESFL_ET", "End-tidal desflurane", &[], "%"),
    vital(152_168, "MDC_CONC_AWAY_DESFL_INSP", "Inspired desflurane", &[], "%"),
    vital(152_088, "MDC_CONC_AWAY_ENFL_ET", "End-tidal enflurane", &[], "%"),
    vital(152_172, "MDC_CONC_AWAY_ENFL_INSP", "Inspired enflurane", &[], "%"),
    vital(152_092, "MDC_CONC_AWAY_HALOTH_ET", "End-tidal halothane", &[], "%"),
    vital(152_176, "MDC_CONC_AWAY_HALOTH_INSP", "Inspired halothane", &[], "%"),
    vital(152_100, "MDC_CONC_AWAY_ISOFL_ET", "End-tidal isoflurane", &[], "%"),
    vital(152_184, "MDC_CONC_AWAY_ISOFL_INSP", "Inspired isoflurane", &[], "%"),
    vital(152_460, "MDC_CONC_AWAY_AGENT_ET", "End-tidal agent", &[], "%"),
    vital(152_464, "MDC_CONC_AWAY_AGENT_INSP", "Inspired agent", &[], "%"),
    vital(151_756, "MDC_CO2_TCUT", "Transcutaneous pCO2", &[], "mm[Hg]"),
    vital(151_760, "MDC_O2_TCUT", "Transcutaneous pO2", &[], "mm[Hg]"),
];

const VENTILATION: &[Term] = &[
    vital(151_586, "MDC_VENT_RESP_RATE", "Ventilation rate", &[any("33438-3")], "/min"),
    vital(151_688, "MDC_COMPL_LUNG", "Compliance", &[], "mL/cm[H2O]"),
    vital(151_784, "MDC_PRESS_RESP_PLAT", "Plateau pressure", &[], "cm[H2O]"),
    vital(152_424, "MDC_VENT_PRESS_RESP_PLAT", "Plateau pressure", &[], "cm[H2O]"),
    vital(151_792, "MDC_PRESS_AWAY", "Airway pressure", &[], "cm[H2O]"),
    vital(151_793, "MDC_PRESS_AWAY_MAX", "Airway pressure, maximum", &[], "cm[H2O]"),
    vital(151_817, "MDC_PRESS_AWAY_INSP_MAX", "Peak inspiratory pressure", &[], "cm[H2O]"),
    vital(151_957, "MDC_VENT_PRESS_MAX", "Peak airway pressure", &[any("76531-3")], "cm[H2O]"),
    vital(151_973, "MDC_VENT_PRESS_AWAY_MAX", "Peak airway pressure", &[any("76531-3")], "cm[H2O]"),
    vital(151_975, "MDC_VENT_PRESS_AWAY_MEAN", "Mean airway pressure", &[any("76530-5")], "cm[H2O]"),
    vital(151_976, "MDC_VENT_PRESS_AWAY_END_EXP_POS", "PEEP", &[any("76248-4")], "cm[H2O]"),
    vital(151_832, "MDC_RATIO_IE", "I:E ratio", &[], "1"),
    vital(151_840, "MDC_RES_AWAY", "Airway resistance", &[], "cm[H2O].s/L"),
    vital(151_868, "MDC_VOL_AWAY_TIDAL", "Tidal volume", &[], "mL"),
    vital(151_980, "MDC_VENT_VOL_TIDAL", "Tidal volume", &[], "mL"),
    vital(151_880, "MDC_VOL_MINUTE_AWAY", "Minute volume", &[], "L/min"),
    vital(151_884, "MDC_VOL_MINUTE_AWAY_EXP", "Minute volume, expired", &[], "L/min"),
    vital(151_996, "MDC_VENT_VOL_MINUTE", "Minute volume", &[], "L/min"),
    vital(152_004, "MDC_VENT_VOL_MINUTE_INSP", "Minute volume, inspired", &[], "L/min"),
    vital(152_008, "MDC_VENT_VOL_MINUTE_AWAY", "Minute volume", &[], "L/min"),
    vital(151_944, "MDC_VENT_FLOW_EXP", "Expiratory flow", &[], "L/min"),
    vital(151_948, "MDC_VENT_FLOW_INSP", "Inspiratory flow", &[], "L/min"),
    device(151_920, "MDC_VENT_CONC_AWAY_O2_INSP", "FiO2", &[any("3150-0")], "%"),
    device(153_144, "MDC_CONC_GASDLV_O2_INSP", "FiO2", &[any("3150-0")], "%"),
    device(16_929_196, "MDC_VENT_VOL_TIDAL_SETTING", "Tidal volume, set", &[any("20112-9")], "mL"),
];

const TEMPERATURE: &[Term] = &[
    vital(150_344, "MDC_TEMP", "Temperature", BODY_TEMP, "Cel"),
    vital(150_352, "MDC_TEMP_ART", "Arterial blood temperature", BODY_TEMP, "Cel"),
    vital(150_364, "MDC_TEMP_BODY", "Body temperature", BODY_TEMP, "Cel"),
    vital(150_368, "MDC_TEMP_CORE", "Core temperature", &[any("8310-5"), any("8329-5")], "Cel"),
    vital(150_372, "MDC_TEMP_ESOPH", "Oesophageal temperature", &[any("8310-5"), any("60836-4")], "Cel"),
    vital(150_380, "MDC_TEMP_NASOPH", "Nasopharyngeal temperature", BODY_TEMP, "Cel"),
    // The skin is not the body's temperature: never the magic code.
    vital(150_388, "MDC_TEMP_SKIN", "Skin temperature", &[any("39106-0")], "Cel"),
    vital(150_392, "MDC_TEMP_TYMP", "Tympanic temperature", &[any("8310-5"), any("8333-7")], "Cel"),
    vital(150_396, "MDC_TEMP_VEN", "Venous blood temperature", BODY_TEMP, "Cel"),
    vital(188_420, "MDC_TEMP_RECT", "Rectal temperature", &[any("8310-5"), any("8332-9")], "Cel"),
    vital(188_424, "MDC_TEMP_ORAL", "Oral temperature", &[any("8310-5"), any("8331-1")], "Cel"),
    vital(188_428, "MDC_TEMP_EAR", "Ear temperature", &[any("8310-5"), any("8333-7")], "Cel"),
    vital(188_432, "MDC_TEMP_FINGER", "Finger temperature", &[], "Cel"),
    vital(188_436, "MDC_TEMP_BLD", "Blood temperature", BODY_TEMP, "Cel"),
    vital(188_440, "MDC_TEMP_DIFF", "Temperature difference", &[], "Cel"),
    vital(188_448, "MDC_TEMP_TOE", "Toe temperature", &[], "Cel"),
    vital(188_452, "MDC_TEMP_AXILLA", "Axillary temperature", &[any("8310-5"), any("8328-7")], "Cel"),
    vital(188_456, "MDC_TEMP_GIT", "Gastro-intestinal temperature", BODY_TEMP, "Cel"),
    vital(188_496, "MDC_TEMP_AXIL", "Axillary temperature", &[any("8310-5"), any("8328-7")], "Cel"),
];

const BODY: &[Term] = &[
    vital(188_736, "MDC_MASS_BODY_ACTUAL", "Body weight", &[any("29463-7")], "kg"),
    vital(188_740, "MDC_LEN_BODY_ACTUAL", "Body height", &[any("8302-2")], "cm"),
    vital(188_744, "MDC_AREA_BODY_SURFACE_ACTUAL", "Body surface area", &[any("3140-1")], "m2"),
    vital(188_748, "MDC_BODY_FAT", "Body fat", &[any("41982-0")], "%"),
    vital(188_752, "MDC_RATIO_MASS_BODY_LEN_SQ", "Body mass index", &[any("39156-5")], "kg/m2"),
    vital(153_856, "MDC_CIRCUM_HEAD", "Head circumference", &[any("9843-4")], "cm"),
    vital(153_728, "MDC_SCORE_GLAS_COMA", "Glasgow coma score", &[any("9269-2")], "{score}"),
];

const GLUCOMETER: &[Loinc] =
    &[Loinc { code: "41653-7", units: &["mg/dL"] }, Loinc { code: "14743-9", units: &["mmol/L"] }];
const GLUCOSE_BLOOD: &[Loinc] =
    &[Loinc { code: "2339-0", units: &["mg/dL"] }, Loinc { code: "15074-8", units: &["mmol/L"] }];
const GLUCOSE_PLASMA: &[Loinc] =
    &[Loinc { code: "2345-7", units: &["mg/dL"] }, Loinc { code: "14749-6", units: &["mmol/L"] }];

const GLUCOSE: &[Term] = &[
    lab(160_020, "MDC_CONC_GLU_GEN", "Glucose", GLUCOSE_BLOOD, "mg/dL"),
    lab(160_184, "MDC_CONC_GLU_CAPILLARY_WHOLEBLOOD", "Glucose, capillary blood", GLUCOMETER, "mg/dL"),
    lab(160_188, "MDC_CONC_GLU_CAPILLARY_PLASMA", "Glucose, capillary plasma", GLUCOMETER, "mg/dL"),
    lab(160_192, "MDC_CONC_GLU_VENOUS_WHOLEBLOOD", "Glucose, venous blood", GLUCOSE_BLOOD, "mg/dL"),
    lab(160_196, "MDC_CONC_GLU_VENOUS_PLASMA", "Glucose, venous plasma", GLUCOSE_PLASMA, "mg/dL"),
    lab(160_200, "MDC_CONC_GLU_ARTERIAL_WHOLEBLOOD", "Glucose, arterial blood", GLUCOSE_BLOOD, "mg/dL"),
    lab(160_204, "MDC_CONC_GLU_ARTERIAL_PLASMA", "Glucose, arterial plasma", GLUCOSE_PLASMA, "mg/dL"),
    lab(160_208, "MDC_CONC_GLU_CONTROL", "Glucose, control solution", &[], "mg/dL"),
    lab(160_212, "MDC_CONC_GLU_ISF", "Glucose, interstitial fluid", &[], "mg/dL"),
    lab(160_220, "MDC_CONC_HBA1C", "HbA1c", &[Loinc { code: "4548-4", units: &["%"] }], "%"),
];

const BLOOD_GAS: &[Term] = &[
    lab(159_748, "MDC_CONC_PH_ART", "pH, arterial", &[any("2744-1")], "[pH]"),
    lab(159_752, "MDC_CONC_PCO2_ART", "pCO2, arterial", &[any("2019-8")], "mm[Hg]"),
    lab(159_756, "MDC_CONC_PO2_ART", "pO2, arterial", &[any("2703-7")], "mm[Hg]"),
    lab(160_004, "MDC_CONC_PH_GEN", "pH", &[], "[pH]"),
    lab(160_008, "MDC_CONC_HCO3_GEN", "Bicarbonate", &[], "mmol/L"),
    lab(160_012, "MDC_CONC_NA_GEN", "Sodium", &[], "mmol/L"),
    lab(160_016, "MDC_CONC_K_GEN", "Potassium", &[], "mmol/L"),
    lab(160_024, "MDC_CONC_CA_GEN", "Calcium", &[], "mmol/L"),
    lab(160_104, "MDC_CONC_CHLORIDE_GEN", "Chloride", &[], "mmol/L"),
];

const INFUSION: &[Term] = &[
    device(67_925, "MDC_ATTR_POWER_STAT", "Power status", &[], ""),
    device(67_976, "MDC_ATTR_TIME_BATT_REMAIN", "Battery time remaining", &[], "min"),
    device(67_996, "MDC_ATTR_VAL_BATT_CHARGE", "Battery charge", &[], "%"),
    device(68_012, "MDC_ATTR_AL_COND", "Alarm condition", &[], ""),
    device(68_020, "MDC_ATTR_BATT_STAT", "Battery status", &[], ""),
    device(68_023, "MDC_ATTR_CAPAC_BATT_FULL", "Battery capacity", &[], "mA.h"),
    device(68_063, "MDC_ATTR_PT_WEIGHT", "Patient weight, as set", &[], "kg"),
    device(68_487, "MDC_ATTR_EVT_COND", "Event", &[], ""),
    device(157_760, "MDC_CONC_DRUG", "Drug concentration", &[], "mg/mL"),
    device(157_784, "MDC_FLOW_FLUID_PUMP", "Flow rate, programmed", &[], "mL/h"),
    device(157_872, "MDC_VOL_FLUID_TBI_REMAIN", "Volume remaining to be infused", &[], "mL"),
    device(157_880, "MDC_VOL_SYRINGE", "Syringe size", &[], "mL"),
    device(157_884, "MDC_VOL_FLUID_TBI", "Volume to be infused", &[], "mL"),
    device(157_916, "MDC_TIME_PD_REMAIN", "Infusion time remaining", &[], "s"),
    device(157_984, "MDC_VOL_SYRINGE_ACTUAL", "Volume in the syringe", &[], "mL"),
    device(157_992, "MDC_VOL_FLUID_DELIV_SEGMENT", "Volume delivered in this segment", &[], "mL"),
    device(157_993, "MDC_VOL_FLUID_DELIV_TOTAL", "Volume delivered", &[], "mL"),
    device(157_996, "MDC_TIME_PD_PROG", "Infusion time, programmed", &[], "s"),
    device(157_999, "MDC_DOSE_DRUG_TBI", "Dose to be infused", &[], "mg"),
    device(158_000, "MDC_DOSE_DRUG_TBI_REMAIN", "Dose remaining to be infused", &[], "mg"),
    device(158_001, "MDC_DOSE_DRUG_DELIV_TOTAL", "Dose delivered", &[], "mg"),
    device(158_003, "MDC_DOSE_DRUG_DELIV_SEGMENT", "Dose delivered in this segment", &[], "mg"),
    device(184_488, "MDC_SYRINGE_MANUFACTURER", "Syringe manufacturer", &[], ""),
    device(184_514, "MDC_DRUG_NAME_LABEL", "Drug name", &[], ""),
    device(184_516, "MDC_PUMP_DRUG_LIBRARY_CARE_AREA", "Care area of the drug library", &[], ""),
    device(158_005, "MDC_PUMP_CURRENT_DELIVERY_STATUS", "Delivery status", &[], ""),
    device(158_006, "MDC_PUMP_NOT_DELIVERING_REASON", "Reason for not delivering", &[], ""),
    device(158_012, "MDC_PUMP_SOURCE_CHANNEL_LABEL", "Source channel", &[], ""),
    device(158_014, "MDC_FLOW_FLUID_PUMP_CURRENT", "Flow rate", &[], "mL/h"),
    device(184_519, "MDC_PUMP_INFUSING_STATUS", "Infusing status", &[], ""),
    device(184_520, "MDC_PUMP_DRUG_LIBRARY_NAME", "Drug library", &[], ""),
];

/// Metrics that come as sample arrays.
pub const WAVES: &[Term] = &[
    vital(131_328, "MDC_ECG_ELEC_POTL", "ECG", &[any("11524-6")], "mV"),
    vital(131_329, "MDC_ECG_ELEC_POTL_I", "ECG lead I", &[], "mV"),
    vital(131_330, "MDC_ECG_ELEC_POTL_II", "ECG lead II", &[], "mV"),
    vital(131_331, "MDC_ECG_ELEC_POTL_V1", "ECG lead V1", &[], "mV"),
    vital(131_332, "MDC_ECG_ELEC_POTL_V2", "ECG lead V2", &[], "mV"),
    vital(131_333, "MDC_ECG_ELEC_POTL_V3", "ECG lead V3", &[], "mV"),
    vital(131_334, "MDC_ECG_ELEC_POTL_V4", "ECG lead V4", &[], "mV"),
    vital(131_335, "MDC_ECG_ELEC_POTL_V5", "ECG lead V5", &[], "mV"),
    vital(131_336, "MDC_ECG_ELEC_POTL_V6", "ECG lead V6", &[], "mV"),
    vital(131_389, "MDC_ECG_ELEC_POTL_III", "ECG lead III", &[], "mV"),
    vital(131_390, "MDC_ECG_ELEC_POTL_AVR", "ECG lead aVR", &[], "mV"),
    vital(131_391, "MDC_ECG_ELEC_POTL_AVL", "ECG lead aVL", &[], "mV"),
    vital(131_392, "MDC_ECG_ELEC_POTL_AVF", "ECG lead aVF", &[], "mV"),
    vital(131_395, "MDC_ECG_ELEC_POTL_V", "ECG lead V", &[], "mV"),
    vital(131_403, "MDC_ECG_ELEC_POTL_MCL", "ECG lead MCL", &[], "mV"),
    vital(131_404, "MDC_ECG_ELEC_POTL_MCL1", "ECG lead MCL1", &[], "mV"),
    vital(150_452, "MDC_PULS_OXIM_PLETH", "Plethysmogram", &[], "1"),
    vital(151_552, "MDC_RESP", "Respiration wave", &[], "Ohm"),
    vital(151_724, "MDC_AWAY_CO2", "CO2 wave", &[], "mm[Hg]"),
    vital(151_764, "MDC_FLOW_AWAY", "Airway flow", &[], "L/min"),
    vital(152_024, "MDC_CONC_AWAY_DESFL", "Desflurane wave", &[], "%"),
    vital(152_028, "MDC_CONC_AWAY_ENFL", "Enflurane wave", &[], "%"),
    vital(152_032, "MDC_CONC_AWAY_HALOTH", "Halothane wave", &[], "%"),
    vital(152_036, "MDC_CONC_AWAY_SEVOFL", "Sevoflurane wave", &[], "%"),
    vital(152_040, "MDC_CONC_AWAY_ISOFL", "Isoflurane wave", &[], "%"),
    vital(152_048, "MDC_CONC_AWAY_N2O", "N2O wave", &[], "%"),
    vital(151_908, "MDC_CONC_AWAY_O2", "O2 wave", &[], "%"),
    vital(152_444, "MDC_CONC_AWAY_N2", "N2 wave", &[], "%"),
    vital(152_456, "MDC_CONC_AWAY_AGENT", "Anaesthetic agent wave", &[], "%"),
    vital(153_900, "MDC_EEG_ELEC_POTL_CRTX", "EEG", &[], "uV"),
];

/// Other reference ids seen for a number; equal in meaning.
pub(super) const ALIASES: &[Name] = &[
    name(147_842, "MDC_ECG_CARD_BEAT_RATE"),
    name(149_522, "MDC_PULS_RATE"),
    name(149_522, "MDC_BLD_PULS_RATE_INV"),
    name(131_329, "MDC_ECG_LEAD_I"),
    name(131_330, "MDC_ECG_LEAD_II"),
    name(131_331, "MDC_ECG_LEAD_V1"),
    name(150_448, "MDC_BLD_PERF_INDEX"),
];

/// Devices, virtual devices, channels and the attributes that describe them (partitions 1 and 8).
pub const DEVICES: &[Name] = &[
    name(65_573, "MDC_MOC_VMS_MDS_SIMP"),
    name(67_880, "MDC_ATTR_ID_MODEL"),
    name(67_885, "MDC_ATTR_ID_PROD_SPECN"),
    name(67_972, "MDC_ATTR_SYS_ID"),
    name(67_975, "MDC_ATTR_TIME_ABS"),
    name(67_981, "MDC_ATTR_TIME_PD_SAMP"),
    name(68_185, "MDC_ATTR_TIME_PD_MSMT_ACTIVE"),
    name(68_220, "MDC_TIME_SYNC_PROTOCOL"),
    name(69_121, "MDC_OBS_WAVE_CTS"),
    name(69_642, "MDC_DEV_ANALY_SAT_O2_VMD"),
    name(69_766, "MDC_DEV_GEN_CONC_AWAY_VMD"),
    name(69_798, "MDC_DEV_ECG_VMD"),
    name(69_854, "MDC_DEV_METER_PRESS_BLD_VMD"),
    name(69_855, "MDC_DEV_METER_PRESS_BLD_CHAN"),
    name(69_902, "MDC_DEV_METER_TEMP_VMD"),
    name(69_903, "MDC_DEV_METER_TEMP_CHAN"),
    name(69_965, "MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS"),
    name(70_053, "MDC_DEV_PUMP_INFUS_SYRINGE_MDS"),
    name(70_054, "MDC_DEV_PUMP_INFUS_SYRINGE_VMD"),
    name(70_067, "MDC_DEV_PUMP_DELIVERY_INFO"),
    name(70_071, "MDC_DEV_PUMP_INFUSATE_SOURCE_PRIMARY_CHAN"),
    name(70_091, "MDC_DEV_PUMP_SYRINGE_INFO"),
    name(70_666, "MDC_DEV_ECG_RESP_VMD"),
    name(70_686, "MDC_DEV_PRESS_BLD_NONINV_VMD"),
    name(70_687, "MDC_DEV_PRESS_BLD_NONINV_CHAN"),
    name(70_739, "MDC_DEV_CARD_RATE_CHAN"),
    name(528_388, "MDC_DEV_SPEC_PROFILE_PULS_OXIM"),
    name(528_390, "MDC_DEV_SPEC_PROFILE_ECG"),
    name(528_391, "MDC_DEV_SPEC_PROFILE_BP"),
    name(528_392, "MDC_DEV_SPEC_PROFILE_TEMP"),
    name(528_397, "MDC_DEV_SPEC_PROFILE_RESP_RATE"),
    name(528_399, "MDC_DEV_SPEC_PROFILE_SCALE"),
    name(528_401, "MDC_DEV_SPEC_PROFILE_GLUCOSE"),
    name(528_402, "MDC_DEV_SPEC_PROFILE_COAG"),
    name(528_403, "MDC_DEV_SPEC_PROFILE_INSULIN_PUMP"),
    name(528_404, "MDC_DEV_SPEC_PROFILE_BCA"),
    name(528_405, "MDC_DEV_SPEC_PROFILE_PEAK_FLOW"),
    name(528_425, "MDC_DEV_SPEC_PROFILE_HF_CARDIO"),
    name(528_426, "MDC_DEV_SPEC_PROFILE_HF_STRENGTH"),
    name(532_224, "MDC_TIME_SYNC_NONE"),
    name(532_226, "MDC_TIME_SYNC_NTPV4"),
];

/// Body sites (partition 7).
pub const SITES: &[Name] = &[name(459_284, "MDC_MUSC_THORAX_PECTORAL_MAJOR")];

const fn any(code: &'static str) -> Loinc {
    Loinc { code, units: &[] }
}

const fn vital(
    code: u32,
    refid: &'static str,
    label: &'static str,
    loinc: &'static [Loinc],
    ucum: &'static str,
) -> Term {
    Term { code, refid, label, loinc, ucum, panel: 0, kind: Kind::Vital }
}

/// A member of a pressure compound.
const fn part(
    code: u32,
    refid: &'static str,
    label: &'static str,
    loinc: &'static [Loinc],
    panel: u32,
) -> Term {
    Term { code, refid, label, loinc, ucum: "mm[Hg]", panel, kind: Kind::Vital }
}

const fn lab(
    code: u32,
    refid: &'static str,
    label: &'static str,
    loinc: &'static [Loinc],
    ucum: &'static str,
) -> Term {
    Term { code, refid, label, loinc, ucum, panel: 0, kind: Kind::Laboratory }
}

const fn device(
    code: u32,
    refid: &'static str,
    label: &'static str,
    loinc: &'static [Loinc],
    ucum: &'static str,
) -> Term {
    Term { code, refid, label, loinc, ucum, panel: 0, kind: Kind::Device }
}

const fn name(code: u32, refid: &'static str) -> Name {
    Name { code, refid }
}
