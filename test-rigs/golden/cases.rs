//! The golden cases: what goes in. What comes out stands in `translate/NAME.json`.

use bedside::device::{
    AbsentReason, ClockSource, Coding, Comparator, Domain, MDC, Measurement, MeasurementStatus, Metric,
    MetricClass, Moment, Offset, Person, Precision, Report, ResultStatus, Unit, Value,
};
use bedside::translate::{Context, Gateway, QualityControl, Unidentified};

use crate::build::*;

/// A case: its name, the reports of one frame, and what differs from the usual context.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) reports: Vec<Report>,
    pub(crate) alter: fn(&mut Context),
    pub(crate) patient_system: Option<&'static str>,
}

fn case(name: &'static str, report: Report) -> Case {
    Case { name, reports: vec![report], alter: |_| (), patient_system: None }
}

impl Case {
    pub(crate) fn gateway(&self) -> Gateway {
        Gateway { patient_system: self.patient_system.map(Into::into), ..gateway() }
    }
}

pub(crate) fn all() -> Vec<Case> {
    let mut cases = vec![
        case("personal-oximeter", personal_oximeter()),
        case("bedside-monitor", bedside_monitor()),
        case("status-rows-monitor", report(monitor(), status_rows())),
        case("status-rows-personal", report(oximeter(), status_rows())),
        case("blood-pressure", blood_pressure()),
        case("weight-height-and-body-mass", body()),
        case("coded-text-and-bits", coded_text_and_bits()),
        case("waveform", waveform()),
        case("absent", absent()),
        case("times", times()),
        case("laboratory", laboratory()),
        case("laboratory-corrected", corrected()),
        case("repeated-and-different", repeated()),
        case("dirty", dirty()),
        case("settings-without-a-patient", settings()),
    ];
    cases.extend(altered());
    cases
}

fn altered() -> Vec<Case> {
    let nobody = |report: Report| Report { person: None, ..report };
    vec![
        Case { alter: |c| c.simulated = true, ..case("simulated", personal_oximeter()) },
        Case { alter: |c| c.simulated = true, ..case("simulated-monitor", bedside_monitor()) },
        Case {
            alter: |c| c.unidentified = Unidentified::Deliver,
            ..case("unidentified-delivered", nobody(personal_oximeter()))
        },
        Case {
            alter: |c| c.quality_control = QualityControl::Deliver,
            ..case("quality-control-delivered", nobody(quality_control()))
        },
        Case {
            patient_system: Some("https://clinic.example/patient-number"),
            ..case("patient-number-without-issuer", bare_number())
        },
        case("patient-number-without-issuer-or-site", bare_number()),
        Case {
            reports: vec![laboratory(), nobody(personal_oximeter()), second_tube()],
            ..case("frame-of-three-reports-one-held", laboratory())
        },
    ]
}

fn personal_oximeter() -> Report {
    let spo2 = vital("SpO2", "2708-6", "150456", "SPO2");
    let pulse = vital("Pulse rate", "", "149530", "PR");
    let perfusion = vital("Perfusion index", "61006-3", "150488", "PI");
    report(
        oximeter(),
        vec![
            measured(spo2, numeric("97", "%", "%")),
            measured(pulse, numeric("61", "{beats}/min", "bpm")),
            measured(perfusion, numeric("2.0", "%", "%")),
        ],
    )
}

fn bedside_monitor() -> Report {
    let with_limits = |m: Measurement, range: &str| Measurement { reference_range: Some(range.into()), ..m };
    let temperature = Metric {
        site: Some(Coding::new("http://snomed.info/sct", "34402009", Some("Rectum structure"))),
        ..vital("Temperature", "8310-5", "150344", "")
    };
    let respiration = vital("Respiratory rate", "", "151562", "");
    let over = compared(Comparator::Greater, "250", "mm[Hg]");
    let invasive = vital("Arterial pressure, systolic", "76215-3", "150033", "");
    report(
        monitor(),
        vec![
            placed(with_limits(heart_rate("80"), "50-120"), 1, 1, 1),
            placed(with_limits(measured(respiration, numeric("18", "/min", "breaths/min")), "<30"), 1, 2, 1),
            placed(measured(panel(), pressures("120", "80", "93")), 2, 1, 1),
            placed(measured(temperature, numeric("37.0", "Cel", "°C")), 3, 1, 1),
            placed(measured(invasive, over), 4, 1, 1),
            placed(measured(vital("Rhythm", "", "184327", ""), Value::Text("Sinus rhythm".into())), 1, 1, 2),
            heart_rate("81"),
        ],
    )
}

