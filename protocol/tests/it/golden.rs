//! Golden bytes of every format of this crate, fixed from the first release: a change here breaks data on disk.

use bytes::Bytes;
use quorate_protocol::{
    Configuration, Entry, EntryHeader, EntryKind, Incarnation, LogIndex, LogTime, Member, MemberRole, NodeId,
    Promotion, ProposalId, SessionId, SnapshotMeta, Term, crc32c,
};

const GOLDEN: &str = include_str!("../golden/v1.txt");

#[test]
fn an_entry_keeps_its_bytes() {
    let mut bytes = Vec::new();
    entry().encode(&mut bytes);
    assert_eq!(hex(&bytes), golden("entry"));
    assert_eq!(Entry::decode(Bytes::from(bytes)), Ok(entry()));
}

#[test]
fn an_elided_entry_keeps_its_bytes() {
    let mut elided = entry();
    elided.header.elided_length = Some(7);
    elided.payload = Bytes::new();
    let mut bytes = Vec::new();
    elided.encode(&mut bytes);
    assert_eq!(hex(&bytes), golden("elided-entry"));
    assert_eq!(Entry::decode(Bytes::from(bytes)), Ok(elided));
}

#[test]
fn a_configuration_keeps_its_bytes() {
    assert_eq!(hex(&configuration().encode()), golden("configuration"));
    assert_eq!(Configuration::decode(&configuration().encode()), Ok(configuration()));
    let newer = newer_configuration();
    assert_eq!(hex(&newer.encode()), golden("configuration-v2"));
    assert_eq!(Configuration::decode(&newer.encode()), Ok(newer));
}

#[test]
fn snapshot_metadata_keep_their_bytes() {
    let meta = SnapshotMeta {
        index: LogIndex(0x0102),
        term: Term(3),
        log_time: LogTime(0x0405),
        configuration: Configuration::of_voters([NodeId(1)]),
    };
    assert_eq!(hex(&meta.encode()), golden("snapshot-meta"));
    assert_eq!(SnapshotMeta::decode(&meta.encode()), Ok(meta));
}

#[test]
fn every_kind_keeps_its_code() {
    let kinds = [
        (EntryKind::Command, 1),
        (EntryKind::Configuration, 2),
        (EntryKind::NoOp, 3),
        (EntryKind::Tick, 4),
        (EntryKind::FeatureLevel, 5),
        (EntryKind::SessionOpen, 6),
        (EntryKind::SessionClose, 7),
    ];
    for (kind, code) in kinds {
        assert_eq!(Entry::internal(kind, LogTime(0), Bytes::new()).encode_header()[1], code);
    }
}

pub(crate) fn entry() -> Entry {
    let payload = Bytes::from_static(b"payload");
    let session = SessionId { incarnation: Incarnation(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff), start: 5 };
    let header = EntryHeader {
        kind: EntryKind::Command,
        id: ProposalId { session, sequence: 9 },
        acknowledged_below: 4,
        log_time: LogTime(1_700_000_000_000),
        checksum: crc32c(&payload),
        elided_length: None,
    };
    Entry { header, payload }
}

pub(crate) fn configuration() -> Configuration {
    let member = |node, role, priority, context: &'static [u8]| Member {
        role,
        priority,
        context: Bytes::from_static(context),
        ..Member::voter(NodeId(node))
    };
    let members = vec![
        member(1, MemberRole::Voter, 1, b"a:1"),
        member(2, MemberRole::Learner, 0, b""),
        member(4, MemberRole::Witness, 2, b"w"),
    ];
    Configuration::joint(members, vec![member(3, MemberRole::Voter, 1, b"")]).expect("it is valid")
}

/// A configuration that only version 2 of the format can hold.
pub(crate) fn newer_configuration() -> Configuration {
    let incarnation = Some(Incarnation(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff));
    let waiting = |replaces| Some(Promotion { replaces });
    let members = vec![
        Member { incarnation, ..Member::voter(NodeId(1)) },
        Member { promotion: waiting(None), ..Member::learner(NodeId(2)) },
        Member { incarnation, promotion: waiting(Some(NodeId(1))), ..Member::learner(NodeId(3)) },
    ];
    Configuration::new(members).expect("it is valid")
}

fn golden(name: &str) -> &'static str {
    let line = GOLDEN.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("tests/golden/v1.txt has no line for {name}"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
