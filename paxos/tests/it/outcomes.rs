//! A proposer learns the truth: whose value is chosen, and which proposal was certainly not tried.

use std::time::Duration;

use quorate_paxos::synod::testing::{Answers, Builder, Calls, Cluster};
use quorate_paxos::synod::{CommandRefusal, DecisionObstacle, Event, Proposal, ProposalOutcome, ReadOutcome};
use quorate_protocol::{NodeId, ProposalId};

use crate::support::{is_accept, is_prepare, is_promise, three};

/// Two clients propose two values under one id. One of them has lost, and is told so.
#[test]
fn one_id_with_two_values_is_not_chosen_twice() {
    let mut told = Vec::new();
    for seed in 0..20 {
        let mut cluster = Builder::new(3, seed).start();
        let id = ProposalId { sequence: 1, ..ProposalId::default() };
        cluster.faults.latency_max = Duration::from_millis(1);
        cluster.propose_again(1, id, b"alice");
        cluster.propose_again(2, id, b"bob");
        cluster.run(Duration::from_secs(3));
        let chosen = cluster.node(3).chosen().expect("it is decided").clone();
        let of = |value: &str| {
            if chosen.value == value {
                ProposalOutcome::Chosen
            } else {
                ProposalOutcome::IdReused { chosen: chosen.clone() }
            }
        };
        assert_eq!(cluster.node(1).outcome(id), Some(&of("alice")));
        assert_eq!(cluster.node(2).outcome(id), Some(&of("bob")));
        cluster.propose_again(3, id, b"carol");
        assert_eq!(cluster.node(3).outcome(id), Some(&of("carol")), "also when it is decided already");
        told.push(chosen.value);
    }
    assert!(
        told.iter().any(|value| value == "alice") && told.iter().any(|value| value == "bob"),
        "each wins sometimes"
    );
}

#[test]
fn a_second_value_under_an_id_that_waits_is_refused() {
    let mut cluster = three();
    cluster.isolate(1);
    let id = cluster.propose(1, b"one");
    cluster.propose_again(1, id, b"one");
    assert_eq!(cluster.node(1).outcome(id), None, "the same is asked for twice");
    cluster.propose_again(1, id, b"other");
    assert_eq!(cluster.node(1).outcome(id), Some(&ProposalOutcome::NotTried(CommandRefusal::IdReused)));
}

/// A client that proposes both values on one node, before it hears of either, can tell the two answers apart.
#[test]
fn an_outcome_names_its_value() {
    let mut cluster = three();
    let id = cluster.propose(1, b"one");
    cluster.propose_again(1, id, b"other");
    cluster.run(Duration::from_secs(1));
    let told = cluster.node(1).events.iter().filter_map(|event| match event {
        Event::Proposed { id: told, checksum, outcome } if *told == id => Some((*checksum, outcome.clone())),
        _ => None,
    });
    let checksum = |value: &'static [u8]| Proposal::new(id, value).checksum;
    let refused = ProposalOutcome::NotTried(CommandRefusal::IdReused);
    assert_eq!(told.collect::<Vec<_>>(), [(checksum(b"other"), refused), (checksum(b"one"), ProposalOutcome::Chosen)]);
}

/// Only a proposal that some acceptor was asked to accept may still be chosen.
#[test]
fn what_was_asked_of_nobody_is_not_unknown() {
    let mut cluster = three();
    cluster.park_all();
    let (first, second) = (cluster.propose(1, b"one"), cluster.propose(1, b"two"));
    cluster.deliver();
    cluster.release_if(|_, to, message| to == 2 && is_prepare(message));
    cluster.release_if(|_, _, message| is_promise(message));
    assert!(cluster.parked().iter().any(|(_, _, message)| is_accept(message)));
    cluster.propose_again(1, first, b"one");
    cluster.run(Duration::from_secs(6));
    let told = |cluster: &Cluster, id| -> Vec<ProposalOutcome> {
        let events = cluster.node(1).events.iter().filter_map(|event| match event {
            Event::Proposed { id: told, outcome, .. } if *told == id => Some(outcome.clone()),
            _ => None,
        });
        events.collect()
    };
    assert_eq!(
        told(&cluster, first),
        [ProposalOutcome::Unknown, ProposalOutcome::Unknown],
        "its twin was not asked for apart"
    );
    assert_eq!(told(&cluster, second), [ProposalOutcome::NotTried(CommandRefusal::TimedOut)]);
}

/// Every node must be introduced once. Until then no node votes, and a proposer is told the reason.
#[test]
fn two_of_three_fresh_nodes_say_who_is_missing() {
    let mut cluster = Builder::new(3, 1).strangers().start();
    let (id, read) = (cluster.propose(1, b"one"), cluster.read(1));
    let missing = vec![NodeId(2), NodeId(3)];
    assert_eq!(cluster.node(1).core().explain()[0], DecisionObstacle::NotIntroduced { missing });
    cluster.run(Duration::from_secs(5));
    assert_eq!(cluster.node(1).outcome(id), Some(&ProposalOutcome::NotTried(CommandRefusal::NotIntroduced)));
    assert_eq!(cluster.node(1).read(read), Some(&ReadOutcome::Failed(CommandRefusal::NotIntroduced)));
    assert!((1..=3).all(|node| cluster.node(node).traffic.writes == 0), "nobody promised anything");
    let early = cluster.propose(1, b"early");
    cluster.introduce_all();
    cluster.run(Duration::from_secs(1));
    assert_eq!(cluster.node(1).outcome(early), Some(&ProposalOutcome::Chosen), "it waited for them");
    assert_eq!(cluster.node(1).core().explain(), []);
}

/// The writes of a ballot: the round, the promise, the acceptance, the decision.
#[test]
fn a_decision_waits_for_four_syncs() {
    for count in [1, 3, 5] {
        let mut cluster = Builder::new(count, 1).start();
        (1..=count).for_each(|node| cluster.hold_disk(node));
        let id = cluster.propose(1, b"one");
        cluster.deliver();
        let mut syncs = 0;
        while cluster.node(1).outcome(id).is_none() {
            syncs += 1;
            assert!(cluster.sync() > 0, "it waits for a write");
        }
        // In a group of one, the write of the round is that of the promise too.
        assert_eq!(syncs, if count == 1 { 3 } else { 4 }, "{count} nodes");
        assert_eq!(cluster.node(1).outcome(id), Some(&ProposalOutcome::Chosen));
        let others = (2..=count).all(|node| cluster.node(node).chosen().is_none());
        assert!(others, "they make it durable as well");
        cluster.sync();
        assert!((2..=count).all(|node| cluster.node(node).chosen().is_some()), "and that is the fifth");
    }
}
