//! A queue into the loop, from any thread. Items that several threads push in a row are taken with one lock and one
//! wake-up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

/// A queue of items with a bound on their weight. Clones are the same queue.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    inner: Arc<Mutex<Inner<T>>>,
}

#[derive(Debug)]
struct Inner<T> {
    items: Vec<T>,
    weight: usize,
    weight_max: usize,
    waker: Option<Waker>,
    is_closed: bool,
}

/// Reason why an item was not pushed. It is returned in the error.
#[derive(Debug)]
pub(crate) enum PushError<T> {
    /// The queue is full.
    Full(T),
    /// The loop has ended.
    Closed(T),
}

impl<T> Mailbox<T> {
    /// Makes a queue that holds items until their weights exceed `weight_max`. Later items are refused unless they
    /// weigh nothing.
    pub(crate) fn new(weight_max: usize) -> Self {
        let inner = Inner { items: Vec::new(), weight: 0, weight_max, waker: None, is_closed: false };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    pub(crate) fn push(&self, item: T, weight: usize) -> Result<(), PushError<T>> {
        let mut inner = self.lock();
        if inner.is_closed {
            return Err(PushError::Closed(item));
        }
        if weight > 0 && inner.weight + weight > inner.weight_max && !inner.items.is_empty() {
            return Err(PushError::Full(item));
        }
        inner.weight += weight;
        inner.items.push(item);
        let waker = inner.waker.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Swaps the waiting items into `into`, which must be empty. If there are none, the task is woken when one comes.
    pub(crate) fn poll_take(&self, context: &mut Context<'_>, into: &mut Vec<T>) -> bool {
        debug_assert!(into.is_empty(), "what was taken before was used up");
        let mut inner = self.lock();
        if inner.items.is_empty() {
            match &mut inner.waker {
                Some(waker) => waker.clone_from(context.waker()),
                empty => *empty = Some(context.waker().clone()),
            }
            return false;
        }
        std::mem::swap(&mut inner.items, into);
        inner.weight = 0;
        true
    }

    /// Closes the queue and returns the waiting items.
    pub(crate) fn close(&self) -> Vec<T> {
        let mut inner = self.lock();
        inner.is_closed = true;
        std::mem::take(&mut inner.items)
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}
