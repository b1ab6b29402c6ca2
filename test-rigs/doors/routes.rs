//! HL7 v2 going on to other systems: nothing lost, nothing mixed up, and one dead receiver stops nobody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bedside::tls::Settings;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::clinic::{Clinic, PATIENCE};
use crate::common;
use crate::speak::{Line, oru};

/// What a receiver does with the n-th message it hears (from 1): words of [`Receiver::answer`].
type Play = Arc<dyn Fn(usize, &str) -> &'static str + Send + Sync>;

/// A system that takes HL7 v2 over MLLP.
pub(crate) struct Receiver {
    pub(crate) port: u16,
    /// Every message in the order it came.
    pub(crate) heard: Arc<Mutex<Vec<Vec<u8>>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Receiver {
    /// `AA`, `AE`, … with a blank and a text; `late`: answers after the box gave up; `other`: answers another message
    /// first; `silent`; `close`.
    pub(crate) async fn start(play: impl Fn(usize, &str) -> &'static str + Send + Sync + 'static) -> Self {
        Self::on(common::free_port(), play).await
    }

    pub(crate) async fn on(
        port: u16,
        play: impl Fn(usize, &str) -> &'static str + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (list, play): (_, Play) = (heard.clone(), Arc::new(play));
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, list.clone(), play.clone()));
            }
        });
        Self { port, heard, task }
    }

    /// One that encrypts, and asks for a certificate where its settings say so.
    pub(crate) async fn secure(
        settings: &Settings,
        play: impl Fn(usize, &str) -> &'static str + Send + Sync + 'static,
    ) -> Self {
        let acceptor = tokio_rustls::TlsAcceptor::from(settings.server().unwrap());
        let port = common::free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (list, play): (_, Play) = (heard.clone(), Arc::new(play));
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, list, play) = (acceptor.clone(), list.clone(), play.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(socket).await {
                        serve(stream, list, play).await;
                    }
                });
            }
        });
        Self { port, heard, task }
    }

    pub(crate) fn heard(&self) -> Vec<String> {
        self.bytes().iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }

    pub(crate) fn bytes(&self) -> Vec<Vec<u8>> {
        self.heard.lock().unwrap().clone()
    }

    /// MSH-10 of each message.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.heard().iter().map(|message| id(message).to_owned()).collect()
    }

    pub(crate) async fn hears(&self, count: usize) {
        let why = format!("{count} messages arrive");
        common::until(PATIENCE, &why, async || self.heard.lock().unwrap().len() >= count).await;
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn id(message: &str) -> &str {
    message.split('|').nth(9).unwrap_or_default()
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut socket: S,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
    play: Play,
) {
    let mut inbox = Vec::new();
    loop {
        let Some(end) = inbox.windows(2).position(|pair| pair == [0x1c, 0x0d]) else {
            if socket.read_buf(&mut inbox).await.unwrap_or(0) == 0 {
                return;
            }
            continue;
        };
        let block: Vec<u8> = inbox.drain(..end + 2).collect();
        let message = String::from_utf8_lossy(&block[1..end]).into_owned();
        let (count, id) = {
            let mut all = heard.lock().unwrap();
            all.push(block[1..end].to_vec());
            (all.len(), id(&message).to_owned())
        };
        let ack = |words: &str, id: &str| {
            let (code, text) = words.split_once(' ').unwrap_or((words, ""));
            format!("\u{b}MSH|^~\\&|EHR|H|BOX|W|1||ACK|A{count}|P|2.5\rMSA|{code}|{id}|{text}\r\u{1c}\r")
        };
        let says = match play(count, &message) {
            "silent" => continue,
            "close" => return,
            "late" => {
                tokio::time::sleep(Duration::from_millis(1_400)).await;
                ack("AA", &id)
            }
            "other" => format!("{}{}", ack("AE", "SOMEBODY-ELSES"), ack("AA", &id)),
            words => ack(words, &id),
        };
        if socket.write_all(says.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn link(port: u16) -> String {
    format!(
        "[[link]]\nname = \"monitors\"\nprofile = \"ihe/pcd01-monitor\"\nmllp = {{ listen = \"127.0.0.1:{port}\" }}\n"
    )
}

/// A destination that gets every message of the monitors as it came.
fn passes(name: &str, port: u16, more: &str) -> String {
    format!(
        "[[destination]]\nname = \"{name}\"\nmllp = {{ address = \"127.0.0.1:{port}\", answer_timeout_s = 1 }}\npause_max_s = 1\n\
         {more}\n[[route]]\nname = \"to-{name}\"\nfrom = [\"monitors\"]\nto = \"{name}\"\nhow = \"pass\"\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_destination_does_not_stop_a_live_one() {
    let (port, nobody) = (common::free_port(), common::free_port());
    let live = Receiver::start(|_, _| "AA").await;
    let routes = [passes("dead", nobody, ""), passes("live", live.port, "")].concat();
    let clinic = Clinic::open("doors-routes-dead", link(port) + &routes).await;
    let mut line = Line::to(port).await;
    for at in 0..20 {
        assert_eq!(line.say(&oru(&format!("D{at}"), "P-1", &(60 + at).to_string(), "")).await.code, "AA");
    }
    live.hears(20).await;
    assert_eq!(live.ids(), (0..20).map(|at| format!("D{at}")).collect::<Vec<_>>());
    assert_eq!(live.heard()[3], oru("D3", "P-1", "63", ""), "byte for byte");
    // The dead one comes back, and gets all of it in order.
    let revived = Receiver::on(nobody, |_, _| "AA").await;
    revived.hears(20).await;
    assert_eq!(revived.ids(), live.ids());
    clinic.settled(20, 0).await;
    let accepted = |name: &str| format!("destination=\"{name}\"");
    for name in ["dead", "live"] {
        let why = format!("{name} accepted all");
        common::until(PATIENCE, &why, async || {
            clinic.metric("bedside_outgoing_accepted_total", &accepted(name)).await == 20
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_and_foreign_acknowledgements_belong_to_nobody() {
    let port = common::free_port();
    // The second message is answered too late the first time, the third after an answer to somebody else's.
    let receiver = Receiver::start(|count, _| match count {
        2 => "late",
        4 => "other",
        _ => "AA",
    })
    .await;
    let clinic = Clinic::open("doors-routes-late", link(port) + &passes("ehr", receiver.port, "")).await;
    let mut line = Line::to(port).await;
    for (at, name) in ["L1", "L2", "L3", "L4"].iter().enumerate() {
        assert_eq!(line.say(&oru(name, "P-1", &(60 + at).to_string(), "")).await.code, "AA");
    }
    receiver.hears(5).await;
    assert_eq!(receiver.ids(), ["L1", "L2", "L2", "L3", "L4"], "the late one again, in its place");
    assert_eq!(receiver.heard()[1], receiver.heard()[2], "the same bytes");
    common::until(PATIENCE, "all accepted", async || {
        clinic.metric("bedside_outgoing_accepted_total", "ehr").await == 4
    })
    .await;
    assert!(clinic.metric("bedside_outgoing_foreign_acknowledgements_total", "ehr").await >= 1);
    assert_eq!(clinic.metric("bedside_outgoing_held_total", "ehr").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_loses_nothing_and_repeats_only_what_is_the_same() {
    let port = common::free_port();
    let receiver = Receiver::start(|_, _| "AA").await;
    let routes = passes("ehr", receiver.port, "");
    let mut clinic = Clinic::open("doors-routes-kill", link(port) + &routes).await;
    let (mut said, mut number) = (Vec::new(), 0u32);
    for round in 0..6u64 {
        let mut line = Line::to(port).await;
        for _ in 0..25 {
            number += 1;
            let message =
                oru(&format!("K{number}"), &format!("P-{}", number % 5), "70", &format!("NTE|1||{number}\r"));
            assert_eq!(line.say(&message).await.code, "AA");
            said.push(message);
        }
        tokio::time::sleep(Duration::from_millis(7 * round)).await;
        clinic.kill_and_restart();
        clinic.bedside.wait_for_port(port);
    }
    common::until(PATIENCE, "every message arrives", async || {
        let ids: std::collections::HashSet<String> = receiver.ids().into_iter().collect();
        ids.len() == said.len()
    })
    .await;
    let mut of_id: HashMap<String, String> = HashMap::new();
    let mut last_of_patient: HashMap<u32, u32> = HashMap::new();
    for message in receiver.heard() {
        let number: u32 = id(&message).trim_start_matches('K').parse().unwrap();
        let known = of_id.entry(id(&message).to_owned()).or_insert_with(|| message.clone());
        assert_eq!(*known, message, "a repetition has the same bytes");
        let last = last_of_patient.entry(number % 5).or_insert(0);
        assert!(number >= *last, "K{number} after K{last} of the same patient");
        *last = number;
    }
    for message in &said {
        assert_eq!(of_id.get(id(message)), Some(message));
    }
    println!("{} messages, {} heard", said.len(), receiver.heard().len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_waits_for_a_person_and_what_is_not_now_is_tried_again() {
    let port = common::free_port();
    let receiver = Receiver::start(|count, message| match (count, id(message)) {
        (_, "R2") => "AE patient is not known here",
        (count, "R3") if count < 5 => "AR system busy",
        _ => "AA",
    })
    .await;
    let clinic = Clinic::open("doors-routes-held", link(port) + &passes("ehr", receiver.port, "")).await;
    let mut line = Line::to(port).await;
    for (at, name) in ["R1", "R2", "R3", "R4"].iter().enumerate() {
        assert_eq!(line.say(&oru(name, "P-1", &(60 + at).to_string(), "")).await.code, "AA");
    }
    receiver.hears(6).await;
    assert_eq!(
        receiver.ids(),
        ["R1", "R2", "R3", "R3", "R3", "R4"],
        "the one that has to wait keeps its place"
    );
    common::until(PATIENCE, "three accepted", async || {
        clinic.metric("bedside_outgoing_accepted_total", "ehr").await == 3
    })
    .await;
    let held = clinic.desk.get("/api/v1/destinations/ehr/messages?state=held").await.json();
    let held = &held["messages"][0];
    assert_eq!((held["control_id"].as_str(), held["attempts"].as_u64()), (Some("R2"), Some(1)));
    assert!(held["reason"].as_str().unwrap().contains("AE: patient is not known here"), "{held}");
    let number = held["id"].as_i64().unwrap();
    let whole = clinic.desk.get(&format!("/api/v1/outgoing/{number}")).await.json();
    assert_eq!(whole["bytes"], oru("R2", "P-1", "61", ""));
    // Let go it is refused again; dropped it is gone, and the trail has both.
    assert_eq!(clinic.desk.post(&format!("/api/v1/outgoing/{number}/release"), "").await.status, 204);
    receiver.hears(7).await;
    common::until(PATIENCE, "held again", async || {
        clinic.metric("bedside_outgoing_held_total", "ehr").await == 2
    })
    .await;
    let drop =
        clinic.desk.post(&format!("/api/v1/outgoing/{number}/drop"), "{\"reason\":\"test patient\"}").await;
    assert_eq!(drop.status, 204, "{}", drop.text);
    let standing = clinic.desk.get("/api/v1/destinations").await.json();
    let ehr = &standing["destinations"][0];
    assert_eq!(
        (ehr["held"].as_u64(), ehr["waiting"].as_u64(), ehr["sent"].as_u64()),
        (Some(0), Some(0), Some(0))
    );
    assert_eq!(ehr["state"], "up", "{ehr}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_reach_an_ehr_without_fhir_as_messages_built_of_them() {
    let port = common::free_port();
    let receiver = Receiver::start(|_, _| "AA").await;
    let dir = common::scratch("doors-routes-built");
    let config = format!(
        "[site]\nname = \"Rig\"\n[buffer]\ndir = \"{0}/data\"\n[log]\nformat = \"human\"\nfilter = \"warn\"\n{1}\
         [[destination]]\nname = \"ehr\"\nmllp = {{ address = \"127.0.0.1:{2}\" }}\nreceiver = {{ application = \"EHR\", facility = \"H\" }}\n\
         [[route]]\nto = \"ehr\"\nhow = \"measurements\"\n",
        dir.path().display(),
        link(port),
        receiver.port
    );
    let mut box_ = common::Bedside::start(dir.path(), &config, port);
    let mut line = Line::to(port).await;
    assert_eq!(line.say(&oru("B1", "P-1", "61", "")).await.code, "AA");
    assert_eq!(line.say(&oru("B2", "", "62", "")).await.code, "AA");
    assert_eq!(line.say(&oru("B3", "P-2", "63", "")).await.code, "AA");
    receiver.hears(2).await;
    let heard = receiver.heard();
    for (message, patient, rate) in [(&heard[0], "P-1", "|61|"), (&heard[1], "P-2", "|63|")] {
        assert!(message.contains("|EHR|H|") && message.contains("IHE_PCD_001"), "{message}");
        assert!(
            message.contains(&format!("PID|||{patient}^^^Rig^MR")) && message.contains(rate),
            "{message}"
        );
        assert_eq!(id(message).len(), 20);
    }
    // What names no patient is held, in both places; the others are done with.
    common::until(PATIENCE, "all settled", async || {
        let counts = box_.status()["counts"].clone();
        counts["held"] == 1 && counts["accepted"] == 2
    })
    .await;
    box_.kill();
    assert_eq!(receiver.heard().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_receiver_gets_the_letters_it_reads() {
    let port = common::free_port();
    let (as_is, unicode, chinese) = (
        Receiver::start(|_, _| "AA").await,
        Receiver::start(|_, _| "AA").await,
        Receiver::start(|_, _| "AA").await,
    );
    let to = |name: &str, receiver: &Receiver, more: &str, how: &str| {
        format!(
            "[[destination]]\nname = \"{name}\"\nmllp = {{ address = \"127.0.0.1:{}\" }}\n{more}\n\
             [[route]]\nname = \"to-{name}\"\nto = \"{name}\"\n{how}\n",
            receiver.port
        )
    };
    let config = [
        link(port).replace("mllp =", "charset = \"8859/1\"\nmllp ="),
        to("as-is", &as_is, "", "how = \"pass\""),
        to("unicode", &unicode, "charset = \"UNICODE UTF-8\"", "how = \"filtered\"\ndrop = [\"NTE\"]"),
        to("chinese", &chinese, "charset = \"GB18030\"", "how = \"measurements\""),
    ]
    .concat();
    let clinic = Clinic::open("doors-routes-charset", config).await;
    let said = oru("C1", "P-1", "61", "").replace("Doe", "M\u{fc}ller");
    let bytes: Vec<u8> = said.chars().map(|letter| u8::try_from(letter).unwrap()).collect();
    let mut line = Line::to(port).await;
    line.send(&bedside::wire::mllp::wrap(&bytes)).await;
    assert_eq!(line.acknowledged().await.code, "AA");
    for receiver in [&as_is, &unicode, &chinese] {
        receiver.hears(1).await;
    }
    assert_eq!(as_is.bytes()[0], bytes, "what is passed on stays as it came");
    let heard = String::from_utf8(unicode.bytes()[0].clone()).unwrap();
    assert!(heard.contains("|P|2.6||||||UNICODE UTF-8\r") && heard.contains("|Müller^Jane\r"), "{heard}");
    let name = [&b"|M"[..], b"\xA8\xB9", b"ller^Jane\r"].concat();
    let built = chinese.bytes()[0].clone();
    assert!(built.windows(name.len()).any(|part| part == name), "{}", String::from_utf8_lossy(&built));
    assert!(chinese.heard()[0].contains("|GB 18030-2000|"));
    // The desk shows the same letters, of what came and of what goes.
    let id = clinic.desk.get("/api/v1/entries").await.json()["entries"][0]["id"].as_i64().unwrap();
    let shown = clinic.desk.get(&format!("/api/v1/entries/{id}/hl7")).await.text;
    assert!(shown.contains("Müller"), "{shown}");
    for name in ["as-is", "unicode", "chinese"] {
        let page = clinic.desk.get(&format!("/api/v1/destinations/{name}/messages")).await.json();
        let id = page["messages"][0]["id"].as_i64().unwrap();
        let one = clinic.desk.get(&format!("/api/v1/outgoing/{id}")).await.json();
        assert!(one["bytes"].as_str().unwrap().contains("|Müller^Jane\r"), "{name}: {one}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alarms_go_on_as_messages_of_their_own_where_a_route_asks_and_are_counted_where_none_does() {
    let port = common::free_port();
    let (all, few) = (Receiver::start(|_, _| "AA").await, Receiver::start(|_, _| "AA").await);
    let to = |name: &str, receiver: &Receiver, more: &str| {
        format!(
            "[[destination]]\nname = \"{name}\"\nmllp = {{ address = \"127.0.0.1:{}\" }}\n\
             [[route]]\nname = \"to-{name}\"\nto = \"{name}\"\nhow = \"measurements\"\n{more}\n",
            receiver.port
        )
    };
    let routes = to("all", &all, "alarms = true") + &to("few", &few, "");
    let clinic = Clinic::open("doors-routes-alarms", link(port) + &routes).await;
    let mut line = Line::to(port).await;
    assert_eq!(line.say(&oru("A1", "P-1", "61", "")).await.code, "AA");
    let alarm = "MSH|^~\\&|RIG^0123456789ABCDEF^EUI-64|W|||20260314083000+0000||ORU^R40^ORU_R40|A2|P|2.6\r\
                 PID|||P-1^^^Rig^MR||Doe^Jane\rOBR|1||ALARM-000017|196616^MDC_EVT_ALARM^MDC|||20260314083000+0000\r\
                 OBX|1|CWE|196616^MDC_EVT_ALARM^MDC|1.1.1.1.1|196670^MDC_EVT_LO^MDC^^^^^^SpO2 LOW|||PM|||F|||20260314083000+0000\r\
                 OBX|2|ST|68481^MDC_ATTR_EVENT_PHASE^MDC|1.1.1.1.3|start||||||F\r";
    assert_eq!(line.say(alarm).await.code, "AA");
    all.hears(2).await;
    few.hears(1).await;
    let heard = all.heard();
    assert!(heard[0].contains("||ORU^R01^ORU_R01|") && heard[0].contains("IHE_PCD_001"), "{}", heard[0]);
    let alarm = &heard[1];
    for words in [
        "||ORU^R40^ORU_R40|",
        "IHE_PCD_004",
        "PID|||P-1^^^Rig^MR",
        "|196670^MDC_EVT_LO^MDC^^^^^^SpO2 LOW|",
        "|68481^MDC_ATTR_EVENT_PHASE^MDC|1.1.1.1.3|start|",
        "|^ALARM-000017&BEDSIDE\r",
    ] {
        assert!(alarm.contains(words), "{words}: {alarm}");
    }
    assert_eq!(few.heard().len(), 1);
    let standing = clinic.desk.get("/api/v1/destinations").await.json();
    let left_out = |name: &str| {
        let all = standing["destinations"].as_array().unwrap().clone();
        all.iter().find(|one| one["name"] == name).unwrap()["routes"][0]["left_out"].clone()
    };
    assert_eq!(left_out("few"), serde_json::json!({ "waveforms": 0, "alarms": 1 }));
    assert_eq!(left_out("all"), serde_json::json!({ "waveforms": 0, "alarms": 0 }));
}

#[test]
fn a_check_of_the_configuration_says_what_goes_where() {
    let dir = common::scratch("doors-routes-check");
    let config = format!(
        "[site]\nname = \"Rig\"\n[buffer]\ndir = \"/tmp/x\"\n{}{}",
        link(2575),
        passes("ehr", 2576, "")
    );
    let path = dir.path().join("bedside.toml");
    std::fs::write(&path, config).unwrap();
    let said = std::process::Command::new(common::binary())
        .args(["config", "check", "--config"])
        .arg(&path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(
        text.contains("every message of monitors goes on as it came to ehr at 127.0.0.1:2576 (unencrypted)"),
        "{text}"
    );
}
