//! One test for each row of the table of outcomes.

use quorate_protocol::{HaltReason, PersistFailure, RefuseReason, Signal, Standing, StorageLevel, Ticket, VotingBar};
use quorate_raft::Settings;
use quorate_runtime::group::{Group, GroupInput};
use quorate_runtime::{Delivery, NotApplied, Outcome, ReplicaSettings, Unknown};
use quorate_transport::ChannelId;

use crate::cluster::{Cluster, N1, N2, N3};

fn unknown(reason: Unknown) -> Outcome {
    Outcome::Unknown { reason, retry: None }
}

fn refused(reason: RefuseReason) -> Outcome {
    Outcome::NotApplied(NotApplied::Refused { reason, leader: Some(N1) })
}

#[test]
fn applied_on_the_leader_and_on_every_other() {
    let mut cluster = Cluster::led();
    assert_eq!(cluster.execute(N1, "a"), Outcome::Applied("1".into()));
    assert_eq!(cluster.execute(N2, "a"), Outcome::Applied("2".into()));
    assert_eq!(cluster.execute(N3, "a"), Outcome::Applied("3".into()));
    cluster.run(200);
    assert!([N1, N2, N3].into_iter().all(|node| cluster.ledger(node).count("a") == 3));
}

#[test]
fn not_applied_when_nobody_leads_until_the_deadline() {
    let mut cluster = Cluster::start(3);
    cluster.crash(N2);
    cluster.crash(N3);
    assert_eq!(cluster.execute(N1, "a"), Outcome::NotApplied(NotApplied::NoLeader));
}

#[test]
fn what_waits_for_a_leader_goes_as_soon_as_there_is_one() {
    let mut cluster = Cluster::start(3);
    let calls = [N1, N2, N3].map(|node| (node, cluster.propose(node, "a", Delivery::AtMostOnce)));
    for (node, call) in calls {
        assert!(matches!(cluster.outcome(node, call), Outcome::Applied(_)));
    }
    cluster.run(200);
    assert_eq!(cluster.ledger(N1).count("a"), 3);
}

