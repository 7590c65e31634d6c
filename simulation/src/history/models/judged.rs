//! The verdict on one object, and the words for its calls.

use super::super::pairing::{Call, CallOutcome};

/// Verdict on one object.
pub(in crate::history) enum Judged {
    Holds,
    Undecided,
    Violated {
        /// The violation, in words that follow the object's name.
        what: &'static str,
        explanation: String,
    },
}

pub(super) const NOT_LINEARIZABLE: &str = "is not linearizable";

/// The call and the answer of an operation, as numbers of events; [`NEVER`] without an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) called: u64,
    pub(super) answered: u64,
}

impl Span {
    pub(super) fn of(call: &Call) -> Self {
        Self { called: call.invoked.0, answered: call.answered_at().unwrap_or(NEVER) }
    }

    /// True if it was answered before the other was called.
    pub(super) fn is_before(self, other: Self) -> bool {
        self.answered < other.called
    }
}

/// Describes a call for a person who has the file at hand.
pub(super) fn call_words(call: &Call, what: &str) -> String {
    let until = match (call.outcome, call.returned) {
        (CallOutcome::Ok, Some((_, time))) => format!("answered at {time}"),
        _ => "outcome unknown".to_owned(),
    };
    let (line, process, invoked) = (call.line, call.process, call.invoked.1);
    format!("line {line}: process {process}: {what}, called at {invoked}, {until}")
}

pub(super) const NEVER: u64 = u64::MAX;
