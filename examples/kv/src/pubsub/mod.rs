//! Publish and subscribe: messages that reach the clients which listen now, at every node of the cluster.
//!
//! A message is no part of the replicated state: it is neither in the log nor kept. It reaches each subscriber at most
//! once, and not at all if its connection, or the one between two nodes, fails. [`Hub`] holds the subscriptions of one
//! node, and [`Request`] is what one node asks another.

use bytes::Bytes;

mod hub;
mod request;

pub(crate) use hub::subscription_bytes;
pub use hub::{Change, Hub, HubLimits, Overflow};
pub use request::{Answer, Request};

/// The kind of a name that clients subscribe to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// A channel (`SUBSCRIBE`).
    Channel,
    /// A pattern of channels (`PSUBSCRIBE`).
    Pattern,
    /// A shard channel (`SSUBSCRIBE`), which patterns do not match.
    Shard,
}

impl Topic {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Channel, Self::Pattern, Self::Shard];
}

/// A message to the subscribers of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The kind of the channel, which is no pattern.
    pub topic: Topic,
    /// The channel.
    pub channel: Bytes,
    /// The text.
    pub payload: Bytes,
}

/// A message on its way to one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The client's pattern that matched the channel. `None` if the client subscribed to the channel itself.
    pub pattern: Option<Bytes>,
    /// The message.
    pub message: Message,
}
