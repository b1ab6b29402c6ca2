use super::*;
use crate::admin::site::{Site as _, Step};
use crate::buffer::NewFrame;
use crate::clock::TestClock;
use crate::config;

const NOW: i64 = 1_773_477_000_000_000;
/// One link that follows the site, one with a zone of its own.
const LINKS: &str = "[[link]]\nname = \"a\"\nprofile = \"nonin/xpod\"\nserial = { port = \"/dev/x\" }\n\
    [[link]]\nname = \"own\"\nzone = \"Asia/Tokyo\"\nprofile = \"nonin/xpod\"\nserial = { port = \"/dev/y\" }\n";

/// A box that is started again and again over one folder.
struct Rig {
    dir: tempfile::TempDir,
    clock: Arc<TestClock>,
    site: &'static str,
}

/// One run of it.
struct Run {
    config: Config,
    buffer: Buffer,
    sites: Sites,
    again: Arc<Again>,
}

impl Rig {
    fn new(site: &'static str) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), clock: TestClock::at(NOW), site }
    }

    async fn start(&self) -> Run {
        let dir = self.dir.path().display();
        let text = format!("[site]\n{}\n[buffer]\ndir = \"{dir}\"\n{LINKS}", self.site);
        let mut config = config::parse(&text, "/etc/bedside/b.toml").unwrap();
        let buffer = Buffer::open(&config.buffer, self.clock.clone()).unwrap();
        let again = Arc::new(Again::default());
        let trouble = remember(&mut config, &buffer).await.unwrap();
        let mut sites = Sites::new(buffer.clone(), &config, self.clock.clone(), again.clone(), trouble);
        sites.root = self.dir.path().join("root");
        Run { config, buffer, sites, again }
    }
}

impl Run {
    async fn keep(&self, said: &'static str) {
        let frame = NewFrame {
            link: "a".into(),
            peer: "p".into(),
            received: self.sites.clock.now(),
            bytes: said.into(),
            topic: None,
            dedupe: false,
            warnings: Vec::new(),
            held: None,
        };
        self.buffer.keep(frame).await.unwrap();
    }

    /// The zone a frame of link `a` is read in.
    fn zone(&self, entry: Option<i64>) -> String {
        self.config.links[0].zone_in(entry).1.to_string()
    }

    async fn save(&self, page: SitePage) -> Result<Applied, Refusal> {
        self.sites.save(page).await
    }

    async fn end(self) {
        self.buffer.close().await;
    }
}

fn zone(name: &str, from: Option<ZoneFrom>) -> SitePage {
    SitePage { zone: Some(name.into()), zone_from: from, ..SitePage::default() }
}

#[tokio::test]
async fn names_and_zone_count_from_the_next_start_which_follows_at_once() {
    let rig = Rig::new("");
    let run = rig.start().await;
    let told = run.sites.told().await.unwrap();
    assert_eq!((told.name.source, told.zone.source, told.zone.value.as_str()), ("default", "default", "UTC"));
    let page = SitePage {
        name: Some(" Clinic South ".into()),
        gateway: Some("gateway 1".into()),
        ..zone("Europe/Berlin", None)
    };
    let applied = run.save(page).await.unwrap();
    assert!(applied.back_in_s > 0 && run.again.is_wanted());
    assert_eq!(run.sites.told().await.unwrap().name.value, "Bedside", "not yet");
    run.end().await;

    let run = rig.start().await;
    let told = run.sites.told().await.unwrap();
    assert_eq!(told.name, Said { value: "Clinic South".into(), source: "desk" });
    assert_eq!(told.gateway.value, "gateway 1");
    assert!(told.local_time.contains("[Europe/Berlin]") && told.earlier.is_empty());
    assert_eq!(run.zone(None), "Europe/Berlin");
    assert_eq!(&**run.config.links[1].zone_in(None).1, "Asia/Tokyo");
}

#[tokio::test]
async fn once_frames_are_kept_another_zone_asks_from_when_it_counts_and_frames_keep_theirs() {
    let rig = Rig::new("");
    let run = rig.start().await;
    run.keep("one").await;
    let asks = run.save(zone("Europe/Berlin", None)).await.unwrap_err();
    assert!(matches!(asks, Refusal::Asks { code: "zone-from", .. }), "{asks:?}");
    assert!(!run.again.is_wanted());
    run.save(zone("Europe/Berlin", Some(ZoneFrom::Now))).await.unwrap();
    // Before the box has started anew it still reads as before: so this one belongs to the zone before.
    run.keep("two").await;
    run.end().await;

    let run = rig.start().await;
    assert_eq!((run.zone(Some(1)), run.zone(Some(2))), ("UTC".into(), "UTC".into()));
    assert_eq!((run.zone(Some(3)), run.zone(None)), ("Europe/Berlin".into(), "Europe/Berlin".into()));
    run.keep("three").await;
    run.end().await;
    // A start that changes nothing changes nothing; a clock that went back does not either.
    rig.clock.jump(NOW - 86_400_000_000);
    let run = rig.start().await;
    run.keep("four").await;
    assert_eq!((run.zone(Some(2)), run.zone(Some(4))), ("UTC".into(), "Europe/Berlin".into()));
    assert_eq!(run.sites.told().await.unwrap().earlier, [EarlierView { zone: "UTC".into(), through: 2 }]);
}

