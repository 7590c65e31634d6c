//! Queues, first in, first out: `enqueue`, `dequeue`.
//!
//! If no value is enqueued twice, and every dequeue that may have happened states the value it found, there is an order
//! if and only if (Henzinger, Sezgin and Vafeiadis, "Aspect-Oriented Linearizability Proofs", CONCUR 2013, theorem 1):
//!
//! - every value that was found was enqueued, not later, and was found once;
//! - of two values that were enqueued one after the other, the second is not found before the first, nor without it;
//! - every dequeue that found the queue empty was possible: the values that must have been enqueued before could have
//!   been dequeued before.
//!
//! This takes as much time as sorting. All other histories need a search.

use std::collections::HashMap;

use super::super::datum::Datum;
use super::super::pairing::{Call, CallOutcome};
use super::super::{Function, Model, SearchBudget, Timed};
use super::judged::{Judged, NEVER, NOT_LINEARIZABLE, Span, call_words};
use super::searched::{Described, Searched, state_after};

pub(super) fn judge(calls: &[&Call], budget: &mut SearchBudget, explaining: &mut SearchBudget) -> Judged {
    if budget.charge(calls.len()).is_err() {
        return Judged::Undecided;
    }
    if let Some(values) = Values::of(calls) {
        return match values.check(budget) {
            Some(Ok(())) => Judged::Holds,
            Some(Err(why)) => violated(&why),
            None => Judged::Undecided,
        };
    }
    // Every step of the search copies the queue.
    let enqueues = calls.iter().filter(|call| call.function == Function::Enqueue).count();
    if calls.len().saturating_mul(enqueues) > COPIED_MAX {
        return Judged::Undecided;
    }
    let mut copying = SearchBudget::of_steps(budget.steps_left() / (1 + enqueues as u64 / 16));
    Searched::new(Queue(std::marker::PhantomData), calls, operation).judge(&mut copying, explaining)
}

type Why<'a> = Vec<(&'a Call, String)>;

fn violated(why: &[(&Call, String)]) -> Judged {
    let lines: Vec<String> = why.iter().map(|(call, what)| format!("    {}", call_words(call, what))).collect();
    Judged::Violated { what: NOT_LINEARIZABLE, explanation: lines.join("\n") }
}

/// The calls that concern each value.
struct Values<'a> {
    list: Vec<Value<'a>>,
    /// Dequeues that found the queue empty.
    empty: Vec<&'a Call>,
    /// A violation found so far: a value that was found without being enqueued, or was found twice.
    fault: Option<Why<'a>>,
}

struct Value<'a> {
    enqueue: &'a Call,
    dequeue: Option<&'a Call>,
}

impl Value<'_> {
    fn enqueued(&self) -> Span {
        Span::of(self.enqueue)
    }

    /// Never called, if no dequeue found the value.
    fn dequeued(&self) -> Span {
        self.dequeue.map_or(Span { called: NEVER, answered: NEVER }, Span::of)
    }
}

impl<'a> Values<'a> {
    /// `None` if a search is needed.
    fn of(calls: &[&'a Call]) -> Option<Self> {
        let mut numbers: HashMap<&Datum, usize> = HashMap::new();
        let mut values = Self { list: Vec::new(), empty: Vec::new(), fault: None };
        for call in calls.iter().filter(|call| call.outcome != CallOutcome::Fail) {
            match (call.function, call.outcome) {
                (Function::Enqueue, _) => {
                    if numbers.insert(&call.called, values.list.len()).is_some() {
                        return None;
                    }
                    values.list.push(Value { enqueue: call, dequeue: None });
                }
                (_, CallOutcome::Unknown) => return None,
                _ => {}
            }
        }
        for call in calls.iter().filter(|call| (call.function, call.outcome) == (Function::Dequeue, CallOutcome::Ok)) {
            if call.answered.is_null() {
                values.empty.push(call);
                continue;
            }
            let Some(number) = numbers.get(&call.answered) else {
                let what = format!("dequeue {}, which nobody enqueued", call.answered);
                values.fault.get_or_insert_with(|| vec![(call, what)]);
                continue;
            };
            let words = format!("dequeue {}", call.answered);
            if let Some(earlier) = values.list[*number].dequeue.replace(call) {
                values
                    .fault
                    .get_or_insert_with(|| vec![(earlier, words.clone()), (call, format!("{words} once more"))]);
            }
        }
        // A value that was not found and may not have been enqueued counts as not enqueued.
        values.list.retain(|value| value.dequeue.is_some() || value.enqueue.outcome == CallOutcome::Ok);
        Some(values)
    }

    /// `None` if the budget ran out.
    fn check(self, budget: &mut SearchBudget) -> Option<Result<(), Why<'a>>> {
        if let Some(fault) = self.fault {
            return Some(Err(fault));
        }
        for value in &self.list {
            if value.dequeued().is_before(value.enqueued())
                && let Some(dequeue) = value.dequeue
            {
                let words = [format!("dequeue {}", dequeue.answered), format!("enqueue {}, later", dequeue.answered)];
                let [first, then] = words;
                return Some(Err(vec![(dequeue, first), (value.enqueue, then)]));
            }
        }
        if let Some((first, second)) = self.overtaken() {
            return Some(Err(overtaken_words(first, second)));
        }
        self.check_empty(budget)
    }

