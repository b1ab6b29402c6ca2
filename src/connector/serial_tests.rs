//! Real pseudo-terminals: what they can show is unplugging, silence, garbage and missing modem lines.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Instant;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tempfile::TempDir;

use super::super::rig::FakeIntake;
use super::*;
use crate::clock::TestClock;
use crate::wire::Codec;

/// A device on a pty, with a lasting name that points to it.
struct Plugged {
    near: fs::File,
}

impl Plugged {
    /// Plugs a new adapter in behind `name`.
    fn behind(name: &Path) -> Self {
        let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&near).unwrap();
        unlockpt(&near).unwrap();
        let pts = ptsname(&near, Vec::new()).unwrap().into_string().unwrap();
        drop(fs::remove_file(name));
        symlink(pts, name).unwrap();
        Self { near: near.into() }
    }

    fn says(&mut self, bytes: &[u8]) {
        std::io::Write::write_all(&mut self.near, bytes).unwrap();
    }
}

struct Bedside {
    _folder: TempDir,
    name: PathBuf,
    intake: Arc<FakeIntake>,
    switch: tokio::sync::watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

fn bedside(codec: &str, settings: &str, plug: bool) -> (Bedside, Option<Plugged>) {
    let codec: Codec = toml::from_str(&format!("codec = \"{codec}\"")).unwrap();
    speaking(codec.into(), settings, plug)
}

fn speaking(speech: Speech, settings: &str, plug: bool) -> (Bedside, Option<Plugged>) {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("usb-adapter");
    let device = plug.then(|| Plugged::behind(&name));
    let text = format!("port = {:?}\n{settings}", name.to_str().unwrap());
    let config: Config = toml::from_str(&text).unwrap();
    let intake = FakeIntake::open();
    let (switch, stop) = Stop::pair();
    let task = tokio::spawn(run("scale".into(), config, speech, intake.clone(), TestClock::at(0), stop));
    (Bedside { _folder: folder, name, intake, switch, task }, device)
}

fn up(intake: &FakeIntake) -> bool {
    matches!(intake.last_state(), Some(LinkState::Up { .. }))
}

fn retrying(intake: &FakeIntake, why: &str) -> bool {
    matches!(intake.last_state(), Some(LinkState::Retrying { detail }) if detail.contains(why))
}

#[test]
fn the_config_speaks_the_words_of_the_port() {
    let text = "port = \"/dev/x\"\nbaud = 19200\ndata_bits = 7\nparity = \"even\"\nstop_bits = 2\nflow = \"hardware\"\ndtr = false";
    let config: Config = toml::from_str(text).unwrap();
    assert_eq!(
        (config.data_bits, config.parity, config.stop_bits),
        (DataBits::Seven, Parity::Even, StopBits::Two)
    );
    assert_eq!((config.flow, config.dtr, config.rts), (Flow::Hardware, Some(false), None));
    for (text, reason) in [
        ("port = \"/dev/x\"\ndata_bits = 9", "5, 6, 7 or 8, not 9"),
        ("port = \"/dev/x\"\nstop_bits = 0", "1 or 2, not 0"),
        ("port = \"/dev/x\"\nbuad = 1", "buad"),
        ("baud = 9600", "port"),
    ] {
        let error = toml::from_str::<Config>(text).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[tokio::test]
async fn a_device_unplugged_in_the_middle_and_plugged_in_again_goes_on_with_whole_lines() {
    let (bedside, device) = bedside("lines", "", true);
    let mut device = device.unwrap();
    bedside.intake.until("open", up).await;
    device.says(b"SpO2=98\r\nSpO2=9");
    bedside.intake.until("a line", |intake| intake.messages() == ["SpO2=98"]).await;
    drop(device);
    bedside
        .intake
        .until("the loss", |intake| retrying(intake, "unplugged") || retrying(intake, "cannot open"))
        .await;
    let mut device = Plugged::behind(&bedside.name);
    bedside.intake.until("open again", up).await;
    device.says(b"SpO2=97\r\n");
    bedside.intake.until("the next line", |intake| intake.messages() == ["SpO2=98", "SpO2=97"]).await;
    assert_eq!(bedside.intake.codes(), ["half-line"]);
}

#[tokio::test]
async fn an_unplugged_port_costs_no_processor_time() {
    let (bedside, device) = bedside("lines", "", true);
    bedside.intake.until("open", up).await;
    drop(device);
    let before = bedside.intake.states.lock().unwrap().len();
    let since = Instant::now();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let attempts = bedside.intake.states.lock().unwrap().len() - before;
    assert!(attempts <= 12, "{attempts} attempts in {:?}", since.elapsed());
}

#[tokio::test]
async fn a_port_that_is_not_there_is_named_and_waited_for() {
    let (bedside, _) = bedside("lines", "", false);
    bedside.intake.until("the reason", |intake| retrying(intake, "is the adapter plugged in?")).await;
    let mut device = Plugged::behind(&bedside.name);
    bedside.intake.until("open", up).await;
    device.says(b"72.5 kg\r");
    bedside.intake.until("a line", |intake| intake.messages() == ["72.5 kg"]).await;
    bedside.switch.send(true).unwrap();
    bedside.task.await.unwrap();
    assert_eq!(bedside.intake.last_state(), Some(LinkState::Stopped));
}

#[tokio::test]
async fn missing_modem_lines_are_said_once_and_the_link_works() {
    let (bedside, device) = bedside("lines", "dtr = false\nrts = true", true);
    bedside.intake.until("open", up).await;
    drop(device);
    bedside.intake.until("the loss", |intake| !up(intake)).await;
    let mut device = Plugged::behind(&bedside.name);
    bedside.intake.until("open again", up).await;
    device.says(b"x\n");
    bedside.intake.until("a line", |intake| intake.messages() == ["x"]).await;
    assert_eq!(bedside.intake.codes(), ["modem-lines"]);
}

#[tokio::test]
async fn silence_is_said_and_a_name_that_points_elsewhere_is_followed() {
    let (bedside, first) = bedside("lines", "quiet_timeout_s = 1", true);
    bedside
        .intake
        .until("quiet", |intake| matches!(intake.last_state(), Some(LinkState::Quiet { .. })))
        .await;
    // The first device stays powered and silent; its name now belongs to another one.
    let mut second = Plugged::behind(&bedside.name);
    bedside
        .intake
        .until("open again", |intake| {
            intake.states.lock().unwrap().iter().filter(|state| matches!(state, LinkState::Up { .. })).count()
                == 2
        })
        .await;
    second.says(b"from the second\n");
    bedside.intake.until("a line", |intake| intake.messages() == ["from the second"]).await;
    drop(first);
}

#[tokio::test]
async fn a_port_is_ours_alone() {
    let (bedside, _device) = bedside("lines", "", true);
    bedside.intake.until("open", up).await;
    let config: Config = toml::from_str(&format!("port = {:?}", bedside.name.to_str().unwrap())).unwrap();
    let refused = opened(&config).unwrap_err();
    assert!(refused.contains("in use by another program"), "{refused}");
}

#[tokio::test]
async fn garbage_on_the_line_is_noted_and_an_analyser_after_it_is_understood() {
    let (bedside, device) = bedside("astm", "", true);
    let mut device = device.unwrap();
    bedside.intake.until("open", up).await;
    let noise: Vec<u8> = (0..=255).filter(|byte| ![1, 2, 4, 5, b'H'].contains(byte)).collect();
    device.says(&noise);
    device.says(&[5]);
    device.says(&crate::wire::astm::frame(1, b"H|\\^&\rL|1\r", true));
    bedside.intake.until("a message", |intake| intake.messages() == ["H|\\^&\rL|1\r"]).await;
    assert_eq!(bedside.intake.codes(), ["noise"]);
    device.says(&[4]);
}

#[tokio::test]
async fn a_device_that_must_be_asked_is_asked_in_its_time_and_its_answers_are_kept() {
    use std::io::Read;

    use crate::firmware_profile::FirmwareProfile;
    let page = "[device]\nmanufacturer = 'A'\nmodel = 'B'\nverified = 'simulator'\n[link]\ncodec = 'delimited'\nstart = 'M,'\n\
                end = '\\r'\nchecksum = { alg = 'sum8' }\n[session]\non_connect = [{ send = '\\x05', expect = 'ID', timeout_ms = 400, retries = 20 }]\n\
                poll = [{ send = 'SND\\r', every_ms = 100, timeout_ms = 5000 }]\n[record]\ngrammar = 'key-value'\nassign = '='\n\
                [[metric]]\nmatch = 'PEEP'\nlabel = 'PEEP'\nunit = 'cm[H2O]'\n";
    let profile = FirmwareProfile::parse("a/b", page).unwrap();
    let speech = Speech { codec: profile.codec.clone(), dialogue: profile.session.clone() };
    let Codec::Delimited(settings) = profile.codec.clone() else { panic!("delimited") };
    let (bedside, device) = speaking(speech, "", true);
    bedside.intake.until("open", up).await;
    let mut device = device.unwrap();
    // The device: it greets, and answers every poll; what it hears that it does not know ends it.
    let asked = tokio::task::spawn_blocking(move || {
        let (mut heard, mut asked) = (Vec::new(), Vec::new());
        while asked.len() < 3 {
            let mut byte = [0];
            device.near.read_exact(&mut byte).unwrap();
            heard.push(byte[0]);
            if heard == b"\x05" {
                device.says(b"M,ID");
                heard.clear();
                device.says(b"12\r");
            } else if heard == b"SND\r" {
                asked.push(Instant::now());
                let answer =
                    crate::wire::delimited::wrap(&settings, format!("PEEP={}.5", asked.len()).as_bytes());
                answer.chunks(3).for_each(|part| device.says(part));
                heard.clear();
            }
            assert!(heard.len() < 5, "unlisted bytes: {heard:?}");
        }
        (asked, device)
    });
    let all = ["PEEP=1.5", "PEEP=2.5", "PEEP=3.5"];
    bedside.intake.until("three answers", |intake| intake.messages() == all).await;
    let (asked, _device) = asked.await.unwrap();
    assert!(asked[2] - asked[0] >= Duration::from_millis(190), "polls come in their time");
    assert_eq!(
        bedside.intake.codes(),
        ["bad-checksum"],
        "the greeting has no valid sum here and is not kept"
    );
    let context = crate::firmware_profile::LinkContext::golden();
    let decoded = profile.decode(bedside.intake.messages()[2].as_bytes(), None, &context);
    assert_eq!(decoded.measurements(), 1, "{decoded:?}");
}
