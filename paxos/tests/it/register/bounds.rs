//! Bounds of memory, and what happens at them.

use std::time::Duration;

use bytes::Bytes;
use quorate_paxos::register::testing::{Answers, Builder, Calls, Cluster, Records};
use quorate_paxos::register::{
    Change, ChangeOutcome, CommandRefusal, Message, ReadOutcome, Register, RegisterObstacle, Settings,
};
use quorate_protocol::{HaltReason, Input, NodeId, PersistFailure, ProposalId, Signal, StorageLevel};

use super::outcomes::{done, read};
use super::support::{KEY, hear, prepare, three};
use crate::support::ballot;

fn refused(cluster: &Cluster, node: u64, id: ProposalId) -> Option<CommandRefusal> {
    match cluster.node(node).changed(id) {
        Some(ChangeOutcome::NotTried(reason)) => Some(*reason),
        _ => None,
    }
}

#[test]
fn what_is_too_large_or_too_much_is_refused_by_name() {
    let settings = Settings { key_bytes_max: 4, value_bytes_max: 8, commands_max: 2, ..Settings::default() };
    let mut cluster = Builder::new(3, 1).settings(settings.into()).start();
    for (key, value, reason) in [
        (&b""[..], &b"x"[..], CommandRefusal::Key),
        (b"long!", b"x", CommandRefusal::Key),
        (b"key", b"123456789", CommandRefusal::TooLarge),
    ] {
        let id = cluster.set(1, key, value);
        assert_eq!(refused(&cluster, 1, id), Some(reason));
    }
    let empty = cluster.read(1, b"");
    assert_eq!(cluster.node(1).read(empty), Some(&ReadOutcome::Failed(CommandRefusal::Key)));
    cluster.isolate(1);
    let first = cluster.set(1, b"a", b"1");
    cluster.change_again(1, b"b", first, Change::Delete);
    assert_eq!(refused(&cluster, 1, first), Some(CommandRefusal::IdReused));
    cluster.set(1, b"b", b"2");
    let third = cluster.set(1, b"c", b"3");
    assert_eq!(refused(&cluster, 1, third), Some(CommandRefusal::Overloaded));
    cluster.read(1, b"a");
    cluster.read(1, b"a");
    let more = cluster.read(1, b"b");
    assert_eq!(cluster.node(1).read(more), Some(&ReadOutcome::Failed(CommandRefusal::Overloaded)));
}

#[test]
fn a_disk_that_is_nearly_full_takes_no_changes_and_goes_on_voting() {
    let mut cluster = Cluster::of_three(1);
    cluster.input(NodeId(2), Input::Signal(Signal::Storage(StorageLevel::Low)));
    let id = cluster.set(2, KEY, b"x");
    assert_eq!(refused(&cluster, 2, id), Some(CommandRefusal::StorageLow));
    assert_eq!(cluster.node(2).core().explain(), [RegisterObstacle::DiskFull]);
    cluster.crash(3);
    let id = cluster.set(1, KEY, b"x");
    cluster.run(Duration::from_secs(1));
    done(&cluster, 1, id);
}

#[test]
fn a_write_of_which_nothing_is_known_stops_the_group() {
    let mut cluster = Cluster::of_three(1);
    cluster.hold_disk(1);
    let id = cluster.set(1, KEY, b"x");
    cluster.deliver();
    cluster.fail_oldest(1, PersistFailure::Unknown);
    let reason = HaltReason::LogFailed(PersistFailure::Unknown);
    assert_eq!(cluster.node(1).halted, Some(reason.clone()));
    assert_eq!(cluster.node(1).changed(id), None, "whoever waits learns it from the server");
    let late = cluster.set(1, KEY, b"y");
    assert_eq!(refused(&cluster, 1, late), Some(CommandRefusal::Halted));
    assert_eq!(cluster.node(1).core().explain(), [RegisterObstacle::Halted(reason)]);
    let other = cluster.set(2, KEY, b"z");
    cluster.run(Duration::from_secs(1));
    done(&cluster, 2, other);
}

#[test]
fn a_refused_write_is_written_again() {
    let mut cluster = Cluster::of_three(1);
    cluster.hold_disk(2);
    let id = cluster.set(1, KEY, b"x");
    cluster.deliver();
    cluster.fail_oldest(2, PersistFailure::NotWritten);
    assert_eq!(cluster.node(2).core().explain(), [RegisterObstacle::LogRefuses]);
    cluster.release_disk(2);
    cluster.run(Duration::from_secs(1));
    done(&cluster, 1, id);
    assert!(cluster.node(2).disk.register(KEY).is_some_and(|(_, accepted)| accepted.round > 0));
}

