//! What becomes of commands.

use std::time::Duration;

use bytes::Bytes;
use quorate_paxos::register::testing::{Answers, Builder, Calls, Cluster, Setup};
use quorate_paxos::register::{
    Change, ChangeOutcome, CommandRefusal, Expected, Found, Functions, ReadOutcome, ResolveOutcome, Settings, Trace,
    Version,
};
use quorate_protocol::ProposalId;

pub(crate) const KEY: &[u8] = b"key";

/// What a change that took effect left.
pub(crate) fn done(cluster: &Cluster, node: u64, id: ProposalId) -> Found {
    match cluster.node(node).changed(id) {
        Some(ChangeOutcome::Done(found)) => found.clone(),
        other => panic!("the change is done: {other:?}"),
    }
}

/// The value that a read on this node returns.
pub(crate) fn read(cluster: &mut Cluster, node: u64, key: &[u8]) -> Found {
    let id = cluster.read(node, key);
    cluster.run(Duration::from_secs(2));
    match cluster.node(node).read(id) {
        Some(ReadOutcome::Found(found)) => found.clone(),
        other => panic!("the read has an answer: {other:?}"),
    }
}

/// Appends the argument to the value. It declines to append nothing.
pub(crate) fn append(value: Option<&Bytes>, argument: &Bytes) -> Result<Option<Bytes>, Bytes> {
    if argument.is_empty() {
        return Err(Bytes::from_static(b"nothing to append"));
    }
    Ok(Some([value.map_or(&[][..], |value| value), argument].concat().into()))
}

#[test]
fn a_value_is_written_compared_and_deleted() {
    let mut cluster = Cluster::of_three(1);
    let first = cluster.set(1, KEY, b"one");
    cluster.settle();
    let first = done(&cluster, 1, first);
    assert_eq!(first.value.as_deref(), Some(&b"one"[..]));
    assert_eq!(read(&mut cluster, 2, KEY), first);
    let second = cluster.compare_and_set(2, KEY, first.version, b"two");
    cluster.settle();
    let second = done(&cluster, 2, second);
    assert!(second.version > first.version);
    let late = cluster.compare_and_set(3, KEY, first.version, b"three");
    cluster.settle();
    assert_eq!(cluster.node(3).changed(late), Some(&ChangeOutcome::Conflict(second.clone())));
    let value = Change::CompareAndSet { expected: Expected::Value(second.value), value: None };
    let gone = cluster.change(1, KEY, value);
    cluster.settle();
    let gone = done(&cluster, 1, gone);
    assert_eq!(gone.value, None);
    assert_eq!(read(&mut cluster, 3, KEY), gone);
    let again = Change::CompareAndSet { expected: Expected::Value(None), value: Some(Bytes::from_static(b"new")) };
    let again = cluster.change(3, KEY, again);
    cluster.settle();
    assert!(done(&cluster, 3, again).version > gone.version);
}

#[test]
fn a_function_is_applied_and_may_refuse() {
    let functions = Functions::default().with("append", append);
    let mut cluster = Builder::new(3, 1).settings(Setup { functions, ..Setup::default() }).start();
    let apply = |argument: &'static [u8]| Change::Apply {
        function: "append".to_owned(),
        argument: Bytes::from_static(argument),
    };
    cluster.change(1, KEY, apply(b"a"));
    let second = cluster.change(2, KEY, apply(b"b"));
    cluster.run(Duration::from_secs(1));
    let found = done(&cluster, 2, second);
    assert_eq!(read(&mut cluster, 3, KEY).value.map(|value| value.len()), Some(2));
    let refused = cluster.change(3, KEY, apply(b""));
    cluster.settle();
    let outcome = cluster.node(3).changed(refused);
    assert!(
        matches!(outcome, Some(ChangeOutcome::Declined { reason, .. }) if reason == "nothing to append"),
        "{found:?}"
    );
    let unknown = Change::Apply { function: "prepend".to_owned(), argument: Bytes::new() };
    let unknown = cluster.change(3, KEY, unknown);
    let reason = ChangeOutcome::NotTried(CommandRefusal::UnknownFunction);
    assert_eq!(cluster.node(3).changed(unknown), Some(&reason));
}

#[test]
fn the_second_change_takes_one_round_trip() {
    let mut cluster = Cluster::of_three(1);
    cluster.set(1, KEY, b"one");
    cluster.settle();
    let before = cluster.traffic().messages;
    let second = cluster.set(1, KEY, b"two");
    cluster.settle();
    done(&cluster, 1, second);
    assert_eq!(cluster.traffic().messages - before, 4, "two requests to accept, and two answers");
}

#[test]
fn a_read_takes_one_round_trip_and_no_write() {
    let mut cluster = Cluster::of_three(1);
    cluster.set(1, KEY, b"one");
    cluster.settle();
    let before = cluster.traffic();
    let id = cluster.read(2, KEY);
    cluster.settle();
    assert!(matches!(cluster.node(2).read(id), Some(ReadOutcome::Found(found)) if found.value.is_some()));
    let after = cluster.traffic();
    assert_eq!((after.messages - before.messages, after.writes - before.writes), (4, 0));
}

#[test]
fn a_register_that_was_never_written_is_absent() {
    let mut cluster = Cluster::of_three(1);
    assert_eq!(read(&mut cluster, 1, KEY), Found { version: Version::ZERO, value: None });
    let conflict = cluster.compare_and_set(1, KEY, Version(crate::support::ballot(1, 1)), b"x");
    cluster.settle();
    assert_eq!(cluster.node(1).changed(conflict), Some(&ChangeOutcome::Conflict(Found::default())));
}

