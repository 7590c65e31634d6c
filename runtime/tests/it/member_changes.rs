//! The outcomes of changes of the members.

use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{
    Configuration, Entry, EntryHeader, EntryKind, Instant, LogCommand, LogEvent, LogIndex, Member, MemberChange,
    NodeId, ProposalId, RefuseReason, Signal, SnapshotMeta, Term,
};
use quorate_runtime::group::{CallId, Group, GroupInput, GroupOutput, Reply};
use quorate_runtime::{NotApplied, Outcome, ReplicaSettings, Unknown};

use crate::scripted::{Bench, LEADER, ME, entry, foreign, piece, received, snapshot_meta};

const CALL: CallId = CallId(7);

/// A leader with a change under way, and the id under which the log knows the change.
fn changing() -> (Bench, ProposalId) {
    let mut bench = Bench::leader(ReplicaSettings::default());
    propose(&mut bench, vec![MemberChange::Remove(LEADER)]);
    let id = proposed(&bench);
    bench.log(|log| log.event(LogEvent::Appended { id, index: LogIndex(2), term: Term(1) }));
    (bench, id)
}

fn propose(bench: &mut Bench, changes: Vec<MemberChange>) {
    let deadline = bench.now.instant.after(Duration::from_secs(5));
    bench.replica.change_membership(bench.now, CALL, changes, deadline);
    bench.settle();
}

fn proposed(bench: &Bench) -> ProposalId {
    match bench.script().commands.last() {
        Some(LogCommand::ChangeConfiguration { id, .. }) => *id,
        other => panic!("a change was proposed, not {other:?}"),
    }
}

/// An entry with that configuration, under the id of the change that made it.
fn configuration_entry(id: ProposalId, configuration: &Configuration) -> Entry {
    let entry = entry(EntryKind::Configuration, &configuration.encode());
    Entry { header: EntryHeader { id, ..entry.header }, ..entry }
}

fn joint() -> Configuration {
    let members = |nodes: &[NodeId]| nodes.iter().map(|node| Member::voter(*node)).collect();
    Configuration::joint(members(&[ME]), members(&[ME, LEADER])).expect("valid")
}

fn outcome(bench: &mut Bench) -> Option<Outcome> {
    bench.outputs.drain(..).find_map(|output| match output {
        GroupOutput::Reply { call: CALL, reply: Reply::Outcome(outcome) } => Some(outcome),
        _ => None,
    })
}

#[test]
fn a_change_is_applied_once_its_joint_configuration_is_left() {
    let (mut bench, id) = changing();
    bench.log(|log| log.commit(Term(1), foreign(b"a")));
    bench.log(|log| log.commit(Term(1), configuration_entry(id, &joint())));
    assert_eq!(outcome(&mut bench), None, "it is joint");
    let alone = configuration_entry(ProposalId::default(), &Configuration::of_voters([ME]));
    bench.log(|log| log.commit(Term(1), alone));
    assert_eq!(outcome(&mut bench), Some(Outcome::Applied(Bytes::new())));
}

#[test]
fn a_change_of_no_voter_is_applied_at_once() {
    let (mut bench, id) = changing();
    bench.log(|log| log.commit(Term(1), foreign(b"a")));
    bench.log(|log| log.commit(Term(1), configuration_entry(id, &Configuration::of_voters([ME, LEADER]))));
    assert_eq!(outcome(&mut bench), Some(Outcome::Applied(Bytes::new())));
}

#[test]
fn a_change_whose_place_another_leader_took_is_not_applied() {
    let (mut bench, _) = changing();
    bench.log(|log| log.commit(Term(1), foreign(b"a")));
    bench.log(|log| log.commit(Term(2), foreign(b"b")));
    assert_eq!(outcome(&mut bench), Some(Outcome::NotApplied(NotApplied::Superseded)));
}

/// The change is committed, but whether it is complete is not known at the deadline.
#[test]
fn a_change_that_takes_too_long_is_unknown() {
    let (mut bench, id) = changing();
    bench.log(|log| log.commit(Term(1), foreign(b"a")));
    bench.log(|log| log.commit(Term(1), configuration_entry(id, &joint())));
    let deadline = Group::deadline(&bench.replica).expect("the caller waits");
    bench.now.instant = deadline;
    bench.give(GroupInput::Signal(Signal::Timeout));
    let reason = Unknown::DeadlinePassed;
    assert_eq!(outcome(&mut bench), Some(Outcome::Unknown { reason, retry: None }));
}

#[test]
fn a_refused_change_says_why() {
    let mut bench = Bench::leader(ReplicaSettings::default());
    propose(&mut bench, vec![MemberChange::Remove(LEADER)]);
    let id = proposed(&bench);
    let reason = RefuseReason::ConfigurationPending;
    bench.log(|log| log.event(LogEvent::Refused { id, reason, leader: Some(ME) }));
    let refused = NotApplied::Refused { reason, leader: Some(ME) };
    assert_eq!(outcome(&mut bench), Some(Outcome::NotApplied(refused)));
}

#[test]
fn only_the_leader_changes_members() {
    let mut bench = Bench::follower(ReplicaSettings::default());
    propose(&mut bench, vec![MemberChange::Remove(LEADER)]);
    let refused = NotApplied::Refused { reason: RefuseReason::NotLeader, leader: Some(LEADER) };
    assert_eq!(outcome(&mut bench), Some(Outcome::NotApplied(refused)));
    assert!(bench.script().commands.is_empty());
}

#[test]
fn changes_beyond_the_bound_are_refused() {
    let mut bench = Bench::leader(ReplicaSettings::default());
    let until = Instant::from_nanos(u64::MAX);
    for _ in 0..17 {
        bench.replica.change_membership(bench.now, CallId(1), Vec::new(), until);
    }
    propose(&mut bench, Vec::new());
    assert_eq!(outcome(&mut bench), Some(Outcome::NotApplied(NotApplied::Overloaded)));
}

/// The operator names the node, and the replica the disk that it was last heard from.
#[test]
fn a_node_that_is_admitted_again_is_named_with_its_disk() {
    let mut bench = Bench::leader(ReplicaSettings::default());
    let meta: SnapshotMeta = snapshot_meta(1);
    bench.give(received(LEADER, piece(Term(1), &meta, 0, b"x", 1)));
    propose(&mut bench, vec![MemberChange::Replace { old: LEADER, new: Member::voter(LEADER) }]);
    let commands = &bench.script().commands;
    let Some(LogCommand::ChangeConfiguration { changes, .. }) = commands.last() else { panic!("it is proposed") };
    let [MemberChange::Replace { new, .. }] = &changes[..] else { panic!("one change") };
    assert_eq!(new.incarnation.map(|incarnation| incarnation.0), Some(u128::from(LEADER.0)));
}
