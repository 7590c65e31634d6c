//! The effects that calls can see of each other.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use super::super::Model;
use super::call_list::Optional;
use super::timed::Timed;

/// The states on which the answers of some calls depend.
pub(in crate::history) struct Seen<S: Eq + Hash> {
    states: HashSet<S>,
    is_all: bool,
}

impl<S: Clone + Eq + Hash> Seen<S> {
    pub(in crate::history) fn by<'a, M>(model: &M, operations: impl Iterator<Item = &'a M::Operation>) -> Self
    where
        M: Model<State = S>,
        M::Operation: 'a,
    {
        let mut seen = Self { states: HashSet::new(), is_all: false };
        for operation in operations {
            match model.wants(operation) {
                Some(state) => _ = seen.states.insert(state),
                None => seen.is_all |= !model.overwrites(operation),
            }
        }
        seen
    }

    /// True if none of the calls can have seen this one: the rest has the same orders with or without it.
    pub(in crate::history) fn nothing_of<M: Model<State = S>>(&self, model: &M, operation: &M::Operation) -> bool {
        let is_unseen = |state| !self.is_all && !self.states.contains(&state);
        model.reads_only(operation) || model.leaves(operation).is_some_and(is_unseen)
    }
}

/// The states that the calls not yet in the order want and leave.
pub(super) struct Uses<S> {
    /// True if this is known of every call. If not, nothing is concluded from the other fields.
    pub(super) are_known: bool,
    numbers: HashMap<S, usize>,
    of_operation: Vec<Use>,
    /// For each state: the number of calls that want it, of required calls among them, and of calls that leave it.
    wanted: Vec<u32>,
    required: Vec<u32>,
    left: Vec<u32>,
}

#[derive(Clone, Copy, Default)]
struct Use {
    wants: Option<usize>,
    leaves: Option<usize>,
    is_required: bool,
}

impl<S: Clone + Eq + Hash> Uses<S> {
    pub(super) fn new<M: Model<State = S>>(
        model: &M,
        operations: &[Timed<M::Operation>],
        optional: &[Optional],
    ) -> Self {
        let mut uses = Self {
            are_known: true,
            numbers: HashMap::new(),
            of_operation: vec![Use::default(); operations.len()],
            wanted: Vec::new(),
            required: Vec::new(),
            left: Vec::new(),
        };
        let required = (0..operations.len()).filter(|number| operations[*number].returned.is_some());
        for number in required.chain(optional.iter().map(|optional| optional.operation)) {
            let operation = &operations[number].operation;
            let (wants, leaves) = (model.wants(operation), model.leaves(operation));
            uses.are_known &= wants.is_some() || model.overwrites(operation);
            uses.are_known &= leaves.is_some() || model.reads_only(operation);
            let wants = wants.map(|state| uses.number(state));
            let leaves = leaves.map(|state| uses.number(state));
            uses.of_operation[number] = Use { wants, leaves, is_required: operations[number].returned.is_some() };
            uses.take_back(number);
        }
        uses
    }

    fn number(&mut self, state: S) -> usize {
        let next = self.numbers.len();
        let number = *self.numbers.entry(state).or_insert(next);
        if number == next {
            self.wanted.push(0);
            self.required.push(0);
            self.left.push(0);
        }
        number
    }

    pub(super) fn place(&mut self, operation: usize) {
        let Use { wants, leaves, is_required } = self.of_operation[operation];
        if let Some(state) = wants {
            self.wanted[state] -= 1;
            self.required[state] -= u32::from(is_required);
        }
        if let Some(state) = leaves {
            self.left[state] -= 1;
        }
    }

    pub(super) fn take_back(&mut self, operation: usize) {
        let Use { wants, leaves, is_required } = self.of_operation[operation];
        if let Some(state) = wants {
            self.wanted[state] += 1;
            self.required[state] += u32::from(is_required);
        }
        if let Some(state) = leaves {
            self.left[state] += 1;
        }
    }

    /// True if a required call wants a state that no call leaves.
    pub(super) fn is_some_state_from_nowhere(&self, initial: &S) -> bool {
        let initial = self.numbers.get(initial).copied();
        (0..self.required.len())
            .any(|state| Some(state) != initial && self.required[state] > 0 && self.left[state] == 0)
    }

    pub(super) fn is_wanted(&self, state: &S) -> bool {
        self.numbers.get(state).is_some_and(|state| self.wanted[*state] > 0)
    }

    pub(super) fn leaves_unwanted(&self, operation: usize) -> bool {
        self.of_operation[operation].leaves.is_some_and(|state| self.wanted[state] == 0)
    }

    /// True if a required call could never find `state` any more once this call came next.
    pub(super) fn would_strand(&self, operation: usize, state: &S) -> bool {
        let Some(state) = self.numbers.get(state).copied() else { return false };
        let Use { wants, leaves, is_required } = self.of_operation[operation];
        let own = u32::from(is_required && wants == Some(state));
        leaves != Some(state) && self.left[state] == 0 && self.required[state] > own
    }
}
