//! Judges for the kinds of objects other than transactions, one file for each.

mod bank;
mod counter;
mod judged;
mod lock;
mod queue;
mod register;
mod searched;
mod set;
mod text;

use super::pairing::Call;
use super::{ObjectKind, SearchBudget};

pub(super) use judged::Judged;

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
