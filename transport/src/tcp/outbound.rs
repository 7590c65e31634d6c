//! The queue of one lane to one peer, and its way into the socket.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quorate_protocol::{Identity, Incarnation, NodeId};
use tokio::sync::Notify;

use super::outgoing::Outgoing;
use super::socket::WriteHalf;
use crate::counters::{Count, TransportCounters};
use crate::frame::{Frame, Lane, Sender};
use crate::limits::Limits;
use crate::link::{DownReason, LinkEvent};
use crate::router::Router;
use crate::transport::SendError;

/// State that `send` and the lane's own task share.
///
/// Frames wait here only while a connection stands: without one, `send` is refused, and frames that still wait when it
/// ends are dropped. The queue is bounded in frames and bytes; when it is full, `send` is refused.
#[derive(Debug)]
pub(super) struct Outbound {
    own: Identity,
    node: NodeId,
    lane: Lane,
    limits: Limits,
    counters: Arc<TransportCounters>,
    router: Router,
    state: Mutex<State>,
    /// Tells the task that bytes wait to be written, or that the lane closes.
    pub(super) wake: Notify,
    /// Ends the task's wait between two dials, because a connection of the peer arrived.
    pub(super) hurry: Notify,
}

#[derive(Debug, Default)]
struct State {
    link: Option<Link>,
    queue: VecDeque<Frame>,
    queue_bytes: usize,
    outgoing: Outgoing,
    /// The socket accepts no more bytes for now; the task waits until it does.
    is_full: bool,
    /// No more frames are accepted; the task writes those that wait and ends.
    is_closing: bool,
    /// The peer was removed: nothing is written any more.
    is_stopped: bool,
}

/// A connection in use.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) peer: Sender,
    /// The address that was dialled.
    pub(super) address: String,
    pub(super) write: Arc<WriteHalf>,
    pub(super) frame_bytes_max: usize,
}

/// Result of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// All bytes were written.
    All,
    /// The socket accepts no more bytes for now.
    Full,
    /// There is no connection, or it failed.
    Failed(ErrorKind),
}

impl Outbound {
    /// Makes the queue of `lane` from this node to `node`.
    pub(super) fn new(
        own: Identity,
        node: NodeId,
        lane: Lane,
        limits: Limits,
        counters: Arc<TransportCounters>,
        router: Router,
    ) -> Self {
        Self {
            own,
            node,
            lane,
            limits,
            counters,
            router,
            state: Mutex::default(),
            wake: Notify::new(),
            hurry: Notify::new(),
        }
    }

