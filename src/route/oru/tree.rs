//! Where a row sits in the device: MDS, VMD, channel, metric (OBX-4), and the rows of the parts themselves.
//!
//! IHE PCD TF-2 (PCD-01, appendix B) writes the containment tree of IEEE 11073-10201 in depth-first order: a row for each
//! part before the rows in it. What a device does not say of its parts follows from what it measures.

use std::collections::{BTreeMap, HashSet};

use crate::device::{Containment, MDC, Measurement, Metric};
use crate::nomenclature;

/// VMDs of IEEE 11073-10101 by what they measure. A term for a device has four numbers there: bare, MDS, VMD, channel.
const FAMILIES: [(&str, u32, &str); 9] = [
    ("MDC_ECG_", 69_798, "MDC_DEV_ECG"),
    ("MDC_PULS_OXIM_", 69_642, "MDC_DEV_ANALY_SAT_O2"),
    ("MDC_BLD_PERF_INDEX", 69_642, "MDC_DEV_ANALY_SAT_O2"),
    ("MDC_PRESS_BLD_NONINV", 70_686, "MDC_DEV_PRESS_BLD_NONINV"),
    ("MDC_PRESS_CUFF", 70_686, "MDC_DEV_PRESS_BLD_NONINV"),
    ("MDC_PRESS_BLD", 69_854, "MDC_DEV_METER_PRESS_BLD"),
    ("MDC_TEMP", 69_902, "MDC_DEV_METER_TEMP"),
    ("MDC_TTHOR_RESP", 70_666, "MDC_DEV_ECG_RESP"),
    ("MDC_CONC_AWAY", 69_766, "MDC_DEV_GEN_CONC_AWAY"),
];
/// What measures anything else, or several of these.
const SEVERAL: (u32, &str) = (69_966, "MDC_DEV_MON_PHYSIO_MULTI_PARAM");