#[test]
fn not_applied_when_the_leader_it_was_forwarded_to_leads_no_more() {
    let mut cluster = Cluster::led();
    cluster.parked_links.insert((N2, N1));
    let deadline = cluster.deadline(60_000);
    let call = cluster.propose_until(N2, "a", Delivery::AtMostOnce, deadline);
    cluster.cut.extend([(N1, N2), (N1, N3), (N3, N1)]);
    cluster.run(3000);
    assert!(cluster.leader().is_some_and(|leader| leader != N1));
    cluster.heal();
    cluster.release();
    let outcome = cluster.outcome(N2, call);
    let Outcome::NotApplied(NotApplied::Refused { reason, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(reason, RefuseReason::NotLeader);
    cluster.run(1000);
    assert_eq!(cluster.ledger(N1).count("a"), 0);
}

/// The proposal may be intended for another node 1, that of the stranger's cluster.
#[test]
fn not_applied_when_the_leader_takes_who_forwards_for_a_stranger() {
    let mut cluster = Cluster::led();
    cluster.give(N1, GroupInput::Signal(Signal::PeerStanding { node: N2, standing: Standing::Stranger }));
    assert_eq!(cluster.execute(N2, "a"), refused(RefuseReason::NotLeader));
    cluster.run(1000);
    assert_eq!(cluster.ledger(N1).count("a"), 0);
}

/// Its commands are refused before they are sent: the session of an older copy may have been used before.
#[test]
fn not_applied_when_the_node_knows_that_it_is_a_stranger() {
    let mut cluster = Cluster::led();
    for bar in [VotingBar::WipedDisk, VotingBar::OlderCopy, VotingBar::FoundedOtherwise] {
        cluster.give(N2, GroupInput::Barred(Some(bar)));
        assert_eq!(cluster.execute(N2, "a"), Outcome::NotApplied(NotApplied::Stranger(bar)));
    }
    cluster.give(N2, GroupInput::Barred(Some(VotingBar::NotIntroduced)));
    assert_eq!(cluster.execute(N2, "a"), Outcome::Applied("1".into()), "this passes by itself");
}

#[test]
fn not_applied_when_another_entry_took_its_place() {
    let mut cluster = Cluster::led();
    cluster.isolate(N1);
    let deadline = cluster.deadline(60_000);
    let own = cluster.propose_until(N1, "lost", Delivery::AtMostOnce, deadline);
    cluster.run(3000);
    assert_eq!(cluster.execute(N2, "kept"), Outcome::Applied("1".into()));
    cluster.heal();
    assert_eq!(cluster.outcome(N1, own), Outcome::NotApplied(NotApplied::Superseded));
    assert_eq!(cluster.ledger(N1).count("lost"), 0);
}

#[test]
fn a_deposed_leader_tells_who_forwarded_that_it_came_to_nothing() {
    let mut cluster = Cluster::led();
    // Node 2 reaches the leader, whose entries reach no node.
    cluster.parked_links.extend([(N1, N2), (N1, N3), (N3, N1)]);
    let deadline = cluster.deadline(60_000);
    let call = cluster.propose_until(N2, "lost", Delivery::AtMostOnce, deadline);
    cluster.drop_parked();
    cluster.isolate(N1);
    cluster.run(3000);
    assert_eq!(cluster.execute(N3, "kept"), Outcome::Applied("1".into()));
    cluster.heal();
    assert_eq!(cluster.outcome(N2, call), Outcome::NotApplied(NotApplied::Superseded));
}

#[test]
fn unknown_when_a_forward_was_lost() {
    let mut cluster = Cluster::led();
    cluster.lost_channels.insert(ChannelId::REPLICA);
    let before = cluster.now.instant;
    let call = cluster.propose(N2, "a", Delivery::AtMostOnce);
    assert_eq!(cluster.outcome(N2, call), unknown(Unknown::DeadlinePassed));
    assert!(cluster.now.instant.since(before).as_secs() >= 5, "at its deadline and not before");
    assert_eq!(cluster.ledger(N1).count("a"), 0);
}

#[test]
fn a_lost_answer_is_made_good_by_the_log() {
    let mut cluster = Cluster::led();
    cluster.parked_links.insert((N1, N2));
    let call = cluster.propose(N2, "a", Delivery::AtMostOnce);
    cluster.drop_parked();
    assert_eq!(cluster.outcome(N2, call), Outcome::Applied("1".into()));
}

#[test]
fn unknown_when_the_deadline_passes_on_its_way() {
    let mut cluster = Cluster::led();
    cluster.isolate(N1);
    let deadline = cluster.deadline(100);
    let call = cluster.propose_until(N1, "a", Delivery::AtMostOnce, deadline);
    assert_eq!(cluster.outcome(N1, call), unknown(Unknown::DeadlinePassed));
    cluster.heal();
    cluster.run(300);
    assert_eq!(cluster.ledger(N1).count("a"), 1, "it was applied after all");
}

#[test]
fn not_applied_when_too_many_wait_here() {
    let settings = ReplicaSettings { proposals_max: 2, ..ReplicaSettings::default() };
    let mut cluster = Cluster::start_with(3, settings, Settings::default());
    cluster.elect(N1);
    cluster.isolate(N1);
    let calls = ["a", "b"].map(|command| cluster.propose(N1, command, Delivery::AtMostOnce));
    assert_eq!(cluster.execute(N1, "c"), Outcome::NotApplied(NotApplied::Overloaded));
    cluster.heal();
    for call in calls {
        assert!(matches!(cluster.outcome(N1, call), Outcome::Applied(_)));
    }
    assert!(matches!(cluster.execute(N1, "c"), Outcome::Applied(_)));
}

#[test]
fn not_applied_when_too_many_bytes_wait_here() {
    let settings = ReplicaSettings { proposals_bytes_max: 10, command_bytes_max: 8, ..ReplicaSettings::default() };
    let mut cluster = Cluster::start_with(3, settings, Settings::default());
    cluster.elect(N1);
    cluster.isolate(N1);
    cluster.propose(N1, "12345678", Delivery::AtMostOnce);
    assert_eq!(cluster.execute(N1, "123"), Outcome::NotApplied(NotApplied::Overloaded));
    assert_eq!(cluster.execute(N1, "123456789"), Outcome::NotApplied(NotApplied::TooLarge));
}

#[test]
fn not_applied_when_too_much_waits_at_the_leader() {
    let raft = Settings { entry_bytes_max: 1000, uncommitted_bytes_max: 1000, ..Settings::default() };
    let mut cluster = Cluster::start_with(3, ReplicaSettings::default(), raft);
    cluster.elect(N1);
    cluster.cut.extend([(N1, N3), (N3, N1)]);
    cluster.parked_links.insert((N1, N2));
    cluster.propose(N1, &"a".repeat(900), Delivery::AtMostOnce);
    let here = cluster.propose(N1, &"b".repeat(900), Delivery::AtMostOnce);
    assert_eq!(cluster.outcome(N1, here), refused(RefuseReason::Overloaded));
    let forwarded = cluster.propose(N2, &"c".repeat(900), Delivery::AtMostOnce);
    cluster.release();
    assert_eq!(cluster.outcome(N2, forwarded), refused(RefuseReason::Overloaded));
}

#[test]
fn not_applied_when_the_leaders_disk_is_full() {
    let mut cluster = Cluster::led();
    cluster.give(N1, GroupInput::Signal(Signal::Storage(StorageLevel::Low)));
    assert_eq!(cluster.execute(N1, "a"), refused(RefuseReason::DiskFull));
    assert_eq!(cluster.execute(N2, "a"), refused(RefuseReason::DiskFull));
    cluster.give(N1, GroupInput::Signal(Signal::Storage(StorageLevel::Enough)));
    assert_eq!(cluster.execute(N2, "a"), Outcome::Applied("1".into()));
}

#[test]
fn not_applied_once_the_node_shuts_down() {
    let mut cluster = Cluster::led();
    let deadline = cluster.deadline(2000);
    cluster.give(N1, GroupInput::Shutdown { deadline });
    assert_eq!(cluster.execute(N1, "a"), Outcome::NotApplied(NotApplied::ShuttingDown));
    cluster.run(500);
    assert!(cluster.leader().is_some_and(|leader| leader != N1), "leadership was handed over");
    assert!(cluster.replica(N1).is_settled());
    assert_eq!(cluster.execute(N2, "a"), Outcome::Applied("1".into()));
}

#[test]
fn what_waits_for_a_leader_when_the_node_shuts_down_is_not_applied() {
    let mut cluster = Cluster::start(3);
    let call = cluster.propose(N1, "a", Delivery::AtMostOnce);
    let deadline = cluster.deadline(2000);
    cluster.give(N1, GroupInput::Shutdown { deadline });
    assert_eq!(cluster.outcome(N1, call), Outcome::NotApplied(NotApplied::ShuttingDown));
}

#[test]
fn unknown_when_the_log_fails_on_its_way_and_not_applied_afterwards() {
    let mut cluster = Cluster::led();
    cluster.isolate(N1);
    let call = cluster.propose(N1, "a", Delivery::AtMostOnce);
    cluster.give(
        N1,
        GroupInput::Signal(Signal::PersistFailed { ticket: Ticket(u64::MAX), failure: PersistFailure::Unknown }),
    );
    let reason = HaltReason::LogFailed(PersistFailure::Unknown);
    assert_eq!(cluster.outcome(N1, call), unknown(Unknown::Halted(reason.clone())));
    assert_eq!(cluster.machine(N1).halted, Some(reason.clone()));
    assert_eq!(cluster.execute(N1, "b"), Outcome::NotApplied(NotApplied::Halted(reason)));
}

#[test]
fn unknown_when_the_state_machine_panics_and_the_command_is_never_skipped() {
    let mut cluster = Cluster::led();
    assert_eq!(cluster.execute(N1, "a"), Outcome::Applied("1".into()));
    let call = cluster.propose(N1, "panic", Delivery::AtMostOnce);
    let outcome = cluster.outcome(N1, call);
    let Outcome::Unknown { reason: Unknown::Halted(HaltReason::StateMachine { index, .. }), .. } = outcome else {
        panic!("{outcome:?}")
    };
    cluster.run(5000);
    let halted: Vec<HaltReason> = cluster.nodes.values().filter_map(|machine| machine.halted.clone()).collect();
    assert!(halted.len() >= 2, "the next leader met the same fate");
    for reason in halted {
        assert!(matches!(reason, HaltReason::StateMachine { index: at, .. } if at == index), "{reason:?}");
    }
    cluster.crash(N1);
    cluster.boot(N1);
    cluster.run(5000);
    for node in [N1, N2, N3] {
        assert!(cluster.replica(node).status().applied_index < index, "a restart does not skip it either");
    }
}

#[test]
fn a_replica_halted_from_outside_answers_everybody() {
    let mut cluster = Cluster::led();
    cluster.isolate(N1);
    let call = cluster.propose(N1, "a", Delivery::AtMostOnce);
    let reason = HaltReason::Panicked("a bug".into());
    cluster.replica(N1).halted(&reason);
    assert_eq!(cluster.outcome(N1, call), unknown(Unknown::Halted(reason)));
}

/// Node 2 runs on an older copy of its disk, whose session was used before. A client writes before the node is told.
#[test]
fn an_older_copy_does_not_take_an_entry_of_its_former_life_for_its_own() {
    let mut cluster = Cluster::led();
    cluster.run(200);
    let (copy, start) = (cluster.machine(N2).disk.clone(), cluster.machine(N2).start);
    cluster.crash(N2);
    cluster.boot(N2);
    cluster.run(200);
    assert_eq!(cluster.execute(N2, "early"), Outcome::Applied("1".into()));
    cluster.run(200);
    cluster.crash(N2);
    // The copy is put back, so its next start has the same number.
    cluster.machine(N2).disk = copy;
    cluster.machine(N2).start = start;
    cluster.isolate(N2);
    cluster.boot(N2);
    let unsent = cluster.propose(N2, "late", Delivery::AtMostOnce);
    cluster.heal();
    cluster.cut.insert((N2, N1));
    cluster.run(20);
    let forwarded = cluster.propose(N2, "later", Delivery::AtMostOnce);
    // A peer tells it. Its frames are held back from then on; what peers say arrives.
    let bar = VotingBar::OlderCopy;
    cluster.give(N2, GroupInput::Barred(Some(bar)));
    for node in [N1, N2, N3] {
        cluster.give(node, GroupInput::Signal(Signal::PeerStanding { node: N2, standing: Standing::Stranger }));
    }
    assert!(cluster.lost_channels.insert(ChannelId::REPLICA));
    cluster.cut.clear();
    let outcomes = [unsent, forwarded].map(|call| cluster.outcome(N2, call));
    for outcome in outcomes {
        let is_told = matches!(
            outcome,
            Outcome::NotApplied(NotApplied::Stranger(_)) | Outcome::Unknown { reason: Unknown::Stranger(_), .. }
        );
        assert!(is_told, "{outcome:?}");
    }
    cluster.run(1000);
    assert_eq!((cluster.ledger(N1).count("late"), cluster.ledger(N1).count("later")), (0, 0));
}
