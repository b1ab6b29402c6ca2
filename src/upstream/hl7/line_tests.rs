use super::*;
use crate::clock::SystemClock;
use std::sync::Arc;
use tokio::net::TcpListener;

const MESSAGE: &str = "MSH|^~\\&|BOX|W|EHR|H|1||ORU^R01|M1|P|2.6\rPID|1||7\r";

/// A receiver that reads one block for each line of its play and says what stands there. `!` closes.
async fn receiver(play: Vec<Vec<String>>) -> (String, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let task = tokio::spawn(async move {
        let mut heard = Vec::new();
        for connection in play {
            let (mut socket, _) = listener.accept().await.unwrap();
            for says in connection {
                let mut block = Vec::new();
                while !block.ends_with(&[0x1c, 0x0d]) {
                    if socket.read_buf(&mut block).await.unwrap_or(0) == 0 {
                        break;
                    }
                }
                heard.push(String::from_utf8_lossy(&block).into_owned());
                for part in says.split('+').filter(|part| !part.is_empty()) {
                    match part {
                        "!" => break,
                        "~" => tokio::time::sleep(Duration::from_millis(120)).await,
                        part => socket.write_all(ack(part).as_bytes()).await.unwrap(),
                    }
                }
            }
        }
        heard
    });
    (address, task)
}

/// `AA M1` as an acknowledgement in its block; `AA M1 bare` without one; `AA M1 AL` asks to be acknowledged.
fn ack(words: &str) -> String {
    let words: Vec<&str> = words.split(' ').collect();
    let asks = if words.contains(&"AL") { "|||AL" } else { "" };
    let text = format!("MSH|^~\\&|EHR|H|||1||ACK|9|P|2.5{asks}\rMSA|{}|{}\r", words[0], words[1]);
    if words.contains(&"bare") { text } else { format!("\u{b}{text}\u{1c}\r") }
}

fn line(address: &str, seconds: u64) -> Line {
    let text = format!("address = \"{address}\"\nanswer_timeout_s = {seconds}");
    Line::new(
        toml::from_str(&text).unwrap(),
        crate::hl7v2::Charset::default(),
        Arc::new(SystemClock::default()),
    )
}

const fn sent(acknowledge: Acknowledge, application: bool) -> Sent<'static> {
    Sent { message: MESSAGE.as_bytes(), control_id: "M1", acknowledge, application }
}

fn play(connections: &[&[&str]]) -> Vec<Vec<String>> {
    connections.iter().map(|one| one.iter().map(|says| (*says).to_owned()).collect()).collect()
}

fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answered(answer) => answer.line(),
        Outcome::Committed(answer) => format!("committed {}", answer.line()),
        Outcome::Unanswered { why } => format!("unanswered: {why}"),
        Outcome::Unreachable { why } => format!("unreachable: {why}"),
    }
}

#[tokio::test]
async fn a_message_goes_out_as_it_is_and_its_answer_comes_back() {
    let (address, heard) = receiver(play(&[&["AA M1", "AE M1"]])).await;
    let mut line = line(&address, 5);
    assert_eq!(told(&line.deliver(&sent(Acknowledge::Original, false)).await), "AA");
    assert_eq!(told(&line.deliver(&sent(Acknowledge::Original, false)).await), "AE");
    assert_eq!(heard.await.unwrap()[0], format!("\u{b}{MESSAGE}\u{1c}\r"));
}

#[tokio::test]
async fn the_answer_to_another_message_is_nobodys() {
    let (address, _heard) = receiver(play(&[&["CA M0+AE M0+CR M0+AA M1"], &[]])).await;
    let mut line = line(&address, 5);
    assert_eq!(told(&line.deliver(&sent(Acknowledge::Original, false)).await), "AA");
    assert_eq!(line.take_later().len(), 1, "an application's answer may be to an earlier message");
    assert!(line.take_foreign() >= 1);
    assert_eq!(line.take_foreign(), 0);
}

#[tokio::test]
async fn without_an_answer_the_connection_is_closed_and_a_late_answer_finds_nobody() {
    let (address, _heard) = receiver(play(&[&[""], &["AA M1"]])).await;
    let mut line = line(&address, 1);
    let first = told(&line.deliver(&sent(Acknowledge::Original, false)).await);
    assert!(first.starts_with("unanswered") && first.contains("closed the connection"), "{first}");
    assert!(!line.is_open());
    assert_eq!(told(&line.deliver(&sent(Acknowledge::Original, false)).await), "AA");
}

#[tokio::test]
async fn a_receiver_that_says_nothing_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut line = line(&listener.local_addr().unwrap().to_string(), 1);
    let outcome = told(&line.deliver(&sent(Acknowledge::Original, false)).await);
    assert!(outcome.contains("did not answer within 1 s"), "{outcome}");
    assert!(!line.is_open());
}

#[tokio::test]
async fn nobody_there_is_told_as_not_sent() {
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let outcome = told(&line(&address, 1).deliver(&sent(Acknowledge::Original, false)).await);
    assert!(outcome.starts_with("unreachable") && outcome.contains(&address), "{outcome}");
}

#[tokio::test]
async fn a_connection_that_was_closed_while_it_idled_costs_no_try() {
    let (address, heard) = receiver(play(&[&["AA M1+!"], &["AA M1"]])).await;
    let mut line = line(&address, 5);
    assert_eq!(told(&line.deliver(&sent(Acknowledge::Original, false)).await), "AA");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(told(&line.deliver(&sent(Acknowledge::Original, false)).await), "AA");
    assert_eq!(heard.await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_commit_is_not_taken_for_the_applications_answer() {
    let (address, _heard) = receiver(play(&[&["CA M1", "CA M1+AA M1", "CA M1+~+AA M1"], &["AA M1"]])).await;
    let mut line = line(&address, 5);
    assert_eq!(told(&line.deliver(&sent(Acknowledge::Enhanced, false)).await), "CA");
    assert_eq!(told(&line.deliver(&sent(Acknowledge::Original, false)).await), "AA");
    assert_eq!(told(&line.deliver(&sent(Acknowledge::Enhanced, true)).await), "committed CA");
    line.hear(Instant::now() + Duration::from_secs(5)).await;
    let later = line.take_later();
    assert_eq!((later.len(), later[0].line().as_str()), (1, "AA"));
}

#[tokio::test]
async fn a_commit_where_one_answer_is_waited_for_is_the_receivers_word() {
    let (address, _heard) = receiver(play(&[&["CA M1"], &[]])).await;
    let mut line = line(&address, 1);
    assert_eq!(told(&line.deliver(&sent(Acknowledge::Original, false)).await), "CA");
}

#[tokio::test]
async fn bare_answers_are_read_and_asked_for_commits_are_given() {
    let (address, heard) = receiver(play(&[&["AA M1 bare", "AA M1 AL", ""]])).await;
    let mut line = line(&address, 5);
    assert_eq!(told(&line.deliver(&sent(Acknowledge::Original, false)).await), "AA");
    assert_eq!(told(&line.deliver(&sent(Acknowledge::Original, false)).await), "AA");
    let heard = heard.await.unwrap();
    assert!(heard[2].contains("\rMSA|CA|9\r"), "{}", heard[2]);
}
