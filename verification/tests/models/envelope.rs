//! Messages on their way.

use std::fmt::{self, Debug};
use std::hash::{DefaultHasher, Hash, Hasher};

use quorate_protocol::{NodeId, Protocol};

/// A message on its way.
pub(crate) struct Envelope<P: Protocol> {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) message: P::Message,
    identity: u64,
}

impl<P: Protocol<Message: Hash>> Envelope<P> {
    pub(crate) fn new(from: NodeId, to: NodeId, message: P::Message) -> Self {
        let mut hasher = DefaultHasher::new();
        (from, to, &message).hash(&mut hasher);
        Self { from, to, message, identity: hasher.finish() }
    }
}

impl<P: Protocol> Envelope<P> {
    /// Stands for all of it.
    pub(crate) fn identity(&self) -> u64 {
        self.identity
    }
}

impl<P: Protocol> PartialEq for Envelope<P> {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl<P: Protocol> Debug for Envelope<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}: {:?}", self.from, self.to, self.message)
    }
}
