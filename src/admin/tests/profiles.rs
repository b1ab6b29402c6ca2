//! Firmware profiles at the desk: who may, what is written down, what leaves the box.

use serde_json::json;

use super::Rig;
use super::seconds_after_noon;
use crate::access::Role;
use crate::admin::command::Refusal;
use crate::admin::profiles::*;
use crate::connector::Later;
use crate::firmware_profile::Fault;

/// Has one profile, `acme/vs-1`, which the link `bed-1` reads with.
pub(super) struct Bookcase;

fn answered<T: Send + 'static>(answer: T) -> Later<'static, T> {
    Box::pin(std::future::ready(answer))
}

fn row() -> ProfileRow {
    ProfileRow {
        id: "acme/vs-1".into(),
        manufacturer: "Acme".into(),
        model: "VS-1".into(),
        firmware: None,
        verified: "simulator".into(),
        codec: "lines",
        hash: "00".into(),
        source: Source::Desk,
        overrides: true,
        saved: Some(Saved { by: "anna".into(), at: seconds_after_noon(0) }),
        links: vec!["bed-1".into()],
        senders: 0,
        captures_kept: 1,
    }
}

fn applied(hash: &str) -> Applied {
    let links = vec!["bed-1".to_owned()];
    Applied { at: seconds_after_noon(1), hash: hash.into(), restarted: links.clone(), links, held: 3 }
}

impl Profiles for Bookcase {
    fn list(&self) -> Later<'_, Result<Vec<ProfileRow>, Refusal>> {
        answered(Ok(vec![row()]))
    }

    fn page(&self, id: String) -> Later<'_, Result<ProfilePage, Refusal>> {
        let page = ProfilePage {
            row: row(),
            text: "[device]".into(),
            before: None,
            caveats: Vec::new(),
            captures: Vec::new(),
            recent: Vec::new(),
        };
        answered(if id == "acme/vs-1" { Ok(page) } else { Err(Refusal::Unknown) })
    }

    fn check(&self, _id: String, text: String) -> Later<'_, Checked> {
        let faults = match text.is_empty() {
            true => vec![Fault::at("", 0..0, "needs [device]")],
            false => Vec::new(),
        };
        answered(Checked { faults, ..Checked::default() })
    }

    fn run(&self, _id: String, _text: String, what: Tried) -> Later<'_, Result<Ran, Refusal>> {
        answered(match what {
            Tried::Entry(7) | Tried::Capture(_) => Ok(Ran { says: "{}\n".into(), ..Ran::default() }),
            Tried::Entry(_) => Err(Refusal::Unknown),
        })
    }

    fn save(&self, _who: String, _id: String, text: String) -> Later<'_, Result<Applied, Refusal>> {
        answered(match text.is_empty() {
            true => Err(Refusal::Conflict("line 1, column 1: needs [device]".into())),
            false => Ok(applied("01")),
        })
    }

    fn revert(&self, _id: String) -> Later<'_, Result<Applied, Refusal>> {
        answered(Ok(applied("00")))
    }

    fn export(&self, _id: String) -> Later<'_, Result<Vec<u8>, Refusal>> {
        answered(Ok(vec![0x1f, 0x8b]))
    }

    fn templates(&self) -> Later<'_, Result<Templates, Refusal>> {
        answered(Ok(Templates::default()))
    }

    fn template(&self, name: String) -> Later<'_, Result<String, Refusal>> {
        answered(if name == "messages/oru.yaml" { Ok("maps: {}".into()) } else { Err(Refusal::Unknown) })
    }

    fn check_template(&self, name: String, _text: String) -> Later<'_, crate::template::Report> {
        answered(crate::template::Report { page: name, ..Default::default() })
    }

    fn run_template(
        &self,
        _id: i64,
        _name: String,
        _text: Option<String>,
    ) -> Later<'_, Result<TemplateRan, Refusal>> {
        answered(Ok(TemplateRan::default()))
    }
}

const PAGE: &str = "/api/v1/profiles/acme%2Fvs-1";

#[tokio::test]
async fn a_profile_is_read_tried_saved_and_taken_back_with_lines_in_the_trail() {
    let rig = Rig::with_anna().await;
    let listed = rig.client.get("/api/v1/profiles").await.json();
    assert_eq!(listed["profiles"][0]["source"], "desk");
    assert_eq!(rig.client.get(PAGE).await.json()["text"], "[device]");
    assert_eq!(rig.client.get("/api/v1/profiles/other").await.status, 404);
    let schema = rig.client.get("/api/v1/profiles/schema").await.json();
    assert!(schema["$schema"].as_str().unwrap().contains("2020-12"));
    let faults = rig.client.post(&format!("{PAGE}/check"), r#"{"text":""}"#).await.json();
    assert_eq!(
        (&faults["faults"][0]["line"], &faults["faults"][0]["message"]),
        (&json!(1), &json!("needs [device]"))
    );
    let run = format!("{PAGE}/run");
    assert_eq!(rig.client.post(&run, r#"{"text":"x","capture":"a.txt"}"#).await.status, 200);
    assert_eq!(rig.client.post(&run, r#"{"text":"x","entry":7}"#).await.status, 200);
    assert_eq!(rig.client.post(&run, r#"{"text":"x"}"#).await.status, 400);
    let save = format!("{PAGE}/save");
    assert_eq!(rig.client.post(&save, r#"{"text":""}"#).await.status, 409);
    let saved = rig.client.post(&save, r#"{"text":"x"}"#).await.json();
    assert_eq!((&saved["held"], &saved["restarted"]), (&json!(3), &json!(["bed-1"])));
    assert_eq!(rig.client.post(&format!("{PAGE}/revert"), "").await.json()["hash"], "00");
    let packed = rig.client.get(&format!("{PAGE}/export")).await;
    assert_eq!(packed.header("content-disposition"), Some("attachment; filename=\"acme-vs-1.tar.gz\""));
    let expected = [
        "anna profile.run acme/vs-1 on entry 7 done",
        "anna profile.save acme/vs-1 done",
        "anna profile.save acme/vs-1 failed",
        "anna profile.save acme/vs-1 done",
        "anna profile.revert acme/vs-1 done",
    ];
    assert_eq!(rig.store.trail(), expected);
}

#[tokio::test]
async fn a_clinician_and_an_auditor_see_no_profile_and_no_template() {
    for role in [Role::Clinician, Role::Auditor] {
        let mut rig = Rig::fresh().await;
        rig.add_user("cleo", role);
        rig.client = rig.logged_in("cleo").await;
        for path in ["/api/v1/profiles", PAGE, "/api/v1/templates"] {
            assert_eq!(rig.client.get(path).await.status, 403, "{path}");
        }
    }
}

#[tokio::test]
async fn a_template_is_read_and_run_on_an_entry() {
    let rig = Rig::with_anna().await;
    let page = "/api/v1/templates/messages%2Foru.yaml";
    assert_eq!(rig.client.get(page).await.json()["text"], "maps: {}");
    assert_eq!(
        rig.client.post(&format!("{page}/check"), r#"{"text":"x"}"#).await.json()["faults"],
        json!([])
    );
    assert_eq!(rig.client.post(&format!("{page}/run"), r#"{"entry":7}"#).await.status, 200);
    assert_eq!(rig.store.trail(), ["anna template.run messages/oru.yaml on entry 7 done"]);
    assert_eq!(rig.client.get("/api/v1/templates").await.json()["pages"], json!([]));
}
