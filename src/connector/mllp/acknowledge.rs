//! What a message is answered: original or enhanced mode, as it asks and as the link's policy says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::Receipt;
use crate::clock::SharedClock;
use crate::hl7v2::{AckCode, Answers, Header, Outcome, acknowledge, header};
use crate::wire::Codec;
use crate::wire::mllp::{Acknowledge, join};

/// What a message is answered under a policy.
fn answers(policy: Acknowledge, header: Option<&Header<'_>>, outcome: Outcome) -> Answers {
    // HL7 2.5 §2.9: an acknowledgement is not acknowledged.
    if policy == Acknowledge::Never || header.is_some_and(|header| header.message_type == "ACK") {
        return Answers::default();
    }
    let Some(header) = header else { return Answers::original(outcome) };
    let asked = header.answers(outcome);
    match policy {
        Acknowledge::Never => Answers::default(),
        Acknowledge::Original => Answers::original(outcome),
        Acknowledge::Msh => asked,
        Acknowledge::Always if asked.is_silence() => Answers::original(outcome),
        Acknowledge::Always => asked,
        Acknowledge::Enhanced if header.accept_condition.trim().is_empty() => {
            Answers::asked("AL", &header.application_condition, outcome)
        }
        Acknowledge::Enhanced => asked,
    }
}

/// Writes answers as a policy wants them.
pub(super) fn of_policy(policy: Acknowledge, clock: SharedClock) -> Acknowledger {
    // Unique over restarts, and within the 20 characters that MSH-10 has in old versions.
    let control_id = AtomicU64::new(u64::try_from(clock.now().micros).unwrap_or(0));
    Arc::new(move |message, receipt, own| {
        let (outcome, text) = match receipt {
            Receipt::Kept { .. } => (Outcome::Kept, ""),
            Receipt::Refused { full: true, reason } => (Outcome::Rejected, reason.as_str()),
            Receipt::Refused { full: false, reason } => (Outcome::Failed, reason.as_str()),
        };
        let header = header(message);
        let answers = answers(policy, header.as_ref(), outcome);
        let write = |code| {
            let control_id = format!("{:X}", control_id.fetch_add(1, Ordering::Relaxed));
            let now = clock.now();
            // What has no MSH is kept for a person: sending it again as it is would not help.
            acknowledge(message, code, text, &control_id, now)
                .or_else(|| acknowledge(HEADLESS, AckCode::AR, "no MSH segment", &control_id, now))
        };
        let commit = answers.commit.and_then(write);
        let application = own.or_else(|| answers.application.and_then(write));
        let blocks: Vec<Vec<u8>> = commit.into_iter().chain(application).collect();
        (!blocks.is_empty()).then(|| join(&blocks))
    })
}

/// Writes the answer to a message whose receipt is known; `None` sends nothing. The last argument is an answer of the
/// application that takes the place of its plain acknowledgement (a response to a query).
pub type Acknowledger = Arc<dyn Fn(&[u8], &Receipt, Option<Vec<u8>>) -> Option<Vec<u8>> + Send + Sync>;

/// The answers of a link whose page speaks MLLP, over a serial line or in a TCP link; `None` for every other codec.
pub fn acknowledger(codec: &Codec, clock: &SharedClock) -> Option<Acknowledger> {
    match codec {
        Codec::Mllp(settings) => Some(of_policy(settings.acknowledge, clock.clone())),
        _ => None,
    }
}

