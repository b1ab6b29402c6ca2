//! The words of the worklist: an order, how far it has come, and what may change.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::device::Person;
use crate::firmware_profile::OrderedTest;

/// How far an order has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WorkState {
    /// No analyser has it yet.
    Open,
    /// An analyser took it; its results are not all there.
    Sent,
    Done,
    Cancelled,
}

impl WorkState {
    const ALL: [Self; 4] = [Self::Open, Self::Sent, Self::Done, Self::Cancelled];

    /// The word people see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Sent => "sent",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state behind a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    pub(super) const fn number(self) -> i64 {
        match self {
            Self::Open => 0,
            Self::Sent => 1,
            Self::Done => 2,
            Self::Cancelled => 3,
        }
    }

    /// A number nobody wrote counts as open: asking again is harmless, forgetting an order is not.
    pub(super) fn of(number: i64) -> Self {
        Self::ALL.into_iter().find(|state| state.number() == number).unwrap_or(Self::Open)
    }

    pub(super) const fn is_live(self) -> bool {
        matches!(self, Self::Open | Self::Sent)
    }
}

/// Who ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkSource {
    Desk,
    Hl7,
    Fhir,
}

impl WorkSource {
    /// The word people see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Desk => "desk",
            Self::Hl7 => "hl7",
            Self::Fhir => "fhir",
        }
    }

    pub(super) const fn number(self) -> i64 {
        match self {
            Self::Desk => 0,
            Self::Hl7 => 1,
            Self::Fhir => 2,
        }
    }

    pub(super) const fn of(number: i64) -> Self {
        match number {
            1 => Self::Hl7,
            2 => Self::Fhir,
            _ => Self::Desk,
        }
    }
}

/// One specimen and what is to be measured in it.
#[derive(Clone, PartialEq, Eq)]
pub struct NewOrder {
    /// As the barcode reads.
    pub specimen: String,
    pub tests: Vec<OrderedTest>,
    pub urgent: bool,
    pub person: Option<Person>,
    /// Kind of specimen in the word of whoever ordered; empty when not said.
    pub kind: String,
    pub collected: Option<Timestamp>,
    /// The order's number at its source; empty for the desk.
    pub number: String,
    pub source: WorkSource,
    /// By which the order is found again; unique.
    pub key: String,
    /// The user, the link or the server it came from.
    pub author: String,
}

impl fmt::Debug for NewOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewOrder({} tests by {})", self.tests.len(), self.source.as_str())
    }
}

/// A test of an order, and whether its result came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkTest {
    #[serde(flatten)]
    pub test: OrderedTest,
    #[serde(default)]
    pub done: bool,
}

/// What an analyser was told of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub at: Timestamp,
    pub link: String,
    pub outcome: String,
}

/// An order as it stands.
#[derive(Clone, PartialEq, Eq)]
pub struct OrderRow {
    pub id: i64,
    pub specimen: String,
    pub tests: Vec<WorkTest>,
    pub urgent: bool,
    pub person: Option<Person>,
    pub kind: String,
    pub collected: Option<Timestamp>,
    pub number: String,
    pub source: WorkSource,
    pub author: String,
    pub created: Timestamp,
    pub state: WorkState,
    pub changed: Timestamp,
    /// What a person should know of it, without patient data.
    pub note: Option<String>,
    /// Oldest first.
    pub asked: Vec<Asked>,
}

impl fmt::Debug for OrderRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OrderRow({}, {} tests, {})", self.id, self.tests.len(), self.state.as_str())
    }
}

/// How many orders are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = OrderCounts)]
pub struct WorkCounts {
    pub open: u64,
    pub sent: u64,
    pub done: u64,
    pub cancelled: u64,
}

/// Which orders are wanted.
#[derive(Clone, Debug, Default)]
pub struct WorkFilter {
    pub state: Option<WorkState>,
    /// A part of the specimen's code, the order's number or the patient's name or number, in any case.
    pub text: Option<String>,
    pub limit: u32,
}

/// A change of the worklist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkChange {
    /// Puts an order on the list. One with a known key is brought up to date: `replace`, to exactly these tests, else
    /// by those it does not have. A cancelled one stays so, unless it is replaced by something else than it was.
    Place {
        order: NewOrder,
        replace: bool,
    },
    /// A person cancels it.
    Cancel {
        id: i64,
    },
    /// Its source ends it; of `tests` only, when there are some. Nothing happens when it is unknown or ended.
    End {
        key: String,
        state: WorkState,
        tests: Vec<OrderedTest>,
    },
    /// An analyser asked for these. `taken`: it has them.
    Asked {
        ids: Vec<i64>,
        link: String,
        outcome: String,
        taken: bool,
    },
    /// Results of these tests came, by their place in the order.
    Measured {
        id: i64,
        tests: Vec<usize>,
    },
    Note {
        id: i64,
        note: String,
    },
}
