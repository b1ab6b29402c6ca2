use super::*;
use crate::access::SelfMade;
use crate::admin::store::Backlog;
use crate::buffer;
use crate::clock::{Clock, TestClock};

const NOON: i64 = 1_795_348_800_000_000;

struct Rig {
    dir: tempfile::TempDir,
    buffer: Buffer,
    clock: Arc<TestClock>,
    live: Arc<Live>,
    identity: Identity,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = TestClock::at(NOON);
        let config: buffer::Config =
            toml::from_str(&format!("dir = \"{}\"", dir.path().join("buffer").display())).unwrap();
        let buffer = Buffer::open(&config, clock.clone()).unwrap();
        let secrets = SecretStore::new(None, Some(dir.path().into()));
        let identity =
            Identity::load_or_make(&crate::admin::Config::default(), &secrets, dir.path(), clock.now())
                .unwrap();
        Self { dir, buffer, live: Live::new(clock.clone()), clock, identity }
    }

    async fn issuing(&self, file: Option<&acme::Config>) -> Issuing {
        let secrets = SecretStore::new(None, Some(self.dir.path().into()));
        let flow = (&self.buffer, &self.live);
        let (own, clock) = ((secrets, self.dir.path()), self.clock.clone());
        Issuing::new(file, self.identity.clone(), own, flow, clock).await.unwrap()
    }

    fn alarmed(&self) -> bool {
        self.live.overview("x", false, &Backlog::default()).alarms.iter().any(|alarm| alarm.code == ALARM)
    }
}

fn config(host: &str) -> acme::Config {
    // Nobody listens there: a port that was given back.
    let text = format!("directory = \"https://127.0.0.1:9/dir\"\nhosts = [\"{host}\"]\nterms_agreed = true");
    toml::from_str(&text).unwrap()
}

#[tokio::test]
async fn a_directory_that_is_away_is_asked_again_after_a_pause_and_by_hand_not_too_often() {
    let rig = Rig::new();
    let issuing = rig.issuing(Some(&config("desk"))).await;
    assert_eq!(issuing.due(), Due::Now, "there is none yet");
    issuing.ask().await;
    let state = issuing.state();
    assert_eq!((state.faults, state.busy, state.origin), (1, false, Origin::File));
    assert!(state.what.unwrap().contains("127.0.0.1:9") && state.next.unwrap().contains("firewall"));
    assert!(rig.alarmed());
    let Due::At(next) = issuing.due() else { panic!("{:?}", issuing.due()) };
    let minutes = (next.micros - NOON) / 60_000_000;
    assert!((15..=18).contains(&minutes), "{minutes}");
    drop(issuing);
    let again = rig.issuing(Some(&config("desk"))).await;
    assert_eq!(again.due(), Due::At(next), "a restart asks no sooner");
    for _ in 1..schedule::TRIES_PER_HOUR {
        again.try_now().await.unwrap();
        assert_eq!(again.due(), Due::Now);
        again.ask().await;
    }
    let refused = again.try_now().await.unwrap_err().to_string();
    assert!(refused.contains("within an hour"), "{refused}");
    let other = rig.issuing(Some(&config("other"))).await;
    assert!(matches!(other.due(), Due::At(_)), "other names neither");
    let lines = rig.buffer.reader().audit(None, 50).await.unwrap();
    let failed =
        lines.iter().filter(|row| row.what == "certificate.issue" && row.detail.starts_with("failed desk:"));
    assert_eq!(failed.count(), schedule::TRIES_PER_HOUR);
}

#[tokio::test]
async fn what_is_shown_is_renewed_in_its_time_and_at_once_when_other_names_are_wanted() {
    let rig = Rig::new();
    let made = SelfMade::make("desk", &[], rig.clock.now()).unwrap();
    let wanted = config("desk");
    rig.identity.issued(&made.certificate_pem, &made.key_pem, &wanted, rig.clock.now()).unwrap();
    let issuing = rig.issuing(Some(&wanted)).await;
    let Due::At(at) = issuing.due() else { panic!("{:?}", issuing.due()) };
    let years = (at.micros - NOON) / (365 * 86_400_000_000);
    assert!((6..=7).contains(&years), "two thirds of ten years: {years}");
    assert_eq!(rig.issuing(Some(&config("ward"))).await.due(), Due::Now);
    issuing.try_now().await.unwrap();
    issuing.ask().await;
    assert!(!rig.alarmed(), "one fault is no alarm while there is one of the authority");
    assert_eq!(rig.identity.fingerprint(), made.fingerprint, "and it stays");
    let far = NOON - 400 * 86_400_000_000;
    issuing.inner().tried.next = Some(NOON + 400 * 86_400_000_000);
    rig.clock.jump(far);
    assert!(matches!(issuing.due(), Due::At(at) if at.micros > far));
}

#[tokio::test]
async fn what_the_desk_sets_up_is_kept_and_can_be_ended_and_the_file_counts_more() {
    let rig = Rig::new();
    let issuing = rig.issuing(None).await;
    assert_eq!((issuing.due(), issuing.state().origin, issuing.holds()), (Due::Never, Origin::None, None));
    assert!(issuing.try_now().await.is_err());
    issuing.save(config("desk")).await.unwrap();
    assert_eq!((issuing.due(), issuing.state().origin), (Due::Now, Origin::Desk));
    assert!(issuing.holds().unwrap().contains("end that first"));
    let again = rig.issuing(None).await;
    assert_eq!(again.state().settings, Some(config("desk")));
    let file = rig.issuing(Some(&config("ward"))).await;
    assert!(file.end().await.is_err() && file.save(config("desk")).await.is_err());
    again.ask().await;
    assert!(rig.alarmed());
    again.end().await.unwrap();
    assert!(!rig.alarmed());
    assert_eq!((rig.issuing(None).await.due(), again.state().what), (Due::Never, None));
    rig.buffer.put_setting(SETTINGS, "half a pa").await.unwrap();
    assert_eq!(rig.issuing(None).await.state().origin, Origin::None, "the desk opens all the same");
}
