//! Entries that are applied, entries that are not, and failures that halt a replica.

use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{
    Configuration, DiskState, Entry, EntryHeader, EntryKind, HaltReason, Instant, LoadFailure, LoadRange, Loaded,
    LogAnswer, LogCommand, LogEvent, LogIndex, LogRequest, NodeId, Now, Operation, PeerProgress, ProgressState,
    RecoverError, Recovery, Signal, SnapshotMeta, Term, Ticket, VotingBar,
};
use quorate_runtime::group::{CallId, Founding, Group, GroupInput, GroupOutput, Notice, Reply};
use quorate_runtime::replica::{EntryState, Obstacle, ProposeOptions};
use quorate_runtime::testing::{Ledger, MemorySnapshots};
use quorate_runtime::{Delivery, NotApplied, Outcome, ReadError, ReplicaSettings, SkippedCommand, TransferError};
use quorate_transport::ChannelId;

use crate::scripted::{Bench, LEADER, entry, foreign, piece, piece_with, received, snapshot_meta};

fn halt_of(bench: &Bench) -> Option<&HaltReason> {
    bench.outputs.iter().find_map(|output| match output {
        GroupOutput::Halt { reason } => Some(reason),
        _ => None,
    })
}

fn leader() -> Bench {
    Bench::leader(ReplicaSettings::default())
}

/// Commits entries that have left the core's cache already; returns the read of them from disk.
fn commit_beyond_cache(bench: &mut Bench, entries: u64) -> (Ticket, LoadRange) {
    bench.log(|log| {
        log.cache_from = LogIndex(entries + 1);
        (0..entries).for_each(|_| log.commit(Term(1), foreign(b"a")));
    });
    bench.outputs.iter().find_map(load).expect("a load")
}

#[test]
fn an_entry_whose_payload_was_changed_halts_the_group() {
    let mut bench = leader();
    let mut damaged = foreign(b"a");
    damaged.payload = Bytes::from_static(b"b");
    bench.log(|log| {
        log.commit(Term(1), foreign(b"a"));
        log.commit(Term(1), damaged);
        log.commit(Term(1), foreign(b"c"));
    });
    assert_eq!(halt_of(&bench), Some(&HaltReason::Damaged { index: LogIndex(2) }));
    assert_eq!(bench.replica.state().counts.len(), 1, "nothing behind it is applied");
    assert_eq!(bench.replica.explain(), [Obstacle::Halted(HaltReason::Damaged { index: LogIndex(2) })]);
}

#[test]
fn an_entry_without_its_payload_halts_the_group() {
    let mut bench = leader();
    let mut elided = foreign(b"a");
    elided.header = EntryHeader { elided_length: Some(1), ..elided.header };
    bench.log(|log| log.commit(Term(1), elided));
    assert_eq!(halt_of(&bench), Some(&HaltReason::Damaged { index: LogIndex(1) }));
}

#[test]
fn a_feature_level_that_this_binary_does_not_know_halts_the_group() {
    let mut bench = leader();
    bench.log(|log| log.commit(Term(1), entry(EntryKind::FeatureLevel, &0_u32.to_le_bytes())));
    assert_eq!(halt_of(&bench), None);
    bench.log(|log| log.commit(Term(1), entry(EntryKind::FeatureLevel, &3_u32.to_le_bytes())));
    assert_eq!(halt_of(&bench), Some(&HaltReason::FeatureLevel { index: LogIndex(2), level: 3 }));
}

#[test]
fn a_configuration_that_cannot_be_read_halts_the_group() {
    let mut bench = leader();
    bench.log(|log| log.commit(Term(1), entry(EntryKind::Configuration, b"?")));
    assert!(matches!(halt_of(&bench), Some(HaltReason::LawBroken(_))));
}

#[test]
fn a_malformed_opening_of_a_session_opens_none() {
    let mut bench = leader();
    bench.log(|log| log.commit(Term(1), entry(EntryKind::SessionOpen, b"short")));
    assert_eq!(halt_of(&bench), None);
    assert_eq!(bench.replica.status().sessions, 0);
}

