//! Helpers of several tests.

use bytes::Bytes;
use quorate_paxos::Ballot;
use quorate_paxos::register::message::{Accept, Prepare};
use quorate_paxos::register::testing::{Builder, Calls, Cluster};
use quorate_paxos::register::{Content, Message, Settings, Version};
use quorate_protocol::{Input, NodeId, ProposalId, crc32c};

pub(crate) const KEY: &[u8] = b"key";

/// Three nodes that remove nothing by themselves, so that a test does it.
pub(crate) fn three() -> Cluster {
    let settings = Settings { remove_after: std::time::Duration::from_hours(24), ..Settings::default() };
    Builder::new(3, 1).settings(settings.into()).start()
}

/// A content as a proposer makes it, without past changes.
pub(crate) fn content(key: &[u8], version: Ballot, value: Option<&'static [u8]>) -> Content {
    let length = value.map_or(u64::MAX, |value| value.len() as u64);
    let numbers = [version.round, version.node.0, length].map(u64::to_le_bytes);
    let checksum = crc32c(&[key, &numbers.concat()].concat()) ^ value.map_or(0, crc32c);
    Content { version: Version(version), value: value.map(Bytes::from_static), past: Vec::new(), checksum }
}

pub(crate) fn prepare(cluster: &Cluster, ballot: Ballot) -> Message {
    let system = cluster.node(1).core().system();
    Message::Prepare(Prepare { system, age: 0, key: Bytes::from_static(KEY), ballot })
}

pub(crate) fn accept(cluster: &Cluster, ballot: Ballot, value: &'static [u8]) -> Message {
    let system = cluster.node(1).core().system();
    let content = content(KEY, ballot, Some(value));
    Message::Accept(Accept { system, age: 0, key: Bytes::from_static(KEY), ballot, next: ballot, content })
}

/// Gives a node a message, and returns the last message that it sends, if it sends one. Messages must be held back.
pub(crate) fn hear(cluster: &mut Cluster, node: u64, from: u64, message: Message) -> Option<Message> {
    let before = cluster.parked().len();
    cluster.input(NodeId(node), Input::Message { from: NodeId(from), message });
    cluster.deliver();
    cluster.parked().get(before..).and_then(<[_]>::last).map(|(_, _, message)| message.clone())
}

/// Makes node 1 write "one". Its messages, and all that follow, are held back.
pub(crate) fn set_parked(cluster: &mut Cluster) -> ProposalId {
    cluster.park_all();
    let id = cluster.set(1, KEY, b"one");
    cluster.deliver();
    id
}

/// Makes it prepare with one other node as well, and accept itself. No other message is delivered.
pub(crate) fn prepare_with(cluster: &mut Cluster, other: u64) -> ProposalId {
    let id = set_parked(cluster);
    cluster.release_if(|_, to, message| to == other && matches!(message, Message::Prepare(_)));
    cluster.release_if(|_, _, message| matches!(message, Message::Promise(_)));
    id
}

/// Has its value accepted by that node as well, without telling any other node.
pub(crate) fn accepted_at_two(cluster: &mut Cluster, with: u64) -> ProposalId {
    let id = prepare_with(cluster, with);
    cluster.release_if(|_, to, message| to == with && matches!(message, Message::Accept(_)));
    id
}
