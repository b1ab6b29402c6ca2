//! What the box counts, in Prometheus' terms. Labels are links, codes and states: bounded, and never a patient.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::admin::system::Host;
use crate::buffer::{Ledger, Scrub};
use crate::gateway::deliver::Load;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfLink {
    link: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfLinkAndCode {
    link: String,
    code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfDestination {
    destination: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfDestinationAndState {
    destination: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPlace {
    place: &'static str,
}

/// The counters of one gateway.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    kept: Family<OfLink, Counter>,
    repeated: Family<OfLink, Counter>,
    refused: Family<OfLink, Counter>,
    notes: Family<OfLinkAndCode, Counter>,
    findings: Family<OfLinkAndCode, Counter>,
    entries: Family<OfState, Gauge>,
    accepted: Counter,
    held: Counter,
    retried: Counter,
    bytes: Gauge,
    clock: Family<OfLink, Gauge<f64, AtomicU64>>,
    outgoing: Outgoing,
    ledger: Family<OfPlace, Gauge>,
    scrub: Scrubbed,
    unfinished: Gauge,
    turned_away: Gauge,
    host: HostFigures,
}

/// The machine: a figure it does not show is absent.
#[derive(Debug, Default)]
struct HostFigures {
    synchronised: Gauge,
    /// Free bytes, free files, used life, temperature.
    shown: [Family<Vec<(String, String)>, Gauge>; 4],
}

impl HostFigures {
    fn register(&self, registry: &mut Registry) {
        let about = [
            ("disk_free_bytes", "Bytes free on the disk with what is kept"),
            ("disk_free_files", "Files that can still be made there"),
            ("disk_life_used_percent", "How much of its life the disk has used, by its maker's estimate"),
            ("temperature_celsius", "The warmest place of the machine"),
        ];
        for ((name, help), figure) in about.into_iter().zip(&self.shown) {
            registry.register(format!("bedside_host_{name}"), help, figure.clone());
        }
        let help = "1 while the kernel says that the clock follows a time server";
        registry.register("bedside_host_clock_synchronised", help, self.synchronised.clone());
    }
}

/// Verification of what is kept.
#[derive(Debug, Default)]
struct Scrubbed {
    through: Gauge,
    found: Gauge,
    passed: Gauge,
}

/// Messages on their way to other systems.
#[derive(Debug, Default)]
struct Outgoing {
    accepted: Family<OfDestination, Counter>,
    held: Family<OfDestination, Counter>,
    retried: Family<OfDestination, Counter>,
    foreign: Family<OfDestination, Counter>,
    queue: Family<OfDestinationAndState, Gauge>,
    age: Family<OfDestination, Gauge>,
    bytes: Family<OfDestination, Gauge>,
    breaker: Family<OfDestination, Gauge>,
    batch: Family<OfDestination, Gauge>,
    in_flight: Family<OfDestination, Gauge>,
}

impl Outgoing {
    fn register(&self, registry: &mut Registry) {
        let name = |what: &str| format!("bedside_outgoing_{what}");
        registry.register(name("accepted"), "Messages a destination accepted", self.accepted.clone());
        registry.register(name("held"), "Messages held for a person", self.held.clone());
        registry.register(name("retried"), "Messages that are sent again", self.retried.clone());
        registry.register(
            name("foreign_acknowledgements"),
            "Acknowledgements that fitted no message on its way; discarded",
            self.foreign.clone(),
        );
        registry.register(
            name("queue"),
            "Messages in the queue of a destination, by state",
            self.queue.clone(),
        );
        registry.register(
            name("oldest_seconds"),
            "How long the oldest message waits that is neither accepted nor held",
            self.age.clone(),
        );
        let delivery = |what: &str| format!("bedside_delivery_{what}");
        registry.register(
            delivery("bytes_sent"),
            "Bytes sent to a server since the start",
            self.bytes.clone(),
        );
        registry.register(
            delivery("breaker_open"),
            "1 while a server does not answer and is only tried now and then",
            self.breaker.clone(),
        );
        registry.register(delivery("batch_entries"), "Entries in one request now", self.batch.clone());
        registry.register(delivery("in_flight"), "Requests side by side now", self.in_flight.clone());
    }
}

impl Metrics {
    /// Names every figure in `registry`.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("bedside_frames_kept", "Frames committed to disk", self.kept.clone());
        registry.register("bedside_frames_repeated", "Frames that were already kept", self.repeated.clone());
        registry.register(
            "bedside_frames_refused",
            "Frames refused: the sender keeps them",
            self.refused.clone(),
        );
        registry.register("bedside_link_notes", "Departures from a protocol, by code", self.notes.clone());
        registry.register("bedside_findings", "Findings while decoding, by code", self.findings.clone());
        registry.register("bedside_entries", "Entries in the outbox, by state", self.entries.clone());
        registry.register("bedside_entries_accepted", "Entries accepted upstream", self.accepted.clone());
        registry.register("bedside_entries_held", "Entries held for a person", self.held.clone());
        registry.register(
            "bedside_deliveries_retried",
            "Entries whose delivery is tried again",
            self.retried.clone(),
        );
        registry.register("bedside_buffer_bytes", "Size of the buffer on disk", self.bytes.clone());
        registry.register(
            "bedside_device_clock_offset_seconds",
            "How far the clock of a link's device is ahead of this box; of several, the furthest off",
            self.clock.clone(),
        );
        registry.register(
            "bedside_ledger_frames",
            "Where everything went that came: received = acknowledged + refused + noise, acknowledged = delivered + queued + held + repeated + lost",
            self.ledger.clone(),
        );
        registry.register(
            "bedside_unfinished_bytes",
            "Bytes of messages that have begun and not ended, or wait for the disk",
            self.unfinished.clone(),
        );
        registry.register(
            "bedside_unfinished_turned_away",
            "Great messages turned away for want of room since the start",
            self.turned_away.clone(),
        );
        let scrub = &self.scrub;
        registry.register(
            "bedside_scrub_through",
            "Entry verified last in the pass that runs",
            scrub.through.clone(),
        );
        registry.register(
            "bedside_scrub_changed",
            "Frames whose kept bytes changed, in this pass and the last",
            scrub.found.clone(),
        );
        registry.register(
            "bedside_scrub_passed_timestamp_seconds",
            "When everything kept was last verified; 0 before the first time",
            scrub.passed.clone(),
        );
        self.outgoing.register(registry);
        self.host.register(registry);
    }

    pub(super) fn host(&self, host: &Host, synchronised: bool) {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let shown = [
            host.disk_free_bytes.map(number),
            host.disk_free_files.map(number),
            host.disk_life_used_percent.map(i64::from),
            host.temperature_c.map(i64::from),
        ];
        for (figure, shown) in self.host.shown.iter().zip(shown) {
            match shown {
                Some(shown) => _ = figure.get_or_create(&Vec::new()).set(shown),
                None => figure.clear(),
            }
        }
        self.host.synchronised.set(i64::from(synchronised));
    }

    pub(super) fn unfinished(&self, bytes: usize, turned_away: u64) {
        self.unfinished.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.turned_away.set(i64::try_from(turned_away).unwrap_or(i64::MAX));
    }

    pub(super) fn ledger(&self, ledger: &Ledger) {
        let places = [
            ("received", ledger.received),
            ("acknowledged", ledger.acknowledged),
            ("refused", ledger.refused),
            ("noise", ledger.noise),
            ("delivered", ledger.delivered),
            ("queued", ledger.queued),
            ("held", ledger.held),
            ("repeated", ledger.repeated),
            ("lost", ledger.lost),
        ];
        for (place, count) in places {
            self.ledger.get_or_create(&OfPlace { place }).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    pub(super) fn scrub(&self, scrub: &Scrub) {
        self.scrub.through.set(scrub.through);
        self.scrub.found.set(i64::try_from(scrub.found + scrub.passed_found).unwrap_or(i64::MAX));
        self.scrub.passed.set(scrub.passed / 1_000_000);
    }

    pub(super) fn outgoing_accepted(&self, destination: &str) {
        self.outgoing.accepted.get_or_create(&OfDestination { destination: destination.into() }).inc();
    }

    pub(super) fn outgoing_held(&self, destination: &str) {
        self.outgoing.held.get_or_create(&OfDestination { destination: destination.into() }).inc();
    }

    pub(super) fn outgoing_retried(&self, destination: &str) {
        self.outgoing.retried.get_or_create(&OfDestination { destination: destination.into() }).inc();
    }

    pub(super) fn outgoing_foreign(&self, destination: &str, count: u64) {
        self.outgoing.foreign.get_or_create(&OfDestination { destination: destination.into() }).inc_by(count);
    }

    pub(super) fn outgoing_queue(&self, destination: &str, states: [(&'static str, u64); 3], oldest_s: u64) {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        for (state, count) in states {
            let of = OfDestinationAndState { destination: destination.into(), state };
            self.outgoing.queue.get_or_create(&of).set(number(count));
        }
        self.outgoing
            .age
            .get_or_create(&OfDestination { destination: destination.into() })
            .set(number(oldest_s));
    }

    pub(super) fn delivery(&self, server: &str, bytes: u64, failures: u32, load: Option<Load>) {
        let of = OfDestination { destination: server.into() };
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.outgoing.bytes.get_or_create(&of).set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.outgoing.breaker.get_or_create(&of).set(i64::from(failures > 0));
        if let Some(load) = load {
            self.outgoing.batch.get_or_create(&of).set(number(load.entries));
            self.outgoing.in_flight.get_or_create(&of).set(number(load.requests));
        }
    }

    pub(super) fn kept(&self, link: &str, duplicate: bool) {
        let family = if duplicate { &self.repeated } else { &self.kept };
        family.get_or_create(&OfLink { link: link.into() }).inc();
    }

    pub(super) fn refused(&self, link: &str) {
        self.refused.get_or_create(&OfLink { link: link.into() }).inc();
    }

    pub(super) fn noted(&self, link: &str, code: &str) {
        self.notes.get_or_create(&OfLinkAndCode { link: link.into(), code: code.into() }).inc();
    }

    pub(super) fn found(&self, link: &str, code: &str) {
        self.findings.get_or_create(&OfLinkAndCode { link: link.into(), code: code.into() }).inc();
    }

    pub(super) fn accepted(&self, count: u64) {
        self.accepted.inc_by(count);
    }

    pub(super) fn held(&self) {
        self.held.inc();
    }

    pub(super) fn retried(&self, count: u64) {
        self.retried.inc_by(count);
    }

    pub(super) fn clocks(&self, worst: &BTreeMap<&str, f64>) {
        for (link, offset_s) in worst {
            self.clock.get_or_create(&OfLink { link: (*link).into() }).set(*offset_s);
        }
    }

    pub(super) fn buffer(&self, bytes: u64, states: [(&'static str, u64); 4]) {
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        for (state, count) in states {
            self.entries.get_or_create(&OfState { state }).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}
