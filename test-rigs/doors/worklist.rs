//! Host query of an analyser on a serial line: asked for a barcode, the box tells what the desk ordered; the results
//! finish the order.

use bedside::demo::pty::Pty;
use bedside::wire::astm::frame;
use serde_json::{Value, json};

use crate::clinic::{Clinic, PATIENCE};
use crate::common::{self, Bedside};
use crate::speak::{ACK, ENQ, EOT, Line, Way};

const LINKS: &str =
    "[[link]]\nname = \"lab\"\nprofile = \"generic/astm-analyser\"\nserial = { port = \"{dir}/lab\" }\n";

fn query(barcode: &str) -> Vec<u8> {
    format!("H|\\^&|||CHEM^1.0^0007|||||host||P|1|20260314083000\rQ|1|^{barcode}||ALL||||||||O\rL|1|N\r")
        .into_bytes()
}

/// Waits until the box speaks, takes its message frame by frame, and gives the records.
async fn listen(way: &mut Way) -> String {
    let mut text = Vec::new();
    while way.byte().await != Some(ENQ) {}
    way.send(&[ACK]).await;
    loop {
        match way.byte().await.expect("the box goes on") {
            EOT => return String::from_utf8(text).unwrap().replace('\r', "\n"),
            // STX, number, text up to ETX or ETB, checksum, CR LF.
            0x02 => {
                way.byte().await;
                loop {
                    match way.byte().await.unwrap() {
                        0x03 | 0x17 => break,
                        byte => text.push(byte),
                    }
                }
                for _ in 0..4 {
                    way.byte().await;
                }
                way.send(&[ACK]).await;
            }
            _ => {}
        }
    }
}

async fn ask(way: &mut Way, barcode: &str) -> String {
    assert_eq!(way.session(&query(barcode)).await, Some(ACK), "the query is kept");
    listen(way).await
}

async fn order(clinic: &Clinic, id: u64) -> Value {
    let page = clinic.desk.get("/api/v1/worklist").await.json();
    page["orders"].as_array().unwrap().iter().find(|order| order["id"] == id).cloned().unwrap()
}

async fn until_state(clinic: &Clinic, id: u64, state: &str) {
    common::until(PATIENCE, state, async || order(clinic, id).await["state"] == state).await;
}

async fn add(clinic: &Clinic, barcode: &str, tests: &[&str]) -> u64 {
    let wanted = json!({ "specimen": barcode, "tests": tests, "priority": "stat", "patient": { "id": "MRN-1", "family": "Doe", "given": "Jane" } });
    let made = clinic.desk.post("/api/v1/worklist", &wanted.to_string()).await;
    assert_eq!(made.status, 201, "{}", made.text);
    made.json()["id"].as_u64().unwrap()
}

