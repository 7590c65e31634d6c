//! Whatever a peer sends, the core does not panic. A message that no correct peer sends is ignored by name or stops the
//! group.

use std::time::Duration;

use quorate_paxos::synod::message::{Accepted, Chosen, Nack, Promise, Query, Report};
use quorate_paxos::synod::testing::{Answers, Builder, Calls, Cluster};
use quorate_paxos::synod::{
    Command, CommandRefusal, DecisionObstacle, Event, GroupRoles, Message, ProposalOutcome, ReadOutcome, Settings,
};
use quorate_paxos::{Ballot, QuorumSystem};
use quorate_protocol::{HaltReason, Input, NodeId, Random, Signal, Standing};

use crate::support::{accept, ballot, prepare, proposal, propose_parked, three};

fn hear(cluster: &mut Cluster, from: u64, message: Message) {
    cluster.input(NodeId(1), Input::Message { from: NodeId(from), message });
    cluster.deliver();
}

/// Reason why node 1 ignores a message.
fn ignored(from: u64, message: Message) -> Vec<&'static str> {
    let mut cluster = three();
    hear(&mut cluster, from, message);
    cluster.node(1).core().status().ignored.into_keys().collect()
}

#[test]
fn what_no_correct_peer_says_is_ignored_by_name() {
    let system = three().node(1).core().config().system();
    let value = proposal(1, b"one");
    assert_eq!(ignored(2, prepare(system, ballot(1, 3))), ["foreign_ballot"]);
    assert_eq!(ignored(2, prepare(system, ballot(0, 2))), ["absurd_ballot"]);
    assert_eq!(ignored(2, prepare(system, ballot(u64::MAX, 2))), ["absurd_ballot"]);
    assert_eq!(ignored(2, prepare(system + 1, ballot(1, 2))), ["other_system"]);
    assert_eq!(ignored(2, accept(system + 1, ballot(1, 2), value.clone())), ["other_system"]);
    let chosen = Chosen { system: system + 1, proposal: value };
    assert_eq!(ignored(2, Message::Chosen(chosen)), ["other_system"]);
    assert_eq!(ignored(9, prepare(system, ballot(1, 9))), ["not_member"]);
    assert_eq!(ignored(1, Message::Announce), ["not_member"]);
    assert_eq!(ignored(2, Message::Promise(Promise { ballot: ballot(1, 1), accepted: None })), ["stale_answer"]);
    assert_eq!(ignored(2, Message::Accepted(Accepted { ballot: ballot(1, 1) })), ["stale_answer"]);
    assert_eq!(ignored(2, Message::Known), ["not_known"]);
}

#[test]
fn a_round_near_the_end_of_numbers_wins_nothing() {
    let mut cluster = three();
    propose_parked(&mut cluster);
    // Valid as a number, but no correct node gets there from round 1 with one message.
    for round in [u64::MAX, u64::MAX / 2, 1 << 33] {
        let nack = Nack { ballot: ballot(1, 1), promised: ballot(round, 2) };
        hear(&mut cluster, 2, Message::Nack(nack));
    }
    let promise = Promise { ballot: ballot(1, 1), accepted: Some((ballot(7, 3), proposal(1, b"from the future"))) };
    hear(&mut cluster, 2, Message::Promise(promise));
    let status = cluster.node(1).core().status();
    assert_eq!(status.ignored["absurd_ballot"], 4);
    assert_eq!(status.attempt.expect("it goes on").answered, [NodeId(1)]);
}

/// One message from a faulty peer does not use up the ballots.
#[test]
fn the_last_ballot_is_not_reached_by_a_leap() {
    let mut cluster = three();
    let system = cluster.node(1).core().config().system();
    for message in
        [prepare(system, ballot(u64::MAX / 2, 2)), accept(system, ballot(u64::MAX / 2, 2), proposal(9, b"x"))]
    {
        hear(&mut cluster, 2, message);
    }
    assert_eq!(cluster.node(1).core().status().ignored["absurd_ballot"], 2);
    hear(&mut cluster, 2, prepare(system, ballot(1 << 31, 2)));
    assert_eq!(cluster.node(1).core().status().promised, ballot(1 << 31, 2), "who missed rounds is heard");
    let id = cluster.propose(1, b"one");
    cluster.deliver();
    assert_eq!(cluster.node(1).outcome(id), Some(&ProposalOutcome::Chosen));
}

