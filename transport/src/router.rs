//! The way of frames and link events to their readers.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::claims::{ClaimError, Claims};
use crate::counters::{Count, TransportCounters};
use crate::frame::{ChannelId, Received};
use crate::inbox::Inbox;
use crate::limits::Limits;
use crate::link::LinkEvent;
use crate::queue::Queue;

/// The claims of one transport and the inboxes behind them. For authors of transports.
#[derive(Clone, Debug)]
pub struct Router {
    frames_max: usize,
    bytes_max: usize,
    counters: Arc<TransportCounters>,
    claims: Arc<Claims>,
}

impl Router {
    /// Makes a router without claims.
    #[must_use]
    pub fn new(limits: &Limits, counters: Arc<TransportCounters>) -> Self {
        let (frames_max, bytes_max) = (limits.inbox_frames_max, limits.inbox_bytes_max);
        Self { frames_max, bytes_max, counters, claims: Arc::default() }
    }

    /// Makes the caller the only reader of these channels until the inbox is dropped.
    ///
    /// # Errors
    /// When the range is empty, one of the channels has a reader, or the router is closed.
    pub fn claim(&self, channels: RangeInclusive<ChannelId>) -> Result<Inbox, ClaimError> {
        let queue = Arc::new(Queue::new(self.frames_max, self.bytes_max));
        let claim = self.claims.claim(channels, queue.clone())?;
        Ok(Inbox::new(queue, claim))
    }

    /// Puts a frame into the inbox of its channel. Without a reader, or if the inbox is full, the frame is dropped and
    /// counted.
    pub fn deliver(&self, received: Received) {
        let bytes = received.frame.wire_bytes() as u64;
        let Some(queue) = self.claims.queue(received.frame.channel()) else {
            return self.counters.add(Count::Unclaimed);
        };
        if queue.push(received) {
            self.counters.add(Count::FramesReceived);
            self.counters.add_many(Count::BytesReceived, bytes);
        } else {
            self.counters.add(Count::InboxFull);
        }
    }

    /// Gives a link event to the reader of the transport's own channel, if there is one.
    pub fn tell(&self, event: LinkEvent) {
        if let Some(queue) = self.claims.queue(ChannelId::TRANSPORT)
            && !queue.push_link(event)
        {
            self.counters.add(Count::LinkEventsDropped);
        }
    }

    /// Refuses claims and frames from now on. Inboxes end once their items are read.
    pub fn close(&self) {
        self.claims.close();
    }
}
