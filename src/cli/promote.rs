//! `bedside profile run` and `bedside profile promote`: from a tape to values, and from a tape to a test.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::replay::{profile_of, read};
use super::{CliError, say, say_json, tell};
use crate::admin::explain::MeasurementView;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::firmware_profile::{Decoded, FirmwareProfile, LinkContext, mask};
use crate::wire::tape::{HeardFrame, Tape};

/// Shows what a profile makes of every frame of a tape, or of a capture: values, findings, and why a frame would be held.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  bedside profile run ward-3.tape\n  bedside profile run ward-3.tape --profile philips/piic --json\n  bedside profile run captures/round.hex --profile drager/evita\n  bedside profile run ward-3.tape --mask ward-3-masked.tape"
)]
pub(super) struct RunArguments {
    /// A tape, or a capture (`.hl7`, `.txt`, `.json`, `.xml` as it is, `.hex` as hex digits)
    file: PathBuf,
    /// The firmware profile; that of the tape when not set
    #[arg(long, value_name = "ID")]
    profile: Option<String>,
    /// IANA zone of a device that states no offset
    #[arg(long, default_value = "UTC")]
    zone: String,
    /// The MQTT topic a capture came on
    #[arg(long)]
    topic: Option<String>,
    /// Also write the tape without persons to this file
    #[arg(long, value_name = "FILE")]
    mask: Option<PathBuf>,
    /// Say it as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &RunArguments) -> Result<(), CliError> {
    let context = context(&arguments.zone, SystemClock::default().now())?;
    let file = std::fs::read(&arguments.file).map_err(|e| unwritten(&arguments.file, &e))?;
    let tape = if Tape::is_tape(&file) { Some(read(&arguments.file)?) } else { None };
    let profile = match (&tape, &arguments.profile) {
        (Some(tape), named) => profile_of(tape, named.as_deref())?,
        (None, Some(id)) => profile_of(&Tape::default(), Some(id))?,
        (None, None) => return Err(CliError::failed("a capture names no profile: add --profile")),
    };
    if let (Some(out), Some(tape)) = (&arguments.mask, &tape) {
        let masked = mask(tape, Some(&profile), &context).map_err(CliError::failed)?;
        refuse_left(&masked.left)?;
        write_new(out, &masked.tape.written())?;
        tell(format!("{}: without persons; free text is as it was", out.display()));
    }
    let frames = match &tape {
        Some(tape) => {
            let heard = tape.frames(&|| profile.speech().framer());
            for (ms, note) in &heard.notes {
                tell(format!("{:>8.1} s  note: {}", seconds(*ms), note.text));
            }
            heard.frames
        }
        None => {
            let name = arguments.file.to_string_lossy();
            let bytes = profile.frame_of_capture(&name, &file);
            let bytes = bytes.ok_or_else(|| CliError::failed(format!("{name} is not hex digits")))?;
            let (ms, connection, topic) = (0, 0, arguments.topic.clone());
            vec![HeardFrame { ms, connection, topic, bytes, warnings: Vec::new() }]
        }
    };
    show(&profile, &frames, &context, arguments.json)
}

fn show(
    profile: &FirmwareProfile,
    frames: &[HeardFrame],
    context: &LinkContext,
    json: bool,
) -> Result<(), CliError> {
    let (mut values, mut held, mut all) = (0, 0, Vec::new());
    for (at, frame) in frames.iter().enumerate() {
        let decoded = profile.decode(&frame.bytes, frame.topic.as_deref(), context);
        values += decoded.measurements();
        held += usize::from(decoded.held.is_some());
        if json {
            all.push(serde_json::json!({
                "frame": at + 1, "ms": frame.ms, "bytes": frame.bytes.len(), "topic": frame.topic, "decoded": decoded,
            }));
        } else {
            rows(at + 1, frame, &decoded);
        }
    }
    if json {
        say_json(&serde_json::json!({ "profile": &*profile.id, "frames": all }));
    }
    let summary = format!("{}: {} frames, {values} values, {held} held", profile.id, frames.len());
    if frames.is_empty() || held == frames.len() {
        Err(CliError::failed(summary))
    } else {
        tell(summary);
        Ok(())
    }
}

