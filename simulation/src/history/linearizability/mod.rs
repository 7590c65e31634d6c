//! Search for an order of the calls that one client alone could have seen.
//!
//! If no state is left twice, a comparison of intervals decides (see `zones`). All other histories need a search.
//!
//! The search is that of Wing and Gong ("Testing and Verifying Concurrent Objects", JPDC 1993) with Lowe's memory of
//! failed attempts ("Testing for Linearizability", CCPE 2017), and six things that keep it fast:
//!
//! - A call that only reads is put into the order as soon as it fits: if any order exists, one with the call at this
//!   position exists.
//! - A failed attempt is remembered when it is given up, not when it is begun. Along a path the calls in the order only
//!   grow, so none is met twice on it, and a history without detours leaves nothing to remember.
//! - A call of unknown outcome is optional. If an attempt failed with some optional calls done, it fails with more of
//!   them done in an equal state. An optional call that is overwritten unseen is never tried. Of optional calls with
//!   the same effect only the one that was made first is tried, because it can do whatever another would do.
//! - A state that a waiting call still wants is not left if no other call restores it. A write that no remaining call
//!   can see comes as soon as no remaining call can see the state that it overwrites.
//! - A state from which an answer can be reached no more is given up, if no remaining call overwrites it with one from
//!   which that answer can be reached.
//! - The set of required calls in the order is remembered as a 128-bit sum of random numbers, one for each call
//!   (Zobrist, "A New Hashing Method with Application for Game Playing", 1970). Two of 10^7 sets have the same sum with
//!   a chance of 10^-25; then an order could be missed.

mod budget;
mod call_list;
mod folded;
mod outlook;
mod timed;
mod uses;
mod zones;

use std::collections::HashMap;

use quorate_protocol::Random;

use super::Model;
use call_list::{CallList, HEAD, Optional};
use folded::FoldedKeys;
use outlook::Outlook;
use uses::Uses;

pub use budget::SearchBudget;
pub(in crate::history) use budget::Spent;
pub use timed::{Linearization, Timed};
pub(in crate::history) use uses::Seen;

/// Searches for an order of `operations` that one client alone could have seen from `model`, and that puts no call
/// before a call which was answered before it was made.
///
/// If every call leaves a state that no other leaves, and [`Model::wants`] and [`Model::leaves`] know all calls, this
/// takes one step for each call. Otherwise it is a search, whose steps may grow with the number of calls under way at
/// the same time.
pub fn linearize<M: Model>(model: &M, operations: &[Timed<M::Operation>], budget: &mut SearchBudget) -> Linearization {
    if budget.charge(operations.len()).is_err() {
        return Linearization::Undecided;
    }
    if let Some(judged) = zones::judge(model, operations) {
        return judged;
    }
    let mut search = Search::new(model, operations);
    if search.uses.are_known && search.uses.is_some_state_from_nowhere(&model.initial()) {
        return Linearization::Impossible;
    }
    match search.run(budget, None) {
        Ok(Found::Order) => Linearization::Possible { order: search.order() },
        Ok(Found::Nothing) => Linearization::Impossible,
        Err(Spent) => Linearization::Undecided,
    }
}

/// The longest order that was found, and the call whose answer no order reaches; for histories without an order.
pub(super) fn longest_order<M: Model>(
    model: &M,
    operations: &[Timed<M::Operation>],
    budget: &mut SearchBudget,
) -> Option<(Vec<usize>, usize)> {
    // Conclusions from later calls would stop the search before the impossible answer.
    let mut search = Search::without_conclusions(model, operations);
    search.run(budget, None).ok()?;
    let furthest = search.furthest;
    let mut again = Search::without_conclusions(model, operations);
    again.run(budget, Some(furthest)).ok()?;
    Some((again.order(), again.calls.operation(furthest)))
}

enum Found {
    Order,
    Nothing,
}

