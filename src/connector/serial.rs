//! Devices on a serial port, mostly behind a USB adapter that comes and goes.
//!
//! A port that was unplugged reads as zero bytes for ever, a missing port is an error, and a cable that fell out
//! at the far end is only silence. The first two are tried again; the third is said after the quiet timeout.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_serial::{ErrorKind, SerialPort, SerialStream};

use super::call::{Again, Attempt, Opener};
use super::mllp::acknowledger;
use super::stream::{Connection, Ended, Quiet};
use super::{Intake, LinkState, Stop};
use crate::clock::SharedClock;
use crate::wire::Speech;

/// A port and how it speaks. The defaults are those of most devices: 9600 8N1 without flow control.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Best by its lasting name: `/dev/serial/by-id/usb-…`. With `/dev/ttyUSB0` two devices can change places.
    pub port: PathBuf,
    #[serde(default = "baud")]
    pub baud: u32,
    #[serde(default)]
    pub data_bits: DataBits,
    #[serde(default)]
    pub parity: Parity,
    #[serde(default)]
    pub stop_bits: StopBits,
    #[serde(default)]
    pub flow: Flow,
    /// Sets the DTR line; some adapters draw their power from it, some devices want it low.
    #[serde(default)]
    pub dtr: Option<bool>,
    /// Sets the RTS line.
    #[serde(default)]
    pub rts: Option<bool>,
    /// Says that the link is quiet when nothing came for so long; 0 never does.
    #[serde(default)]
    pub quiet_timeout_s: u64,
}

fn baud() -> u32 {
    9600
}

/// Bits of a character.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u8")]
pub enum DataBits {
    Five,
    Six,
    Seven,
    #[default]
    Eight,
}

/// Bits after a character.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u8")]
pub enum StopBits {
    #[default]
    One,
    Two,
}

/// The parity bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Parity {
    #[default]
    None,
    Odd,
    Even,
}

/// Flow control: `software` is XON/XOFF, `hardware` is RTS/CTS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flow {
    #[default]
    None,
    Software,
    Hardware,
}

/// A number that no serial port knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("data_bits is 5, 6, 7 or 8, not {0}")]
    DataBits(u8),
    #[error("stop_bits is 1 or 2, not {0}")]
    StopBits(u8),
}

impl TryFrom<u8> for DataBits {
    type Error = ConfigError;

    fn try_from(bits: u8) -> Result<Self, ConfigError> {
        match bits {
            5 => Ok(Self::Five),
            6 => Ok(Self::Six),
            7 => Ok(Self::Seven),
            8 => Ok(Self::Eight),
            _ => Err(ConfigError::DataBits(bits)),
        }
    }
}

impl TryFrom<u8> for StopBits {
    type Error = ConfigError;

    fn try_from(bits: u8) -> Result<Self, ConfigError> {
        match bits {
            1 => Ok(Self::One),
            2 => Ok(Self::Two),
            _ => Err(ConfigError::StopBits(bits)),
        }
    }
}

/// Runs until it is time to stop. A port that is missing, in use or unplugged is tried again.
pub async fn run(
    link: Arc<str>,
    config: Config,
    speech: Speech,
    intake: Arc<dyn Intake>,
    clock: SharedClock,
    stop: Stop,
) {
    let peer: Arc<str> = config.port.to_string_lossy().into();
    let acknowledger = acknowledger(&speech.codec, &clock);
    let connection =
        Connection { peer: peer.clone(), acknowledger, ..Connection::new(&link, &intake, &clock) };
    let again = Again { link, intake, first: FIRST_PAUSE, longest: LONGEST_PAUSE, good: LASTED };
    let lines = ModemLines { said: false };
    again.run(Port { config, speech, connection, lines, peer }, stop).await;
}

/// A port with what it is opened and served with.
struct Port {
    config: Config,
    speech: Speech,
    connection: Connection,
    lines: ModemLines,
    peer: Arc<str>,
}

