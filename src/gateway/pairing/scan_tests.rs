use super::*;
use crate::clock::SystemClock;
use crate::demo::pty::Pty;
use crate::firmware_profile::Library;

fn scan(port: &std::path::Path, profiles: &[&str], ask: bool) -> (Scan, Arc<Mutex<ScanView>>) {
    let clock: SharedClock = Arc::new(SystemClock::default());
    let view = Arc::new(Mutex::new(ScanView::default()));
    let scan = Scan {
        library: Arc::new(Library::embedded().unwrap()),
        port: port.to_string_lossy().into_owned(),
        profiles: profiles.iter().map(|id| (*id).to_owned()).collect(),
        ask,
        context: LinkContext::new("scan", "UTC", clock.now()).unwrap(),
        clock,
        view: view.clone(),
    };
    (scan, view)
}

#[tokio::test]
async fn an_oximeter_that_speaks_is_found_without_sending_a_byte() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("port");
    let pty = Pty::open(Some(&path)).unwrap();
    let (scan, view) = scan(&path, &[], false);
    let (_switch, stop) = Stop::pair();
    let running = tokio::spawn(scan.run(stop));
    let line = b"06/14/26 10:20:30 SN=0000070986 SPO2=097% BPM=071 PI=01.49% SPCO=--% SPMET=--% DESAT=-- PIDELTA=+-- ALARM=0000 EXC=000000\r\n";
    while !running.is_finished() {
        pty.write_all(line).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let view = view.lock().unwrap().clone();
    assert_eq!(view.state, "found", "{view:?}");
    let best = &view.found[0];
    assert_eq!(&*best.guess.profile, "masimo/ascii1", "{:?}", view.found);
    assert!(best.measurements.iter().any(|m| m.value.as_deref() == Some("97")), "{:?}", best.measurements);
    assert_eq!(best.serial["baud"], 9600);
    assert!(view.text.contains("SPO2=097%"));
}

#[tokio::test]
async fn a_silent_port_is_told_with_everything_that_was_tried() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("port");
    let _pty = Pty::open(Some(&path)).unwrap();
    let (scan, view) = scan(&path, &["masimo/ascii1"], false);
    let (_switch, stop) = Stop::pair();
    scan.run(stop).await;
    let view = view.lock().unwrap().clone();
    assert_eq!((view.state, view.tried.len()), ("nothing", 1));
    assert_eq!((&*view.tried[0].setting, &*view.tried[0].outcome), ("9600 8N1", "silence"));
    assert!(view.detail.contains("take a value now"));
}

#[tokio::test]
async fn an_analyser_that_asks_gets_no_promise() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("port");
    let pty = Pty::open(Some(&path)).unwrap();
    let (scan, view) = scan(&path, &["sysmex/xn"], true);
    let (_switch, stop) = Stop::pair();
    let running = tokio::spawn(scan.run(stop));
    while !running.is_finished() {
        pty.write_all(&[ENQ]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let view = view.lock().unwrap().clone();
    assert_eq!(view.state, "nothing");
    assert!(view.detail.contains("A laboratory analyser asks to send"), "{}", view.detail);
    let answered = tokio::time::timeout(Duration::from_millis(50), pty.read(&mut [0; 16])).await;
    assert!(answered.is_err(), "something was sent");
}

#[tokio::test]
async fn a_port_that_is_not_there_and_a_scan_that_is_stopped_are_told() {
    let (missing, view) = scan(std::path::Path::new("/dev/no-such-port"), &[], false);
    let (_switch, stop) = Stop::pair();
    missing.run(stop).await;
    let shown = view.lock().unwrap().clone();
    assert_eq!(shown.state, "failed");
    assert!(shown.detail.contains("is the adapter plugged in?"), "{}", shown.detail);

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("port");
    let _pty = Pty::open(Some(&path)).unwrap();
    let (stopped, view) = scan(&path, &[], false);
    let (switch, stop) = Stop::pair();
    let running = tokio::spawn(stopped.run(stop));
    switch.send(true).unwrap();
    running.await.unwrap();
    assert_eq!(view.lock().unwrap().state, "stopped");
}

#[test]
fn settings_are_written_as_engineers_write_them() {
    let setting = Setting {
        baud: 19200,
        data_bits: 8,
        parity: "even",
        stop_bits: 1,
        flow: "hardware",
        dtr: Some(false),
        rts: None,
    };
    assert_eq!(setting.to_string(), "19200 8E1 hardware flow control");
    let table = setting.table("/dev/ttyUSB0");
    assert!(serde_json::from_value::<serial::Config>(table.clone()).is_ok(), "{table}");
    let page = crate::config::page_of(&table).unwrap();
    assert!(toml::from_str::<serial::Config>(&page).is_ok(), "what the desk hands back makes a link: {page}");
    assert_eq!(table["dtr"], false);
}
