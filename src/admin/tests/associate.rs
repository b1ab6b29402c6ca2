//! Devices and patients at the desk: who may, what is taken, and what the trail says.

use std::sync::Mutex;

use serde_json::json;

use super::Rig;
use crate::access::Role;
use crate::admin::association::{
    AssociationWanted, Associations, CorrectionWanted, DeviceView, Done, DoubtCounts, Doubts, DoubtsWanted,
    EndWanted, HomeWanted, Standing, Timeline,
};
use crate::admin::command::Refusal;
use crate::buffer::NewAudit;
use crate::connector::Later;

/// Knows one device, `Acme/M1/7`, and association 7; remembers the trail.
#[derive(Default)]
pub(super) struct Ward {
    trail: Mutex<Vec<String>>,
}

impl Ward {
    fn line(&self, audit: &NewAudit) {
        self.trail.lock().unwrap().push(format!("{} {} {}", audit.who, audit.what, audit.detail));
    }

    fn device(&self) -> DeviceView {
        let label = self.trail.lock().unwrap().join("\n");
        DeviceView { key: "Acme/M1/7".into(), label, ..DeviceView::default() }
    }
}

fn ready<T: Send + 'static>(answer: Result<T, Refusal>) -> Later<'static, Result<T, Refusal>> {
    Box::pin(std::future::ready(answer))
}

fn of_seven(id: i64) -> Result<Done, Refusal> {
    if id == 7 { Ok(Done { id: Some(7), ..Done::default() }) } else { Err(Refusal::Unknown) }
}

impl Associations for Ward {
    fn standing(&self) -> Later<'_, Result<Standing, Refusal>> {
        ready(Ok(Standing { devices: vec![self.device()], ..Standing::default() }))
    }

    fn timeline(&self, device: String) -> Later<'_, Result<Timeline, Refusal>> {
        let known = device == "Acme/M1/7";
        ready(if known { Ok(Timeline::default()) } else { Err(Refusal::Unknown) })
    }

    fn doubts(&self, wanted: DoubtsWanted) -> Later<'_, Result<Doubts, Refusal>> {
        let counts = DoubtCounts { orphan: u64::from(wanted.state.is_some()), conflict: 0, review: 0 };
        ready(Ok(Doubts { counts, next: Some(wanted.after), ..Doubts::default() }))
    }

    fn find(&self, code: String) -> Later<'_, Result<DeviceView, Refusal>> {
        ready(if code == "7" { Ok(self.device()) } else { Err(Refusal::Unknown) })
    }

    fn associate(&self, wanted: AssociationWanted, audit: NewAudit) -> Later<'_, Result<Done, Refusal>> {
        if !wanted.replace && !self.trail.lock().unwrap().is_empty() {
            return ready(Err(Refusal::Conflict("the device is with a patient in that time already".into())));
        }
        self.line(&audit);
        ready(of_seven(7))
    }

    fn end(&self, id: i64, _wanted: EndWanted, audit: NewAudit) -> Later<'_, Result<Done, Refusal>> {
        self.line(&audit);
        ready(of_seven(id))
    }

    fn correct(
        &self,
        id: i64,
        _wanted: CorrectionWanted,
        audit: NewAudit,
    ) -> Later<'_, Result<Done, Refusal>> {
        self.line(&audit);
        ready(of_seven(id))
    }

    fn home(&self, _wanted: HomeWanted, audit: NewAudit) -> Later<'_, Result<Done, Refusal>> {
        self.line(&audit);
        ready(Ok(Done::default()))
    }
}

const PATH: &str = "/api/v1/associations";

#[tokio::test]
async fn a_device_is_given_to_a_patient_once_and_taken_back() {
    let rig = Rig::with_anna().await;
    let wanted = json!({ "device": "7", "patient": { "id": "CANARY-1" }, "scanned": true }).to_string();
    let made = rig.client.post(PATH, &wanted).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.json(), json!({ "id": 7, "released": 0, "corrected": 0, "held": 0, "beyond": 0 }));
    let again = rig.client.post(PATH, &wanted).await;
    assert_eq!((again.status, &again.json()["code"]), (409, &json!("association")));
    assert_eq!(rig.client.post(&format!("{PATH}/7/end"), "").await.status, 200, "without a body: now");
    assert_eq!(rig.client.post(&format!("{PATH}/8/end"), "{}").await.status, 404);
    let right =
        json!({ "reason": "CANARY-1 was in the other room", "patient": { "id": "CANARY-2" } }).to_string();
    assert_eq!(rig.client.post(&format!("{PATH}/7/correct"), &right).await.status, 200);
    let trail = rig.client.get(PATH).await.json()["devices"][0]["label"].as_str().unwrap().to_owned();
    assert!(trail.contains("anna association.make done scanned from"), "{trail}");
    assert!(trail.contains("anna association.correct done association 7, with a reason"), "{trail}");
    assert!(!trail.contains("CANARY"), "no patient in the trail: {trail}");
}

#[tokio::test]
async fn what_is_no_correction_is_refused_before_anybody_is_asked() {
    let rig = Rig::with_anna().await;
    for body in ["", "{}", r#"{"patient":{"id":"1"}}"#, r#"{"reason":"x","paitent":{"id":"1"}}"#] {
        assert_eq!(rig.client.post(&format!("{PATH}/7/correct"), body).await.status, 400, "{body}");
    }
    assert_eq!(rig.client.post(PATH, r#"{"device":"7"}"#).await.status, 400);
    let places = r#"{"device":"7","place":{"bed":"2","floor":"3"}}"#;
    assert_eq!(rig.client.post(&format!("{PATH}/home"), places).await.status, 400);
    assert_eq!(rig.client.get(&format!("{PATH}/doubts?state=lost")).await.status, 400);
    assert_eq!(rig.client.get(&format!("{PATH}/doubts?after=-1")).await.status, 400);
    let page = rig.client.get(&format!("{PATH}/doubts?state=orphan&after=9")).await.json();
    assert_eq!((&page["counts"]["orphan"], &page["next"]), (&json!(1), &json!(9)));
    assert_eq!(rig.client.post(&format!("{PATH}/find"), "{}").await.status, 400);
    assert_eq!(rig.client.post(&format!("{PATH}/find"), r#"{"code":"7"}"#).await.status, 200);
    assert_eq!(rig.client.get(&format!("{PATH}/devices/Acme%2FM1%2F7")).await.status, 200);
    assert_eq!(rig.client.get(&format!("{PATH}/devices/nobody")).await.status, 404);
}

#[tokio::test]
async fn clinicians_associate_and_auditors_do_not() {
    let mut rig = Rig::fresh().await;
    rig.add_user("cleo", Role::Clinician);
    rig.add_user("otto", Role::Auditor);
    rig.client = rig.logged_in("cleo").await;
    assert_eq!(rig.client.get(PATH).await.status, 200);
    rig.client = rig.logged_in("otto").await;
    assert_eq!(rig.client.get(PATH).await.status, 403);
    assert_eq!(rig.client.post(&format!("{PATH}/7/end"), "").await.status, 403);
}
