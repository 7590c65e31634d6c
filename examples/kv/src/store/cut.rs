//! The store at the moment of a cut through all shards, kept until a node takes it.

use super::{Snapshot, Store};

/// A store at the moment of a cut.
#[derive(Debug)]
pub struct Cut {
    /// Log time of that moment.
    pub log_time: u64,
    /// The store.
    pub snapshot: Snapshot,
}

impl Store {
    /// The store as it is now.
    pub fn cut(&self, log_time: u64) -> Cut {
        Cut { log_time, snapshot: self.snapshot() }
    }

    /// Keeps the store as it is now under a number, in place of one that was kept before. This is no part of the state:
    /// each replica keeps it until it is taken there, or is [old](Self::forget_old_cut).
    pub fn keep_cut(&mut self, log_time: u64, id: u64) {
        *self.kept.get_mut() = Some((id, self.cut(log_time)));
    }

    /// Takes what was kept under a number.
    pub fn take_cut(&self, id: u64) -> Option<Cut> {
        self.kept.borrow_mut().take_if(|(kept, _)| *kept == id).map(|(_, cut)| cut)
    }

    /// Drops a cut that nobody took, since it keeps what was removed meanwhile in memory.
    pub fn forget_old_cut(&mut self, log_time: u64) {
        self.kept.get_mut().take_if(|(_, cut)| log_time.saturating_sub(cut.log_time) > CUT_AGE_MAX);
    }
}

/// Milliseconds of log time after which a cut is old. Whoever asked for it takes it once its node has applied it.
const CUT_AGE_MAX: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_what_was_there_and_is_taken_once() {
        let mut store = Store::new();
        store.put_text(b"key", &[b"old"], None);
        store.keep_cut(7, 1);
        store.put_text(b"key", &[b"new"], None);
        assert!(store.take_cut(2).is_none(), "another cut");
        let cut = store.take_cut(1).unwrap();
        assert_eq!(cut.log_time, 7);
        let records: Vec<_> = cut.snapshot.records(7).map(|record| record.as_text().unwrap().to_vec()).collect();
        assert_eq!(records, [b"old"]);
        assert!(store.take_cut(1).is_none(), "it is gone");
    }

    #[test]
    fn a_cut_that_nobody_takes_is_dropped() {
        let mut store = Store::new();
        store.keep_cut(7, 1);
        store.forget_old_cut(7 + CUT_AGE_MAX);
        assert!(store.take_cut(1).is_some());
        store.keep_cut(7, 2);
        store.forget_old_cut(8 + CUT_AGE_MAX);
        assert!(store.take_cut(2).is_none());
    }
}
