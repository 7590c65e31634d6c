//! Counters that only grow: `add`, `increment`, `read`.
//!
//! If every increment adds one and its answer does not contain the count, there is an order exactly if the following
//! pass through time finds one: an increment comes when it is answered and not earlier, unless an answered read needs a
//! higher count. Then the increments that were called come, in the order of their answers. So the count is at every
//! moment as low as possible, and a read is impossible here only if it is impossible in every order. All other
//! histories need a search.

use std::collections::{BTreeSet, HashMap};

use super::super::pairing::{Call, CallOutcome};
use super::super::{Function, Model, SearchBudget, Timed};
use super::judged::{Judged, NEVER, NOT_LINEARIZABLE, Span, call_words};
use super::searched::{Described, Searched, state_after};

pub(super) fn judge(calls: &[&Call], budget: &mut SearchBudget, explaining: &mut SearchBudget) -> Judged {
    if budget.charge(calls.len()).is_err() {
        return Judged::Undecided;
    }
    if let Some((read, reason)) = out_of_bounds(calls) {
        let words = call_words(read, &format!("read {}", read.answered));
        return Judged::Violated { what: NOT_LINEARIZABLE, explanation: format!("  {words}: {reason}.") };
    }
    let are_ones = calls.iter().all(|call| call.function == Function::Read || is_untold_one(call));
    if are_ones {
        return match first_wrong_read(calls) {
            None => Judged::Holds,
            Some((read, count)) => {
                let words = call_words(read, &format!("read {}", read.answered));
                let explanation = format!("  {words}: with what others read, the count was {count} by then.");
                Judged::Violated { what: NOT_LINEARIZABLE, explanation }
            }
        };
    }
    Searched::new(Counter, calls, operation).judge(budget, explaining)
}

fn added(call: &Call) -> i64 {
    call.called.integer().unwrap_or(1)
}

fn is_untold_one(call: &Call) -> bool {
    added(call) == 1 && call.answered.is_null()
}

/// A read of less than was certainly added before, or of more than can have been added by its answer.
fn out_of_bounds<'a>(calls: &[&'a Call]) -> Option<(&'a Call, String)> {
    let adds = || calls.iter().filter(|call| call.function != Function::Read && call.outcome != CallOutcome::Fail);
    let sums = |mut moments: Vec<(u64, i64)>| {
        moments.sort_unstable();
        let mut sum = 0_i128;
        let summed = moments.into_iter().map(|(moment, amount)| {
            sum += i128::from(amount);
            (moment, sum)
        });
        summed.collect::<Vec<_>>()
    };
    let done = sums(adds().filter_map(|call| Some((call.answered_at()?, added(call)))).collect());
    let begun = sums(adds().map(|call| (call.invoked.0, added(call))).collect());
    let before = |sums: &[(u64, i128)], moment: u64| {
        let earlier = sums.partition_point(|(at, _)| *at < moment);
        earlier.checked_sub(1).map_or(0, |last| sums[last].1)
    };
    calls.iter().filter(|call| (call.function, call.outcome) == (Function::Read, CallOutcome::Ok)).find_map(|read| {
        let found = i128::from(read.answered.integer()?);
        let span = Span::of(read);
        let (least, most) = (before(&done, span.called), before(&begun, span.answered));
        if found < least {
            return Some((*read, format!("{least} had been added before")));
        }
        (found > most).then(|| (*read, format!("only {most} can have been added by then")))
    })
}

/// The answered read that comes first among those that no order explains, with the count at that time.
fn first_wrong_read<'a>(calls: &[&'a Call]) -> Option<(&'a Call, i64)> {
    let mut moments: Vec<(u64, bool, usize)> = Vec::new();
    for (number, call) in calls.iter().enumerate() {
        let is_told = call.function != Function::Read || call.outcome == CallOutcome::Ok;
        if call.outcome != CallOutcome::Fail && is_told {
            moments.push((call.invoked.0, false, number));
            moments.extend(call.answered_at().map(|answered| (answered, true, number)));
        }
    }
    moments.sort_unstable();
    let mut count = 0;
    // Increments that were called and have not come yet, by the times of their answers.
    let mut open: BTreeSet<(u64, usize)> = BTreeSet::new();
    let mut count_when_called: HashMap<usize, i64> = HashMap::new();
    for (_, is_answer, number) in moments {
        let call = calls[number];
        match (call.function == Function::Read, is_answer) {
            (true, false) => _ = count_when_called.insert(number, count),
            (false, false) => _ = open.insert((call.answered_at().unwrap_or(NEVER), number)),
            (false, true) => count += i64::from(open.remove(&(call.answered_at().unwrap_or(NEVER), number))),
            (true, true) => {
                let found = call.answered.integer().unwrap_or_default();
                while count < found && open.pop_first().is_some() {
                    count += 1;
                }
                let at_least = count_when_called.remove(&number).unwrap_or_default();
                if found < at_least || count < found {
                    return Some((call, if found < at_least { at_least } else { count }));
                }
            }
        }
    }
    None
}

/// The effect that a call had or may have had; `None` if the call contains no information.
fn operation(call: &Call) -> Option<CounterOperation> {
    let told = call.answered.integer();
    match (call.function, call.outcome) {
        (_, CallOutcome::Fail) | (Function::Read, CallOutcome::Unknown) => None,
        (Function::Read, CallOutcome::Ok) => Some(CounterOperation { added: 0, told }),
        (Function::Increment, CallOutcome::Ok) => Some(CounterOperation { added: added(call), told }),
        _ => Some(CounterOperation { added: added(call), told: None }),
    }
}

struct Counter;

/// Adds an amount and, if `told` is set, finds this sum.
#[derive(Clone, Copy)]
struct CounterOperation {
    added: i64,
    told: Option<i64>,
}

impl Model for Counter {
    type State = i64;
    type Operation = CounterOperation;

    fn initial(&self) -> i64 {
        0
    }

    fn apply(&self, state: &i64, operation: &CounterOperation) -> Option<i64> {
        let sum = state.checked_add(operation.added)?;
        operation.told.is_none_or(|told| told == sum).then_some(sum)
    }

    fn reads_only(&self, operation: &CounterOperation) -> bool {
        operation.added == 0
    }

    fn wants(&self, operation: &CounterOperation) -> Option<i64> {
        operation.told?.checked_sub(operation.added)
    }

    fn leaves(&self, operation: &CounterOperation) -> Option<i64> {
        operation.told.filter(|_| operation.added != 0)
    }
}

impl Described for Counter {
    fn words(&self, operation: &CounterOperation) -> String {
        match (operation.added, operation.told) {
            (0, Some(told)) => format!("read {told}"),
            (added, Some(told)) => format!("add {added} and find {told}"),
            (added, None) => format!("add {added}"),
        }
    }

    fn reason(&self, _: &[Timed<CounterOperation>], order: &[&CounterOperation], _: &CounterOperation) -> String {
        format!("the count is {}", state_after(self, order))
    }
}
