#![doc = include_str!("../README.md")]

mod channel;
mod claims;
pub mod codec;
#[cfg(feature = "testing")]
pub mod conformance;
mod counters;
mod frame;
mod inbox;
mod limits;
mod link;
pub mod memory;
mod queue;
mod router;
pub mod rpc;
pub mod tcp;
mod transport;
pub mod wire;

pub use channel::{Channel, ChannelError};
pub use claims::ClaimError;
pub use counters::{Count, Counts, TransportCounters};
pub use frame::{ChannelId, Frame, FrameError, Lane, Received, SECTIONS_MAX, Sender};
pub use inbox::Inbox;
pub use limits::{Limits, LimitsError};
pub use link::{DownReason, LinkEvent, Refusal, RefusedBy};
pub use queue::Incoming;
pub use router::Router;
pub use transport::{Peer, PeerError, SendError, Transport};