/// Tenths are enough for people.
#[allow(clippy::cast_precision_loss, reason = "for show")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

fn rows(number: usize, frame: &HeardFrame, decoded: &Decoded) {
    let on = frame.topic.as_deref().map(|topic| format!(", {topic}")).unwrap_or_default();
    say(format!("frame {number}, {:.1} s, {} bytes{on}", seconds(frame.ms), frame.bytes.len()));
    if let Some(why) = &decoded.held {
        say(format!("    held: {why}"));
    }
    if let Some(why) = &decoded.ignored {
        say(format!("    ignored: {why}"));
    }
    let measurements = decoded.reports.iter().flat_map(|report| &report.measurements);
    for view in measurements.flat_map(MeasurementView::of) {
        let value = view.value.as_deref().or(view.absent).unwrap_or("-");
        say(format!("    {:<36} {value} {}", view.label, view.unit.as_deref().unwrap_or_default()));
    }
    for finding in &decoded.findings {
        say(format!("    finding {} at {}: {}", finding.code, finding.place, finding.text));
    }
    for warning in &frame.warnings {
        say(format!("    warning {}: {}", warning.code, warning.text));
    }
}

/// Takes one frame of a tape, masks it, and writes it beside its golden into the folder of a firmware profile. What the
/// golden says is a claim about a patient: read it before you keep it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  bedside profile promote ward-3.tape --profile-folder firmware-profiles/acme/one --name resting --frame 4\n\nIdentifiers, names, birth dates and specimen numbers become X and 0. Free text is kept as it is: look at the capture."
)]
pub(super) struct PromoteArguments {
    /// The tape
    tape: PathBuf,
    /// The folder with profile.toml
    #[arg(long, value_name = "FOLDER")]
    profile_folder: PathBuf,
    /// Name of the capture, e.g. `resting`
    #[arg(long)]
    name: String,
    /// Which frame, as `bedside profile run` counts them; the first with values when not set
    #[arg(long, value_name = "NUMBER")]
    frame: Option<usize>,
}

pub(super) fn promote(arguments: &PromoteArguments) -> Result<(), CliError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if arguments.name.is_empty() || !arguments.name.chars().all(plain) {
        return Err(CliError::failed("--name: lower-case letters, digits and dashes"));
    }
    let profile = page(&arguments.profile_folder)?;
    let tape = read(&arguments.tape)?;
    // As all goldens are made: a little after every capture of the house.
    let context = context("Asia/Kolkata", Timestamp::from_micros(1_773_477_000_000_000, true))?;
    let frames = tape.frames(&|| profile.speech().framer()).frames;
    let has_values = |frame: &&HeardFrame| {
        profile.decode(&frame.bytes, frame.topic.as_deref(), &context).measurements() > 0
    };
    let chosen = match arguments.frame {
        Some(number) => number.checked_sub(1).and_then(|at| frames.get(at)),
        None => frames.iter().find(has_values),
    };
    let Some(frame) = chosen else {
        return Err(CliError::failed(format!("the tape has {} frames, none of them this one", frames.len())));
    };
    let masked = profile.mask_frame(&frame.bytes, frame.topic.as_deref(), &context);
    refuse_left(&masked.left)?;
    let decoded = profile.decode(&masked.bytes, masked.topic.as_deref(), &context);
    let captures = arguments.profile_folder.join("captures");
    std::fs::create_dir_all(&captures).map_err(|e| unwritten(&captures, &e))?;
    let (extension, file) = capture_file(&profile, &masked.bytes);
    let name = format!("{}.{extension}", arguments.name);
    let mut golden = serde_json::to_string_pretty(&decoded).map_err(CliError::failed)?;
    golden.push('\n');
    write_new(&captures.join(&name), &file)?;
    write_new(&captures.join(format!("{}.golden", arguments.name)), golden.as_bytes())?;
    if let Some(why) = &decoded.held {
        tell(format!("note: this frame is held: {why}"));
    }
    tell(format!(
        "{} values, {} findings; add to profile.toml:",
        decoded.measurements(),
        decoded.findings.len()
    ));
    let topic =
        masked.topic.map(|topic| format!("topic = {}\n", toml::Value::String(topic))).unwrap_or_default();
    say(format!("\n[[test]]\ncapture = \"{name}\"\n{topic}"));
    Ok(())
}

