//! `bedside hl7`: look at HL7 v2 messages by name, send them, and see what would answer them. Needs no configuration.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{CliError, install_crypto, runtime, say, say_json, tell};
use crate::clock::{Clock, SystemClock};
use crate::hl7v2::{self, AckCode, Answers, Charset, LENGTH_MAX, Message, Outcome};
use crate::tls;
use crate::wire::mllp::{COMMIT, NO_COMMIT, take_block, wrap};

/// How encryption is left out.
const NO_TLS: &str = "leave --tls and --ca out";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show messages with the names of their segments and fields, and what is odd about them
    Parse(Parse),
    /// Send messages over MLLP and say how each was answered
    Send(Send),
    /// Print the acknowledgement of a message
    Ack(Ack),
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  bedside hl7 parse message.hl7\n  bedside hl7 parse --path 'PID-3[2].4.1' --path OBR[2]/OBX-5 message.hl7\n  cat batch.hl7 | bedside hl7 parse --json -\n\nA path counts from 1: SEG[n]-field[n].component.subcomponent, after GROUP[n]/ within the group that begins there. Findings go to standard error."
)]
pub(super) struct Parse {
    /// The file; `-` is standard input
    file: PathBuf,
    /// Print only what stands at this path, one line a message; may be repeated
    #[arg(long, value_name = "PATH")]
    path: Vec<hl7v2::Path>,
    /// Say it as JSON
    #[arg(long)]
    json: bool,
    /// The character set where MSH-18 says nothing, e.g. 8859/1
    #[arg(long, default_value = "UNICODE UTF-8", value_name = "NAME")]
    charset: Charset,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  bedside hl7 send 10.0.0.5:2575 adt.hl7 oru.hl7\n  bedside hl7 send gateway.ward:2576 oru.hl7 --ca clinic-ca.pem --cert me.pem --key me.key\n\nSegments leave ended by CR whatever ended them in the file; a batch leaves as its messages. Exit code 1 when a message was refused or not answered."
)]
pub(super) struct Send {
    /// HOST:PORT
    #[arg(value_parser = host_and_port)]
    address: String,
    /// Files of messages or batches
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Seconds to wait for an answer
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    timeout: u64,
    /// Wait for the commit character of MLLP Release 2 as well
    #[arg(long)]
    commit_characters: bool,
    /// Encrypt, trusting the authorities of this system
    #[arg(long)]
    tls: bool,
    /// Encrypt, trusting the authority in this file
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Certificate to show
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// The name in the other side's certificate, when it is not HOST
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// The character set where MSH-18 says nothing
    #[arg(long, default_value = "UNICODE UTF-8", value_name = "NAME")]
    charset: Charset,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  bedside hl7 ack message.hl7\n  bedside hl7 ack --code AE --text 'no room' message.hl7 | od -c"
)]
pub(super) struct Ack {
    /// The file; `-` is standard input
    file: PathBuf,
    /// MSA-1. Left out: what MSH-15 and MSH-16 ask for when the message is taken
    #[arg(long)]
    code: Option<Code>,
    /// Why, for codes that refuse
    #[arg(long, default_value = "")]
    text: String,
}

fn host_and_port(text: &str) -> Result<String, &'static str> {
    let (host, port) = text.rsplit_once(':').ok_or("write HOST:PORT, such as 10.0.0.5:2575")?;
    let right = !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0);
    if right { Ok(text.to_owned()) } else { Err("write HOST:PORT, such as 10.0.0.5:2575") }
}

/// HL7 table 0008.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "UPPER")]
enum Code {
    Aa,
    Ae,
    Ar,
    Ca,
    Ce,
    Cr,
}

impl From<Code> for AckCode {
    fn from(code: Code) -> Self {
        match code {
            Code::Aa => Self::AA,
            Code::Ae => Self::AE,
            Code::Ar => Self::AR,
            Code::Ca => Self::CA,
            Code::Ce => Self::CE,
            Code::Cr => Self::CR,
        }
    }
}

pub(super) fn main(command: Command) -> Result<(), CliError> {
    match command {
        Command::Parse(arguments) => parse(&arguments),
        Command::Send(arguments) => send(&arguments),
        Command::Ack(arguments) => ack(&arguments),
    }
}

