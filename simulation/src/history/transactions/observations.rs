//! What the reads say of each list, and where they contradict themselves.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Finding;
use super::super::file::Outcome;
use super::{Step, Transactions};

/// What is known of the lists.
pub(super) struct Observations {
    /// Whether each transaction happened: it was answered `ok`, or somebody read what it appended.
    pub(super) is_committed: Vec<bool>,
    /// Who appended an element to a list.
    pub(super) appended_by: BTreeMap<(usize, usize), usize>,
    /// The longest list that was read, for each key.
    pub(super) longest: BTreeMap<usize, Vec<usize>>,
    /// What each committed transaction found of others in the lists it read: key and length.
    pub(super) reads: Vec<Vec<(usize, usize)>>,
    /// Contradictions.
    pub(super) findings: Vec<Finding>,
}

impl Observations {
    pub(super) fn new(transactions: &Transactions<'_>) -> Self {
        let mut observations = Self {
            is_committed: transactions.list.iter().map(|each| each.call.outcome == Outcome::Ok).collect(),
            appended_by: BTreeMap::new(),
            longest: BTreeMap::new(),
            reads: vec![Vec::new(); transactions.list.len()],
            findings: Vec::new(),
        };
        observations.note_appends(transactions);
        observations.commit_seen(transactions);
        observations.note_longest(transactions);
        for reader in 0..transactions.list.len() {
            if observations.is_committed[reader] {
                observations.follow(transactions, reader);
            }
        }
        observations.check_elements(transactions);
        observations
    }

    fn find(&mut self, name: &str, explanation: &str) {
        self.findings.push(Finding { name: name.to_owned(), explanation: format!("  {explanation}") });
    }

    fn note_appends(&mut self, transactions: &Transactions<'_>) {
        for (number, transaction) in transactions.list.iter().enumerate() {
            for step in &transaction.steps {
                let Step::Append { key, element } = step else { continue };
                if let Some(other) = self.appended_by.insert((*key, *element), number) {
                    let (first, second) = (transactions.name(other), transactions.name(number));
                    let (element, key) = (&transactions.elements[*element], &transactions.keys[*key]);
                    self.find(
                        "element appended twice",
                        &format!(
                            "{first} and {second} both append {element} to {key}: who did cannot be told by reading."
                        ),
                    );
                }
            }
        }
    }

    /// Finds out which transactions of unknown outcome took effect: those whose elements were read by one that did.
    fn commit_seen(&mut self, transactions: &Transactions<'_>) {
        let mut readers: Vec<usize> = (0..transactions.list.len()).filter(|each| self.is_committed[*each]).collect();
        // Most lists begin with what was gone through already.
        let mut gone_through: BTreeMap<usize, &[usize]> = BTreeMap::new();
        while let Some(reader) = readers.pop() {
            for step in &transactions.list[reader].steps {
                let Step::Read { key, list } = step else { continue };
                let known = gone_through.entry(*key).or_default();
                let new = if known.starts_with(list) { &[][..] } else { list.strip_prefix(*known).unwrap_or(list) };
                if list.len() > known.len() {
                    *known = list;
                }
                for element in new {
                    if let Some(writer) = self.appended_by.get(&(*key, *element)).copied()
                        && !std::mem::replace(&mut self.is_committed[writer], true)
                    {
                        readers.push(writer);
                    }
                }
            }
        }
    }

