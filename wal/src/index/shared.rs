//! The index, shared by the writer and all readers of a log.

use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::Index;

/// An index that one writer changes and many readers read. Clones share it.
#[derive(Debug)]
pub(crate) struct SharedIndex<F> {
    index: Arc<RwLock<Index<F>>>,
}

impl<F> Clone for SharedIndex<F> {
    fn clone(&self) -> Self {
        Self { index: self.index.clone() }
    }
}

impl<F> SharedIndex<F> {
    pub(crate) fn new(index: Index<F>) -> Self {
        Self { index: Arc::new(RwLock::new(index)) }
    }

    /// The index, to be read by the writer.
    ///
    /// # Panics
    /// When the writer panicked while it changed the index.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Index<F>> {
        self.index.read().expect("nobody panics while holding the index")
    }

    /// The index, to be read by a reader. `None` if the writer panicked while it changed the index, which leaves it in
    /// an unknown state.
    pub(crate) fn try_read(&self) -> Option<RwLockReadGuard<'_, Index<F>>> {
        self.index.read().ok()
    }

    /// The index, to be changed.
    ///
    /// # Panics
    /// When an earlier change panicked.
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Index<F>> {
        self.index.write().expect("nobody panics while holding the index")
    }
}
