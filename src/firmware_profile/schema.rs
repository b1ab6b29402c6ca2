//! The schema of a profile page: TOML → [`FirmwareProfile`], strictly. What a page may say is listed here.

use std::collections::HashSet;
use std::sync::Arc;

use regex::Regex;
use serde::Serialize;
use toml::de::DeTable;
use utoipa::ToSchema;

use super::FirmwareProfile;
use super::astm_orders::OrderRules;
use super::fault::Fault;
use super::locate::{GrammarKind, Locator};
use super::metric::MetricTable;
use super::section::{Section, Source};
use super::sections;
use super::time::TimeRules;
use super::value::ValueRules;
use super::{rules, schema_metric, session};

/// Against what a profile was tried. A claim is raised only by trying it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verified {
    /// Against nothing: written from a document of the maker, or from those who read it.
    Document,
    /// Only against a simulated device.
    Simulator,
    /// Against a real device on a bench.
    Bench,
    /// In use in a clinic.
    Clinic,
}

/// A known fault or limit of the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Caveat {
    pub text: String,
    /// Where it is written.
    pub source: String,
}

/// Suggested settings for each way to connect the device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Transport {
    pub serial: Option<Serial>,
    pub tcp: Option<Tcp>,
    pub udp: Option<Udp>,
    pub mqtt: Option<Mqtt>,
    pub folder: Option<Folder>,
}

/// Serial settings; the first baud rate is the usual one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Serial {
    pub baud: Vec<u32>,
    pub data_bits: u8,
    /// `none`, `even` or `odd`.
    pub parity: &'static str,
    pub stop_bits: u8,
    /// `none`, `hardware` or `software`.
    pub flow: &'static str,
    pub dtr: Option<bool>,
    pub rts: Option<bool>,
    /// Silence longer than this means that the device is gone.
    pub quiet_timeout_s: Option<u32>,
}

/// Who dials whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tcp {
    /// `true`: this box listens and the device connects.
    pub listen: bool,
    pub port: u16,
}

/// Files a device leaves in a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Folder {
    /// Names of the files, with `*` and `?`.
    pub files: String,
    /// How long a file that is whole does not change.
    pub settle_s: u32,
}

/// The device's own port, which this box dials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Udp {
    pub port: u16,
}

/// Topics to subscribe to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mqtt {
    pub topics: Vec<String>,
    pub qos: u8,
}

/// A capture of the folder and what it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TestCase {
    /// File name under `captures/`.
    pub capture: String,
    /// The MQTT topic it came on.
    pub topic: Option<String>,
    /// Good to be sent again and again by a simulated device.
    pub replay: bool,
    pub note: Option<String>,
}

/// How frames are taken apart.
#[derive(Clone, Debug)]
pub(crate) enum Grammar {
    Text(super::text::TextGrammar),
    Bytes(Vec<super::layout::Layout>),
    Json(super::json::JsonGrammar),
    Xml(super::xml::XmlGrammar),
    Gdt(super::gdt::GdtGrammar),
    Hl7,
    Astm(super::astm::AstmGrammar),
    Native(super::native::Native),
}

impl Grammar {
    /// HL7 (2.5 §2.5.1) and LIS02 (§5.4) end their lines with CR alone.
    pub(super) const fn ends_lines_with_cr(&self) -> bool {
        matches!(self, Self::Hl7 | Self::Astm(_) | Self::Native(_))
    }
}

/// Records that carry nothing to deliver.
#[derive(Clone, Debug)]
pub(crate) struct IgnoreRule {
    /// A place and the texts it may hold; `None` looks at the whole record.
    pub(super) at: Option<(Locator, Vec<String>)>,
    /// The place must say nothing instead.
    pub(super) absent: bool,
    pub(super) matches: Option<Regex>,
    pub(super) reason: String,
}

/// A place and the texts there that mark a control; any text when neither list nor pattern is given.
#[derive(Clone, Debug)]
pub(crate) struct ControlRule {
    pub(super) at: Locator,
    pub(super) equals: Vec<String>,
    pub(super) matches: Option<Regex>,
    pub(super) result: Option<ControlResult>,
}

