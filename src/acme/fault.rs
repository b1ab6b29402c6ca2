//! What went wrong with an order, in words, and what to do next.

use std::time::Duration;

use instant_acme::{Error, Problem};

use super::client::NoAnswer;

/// Longest text that is shown of what a server says.
const SAID_MAX: usize = 300;

/// Why there is no certificate this time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What went wrong.
    pub what: String,
    /// What a person can do.
    pub next: String,
    /// How long the server wants to be left alone.
    pub wait: Option<Duration>,
    /// The account is not known over there (any more): the next try makes another.
    pub(super) no_account: bool,
    /// The server took none of the nonces: what was asked is asked again at once, a few times.
    pub(super) nonces: bool,
}

impl Fault {
    pub(super) fn new(what: impl Into<String>, next: &str) -> Self {
        Self { what: what.into(), next: next.into(), wait: None, no_account: false, nonces: false }
    }

    pub(super) fn waiting(self, wait: Option<Duration>) -> Self {
        Self { wait, ..self }
    }

    /// What came cannot be shown to browsers.
    pub fn unfit(why: &str) -> Self {
        let next = "Ask whoever runs the authority to look at what it issues. The certificate in use stays.";
        Self::new(format!("what the authority issued cannot be used: {why}"), next)
    }

    /// Of a task that ended by itself.
    pub fn broken() -> Self {
        Self::new(
            "the order ended by a fault of this box",
            "Tell whoever looks after Bedside; it is tried again.",
        )
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}. {}", self.what, self.next)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::Api(problem) => Self::from(&problem),
            Error::Other(inner) => match inner.downcast_ref::<NoAnswer>() {
                Some(fault) => Self::new(fault.to_string(), next_of(fault)),
                None => odd(&inner.to_string()),
            },
            Error::Json(_) => odd("what it answered is not what RFC 8555 says"),
            error => odd(&error.to_string()),
        }
    }
}

fn odd(what: &str) -> Fault {
    let what = format!("the ACME server answered as none does: {}", shown(what));
    Fault::new(what, "Check the address of the directory; ask whoever runs the server to look at its log.")
}

fn next_of(fault: &NoAnswer) -> &'static str {
    match fault {
        NoAnswer::Name(_) => "Check the address of the directory, the cable and the name server of this box.",
        NoAnswer::Connect(..) | NoAnswer::Slow(_) | NoAnswer::Lost(_) => {
            "Check that the server runs and that a firewall lets this box reach it. It is tried again by itself."
        }
        NoAnswer::Trust(_) => {
            "Give the certificate of the authority that signed the server's own (ca_file, or the field at the desk)."
        }
        NoAnswer::Large(_) | NoAnswer::Status(..) | NoAnswer::Elsewhere(_) | NoAnswer::NoDirectory(_) => {
            "Check the address of the directory with whoever runs the ACME server: it is answered there itself, without \
             being sent on."
        }
    }
}

impl Fault {
    /// Of a proof that was refused: `unauthorized` (RFC 8555 §8.2) is then about what was found under the name.
    pub(super) fn of_proof(problem: &Problem) -> Self {
        let mut problem = problem.clone();
        if let Some(kind) = problem.r#type.as_mut().filter(|kind| kind.ends_with(":unauthorized")) {
            *kind = "urn:ietf:params:acme:error:incorrectResponse".into();
        }
        Self::from(&problem)
    }
}

/// RFC 8555 §6.7: the types of problems.
impl From<&Problem> for Fault {
    fn from(problem: &Problem) -> Self {
        let kind = problem.r#type.as_deref().unwrap_or_default();
        let kind = kind.rsplit(':').next().unwrap_or_default();
        let mut said = shown(problem.detail.as_deref().unwrap_or("no reason given"));
        for sub in problem.subproblems.iter().take(3) {
            said = format!("{said}; {}", shown(sub.detail.as_deref().unwrap_or_default()));
        }
        let (what, next) = of_kind(kind);
        let what = if kind.is_empty() { said } else { format!("{what}: {said}") };
        Self {
            no_account: kind == "accountDoesNotExist",
            nonces: kind == "badNonce",
            ..Self::new(what, next)
        }
    }
}

const REACH: &str = "Check that each name leads to this box, and that the authority reaches it at port 443 (tls-alpn-01) or 80 \
     (http-01): firewall, forwarding, and another server at that port.";

