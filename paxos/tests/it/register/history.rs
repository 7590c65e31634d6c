//! Judges what applications saw of one register: it must be as if every command took effect at one moment between its
//! start and its end.
//!
//! Versions give the order of the contents, so that no search is needed.

use std::collections::{BTreeMap, BTreeSet};

use quorate_paxos::register::{Found, Version};
use quorate_protocol::Instant;

/// What the application asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    /// Appends the number of the operation to the value.
    Append,
    /// Writes the number of the operation, if the register has this version.
    CompareAndSet(Version),
    Delete,
}

/// What it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// The command took effect, and left this.
    Done(Found),
    /// The register contains this, and the command changed nothing.
    Saw(Found),
    /// It took effect, and made this version.
    Made(Version),
    /// It had no effect and never will.
    Nothing,
}

/// One command. Its number is its place in the history.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) kind: Kind,
    pub(crate) began: Instant,
    /// Every answer, with its time: a command whose outcome was unknown may have a later one.
    pub(crate) told: Vec<(Instant, Told)>,
}

/// The numbers of the operations that made a value, in order.
pub(crate) fn parts(value: &[u8]) -> Vec<u16> {
    value.as_chunks::<2>().0.iter().map(|part| u16::from_le_bytes(*part)).collect()
}

/// Checks the history of one register.
pub(crate) fn judge(operations: &[Operation]) {
    let contents = contents(operations);
    check_order(operations);
    check_chain(operations, &contents);
    check_without_effect(operations, &contents);
}

/// The value of each version that was seen. A version has one value.
fn contents(operations: &[Operation]) -> BTreeMap<Version, Option<Vec<u16>>> {
    let mut contents = BTreeMap::new();
    for found in operations.iter().flat_map(|operation| &operation.told).filter_map(|(_, told)| told.found()) {
        let value = found.value.as_ref().map(|value| parts(value));
        let first = contents.entry(found.version).or_insert_with(|| value.clone());
        assert_eq!(*first, value, "version {} has one value", found.version);
        let numbers = value.unwrap_or_default();
        let distinct: BTreeSet<u16> = numbers.iter().copied().collect();
        assert_eq!(distinct.len(), numbers.len(), "nothing takes effect twice: {numbers:?}");
    }
    assert!(contents.get(&Version::ZERO).is_none_or(Option::is_none), "what was never written has no value");
    contents
}

/// What ended before another command began is seen by it.
fn check_order(operations: &[Operation]) {
    // The highest version at each time, and whether a deletion may be under way or done after it.
    let mut ends: Vec<(Instant, Version)> = operations
        .iter()
        .flat_map(|operation| operation.told.iter().filter_map(|(at, told)| Some((*at, told.version()?))))
        .collect();
    ends.sort_unstable();
    for operation in operations {
        let known = ends.iter().take_while(|(at, _)| *at < operation.began).map(|(_, version)| *version).max();
        let Some(known) = known.filter(|known| *known > Version::ZERO) else { continue };
        for (_, told) in &operation.told {
            match told {
                Told::Done(found) => assert!(found.version > known, "{operation:?} follows version {known}"),
                Told::Made(version) => assert!(*version > known, "{operation:?} follows version {known}"),
                Told::Saw(found) if found.version == Version::ZERO => {
                    assert!(is_deleted_after(operations, known), "{operation:?} forgets version {known}");
                }
                Told::Saw(found) => assert!(found.version >= known, "{operation:?} follows version {known}"),
                Told::Nothing => {}
            }
        }
    }
}

/// True if a deletion may have followed this version.
fn is_deleted_after(operations: &[Operation], known: Version) -> bool {
    operations.iter().filter(|operation| operation.kind == Kind::Delete).any(|operation| {
        let made = operation.told.iter().find_map(|(_, told)| match told {
            Told::Done(found) => Some(found.version),
            Told::Made(version) => Some(*version),
            _ => None,
        });
        made.map_or(!operation.told.iter().any(|(_, told)| *told == Told::Nothing), |made| made >= known)
    })
}

/// Each value is made from the one before it: an append keeps what is there, and a comparison saw what it names.
fn check_chain(operations: &[Operation], contents: &BTreeMap<Version, Option<Vec<u16>>>) {
    for (number, operation) in operations.iter().enumerate() {
        let number = u16::try_from(number).expect("a short history");
        for (_, told) in &operation.told {
            let Told::Done(found) = told else { continue };
            let value = found.value.as_ref().map(|value| parts(value));
            match operation.kind {
                Kind::Read => panic!("a read changes nothing"),
                Kind::Delete => assert_eq!(value, None),
                Kind::CompareAndSet(expected) => {
                    assert_eq!(value, Some(vec![number]));
                    let between =
                        contents.range((std::ops::Bound::Excluded(expected), std::ops::Bound::Excluded(found.version)));
                    let between: Vec<_> = between.collect();
                    // A deletion that was forgotten leaves a register as if it had never been written.
                    let last = between.last();
                    let is_forgotten = expected == Version::ZERO && last.is_some_and(|(_, value)| value.is_none());
                    assert!(between.is_empty() || is_forgotten, "{operation:?} overwrote {between:?}");
                }
                Kind::Append => {
                    let value = value.expect("an append leaves a value");
                    assert_eq!(value.last(), Some(&number));
                    let before = contents.range(..found.version).next_back();
                    let Some((_, Some(before))) = before else { continue };
                    // A deletion or a comparison whose outcome was not seen may lie between.
                    if !value.starts_with(before) {
                        let first = value.first().copied().expect("not empty");
                        let is_restarted = !before.contains(&first) || first == number;
                        assert!(is_restarted, "{operation:?} lost a part of {before:?}");
                    }
                }
            }
        }
    }
}

/// What has no effect is in no value.
fn check_without_effect(operations: &[Operation], contents: &BTreeMap<Version, Option<Vec<u16>>>) {
    for (number, operation) in operations.iter().enumerate() {
        let number = u16::try_from(number).expect("a short history");
        let is_without =
            operation.told.iter().any(|(_, told)| matches!(told, Told::Nothing) || matches!(told, Told::Saw(_)));
        if operation.kind != Kind::Read && is_without {
            let seen = contents.values().flatten().any(|value| value.contains(&number));
            assert!(!seen, "{number} took effect: {operation:?}");
            let is_effect = |told: &Told| matches!(told, Told::Done(_) | Told::Made(_));
            assert!(!operation.told.iter().any(|(_, told)| is_effect(told)), "two outcomes: {operation:?}");
        }
    }
}

impl Told {
    fn found(&self) -> Option<&Found> {
        match self {
            Self::Done(found) | Self::Saw(found) => Some(found),
            Self::Made(_) | Self::Nothing => None,
        }
    }

    fn version(&self) -> Option<Version> {
        match self {
            Self::Done(found) | Self::Saw(found) => Some(found.version),
            Self::Made(version) => Some(*version),
            Self::Nothing => None,
        }
    }
}
