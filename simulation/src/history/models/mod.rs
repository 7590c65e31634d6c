//! Judges for the kinds of objects other than transactions, one file for each.

mod bank;
mod counter;
mod lock;
mod queue;
mod register;
mod searched;
mod set;
mod text;

use super::pairing::{Call, CallOutcome};
use super::{ObjectKind, SearchBudget};

/// Verdict on one object.
pub(super) enum Judged {
    Holds,
    Undecided,
    Violated {
        /// The violation, in words that follow the object's name.
        what: &'static str,
        explanation: String,
    },
}

/// Judges the calls of one object that is not a list.
pub(super) fn judge(
    kind: ObjectKind,
    calls: &[&Call],
    budget: &mut SearchBudget,
    explaining: &mut SearchBudget,
) -> Judged {
    match kind {
        ObjectKind::Register | ObjectKind::Lists => register::judge(calls, budget, explaining),
        ObjectKind::Text => text::judge(calls, budget, explaining),
        ObjectKind::Queue => queue::judge(calls, budget, explaining),
        ObjectKind::Set => set::judge(calls, budget),
        ObjectKind::Counter => counter::judge(calls, budget, explaining),
        ObjectKind::Bank => bank::judge(calls, budget),
        ObjectKind::Lock => lock::judge(calls, true, budget, explaining),
        ObjectKind::Lease => lock::judge(calls, false, budget, explaining),
    }
}

const NOT_LINEARIZABLE: &str = "is not linearizable";

/// The call and the answer of an operation, as numbers of events; [`NEVER`] without an answer.
#[derive(Clone, Copy, Debug)]
struct Span {
    called: u64,
    answered: u64,
}

impl Span {
    fn of(call: &Call) -> Self {
        Self { called: call.invoked.0, answered: call.answered_at().unwrap_or(NEVER) }
    }

    /// True if it was answered before the other was called.
    fn is_before(self, other: Self) -> bool {
        self.answered < other.called
    }
}

/// Describes a call for a person who has the file at hand.
fn call_words(call: &Call, what: &str) -> String {
    let until = match (call.outcome, call.returned) {
        (CallOutcome::Ok, Some((_, time))) => format!("answered at {time}"),
        _ => "outcome unknown".to_owned(),
    };
    let (line, process, invoked) = (call.line, call.process, call.invoked.1);
    format!("line {line}: process {process}: {what}, called at {invoked}, {until}")
}

const NEVER: u64 = u64::MAX;
