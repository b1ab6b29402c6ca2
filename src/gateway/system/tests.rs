use std::time::Duration;

use super::*;
use crate::admin::system::System as _;
use crate::buffer::NewFrame;
use crate::clock::{Clock, TestClock};
use crate::config;
use crate::update::rig::Publisher;

const NOW: i64 = 1_773_477_000_000_000;

struct Rig {
    dir: tempfile::TempDir,
    clock: Arc<TestClock>,
    buffer: Buffer,
    again: Arc<Again>,
    system: System,
}

fn rig() -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::at(NOW);
    let text = format!(
        "[site]\nname = \"W\"\nzone = \"Asia/Kolkata\"\n[buffer]\ndir = \"{}\"\n",
        dir.path().display()
    );
    let config = config::parse(&text, "/etc/bedside/w.toml").unwrap();
    let buffer = Buffer::open(&config.buffer, clock.clone()).unwrap();
    let again = Arc::new(Again::default());
    let system = System::new(buffer.clone(), &config, clock.clone(), again.clone());
    Rig { dir, clock, buffer, again, system }
}

impl Rig {
    async fn keep(&self) {
        let frame = NewFrame {
            link: "l".into(),
            peer: "p".into(),
            received: self.clock.now(),
            bytes: "frame".into(),
            topic: None,
            dedupe: false,
            warnings: Vec::new(),
            held: None,
        };
        self.buffer.keep(frame).await.unwrap();
    }

