//! A duplex pipe in place of a line.

use tokio::io::{DuplexStream, duplex};

use super::super::rig::FakeIntake;
use super::*;
use crate::clock::TestClock;
use crate::wire::astm::{AstmFramer, Settings, frame};
use crate::wire::lines::{self, LineFramer};

fn connection(intake: &Arc<FakeIntake>) -> Connection {
    let (intake, clock): (Arc<dyn Intake>, SharedClock) = (intake.clone(), TestClock::at(0));
    Connection { peer: "pipe".into(), ..Connection::new(&"lab".into(), &intake, &clock) }
}

fn start(
    intake: &Arc<FakeIntake>,
    framer: Box<dyn Framer>,
) -> (DuplexStream, tokio::task::JoinHandle<Ended>) {
    let (near, far) = duplex(4096);
    let connection = connection(intake);
    let task = tokio::spawn(async move {
        let (_switch, mut stop) = Stop::pair();
        connection.drive(far, framer, &mut stop).await
    });
    (near, task)
}

fn astm(intake: &Arc<FakeIntake>) -> (DuplexStream, tokio::task::JoinHandle<Ended>) {
    start(intake, Box::new(AstmFramer::new(Settings::default())))
}

async fn said(line: &mut DuplexStream) -> Option<u8> {
    tokio::time::timeout(Duration::from_millis(50), line.read_u8()).await.ok().map(Result::unwrap)
}

