//! The bytes of every message and record, as released. Newer versions must read them for ever.
//!
//! To write a new file after adding a variant: `QUORATE_PAXOS_WRITE_GOLDEN=1 cargo test -p quorate-paxos register`.

use bytes::Bytes;
use quorate_paxos::QuorumSystem;
use quorate_paxos::register::message::{
    Accept, Accepted, AgeRaised, List, Listed, Nack, Prepare, Promise, Query, RaiseAge, Removal, Remove, Report,
    RequireAges, Small,
};
use quorate_paxos::register::testing::{Answers, Builder, Calls, Cluster};
use quorate_paxos::register::{
    AddedNode, Config, Content, Functions, Message, Past, Register, Roles, RolesChange, RolesInForce, Settings, System,
    Version,
};
use quorate_protocol::testing::Stream;
use quorate_protocol::{
    Incarnation, NodeId, Now, ProposalId, Protocol, RecoverError, SessionId, StateError, Wire, WireError,
};

use super::support::{KEY, content};
use crate::golden::{expect_bytes, expect_read, expect_sections_counted, hex};
use crate::support::ballot;

fn messages() -> Vec<Message> {
    let session = SessionId { incarnation: Incarnation(1 << 100 | 7), start: 3 };
    let past = vec![Past { id: ProposalId { session, sequence: 1000 }, version: Version(ballot(5, 1)) }];
    let written = Content { past, ..content(KEY, ballot(5, 1), Some(b"value")) };
    let tombstone = content(KEY, ballot(6, 2), None);
    let system = System { founding: 0x1234_5678, epoch: 300 };
    let (age, key) = (7, Bytes::from_static(KEY));
    let (ballot, next) = (ballot(300, 2), ballot(301, 2));
    let removal = Removal { start: 77, number: 5 };
    let promise = |accepted| Message::Promise(Promise { key: key.clone(), ballot, removed: 9, accepted });
    let report = |accepted| Message::Report(Report { start: 77, number: 5, key: key.clone(), accepted });
    let of_one = crate::support::ballot(5, 1);
    vec![
        Message::Prepare(Prepare { system, age, key: key.clone(), ballot }),
        promise(None),
        promise(Some((of_one, written.clone()))),
        promise(Some((of_one, tombstone.clone()))),
        Message::Accept(Accept { system, age, key: key.clone(), ballot, next, content: written.clone() }),
        Message::Accept(Accept { system, age, key: key.clone(), ballot, next, content: tombstone }),
        Message::Accepted(Accepted { key: key.clone(), ballot }),
        Message::Nack(Nack { key: key.clone(), ballot, promised: next }),
        Message::Query(Query { system, start: 77, number: 5, key: key.clone() }),
        report(None),
        report(Some((of_one, written))),
        Message::RaiseAge(RaiseAge { system, removal, round: 300 }),
        Message::AgeRaised(AgeRaised { removal, age }),
        Message::RequireAges(RequireAges { system, removal, ages: vec![(NodeId(1), 2), (NodeId(300), 7)] }),
        Message::AgesRequired { removal },
        Message::Remove(Remove {
            system,
            removal,
            deleted: vec![(key.clone(), ballot), (Bytes::from_static(b"b"), next)],
        }),
        Message::Removed { removal },
        Message::OtherSystem { system },
        Message::Behind { system },
        Message::InForce { founding: system.founding, roles: roles_in_force() },
        Message::Probe { system },
        Message::Ready { system },
        Message::List(List { system, after: key.clone() }),
        Message::Listed(Listed { system, after: Bytes::new(), keys: vec![key.clone(), key], is_end: true, removed: 9 }),
    ]
}

/// Node 4 takes the place of node 3.
fn roles_in_force() -> RolesInForce {
    let mut cluster = Builder::new(3, 1).joining(1).start();
    let new = AddedNode { node: NodeId(4), context: Bytes::from_static(b"four:1") };
    let change = cluster.change_roles(1, RolesChange::Replace { old: NodeId(3), new });
    while !cluster.node(1).core().roles().is_joint() {
        cluster.run(std::time::Duration::from_micros(1));
    }
    assert_eq!(cluster.node(1).roles_changed(change), None);
    cluster.node(1).core().roles().clone()
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
    let (system, removal) = (System { founding: 1, epoch: 0 }, Removal { start: 1, number: 1 });
    let deleted = vec![(9, ballot(1, 1))];
    let short = Message::from_parts(Small::Remove { system, removal, deleted }, vec![Bytes::from_static(b"key")]);
    assert_eq!(short, Err(WireError::Malformed("length of keys")));
    let ages = (0..100).map(|node| (NodeId(node), 1)).collect();
    let many = Message::from_parts(Small::RequireAges(RequireAges { system, removal, ages }), Vec::new());
    assert_eq!(many, Err(WireError::Malformed("number of ages")));
}

