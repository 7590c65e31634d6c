//! Everything is bounded, with a stated behaviour at the bound; answers of strangers do not count.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{Input, NodeId, Signal, StorageLevel};
use quorate_two_phase_commit::testing::{Builder, Cluster, Ends, Transactions, Work, records};
use quorate_two_phase_commit::{
    AbortReason, Command, CommandId, Config, ConfigError, Event, Knowledge, Settings, TransactionId,
    TransactionOutcome, TransactionRefusal, Unready,
};

const ONE: Work = Work::Write(1);

fn refusal(cluster: &Cluster, node: u64, id: CommandId) -> Option<TransactionRefusal> {
    cluster.node(node).events.iter().find_map(|event| match event {
        Event::Refused { command, reason } if *command == id => Some(*reason),
        _ => None,
    })
}

fn aborted_for(node: u64, why: Unready) -> TransactionOutcome {
    TransactionOutcome::Aborted(AbortReason::Unready(NodeId(node), why))
}

fn commit(cluster: &mut Cluster, transaction: TransactionId, branches: BTreeMap<NodeId, Bytes>) -> CommandId {
    cluster.command(transaction.coordinator.0, |command| Command::Commit { command, transaction, branches })
}

#[test]
fn commands_beyond_a_bound_are_refused_for_a_reason() {
    let settings = Settings {
        transactions_max: 2,
        participants_max: 2,
        payload_bytes_max: 100,
        payload_bytes_total_max: 150,
        ..Settings::default()
    };
    let mut cluster = Builder::new(3, 1).settings(settings.into()).start();
    let (first, second) = (cluster.begin(1), cluster.begin(1));
    let third = cluster.command(1, |command| Command::Begin { command });
    assert_eq!(refusal(&cluster, 1, third), Some(TransactionRefusal::Overloaded));
    let payload = |length: usize| Bytes::from(vec![b'r'; length]);
    let id = commit(&mut cluster, first, BTreeMap::new());
    assert_eq!(refusal(&cluster, 1, id), Some(TransactionRefusal::Participants));
    let id = commit(&mut cluster, first, (1..=3).map(|node| (NodeId(node), payload(1))).collect());
    assert_eq!(refusal(&cluster, 1, id), Some(TransactionRefusal::Participants));
    let id = commit(&mut cluster, first, [(NodeId(2), payload(101))].into());
    assert_eq!(refusal(&cluster, 1, id), Some(TransactionRefusal::TooLarge));
    let id = commit(&mut cluster, first, [(NodeId(2), payload(90)), (NodeId(3), payload(90))].into());
    assert_eq!(refusal(&cluster, 1, id), Some(TransactionRefusal::Overloaded));
    cluster.hold_requests(2);
    let id = commit(&mut cluster, first, [(NodeId(2), payload(70)), (NodeId(3), payload(70))].into());
    assert_eq!(refusal(&cluster, 1, id), None);
    let id = commit(&mut cluster, first, [(NodeId(2), payload(1))].into());
    assert_eq!(refusal(&cluster, 1, id), Some(TransactionRefusal::AlreadyDeciding));
    let id = commit(&mut cluster, second, [(NodeId(2), payload(70))].into());
    assert_eq!(refusal(&cluster, 1, id), Some(TransactionRefusal::Overloaded));
    let id = cluster.command(2, |command| Command::Abort { command, transaction: first });
    assert_eq!(refusal(&cluster, 2, id), Some(TransactionRefusal::NotCoordinator));
    cluster.quiesce();
    let id = cluster.command(1, |command| Command::Abort { command, transaction: first });
    assert_eq!(refusal(&cluster, 1, id), Some(TransactionRefusal::NotBegun));
}

#[test]
fn a_full_disk_refuses_what_is_new() {
    let mut cluster = Cluster::of_three(1);
    cluster.input(NodeId(1), Input::Signal(Signal::Storage(StorageLevel::Low)));
    let id = cluster.command(1, |command| Command::Begin { command });
    assert_eq!(refusal(&cluster, 1, id), Some(TransactionRefusal::StorageLow));
    let transaction = cluster.transact(2, &[(1, ONE), (3, ONE)]);
    cluster.run(Duration::from_secs(5));
    assert_eq!(cluster.node(2).outcome(transaction), Some(aborted_for(1, Unready::StorageLow)));
    cluster.input(NodeId(1), Input::Signal(Signal::Storage(StorageLevel::Enough)));
    let transaction = cluster.transact(2, &[(1, ONE), (3, ONE)]);
    cluster.run(Duration::from_secs(5));
    assert_eq!(cluster.node(2).outcome(transaction), Some(TransactionOutcome::Committed));
    cluster.quiesce();
}

