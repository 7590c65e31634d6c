//! Scenarios that any serious Paxos must pass, by their number in the project's list. The others concern a log of
//! decisions.

use std::time::Duration;

use quorate_paxos::synod::testing::{Answers, Builder, Calls, Cluster, Records};
use quorate_paxos::synod::{CommandRefusal, Message, ProposalOutcome, ReadOutcome};
use quorate_protocol::testing::PowerCut;
use quorate_protocol::{Input, NodeId};

use crate::support::{
    accept, ballot, is_accept, is_accepted, is_prepare, is_promise, is_query, is_report, prepare, prepare_with,
    proposal, propose_parked, three,
};

fn value_of(outcome: Option<&ReadOutcome>) -> Option<Vec<u8>> {
    match outcome {
        Some(ReadOutcome::Chosen(proposal)) => Some(proposal.value.to_vec()),
        Some(ReadOutcome::NoneYet) => None,
        other => panic!("the read has an answer: {other:?}"),
    }
}

/// Makes node 1 prepare with nodes 1 and `with`, and has its proposal accepted there without telling any other node.
fn accepted_at_two(cluster: &mut Cluster, with: u64) {
    prepare_with(cluster, with);
    cluster.release_if(|_, to, message| to == with && is_accept(message));
    assert!(cluster.node(with).disk.accepted().is_some());
}

#[test]
fn row_05_what_is_chosen_and_known_to_nobody_is_found() {
    let mut cluster = three();
    accepted_at_two(&mut cluster, 2);
    cluster.crash(1);
    cluster.forget_parked();
    let id = cluster.propose(2, b"two");
    cluster.run(Duration::from_secs(1));
    let one = cluster.node(2).chosen().expect("it is found").clone();
    assert_eq!(one.value, "one");
    assert_eq!(cluster.node(2).outcome(id), Some(&ProposalOutcome::Superseded { chosen: one.clone() }));
    assert_eq!(cluster.node(3).chosen(), Some(&one));
    cluster.restart(1);
    cluster.run(Duration::from_secs(1));
    assert_eq!(cluster.node(1).chosen(), Some(&one));
}

#[test]
fn row_05_nobody_needs_to_ask() {
    let mut cluster = Builder::new(3, 1).start();
    accepted_at_two(&mut cluster, 2);
    cluster.crash(1);
    cluster.forget_parked();
    cluster.run(Duration::from_secs(10));
    for node in [2, 3] {
        assert_eq!(cluster.node(node).chosen().expect("it is decided").value, "one");
    }
}

#[test]
fn row_06_a_minority_that_accepted_and_reads_of_other_quorums() {
    let mut cluster = three();
    prepare_with(&mut cluster, 2);
    assert!(cluster.node(1).disk.accepted().is_some(), "accepted at 1 and nowhere else");
    cluster.crash(1);
    cluster.forget_parked();

    let first = cluster.read(2);
    cluster.run(Duration::from_secs(1));
    assert_eq!(value_of(cluster.node(2).read(first)), None, "2 and 3 know of nothing");
    cluster.crash(3);
    cluster.restart(1);
    let second = cluster.read(2);
    cluster.run(Duration::from_secs(5));
    assert_eq!(
        value_of(cluster.node(2).read(second)).as_deref(),
        Some(&b"one"[..]),
        "1 and 2 choose what 1 had accepted"
    );

    cluster.crash(1);
    cluster.restart(3);
    for node in [2, 3] {
        let third = cluster.read(node);
        cluster.run(Duration::from_secs(5));
        assert_eq!(value_of(cluster.node(node).read(third)).as_deref(), Some(&b"one"[..]));
    }
}

#[test]
fn row_06_a_read_that_began_late_is_not_answered_by_early_reports() {
    let mut cluster = three();
    cluster.park_all();
    let early = cluster.read(1);
    cluster.deliver();
    cluster.release_if(|_, to, message| to == 2 && is_query(message));
    let late = cluster.read(1);
    cluster.deliver();
    cluster.release_if(|_, _, message| is_report(message));
    assert_eq!(value_of(cluster.node(1).read(early)), None);
    assert_eq!(cluster.node(1).read(late), None, "the answer is older than the question");
    cluster.release();
    cluster.run(Duration::from_secs(1));
    assert_eq!(value_of(cluster.node(1).read(late)), None);
}

