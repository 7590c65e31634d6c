//! A node under test and the frames that it received.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_protocol::{ClusterId, GroupId, Identity, Incarnation, NodeId};

use super::harness::Harness;
use crate::frame::{ChannelId, Frame, Received};
use crate::inbox::Inbox;
use crate::queue::Incoming;
use crate::transport::{Peer, Transport};

/// Result of a check; the error describes how the transport breaks the clause.
pub(super) type CheckResult = Result<(), String>;

/// A node under test.
pub(super) struct End {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) inbox: Inbox,
    /// Frames that arrived, in order, without probes.
    pub(super) seen: Vec<Received>,
    /// The sender that each probe names, and the channel on which it arrived.
    probed: Vec<(NodeId, ChannelId)>,
}

impl End {
    /// Starts a node that reads all channels up to [`READ_MAX`] but the transport's own.
    pub(super) fn join(harness: &mut dyn Harness, identity: Identity) -> Result<Self, String> {
        let transport = harness.join(identity);
        let inbox = transport.claim(ChannelId::NODE..=READ_MAX).map_err(|error| error.to_string())?;
        Ok(Self { transport, inbox, seen: Vec::new(), probed: Vec::new() })
    }

    pub(super) fn node(&self) -> NodeId {
        self.transport.identity().node
    }

    /// Reads all frames that wait.
    pub(super) fn read(&mut self) {
        while let Some(incoming) = self.inbox.try_recv() {
            let Incoming::Frame(received) = incoming else { continue };
            match probe_from(&received.frame) {
                Some(node) => self.probed.push((node, received.frame.channel())),
                None => self.seen.push(received),
            }
        }
    }

    /// The numbers of the frames that arrived.
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.seen.iter().filter_map(|received| number_of(&received.frame)).collect()
    }
}

/// The identity that the suite gives to a node.
pub(super) fn identity(node: u64) -> Identity {
    identity_of_life(node, 1)
}

/// The identity of one of several incarnations of a node.
pub(super) fn identity_of_life(node: u64, life: u128) -> Identity {
    Identity { cluster: ClusterId(77), node: NodeId(node), incarnation: Incarnation(u128::from(node) << 64 | life) }
}

/// Two nodes that can send to each other.
pub(super) fn pair(harness: &mut dyn Harness) -> Result<(End, End), String> {
    let mut one = End::join(harness, identity(1))?;
    let mut two = End::join(harness, identity(2))?;
    introduce(harness, &one, &two)?;
    introduce(harness, &two, &one)?;
    connect(harness, &mut one, &mut two)?;
    connect(harness, &mut two, &mut one)?;
    Ok((one, two))
}

/// Makes `peer` known to `to`, with any incarnation.
pub(super) fn introduce(harness: &dyn Harness, to: &End, peer: &End) -> CheckResult {
    set_peer(to, Peer::new(peer.node(), harness.address(peer.node())))
}

pub(super) fn set_peer(to: &End, peer: Peer) -> CheckResult {
    to.transport.set_peer(peer).map_err(|error| format!("a peer cannot be made known: {error}"))
}

/// Waits until frames of both lanes pass from one node to the other. Probes are sent until one arrives, because a
/// connection that was just lost may still accept some.
pub(super) fn connect(harness: &mut dyn Harness, from: &mut End, to: &mut End) -> CheckResult {
    let sender = from.node();
    for channel in [CHANNEL, ChannelId::SNAPSHOTS] {
        to.read();
        to.probed.clear();
        let arrived = harness.settle(&mut || {
            to.read();
            let has_arrived = to.probed.contains(&(sender, channel));
            if !has_arrived {
                let _ = from.transport.send(to.node(), probe(channel, sender));
            }
            has_arrived
        });
        ensure(arrived, || format!("nothing of {sender} arrives at {} on channel {channel}", to.node()))?;
    }
    Ok(())
}

/// Sends a numbered frame, which must be accepted.
pub(super) fn send(from: &End, to: &End, number: u64) -> CheckResult {
    let sent = from.transport.send(to.node(), numbered(CHANNEL, number, Vec::new()));
    sent.map_err(|error| format!("frame {number} is refused: {error}"))
}

/// Lets time pass until the frame with this number has arrived.
pub(super) fn await_number(harness: &mut dyn Harness, at: &mut End, number: u64) -> CheckResult {
    let arrived = harness.settle(&mut || {
        at.read();
        at.numbers().contains(&number)
    });
    ensure(arrived, || format!("frame {number} does not arrive on a connection that stands"))
}

/// A frame that bears a number.
pub(super) fn numbered(channel: ChannelId, number: u64, raw: Vec<Bytes>) -> Frame {
    tagged(channel, NUMBERED, number, raw)
}

/// The number of a frame that bears one.
pub(super) fn number_of(frame: &Frame) -> Option<u64> {
    tag_of(frame).filter(|(tag, _)| *tag == NUMBERED).map(|(_, number)| number)
}

pub(super) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> CheckResult {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// The channel that most checks use.
pub(super) const CHANNEL: ChannelId = ChannelId::FIRST_CORE;

/// The last channel that every node under test reads.
pub(super) const READ_MAX: ChannelId = ChannelId(31);

fn probe(channel: ChannelId, from: NodeId) -> Frame {
    tagged(channel, PROBE, from.0, Vec::new())
}

fn probe_from(frame: &Frame) -> Option<NodeId> {
    tag_of(frame).filter(|(tag, _)| *tag == PROBE).map(|(_, node)| NodeId(node))
}

fn tagged(channel: ChannelId, tag: u8, number: u64, raw: Vec<Bytes>) -> Frame {
    let mut small = BytesMut::new();
    small.put_u8(tag);
    small.put_u64_le(number);
    Frame::new(channel, GroupId(number), small.freeze(), raw).expect("the suite's frames are small")
}

fn tag_of(frame: &Frame) -> Option<(u8, u64)> {
    let mut small = &frame.small()[..];
    let tag = small.try_get_u8().ok()?;
    Some((tag, small.try_get_u64_le().ok()?))
}

const PROBE: u8 = 0;
const NUMBERED: u8 = 1;
