//! `[[destination]]` and `[[route]]`: systems that take HL7 v2 and what goes to them; FHIR servers and folders beside
//! `[upstream]`, which get everything but for what `only` leaves out.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::{ConfigError, Delivery, Link};
use crate::hl7v2::Charset;
use crate::route::oru::Also;
use crate::route::{Change, Condition, Filter, How, InOrder, Kind, Only, Route};
use crate::upstream::hl7::{self, Acknowledge};
use crate::upstream::{self, ndjson};

/// A system that takes HL7 v2.
#[derive(Clone, Debug)]
pub struct Destination {
    pub name: Arc<str>,
    pub mllp: hl7::Config,
    pub acknowledge: Acknowledge,
    pub in_order: InOrder,
    /// How long the receiver's application may take to answer what was committed.
    pub application_timeout: Duration,
    /// Longest pause between two tries.
    pub pause_max: Duration,
    /// Tries of a message the receiver answers and does not take; then it is held.
    pub attempts_max: u32,
    /// MSH-5 and MSH-6 of messages that are built.
    pub receiver: Party,
    /// MSH-3 and MSH-4 of messages that are built; the application is BEDSIDE where nothing is said.
    pub sender: Party,
    /// What its messages are written in: those that are built (MSH-18 says so; UTF-8 where nothing is said here) and those
    /// that are filtered, which otherwise keep their own. What is passed on stays as it came.
    pub charset: Option<Charset>,
}

/// A FHIR server or a folder beside the main server.
#[derive(Clone, Debug)]
pub struct Feed {
    pub name: Arc<str>,
    pub to: FeedTo,
    /// What goes there.
    pub only: Only,
    pub delivery: Delivery,
}

/// Where a feed leads.
#[derive(Clone, Debug)]
pub enum FeedTo {
    Fhir(Box<upstream::Config>),
    Ndjson(ndjson::Config),
}

/// An application and its facility (MSH-3 to MSH-6).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Party {
    pub application: String,
    pub facility: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DestinationFile {
    name: Spanned<String>,
    mllp: Option<Spanned<hl7::Config>>,
    fhir: Option<Spanned<upstream::Config>>,
    ndjson: Option<Spanned<ndjson::Config>>,
    #[serde(default)]
    only: Only,
    delivery: Option<Spanned<Delivery>>,
    #[serde(default)]
    acknowledge: Acknowledge,
    #[serde(default)]
    in_order: InOrder,
    #[serde(default = "application_timeout_s")]
    application_timeout_s: Spanned<u64>,
    #[serde(default = "pause_max_s")]
    pause_max_s: Spanned<u64>,
    #[serde(default = "attempts_max")]
    attempts_max: Spanned<u32>,
    #[serde(default)]
    receiver: Party,
    #[serde(default)]
    sender: Party,
    charset: Option<Spanned<Charset>>,
}

fn application_timeout_s() -> Spanned<u64> {
    Spanned::new(0..0, 300)
}

fn pause_max_s() -> Spanned<u64> {
    Spanned::new(0..0, 60)
}

