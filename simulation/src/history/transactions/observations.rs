//! Information that reads contain about each list, and its contradictions.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;

use super::super::finding::Finding;
use super::super::pairing::CallOutcome;
use super::graph::EdgeKind;
use super::numbered::{Step, Transactions};

/// Information about the lists.
pub(super) struct Observations {
    /// True for each transaction that happened: it was answered `ok`, or another transaction read one of its appends.
    pub(super) is_committed: Vec<bool>,
    /// The transaction that appended an element to a list.
    pub(super) appended_by: BTreeMap<(usize, usize), usize>,
    /// The longest list that was read, for each key.
    pub(super) longest: BTreeMap<usize, Vec<usize>>,
    /// For each committed transaction, what it found without its own appends: the key, and the number of elements of
    /// its longest list up to the last one that was found.
    pub(super) reads: Vec<Vec<(usize, usize)>>,
    /// The elements to whose list their transaction appended another afterwards.
    intermediate: BTreeSet<(usize, usize)>,
    /// Elements of lists that are no beginning of the longest.
    pub(super) elsewhere: BTreeSet<(usize, usize)>,
    /// The places of elements in longest lists, of keys for which a list was read that is no beginning of the longest.
    places: BTreeMap<usize, HashMap<usize, usize>>,
    /// Contradictions: of each kind the first few, and the number of all.
    contradictions: BTreeMap<&'static str, (Vec<String>, usize)>,
}

impl Observations {
    pub(super) fn new(transactions: &Transactions<'_>) -> Self {
        let mut observations = Self {
            is_committed: transactions.list.iter().map(|each| each.call.outcome == CallOutcome::Ok).collect(),
            appended_by: BTreeMap::new(),
            longest: BTreeMap::new(),
            reads: vec![Vec::new(); transactions.list.len()],
            intermediate: BTreeSet::new(),
            elsewhere: BTreeSet::new(),
            places: BTreeMap::new(),
            contradictions: BTreeMap::new(),
        };
        observations.note_appends(transactions);
        observations.commit_seen(transactions);
        let contrary = observations.note_longest(transactions);
        for reader in 0..transactions.list.len() {
            if observations.is_committed[reader] {
                observations.follow(transactions, reader);
            }
        }
        observations.check_elements(transactions, &contrary);
        observations.check_dirty_updates(transactions);
        observations.check_lost_updates(transactions);
        observations
    }

