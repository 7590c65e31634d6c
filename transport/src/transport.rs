//! The trait that every transport implements.

use std::ops::RangeInclusive;

use async_trait::async_trait;
use quorate_protocol::{Identity, Incarnation, NodeId};

use crate::{ChannelId, ClaimError, Count, Counts, Frame, Inbox};

/// Carries frames between the nodes of a cluster. Object safe: shared as `Arc<dyn Transport>`.
///
/// What it promises, each clause checked by `conformance` (feature `testing`):
///
/// - A frame arrives at most once, whole and as it was sent, or not at all.
/// - It arrives under the identity of who sent it: node and incarnation are proven when the connection is made.
/// - Frames of one lane arrive in order as long as the connection stands. There is no order between lanes, and none
///   across connections but this: nothing of an older connection arrives after something of a newer one.
/// - [`send`](Transport::send) never waits. Full, closed, unknown, too large: a typed error.
/// - What cannot be sent at once is not kept for later connections.
/// - A channel has one reader.
/// - Only known peers are spoken to and listened to.
///
/// It does not promise delivery: `Ok` says that the frame was queued. Protocols retransmit.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Who this node is.
    fn identity(&self) -> Identity;

    /// Makes the caller the only reader of these channels. One inbox may cover several; it is given back when it is
    /// dropped. The inbox that covers [`ChannelId::TRANSPORT`] is told of links.
    ///
    /// # Errors
    /// When the range is empty, one of the channels has a reader, or the transport is shut down.
    fn claim(&self, channels: RangeInclusive<ChannelId>) -> Result<Inbox, ClaimError>;

    /// Queues `frame` for the peer. Never waits.
    ///
    /// # Errors
    /// When it was not queued; see [`SendError`]. Nothing of it will arrive then.
    fn send(&self, to: NodeId, frame: Frame) -> Result<(), SendError>;

    /// Writes what is queued, as far as that needs no waiting. What is queued leaves without it as well, when the
    /// transport's own task has its turn; with it, frames leave before the caller goes on.
    fn flush(&self) {}

    /// Makes a peer known, or changes what is known of it: then connections to the old address or incarnation end.
    ///
    /// # Errors
    /// When the peer is this node itself, its address cannot be one, or the transport is shut down.
    fn set_peer(&self, peer: Peer) -> Result<(), PeerError>;

    /// Forgets a peer: its connections end, and it is a stranger from now on. Says whether it was known.
    fn remove_peer(&self, node: NodeId) -> bool;

    /// The known peers, in the order of their ids.
    fn peers(&self) -> Vec<Peer>;

    /// What was counted so far.
    fn counters(&self) -> Counts;

    /// Takes no more frames, writes what is queued within a bounded time, and ends all connections. Inboxes give what
    /// they hold and then end. A second call waits for nothing.
    async fn shutdown(&self);
}

/// A node that this one may speak with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its id.
    pub node: NodeId,
    /// Where it listens, as `host:port`; names are looked up at each dial. Networks in memory ignore it.
    pub address: String,
    /// The incarnation it must have. `None`: any, so that a node whose disk was wiped can be reached as a stranger.
    pub incarnation: Option<Incarnation>,
}

impl Peer {
    /// A peer of any incarnation.
    pub fn new(node: NodeId, address: impl Into<String>) -> Self {
        Self { node, address: address.into(), incarnation: None }
    }
}

/// Why a frame was not queued. Nothing of it will arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The node is not a known peer. The caller's mistake, or a peer just removed.
    #[error("node {0} is not a known peer")]
    UnknownPeer(NodeId),
    /// There is no connection to the peer. It is being dialled.
    #[error("node {0} is not connected")]
    NotConnected(NodeId),
    /// The queue to the peer is full: send again later.
    #[error("the queue to node {0} is full")]
    QueueFull(NodeId),
    /// The frame is above what this node or the peer takes. It will never fit.
    #[error("a frame of {bytes} bytes is above the bound of {bytes_max}")]
    TooLarge {
        /// How long it is, header included.
        bytes: usize,
        /// How long it may be.
        bytes_max: usize,
    },
    /// The channel is the transport's own. The caller's mistake.
    #[error("channel 0 is the transport's own")]
    Reserved,
    /// The transport is shut down.
    #[error("the transport is shut down")]
    Closed,
}

impl SendError {
    /// What counts errors of this kind. For those who write a transport.
    #[must_use]
    pub fn count(&self) -> Count {
        match self {
            Self::UnknownPeer(_) => Count::SendUnknownPeer,
            Self::NotConnected(_) => Count::SendNotConnected,
            Self::QueueFull(_) => Count::SendQueueFull,
            Self::TooLarge { .. } => Count::SendTooLarge,
            Self::Reserved => Count::SendReserved,
            Self::Closed => Count::SendClosed,
        }
    }
}

/// Why a peer was not made known. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The peer is this node itself.
    #[error("a node is not its own peer")]
    Own,
    /// The address is not of the form `host:port`, or the port is 0, which nobody can dial.
    #[error("the address is not of the form host:port with a port above 0")]
    Address,
    /// The transport is shut down.
    #[error("the transport is shut down")]
    Closed,
}
