//! Transactions that append to lists and read them: is there an order of all, in the order of real time, that explains
//! what every one of them read?
//!
//! Lists tell their own history: whoever reads `[1, 2, 3]` has seen that 1 was appended before 2. From that the
//! dependencies between transactions follow (Adya, "Weak Consistency", MIT 1999; inferred from lists as in Kingsbury
//! and Alvaro, "Elle: Inferring Isolation Anomalies from Experimental Observations", VLDB 2020):
//!
//! - `ww`: it appended next behind what the other had appended;
//! - `wr`: it read what the other had appended last;
//! - `rw`: it read the list before the other appended next;
//! - process: the other is the next of the same process;
//! - real time: it was answered before the other was called.
//!
//! What is wrong bears the name that Elle has for it, if it has one.
//!
//! Transactions are strictly serializable if and only if what they read fits together and the dependencies have no cycle:
//! every list that was read is the beginning of the longest, and what nobody read can be put last. A transaction of
//! unknown outcome counts if one that counts read what it appended, and then what it says to have read counts as well; else it
//! never happened.

mod cycles;
mod graph;
mod observations;
mod picture;
mod words;

use std::collections::HashMap;
use std::hash::Hash;

use super::datum::Datum;
use super::micro::{Micro, micros};
use super::pairing::{Call, Outcome};
use super::{Budget, Finding, Key};
use graph::Graph;
use observations::Observations;

/// What is wrong with the transactions; nothing when the budget does not suffice to tell. Whether there is a cycle takes steps in
/// proportion to the history, and what is left goes into finding the worst and shortest.
pub(super) fn judge(calls: &[&Call], budget: &mut Budget) -> Option<Vec<Finding>> {
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

/// The transactions of a history, keys and elements as numbers.
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
            let is_ok = call.outcome == Outcome::Ok;
            let value = if is_ok || !call.answered.is_null() { &call.answered } else { &call.called };
            let micros = micros(value).expect("checked when it was read");
            let steps = micros.into_iter().filter_map(|micro| match micro {
                Micro::Append { key, element } => {
                    Some(Step::Append { key: keys.number(&key), element: elements.number(element) })
                }
                // An answer without a list found none; a transaction of unknown outcome did not say what it found.
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

    /// How many steps and elements there are.
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

/// Small numbers for names, in the order they are met.
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
