//! `bedside replay`: play a tape to a box as the device did. `bedside record`: make one on a port that no link uses.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::run::signalled;
use super::simulate::{telling, unknown};
use super::venue::Venue;
use super::{CliError, runtime, say, tell};
use crate::clock::{Clock, SystemClock};
use crate::config;
use crate::connector::recorder::{Limits, Recorder};
use crate::connector::{Stop, serial};
use crate::demo::actor::kit::Kit;
use crate::demo::actor::{Message, Script, Speaker, Told, speaker};
use crate::demo::fault::{Faults, FaultyLine};
use crate::demo::replay::{Pace, play};
use crate::demo::stage::{Place, Play, Stage};
use crate::wire::tape::{Head, Tape, Way};

/// Plays the device's side of a tape: the same bytes in the same pieces, at the recorded pace or faster. Where the tape has
/// an answer of the box, the next bytes wait for one; a refused frame is sent again. A tape without answers, of a
/// protocol that needs them, is played message by message by the simulated device.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  bedside replay ward-3.tape --tcp 127.0.0.1:2575\n  bedside replay oximeter.tape --pty /tmp/oximeter --pace 10\n  bedside replay kits.tape --mqtt 127.0.0.1:1883 --user kit --password-secret kit --pace max"
)]
pub(super) struct ReplayArguments {
    /// The capture file of `bedside record` or the desk
    tape: PathBuf,
    #[command(flatten)]
    venue: Venue,
    /// Times as fast as recorded, or `max` for no pauses
    #[arg(long, default_value = "1")]
    pace: Pace,
    /// Which connection of the tape, where there were several
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    connection: u32,
    /// The firmware profile, where messages are played one by one and the tape names none
    #[arg(long, value_name = "ID")]
    profile: Option<String>,
    /// Begin again at the end
    #[arg(long = "loop")]
    again: bool,
}

pub(super) fn replay(arguments: ReplayArguments) -> Result<(), CliError> {
    let tape = read(&arguments.tape)?;
    let place = arguments.venue.place();
    let place =
        place.ok_or_else(|| CliError::failed("say where: --pty, --tcp, --listen, --udp or --mqtt"))?;
    arguments.venue.announce();
    let (switch, mut stop) = Stop::pair();
    runtime()?.block_on(async move {
        tokio::spawn(async move {
            signalled().await;
            switch.send_replace(true);
        });
        let playing = replayed(&arguments, &tape, &place, stop.clone());
        tokio::select! {
            () = stop.wait() => Ok(()),
            done = playing => done,
        }
    })
}

async fn replayed(
    arguments: &ReplayArguments,
    tape: &Tape,
    place: &Place,
    stop: Stop,
) -> Result<(), CliError> {
    let answers = tape.chunks.iter().any(|chunk| chunk.way == Way::Out);
    let needs_answers = matches!(tape.head.codec.as_str(), "mllp" | "astm" | "poct1a" | "ieee11073-20601");
    let by_message = arguments.venue.is_mqtt() || needs_answers && !answers;
    loop {
        if by_message {
            messages(arguments, tape, place.clone(), stop.clone()).await?;
        } else {
            let mut line = Stage::new(place.clone()).open().await.map_err(CliError::failed)?;
            let done = play(&mut line, tape, arguments.connection, arguments.pace).await;
            let done = done.map_err(CliError::failed)?;
            tell(format!("{} pieces sent, {} answers, {} said again", done.sent, done.answers, done.again));
            // What was sent last may still be on its way out of a pseudo-terminal.
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        if !arguments.again {
            return Ok(());
        }
    }
}

/// The tape's messages, each acknowledged before the next.
async fn messages(
    arguments: &ReplayArguments,
    tape: &Tape,
    place: Place,
    stop: Stop,
) -> Result<(), CliError> {
    let profile = profile_of(tape, arguments.profile.as_deref())?;
    let heard = tape.frames(&|| profile.speech().framer());
    let messages: Vec<Message> = heard
        .frames
        .into_iter()
        .map(|frame| Message { topic: frame.topic, ..Message::of(frame.bytes) })
        .collect();
    let count = u64::try_from(messages.len()).unwrap_or(u64::MAX);
    let script = Script::of_messages(messages, false).map_err(CliError::failed)?;
    let clock = Arc::new(SystemClock::default());
    let every = match (arguments.pace, tape.chunks.last()) {
        (Pace::Times(times), Some(last)) => {
            Duration::from_millis(last.ms.checked_div(count).unwrap_or(0)) / times
        }
        _ => Duration::ZERO,
    };
    let speaker: Box<dyn Speaker> = if arguments.venue.is_mqtt() {
        Box::new(Kit::new(arguments.venue.broker("bedside-replay".into())?))
    } else {
        speaker(&profile, &[]).map_err(CliError::failed)?
    };
    let faults = FaultyLine::new(Faults::default(), 1);
    let play = Play { speaker, script, faults, every, count: Some(count) };
    let mut tell_of = telling();
    let told = |number: u64, told: &Told| {
        if matches!(told, Told::Again(_) | Told::Away(_)) {
            tell_of(number, told);
        }
    };
    play.run(place, clock, stop, told).await;
    tell(format!("{count} messages"));
    Ok(())
}

/// Reads a tape; the error names the file.
pub(super) fn read(path: &Path) -> Result<Tape, CliError> {
    let file = std::fs::read(path).map_err(|e| CliError::failed(format!("{}: {e}", path.display())))?;
    let tape = Tape::read(&file).map_err(|e| CliError::failed(format!("{}: {e}", path.display())))?;
    if tape.cut {
        tell("note: the last line of the tape was cut and is left out");
    }
    Ok(tape)
}

/// The profile that was named, else that of the tape, else the general one of its codec.
pub(super) fn profile_of(
    tape: &Tape,
    named: Option<&str>,
) -> Result<Arc<crate::firmware_profile::FirmwareProfile>, CliError> {
    let library = config::library(None).map_err(CliError::config)?;
    let general = match tape.head.codec.as_str() {
        "mllp" => Some("generic/hl7-lab"),
        "astm" => Some("generic/astm-analyser"),
        _ => None,
    };
    let id = named.or(tape.head.profile.as_deref()).or(general);
    let id = id.ok_or_else(|| {
        CliError::failed("the tape names no profile: add --profile, see `bedside profile list`")
    })?;
    library.find(id).ok_or_else(|| unknown(id))
}

/// Writes what a port says to a tape, with its timing. Only listens: nothing is sent and nothing acknowledged, so a device
/// that waits for answers keeps its results. The file holds what the device said of patients; it is readable by you alone.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  bedside record --port /dev/ttyUSB0 --baud 19200 monitor.tape\n  bedside record --port /dev/ttyUSB0 --profile drager/evita --minutes 10 evita.tape\n\nA link of the running box is recorded at the desk. To pass a tape on, mask it: bedside profile run TAPE --mask OUT"
)]
pub(super) struct RecordArguments {
    /// The tape; must not exist
    tape: PathBuf,
    /// The serial port
    #[arg(long)]
    port: PathBuf,
    /// Bits a second; the profile's, else 9600
    #[arg(long)]
    baud: Option<u32>,
    /// `none`, `even` or `odd`; the profile's, else none
    #[arg(long)]
    parity: Option<String>,
    /// 5 to 8; the profile's, else 8
    #[arg(long)]
    data_bits: Option<u8>,
    /// The firmware profile the tape is to be read with
    #[arg(long, value_name = "ID")]
    profile: Option<String>,
    /// Stop after so many minutes
    #[arg(long, default_value_t = 60)]
    minutes: u32,
    /// Stop at so many MiB
    #[arg(long, default_value_t = 32, value_name = "MIB")]
    size: u64,
}

