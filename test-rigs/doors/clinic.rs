//! A box with a desk, a server upstream and the links a rig asks for; and how to look into it.
#![allow(dead_code, reason = "each rig uses its part of this module")]

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::common::{self, Bedside, FhirServer};
use crate::desk::Desk;

const PASSWORD: &str = "correct horse battery rig";
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Clinic {
    pub(crate) server: FhirServer,
    pub(crate) bedside: Bedside,
    pub(crate) desk: Desk,
    pub(crate) config: String,
    desk_port: u16,
    // Last: the folder goes when everything in it is closed.
    pub(crate) dir: tempfile::TempDir,
}

/// How a clinic differs from most.
pub(crate) struct Plan<'a> {
    pub(crate) name: &'a str,
    /// `[[link]]` and `[broker]` sections; `{dir}` stands for the clinic's folder.
    pub(crate) links: String,
    /// Further lines of `[buffer]`.
    pub(crate) buffer: &'a str,
    /// Where the data go, instead of the clinic's folder.
    pub(crate) data: Option<&'a Path>,
    pub(crate) log: &'a str,
    pub(crate) password: &'a str,
    pub(crate) takes_ids: bool,
    /// A folder of further secrets.
    pub(crate) secrets: Option<std::path::PathBuf>,
}

impl Plan<'_> {
    pub(crate) fn of(name: &str, links: String) -> Plan<'_> {
        Plan {
            name,
            links,
            buffer: "",
            data: None,
            log: "info",
            password: PASSWORD,
            takes_ids: true,
            secrets: None,
        }
    }
}

impl Clinic {
    pub(crate) async fn open(name: &str, links: String) -> Self {
        Self::planned(Plan::of(name, links)).await
    }

