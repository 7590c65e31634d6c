//! Is there an order of the calls that one client alone could have seen?
//!
//! Where no state is left twice, comparing intervals tells (see `zones`). For all else there is a search.
//!
//! The search is that of Wing and Gong ("Testing and Verifying Concurrent Objects", JPDC 1993) with Lowe's memory of
//! what was tried ("Testing for Linearizability", CCPE 2017), and five things that keep it fast:
//!
//! - A call that only reads is put into the order as soon as it fits: if any order exists, one with it there does.
//! - What was tried in vain is remembered when it is given up, not when it is begun: the calls in the order only grow
//!   along a path, so none is met twice on it, and a history without detours leaves nothing to remember.
//! - A call of unknown outcome is optional. What was in vain with some of them done is in vain with those and more, the
//!   state being equal; one that is overwritten unseen is never tried; and of those with the same effect only the one
//!   that was called first is, since whatever another would do, it does as well.
//! - A state that a waiting call still wants is not left if no other call brings it back, and a write that nobody is
//!   left to see comes as soon as nobody is left to see what it overwrites.
//! - The set of required calls in the order is remembered as a 128-bit sum of random numbers, one a call (Zobrist,
//!   "A New Hashing Method with Application for Game Playing", 1970). Two of 10^7 sets share one with a chance of
//!   10^-25; then an order could be overlooked.

mod call_list;
mod uses;
mod zones;

use std::collections::HashMap;

use quorate_protocol::Random;

use super::Model;
use call_list::{CallList, HEAD, Optional};
use uses::Uses;

pub(in crate::history) use uses::Seen;

/// A call and its answer, and when they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timed<O> {
    /// The call with its answer.
    pub operation: O,
    /// When it was called.
    pub invoked: u64,
    /// When it was answered; nothing when its outcome is unknown: it may have taken effect any time since, or never.
    /// A call made at the very time of an answer counts as made during the answered one.
    pub returned: Option<u64>,
}

/// How many steps a search may take, and what is left of them. All work is counted that grows with the search: calls and
/// answers passed, and what is compared with what was tried before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    steps: u64,
}

impl Budget {
    /// A budget of so many steps: about ten million take a second.
    #[must_use]
    pub const fn of_steps(steps: u64) -> Self {
        Self { steps }
    }

    /// The steps that are left.
    #[must_use]
    pub const fn steps_left(self) -> u64 {
        self.steps
    }

    /// Spends this much. What is left is spent as well when it is not enough.
    pub(in crate::history) fn charge(&mut self, steps: usize) -> Result<(), Spent> {
        let left = self.steps.checked_sub(steps as u64);
        self.steps = left.unwrap_or(0);
        left.map(|_| ()).ok_or(Spent)
    }

    fn spend(&mut self) -> Result<(), Spent> {
        self.steps = self.steps.checked_sub(1).ok_or(Spent)?;
        Ok(())
    }
}

impl Default for Budget {
    /// 200 million steps.
    fn default() -> Self {
        Self::of_steps(200_000_000)
    }
}

/// Whether there is an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Linearization {
    /// There is, and this is one: positions in what was given. Calls of unknown outcome that are not in it need not
    /// have taken effect.
    Possible {
        /// The order.
        order: Vec<usize>,
    },
    /// There is none.
    Impossible,
    /// The budget is used up.
    Undecided,
}

/// Looks for an order of `operations`, as one client alone could have seen them from `model`, that puts no call before
/// one which was answered before it was made.
///
/// Where every call leaves a state that no other leaves, and [`Model::wants`] and [`Model::leaves`] tell of all, this takes a
/// step a call. Else it is a search, whose steps may grow with the calls that are under way at once.
pub fn linearize<M: Model>(model: &M, operations: &[Timed<M::Operation>], budget: &mut Budget) -> Linearization {
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

/// An order that gets as far as any, and the call whose answer none reaches; for histories that have no order.
pub(super) fn longest_order<M: Model>(
    model: &M,
    operations: &[Timed<M::Operation>],
    budget: &mut Budget,
) -> Option<(Vec<usize>, usize)> {
    // Conclusions from what later calls want would stop the search before the answer that cannot be.
    let mut search = Search::new(model, operations);
    search.uses.are_known = false;
    search.run(budget, None).ok()?;
    let furthest = search.furthest;
    let mut again = Search::new(model, operations);
    again.uses.are_known = false;
    again.run(budget, Some(furthest)).ok()?;
    Some((again.order(), again.calls.operation(furthest)))
}

/// The budget is used up.
pub(in crate::history) struct Spent;

enum Found {
    Order,
    Nothing,
}

struct Search<'a, M: Model> {
    model: &'a M,
    operations: &'a [Timed<M::Operation>],
    calls: CallList,
    /// The optional calls, in the order they were made, and whether each is in the order so far.
    optional: Vec<Optional>,
    /// For each optional call the one before it with the same effect.
    twins: Vec<Option<usize>>,
    state: M::State,
    /// The last step took an optional call whose effect nothing has seen yet.
    is_unseen: bool,
    path: Vec<Step<M::State>>,
    /// The sum over the required calls in the order.
    signature: u128,
    summands: Vec<u128>,
    /// The optional calls in the order, ascending.
    optional_taken: Vec<u32>,
    uses: Uses<M::State>,
    /// What was tried in vain: required calls in the order, state, unseen or not; and with which optional ones.
    in_vain: HashMap<Tried<M::State>, Vec<Box<[u32]>>>,
    remembered: usize,
    /// The furthest answer that could not be passed, as a place in the list.
    furthest: usize,
}