pub(super) fn record(arguments: RecordArguments) -> Result<(), CliError> {
    let library = config::library(None).map_err(CliError::config)?;
    let profile = match &arguments.profile {
        Some(id) => Some(library.find(id).ok_or_else(|| unknown(id))?),
        None => None,
    };
    let usual = profile.as_ref().and_then(|profile| profile.transport.serial.as_ref());
    let baud = arguments.baud.or_else(|| usual.and_then(|usual| usual.baud.first().copied())).unwrap_or(9600);
    let parity = arguments.parity.clone().or_else(|| usual.map(|usual| usual.parity.to_owned()));
    let data_bits = arguments.data_bits.or_else(|| usual.map(|usual| usual.data_bits)).unwrap_or(8);
    let parity = parity.unwrap_or_else(|| "none".into());
    let settings = serde_json::json!({
        "port": arguments.port, "baud": baud, "parity": parity, "data_bits": data_bits,
    });
    let serial: serial::Config = serde_json::from_value(settings).map_err(CliError::failed)?;
    let head = Head {
        link: arguments.port.display().to_string(),
        codec: profile.as_ref().map(|p| p.codec.word().to_owned()).unwrap_or_default(),
        profile: arguments.profile.clone(),
        transport: format!("serial {} {baud} {data_bits} {parity}", arguments.port.display()),
        started: SystemClock::default().now().rfc3339(),
        ..Head::default()
    };
    let span = Duration::from_secs(60 * u64::from(arguments.minutes.clamp(1, 24 * 60)));
    let limits = Limits { bytes: arguments.size.clamp(1, 256) << 20, span };
    runtime()?.block_on(async {
        let mut port = serial::open(&serial).map_err(CliError::failed)?;
        let recorder = Recorder::start(&arguments.tape, &head, limits)
            .map_err(|e| CliError::failed(format!("{}: {e}", arguments.tape.display())))?;
        let (progress, peer) = (recorder.progress(), Arc::from(head.link.as_str()));
        tell(format!("listening on {}; Ctrl-C ends the tape", head.transport));
        let mut buffer = vec![0; 4096];
        let end = tokio::time::sleep(span);
        let stop = signalled();
        tokio::pin!(end, stop);
        while !recorder.is_over() {
            let read = tokio::select! {
                () = &mut end => break,
                () = &mut stop => break,
                read = port.read(&mut buffer) => read.map_err(CliError::failed)?,
            };
            if read == 0 {
                tell("the port is gone");
                break;
            }
            recorder.crossed(&peer, Way::In, None, buffer.get(..read).unwrap_or_default());
        }
        drop(recorder);
        while !progress.has_ended() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if let Some(fault) = progress.fault() {
            return Err(CliError::failed(fault));
        }
        say(format!(
            "{}: {} pieces, {} bytes",
            arguments.tape.display(),
            progress.chunks(),
            progress.bytes()
        ));
        Ok(())
    })
}
