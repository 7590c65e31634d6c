//! Routes from channels to their readers.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::inbox::Shared;
use crate::{ChannelId, Count, Counters, Inbox, Limits, LinkEvent, Received};

/// The claims of one transport and the inboxes behind them. For authors of transports.
#[derive(Clone, Debug)]
pub struct Router {
    inner: Arc<Inner>,
}

impl Router {
    /// Makes a router without claims.
    #[must_use]
    pub fn new(limits: &Limits, counters: Arc<Counters>) -> Self {
        let inner = Inner {
            frames_max: limits.inbox_frames_max,
            bytes_max: limits.inbox_bytes_max,
            counters,
            routes: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Makes the caller the only reader of these channels until the inbox is dropped.
    ///
    /// # Errors
    /// When the range is empty, one of the channels has a reader, or the router is closed.
    pub fn claim(&self, channels: RangeInclusive<ChannelId>) -> Result<Inbox, ClaimError> {
        if channels.is_empty() {
            return Err(ClaimError::Empty);
        }
        let mut routes = self.inner.lock();
        if routes.closed {
            return Err(ClaimError::Closed);
        }
        let overlap =
            |route: &&Route| route.channels.start() <= channels.end() && channels.start() <= route.channels.end();
        if let Some(taken) = routes.routes.iter().find(overlap) {
            return Err(ClaimError::Claimed(*taken.channels.start().max(channels.start())));
        }
        let shared = Arc::new(Shared::new(self.inner.frames_max, self.inner.bytes_max));
        routes.routes.push(Route { channels: channels.clone(), inbox: shared.clone() });
        Ok(Inbox::new(shared, Claim { router: Arc::downgrade(&self.inner), first: *channels.start() }))
    }

    /// Puts a frame into the inbox of its channel. Without a reader, or if the inbox is full, the frame is dropped and
    /// counted.
    pub fn deliver(&self, received: Received) {
        let counters = &self.inner.counters;
        let bytes = received.frame.wire_bytes() as u64;
        let Some(inbox) = self.inner.inbox(received.frame.channel()) else {
            return counters.add(Count::Unclaimed);
        };
        if inbox.push(received) {
            counters.add(Count::FramesReceived);
            counters.add_many(Count::BytesReceived, bytes);
        } else {
            counters.add(Count::InboxFull);
        }
    }

    /// Gives a link event to the reader of the transport's own channel, if there is one.
    pub fn tell(&self, event: LinkEvent) {
        if let Some(inbox) = self.inner.inbox(ChannelId::TRANSPORT)
            && !inbox.push_link(event)
        {
            self.inner.counters.add(Count::LinkEventsDropped);
        }
    }

    /// Refuses claims and frames from now on. Inboxes end once their items are read.
    pub fn close(&self) {
        let mut routes = self.inner.lock();
        routes.closed = true;
        for route in &routes.routes {
            route.inbox.close();
        }
    }
}

/// Reason why channels were not claimed. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// The range has no channel.
    #[error("the range of channels is empty")]
    Empty,
    /// This channel has a reader already.
    #[error("channel {0} has a reader already")]
    Claimed(ChannelId),
    /// The transport is shut down.
    #[error("the transport is shut down")]
    Closed,
}

/// Releases the channels of an inbox when it is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    router: Weak<Inner>,
    first: ChannelId,
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(inner) = self.router.upgrade() {
            inner.lock().routes.retain(|route| *route.channels.start() != self.first);
        }
    }
}

#[derive(Debug)]
struct Inner {
    frames_max: usize,
    bytes_max: usize,
    counters: Arc<Counters>,
    routes: Mutex<Routes>,
}

#[derive(Debug, Default)]
struct Routes {
    routes: Vec<Route>,
    closed: bool,
}

#[derive(Debug)]
struct Route {
    channels: RangeInclusive<ChannelId>,
    inbox: Arc<Shared>,
}

impl Inner {
    /// The inbox that reads this channel. Readers are few, so that a scan is faster than a map.
    fn inbox(&self, channel: ChannelId) -> Option<Arc<Shared>> {
        let routes = self.lock();
        let route = routes.routes.iter().find(|route| route.channels.contains(&channel))?;
        Some(route.inbox.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