/// A node that has reached the last ballot in any way reports it, and takes part all the same.
#[test]
fn a_node_at_the_last_ballot_says_so() {
    let mut cluster = three();
    let system = cluster.node(1).core().config().system();
    hear(&mut cluster, 2, prepare(system, ballot(1, 2)));
    cluster.crash(1);
    let state = cluster.node(1).disk.state.clone().expect("a promise");
    let last = [&state[..1], &(u64::MAX / 2).to_le_bytes(), &state[9..]].concat();
    cluster.node_mut(1).disk.state = Some(last.into());
    cluster.restart(1);
    let (id, read) = (cluster.propose(1, b"one"), cluster.read(1));
    cluster.deliver();
    let reason = CommandRefusal::BallotsExhausted;
    assert_eq!(cluster.node(1).outcome(id), Some(&ProposalOutcome::NotTried(reason)));
    assert_eq!(cluster.node(1).core().explain(), [DecisionObstacle::BallotsExhausted]);
    assert_eq!(cluster.node(1).read(read), Some(&ReadOutcome::NoneYet), "a read needs no ballot");
    cluster.propose(2, b"two");
    cluster.run(Duration::from_secs(1));
    assert_eq!(cluster.node(1).chosen().expect("it learns").value, "two");
    assert_eq!(cluster.node(1).core().explain(), []);
}

/// A value changed in some node's memory after it was proposed: no node accepts it, in any message.
#[test]
fn a_value_that_changed_on_its_way_is_taken_by_nobody() {
    let mut cluster = three();
    cluster.park_all();
    cluster.propose(1, b"one");
    cluster.read(1);
    cluster.deliver();
    let system = cluster.node(1).core().config().system();
    let own = cluster.node(1).core().status().attempt.expect("it prepares").ballot;
    let (start, number) = cluster.node(1).core().question().expect("it asks");
    let mut flipped = proposal(1, b"one");
    flipped.value = (&b"onf"[..]).into();
    let mut renamed = proposal(1, b"one");
    renamed.id.sequence = 3;
    for damaged in [flipped, renamed] {
        let accepted = Some((ballot(0, 2), damaged.clone()));
        hear(&mut cluster, 2, accept(system, ballot(7, 2), damaged.clone()));
        hear(&mut cluster, 2, Message::Promise(Promise { ballot: own, accepted: accepted.clone() }));
        hear(&mut cluster, 2, Message::Report(Report { start, number, accepted }));
        hear(&mut cluster, 2, Message::Chosen(Chosen { system, proposal: damaged }));
    }
    let status = cluster.node(1).core().status();
    assert_eq!((status.ignored["damaged"], status.accepted, status.chosen), (8, None, None));
    assert_eq!(status.attempt.expect("it goes on").answered, [NodeId(1)]);
    let mut damaged = proposal(4, b"four");
    damaged.checksum += 1;
    cluster.input(NodeId(1), Input::Command(Command::Propose(damaged.clone())));
    assert_eq!(cluster.node(1).outcome(damaged.id), Some(&ProposalOutcome::NotTried(CommandRefusal::Damaged)));
}