struct Search<'a, M: Model> {
    model: &'a M,
    operations: &'a [Timed<M::Operation>],
    calls: CallList,
    /// The optional calls in the order in which they were made, with a flag for those in the current order.
    optional: Vec<Optional>,
    /// For each optional call, the previous one with the same effect.
    twins: Vec<Option<usize>>,
    state: M::State,
    /// True if the last step took an optional call whose effect no call has seen yet.
    is_unseen: bool,
    path: Vec<Step<M::State>>,
    /// The sum over the required calls in the order.
    signature: u128,
    summands: Vec<u128>,
    /// The optional calls in the order, ascending.
    optional_taken: Vec<u32>,
    uses: Uses<M::State>,
    outlook: Outlook,
    /// Failed attempts: the required calls in the order, the state if a remaining call can see something of it, and
    /// whether it is unseen; with the optional calls of each.
    in_vain: InVain<M::State>,
    remembered: usize,
    /// The furthest answer that could not be passed, as a position in the list.
    furthest: usize,
}

type Tried<S> = (u128, Option<S>, bool);
type InVain<S> = HashMap<Tried<S>, Vec<Box<[u32]>>, FoldedKeys>;

struct Step<S> {
    operation: usize,
    state: S,
    is_unseen: bool,
    choice: Choice,
}

