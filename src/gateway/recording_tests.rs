use super::*;
use crate::clock::SystemClock;
use crate::config;
use crate::firmware_profile::Library;
use crate::translate;
use crate::wire::mllp;

fn box_with(dir: &Path) -> Arc<Recordings> {
    let library = Library::embedded().unwrap();
    let site: config::Site = toml::from_str("name = \"x\"\nsimulated = true").unwrap();
    let page = |text: &str| config::parse_link(text, &site, &library, false).unwrap();
    let links = vec![
        page("name = \"beds\"\nprofile = \"ihe/pcd01-monitor\"\nmllp = { listen = \"127.0.0.1:1\" }"),
        page("name = \"oximeter\"\nprofile = \"masimo/ascii1\"\nserial = { port = \"/dev/ttyX\" }"),
    ];
    let me = translate::Gateway {
        id: crate::device::Identifier { system: "s".into(), value: "v".into(), kind: None },
        name: "box".into(),
        version: "0".into(),
        patient_system: None,
    };
    let clock: SharedClock = Arc::new(SystemClock::default());
    let live = Live::new(clock.clone());
    live.add_link("beds", "mllp", "ihe/pcd01-monitor");
    Recordings::new(dir, clock, Arc::new(Understanding::new(links, me, true)), live)
}

fn wanted(link: &str, masked: bool, minutes: u32) -> RecordingWanted {
    RecordingWanted { link: link.into(), masked, minutes }
}

const MESSAGE: &[u8] = b"MSH|^~\\&|M||||20260314140000||ORU^R01|1|P|2.6\rPID|1||SECRET7^^^H^MR||Doe^Jane\r";

async fn chunks(recordings: &Recordings, count: u64) -> TapeView {
    for _ in 0..2000 {
        let tape = recordings.list().await.into_iter().next().unwrap();
        if tape.chunks >= count {
            return tape;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the tape is not written");
}

#[tokio::test]
async fn a_link_is_recorded_shown_ended_exported_without_persons_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let recordings = box_with(dir.path());
    let (beds, peer): (Arc<str>, Arc<str>) = ("beds".into(), "192.0.2.1:1".into());
    recordings.crossed(&beds, &peer, Way::In, None, b"before");
    let name = recordings.start(wanted("beds", true, 5)).await.unwrap();
    assert!(matches!(recordings.start(wanted("beds", true, 5)).await, Err(Refusal::Conflict(_))));
    recordings.crossed(&beds, &peer, Way::In, None, &mllp::wrap(MESSAGE));
    recordings.crossed(&"oximeter".into(), &peer, Way::In, None, b"another link");
    let tape = chunks(&recordings, 1).await;
    assert_eq!((tape.name.as_str(), tape.ended, tape.chunks), (name.as_str(), None, 1));
    assert!(recordings.live.overview("x", true, &Default::default()).links[0].recording);
    assert!(matches!(recordings.remove(name.clone()).await, Err(Refusal::Conflict(_))), "still written");
    recordings.stop(name.clone()).await.unwrap();
    recordings.crossed(&beds, &peer, Way::In, None, b"after");
    assert!(matches!(recordings.stop(name.clone()).await, Err(Refusal::Conflict(_))));
    assert!(!recordings.live.overview("x", true, &Default::default()).links[0].recording);
    assert!(matches!(recordings.export(name.clone(), true).await, Err(Refusal::Conflict(_))), "begun masked");
    let file = recordings.export(name.clone(), false).await.unwrap();
    let text = String::from_utf8(file.clone()).unwrap();
    assert!(!text.contains("SECRET7") && !text.contains("Doe") && text.contains("XXXXXX0"), "{text}");
    let tape = Tape::read(&file).unwrap();
    assert!(
        tape.head.masked
            && tape.chunks.len() == 1
            && tape.head.profile.as_deref() == Some("ihe/pcd01-monitor")
    );
    recordings.remove(name.clone()).await.unwrap();
    assert!(recordings.list().await.is_empty());
    assert_eq!(recordings.export(name, false).await, Err(Refusal::Unknown));
}

#[tokio::test]
async fn unmasked_takes_two_words_and_a_name_leads_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let recordings = box_with(dir.path());
    let name = recordings.start(wanted("beds", false, 1)).await.unwrap();
    recordings.crossed(&"beds".into(), &"p".into(), Way::In, None, &mllp::wrap(MESSAGE));
    chunks(&recordings, 1).await;
    recordings.stop(name.clone()).await.unwrap();
    let text = |file: Vec<u8>| String::from_utf8(file).unwrap();
    assert!(!text(recordings.export(name.clone(), false).await.unwrap()).contains("SECRET7"));
    assert!(text(recordings.export(name, true).await.unwrap()).contains("SECRET7"));
    std::fs::write(dir.path().join("other.tape"), "secret").unwrap();
    for name in ["../other", "other", "", "/etc/passwd"] {
        assert_eq!(recordings.export(name.into(), true).await, Err(Refusal::Unknown), "{name}");
        assert_eq!(recordings.remove(name.into()).await, Err(Refusal::Unknown), "{name}");
    }
    for (link, minutes) in [("nobody", 5), ("beds", 0), ("beds", 100_000)] {
        assert!(recordings.start(wanted(link, true, minutes)).await.is_err());
    }
}