#[test]
fn a_long_backlog_is_applied_in_turns() {
    let settings = ReplicaSettings { apply_bytes_max: 10_000, ..ReplicaSettings::default() };
    let mut bench = Bench::leader(settings);
    bench.log(|log| (0..1000).for_each(|_| log.commit(Term(1), foreign(&[7; 100]))));
    let mut turns = 0;
    while bench.replica.deadline() == Some(bench.now.instant) {
        turns += 1;
        bench.give(GroupInput::Signal(Signal::Timeout));
    }
    assert_eq!(bench.replica.status().applied_index, LogIndex(1000));
    assert!((10..20).contains(&turns), "{turns} turns of 10 kB for 156 kB");
}

/// The state of the disk that the core knows is reported, and only while it lasts.
#[test]
fn a_disk_that_stands_still_is_named() {
    let mut bench = leader();
    assert_eq!(bench.replica.explain(), []);
    bench.log(|log| log.disk = DiskState::Stalled);
    assert_eq!(bench.replica.explain(), [Obstacle::DiskStalled]);
    bench.log(|log| log.disk = DiskState::Ready);
    assert_eq!(bench.replica.explain(), []);
}

/// The node knows why introductions bar it; the core knows only that it is a stranger.
#[test]
fn status_names_the_bar_that_the_node_knows() {
    let mut bench = leader();
    bench.script().barred = Some(VotingBar::Stranger);
    for bar in [VotingBar::OlderCopy, VotingBar::FoundedOtherwise, VotingBar::WipedDisk] {
        bench.give(GroupInput::Barred(Some(bar)));
        assert_eq!(bench.replica.status().log.barred, Some(bar));
        assert_eq!(bench.replica.explain(), [Obstacle::MayNotVote(bar)]);
    }
    bench.give(GroupInput::Barred(None));
    bench.script().barred = Some(VotingBar::NotVoter);
    assert_eq!(bench.replica.status().log.barred, Some(VotingBar::NotVoter), "the core knows its configuration");
}

#[test]
fn status_says_what_the_group_was_founded_with() {
    let mut bench = leader();
    assert_eq!(bench.replica.status().founding, None, "nobody has said it");
    let founding = Founding::new(ChannelId::FIRST_CORE, Configuration::of_voters([NodeId(1), NodeId(2)]));
    bench.give(GroupInput::Founded(founding.clone()));
    assert_eq!(bench.replica.status().founding, Some(founding));
}

#[test]
fn an_entry_is_explained_from_its_write_to_its_application() {
    let settings = ReplicaSettings { apply_entries_max: 10, ..ReplicaSettings::default() };
    let mut bench = Bench::leader(settings);
    bench.log(|log| (0..20).for_each(|_| log.commit(Term(1), foreign(b"a"))));
    let explained = |bench: &Bench, index| bench.replica.explain_entry(LogIndex(index));
    assert_eq!(explained(&bench, 10), EntryState::Applied);
    assert_eq!(explained(&bench, 11), EntryState::Committed, "the turn is over");
    assert_eq!(explained(&bench, 21), EntryState::NotReached);
    bench.script().durable = Some(LogIndex(20));
    bench.script().entries.push((Term(1), foreign(b"a")));
    assert_eq!(explained(&bench, 21), EntryState::WaitsForOwnDisk);
    bench.script().durable = None;
    assert_eq!(explained(&bench, 21), EntryState::WaitsForPeers(Vec::new()), "no peer is known to be behind");
}

/// This holds however small the entries are, because their cost is not known.
#[test]
fn a_turn_applies_no_more_than_so_many_entries() {
    let settings = ReplicaSettings { apply_entries_max: 10, ..ReplicaSettings::default() };
    let mut bench = Bench::leader(settings);
    bench.log(|log| (0..100).for_each(|_| log.commit(Term(1), foreign(b"a"))));
    for turn in 1..=10 {
        assert_eq!(bench.replica.status().applied_index, LogIndex(turn * 10));
        assert_eq!(bench.replica.deadline(), (turn < 10).then_some(bench.now.instant), "the rest follows at once");
        bench.give(GroupInput::Signal(Signal::Timeout));
    }
    assert_eq!(bench.replica.status().applied_index, LogIndex(100));
}