    /// The contradictions, those of one kind together.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (name, (told, all)) in &self.contradictions {
            findings.extend(told.iter().map(|explanation| Finding::new(*name, format!("  {explanation}"))));
            if let Some(last) = findings.last_mut().filter(|_| told.len() < *all) {
                _ = write!(last.explanation, "\n  And {} more of this kind.", all - told.len());
            }
        }
        findings
    }

    fn find(&mut self, name: &'static str, explanation: impl FnOnce() -> String) {
        let (told, all) = self.contradictions.entry(name).or_default();
        *all += 1;
        if told.len() < TOLD_MAX {
            told.push(explanation());
        }
    }

    fn note_appends(&mut self, transactions: &Transactions<'_>) {
        for (number, transaction) in transactions.list.iter().enumerate() {
            let mut newest: BTreeMap<usize, usize> = BTreeMap::new();
            for step in &transaction.steps {
                let Step::Append { key, element } = step else { continue };
                self.appended_by.insert((*key, *element), number);
                if let Some(before) = newest.insert(*key, *element) {
                    self.intermediate.insert((*key, before));
                }
            }
        }
    }

    /// Finds the transactions of unknown outcome that took effect: those whose elements were read by one that did.
    fn commit_seen(&mut self, transactions: &Transactions<'_>) {
        let mut readers: Vec<usize> = (0..transactions.list.len()).filter(|each| self.is_committed[*each]).collect();
        // Most lists begin with a part that was checked already.
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

    /// The steps of the transactions that took effect.
    fn committed<'t>(&self, transactions: &'t Transactions<'_>) -> impl Iterator<Item = (usize, &'t Step)> {
        let committed = transactions.list.iter().enumerate().filter(|(number, _)| self.is_committed[*number]);
        committed.flat_map(|(number, transaction)| transaction.steps.iter().map(move |step| (number, step)))
    }

    /// Finds the longest list of each key, and checks that all others are prefixes of it. Returns those that are not.
    fn note_longest<'t>(&mut self, transactions: &'t Transactions<'_>) -> Vec<(usize, &'t [usize])> {
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
                contradictions.push((number, other, *key, list, longer));
            }
        }
        let contrary = contradictions.iter().map(|(_, _, key, list, _)| (*key, list.as_slice())).collect();
        for (number, other, key, list, longer) in contradictions {
            self.find("incompatible-order, lists that do not continue each other", || {
                let (one, two) = (transactions.name(number), transactions.name(other));
                let (list, longer) = (transactions.list_words(list), transactions.list_words(longer));
                let key = &transactions.keys[key];
                format!("{one} read {key} as {list}, {two} as {longer}: neither is the beginning of the other.")
            });
        }
        self.longest = longest.into_iter().map(|(key, (_, list))| (key, list.clone())).collect();
        contrary
    }

    /// Number of elements of the longest list up to the last one of this list. `None` if the longest has no such
    /// element.
    fn reach(&mut self, key: usize, list: &[usize]) -> Option<usize> {
        let Some(last) = list.last() else { return Some(0) };
        let longest = &self.longest[&key];
        if longest.get(list.len() - 1) == Some(last) {
            return Some(list.len());
        }
        let places = self.places.entry(key);
        let places = places.or_insert_with(|| longest.iter().copied().zip(1..).collect());
        places.get(last).copied()
    }

    /// The reason why a transaction that found this many elements of the longest list comes before the one that
    /// appended next.
    pub(super) fn read_without_next(&self, key: usize, length: usize) -> EdgeKind {
        EdgeKind::Rw { key, last: length.checked_sub(1).map(|last| self.longest[&key][last]) }
    }

    /// Follows the steps of one transaction: each read must be what it first found followed by its own appends.
    fn follow(&mut self, transactions: &Transactions<'_>, reader: usize) {
        let mut found: BTreeMap<usize, &[usize]> = BTreeMap::new();
        let mut own: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut noted: BTreeSet<(usize, usize)> = BTreeSet::new();
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
            let is_same = before.is_some_and(|before| found.get(&key).is_none_or(|found| *found == &list[..before]));
            let has_own = before.is_some_and(|before| {
                list[..before].iter().any(|element| self.appended_by.get(&(key, *element)) == Some(&reader))
            });
            let others = list.strip_suffix(appended).unwrap_or(list);
            if let Some(reach) = self.reach(key, others)
                && noted.insert((key, reach))
            {
                self.reads[reader].push((key, reach));
                self.check_last(transactions, reader, key, others);
            }
            let Some(before) = before.filter(|_| is_same && !has_own) else {
                let read = || {
                    let (name, list) = (transactions.name(reader), transactions.list_words(list));
                    format!("{name} read {} as {list}", transactions.keys[key])
                };
                if is_same && has_own {
                    let text = || format!("{}, with what it only appended later.", read());
                    self.find("future-read, a read of what is appended later", text);
                } else {
                    let text = || format!("{}, which is not what it had found and appended itself.", read());
                    self.find("internal, a transaction that contradicts itself", text);
                }
                continue;
            };
            found.entry(key).or_insert(&list[..before]);
        }
    }

    /// Checks that a list does not end between two appends of one transaction (Adya's G1b).
    fn check_last(&mut self, transactions: &Transactions<'_>, reader: usize, key: usize, list: &[usize]) {
        let Some(last) = list.last() else { return };
        let Some(writer) = self.appended_by.get(&(key, *last)).copied() else { return };
        if writer != reader && self.intermediate.contains(&(key, *last)) {
            self.find("G1b, intermediate read", || {
                let (name, other) = (transactions.name(reader), transactions.name(writer));
                let (list, key) = (transactions.list_words(list), &transactions.keys[key]);
                format!("{name} read {key} as {list}, which ends in the middle of what {other} appended.")
            });
        }
    }

    /// Checks that every element that was read was appended once, by a transaction that did not fail: those of the
    /// longest lists, and those of lists that contradict them.
    fn check_elements(&mut self, transactions: &Transactions<'_>, contrary: &[(usize, &[usize])]) {
        let mut told = BTreeSet::new();
        for (key, list) in self.longest.clone() {
            self.check_list(transactions, key, &list, &mut told);
        }
        for (key, list) in contrary {
            self.check_list(transactions, *key, list, &mut told);
            self.elsewhere.extend(list.iter().map(|element| (*key, *element)));
        }
    }

    fn check_list(
        &mut self,
        transactions: &Transactions<'_>,
        key: usize,
        list: &[usize],
        told: &mut BTreeSet<(&'static str, usize, usize)>,
    ) {
        let mut seen = BTreeSet::new();
        for &element in list {
            let read = || {
                let (name, key) = (&transactions.elements[element], &transactions.keys[key]);
                format!("{key} was read with {name} in it")
            };
            if !seen.insert(element) && told.insert((DUPLICATE, key, element)) {
                self.find(DUPLICATE, || format!("{} twice.", read()));
            }
            let Some(writer) = self.appended_by.get(&(key, element)).copied() else {
                if told.insert((GARBAGE, key, element)) {
                    self.find(GARBAGE, || format!("{}, which nobody appended.", read()));
                }
                continue;
            };
            if transactions.list[writer].call.outcome == CallOutcome::Fail && told.insert((ABORTED, key, element)) {
                let writer = transactions.name(writer);
                self.find(ABORTED, || format!("{}, which {writer} appended, and that failed.", read()));
            }
        }
    }

    /// Finds appends of answered transactions after an append of a failed one (Elle's dirty update).
    fn check_dirty_updates(&mut self, transactions: &Transactions<'_>) {
        for (key, list) in self.longest.clone() {
            let mut failed: Option<usize> = None;
            for element in list {
                let Some(writer) = self.appended_by.get(&(key, element)).copied() else { continue };
                match (transactions.list[writer].call.outcome, failed) {
                    (CallOutcome::Fail, _) => failed = Some(writer),
                    (CallOutcome::Unknown, _) | (CallOutcome::Ok, None) => {}
                    (CallOutcome::Ok, Some(other)) => {
                        self.find("dirty-update, an update of what failed", || {
                            let (one, two) = (transactions.name(other), transactions.name(writer));
                            let key = &transactions.keys[key];
                            format!("{two} appended to {key} behind what {one} had appended, and that failed.")
                        });
                        failed = None;
                    }
                }
            }
        }
    }

    /// Finds two transactions that read the same list and then both appended to it (Elle's lost update).
    fn check_lost_updates(&mut self, transactions: &Transactions<'_>) {
        let mut updated: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        let mut lost = Vec::new();
        for (number, transaction) in transactions.list.iter().enumerate() {
            if transaction.call.outcome != CallOutcome::Ok {
                continue;
            }
            let mut found: BTreeMap<usize, usize> = BTreeMap::new();
            let mut own: BTreeSet<usize> = BTreeSet::new();
            for step in &transaction.steps {
                match step {
                    Step::Read { key, list } => _ = found.entry(*key).or_insert(list.len()),
                    Step::Append { key, .. } => {
                        let Some(length) = found.get(key).filter(|_| own.insert(*key)) else { continue };
                        if let Some(other) = updated.insert((*key, *length), number) {
                            lost.push((*key, *length, other, number));
                        }
                    }
                }
            }
        }
        for (key, length, one, two) in lost {
            self.find("lost-update, two updates of what both had read", || {
                let (one, two) = (transactions.name(one), transactions.name(two));
                let (key, what) = (&transactions.keys[key], if length == 0 { "nothing" } else { "the same" });
                format!("{one} and {two} both found {what} in {key}, and both appended to it.")
            });
        }
    }
}

const DUPLICATE: &str = "duplicate-elements, an element read twice";
const GARBAGE: &str = "garbage read";
const ABORTED: &str = "G1a, aborted read";

/// Number of contradictions of a kind that are put into words.
const TOLD_MAX: usize = 4;