type Family = (u32, &'static str);

fn mdc(metric: &Metric) -> Option<u32> {
    metric.code_in(MDC).and_then(|code| code.parse().ok())
}

fn family(metric: &Metric) -> Family {
    let name = mdc(metric).and_then(nomenclature::refid).unwrap_or_default();
    let found = FAMILIES.iter().find(|(prefix, ..)| name.starts_with(prefix));
    found.map_or(SEVERAL, |(_, vmd, name)| (*vmd, *name))
}

/// The places of one message.
pub(super) struct Tree {
    taken: HashSet<Containment>,
    /// What each VMD and each channel of it measures.
    parts: BTreeMap<(u32, u32), Family>,
    /// VMDs of what the device gives no place.
    own: Vec<(Family, u32)>,
    free: u32,
}

impl Tree {
    pub(super) fn of(measurements: &[&Measurement]) -> Self {
        let stated = measurements.iter().filter_map(|one| one.containment).map(|place| place.vmd).max();
        let free = stated.unwrap_or(0).saturating_add(1);
        Self { taken: HashSet::new(), parts: BTreeMap::new(), own: Vec::new(), free }
    }

    /// A place that no other row has; `row` is its number among the rows, for what has no code.
    pub(super) fn place(&mut self, stated: Option<Containment>, metric: &Metric, row: u32) -> Containment {
        let family = family(metric);
        let own = mdc(metric).unwrap_or(row);
        let above = stated.unwrap_or_else(|| self.found(family));
        let mut place =
            Containment { mds: 1, metric: if above.metric == 0 { own } else { above.metric }, ..above };
        // A metric in the device itself keeps its zeros; below a channel all levels are stated.
        if place.channel > 0 {
            place.vmd = place.vmd.max(1);
        }
        while !self.taken.insert(place) {
            // Members of a compound share what the device said of the whole.
            if place.metric == own {
                place.channel += 1
            } else {
                place.metric = own
            }
            place.vmd = place.vmd.max(1);
        }
        self.hold(place.vmd, 0, family);
        self.hold(place.vmd, place.channel, family);
        place
    }

    /// Where a metric without a place goes: the first channel of its family's VMD.
    fn found(&mut self, family: Family) -> Containment {
        let known = self.own.iter().find(|(known, _)| *known == family).map(|(_, vmd)| *vmd);
        let vmd = known.unwrap_or_else(|| {
            let vmd = self.free;
            self.free = self.free.saturating_add(1);
            self.own.push((family, vmd));
            vmd
        });
        Containment { mds: 1, vmd, channel: 1, ..Containment::default() }
    }

    fn hold(&mut self, vmd: u32, channel: u32, family: Family) {
        let part = self.parts.entry((vmd, channel)).or_insert(family);
        if *part != family {
            *part = SEVERAL;
        }
    }

    /// Number and name of a VMD, or of a channel where `channel` is not 0.
    pub(super) fn kind(&self, vmd: u32, channel: u32) -> (u32, String) {
        let (number, name) = self.parts.get(&(vmd, channel)).copied().unwrap_or(SEVERAL);
        match channel {
            0 => (number, format!("{name}_VMD")),
            _ => (number + 1, format!("{name}_CHAN")),
        }
    }
}

/// OBX-4.
pub(super) fn dotted(place: Containment) -> String {
    let Containment { mds, vmd, channel, metric, facet } = place;
    let four = format!("{mds}.{vmd}.{channel}.{metric}");
    if facet == 0 { four } else { format!("{four}.{facet}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Coding, Domain, MetricClass};

    fn metric(code: &str) -> Metric {
        Metric {
            codings: vec![Coding::new(if code.is_empty() { "urn:own" } else { MDC }, code, None)],
            label: "x".into(),
            domain: Domain::VitalSigns,
            class: MetricClass::Measurement,
            site: None,
        }
    }

    fn at(text: &str) -> Containment {
        let levels: Vec<u32> = text.split('.').map(|part| part.parse().unwrap()).collect();
        Containment { mds: levels[0], vmd: levels[1], channel: levels[2], metric: levels[3], facet: 0 }
    }

    #[test]
    fn what_has_no_place_is_put_where_its_family_is() {
        let mut tree = Tree::of(&[]);
        let mut place = |code: &str, row| dotted(tree.place(None, &metric(code), row));
        assert_eq!(place("150456", 1), "1.1.1.150456");
        assert_eq!(place("150344", 2), "1.2.1.150344");
        assert_eq!(place("149530", 3), "1.1.1.149530");
        assert_eq!(place("150344", 4), "1.2.2.150344", "a second probe has a channel of its own");
        assert_eq!(place("", 5), "1.3.1.5");
        assert_eq!(tree.kind(1, 0), (69_642, "MDC_DEV_ANALY_SAT_O2_VMD".into()));
        assert_eq!(tree.kind(2, 1), (69_903, "MDC_DEV_METER_TEMP_CHAN".into()));
        assert_eq!(tree.kind(3, 0), (69_966, "MDC_DEV_MON_PHYSIO_MULTI_PARAM_VMD".into()));
    }

    #[test]
    fn what_the_device_says_stays() {
        let mut tree = Tree::of(&[]);
        let mut place = |stated: &str, code: &str| dotted(tree.place(Some(at(stated)), &metric(code), 9));
        assert_eq!(place("1.5.1.150021", "150021"), "1.5.1.150021");
        assert_eq!(place("1.5.1.0", "150344"), "1.5.1.150344");
        assert_eq!(place("1.0.0.67996", "67996"), "1.0.0.67996");
        assert_eq!(place("1.5.1.150021", "150021"), "1.5.2.150021");
        assert_eq!(tree.kind(5, 1), (69_967, "MDC_DEV_MON_PHYSIO_MULTI_PARAM_CHAN".into()));
        assert_eq!(tree.kind(5, 2), (70_687, "MDC_DEV_PRESS_BLD_NONINV_CHAN".into()));
    }
}