/// Where the order itself says what a control came to, in messages that have no row for it.
#[derive(Clone, Debug)]
pub(crate) struct ControlResult {
    pub(super) code: Locator,
    pub(super) value: Locator,
    pub(super) name: Option<Locator>,
    pub(super) unit: Option<Locator>,
    pub(super) taken: Option<Locator>,
    /// What else is worth a note: the control's name, its lot, its target.
    pub(super) remarks: Vec<Locator>,
}

impl ControlRule {
    pub(super) fn holds(&self, text: &str) -> bool {
        let listed = self.equals.iter().any(|wanted| wanted == text);
        let plain = self.equals.is_empty() && self.matches.is_none() && !text.is_empty();
        plain || listed || self.matches.as_ref().is_some_and(|pattern| pattern.is_match(text))
    }
}

/// Where the device says who it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identify {
    pub(super) manufacturer: Vec<Locator>,
    pub(super) model: Vec<Locator>,
    pub(super) serial: Vec<Locator>,
    pub(super) firmware: Vec<Locator>,
    pub(super) id: Vec<Locator>,
    pub(super) id_kind: IdKind,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum IdKind {
    #[default]
    Local,
    Eui64,
    BluetoothMac,
}

/// Where the person, the specimen and the place stand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subject {
    pub(super) id: Vec<Locator>,
    pub(super) system: Option<Arc<str>>,
    pub(super) kind: Option<Arc<str>>,
    pub(super) family: Vec<Locator>,
    pub(super) given: Vec<Locator>,
    pub(super) birth_date: Vec<Locator>,
    pub(super) gender: Vec<Locator>,
    pub(super) unknown: Vec<String>,
    pub(super) specimen_id: Vec<Locator>,
    pub(super) specimen_kind: Vec<Locator>,
    pub(super) specimen_unreadable: Vec<String>,
    pub(super) place: [Vec<Locator>; 4],
}

/// Everything decoding needs, checked and built.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(super) grammar: Grammar,
    pub(super) fits: Option<Regex>,
    pub(super) ignore: Vec<IgnoreRule>,
    pub(super) identify: Identify,
    pub(super) value: ValueRules,
    pub(super) time: TimeRules,
    pub(super) subject: Subject,
    /// Places and texts that mark a control, which is never a patient's result.
    pub(super) quality_control: Vec<ControlRule>,
    /// How the device's queries are answered; without it they are not.
    pub(super) orders: Option<OrderRules>,
    pub(super) table: MetricTable,
    /// Every place the profile speaks of, so that the rest can be told.
    pub(super) claimed: HashSet<String>,
}

impl Plan {
    /// Collects the places all sections name.
    fn claim(&mut self) {
        let metrics = self.table.metrics.iter().take(self.table.listed);
        let of_metrics = metrics.flat_map(|metric| {
            let single = [&metric.unit_from, &metric.flags_from, &metric.range_from];
            let times = metric.time.iter().flat_map(|time| time.from.iter().flatten());
            let conditions = metric.when.iter().map(|(at, _)| at);
            let conditions = conditions.chain(metric.condition.iter().flat_map(|when| when.places()));
            metric.from.iter().chain(single.into_iter().flatten()).chain(times).chain(conditions)
        });
        let (who, subject) = (&self.identify, &self.subject);
        let lists = [
            &who.manufacturer,
            &who.model,
            &who.serial,
            &who.firmware,
            &who.id,
            &subject.id,
            &subject.family,
            &subject.given,
            &subject.birth_date,
            &subject.gender,
            &subject.specimen_id,
            &subject.specimen_kind,
        ];
        let rest = lists.into_iter().chain(&subject.place).chain(&self.time.from).flatten();
        let rest = rest.chain(self.ignore.iter().filter_map(|rule| rule.at.as_ref().map(|(at, _)| at)));
        let rest = rest.chain(self.value.bit_fields.iter().map(|bits| &bits.from));
        self.claimed = of_metrics.chain(rest).map(Locator::claim).collect();
        if let Grammar::Text(grammar) = &self.grammar {
            self.claimed.extend(grammar.group_names());
        }
    }
}

