//! Every setting with its value and where it stands: in the configuration file, or nowhere, so that the default holds.

use std::path::Path;

use jiff::tz::TimeZone;

use super::System;
use crate::admin::system::{Setting, Settings};
use crate::clock::Timestamp;
use crate::config::Config;
use crate::gateway::host;

impl System {
    pub(super) fn told(&self) -> Settings {
        let now = self.clock.now();
        Settings {
            file: self.file.clone(),
            settings: self.settings.clone(),
            clock_synchronised: now.synchronised,
            local_time: local(now, &self.zone),
            host: host::look(Path::new("/"), &self.dir),
        }
    }
}

/// Time at the site with its offset, such as `2026-03-14T14:00:00+05:30[Asia/Kolkata]`.
pub(in crate::gateway) fn local(now: Timestamp, zone: &str) -> String {
    let at = jiff::Timestamp::from_microsecond(now.micros).ok();
    let at = at.zip(TimeZone::get(zone).ok()).map(|(at, zone)| at.to_zoned(zone));
    at.and_then(|at| at.round(jiff::Unit::Second).ok()).map_or_else(|| now.rfc3339(), |at| at.to_string())
}

/// What is told of a configuration. No secret is in it: the file names them, it does not hold them.
pub(super) fn told(config: &Config) -> Vec<Setting> {
    let mut all = site(config);
    all.extend(kept(config));
    all.extend(sent(config));
    all.into_iter()
        .map(|(key, value, says)| Setting { key, value, source: config.origin.source(key), says })
        .collect()
}

type Line = (&'static str, String, &'static str);

fn yes(truth: bool) -> String {
    if truth { "yes".into() } else { "no".into() }
}

fn or_none(text: Option<&str>) -> String {
    text.unwrap_or("none").to_owned()
}

fn site(config: &Config) -> Vec<Line> {
    let site = &config.site;
    let mut lines = vec![
        ("site.name", site.name.clone(), "Name of the clinic or ward, shown on the desk"),
        ("site.gateway", or_none(site.gateway.as_deref()), "Name of this box at the site"),
        ("site.zone", site.zone.clone(), "Time zone of devices that state no offset"),
        (
            "site.patient_system",
            or_none(site.patient_system.as_deref()),
            "URI of the site's own patient numbers",
        ),
        ("site.simulated", yes(site.simulated), "Everything is made up and marked so"),
        (
            "site.clock_limit_s",
            site.clock_limit_s.to_string(),
            "Seconds a device's clock may be wrong before an alarm",
        ),
    ];
    if let Some(desk) = &config.desk {
        let own = desk.certificate_secret.as_deref().unwrap_or("made by the box");
        lines.push(("desk.listen", desk.listen.to_string(), "Address and port of the desk"));
        lines.push(("desk.certificate_secret", own.into(), "The desk's certificate"));
        lines.push((
            "desk.hostname",
            or_none(desk.hostname.as_deref()),
            "Host name in a self-made certificate",
        ));
    }
    lines
}

fn kept(config: &Config) -> Vec<Line> {
    let buffer = &config.buffer;
    vec![
        ("buffer.dir", buffer.dir.display().to_string(), "Where everything is kept"),
        ("buffer.max_bytes", buffer.max_bytes.to_string(), "Bytes it may use"),
        (
            "buffer.keep_accepted_days",
            buffer.keep_accepted_days.to_string(),
            "Days an accepted entry is kept",
        ),
        ("secrets", config.secrets.display().to_string(), "Where secrets are looked for"),
        ("log.filter", or_none(config.log.filter.as_deref()), "What is logged"),
    ]
}

fn sent(config: &Config) -> Vec<Line> {
    let delivery = &config.delivery;
    let mut lines = vec![
        ("delivery.entries_max", delivery.entries_max.to_string(), "Entries in one request"),
        ("delivery.age_ms", delivery.age_ms.to_string(), "How long an entry waits for company"),
        ("delivery.pause_max_s", delivery.pause_max_s.to_string(), "Longest pause between tries"),
    ];
    if let Some(upstream) = &config.upstream {
        lines.push(("upstream.name", upstream.name.clone(), "What the FHIR server is called"));
        lines.push(("upstream.base", upstream.base.clone(), "The FHIR base"));
        lines.push(("upstream.client_id", upstream.client_id.clone(), "The client id of this box"));
        lines.push(("upstream.timeout_s", upstream.timeout_s.to_string(), "How long one request may take"));
        lines.push(("upstream.in_flight", upstream.in_flight.to_string(), "Requests on their way at once"));
    }
    lines
}
