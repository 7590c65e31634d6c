//! A channel that sends and receives messages of one type.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use quorate_protocol::{GroupId, NodeId, Wire};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::claims::ClaimError;
use crate::codec::{self, DecodeError, EncodeError};
use crate::frame::{ChannelId, Sender};
use crate::inbox::Inbox;
use crate::queue::Incoming;
use crate::transport::{SendError, Transport};

/// Sends and receives messages of one type on one channel, as the only reader of that channel on this node.
///
/// It is for an application, or a core that runs without the runtime, whose messages of one kind need a channel of
/// their own: they are encoded, decoded and checked here. A runtime that reads several channels through one inbox uses
/// [`codec`](crate::codec) itself.
pub struct Channel<M> {
    transport: Arc<dyn Transport>,
    id: ChannelId,
    inbox: Inbox,
    message: PhantomData<fn(M) -> M>,
}

impl<M> Channel<M>
where
    M: Wire<Small: Serialize + DeserializeOwned>,
{
    /// Claims the channel.
    ///
    /// # Errors
    /// The errors of [`Transport::claim`].
    pub fn claim(transport: Arc<dyn Transport>, id: ChannelId) -> Result<Self, ClaimError> {
        let inbox = transport.claim(id..=id)?;
        Ok(Self { transport, id, inbox, message: PhantomData })
    }

    /// Encodes `message` once and queues it for each of `peers`. A failure for one peer does not affect the others: the
    /// first error is returned after all were tried.
    ///
    /// # Errors
    /// When the message cannot be encoded (then nothing is sent), or was not queued for a peer.
    pub fn send(
        &self,
        peers: impl IntoIterator<Item = NodeId>,
        group: GroupId,
        message: &M,
    ) -> Result<(), ChannelError> {
        let frame = codec::encode(self.id, group, message)?;
        let results: Vec<_> = peers.into_iter().map(|peer| self.transport.send(peer, frame.clone())).collect();
        Ok(results.into_iter().collect::<Result<(), _>>()?)
    }

    /// Waits for the next message. Returns `None` once the transport is shut down and the inbox is empty.
    ///
    /// # Errors
    /// When a frame is not a message of this type. The sender is to blame, and the channel goes on.
    pub async fn recv(&mut self) -> Option<Result<(Sender, GroupId, M), DecodeError>> {
        loop {
            if let Some(message) = decoded(self.inbox.recv().await?) {
                return Some(message);
            }
        }
    }

    /// Takes the next message, if there is one.
    ///
    /// # Errors
    /// The errors of [`Channel::recv`].
    pub fn try_recv(&mut self) -> Option<Result<(Sender, GroupId, M), DecodeError>> {
        loop {
            if let Some(message) = decoded(self.inbox.try_recv()?) {
                return Some(message);
            }
        }
    }
}

impl<M> fmt::Debug for Channel<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Reason why a message was not sent to every peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The message cannot be encoded. It was sent to no peer.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The message was not queued for at least one peer.
    #[error(transparent)]
    Send(#[from] SendError),
}

/// The message of a frame. Link events come only on the transport's own channel, which carries no messages.
fn decoded<M>(incoming: Incoming) -> Option<Result<(Sender, GroupId, M), DecodeError>>
where
    M: Wire<Small: DeserializeOwned>,
{
    let Incoming::Frame(received) = incoming else { return None };
    let group = received.frame.group();
    Some(codec::decode(received.frame).map(|message| (received.from, group, message)))
}