    pub(crate) async fn planned(plan: Plan<'_>) -> Self {
        let dir = common::scratch(plan.name);
        let server = FhirServer::start_with(|config| config.takes_ids = plan.takes_ids).await;
        let desk_port = common::free_port();
        let own = dir.path().join("data");
        let config = format!(
            "secrets = \"{0}/secrets\"\n[site]\nname = \"Rig\"\nzone = \"Europe/Berlin\"\n[buffer]\ndir = \"{1}\"\n{2}\n\
             [log]\nformat = \"json\"\nfilter = \"{3}\"\n[access]\nsecond_factor = []\n[desk]\nlisten = \"127.0.0.1:{desk_port}\"\n\
             [delivery]\npause_max_s = 1\n{4}\n{5}",
            dir.path().display(),
            plan.data.unwrap_or(&own).display(),
            plan.buffer,
            plan.log,
            server.upstream_section(dir.path()),
            plan.links.replace("{dir}", &dir.path().display().to_string()),
        );
        for secret in plan.secrets.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap()) {
            let from = secret.unwrap().path();
            std::fs::copy(&from, dir.path().join("secrets").join(from.file_name().unwrap())).unwrap();
        }
        let bedside = Bedside::start(dir.path(), &config, desk_port);
        let mut clinic = Self { server, bedside, desk: Desk::new(desk_port, ""), config, desk_port, dir };
        let fingerprint = clinic.console("SHA-256 fingerprint: ");
        clinic.desk = Desk::new(desk_port, &fingerprint);
        clinic
            .desk
            .set_up(&clinic.console("One-time set-up code for the first account: "), plan.password)
            .await;
        clinic
    }

    /// What the console says after `words`.
    fn console(&self, words: &str) -> String {
        let mut said = None;
        common::until_blocking(PATIENCE, words, || {
            let log = self.bedside.log();
            said = log.lines().find_map(|line| line.split(words).nth(1).map(|text| text.trim().to_owned()));
            said.is_some()
        });
        said.unwrap()
    }

    pub(crate) fn desk_port(&self) -> u16 {
        self.desk_port
    }

    /// Stops the box and starts it again with another configuration; the session goes on.
    pub(crate) fn restart_with(&mut self, change: impl FnOnce(&str) -> String) {
        assert!(self.bedside.stop().success());
        self.config = change(&self.config);
        self.bedside = Bedside::start(self.dir.path(), &self.config, self.desk_port);
    }

    /// Starts it again as it was.
    pub(crate) fn restart(&mut self) {
        self.bedside = Bedside::start(self.dir.path(), &self.config, self.desk_port);
    }

    /// Ends the box as a power cut would, and starts it again.
    pub(crate) fn kill_and_restart(&mut self) {
        self.bedside.kill();
        self.bedside = Bedside::start(self.dir.path(), &self.config, self.desk_port);
    }

    /// One number of `/metrics`; 0 when there is no such line.
    pub(crate) async fn metric(&self, name: &str, labels: &str) -> u64 {
        let text = self.desk.get("/metrics").await.text;
        let line = text.lines().find(|line| line.starts_with(name) && line.contains(labels));
        line.and_then(|line| line.rsplit(' ').next()).and_then(|n| n.parse().ok()).unwrap_or(0)
    }

    /// Notes of a link under a code.
    pub(crate) async fn notes(&self, link: &str, code: &str) -> u64 {
        let labels = format!("{{link=\"{link}\",code=\"{code}\"}}");
        self.metric("bedside_link_notes_total", &labels).await
    }

    /// All entries in a state, oldest first.
    pub(crate) async fn entries(&self, state: &str) -> Vec<Value> {
        let page = self.desk.get(&format!("/api/v1/entries?limit=200&state={state}")).await.json();
        let mut entries = page["entries"].as_array().unwrap_or_else(|| panic!("no entries: {page}")).clone();
        entries.reverse();
        entries
    }

    /// Waits until `accepted` entries are accepted, `held` are held and nothing else is there; `status` and the desk
    /// must agree. Returns the reasons of the held ones, oldest first.
    pub(crate) async fn settled(&self, accepted: u64, held: u64) -> Vec<String> {
        let expected = serde_json::json!({ "waiting": 0, "sent": 0, "accepted": accepted, "held": held });
        let mut seen = Value::Null;
        let began = std::time::Instant::now();
        while seen != expected {
            assert!(
                began.elapsed() < PATIENCE,
                "{seen} instead of {expected}\n{:#?}\n{}",
                self.entries("held").await,
                self.bedside.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
            seen = self.desk.get("/api/v1/entries").await.json()["counts"].clone();
        }
        assert_eq!(self.bedside.status()["counts"], expected, "the command line says what the desk says");
        let entries = self.entries("held").await;
        assert_eq!(entries.len() as u64, held);
        let mut reasons = Vec::new();
        for entry in &entries {
            let reason = entry["reason"].as_str().unwrap_or_default();
            assert!(reason.len() > 10, "a held entry says why: {entry}");
            reasons.push(reason.to_owned());
        }
        reasons
    }

    /// Lets every held entry go.
    pub(crate) async fn release_all(&self) {
        for entry in self.entries("held").await {
            let answer = self.desk.post(&format!("/api/v1/entries/{}/release", entry["id"]), "").await;
            assert_eq!(answer.status, 202, "{}", answer.text);
        }
    }

    /// The link's state and detail in the overview.
    pub(crate) async fn link(&self, name: &str) -> (String, String) {
        let overview = self.desk.get("/api/v1/overview").await.json();
        let links = overview["links"].as_array().unwrap();
        let link = links.iter().find(|link| link["name"] == name).unwrap();
        (link["state"].as_str().unwrap().into(), link["detail"].as_str().unwrap().into())
    }

    /// The codes of the alarms in the overview.
    pub(crate) async fn alarms(&self) -> Vec<String> {
        let overview = self.desk.get("/api/v1/overview").await.json();
        let alarms = overview["alarms"].as_array().unwrap().iter();
        alarms.map(|alarm| alarm["code"].as_str().unwrap().to_owned()).collect()
    }

    /// The Observations on the server whose text holds `needle`.
    pub(crate) fn observations(&self, needle: &str) -> Vec<Value> {
        let store = &self.server.running.store;
        let all = store.ids("Observation").into_iter().filter_map(|id| store.resource("Observation", &id));
        all.filter(|tree| tree.to_string().contains(needle)).collect()
    }

    /// How many Observations on the server have this value, digit by digit, or a part that has it.
    pub(crate) fn valued(&self, value: &str) -> usize {
        let written: Value = serde_json::from_str(value).unwrap();
        let quantity = |tree: &Value| tree["valueQuantity"]["value"] == written;
        let parts =
            |tree: &Value| tree["component"].as_array().is_some_and(|parts| parts.iter().any(quantity));
        self.observations("").iter().filter(|tree| quantity(tree) || parts(tree)).count()
    }
}
