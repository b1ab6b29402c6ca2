use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::admin::store::Backlog;
use crate::clock::{Clock, TestClock};

struct Rig {
    auditing: Arc<Auditing>,
    buffer: Buffer,
    clock: Arc<TestClock>,
    live: Arc<Live>,
    config: Config,
    dir: tempfile::TempDir,
}

fn rig() -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::at(1_795_348_800_000_000);
    let text = format!(
        "secrets = \"{0}/secrets\"\n[site]\nname = \"Ward\"\n[buffer]\ndir = \"{0}/data\"\n[audit]\nalarm_after_s = 60\n",
        dir.path().display()
    );
    let config = crate::config::parse(&text, "test").unwrap();
    let buffer = Buffer::open(&config.buffer, clock.clone()).unwrap();
    let live = Live::new(clock.clone());
    let secrets = SecretStore::new(None, Some(config.secrets.clone()));
    let auditing =
        Auditing::new(buffer.clone(), &config, "urn:uuid:1", &secrets, clock.clone(), live.clone());
    Rig { auditing: Arc::new(auditing), buffer, clock, live, config, dir }
}

impl Rig {
    async fn act(&self, who: &str) {
        let row = NewAudit { who: who.into(), what: "login".into(), detail: "done from 10.0.0.7".into() };
        self.buffer.audit(row).await.unwrap();
    }

    async fn words(&self) -> Vec<String> {
        let rows = self.buffer.reader().audit_after(0, 100).await.unwrap();
        rows.into_iter().map(|row| format!("{} {} {}", row.who, row.what, row.detail)).collect()
    }

    fn alarms(&self) -> Vec<String> {
        self.live.overview("x", false, &Backlog::default()).alarms.into_iter().map(|one| one.code).collect()
    }

    fn tamper(&self, sql: &str) {
        let open = "DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_not_deleted; ";
        let conn = rusqlite::Connection::open(self.dir.path().join("data/bedside.db")).unwrap();
        conn.execute_batch(&format!("{open}{sql}")).unwrap();
    }
}

#[tokio::test]
async fn the_box_says_when_it_starts_with_another_configuration_and_when_it_stops() {
    let mut rig = rig();
    rig.auditing.started(&rig.config).await;
    rig.auditing.started(&rig.config).await;
    rig.config.digest = "f".repeat(64);
    rig.auditing.started(&rig.config).await;
    rig.auditing.stopped().await;
    let start = format!("bedside box.start done version {}", env!("CARGO_PKG_VERSION"));
    let change = format!("bedside config.change done configuration file sha256 {}", "f".repeat(16));
    assert_eq!(rig.words().await, [&start, &start, &start, &change, "bedside box.stop done"]);
    let found = rig.auditing.check().await.unwrap();
    assert_eq!((found.sound, found.sealed_rows, found.seal_fault), (true, Some(5), None));
}

#[tokio::test]
async fn the_key_of_the_seal_is_the_owners_alone_and_stays() {
    use std::os::unix::fs::PermissionsExt;
    let rig = rig();
    let path = rig.config.secrets.join(SEAL_KEY);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let secrets = SecretStore::new(None, Some(rig.config.secrets.clone()));
    let again = seal_key(&secrets, &rig.config).unwrap();
    assert_eq!(again.expose(), std::fs::read(&path).unwrap());
}

#[tokio::test]
async fn a_trail_cut_off_with_its_count_is_an_alarm_and_one_that_is_whole_is_none() {
    let rig = rig();
    for who in ["ada", "bob", "eve"] {
        rig.act(who).await;
    }
    rig.auditing.seal(None).await;
    rig.auditing.judge().await;
    assert!(rig.alarms().is_empty());
    rig.tamper(
        "DELETE FROM audit WHERE id = 3; UPDATE tally SET value = 2 WHERE name = 'audit_rows';
         UPDATE tally SET value = (SELECT hash FROM audit WHERE id = 2) WHERE name = 'audit_head'",
    );
    let found = rig.auditing.check().await.unwrap();
    assert_eq!((found.sound, found.broken.unwrap().row), (false, 3));
    rig.auditing.judge().await;
    assert_eq!(rig.alarms(), ["audit-broken"]);
}

#[tokio::test]
async fn a_seal_of_another_key_is_not_sound() {
    let rig = rig();
    rig.act("ada").await;
    let seal = AuditSeal { rows: 0, head: Vec::new(), at: rig.clock.now() };
    seal.write(&rig.config.buffer.dir, b"not the key").unwrap();
    let found = rig.auditing.check().await.unwrap();
    assert!(!found.sound && found.seal_fault.unwrap().contains("replaced"));
}

async fn heard(stream: &mut TcpStream, rows: usize) -> Vec<String> {
    let mut all = Vec::new();
    while all.len() < rows {
        let mut length = Vec::new();
        loop {
            match stream.read_u8().await.unwrap() {
                b' ' => break,
                digit => length.push(digit),
            }
        }
        let mut message = vec![0; String::from_utf8(length).unwrap().parse().unwrap()];
        stream.read_exact(&mut message).await.unwrap();
        all.push(String::from_utf8(message).unwrap());
    }
    all
}

#[tokio::test]
async fn every_row_is_forwarded_in_order_and_a_restart_goes_on_where_it_was() {
    let rig = rig();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let receiver = || {
        let text = format!("address = \"{address}\"\nover = \"tcp\"");
        Receiver::Syslog(Sender::new(toml::from_str(&text).unwrap()))
    };
    for round in [["ada", "bob"], ["eve", "joe"]] {
        for who in round {
            rig.act(who).await;
        }
        let (switch, stop) = Stop::pair();
        let forwarding = tokio::spawn(rig.auditing.clone().forward(receiver(), stop));
        let (mut stream, _) = listener.accept().await.unwrap();
        let messages = heard(&mut stream, 2).await;
        for (message, who) in messages.iter().zip(round) {
            assert!(message.contains(&format!("who=\"{who}\" what=\"login\" outcome=done")), "{message}");
        }
        let through = async || rig.buffer.reader().setting("audit-forwarded:syslog").await.unwrap();
        let rows = messages[1].split("row=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        while through().await != Some(rows.clone()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        switch.send(true).unwrap();
        forwarding.await.unwrap();
    }
}

#[tokio::test]
async fn a_receiver_that_is_away_is_an_alarm_after_a_while_and_no_row_is_lost() {
    let rig = rig();
    rig.act("ada").await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = format!("address = \"{taken}\"\nover = \"tcp\"");
    let mut receiver = Receiver::Syslog(Sender::new(toml::from_str(&text).unwrap()));
    let rows = rig.buffer.reader().audit_after(0, 10).await.unwrap();
    let why = receiver.take(&rows, &rig.auditing.observer).await.unwrap_err();
    rig.auditing.late("syslog", rows.first(), &why);
    assert!(rig.alarms().is_empty(), "a moment is no alarm");
    rig.clock.advance(Duration::from_secs(60));
    rig.auditing.late("syslog", rows.first(), &why);
    assert_eq!(rig.alarms(), ["audit-behind"]);
    rig.auditing.caught_up("fhir");
    assert_eq!(rig.alarms(), ["audit-behind"]);
    rig.auditing.caught_up("syslog");
    assert!(rig.alarms().is_empty());
}
