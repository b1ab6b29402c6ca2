//! One alarm from its start to its end (IHE PCD-04): every telling is kept, and the server holds one Observation whose
//! last version says that the alarm ended.

use serde_json::Value;

use crate::clinic::{Clinic, Plan};
use crate::common;
use crate::speak::Line;

/// A telling of alarm `number`.
pub(crate) fn telling(control_id: &str, number: &str, minute: u32, phase: &str, state: &str) -> String {
    let time = format!("2026031410{minute:02}00+0100");
    format!(
        "MSH|^~\\&|RIG GATEWAY^0005CD0000000001^EUI-64|RIG|||{time}||ORU^R40^ORU_R40|{control_id}|P|2.6|||NE|AL||UNICODE UTF-8\r\
         PID|||P-ALARM^^^Rig^PI||Rig^Person^^^^^L\rPV1||I|ICU^^BED4\r\
         OBR|1||{number}^RIG^0005CD0000000001^EUI-64|196616^MDC_EVT_ALARM^MDC|||{time}\r\
         OBX|1|ST|196652^MDC_EVT_HI_GT_LIM^MDC|1.1.1.0.1|HR > 120|||H~PH~SP|||R|||{time}\r\
         OBX|2|ST|68481^MDC_ATTR_EVENT_PHASE^MDC|1.1.1.0.3|{phase}||||||R\r\
         OBX|3|ST|68482^MDC_ATTR_ALARM_STATE^MDC|1.1.1.0.4|{state}||||||R\r"
    )
}

const LIFE: [(&str, &str); 3] = [("start", "active"), ("update", "latched"), ("end", "inactive")];

fn alarms(clinic: &Clinic) -> Vec<Value> {
    clinic.observations("MDC_ATTR_EVENT_PHASE")
}

/// Status, phase and state of an alarm's Observation.
fn told(observation: &Value) -> [String; 3] {
    let word = |value: &Value| value["coding"][0]["code"].as_str().unwrap_or_default().to_owned();
    let parts = observation["component"].as_array().unwrap();
    let phase = parts.iter().find(|part| part["code"]["coding"][0]["code"] == "68481").unwrap();
    [
        observation["status"].as_str().unwrap().into(),
        word(&phase["valueCodeableConcept"]),
        word(&observation["valueCodeableConcept"]),
    ]
}

async fn lived(takes_ids: bool) {
    let port = common::free_port();
    let links = format!(
        "[[link]]\nname = \"alarms\"\nprofile = \"drager/gateway\"\nmllp = {{ listen = \"127.0.0.1:{port}\" }}\n"
    );
    let clinic = Clinic::planned(Plan { takes_ids, ..Plan::of("doors-alarms", links) }).await;
    let mut line = Line::to(port).await;
    let mut said = Vec::new();
    for (minute, (phase, state)) in (1..).zip(LIFE) {
        let message = telling(&format!("A{minute}"), "RIG-ALARM-0000000001", minute, phase, state);
        assert_eq!(line.say(&message).await.code, "AA");
        clinic.settled(minute.into(), 0).await;
        let [alarm] = &alarms(&clinic)[..] else { panic!("one alarm, one Observation") };
        said.push(told(alarm));
    }
    assert_eq!(
        said,
        [
            ["preliminary", "start", "active"],
            ["preliminary", "update", "latched"],
            ["final", "end", "inactive"]
        ]
    );
    // Another alarm, told faster than it is delivered, and its start once more: it stays ended.
    let second = |at: usize| {
        let (phase, state) = LIFE[at];
        telling(&format!("B{at}"), "RIG-ALARM-0000000002", 10 + at as u32, phase, state)
    };
    for at in [0, 1, 2, 0] {
        assert_eq!(line.say(&second(at)).await.code, "AA");
    }
    clinic.settled(6, 0).await;
    let all = alarms(&clinic);
    assert_eq!(all.len(), 2);
    let store = &clinic.server.running.store;
    for alarm in &all {
        assert_eq!(told(alarm), ["final", "end", "inactive"]);
        // What is told before it was delivered goes out as what is true by then.
        assert!((1..=3).contains(&store.versions("Observation", alarm["id"].as_str().unwrap())));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alarm_is_one_observation_whose_last_version_says_that_it_ended() {
    lived(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_it_is_on_a_server_that_gives_its_own_ids() {
    lived(false).await;
}