#[test]
fn row_07_to_accept_is_to_promise() {
    let mut cluster = three();
    let system = system(&cluster);
    cluster.park_all();
    let hear = |cluster: &mut Cluster, from: u64, message: Message| {
        cluster.input(NodeId(3), Input::Message { from: NodeId(from), message });
        cluster.deliver();
        cluster.parked().last().expect("it answers").2.clone()
    };
    hear(&mut cluster, 1, prepare(system, ballot(3, 1)));
    let accepted = hear(&mut cluster, 2, accept(system, ballot(5, 2), proposal(5, b"five")));
    assert!(is_accepted(&accepted), "no promise of ballot 5 is needed: {accepted:?}");
    let promised = ballot(5, 2);
    for message in [prepare(system, ballot(4, 1)), accept(system, ballot(4, 1), proposal(4, b"four"))] {
        let answer = hear(&mut cluster, 1, message);
        assert!(matches!(answer, Message::Nack(nack) if nack.promised == promised), "{answer:?}");
    }
    cluster.crash(3);
    assert_eq!(cluster.node(3).disk.promised(), promised, "the promise is durable with what was accepted");
}

fn system(cluster: &Cluster) -> u32 {
    cluster.node(1).core().config().system()
}

#[test]
fn row_08_promises_of_before_a_restart_count_for_nothing() {
    let mut cluster = three();
    propose_parked(&mut cluster);
    cluster.release_if(|_, _, message| is_prepare(message));
    let first = cluster.node(1).core().status().attempt.expect("it prepares").ballot;
    cluster.crash(1);
    cluster.restart(1);
    cluster.deliver();
    cluster.propose(1, b"other");
    cluster.deliver();
    let second = cluster.node(1).core().status().attempt.expect("it prepares").ballot;
    assert!(second > first, "a ballot that was heard of is never used again");
    let replayed = cluster.release_if(|_, to, message| to == 1 && is_promise(message));
    assert_eq!(replayed, 2);
    assert_eq!(cluster.node(1).core().status().ignored["stale_answer"], 2);
    assert!(!cluster.parked().iter().any(|(_, _, message)| is_accept(message)), "nothing is proposed for them");
    cluster.release();
    cluster.run(Duration::from_secs(1));
    for node in 1..=3 {
        assert_eq!(cluster.node(node).chosen().expect("it is decided").value, "other");
    }
}

#[test]
fn row_08_a_round_that_was_not_durable_was_heard_of_by_nobody() {
    let mut cluster = three();
    cluster.park_all();
    cluster.hold_disk(1);
    cluster.propose(1, b"one");
    cluster.deliver();
    assert!(cluster.parked().is_empty(), "nothing leaves before the round is durable");
    cluster.crash_leaving(1, PowerCut::StateAlone);
    assert_eq!(cluster.node(1).disk.round(), 1, "the state record may be adopted alone");
    cluster.restart(1);
    cluster.release_disk(1);
    cluster.propose(1, b"one");
    cluster.deliver();
    assert_eq!(cluster.node(1).core().status().attempt.expect("it prepares").ballot, ballot(2, 1));
}

#[test]
fn row_09_what_was_said_outlives_a_power_cut() {
    let mut cluster = three();
    propose_parked(&mut cluster);
    let mut said = Vec::new();
    for stop in 0..2 {
        cluster.release_if(|_, to, message| to == 2 && (is_prepare(message) || is_accept(message)));
        cluster.crash(2);
        cluster.restart(2);
        cluster.deliver();
        let status = cluster.node(2).core().status();
        said.push((status.promised, status.accepted));
        if stop == 0 {
            cluster.release_if(|from, _, message| from == 2 && is_promise(message));
        }
    }
    let one = proposal(1, b"one");
    assert_eq!(said, [(ballot(1, 1), None), (ballot(1, 1), Some((ballot(1, 1), one)))]);
}

#[test]
fn row_09_nothing_is_said_before_the_sync() {
    let mut cluster = three();
    let system = system(&cluster);
    for message in [prepare(system, ballot(3, 1)), accept(system, ballot(3, 1), proposal(1, b"one"))] {
        cluster.park_all();
        cluster.hold_disk(2);
        cluster.input(NodeId(2), Input::Message { from: NodeId(1), message: message.clone() });
        cluster.deliver();
        assert!(cluster.parked().is_empty(), "no answer to {message:?}");
        cluster.crash(2);
        assert_eq!((cluster.node(2).disk.promised().round, cluster.node(2).disk.accepted()), (0, None));
        cluster.restart(2);
        cluster.release_disk(2);
        cluster.input(NodeId(2), Input::Message { from: NodeId(1), message });
        cluster.deliver();
        assert_eq!(cluster.parked().len(), 1, "after the sync it answers");
        cluster.wipe(2);
        cluster.forget_parked();
        cluster = three();
    }
}