/// Kind of a step, which says where to look for the next choice after it failed.
#[derive(Clone, Copy)]
enum Choice {
    /// A read that fitted: there is no other choice.
    Forced { call: usize },
    /// The required call at this position.
    Required { call: usize },
    /// The optional call with this number.
    Optional { number: usize },
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, operations: &'a [Timed<M::Operation>]) -> Self {
        let (calls, mut optional) = CallList::new(operations);
        let seen = Seen::by(model, operations.iter().map(|timed| &timed.operation));
        // An optional call that no call can have seen need not have happened.
        optional.retain(|optional| !seen.nothing_of(model, &operations[optional.operation].operation));
        let mut random = Random::new(0x51_6d_70_6c_65);
        let mut summand = || u128::from(random.next_u64()) << 64 | u128::from(random.next_u64());
        Self {
            model,
            operations,
            calls,
            state: model.initial(),
            is_unseen: false,
            path: Vec::new(),
            signature: 0,
            summands: operations.iter().map(|_| summand()).collect(),
            optional_taken: Vec::new(),
            uses: Uses::new(model, operations, &optional),
            outlook: Outlook::new(model, operations, &optional),
            twins: twins(model, operations, &optional),
            optional,
            in_vain: HashMap::default(),
            remembered: 0,
            furthest: 0,
        }
    }

    /// A search that concludes nothing from calls that come later.
    fn without_conclusions(model: &'a M, operations: &'a [Timed<M::Operation>]) -> Self {
        let mut search = Self::new(model, operations);
        search.uses.are_known = false;
        search.outlook.close();
        search
    }

    /// Searches until there is an order, or no attempt is left, or an order up to the answer at `until` is found.
    fn run(&mut self, budget: &mut SearchBudget, until: Option<usize>) -> Result<Found, Spent> {
        self.absorb(budget)?;
        let mut from = Choice::Required { call: HEAD };
        loop {
            let Some(blocked) = self.calls.first_answer(budget)? else { return Ok(Found::Order) };
            if until == Some(blocked) {
                return Ok(Found::Order);
            }
            if let Some(choice) = self.next_choice(from, blocked, budget)? {
                self.take(choice);
                self.absorb(budget)?;
                if !self.is_lost(budget)? && !self.is_in_vain(budget)? {
                    from = Choice::Required { call: HEAD };
                    continue;
                }
            } else {
                self.furthest = self.furthest.max(blocked);
                self.remember(budget)?;
            }
            match self.give_up_last_choice() {
                Some(choice) => from = choice,
                None => return Ok(Found::Nothing),
            }
        }
    }

    /// Puts calls into the order that may come next whatever the others do.
    fn absorb(&mut self, budget: &mut SearchBudget) -> Result<(), Spent> {
        self.absorb_reads(budget)?;
        while let Some(call) = self.unseen_write(budget)? {
            self.take(Choice::Forced { call });
            self.absorb_reads(budget)?;
        }
        Ok(())
    }

    /// A required write that no remaining call can see, if no remaining call can see the current state either. Every
    /// order can continue with it next.
    fn unseen_write(&self, budget: &mut SearchBudget) -> Result<Option<usize>, Spent> {
        if !self.uses.are_known || self.is_unseen || self.uses.is_wanted(&self.state) {
            return Ok(None);
        }
        let mut call = self.calls.next(HEAD);
        while let Some(operation) = self.calls.call(call) {
            budget.spend()?;
            if self.model.overwrites(&self.operations[operation].operation) && self.uses.leaves_unwanted(operation) {
                return Ok(Some(call));
            }
            call = self.calls.next(call);
        }
        Ok(None)
    }

    /// Puts every read that fits the state into the order. One pass is enough, because reads do not change the state.
    fn absorb_reads(&mut self, budget: &mut SearchBudget) -> Result<(), Spent> {
        let mut call = self.calls.next(HEAD);
        while let Some(operation) = self.calls.call(call) {
            budget.spend()?;
            let next = self.calls.next(call);
            let operation_of = &self.operations[operation].operation;
            if self.model.reads_only(operation_of) && self.model.apply(&self.state, operation_of).is_some() {
                self.take(Choice::Forced { call });
                // Removing the call may have removed the answer that was next.
                call = if self.calls.is_answer_of(next, operation) { self.calls.next(next) } else { next };
                continue;
            }
            call = next;
        }
        Ok(())
    }

    /// The next call that can come next; required calls first.
    fn next_choice(&self, from: Choice, blocked: usize, budget: &mut SearchBudget) -> Result<Option<Choice>, Spent> {
        let mut number = 0;
        match from {
            Choice::Forced { .. } => unreachable!("a forced step is undone with the choice before it"),
            Choice::Required { call } => {
                let mut call = self.calls.next(call);
                while let Some(operation) = self.calls.call(call) {
                    budget.spend()?;
                    if self.fits(operation) {
                        return Ok(Some(Choice::Required { call }));
                    }
                    call = self.calls.next(call);
                }
            }
            Choice::Optional { number: last } => number = last + 1,
        }
        while let Some(optional) = self.optional.get(number)
            && optional.place < blocked
        {
            budget.spend()?;
            let is_next = !optional.is_taken && self.twins[number].is_none_or(|twin| self.optional[twin].is_taken);
            if is_next && self.fits(optional.operation) && !self.is_for_nothing(optional.operation, budget)? {
                budget.charge(self.optional_taken.len())?;
                return Ok(Some(Choice::Optional { number }));
            }
            number += 1;
        }
        Ok(None)
    }

    fn fits(&self, operation: usize) -> bool {
        if self.uses.are_known && self.uses.would_strand(operation, &self.state) {
            return false;
        }
        let operation = &self.operations[operation].operation;
        let is_waste = self.is_unseen && self.model.overwrites(operation);
        !is_waste && !self.model.reads_only(operation) && self.model.apply(&self.state, operation).is_some()
    }

    /// True if no remaining call can see anything of the state that the call would leave. Calls of unknown outcome need
    /// not come then.
    fn is_for_nothing(&self, operation: usize, budget: &mut SearchBudget) -> Result<bool, Spent> {
        let operation = &self.operations[operation].operation;
        if self.model.overwrites(operation) || !self.model.is_blind(operation) {
            return Ok(false);
        }
        let Some(after) = self.model.apply(&self.state, operation) else { return Ok(false) };
        self.outlook.is_out_of_sight(self.model, self.operations, &self.calls, &after, budget)
    }

    fn take(&mut self, choice: Choice) {
        let operation = match choice {
            Choice::Forced { call } | Choice::Required { call } => {
                let operation = self.calls.call(call).expect("a chosen call is in the list");
                self.calls.lift(operation);
                self.signature ^= self.summands[operation];
                operation
            }
            Choice::Optional { number } => {
                self.optional[number].is_taken = true;
                let number = u32::try_from(number).expect("fewer than 2^32 calls");
                let at = self.optional_taken.partition_point(|taken| *taken < number);
                self.optional_taken.insert(at, number);
                self.optional[number as usize].operation
            }
        };
        self.uses.place(operation);
        self.outlook.place(operation);
        let after = self.model.apply(&self.state, &self.operations[operation].operation);
        let state = std::mem::replace(&mut self.state, after.expect("a chosen call fits"));
        self.path.push(Step { operation, state, is_unseen: self.is_unseen, choice });
        self.is_unseen = matches!(choice, Choice::Optional { .. });
    }

    /// Undoes steps up to and including the last that had other choices, and returns that one.
    fn give_up_last_choice(&mut self) -> Option<Choice> {
        while let Some(step) = self.path.pop() {
            self.state = step.state;
            self.uses.take_back(step.operation);
            self.outlook.take_back(step.operation);
            self.is_unseen = step.is_unseen;
            match step.choice {
                Choice::Forced { .. } => {
                    self.calls.unlift(step.operation);
                    self.signature ^= self.summands[step.operation];
                }
                Choice::Required { .. } => {
                    self.calls.unlift(step.operation);
                    self.signature ^= self.summands[step.operation];
                    return Some(step.choice);
                }
                Choice::Optional { number } => {
                    self.optional[number].is_taken = false;
                    self.optional_taken.retain(|taken| *taken as usize != number);
                    return Some(step.choice);
                }
            }
        }
        None
    }

    fn is_lost(&self, budget: &mut SearchBudget) -> Result<bool, Spent> {
        self.outlook.is_lost(self.model, self.operations, &self.calls, &self.state, budget)
    }

    fn is_in_vain(&self, budget: &mut SearchBudget) -> Result<bool, Spent> {
        let key = self.attempt(budget)?;
        let Some(sets) = self.in_vain.get(&key) else { return Ok(false) };
        for set in sets {
            budget.charge(1 + set.len())?;
            if is_subset(set, &self.optional_taken) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn attempt(&self, budget: &mut SearchBudget) -> Result<Tried<M::State>, Spent> {
        let outlook = &self.outlook;
        let is_out_of_sight = outlook.is_out_of_sight(self.model, self.operations, &self.calls, &self.state, budget)?;
        Ok((self.signature, (!is_out_of_sight).then(|| self.state.clone()), self.is_unseen))
    }

    fn remember(&mut self, budget: &mut SearchBudget) -> Result<(), Spent> {
        if self.remembered >= REMEMBERED_BYTES_MAX / (2 * size_of::<Tried<M::State>>() + SET_BYTES) {
            return Ok(());
        }
        let key = self.attempt(budget)?;
        let sets = self.in_vain.entry(key).or_default();
        budget.charge(sets.len() * (1 + self.optional_taken.len()))?;
        sets.retain(|set| {
            let is_kept = !is_subset(&self.optional_taken, set);
            self.remembered -= if is_kept { 0 } else { weight(set) };
            is_kept
        });
        sets.push(self.optional_taken.clone().into_boxed_slice());
        self.remembered += weight(&self.optional_taken);
        Ok(())
    }

    fn order(&self) -> Vec<usize> {
        self.path.iter().map(|step| step.operation).collect()
    }
}

/// True if every number of the ascending `smaller` is in the ascending `larger`.
fn is_subset(smaller: &[u32], larger: &[u32]) -> bool {
    smaller.len() <= larger.len() && smaller.iter().all(|number| larger.binary_search(number).is_ok())
}

/// For each optional call, the last earlier one (in the order in which they were made) that changes every state in the
/// same way.
fn twins<M: Model>(model: &M, operations: &[Timed<M::Operation>], optional: &[Optional]) -> Vec<Option<usize>> {
    let mut last = HashMap::new();
    let twin = |(number, optional): (usize, &Optional)| {
        let operation = &operations[optional.operation].operation;
        let (wants, leaves) = (model.wants(operation), model.leaves(operation));
        let is_known = leaves.is_some() && (wants.is_some() || model.overwrites(operation));
        if is_known { last.insert((wants, leaves), number) } else { None }
    };
    optional.iter().enumerate().map(twin).collect()
}

/// Approximate number of empty sets that take as much memory as this set.
fn weight(set: &[u32]) -> usize {
    1 + set.len() / 16
}

/// Above this size nothing more is remembered, and the search goes on more slowly.
const REMEMBERED_BYTES_MAX: usize = 1_000_000_000;
/// Approximate size of an empty set.
const SET_BYTES: usize = 100;