/// One measurement for each row of the status table, each at its own place.
fn status_rows() -> Vec<Measurement> {
    let rows: [fn(&mut MeasurementStatus); 13] = [
        |_| (),
        |s| s.invalid = true,
        |s| s.questionable = true,
        |s| s.not_available = true,
        |s| s.calibration_ongoing = true,
        |s| s.test_data = true,
        |s| s.demo_data = true,
        |s| s.validated = true,
        |s| s.early_indication = true,
        |s| s.msmt_ongoing = true,
        |s| s.off = true,
        |s| s.in_alarm = true,
        |s| s.alarm_inhibited = true,
    ];
    let row = |(at, set): (u32, &fn(&mut MeasurementStatus))| {
        let mut measurement = placed(heart_rate("80"), 1, 1, at);
        set(&mut measurement.status);
        measurement
    };
    (1..).zip(&rows).map(row).collect()
}

fn blood_pressure() -> Report {
    let half = Value::Compound(match pressures("118", "", "") {
        Value::Compound(mut parts) => parts.drain(..1).collect(),
        _ => Vec::new(),
    });
    let mut questionable = measured(panel(), pressures("140", "90", "107"));
    if let Value::Compound(parts) = &mut questionable.value {
        parts[1].status.questionable = true;
        parts.push(part(vital("Pulse rate", "8867-4", "149546", ""), numeric("71", "/min", "/min")));
    }
    let mut failed = measured(panel(), pressures("140", "90", "107"));
    failed.status.invalid = true;
    let kilopascal = measured(
        panel(),
        Value::Compound(vec![
            part(vital("Systolic", "8480-6", "150021", ""), numeric("16.0", "kPa", "kPa")),
            part(vital("Diastolic", "8462-4", "150022", ""), numeric("10.7", "kPa", "kPa")),
        ]),
    );
    let later = |minutes: i64, m: Measurement| Measurement { taken: at(TAKEN + minutes * 60_000_000), ..m };
    let all = vec![
        measured(panel(), pressures("120", "80", "93")),
        later(1, measured(panel(), pressures("", "", ""))),
        later(2, measured(panel(), half)),
        later(3, questionable),
        later(4, failed),
        later(5, kilopascal),
        later(6, measured(panel(), Value::Absent(AbsentReason::Error))),
    ];
    report(oximeter(), all)
}

fn body() -> Report {
    let weight = vital("Body weight", "29463-7", "188736", "W");
    let height = vital("Body height", "8302-2", "188740", "H");
    let index = Metric { class: MetricClass::Calculation, ..vital("BMI", "", "188752", "B") };
    let pounds = measured(weight.clone(), numeric("158.4", "[lb_av]", "lb"));
    report(
        oximeter(),
        vec![
            measured(weight, numeric("71.850", "kg", "kg")),
            measured(height, numeric("172", "cm", "cm")),
            measured(index, numeric("24.3", "kg/m2", "kg/m²")),
            Measurement { taken: at(TAKEN + 60_000_000), ..pounds },
        ],
    )
}

fn coded_text_and_bits() -> Report {
    let site = Coding::new("urn:bedside:system:beispiel", "FINGER", Some("Finger"));
    let rhythm = vital("Rhythm", "", "184327", "RHY");
    let sinus = Value::Coded {
        codings: vec![Coding::new("http://snomed.info/sct", "64730000", Some("Normal sinus rhythm"))],
        text: Some("SR".into()),
    };
    let status = Metric { domain: Domain::Device, ..vital("Device status", "", "8417752", "ST") };
    let bits = Value::Bits(vec![
        (Coding::new(MDC, "8417752.0", Some("Battery low")), false),
        (Coding::new(MDC, "8417752.1", Some("Sensor malfunction")), true),
    ]);
    let mark = Metric { site: Some(site), ..vital("Remark", "", "", "TXT") };
    let noted = measured(mark, Value::Text("patient moved\u{1}".into()));
    let nothing = Value::Coded { codings: Vec::new(), text: Some(" ".into()) };
    report(
        oximeter(),
        vec![
            measured(rhythm, sinus),
            measured(status, bits),
            Measurement { note: Some("Taken after exercise.".into()), ..noted },
            measured(vital("Pattern", "", "", "PAT"), nothing),
        ],
    )
}