async fn lab_is_up(clinic: &Clinic) {
    common::until(PATIENCE, "the serial link comes up", async || clinic.link("lab").await.0 == "up").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_analyser_asks_for_a_barcode_and_measures_what_the_desk_ordered() {
    let mut clinic = Clinic::open("doors-worklist", LINKS.into()).await;
    let pty = Pty::open(Some(&clinic.dir.path().join("lab"))).unwrap();
    lab_is_up(&clinic).await;
    let mut way = Way::Serial(pty);
    let id = add(&clinic, "S-1001", &["GLU", "3016-3"]).await;

    let told = ask(&mut way, "S-1001").await;
    assert!(told.starts_with("H|\\^&|"), "{told}");
    assert!(told.contains("\nP|1||MRN-1||Doe^Jane|"), "{told}");
    assert!(told.contains("\nO|1|S-1001||^^^GLU\\^^^TSH|S|"), "{told}");
    assert!(told.ends_with("\nL|1|F\n"), "{told}");
    until_state(&clinic, id, "sent").await;

    let nothing = ask(&mut way, "S-9999").await;
    assert!(nothing.ends_with("\nL|1|I\n") && !nothing.contains("\nO|"), "no order: {nothing}");

    // The power fails after the query is kept: the analyser asks again, and is answered.
    let second = add(&clinic, "S-1002", &["GLU"]).await;
    way.enquire().await;
    way.send(&frame(1, &query("S-1002"), true)).await;
    assert_eq!(way.byte().await, Some(ACK));
    clinic.bedside.kill();
    way.send(&[EOT]).await;
    let port = clinic.desk_port();
    clinic.bedside = Bedside::start(clinic.dir.path(), &clinic.config, port);
    lab_is_up(&clinic).await;
    let told = ask(&mut way, "S-1002").await;
    assert!(told.contains("\nO|1|S-1002||^^^GLU|S|"), "{told}");
    until_state(&clinic, second, "sent").await;

    let results = b"H|\\^&|||CHEM^1.0^0007|||||host||P|1|20260314083500\rP|1||MRN-1||Doe^Jane\rO|1|S-1001||^^^GLU\\^^^TSH|R\r\
        R|1|^^^GLU|91.5|mg/dL||N||F||||20260314083400\rR|2|^^^TSH|2.25|u[IU]/mL||N||F||||20260314083400\rL|1|N\r";
    assert_eq!(way.session(results).await, Some(ACK));
    until_state(&clinic, id, "done").await;
    assert_eq!(order(&clinic, second).await["state"], "sent", "another tube");
    let told = order(&clinic, id).await;
    assert_eq!((&told["asked"][0]["link"], &told["asked"][0]["outcome"]), (&json!("lab"), &json!("taken")));
    let nothing = ask(&mut way, "S-1001").await;
    assert!(nothing.ends_with("\nL|1|I\n"), "what is done is not ordered again: {nothing}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_over_hl7_reach_the_list_before_they_are_used_and_queries_get_their_own_acknowledgement() {
    let (lis, analyser) = (common::free_port(), common::free_port());
    let link = |name: &str, profile: &str, port: u16| {
        format!(
            "[[link]]\nname = \"{name}\"\nprofile = \"{profile}\"\nmllp = {{ listen = \"127.0.0.1:{port}\" }}\n"
        )
    };
    let links = link("lis", "generic/hl7-orders", lis) + &link("bs", "mindray/bs-chemistry", analyser);
    let clinic = Clinic::open("doors-worklist-hl7", links).await;
    let order_of = |control: &str, id: &str| {
        format!(
            "MSH|^~\\&|LIS|L|||20260314083000||ORM^O01|{id}|P|2.5\rPID|1||MRN-1||Doe^Jane\rORC|{control}|P-1\rOBR|1|P-1|S-7|12^^L\r"
        )
    };
    assert_eq!(Line::to(lis).await.say(&order_of("NW", "1")).await.code, "AA");
    common::until(PATIENCE, "the order is on the list", async || {
        clinic.desk.get("/api/v1/worklist").await.json()["counts"]["open"] == 1
    })
    .await;
    let query = "MSH|^~\\&|Mindray|BS-300|||20260314083000||QRY^Q02|17|P|2.3.1\rQRD|20260314083000|R|D|2|||RD|S-7|OTH|||T|\rQRF|BS-300|||||RCT|COR|ALL||\r";
    let mut line = Line::to(analyser).await;
    let qck = line.say(query).await;
    assert_eq!((qck.code.as_str(), qck.control_id.as_str()), ("AA", "17"));
    let dsr = line.message().await;
    assert!(dsr.contains("||DSR^Q03|") && dsr.contains("\rDSP|29||12^^^|||\r"), "{dsr}");
    let id = dsr.split('|').nth(9).unwrap().to_owned();
    line.send(&bedside::wire::mllp::wrap(
        format!("MSH|^~\\&|Mindray|BS-300|||20260314083001||ACK^Q03|18|P|2.3.1\rMSA|AA|{id}\r").as_bytes(),
    ))
    .await;
    until_state(&clinic, 1, "sent").await;
    assert!(line.silent().await, "an acknowledgement is not acknowledged");
    assert_eq!(Line::to(lis).await.say(&order_of("CA", "2")).await.code, "AA");
    until_state(&clinic, 1, "cancelled").await;
    // Two order messages and the query; the analyser's acknowledgement is none.
    clinic.settled(3, 0).await;
}
