//! What hospital systems say late moves results to the right patient: upstream, and at the systems they went on to.

use serde_json::{Value, json};

use crate::clinic::{Clinic, PATIENCE, Plan};
use crate::common;
use crate::routes::Receiver;
use crate::speak::Line;

/// A box with a hospital system and monitors.
struct Ward {
    clinic: Clinic,
    his: Line,
    monitors: Line,
}

impl Ward {
    /// `upstream`: further lines of `[upstream]`; `system`: of `[link.system]`; `more`: further sections.
    async fn open(name: &str, upstream: &str, system: &str, more: &str) -> Self {
        let (his, monitors) = (common::free_port(), common::free_port());
        let links = format!(
            "{upstream}\n[[link]]\nname = \"his\"\nprofile = \"hl7-system\"\nmllp = {{ listen = \"127.0.0.1:{his}\" }}\n\
             [link.system]\n{system}\n\
             [[link]]\nname = \"monitors\"\nprofile = \"ihe/pcd01-monitor\"\nmllp = {{ listen = \"127.0.0.1:{monitors}\" }}\n{more}"
        );
        let clinic = Clinic::planned(Plan::of(name, links)).await;
        Self { clinic, his: Line::to(his).await, monitors: Line::to(monitors).await }
    }

    async fn told(&mut self, message: &str) {
        assert_eq!(self.his.say(message).await.code, "AA", "{message}");
    }

    async fn measured(&mut self, message: &str) {
        assert_eq!(self.monitors.say(message).await.code, "AA");
    }