/// A value that is too long, in any message: `value_bytes_max` differs between the nodes.
#[test]
fn a_value_that_is_too_long_is_taken_from_nobody() {
    let settings = Settings { value_bytes_max: 3, ..Settings::default() };
    let mut cluster = Builder::new(3, 1).settings(settings.into()).start();
    propose_parked(&mut cluster);
    let system = cluster.node(1).core().config().system();
    let own = cluster.node(1).core().status().attempt.expect("it prepares").ballot;
    let long = proposal(1, b"four");
    hear(&mut cluster, 2, accept(system, ballot(7, 2), long.clone()));
    hear(&mut cluster, 2, Message::Promise(Promise { ballot: own, accepted: Some((ballot(0, 2), long.clone())) }));
    hear(&mut cluster, 2, Message::Chosen(Chosen { system, proposal: long }));
    let status = cluster.node(1).core().status();
    assert_eq!((status.ignored["too_large"], status.accepted, status.chosen), (3, None, None));
}

/// Both sides learn that they were founded with different systems.
#[test]
fn another_quorum_system_is_said_on_both_sides() {
    let mut cluster = three();
    let system = cluster.node(1).core().config().system();
    let (other, asked) = (system + 1, Message::Query(Query { system: system + 1, start: 1, number: 1 }));
    cluster.park_all();
    hear(&mut cluster, 7, prepare(other, ballot(1, 7)));
    hear(&mut cluster, 2, asked);
    let told: Vec<_> = cluster.parked().iter().map(|(_, to, message)| (to.0, message.clone())).collect();
    assert_eq!(told, [(2, Message::OtherSystem { system })]);
    hear(&mut cluster, 3, Message::OtherSystem { system: other });
    assert_eq!(cluster.parked().len(), 1, "who says it is not answered");
    assert_eq!(
        cluster.node(1).core().explain(),
        [DecisionObstacle::OtherSystem(vec![NodeId(2), NodeId(3), NodeId(7)])]
    );
}

#[test]
fn what_strangers_say_counts_for_nothing() {
    let mut cluster = three();
    let system = cluster.node(1).core().config().system();
    propose_parked(&mut cluster);
    cluster.input(NodeId(1), Input::Signal(Signal::PeerStanding { node: NodeId(2), standing: Standing::Stranger }));
    hear(&mut cluster, 2, Message::Promise(Promise { ballot: ballot(1, 1), accepted: None }));
    hear(&mut cluster, 2, prepare(system, ballot(9, 2)));
    hear(&mut cluster, 2, Message::Chosen(Chosen { system, proposal: proposal(3, b"three") }));
    hear(&mut cluster, 2, Message::Inquire);
    hear(&mut cluster, 2, Message::Announce);
    cluster.read(1);
    let (start, number) = cluster.node(1).core().question().expect("it asks");
    hear(&mut cluster, 2, Message::Report(Report { start, number, accepted: None }));
    let status = cluster.node(1).core().status();
    assert_eq!((status.ignored["stranger"], status.chosen), (6, None));
    assert!(!cluster.node(1).events.iter().any(|event| matches!(event, Event::Read { .. })), "it is not answered");
    assert_eq!(status.attempt.expect("it goes on").answered, [NodeId(1)]);
}

#[test]
fn what_a_node_promised_before_it_became_a_stranger_does_not_count() {
    let mut cluster = Builder::new(5, 1).start();
    propose_parked(&mut cluster);
    hear(&mut cluster, 2, Message::Promise(Promise { ballot: ballot(1, 1), accepted: None }));
    cluster.input(NodeId(1), Input::Signal(Signal::PeerStanding { node: NodeId(2), standing: Standing::Stranger }));
    hear(&mut cluster, 3, Message::Promise(Promise { ballot: ballot(1, 1), accepted: None }));
    let attempt = cluster.node(1).core().status().attempt.expect("it prepares");
    assert_eq!((attempt.proposal, attempt.answered), (None, vec![NodeId(1), NodeId(3)]));
}

#[test]
fn two_proposals_in_one_ballot_stop_the_group() {
    let mut cluster = three();
    let system = cluster.node(1).core().config().system();
    hear(&mut cluster, 2, accept(system, ballot(4, 2), proposal(1, b"one")));
    hear(&mut cluster, 2, accept(system, ballot(4, 2), proposal(2, b"one")));
    assert_eq!(cluster.node(1).halted, Some(HaltReason::LawBroken("two proposals in one ballot")));
}