type Tried<S> = (u128, S, bool);

struct Step<S> {
    operation: usize,
    state: S,
    is_unseen: bool,
    choice: Choice,
}

/// How a step was chosen, and so where to look for the next choice when it was in vain.
#[derive(Clone, Copy)]
enum Choice {
    /// A read that fitted: there is no other choice.
    Forced { call: usize },
    /// The required call at this place.
    Required { call: usize },
    /// The optional call of this number.
    Optional { number: usize },
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, operations: &'a [Timed<M::Operation>]) -> Self {
        let (calls, mut optional) = CallList::new(operations);
        let seen = Seen::by(model, operations.iter().map(|timed| &timed.operation));
        // What nobody can have seen need not have happened.
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
            twins: twins(model, operations, &optional),
            optional,
            in_vain: HashMap::new(),
            remembered: 0,
            furthest: 0,
        }
    }

    /// Searches until there is an order, or nothing is left to try, or an order up to the answer at `until` is found.
    fn run(&mut self, budget: &mut Budget, until: Option<usize>) -> Result<Found, Spent> {
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
                if !self.is_in_vain(budget)? {
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

    /// Puts into the order what may come next whatever else does.
    fn absorb(&mut self, budget: &mut Budget) -> Result<(), Spent> {
        self.absorb_reads(budget)?;
        while let Some(call) = self.unseen_write(budget)? {
            self.take(Choice::Forced { call });
            self.absorb_reads(budget)?;
        }
        Ok(())
    }

    /// A required write that nobody is left to see, if nobody is left to see the state as it is either: any order goes
    /// on as well with it next.
    fn unseen_write(&self, budget: &mut Budget) -> Result<Option<usize>, Spent> {
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

    /// Puts every read that fits the state into the order. One pass is enough: reads do not change the state.
    fn absorb_reads(&mut self, budget: &mut Budget) -> Result<(), Spent> {
        let mut call = self.calls.next(HEAD);
        while let Some(operation) = self.calls.call(call) {
            budget.spend()?;
            let next = self.calls.next(call);
            let operation_of = &self.operations[operation].operation;
            if self.model.reads_only(operation_of) && self.model.apply(&self.state, operation_of).is_some() {
                self.take(Choice::Forced { call });
                // Lifting the call may have lifted the answer that stood next.
                call = if self.calls.is_answer_of(next, operation) { self.calls.next(next) } else { next };
                continue;
            }
            call = next;
        }
        Ok(())
    }

    /// The next call that can come next: required ones first.
    fn next_choice(&self, from: Choice, blocked: usize, budget: &mut Budget) -> Result<Option<Choice>, Spent> {
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
            if is_next && self.fits(optional.operation) {
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
        let after = self.model.apply(&self.state, &self.operations[operation].operation);
        let state = std::mem::replace(&mut self.state, after.expect("a chosen call fits"));
        self.path.push(Step { operation, state, is_unseen: self.is_unseen, choice });
        self.is_unseen = matches!(choice, Choice::Optional { .. });
    }

    /// Undoes steps up to and including the last that had other choices, and gives that one.
    fn give_up_last_choice(&mut self) -> Option<Choice> {
        while let Some(step) = self.path.pop() {
            self.state = step.state;
            self.uses.take_back(step.operation);
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

    fn is_in_vain(&self, budget: &mut Budget) -> Result<bool, Spent> {
        let key = (self.signature, self.state.clone(), self.is_unseen);
        let Some(sets) = self.in_vain.get(&key) else { return Ok(false) };
        for set in sets {
            budget.charge(1 + set.len())?;
            if is_subset(set, &self.optional_taken) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn remember(&mut self, budget: &mut Budget) -> Result<(), Spent> {
        if self.remembered >= REMEMBERED_BYTES_MAX / (2 * size_of::<Tried<M::State>>() + SET_BYTES) {
            return Ok(());
        }
        let key = (self.signature, self.state.clone(), self.is_unseen);
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

/// Whether every number of the ascending `smaller` is in the ascending `larger`.
fn is_subset(smaller: &[u32], larger: &[u32]) -> bool {
    smaller.len() <= larger.len() && smaller.iter().all(|number| larger.binary_search(number).is_ok())
}

/// For each optional call the last one before it, in the order they were made, that does the same to every state.
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

/// About how many sets without elements take as much memory as this one.
fn weight(set: &[u32]) -> usize {
    1 + set.len() / 16
}

/// Beyond so much, nothing more is remembered: the search goes on, slower.
const REMEMBERED_BYTES_MAX: usize = 1_000_000_000;
/// About what a set takes that has no elements.
const SET_BYTES: usize = 100;
