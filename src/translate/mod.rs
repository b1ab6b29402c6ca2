//! What devices said → FHIR R4, for whoever delivers or shows it: [`translate`] is a pure function of a report and
//! what this gateway knows of the link.
//!
//! It decides by kind of value (numeric, compound, coded, bits, sample array, text, absent), never by device.
//! Invariants, told as absences: there is no value beside a reason for its absence, and no number for a value that was
//! not measured; no guide is claimed in `meta.profile` that a resource does not meet; no two resources of a list have
//! one id; no result of a simulated device lacks `HTEST`; no result goes to a patient whom neither the frame nor the
//! link's binding names, and none goes when the two disagree.
//!
//! Two things FHIR has no element for are said as `meta.tag` in [`TAGS`]: `zone-assumed` (the offset came from the link's
//! zone, not from the device), `time-of-receipt` (the device stated no time), and `clock-ahead`, `simulated`,
//! `quality-control` beside them.

mod alarm;
pub(crate) mod clean;
mod coincident;
mod devices;
mod list;
mod observation;
mod provenance;
mod range;
mod status;
mod subject;
mod time;
mod value;
mod vital_signs;
mod waveform;

use std::sync::Arc;

use serde::Deserialize;

use crate::clock::Timestamp;
use crate::device::{Domain, Identifier, Measurement, Precision, Report, Value};
use crate::fhir::Resource;
use crate::identity::Attribution;

pub(crate) use list::key;
pub use provenance::{Correction, provenance};
pub(crate) use subject::{leading, own_patient_system, patient};
pub(crate) use time::date_time;
pub use waveform::{join_waveforms, sample_nanos};

/// Code system of the tags Bedside puts on resources.
pub const TAGS: &str = "urn:bedside:tag";

/// This gateway, as its Device resource says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// What tells this box from every other: an EUI-64, else any name that is unique on the upstream server.
    pub id: Identifier,
    /// For people.
    pub name: Arc<str>,
    pub version: Arc<str>,
    /// URI of the site's own patient numbers, for numbers that come without an issuer. Without it such a number counts
    /// within this gateway only: the same number from another site is another person.
    pub patient_system: Option<Arc<str>>,
}

/// What becomes of a result that names no patient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unidentified {
    /// It waits for a person to associate the device.
    #[default]
    Hold,
    /// It is delivered with the device as its subject.
    Deliver,
}

/// What becomes of a quality-control result. It is never a patient's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QualityControl {
    #[default]
    Hold,
    /// Delivered with the device as its subject, without a category and tagged `quality-control`.
    Deliver,
}

/// What this gateway knows of the link a report came over.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    pub gateway: &'a Gateway,
    /// The link's name; part of the identity of devices that state no number.
    pub link: &'a str,
    /// When the frame arrived.
    pub received: Timestamp,
    /// The link's device is a simulator: everything is marked HTEST.
    pub simulated: bool,
    pub unidentified: Unidentified,
    pub quality_control: QualityControl,
    /// The patient the link is bound to by configuration.
    pub bound_patient: Option<&'a Identifier>,
    /// Whether sample arrays are delivered; if not, they are left out as if they had not been said.
    pub waveforms: bool,
    /// What tells this frame from every other when the device states no time (the frame's hash).
    pub sequence: &'a str,
    /// Whose each report is, report by report, where somebody else than the frame and the link had a say. `None`, and
    /// reports beyond the list: the frame and the link alone.
    pub attributions: &'a [Option<Attribution>],
    /// The results are taken back: the same Observations, `entered-in-error`.
    pub withdrawn: bool,
}

/// Why a report waits for a person. The text holds no patient data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Held {
    #[error(
        "no patient: the frame names none and link \"{link}\" is bound to none; associate the device with a patient, bind \
         the link in the configuration, or let it deliver unidentified results, then release"
    )]
    NoPatient { link: String },
    #[error(
        "two patients: the frame names another patient than the one link \"{link}\" is bound to; correct the binding or \
         the device's patient, then release"
    )]
    OtherPatient { link: String },
    #[error(
        "conflict, whose result it is: {why}; correct what is wrong at the desk (Patients & associations)"
    )]
    Conflict { why: String },
    #[error(
        "to be reviewed, whose result it is: {why}; say at the desk whom the device was with (Patients & associations)"
    )]
    Review { why: String },
    #[error("quality control result, not a patient result")]
    QualityControl,
    #[error(
        "the time of \"{metric}\" is less precise than a day, which FHIR does not allow for vital signs (vs-1)"
    )]
    Imprecise { metric: String },
    #[error("the time of \"{metric}\" is outside the years 1 to 9999")]
    NoSuchTime { metric: String },
    #[error("nothing was measured: the report holds no result")]
    Empty,
    #[error("the FHIR resource cannot be written: {0}")]
    Json(String),
}

