//! Locks with fencing tokens, and leases: `acquire`, `release`.
//!
//! The holder of a lock is the process that acquired it, or the token of the acquire. A token is larger than all
//! earlier ones.

use super::super::pairing::{Call, CallOutcome};
use super::super::{Function, Model, SearchBudget, Timed};
use super::judged::Judged;
use super::searched::{Described, Searched, state_after};

/// If `is_exclusive` is set, a client cannot acquire a lock that another holds.
pub(super) fn judge(
    calls: &[&Call],
    is_exclusive: bool,
    budget: &mut SearchBudget,
    explaining: &mut SearchBudget,
) -> Judged {
    Searched::new(Lock { is_exclusive }, calls, operation).judge(budget, explaining)
}

/// A failed call had no effect. After an acquire without an answer the lock may be held, under an unknown token.
fn operation(call: &Call) -> Option<LockOperation> {
    if call.outcome == CallOutcome::Fail {
        return None;
    }
    let (is_acquire, value) = match call.function {
        Function::Acquire => (true, &call.answered),
        _ => (false, &call.called),
    };
    Some(LockOperation { is_acquire, process: call.process, token: value.integer() })
}

struct Lock {
    is_exclusive: bool,
}

#[derive(Clone, Copy)]
struct LockOperation {
    is_acquire: bool,
    process: u64,
    token: Option<i64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Holding {
    holder: Option<(u64, Option<i64>)>,
    /// The largest token so far.
    newest: Option<i64>,
}

impl Model for Lock {
    type State = Holding;
    type Operation = LockOperation;

    fn initial(&self) -> Holding {
        Holding { holder: None, newest: None }
    }

    fn apply(&self, state: &Holding, operation: &LockOperation) -> Option<Holding> {
        let LockOperation { is_acquire, process, token } = *operation;
        let is_newer = token.is_some() && token > state.newest;
        if is_acquire {
            let is_free = !self.is_exclusive || state.holder.is_none();
            let newest = token.or(state.newest);
            return (is_free && (token.is_none() || is_newer))
                .then_some(Holding { holder: Some((process, token)), newest });
        }
        let is_holder = match (state.holder, token) {
            (Some((_, Some(held))), Some(token)) => held == token,
            // The acquire was not answered; now its token is known.
            (Some((_, None)), Some(_)) => is_newer,
            (Some((holder, _)), None) => holder == process,
            (None, _) => false,
        };
        if is_holder {
            return Some(Holding { holder: None, newest: token.max(state.newest) });
        }
        // A client that lost a lease may not know it yet.
        let is_late = !self.is_exclusive && (token.is_none() || token <= state.newest);
        is_late.then_some(*state)
    }
}

impl Described for Lock {
    fn words(&self, operation: &LockOperation) -> String {
        let what = if operation.is_acquire { "acquire" } else { "release" };
        operation.token.map_or_else(|| what.to_owned(), |token| format!("{what} with token {token}"))
    }

    fn reason(&self, _: &[Timed<LockOperation>], order: &[&LockOperation], blocked: &LockOperation) -> String {
        let state = state_after(self, order);
        let holder = match state.holder {
            None => "nobody holds it".to_owned(),
            Some((process, None)) => format!("process {process} holds it"),
            Some((process, Some(token))) => format!("process {process} holds it with token {token}"),
        };
        match (state.newest, blocked.token) {
            (Some(newest), Some(token)) if blocked.is_acquire && token <= newest => {
                format!("{holder}, and token {newest} was given before")
            }
            _ => holder,
        }
    }
}
