//! What a result message of a hospital system says of whose its results are: per patient (PID), the reports it would be
//! judged by. They hold persons, places, specimens and times, and no value.

use std::sync::Arc;

use crate::device::{
    AbsentReason, Device, Domain, Measurement, MeasurementStatus, Metric, MetricClass, Moment, Person,
    Report, ResultStatus, Specimen, Value,
};
use crate::firmware_profile::{FirmwareProfile, LinkContext, received};
use crate::hl7v2::{Element, Message, Segment, parse_time};

/// One patient of a message.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// The numbers of PID as they were written; `None`: the message names nobody.
    pub(super) pid: Option<String>,
    /// One for each order and specimen.
    pub(super) reports: Vec<Report>,
}

/// The patients of a message, each once, in order.
pub(super) fn groups(message: &Message<'_>, page: &FirmwareProfile, link: &LinkContext) -> Vec<Group> {
    let mut walk = Walk { page, link, sent: None, metric: metric(), all: Vec::new(), open: Open::default() };
    for segment in message.segments() {
        walk.segment(segment);
    }
    walk.close();
    walk.all
}

/// Stands for whatever was measured.
fn metric() -> Arc<Metric> {
    Arc::new(Metric {
        codings: Vec::new(),
        label: "result".into(),
        domain: Domain::Laboratory,
        class: MetricClass::Measurement,
        site: None,
    })
}

struct Walk<'w> {
    page: &'w FirmwareProfile,
    link: &'w LinkContext,
    /// MSH-7.
    sent: Option<Moment>,
    metric: Arc<Metric>,
    all: Vec<Group>,
    open: Open,
}

/// The order in the making.
#[derive(Default)]
struct Open {
    pid: Option<String>,
    person: Option<Person>,
    place: Option<crate::device::Place>,
    /// An OBR, or a row without one, was seen.
    begun: bool,
    /// OBR-7 and OBR-8.
    observed: Option<Moment>,
    until: Option<Moment>,
    times: Vec<Moment>,
    specimens: Vec<Arc<str>>,
    /// The specimen stands before its orders (OUL^R22): for all of them.
    leads: bool,
}

impl Walk<'_> {
    fn segment(&mut self, segment: Segment<'_>) {
        match segment.name() {
            "MSH" => self.sent = self.moment(&segment.field(7)),
            "PID" => {
                self.close();
                let numbers = [2, 3, 4].map(|field| segment.field(field).raw()).join("|");
                // Who has no number is told apart by all that is said.
                let pid = if numbers.len() > 2 { numbers } else { segment.raw().trim().to_owned() };
                self.open = Open { pid: Some(pid), person: self.page.patient(&segment), ..Open::default() };
            }
            "PV1" => self.open.place = self.page.place(&segment),
            "OBR" => {
                self.close();
                self.open.begun = true;
                self.open.observed = self.moment(&segment.field(7));
                self.open.until = self.moment(&segment.field(8));
            }
            "OBX" => {
                self.open.begun = true;
                let own = self.moment(&segment.field(14));
                if let Some(taken) = own.filter(|taken| self.open.times.last() != Some(taken)) {
                    self.open.times.push(taken);
                }
            }
            "SPM" => self.specimen(segment),
            _ => {}
        }
    }

    fn specimen(&mut self, segment: Segment<'_>) {
        let id = segment.field(2);
        let id = [id.component(1), id.component(2)]
            .into_iter()
            .find_map(|part| part.subcomponent(1).value().map(|text| Arc::<str>::from(text.trim())));
        if !self.open.begun || self.open.leads {
            self.close();
            self.open.specimens.clear();
            self.open.leads = true;
        }
        self.open.specimens.extend(id.filter(|id| !id.is_empty()));
    }

    /// The order so far is whole.
    fn close(&mut self) {
        let open = &mut self.open;
        let times = std::mem::take(&mut open.times);
        let observed = open.observed.take();
        let until = open.until.take();
        if !std::mem::take(&mut open.begun) {
            return;
        }
        let specimens = match open.leads {
            true => open.specimens.clone(),
            false => std::mem::take(&mut open.specimens),
        };
        let (person, place, pid) = (open.person.clone(), open.place.clone(), open.pid.clone());
        let mut taken: Vec<(Moment, Option<Moment>)> = times.into_iter().map(|at| (at, None)).collect();
        // Rows that state no time have the order's (2.5 §7.4.1.7), and it is the order's report in any case.
        match observed.or_else(|| self.sent.clone().filter(|_| taken.is_empty())) {
            Some(at) => taken.push((at, until)),
            None if taken.is_empty() => taken.push((received(self.link), None)),
            None => {}
        }
        let measurements: Vec<Measurement> =
            taken.into_iter().map(|(at, until)| measurement(&self.metric, at, until)).collect();
        let several = specimens.into_iter().map(Some);
        let mut specimens: Vec<Option<Arc<str>>> = several.collect();
        if specimens.is_empty() {
            specimens.push(None);
        }
        let reports = specimens.into_iter().map(|specimen| Report {
            device: Device::default(),
            person: person.clone(),
            place: place.clone(),
            specimen: specimen.map(|id| Specimen { identifier: Some(id), kind: None }),
            orders: Vec::new(),
            measurements: measurements.clone(),
        });
        match self.all.iter_mut().find(|group| group.pid == pid) {
            Some(group) => group.reports.extend(reports),
            None => self.all.push(Group { pid, reports: reports.collect() }),
        }
    }

    fn moment(&self, element: &Element<'_>) -> Option<Moment> {
        parse_time(&element.component(1).value()?)?.to_moment(&self.link.zone, &self.link.zone_name)
    }
}

fn measurement(metric: &Arc<Metric>, taken: Moment, until: Option<Moment>) -> Measurement {
    Measurement {
        metric: Arc::clone(metric),
        value: Value::Absent(AbsentReason::Unknown),
        status: MeasurementStatus::default(),
        result_status: ResultStatus::Final,
        until: until.filter(|until| until.micros > taken.micros),
        taken,
        containment: None,
        interpretation: Vec::new(),
        reference_range: None,
        note: None,
    }
}