#[test]
fn what_is_too_old_is_forgotten_and_not_guessed() {
    let settings = Settings { outcomes_max: 2, ..Settings::default() };
    let mut cluster = Builder::new(3, 1).settings(settings.into()).start();
    let mut ended = Vec::new();
    for _ in 0..4 {
        ended.push(cluster.transact(1, &[(2, ONE), (3, ONE)]));
        cluster.run(Duration::from_secs(2));
    }
    let aborted = cluster.transact(1, &[(2, Work::Refuse), (3, ONE)]);
    cluster.quiesce();
    for restarted in [false, true] {
        let known: Vec<_> = ended.iter().map(|transaction| cluster.query(*transaction)).collect();
        let (forgotten, committed) = (Some(Knowledge::Forgotten), Some(Knowledge::Committed));
        assert_eq!(known, [forgotten, forgotten, committed, committed]);
        assert_eq!(cluster.query(aborted), Some(Knowledge::Aborted));
        assert_eq!(records(&cluster.node(1).disk), 2, "the log does not grow");
        if !restarted {
            cluster.crash(1);
            cluster.restart(1);
            cluster.settle();
        }
    }
}

/// Outcomes are forgotten with a write that may be lost: the disk may then have more than the node must remember.
#[test]
fn a_restart_remembers_no_more_than_it_may() {
    let settings = Settings { outcomes_max: 2, ..Settings::default() };
    let mut cluster = Builder::new(3, 1).settings(settings.into()).start();
    for _ in 0..3 {
        cluster.transact(1, &[(2, ONE), (3, ONE)]);
        cluster.run(Duration::from_millis(600));
    }
    assert_eq!(records(&cluster.node(1).disk), 3, "the third has ended, and the first is still there");
    cluster.crash(1);
    cluster.restart(1);
    assert_eq!(cluster.node(1).core().status().remembered, 2);
    cluster.quiesce();
}

#[test]
fn a_checkpoint_holds_everything_that_counts() {
    let mut cluster = Cluster::of_three(1);
    cluster.transact(1, &[(2, ONE), (3, ONE)]);
    cluster.run(Duration::from_secs(2));
    cluster.hold_disk(1);
    let transaction = cluster.transact(1, &[(2, ONE), (3, ONE)]);
    cluster.settle();
    for node in 1..=3 {
        cluster.input(NodeId(node), Input::Signal(Signal::CompactRequested));
    }
    cluster.settle();
    cluster.part(1, 2);
    cluster.release_disk(1);
    for node in 1..=3 {
        cluster.input(NodeId(node), Input::Signal(Signal::CompactRequested));
        cluster.settle();
        cluster.crash(node);
        cluster.restart(node);
    }
    cluster.quiesce();
    assert_eq!(cluster.query(transaction), Some(Knowledge::Committed));
    assert_eq!(cluster.node(2).application.manager.effects.len(), 2);
}

#[test]
fn a_coordinator_that_lost_its_disk_presumes_nothing() {
    let mut cluster = Cluster::of_three(1);
    cluster.hold_disk(1);
    let transaction = cluster.transact(1, &[(2, ONE), (3, ONE)]);
    cluster.settle();
    cluster.cut(1, 3);
    cluster.release_disk(1);
    assert_eq!(cluster.node(1).outcome(transaction), Some(TransactionOutcome::Committed));
    // The end of the other participant is durable.
    cluster.run(Duration::from_secs(1));
    cluster.wipe(1);
    cluster.crash(2);
    cluster.heal();
    cluster.restart(1);
    cluster.run(Duration::from_secs(20));
    assert_eq!(cluster.node(3).ended(transaction), None, "its silence is not an abort");
    assert!(cluster.node(1).core().status().ignored["not_introduced"] > 0);
    assert_eq!(cluster.query(transaction), None);
    let id = cluster.command(1, |command| Command::Begin { command });
    assert_eq!(refusal(&cluster, 1, id), Some(TransactionRefusal::NotIntroduced), "its numbers would come again");
    cluster.restart(2);
    cluster.run(Duration::from_secs(20));
    assert!(cluster.node(3).ended(transaction).is_some(), "the other participant knows");
}

