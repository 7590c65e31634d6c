//! Three-phase commit: what it does well, and what its classical form does wrong.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{Input, NodeId, PersistFailure};
use quorate_two_phase_commit::three_phase::testing::{Builder, Cluster, REFUSED, ThreePhases};
use quorate_two_phase_commit::three_phase::{Attempt, Command, Event, Form, Message, Refusal, Settings, Small};
use quorate_two_phase_commit::{CommandId, CoordinatorId, Decision, TransactionId, TransactionNumber};

mod formats;
mod random;
mod views;

const ALL: [(u64, &[u8]); 3] = [(1, b"a"), (2, b"b"), (3, b"c")];
const LONG: Duration = Duration::from_mins(2);

fn classical() -> Cluster {
    Builder::new(3, 1).settings(Settings { form: Form::Classical, ..Settings::default() }).start()
}

fn transaction_of(coordinator: u64, number: TransactionNumber) -> TransactionId {
    TransactionId { coordinator: CoordinatorId(coordinator), number }
}

fn told(cluster: &Cluster, node: u64, transaction: TransactionId) -> Option<Decision> {
    let told = cluster.node(node).application.decided.get(&transaction)?;
    assert_eq!(told.len(), 1, "node {node} was told one decision");
    told.first().copied()
}

fn is_proposal(message: &Message) -> bool {
    matches!(message, Message::Small(Small::Propose { .. }))
}

#[test]
fn a_commit_takes_six_messages_and_three_writes_a_participant() {
    let mut cluster = Cluster::of_three(1);
    let before = cluster.traffic();
    let transaction = cluster.transact(1, &ALL);
    cluster.settle();
    for node in 1..=3 {
        assert_eq!(told(&cluster, node, transaction), Some(Decision::Commit));
    }
    let after = cluster.traffic();
    assert_eq!(after.messages - before.messages, 12, "six for each of two participants beside the coordinator");
    // The last is that the coordinator drops the transaction, which nobody waits for.
    assert_eq!(after.writes - before.writes, 9 + 1);
    assert_eq!(cluster.node(1).core().kept(), 0, "everybody knows");
    cluster.transact(1, &ALL);
    cluster.settle();
    assert_eq!(cluster.node(2).core().kept(), 1, "the first is dropped with the news that it is over");
    cluster.quiesce();
}

#[test]
fn one_no_aborts_everywhere() {
    let mut cluster = Cluster::of_three(2);
    let transaction = cluster.transact(1, &[(1, b"a"), (2, REFUSED), (3, b"c")]);
    cluster.settle();
    assert_eq!(cluster.decisions(transaction), [Decision::Abort].into());
    cluster.quiesce();
}

/// The coordinator and participant 2 have accepted the commit when the network splits; participant 3 has only voted.
fn split_after_the_proposal(mut cluster: Cluster) -> (Cluster, TransactionId) {
    cluster.hold(|_, to, message| to == NodeId(3) && !matches!(message, Message::Prepare { .. }));
    let transaction = cluster.transact(1, &ALL);
    cluster.settle();
    cluster.isolate(3);
    cluster.run(LONG);
    (cluster, transaction)
}

#[test]
fn the_classical_form_decides_both_ways_under_a_partition() {
    let (cluster, transaction) = split_after_the_proposal(classical());
    assert_eq!(told(&cluster, 1, transaction), Some(Decision::Commit), "who is silent has crashed, it believes");
    assert_eq!(told(&cluster, 2, transaction), Some(Decision::Commit));
    assert_eq!(told(&cluster, 3, transaction), Some(Decision::Abort), "and so does the other side");
}

#[test]
fn the_form_with_quorums_stays_whole_under_the_same_partition() {
    let (mut cluster, transaction) = split_after_the_proposal(Cluster::of_three(1));
    assert_eq!(told(&cluster, 1, transaction), Some(Decision::Commit), "the majority goes on");
    assert_eq!(told(&cluster, 3, transaction), None, "the minority waits");
    cluster.heal();
    cluster.quiesce();
    assert_eq!(told(&cluster, 3, transaction), Some(Decision::Commit));
}

