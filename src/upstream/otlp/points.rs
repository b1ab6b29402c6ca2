//! OpenMetrics text (as Prometheus scrapes it) → an OTLP `ExportMetricsServiceRequest` in JSON.
//!
//! OpenTelemetry protocol 1.x, metrics data model; JSON as ProtoJSON: 64-bit integers are strings, enumerations
//! numbers. Counters become cumulative monotonic sums, gauges gauges, histograms explicit-bucket histograms. The text
//! is this program's own: a line that is not understood is left out.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::About;

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u8 = 2;

/// One family of the exposition.
#[derive(Default)]
struct Family<'a> {
    name: &'a str,
    help: &'a str,
    kind: &'a str,
    /// In the order told.
    samples: Vec<Sample<'a>>,
}

struct Sample<'a> {
    /// `_total`, `_bucket`, `_sum`, `_count` or nothing.
    suffix: &'a str,
    labels: Vec<(&'a str, String)>,
    value: &'a str,
}

/// The request: everything `exposition` says, counted since `started`, as of `now` (microseconds since 1970).
pub(super) fn request(exposition: &str, about: &About, started: i64, now: i64) -> Value {
    let times = Times { start: nanos(started), now: nanos(now) };
    let metrics: Vec<Value> =
        families(exposition).iter().filter_map(|family| family.metric(&times)).collect();
    json!({"resourceMetrics": [{
        "resource": {"attributes": [
            attribute("service.name", "bedside"),
            attribute("service.version", about.version),
            attribute("service.instance.id", &about.instance),
            attribute("bedside.site", &about.site),
        ]},
        "scopeMetrics": [{"scope": {"name": "bedside", "version": about.version}, "metrics": metrics}],
    }]})
}

struct Times {
    start: String,
    now: String,
}

fn nanos(micros: i64) -> String {
    (i128::from(micros) * 1000).to_string()
}

fn families(exposition: &str) -> Vec<Family<'_>> {
    let mut all: Vec<Family<'_>> = Vec::new();
    for line in exposition.lines() {
        if let Some(said) = line.strip_prefix("# ") {
            let mut words = said.splitn(3, ' ');
            let (Some(what), Some(name), text) =
                (words.next(), words.next(), words.next().unwrap_or_default())
            else {
                continue;
            };
            if all.last().is_none_or(|family| family.name != name) {
                all.push(Family { name, ..Family::default() });
            }
            let Some(family) = all.last_mut() else { continue };
            match what {
                "HELP" => family.help = text.trim_end_matches('.'),
                "TYPE" => family.kind = text,
                _ => {}
            }
        } else if let Some(family) = all.last_mut()
            && let Some(sample) = sample(line, family.name)
        {
            family.samples.push(sample);
        }
    }
    all
}

/// `name{label="value",…} value`
fn sample<'a>(line: &'a str, family: &str) -> Option<Sample<'a>> {
    let rest = line.strip_prefix(family)?;
    let end = rest.find(['{', ' '])?;
    let (suffix, mut rest) = rest.split_at(end);
    let mut labels = Vec::new();
    if let Some(mut inside) = rest.strip_prefix('{') {
        loop {
            inside = inside.trim_start_matches(',');
            if let Some(after) = inside.strip_prefix('}') {
                rest = after;
                break;
            }
            let (name, quoted) = inside.split_once("=\"")?;
            let (value, after) = unquoted(quoted)?;
            labels.push((name, value));
            inside = after;
        }
    }
    Some(Sample { suffix, labels, value: rest.split_whitespace().next()? })
}

/// A label's value up to its closing quote, and what follows the quote.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return text.get(at + 1..).map(|after| (value, after)),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

fn attribute(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

fn attributes(labels: &[(&str, String)]) -> Vec<Value> {
    labels.iter().map(|(name, value)| attribute(name, value)).collect()
}

impl Family<'_> {
    fn metric(&self, times: &Times) -> Option<Value> {
        let (kind, shape) = match self.kind {
            "counter" => (
                "sum",
                json!({
                    "aggregationTemporality": CUMULATIVE, "isMonotonic": true,
                    "dataPoints": self.numbers("_total", times),
                }),
            ),
            "gauge" => ("gauge", json!({"dataPoints": self.numbers("", times)})),
            "histogram" => (
                "histogram",
                json!({"aggregationTemporality": CUMULATIVE, "dataPoints": self.histograms(times)}),
            ),
            _ => return None,
        };
        shape.pointer("/dataPoints/0")?;
        Some(json!({"name": self.name, "description": self.help, kind: shape}))
    }

    fn numbers(&self, suffix: &str, times: &Times) -> Vec<Value> {
        let mut points = Vec::new();
        for sample in self.samples.iter().filter(|sample| sample.suffix == suffix) {
            let (form, value) = match (sample.value.parse::<i64>(), sample.value.parse::<f64>()) {
                (Ok(_), _) => ("asInt", Value::from(sample.value)),
                (_, Ok(number)) if number.is_finite() => ("asDouble", number.into()),
                _ => continue,
            };
            points.push(json!({
                "attributes": attributes(&sample.labels), "startTimeUnixNano": times.start,
                "timeUnixNano": times.now, form: value,
            }));
        }
        points
    }

    fn histograms(&self, times: &Times) -> Vec<Value> {
        let mut of: BTreeMap<Vec<(&str, String)>, Histogram<'_>> = BTreeMap::new();
        for sample in &self.samples {
            let mut labels = sample.labels.clone();
            let le = labels.iter().position(|(name, _)| *name == "le").map(|at| labels.remove(at).1);
            let histogram = of.entry(labels).or_default();
            match (sample.suffix, le) {
                ("_bucket", Some(le)) => histogram.buckets.extend(sample.value.parse().map(|n: u64| (le, n))),
                ("_sum", None) => histogram.sum = sample.value,
                ("_count", None) => histogram.count = sample.value,
                _ => {}
            }
        }
        of.into_iter().map(|(labels, histogram)| histogram.point(&labels, times)).collect()
    }
}

