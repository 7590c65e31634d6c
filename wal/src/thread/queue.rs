//! A bounded queue between the loop and a thread.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use super::error::SubmitError;

/// Items wait here until the thread takes all of them at once. A full queue refuses.
#[derive(Debug)]
pub(super) struct Queue<T> {
    inner: Mutex<Inner<T>>,
    filled: Condvar,
    weight_max: usize,
}

#[derive(Debug)]
struct Inner<T> {
    items: VecDeque<T>,
    weight: usize,
    is_closed: bool,
}

impl<T> Queue<T> {
    /// A queue that refuses once what waits weighs `weight_max` or more.
    pub(super) fn new(weight_max: usize) -> Self {
        let inner = Inner { items: VecDeque::new(), weight: 0, is_closed: false };
        Self { inner: Mutex::new(inner), filled: Condvar::new(), weight_max }
    }

    /// Adds an item. One that is heavier than the queue alone is taken when the queue is empty.
    pub(super) fn push(&self, item: T, weight: usize) -> Result<(), SubmitError> {
        self.push_all([(item, weight)])
    }

    /// Adds all of these items, or none: the thread sees them at once. As with one, they are taken when the queue is
    /// empty.
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

    /// Everything that waits, once anything does, or an empty set when nothing has come within `patience`; nothing when
    /// the queue is closed and empty.
    pub(super) fn drain(&self, patience: Option<Duration>) -> Option<VecDeque<T>> {
        let mut inner = self.lock();
        while inner.items.is_empty() {
            if inner.is_closed {
                return None;
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

    pub(super) fn is_empty(&self) -> bool {
        self.lock().items.is_empty()
    }

    /// Takes nothing new. What waits is still handed out.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.filled.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().expect("nobody panics while holding the queue")
    }
}
