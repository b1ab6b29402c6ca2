//! The floor: the least a program can do that keeps MLLP messages before it answers them. A frame becomes one row
//! in SQLite (WAL, `synchronous=FULL`), what arrived while the last commit ran is one transaction, and the answer
//! is a fixed text with the control id. It runs as a process of its own, as Bedside does. With a server it also makes
//! the least Bundle of what was kept and posts it: split at the separators, typed, serialised, 64 messages a request.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::oneshot;

use crate::common;

const GROUP: usize = 1024;
const ARGUMENT: &str = "--serve-floor";

type Job = (Vec<u8>, oneshot::Sender<()>);

/// A running floor, killed when dropped.
pub(crate) struct Floor {
    child: Child,
    pub(crate) port: u16,
}

impl Floor {
    pub(crate) fn start(dir: &Path) -> Self {
        Self::start_as(&std::env::current_exe().unwrap(), dir, None)
    }

    /// By another program that runs this one; `server`: the FHIR base to post to.
    pub(crate) fn start_as(program: &Path, dir: &Path, server: Option<&str>) -> Self {
        let port = common::free_port();
        let mut command = Command::new(program);
        command.arg(ARGUMENT).arg(dir).arg(port.to_string()).arg(server.unwrap_or("-"));
        let child = command.spawn().unwrap();
        common::until_blocking(Duration::from_secs(10), "the floor never listened", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Self { child, port }
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Serves, if this process was started to be the floor.
pub(crate) fn serve_if_asked() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, asked, dir, port, server] = arguments.as_slice()
        && asked == ARGUMENT
    {
        let (queue, inbox) = mpsc::sync_channel(4096);
        let database = PathBuf::from(dir).join("floor.db");
        let (onward, kept) = tokio::sync::mpsc::channel(1 << 16);
        let onward = (server != "-").then_some(onward);
        std::thread::spawn(move || keep(&database, &inbox, onward.as_ref()));
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.spawn(post(server.clone(), kept));
        runtime.block_on(listen(port.parse().unwrap(), queue));
    }
}

fn keep(database: &Path, inbox: &mpsc::Receiver<Job>, onward: Option<&Sender<Vec<u8>>>) {
    let db = rusqlite::Connection::open(database).unwrap();
    db.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE m (id INTEGER PRIMARY KEY, bytes BLOB)",
    )
    .unwrap();
    while let Ok(first) = inbox.recv() {
        let mut group = vec![first];
        group.extend(std::iter::from_fn(|| inbox.try_recv().ok()).take(GROUP - 1));
        db.execute_batch("BEGIN").unwrap();
        for (bytes, _) in &group {
            db.prepare_cached("INSERT INTO m (bytes) VALUES (?1)").unwrap().execute([bytes]).unwrap();
        }
        db.execute_batch("COMMIT").unwrap();
        for (bytes, told) in group {
            let _sender_left = told.send(());
            if let Some(onward) = onward {
                onward.blocking_send(bytes).unwrap();
            }
        }
    }
}

async fn listen(port: u16, queue: mpsc::SyncSender<Job>) {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        tokio::spawn(answer(stream, queue.clone()));
    }
}

async fn answer(mut stream: TcpStream, queue: mpsc::SyncSender<Job>) {
    let mut buffer = Vec::with_capacity(8192);
    loop {
        let end = loop {
            if let Some(end) = buffer.windows(2).position(|pair| pair == b"\x1c\r") {
                break end + 2;
            }
            match stream.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        };
        let frame: Vec<u8> = buffer.drain(..end).collect();
        let id = String::from_utf8_lossy(frame.split(|byte| *byte == b'|').nth(9).unwrap()).into_owned();
        let (told, kept) = oneshot::channel();
        queue.send((frame, told)).unwrap();
        kept.await.unwrap();
        let text = format!("\x0bMSH|^~\\&|||||20260101||ACK^R01^ACK|{id}|P|2.6\rMSA|AA|{id}\r\x1c\r");
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

#[derive(Serialize)]
struct Bundle {
    #[serde(rename = "resourceType")]
    resource_type: &'static str,
    r#type: &'static str,
    entry: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    resource: Observation,
    request: Put,
}

#[derive(Serialize)]
struct Put {
    method: &'static str,
    url: String,
}

#[derive(Serialize)]
struct Observation {
    #[serde(rename = "resourceType")]
    resource_type: &'static str,
    id: String,
    status: &'static str,
    code: Concept,
    #[serde(rename = "valueQuantity")]
    value: Quantity,
}

#[derive(Serialize)]
struct Concept {
    text: String,
}

#[derive(Serialize)]
struct Quantity {
    value: f64,
    unit: String,
}

fn observations(message: &[u8]) -> Vec<Entry> {
    let text = String::from_utf8_lossy(message);
    let id = text.split('|').nth(9).unwrap_or_default();
    let rows = text.split('\r').filter(|row| row.starts_with("OBX|")).enumerate();
    rows.map(|(number, row)| {
        let fields: Vec<&str> = row.split('|').collect();
        let id = format!("{id}-{number}");
        let value = Quantity { value: fields[5].parse().unwrap(), unit: fields[6].to_owned() };
        let request = Put { method: "PUT", url: format!("Observation/{id}") };
        let code = Concept { text: fields[3].to_owned() };
        Entry {
            resource: Observation { resource_type: "Observation", id, status: "final", code, value },
            request,
        }
    })
    .collect()
}

/// Two requests at a time.
async fn post(base: String, mut kept: Receiver<Vec<u8>>) {
    let http = reqwest::Client::builder().build().unwrap();
    let (mut group, mut under_way) = (Vec::new(), tokio::task::JoinSet::new());
    while kept.recv_many(&mut group, 64).await > 0 {
        let entry = group.drain(..).flat_map(|message| observations(&message)).collect();
        let body = serde_json::to_vec(&Bundle { resource_type: "Bundle", r#type: "batch", entry }).unwrap();
        let request = http.post(&base).header("content-type", "application/fhir+json").body(body);
        under_way.spawn(async move { assert!(request.send().await.unwrap().status().is_success()) });
        if under_way.len() >= 2 {
            under_way.join_next().await.unwrap().unwrap();
        }
    }
    while under_way.join_next().await.is_some() {}
}