#[tokio::test]
async fn a_frame_in_the_middle_is_acknowledged_when_its_part_is_kept() {
    let intake = FakeIntake::shut();
    let (mut line, _task) = astm(&intake);
    line.write_all(&[5]).await.unwrap();
    assert_eq!(said(&mut line).await, Some(6));
    line.write_all(&frame(1, b"H|\\^&\r", true)).await.unwrap();
    assert_eq!(said(&mut line).await, None);
    intake.let_through(1);
    assert_eq!(said(&mut line).await, Some(6));
    line.write_all(&frame(2, b"L|1\r", true)).await.unwrap();
    assert_eq!(said(&mut line).await, None);
    intake.let_through(1);
    assert_eq!(said(&mut line).await, Some(6));
    assert_eq!(intake.messages(), ["H|\\^&\rL|1\r"]);
    assert_eq!(intake.parts.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_line_cut_in_a_transmission_hands_the_parts_to_a_person() {
    let intake = FakeIntake::open();
    let (mut line, task) = astm(&intake);
    line.write_all(&[&[5], frame(1, b"H|\\^&\r", true).as_slice(), b"\x022P|"].concat()).await.unwrap();
    assert_eq!((said(&mut line).await, said(&mut line).await), (Some(6), Some(6)));
    drop(line);
    assert_eq!(task.await.unwrap(), Ended::Closed);
    assert_eq!(intake.codes(), ["half-frame", "broken-transmission"]);
    assert!(intake.broken.lock().unwrap()[0].contains("6 bytes of a message"));
}

#[tokio::test]
async fn the_beginning_of_the_next_message_is_kept_after_the_one_before_it() {
    let intake = FakeIntake::shut();
    let (mut line, _task) = astm(&intake);
    line.write_all(&[&[5], frame(1, b"H|a\rL|1\rH|b\r", false).as_slice()].concat()).await.unwrap();
    assert_eq!((said(&mut line).await, said(&mut line).await), (Some(6), None));
    assert_eq!((intake.messages().len(), intake.parts.lock().unwrap().len()), (1, 0), "not both at once");
    intake.let_through(1);
    assert_eq!(said(&mut line).await, None);
    assert_eq!(intake.parts.lock().unwrap().len(), 1);
    intake.let_through(1);
    assert_eq!(said(&mut line).await, Some(6));
}

#[tokio::test]
async fn a_refused_frame_gets_a_nak_and_may_come_again() {
    let intake = FakeIntake::refusing(1, true);
    let (mut line, _task) = astm(&intake);
    let whole = frame(1, b"H|\\^&\rL|1\r", true);
    line.write_all(&[&[5], whole.as_slice()].concat()).await.unwrap();
    assert_eq!((said(&mut line).await, said(&mut line).await), (Some(6), Some(0x15)));
    line.write_all(&whole).await.unwrap();
    assert_eq!(said(&mut line).await, Some(6));
}

const QUERY: &[u8] = b"H|\\^&\rQ|1|^S-1||ALL\rL|1\r";
const ORDERS: &[u8] = b"H|\\^&\rP|1\rO|1|S-1||^^^TSH|R\rL|1\r";

/// A line on which an analyser has asked for the orders of a specimen.
async fn asked(intake: &Arc<FakeIntake>) -> (DuplexStream, tokio::task::JoinHandle<Ended>) {
    *intake.reply.lock().unwrap() =
        Some(Reply { acknowledgement: None, message: ORDERS.to_vec(), reference: "order-7".into() });
    let (mut line, task) = astm(intake);
    line.write_all(&[&[5], frame(1, QUERY, true).as_slice(), &[4]].concat()).await.unwrap();
    assert_eq!((said(&mut line).await, said(&mut line).await), (Some(6), Some(6)));
    assert_eq!(line.read_u8().await.unwrap(), 5, "the orders begin with an enquiry");
    (line, task)
}

#[tokio::test]
async fn a_query_that_is_kept_is_answered_on_the_same_connection() {
    let intake = FakeIntake::open();
    let (mut line, _task) = asked(&intake).await;
    let mut taken = Vec::new();
    for (record, number) in ORDERS.split_inclusive(|byte| *byte == b'\r').zip(1..) {
        line.write_all(&[6]).await.unwrap();
        let mut bytes = vec![0; record.len() + 7];
        line.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes, frame(number, record, true));
        taken.extend_from_slice(record);
    }
    assert!(intake.replied.lock().unwrap().is_empty(), "the last frame is not acknowledged yet");
    line.write_all(&[6]).await.unwrap();
    assert_eq!((line.read_u8().await.unwrap(), taken.as_slice()), (4, ORDERS));
    intake.until("sent", |intake| *intake.replied.lock().unwrap() == [("order-7".into(), Ok(()))]).await;
}

#[tokio::test]
async fn orders_that_the_analyser_did_not_take_whole_are_said_to_be_unsent() {
    let intake = FakeIntake::open();
    let (mut line, task) = asked(&intake).await;
    line.write_all(&[6, 6]).await.unwrap();
    drop(line);
    task.await.unwrap();
    let replied = intake.replied.lock().unwrap().clone();
    assert!(matches!(replied.as_slice(), [(reference, Err(_))] if &**reference == "order-7"), "{replied:?}");
}

#[tokio::test]
async fn a_query_that_could_not_be_kept_is_not_answered() {
    let intake = FakeIntake::refusing(1, false);
    *intake.reply.lock().unwrap() =
        Some(Reply { acknowledgement: None, message: ORDERS.to_vec(), reference: "order-7".into() });
    let (mut line, _task) = astm(&intake);
    line.write_all(&[&[5], frame(1, QUERY, true).as_slice(), &[4]].concat()).await.unwrap();
    assert_eq!((said(&mut line).await, said(&mut line).await), (Some(6), Some(0x15)));
    assert!(tokio::time::timeout(Duration::from_millis(500), line.read_u8()).await.is_err());
}

#[tokio::test]
async fn timers_of_the_framer_run_on_the_line() {
    let intake = FakeIntake::open();
    let settings = lines::Settings { idle_ms: Some(50), ..lines::Settings::default() };
    let (mut line, _task) = start(&intake, Box::new(LineFramer::new(settings)));
    line.write_all(b"72.5 kg").await.unwrap();
    intake.until("the line that silence ended", |intake| intake.messages() == ["72.5 kg"]).await;
}

#[tokio::test]
async fn a_quiet_line_is_said_once_and_up_again_when_it_speaks() {
    let intake = FakeIntake::open();
    let up = LinkState::Up { detail: String::from("here"), connections: 1 };
    let quiet = Quiet { after: Duration::from_millis(100), up: up.clone(), gone: Arc::new(|| false) };
    let connection = Connection { quiet: Some(quiet), ..connection(&intake) };
    let (mut line, far) = duplex(100);
    let (_switch, mut stop) = Stop::pair();
    let framer = Box::new(LineFramer::new(lines::Settings::default()));
    tokio::spawn(async move { connection.drive(far, framer, &mut stop).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(intake.codes(), ["quiet"]);
    assert!(matches!(intake.last_state(), Some(LinkState::Quiet { .. })));
    line.write_all(b"HR=60\r\n").await.unwrap();
    intake.until("up again", |intake| intake.states.lock().unwrap().contains(&up)).await;
    intake.until("the line", |intake| intake.messages() == ["HR=60"]).await;
}

#[tokio::test]
async fn a_side_that_takes_no_answers_is_given_up() {
    let intake = FakeIntake::open();
    let (mut line, far) = duplex(64);
    let acknowledger: Acknowledger = Arc::new(|_, _, _| Some(vec![b'A'; 200]));
    let (acknowledger, patience) = (Some(acknowledger), Duration::from_millis(100));
    let connection = Connection { acknowledger, patience, ..connection(&intake) };
    let (_switch, mut stop) = Stop::pair();
    line.write_all(&crate::wire::mllp::wrap(b"MSH|")).await.unwrap();
    let framer = Box::new(crate::wire::mllp::MllpFramer::new(crate::wire::mllp::Settings::default()));
    let ended = connection.drive(far, framer, &mut stop).await;
    assert!(matches!(&ended, Ended::Failed(reason) if reason.contains("took no answer")), "{ended:?}");
    assert_eq!(intake.messages(), ["MSH|"], "it is kept all the same; the sender will repeat it");
}