fn waveform() -> Report {
    let ecg = Metric { class: MetricClass::Waveform, ..vital("ECG lead II", "", "131330", "") };
    let samples = |samples: Vec<Option<i32>>| Value::SampleArray {
        origin: decimal("-0.5"),
        factor: decimal("0.00100"),
        period_ms: decimal("4"),
        unit: Some(Unit { ucum: "mV".into(), display: "mV".into() }),
        samples,
    };
    let wave = measured(ecg, samples(vec![Some(500), Some(-12), None, Some(0), Some(1100)]));
    let mut periodic = placed(wave, 1, 1, 9);
    periodic.until = Some(at(TAKEN + 20_000));
    let later = Measurement {
        taken: at(TAKEN + 1_000_000),
        until: None,
        value: samples(Vec::new()),
        ..periodic.clone()
    };
    report(monitor(), vec![periodic, later])
}

fn absent() -> Report {
    let reasons = [
        AbsentReason::Unknown,
        AbsentReason::TempUnknown,
        AbsentReason::NotPerformed,
        AbsentReason::NotANumber,
        AbsentReason::PositiveInfinity,
        AbsentReason::NegativeInfinity,
        AbsentReason::Error,
        AbsentReason::AskedUnknown,
        AbsentReason::NotApplicable,
        AbsentReason::Unsupported,
        AbsentReason::AsText,
    ];
    let one = |(place, reason): (u32, AbsentReason)| {
        let mut measurement = placed(heart_rate("0"), 1, 1, place);
        measurement.value = Value::Absent(reason);
        measurement
    };
    report(monitor(), (1..).zip(reasons).map(one).collect())
}

fn times() -> Report {
    let moment = |precision, offset_minutes| Moment { precision, offset_minutes, ..at(TAKEN + 120_000) };
    let assumed =
        |precision| Moment { offset: Offset::Assumed("Europe/Zurich".into()), ..moment(precision, 60) };
    let received =
        Moment { source: ClockSource::Receipt, micros: RECEIVED, ..moment(Precision::Fraction, 60) };
    let ahead = Moment { micros: RECEIVED + 600_000_000, ..moment(Precision::Second, 60) };
    let all = [
        (moment(Precision::Fraction, -570), None),
        (moment(Precision::Minute, 0), None),
        (assumed(Precision::Second), None),
        (assumed(Precision::Day), None),
        (received, None),
        (ahead, None),
        (moment(Precision::Second, 60), Some(at(TAKEN + 60_000_000))),
        (moment(Precision::Second, 60), Some(at(TAKEN - 60_000_000))),
    ];
    let one = |(n, (taken, until)): (usize, (Moment, Option<Moment>))| Measurement {
        taken,
        until,
        ..measured(vital("SpO2", "2708-6", "150456", &format!("SPO2-{n}")), numeric("97", "%", "%"))
    };
    report(oximeter(), all.into_iter().enumerate().map(one).collect())
}