    /// Queues a frame.
    pub(super) fn send(&self, frame: Frame) -> Result<(), SendError> {
        let bytes = frame.wire_bytes();
        let mut state = self.lock();
        let link = state.link.as_ref().filter(|_| !state.is_closing).ok_or(SendError::NotConnected(self.node))?;
        if bytes > link.frame_bytes_max {
            return Err(SendError::TooLarge { bytes, bytes_max: link.frame_bytes_max });
        }
        let waiting = state.queue_bytes + state.outgoing.bytes();
        if state.queue.len() >= self.limits.queue_frames_max || waiting + bytes > self.limits.queue_bytes_max {
            return Err(SendError::QueueFull(self.node));
        }
        let was_idle = state.queue.is_empty() && !state.is_full;
        state.queue_bytes += bytes;
        state.queue.push_back(frame);
        drop(state);
        if was_idle {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Writes the frames that wait, as far as the socket accepts them.
    pub(super) fn flush(&self) -> Written {
        self.lock().write(self.own.incarnation, &self.counters)
    }

    /// Like [`Outbound::flush`], for callers other than the task. If the socket is full or fails, the task goes on.
    pub(super) fn flush_inline(&self) {
        let mut state = self.lock();
        if state.is_full || state.queue.is_empty() || state.write(self.own.incarnation, &self.counters) == Written::All
        {
            return;
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Like [`Outbound::flush`], when the socket is known to be ready again.
    pub(super) fn flush_ready(&self) -> Written {
        let mut state = self.lock();
        state.is_full = false;
        state.write(self.own.incarnation, &self.counters)
    }

    /// Puts bytes of the transport itself in front of the queue.
    pub(super) fn put_bytes(&self, bytes: &Bytes) -> Written {
        let mut state = self.lock();
        state.outgoing.put_bytes(bytes);
        state.write(self.own.incarnation, &self.counters)
    }

    /// True if the socket accepts no more bytes for now.
    pub(super) fn is_full(&self) -> bool {
        self.lock().is_full
    }

    /// Starts to use a new connection.
    pub(super) fn connect(&self, link: Link) {
        let mut state = self.lock();
        if state.is_stopped {
            return;
        }
        let Link { peer, ref address, .. } = link;
        let (node, peer_id, lane) = (self.own.node.0, peer.node.0, self.lane);
        tracing::info!(node, peer = peer_id, address, incarnation = %peer.incarnation, %lane, "connected");
        state.link = Some(link);
        if lane == Lane::Control {
            self.router.tell(LinkEvent::Up { peer });
        }
    }

    /// The address of the connection, if there is one.
    pub(super) fn address(&self) -> Option<String> {
        self.lock().link.as_ref().map(|link| link.address.clone())
    }

    /// Stops using the connection, if there is one, and drops the frames that waited for it.
    pub(super) fn disconnect(&self, reason: DownReason) {
        let mut state = self.lock();
        let Some(Link { peer, .. }) = state.link.take() else { return };
        self.counters.add_many(Count::StaleDropped, state.queue.len() as u64);
        self.counters.add(Count::ConnectionsLost);
        state.is_full = false;
        state.outgoing.clear();
        state.queue.clear();
        state.queue_bytes = 0;
        let (node, peer_id, lane) = (self.own.node.0, peer.node.0, self.lane);
        tracing::info!(node, peer = peer_id, %lane, "disconnected: {reason}");
        if lane == Lane::Control {
            self.router.tell(LinkEvent::Down { peer, reason });
        }
    }

    /// Refuses further frames; the task writes those that wait and ends. Returns whether there is a connection to write
    /// to.
    pub(super) fn close(&self) -> bool {
        let mut state = self.lock();
        state.is_closing = true;
        self.wake.notify_one();
        state.link.is_some()
    }

    /// Refuses further frames and writes none. When this returns, the link is down, even if the task has not ended yet.
    pub(super) fn stop(&self, reason: DownReason) {
        let mut state = self.lock();
        (state.is_closing, state.is_stopped) = (true, true);
        drop(state);
        self.disconnect(reason);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.lock().is_closing
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn write(&mut self, own: Incarnation, counters: &TransportCounters) -> Written {
        let Some(link) = &self.link else { return Written::Failed(ErrorKind::NotConnected) };
        if self.is_full {
            return Written::Full;
        }
        loop {
            while self.outgoing.bytes() < STAGED_BYTES
                && let Some(frame) = self.queue.pop_front()
            {
                self.queue_bytes -= frame.wire_bytes();
                self.outgoing.put_frame(&frame, own);
            }
            if self.outgoing.bytes() == 0 {
                return Written::All;
            }
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let filled = self.outgoing.fill(&mut slices);
            match link.write.try_write_vectored(&slices[..filled]) {
                Ok(0) => return Written::Failed(ErrorKind::WriteZero),
                Ok(written) => self.outgoing.advance(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.is_full = true;
                    return Written::Full;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Written::Failed(error.kind()),
            }
            counters.add(Count::Writes);
        }
    }
}

/// Number of bytes laid out for one write. Further frames stay in the queue, behind the next heartbeat.
const STAGED_BYTES: usize = 256 << 10;

/// Largest number of slices in one write.
const SLICES_MAX: usize = 64;
