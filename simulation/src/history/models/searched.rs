//! Models for which an order is searched, and the explanation if there is none.

use std::fmt::Write;

use super::super::pairing::Call;
use super::super::{Explanation, Linearization, Model, SearchBudget, Timed, explain, linearize};
use super::judged::{Judged, NOT_LINEARIZABLE, call_words};

/// A model whose calls can be put into words.
pub(super) trait Described: Model<Operation: Clone> {
    /// Describes a call and its answer.
    fn words(&self, operation: &Self::Operation) -> String;

    /// Explains why `blocked` cannot come after `order`, in a clause that begins with the state at that point. `all`
    /// are all calls.
    fn reason(&self, all: &[Timed<Self::Operation>], order: &[&Self::Operation], blocked: &Self::Operation) -> String;
}

/// Calls of one object, without those that cannot have had an effect and contain no information.
pub(super) struct Searched<'a, M: Described> {
    pub(super) model: M,
    timed: Vec<Timed<M::Operation>>,
    calls: Vec<&'a Call>,
}

impl<'a, M: Described> Searched<'a, M> {
    /// `operation` returns the effect that a call had or may have had, and `None` for a call without information.
    pub(super) fn new(
        model: M,
        calls: &[&'a Call],
        mut operation: impl FnMut(&'a Call) -> Option<M::Operation>,
    ) -> Self {
        let mut searched = Self { model, timed: Vec::with_capacity(calls.len()), calls: Vec::new() };
        for call in calls {
            let Some(operation) = operation(call) else { continue };
            searched.timed.push(Timed { operation, invoked: call.invoked.0, returned: call.answered_at() });
            searched.calls.push(call);
        }
        searched
    }

    pub(super) fn judge(&self, budget: &mut SearchBudget, explaining: &mut SearchBudget) -> Judged {
        match linearize(&self.model, &self.timed, budget) {
            Linearization::Possible { .. } => Judged::Holds,
            Linearization::Undecided => Judged::Undecided,
            Linearization::Impossible => {
                let explanation = if explaining.steps_left() > 0 {
                    self.explanation(&explain(&self.model, &self.timed, explaining))
                } else {
                    "  It is not said why: explaining what stands above took all steps that there are for it."
                        .to_owned()
                };
                Judged::Violated { what: NOT_LINEARIZABLE, explanation }
            }
        }
    }

    fn explanation(&self, why: &Explanation) -> String {
        let mut text = String::new();
        let (count, of) = (why.operations.len(), self.calls.len());
        _ = writeln!(text, "  {count} of its {of} calls admit no order by themselves:");
        for position in why.operations.iter().take(CALLS_TOLD_MAX) {
            let words = self.model.words(&self.timed[*position].operation);
            _ = writeln!(text, "    {}", call_words(self.calls[*position], &words));
        }
        if count > CALLS_TOLD_MAX {
            _ = writeln!(text, "    and {} more", count - CALLS_TOLD_MAX);
        }
        let Some(blocked) = why.blocked else {
            _ = write!(text, "  They are too many to say how far an order gets.");
            return text;
        };
        let words = self.short_words(blocked);
        let operations: Vec<_> = why.order.iter().map(|position| &self.timed[*position].operation).collect();
        let reason = self.model.reason(&self.timed, &operations, &self.timed[blocked].operation);
        if why.order.is_empty() {
            _ = write!(text, "  Nothing can come before {words}, but {reason}.");
            return text;
        }
        let hidden = why.order.len().saturating_sub(CALLS_TOLD_MAX);
        let mut order: Vec<String> = why.order[hidden..].iter().map(|position| self.short_words(*position)).collect();
        if hidden > 0 {
            order.insert(0, format!("{hidden} calls"));
        }
        _ = writeln!(text, "  The order that gets furthest: {}.", order.join("; "));
        _ = write!(text, "  Then {words} must come, but {reason}.");
        text
    }

    fn short_words(&self, position: usize) -> String {
        let words = self.model.words(&self.timed[position].operation);
        format!("process {}: {words}", self.calls[position].process)
    }
}

/// The state after `order`, which is an order that the calls allow.
pub(super) fn state_after<M: Model>(model: &M, order: &[&M::Operation]) -> M::State {
    order.iter().fold(model.initial(), |state, operation| model.apply(&state, operation).unwrap_or(state))
}

const CALLS_TOLD_MAX: usize = 50;
