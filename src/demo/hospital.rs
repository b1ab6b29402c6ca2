//! The demo's hospital: a system that admits patients, and an EHR that takes HL7 v2 over MLLP.
//!
//! The EHR does not know one of the patients when it first hears of them and answers AE; it has been told by the time
//! somebody lets the message go again. So the desk has a message that waits for a person, as it happens.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::actor::{Message as Said, Script};
use crate::clock::SharedClock;
use crate::connector::Stop;
use crate::hl7v2::{self, AckCode, Charset, Message, Path};
use crate::wire::mllp::{take_block, wrap};

/// Who the EHR learns of too late.
const LATE: &str = "SIM-0010";
const LATE_SAYS: &str = "patient SIM-0010 is not registered here yet";
/// The demo's own senders are two; more at once are none of it.
const SENDERS_MAX: usize = 8;
const MESSAGE_MAX: usize = 1 << 20;
const QUIET: Duration = Duration::from_secs(600);

/// Who lies where: number, name, birth date, sex, PV1-3.
const PATIENTS: [(&str, &str, &str, &str, &str); 5] = [
    ("SIM-0001", "Simulated^Person", "19680412", "F", "ICU^3^BED-1^Demo clinic"),
    ("SIM-0002", "Simulated^Second", "19590923", "M", "ICU^3^BED-2^Demo clinic"),
    ("SIM-0004", "Simulated^Fourth", "20110530", "F", "WARD-2^12^BED-1^Demo clinic"),
    ("SIM-0005", "Simulated^Person", "19700101", "F", "WARD-2^14^BED-1^Demo clinic"),
    (LATE, "Simulated^Newcomer", "19870714", "M", "WARD-2^14^BED-2^Demo clinic"),
];

/// An ADT message of a patient; the times are moved to now when it is said.
fn adt(event: &str, number: usize, (id, name, born, sex, place): (&str, &str, &str, &str, &str)) -> Vec<u8> {
    let time = format!("202603140700{number:02}+0000");
    let text = format!(
        "MSH|^~\\&|ADMISSIONS|DEMO|||{time}||ADT^{event}^ADT_A01|ADM{number:04}|P|2.5.1\r\
         EVN|{event}|{time}\r\
         PID|1||{id}^^^Demo clinic&2.16.840.1.113883.3.9999.1&ISO^MR||{name}^^^^^L||{born}|{sex}\r\
         PV1|1|I|{place}||||||||||||||||V{number:04}\r"
    );
    text.into_bytes()
}

/// What the admissions system says: each patient once.
///
/// # Errors
/// Never; the messages are there.
pub(super) fn admissions() -> Result<(Script, u64), String> {
    let messages: Vec<Said> = PATIENTS
        .into_iter()
        .zip(1..)
        .map(|(patient, number)| Said::of(adt("A01", number, patient)))
        .collect();
    let count = u64::try_from(messages.len()).unwrap_or(u64::MAX);
    Ok((Script::of_messages(messages, true)?, count))
}

/// The EHR.
#[derive(Clone)]
pub(super) struct Ehr {
    clock: SharedClock,
    /// Control ids of messages it has refused once.
    told: Arc<Mutex<HashSet<String>>>,
}

impl Ehr {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self { clock, told: Arc::default() }
    }

    /// Takes messages at `address` until `stop`.
    pub(super) async fn run(self, address: SocketAddr, mut stop: Stop) {
        let Ok(listener) = TcpListener::bind(address).await else { return };
        let room = Arc::new(Semaphore::new(SENDERS_MAX));
        let mut senders = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                () = stop.wait() => return,
                accepted = listener.accept() => {
                    let (Ok((socket, _)), Ok(place)) = (accepted, room.clone().try_acquire_owned()) else { continue };
                    let own = self.clone();
                    senders.spawn(async move {
                        own.serve(socket).await;
                        drop(place);
                    });
                }
                _ = senders.join_next(), if !senders.is_empty() => {}
            }
        }
    }

    async fn serve(&self, mut socket: TcpStream) {
        let mut inbox = Vec::new();
        loop {
            while let Some(message) = take_block(&mut inbox) {
                let Some(answer) = self.answer(&message) else { continue };
                if socket.write_all(&wrap(&answer)).await.is_err() {
                    return;
                }
            }
            let reading = tokio::time::timeout(QUIET, socket.read_buf(&mut inbox)).await;
            if !matches!(reading, Ok(Ok(1..))) || inbox.len() > MESSAGE_MAX {
                return;
            }
        }
    }

    fn answer(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let header = hl7v2::header(bytes)?;
        let late = is_about(bytes, LATE) && {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            told.insert(header.control_id.to_string())
        };
        let now = self.clock.now();
        let id = format!("EHR{:X}", now.micros);
        if !late {
            return hl7v2::acknowledge(bytes, AckCode::AA, "", &id, now);
        }
        // HL7 table 0357: 204 is about the message, and trying again would not help.
        let refusal = hl7v2::acknowledge(bytes, AckCode::AE, LATE_SAYS, &id, now)?;
        let text = String::from_utf8_lossy(&refusal).into_owned();
        let kept = text.split_inclusive('\r').filter(|segment| !segment.starts_with("ERR"));
        let own = format!("ERR||PID^1^3|204^Unknown key identifier^HL70357|E||||{LATE_SAYS}\r");
        Some((kept.collect::<String>() + &own).into_bytes())
    }
}

fn is_about(bytes: &[u8], id: &str) -> bool {
    let message = Message::parse(bytes, Charset::default()).message;
    let path = Path::parse("PID-3.1").ok();
    message.zip(path).is_some_and(|(message, path)| message.get(&path).text() == id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::upstream::hl7::{Answer, Verdict};

    fn answered(ehr: &Ehr, message: &[u8]) -> String {
        String::from_utf8(ehr.answer(message).unwrap()).unwrap()
    }

    #[test]
    fn one_patient_is_refused_until_somebody_lets_the_message_go_again() {
        let ehr = Ehr::new(Arc::new(SystemClock::default()));
        let (known, late) = (adt("A01", 1, PATIENTS[0]), adt("A01", 5, PATIENTS[4]));
        assert!(answered(&ehr, &known).contains("\rMSA|AA|ADM0001"));
        let refused = answered(&ehr, &late);
        assert!(refused.contains("\rMSA|AE|ADM0005") && refused.contains("not registered"), "{refused}");
        assert_eq!(refused.matches("\rERR|").count(), 1, "{refused}");
        let verdict = Answer::read(refused.as_bytes(), Charset::default()).unwrap().verdict(false);
        assert!(matches!(verdict, Verdict::Refused { .. }), "a person lets it go again: {verdict:?}");
        assert!(answered(&ehr, &late).contains("\rMSA|AA|ADM0005"));
        assert_eq!(ehr.answer(b"no message"), None);
    }

    #[tokio::test]
    async fn it_answers_over_mllp_until_it_is_stopped() {
        let ehr = Ehr::new(Arc::new(SystemClock::default()));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let (switch, stop) = Stop::pair();
        let running = tokio::spawn(ehr.run(address, stop));
        let mut socket = loop {
            match TcpStream::connect(address).await {
                Ok(socket) => break socket,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        socket.write_all(&wrap(&adt("A01", 1, PATIENTS[0]))).await.unwrap();
        let mut heard = Vec::new();
        let answer = loop {
            socket.read_buf(&mut heard).await.unwrap();
            if let Some(block) = take_block(&mut heard) {
                break block;
            }
        };
        assert!(String::from_utf8(answer).unwrap().contains("MSA|AA|ADM0001"));
        switch.send_replace(true);
        running.await.unwrap();
    }
}