/// All bytes of a file, or of standard input; no more than a message may have, many times over.
fn read(file: &Path) -> Result<Vec<u8>, CliError> {
    let fault = |error: std::io::Error| CliError::failed(format!("{}: {error}", file.display()));
    let limit = u64::try_from(LENGTH_MAX).unwrap_or(u64::MAX).saturating_mul(16);
    let mut bytes = Vec::new();
    let source: Box<dyn Read> = match file.to_str() {
        Some("-") => Box::new(std::io::stdin().lock()),
        _ => Box::new(std::fs::File::open(file).map_err(fault)?),
    };
    source.take(limit).read_to_end(&mut bytes).map_err(fault)?;
    Ok(bytes)
}

/// The messages of a file; a file without one is a fault.
fn messages<'b>(file: &Path, bytes: &'b [u8]) -> Result<Vec<&'b [u8]>, CliError> {
    let batch = hl7v2::batch(bytes);
    for finding in &batch.findings {
        tell(format!("{}: {}: {}", file.display(), finding.place, finding.text));
    }
    match batch.messages.is_empty() {
        true => Err(CliError::failed(format!("{}: no line begins with MSH and a separator", file.display()))),
        false => Ok(batch.messages),
    }
}

fn parse(arguments: &Parse) -> Result<(), CliError> {
    let bytes = read(&arguments.file)?;
    let mut all = Vec::new();
    for (number, one) in messages(&arguments.file, &bytes)?.into_iter().enumerate() {
        let parsed = Message::parse(one, arguments.charset);
        let Some(message) = &parsed.message else { continue };
        if arguments.json {
            all.push(as_json(message, &parsed.findings, &arguments.path));
            continue;
        }
        for finding in &parsed.findings {
            tell(format!("message {}: {}: {}", number + 1, finding.place, finding.text));
        }
        if arguments.path.is_empty() {
            show(message);
        } else {
            let at = |path| message.get(path).text().replace(['\r', '\n'], " ");
            say(arguments.path.iter().map(at).collect::<Vec<_>>().join("\t"));
        }
    }
    if arguments.json {
        say_json(&all.into());
    }
    Ok(())
}

fn show(message: &Message<'_>) {
    let mut text = String::new();
    for segment in hl7v2::named(message, usize::MAX) {
        let which = if segment.occurrence > 1 { format!("[{}]", segment.occurrence) } else { String::new() };
        let title = segment.title.unwrap_or("not a segment of HL7");
        text.push_str(&format!("{}{which}  {title}\n", segment.segment));
        for field in segment.fields {
            let value = if field.null { "\"\" (no value)".to_owned() } else { in_line(&field.parts) };
            let title = field.title.unwrap_or("");
            text.push_str(&format!("  {:<14} {title:<32} {value}\n", field.path));
        }
    }
    say(text);
}

/// `A · B · C`, subcomponents with `&`, repetitions with `|`.
fn in_line(parts: &[Vec<Vec<String>>]) -> String {
    let component = |component: &Vec<String>| component.join(" & ");
    let repetition = |repetition: &Vec<Vec<String>>| {
        repetition.iter().map(component).collect::<Vec<_>>().join(" · ").trim_end_matches(" · ").to_owned()
    };
    parts.iter().map(repetition).collect::<Vec<_>>().join(" | ").replace(['\r', '\n'], " ↵ ")
}

fn as_json(
    message: &Message<'_>,
    findings: &[crate::device::Finding],
    paths: &[hl7v2::Path],
) -> serde_json::Value {
    let findings: Vec<_> = findings
        .iter()
        .map(|finding| serde_json::json!({"code": finding.code, "place": finding.place.to_string(), "text": finding.text.to_string()}))
        .collect();
    if !paths.is_empty() {
        let at: serde_json::Map<_, _> = paths
            .iter()
            .map(|path| (path.to_string(), message.get(path).text().into_owned().into()))
            .collect();
        return serde_json::json!({"findings": findings, "at": at});
    }
    let segments: Vec<_> = hl7v2::named(message, usize::MAX)
        .into_iter()
        .map(|segment| {
            let fields: Vec<_> = segment
                .fields
                .into_iter()
                .map(|field| serde_json::json!({"path": field.path, "name": field.title, "null": field.null, "parts": field.parts}))
                .collect();
            serde_json::json!({"segment": segment.segment, "name": segment.title, "fields": fields})
        })
        .collect();
    serde_json::json!({"charset": message.charset().name(), "findings": findings, "segments": segments})
}

