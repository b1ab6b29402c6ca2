//! The one sentence on top of the first page: what is wrong, worst first, else that all is well.

use super::UpstreamState;
use super::view::{Overview, Severity};
use crate::clock::Timestamp;

/// How many problems one sentence can carry.
const PROBLEMS_SHOWN: usize = 3;

/// The sentence for an overview (its own `verdict` is not read).
pub(super) fn verdict(overview: &Overview) -> String {
    let problems = problems(overview);
    if problems.is_empty() {
        return all_well(overview);
    }
    let more = problems.len().saturating_sub(PROBLEMS_SHOWN);
    let mut sentence = problems.into_iter().take(PROBLEMS_SHOWN).collect::<Vec<_>>().join("; ");
    if more > 0 {
        sentence.push_str(&format!("; and {more} more"));
    }
    capitalised(&sentence)
}

fn problems(overview: &Overview) -> Vec<String> {
    let mut problems = Vec::new();
    let alarms = |severity| overview.alarms.iter().filter(move |alarm| alarm.severity == severity);
    problems.extend(alarms(Severity::Critical).map(|alarm| alarm.title.clone()));
    problems.extend(upstream(overview));
    if overview.counts.held > 0 {
        let (messages, need) =
            if overview.counts.held == 1 { ("message is", "needs") } else { ("messages are", "need") };
        problems.push(format!("{} {messages} held and {need} a person", overview.counts.held));
    }
    problems.extend(overview.links.iter().filter_map(|link| match link.state {
        "retrying" => Some(format!("link {} is not connected", link.name)),
        "quiet" => Some(format!("link {} has been silent for {}", link.name, ago(link.since, overview.now))),
        "stopped" => Some(format!("link {} is stopped", link.name)),
        _ => None,
    }));
    // Said above already, from the counts of this moment.
    let others = alarms(Severity::Warning).filter(|alarm| overview.counts.held == 0 || alarm.code != "held");
    problems.extend(others.map(|alarm| alarm.title.clone()));
    problems
}

fn upstream(overview: &Overview) -> Option<String> {
    let upstream = &overview.upstream;
    let waiting = overview.counts.waiting + overview.counts.sent;
    let kept =
        if waiting == 0 { "nothing is waiting".into() } else { format!("{waiting} kept safely until then") };
    match upstream.state {
        UpstreamState::Up | UpstreamState::Unconfigured => None,
        UpstreamState::Down => match upstream.last_success {
            Some(at) => Some(format!("upstream last answered {} ago, {kept}", ago(at, overview.now))),
            None => Some(format!("upstream has not answered yet, {kept}")),
        },
        UpstreamState::Refusing => Some(format!("upstream refuses this box, {kept}")),
    }
}

fn all_well(overview: &Overview) -> String {
    let devices = match overview.devices.len() {
        0 if overview.links.is_empty() => "No link is set up yet".into(),
        0 => "Ready; no device has sent anything yet".into(),
        1 => "The one device is sending".into(),
        count => format!("All {count} devices are sending"),
    };
    let waiting = overview.counts.waiting + overview.counts.sent;
    let upstream = match (overview.upstream.state, overview.upstream.last_success) {
        (UpstreamState::Unconfigured, _) => String::from("no upstream is set up"),
        (_, Some(at)) => format!("upstream answered {} ago", ago(at, overview.now)),
        (_, None) => String::from("upstream is reachable"),
    };
    format!("{devices}; {waiting} waiting; {upstream}")
}

/// A span in the largest unit that keeps it readable.
fn ago(from: Timestamp, now: Timestamp) -> String {
    match now.since(from).as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} min", seconds / 60),
        seconds @ 7200..=172_799 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

fn capitalised(sentence: &str) -> String {
    let mut chars = sentence.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}