impl Opener for Port {
    async fn attempt(&mut self, stop: &mut Stop) -> Attempt {
        let (peer, config) = (self.peer.clone(), &self.config);
        let mut port = match opened(config) {
            Ok(port) => port,
            Err(detail) => return Attempt::Over { detail, lasted: Duration::ZERO },
        };
        self.lines.set(&mut port, config, &self.connection);
        let up = LinkState::Up { detail: format!("{peer} at {} baud", config.baud), connections: 1 };
        self.connection.intake.state(&self.connection.link, up.clone());
        let connection = Connection { quiet: quiet(config, up), ..self.connection.clone() };
        let since = tokio::time::Instant::now();
        let detail = match connection.drive(port, self.speech.framer(), stop).await {
            Ended::Stopped => return Attempt::Stopped,
            Ended::Closed => format!("{peer} was unplugged"),
            Ended::Failed(reason) => format!("{peer} was unplugged: {reason}"),
            Ended::GivenUp => format!("{peer} is opened again"),
        };
        Attempt::Over { detail, lasted: since.elapsed() }
    }
}

/// Opens the port for us alone, to listen before there is a link; the error says in words why not.
///
/// # Errors
/// A sentence: the port is missing, in use or not ours to open.
pub fn open(config: &Config) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + use<>, String> {
    let mut port = opened(config)?;
    // Adapters and pseudo-terminals without modem lines are common; listening goes on without.
    set_lines(&mut port, config).ok();
    Ok(port)
}

fn set_lines(port: &mut SerialStream, config: &Config) -> tokio_serial::Result<()> {
    let dtr = config.dtr.map_or(Ok(()), |level| port.write_data_terminal_ready(level));
    dtr.and(config.rts.map_or(Ok(()), |level| port.write_request_to_send(level)))
}

fn opened(config: &Config) -> Result<SerialStream, String> {
    let path = config.port.to_string_lossy();
    let builder = tokio_serial::new(path.clone(), config.baud)
        .data_bits(match config.data_bits {
            DataBits::Five => tokio_serial::DataBits::Five,
            DataBits::Six => tokio_serial::DataBits::Six,
            DataBits::Seven => tokio_serial::DataBits::Seven,
            DataBits::Eight => tokio_serial::DataBits::Eight,
        })
        .parity(match config.parity {
            Parity::None => tokio_serial::Parity::None,
            Parity::Odd => tokio_serial::Parity::Odd,
            Parity::Even => tokio_serial::Parity::Even,
        })
        .stop_bits(match config.stop_bits {
            StopBits::One => tokio_serial::StopBits::One,
            StopBits::Two => tokio_serial::StopBits::Two,
        })
        .flow_control(match config.flow {
            Flow::None => tokio_serial::FlowControl::None,
            Flow::Software => tokio_serial::FlowControl::Software,
            Flow::Hardware => tokio_serial::FlowControl::Hardware,
        });
    SerialStream::open(&builder).map_err(|error| match error.kind() {
        ErrorKind::NoDevice if !config.port.exists() => {
            format!("{path} is not there: is the adapter plugged in?")
        }
        ErrorKind::NoDevice => format!("{path} is in use by another program"),
        ErrorKind::Io(std::io::ErrorKind::NotFound) => {
            format!("{path} is not there: is the adapter plugged in?")
        }
        ErrorKind::Io(std::io::ErrorKind::PermissionDenied) => {
            format!("no permission to open {path}: the user must be in its group, mostly dialout")
        }
        _ => format!("cannot open {path}: {error}"),
    })
}

/// Silence, and the question whether the port's name means another device by now.
fn quiet(config: &Config, up: LinkState) -> Option<Quiet> {
    let after = Duration::from_secs(config.quiet_timeout_s);
    let (path, opened) = (config.port.clone(), device(&config.port));
    (config.quiet_timeout_s > 0).then(|| Quiet { after, up, gone: Arc::new(move || device(&path) != opened) })
}

fn device(path: &Path) -> Option<PathBuf> {
    std::fs::canonicalize(path).ok()
}

/// DTR and RTS. Adapters and pseudo-terminals without them are common: said once, never an error.
struct ModemLines {
    said: bool,
}

impl ModemLines {
    fn set(&mut self, port: &mut SerialStream, config: &Config, connection: &Connection) {
        if let Err(error) = set_lines(port, config)
            && !std::mem::replace(&mut self.said, true)
        {
            let text = format!("The port has no modem lines, DTR and RTS stay as they are: {error}.");
            connection.intake.note(&connection.link, "modem-lines", &text);
        }
    }
}

/// A port that stayed open this long was a good one.
const LASTED: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Short enough that an adapter that was plugged in again is noticed at once.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[cfg(test)]
#[path = "serial_tests.rs"]
mod tests;
