//! Which answers a message asks for: original mode (2.5 §2.9.2) or enhanced mode (§2.9.3), by MSH-15 and MSH-16.

use super::AckCode;

/// What became of a message, as far as its sender must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// On disk, now or since it was sent before.
    Kept,
    /// Not kept, by a fault here: sending it again may help.
    Failed,
    /// Not kept, and not to be sent again as it is, or not before there is room.
    Rejected,
}

impl Outcome {
    /// The code of a commit acknowledgement.
    pub const fn commit(self) -> AckCode {
        match self {
            Self::Kept => AckCode::CA,
            Self::Failed => AckCode::CE,
            Self::Rejected => AckCode::CR,
        }
    }

    /// The code of an application acknowledgement.
    pub const fn application(self) -> AckCode {
        match self {
            Self::Kept => AckCode::AA,
            Self::Failed => AckCode::AE,
            Self::Rejected => AckCode::AR,
        }
    }
}

/// HL7 table 0155.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Always,
    Never,
    OnError,
    OnSuccess,
}

impl Condition {
    fn read(word: &str) -> Option<Self> {
        let word = word.trim();
        [("AL", Self::Always), ("NE", Self::Never), ("ER", Self::OnError), ("SU", Self::OnSuccess)]
            .into_iter()
            .find_map(|(known, condition)| known.eq_ignore_ascii_case(word).then_some(condition))
    }

    const fn wants(self, outcome: Outcome) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::OnError => !matches!(outcome, Outcome::Kept),
            Self::OnSuccess => matches!(outcome, Outcome::Kept),
        }
    }
}

/// Up to two messages, in the order in which they leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// CA, CE or CR.
    pub commit: Option<AckCode>,
    /// AA, AE or AR.
    pub application: Option<AckCode>,
}

impl Answers {
    /// Whether nothing is to be said.
    pub const fn is_silence(&self) -> bool {
        self.commit.is_none() && self.application.is_none()
    }

    /// In original mode: one application acknowledgement.
    pub const fn original(outcome: Outcome) -> Self {
        Self { commit: None, application: Some(outcome.application()) }
    }

    /// The answers that MSH-15 (`accept`) and MSH-16 (`application`) ask for.
    ///
    /// Neither with a word of table 0155: original mode. Analysers write numbers of their own into MSH-16, which
    /// ask for nothing. One of them with such a word: enhanced mode, where what is not said is `NE`. What was
    /// refused has not reached the application, so its one answer is the commit's where that is wanted.
    pub fn asked(accept: &str, application: &str, outcome: Outcome) -> Self {
        let (accept, application) = (Condition::read(accept), Condition::read(application));
        if accept.is_none() && application.is_none() {
            return Self::original(outcome);
        }
        let wants =
            |condition: Option<Condition>| condition.is_some_and(|condition| condition.wants(outcome));
        let commit = wants(accept).then(|| outcome.commit());
        let reached = outcome == Outcome::Kept || commit.is_none();
        let application = (wants(application) && reached).then(|| outcome.application());
        Self { commit, application }
    }
}

/// Whether MSH-15 and MSH-16 ask for enhanced mode.
pub(super) fn is_enhanced(accept: &str, application: &str) -> bool {
    [accept, application].into_iter().any(|word| Condition::read(word).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MSH-15, MSH-16, then what is answered when kept, when rejected and when a fault kept it from disk.
    const MATRIX: [(&str, &str, [&str; 3]); 25] = [
        ("", "", ["AA", "AR", "AE"]),
        ("", "AL", ["AA", "AR", "AE"]),
        ("", "NE", ["", "", ""]),
        ("", "ER", ["", "AR", "AE"]),
        ("", "SU", ["AA", "", ""]),
        ("AL", "", ["CA", "CR", "CE"]),
        ("AL", "AL", ["CA AA", "CR", "CE"]),
        ("AL", "NE", ["CA", "CR", "CE"]),
        ("AL", "ER", ["CA", "CR", "CE"]),
        ("AL", "SU", ["CA AA", "CR", "CE"]),
        ("NE", "", ["", "", ""]),
        ("NE", "AL", ["AA", "AR", "AE"]),
        ("NE", "NE", ["", "", ""]),
        ("NE", "ER", ["", "AR", "AE"]),
        ("NE", "SU", ["AA", "", ""]),
        ("ER", "", ["", "CR", "CE"]),
        ("ER", "AL", ["AA", "CR", "CE"]),
        ("ER", "NE", ["", "CR", "CE"]),
        ("ER", "ER", ["", "CR", "CE"]),
        ("ER", "SU", ["AA", "CR", "CE"]),
        ("SU", "", ["CA", "", ""]),
        ("SU", "AL", ["CA AA", "AR", "AE"]),
        ("SU", "NE", ["CA", "", ""]),
        ("SU", "ER", ["CA", "AR", "AE"]),
        ("SU", "SU", ["CA AA", "", ""]),
    ];

    #[test]
    fn every_pair_of_conditions_gets_its_answers_for_every_outcome() {
        for (accept, application, expected) in MATRIX {
            for (outcome, expected) in
                [Outcome::Kept, Outcome::Rejected, Outcome::Failed].into_iter().zip(expected)
            {
                let answers = Answers::asked(accept, application, outcome);
                let said: Vec<&str> =
                    [answers.commit, answers.application].into_iter().flatten().map(AckCode::code).collect();
                assert_eq!(said.join(" "), expected, "MSH-15 {accept} MSH-16 {application} {outcome:?}");
            }
        }
    }

    #[test]
    fn words_that_are_no_conditions_leave_the_original_mode() {
        for (accept, application) in [("", "2"), ("0", "0"), ("\"\"", ""), ("X", "")] {
            let answers = Answers::asked(accept, application, Outcome::Kept);
            assert_eq!(answers, Answers::original(Outcome::Kept), "{accept} {application}");
            assert!(!is_enhanced(accept, application));
        }
        assert!(is_enhanced("al", "") && is_enhanced("", " NE ") && is_enhanced("0", "AL"));
    }
}