#[test]
fn two_phase_commit_stays_whole_under_a_partition_after_the_votes() {
    use quorate_two_phase_commit::testing::{Cluster, Ends, Transactions, Work};
    let mut cluster = Cluster::of_three(1);
    cluster.park(1, 3);
    let all = [(1, Work::Write(1)), (2, Work::Write(1)), (3, Work::Write(1))];
    let transaction = cluster.transact(1, &all);
    cluster.settle();
    cluster.release_if(|_, _, message| matches!(message, quorate_two_phase_commit::Message::Prepare(_)));
    cluster.settle();
    cluster.isolate(3);
    cluster.run(LONG);
    assert_eq!(cluster.node(2).ended(transaction), Some(Decision::Commit));
    assert_eq!(cluster.node(3).ended(transaction), None, "who voted waits for the decision");
    cluster.heal();
    cluster.quiesce();
    assert_eq!(cluster.node(3).ended(transaction), Some(Decision::Commit));
}

#[test]
fn the_others_finish_what_a_dead_coordinator_began() {
    for has_proposed in [false, true] {
        let mut cluster = Cluster::of_three(3);
        cluster.hold(move |from, to, message| {
            from == NodeId(1) && is_proposal(message) && !(has_proposed && to == NodeId(2))
        });
        let transaction = cluster.transact(1, &ALL);
        cluster.settle();
        cluster.crash(1);
        cluster.run(LONG);
        let expected = if has_proposed { Decision::Commit } else { Decision::Abort };
        for node in [2, 3] {
            assert_eq!(told(&cluster, node, transaction), Some(expected), "nobody waits for the coordinator");
        }
        cluster.forget_parked();
        cluster.restart(1);
        cluster.quiesce();
        assert_eq!(told(&cluster, 1, transaction), Some(expected));
    }
}

fn is_accept(message: &Message) -> bool {
    matches!(message, Message::Small(Small::Accept { .. }))
}

/// Nodes 2, 3 and 4 abort in a later attempt what node 1 alone has accepted to commit in the first.
#[test]
fn an_older_acceptance_does_not_win_over_a_newer_one() {
    let mut cluster = Builder::new(5, 4).start();
    let everybody: [(u64, &[u8]); 5] = [(1, b"a"), (2, b"b"), (3, b"c"), (4, b"d"), (5, b"e")];
    cluster.hold(|from, _, message| from == NodeId(1) && is_proposal(message));
    cluster.hold(|_, _, message| matches!(message, Message::Small(Small::Decide { .. })));
    let transaction = cluster.transact(1, &everybody);
    cluster.settle();
    cluster.only_links(&[(2, 3), (3, 2), (2, 4), (4, 2)]);
    cluster.time_out(2);
    assert_eq!(told(&cluster, 2, transaction), Some(Decision::Abort));
    cluster.only_links(&[(5, 1), (1, 5), (5, 3), (3, 5)]);
    cluster.time_out(5);
    assert_eq!(told(&cluster, 5, transaction), Some(Decision::Abort), "the newest acceptance counts");
    cluster.quiesce();
}

/// Node 3 has answered the attempt of node 2 when the proposal of the first attempt arrives.
#[test]
fn a_late_proposal_of_a_deposed_attempt_is_refused() {
    let mut cluster = Cluster::of_three(5);
    cluster.hold(|from, _, message| from == NodeId(1) && is_proposal(message));
    cluster.hold(|from, _, message| from == NodeId(3) && is_accept(message));
    let transaction = cluster.transact(1, &ALL);
    cluster.settle();
    cluster.part(1, 2);
    cluster.time_out(2);
    assert_eq!(cluster.release_if(|from, to, message| (from, to) == (1, 3) && is_proposal(message)), 1);
    cluster.settle();
    assert_eq!(cluster.release_if(|_, to, message| to == 2 && is_accept(message)), 1);
    cluster.settle();
    assert_eq!(told(&cluster, 2, transaction), Some(Decision::Abort));
    cluster.quiesce();
    assert_eq!(cluster.decisions(transaction), [Decision::Abort].into());
}

#[test]
fn without_a_majority_nobody_decides_and_all_go_on_later() {
    let mut cluster = Cluster::of_three(6);
    cluster.hold(|_, _, message| is_proposal(message));
    let transaction = cluster.transact(1, &ALL);
    cluster.settle();
    cluster.crash(1);
    cluster.crash(2);
    cluster.forget_parked();
    cluster.run(LONG);
    assert_eq!(told(&cluster, 3, transaction), None, "one of three decides nothing");
    assert_eq!(cluster.node(3).core().undecided(), BTreeSet::from([transaction]));
    let next = cluster.transact(3, &[(3, b"x")]);
    cluster.settle();
    assert_eq!(told(&cluster, 3, next), Some(Decision::Commit), "others are not held up");
    cluster.quiesce();
    assert_eq!(cluster.decisions(transaction).len(), 1, "with a majority it is decided");
}

