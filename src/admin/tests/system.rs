//! The box as a whole at the desk: backups, settings, starting anew.

use std::path::PathBuf;

use bytes::Bytes;
use serde_json::json;

use super::Rig;
use super::seconds_after_noon;
use crate::access::Role;
use crate::admin::command::Refusal;
use crate::admin::system::*;
use crate::connector::Later;

/// Has one backup, `a.backup`, of 600 000 bytes.
pub(super) struct Cellar {
    dir: tempfile::TempDir,
}

impl Cellar {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.backup"), vec![7; 600_000]).unwrap();
        Self { dir }
    }
}

fn answered<T: Send + 'static>(answer: T) -> Later<'static, T> {
    Box::pin(std::future::ready(answer))
}

fn job(kind: &'static str, by: String) -> Job {
    Job {
        kind,
        name: "a.backup".into(),
        state: "running",
        what: "pages".into(),
        done: 1,
        of: 2,
        detail: String::new(),
        by,
        began: seconds_after_noon(0),
    }
}

impl System for Cellar {
    fn backups(&self) -> Later<'_, Result<Backups, Refusal>> {
        answered(Ok(Backups { job: Some(job("backup", "anna".into())), ..Backups::default() }))
    }

    fn make_backup(&self, who: String) -> Later<'_, Result<Job, Refusal>> {
        answered(Ok(job("backup", who)))
    }

    fn check_backup(&self, who: String, _name: String) -> Later<'_, Result<Job, Refusal>> {
        answered(Ok(job("check", who)))
    }

    fn remove_backup(&self, name: String) -> Later<'_, Result<(), Refusal>> {
        answered(if name == "a.backup" { Ok(()) } else { Err(Refusal::Unknown) })
    }

    fn backup_file(&self, name: String, manifest: bool) -> Later<'_, Result<PathBuf, Refusal>> {
        let path = self.dir.path().join(&name);
        answered(if path.is_file() && !manifest { Ok(path) } else { Err(Refusal::Unknown) })
    }

    fn upload(
        &self,
        _name: String,
        _manifest: bool,
        at: u64,
        piece: Bytes,
    ) -> Later<'_, Result<u64, Refusal>> {
        answered(Ok(at + piece.len() as u64))
    }

    fn restore(&self, who: String, _name: String) -> Later<'_, Result<Job, Refusal>> {
        answered(Ok(job("restore", who)))
    }

    fn settings(&self) -> Later<'_, Result<Settings, Refusal>> {
        let zone = Setting { key: "site.zone", value: "UTC".into(), source: "default", says: "Time zone" };
        answered(Ok(Settings { settings: vec![zone], ..Settings::default() }))
    }

    fn update(&self) -> Later<'_, Result<UpdateState, Refusal>> {
        answered(Ok(UpdateState::default()))
    }

    fn upload_update(&self, at: u64, piece: Bytes) -> Later<'_, Result<u64, Refusal>> {
        answered(Ok(at + piece.len() as u64))
    }

    fn install_update(&self, who: String, start: bool) -> Later<'_, Result<Job, Refusal>> {
        answered(if start { Err(Refusal::Conflict("no".into())) } else { Ok(job("update", who)) })
    }

    fn restart(&self) -> Later<'_, Result<(), Refusal>> {
        answered(Ok(()))
    }
}

#[tokio::test]
async fn a_backup_is_made_checked_taken_out_brought_in_and_restored_by_an_admin() {
    let rig = Rig::with_anna().await;
    let made = rig.client.post("/api/v1/backups", "").await;
    assert_eq!((made.status, &made.json()["state"]), (202, &json!("running")));
    assert_eq!(rig.client.get("/api/v1/backups").await.json()["job"]["of"], 2);
    assert_eq!(rig.client.post("/api/v1/backups/a.backup/check", "").await.status, 202);
    let file = rig.client.get("/api/v1/backups/a.backup").await;
    assert_eq!((file.status, file.header("content-length")), (200, Some("600000")));
    assert_eq!(file.header("content-disposition"), Some("attachment; filename=\"a.backup\""));
    assert!(file.body.len() == 600_000 && file.body.bytes().all(|byte| byte == 7));
    assert_eq!(rig.client.get("/api/v1/backups/b.backup").await.status, 404);
    let piece = rig.client.post("/api/v1/backups/b.backup/upload?at=10", "12345").await;
    assert_eq!(piece.json()["bytes"], 15);
    assert_eq!(rig.client.post("/api/v1/backups/a.backup/restore", "").await.json()["kind"], "restore");
    assert_eq!(rig.client.post("/api/v1/backups/b.backup/remove", "").await.status, 404);
    let trail = rig.store.trail();
    assert!(trail.contains(&"anna backup.restore a.backup done".to_owned()), "{trail:?}");
    assert!(trail.contains(&"anna backup.download a.backup done".to_owned()), "{trail:?}");
}

#[tokio::test]
async fn settings_and_the_version_are_shown_and_the_box_can_start_anew() {
    let rig = Rig::with_anna().await;
    assert_eq!(rig.client.get("/api/v1/settings").await.json()["settings"][0]["source"], "default");
    let updates = rig.client.get("/api/v1/updates").await.json();
    assert_eq!((&updates["source"], &updates["version"]), (&json!(null), &json!("0.1.0")));
    assert!(updates["changelog"].as_str().unwrap().contains("# "));
    assert_eq!(rig.client.post("/api/v1/restart", "").await.status, 202);
    assert_eq!((&updates["incoming_bytes"], &updates["chosen"]), (&json!(0), &json!(null)));
    let piece = rig.client.post("/api/v1/updates/upload?at=10", "12345").await;
    assert_eq!(piece.json()["bytes"], 15);
    let begun = rig.client.post("/api/v1/updates/install", r#"{"start":false}"#).await;
    assert_eq!((begun.status, &begun.json()["kind"]), (202, &json!("update")));
    assert_eq!(rig.client.post("/api/v1/updates/install", r#"{"start":true}"#).await.status, 409);
    assert_eq!(rig.client.post("/api/v1/updates/install", "").await.status, 400);
    let trail = rig.store.trail();
    assert!(trail.contains(&"anna update.begin for the next start done".to_owned()), "{trail:?}");
}

#[tokio::test]
async fn a_backup_holds_everything_so_that_nobody_but_an_admin_has_it() {
    for role in [Role::Engineer, Role::Clinician, Role::Auditor, Role::Integrator] {
        let mut rig = Rig::fresh().await;
        rig.add_user("cleo", role);
        rig.client = rig.logged_in("cleo").await;
        for path in ["/api/v1/backups", "/api/v1/backups/a.backup"] {
            assert_eq!(rig.client.get(path).await.status, 403, "{path}");
        }
        assert_eq!(rig.client.post("/api/v1/backups/a.backup/restore", "").await.status, 403);
    }
}
