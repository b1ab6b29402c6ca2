//! A hospital system tells who lies where; a monitor on another link asks, and the desk shows it.

use serde_json::json;

use crate::clinic::{Clinic, PATIENCE};
use crate::common;
use crate::speak::Line;

fn adt(event: &str, id: u32, bed: &str) -> String {
    let at = format!("2026031408{id:02}00+0000");
    format!(
        "MSH|^~\\&|HIS|A|BOX|W|{at}||ADT^{event}|{id}|P|2.5\rEVN|{event}|{at}\rPID|1||M7^^^HOSP^MR||DOE^JANE||19800102|F\r\
         PV1|1|I|ICU^4^{bed}||||||||||||||||V7\r"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_monitor_is_told_who_lies_in_its_bed() {
    let (his, monitor) = (common::free_port(), common::free_port());
    let links = format!(
        "[[link]]\nname = \"his\"\nprofile = \"hl7-system\"\nmllp = {{ listen = \"127.0.0.1:{his}\" }}\n\
         [[link]]\nname = \"monitor\"\nprofile = \"ihe/pcd01-monitor\"\nanswers_patients = true\nmllp = {{ listen = \"127.0.0.1:{monitor}\" }}\n"
    );
    let clinic = Clinic::open("doors-people", links).await;
    let mut line = Line::to(his).await;
    let admitted = line.say(&adt("A01", 1, "2")).await;
    assert_eq!((admitted.code.as_str(), admitted.control_id.as_str()), ("AA", "1"));
    let occupied = async || clinic.desk.get("/api/v1/places").await.json()["places"].clone();
    common::until(PATIENCE, "the bed is taken", async || occupied().await[0]["label"] == "ICU 4-2").await;
    assert_eq!(occupied().await[0]["occupants"][0]["number"], "M7");

    let query = "MSH|^~\\&|MON||BOX||20260314083000||QBP^ZV1^QBP_Q21|17|P|2.6\rQPD|IHE PDQ Query|T1|@PV1.3.1^ICU~@PV1.3.3^2\rRCP|I|5^RD\r";
    let ask = async |text: &str| {
        let mut line = Line::to(monitor).await;
        line.send(&bedside::wire::mllp::wrap(text.as_bytes())).await;
        line.message().await
    };
    let told = ask(query).await;
    assert!(told.contains("||RSP^ZV2^RSP_ZV2|") && told.contains("\rMSA|AA|17\r"), "{told}");
    assert!(
        told.contains("\rQAK|T1|OK|IHE PDQ Query|1|1|0\r")
            && told.contains("\rPID|1||M7^^^HOSP^MR||DOE^JANE"),
        "{told}"
    );

    assert_eq!(line.say(&adt("A02", 2, "3")).await.code, "AA");
    common::until(PATIENCE, "the patient is moved", async || occupied().await[0]["label"] == "ICU 4-3").await;
    let nobody = ask(query).await;
    assert!(nobody.contains("\rQAK|T1|NF|IHE PDQ Query|0|0|0\r") && !nobody.contains("\rPID|"), "{nobody}");

    let found = clinic.desk.post("/api/v1/people", &json!({ "text": "doe jane" }).to_string()).await.json();
    let id = found["people"][0]["id"].as_u64().unwrap();
    let detail = clinic.desk.get(&format!("/api/v1/people/{id}")).await.json();
    let places: Vec<&str> = detail["stays"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stay| stay["place"]["label"].as_str().unwrap())
        .collect();
    assert_eq!(places, ["ICU 4-3", "ICU 4-2"]);
    assert_eq!(detail["sources"].as_array().unwrap().len(), 2);

    // One that names nobody is kept, acknowledged and held; the link goes on.
    assert_eq!(line.say("MSH|^~\\&|HIS||||20260314080300||ADT^A01|3|P|2.5\rPID|1||\r").await.code, "AA");
    // The same question twice is one entry.
    clinic.settled(3, 1).await;
    assert_eq!(line.say(&adt("A03", 9, "3")).await.code, "AA");
    common::until(PATIENCE, "the bed is free", async || occupied().await == json!([])).await;
}
