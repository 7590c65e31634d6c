//! A smallest set of calls that has no order.

use super::linearizability::{Seen, longest_order};
use super::{Linearization, Model, SearchBudget, Timed, linearize};

/// Calls that have no order by themselves, which explains why the whole history has none.
///
/// A call is left out only if every order of the history is also an order without it: this holds for reads, and for
/// calls whose effect no remaining call can have seen. The result is minimal: without any single one of these calls,
/// the rest has an order, unless the budget ran out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The calls that have no order: positions in the input, ascending.
    pub operations: Vec<usize>,
    /// The longest order of some of them that was found; it leads up to the blocked answer.
    pub order: Vec<usize>,
    /// The call whose answer no order reaches; `None` if the budget ran out before it was found.
    pub blocked: Option<usize>,
}

/// Explains `operations`, which have no order. If the budget runs out, more calls are left than necessary.
pub fn explain<M: Model>(model: &M, operations: &[Timed<M::Operation>], budget: &mut SearchBudget) -> Explanation
where
    M::Operation: Clone,
{
    let mut shrinking = Shrinking { model, operations, until: u64::MAX };
    shrinking.end_early(budget);
    let kept = shrinking.shrink(budget);
    let chosen = shrinking.history(&kept);
    // The rest is usually small. It has a budget of its own, in case shrinking used up the other.
    let mut last_look = SearchBudget::of_steps(LAST_LOOK_STEPS);
    let found = shrinking.before_the_last_answer(&chosen, &mut last_look);
    let found = found.or_else(|| longest_order(model, &chosen, &mut last_look));
    let (order, blocked) = found.map_or((Vec::new(), None), |(order, blocked)| {
        (order.into_iter().map(|position| kept[position]).collect(), Some(kept[blocked]))
    });
    Explanation { operations: kept, order, blocked }
}

struct Shrinking<'a, M: Model> {
    model: &'a M,
    operations: &'a [Timed<M::Operation>],
    /// Answers after this one are not needed: calls without an answer by then count as of unknown outcome.
    until: u64,
}

impl<M: Model> Shrinking<'_, M>
where
    M::Operation: Clone,
{
    /// Finds the first answer up to which there is no order. More answers can only mean fewer orders.
    fn end_early(&mut self, budget: &mut SearchBudget) {
        let mut answers: Vec<u64> = self.operations.iter().filter_map(|timed| timed.returned).collect();
        answers.sort_unstable();
        let (mut low, mut high) = (0, answers.len().saturating_sub(1));
        while low < high {
            let middle = usize::midpoint(low, high);
            self.until = answers[middle];
            let kept = self.made_in_time();
            if self.is_impossible(&kept, budget) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        self.until = answers.get(high).copied().unwrap_or(u64::MAX);
    }

    /// The calls that were made in time, without the reads that were not answered in time.
    fn made_in_time(&self) -> Vec<usize> {
        let is_in_time = |timed: &Timed<M::Operation>| {
            let is_answered = timed.returned.is_some_and(|returned| returned <= self.until);
            timed.invoked <= self.until && (is_answered || !self.model.reads_only(&timed.operation))
        };
        (0..self.operations.len()).filter(|position| is_in_time(&self.operations[*position])).collect()
    }

    /// Leaves out ever smaller ranges of calls as long as the rest has no order.
    fn shrink(&self, budget: &mut SearchBudget) -> Vec<usize> {
        let mut kept = self.made_in_time();
        let mut stretch = kept.len().div_ceil(2);
        loop {
            let before = kept.len();
            let mut from = 0;
            while from < kept.len() && budget.steps_left() > 0 {
                let to = (from + stretch).min(kept.len());
                let rest = self.without(&kept, from..to, budget);
                if rest.len() < kept.len() && self.is_impossible(&rest, budget) {
                    kept = rest;
                } else {
                    from = to;
                }
            }
            if budget.steps_left() == 0 || (stretch == 1 && kept.len() == before) {
                return kept;
            }
            stretch = stretch.div_ceil(2).max(1);
        }
    }

    /// An order that reaches every answer of `chosen` but the last, and the call with the last; `None` if there is no
    /// such order. There is one if the last answer is the first that no order reaches.
    fn before_the_last_answer(
        &self,
        chosen: &[Timed<M::Operation>],
        budget: &mut SearchBudget,
    ) -> Option<(Vec<usize>, usize)> {
        let answer = |position: &usize| chosen[*position].returned;
        let last = (0..chosen.len()).max_by_key(answer)?;
        let until = (0..chosen.len()).filter_map(|position| answer(&position)).filter(|at| Some(*at) < answer(&last));
        let before = Shrinking { model: self.model, operations: chosen, until: until.max()? };
        let kept = before.made_in_time();
        match linearize(self.model, &before.history(&kept), budget) {
            Linearization::Possible { order } => Some((order.into_iter().map(|at| kept[at]).collect(), last)),
            _ => None,
        }
    }

    fn history(&self, kept: &[usize]) -> Vec<Timed<M::Operation>> {
        let timed = |position: &usize| {
            let timed = &self.operations[*position];
            let returned = timed.returned.filter(|returned| *returned <= self.until);
            Timed { returned, ..timed.clone() }
        };
        kept.iter().map(timed).collect()
    }

    fn is_impossible(&self, kept: &[usize], budget: &mut SearchBudget) -> bool {
        matches!(linearize(self.model, &self.history(kept), budget), Linearization::Impossible)
    }

    /// `kept` without the calls of the range that may be left out.
    fn without(&self, kept: &[usize], stretch: std::ops::Range<usize>, budget: &mut SearchBudget) -> Vec<usize> {
        let mut is_kept: Vec<bool> = (0..kept.len()).map(|at| !stretch.contains(&at)).collect();
        loop {
            if budget.charge(kept.len()).is_err() {
                return kept.to_vec();
            }
            let rest = kept.iter().zip(&is_kept).filter(|(_, is_kept)| **is_kept);
            let seen = Seen::by(self.model, rest.map(|(position, _)| &self.operations[*position].operation));
            let mut is_stable = true;
            for at in stretch.clone() {
                if !is_kept[at] && !seen.nothing_of(self.model, &self.operations[kept[at]].operation) {
                    is_kept[at] = true;
                    is_stable = false;
                }
            }
            if is_stable {
                return kept.iter().zip(is_kept).filter(|(_, is_kept)| *is_kept).map(|(at, _)| *at).collect();
            }
        }
    }
}

const LAST_LOOK_STEPS: u64 = 5_000_000;