/// All that one frame gives: what can be delivered, and why the rest waits.
#[derive(Clone, Debug, Default)]
pub struct Translation {
    pub resources: Vec<Resource>,
    /// One for each report that gives nothing.
    pub held: Vec<Held>,
}

/// Translates one report: Devices, DeviceMetrics, Patient, Specimen, then Observations, no id twice. All of the report
/// or none of it: a report that holds one measurement nobody may deliver is held as a whole.
pub fn translate(report: &Report, context: &Context) -> Result<Vec<Resource>, Held> {
    let mut list = list::List::new(context);
    add_report(report, attribution(context, 0), context, &mut list)?;
    Ok(list.finish())
}

/// Translates the reports of one frame into one list; a report that is held takes nothing from the others. Two reports
/// that say different things under one key stay two Observations, which [`translate`] alone cannot see.
pub fn translate_frame(reports: &[Report], context: &Context) -> Translation {
    let mut list = list::List::new(context);
    let held = reports
        .iter()
        .enumerate()
        .filter_map(|(place, report)| {
            add_report(report, attribution(context, place), context, &mut list).err()
        })
        .collect();
    Translation { resources: list.finish(), held }
}

fn attribution<'a>(context: &Context<'a>, place: usize) -> Option<&'a Attribution> {
    context.attributions.get(place)?.as_ref()
}

/// Whether this is a run of samples.
pub fn is_waveform(measurement: &Measurement) -> bool {
    matches!(measurement.value, Value::SampleArray { .. })
}

fn add_report<'a>(
    report: &'a Report,
    attribution: Option<&'a Attribution>,
    context: &'a Context<'a>,
    list: &mut list::List<'a>,
) -> Result<(), Held> {
    if report.measurements.is_empty() {
        return Err(Held::Empty);
    }
    // Everything that may hold the report is asked before the first resource is made.
    let subject = subject::find(report, attribution, context)?;
    let mut facts = Vec::with_capacity(report.measurements.len());
    let wanted = |m: &&Measurement| context.waveforms || !is_waveform(m);
    if !report.measurements.iter().any(|m| wanted(&m)) {
        return Ok(());
    }
    for measurement in report.measurements.iter().filter(wanted) {
        let metric = || measurement.metric.label.to_string();
        let about = subject::about(measurement, report, subject.as_ref(), context)?;
        if measurement.metric.domain == Domain::VitalSigns && measurement.taken.precision < Precision::Day {
            return Err(Held::Imprecise { metric: metric() });
        }
        let effective = time::effective(&measurement.taken, measurement.until.as_ref());
        facts.push((measurement, about, effective.ok_or_else(|| Held::NoSuchTime { metric: metric() })?));
    }
    let source = devices::add_source(report, list)?;
    let coincident = coincident::add(report, &source, list)?;
    let patient =
        subject.as_ref().filter(|_| facts.iter().any(|(_, about, _)| *about == subject::About::Patient));
    if let Some(patient) = patient {
        subject::add_patient(patient, list)?;
    }
    let is_laboratory = report.measurements.iter().any(|m| m.metric.domain == Domain::Laboratory);
    let specimen = match is_laboratory {
        true => subject::add_specimen(report, &source.key(), patient, list)?,
        false => None,
    };
    let scene = observation::Scene {
        report,
        source: &source,
        subject: patient,
        specimen: specimen.as_deref(),
        coincident,
    };
    // An alarm names the value that raised it, which must be known by then.
    let (alarms, values): (Vec<_>, Vec<_>) =
        facts.into_iter().partition(|(measurement, ..)| alarm::of(measurement).is_some());
    let mut raised = alarm::Raised::default();
    for (measurement, about, effective) in values.into_iter().chain(alarms) {
        observation::add(&scene, measurement, about, effective, &mut raised, list)?;
    }
    Ok(())
}