/// The content of the second node's disk after three nodes wrote "value", and prepared another register.
fn disk() -> Stream {
    let mut cluster = Cluster::of_three(1);
    cluster.set(1, KEY, b"value");
    cluster.deliver();
    cluster.node(2).disk.clone()
}

/// Version, no ballots of its own, age, floor and removed round, nothing to erase, no required ages; the length of the
/// roles of the founding, three proposers. The quorum system follows.
const STATE: &str = "01 0000000000000000 0000000000000000 0000000000000000 0000000000000000 00 0000 4a00
    0300000000000000 0100000000000000 0200000000000000 0300000000000000";
/// Version, ballot 2 of node 1 promised, ballot 1 accepted, version 1.1, checksum, a value, one past change, three
/// bytes of key; the past change, key and value.
const ACCEPTED: &str = "01 0200000000000000 0100000000000000 0100000000000000 0100000000000000
    0100000000000000 0100000000000000 CHECKSUM 01 01 0300
    00000000000000000000000000000000 00000000 0100000000000000 0100000000000000 0100000000000000
    6b6579 76616c7565";
/// Version, ballot 1 of node 1, key.
const PROMISE: &str = "01 0100000000000000 0100000000000000 6b6579";

#[test]
fn records_keep_their_bytes() {
    let disk = disk();
    let plain = |text: &str| text.replace([' ', '\n'], "");
    let state = hex(disk.state.as_ref().expect("a state record"));
    assert!(state.starts_with(&plain(STATE)), "{state}");
    let newest = disk.newest();
    let accepted = hex(newest[&0]);
    let checksum = &accepted[98..106];
    assert_eq!(accepted, plain(ACCEPTED).replace("CHECKSUM", checksum));
    assert_eq!(checksum, "801c4cf8");
    assert_eq!(hex(newest[&1]), plain(PROMISE));
}

fn recover(disk: &Stream) -> Result<Register, RecoverError> {
    let roles = Roles::of(QuorumSystem::majority([1, 2, 3].map(NodeId)).expect("distinct"));
    let config = Config::new(NodeId(2), 1, roles, Functions::default(), Settings::default()).expect("valid");
    Register::recover(Now::default(), config, disk.recovery(usize::MAX))
}

#[test]
fn records_are_read() {
    let core = recover(&disk()).expect("it is read");
    let register = core.register(KEY).expect("it is there");
    assert_eq!((register.promised, register.accepted), (ballot(2, 1), ballot(1, 1)));
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
    for length in [0, 1, 34, 36, 38, 42, 60] {
        let error = refused(&|disk| disk.state = disk.state.as_ref().map(|bytes| bytes.slice(..length)));
        assert_eq!(error, malformed, "{length} bytes of the state record");
    }
    assert_eq!(refused(&|disk| disk.state = disk.state.as_ref().map(of_version_two)), newer);
    for (key, lengths) in [(0, vec![1, 16, 56, 57, 100, 103]), (1, vec![1, 16])] {
        for length in lengths {
            let error = refused(&|disk| {
                let cut = disk.newest()[&key].slice(..length);
                disk.put(key, cut);
            });
            assert_eq!(error, malformed, "{length} bytes of record {key}");
        }
        let error = refused(&|disk| {
            let changed = of_version_two(disk.newest()[&key]);
            disk.put(key, changed);
        });
        assert_eq!(error, newer);
    }
    let flipped = refused(&|disk| {
        let mut flipped = disk.newest()[&0].to_vec();
        *flipped.last_mut().expect("a value") ^= 1;
        disk.put(0, flipped.into());
    });
    assert_eq!(flipped, malformed, "the value is another than was accepted");
}

#[test]
fn what_contradicts_itself_is_refused() {
    let inconsistent = |disk: &Stream| matches!(recover(disk), Err(RecoverError::Inconsistent(_)));
    let mut lost = disk();
    lost.state = None;
    assert!(inconsistent(&lost), "registers without the roles under which they were promised");
    let mut twice = disk();
    let copy = twice.newest()[&0].clone();
    twice.put(8, copy);
    assert!(inconsistent(&twice), "one register with two numbers");
    let mut mixed = disk();
    let other = [&mixed.newest()[&1][..17], b"yek"].concat();
    mixed.put(1, other.into());
    assert!(inconsistent(&mixed), "one number with two registers");
    let roles = Roles::of(QuorumSystem::majority([1, 2, 3].map(NodeId)).expect("distinct"));
    let roles = roles.with_proposers([NodeId(1), NodeId(2)]);
    let config = Config::new(NodeId(2), 1, roles, Functions::default(), Settings::default()).expect("valid");
    let other = Register::recover(Now::default(), config, disk().recovery(usize::MAX));
    assert!(matches!(other, Err(RecoverError::Inconsistent(_))), "other roles");
}

const GOLDEN: &str = "register-messages-v1.txt";
