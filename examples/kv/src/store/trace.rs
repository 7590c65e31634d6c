//! The keys that a command touches in a store that holds only some of a larger one's.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What was touched.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// The keys of which the store knows what the larger one has: a record, or none.
    known: BTreeSet<Box<[u8]>>,
    touched: Mutex<Touched>,
}

/// The keys that were touched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// Their value was looked at, or that there is none.
    pub read: BTreeSet<Box<[u8]>>,
    /// They were set or removed, or may have been.
    pub written: BTreeSet<Box<[u8]>>,
    /// They were touched, and it is not known what the larger store has there. What was computed from them is void.
    pub missing: BTreeSet<Box<[u8]>>,
    /// More keys were needed than can be named.
    pub whole: bool,
}

impl Trace {
    pub(super) fn new(known: BTreeSet<Box<[u8]>>) -> Self {
        Self { known, touched: Mutex::default() }
    }

    pub(super) fn read(&self, key: &[u8]) {
        let mut touched = self.lock();
        if !touched.read.contains(key) {
            touched.read.insert(Box::from(key));
        }
        self.expect(key, &mut touched);
    }

    pub(super) fn written(&self, key: &[u8]) {
        let mut touched = self.lock();
        if !touched.written.contains(key) {
            touched.written.insert(Box::from(key));
        }
        self.expect(key, &mut touched);
    }

    fn expect(&self, key: &[u8], touched: &mut Touched) {
        if !self.known.contains(key) && !touched.missing.contains(key) {
            touched.missing.insert(Box::from(key));
        }
    }

    pub(super) fn whole(&self) {
        self.lock().whole = true;
    }

    pub(super) fn take(&self) -> Touched {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Touched> {
        // The sets are whole after any panic.
        self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
