//! Transactions that append to lists and read them. They are judged by searching for an order of all, consistent with
//! real time, that explains every read.
//!
//! Lists contain their own history: a read of `[1, 2, 3]` shows that 1 was appended before 2. The dependencies between
//! transactions follow from this (Adya, "Weak Consistency", MIT 1999; inferred from lists as in Kingsbury and Alvaro,
//! "Elle: Inferring Isolation Anomalies from Experimental Observations", VLDB 2020):
//!
//! - `ww`: it appended next after the other's append;
//! - `wr`: the last element that it read is the other's append;
//! - `rw`: it read the list before the other appended next;
//! - process: the other is the next of the same process;
//! - real time: it was answered before the other was called.
//!
//! Violations have the names that Elle gives them, if it has any.
//!
//! Transactions are strictly serializable if and only if their reads fit together and the dependencies have no cycle:
//! every list that was read is a prefix of the longest, and elements that were not read can come last. A transaction of
//! unknown outcome counts if a transaction that counts read one of its appends; then its stated reads count too.
//! Otherwise it did not happen.

mod cycles;
mod graph;
mod observations;
mod picture;
mod words;

use std::collections::HashMap;
use std::hash::Hash;

use super::datum::Datum;
use super::micro::{Micro, micros};
use super::pairing::{Call, CallOutcome};
use super::{Finding, Key, SearchBudget};
use graph::Graph;
use observations::Observations;

/// The violations of the transactions; `None` if the budget does not suffice. Deciding whether there is a cycle takes
/// steps in proportion to the history. The rest of the budget serves to find the worst and shortest.
pub(super) fn judge(calls: &[&Call], budget: &mut SearchBudget) -> Option<Vec<Finding>> {
    let transactions = Transactions::new(calls);
    budget.charge(transactions.size()).ok()?;
    let observations = Observations::new(&transactions);
    let mut findings = observations.findings.clone();
    let graph = Graph::new(&transactions, &observations);
    for cycle in cycles::find(&graph, budget) {
        findings.push(words::cycle(&transactions, &cycle));
    }
    findings.truncate(FINDINGS_MAX);
    Some(findings)
}

/// The transactions of a history, with numbers for keys and elements.
struct Transactions<'a> {
    list: Vec<Transaction<'a>>,
    keys: Vec<Key>,
    elements: Vec<Datum>,
}

struct Transaction<'a> {
    call: &'a Call,
    steps: Vec<Step>,
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Append { key: usize, element: usize },
    Read { key: usize, list: Vec<usize> },
}

impl<'a> Transactions<'a> {
    fn new(calls: &[&'a Call]) -> Self {
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
    fn size(&self) -> usize {
        let of_step = |step: &Step| match step {
            Step::Append { .. } => 1,
            Step::Read { list, .. } => 1 + list.len(),
        };
        self.list.iter().map(|each| 1 + each.steps.iter().map(of_step).sum::<usize>()).sum()
    }

    fn name(&self, transaction: usize) -> String {
        format!("T{}", self.list[transaction].call.line)
    }

    fn list_words(&self, list: &[usize]) -> String {
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

const FINDINGS_MAX: usize = 16;
const LIST_WORDS_MAX: usize = 8;
