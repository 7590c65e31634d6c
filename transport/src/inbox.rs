//! Queue of frames and link events that wait for their reader.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::router::Claim;
use crate::{LinkEvent, Received};

/// The reading end of one or several channels: one queue and one waker, for one reader.
///
/// It is bounded in frames and bytes ([`Limits`](crate::Limits)). When it is full, the newest frames are dropped and
/// counted. Link events have a queue of their own and are read first. Dropping the inbox releases its channels.
#[derive(Debug)]
pub struct Inbox {
    shared: Arc<Shared>,
    _claim: Claim,
}

/// An item of an inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A frame arrived.
    Frame(Received),
    /// A link changed. Only the inbox that covers [`ChannelId::TRANSPORT`](crate::ChannelId::TRANSPORT) receives these.
    Link(LinkEvent),
}

impl Inbox {
    pub(crate) fn new(shared: Arc<Shared>, claim: Claim) -> Self {
        Self { shared, _claim: claim }
    }

    /// Takes the next item, if there is one.
    pub fn try_recv(&mut self) -> Option<Incoming> {
        self.shared.lock().pop()
    }

    /// Like [`Inbox::recv`], for hand-written futures. Only the waker of the last call is woken.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<Incoming>> {
        let mut queue = self.shared.lock();
        if let Some(incoming) = queue.pop() {
            return Poll::Ready(Some(incoming));
        }
        if queue.closed {
            return Poll::Ready(None);
        }
        match &mut queue.waker {
            Some(waker) => waker.clone_from(context.waker()),
            empty => *empty = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Waits for the next item. Returns `None` once the transport is shut down and the inbox is empty. Needs no
    /// runtime. Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Option<Incoming> {
        poll_fn(|context| self.poll_recv(context)).await
    }
}

/// The queue behind an inbox.
#[derive(Debug)]
pub(crate) struct Shared {
    frames_max: usize,
    bytes_max: usize,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    links: VecDeque<LinkEvent>,
    frames: VecDeque<Received>,
    bytes: usize,
    waker: Option<Waker>,
    closed: bool,
}

impl Shared {
    pub(crate) fn new(frames_max: usize, bytes_max: usize) -> Self {
        Self { frames_max, bytes_max, queue: Mutex::default() }
    }

    /// Queues the frame; returns false if it did not fit.
    pub(crate) fn push(&self, received: Received) -> bool {
        let bytes = received.frame.wire_bytes();
        let mut queue = self.lock();
        if queue.closed || queue.frames.len() >= self.frames_max || queue.bytes + bytes > self.bytes_max {
            return false;
        }
        queue.bytes += bytes;
        queue.frames.push_back(received);
        wake(queue);
        true
    }

    /// Queues the event; returns false if it did not fit.
    pub(crate) fn push_link(&self, event: LinkEvent) -> bool {
        let mut queue = self.lock();
        if queue.closed {
            return false;
        }
        if let Some(node) = linked(&event) {
            queue.links.retain(|waiting| linked(waiting) != Some(node));
        } else if queue.links.len() >= LINK_EVENTS_MAX {
            return false;
        }
        queue.links.push_back(event);
        wake(queue);
        true
    }

    /// Ends the inbox once the reader has taken all items that wait.
    pub(crate) fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        wake(queue);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn pop(&mut self) -> Option<Incoming> {
        if let Some(event) = self.links.pop_front() {
            return Some(Incoming::Link(event));
        }
        let received = self.frames.pop_front()?;
        self.bytes -= received.frame.wire_bytes();
        Some(Incoming::Frame(received))
    }
}

/// Wakes the reader after releasing the lock, because the waker may run the reader.
fn wake(mut queue: MutexGuard<'_, Queue>) {
    let waker = queue.waker.take();
    drop(queue);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The peer of an `Up` or `Down` event. Only the newest of these events is kept for each peer, which bounds them.
fn linked(event: &LinkEvent) -> Option<quorate_protocol::NodeId> {
    match event {
        LinkEvent::Up { peer } | LinkEvent::Down { peer, .. } => Some(peer.node),
        LinkEvent::Refused { .. } => None,
    }
}

/// Number of waiting events above which refusals are no longer queued.
const LINK_EVENTS_MAX: usize = 256;
