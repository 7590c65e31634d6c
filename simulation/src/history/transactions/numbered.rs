//! Transactions with small numbers for their keys and elements.

use std::collections::HashMap;
use std::hash::Hash;

use super::super::Key;
use super::super::datum::Datum;
use super::super::micro::{Micro, micros};
use super::super::pairing::{Call, CallOutcome};

/// The transactions of a history, with numbers for keys and elements.
pub(super) struct Transactions<'a> {
    pub(super) list: Vec<Transaction<'a>>,
    pub(super) keys: Vec<Key>,
    pub(super) elements: Vec<Datum>,
}

pub(super) struct Transaction<'a> {
    pub(super) call: &'a Call,
    pub(super) steps: Vec<Step>,
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Append { key: usize, element: usize },
    Read { key: usize, list: Vec<usize> },
}

impl<'a> Transactions<'a> {
    pub(super) fn new(calls: &[&'a Call]) -> Self {
        let mut keys = Numbers::<Key>::default();
        let mut elements = Numbers::<Datum>::default();
        let mut list = Vec::with_capacity(calls.len());
        for call in calls {
            let is_ok = call.outcome == CallOutcome::Ok;
            let value = if is_ok || !call.answered.is_null() { &call.answered } else { &call.called };
            let micros = micros(value).expect("checked when it was read");
            let steps = micros.into_iter().filter_map(|micro| match micro {
                Micro::Append { key, element } => {
                    Some(Step::Append { key: keys.number(&key), element: elements.number(element) })
                }
                // A successful read without a list found an empty one. A transaction of unknown outcome did not state
                // what it found.
                Micro::Read { list: None, .. } if !is_ok => None,
                Micro::Read { key, list } => {
                    let list = list.unwrap_or_default().iter().map(|element| elements.number(element)).collect();
                    Some(Step::Read { key: keys.number(&key), list })
                }
            });
            list.push(Transaction { steps: steps.collect(), call });
        }
        Self { list, keys: keys.names, elements: elements.names }
    }

    /// Number of steps and elements.
    pub(super) fn size(&self) -> usize {
        let of_step = |step: &Step| match step {
            Step::Append { .. } => 1,
            Step::Read { list, .. } => 1 + list.len(),
        };
        self.list.iter().map(|each| 1 + each.steps.iter().map(of_step).sum::<usize>()).sum()
    }

    pub(super) fn name(&self, transaction: usize) -> String {
        format!("T{}", self.list[transaction].call.line)
    }

    pub(super) fn list_words(&self, list: &[usize]) -> String {
        let hidden = list.len().saturating_sub(LIST_WORDS_MAX);
        let shown: Vec<String> = list[hidden..].iter().map(|element| self.elements[*element].to_string()).collect();
        let before = if hidden > 0 { format!("{hidden} elements, ") } else { String::new() };
        format!("[{before}{}]", shown.join(", "))
    }
}

/// Small numbers for names, in the order in which they occur.
struct Numbers<T> {
    numbers: HashMap<T, usize>,
    names: Vec<T>,
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self { numbers: HashMap::new(), names: Vec::new() }
    }
}

impl<T: Clone + Eq + Hash> Numbers<T> {
    fn number(&mut self, name: &T) -> usize {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        self.numbers.insert(name.clone(), self.names.len());
        self.names.push(name.clone());
        self.names.len() - 1
    }
}

const LIST_WORDS_MAX: usize = 8;
