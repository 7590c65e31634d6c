//! Immutable placements for readers, while a writer prepares the next one.

use alloc::sync::Arc;
use core::ops::Deref;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, TryLockError};

/// Publishes placements, or any other value that is read often and replaced rarely, from a writer to readers.
///
/// The writer builds the next placement and [publishes](Publisher::publish) it. Each [`Reader`] keeps its own snapshot
/// and checks for a newer one with a single load of a shared counter. A reader never waits: during a publication it
/// reads its old snapshot once more. Readers do not slow each other down.
///
/// ```
/// use quorate_consistent_hash::{Node, Nodes, Placement, Publisher, Ring};
///
/// let publisher = Publisher::new(Ring::new(Nodes::named(["a", "b"])?)?);
/// let mut reader = publisher.reader();
/// let mut next = (*publisher.snapshot()).clone();
/// next.add(Node::new("c"))?;
/// publisher.publish(next);
/// assert_eq!(reader.current().nodes().len(), 3);
/// # Ok::<(), quorate_consistent_hash::BuildError>(())
/// ```
#[derive(Debug)]
pub struct Publisher<P> {
    shared: Arc<Shared<P>>,
}

#[derive(Debug)]
struct Shared<P> {
    /// Grows with each publication, while `current` is locked. Readers do not lock each other out: only during a
    /// publication does a reader read its old snapshot once more.
    version: AtomicUsize,
    current: RwLock<Arc<P>>,
}

impl<P> Publisher<P> {
    /// Publishes the first value.
    pub fn new(first: P) -> Self {
        let current = RwLock::new(Arc::new(first));
        Self { shared: Arc::new(Shared { version: AtomicUsize::new(0), current }) }
    }

    /// Replaces the value for all readers. Snapshots that they hold stay valid.
    pub fn publish(&self, next: P) {
        let next = Arc::new(next);
        // Nothing panics while the lock is held, so the value behind a poisoned lock is intact.
        let mut current = self.shared.current.write().unwrap_or_else(PoisonError::into_inner);
        let last = core::mem::replace(&mut *current, next);
        self.shared.version.fetch_add(1, Ordering::Release);
        drop(current);
        // The old value may be large, and readers must not wait until it is freed.
        drop(last);
    }

    /// The current value, shared.
    pub fn snapshot(&self) -> Arc<P> {
        self.shared.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a reader; one for each thread or task.
    pub fn reader(&self) -> Reader<P> {
        let current = self.shared.current.read().unwrap_or_else(PoisonError::into_inner);
        let version = self.shared.version.load(Ordering::Relaxed);
        Reader { shared: self.shared.clone(), version, snapshot: current.clone() }
    }
}

/// Reads the values of a [`Publisher`] without ever waiting. Cheap to clone.
#[derive(Debug)]
pub struct Reader<P> {
    shared: Arc<Shared<P>>,
    /// The version of `snapshot`.
    version: usize,
    snapshot: Arc<P>,
}

impl<P> Reader<P> {
    /// The newest value that is available without waiting.
    #[inline]
    pub fn current(&mut self) -> &P {
        if self.shared.version.load(Ordering::Acquire) != self.version {
            self.refresh();
        }
        &self.snapshot
    }

    #[cold]
    fn refresh(&mut self) {
        let current = match self.shared.current.try_read() {
            Ok(current) => current,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        self.version = self.shared.version.load(Ordering::Relaxed);
        self.snapshot = current.clone();
    }
}

impl<P> Clone for Reader<P> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), version: self.version, snapshot: self.snapshot.clone() }
    }
}

/// The snapshot as it was last refreshed, for look-ups that must all see the same placement.
impl<P> Deref for Reader<P> {
    type Target = P;

    fn deref(&self) -> &P {
        &self.snapshot
    }
}