#[test]
fn row_10_an_acceptance_is_there_as_a_whole_or_not_at_all() {
    let (old, new) = (proposal(1, b"old"), proposal(2, b"new"));
    for left in [PowerCut::Lost, PowerCut::StateAlone, PowerCut::Whole] {
        let mut cluster = three();
        let system = system(&cluster);
        cluster.park_all();
        let first = accept(system, ballot(3, 1), old.clone());
        cluster.input(NodeId(2), Input::Message { from: NodeId(1), message: first });
        cluster.deliver();
        cluster.hold_disk(2);
        let second = accept(system, ballot(5, 3), new.clone());
        cluster.input(NodeId(2), Input::Message { from: NodeId(3), message: second });
        cluster.crash_leaving(2, left);
        cluster.restart(2);
        let status = cluster.node(2).core().status();
        let expected = match left {
            PowerCut::Lost => (ballot(3, 1), (ballot(3, 1), old.clone())),
            // A promise without an accepted value is safe.
            PowerCut::StateAlone => (ballot(5, 3), (ballot(3, 1), old.clone())),
            PowerCut::Whole => (ballot(5, 3), (ballot(5, 3), new.clone())),
        };
        assert_eq!((status.promised, status.accepted.expect("something was accepted")), expected, "{left:?}");
    }
}

#[test]
fn row_11_a_node_that_lost_its_disk_decides_nothing() {
    let mut cluster = three();
    accepted_at_two(&mut cluster, 2);
    cluster.release_if(|_, to, message| to == 1 && is_accepted(message));
    assert_eq!(cluster.node(1).chosen().expect("1 and 2 chose it").value, "one");
    cluster.forget_parked();
    cluster.isolate(1);
    cluster.wipe(2);
    cluster.restart(2);
    let id = cluster.propose(3, b"three");
    let read = cluster.read(3);
    let lost = cluster.propose(2, b"two");
    cluster.run(Duration::from_secs(30));
    assert_eq!(cluster.node(3).outcome(id), Some(&ProposalOutcome::NotTried(CommandRefusal::TimedOut)));
    assert!(matches!(cluster.node(3).read(read), Some(ReadOutcome::Failed(_))));
    let stranger = ProposalOutcome::NotTried(CommandRefusal::Stranger);
    assert_eq!(cluster.node(2).outcome(lost), Some(&stranger), "it has no ballots either");
    let status = cluster.node(2).core().status();
    assert_eq!((status.promised.round, status.accepted, status.chosen), (0, None, None));

    cluster.heal();
    cluster.run(Duration::from_secs(30));
    for node in [1, 2, 3] {
        assert_eq!(cluster.node(node).core().status().chosen.expect("it hears of it").value, "one", "node {node}");
    }
}

#[test]
fn row_12_duelling_proposers_converge() {
    /// A message takes twice the shortest pause: a proposer that pauses is back before the other is done.
    const TICK: Duration = Duration::from_millis(40);
    let mut longest = 0;
    for seed in 0..100 {
        let mut cluster = Builder::new(3, seed).start();
        cluster.park_all();
        cluster.propose(1, b"one");
        let is_decided = |cluster: &Cluster| [1, 2, 3].iter().all(|node| cluster.node(*node).chosen().is_some());
        // Every message of a tick is delivered at its end, so that the proposers proceed in lockstep.
        let ticks = (0..1_000).find(|tick| {
            if *tick == seed % 8 {
                cluster.propose(3, b"three");
            }
            cluster.run(TICK);
            cluster.release_if(|_, _, _| true);
            is_decided(&cluster)
        });
        let ticks = ticks.unwrap_or_else(|| panic!("seed {seed}: nobody wins"));
        assert!(ticks < 200, "seed {seed}: {ticks} ticks");
        longest = longest.max(cluster.node(2).disk.promised().round);
    }
    assert!(longest > 2, "in some runs they did outrun each other: {longest}");
}