    async fn ended(&self) -> Job {
        for _ in 0..500 {
            let job = self.again.job().unwrap();
            if job.state != "running" {
                return job;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the job never ended");
    }
}

#[tokio::test]
async fn a_backup_is_made_checked_brought_elsewhere_and_removed() {
    let rig = rig();
    rig.keep().await;
    let job = rig.system.make_backup("anna".into()).await.unwrap();
    assert!(rig.system.make_backup("anna".into()).await.is_err(), "one at a time");
    let made = rig.ended().await;
    assert_eq!((made.state, made.name.as_str()), ("done", job.name.as_str()), "{made:?}");
    let listed = rig.system.backups().await.unwrap();
    let backup = &listed.backups[0];
    assert_eq!((backup.frames, backup.checked), (Some(1), Some(rig.clock.now())));
    assert!(backup.made.as_deref().unwrap().starts_with("2026-03-14T08:30") && listed.free_bytes > 0);
    rig.system.check_backup("anna".into(), job.name.clone()).await.unwrap();
    assert_eq!(rig.ended().await.state, "done");

    let bytes = std::fs::read(rig.system.backup_file(job.name.clone(), false).await.unwrap()).unwrap();
    let manifest = std::fs::read(rig.system.backup_file(job.name.clone(), true).await.unwrap()).unwrap();
    let other = "from-elsewhere.backup".to_owned();
    let half = bytes.len() / 2;
    let send = |manifest, at: usize, piece: &[u8]| {
        rig.system.upload(other.clone(), manifest, at as u64, Bytes::copy_from_slice(piece))
    };
    assert_eq!(send(false, 0, &bytes[..half]).await.unwrap(), half as u64);
    assert!(send(false, half + 1, &bytes[half..]).await.is_err(), "a piece is missing between");
    assert_eq!(send(false, half, &bytes[half..]).await.unwrap(), bytes.len() as u64);
    send(true, 0, &manifest).await.unwrap();
    assert!(send(false, 0, b"x").await.is_err(), "what is there is not written over");
    rig.system.check_backup("anna".into(), other.clone()).await.unwrap();
    let checked = rig.ended().await;
    assert!(checked.detail.contains("as its manifest says"), "{checked:?}");
    rig.system.remove_backup(other.clone()).await.unwrap();
    assert_eq!(rig.system.remove_backup(other).await.err(), Some(Refusal::Unknown));
    let trail = rig.buffer.reader().audit(None, 9).await.unwrap();
    assert!(trail.iter().any(|row| row.what == "backup.backup.end" && row.who == "anna"));
}

#[tokio::test]
async fn a_backup_that_was_changed_on_its_way_is_not_believed() {
    let rig = rig();
    rig.keep().await;
    let job = rig.system.make_backup("anna".into()).await.unwrap();
    rig.ended().await;
    let path = rig.system.backup_file(job.name.clone(), false).await.unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    rig.system.check_backup("anna".into(), job.name).await.unwrap();
    let ended = rig.ended().await;
    assert!(ended.state == "failed" && ended.detail.contains("manifest"), "{ended:?}");
    for name in ["../bedside.db", "x.backup/..", ".backup", "bedside.db", "a b.backup"] {
        assert_eq!(rig.system.backup_file(name.into(), false).await.err(), Some(Refusal::Unknown), "{name}");
        assert!(rig.system.upload(name.into(), false, 0, Bytes::from_static(b"x")).await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn a_restoration_ends_the_round_and_puts_the_backup_in_place() {
    let rig = rig();
    rig.keep().await;
    let job = rig.system.make_backup("anna".into()).await.unwrap();
    rig.ended().await;
    rig.keep().await;
    rig.system.restore("anna".into(), job.name).await.unwrap();
    assert!(rig.again.is_wanted());
    let staged = rig.again.take_restore().unwrap();
    rig.buffer.close().await;
    let clock: SharedClock = rig.clock.clone();
    put_in_place(&rig.again, rig.dir.path().into(), staged, &clock).await;
    let told = rig.again.job().unwrap();
    assert!(told.state == "done" && told.detail.starts_with("restored 1 frames"), "{told:?}");
    let kept = buffer_config(rig.dir.path());
    assert_eq!(Buffer::open(&kept, clock).unwrap().reader().counts().kept, 1);
}

fn buffer_config(dir: &std::path::Path) -> crate::buffer::Config {
    crate::buffer::Config { dir: dir.into(), ..Default::default() }
}

#[tokio::test]
async fn a_setting_says_where_it_stands() {
    let rig = rig();
    let told = rig.system.settings().await.unwrap();
    assert_eq!(
        (told.file.as_str(), told.local_time.as_str()),
        ("/etc/bedside/w.toml", "2026-03-14T14:00:00+05:30[Asia/Kolkata]")
    );
    let of = |key: &str| told.settings.iter().find(|setting| setting.key == key).unwrap();
    assert_eq!((of("site.zone").value.as_str(), of("site.zone").source), ("Asia/Kolkata", "file"));
    assert_eq!((of("site.simulated").value.as_str(), of("site.simulated").source), ("no", "default"));
}

fn with_publisher(publisher: &Publisher) -> Rig {
    let mut rig = rig();
    let root = rig.dir.path().join("root.json");
    std::fs::write(&root, &publisher.roots[0]).unwrap();
    rig.system.publisher = Some(root);
    rig
}

impl Rig {
    async fn bring(&self, update: &std::path::Path) {
        let bytes = std::fs::read(update).unwrap();
        let mut at = 0;
        for piece in bytes.chunks(100) {
            at = self.system.upload_update(at, Bytes::copy_from_slice(piece)).await.unwrap();
        }
        assert_eq!(at, bytes.len() as u64);
        assert_eq!(self.system.update().await.unwrap().incoming_bytes, at);
    }
}

#[tokio::test]
async fn an_update_is_brought_in_piece_by_piece_and_installed_for_the_next_start() {
    let publisher = Publisher::new();
    let rig = with_publisher(&publisher);
    let none = rig.system.install_update("anna".into(), false).await.unwrap_err();
    assert!(matches!(&none, Refusal::Conflict(why) if why.contains("bring one in")), "{none:?}");
    rig.bring(&publisher.update(7, b"another program")).await;
    let gap = rig.system.upload_update(1_000_000, Bytes::from_static(b"x")).await.unwrap_err();
    assert!(matches!(&gap, Refusal::Conflict(why) if why.contains("begins there")), "{gap:?}");
    let now = rig.system.install_update("anna".into(), true).await.unwrap_err();
    assert!(matches!(&now, Refusal::Conflict(why) if why.contains("nothing starts")), "{now:?}");
    rig.system.install_update("anna".into(), false).await.unwrap();
    let job = rig.ended().await;
    assert_eq!((job.state, job.kind), ("done", "update"), "{}", job.detail);
    let state = rig.system.update().await.unwrap();
    let chosen = state.chosen.unwrap();
    assert_eq!((chosen.release, chosen.proved, chosen.tried), (Some(7), false, 0));
    assert_eq!((state.incoming_bytes, state.starts_again), (0, false), "the file is not kept twice");
    let told = std::fs::read_to_string(rig.dir.path().join("program/told.ndjson")).unwrap();
    assert!(told.contains("\"anna\"") && told.contains("update.install"), "{told}");
}

#[tokio::test]
async fn what_its_publisher_did_not_sign_is_refused_with_the_reason_and_not_kept() {
    let publisher = Publisher::new();
    let rig = with_publisher(&publisher);
    rig.bring(&Publisher::new().update(7, b"somebody else's")).await;
    rig.system.install_update("anna".into(), false).await.unwrap();
    let job = rig.ended().await;
    assert_eq!(job.state, "failed");
    assert!(job.detail.contains("signatures"), "{}", job.detail);
    let state = rig.system.update().await.unwrap();
    assert!(state.chosen.is_none() && state.incoming_bytes == 0);
    let nobody = rig_without_publisher().await;
    assert!(matches!(&nobody, Refusal::Conflict(why) if why.contains("takes no updates")), "{nobody:?}");
}

async fn rig_without_publisher() -> Refusal {
    rig().system.upload_update(0, Bytes::from_static(b"x")).await.unwrap_err()
}