    /// The steps of those that took effect.
    fn committed<'t>(&self, transactions: &'t Transactions<'_>) -> impl Iterator<Item = (usize, &'t Step)> {
        let committed = transactions.list.iter().enumerate().filter(|(number, _)| self.is_committed[*number]);
        committed.flat_map(|(number, transaction)| transaction.steps.iter().map(move |step| (number, step)))
    }

    /// Finds the longest list of each key, and that all others are its beginnings.
    fn note_longest(&mut self, transactions: &Transactions<'_>) {
        let mut longest: BTreeMap<usize, (usize, &Vec<usize>)> = BTreeMap::new();
        let mut contradictions = Vec::new();
        for (number, step) in self.committed(transactions) {
            let Step::Read { key, list } = step else { continue };
            let entry = longest.entry(*key).or_insert((number, list));
            if list.len() > entry.1.len() {
                *entry = (number, list);
            }
        }
        for (number, step) in self.committed(transactions) {
            let Step::Read { key, list } = step else { continue };
            let (other, longer) = longest[key];
            if !longer.starts_with(list) {
                let (one, two) = (transactions.name(number), transactions.name(other));
                let (list, longer) = (transactions.list_words(list), transactions.list_words(longer));
                let key = &transactions.keys[*key];
                contradictions.push(format!(
                    "{one} read {key} as {list}, {two} as {longer}: neither is the beginning of the other."
                ));
            }
        }
        for contradiction in contradictions {
            self.find("incompatible order", &contradiction);
        }
        self.longest = longest.into_iter().map(|(key, (_, list))| (key, list.clone())).collect();
    }

    /// Follows one transaction's own steps: each read must be what it found first and then appended itself.
    fn follow(&mut self, transactions: &Transactions<'_>, reader: usize) {
        let mut found: BTreeMap<usize, usize> = BTreeMap::new();
        let mut own: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for step in &transactions.list[reader].steps {
            let (key, list) = match step {
                Step::Append { key, element } => {
                    own.entry(*key).or_default().push(*element);
                    continue;
                }
                Step::Read { key, list } => (*key, list),
            };
            let appended = own.get(&key).map_or(&[][..], Vec::as_slice);
            let before = list.len().checked_sub(appended.len()).filter(|_| list.ends_with(appended));
            let is_same = before.is_some_and(|before| found.get(&key).is_none_or(|found| *found == before));
            let has_own = before.is_some_and(|before| {
                list[..before].iter().any(|element| self.appended_by.get(&(key, *element)) == Some(&reader))
            });
            let Some(before) = before.filter(|_| is_same && !has_own) else {
                let (name, list) = (transactions.name(reader), transactions.list_words(list));
                let key = &transactions.keys[key];
                let text = format!("{name} read {key} as {list}, which is not what it had found and appended itself.");
                self.find("internal inconsistency", &text);
                continue;
            };
            if found.insert(key, before).is_none() {
                self.reads[reader].push((key, before));
                self.check_last(transactions, reader, key, &list[..before]);
            }
        }
    }

    /// A list must not end between two appends of one transaction (Adya's G1b).
    fn check_last(&mut self, transactions: &Transactions<'_>, reader: usize, key: usize, list: &[usize]) {
        let Some(last) = list.last() else { return };
        let Some(writer) = self.appended_by.get(&(key, *last)).copied() else { return };
        let appends_of_writer = transactions.list[writer].steps.iter().rev();
        let newest = appends_of_writer.into_iter().find_map(|step| match step {
            Step::Append { key: of, element } if *of == key => Some(*element),
            _ => None,
        });
        if newest != Some(*last) {
            let (name, other) = (transactions.name(reader), transactions.name(writer));
            let (list, key) = (transactions.list_words(list), &transactions.keys[key]);
            let text = format!("{name} read {key} as {list}, which ends in the middle of what {other} appended.");
            self.find("G1b, intermediate read", &text);
        }
    }

    /// Every element that was read must have been appended, once, by a transaction that did not fail.
    fn check_elements(&mut self, transactions: &Transactions<'_>) {
        for (key, list) in self.longest.clone() {
            let mut seen = BTreeSet::new();
            for element in list {
                let (name, key_name) = (&transactions.elements[element], &transactions.keys[key]);
                if !seen.insert(element) {
                    self.find("duplicate element", &format!("{key_name} was read with {name} in it twice."));
                }
                let Some(writer) = self.appended_by.get(&(key, element)).copied() else {
                    self.find(
                        "garbage read",
                        &format!("{key_name} was read with {name} in it, which nobody appended."),
                    );
                    continue;
                };
                if transactions.list[writer].call.outcome == Outcome::Fail {
                    let writer = transactions.name(writer);
                    let text =
                        format!("{key_name} was read with {name} in it, which {writer} appended, and that failed.");
                    self.find("G1a, aborted read", &text);
                }
            }
        }
    }
}
