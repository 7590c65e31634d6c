//! The Redis protocol, RESP2 and RESP3: requests in, replies out, no socket.

mod errors;
mod inline;
mod reply;
mod request;

pub use errors::errors_among;
pub use inline::{UnbalancedQuotes, split as split_inline};
pub use reply::{Encoder, Reply, Version};
pub use request::{Limits, ProtocolError, Request, RequestReader, RequestRoom, Reservation};