#[test]
fn while_the_log_does_not_advance_requests_are_ignored_by_name() {
    let (key_bytes_max, value_bytes_max, batch_bytes_max) = (1000, 50_000, 64 << 10);
    let settings = Settings { key_bytes_max, value_bytes_max, batch_bytes_max, ..Settings::default() };
    let mut cluster = Builder::new(3, 1).settings(settings.into()).start();
    cluster.park_all();
    cluster.hold_disk(2);
    let system = cluster.node(1).core().system();
    for key in 0..5000_u16 {
        let key = Bytes::from([&key.to_le_bytes()[..], &[0; 900]].concat());
        let message = quorate_paxos::register::message::Prepare { system, age: 0, key, ballot: ballot(1, 1) };
        hear(&mut cluster, 2, 1, Message::Prepare(message));
    }
    let status = cluster.node(2).core().status();
    assert!(status.ignored["log_behind"] > 0 && status.registers < 1000, "{status:?}");
}

/// One node cannot be made to read the whole log at once.
#[test]
fn requests_that_wait_for_values_are_bounded() {
    let settings = Settings { cache_bytes_max: 0, loads_max: 2, ..Settings::default() };
    let mut cluster = Builder::new(3, 1).settings(settings.into()).start();
    for key in 0..5_u8 {
        cluster.set(1, &[key], b"value");
    }
    cluster.run(Duration::from_secs(1));
    cluster.park_all();
    cluster.faults.write_max = Duration::from_millis(10);
    let system = cluster.node(1).core().system();
    for key in 0..5_u8 {
        let query = quorate_paxos::register::message::Query { system, start: 1, number: 1, key: vec![key].into() };
        cluster.input(NodeId(2), Input::Message { from: NodeId(1), message: Message::Query(query) });
    }
    assert_eq!(cluster.node(2).core().status().ignored["loads_behind"], 3);
}

#[test]
fn a_checkpoint_keeps_what_counts_and_drops_the_rest() {
    let settings = Settings { copy_max: 3, cache_bytes_max: 0, ..Settings::default() };
    let mut cluster = Builder::new(3, 1).settings(settings.into()).start();
    for round in 0..10_u8 {
        for key in 0..20_u8 {
            cluster.set(1, &[key], &[round; 50]);
            cluster.settle();
        }
    }
    let records = |cluster: &Cluster| cluster.node(2).disk.written().count();
    assert!(records(&cluster) >= 200);
    cluster.input(NodeId(2), Input::Signal(Signal::CompactRequested));
    // Registers go on to change in the midst of it.
    cluster.faults.write_max = Duration::from_millis(1);
    for key in 0..20_u8 {
        cluster.set(1, &[key], &[99; 50]);
        cluster.run(Duration::from_millis(2));
    }
    cluster.run(Duration::from_secs(5));
    assert!(records(&cluster) <= 60, "what was overwritten is gone: {}", records(&cluster));
    cluster.crash(2);
    cluster.restart(2);
    cluster.crash(3);
    for key in 0..20_u8 {
        assert_eq!(read(&mut cluster, 2, &[key]).value.as_deref(), Some(&[99; 50][..]));
    }
}

#[test]
fn promises_for_next_ballots_are_bounded() {
    let settings = Settings { promises_max: 3, ..Settings::default() };
    let mut cluster = Builder::new(3, 1).settings(settings.into()).start();
    for key in 0..10_u8 {
        cluster.set(1, &[key], b"x");
    }
    cluster.run(Duration::from_secs(1));
    assert_eq!(cluster.node(1).core().status().promised, 3);
}

/// A node that has promised anything keeps the roles with which it did.
#[test]
fn the_roles_are_durable_with_the_first_promise() {
    let mut cluster = three();
    cluster.park_all();
    let message = prepare(&cluster, ballot(1, 1));
    hear(&mut cluster, 2, 1, message);
    cluster.crash(2);
    let founded = Register::founded(&cluster.node(2).disk.recovery(usize::MAX));
    assert_eq!(founded, Ok(Some(cluster.node(1).core().config().roles().clone())));
}
