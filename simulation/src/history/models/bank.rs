//! Banks: `transfer`, `read`.
//!
//! Every answered read must find the same total as the first, and no account below zero. It is not checked which
//! transfers a read has seen, so that a store may answer from an older snapshot.

use super::super::datum::Datum;
use super::super::pairing::{Call, CallOutcome};
use super::super::{Function, SearchBudget};
use super::judged::{Judged, call_words};

pub(super) fn judge(calls: &[&Call], budget: &mut SearchBudget) -> Judged {
    let reads = calls.iter().filter(|call| (call.function, call.outcome) == (Function::Read, CallOutcome::Ok));
    let mut first: Option<(&Call, i128)> = None;
    for read in reads {
        let Datum::Map(accounts) = &read.answered else { continue };
        if budget.charge(1 + accounts.len()).is_err() {
            return Judged::Undecided;
        }
        let balances = || accounts.iter().filter_map(|(account, balance)| Some((account, balance.integer()?)));
        if let Some((account, balance)) = balances().find(|(_, balance)| *balance < 0) {
            let words = call_words(read, &format!("read {balance} in account {account}"));
            return Judged::Violated { what: "has an account below zero", explanation: format!("  {words}.") };
        }
        let total = balances().map(|(_, balance)| i128::from(balance)).sum();
        let (before, expected) = *first.get_or_insert((read, total));
        if total != expected {
            let one = call_words(before, &format!("read a total of {expected}"));
            let other = call_words(read, &format!("read a total of {total}: {}", read.answered));
            return Judged::Violated {
                what: "does not conserve its total",
                explanation: format!("    {one}\n    {other}"),
            };
        }
    }
    Judged::Holds
}
