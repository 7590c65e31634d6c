//! Tests of the content of stream 0.

use std::collections::BTreeSet;

use bytes::Bytes;
use quorate_protocol::{
    ClusterId, Configuration, GroupId, Identity, Incarnation, NodeId, Operation, RecoverError, Recovery, StateError,
};
use quorate_wal::StreamId;

use super::super::roster::{PEERS_MAX, PendingStart, Start};
use super::{CHANNEL, Disk};
use crate::group::founding::Founding;

fn identity() -> Identity {
    Identity { cluster: ClusterId(1), node: NodeId(2), incarnation: Incarnation(3) }
}

fn with_state(state: Vec<u8>) -> Result<PendingStart, RecoverError> {
    PendingStart::recover(identity(), 9, Recovery { state: Some(Bytes::from(state)), ..Recovery::default() })
}

fn restart(disk: &Disk) -> PendingStart {
    PendingStart::recover(identity(), 9, disk.recover(StreamId(0))).expect("readable")
}

/// Binds a group, and founds it if it is new.
fn bind(pending: &mut PendingStart, group: u64) -> StreamId {
    let stream = pending.bind(GroupId(group));
    pending.found(GroupId(group), founding(3));
    stream
}

fn founding(voters: u64) -> Founding {
    Founding::new(CHANNEL, Configuration::of_voters((1..=voters).map(NodeId)))
}

#[test]
fn every_start_raises_the_counter_and_keeps_the_streams() {
    let mut disk = Disk::default();
    let mut pending = restart(&disk);
    assert_eq!(pending.start(), 1);
    assert_eq!((bind(&mut pending, 9), bind(&mut pending, 0)), (StreamId(1), StreamId(2)));
    disk.apply(StreamId(0), pending.operations().concat());
    let mut pending = restart(&disk);
    assert_eq!(pending.start(), 2);
    assert_eq!((bind(&mut pending, 7), bind(&mut pending, 9)), (StreamId(3), StreamId(1)));
    assert_eq!(pending.operations().concat().len(), 2, "the state, and the one new binding");
}

#[test]
fn a_stream_of_a_start_that_was_cut_short_is_never_used_again() {
    let mut disk = Disk::default();
    let mut pending = restart(&disk);
    bind(&mut pending, 1);
    // Only the state record of the batch survived.
    disk.apply(StreamId(0), pending.operations().concat().drain(..1).collect());
    assert_eq!(restart(&disk).bind(GroupId(1)), StreamId(2));
}

#[test]
fn a_founding_is_kept_whatever_is_described_later() {
    let mut disk = Disk::default();
    let mut pending = restart(&disk);
    bind(&mut pending, 1);
    disk.apply(StreamId(0), pending.operations().concat());
    let mut pending = restart(&disk);
    pending.bind(GroupId(1));
    pending.found(GroupId(1), founding(5));
    assert_eq!(pending.founding(GroupId(1)), Some(&founding(3)));
}

#[test]
fn a_removed_group_stays_removed_and_its_stream_is_never_used_again() {
    let mut disk = Disk::default();
    let mut pending = restart(&disk);
    assert_eq!((bind(&mut pending, 7), bind(&mut pending, 8)), (StreamId(1), StreamId(2)));
    disk.apply(StreamId(0), pending.operations().concat());
    let mut roster = pending.durable();
    roster.remove(GroupId(8));
    assert!(roster.removed().next().is_none(), "that is not durable yet");
    let removal = roster.group(GroupId(8)).expect("a record");
    assert_eq!(roster.forget(GroupId(8)), Some(StreamId(2)));
    // A log keeps nothing that is older than a checkpoint.
    let mut compacted = Disk::default();
    disk.apply(StreamId(0), vec![removal]);
    compacted.apply(StreamId(0), roster.checkpoint(1).concat());
    for disk in [disk, compacted] {
        let mut pending = restart(&disk);
        assert_eq!(pending.removed().collect::<Vec<_>>(), [(GroupId(8), StreamId(2))]);
        assert!(pending.is_removed(GroupId(8)) && !pending.is_removed(GroupId(7)));
        assert_eq!(pending.groups().collect::<Vec<_>>(), [GroupId(7)]);
        assert_eq!(bind(&mut pending, 9), StreamId(3));
    }
}

