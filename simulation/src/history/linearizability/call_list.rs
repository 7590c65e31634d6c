//! The calls and answers that an order has still to reach.

use super::{Budget, Spent, Timed};

/// Calls and answers of the required operations in the order of time, as a list from which both are lifted together.
pub(super) struct CallList {
    places: Vec<Place>,
    /// Where each operation's call and answer stand.
    of_operation: Vec<(usize, usize)>,
}

/// A call whose outcome is unknown: it may come anywhere behind its place, or nowhere.
pub(super) struct Optional {
    pub(super) operation: usize,
    /// The last place before it was called.
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

    /// The place behind this one; [`HEAD`] is before the first.
    pub(super) fn next(&self, place: usize) -> usize {
        self.places[place].next
    }

    /// The operation whose call stands here; nothing at an answer or the end.
    pub(super) fn call(&self, place: usize) -> Option<usize> {
        let place = self.places.get(place)?;
        place.is_call.then_some(place.operation)
    }

    /// The operation whose call or answer stands here.
    pub(super) fn operation(&self, place: usize) -> usize {
        self.places[place].operation
    }

    pub(super) fn is_answer_of(&self, place: usize, operation: usize) -> bool {
        self.of_operation[operation].1 == place
    }

    /// The first answer that the order has to reach.
    pub(super) fn first_answer(&self, budget: &mut Budget) -> Result<Option<usize>, Spent> {
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

    /// Takes an operation's call and answer out of the list.
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

    /// Puts the operation back that was lifted last of those not put back.
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

/// Before the first call.
pub(super) const HEAD: usize = 0;
const END: usize = usize::MAX;