    /// Two values that were enqueued one after the other, where the second was found before the first, or without it.
    fn overtaken(&self) -> Option<(&Value<'a>, &Value<'a>)> {
        let mut by_call: Vec<&Value<'_>> = self.list.iter().collect();
        by_call.sort_unstable_by_key(|value| value.enqueued().called);
        let mut by_answer: Vec<&Value<'_>> = self.list.iter().collect();
        by_answer.sort_unstable_by_key(|value| value.enqueued().answered);
        let mut answered = by_answer.into_iter().peekable();
        let mut latest: Option<&Value<'_>> = None;
        for second in by_call {
            while let Some(first) = answered.next_if(|first| first.enqueued().is_before(second.enqueued())) {
                if latest.is_none_or(|latest| latest.dequeued().called < first.dequeued().called) {
                    latest = Some(first);
                }
            }
            if let Some(first) = latest.filter(|first| second.dequeued().is_before(first.dequeued())) {
                return Some((first, second));
            }
        }
        None
    }

    /// Checks that every dequeue that found the queue empty was possible.
    fn check_empty(&self, budget: &mut SearchBudget) -> Option<Result<(), Why<'a>>> {
        // An event that is answered before a moment must come before it, and so must its counterpart, which was called
        // at another.
        let mut pulls: Vec<(u64, u64)> = Vec::new();
        for value in &self.list {
            pulls.push((value.enqueued().answered, value.dequeued().called));
            pulls.push((value.dequeued().answered, value.enqueued().called));
        }
        pulls.extend(self.empty.iter().map(|call| (Span::of(call).answered, 0)));
        pulls.sort_unstable();
        let mut furthest = 0;
        for (_, pulled) in &mut pulls {
            furthest = furthest.max(*pulled);
            *pulled = furthest;
        }
        for call in &self.empty {
            let Span { called, answered } = Span::of(call);
            let mut moment = called;
            loop {
                budget.charge(1).ok()?;
                let before = pulls.partition_point(|(answered, _)| *answered < moment);
                let pulled = before.checked_sub(1).map_or(0, |last| pulls[last].1);
                if pulled <= moment {
                    break;
                }
                moment = pulled;
                if moment > answered {
                    return Some(Err(vec![(
                        call,
                        "dequeue nothing, though the queue cannot have been empty".to_owned(),
                    )]));
                }
            }
        }
        Some(Ok(()))
    }
}

fn overtaken_words<'a>(first: &Value<'a>, second: &Value<'a>) -> Why<'a> {
    let mut why = vec![
        (first.enqueue, format!("enqueue {}", first.enqueue.called)),
        (second.enqueue, format!("enqueue {}", second.enqueue.called)),
    ];
    let is_lost = first.dequeue.is_none();
    let tail = if is_lost { format!(", and nobody ever {}", first.enqueue.called) } else { String::new() };
    why.extend(second.dequeue.map(|call| (call, format!("dequeue {}{tail}", call.answered))));
    why.extend(first.dequeue.map(|call| (call, format!("dequeue {}", call.answered))));
    why
}

/// The effect that a call had or may have had; `None` if the call contains no information.
fn operation(call: &Call) -> Option<QueueOperation<'_>> {
    match (call.function, call.outcome) {
        (_, CallOutcome::Fail) => None,
        (Function::Enqueue, _) => Some(QueueOperation::Enqueue(&call.called)),
        (_, CallOutcome::Unknown) => Some(QueueOperation::DequeueAny),
        _ if call.answered.is_null() => Some(QueueOperation::FindEmpty),
        _ => Some(QueueOperation::Dequeue(&call.answered)),
    }
}

/// The model for the search.
struct Queue<'a>(std::marker::PhantomData<&'a Datum>);

#[derive(Clone, Copy)]
enum QueueOperation<'a> {
    Enqueue(&'a Datum),
    Dequeue(&'a Datum),
    /// Removed the value at the head, if there was one.
    DequeueAny,
    FindEmpty,
}

impl<'a> Model for Queue<'a> {
    type State = Vec<&'a Datum>;
    type Operation = QueueOperation<'a>;

    fn initial(&self) -> Self::State {
        Vec::new()
    }

    fn apply(&self, state: &Self::State, operation: &QueueOperation<'a>) -> Option<Self::State> {
        match operation {
            QueueOperation::Enqueue(value) => Some([state, &[*value][..]].concat()),
            QueueOperation::Dequeue(value) => (state.first() == Some(value)).then(|| state[1..].to_vec()),
            QueueOperation::DequeueAny => Some(state.get(1..).unwrap_or(&[]).to_vec()),
            QueueOperation::FindEmpty => state.is_empty().then(Vec::new),
        }
    }

    fn reads_only(&self, operation: &QueueOperation<'a>) -> bool {
        matches!(operation, QueueOperation::FindEmpty)
    }

    fn wants(&self, operation: &QueueOperation<'a>) -> Option<Self::State> {
        matches!(operation, QueueOperation::FindEmpty).then(Vec::new)
    }
}

impl<'a> Described for Queue<'a> {
    fn words(&self, operation: &QueueOperation<'a>) -> String {
        match operation {
            QueueOperation::Enqueue(value) => format!("enqueue {value}"),
            QueueOperation::Dequeue(value) => format!("dequeue {value}"),
            QueueOperation::DequeueAny => "dequeue what nobody knows".to_owned(),
            QueueOperation::FindEmpty => "dequeue nothing".to_owned(),
        }
    }

    fn reason(&self, _: &[Timed<QueueOperation<'a>>], order: &[&QueueOperation<'a>], _: &QueueOperation<'a>) -> String {
        match &*state_after(self, order) {
            [] => "the queue is empty".to_owned(),
            [head, ..] => format!("the queue has {head} at its head"),
        }
    }
}

/// Number of copied values that take some hundred megabytes.
const COPIED_MAX: usize = 20_000_000;
