//! Descriptions of cycles in words.

use std::fmt::Write;

use super::cycles::Cycle;
use super::graph::EdgeKind;
use super::numbered::{Step, Transactions};

/// Describes a cycle: which transaction comes before which, and why that is impossible.
pub(super) fn cycle(transactions: &Transactions<'_>, cycle: &Cycle) -> String {
    let mut text = String::new();
    let mut shown: Vec<usize> = cycle.steps.iter().map(|(transaction, _)| *transaction).collect();
    shown.sort_unstable();
    shown.dedup();
    for transaction in shown {
        _ = writeln!(text, "  {}", transaction_words(transactions, transaction));
    }
    for (place, (from, kind)) in cycle.steps.iter().enumerate() {
        let (to, _) = cycle.steps[(place + 1) % cycle.steps.len()];
        let end = if place + 1 == cycle.steps.len() { ": a cycle" } else { "" };
        let (first, second) = (transactions.name(*from), transactions.name(to));
        let reason = reason(transactions, *from, to, *kind);
        _ = write!(text, "  {first} comes before {second}, because {reason}{end}.");
        if end.is_empty() {
            text.push('\n');
        }
    }
    text
}

/// Explains why one transaction comes before the next.
pub(super) fn reason(transactions: &Transactions<'_>, from: usize, to: usize, kind: EdgeKind) -> String {
    let (first, second) = (transactions.name(from), transactions.name(to));
    match kind {
        EdgeKind::Ww { key, element } => {
            let (key, element) = (&transactions.keys[key], &transactions.elements[element]);
            format!("{second} appended to {key} behind {element}, which {first} had appended")
        }
        EdgeKind::Wr { key, element } => {
            let (key, element) = (&transactions.keys[key], &transactions.elements[element]);
            format!("{second} read {element} in {key}, which {first} had appended")
        }
        EdgeKind::Rw { key, last } => {
            let key = &transactions.keys[key];
            let found = last.map_or_else(
                || format!("nothing in {key}"),
                |last| format!("{key} up to {}", transactions.elements[last]),
            );
            format!("{first} found {found}, without what {second} appended")
        }
        EdgeKind::Process => {
            let process = transactions.list[from].call.process;
            format!("process {process} called {second} after {first} was answered")
        }
        EdgeKind::RealTime | EdgeKind::Through => {
            let answered = transactions.list[from].call.returned.map_or(0, |(_, time)| time);
            let called = transactions.list[to].call.invoked.1;
            format!("{first} was answered at {answered} and {second} called at {called}")
        }
    }
}

fn transaction_words(transactions: &Transactions<'_>, number: usize) -> String {
    let transaction = &transactions.list[number];
    let steps = step_words(transactions, number);
    let call = transaction.call;
    let until = call.returned.map_or("outcome unknown".to_owned(), |(_, time)| format!("answered at {time}"));
    let (name, line, process) = (transactions.name(number), call.line, call.process);
    format!("{name} (line {line}, process {process}, called at {}, {until}): {}", call.invoked.1, steps.join("; "))
}

/// The steps of a transaction, each in words.
pub(super) fn step_words(transactions: &Transactions<'_>, number: usize) -> Vec<String> {
    let words = |step: &Step| match step {
        Step::Append { key, element } => {
            format!("append {} to {}", transactions.elements[*element], transactions.keys[*key])
        }
        Step::Read { key, list } => format!("read {} as {}", transactions.keys[*key], transactions.list_words(list)),
    };
    transactions.list[number].steps.iter().map(words).collect()
}
