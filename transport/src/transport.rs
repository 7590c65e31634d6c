//! The trait that every transport implements.

use std::ops::RangeInclusive;

use async_trait::async_trait;
use quorate_protocol::{Identity, Incarnation, NodeId};

use crate::claims::ClaimError;
use crate::counters::{Count, Counts};
use crate::frame::{ChannelId, Frame};
use crate::inbox::Inbox;

/// Carries frames between the nodes of a cluster. Object safe: shared as `Arc<dyn Transport>`.
///
/// Its promises, each checked by a clause of `conformance` (feature `testing`):
///
/// - A frame arrives at most once, complete and as it was sent, or not at all.
/// - It arrives under the identity of its sender: node and incarnation are proven when the connection is made.
/// - Frames of one lane arrive in order as long as the connection stands. Between lanes there is no order. Across
///   connections there is one rule: no frame of an older connection arrives after a frame of a newer one.
/// - [`send`](Transport::send) never waits. If the queue is full, the transport closed, the peer unknown or the frame
///   too large, it returns a typed error.
/// - A frame that cannot be sent at once is not kept for later connections.
/// - A channel has one reader.
/// - Frames are exchanged with known peers only.
///
/// It does not promise delivery: `Ok` means that the frame was queued. Protocols retransmit.
#[async_trait]
pub trait Transport: Send + Sync {
    /// The identity of this node.
    fn identity(&self) -> Identity;

    /// Makes the caller the only reader of these channels, until the inbox is dropped. One inbox may cover several
    /// channels. The inbox that covers [`ChannelId::TRANSPORT`] receives link events.
    ///
    /// # Errors
    /// When the range is empty, one of the channels has a reader, or the transport is shut down.
    fn claim(&self, channels: RangeInclusive<ChannelId>) -> Result<Inbox, ClaimError>;

    /// Queues `frame` for the peer. Never waits.
    ///
    /// # Errors
    /// When the frame was not queued; see [`SendError`]. It will not arrive.
    fn send(&self, to: NodeId, frame: Frame) -> Result<(), SendError>;

    /// Writes queued frames, as far as that needs no waiting. Without this call they leave when the transport's own
    /// task runs; with it they leave before the caller goes on.
    fn flush(&self) {}

    /// Makes a peer known, or changes its addresses or incarnation, also while frames flow. After a change the
    /// connections with the peer end, as if they were lost, and the new addresses are dialled; if the address that was
    /// in use is one of them, it is dialled first. Other peers notice nothing. If nothing changes, the connections
    /// stay.
    ///
    /// # Errors
    /// When the peer is this node itself, it has no address or a malformed one, or the transport is shut down.
    fn set_peer(&self, peer: Peer) -> Result<(), PeerError>;

    /// Removes a peer: its connections end, as if they were lost, and its frames are refused from now on. If it dials,
    /// it is refused as [`Refusal::UnknownPeer`](crate::Refusal::UnknownPeer). Returns whether it was known.
    fn remove_peer(&self, node: NodeId) -> bool;

    /// The known peers, in the order of their ids.
    fn peers(&self) -> Vec<Peer>;

    /// The current values of the counters.
    fn counters(&self) -> Counts;

    /// Refuses further frames, writes queued ones within a bounded time, and ends all connections. Inboxes end once
    /// their items are read. A second call waits for nothing.
    async fn shutdown(&self);
}

/// A node that this node exchanges frames with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its id.
    pub node: NodeId,
    /// Addresses at which it may listen, as `host:port`, the likeliest first. They are dialled in this order until the
    /// peer answers at one of them. Names are looked up at each dial. Networks in memory ignore them.
    pub addresses: Vec<String>,
    /// The incarnation that it must have. `None` allows any, so that a node whose disk was wiped can be reached as a
    /// stranger.
    pub incarnation: Option<Incarnation>,
}

impl Peer {
    /// Makes a peer with one address and any incarnation.
    pub fn new(node: NodeId, address: impl Into<String>) -> Self {
        Self { node, addresses: vec![address.into()], incarnation: None }
    }
}

/// Reason why a frame was not queued. It will not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The node is not a known peer. The caller made a mistake, or the peer was just removed.
    #[error("node {0} is not a known peer")]
    UnknownPeer(NodeId),
    /// There is no connection to the peer. It is being dialled.
    #[error("node {0} is not connected")]
    NotConnected(NodeId),
    /// The queue to the peer is full. Send again later.
    #[error("the queue to node {0} is full")]
    QueueFull(NodeId),
    /// The frame is longer than this node or the peer accepts. It will never fit.
    #[error("a frame of {bytes} bytes is above the bound of {bytes_max}")]
    TooLarge {
        /// Length of the frame, header included.
        bytes: usize,
        /// Length of the longest frame.
        bytes_max: usize,
    },
    /// The channel is the transport's own. The caller made a mistake.
    #[error("channel 0 is the transport's own")]
    Reserved,
    /// The transport is shut down.
    #[error("the transport is shut down")]
    Closed,
}

impl SendError {
    /// The counter of errors of this kind. For authors of transports.
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

/// Reason why a peer was not made known. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The peer is this node itself.
    #[error("a node is not its own peer")]
    Own,
    /// There is no address, or one is not of the form `host:port`, or its port is 0, which cannot be dialled.
    #[error("the addresses are not of the form host:port with a port above 0")]
    Address,
    /// The transport is shut down.
    #[error("the transport is shut down")]
    Closed,
}