#[tokio::test]
async fn a_zone_that_was_wrong_from_the_start_is_mended_for_frames_that_are_kept_too() {
    let rig = Rig::new("");
    let run = rig.start().await;
    run.keep("one").await;
    run.save(zone("Europe/Berlin", Some(ZoneFrom::Now))).await.unwrap();
    run.end().await;
    let run = rig.start().await;
    run.keep("two").await;
    run.save(zone("Asia/Kolkata", Some(ZoneFrom::Always))).await.unwrap();
    run.end().await;
    let run = rig.start().await;
    assert_eq!([run.zone(Some(1)), run.zone(Some(2)), run.zone(None)], ["Asia/Kolkata"; 3]);
    assert!(run.sites.told().await.unwrap().earlier.is_empty());
}

#[tokio::test]
async fn what_the_file_says_is_not_changed_at_the_desk_and_the_rest_is() {
    let rig = Rig::new("name = \"W\"\nzone = \"Europe/Berlin\"");
    let run = rig.start().await;
    let named = SitePage { name: Some("Other".into()), ..SitePage::default() };
    let refused = run.save(named).await.unwrap_err();
    assert!(refused.to_string().contains("/etc/bedside/b.toml"), "{refused}");
    assert!(run.save(zone("Asia/Kolkata", Some(ZoneFrom::Now))).await.is_err());
    // The same as in the file is no change.
    let same = SitePage { name: Some("W".into()), ..zone("Europe/Berlin", None) };
    assert_eq!(run.save(same).await.unwrap().back_in_s, 0);
    let page = SitePage { gateway: Some("gateway 1".into()), ..SitePage::default() };
    run.save(page).await.unwrap();
    run.end().await;
    assert_eq!(rig.start().await.sites.told().await.unwrap().gateway.value, "gateway 1");
}

#[tokio::test]
async fn a_zone_taken_out_of_the_file_stays_with_the_frames_of_its_time() {
    let mut rig = Rig::new("zone = \"Asia/Kolkata\"");
    let run = rig.start().await;
    run.keep("one").await;
    run.end().await;
    rig.site = "";
    let run = rig.start().await;
    run.save(zone("Europe/Berlin", Some(ZoneFrom::Now))).await.unwrap();
    run.end().await;
    let run = rig.start().await;
    assert_eq!(run.zone(Some(1)), "Asia/Kolkata");
    assert_eq!(run.zone(None), "Europe/Berlin");
}

#[tokio::test]
async fn the_time_server_that_is_wanted_counts_at_once_and_ends_nothing() {
    let rig = Rig::new("");
    let run = rig.start().await;
    let page = SitePage { time_server: Some("ntp.clinic.example 10.0.0.1".into()), ..SitePage::default() };
    assert_eq!(run.save(page).await.unwrap().back_in_s, 0);
    assert!(!run.again.is_wanted());
    let clock = run.sites.told().await.unwrap().clock;
    assert_eq!(clock.wanted, ["ntp.clinic.example", "10.0.0.1"]);
    assert!(!clock.as_wanted && clock.text.unwrap().contains("NTP=ntp.clinic.example 10.0.0.1"));
}

#[tokio::test]
async fn what_cannot_be_is_refused_in_words_and_changes_nothing() {
    let rig = Rig::new("");
    let run = rig.start().await;
    let name = |name: String| SitePage { name: Some(name), ..SitePage::default() };
    let server = SitePage { time_server: Some("ntp; reboot".into()), ..SitePage::default() };
    for page in
        [name(" ".into()), name("x".repeat(65)), name("a\u{7}".into()), zone("Mars/Olympus", None), server]
    {
        let refused = run.save(page).await.unwrap_err();
        assert!(matches!(refused, Refusal::Conflict(_)), "{refused:?}");
    }
    assert!(!run.again.is_wanted());
    assert_eq!(run.sites.page().await.unwrap(), Page::default());
}

#[tokio::test]
async fn what_is_put_off_is_still_so_after_a_restart() {
    let rig = Rig::new("");
    let run = rig.start().await;
    let off = PutOff { later: vec![Step::Time, Step::Upstream, Step::Time], away: true };
    run.sites.put_off(off).await.unwrap();
    run.end().await;
    let told = rig.start().await.sites.told().await.unwrap().put_off;
    assert_eq!(told, PutOff { later: vec![Step::Time, Step::Upstream], away: true });
}

#[tokio::test]
async fn a_zone_this_program_does_not_know_is_told_and_the_box_starts() {
    let rig = Rig::new("");
    let run = rig.start().await;
    run.buffer.put_setting(PAGE, "{\"zone\":\"Moon/Copernicus\",\"later\":1}").await.unwrap();
    run.end().await;
    let run = rig.start().await;
    assert_eq!(run.zone(None), "UTC");
    assert!(run.sites.told().await.unwrap().trouble.unwrap().contains("Moon/Copernicus"));
}