fn attempts_max() -> Spanned<u32> {
    Spanned::new(0..0, 20)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteFile {
    name: Option<Spanned<String>>,
    #[serde(default)]
    from: Vec<Spanned<String>>,
    #[serde(default)]
    messages: Vec<Spanned<String>>,
    when: Option<Spanned<String>>,
    to: Spanned<String>,
    how: Spanned<Word>,
    #[serde(default)]
    drop: Vec<Spanned<String>>,
    #[serde(default)]
    set: Vec<SetFile>,
    waveforms: Option<Spanned<bool>>,
    alarms: Option<Spanned<bool>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetFile {
    at: Spanned<String>,
    text: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Pass,
    Filtered,
    Measurements,
}

type Fault<'a> = &'a dyn Fn(usize, String) -> ConfigError;

/// Systems that take HL7 v2, servers and folders beside the main server, and what goes to the first.
type Resolved = (Vec<Destination>, Vec<Feed>, Vec<Route>);

/// Checks both lists against each other and against the links.
pub(super) fn resolve(
    destinations: Vec<DestinationFile>,
    routes: Vec<RouteFile>,
    links: &[Link],
    fault: Fault<'_>,
) -> Result<Resolved, ConfigError> {
    let (mut known, mut feeds) = (Vec::with_capacity(destinations.len()), Vec::new());
    let mut names = HashSet::new();
    for file in destinations {
        let at = file.name.span().start;
        if !names.insert(file.name.get_ref().clone()) {
            return Err(fault(at, format!("two destinations are called \"{}\"", file.name.get_ref())));
        }
        match file.mllp.is_some() {
            true => known.push(destination(file, fault)?),
            false => feeds.push(feed(file, links, fault)?),
        }
    }
    let mut all: Vec<Route> = Vec::with_capacity(routes.len());
    for (at, file) in routes.into_iter().enumerate() {
        let place = file.name.as_ref().map_or_else(|| file.to.span().start, |name| name.span().start);
        if feeds.iter().any(|feed: &Feed| *feed.name == **file.to.get_ref()) {
            let message = "a route leads to a destination with mllp; what a FHIR server or a folder gets is told by its `only`";
            return Err(fault(file.to.span().start, message.into()));
        }
        let route = route(file, at, &known, links, fault)?;
        if all.iter().any(|other| other.name == route.name) {
            return Err(fault(place, format!("two routes are called \"{}\"", route.name)));
        }
        all.push(route);
    }
    Ok((known, feeds, all))
}

fn destination(file: DestinationFile, fault: Fault<'_>) -> Result<Destination, ConfigError> {
    printable(&file.name, "a destination's name", fault)?;
    let place = file.name.span().start;
    let Some(mllp) = file.mllp else { return Err(fault(place, "mllp is missing".into())) };
    mllp.get_ref().check().map_err(|wrong| fault(mllp.span().start, wrong))?;
    if file.fhir.is_some() || file.ndjson.is_some() || !file.only.is_everything() || file.delivery.is_some() {
        let message =
            "a destination with mllp has no fhir, ndjson, only or delivery: [[route]] tells what goes there";
        return Err(fault(place, message.into()));
    }
    let within = |value: &Spanned<u64>, name: &str| {
        let right = (1..=86_400).contains(value.get_ref());
        let wrong = || fault(value.span().start, format!("{name} is 1 to 86400 seconds"));
        if right { Ok(Duration::from_secs(*value.get_ref())) } else { Err(wrong()) }
    };
    let application_timeout = within(&file.application_timeout_s, "application_timeout_s")?;
    let pause_max = within(&file.pause_max_s, "pause_max_s")?;
    if !(1..=10_000).contains(file.attempts_max.get_ref()) {
        return Err(fault(file.attempts_max.span().start, "attempts_max is 1 to 10000".into()));
    }
    let charset = file.charset.as_ref();
    if let Some(wide) = charset.filter(|charset| charset.get_ref().is_wide()) {
        let wrong = "two bytes a letter have no place in an MLLP block: use UTF-8";
        return Err(fault(wide.span().start, wrong.into()));
    }
    Ok(Destination {
        name: file.name.get_ref().as_str().into(),
        mllp: mllp.into_inner(),
        acknowledge: file.acknowledge,
        in_order: file.in_order,
        application_timeout,
        pause_max,
        attempts_max: file.attempts_max.into_inner(),
        receiver: file.receiver,
        sender: file.sender,
        charset: charset.map(|charset| *charset.get_ref()),
    })
}

fn feed(file: DestinationFile, links: &[Link], fault: Fault<'_>) -> Result<Feed, ConfigError> {
    printable(&file.name, "a destination's name", fault)?;
    let place = file.name.span().start;
    let name = file.name.get_ref().as_str();
    if let Some(link) = file.only.links.iter().find(|link| !links.iter().any(|known| *known.name == ***link))
    {
        return Err(fault(place, format!("only: no [[link]] is called \"{link}\"")));
    }
    let to = match (file.fhir, file.ndjson) {
        (Some(fhir), None) => {
            let server = upstream::Config { name: name.to_owned(), ..fhir.get_ref().clone() };
            server.check().map_err(|wrong| fault(fhir.span().start, wrong.to_string()))?;
            FeedTo::Fhir(Box::new(server))
        }
        (None, Some(ndjson)) => {
            ndjson.get_ref().check().map_err(|wrong| fault(ndjson.span().start, wrong))?;
            FeedTo::Ndjson(ndjson.into_inner())
        }
        _ => {
            let message =
                "a destination has exactly one of mllp (HL7 v2), fhir (a FHIR server) and ndjson (a folder)";
            return Err(fault(place, message.into()));
        }
    };
    let delivery = match file.delivery {
        Some(delivery) => {
            let wrong = delivery.get_ref().check();
            wrong.map_err(|(_, message)| fault(delivery.span().start, message))?;
            delivery.into_inner()
        }
        None => Delivery::default(),
    };
    Ok(Feed { name: name.into(), to, only: file.only, delivery })
}

fn route(
    file: RouteFile,
    at: usize,
    destinations: &[Destination],
    links: &[Link],
    fault: Fault<'_>,
) -> Result<Route, ConfigError> {
    if let Some(name) = &file.name {
        printable(name, "a route's name", fault)?;
    }
    let to = destinations.iter().find(|known| *known.name == **file.to.get_ref()).ok_or_else(|| {
        let names: Vec<&str> = destinations.iter().map(|known| &*known.name).collect();
        let known = if names.is_empty() { "none".into() } else { names.join(", ") };
        let message = format!("no [[destination]] is called \"{}\"; there are: {known}", file.to.get_ref());
        fault(file.to.span().start, message)
    })?;
    for link in &file.from {
        if !links.iter().any(|known| *known.name == **link.get_ref()) {
            let message = format!("no [[link]] is called \"{}\"", link.get_ref());
            return Err(fault(link.span().start, message));
        }
    }
    let messages = file.messages.iter().map(|text| {
        let wrong = || format!("\"{}\" is no kind of message: write ORU or ORU^R01", text.get_ref());
        Kind::parse(text.get_ref()).ok_or_else(|| fault(text.span().start, wrong()))
    });
    let when = file
        .when
        .as_ref()
        .map(|text| Condition::parse(text.get_ref()).map_err(|wrong| fault(text.span().start, wrong)));
    let name = match &file.name {
        Some(name) => name.get_ref().as_str().into(),
        None => format!("route {}", at + 1).into(),
    };
    Ok(Route {
        name,
        from: file.from.iter().map(|link| link.get_ref().as_str().into()).collect(),
        messages: messages.collect::<Result<_, _>>()?,
        when: when.transpose()?,
        to: to.name.clone(),
        how: how(&file, fault)?,
    })
}

fn how(file: &RouteFile, fault: Fault<'_>) -> Result<How, ConfigError> {
    let mut changes = Vec::new();
    for text in &file.drop {
        changes
            .push(Change::drop(text.get_ref()).map_err(|wrong| fault(text.span().start, wrong.to_string()))?);
    }
    for set in &file.set {
        let at = set.at.span().start;
        changes.push(Change::set(set.at.get_ref(), &set.text).map_err(|wrong| fault(at, wrong.to_string()))?);
    }
    let place = file.how.span().start;
    let also = file.waveforms.as_ref().or(file.alarms.as_ref()).map(|said| said.span().start);
    if let Some(at) = also.filter(|_| *file.how.get_ref() != Word::Measurements) {
        return Err(fault(at, "`waveforms` and `alarms` need how = \"measurements\"".into()));
    }
    match file.how.get_ref() {
        Word::Filtered if changes.is_empty() => {
            Err(fault(place, "a filtered route says what to `drop` or to `set`".into()))
        }
        Word::Filtered => Ok(How::Filtered(Filter::new(changes))),
        _ if !changes.is_empty() => Err(fault(place, "`drop` and `set` need how = \"filtered\"".into())),
        Word::Pass => Ok(How::Pass),
        Word::Measurements => {
            let yes = |said: &Option<Spanned<bool>>| said.as_ref().is_some_and(|said| *said.get_ref());
            Ok(How::Measurements(Also { waveforms: yes(&file.waveforms), alarms: yes(&file.alarms) }))
        }
    }
}

fn printable(name: &Spanned<String>, what: &str, fault: Fault<'_>) -> Result<(), ConfigError> {
    let text = name.get_ref();
    if text.is_empty() || text.len() > 64 || text.chars().any(char::is_control) {
        return Err(fault(name.span().start, format!("{what} has 1 to 64 printable characters")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::FeedTo;
    use crate::config::parse;
    use crate::route::How;

    const HEAD: &str = "[site]\nname = \"W\"\n[buffer]\ndir = \"/x\"\n\
        [[link]]\nname = \"icu\"\nprofile = \"ihe/pcd01-monitor\"\nmllp = { listen = \"127.0.0.1:0\" }\n\
        [[destination]]\nname = \"ehr\"\nmllp = { address = \"10.0.0.5:2575\" }\n";

    fn fault(more: &str) -> String {
        parse(&format!("{HEAD}{more}"), "b.toml").unwrap_err().to_string()
    }

    #[test]
    fn a_route_leads_from_links_to_a_destination() {
        let config = parse(
            &format!(
                "{HEAD}acknowledge = \"enhanced\"\nin_order = \"device\"\n[[route]]\nfrom = [\"icu\"]\nto = \"ehr\"\nhow = \"pass\"\n\
                 [[route]]\nname = \"all\"\nto = \"ehr\"\nhow = \"filtered\"\nmessages = [\"ORU^R01\"]\ndrop = [\"NTE\"]\n\
                 set = [{{ at = \"MSH-5\", text = \"EHR\" }}]\nwhen = \"at('MSH-11') == 'P'\"\n"
            ),
            "b.toml",
        )
        .unwrap();
        assert_eq!((config.destinations.len(), config.routes.len()), (1, 2));
        assert_eq!((&*config.routes[0].name, config.routes[0].how.word()), ("route 1", "pass"));
        assert!(matches!(&config.routes[1].how, How::Filtered(filter) if filter.changes().len() == 2));
        assert_eq!((config.destinations[0].attempts_max, config.destinations[0].mllp.connections), (20, 1));
    }

    #[test]
    fn further_servers_and_a_stick_stand_beside_systems_that_take_hl7() {
        let more = "[[destination]]\nname = \"research\"\nfhir = { base = \"https://r.example.org/fhir\", client_id = \"b\" }\n\
            only = { links = [\"icu\"], classes = [\"vital-signs\"] }\ndelivery = { max_bytes_per_s = 20000 }\n\
            [[destination]]\nname = \"stick\"\nndjson = { folder = \"/media/stick/bedside\" }\n";
        let config = parse(&format!("{HEAD}{more}"), "b.toml").unwrap();
        assert_eq!((config.destinations.len(), config.feeds.len()), (1, 2));
        let FeedTo::Fhir(server) = &config.feeds[0].to else { panic!() };
        assert_eq!(
            (server.name.as_str(), config.feeds[0].delivery.max_bytes_per_s),
            ("research", Some(20_000))
        );
        assert!(config.feeds[1].only.is_everything());
    }

    #[test]
    fn a_wrong_route_is_told_with_its_line() {
        for (more, told) in [
            (
                "[[route]]\nto = \"lab\"\nhow = \"pass\"\n",
                "13:6: no [[destination]] is called \"lab\"; there are: ehr",
            ),
            (
                "[[route]]\nto = \"ehr\"\nfrom = [\"x\"]\nhow = \"pass\"\n",
                "14:9: no [[link]] is called \"x\"",
            ),
            ("[[route]]\nto = \"ehr\"\nhow = \"passs\"\n", "14:7: unknown variant `passs`"),
            ("[[route]]\nto = \"ehr\"\nhow = \"filtered\"\n", "14:7: a filtered route says what"),
            ("[[route]]\nto = \"ehr\"\nhow = \"pass\"\ndrop = [\"NTE\"]\n", "14:7: `drop` and `set` need"),
            (
                "[[route]]\nto = \"ehr\"\nhow = \"filtered\"\ndrop = [\"MSH\"]\n",
                "15:9: \"MSH\" cannot be taken out",
            ),
            ("[[route]]\nto = \"ehr\"\nhow = \"pass\"\nmessages = [\"oru\"]\n", "15:13: \"oru\" is no kind"),
            ("[[route]]\nto = \"ehr\"\nhow = \"pass\"\nwhen = \"PID\"\n", "15:8: `PID` is unknown"),
            (
                "[[destination]]\nname = \"ehr\"\nmllp = { address = \"a:1\" }\n",
                "13:8: two destinations are called",
            ),
            (
                "[[destination]]\nname = \"b\"\nmllp = { address = \"a\" }\n",
                "14:8: address \"a\" is not HOST:PORT",
            ),
            ("charset = \"UTF-16\"\n", "12:11: two bytes a letter have no place"),
            ("charset = \"EBCDIC\"\n", "12:11: unknown character set"),
            (
                "[[route]]\nto = \"ehr\"\nhow = \"pass\"\nalarms = true\n",
                "15:10: `waveforms` and `alarms` need how = \"measurements\"",
            ),
            ("attempts_max = 0\n", "12:16: attempts_max is 1 to 10000"),
            ("[[destination]]\nname = \"b\"\n", "13:8: a destination has exactly one of mllp"),
            (
                "[[destination]]\nname = \"b\"\nndjson = { folder = \"x\" }\n",
                "14:10: folder = \"x\" is not a full path",
            ),
            (
                "[[destination]]\nname = \"b\"\nfhir = { base = \"http://10.0.0.1/fhir\", client_id = \"b\" }\n",
                "14:8: upstream: base = \"http://10.0.0.1/fhir\" is plain http",
            ),
            (
                "[[destination]]\nname = \"b\"\nndjson = { folder = \"/s/b\" }\nonly = { links = [\"er\"] }\n",
                "13:8: only: no [[link]] is called \"er\"",
            ),
            (
                "[[destination]]\nname = \"b\"\nndjson = { folder = \"/s/b\" }\ndelivery = { backlog_share = 0 }\n",
                "15:12: backlog_share is 1 to 100",
            ),
            (
                "[[destination]]\nname = \"b\"\nndjson = { folder = \"/s/b\" }\n[[route]]\nto = \"b\"\nhow = \"pass\"\n",
                "16:6: a route leads to a destination with mllp",
            ),
            ("only = { classes = [\"alarm\"] }\n", "10:8: a destination with mllp has no fhir"),
        ] {
            let said = fault(more);
            assert!(said.contains(told), "{more}: {said}");
        }
    }
}
