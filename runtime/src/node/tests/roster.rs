//! What stream 0 holds.

use bytes::Bytes;
use quorate_protocol::{
    ClusterId, GroupId, Identity, Incarnation, NodeId, Operation, RecoverError, Recovery, StateError,
};
use quorate_wal::StreamId;

use super::super::roster::{Acquaintance, PendingStart};
use super::Disk;

fn identity() -> Identity {
    Identity { cluster: ClusterId(1), node: NodeId(2), incarnation: Incarnation(3) }
}

fn with_state(state: Vec<u8>) -> Result<PendingStart, RecoverError> {
    PendingStart::recover(identity(), Recovery { state: Some(Bytes::from(state)), ..Recovery::default() })
}

fn restart(disk: &Disk) -> PendingStart {
    PendingStart::recover(identity(), disk.recover(StreamId(0))).expect("readable")
}

#[test]
fn every_start_raises_the_counter_and_keeps_the_streams() {
    let mut disk = Disk::default();
    let mut pending = restart(&disk);
    assert_eq!(pending.start(), 1);
    assert_eq!((pending.bind(GroupId(9)), pending.bind(GroupId(0))), (StreamId(1), StreamId(2)));
    disk.apply(StreamId(0), pending.operations());
    let mut pending = restart(&disk);
    assert_eq!(pending.start(), 2);
    assert_eq!((pending.bind(GroupId(7)), pending.bind(GroupId(9))), (StreamId(3), StreamId(1)));
    assert_eq!(pending.operations().len(), 2, "the state, and the one new binding");
}

#[test]
fn a_stream_of_a_start_that_was_cut_short_is_never_used_again() {
    let mut disk = Disk::default();
    let mut pending = restart(&disk);
    pending.bind(GroupId(1));
    // Only the state record of the batch survived.
    disk.apply(StreamId(0), pending.operations().drain(..1).collect());
    assert_eq!(restart(&disk).bind(GroupId(1)), StreamId(2));
}

#[test]
fn the_state_record_has_these_bytes() {
    let mut roster = restart(&Disk::default()).durable();
    roster.peers.insert(NodeId(5), Acquaintance { incarnation: Incarnation(6), is_mutual: true });
    let Operation::PutState { bytes, .. } = roster.state() else { panic!("a state record") };
    let golden = "01 01000000 0100000000000000 0100 0500000000000000 06000000000000000000000000000000 01";
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, golden.replace(' ', ""));
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
    let newer = std::iter::once(2).chain(golden[1..].iter().copied()).collect();
    assert_eq!(with_state(newer).err(), Some(RecoverError::State(StateError::Version(2))));
    let longer = golden.iter().copied().chain([0]).collect();
    assert_eq!(with_state(longer).err(), Some(RecoverError::State(StateError::Malformed)));
}