fn laboratory() -> Report {
    let result = |label, loinc, own, value, range: &str, flags: &[&str]| Measurement {
        reference_range: (!range.is_empty()).then(|| range.into()),
        interpretation: flags.iter().map(|&flag| flag.into()).collect(),
        ..measured(analyte(label, loinc, own), value)
    };
    let group = Value::Coded {
        codings: vec![Coding::new("urn:bedside:system:beispiel", "A+", Some("A positive"))],
        text: None,
    };
    let late = Measurement {
        result_status: ResultStatus::Preliminary,
        taken: Moment { precision: Precision::Year, ..at(TAKEN) },
        ..result("Culture", "", "CULT", Value::Text("pending".into()), "", &[])
    };
    let measurements = vec![
        result("Leukocytes", "6690-2", "WBC", numeric("5.10", "10*3/uL", "10³/µL"), "4.0-10.0", &["N"]),
        result("CRP", "1988-5", "CRP", compared(Comparator::Less, "0.5", "mg/L"), "<5", &[]),
        result(
            "Ferritin",
            "2276-4",
            "FERR",
            compared(Comparator::GreaterOrEqual, "1650", "ug/L"),
            "20 - 300",
            &["HH", "PM"],
        ),
        result("Nitrite", "5802-4", "NIT", Value::Text("negative".into()), "negative", &[]),
        result("Blood group", "883-9", "ABO", group, "", &[]),
        result("Index", "", "IDX 7", numeric("1.4", "", ""), "0.0-1.0", &["H"]),
        result("Odd unit", "", "ODD", numeric("12", "furlongs", "furlongs"), "", &[]),
        late,
    ];
    Report {
        person: None,
        specimen: Some(specimen("26-0314-0077")),
        orders: vec![identifier("urn:bedside:authority:LIS", "ORD-5512", Some("PLAC"))],
        ..report(analyser(), measurements)
    }
}

fn second_tube() -> Report {
    Report { specimen: Some(specimen("26-0314-0078")), person: Some(patient()), ..laboratory() }
}

fn corrected() -> Report {
    let mut report = laboratory();
    report.measurements.truncate(1);
    report.measurements[0].result_status = ResultStatus::Corrected;
    report.measurements[0].value = numeric("5.30", "10*3/uL", "10³/µL");
    report
}

fn repeated() -> Report {
    let other = measured(heart_rate("0").metric.as_ref().clone(), numeric("82", "/min", "bpm"));
    let mut corrected = heart_rate("83");
    corrected.result_status = ResultStatus::Corrected;
    report(
        oximeter(),
        vec![heart_rate("80"), heart_rate("80"), other.clone(), heart_rate("80"), other, corrected],
    )
}

fn dirty() -> Report {
    let mut device = oximeter();
    device.manufacturer = " \0".into();
    device.model = "OX\u{b}1".into();
    device.serial = Some("7\"00'12|3".into());
    let person = Person {
        identifiers: vec![identifier("NOT A URI", " 00 42|x ", Some("MR ")), identifier("", "", None)],
        family: Some("O'Mu\"ster\u{7}".into()),
        given: vec![" ".into()],
        birth_date: Some("19710228".into()),
        gender: Some("F".into()),
    };
    let mut metric = vital(" ", "", "", " GLU  (s)");
    metric.codings.push(Coding::new("99VENDOR CODES", "a  b", Some("\u{0}")));
    metric.codings.push(Coding::new("", " ", None));
    let unnamed = Metric { codings: Vec::new(), ..vital("", "", "", "") };
    let measurements = vec![
        Measurement {
            interpretation: vec!["".into(), "h i".into()],
            ..measured(metric, numeric("1E3", "mg/dL", " "))
        },
        measured(unnamed, Value::Text("\u{85}".into())),
    ];
    Report { person: Some(person), ..report(device, measurements) }
}

fn settings() -> Report {
    let setting = Metric {
        domain: Domain::Device,
        class: MetricClass::Setting,
        ..vital("Infusion rate setting", "", "158014", "RATE")
    };
    Report {
        person: None,
        ..report(monitor(), vec![placed(measured(setting, numeric("12.5", "mL/h", "mL/h")), 1, 1, 1)])
    }
}

fn quality_control() -> Report {
    let mut report = laboratory();
    report.measurements.truncate(1);
    let metric = Metric { class: MetricClass::QualityControl, ..analyte("Leukocytes", "6690-2", "WBC") };
    report.measurements[0].metric = metric.into();
    report
}

fn bare_number() -> Report {
    let person = Person {
        identifiers: vec![identifier("urn:bedside:authority:unstated", "4711", None)],
        ..Person::default()
    };
    Report { person: Some(person), ..personal_oximeter() }
}