/// Entries that were read from disk at once are applied in several turns as well.
#[test]
fn entries_that_were_read_are_applied_in_turns() {
    let settings = ReplicaSettings { apply_entries_max: 10, ..ReplicaSettings::default() };
    let mut bench = Bench::leader(settings);
    let (ticket, _) = commit_beyond_cache(&mut bench, 25);
    let loaded = (1..=25).map(|index| (LogIndex(index), Term(1), foreign(b"a"))).collect();
    bench.give(GroupInput::Signal(Signal::Loaded { ticket, result: Ok(Loaded::Entries(loaded)) }));
    for applied in [10, 20, 25] {
        assert_eq!(bench.replica.status().applied_index, LogIndex(applied));
        bench.give(GroupInput::Signal(Signal::Timeout));
    }
    assert_eq!(bench.outputs.iter().filter_map(load).count(), 1);
}

/// A failed read of entries does not affect entries behind a snapshot.
#[test]
fn after_a_snapshot_nothing_waits_for_an_earlier_failure() {
    let mut bench = leader();
    let (ticket, _) = commit_beyond_cache(&mut bench, 1);
    bench.give(GroupInput::Signal(Signal::Loaded { ticket, result: Err(LoadFailure::Io) }));
    let snapshot = snapshot_meta(1);
    bench.store.durable.insert(snapshot.index, (snapshot.clone(), vec![1, 0, 0, 0, 0, 0, 0, 0, 0]));
    bench.log(|log| {
        log.event(LogEvent::Installed { snapshot });
        log.commit(Term(1), foreign(b"b"));
    });
    assert_eq!(bench.replica.status().applied_index, LogIndex(2), "at once");
    assert_eq!(bench.replica.explain(), []);
}

#[test]
fn a_replica_does_not_start_with_settings_that_contradict_each_other() {
    for settings in [
        ReplicaSettings { chunk_bytes: usize::MAX, ..ReplicaSettings::default() },
        ReplicaSettings { apply_entries_max: 0, ..ReplicaSettings::default() },
        ReplicaSettings { hand_over_max: Duration::ZERO, ..ReplicaSettings::default() },
    ] {
        let refused = Bench::try_start(settings, Ledger::default());
        assert!(matches!(refused, Some(RecoverError::Settings(_))), "{refused:?}");
    }
}

#[test]
fn settings_without_bounds_are_no_trap() {
    let settings = ReplicaSettings {
        proposals_max: usize::MAX,
        proposals_bytes_max: usize::MAX,
        command_bytes_max: u32::MAX as usize,
        reads_max: usize::MAX,
        read_retry: Duration::MAX,
        hand_over_max: Duration::MAX,
        tick_interval_min: Duration::MAX,
        apply_bytes_max: usize::MAX,
        apply_entries_max: usize::MAX,
        snapshot_bytes: u64::MAX,
        snapshot_entries: u64::MAX,
        keep_entries: u64::MAX,
        keep_bytes: u64::MAX,
        retry: Duration::MAX,
        chunk_bytes: usize::MAX,
        window_bytes: usize::MAX,
        snapshot_sends_max: usize::MAX,
        snapshot_rate_max: None,
        transfer_retry: Duration::MAX.saturating_sub(Duration::from_nanos(1)),
        transfer_timeout: Duration::MAX,
        catch_up_entries: u64::MAX,
    };
    let mut bench = Bench::leader(settings);
    bench.log(|log| (0..100).for_each(|_| log.commit(Term(1), foreign(b"a"))));
    bench.replica.transfer(bench.now, CallId(1), Some(LEADER), Instant::from_nanos(u64::MAX));
    bench.replica.open_session(bench.now, CallId(2), Duration::MAX, Instant::from_nanos(u64::MAX));
    let request = LogRequest::ReceiveSnapshot { from: LEADER, term: Term(1), snapshot: snapshot_meta(500) };
    bench.log(|log| log.request(request));
    bench.give(received(LEADER, piece(Term(1), &snapshot_meta(500), 0, b"cont", u64::MAX)));
    let request = LogRequest::SendSnapshot { to: LEADER, term: Term(1), snapshot: snapshot_meta(1) };
    bench.log(|log| log.request(request));
    bench.give(GroupInput::Signal(Signal::CompactRequested));
    bench.give(GroupInput::Signal(Signal::Timeout));
    bench.give(GroupInput::Shutdown { deadline: Instant::from_nanos(u64::MAX) });
    assert_eq!(halt_of(&bench), None);
    assert_eq!(bench.replica.status().applied_index, LogIndex(101));
}

