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
//! - real time: it was answered before the other was called.
//!
//! Transactions are strictly serializable if and only if what they read fits together and the dependencies have no cycle:
//! every list that was read is the beginning of the longest, and what nobody read can be put last. A transaction of
//! unknown outcome counts if somebody read what it appended; else it never happened.

mod cycles;
mod graph;
mod observations;
mod words;

use serde_json::Value;
use std::collections::HashMap;

use super::Finding;
use super::file::{Call, Micro, Outcome, micros};
use graph::Graph;
use observations::Observations;

/// What is wrong with the transactions. Nothing is left undecided: this takes time in proportion to the history.
pub(super) fn judge(calls: &[&Call]) -> Vec<Finding> {
    let transactions = Transactions::new(calls);
    let observations = Observations::new(&transactions);
    let mut findings = observations.findings.clone();
    let graph = Graph::new(&transactions, &observations);
    for cycle in cycles::find(&graph) {
        findings.push(words::cycle(&transactions, &cycle));
    }
    findings.truncate(FINDINGS_MAX);
    findings
}

/// The transactions of a history, keys and elements as numbers.
struct Transactions<'a> {
    list: Vec<Transaction<'a>>,
    keys: Vec<String>,
    elements: Vec<String>,
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
        let mut keys = Numbers::default();
        let mut elements = Numbers::default();
        let mut list = Vec::with_capacity(calls.len());
        for call in calls {
            let is_ok = call.outcome == Outcome::Ok;
            let value = if is_ok { &call.answered } else { &call.called };
            let micros = micros(value).expect("checked when it was read");
            let steps = micros.into_iter().filter_map(|micro| match micro {
                Micro::Append { key, element } => {
                    Some(Step::Append { key: keys.number(key), element: elements.of_value(element) })
                }
                Micro::Read { key, list } if is_ok => {
                    let list = list.unwrap_or_default().iter().map(|element| elements.of_value(element)).collect();
                    Some(Step::Read { key: keys.number(key), list })
                }
                Micro::Read { .. } => None,
            });
            list.push(Transaction { steps: steps.collect(), call });
        }
        Self { list, keys: keys.names, elements: elements.names }
    }

    fn name(&self, transaction: usize) -> String {
        format!("T{}", self.list[transaction].call.line)
    }

    fn list_words(&self, list: &[usize]) -> String {
        let hidden = list.len().saturating_sub(LIST_WORDS_MAX);
        let shown: Vec<&str> = list[hidden..].iter().map(|element| self.elements[*element].as_str()).collect();
        let before = if hidden > 0 { format!("{hidden} elements, ") } else { String::new() };
        format!("[{before}{}]", shown.join(", "))
    }
}

/// Small numbers for names, in the order they are met.
#[derive(Default)]
struct Numbers {
    numbers: HashMap<String, usize>,
    names: Vec<String>,
}

impl Numbers {
    fn number(&mut self, name: String) -> usize {
        *self.numbers.entry(name).or_insert_with_key(|name| {
            self.names.push(name.clone());
            self.names.len() - 1
        })
    }

    fn of_value(&mut self, value: &Value) -> usize {
        self.number(value.to_string())
    }
}

const FINDINGS_MAX: usize = 16;
const LIST_WORDS_MAX: usize = 8;