#[derive(Default)]
struct Histogram<'a> {
    /// Upper bound, and how many lie at or below it.
    buckets: Vec<(String, u64)>,
    sum: &'a str,
    count: &'a str,
}

impl Histogram<'_> {
    fn point(&self, labels: &[(&str, String)], times: &Times) -> Value {
        let bounds: Vec<f64> = self
            .buckets
            .iter()
            .filter_map(|(le, _)| le.parse().ok())
            .filter(|le: &f64| le.is_finite())
            .collect();
        let mut below = 0;
        let mut counts = Vec::new();
        for (_, upto) in &self.buckets {
            counts.push(upto.saturating_sub(below).to_string());
            below = *upto;
        }
        json!({
            "attributes": attributes(labels), "startTimeUnixNano": times.start, "timeUnixNano": times.now,
            "count": self.count, "sum": self.sum.parse::<f64>().unwrap_or_default(), "bucketCounts": counts,
            "explicitBounds": bounds,
        })
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::family::Family as Figures;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::metrics::histogram::Histogram as Spread;
    use prometheus_client::registry::Registry;

    use super::*;

    fn told() -> Value {
        let mut registry = Registry::default();
        let kept = Figures::<Vec<(String, String)>, Counter>::default();
        kept.get_or_create(&vec![("link".into(), "bed \"4\"\\\n".into())]).inc_by(7);
        let (open, off) = (Gauge::<i64>::default(), Gauge::<f64, std::sync::atomic::AtomicU64>::default());
        open.set(-2);
        off.set(1.5);
        let spread = Spread::new([0.1, 1.0]);
        [0.05, 0.5, 0.6, 9.0].into_iter().for_each(|s| spread.observe(s));
        registry.register("kept", "Frames kept", kept);
        registry.register("open", "Open", open);
        registry.register("offset", "Off", off);
        registry.register("spread", "Seconds", spread);
        registry.register(
            "never",
            "Nothing was counted",
            Figures::<Vec<(String, String)>, Counter>::default(),
        );
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let about = About { instance: "urn:uuid:1".into(), site: "Ward".into(), version: "1" };
        request(&text, &about, 1_000_000, 2_000_001)
    }

    #[test]
    fn counters_gauges_and_histograms_keep_their_kind_their_labels_and_their_numbers() {
        let request = told();
        let metrics = &request["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
        let names: Vec<&str> =
            metrics.as_array().unwrap().iter().filter_map(|m| m["name"].as_str()).collect();
        assert_eq!(names, ["kept", "open", "offset", "spread"]);
        assert_eq!(metrics[0]["description"], "Frames kept");
        let kept = &metrics[0]["sum"];
        assert_eq!((&kept["isMonotonic"], &kept["aggregationTemporality"]), (&json!(true), &json!(2)));
        let point = &kept["dataPoints"][0];
        assert_eq!(point["asInt"], "7");
        assert_eq!(point["attributes"][0]["value"]["stringValue"], "bed \"4\"\\\n");
        assert_eq!(
            (&point["startTimeUnixNano"], &point["timeUnixNano"]),
            (&json!("1000000000"), &json!("2000001000"))
        );
        assert_eq!(metrics[1]["gauge"]["dataPoints"][0]["asInt"], "-2");
        assert_eq!(metrics[2]["gauge"]["dataPoints"][0]["asDouble"], 1.5);
        let spread = &metrics[3]["histogram"]["dataPoints"][0];
        assert_eq!(spread["bucketCounts"], json!(["1", "2", "1"]));
        assert_eq!(spread["explicitBounds"], json!([0.1, 1.0]));
        assert_eq!((&spread["count"], &spread["sum"]), (&json!("4"), &json!(10.15)));
    }

    #[test]
    fn who_tells_is_said_once() {
        let request = told();
        let attributes = request["resourceMetrics"][0]["resource"]["attributes"].as_array().unwrap();
        let keys: Vec<&str> = attributes.iter().filter_map(|a| a["key"].as_str()).collect();
        assert_eq!(keys, ["service.name", "service.version", "service.instance.id", "bedside.site"]);
    }

    #[test]
    fn a_text_that_is_not_ours_gives_nothing_and_no_fault() {
        let about = About { instance: String::new(), site: String::new(), version: "" };
        for text in ["", "a", "# ", "# TYPE a counter\na{b=\"c", "# TYPE a gauge\na NaN\n", "# TYPE a\na{} x"]
        {
            let request = request(text, &about, 0, 0);
            assert_eq!(request["resourceMetrics"][0]["scopeMetrics"][0]["metrics"], json!([]), "{text}");
        }
    }
}
