//! The protocols that a node can host.

use quorate_protocol::{Protocol, Wire};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A protocol that a node can host: its messages have a serde part, and it can be moved to the node's thread.
pub trait Hostable:
    Protocol<
        Message: Wire<Small: Serialize + DeserializeOwned> + Send,
        Command: Send,
        Event: Send,
        Request: Send,
        Answer: Send,
    > + Send
    + 'static
{
}

impl<P> Hostable for P where
    P: Protocol<
            Message: Wire<Small: Serialize + DeserializeOwned> + Send,
            Command: Send,
            Event: Send,
            Request: Send,
            Answer: Send,
        > + Send
        + 'static
{
}