pub(super) fn parse(id: &str, text: &str) -> Result<FirmwareProfile, Vec<Fault>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let fault = |error: &toml::de::Error| Fault::at(text, error.span().unwrap_or(0..0), error.message());
        return Err(errors.iter().map(fault).collect());
    }
    let source = Source::new(text);
    let profile = read(id, &source, document.get_ref());
    let mut faults = source.into_faults();
    match profile {
        Some(profile) if faults.is_empty() => Ok(profile),
        _ => {
            if faults.is_empty() {
                faults.push(Fault::at(text, 0..0, "the profile is not complete"));
            }
            Err(faults)
        }
    }
}

/// Everything the parser asks for while it reads a page, good or not.
#[cfg(test)]
pub(super) fn heard(text: &str) -> super::section::Heard {
    let (document, _) = DeTable::parse_recoverable(text);
    let source = Source::new(text);
    drop(read("test/page", &source, document.get_ref()));
    source.heard.take()
}

fn read<'a>(id: &str, source: &'a Source<'a>, table: &'a DeTable<'a>) -> Option<FirmwareProfile> {
    let root = Section::new(source, "the profile".into(), table, 0..0);
    let (device, record) = (root.section("device"), root.section("record"));
    for (key, missing) in [("[device]", device.is_none()), ("[record] with its grammar", record.is_none())] {
        if missing {
            root.fault(0..0, format!("the profile needs a {key}"));
        }
    }
    let (device, record) = (device?, record?);
    let kind = sections::grammar_kind(&record)?;
    let subject = sections::subject(&root, kind);
    let time = root.section("time").map(|section| sections::time_rules(section, kind)).unwrap_or_default();
    let value = root.section("value").map(|section| sections::value_rules(section, kind)).unwrap_or_default();
    let (fits, identify) = root.section("identify").map(|s| sections::identify(s, kind)).unwrap_or_default();
    let ignore = sections::ignore_rules(&record, kind);
    let grammar = sections::grammar(record, kind);
    let quality_control = sections::quality_control(&root, kind);
    let orders = sections::orders(&root, kind);
    let (groups, metrics) = schema_metric::read(&root, kind);
    let (codec, transport) = (sections::codec(&root), sections::transport(&root));
    let session =
        root.section("session").map(|section| session::read(section, codec.as_ref())).unwrap_or_default();
    let tests = root.sections("test").into_iter().filter_map(sections::test_case).collect();
    let about = sections::about(device);
    let lists_metrics = root.has("metric");
    root.finish();
    rules::check(source, &metrics, &groups, grammar.as_ref(), lists_metrics);
    let (about, grammar, codec) = (about?, grammar?, codec?);
    let own_system = format!("urn:bedside:firmware-profile:{id}");
    let metrics = metrics.into_iter().map(|metric| metric.def).collect();
    let groups = groups.into_iter().map(|group| group.def).collect();
    let table = MetricTable::build(
        metrics,
        groups,
        &own_system,
        matches!(kind, GrammarKind::Hl7 | GrammarKind::Native | GrammarKind::XmlCoded),
    );
    let mut plan = Plan {
        grammar,
        fits,
        ignore,
        identify,
        value,
        time,
        subject,
        quality_control,
        orders,
        table,
        claimed: HashSet::new(),
    };
    plan.claim();
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, source.text.as_bytes());
    Some(FirmwareProfile {
        id: id.into(),
        manufacturer: about.manufacturer,
        model: about.model,
        firmware: about.firmware,
        kind: about.kind,
        point_of_care: about.point_of_care,
        verified: about.verified,
        caveats: about.caveats,
        transport,
        codec,
        session,
        hash: hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect(),
        tests,
        plan,
    })
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
