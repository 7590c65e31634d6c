//! The claims of one transport: channels, each with the queue of its only reader.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::frame::ChannelId;
use crate::queue::Queue;

/// The claims of one transport.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    routes: Mutex<Routes>,
}

/// Releases the channels of an inbox when it is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    claims: Weak<Claims>,
    first: ChannelId,
}

#[derive(Debug, Default)]
struct Routes {
    routes: Vec<Route>,
    closed: bool,
}

#[derive(Debug)]
struct Route {
    channels: RangeInclusive<ChannelId>,
    queue: Arc<Queue>,
}

impl Claims {
    /// Makes the holder of the claim the only reader of these channels, through `queue`.
    pub(crate) fn claim(
        self: &Arc<Self>,
        channels: RangeInclusive<ChannelId>,
        queue: Arc<Queue>,
    ) -> Result<Claim, ClaimError> {
        if channels.is_empty() {
            return Err(ClaimError::Empty);
        }
        let mut routes = self.lock();
        if routes.closed {
            return Err(ClaimError::Closed);
        }
        let overlap =
            |route: &&Route| route.channels.start() <= channels.end() && channels.start() <= route.channels.end();
        if let Some(taken) = routes.routes.iter().find(overlap) {
            return Err(ClaimError::Claimed(*taken.channels.start().max(channels.start())));
        }
        let first = *channels.start();
        routes.routes.push(Route { channels, queue });
        Ok(Claim { claims: Arc::downgrade(self), first })
    }

    /// The queue of the reader of this channel. Readers are few, so that a scan is faster than a map.
    pub(crate) fn queue(&self, channel: ChannelId) -> Option<Arc<Queue>> {
        let routes = self.lock();
        let route = routes.routes.iter().find(|route| route.channels.contains(&channel))?;
        Some(route.queue.clone())
    }

    /// Refuses claims from now on and closes every queue.
    pub(crate) fn close(&self) {
        let mut routes = self.lock();
        routes.closed = true;
        for route in &routes.routes {
            route.queue.close();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(claims) = self.claims.upgrade() {
            claims.lock().routes.retain(|route| *route.channels.start() != self.first);
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