#[test]
fn a_hand_over_to_a_node_that_is_not_there_fails_at_once() {
    let mut bench = leader();
    let deadline = bench.now.instant.after(Duration::from_mins(1));
    bench.replica.transfer(bench.now, CallId(1), Some(LEADER), deadline);
    bench.settle();
    let answer = |bench: &mut Bench| {
        bench.outputs.drain(..).find_map(|output| match output {
            GroupOutput::Reply { reply: Reply::Transfer(answer), .. } => Some(answer),
            _ => None,
        })
    };
    assert_eq!(answer(&mut bench), Some(Err(TransferError::Unreachable(LEADER))));
    assert!(bench.script().commands.is_empty(), "commands are taken all the time");
    // The node was heard from: commands wait for it, but not until the deadline.
    bench.give(GroupInput::Signal(Signal::PeerAlive(LEADER)));
    bench.replica.transfer(bench.now, CallId(2), Some(LEADER), deadline);
    bench.settle();
    let timeout = ReplicaSettings::default().hand_over_max;
    assert_eq!(bench.script().commands, [LogCommand::Transfer { to: Some(LEADER), timeout }]);
    bench.now.instant = bench.now.instant.after(timeout);
    bench.give(GroupInput::Signal(Signal::Timeout));
    assert_eq!(answer(&mut bench), Some(Err(TransferError::DeadlinePassed)));
}

#[test]
fn a_node_that_stops_hands_over_again_when_nobody_took_it() {
    let mut bench = leader();
    let deadline = bench.now.instant.after(Duration::from_secs(5));
    bench.give(GroupInput::Shutdown { deadline });
    for _ in 0..10 {
        bench.now.instant = bench.now.instant.after(Duration::from_secs(1));
        bench.give(GroupInput::Signal(Signal::Timeout));
    }
    assert_eq!(bench.script().commands.len(), 3, "at 0, 2 and 4 s of 5");
}

#[test]
fn entries_that_left_the_cache_are_read_once() {
    let mut bench = leader();
    let (ticket, range) = commit_beyond_cache(&mut bench, 2);
    bench.log(|log| log.commit(Term(1), foreign(b"a")));
    assert!(matches!(range, LoadRange::Entries { range, .. } if range == (LogIndex(1)..LogIndex(3))));
    assert_eq!(bench.replica.explain(), [Obstacle::Loading(LogIndex(1))]);
    let loaded = [1, 2].map(|index| (LogIndex(index), Term(1), foreign(b"a"))).to_vec();
    bench.give(GroupInput::Signal(Signal::Loaded { ticket, result: Ok(Loaded::Entries(loaded)) }));
    assert_eq!(bench.replica.status().applied_index, LogIndex(3));
    assert_eq!(bench.outputs.iter().filter_map(load).count(), 1);
}

#[test]
fn a_read_waits_until_its_index_is_applied() {
    let mut bench = leader();
    let (ticket, _) = commit_beyond_cache(&mut bench, 1);
    let deadline = bench.now.instant.after(Duration::from_secs(5));
    bench.replica.read(bench.now, CallId(1), deadline);
    bench.settle();
    let is_ready = |output: &GroupOutput| matches!(output, GroupOutput::Reply { reply: Reply::ReadReady, .. });
    assert!(!bench.outputs.iter().any(is_ready), "entry 1 is still being read");
    let loaded = vec![(LogIndex(1), Term(1), foreign(b"a"))];
    bench.give(GroupInput::Signal(Signal::Loaded { ticket, result: Ok(Loaded::Entries(loaded)) }));
    assert!(bench.outputs.iter().any(is_ready));
}

