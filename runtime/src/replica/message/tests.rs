use std::fmt::Write;

use bytes::Bytes;
use quorate_protocol::{GroupId, Incarnation, LogIndex, NodeId, SessionId, Term, Wire};
use quorate_transport::{ChannelId, codec};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{
    Flow, ForwardAnswer, ForwardVerdict, Forwarded, ForwardedKind, ReplicaEnvelope, ReplicaMessage, SnapshotEnvelope,
    SnapshotId, SnapshotMessage, WireRefusal,
};

const SESSION: SessionId = SessionId { incarnation: Incarnation(7), start: 3 };

fn replica_messages() -> Vec<ReplicaEnvelope> {
    let kinds = [ForwardedKind::Command, ForwardedKind::SessionOpen, ForwardedKind::SessionClose];
    let proposals =
        kinds.map(|kind| Forwarded { kind, sequence: 300, acknowledged_below: 299, checksum: 1, length: 2 });
    let refusals = [
        WireRefusal::NotLeader,
        WireRefusal::Transferring,
        WireRefusal::Overloaded,
        WireRefusal::TooLarge,
        WireRefusal::DiskFull,
        WireRefusal::ConfigurationPending,
        WireRefusal::ConfigurationInvalid,
        WireRefusal::Halted,
    ];
    let verdicts = [
        ForwardVerdict::Applied { length: 3 },
        ForwardVerdict::ResponseForgotten,
        ForwardVerdict::SessionExpired,
        ForwardVerdict::OutsideWindow,
        ForwardVerdict::Superseded,
        ForwardVerdict::FeatureLevel,
    ];
    let refused = refusals.into_iter().map(|reason| ForwardVerdict::Refused { reason, leader: Some(NodeId(2)) });
    let answers = verdicts.into_iter().chain(refused).map(|verdict| ForwardAnswer { sequence: 300, verdict }).collect();
    vec![
        ReplicaEnvelope {
            message: ReplicaMessage::Forward { level: 0, session: SESSION, proposals: proposals.to_vec() },
            payloads: Bytes::from_static(b"aabbcc"),
        },
        ReplicaEnvelope {
            message: ReplicaMessage::Answers { level: 0, session: SESSION, answers },
            payloads: Bytes::from_static(b"abc"),
        },
    ]
}

fn snapshot_messages() -> Vec<SnapshotEnvelope> {
    let id = SnapshotId { index: LogIndex(1000), term: Term(4) };
    let messages = [
        (SnapshotMessage::Piece { offset: 256, length: 1024, checksum: 9 }, "content"),
        (SnapshotMessage::Progress { offset: 512, flow: Flow::Steady }, ""),
        (SnapshotMessage::Progress { offset: 512, flow: Flow::Broken }, ""),
        (SnapshotMessage::Durable, ""),
        (SnapshotMessage::GivenUp, ""),
    ];
    messages
        .into_iter()
        .map(|(message, content)| SnapshotEnvelope { term: Term(5), id, message, content: content.into() })
        .collect()
}

fn hex<M: Wire<Small: Serialize + DeserializeOwned>>(messages: &[M]) -> String {
    let mut hex = String::new();
    for message in messages {
        let frame = codec::encode(ChannelId::REPLICA, GroupId(0), message).expect("small");
        for section in std::iter::once(frame.small()).chain(frame.raw()) {
            section.iter().for_each(|byte| write!(hex, "{byte:02x}").expect("a string takes all"));
            hex.push(' ');
        }
        hex.push('\n');
    }
    hex.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

fn survives<M: Wire<Small: Serialize + DeserializeOwned> + PartialEq + std::fmt::Debug>(message: &M) {
    let frame = codec::encode(ChannelId::REPLICA, GroupId(0), message).expect("small");
    assert_eq!(&codec::decode::<M>(frame).expect("just encoded"), message);
}

#[test]
fn messages_survive_their_bytes() {
    replica_messages().iter().for_each(survives);
    snapshot_messages().iter().for_each(survives);
}

/// The messages have not changed since the first release.
#[test]
fn the_formats_are_as_they_were() {
    assert_eq!(hex(&replica_messages()), include_str!("../../../tests/golden/replica_messages_1.hex").trim_end());
    assert_eq!(hex(&snapshot_messages()), include_str!("../../../tests/golden/snapshot_messages_1.hex").trim_end());
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    for message in replica_messages() {
        let mut raw = Vec::new();
        let small = message.to_parts(&mut raw);
        let long = vec![Bytes::from([&raw[0][..], b"x"].concat())];
        assert!(ReplicaEnvelope::from_parts(small.clone(), long).is_err());
        assert!(ReplicaEnvelope::from_parts(small, Vec::new()).is_err());
    }
    let id = SnapshotId { index: LogIndex(1), term: Term(1) };
    let beyond = (Term(1), id, SnapshotMessage::Piece { offset: u64::MAX, length: 9, checksum: 0 });
    assert!(SnapshotEnvelope::from_parts(beyond, vec![Bytes::from_static(b"x")]).is_err());
    let empty = (Term(1), id, SnapshotMessage::Piece { offset: 0, length: 9, checksum: 0 });
    assert!(SnapshotEnvelope::from_parts(empty, vec![Bytes::new()]).is_err());
    assert!(SnapshotEnvelope::from_parts((Term(1), id, SnapshotMessage::Durable), vec![Bytes::new()]).is_err());
}
