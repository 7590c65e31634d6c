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
mod numbered;
mod observations;
mod picture;
mod words;

use super::finding::Finding;
use super::linearizability::SearchBudget;
use super::pairing::Call;
use graph::Graph;
use numbered::Transactions;
use observations::Observations;

/// The violations of the transactions; `None` if the budget does not suffice. Deciding whether there is a cycle takes
/// steps in proportion to the history. The rest of the budget serves to find the worst and shortest.
pub(super) fn judge(calls: &[&Call], budget: &mut SearchBudget) -> Option<Vec<Finding>> {
    let transactions = Transactions::new(calls);
    budget.charge(transactions.size()).ok()?;
    let observations = Observations::new(&transactions);
    let mut findings = observations.findings();
    let graph = Graph::new(&transactions, &observations);
    for cycle in cycles::find(&graph, budget) {
        findings.push(Finding {
            name: cycle.name.clone(),
            explanation: words::cycle(&transactions, &cycle),
            picture: Some(picture::of(&transactions, &cycle)),
        });
    }
    Some(findings)
}
