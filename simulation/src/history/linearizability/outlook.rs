//! Answers that the current state must still be able to reach.

use super::super::{Model, Timed};
use super::budget::{SearchBudget, Spent};
use super::call_list::{CallList, HEAD, Optional};

/// For each required call: the number of overwriting calls, not yet in the order, from whose state its answer could be
/// reached. If there is none, the answer must be reached from the current state ([`Model::can_reach`]).
pub(super) struct Outlook {
    /// Zero for calls without such an answer as well.
    sources: Vec<u32>,
    is_watched: Vec<bool>,
    /// For each overwriting call, the calls whose source it is.
    source_of: Vec<Vec<u32>>,
    is_used: bool,
    /// True if every call is watched, or tells nothing of the state before it.
    is_complete: bool,
}

impl Outlook {
    /// Looks at every pair of an overwriting call and an answer that may depend on it. If there are too many pairs,
    /// nothing will be concluded.
    pub(super) fn new<M: Model>(model: &M, operations: &[Timed<M::Operation>], optional: &[Optional]) -> Self {
        let initial = model.initial();
        let is_watched: Vec<bool> = operations
            .iter()
            .map(|timed| timed.returned.is_some() && model.can_reach(&initial, &timed.operation).is_some())
            .collect();
        let watched: Vec<usize> = (0..operations.len()).filter(|number| is_watched[*number]).collect();
        let required = (0..operations.len()).filter(|number| operations[*number].returned.is_some());
        let all: Vec<usize> = required.chain(optional.iter().map(|optional| optional.operation)).collect();
        let overwrites = |number: &usize| model.overwrites(&operations[*number].operation);
        let overwriting: Vec<usize> = all.iter().copied().filter(overwrites).collect();
        let mut outlook = Self {
            sources: vec![0; operations.len()],
            source_of: vec![Vec::new(); operations.len()],
            is_used: !watched.is_empty() && overwriting.len().saturating_mul(watched.len()) <= PAIRS_MAX,
            is_complete: all.iter().all(|number| is_watched[*number] || model.is_blind(&operations[*number].operation)),
            is_watched,
        };
        if !outlook.is_used {
            return outlook;
        }
        for number in overwriting {
            let Timed { operation, invoked, .. } = &operations[number];
            for &answer in &watched {
                let asked = &operations[answer];
                let is_in_time = asked.returned.is_some_and(|returned| *invoked <= returned);
                let leaves = model.leaves(operation);
                let may_lead = leaves.is_none_or(|state| model.can_reach(&state, &asked.operation) != Some(false));
                if is_in_time && may_lead {
                    outlook.sources[answer] += 1;
                    outlook.source_of[number].extend(u32::try_from(answer));
                }
            }
        }
        outlook
    }

    /// Concludes nothing from now on.
    pub(super) fn close(&mut self) {
        self.is_used = false;
    }

    pub(super) fn place(&mut self, operation: usize) {
        for answer in &self.source_of[operation] {
            self.sources[*answer as usize] -= 1;
        }
    }

    pub(super) fn take_back(&mut self, operation: usize) {
        for answer in &self.source_of[operation] {
            self.sources[*answer as usize] += 1;
        }
    }

    /// True if no remaining call can see anything of this state, nor of what is added to it.
    pub(super) fn is_out_of_sight<M: Model>(
        &self,
        model: &M,
        operations: &[Timed<M::Operation>],
        calls: &CallList,
        state: &M::State,
        budget: &mut SearchBudget,
    ) -> Result<bool, Spent> {
        if !self.is_used || !self.is_complete {
            return Ok(false);
        }
        let mut place = calls.next(HEAD);
        for _ in 0..PLACES_MAX {
            let Some((operation, is_call)) = calls.at(place) else { return Ok(true) };
            budget.spend()?;
            if !is_call && model.overwrites(&operations[operation].operation) {
                // All later calls come after this one, which overwrites the state.
                return Ok(true);
            }
            let is_asked = is_call && self.is_watched[operation];
            if is_asked && model.can_reach(state, &operations[operation].operation) != Some(false) {
                return Ok(false);
            }
            place = calls.next(place);
        }
        Ok(false)
    }

    /// True if one of the next answers can be reached no more, whatever comes next.
    pub(super) fn is_lost<M: Model>(
        &self,
        model: &M,
        operations: &[Timed<M::Operation>],
        calls: &CallList,
        state: &M::State,
        budget: &mut SearchBudget,
    ) -> Result<bool, Spent> {
        if !self.is_used {
            return Ok(false);
        }
        let mut place = calls.next(HEAD);
        for _ in 0..PLACES_MAX {
            let Some((operation, is_call)) = calls.at(place) else { return Ok(false) };
            budget.spend()?;
            if !is_call && model.overwrites(&operations[operation].operation) {
                return Ok(false);
            }
            let must_be_reached = is_call && self.is_watched[operation] && self.sources[operation] == 0;
            if must_be_reached && model.can_reach(state, &operations[operation].operation) == Some(false) {
                return Ok(true);
            }
            place = calls.next(place);
        }
        Ok(false)
    }
}

/// Largest number of pairs of an overwriting call and an answer.
const PAIRS_MAX: usize = 10_000_000;
/// Number of calls and answers that are looked at.
const PLACES_MAX: usize = 512;
