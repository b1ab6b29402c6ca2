//! `bedside simulate`: speak as a device, over the real protocol.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::run::signalled;
use super::{CliError, runtime, secret_store, tell};
use crate::clock::SystemClock;
use crate::config;
use crate::connector::Stop;
use crate::demo::device::{Broker, Device, Port, Told};
use crate::demo::pty::Pty;
use crate::demo::template::Template;
use crate::firmware_profile::FirmwareProfile;
use crate::wire::Codec;

/// Say, over and over, what a device of this profile would say; unacknowledged messages are said again.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  bedside simulate ihe/pcd01-monitor --tcp 127.0.0.1:2575\n  bedside simulate generic/scale --pty /tmp/scale --every 5\n  bedside simulate PROFILE --mqtt 127.0.0.1:1883 --topic kit/1 --user kit --password-secret kit"
)]
pub(super) struct Arguments {
    /// A firmware profile with a simulate.tpl, see `bedside profile list`
    profile: String,
    /// Connect to this address (MLLP or ASTM, as the profile speaks)
    #[arg(long, value_name = "ADDRESS", group = "way")]
    tcp: Option<SocketAddr>,
    /// Open a pseudo-terminal and link it here; point a serial link at it
    #[arg(long, value_name = "PATH", group = "way")]
    pty: Option<PathBuf>,
    /// Publish to the broker at this address
    #[arg(long, value_name = "ADDRESS", group = "way", requires = "topic")]
    mqtt: Option<SocketAddr>,
    /// MQTT topic
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
    /// Seed of the random walks
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
    let Some(text) = library.simulation(&arguments.profile) else {
        return Err(CliError::failed(format!("{} has no simulate.tpl", arguments.profile)));
    };
    let template = Template::parse(&text, arguments.seed).map_err(CliError::config)?;
    if !(0.0..=86_400.0).contains(&arguments.every) {
        return Err(CliError::failed("--every takes 0 to 86400 seconds"));
    }
    let every = Duration::from_secs_f64(arguments.every);
    runtime()?.block_on(async move {
        let port = port(&arguments, &profile)?;
        let (switch, stop) = Stop::pair();
        tokio::spawn(async move {
            signalled().await;
            switch.send_replace(true);
        });
        let device = Device { port, template, every, count: arguments.count };
        let heard = |sequence: u64, told: &Told| match told {
            Told::Acknowledged => tell(format!("{sequence}: acknowledged")),
            Told::Sent => tell(format!("{sequence}: sent")),
            Told::Again(why) => tell(format!("{sequence}: not acknowledged ({why}); saying it again")),
        };
        device.run(Arc::new(SystemClock::default()), stop, heard).await;
        Ok(())
    })
}

fn port(arguments: &Arguments, profile: &FirmwareProfile) -> Result<Port, CliError> {
    match (&profile.codec, arguments.tcp, &arguments.pty, arguments.mqtt) {
        (Codec::Mllp(_), Some(address), ..) => Ok(Port::Mllp(address)),
        (Codec::Astm(_), Some(address), ..) => Ok(Port::AstmTcp(address)),
        (Codec::Astm(_), _, Some(path), _) => Ok(Port::AstmSerial(open(path)?)),
        (Codec::Poct1a(_), Some(address), ..) => Ok(Port::Poct1a(address)),
        (Codec::Lines(_), _, Some(path), _) => Ok(Port::Lines(open(path)?)),
        (Codec::Message(_), _, _, Some(address)) => broker(arguments, address),
        (codec, ..) => {
            let ways = match codec {
                Codec::Mllp(_) | Codec::Poct1a(_) => "--tcp",
                Codec::Astm(_) => "--tcp or --pty",
                Codec::Lines(_) => "--pty",
                Codec::Message(_) => "--mqtt and --topic",
                _ => "nothing yet",
            };
            Err(CliError::failed(format!("{} is simulated with {ways}", profile.id)))
        }
    }
}

fn open(path: &Path) -> Result<Pty, CliError> {
    let pty = Pty::open(Some(path)).map_err(|e| CliError::failed(format!("{}: {e}", path.display())))?;
    tell(format!("speaking on {}", pty.path.display()));
    Ok(pty)
}

fn broker(arguments: &Arguments, address: SocketAddr) -> Result<Port, CliError> {
    let password = match &arguments.password_secret {
        Some(name) => secret_store(arguments.folder.clone()).load(name).map_err(CliError::failed)?,
        None => crate::secret::Secret::new(Vec::new()),
    };
    Ok(Port::Mqtt(Broker {
        address,
        client_id: format!("simulated-{}", arguments.profile.replace('/', "-")),
        user: arguments.user.clone(),
        password,
        topic: arguments.topic.clone().unwrap_or_default(),
    }))
}
