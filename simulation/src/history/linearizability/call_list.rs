//! The calls and answers that an order has not reached yet.

use super::budget::{SearchBudget, Spent};
use super::timed::Timed;

/// Calls and answers of the required operations in the order of time, as a list from which both are removed together.
pub(super) struct CallList {
    places: Vec<Place>,
    /// Position of each operation's call and answer.
    of_operation: Vec<(usize, usize)>,
}

/// A call of unknown outcome: it may come anywhere after its position, or not at all.
pub(super) struct Optional {
    pub(super) operation: usize,
    /// The last position before the call.
    pub(super) place: usize,
    pub(super) is_taken: bool,
}

#[derive(Clone, Copy)]
struct Place {
    operation: usize,
    is_call: bool,
    next: usize,
    previous: usize,
}

impl CallList {
    pub(super) fn new<O>(operations: &[Timed<O>]) -> (Self, Vec<Optional>) {
        let mut moments: Vec<(u64, bool, usize)> = Vec::new();
        for (number, timed) in operations.iter().enumerate() {
            moments.push((timed.invoked, false, number));
            if let Some(returned) = timed.returned {
                moments.push((returned.max(timed.invoked), true, number));
            }
        }
        moments.sort_unstable();
        let head = Place { operation: usize::MAX, is_call: false, next: END, previous: HEAD };
        let mut list = Self { places: vec![head], of_operation: vec![(END, END); operations.len()] };
        let mut optional = Vec::new();
        for (_, is_answer, operation) in moments {
            let last = list.places.len() - 1;
            if operations[operation].returned.is_none() {
                optional.push(Optional { operation, place: last, is_taken: false });
                continue;
            }
            let place = last + 1;
            let ends = &mut list.of_operation[operation];
            if is_answer {
                ends.1 = place;
            } else {
                ends.0 = place;
            }
            list.places[last].next = place;
            list.places.push(Place { operation, is_call: !is_answer, next: END, previous: last });
        }
        (list, optional)
    }

    /// The position after this one. [`HEAD`] is before the first.
    pub(super) fn next(&self, place: usize) -> usize {
        self.places[place].next
    }

    /// The operation whose call is at this position; `None` at an answer or at the end.
    pub(super) fn call(&self, place: usize) -> Option<usize> {
        let place = self.places.get(place)?;
        place.is_call.then_some(place.operation)
    }

    /// The operation at this position, and whether it is its call; `None` at the end.
    pub(super) fn at(&self, place: usize) -> Option<(usize, bool)> {
        self.places.get(place).map(|place| (place.operation, place.is_call))
    }

    /// The operation whose call or answer is at this position.
    pub(super) fn operation(&self, place: usize) -> usize {
        self.places[place].operation
    }

    pub(super) fn is_answer_of(&self, place: usize, operation: usize) -> bool {
        self.of_operation[operation].1 == place
    }

    /// The first answer that the order must reach.
    pub(super) fn first_answer(&self, budget: &mut SearchBudget) -> Result<Option<usize>, Spent> {
        let mut place = self.next(HEAD);
        while place != END {
            if !self.places[place].is_call {
                return Ok(Some(place));
            }
            budget.spend()?;
            place = self.next(place);
        }
        Ok(None)
    }

    /// Removes an operation's call and answer from the list.
    pub(super) fn lift(&mut self, operation: usize) {
        let (call, answer) = self.of_operation[operation];
        for place in [call, answer] {
            let Place { next, previous, .. } = self.places[place];
            self.places[previous].next = next;
            if next != END {
                self.places[next].previous = previous;
            }
        }
    }

    /// Puts back the operation that was removed last and not put back yet.
    pub(super) fn unlift(&mut self, operation: usize) {
        let (call, answer) = self.of_operation[operation];
        for place in [answer, call] {
            let Place { next, previous, .. } = self.places[place];
            self.places[previous].next = place;
            if next != END {
                self.places[next].previous = place;
            }
        }
    }
}

/// The position before the first call.
pub(super) const HEAD: usize = 0;
const END: usize = usize::MAX;