fn of_kind(kind: &str) -> (&'static str, &'static str) {
    match kind {
        "rateLimited" => {
            ("the authority was asked too often", "Nothing: it is tried again when the authority allows it.")
        }
        "rejectedIdentifier" | "unsupportedIdentifier" => (
            "the authority does not certify one of the names",
            "Correct the names, or ask whoever runs the authority to allow them.",
        ),
        "connection" => ("the authority could not reach this box", REACH),
        "dns" => (
            "the authority could not find one of the names",
            "Have the name entered in the name server that the authority asks, with the address of this box.",
        ),
        "tls" | "incorrectResponse" => ("the authority did not find this box under the name", REACH),
        "unauthorized" => (
            "the authority does not allow it",
            "Check eab_key_id and its secret, where the authority gave them; else ask whoever runs it.",
        ),
        "caa" => (
            "the name server forbids this authority to certify the name (CAA)",
            "Have the CAA entry of the domain name this authority.",
        ),
        "externalAccountRequired" => (
            "the authority wants an external account",
            "Ask it for a key identifier and a key, and set eab_key_id and eab_secret.",
        ),
        "userActionRequired" => (
            "the authority wants a person to do something first",
            "Read what it says, agree with it there, and try again.",
        ),
        "accountDoesNotExist" => (
            "the authority does not know this box's account any more",
            "Nothing: the next try makes another account.",
        ),
        "invalidContact" | "unsupportedContact" => {
            ("the authority does not take the mail address", "Correct contact.")
        }
        "badNonce" => (
            "the authority refused every nonce it gave",
            "Nothing: it is tried again. If it stays so, ask whoever runs the server.",
        ),
        "serverInternal" => ("the authority has a fault of its own", "Nothing: it is tried again."),
        "badCSR" | "badPublicKey" => (
            "the authority does not take the request",
            "Ask whoever runs it whether it certifies ECDSA P-256 keys for these names.",
        ),
        "orderNotReady" | "malformed" => (
            "the authority did not take the question",
            "Nothing: it is asked anew. If it stays so, update Bedside.",
        ),
        _ => ("the authority refused", "Ask whoever runs it what it means."),
    }
}

/// What a server says, fit to be shown.
pub(super) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SAID_MAX).collect()
}

/// For the fuzzing rig: any problem document comes to a sentence.
pub(super) fn fuzz(bytes: &[u8]) {
    if let Ok(problem) = serde_json::from_slice::<Problem>(bytes) {
        let fault = Fault::from(&problem);
        assert!(!fault.what.is_empty() && !fault.next.is_empty());
        assert!(fault.what.len() < 8 * SAID_MAX * 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Fault {
        Fault::from(Error::Api(serde_json::from_str(json).unwrap()))
    }

    #[test]
    fn each_problem_says_what_to_do_next() {
        for (kind, what, next) in [
            ("rateLimited", "too often", "again"),
            ("rejectedIdentifier", "does not certify", "Correct the names"),
            ("connection", "could not reach", "443"),
            ("dns", "could not find", "name server"),
            ("unauthorized", "does not allow", "eab_key_id"),
            ("incorrectResponse", "did not find this box", "leads to this box"),
            ("externalAccountRequired", "external account", "eab_key_id"),
            ("somethingNew", "refused", "Ask whoever"),
        ] {
            let json = format!(
                "{{\"type\":\"urn:ietf:params:acme:error:{kind}\",\"detail\":\"because\\u0007 of it\",\"status\":403}}"
            );
            let fault = of(&json);
            assert!(fault.what.contains(what) && fault.what.ends_with("because of it"), "{fault}");
            assert!(fault.next.contains(next), "{fault}");
            fuzz(json.as_bytes());
        }
        assert!(of("{\"type\":\"urn:ietf:params:acme:error:accountDoesNotExist\"}").no_account);
    }

    #[test]
    fn what_a_server_says_is_bounded() {
        let long = format!("{{\"type\":\"x\",\"detail\":\"{}\"}}", "é".repeat(10_000));
        assert!(of(&long).what.chars().count() < 400);
        assert_eq!(of("{}").what, "no reason given");
        fuzz(long.as_bytes());
    }

    #[test]
    fn no_answer_and_an_odd_one_are_told_apart() {
        let unknown = Error::Other(Box::new(NoAnswer::Name("ca:443".into())));
        assert!(Fault::from(unknown).next.contains("name server"));
        let json = serde_json::from_str::<Problem>("7").unwrap_err();
        assert!(Fault::from(Error::Json(json)).what.contains("RFC 8555"));
    }
}
