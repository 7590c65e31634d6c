//! Counters of a transport.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::link::Refusal;

macro_rules! counts {
    ($($(#[$meta:meta])* $name:ident, $text:literal;)*) => {
        /// An event that a transport counts. Refusals are counted apart.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Count {
            $($(#[$meta])* $name,)*
        }

        impl Count {
            /// Every count.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Name of the counter in metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }
    };
}

counts! {
    /// Frames that were queued for a peer.
    FramesSent, "frames_sent";
    /// Bytes of these frames on the wire.
    BytesSent, "bytes_sent";
    /// Frames that reached an inbox.
    FramesReceived, "frames_received";
    /// Bytes of these frames on the wire.
    BytesReceived, "bytes_received";
    /// Writes to sockets. Frames sent divided by writes shows how well frames are coalesced.
    Writes, "writes";
    /// Connections that this node dialled and that passed the handshake.
    ConnectionsDialled, "connections_dialled";
    /// Connections that this node accepted and that passed the handshake.
    ConnectionsAccepted, "connections_accepted";
    /// Dials that no node answered.
    DialsFailed, "dials_failed";
    /// Connections that ended, for any reason.
    ConnectionsLost, "connections_lost";
    /// Frames that waited when their connection ended, and were dropped.
    StaleDropped, "stale_dropped";
    /// Frames dropped because the inbox was full.
    InboxFull, "inbox_full";
    /// Frames dropped because their channel had no reader.
    Unclaimed, "unclaimed";
    /// Link events dropped because too many waited.
    LinkEventsDropped, "link_events_dropped";
    /// Sends to a node that is not a known peer.
    SendUnknownPeer, "send_unknown_peer";
    /// Sends while there was no connection.
    SendNotConnected, "send_not_connected";
    /// Sends into a full queue.
    SendQueueFull, "send_queue_full";
    /// Sends of a frame above the bound.
    SendTooLarge, "send_too_large";
    /// Sends on the transport's own channel.
    SendReserved, "send_reserved";
    /// Sends after the shutdown.
    SendClosed, "send_closed";
}

/// The counters of one transport. The transport writes them; users read them through [`Counts`].
#[derive(Debug)]
pub struct TransportCounters {
    counts: [AtomicU64; Count::ALL.len()],
    refusals: [AtomicU64; Refusal::ALL.len()],
}

impl TransportCounters {
    /// Adds one to a counter.
    pub fn add(&self, count: Count) {
        self.add_many(count, 1);
    }

    /// Adds `amount` to a counter.
    pub fn add_many(&self, count: Count, amount: u64) {
        self.counts[count as usize].fetch_add(amount, Ordering::Relaxed);
    }

    /// Counts a refusal and returns how many there were, this one included.
    pub fn refuse(&self, refusal: Refusal) -> u64 {
        self.refusals[refusal as usize].fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The current values of the counters.
    #[must_use]
    pub fn read(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            counts: std::array::from_fn(|at| read(&self.counts[at])),
            refusals: std::array::from_fn(|at| read(&self.refusals[at])),
        }
    }
}

impl Default for TransportCounters {
    fn default() -> Self {
        Self {
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            refusals: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

/// Values of the counters at one moment. They only grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    counts: [u64; Count::ALL.len()],
    refusals: [u64; Refusal::ALL.len()],
}

impl Counts {
    /// The value of one counter.
    #[must_use]
    pub fn of(&self, count: Count) -> u64 {
        self.counts[count as usize]
    }

    /// Number of connections that were refused or ended for this reason.
    #[must_use]
    pub fn refused(&self, refusal: Refusal) -> u64 {
        self.refusals[refusal as usize]
    }

    /// Every counter with its name, then every refusal with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let counts = Count::ALL.iter().map(|count| (count.name(), self.of(*count)));
        counts.chain(Refusal::ALL.iter().map(|refusal| (refusal.name(), self.refused(*refusal))))
    }
}
