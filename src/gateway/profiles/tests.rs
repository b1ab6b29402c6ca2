use super::*;
use crate::admin::profiles::{Profiles as _, Source};
use crate::buffer::{Config, NewFrame};
use crate::clock::{Clock, TestClock};
use crate::device::Identifier;
use crate::translate::Gateway;

const NOW: i64 = 1_773_477_000_000_000;
const ID: &str = "masimo/ascii1";
const LINKS: &str = "[site]\nname = \"Ward\"\n[buffer]\ndir = \"/unused\"\n\
    [[link]]\nname = \"bed-1\"\nprofile = \"masimo/ascii1\"\ntcp = { listen = \"127.0.0.1:0\" }\n";
const LINE: &str = "03/14/26 13:55:02 SN=0000093112 SPO2=097% BPM=072 PI=05.12% PVI=014% SPCO=--.-% SPMET=--.-% \
    DESAT=-- PIDELTA=+-- ALARM=0000 EXC=000800\r\n";

struct Rig {
    buffer: Buffer,
    shelf: Arc<Shelf>,
    understanding: Arc<Understanding>,
    profiles: Profiles,
}

async fn rig(dir: &std::path::Path) -> Rig {
    let clock = TestClock::at(NOW);
    let config = config::parse(LINKS, "ward.toml").unwrap();
    let buffer = Buffer::open(&Config { dir: dir.into(), ..Config::default() }, clock.clone()).unwrap();
    let me = Gateway {
        id: Identifier { system: "urn:x".into(), value: "box".into(), kind: None },
        name: "Ward".into(),
        version: "1".into(),
        patient_system: None,
    };
    let understanding = Arc::new(Understanding::new(config.links.clone(), me, true));
    let shelf = Arc::new(Shelf::new(config.library.clone()));
    for saved in shelf.remember(&buffer).await.unwrap() {
        understanding.exchange(&saved);
    }
    let pairing = Pairing::new(buffer.clone(), understanding.clone(), shelf.clone(), &config, clock.clone());
    let parts = (buffer.clone(), shelf.clone(), understanding.clone());
    let profiles = Profiles::new(parts.0, parts.1, parts.2, Arc::new(pairing), &config, clock);
    Rig { buffer, shelf, understanding, profiles }
}

impl Rig {
    async fn keep(&self, text: &str, held: Option<&str>) -> i64 {
        let frame = NewFrame {
            link: "bed-1".into(),
            peer: "10.0.0.9:1".into(),
            received: TestClock::at(NOW).now(),
            bytes: text.to_owned().into(),
            topic: None,
            dedupe: false,
            warnings: Vec::new(),
            held: held.map(Into::into),
        };
        self.buffer.keep(frame).await.unwrap().id
    }

    async fn save(&self, text: String) -> Result<Applied, Refusal> {
        self.profiles.save("anna".into(), ID.into(), text).await
    }

    /// The hash of the page by which the link reads.
    fn in_use(&self) -> String {
        match &self.understanding.link("bed-1").unwrap().reads {
            config::Reads::Profile(profile) => profile.hash.clone(),
            other => panic!("{other:?}"),
        }
    }
}

fn shipped() -> String {
    Library::shipped(ID).unwrap()
}

#[tokio::test]
async fn a_saved_page_is_read_with_at_once_and_after_a_restart_until_it_is_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let before = {
        let rig = rig(dir.path()).await;
        rig.keep("unreadable\r\n", Some("nothing in it")).await;
        let before = rig.in_use();
        let applied = rig.save(format!("# ours\n{}", shipped())).await.unwrap();
        assert_eq!((applied.links, applied.held), (vec!["bed-1".to_owned()], 1));
        assert!(applied.restarted.is_empty(), "it speaks as before");
        assert_eq!(rig.in_use(), applied.hash);
        let page = rig.profiles.page(ID.into()).await.unwrap();
        assert_eq!((page.row.source, page.row.overrides), (Source::Desk, true));
        assert_eq!(page.row.saved.unwrap().by, "anna");
        assert_eq!(page.before, Some(shipped()));
        assert_eq!(page.recent.len(), 1);
        rig.buffer.close().await;
        before
    };
    let rig = rig(dir.path()).await;
    assert_ne!(rig.in_use(), before, "it is read with after a restart too");
    assert_eq!(rig.shelf.source(ID), Source::Desk);
    rig.profiles.revert(ID.into()).await.unwrap();
    assert_eq!((rig.in_use(), rig.shelf.source(ID)), (before, Source::Shipped));
    assert!(rig.profiles.revert(ID.into()).await.is_err(), "there is nothing left to take back");
}