fn ack(arguments: &Ack) -> Result<(), CliError> {
    let bytes = read(&arguments.file)?;
    let clock = SystemClock::default();
    for (number, message) in messages(&arguments.file, &bytes)?.into_iter().enumerate() {
        let asked = hl7v2::header(message).map(|header| header.answers(Outcome::Kept)).unwrap_or_default();
        let codes = match arguments.code {
            Some(code) => vec![code.into()],
            None => [asked.commit, asked.application].into_iter().flatten().collect(),
        };
        if codes.is_empty() {
            tell(format!("message {}: MSH-15 and MSH-16 ask for no answer", number + 1));
        }
        for code in codes {
            let now = clock.now();
            let id = format!("{:X}", now.micros);
            let answer = hl7v2::acknowledge(message, code, &arguments.text, &id, now).unwrap_or_default();
            std::io::stdout().lock().write_all(&answer).map_err(CliError::failed)?;
            say("");
        }
    }
    Ok(())
}

fn send(arguments: &Send) -> Result<(), CliError> {
    let mut outgoing = Vec::new();
    for file in &arguments.files {
        let bytes = read(file)?;
        for message in messages(file, &bytes)? {
            let parsed = Message::parse(message, arguments.charset);
            outgoing.extend(parsed.message.map(|message| message.encode()));
        }
    }
    install_crypto();
    runtime()?.block_on(async {
        let patience = Duration::from_secs(arguments.timeout);
        let fault = |error: std::io::Error| CliError::failed(format!("{}: {error}", arguments.address));
        let dialled = tokio::time::timeout(patience, TcpStream::connect(&arguments.address)).await;
        let socket = dialled.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())).map_err(fault)?;
        drop(socket.set_nodelay(true));
        match arguments.settings() {
            None => speak(arguments, socket, &outgoing).await,
            Some(settings) => {
                let host = arguments.address.rsplit_once(':').map_or("", |(host, _)| host);
                let words = tls::Words { other: &arguments.address, plain: NO_TLS };
                let stream = tls::call(&settings, host.trim_matches(['[', ']']), socket, words)
                    .await
                    .map_err(CliError::failed)?;
                speak(arguments, stream, &outgoing).await
            }
        }
    })
}

impl Send {
    fn settings(&self) -> Option<tls::Settings> {
        let wanted = self.tls || self.ca.is_some() || self.cert.is_some() || self.server_name.is_some();
        wanted.then(|| tls::Settings {
            cert_file: self.cert.clone(),
            key_file: self.key.clone(),
            ca_file: self.ca.clone(),
            server_name: self.server_name.clone(),
            ..tls::Settings::default()
        })
    }
}

async fn speak<S>(arguments: &Send, io: S, outgoing: &[Vec<u8>]) -> Result<(), CliError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut line = Line { io, buffer: Vec::new() };
    let mut refused = 0usize;
    for message in outgoing {
        let header = hl7v2::header(message);
        let id = header.as_ref().map(|header| header.control_id.to_string()).unwrap_or_default();
        let asked = header.map(|header| header.answers(Outcome::Kept)).unwrap_or_default();
        line.io.write_all(&wrap(message)).await.map_err(CliError::failed)?;
        let patience = Duration::from_secs(arguments.timeout);
        match tokio::time::timeout(patience, line.answered(&id, asked, arguments.commit_characters)).await {
            Ok(Ok(said)) => {
                refused += usize::from(!said.taken);
                say(format!("{id}\t{}", said.words));
            }
            Ok(Err(fault)) => {
                let other = tls::Words { other: &arguments.address, plain: NO_TLS };
                let told = tls::explain_later(&fault, &arguments.address, other);
                let told = told.unwrap_or_else(|| format!("{}: {fault}", arguments.address));
                return Err(CliError::failed(format!("{id}: {told}")));
            }
            Err(_) if asked.is_silence() => say(format!("{id}\tsent; it asks for no answer")),
            Err(_) => {
                return Err(CliError::failed(format!("{id}: no answer for {} s", arguments.timeout)));
            }
        }
    }
    match refused {
        0 => Ok(()),
        count => Err(CliError::failed(format!("{count} of {} messages were not taken", outgoing.len()))),
    }
}

/// What answered a message.
struct Said {
    taken: bool,
    words: String,
}

