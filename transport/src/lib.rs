#![doc = include_str!("../README.md")]

mod channel;
pub mod codec;
#[cfg(feature = "testing")]
pub mod conformance;
mod counters;
mod frame;
mod inbox;
mod limits;
mod link;
pub mod memory;
mod router;
pub mod rpc;
pub mod tcp;
mod transport;
pub mod wire;

pub use channel::{Channel, ChannelError};
pub use counters::{Count, Counters, Counts};
pub use frame::{ChannelId, Frame, FrameError, Lane, Received, SECTIONS_MAX, Sender};
pub use inbox::{Inbox, Incoming};
pub use limits::{Limits, LimitsError};
pub use link::{DownReason, LinkEvent, Refusal, RefusedBy};
pub use router::{ClaimError, Router};
pub use transport::{Peer, PeerError, SendError, Transport};
