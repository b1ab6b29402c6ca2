//! `bedside simulate`: speak as a device, over the real protocol.

use std::sync::Arc;
use std::time::Duration;

use super::run::signalled;
use super::venue::Venue;
use super::{CliError, runtime, tell};
use crate::clock::SystemClock;
use crate::config;
use crate::connector::Stop;
use crate::demo::actor::kit::Kit;
use crate::demo::actor::{Script, Speaker, Told, speaker};
use crate::demo::fault::{Faults, FaultyLine};
use crate::demo::stage::{Place, Play};
use crate::firmware_profile::{FirmwareProfile, Library};
use crate::wire::Codec;

/// Speaks as a device of any firmware profile does: its template, else its captures in turn, with the handshakes, polls
/// and acknowledgements of its protocol. What is not acknowledged is said again.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  bedside simulate ihe/pcd01-monitor --tcp 127.0.0.1:2575\n  bedside simulate drager/evita --pty /tmp/evita\n  bedside simulate philips/intellivue --udp 127.0.0.1:24105   (the box asks, the monitor answers)\n  bedside simulate nihon-kohden/monitor --listen 127.0.0.1:6000   (the box dials such monitors)\n  bedside simulate sysmex/xn --tcp 127.0.0.1:4000 --fault half-frames,nak,unplug=30s\n  bedside simulate kati/watch --mqtt 127.0.0.1:1883 --topic kits/7 --user kit --password-secret kit\n\nFaults, joined by commas; the same --seed gives the same ones:\n  noise[=SHARE]      bytes arrive changed, 0.001 of them\n  half-frames        one write of twenty breaks off in the middle\n  nak                one answer of twenty arrives as a refusal: what the box kept is said again\n  drop-ack           one answer of twenty never arrives\n  unplug[=TIME]      the line goes away for 3 s, every 30s\n  clock-jump[=TIME]  the device's clock moves on by 1h after every tenth message\n  duplicate          every third message is said twice\n  slow               a few bytes at a time\n  burst              ten messages at once, then a pause"
)]
pub(super) struct Arguments {
    /// A firmware profile, see `bedside profile list`
    profile: String,
    #[command(flatten)]
    venue: Venue,
    /// Seconds between two messages
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
    every: f64,
    /// Stop after so many messages
    #[arg(long, value_name = "MESSAGES")]
    count: Option<u64>,
    /// Faults on request, see below
    #[arg(long, value_name = "FAULTS", default_value = "", hide_default_value = true)]
    fault: Faults,
    /// Seed of the random walks and the faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(super) fn main(arguments: Arguments) -> Result<(), CliError> {
    let library = config::library(None).map_err(CliError::config)?;
    let Some(profile) = library.find(&arguments.profile) else { return Err(unknown(&arguments.profile)) };
    if !(0.0..=86_400.0).contains(&arguments.every) {
        return Err(CliError::failed("--every takes 0 to 86400 seconds"));
    }
    let every = Duration::from_secs_f64(arguments.every);
    let place = place(&arguments, &profile)?;
    let script = Script::of(&library, &profile.id, arguments.seed).map_err(CliError::config)?;
    let speaker = device(&arguments, &profile, &library)?;
    if let Some(note) = script.note {
        tell(format!("note: {note}"));
    }
    arguments.venue.announce();
    let faults = FaultyLine::new(arguments.fault.clone(), arguments.seed);
    let play = Play { speaker, script, faults, every, count: arguments.count };
    runtime()?.block_on(async move {
        let (switch, stop) = Stop::pair();
        tokio::spawn(async move {
            signalled().await;
            switch.send_replace(true);
        });
        play.run(place, Arc::new(SystemClock::default()), stop, telling()).await;
        Ok(())
    })
}

pub(super) fn unknown(id: &str) -> CliError {
    CliError::failed(format!("no firmware profile \"{id}\", see `bedside profile list`"))
}

/// Tells a person what becomes of the messages; what stays the same is told once.
pub(super) fn telling() -> impl FnMut(u64, &Told) + Send {
    let mut last = String::new();
    move |sequence, told| {
        let line = match told {
            Told::Acknowledged => format!("{sequence}: acknowledged"),
            Told::Sent => format!("{sequence}: sent"),
            Told::Again(why) => format!("{sequence}: not acknowledged ({why}); saying it again"),
            Told::Away(why) => format!("the line is away ({why}); trying again"),
        };
        if line != last {
            tell(&line);
            last = line;
        }
    }
}

/// The device's side of the protocol.
fn device(
    arguments: &Arguments,
    profile: &FirmwareProfile,
    library: &Library,
) -> Result<Box<dyn Speaker>, CliError> {
    if !arguments.venue.is_mqtt() {
        let captures: Vec<_> = library.captures(&profile.id).into_iter().map(|(_, bytes)| bytes).collect();
        return speaker(profile, &captures).map_err(CliError::failed);
    }
    let client_id = format!("simulated-{}", profile.id.replace('/', "-"));
    Ok(Box::new(Kit::new(arguments.venue.broker(client_id)?)))
}

/// Where the device plays; the error says which ways fit this profile.
fn place(arguments: &Arguments, profile: &FirmwareProfile) -> Result<Place, CliError> {
    let over_mqtt = matches!(profile.codec, Codec::Message(_));
    let topic = profile.transport.mqtt.as_ref().is_some_and(|mqtt| !mqtt.topics.is_empty());
    let Some(place) = arguments.venue.place().filter(|_| over_mqtt == arguments.venue.is_mqtt()) else {
        return Err(CliError::failed(ways(profile)));
    };
    if over_mqtt && !topic && !arguments.venue.has_topic() {
        return Err(CliError::failed(format!(
            "{} has no topic of its own: name one with --topic",
            profile.id
        )));
    }
    if matches!(place, Place::Udp(_)) && arguments.fault.slow {
        return Err(CliError::failed("a datagram arrives whole: slow is for serial lines and TCP"));
    }
    if let (Place::Dial(_), Some(tcp)) = (&place, &profile.transport.tcp)
        && !tcp.listen
    {
        tell("note: such a device is a TCP server; --listen is how it plays its part");
    }
    Ok(place)
}

fn ways(profile: &FirmwareProfile) -> String {
    let mut ways = Vec::new();
    if profile.transport.serial.is_some() {
        ways.push("--pty PATH".to_owned());
    }
    if let Some(tcp) = &profile.transport.tcp {
        let way = if tcp.listen { "--tcp HOST" } else { "--listen ADDRESS" };
        ways.push(format!("{way}:{}", tcp.port));
    }
    if let Some(udp) = &profile.transport.udp {
        ways.push(format!("--udp ADDRESS:{}", udp.port));
    }
    if profile.transport.mqtt.is_some() {
        ways.push("--mqtt HOST:1883".into());
    }
    let id = &profile.id;
    if ways.is_empty() {
        return format!("{id} leaves files in a folder: copy one of its captures there instead");
    }
    format!("say where: {id} speaks on {}", ways.join(" or "))
}
