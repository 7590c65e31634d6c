//! The bytes of every message and record, as released. Newer versions must read them for ever.
//!
//! To write a new file after adding a variant: `QUORATE_PAXOS_WRITE_GOLDEN=1 cargo test -p quorate-paxos formats`.

use bytes::Bytes;
use quorate_paxos::QuorumSystem;
use quorate_paxos::synod::message::{Accept, Accepted, Chosen, Nack, Prepare, Promise, Query, Report};
use quorate_paxos::synod::testing::{Calls, Cluster};
use quorate_paxos::synod::{Config, GroupRoles, Message, Proposal, Settings, Synod};
use quorate_protocol::testing::Stream;
use quorate_protocol::{Incarnation, NodeId, Now, ProposalId, Protocol, RecoverError, SessionId, StateError};

use crate::golden::{expect_bytes, expect_read, expect_sections_counted, hex};
use crate::support::ballot;

fn messages() -> Vec<Message> {
    let session = SessionId { incarnation: Incarnation(1 << 100 | 7), start: 3 };
    let proposal = Proposal::new(ProposalId { session, sequence: 1000 }, Bytes::from_static(b"value"));
    let (system, ballot, promised) = (0x1234_5678, ballot(300, 2), ballot(301, 3));
    let accepted = Some((crate::support::ballot(5, 1), proposal.clone()));
    let reported = accepted.clone();
    vec![
        Message::Prepare(Prepare { system, ballot }),
        Message::Promise(Promise { ballot, accepted: None }),
        Message::Promise(Promise { ballot, accepted }),
        Message::Accept(Accept { system, ballot, proposal: proposal.clone() }),
        Message::Accepted(Accepted { ballot }),
        Message::Nack(Nack { ballot, promised }),
        Message::Chosen(Chosen { system, proposal }),
        Message::Announce,
        Message::Known,
        Message::Inquire,
        Message::Query(Query { system, start: 77, number: 5 }),
        Message::Report(Report { start: 77, number: 5, accepted: None }),
        Message::Report(Report { start: 77, number: 5, accepted: reported }),
        Message::OtherSystem { system },
    ]
}

#[test]
fn messages_keep_their_bytes() {
    expect_bytes(&messages(), GOLDEN);
}

#[test]
fn released_messages_are_read() {
    expect_read(messages(), GOLDEN);
}

#[test]
fn parts_that_do_not_make_a_message_are_refused() {
    expect_sections_counted(&messages());
}

/// The content of the first node's disk after three nodes chose "value".
fn disk() -> Stream {
    let mut cluster = Cluster::of_three(1);
    cluster.propose(1, b"value");
    cluster.deliver();
    cluster.node(1).disk.clone()
}

/// Version, promised ballot 1 of node 1, round 1; version of the quorum system, one rule, three acceptors 1, 2 and 3; a
/// list that needs 2 of 3 items, each of weight 1: the acceptors by their places.
const STATE: &str = "01 0100000000000000 0100000000000000 0100000000000000
    01 01 03 0100000000000000 0200000000000000 0300000000000000
    ff 02000000 03 0100 00 0100 01 0100 02";
/// Version, ballot 1 of node 1, proposal 1 of no session, checksum, value.
const ACCEPTED: &str = "01 0100000000000000 0100000000000000 00000000000000000000000000000000 00000000 0100000000000000 2db9155f 76616c7565";
/// Version, proposal 1 of no session, checksum, value.
const CHOSEN: &str = "01 00000000000000000000000000000000 00000000 0100000000000000 2db9155f 76616c7565";

fn packed(text: &str) -> String {
    text.split_whitespace().collect()
}

#[test]
fn records_keep_their_bytes() {
    let disk = disk();
    assert_eq!(hex(disk.state.as_ref().expect("a state record")), packed(STATE));
    assert_eq!(hex(disk.newest()[&1]), packed(ACCEPTED));
    assert_eq!(hex(disk.newest()[&2]), packed(CHOSEN));
}

fn recover(disk: &Stream) -> Result<Synod, RecoverError> {
    let quorums = QuorumSystem::majority([1, 2, 3].map(NodeId)).expect("distinct");
    let config = Config::new(NodeId(1), 1, GroupRoles::of(quorums), Settings::default()).expect("valid");
    Synod::recover(Now::default(), config, disk.recovery(usize::MAX))
}

#[test]
fn records_are_read() {
    let status = recover(&disk()).expect("it is read").status();
    assert_eq!(status.promised, ballot(1, 1));
    assert_eq!(status.accepted.expect("a journal record").1.value, "value");
    assert_eq!(status.chosen.expect("a journal record").value, "value");
}

#[test]
fn records_that_cannot_be_read_are_refused() {
    let refused = |change: &dyn Fn(&mut Stream)| {
        let mut disk = disk();
        change(&mut disk);
        recover(&disk).expect_err("it must not start from this")
    };
    let malformed = RecoverError::State(StateError::Malformed);
    let newer = RecoverError::State(StateError::Version(2));
    let of_version_two = |bytes: &Bytes| Bytes::from([&[2], &bytes[1..]].concat());
    for length in [0, 1, 24, 25, 26, 48, 66] {
        let error = refused(&|disk| disk.state = disk.state.as_ref().map(|bytes| bytes.slice(..length)));
        assert_eq!(error, malformed);
    }
    let error = refused(&|disk| disk.state = disk.state.as_ref().map(|bytes| Bytes::from([&bytes[..], &[0]].concat())));
    assert_eq!(error, malformed);
    assert_eq!(refused(&|disk| disk.state = disk.state.as_ref().map(of_version_two)), newer);
    for (key, lengths) in [(1, [1, 16, 48, 50]), (2, [1, 16, 32, 34])] {
        for length in lengths {
            let error = refused(&|disk| {
                let cut = disk.newest()[&key].slice(..length);
                disk.put(key, cut);
            });
            assert_eq!(error, malformed, "{length} bytes of record {key}");
        }
        let error = refused(&|disk| {
            let mut flipped = disk.newest()[&key].to_vec();
            *flipped.last_mut().expect("a value") ^= 1;
            disk.put(key, flipped.into());
        });
        assert_eq!(error, malformed, "the value of record {key} is another than was proposed");
        let error = refused(&|disk| {
            let changed = of_version_two(disk.newest()[&key]);
            disk.put(key, changed);
        });
        assert_eq!(error, newer);
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    let mut lost = disk();
    lost.state = None;
    assert!(matches!(recover(&lost), Err(RecoverError::Inconsistent(_))), "accepted, and not promised");
    let mut foreign = disk();
    foreign.put(3, Bytes::from_static(b"what"));
    assert!(matches!(recover(&foreign), Err(RecoverError::Inconsistent(_))), "a key that nobody writes");
    let quorums = QuorumSystem::flexible([1, 2, 3].map(NodeId), 3, 1).expect("they meet");
    let config = Config::new(NodeId(1), 1, GroupRoles::of(quorums), Settings::default()).expect("valid");
    let other = Synod::recover(Now::default(), config, disk().recovery(usize::MAX));
    assert!(
        matches!(other, Err(RecoverError::Inconsistent(_))),
        "another quorum system than the promise was made under"
    );
}

const GOLDEN: &str = "synod-messages-v1.txt";
