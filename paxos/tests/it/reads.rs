//! Reads ask a quorum, and do not disturb proposers.

use std::time::Duration;

use quorate_paxos::QuorumSystem;
use quorate_paxos::synod::testing::{Answers, Builder, Calls, Records};
use quorate_paxos::synod::{GroupRoles, ProposalOutcome, ReadOutcome};
use quorate_protocol::NodeId;

use crate::support::{is_accept, is_prepare, is_promise, is_report, prepare_with, propose_parked, three};

/// Readers ask again as soon as they are answered, and proposals are still decided within a few rounds on these disks.
#[test]
fn readers_that_poll_starve_no_proposer() {
    for (write_us, readers) in [(500, &[1, 3][..]), (2_000, &[1, 3]), (8_000, &[1, 2, 3]), (20_000, &[1, 3])] {
        let mut answered = 0;
        for seed in 0..20 {
            let mut cluster = Builder::new(3, seed).start();
            cluster.faults.latency_max = Duration::from_micros(500);
            cluster.faults.write_max = Duration::from_micros(write_us);
            let mut open: Vec<_> = readers.iter().map(|node| (*node, cluster.read(*node))).collect();
            cluster.run(Duration::from_millis(50));
            let id = cluster.propose(2, b"two");
            let begun = cluster.now();
            while cluster.node(2).outcome(id).is_none() {
                cluster.run(Duration::from_micros(200));
                for (node, read) in &mut open {
                    if cluster.node(*node).read(*read).is_some() {
                        answered += 1;
                        *read = cluster.read(*node);
                    }
                }
            }
            assert_eq!(cluster.node(2).outcome(id), Some(&ProposalOutcome::Chosen));
            let took = cluster.now().since(begun);
            assert!(took < Duration::from_millis(300), "writes of {write_us} us, seed {seed}: {took:?}");
        }
        assert!(answered > 100, "readers are answered as well: {answered}");
    }
}

#[test]
fn a_read_writes_nothing_and_takes_one_round_trip() {
    let mut cluster = three();
    let read = cluster.read(1);
    cluster.deliver();
    assert_eq!(cluster.node(1).read(read), Some(&ReadOutcome::NoneYet));
    assert_eq!(cluster.traffic().messages, 4, "two questions and two answers");
    assert!((1..=3).all(|node| cluster.node(node).traffic.writes == 0));
}

/// A proposal that a quorum has accepted in one ballot is chosen: a read finds it without a ballot.
#[test]
fn what_a_quorum_accepted_is_found_without_a_ballot() {
    let mut cluster = three();
    propose_parked(&mut cluster);
    cluster.release_if(|_, _, message| is_prepare(message));
    cluster.release_if(|_, _, message| is_promise(message));
    cluster.release_if(|_, _, message| is_accept(message));
    cluster.crash(1);
    cluster.forget_parked();
    let promised = cluster.node(3).disk.promised();
    let read = cluster.read(2);
    cluster.deliver();
    assert!(matches!(cluster.node(2).read(read), Some(ReadOutcome::Chosen(chosen)) if chosen.value == "one"));
    assert_eq!(cluster.node(3).disk.promised(), promised);
}

/// An acceptance on its way to the disk may be lost, so it is reported only when it is durable.
#[test]
fn an_acceptance_is_reported_once_it_is_durable() {
    let mut cluster = three();
    prepare_with(&mut cluster, 2);
    cluster.hold_disk(2);
    cluster.release_if(|_, to, message| to == 2 && is_accept(message));
    cluster.read(3);
    cluster.deliver();
    cluster.release_if(|_, to, _| to == 2);
    assert!(!cluster.parked().iter().any(|(from, _, message)| from.0 == 2 && is_report(message)));
    cluster.release_disk(2);
    assert!(cluster.parked().iter().any(|(from, _, message)| from.0 == 2 && is_report(message)));
}

/// If every acceptor must accept, one that has accepted nothing is enough to know; if one is enough, all must be asked.
#[test]
fn an_answer_takes_those_who_meet_every_quorum() {
    for (accept, needed) in [(3, 1_u64), (2, 2), (1, 3)] {
        let quorums = QuorumSystem::flexible([1, 2, 3].map(NodeId), 4 - accept, accept).expect("they meet");
        let mut cluster = Builder::new(3, 1).settings(GroupRoles::of(quorums).into()).start();
        for node in (needed + 1)..=3 {
            cluster.crash(node);
        }
        let read = cluster.read(1);
        cluster.run(Duration::from_secs(1));
        assert_eq!(cluster.node(1).read(read), Some(&ReadOutcome::NoneYet), "{accept} must accept");
        if needed > 1 {
            cluster.crash(needed);
            let read = cluster.read(1);
            cluster.run(Duration::from_secs(1));
            assert_eq!(cluster.node(1).read(read), None, "{accept} must accept");
        }
    }
}

/// Reports for an earlier start answer no query of this start.
#[test]
fn reports_from_before_a_restart_count_for_nothing() {
    let mut cluster = three();
    cluster.park_all();
    cluster.read(1);
    cluster.deliver();
    cluster.release_if(|_, _, message| !is_report(message));
    cluster.crash(1);
    cluster.restart(1);
    let read = cluster.read(1);
    cluster.deliver();
    assert_eq!(cluster.release_if(|_, to, message| to == 1 && is_report(message)), 2);
    assert_eq!(cluster.node(1).read(read), None);
    assert_eq!(cluster.node(1).core().status().ignored["stale_answer"], 2);
    cluster.release();
    assert_eq!(cluster.node(1).read(read), Some(&ReadOutcome::NoneYet));
}