    /// Waits until the results with this value stand so: status and number of the patient, in order.
    async fn stands(&self, kind: &str, needle: &str, wanted: &[(&str, &str)]) {
        let mut wanted: Vec<(String, String)> =
            wanted.iter().map(|(status, of)| ((*status).to_owned(), (*of).to_owned())).collect();
        wanted.sort();
        let began = std::time::Instant::now();
        loop {
            let seen = self.seen(kind, needle);
            if seen == wanted {
                return;
            }
            let held = self.clinic.entries("held").await;
            assert!(
                began.elapsed() < PATIENCE,
                "{seen:?} instead of {wanted:?}\n{held:#?}\n{}",
                self.clinic.bedside.log()
            );
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    fn seen(&self, kind: &str, needle: &str) -> Vec<(String, String)> {
        let store = &self.clinic.server.running.store;
        let all = store.ids(kind).into_iter().filter_map(|id| store.resource(kind, &id));
        let of = |tree: Value| {
            let reference = tree["subject"]["reference"].as_str().unwrap_or_default();
            let patient = reference.strip_prefix("Patient/").and_then(|id| store.resource("Patient", id));
            let number =
                patient.map(|one| one["identifier"][0]["value"].as_str().unwrap_or_default().to_owned());
            (tree["status"].as_str().unwrap_or_default().to_owned(), number.unwrap_or_default())
        };
        let mut seen: Vec<_> = all.filter(|tree| tree.to_string().contains(needle)).map(of).collect();
        seen.sort();
        seen
    }

    fn provenances(&self) -> Vec<Value> {
        let store = &self.clinic.server.running.store;
        store.ids("Provenance").into_iter().filter_map(|id| store.resource("Provenance", &id)).collect()
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let reply = self.clinic.desk.post(&format!("/api/v1{path}"), &body.to_string()).await;
        (reply.status, serde_json::from_str(&reply.text).unwrap_or(Value::Null))
    }
}

/// `HHMM` of the day of most rigs, or a whole `YYYYMMDDHHMM`, in UTC.
fn stamp(at: &str) -> String {
    if at.len() == 4 { format!("20260314{at}00+0000") } else { format!("{at}00+0000") }
}

/// An event that took effect at `at` and is told at ten o'clock, or then.
fn adt(event: &str, number: &str, bed: &str, at: &str, more: &str) -> String {
    let at = stamp(at);
    let told = stamp("1000").max(at.clone());
    let visit = match bed {
        "" => String::new(),
        bed => format!("PV1|1|I|ICU^4^{bed}||||||||||||||||V{number}^^^HOSP^VN\r"),
    };
    format!(
        "MSH|^~\\&|HIS|A|BOX|W|{told}||ADT^{event}|{event}{number}{bed}|P|2.5\rEVN|{event}|{told}||||{at}\r\
         PID|1||{number}^^^HOSP^MR||NAME{number}^JANE||19800102|F|||5 Sea Lane^^Town\r{more}{visit}"
    )
}

/// A heart rate measured in a bed; the monitor knows no patient.
fn rate(value: &str, bed: &str, at: &str) -> String {
    let at = stamp(at);
    // What the monitor takes for now: its clock is right, however old the measurement is.
    let now = common::wall().strftime("%Y%m%d%H%M%S+0000");
    format!(
        "MSH|^~\\&|RIG^0123456789ABCDEF^EUI-64|W|||{now}||ORU^R01^ORU_R01|R{value}|P|2.6\rPID|||\rPV1||I|ICU^4^{bed}\r\
         OBR|1|||182777000^monitoring of patient^SCT|||{at}\r\
         OBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC|1.1.1.1|{value}|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||R\r"
    )
}

/// A laboratory report of the hospital's own system.
fn report(value: &str, number: &str, bed: &str, more: &str) -> String {
    let pid = if number.is_empty() { "PID|1||".into() } else { format!("PID|1||{number}^^^HOSP^MR||THIN") };
    let visit = if bed.is_empty() { String::new() } else { format!("PV1|1|I|ICU^4^{bed}\r") };
    format!(
        "MSH|^~\\&|LAB|L|||20260314100000+0000||ORU^R01^ORU_R01|L{value}|P|2.5.1\r{pid}\r{visit}\
         OBR|1||F-{value}|24323-8^Panel^LN|||20260314083000+0000|||||||||||||||||CH|F\r\
         OBX|1|NM|2345-7^Glucose^LN||{value}|mg/dL^^UCUM|||||F\r{more}"
    )
}

/// `"value":81` of whatever unit.
fn valued(value: &str) -> String {
    format!("\"value\":{value}")
}

/// OBX-11 of the first row with a value, PID-3.1, and OBR-3.
fn gist(message: &str) -> (String, String, String) {
    let field = |name: &str, number: usize| {
        let mut lines = message.split('\r').filter(|line| line.starts_with(name));
        let line = lines.rfind(|line| name != "OBX" || line.split('|').nth(5) != Some(""));
        line.and_then(|line| line.split('|').nth(number)).unwrap_or_default().to_owned()
    };
    let number = field("PID", 3).split('^').next().unwrap_or_default().to_owned();
    (field("OBX", 11), number, field("OBR", 3))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_transfer_takes_results_back_and_gives_them_to_who_was_in_the_bed() {
    let ehr = Receiver::start(|_, _| "AA").await;
    let onward = format!(
        "[[destination]]\nname = \"ehr\"\nmllp = {{ address = \"127.0.0.1:{}\", answer_timeout_s = 2 }}\npause_max_s = 1\n\
         [[route]]\nname = \"to-ehr\"\nfrom = [\"monitors\"]\nto = \"ehr\"\nhow = \"measurements\"\n",
        ehr.port
    );
    let mut ward = Ward::open("doors-late-transfer", "", "", &onward).await;
    ward.told(&adt("A01", "M1", "2", "0800", "")).await;
    ward.clinic.settled(1, 0).await;
    ward.measured(&rate("81", "2", "0830")).await;
    ward.stands("Observation", &valued("81"), &[("final", "M1")]).await;
    ehr.hears(1).await;
    let first = gist(&ehr.heard()[0]);
    assert_eq!((first.0.as_str(), first.1.as_str()), ("R", "M1"), "{}", ehr.heard()[0]);

    // M1 had gone to another bed before, and M2 had come: told when it was all delivered.
    ward.told(&adt("A02", "M1", "3", "0820", "")).await;
    ward.told(&adt("A01", "M2", "2", "0825", "")).await;
    let moved = [("entered-in-error", "M1"), ("final", "M2")];
    ward.stands("Observation", &valued("81"), &moved).await;
    let all = ward.provenances();
    assert_eq!(all.len(), 1, "{all:#?}");
    assert_eq!(all[0]["agent"][0]["who"]["display"], "patient administration");
    assert_eq!(all[0]["target"].as_array().unwrap().len(), 2);
    ehr.hears(3).await;
    let gists: Vec<_> = ehr.heard().iter().map(|message| gist(message)).collect();
    assert!(gists.contains(&("W".into(), "M1".into(), first.2.clone())), "posted as wrong: {gists:?}");
    let fresh = gists.iter().find(|gist| gist.1 == "M2").unwrap();
    assert_eq!(fresh.0, "R");
    assert_ne!(fresh.2, first.2, "another patient's report has another number");

    // A power cut changes nothing, once the last answer is on disk.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    ward.clinic.kill_and_restart();
    ward.clinic.settled(4, 0).await;
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    ward.stands("Observation", &valued("81"), &moved).await;
    assert_eq!((ward.provenances().len(), ehr.heard().len()), (1, 3));

    // It was M1 after all: said again as a correction.
    let port = ward.clinic.config.split("listen = \"127.0.0.1:").nth(2).unwrap();
    ward.his = Line::to(port[..port.find('"').unwrap()].parse().unwrap()).await;
    ward.told(&adt("A12", "M1", "2", "0820", "")).await;
    ward.told(&adt("A11", "M2", "2", "0825", "")).await;
    ward.stands("Observation", &valued("81"), &[("entered-in-error", "M2"), ("final", "M1")]).await;
    ehr.hears(5).await;
    let gists: Vec<_> = ehr.heard()[3..].iter().map(|message| gist(message)).collect();
    assert!(gists.contains(&("W".into(), "M2".into(), fresh.2.clone())), "{gists:?}");
    assert!(gists.iter().any(|gist| gist.0 == "C" && gist.1 == "M1"), "{gists:?}");
    let log = ward.clinic.bedside.log();
    assert!(!log.contains("NAMEM1") && !log.contains("M2^^^"), "nothing of a patient in the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_hospital_system_reports_obeys_the_same_claims() {
    let mut ward = Ward::open("doors-templated", "", "templates = true", "").await;
    ward.told(&adt("A01", "M1", "2", "0800", "")).await;
    ward.told(&adt("A01", "M2", "3", "0800", "")).await;
    ward.clinic.settled(2, 0).await;
    // The number and the bed are one person's; then two people's.
    ward.told(&report("91", "M1", "2", "")).await;
    ward.stands("Observation", &valued("91"), &[("final", "M1")]).await;
    ward.told(&report("92", "M1", "3", "")).await;
    let reasons = ward.clinic.settled(3, 1).await;
    assert!(reasons[0].starts_with("conflict"), "{}", reasons[0]);
    let doubts = ward.clinic.desk.get("/api/v1/associations/doubts?state=conflict").await.json();
    assert_eq!(doubts["doubts"][0]["device"], "his", "{doubts}");
    // A late word: M2 had left the bed, M1 had come.
    ward.told(&adt("A03", "M2", "3", "0810", "")).await;
    ward.told(&adt("A02", "M1", "3", "0815", "")).await;
    ward.stands("Observation", &valued("92"), &[("final", "M1")]).await;
    // What went out before is a conflict now: M1 was not in the bed the report names. Taken back, and held.
    ward.told(&adt("A01", "M2", "2", "0820", "")).await;
    ward.stands("Observation", &valued("91"), &[("entered-in-error", "M1")]).await;
    ward.stands("DiagnosticReport", "F-91", &[("entered-in-error", "M1")]).await;
    let provenance = &ward.provenances()[0];
    assert_eq!(provenance["target"].as_array().unwrap().len(), 2, "{provenance:#}");
    let reasons = ward.clinic.settled(6, 1).await;
    assert!(reasons[0].starts_with("conflict"), "{}", reasons[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_comes_after_its_result_says_whose_it_is() {
    let mut ward = Ward::open("doors-late-order", "", "templates = true", "").await;
    ward.told(&adt("A01", "M1", "2", "0800", "")).await;
    ward.told(&report("71", "", "", "SPM|1|S-1\r")).await;
    ward.stands("Observation", &valued("71"), &[("final", "")]).await;
    let order = "MSH|^~\\&|LIS|L|||202603141000||OML^O21|5|P|2.5\rPID|1||M1^^^HOSP^MR||TEST^P\rORC|NW|A-1\r\
        OBR|1|A-1||2345-7^Glucose^LN\rSPM|1|S-1\r";
    ward.told(order).await;
    ward.stands("Observation", &valued("71"), &[("entered-in-error", ""), ("final", "M1")]).await;
    // Cancelled: it speaks for nobody any more.
    ward.told(&order.replace("ORC|NW", "ORC|CA").replace("|5|P", "|6|P")).await;
    ward.stands("Observation", &valued("71"), &[("entered-in-error", "M1"), ("final", "")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_is_followed_where_the_site_wants_it_and_its_undoing_always() {
    let more = "[association]\non_merge = \"relink\"\n";
    let mut ward = Ward::open("doors-relink", "", "", more).await;
    ward.told(&adt("A01", "T1", "2", "0800", "")).await;
    ward.clinic.settled(1, 0).await;
    ward.measured(&rate("61", "2", "0830")).await;
    ward.stands("Observation", &valued("61"), &[("final", "T1")]).await;
    ward.told(&adt("A28", "M1", "", "0900", "")).await;
    ward.told(&adt("A40", "M1", "", "0905", "MRG|T1^^^HOSP^MR\r")).await;
    ward.stands("Observation", &valued("61"), &[("entered-in-error", "T1"), ("final", "M1")]).await;

    let (_, found) = ward.post("/people", &json!({ "text": "M1" })).await;
    let id = found["people"][0]["id"].as_u64().unwrap();
    let detail = ward.clinic.desk.get(&format!("/api/v1/people/{id}")).await.json();
    let merge = detail["merges"][0]["id"].as_u64().unwrap();
    let undo = format!("/api/v1/people/merges/{merge}/undo");
    let undone = ward.clinic.desk.post(&undo, "").await;
    assert_eq!((undone.status, &undone.json()["beyond"]), (200, &json!(0)));
    ward.stands("Observation", &valued("61"), &[("entered-in-error", "M1"), ("final", "T1")]).await;
    assert_eq!(ward.provenances().len(), 2);
    assert_eq!(ward.clinic.desk.post(&undo, "").await.status, 409);
}

/// `mode`: of `[upstream]`.
async fn thin(name: &str, mode: &str, takes_ids: bool) {
    let (his, monitors) = (common::free_port(), common::free_port());
    let links = format!(
        "mode = \"{mode}\"\n[[link]]\nname = \"his\"\nprofile = \"hl7-system\"\nmllp = {{ listen = \"127.0.0.1:{his}\" }}\n\
         [link.system]\ntemplates = true\n\
         [[link]]\nname = \"monitors\"\nprofile = \"ihe/pcd01-monitor\"\nmllp = {{ listen = \"127.0.0.1:{monitors}\" }}\n"
    );
    let mut clinic = Clinic::planned(Plan { takes_ids, ..Plan::of(name, links) }).await;
    let patients = |clinic: &Clinic| -> Vec<Value> {
        let store = &clinic.server.running.store;
        store.ids("Patient").into_iter().filter_map(|id| store.resource("Patient", &id)).collect()
    };
    let mut line = Line::to(his).await;
    // A result first: there is a patient, with what is known.
    assert_eq!(line.say(&report("51", "M7", "", "")).await.code, "AA");
    clinic.settled(1, 0).await;
    assert_eq!(patients(&clinic)[0]["name"][0]["family"], "THIN");
    // Administration tells all.
    assert_eq!(line.say(&adt("A01", "M7", "2", "0800", "")).await.code, "AA");
    clinic.settled(2, 0).await;
    let full = |clinic: &Clinic| {
        let all = patients(clinic);
        assert_eq!(all.len(), 1, "{all:#?}");
        assert_eq!(all[0]["name"][0]["family"], "NAMEM7", "{:#}", all[0]);
        assert_eq!(all[0]["birthDate"], "1980-01-02");
        assert_eq!(all[0]["address"][0]["city"], "Town");
    };
    full(&clinic);
    // A device's few words, the laboratory's, at once and after a restart: they take nothing.
    let rate = rate("52", "2", "0831").replace("PID|||", "PID|||M7^^^HOSP^MR||Thinner");
    let mut monitor = Line::to(monitors).await;
    assert_eq!(monitor.say(&rate).await.code, "AA");
    assert_eq!(line.say(&report("53", "M7", "2", "")).await.code, "AA");
    clinic.settled(4, 0).await;
    full(&clinic);
    clinic.restart_with(str::to_owned);
    clinic.bedside.wait_for_port(his);
    let mut line = Line::to(his).await;
    assert_eq!(line.say(&report("54", "M7", "2", "")).await.code, "AA");
    clinic.settled(5, 0).await;
    full(&clinic);
    let store = &clinic.server.running.store;
    let subject = format!("Patient/{}", patients(&clinic)[0]["id"].as_str().unwrap());
    for value in ["51", "52", "53", "54"] {
        let all = clinic.observations(&valued(value));
        assert!(all.iter().any(|one| one["subject"]["reference"] == subject.as_str()), "{value}");
    }
    // What administration says next counts.
    let moved =
        adt("A08", "M7", "2", "0900", "").replace("Sea Lane", "Hill Road").replace("NAMEM7", "NEWNAME");
    assert_eq!(line.say(&moved).await.code, "AA");
    clinic.settled(6, 0).await;
    assert_eq!(patients(&clinic)[0]["name"][0]["family"], "NEWNAME");
    assert_eq!(store.ids("Patient").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_never_takes_from_a_patient_what_administration_said_put() {
    thin("doors-thin-put", "put", true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_never_takes_from_a_patient_what_administration_said_conditional() {
    thin("doors-thin-conditional", "conditional", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_association_ends_with_the_patients_stay_or_the_sites_longest_time() {
    let now = common::wall();
    let ago = |minutes: i64| now - jiff::Span::new().minutes(minutes);
    let short = |minutes: i64| ago(minutes).strftime("%Y%m%d%H%M").to_string();
    let mut ward = Ward::open("doors-endings", "", "", "[association]\ntimeout_h = 2\n").await;
    for (number, bed) in [("M1", "2"), ("M2", "3"), ("M3", "4")] {
        ward.told(&adt("A01", number, bed, &short(200), "")).await;
    }
    ward.clinic.settled(3, 0).await;
    // Carried monitors, one each, that say neither bed nor patient.
    let carried = |device: usize, value: &str, minutes: i64| {
        let text = rate(value, "", &short(minutes)).replace("PV1||I|ICU^4^\r", "");
        text.replace("0123456789ABCDEF", &format!("0123456789ABCDE{device}"))
    };
    let since = [100, 100, 180];
    for (device, since) in since.into_iter().enumerate() {
        ward.measured(&carried(device, &format!("4{device}"), since - 5)).await;
    }
    ward.clinic.settled(3, 3).await;
    let standing = ward.clinic.desk.get("/api/v1/associations").await.json();
    let key = |device: usize| {
        let mut all = standing["devices"].as_array().unwrap().iter().map(|one| one["key"].as_str().unwrap());
        all.find(|key| key.ends_with(&format!("ABCDE{device}"))).unwrap().to_owned()
    };
    let numbers = ["M1", "M2", "M3"];
    for (device, number) in numbers.into_iter().enumerate() {
        let wanted = json!({ "device": key(device), "from": ago(since[device]).to_string(),
            "patient": { "system": "urn:bedside:authority:HOSP", "id": number, "family": "X" } });
        let (status, done) = ward.post("/associations", &wanted).await;
        assert_eq!((status, &done["released"]), (201, &json!(1)), "{done}");
        ward.stands("Observation", &valued(&format!("4{device}")), &[("final", number)]).await;
    }
    // M1 leaves the house, M2 the bed; M3 stays, and nobody takes the monitor off.
    ward.told(&adt("A03", "M1", "2", &short(60), "")).await;
    ward.told(&adt("A02", "M2", "9", &short(60), "")).await;
    let ended = async |device: usize| {
        let path: String = key(device).bytes().map(|byte| format!("%{byte:02X}")).collect();
        let timeline = ward.clinic.desk.get(&format!("/api/v1/associations/devices/{path}")).await.json();
        timeline["associations"][0]["ended_by"].clone()
    };
    for (device, word) in ["discharge", "transfer", "timeout"].into_iter().enumerate() {
        common::until(PATIENCE, word, async || ended(device).await == word).await;
    }
    // Behind the end it is nobody's; before it, theirs.
    for (device, since) in since.into_iter().enumerate() {
        ward.measured(&carried(device, &format!("3{device}"), since - 10)).await;
        ward.measured(&carried(device, &format!("2{device}"), 20)).await;
    }
    ward.clinic.settled(11, 3).await;
    for (device, number) in numbers.into_iter().enumerate() {
        ward.stands("Observation", &valued(&format!("3{device}")), &[("final", number)]).await;
        ward.stands("Observation", &valued(&format!("2{device}")), &[]).await;
    }
}
