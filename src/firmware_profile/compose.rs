//! Puts the members of one act of measuring together: a cuff pressure is one measurement with components.
//!
//! Members belong together when their group, their place in the device above the metric, and their time are the
//! same. Time alone would put two cuffs of one bed into one reading.

use std::sync::Arc;

use super::metric::GroupDef;
use crate::device::{
    Coding, Component, Containment, LOINC, Measurement, MeasurementStatus, Metric, ResultStatus, Value,
};
use crate::nomenclature;

/// Measurements of one report while it is being decoded.
#[derive(Default)]
pub(super) struct Composer {
    pub(super) measurements: Vec<Measurement>,
    open: Vec<Open>,
}

struct Open {
    group: usize,
    above: Option<(u32, u32, u32)>,
    micros: i64,
    at: usize,
}

impl Composer {
    /// Adds a measurement, as a component of its group if it has one.
    pub(super) fn push(&mut self, measurement: Measurement, group: Option<(usize, &GroupDef)>) {
        let Some((number, group)) = group else {
            self.measurements.push(measurement);
            return;
        };
        let above = measurement.containment.map(|c| (c.mds, c.vmd, c.channel));
        let fits = |open: &&Open| {
            open.group == number
                && open.above == above
                && open.micros == measurement.taken.micros
                && self.measurements.get(open.at).is_some_and(|compound| lacks(compound, &measurement))
        };
        let at = self.open.iter().find(fits).map(|open| open.at);
        if let Some(compound) = at.and_then(|at| self.measurements.get_mut(at)) {
            join(compound, measurement);
            return;
        }
        self.open.push(Open {
            group: number,
            above,
            micros: measurement.taken.micros,
            at: self.measurements.len(),
        });
        self.measurements.push(start(group, measurement));
    }
}

/// A second systolic pressure begins a second reading.
fn lacks(compound: &Measurement, member: &Measurement) -> bool {
    let Value::Compound(components) = &compound.value else { return false };
    let code = member.metric.codings.first();
    !components.iter().any(|component| component.metric.codings.first() == code)
}

fn start(group: &GroupDef, member: Measurement) -> Measurement {
    let mut compound = Measurement {
        metric: panel(group, &member),
        value: Value::Compound(Vec::with_capacity(3)),
        status: MeasurementStatus::default(),
        result_status: member.result_status,
        taken: member.taken.clone(),
        until: member.until.clone(),
        containment: member.containment.map(|c| Containment { metric: 0, facet: 0, ..c }),
        interpretation: Vec::new(),
        reference_range: None,
        note: None,
    };
    join(&mut compound, member);
    compound
}

/// The panel code of FHIR's blood pressure promises members in mm[Hg]; members in kPa have no such code, and
/// neither has their whole.
fn panel(group: &GroupDef, member: &Measurement) -> Arc<Metric> {
    let promised = group.metric.code_in(LOINC) == Some(nomenclature::BLOOD_PRESSURE_PANEL);
    let kept =
        |coding: &Coding| &*coding.system == LOINC && nomenclature::vital_sign_units(&coding.code).is_some();
    if !promised || member.metric.codings.iter().any(kept) {
        return Arc::clone(&group.metric);
    }
    let mut metric = Metric::clone(&group.metric);
    metric.codings.retain(|coding| *coding.code != *nomenclature::BLOOD_PRESSURE_PANEL);
    Arc::new(metric)
}

fn join(compound: &mut Measurement, member: Measurement) {
    // The whole is a test when one part is; the other bits stay with their part.
    compound.status.test_data |= member.status.test_data;
    compound.status.demo_data |= member.status.demo_data;
    if compound.result_status != member.result_status {
        compound.result_status = lesser(compound.result_status, member.result_status);
    }
    for code in member.interpretation {
        if !compound.interpretation.contains(&code) {
            compound.interpretation.push(code);
        }
    }
    if let Some(range) = member.reference_range {
        append(&mut compound.reference_range, "; ", &format!("{} {range}", member.metric.label));
    }
    if let Some(note) = member.note {
        append(&mut compound.note, "\n", &note);
    }
    if let Value::Compound(components) = &mut compound.value {
        components.push(Component { metric: member.metric, value: member.value, status: member.status });
    }
}

fn append(whole: &mut Option<Arc<str>>, between: &str, part: &str) {
    *whole = Some(match whole {
        Some(before) => format!("{before}{between}{part}").into(),
        None => part.into(),
    });
}

/// The less certain of two: a whole is no more final than its parts.
fn lesser(a: ResultStatus, b: ResultStatus) -> ResultStatus {
    use ResultStatus::{Cancelled, Corrected, EnteredInError, Final, Preliminary};
    let rank = |status| match status {
        Final => 0,
        Corrected => 1,
        Preliminary => 2,
        Cancelled => 3,
        EnteredInError => 4,
    };
    if rank(a) >= rank(b) { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::super::metric::unlisted;
    use super::*;
    use crate::device::{
        ClockSource, Coding, Decimal, Domain, Metric, Moment, Offset, Precision, ResultStatus,
    };

    fn metric(code: &str) -> Arc<Metric> {
        Arc::new(unlisted(vec![Coding::new("x", code, None)], code, Domain::VitalSigns))
    }

    fn member(code: &str, channel: u32, micros: i64) -> Measurement {
        Measurement {
            metric: metric(code),
            value: Value::Numeric { value: Decimal::new(1, 0), comparator: None, unit: None },
            status: MeasurementStatus::default(),
            result_status: ResultStatus::Final,
            taken: Moment {
                micros,
                offset_minutes: 0,
                precision: Precision::Second,
                offset: Offset::Stated,
                source: ClockSource::Device,
            },
            until: None,
            containment: Some(Containment { mds: 1, vmd: 1, channel, metric: 7, facet: 0 }),
            interpretation: vec!["H".into()],
            reference_range: Some("90-140".into()),
            note: None,
        }
    }

    fn compose(members: &[(&str, u32, i64)]) -> Vec<usize> {
        let group = GroupDef { name: "nibp".into(), metric: metric("panel") };
        let mut composer = Composer::default();
        for (code, channel, micros) in members {
            composer.push(member(code, *channel, *micros), Some((0, &group)));
        }
        let sizes = composer.measurements.iter().map(|m| match &m.value {
            Value::Compound(components) => components.len(),
            _ => 0,
        });
        sizes.collect()
    }

    #[test]
    fn one_reading_is_one_measurement_with_its_ranges_and_flags() {
        assert_eq!(compose(&[("sys", 1, 5), ("dia", 1, 5), ("mean", 1, 5)]), [3]);
        let group = GroupDef { name: "nibp".into(), metric: metric("panel") };
        let mut composer = Composer::default();
        composer.push(member("sys", 1, 5), Some((0, &group)));
        composer.push(member("dia", 1, 5), Some((0, &group)));
        let panel = &composer.measurements[0];
        assert_eq!(panel.reference_range.as_deref(), Some("sys 90-140; dia 90-140"));
        assert_eq!(panel.interpretation, [Arc::from("H")]);
        assert_eq!(panel.containment.unwrap().metric, 0);
    }

    #[test]
    fn two_cuffs_two_times_and_two_values_of_one_code_are_kept_apart() {
        assert_eq!(compose(&[("sys", 1, 5), ("sys", 2, 5), ("dia", 2, 5), ("dia", 1, 5)]), [2, 2]);
        assert_eq!(compose(&[("sys", 1, 5), ("dia", 1, 6)]), [1, 1]);
        assert_eq!(compose(&[("sys", 1, 5), ("sys", 1, 5), ("dia", 1, 5)]), [2, 1]);
    }
}
