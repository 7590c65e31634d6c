//! The dependencies between transactions.

use std::collections::{BTreeMap, BTreeSet};

use super::super::pairing::CallOutcome;
use super::numbered::{Step, Transactions};
use super::observations::Observations;

/// A graph whose first nodes are the transactions. The others are auxiliary: they stand for a moment, or for the end of
/// a list, so that there are few edges. A path through them is one dependency.
pub(super) struct Graph {
    pub(super) transactions: usize,
    pub(super) edges: Vec<Vec<Edge>>,
}

/// A dependency: the node from which it starts comes before the node to which it leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) to: usize,
    pub(super) kind: EdgeKind,
}

/// Reason why one transaction comes before the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EdgeKind {
    /// The other appended next to this key; this element is the earlier one.
    Ww { key: usize, element: usize },
    /// The last element that the other read of this key is this one.
    Wr { key: usize, element: usize },
    /// It read this key up to this element (`None`: it was empty), without the element that the other appended next.
    Rw { key: usize, last: Option<usize> },
    /// The other is the next of the same process.
    Process,
    /// It was answered before the other was called.
    RealTime,
    /// An edge from an auxiliary node.
    Through,
}

impl Graph {
    pub(super) fn new(transactions: &Transactions<'_>, observations: &Observations) -> Self {
        let count = transactions.list.len();
        let mut graph = Self { transactions: count, edges: vec![Vec::new(); count] };
        for (key, list) in &observations.longest {
            graph.add_order(*key, list, observations);
        }
        graph.add_reads(observations);
        graph.add_ends(transactions, observations);
        graph.add_processes(transactions, observations);
        graph.add_real_time(transactions, observations);
        graph
    }

    fn node(&mut self) -> usize {
        self.edges.push(Vec::new());
        self.edges.len() - 1
    }

    fn add(&mut self, from: usize, to: usize, kind: EdgeKind) {
        if from != to {
            self.edges[from].push(Edge { to, kind });
        }
    }

    fn add_order(&mut self, key: usize, list: &[usize], observations: &Observations) {
        for pair in list.windows(2) {
            let by = |element| observations.appended_by.get(&(key, element)).copied();
            if let (Some(from), Some(to)) = (by(pair[0]), by(pair[1])) {
                self.add(from, to, EdgeKind::Ww { key, element: pair[0] });
            }
        }
    }

    fn add_reads(&mut self, observations: &Observations) {
        for (reader, reads) in observations.reads.iter().enumerate() {
            for (key, length) in reads {
                let list = &observations.longest[key];
                let by = |place: usize| {
                    let element = *list.get(place)?;
                    observations.appended_by.get(&(*key, element)).map(|by| (*by, element))
                };
                if let Some((writer, element)) = length.checked_sub(1).and_then(by) {
                    self.add(writer, reader, EdgeKind::Wr { key: *key, element });
                }
                if let Some((next, _)) = by(*length) {
                    self.add(reader, next, observations.read_without_next(*key, *length));
                }
            }
        }
    }

    /// Appended elements that no list has come after all that were read: transactions that read the longest list,
    /// or appended its last element, come before them.
    fn add_ends(&mut self, transactions: &Transactions<'_>, observations: &Observations) {
        let mut unread: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let read: BTreeSet<(usize, usize)> =
            observations.longest.iter().flat_map(|(key, list)| list.iter().map(|element| (*key, *element))).collect();
        for (number, transaction) in transactions.list.iter().enumerate() {
            for step in &transaction.steps {
                if let Step::Append { key, element } = step
                    && observations.is_committed[number]
                    && !read.contains(&(*key, *element))
                    && !observations.elsewhere.contains(&(*key, *element))
                {
                    let unread = unread.entry(*key).or_default();
                    if unread.last() != Some(&number) {
                        unread.push(number);
                    }
                }
            }
        }
        let mut before: BTreeMap<usize, Vec<(usize, EdgeKind)>> = BTreeMap::new();
        for (reader, reads) in observations.reads.iter().enumerate() {
            for (key, length) in reads {
                if *length == observations.longest[key].len() {
                    before.entry(*key).or_default().push((reader, observations.read_without_next(*key, *length)));
                }
            }
        }
        for (key, list) in &observations.longest {
            if let Some(last) = list.last()
                && let Some(writer) = observations.appended_by.get(&(*key, *last))
            {
                before.entry(*key).or_default().push((*writer, EdgeKind::Ww { key: *key, element: *last }));
            }
        }
        for (key, unread) in unread {
            self.add_end(&unread, before.get(&key).map_or(&[], Vec::as_slice));
        }
    }

    /// Adds a node for the end of one list. Transactions on both sides of it get edges of their own, so that they do
    /// not seem to come before themselves. Two of these are a cycle already, so that more than a few add no
    /// information.
    fn add_end(&mut self, unread: &[usize], before: &[(usize, EdgeKind)]) {
        let end = self.node();
        for to in unread {
            self.add(end, *to, EdgeKind::Through);
        }
        let mut on_both_sides = 0;
        for (from, kind) in before {
            if unread.binary_search(from).is_err() {
                self.add(*from, end, *kind);
            } else if on_both_sides < ON_BOTH_SIDES_MAX {
                on_both_sides += 1;
                for to in unread {
                    self.add(*from, *to, *kind);
                }
            }
        }
    }

    /// A call of a process comes after the previous answer to the process. The same holds in real time; a cycle is
    /// worse if it needs only the order of processes.
    fn add_processes(&mut self, transactions: &Transactions<'_>, observations: &Observations) {
        let mut answered: BTreeMap<u64, usize> = BTreeMap::new();
        for (number, transaction) in transactions.list.iter().enumerate() {
            if !observations.is_committed[number] {
                continue;
            }
            let process = transaction.call.process;
            if let Some(before) = answered.get(&process) {
                self.add(*before, number, EdgeKind::Process);
            }
            if transaction.call.outcome == CallOutcome::Ok {
                answered.insert(process, number);
            }
        }
    }

    /// A chain of the moments of answers: an answered transaction leads into it, and the newest moment before a call
    /// leads to the called transaction.
    fn add_real_time(&mut self, transactions: &Transactions<'_>, observations: &Observations) {
        let committed = || (0..transactions.list.len()).filter(|number| observations.is_committed[*number]);
        let returned = |number: usize| transactions.list[number].call.returned.map(|(moment, _)| moment);
        let mut answers: Vec<(u64, usize)> =
            committed().filter_map(|number| Some((returned(number)?, number))).collect();
        answers.sort_unstable();
        let mut moments: Vec<(u64, usize)> = Vec::with_capacity(answers.len());
        for (moment, transaction) in answers {
            let node = self.node();
            if let Some((_, previous)) = moments.last() {
                self.add(*previous, node, EdgeKind::Through);
            }
            self.add(transaction, node, EdgeKind::RealTime);
            moments.push((moment, node));
        }
        for number in committed() {
            let called = transactions.list[number].call.invoked.0;
            let earlier = moments.partition_point(|(moment, _)| *moment < called);
            if let Some((_, node)) = earlier.checked_sub(1).map(|last| moments[last]) {
                self.add(node, number, EdgeKind::Through);
            }
        }
    }
}

const ON_BOTH_SIDES_MAX: usize = 3;
