//! A hospital system that answers too late, or not at all, and what the box believes.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::common;
use crate::proof::clinic::{Clinic, Plan};
use crate::proof::oracle::Wrong;
use crate::{Sabotage, nothing_is};

/// Control ids of the messages it took.
type Taken = Arc<Mutex<(usize, HashSet<String>)>>;

/// Takes the first message of three and answers when the box has given up; takes the second; loses the third.
async fn serve(mut socket: TcpStream, taken: Taken) -> Option<()> {
    let mut inbox = Vec::new();
    loop {
        let Some(end) = inbox.windows(2).position(|pair| pair == [0x1c, 0x0d]) else {
            if socket.read_buf(&mut inbox).await.ok()? == 0 {
                return None;
            }
            continue;
        };
        let block: Vec<u8> = inbox.drain(..end + 2).collect();
        let message = String::from_utf8_lossy(&block[1..end]).into_owned();
        let fields: Vec<&str> = message.split('|').collect();
        // MSH-3 and MSH-10: both monitors count from 1.
        let (sender, id) = (fields[2].to_owned(), fields[9].to_owned());
        let count = {
            let mut all = taken.lock().unwrap();
            all.0 += 1;
            if !all.0.is_multiple_of(3) {
                all.1.insert(format!("{sender} {id}"));
            }
            all.0
        };
        match count % 3 {
            0 => continue,
            1 => tokio::time::sleep(Duration::from_millis(1_300)).await,
            _ => {}
        }
        let ack = format!("\u{b}MSH|^~\\&|EHR|H|BOX|W|1||ACK|A{count}|P|2.5\rMSA|AA|{id}\r\u{1c}\r");
        socket.write_all(ack.as_bytes()).await.ok()?;
    }
}

pub(crate) async fn late(sabotage: Sabotage) -> Vec<Wrong> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let taken = Taken::default();
    let list = Arc::clone(&taken);
    let task = tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket, Arc::clone(&list)));
        }
    });
    let more = format!(
        "[[destination]]\nname = \"ehr\"\nmllp = {{ address = \"127.0.0.1:{port}\", answer_timeout_s = 1 }}\npause_max_s = 1\n\
         [[route]]\nname = \"to-ehr\"\nfrom = [\"monitors\"]\nto = \"ehr\"\nhow = \"pass\"\n"
    );
    let plan = Plan { more, ..Plan::of("late") };
    let mut clinic = Clinic::open(plan.sabotaged(sabotage)).await;
    clinic.allow(3);
    let running = clinic.started();
    clinic.told_within(Duration::from_secs(20)).await;
    let accepted = |clinic: &Clinic| {
        let database = rusqlite::Connection::open(clinic.database()).unwrap();
        let mut all = database
            .prepare("SELECT outgoing.control, frame.bytes FROM outgoing JOIN frame ON frame.id = outgoing.entry WHERE outgoing.state = 3")
            .unwrap();
        let rows = all.query_map([], |row| {
            let bytes: Vec<u8> = row.get(1)?;
            let sender = String::from_utf8_lossy(&bytes).split('|').nth(2).unwrap_or_default().to_owned();
            Ok(format!("{sender} {}", row.get::<_, String>(0)?))
        });
        rows.unwrap().map(Result::unwrap).collect::<HashSet<String>>()
    };
    common::until(Duration::from_secs(40), "all are accepted", async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        accepted(&clinic).len() == 6
    })
    .await;
    let believed = accepted(&clinic);
    let (mut wrong, told) = clinic.finish(running).await;
    println!("{told}");
    task.abort();
    let really = taken.lock().unwrap().1.clone();
    for id in believed.difference(&really) {
        let text = format!("{id} counts as accepted, on the strength of another message's answer");
        wrong.push(Wrong::of("I5", text));
    }
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_answer_is_the_answer_of_its_own_message() {
    nothing_is(&late(None).await);
}