/// The header a message without one would have had.
const HEADLESS: &[u8] = b"MSH|^~\\&|||||||ACK||P|2.3.1\r";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::TestClock;

    const KEPT: Receipt = Receipt::Kept { duplicate: false };
    const AGAIN: Receipt = Receipt::Kept { duplicate: true };

    fn refused(full: bool) -> Receipt {
        Receipt::Refused { full, reason: "no room".into() }
    }

    fn message(conditions: &str) -> String {
        format!("MSH|^~\\&|MON|WARD|BOX|GATE|20260301||ORU^R01^ORU_R01|M1|P|2.5.1|||{conditions}\rPID|1\r")
    }

    /// MSA-1 of each block of the answer.
    fn codes(policy: Acknowledge, message: &str, receipt: &Receipt) -> String {
        let write = of_policy(policy, TestClock::at(1_800_000_000_000_000));
        let Some(answer) = write(message.as_bytes(), receipt, None) else { return String::new() };
        let answer = String::from_utf8(answer).unwrap();
        let code = |block: &str| {
            let msa = block.split('\r').find(|line| line.starts_with("MSA|")).unwrap();
            assert!(msa.starts_with(&format!("MSA|{}|M1", &msa[4..6])), "{block}");
            assert_eq!(block.contains("\rERR|"), !msa[4..6].ends_with('A'), "{block}");
            msa[4..6].to_owned()
        };
        answer.split("\x1c\r\x0b").map(code).collect::<Vec<_>>().join(" ")
    }

    /// MSH-15, MSH-16 and outcome against every policy; a duplicate is answered as what was kept.
    #[test]
    fn each_policy_answers_each_pair_of_conditions_for_each_outcome() {
        let words = ["", "AL", "NE", "ER", "SU"];
        let receipts = [
            (KEPT, Outcome::Kept),
            (AGAIN, Outcome::Kept),
            (refused(true), Outcome::Rejected),
            (refused(false), Outcome::Failed),
        ];
        for accept in words {
            for application in words {
                for (receipt, outcome) in &receipts {
                    let text = message(&format!("{accept}|{application}"));
                    let told = |answers: Answers| {
                        let codes = [answers.commit, answers.application].into_iter().flatten();
                        codes.map(AckCode::code).collect::<Vec<_>>().join(" ")
                    };
                    let asked = told(Answers::asked(accept, application, *outcome));
                    let original = told(Answers::original(*outcome));
                    let enhanced = match accept {
                        "" => told(Answers::asked("AL", application, *outcome)),
                        _ => asked.clone(),
                    };
                    let place = format!("{accept}|{application} {receipt:?}");
                    assert_eq!(codes(Acknowledge::Msh, &text, receipt), asked, "{place}");
                    assert_eq!(codes(Acknowledge::Original, &text, receipt), original, "{place}");
                    assert_eq!(codes(Acknowledge::Enhanced, &text, receipt), enhanced, "{place}");
                    assert_eq!(codes(Acknowledge::Never, &text, receipt), "", "{place}");
                    let always = if asked.is_empty() { &original } else { &asked };
                    assert_eq!(&codes(Acknowledge::Always, &text, receipt), always, "{place}");
                }
            }
        }
    }

    #[test]
    fn two_answers_have_numbers_of_their_own_and_both_name_the_message() {
        let write = of_policy(Acknowledge::Always, TestClock::at(1_800_000_000_000_000));
        let answer = String::from_utf8(write(message("AL|AL").as_bytes(), &KEPT, None).unwrap()).unwrap();
        let ids: Vec<&str> =
            answer.split("\x1c\r\x0b").map(|block| block.split('|').nth(9).unwrap()).collect();
        assert!(ids.len() == 2 && ids[0] != ids[1], "{answer}");
        assert!(answer.starts_with("MSH|^~\\&|BOX|GATE|MON|WARD|"), "{answer}");
    }

    #[test]
    fn an_answer_to_a_query_stands_in_for_the_application_acknowledgement() {
        let write = of_policy(Acknowledge::Always, TestClock::at(0));
        let own = || Some(b"MSH|^~\\&|||||||RSP^K22|5\rMSA|AA|M1\r".to_vec());
        let said = |conditions: &str| {
            String::from_utf8(write(message(conditions).as_bytes(), &KEPT, own()).unwrap()).unwrap()
        };
        assert!(said("|").starts_with("MSH|^~\\&|||||||RSP") && !said("|").contains('\x0b'));
        let both = said("AL|AL");
        assert!(both.contains("\rMSA|CA|M1\r\x1c\r\x0bMSH|^~\\&|||||||RSP^K22"), "{both}");
    }

    #[test]
    fn an_acknowledgement_is_never_acknowledged_and_no_header_is_refused() {
        let ack = "MSH|^~\\&|||||||ACK^R01|M1|P|2.5|||AL|AL\rMSA|AA|1\r";
        for policy in [Acknowledge::Always, Acknowledge::Original, Acknowledge::Enhanced, Acknowledge::Msh] {
            assert_eq!(codes(policy, ack, &KEPT), "", "{policy:?}");
            let write = of_policy(policy, TestClock::at(0));
            let answer = String::from_utf8(write(b"HELLO", &KEPT, None).unwrap()).unwrap();
            assert!(answer.contains("\rMSA|AR||no MSH segment"), "{answer}");
        }
    }
}