#[test]
fn entries_that_cannot_be_read_are_tried_again_and_damaged_ones_halt() {
    let mut bench = leader();
    let (ticket, _) = commit_beyond_cache(&mut bench, 1);
    bench.give(GroupInput::Signal(Signal::Loaded { ticket, result: Err(LoadFailure::Io) }));
    assert_eq!(bench.replica.explain(), [Obstacle::LoadFailed(LogIndex(1))]);
    bench.outputs.clear();
    let retry_at = bench.replica.deadline().expect("it is tried again");
    bench.now.instant = retry_at;
    bench.give(GroupInput::Signal(Signal::Timeout));
    let (ticket, _) = bench.outputs.iter().find_map(load).expect("another load");
    bench.give(GroupInput::Signal(Signal::Loaded { ticket, result: Err(LoadFailure::Damaged) }));
    assert_eq!(halt_of(&bench), Some(&HaltReason::Damaged { index: LogIndex(1) }));
}

#[test]
fn a_state_machine_that_keeps_itself_is_given_only_what_it_does_not_have() {
    let mut bench = Bench::start_stored(two_entries(), 2).expect("the log has both");
    bench.log(|log| log.commit(Term(1), foreign(b"a")));
    assert_eq!(bench.replica.status().applied_index, LogIndex(3));
    assert_eq!(bench.replica.state().count("a"), 1);
}

#[test]
fn row_32_a_state_beyond_the_log_is_refused_with_both_indexes() {
    let refusal = Bench::start_stored(two_entries(), 3).err();
    assert_eq!(refusal, Some(RecoverError::StateMachineAhead { applied: LogIndex(3), last: LogIndex(2) }));
}

/// The state machine has stored the effect of an entry that the log gives up: it was never committed.
#[test]
fn row_32_a_state_beyond_the_commit_index_halts_the_group_before_its_entry_is_removed() {
    let mut bench = Bench::start_stored(two_entries(), 2).expect("the log has both");
    bench.log(|log| log.persist(vec![Operation::TruncateFrom { index: LogIndex(2) }]));
    let reason = HaltReason::StateMachineAhead { applied: LogIndex(2), committed: LogIndex(1) };
    assert_eq!(halt_of(&bench), Some(&reason));
    assert!(!bench.outputs.iter().any(|output| matches!(output, GroupOutput::Persist { .. })));
}

#[test]
fn a_mark_skips_the_command_that_it_names_and_no_other() {
    let poison = foreign(b"panic");
    let mark = SkippedCommand { index: LogIndex(2), term: Term(1), checksum: poison.header.checksum };
    let mut bench = leader();
    bench.replica = bench.replica.skipping(vec![mark]);
    bench.log(|log| {
        for entry in [foreign(b"a"), poison.clone(), foreign(b"b")] {
            log.commit(Term(1), entry);
        }
    });
    assert_eq!(halt_of(&bench), None);
    assert_eq!(bench.replica.status().applied_index, LogIndex(3));
    assert_eq!(bench.replica.state().counts.len(), 2);
    let is_said =
        |output: &GroupOutput| matches!(output, GroupOutput::Notice(Notice::CommandSkipped { index: LogIndex(2) }));
    assert!(bench.outputs.iter().any(is_said));

    let others = [SkippedCommand { term: Term(2), ..mark }, SkippedCommand { checksum: mark.checksum ^ 1, ..mark }];
    for other in others {
        let mut bench = leader();
        bench.replica = bench.replica.skipping(vec![other]);
        bench.log(|log| {
            log.commit(Term(1), foreign(b"a"));
            log.commit(Term(1), poison.clone());
        });
        assert!(matches!(halt_of(&bench), Some(HaltReason::StateMachine { index: LogIndex(2), .. })));
    }
}

fn two_entries() -> Vec<(Term, Entry)> {
    vec![(Term(1), foreign(b"a")), (Term(1), foreign(b"a"))]
}