#[test]
fn a_participant_that_lost_its_disk_does_not_vote() {
    let mut cluster = Cluster::of_three(1);
    cluster.hold_requests(2);
    let transaction = cluster.transact(1, &[(2, ONE), (3, ONE)]);
    cluster.settle();
    // Its vote has arrived, and then its disk is lost.
    cluster.wipe(3);
    cluster.restart(3);
    cluster.release_requests(2);
    cluster.run(Duration::from_secs(5));
    assert_eq!(cluster.node(1).outcome(transaction), Some(TransactionOutcome::Aborted(AbortReason::TimedOut)));
    let next = cluster.transact(1, &[(2, ONE), (3, ONE)]);
    cluster.run(Duration::from_secs(5));
    assert_eq!(cluster.node(1).outcome(next), Some(TransactionOutcome::Aborted(AbortReason::TimedOut)));
    assert!(cluster.node(3).core().status().ignored["not_introduced"] > 0);
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let usual = Settings::default;
    let contradictory = [
        Settings { write_bytes_max: 4096, ..usual() },
        Settings { frame_bytes_max: 4096, ..usual() },
        Settings { transactions_max: 1 << 20, ..usual() },
        Settings { journal_bytes_max: 0, ..usual() },
        Settings { outcomes_max: 0, ..usual() },
        Settings { retry_max: Duration::ZERO, ..usual() },
        Settings { request_timeout: Duration::ZERO, ..usual() },
    ];
    for settings in contradictory {
        let refused = Config::new(NodeId(1), 1, settings.clone()).expect_err("a rule is broken");
        assert!(matches!(refused, ConfigError::Contradiction(_)), "{settings:?}");
    }
}

/// The longest times and the largest numbers are refused by name or accepted, and accepted ones work.
#[test]
fn extreme_settings_neither_panic_nor_overflow() {
    let usual = Settings::default;
    let counts = [
        Settings { transactions_max: usize::MAX, ..usual() },
        Settings { branches_max: usize::MAX, ..usual() },
        Settings { participants_max: usize::MAX, ..usual() },
        Settings { payload_bytes_max: usize::MAX, payload_bytes_total_max: usize::MAX, ..usual() },
        Settings { payload_bytes_total_max: usize::MAX, ..usual() },
        Settings { outcomes_max: usize::MAX, tombstones_max: usize::MAX, ..usual() },
        Settings { journal_bytes_max: usize::MAX, held_messages_max: usize::MAX, ..usual() },
        Settings { write_bytes_max: usize::MAX, journal_bytes_max: usize::MAX, ..usual() },
        Settings { frame_bytes_max: usize::MAX, ..usual() },
        Settings { branches_max: 1, tombstones_max: 1, held_messages_max: 1, transactions_max: 1, ..usual() },
    ];
    let longest = Duration::MAX;
    let times = [
        Settings { begin_timeout: longest, vote_timeout: longest, ..usual() },
        Settings { retry_min: longest, retry_max: longest, vote_timeout: longest, ..usual() },
        Settings { retry_max: longest, report_after: longest, ..usual() },
        Settings { request_timeout: longest, lazy_delay: longest, ..usual() },
        Settings { lazy_delay: Duration::ZERO, ..usual() },
    ];
    let mut taken = 0;
    for settings in counts.into_iter().chain(times) {
        if Config::new(NodeId(1), u64::MAX, settings.clone()).is_err() {
            continue;
        }
        taken += 1;
        let mut cluster = Builder::new(3, 1).settings(settings.into()).start();
        let transaction = cluster.transact(1, &[(2, ONE), (3, ONE)]);
        cluster.run(Duration::from_secs(1));
        cluster.crash(2);
        cluster.restart(2);
        cluster.run(Duration::from_secs(1));
        assert_eq!(cluster.node(1).outcome(transaction), Some(TransactionOutcome::Committed));
    }
    assert!(taken > 10, "{taken}");
}