#[test]
fn many_groups_and_peers_are_written_in_parts_that_fit_every_log() {
    let mut pending = restart(&Disk::default());
    for group in 0..1000 {
        bind(&mut pending, group);
    }
    let writes = pending.operations();
    let mut roster = pending.durable();
    for peer in 0..PEERS_MAX as u64 {
        assert!(roster.meet(NodeId(100 + peer), Incarnation(1), &BTreeSet::new()));
    }
    let mut disk = Disk::default();
    for write in writes.into_iter().chain(roster.checkpoint(1)) {
        assert!(write.iter().map(Operation::weight).sum::<usize>() <= 9 << 10);
        disk.apply(StreamId(0), write);
    }
    let again = restart(&disk).durable();
    assert_eq!((again.groups.len(), again.peers.len()), (1000, PEERS_MAX));
}

#[test]
fn at_the_bound_a_peer_that_belongs_to_nothing_makes_room() {
    let mut roster = restart(&Disk::default()).durable();
    for peer in 0..PEERS_MAX as u64 {
        assert!(roster.meet(NodeId(100 + peer), Incarnation(1), &BTreeSet::new()));
        roster.peers.get_mut(&NodeId(100 + peer)).expect("met").is_mutual = peer != 7 && peer != 9;
    }
    // A founding voter is kept, the other peer is not.
    let kept = BTreeSet::from([NodeId(107)]);
    assert!(roster.meet(NodeId(1), Incarnation(2), &kept));
    assert!(roster.peers.contains_key(&NodeId(107)) && !roster.peers.contains_key(&NodeId(109)));
    assert!(!roster.meet(NodeId(2), Incarnation(2), &kept.iter().copied().chain([NodeId(1)]).collect()));
    assert_eq!(roster.peers.len(), PEERS_MAX);
}

#[test]
fn the_state_record_has_these_bytes() {
    let mut pending = restart(&Disk::default());
    bind(&mut pending, 7);
    let [state, group] = pending.operations().concat().try_into().expect("two records");
    let mut roster = pending.durable();
    assert!(roster.meet(NodeId(5), Incarnation(6), &BTreeSet::new()));
    let known = roster.peers.get_mut(&NodeId(5)).expect("met");
    known.start = Start { counter: 2, begun_ms: 3 };
    (known.is_mutual, known.is_older) = (true, true);
    let peer = roster.peer(NodeId(5));
    roster.remove(GroupId(7));
    let removed = roster.group(GroupId(7)).expect("a record");
    let member = |id: u64| format!("{id:02x}00000000000000 01 01 0000");
    let configuration = format!("01 0300 {} {} {} 0000", member(1), member(2), member(3));
    let goldens = [
        (state, None, "02 01000000 0900000000000000 0200000000000000 00".to_owned()),
        (group, Some(1), format!("02 0700000000000000 78f53301faca36242a5bca8d5bca65fc {configuration}")),
        (removed, Some(1), "03 0700000000000000".to_owned()),
        (
            peer,
            Some(1 << 63),
            "02 0500000000000000 06000000000000000000000000000000 02000000 0300000000000000 03".to_owned(),
        ),
    ];
    for (operation, wanted_key, golden) in goldens {
        let (key, bytes) = match operation {
            Operation::PutState { bytes, .. } => (None, bytes),
            Operation::Journal { key, bytes } => (Some(key), bytes),
            other => panic!("not expected: {other:?}"),
        };
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((key, hex), (wanted_key, golden.replace(' ', "")));
    }
}

#[test]
fn bytes_that_are_no_record_are_refused() {
    let golden = {
        let roster = restart(&Disk::default()).durable();
        let Operation::PutState { bytes, .. } = roster.state() else { panic!("a state record") };
        bytes.to_vec()
    };
    for length in 0..golden.len() {
        assert_eq!(with_state(golden[..length].to_vec()).err(), Some(RecoverError::State(StateError::Malformed)));
    }
    let newer = std::iter::once(3).chain(golden[1..].iter().copied()).collect();
    assert_eq!(with_state(newer).err(), Some(RecoverError::State(StateError::Version(3))));
    let longer = golden.iter().copied().chain([0]).collect();
    assert_eq!(with_state(longer).err(), Some(RecoverError::State(StateError::Malformed)));
}