#[test]
fn a_restore_that_fails_halts_the_group() {
    let recovery = Recovery { snapshot: Some(snapshot_meta(5)), ..Recovery::default() };
    let mut bench =
        Bench::start(ReplicaSettings::default(), true, recovery, Ledger::default(), MemorySnapshots::default());
    bench.settle();
    assert!(matches!(halt_of(&bench), Some(HaltReason::Restore(_))));
}

/// The log is of a later term from the snapshot on, so entries that were appended behind it in an earlier term are
/// gone.
#[test]
fn a_snapshot_of_a_later_term_supersedes_what_stood_behind_it() {
    let mut bench = leader();
    bench.script().appends_at = Some(LogIndex(9));
    let deadline = bench.now.instant.after(Duration::from_secs(5));
    let options = ProposeOptions { deadline, delivery: Delivery::AtMostOnce };
    bench.replica.propose(bench.now, CallId(1), Bytes::from_static(b"a"), options);
    bench.settle();
    let snapshot = SnapshotMeta { term: Term(3), ..snapshot_meta(5) };
    let without_sessions = vec![1, 0, 0, 0, 0, 0, 0, 0, 0];
    bench.store.durable.insert(snapshot.index, (snapshot.clone(), without_sessions));
    bench.log(|log| log.event(LogEvent::Installed { snapshot }));
    let superseded = Reply::Outcome(Outcome::NotApplied(NotApplied::Superseded));
    let is_told = |output: &GroupOutput| matches!(output, GroupOutput::Reply { reply, .. } if *reply == superseded);
    assert!(bench.outputs.iter().any(is_told), "{:?}", bench.outputs);
}

#[test]
fn pieces_of_nobody_that_was_admitted_are_refused() {
    let mut bench = Bench::follower(ReplicaSettings::default());
    let meta = snapshot_meta(5);
    let send = |from: u64, term: u64, bench: &mut Bench| {
        let frame = piece(Term(term), &meta, 0, b"\x01\0\0\0\0\0\0\0\0", 9);
        bench.give(received(NodeId(from), frame));
    };
    send(2, 1, &mut bench);
    assert_eq!(bench.replica.status().counters.pieces_refused, 1, "nothing was admitted");
    let request = LogRequest::ReceiveSnapshot { from: LEADER, term: Term(1), snapshot: meta.clone() };
    bench.log(|log| log.request(request));
    send(3, 1, &mut bench);
    send(2, 2, &mut bench);
    assert_eq!(bench.replica.status().counters.pieces_refused, 3, "another sender, another term");
    assert_eq!(bench.store.durable.len(), 0);
    send(2, 1, &mut bench);
    assert_eq!(bench.script().answers, [LogAnswer::SnapshotDurable { snapshot: meta }]);
}

#[test]
fn content_that_is_not_what_was_sent_is_never_kept() {
    let mut bench = Bench::follower(ReplicaSettings::default());
    let meta = snapshot_meta(5);
    let request = LogRequest::ReceiveSnapshot { from: LEADER, term: Term(1), snapshot: meta.clone() };
    bench.log(|log| log.request(request));
    let frame = piece_with(Term(1), &meta, 0, b"content", 7, 0xbad);
    bench.give(received(LEADER, frame));
    assert_eq!(bench.script().answers, [LogAnswer::SnapshotReceiveFailed]);
    assert!(bench.store.durable.is_empty());
}

fn load(output: &GroupOutput) -> Option<(Ticket, LoadRange)> {
    match output {
        GroupOutput::Load { ticket, range } => Some((*ticket, range.clone())),
        _ => None,
    }
}

#[test]
fn a_hand_over_to_a_node_that_may_not_lead_is_refused() {
    let mut bench = leader();
    let deadline = bench.now.instant.after(Duration::from_mins(1));
    bench.replica.transfer(bench.now, CallId(1), Some(NodeId(9)), deadline);
    bench.settle();
    let refused = Reply::Transfer(Err(TransferError::NotEligible(NodeId(9))));
    let is_refused = |output: &GroupOutput| matches!(output, GroupOutput::Reply { reply, .. } if *reply == refused);
    assert!(bench.outputs.iter().any(is_refused));
    assert!(bench.script().commands.is_empty());
}