/// The profile of a folder; its id is the folder's name with that of the folder above.
fn page(folder: &Path) -> Result<FirmwareProfile, CliError> {
    let path = folder.join("profile.toml");
    let text = std::fs::read_to_string(&path).map_err(|e| unwritten(&path, &e))?;
    let folder = std::fs::canonicalize(folder).map_err(|e| unwritten(folder, &e))?;
    let names: Vec<String> =
        folder.iter().rev().take(2).map(|name| name.to_string_lossy().into_owned()).collect();
    let id = names.into_iter().rev().collect::<Vec<_>>().join("/");
    FirmwareProfile::parse(&id, &text).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        CliError::config(faults.join("\n\n"))
    })
}

/// The file a frame stands in, and its ending: text where reading the file gives the same frame, else hex.
fn capture_file(profile: &FirmwareProfile, frame: &[u8]) -> (&'static str, Vec<u8>) {
    let text = std::str::from_utf8(frame).ok();
    let text = text.filter(|text| !text.chars().any(|c| c.is_control() && !matches!(c, '\r' | '\n' | '\t')));
    if let Some(text) = text {
        let (extension, text) = match profile.codec.word() {
            "mllp" => ("hl7", text.replace('\r', "\n")),
            "astm" => ("txt", text.replace('\r', "\n")),
            "poct1a" => ("xml", text.to_owned()),
            _ if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() => ("json", text.to_owned()),
            _ => ("txt", text.to_owned()),
        };
        let same = profile.frame_of_capture(&format!("x.{extension}"), text.as_bytes());
        if same.as_deref() == Some(frame) {
            return (extension, text.into_bytes());
        }
    }
    let rows: Vec<String> = frame
        .chunks(24)
        .map(|row| row.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "))
        .collect();
    ("hex", (rows.join("\n") + "\n").into_bytes())
}

fn refuse_left(left: &[String]) -> Result<(), CliError> {
    if left.is_empty() {
        return Ok(());
    }
    Err(CliError::failed(format!("it cannot be masked whole, so nothing is written: {}", left.join(" "))))
}

fn context(zone: &str, now: Timestamp) -> Result<LinkContext, CliError> {
    LinkContext::new("golden", zone, now).ok_or_else(|| {
        CliError::failed(format!("unknown time zone \"{zone}\": use an IANA name such as Europe/Berlin"))
    })
}

fn unwritten(path: &Path, fault: &std::io::Error) -> CliError {
    CliError::failed(format!("{}: {fault}", path.display()))
}

/// A new file that only its owner can read.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(bytes)).map_err(|e| unwritten(path, &e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firmware_profile::Library;
    use crate::wire::tape::{Chunk, Head};
    use crate::wire::{astm, mllp};

    /// A clinic's folder with the page of a built-in profile and a tape of one frame.
    fn folder(id: &str, bytes: Vec<u8>) -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join(id);
        std::fs::create_dir_all(&place).unwrap();
        let page = Library::embedded().unwrap().page(id).unwrap();
        std::fs::write(place.join("profile.toml"), &*page).unwrap();
        let head = Head { profile: Some(id.into()), ..Head::default() };
        let chunks = bytes.chunks(50).map(|bytes| Chunk { bytes: bytes.to_vec(), ..Chunk::default() });
        let tape = dir.path().join("a.tape");
        std::fs::write(&tape, Tape { head, chunks: chunks.collect(), cut: false }.written()).unwrap();
        (dir, place, tape)
    }

    fn promoted(tape: &Path, place: &Path, name: &str) -> Result<(), CliError> {
        let (tape, profile_folder) = (tape.to_path_buf(), place.to_path_buf());
        promote(&PromoteArguments { tape, profile_folder, name: name.into(), frame: None })
    }

    #[test]
    fn a_frame_of_a_tape_becomes_a_capture_with_its_golden_and_without_its_patient() {
        let frame = b"H|\\^&|||XN-1000^00-01^11001||||||||E1394-97|20260314140000\rP|1|||SECRET7|^Doe^Jane||19770404|F\rO|1|SAMPLE9||^^^^WBC|||20260314135900\rR|1|^^^^WBC^1|5.60|10*3/uL||N||F||||20260314135900\rL|1|N\r";
        let mut bytes = vec![5];
        bytes.extend(astm::frame(1, frame, true));
        bytes.push(4);
        let (_dir, place, tape) = folder("sysmex/xn", bytes);
        promoted(&tape, &place, "count").unwrap();
        let capture = std::fs::read(place.join("captures/count.txt")).unwrap();
        let text = String::from_utf8(capture.clone()).unwrap();
        assert!(!text.contains("SECRET7") && !text.contains("Jane") && text.contains("5.60"), "{text}");
        let profile = page(&place).unwrap();
        let frame = profile.frame_of_capture("count.txt", &capture).unwrap();
        let decoded = profile.decode(&frame, None, &LinkContext::golden());
        let golden = std::fs::read_to_string(place.join("captures/count.golden")).unwrap();
        let without_link = |text: &str| text.to_owned();
        assert_eq!(without_link(&golden).trim_end(), serde_json::to_string_pretty(&decoded).unwrap());
        assert!(promoted(&tape, &place, "count").is_err(), "nothing is overwritten");
        assert!(promoted(&tape, &place, "../count").is_err());
    }

    #[test]
    fn a_tape_runs_with_the_profile_it_names_and_a_capture_with_the_one_that_is_named() {
        let message = "MSH|^~\\&|M||||20260314140000+0530||ORU^R01^ORU_R01|1|P|2.6\rPID|1||S7^^^H^MR\rOBR|1|||1^x^MDC|||20260314135900+0530\rOBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC|1.1.1.1|72|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||R\r";
        let (dir, place, tape) = folder("ihe/pcd01-monitor", mllp::wrap(message.as_bytes()));
        let masked = dir.path().join("masked.tape");
        let arguments = |file: &Path, profile: Option<&str>, mask: Option<&Path>| RunArguments {
            file: file.to_path_buf(),
            profile: profile.map(Into::into),
            zone: "UTC".into(),
            topic: None,
            mask: mask.map(Into::into),
            json: false,
        };
        run(&arguments(&tape, None, Some(&masked))).unwrap();
        assert!(read(&masked).unwrap().head.masked);
        assert!(run(&arguments(&tape, Some("no/such"), None)).is_err());
        promoted(&tape, &place, "resting").unwrap();
        let capture = place.join("captures/resting.hl7");
        assert!(run(&arguments(&capture, None, None)).is_err(), "a capture names no profile");
        run(&arguments(&capture, Some("ihe/pcd01-monitor"), None)).unwrap();
    }

    #[test]
    fn bytes_that_are_no_text_are_written_as_hex() {
        let profile = Library::embedded().unwrap().find("nonin/xpod").unwrap();
        assert_eq!(capture_file(&profile, b"\x81\x02\x03"), ("hex", b"81 02 03\n".to_vec()));
    }
}
