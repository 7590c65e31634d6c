//! Queue of frames and link events that wait for their reader.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use quorate_protocol::NodeId;

use crate::frame::Received;
use crate::link::LinkEvent;

/// An item of an inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A frame arrived.
    Frame(Received),
    /// A link changed. Only the inbox that covers [`ChannelId::TRANSPORT`](crate::ChannelId::TRANSPORT) receives these.
    Link(LinkEvent),
}

/// The queue that a router fills and an [`Inbox`](crate::Inbox) empties.
#[derive(Debug)]
pub(crate) struct Queue {
    frames_max: usize,
    bytes_max: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    links: VecDeque<LinkEvent>,
    frames: VecDeque<Received>,
    bytes: usize,
    waker: Option<Waker>,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(frames_max: usize, bytes_max: usize) -> Self {
        Self { frames_max, bytes_max, waiting: Mutex::default() }
    }

    /// Queues the frame; returns false if it did not fit.
    pub(crate) fn push(&self, received: Received) -> bool {
        let bytes = received.frame.wire_bytes();
        let mut waiting = self.lock();
        if waiting.closed || waiting.frames.len() >= self.frames_max || waiting.bytes + bytes > self.bytes_max {
            return false;
        }
        waiting.bytes += bytes;
        waiting.frames.push_back(received);
        wake(waiting);
        true
    }

    /// Queues the event; returns false if it did not fit.
    pub(crate) fn push_link(&self, event: LinkEvent) -> bool {
        let mut waiting = self.lock();
        if waiting.closed {
            return false;
        }
        if let Some(node) = linked(&event) {
            waiting.links.retain(|older| linked(older) != Some(node));
        } else if waiting.links.len() >= LINK_EVENTS_MAX {
            return false;
        }
        waiting.links.push_back(event);
        wake(waiting);
        true
    }

    /// Takes the next item, if there is one.
    pub(crate) fn pop(&self) -> Option<Incoming> {
        self.lock().pop()
    }

    /// Takes the next item. Returns `Ready(None)` once the queue is closed and empty; otherwise the waker is woken by
    /// the next item.
    pub(crate) fn poll_pop(&self, context: &Context<'_>) -> Poll<Option<Incoming>> {
        let mut waiting = self.lock();
        if let Some(incoming) = waiting.pop() {
            return Poll::Ready(Some(incoming));
        }
        if waiting.closed {
            return Poll::Ready(None);
        }
        match &mut waiting.waker {
            Some(waker) => waker.clone_from(context.waker()),
            empty => *empty = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Ends the inbox once the reader has taken all items that wait.
    pub(crate) fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        wake(waiting);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
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
fn wake(mut waiting: MutexGuard<'_, Waiting>) {
    let waker = waiting.waker.take();
    drop(waiting);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The peer of an `Up` or `Down` event. Only the newest of these events is kept for each peer, which bounds them.
fn linked(event: &LinkEvent) -> Option<NodeId> {
    match event {
        LinkEvent::Up { peer } | LinkEvent::Down { peer, .. } => Some(peer.node),
        LinkEvent::Refused { .. } => None,
    }
}

/// Number of waiting events above which refusals are no longer queued.
const LINK_EVENTS_MAX: usize = 256;