#[test]
fn transactions_with_a_node_that_is_gone_do_not_use_up_the_room_of_others() {
    let settings = Settings { transactions_max: 8, ..Settings::default() };
    let mut cluster = Builder::new(3, 11).settings(settings).start();
    cluster.crash(2);
    for _ in 0..20 {
        let transaction = cluster.transact(1, &ALL);
        cluster.run(LONG);
        assert_eq!(told(&cluster, 1, transaction), Some(Decision::Abort), "its vote does not come");
    }
    let transaction = cluster.transact(1, &[(1, b"a"), (3, b"c")]);
    cluster.settle();
    assert_eq!(told(&cluster, 3, transaction), Some(Decision::Commit));
    cluster.quiesce();
}

#[test]
fn a_coordinator_that_crashed_before_its_own_vote_left_nothing() {
    let mut cluster = Cluster::of_three(7);
    cluster.faults.deafness_percent = 100;
    let transaction = cluster.transact(1, &ALL);
    cluster.settle();
    cluster.crash(1);
    cluster.restart(1);
    cluster.faults.deafness_percent = 0;
    cluster.run(LONG);
    assert_eq!(cluster.node(1).core().kept(), 0);
    for node in [2, 3] {
        assert_eq!(told(&cluster, node, transaction), Some(Decision::Abort));
    }
    cluster.quiesce();
}

#[test]
fn a_refused_write_is_made_again_and_nothing_is_said_before() {
    let mut cluster = Cluster::of_three(8);
    cluster.hold_disk(2);
    let transaction = cluster.transact(1, &ALL);
    cluster.settle();
    cluster.fail_oldest(2, PersistFailure::NotWritten);
    cluster.settle();
    assert_eq!(cluster.decisions(transaction), BTreeSet::new(), "the vote of node 2 has not left");
    cluster.release_disk(2);
    cluster.quiesce();
    assert_eq!(cluster.decisions(transaction).len(), 1);
}

#[test]
fn what_cannot_be_begun_is_refused_by_name() {
    let settings = Settings { transactions_max: 1, payload_bytes_max: 4, participants_max: 3, ..Settings::default() };
    let mut cluster = Builder::new(4, 9).settings(settings).start();
    let mut refusal = |branches: &[(u64, &'static [u8])]| {
        let command = CommandId(cluster.next_id());
        let branches = branches.iter().map(|(node, work)| (NodeId(*node), Bytes::from_static(work))).collect();
        cluster.input(NodeId(1), Input::Command(Command::Commit { command, branches }));
        cluster.node(1).events.iter().find_map(|event| match event {
            Event::Refused { command: id, reason } if *id == command => Some(*reason),
            _ => None,
        })
    };
    assert_eq!(refusal(&[(2, b"b")]), Some(Refusal::Participants), "the coordinator takes part");
    assert_eq!(refusal(&[(1, b""), (2, b""), (3, b""), (4, b"")]), Some(Refusal::Participants));
    assert_eq!(refusal(&[(1, b"long!")]), Some(Refusal::TooLarge));
    assert_eq!(refusal(&[(1, b"a"), (2, b"b")]), None);
    assert_eq!(refusal(&[(1, b"a")]), Some(Refusal::Overloaded));
}

#[test]
fn odd_messages_change_nothing() {
    let mut cluster = Cluster::of_three(10);
    cluster.hold(|_, _, message| is_proposal(message));
    let transaction = cluster.transact(1, &ALL);
    cluster.settle();
    let attempt = Attempt { round: u64::MAX, node: NodeId(1) };
    let (decision, kept) = (Decision::Commit, cluster.node(2).core().kept());
    cluster.inject(3, 2, Message::Small(Small::Propose { transaction, attempt, decision }));
    cluster.inject(3, 2, Message::Small(Small::Elect { transaction, attempt }));
    cluster.inject(3, 2, Message::Small(Small::Accept { transaction, attempt }));
    cluster.inject(3, 2, Message::Small(Small::Known { transaction }));
    cluster.settle();
    assert_eq!(cluster.node(2).core().kept(), kept);
    assert_eq!(cluster.decisions(transaction), BTreeSet::new(), "an attempt counts only from the node that makes it");
    cluster.quiesce();
}