/// A follower that answers and does not write is named on the leader.
#[test]
fn a_peer_whose_disk_stands_still_is_named() {
    let bench = leader();
    bench.script().peers = vec![PeerProgress {
        node: LEADER,
        match_index: LogIndex(1),
        next_index: LogIndex(2),
        state: ProgressState::Replicate,
        disk: DiskState::Stalled,
        is_active: true,
    }];
    assert_eq!(bench.replica.explain(), [Obstacle::PeerDisk { node: LEADER, disk: DiskState::Stalled }]);
}

/// A client that saw entry 3 elsewhere sees it here as well.
#[test]
fn a_read_of_a_given_index_waits_for_it_and_asks_no_other_node() {
    let mut bench = Bench::follower(ReplicaSettings::default());
    let deadline = bench.now.instant.after(Duration::from_secs(1));
    let answered = |bench: &mut Bench| -> Vec<(CallId, Reply)> {
        let replies = bench.outputs.drain(..).filter_map(|output| match output {
            GroupOutput::Reply { call, reply } => Some((call, reply)),
            _ => None,
        });
        replies.collect()
    };
    for (call, index) in [(1, 3), (2, 2), (3, 9)] {
        bench.replica.read_at_least(bench.now, CallId(call), LogIndex(index), deadline);
    }
    bench.log(|log| log.commit(Term(1), foreign(b"a")));
    assert_eq!(answered(&mut bench), []);
    bench.log(|log| log.commit(Term(1), foreign(b"b")));
    assert_eq!(answered(&mut bench), [(CallId(2), Reply::ReadReady)]);
    bench.log(|log| log.commit(Term(1), foreign(b"c")));
    assert_eq!(answered(&mut bench), [(CallId(1), Reply::ReadReady)]);
    bench.replica.read_at_least(bench.now, CallId(4), LogIndex(3), deadline);
    bench.settle();
    assert_eq!(answered(&mut bench), [(CallId(4), Reply::ReadReady)], "it is applied already");
    bench.now.instant = deadline;
    bench.give(GroupInput::Signal(Signal::Timeout));
    let late = Reply::ReadFailed(ReadError::DeadlinePassed(None));
    assert_eq!(answered(&mut bench), [(CallId(3), late)], "nobody has written so much");
}

/// A read by a lease takes no message, and its result is void if the lease ended before the clock was read again.
#[test]
fn a_read_by_a_lease_checks_it_again_after_the_access() {
    let mut bench = leader();
    bench.log(|log| log.commit(Term(1), foreign(b"a")));
    let (before, end) = (bench.now, bench.now.instant.after(Duration::from_millis(400)));
    assert_eq!(bench.replica.read_by_lease(|| before, |_, context| context.index), None, "no lease");
    bench.script().leased_until = end;
    let index = bench.script().entries.len() as u64;
    let reads = bench.replica.status().counters.reads;
    assert_eq!(bench.replica.read_by_lease(|| before, |_, context| context.index), Some(LogIndex(index)));
    assert_eq!(bench.replica.status().counters.reads, reads + 1);
    // The node is stopped while the state is read.
    let now = std::cell::Cell::new(before);
    let stops = |_: &_, _| now.set(Now { instant: end, ..before });
    assert_eq!(bench.replica.read_by_lease(|| now.get(), stops), None);
    assert_eq!(bench.replica.read_by_lease(|| now.get(), |_, _| panic!("the lease has ended")), None::<()>);
}

/// Entries that are committed and not applied yet are not missed.
#[test]
fn a_read_by_a_lease_waits_for_no_entry() {
    let mut bench = leader();
    bench.script().leased_until = Instant::from_nanos(u64::MAX);
    let now = bench.now;
    assert!(bench.replica.read_by_lease(|| now, |_, _| ()).is_some());
    bench.script().commit(Term(1), foreign(b"a"));
    assert_eq!(bench.replica.read_by_lease(|| now, |_, _| ()), None);
    bench.settle();
    assert!(bench.replica.read_by_lease(|| now, |_, _| ()).is_some());
}