#[test]
fn two_decisions_stop_the_group() {
    let mut cluster = three();
    let system = cluster.node(1).core().config().system();
    cluster.propose(2, b"two");
    cluster.deliver();
    let other = Chosen { system, proposal: proposal(9, b"another") };
    hear(&mut cluster, 3, Message::Chosen(other));
    assert_eq!(cluster.node(1).halted, Some(HaltReason::LawBroken("two proposals are chosen")));
    assert_eq!(cluster.node(1).core().status().chosen.expect("it stays").value, "two");
}

#[test]
fn a_request_without_the_role_for_it_is_ignored() {
    let quorums = QuorumSystem::majority([2, 3, 4].map(NodeId)).expect("distinct");
    let group = GroupRoles::of(quorums).with_proposers([NodeId(1), NodeId(2)]).with_learners([NodeId(5)]);
    let mut cluster = Builder::new(5, 1).settings(group.into()).start();
    let system = cluster.node(1).core().config().system();
    hear(&mut cluster, 2, prepare(system, ballot(1, 2)));
    hear(&mut cluster, 3, prepare(system, ballot(1, 3)));
    propose_parked(&mut cluster);
    let own = cluster.node(1).core().status().attempt.expect("it prepares").ballot;
    hear(&mut cluster, 5, Message::Promise(Promise { ballot: own, accepted: None }));
    let status = cluster.node(1).core().status();
    assert_eq!((status.ignored["not_acceptor"], status.ignored["not_member"]), (1, 2));
}

/// Any message from any node at any time: the core goes on, or stops with a reason.
#[test]
fn nothing_a_peer_says_panics() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let mut cluster = three();
        let system = cluster.node(1).core().config().system();
        for _ in 0..100 {
            let mut any = |high: u64| {
                if random.between(0, 20) == 0 { u64::MAX - random.between(0, 2) } else { random.between(0, high) }
            };
            let (from, one, two) = (
                any(4).saturating_add(1),
                Ballot { round: any(4), node: NodeId(any(4)) },
                ballot(any(5), any(3).saturating_add(1)),
            );
            let system = system.wrapping_add(u32::from(any(8) == 0));
            let value = proposal(any(3), [&b"a"[..], b"b"][usize::from(any(2) == 0)]);
            let message = match any(13) {
                10 => Message::Query(Query { system, start: any(2), number: any(4) }),
                11 => Message::Report(Report { start: any(2), number: any(4), accepted: Some((two, value)) }),
                12 => {
                    cluster.read(1);
                    continue;
                }
                0 => prepare(system, one),
                1 => Message::Promise(Promise { ballot: one, accepted: Some((two, value)) }),
                2 => Message::Promise(Promise { ballot: one, accepted: None }),
                3 => accept(system, one, value),
                4 => Message::Accepted(Accepted { ballot: one }),
                5 => Message::Nack(Nack { ballot: one, promised: two }),
                6 => Message::Announce,
                7 => Message::Known,
                8 => Message::Inquire,
                _ if any(10) == 0 => Message::Chosen(Chosen { system, proposal: value }),
                _ => {
                    cluster.propose(1, b"mine");
                    continue;
                }
            };
            // The laws across nodes do not hold if nodes lie: the core is tested alone.
            let now = quorate_protocol::Now { instant: cluster.now(), wall_ms: 0 };
            let Some(core) = &mut cluster.node_mut(1).core else { break };
            alone(core, now, Input::Message { from: NodeId(from), message });
        }
    }
}

fn alone(
    core: &mut quorate_paxos::synod::Synod,
    now: quorate_protocol::Now,
    input: Input<quorate_paxos::synod::Synod>,
) {
    use quorate_protocol::{Output, Protocol};
    core.handle(now, input);
    core.check_invariants();
    while let Some(output) = core.poll_output() {
        if let Output::Persist { ticket, .. } = output {
            core.handle(now, Input::Signal(Signal::Persisted(ticket)));
            core.check_invariants();
        }
    }
}