struct Line<S> {
    io: S,
    buffer: Vec<u8>,
}

impl<S: AsyncRead + Unpin> Line<S> {
    /// Reads until every answer that was asked for has come, or one that refuses. Answers that name another message
    /// are late ones, and not for this one.
    async fn answered(&mut self, id: &str, asked: Answers, commit: bool) -> std::io::Result<Said> {
        let mut words = Vec::new();
        let (mut committed, mut accepted) = (asked.commit.is_none(), asked.application.is_none());
        let mut sign = !commit;
        while !(committed && accepted && sign) {
            let frame = self.frame().await?;
            match *frame {
                [COMMIT] => {
                    sign = true;
                    words.push("committed".to_owned());
                    continue;
                }
                [NO_COMMIT] => {
                    return Ok(Said { taken: false, words: "not committed".into() });
                }
                _ => {}
            }
            let Some(answer) = Message::parse(&frame, Charset::default()).message else { continue };
            let Some(msa) = answer.segment("MSA", 1).filter(|msa| msa.field(2).text() == id) else {
                tell(format!("{id}: an answer to another message was passed over"));
                continue;
            };
            let code = msa.field(1).text().into_owned();
            let error = answer.segment("ERR", 1).map(|error| error.field(8).text()).unwrap_or_default();
            let text = [msa.field(3).text(), error].into_iter().find(|text| !text.is_empty());
            let text = text.map(|text| format!(" {text}")).unwrap_or_default();
            words.push(format!("{code}{text}"));
            match code.as_str() {
                "CA" => committed = true,
                "AA" => (committed, accepted) = (true, true),
                _ => return Ok(Said { taken: false, words: words.join("\t") }),
            }
        }
        Ok(Said { taken: true, words: words.join("\t") })
    }

    async fn frame(&mut self) -> std::io::Result<Vec<u8>> {
        loop {
            if let Some(block) = take_block(&mut self.buffer) {
                return Ok(block);
            }
            if self.buffer.len() > LENGTH_MAX {
                return Err(std::io::Error::other("an answer without an end"));
            }
            if self.io.read_buf(&mut self.buffer).await? == 0 {
                return Err(std::io::Error::other("the other side closed the connection without an answer"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    const BOTH: Answers = Answers { commit: Some(AckCode::CA), application: Some(AckCode::AA) };

    fn block(code: &str, id: &str) -> Vec<u8> {
        wrap(format!("MSH|^~\\&|||||1||ACK|1|P|2.5\rMSA|{code}|{id}|why\r").as_bytes())
    }

    async fn answered(bytes: &[u8], asked: Answers, commit: bool) -> Result<(bool, String), String> {
        let (near, mut far) = duplex(1 << 12);
        far.write_all(bytes).await.unwrap();
        drop(far);
        let mut line = Line { io: near, buffer: Vec::new() };
        let said = line.answered("7", asked, commit).await.map_err(|error| error.to_string())?;
        Ok((said.taken, said.words))
    }

    #[tokio::test]
    async fn every_answer_that_was_asked_for_is_waited_for_and_late_ones_are_passed_over() {
        let both = [block("AA", "6"), block("CA", "7"), block("AA", "7")].concat();
        assert_eq!(answered(&both, BOTH, false).await, Ok((true, "CA why\tAA why".into())));
        let one = block("CA", "7");
        assert!(answered(&one, BOTH, false).await.unwrap_err().contains("without an answer"));
        let original = Answers::original(Outcome::Kept);
        assert_eq!(answered(&block("AA", "7"), original, false).await, Ok((true, "AA why".into())));
        assert_eq!(answered(&block("AE", "7"), BOTH, false).await, Ok((false, "AE why".into())));
        let release_2 = [wrap(&[COMMIT]), block("AA", "7")].concat();
        assert_eq!(answered(&release_2, original, true).await, Ok((true, "committed\tAA why".into())));
        let refused = answered(&wrap(&[NO_COMMIT]), original, true).await;
        assert_eq!(refused, Ok((false, "not committed".into())));
    }

    #[test]
    fn a_value_is_one_line() {
        let parts =
            vec![vec![vec!["A".into(), "1".into()], vec!["B\nC".into()], vec![String::new()]], vec![]];
        assert_eq!(in_line(&parts), "A & 1 · B ↵ C | ");
    }
}
