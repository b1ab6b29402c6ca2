//! `bedside simulate`: speak as a device, over the real protocol.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::run::signalled;
use super::{CliError, runtime, secret_store, tell};
use crate::clock::SystemClock;
use crate::config;
use crate::connector::Stop;
use crate::demo::actor::{Script, speaker};
use crate::demo::device::{Broker, Told};
use crate::demo::fault::{Faults, FaultyLine};
use crate::demo::stage::{Place, Play, publish};
use crate::firmware_profile::FirmwareProfile;
use crate::wire::Codec;

/// Speaks as a device of any firmware profile does: its template, else its captures in turn, with the handshakes, polls
/// and acknowledgements of its protocol. What is not acknowledged is said again.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  bedside simulate ihe/pcd01-monitor --tcp 127.0.0.1:2575\n  bedside simulate drager/evita --pty /tmp/evita\n  bedside simulate nihon-kohden/monitor --listen 127.0.0.1:6000   (the box dials such monitors)\n  bedside simulate sysmex/xn --tcp 127.0.0.1:4000 --fault half-frames,nak,unplug=30s\n  bedside simulate kati/watch --mqtt 127.0.0.1:1883 --user kit --password-secret kit\n\nFaults: noise[=SHARE] changes bytes, half-frames breaks writes off, nak turns answers of the box into refusals, unplug[=TIME]\ntakes the line away for 3 s, clock-jump[=TIME] moves the device's clock after every tenth message, duplicate says every third\nmessage twice, slow sends a few bytes at a time, drop-ack loses answers, burst sends ten messages at once. The same --seed\ngives the same faults."
)]
pub(super) struct Arguments {
    /// A firmware profile, see `bedside profile list`
    profile: String,
    /// Connect to the box at this address
    #[arg(long, value_name = "HOST:PORT", group = "way")]
    tcp: Option<String>,
    /// Wait for the box at this address, as devices do that are TCP servers
    #[arg(long, value_name = "ADDRESS", group = "way")]
    listen: Option<SocketAddr>,
    /// Open a pseudo-terminal and link it here; point a serial link at it
    #[arg(long, value_name = "PATH", group = "way")]
    pty: Option<PathBuf>,
    /// Publish to the broker at this address
    #[arg(long, value_name = "ADDRESS", group = "way")]
    mqtt: Option<SocketAddr>,
    /// MQTT topic; that of each capture when not set
    #[arg(long)]
    topic: Option<String>,
    /// MQTT user
    #[arg(long, default_value = "")]
    user: String,
    /// Name of the secret with the MQTT password
    #[arg(long, value_name = "NAME")]
    password_secret: Option<String>,
    /// The secrets folder
    #[arg(long, default_value = "/etc/bedside/secrets", value_name = "FOLDER")]
    folder: PathBuf,
    /// Seconds between two messages
    #[arg(long, default_value_t = 1.0)]
    every: f64,
    /// Stop after so many messages
    #[arg(long)]
    count: Option<u64>,
    /// Faults on request, joined by commas
    #[arg(long, value_name = "FAULTS", default_value = "")]
    fault: Faults,
    /// Seed of the random walks and the faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(super) fn main(arguments: Arguments) -> Result<(), CliError> {
    let library = config::library(None).map_err(CliError::config)?;
    let Some(profile) = library.find(&arguments.profile) else {
        let ids = library.ids().collect::<Vec<_>>().join(", ");
        return Err(CliError::failed(format!(
            "no firmware profile \"{}\"; there are: {ids}",
            arguments.profile
        )));
    };
    if !(0.0..=86_400.0).contains(&arguments.every) {
        return Err(CliError::failed("--every takes 0 to 86400 seconds"));
    }
    let every = Duration::from_secs_f64(arguments.every);
    let script = Script::of(&library, &profile.id, arguments.seed).map_err(CliError::config)?;
    if let Some(note) = script.note {
        tell(format!("note: {note}"));
    }
    let captures: Vec<Vec<u8>> = library.captures(&profile.id).into_iter().map(|(_, bytes)| bytes).collect();
    runtime()?.block_on(async move {
        let (switch, stop) = Stop::pair();
        tokio::spawn(async move {
            signalled().await;
            switch.send_replace(true);
        });
        let clock = Arc::new(SystemClock::default());
        if let (Codec::Message(_), Some(address)) = (&profile.codec, arguments.mqtt) {
            let broker = broker(&arguments, address)?;
            publish(script, broker, every, arguments.count, clock, stop, heard).await;
            return Ok(());
        }
        let place = place(&arguments, &profile)?;
        let speaker = speaker(&profile, &captures).map_err(CliError::failed)?;
        let faults = FaultyLine::new(arguments.fault.clone(), arguments.seed);
        let play = Play { speaker, script, faults, every, count: arguments.count };
        play.run(place, clock, stop, heard).await;
        Ok(())
    })
}

fn heard(sequence: u64, told: &Told) {
    match told {
        Told::Acknowledged => tell(format!("{sequence}: acknowledged")),
        Told::Sent => tell(format!("{sequence}: sent")),
        Told::Again(why) => tell(format!("{sequence}: not acknowledged ({why}); saying it again")),
    }
}

/// Where the device plays; without a way the error says which fit this profile.
fn place(arguments: &Arguments, profile: &FirmwareProfile) -> Result<Place, CliError> {
    let place = match (&arguments.pty, &arguments.tcp, arguments.listen) {
        (Some(path), ..) => Place::Pty(path.clone()),
        (_, Some(address), _) => Place::Dial(address.clone()),
        (.., Some(address)) => Place::Listen(address),
        _ => {
            let mut ways = Vec::new();
            if profile.transport.serial.is_some() {
                ways.push("--pty PATH".to_owned());
            }
            if let Some(tcp) = &profile.transport.tcp {
                let way = if tcp.listen { "--tcp HOST" } else { "--listen ADDRESS" };
                ways.push(format!("{way}:{}", tcp.port));
            }
            if profile.transport.mqtt.is_some() {
                ways.push("--mqtt ADDRESS".into());
            }
            return Err(CliError::failed(format!(
                "say where: {} speaks on {}",
                profile.id,
                ways.join(" or ")
            )));
        }
    };
    if let (Place::Dial(_), Some(tcp)) = (&place, &profile.transport.tcp)
        && !tcp.listen
    {
        tell("note: such a device is a TCP server; --listen is how it plays its part");
    }
    if let Place::Pty(path) = &place {
        tell(format!("speaking on {}", path.display()));
    }
    Ok(place)
}

fn broker(arguments: &Arguments, address: SocketAddr) -> Result<Broker, CliError> {
    let password = match &arguments.password_secret {
        Some(name) => secret_store(arguments.folder.clone()).load(name).map_err(CliError::failed)?,
        None => crate::secret::Secret::new(Vec::new()),
    };
    Ok(Broker {
        address,
        client_id: format!("simulated-{}", arguments.profile.replace('/', "-")),
        user: arguments.user.clone(),
        password,
        topic: arguments.topic.clone().unwrap_or_default(),
    })
}
