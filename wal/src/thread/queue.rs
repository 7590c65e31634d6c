//! A bounded queue from the callers to a thread.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::error::SubmitError;

/// A queue of items, all of which the thread takes at once. A full queue refuses.
#[derive(Debug)]
pub(super) struct Queue<T> {
    inner: Mutex<Inner<T>>,
    filled: Condvar,
    weight_max: usize,
    /// Nanoseconds for which the thread looks for items again and again before it sleeps.
    spin_nanos: AtomicU64,
}

#[derive(Debug)]
struct Inner<T> {
    items: VecDeque<T>,
    weight: usize,
    is_closed: bool,
    is_poked: bool,
}

impl<T> Queue<T> {
    /// A queue that refuses items which would bring its weight above `weight_max`, unless it is empty.
    pub(super) fn new(weight_max: usize) -> Self {
        let inner = Inner { items: VecDeque::new(), weight: 0, is_closed: false, is_poked: false };
        Self { inner: Mutex::new(inner), filled: Condvar::new(), weight_max, spin_nanos: AtomicU64::new(0) }
    }

    /// Adds an item. An empty queue accepts an item of any weight.
    pub(super) fn push(&self, item: T, weight: usize) -> Result<(), SubmitError> {
        self.push_all([(item, weight)])
    }

    /// Adds all of these items, or none, so that the thread takes them together. An empty queue accepts items of any
    /// weight.
    pub(super) fn push_all(&self, items: impl IntoIterator<Item = (T, usize)>) -> Result<(), SubmitError> {
        let items: Vec<(T, usize)> = items.into_iter().collect();
        let weight = items.iter().fold(0, |sum: usize, (_, weight)| sum.saturating_add(*weight));
        let mut inner = self.lock();
        if inner.is_closed {
            return Err(SubmitError::Closed);
        }
        if inner.weight > 0 && inner.weight.saturating_add(weight) > self.weight_max {
            return Err(SubmitError::Full);
        }
        let was_empty = inner.items.is_empty();
        inner.items.extend(items.into_iter().map(|(item, _)| item));
        inner.weight = inner.weight.saturating_add(weight);
        let has_any = !inner.items.is_empty();
        drop(inner);
        if was_empty && has_any {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Waits for items and returns all of them. Returns an empty set if none has come within `patience` or the thread
    /// was poked, and `None` if the queue is closed and empty.
    pub(super) fn drain(&self, patience: Option<Duration>) -> Option<VecDeque<T>> {
        self.spin();
        let mut inner = self.lock();
        while inner.items.is_empty() {
            if inner.is_closed {
                return None;
            }
            if std::mem::take(&mut inner.is_poked) {
                return Some(VecDeque::new());
            }
            inner = match patience {
                None => self.filled.wait(inner).expect("nobody panics while holding the queue"),
                Some(patience) => {
                    let waited = self.filled.wait_timeout(inner, patience);
                    let (inner, timeout) = waited.expect("nobody panics while holding the queue");
                    if timeout.timed_out() && inner.items.is_empty() && !inner.is_closed {
                        return Some(VecDeque::new());
                    }
                    inner
                }
            };
        }
        inner.weight = 0;
        Some(std::mem::take(&mut inner.items))
    }

    /// Makes the thread look for items for this time before it sleeps.
    pub(super) fn set_spin(&self, spin: Duration) {
        self.spin_nanos.store(u64::try_from(spin.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Looks for items for a while. Others that want the processor get it meanwhile.
    fn spin(&self) {
        let spin = Duration::from_nanos(self.spin_nanos.load(Ordering::Relaxed));
        if spin.is_zero() {
            return;
        }
        let begun = Instant::now();
        while begun.elapsed() < spin {
            let inner = self.lock();
            if !inner.items.is_empty() || inner.is_closed || inner.is_poked {
                return;
            }
            drop(inner);
            thread::yield_now();
        }
    }

    /// Makes the thread look around although nothing was pushed.
    pub(super) fn poke(&self) {
        self.lock().is_poked = true;
        self.filled.notify_all();
    }

    /// Refuses new items. Those that wait are still handed out.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.filled.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().expect("nobody panics while holding the queue")
    }
}