#[tokio::test]
async fn a_page_with_a_fault_is_refused_with_its_line_and_nothing_changes() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(dir.path()).await;
    let before = rig.in_use();
    let refused = rig.save(shipped().replace("codec = \"lines\"", "codec = \"linse\"")).await;
    let Err(Refusal::Conflict(why)) = refused else { panic!("it was taken") };
    assert!(why.starts_with("line ") && why.contains("column"), "{why}");
    assert_eq!(rig.in_use(), before);
    for id in ["../x", "x", "a/b/c/../d", "Acme/VS 1", "a/.b"] {
        let refused = rig.profiles.save("anna".into(), id.into(), shipped()).await;
        assert!(matches!(refused, Err(Refusal::Conflict(_))), "{id}");
    }
    let mistyped = shipped().replace("manufacturer = ", "manufacture = ");
    let faults = rig.profiles.check(ID.into(), mistyped).await.faults;
    assert!(faults.iter().any(|fault| fault.line == 4), "{faults:?}");
}

#[tokio::test]
async fn a_link_that_speaks_otherwise_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(dir.path()).await;
    let page = format!("{}\n[[session.poll]]\nsend = \"?\\r\"\nevery_ms = 5000\n", shipped());
    match rig.save(page).await {
        Ok(applied) => assert_eq!(applied.restarted, ["bed-1"]),
        Err(refused) => panic!("{refused}"),
    }
}

#[tokio::test]
async fn a_text_is_tried_on_a_capture_and_on_what_came_before_it_is_saved() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(dir.path()).await;
    let on = |text: String, what| rig.profiles.run(ID.into(), text, what);
    let same = on(shipped(), Tried::Capture("resting.txt".into())).await.unwrap();
    assert_eq!(same.golden.as_deref(), Some(same.says.as_str()), "the golden is what it says today");
    assert_eq!(same.before.as_deref(), Some(same.says.as_str()));
    assert!(same.fits == Some(true) && same.measurements.len() > 2);
    let deaf = shipped().replace("accept = '^\\d", "accept = '^NOTHING \\d");
    assert_ne!(deaf, shipped());
    let held = on(deaf, Tried::Capture("resting.txt".into())).await.unwrap();
    assert!(held.measurements.is_empty() && held.before.as_deref() == Some(same.says.as_str()));
    let id = rig.keep(LINE, Some("x")).await;
    let ran = on(shipped(), Tried::Entry(id)).await.unwrap();
    assert!(ran.measurements.iter().any(|m| m.value.as_deref() == Some("97")), "{:?}", ran.measurements);
    assert_eq!(on(shipped(), Tried::Entry(99)).await.err(), Some(Refusal::Unknown));
    let wrong = on("[device".into(), Tried::Entry(id)).await.unwrap();
    assert!(!wrong.faults.is_empty() && wrong.says.is_empty());
}

#[tokio::test]
async fn every_profile_is_listed_and_its_folder_can_be_taken_out() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(dir.path()).await;
    let listed = rig.profiles.list().await.unwrap();
    let own = listed.iter().find(|row| row.id == ID).unwrap();
    assert_eq!(
        (own.links.as_slice(), own.source, own.captures_kept),
        (&["bed-1".to_owned()][..], Source::Shipped, 5)
    );
    assert!(listed.len() > 30);
    assert!(rig.profiles.export(ID.into()).await.unwrap().starts_with(&[0x1f, 0x8b]));
    assert!(rig.profiles.export("no/such".into()).await.is_err());
}

#[tokio::test]
async fn a_message_is_translated_by_a_template_that_is_not_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(dir.path()).await;
    let templates = rig.profiles.templates().await.unwrap();
    assert!(
        templates.pages.iter().all(|page| page.source == Source::Shipped) && !templates.messages.is_empty()
    );
    let name = templates.pages[0].name.clone();
    assert!(rig.profiles.template(name.clone()).await.unwrap().len() > 10);
    let text =
        "MSH|^~\\&|A|B|C|D|20260101||ADT^A01^ADT_A01|1|P|2.5\rEVN||20260101\rPID|||7^^^X||TEST^PAT\rPV1||I\r";
    let id = rig.keep(text, None).await;
    let ran = rig.profiles.run_template(id, name.clone(), None).await.unwrap();
    assert!(!ran.fhir.is_empty(), "{ran:?}");
    let wrong = rig.profiles.run_template(id, name, Some("maps:\n  PID.Pateint: {}\n".into())).await.unwrap();
    assert!(!wrong.faults.is_empty());
    let other = rig.keep("SpO2=97", None).await;
    let told = rig.profiles.run_template(other, "x.yaml".into(), None).await.unwrap();
    assert_eq!(told.detail.as_deref(), Some("it is no HL7 v2 message"));
}
