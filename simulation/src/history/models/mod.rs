//! What is judged beside transactions, a file each.

mod bank;
mod counter;
mod lock;
mod queue;
mod register;
mod searched;
mod set;
mod text;

use super::pairing::{Call, Outcome};
use super::{Budget, Kind};

/// What became of one thing.
pub(super) enum Judged {
    Holds,
    Undecided,
    Violated {
        /// What it is not, or does, to be put behind its name.
        what: &'static str,
        explanation: String,
    },
}

/// Judges the calls of one thing, which is no list.
pub(super) fn judge(kind: Kind, calls: &[&Call], budget: &mut Budget, explaining: &mut Budget) -> Judged {
    match kind {
        Kind::Register | Kind::Lists => register::judge(calls, budget, explaining),
        Kind::Text => text::judge(calls, budget, explaining),
        Kind::Queue => queue::judge(calls, budget, explaining),
        Kind::Set => set::judge(calls, budget),
        Kind::Counter => counter::judge(calls, budget, explaining),
        Kind::Bank => bank::judge(calls, budget),
        Kind::Lock => lock::judge(calls, true, budget, explaining),
        Kind::Lease => lock::judge(calls, false, budget, explaining),
    }
}

const NOT_LINEARIZABLE: &str = "is not linearizable";

/// When a call was made and answered, as numbers of events; [`NEVER`] without an answer.
#[derive(Clone, Copy, Debug)]
struct Span {
    called: u64,
    answered: u64,
}

impl Span {
    fn of(call: &Call) -> Self {
        Self { called: call.invoked.0, answered: call.answered_at().unwrap_or(NEVER) }
    }

    /// Whether it was answered before the other was called.
    fn is_before(self, other: Self) -> bool {
        self.answered < other.called
    }
}

/// A call in the words of a person who has the file at hand.
fn call_words(call: &Call, what: &str) -> String {
    let until = match (call.outcome, call.returned) {
        (Outcome::Ok, Some((_, time))) => format!("answered at {time}"),
        _ => "outcome unknown".to_owned(),
    };
    let (line, process, invoked) = (call.line, call.process, call.invoked.1);
    format!("line {line}: process {process}: {what}, called at {invoked}, {until}")
}

const NEVER: u64 = u64::MAX;