#[test]
fn a_change_without_a_quorum_is_not_tried() {
    let mut cluster = Cluster::of_three(1);
    cluster.crash(2);
    cluster.crash(3);
    let id = cluster.set(1, KEY, b"one");
    let question = cluster.read(1, KEY);
    cluster.run(Duration::from_secs(6));
    assert_eq!(cluster.node(1).changed(id), Some(&ChangeOutcome::NotTried(CommandRefusal::TimedOut)));
    assert_eq!(cluster.node(1).read(question), Some(&ReadOutcome::Failed(CommandRefusal::TimedOut)));
}

/// Changes "one" into "two" on node 1. Only it and `accepted` accept, and nobody learns of the outcome.
fn unknown(cluster: &mut Cluster, accepted: &[u64]) -> Trace {
    cluster.set(1, KEY, b"one");
    cluster.settle();
    cluster.park_all();
    let id = cluster.set(1, KEY, b"two");
    cluster.deliver();
    cluster.release_if(|_, to, _| accepted.contains(&to));
    cluster.forget_parked();
    cluster.isolate(1);
    cluster.run(Duration::from_secs(6));
    let Some(ChangeOutcome::Unknown(trace)) = cluster.node(1).changed(id) else {
        panic!("it may take effect: {:?}", cluster.node(1).changed(id))
    };
    *trace
}

#[test]
fn what_is_unknown_is_settled_by_a_read_at_a_higher_ballot() {
    let mut cluster = Cluster::of_three(1);
    let trace = unknown(&mut cluster, &[2]);
    let question = cluster.resolve(3, KEY, trace);
    cluster.run(Duration::from_secs(1));
    let outcome = cluster.node(3).resolved(question);
    assert!(
        matches!(outcome, Some(ResolveOutcome::TookEffect { found, .. }) if found.value.as_deref() == Some(b"two"))
    );
}

#[test]
fn what_no_other_node_knows_never_takes_effect() {
    let mut cluster = Cluster::of_three(1);
    let trace = unknown(&mut cluster, &[]);
    let question = cluster.resolve(3, KEY, trace);
    cluster.run(Duration::from_secs(1));
    let outcome = cluster.node(3).resolved(question);
    assert!(matches!(outcome, Some(ResolveOutcome::NotApplied(found)) if found.value.as_deref() == Some(b"one")));
    cluster.heal();
    assert_eq!(read(&mut cluster, 1, KEY).value.as_deref(), Some(&b"one"[..]), "what node 1 accepted is overtaken");
}

#[test]
fn after_many_changes_nobody_knows_what_became_of_it() {
    let mut cluster = Cluster::of_three(1);
    let trace = unknown(&mut cluster, &[2]);
    for value in 0..5 {
        cluster.set(2, KEY, &[value]);
        cluster.run(Duration::from_secs(1));
    }
    let question = cluster.resolve(3, KEY, trace);
    cluster.run(Duration::from_secs(1));
    let outcome = cluster.node(3).resolved(question);
    assert!(matches!(outcome, Some(ResolveOutcome::TookEffect { .. })), "the last change of node 1: {outcome:?}");
    cluster.heal();
    cluster.set(1, KEY, b"once more");
    cluster.run(Duration::from_secs(1));
    for value in 0..5 {
        cluster.set(2, KEY, &[value]);
        cluster.run(Duration::from_secs(1));
    }
    let question = cluster.resolve(3, KEY, trace);
    cluster.run(Duration::from_secs(1));
    assert!(matches!(cluster.node(3).resolved(question), Some(ResolveOutcome::Forgotten(_))));
}

/// A proposer that has not changed a register for long relies on a promise that was overtaken, and learns nevertheless
/// what became of its change.
#[test]
fn an_old_promise_is_no_reason_for_an_unknown_outcome() {
    let mut cluster = Cluster::of_three(1);
    cluster.set(1, KEY, b"one");
    cluster.settle();
    for value in 0..10 {
        cluster.set(2, KEY, &[value]);
        cluster.run(Duration::from_secs(1));
    }
    let id = cluster.set(1, KEY, b"last");
    cluster.run(Duration::from_secs(1));
    done(&cluster, 1, id);
}

#[test]
fn a_change_that_is_tried_again_takes_effect_once() {
    let mut cluster = Cluster::of_three(1);
    let id = cluster.set(1, KEY, b"one");
    cluster.settle();
    let first = done(&cluster, 1, id);
    let second = cluster.set(2, KEY, b"two");
    cluster.settle();
    let second = done(&cluster, 2, second);
    cluster.change_again(3, KEY, id, Change::Set(Bytes::from_static(b"one")));
    cluster.run(Duration::from_secs(1));
    let expected = ChangeOutcome::DoneBefore { version: first.version, found: second };
    assert_eq!(cluster.node(3).changed(id), Some(&expected));
}

#[test]
fn a_value_beyond_the_memory_is_read_from_the_log() {
    let settings = Settings { cache_bytes_max: 0, ..Settings::default() };
    let mut cluster = Builder::new(3, 1).settings(settings.into()).start();
    for key in 0..20_u8 {
        cluster.set(1, &[key], &[key; 100]);
    }
    cluster.run(Duration::from_secs(1));
    assert_eq!(cluster.node(2).core().status().cached_bytes, 0);
    for key in 0..20_u8 {
        assert_eq!(read(&mut cluster, 2, &[key]).value.as_deref(), Some(&[key; 100][..]));
        cluster.set(3, &[key], b"again");
        cluster.run(Duration::from_secs(1));
        assert_eq!(read(&mut cluster, 1, &[key]).value.as_deref(), Some(&b"again"[..]));
    }
}
