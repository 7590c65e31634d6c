//! Typed channels.

use std::sync::Arc;

use bytes::Bytes;
use quorate_protocol::{GroupId, NodeId, Wire, WireError};
use quorate_transport::codec::DecodeError;
use quorate_transport::memory::{DeliveryTime, MemoryTransport, Network};
use quorate_transport::{Channel, ChannelError, ChannelId, ClaimError, Frame, Limits, Peer, SendError, Transport};

use crate::raw::identity;

/// A key, which serde encodes, and a value, which travels as a raw section.
#[derive(Clone, Debug, PartialEq)]
struct Put {
    key: u64,
    value: Bytes,
}

impl Wire for Put {
    type Small = u64;

    fn to_parts(&self, raw: &mut Vec<Bytes>) -> u64 {
        raw.push(self.value.clone());
        self.key
    }

    fn from_parts(key: u64, raw: Vec<Bytes>) -> Result<Self, WireError> {
        let [value] = raw.try_into().map_err(|_| WireError::Sections)?;
        Ok(Self { key, value })
    }
}

fn transports() -> [Arc<MemoryTransport>; 2] {
    let network = Network::new(Limits::default(), DeliveryTime::Immediate).expect("the limits fit");
    let ends = [1, 2].map(|node| network.join(identity(node)));
    ends[0].set_peer(Peer::new(NodeId(2), "")).expect("a right peer");
    ends[1].set_peer(Peer::new(NodeId(1), "")).expect("a right peer");
    ends
}

fn claim(transport: &Arc<MemoryTransport>) -> Channel<Put> {
    Channel::claim(transport.clone(), CHANNEL).expect("nothing is claimed")
}

fn put(key: u64) -> Put {
    Put { key, value: Bytes::from_static(b"value") }
}

#[tokio::test]
async fn a_message_arrives_as_it_was_sent_with_its_sender_and_group() {
    let [one, two] = transports();
    let (sender, mut receiver) = (claim(&one), claim(&two));
    assert!(receiver.try_recv().is_none());
    for key in [7, 8] {
        sender.send([NodeId(2)], GroupId(3), &put(key)).expect("it is queued");
    }
    let (from, group, message) = receiver.recv().await.expect("the transport runs").expect("it is a message");
    assert_eq!((from.node, group, message), (NodeId(1), GroupId(3), put(7)));
    let (_, _, message) = receiver.try_recv().expect("it has arrived").expect("it is a message");
    assert_eq!(message, put(8));
    one.shutdown().await;
    two.shutdown().await;
    assert!(receiver.recv().await.is_none(), "the channel ends with the transport");
}

#[tokio::test]
async fn a_failed_send_to_one_peer_does_not_keep_the_message_from_others() {
    let [one, two] = transports();
    let (sender, mut receiver) = (claim(&one), claim(&two));
    let sent = sender.send([NodeId(9), NodeId(2)], GroupId(0), &put(1));
    assert_eq!(sent, Err(ChannelError::Send(SendError::UnknownPeer(NodeId(9)))));
    assert_eq!(receiver.try_recv().map(|received| received.map(|(_, _, message)| message)), Some(Ok(put(1))));
}

#[tokio::test]
async fn a_frame_that_is_not_a_message_is_an_error_and_the_channel_goes_on() {
    let [one, two] = transports();
    let (sender, mut receiver) = (claim(&one), claim(&two));
    let empty = Frame::new(CHANNEL, GroupId(0), Bytes::from_static(&[1]), Vec::new()).expect("it is small");
    one.send(NodeId(2), empty).expect("it is queued");
    sender.send([NodeId(2)], GroupId(0), &put(2)).expect("it is queued");
    let received = receiver.recv().await.expect("the transport runs");
    assert_eq!(received.map(|(_, _, message)| message), Err(DecodeError::Parts(WireError::Sections)));
    assert_eq!(receiver.recv().await.expect("the transport runs").map(|(_, _, message)| message), Ok(put(2)));
}

#[tokio::test]
async fn a_channel_has_one_reader_until_it_is_dropped() {
    let [one, _two] = transports();
    let first = claim(&one);
    assert_eq!(Channel::<Put>::claim(one.clone(), CHANNEL).err(), Some(ClaimError::Claimed(CHANNEL)));
    drop(first);
    claim(&one);
}

const CHANNEL: ChannelId = ChannelId::FIRST_CORE;
