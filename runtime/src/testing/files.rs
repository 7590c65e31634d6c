//! The files of a state machine that stores its state itself.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use quorate_protocol::LogIndex;

/// The files of a [`Ledger`](super::Ledger), which survive a crash as far as they are durable. All clones are the same
/// files, and all compare as equal: ledgers are compared by their state, wherever they store it.
#[derive(Clone, Debug, Default)]
pub struct LedgerFiles(Arc<Mutex<Files>>);

/// The state of a ledger at one index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredState {
    /// The index of the last command or tick.
    pub applied: LogIndex,
    /// Number of times that each command was applied.
    pub counts: BTreeMap<Vec<u8>, u64>,
}

#[derive(Debug, Default)]
struct Files {
    written: StoredState,
    durable: StoredState,
    writes: u64,
    is_failing: bool,
}

impl LedgerFiles {
    /// Files that contain this state.
    pub fn with(state: StoredState) -> Self {
        let files = Files { written: state.clone(), durable: state, ..Files::default() };
        Self(Arc::new(Mutex::new(files)))
    }

    /// The state that was written last.
    pub fn written(&self) -> StoredState {
        self.files().written.clone()
    }

    /// Number of batches that were written.
    pub fn writes(&self) -> u64 {
        self.files().writes
    }

    /// Makes every write and sync fail, or succeed again.
    pub fn set_failing(&self, is_failing: bool) {
        self.files().is_failing = is_failing;
    }

    /// The machine crashes: what was not durable is lost.
    pub fn crash(&self) {
        let mut files = self.files();
        files.written = files.durable.clone();
    }

    pub(super) fn write(&self, state: StoredState) -> io::Result<()> {
        let mut files = self.files();
        files.check()?;
        files.writes += 1;
        files.written = state;
        Ok(())
    }

    pub(super) fn sync(&self, state: StoredState) -> io::Result<()> {
        let mut files = self.files();
        files.check()?;
        if state.applied > files.durable.applied {
            files.durable = state;
        }
        Ok(())
    }

    pub(super) fn replace(&self, state: StoredState) -> io::Result<()> {
        let mut files = self.files();
        files.check()?;
        files.written = state.clone();
        files.durable = state;
        Ok(())
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.0.lock().expect("no panic holds it")
    }
}

impl Files {
    fn check(&self) -> io::Result<()> {
        if self.is_failing { Err(io::Error::other("the disk of the ledger fails")) } else { Ok(()) }
    }
}

impl PartialEq for LedgerFiles {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for LedgerFiles {}
