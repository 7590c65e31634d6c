//! Whatever a peer sends, the core does not panic. A message that no correct peer sends is ignored by name or stops the
//! group.

use std::time::Duration;

use bytes::Bytes;
use quorate_paxos::Ballot;
use quorate_paxos::register::message::{
    Accept, Accepted, AgeRaised, List, Listed, Nack, Prepare, Promise, Query, RaiseAge, Removal, Remove, Report,
    RequireAges,
};
use quorate_paxos::register::testing::{Builder, Calls, Cluster};
use quorate_paxos::register::{Change, Command, Content, Message, RegisterObstacle, RolesChange, RolesInForce, System};
use quorate_protocol::{
    HaltReason, Input, NodeId, Now, Output, ProposalId, Protocol, Random, ReadId, Signal, Standing,
};

use super::support::{KEY, accept, content, prepare, set_parked, three};
use crate::support::{ballot, from_environment};

fn hear(cluster: &mut Cluster, from: u64, message: Message) {
    cluster.input(NodeId(1), Input::Message { from: NodeId(from), message });
    cluster.deliver();
}

/// Reasons why node 1 ignores a message.
fn ignored(from: u64, message: impl Fn(&Cluster) -> Message) -> Vec<&'static str> {
    let mut cluster = three();
    let message = message(&cluster);
    hear(&mut cluster, from, message);
    cluster.node(1).core().status().ignored.into_keys().collect()
}

fn key() -> Bytes {
    Bytes::from_static(KEY)
}

#[test]
fn what_no_correct_peer_says_is_ignored_by_name() {
    assert_eq!(ignored(2, |cluster| prepare(cluster, ballot(1, 3))), ["foreign_ballot"]);
    assert_eq!(ignored(2, |cluster| prepare(cluster, ballot(0, 2))), ["absurd_ballot"]);
    assert_eq!(ignored(2, |cluster| prepare(cluster, ballot(u64::MAX, 2))), ["absurd_ballot"]);
    assert_eq!(ignored(9, |cluster| prepare(cluster, ballot(1, 9))), ["not_member"]);
    assert_eq!(ignored(1, |cluster| prepare(cluster, ballot(1, 1))), ["not_member"]);
    let changed = |change: fn(&mut Accept)| {
        ignored(2, move |cluster| {
            let Message::Accept(mut message) = accept(cluster, ballot(2, 2), b"value") else { unreachable!() };
            change(&mut message);
            Message::Accept(message)
        })
    };
    assert_eq!(changed(|message| message.system.founding += 1), ["other_system"]);
    assert_eq!(changed(|message| message.next = ballot(1, 2)), ["foreign_ballot"]);
    assert_eq!(changed(|message| message.next = ballot(3, 3)), ["foreign_ballot"]);
    assert_eq!(changed(|message| message.next = ballot(u64::MAX, 2)), ["absurd_ballot"]);
    assert_eq!(changed(|message| message.system.epoch += 1), ["other_epoch"]);
    assert_eq!(changed(|message| message.key = Bytes::new()), ["damaged"]);
    assert_eq!(changed(|message| message.key = vec![0; 2000].into()), ["key"]);
    assert_eq!(changed(|message| message.content.value = Some(vec![0; 2 << 20].into())), ["too_large"]);
    assert_eq!(changed(|message| message.content.value = Some(Bytes::from_static(b"other"))), ["damaged"]);
    assert_eq!(changed(|message| message.key = Bytes::from_static(b"other")), ["damaged"]);
    let answers = [
        Message::Promise(Promise { key: key(), ballot: ballot(1, 1), removed: 0, accepted: None }),
        Message::Accepted(Accepted { key: key(), ballot: ballot(1, 1) }),
        Message::Nack(Nack { key: key(), ballot: ballot(1, 1), promised: ballot(2, 2) }),
        Message::Report(Report { start: 1, number: 1, key: key(), accepted: None }),
        Message::AgeRaised(AgeRaised { removal: Removal { start: 1, number: 1 }, age: 1 }),
        Message::AgesRequired { removal: Removal { start: 1, number: 1 } },
        Message::Removed { removal: Removal { start: 1, number: 1 } },
    ];
    for answer in answers {
        assert_eq!(ignored(2, |_| answer.clone()), ["stale_answer"], "{answer:?}");
    }
    let removal = Removal { start: 1, number: 1 };
    let system = three().node(1).core().system();
    let ages = vec![(NodeId(9), 1)];
    assert_eq!(
        ignored(2, |_| Message::RequireAges(RequireAges { system, removal, ages: ages.clone() })),
        ["not_member"]
    );
    assert_eq!(ignored(2, |_| Message::RaiseAge(RaiseAge { system, removal, round: u64::MAX })), ["absurd_ballot"]);
    assert_eq!(ignored(2, |_| Message::OtherSystem { system }), ["unasked"]);
}

/// One message from a faulty peer does not use up the ballots.
#[test]
fn the_last_ballot_is_not_reached_by_a_leap() {
    let mut cluster = three();
    for round in [u64::MAX / 2, 1 << 40] {
        let message = prepare(&cluster, ballot(round, 2));
        hear(&mut cluster, 2, message);
    }
    assert_eq!(cluster.node(1).core().status().ignored["absurd_ballot"], 2);
    let message = prepare(&cluster, ballot(1 << 31, 2));
    hear(&mut cluster, 2, message);
    assert_eq!(cluster.node(1).core().register(KEY).expect("it is there").promised, ballot(1 << 31, 2));
    let id = cluster.set(1, KEY, b"one");
    cluster.run(Duration::from_secs(1));
    super::outcomes::done(&cluster, 1, id);
}

#[test]
fn two_contents_in_one_ballot_stop_the_group() {
    let mut cluster = three();
    for value in [b"one", b"two"] {
        let message = accept(&cluster, ballot(3, 2), value);
        hear(&mut cluster, 2, message);
    }
    assert_eq!(cluster.node(1).halted, Some(HaltReason::LawBroken("two contents in one ballot")));
}

#[test]
fn a_stranger_does_not_count() {
    let mut cluster = three();
    set_parked(&mut cluster);
    cluster.input(NodeId(1), Input::Signal(Signal::PeerStanding { node: NodeId(2), standing: Standing::Stranger }));
    cluster.release();
    cluster.run(Duration::from_millis(10));
    assert!(cluster.node(1).core().status().ignored["stranger"] > 0);
}

#[test]
fn both_sides_learn_of_other_roles() {
    let mut cluster = three();
    let Message::Prepare(mut message) = prepare(&cluster, ballot(1, 2)) else { unreachable!() };
    message.system.founding += 1;
    hear(&mut cluster, 2, Message::Prepare(message));
    assert_eq!(cluster.node(1).core().explain(), [RegisterObstacle::OtherSystem(vec![NodeId(2)])]);
    cluster.run(Duration::from_millis(10));
    assert_eq!(cluster.node(2).core().status().ignored["unasked"], 1, "it was told");
}

/// Random messages of every kind, with numbers that matter. What they make a node believe may be wrong, but it goes on
/// or stops with a reason. The laws of other nodes are not looked at.
#[test]
fn no_message_makes_a_node_panic() {
    let roles: Vec<RolesInForce> = (0..4).map(roles_of).collect();
    for seed in 0..from_environment("QUORATE_PAXOS_HOSTILE", 300) {
        let mut random = Random::new(seed);
        let cluster = three();
        let mut core = cluster.node(1).core().clone();
        for _ in 0..200 {
            let message = any(&mut random, core.system(), &roles);
            let from = NodeId(random.between(1, 5));
            core.handle(Now::default(), Input::Message { from, message });
            if random.between(0, 8) == 0 {
                let change = RolesChange::Remove(NodeId(random.between(1, 5)));
                core.handle(Now::default(), Input::Command(Command::ChangeRoles { id: ReadId(1), change }));
                let id = ProposalId { sequence: random.next_u64(), ..ProposalId::default() };
                core.handle(Now::default(), Input::Command(Command::Change { key: key(), id, change: Change::Delete }));
            }
            while let Some(output) = core.poll_output() {
                if let Output::Persist { ticket, .. } = output {
                    core.handle(Now::default(), Input::Signal(Signal::Persisted(ticket)));
                }
            }
            core.check_invariants();
        }
    }
}

/// Roles of an epoch, as some group may have them.
fn roles_of(epoch: u64) -> RolesInForce {
    let mut cluster = Builder::new(3, 1).joining(1).start();
    let changes = [RolesChange::Add(NodeId(4).into()), RolesChange::Remove(NodeId(1))];
    for change in changes {
        if cluster.node(2).core().roles().epoch() < epoch {
            cluster.change_roles(2, change);
            while cluster.node(2).core().roles().epoch() < epoch && cluster.node(2).core().roles_to_come().is_some() {
                cluster.run(Duration::from_micros(1));
            }
        }
    }
    cluster.node(2).core().roles().clone()
}

fn any(random: &mut Random, system: System, roles: &[RolesInForce]) -> Message {
    let mut ballot = || Ballot { round: random.between(0, 6), node: NodeId(random.between(1, 4)) };
    let (one, two, three) = (ballot(), ballot(), ballot());
    let value = [None, Some(&b"one"[..]), Some(b"two")][usize::try_from(random.between(0, 3)).expect("small")];
    let content: Content = content(KEY, three, value);
    let accepted = (random.between(0, 2) == 0).then(|| (two, content.clone()));
    let removal = Removal { start: random.between(0, 2), number: random.between(0, 3) };
    let (age, number, start) = (random.between(0, 3), random.between(0, 3), random.between(0, 2));
    let epoch = random.between(0, 3);
    let system = if random.between(0, 3) == 0 { System { epoch, ..system } } else { system };
    match random.between(0, 20) {
        14 => Message::Behind { system },
        15 => Message::InForce {
            founding: system.founding,
            roles: roles[usize::try_from(random.between(0, 4)).expect("small")].clone(),
        },
        16 => Message::Probe { system },
        17 => Message::Ready { system },
        18 => Message::List(List { system, after: key() }),
        19 => {
            let (after, is_end) = (Bytes::new(), random.between(0, 2) == 0);
            Message::Listed(Listed { system, after, keys: vec![key()], is_end, removed: number })
        }
        0 => Message::Prepare(Prepare { system, age, key: key(), ballot: one }),
        1 => Message::Promise(Promise { key: key(), ballot: one, removed: number, accepted }),
        2 | 3 => {
            let next = Ballot { node: one.node, round: one.round + number };
            Message::Accept(Accept { system, age, key: key(), ballot: one, next, content })
        }
        4 => Message::Accepted(Accepted { key: key(), ballot: one }),
        5 => Message::Nack(Nack { key: key(), ballot: one, promised: two }),
        6 => Message::Query(Query { system, start, number, key: key() }),
        7 => Message::Report(Report { start, number, key: key(), accepted }),
        8 => Message::RaiseAge(RaiseAge { system, removal, round: one.round }),
        9 => Message::AgeRaised(AgeRaised { removal, age }),
        10 => Message::RequireAges(RequireAges { system, removal, ages: vec![(NodeId(random.between(1, 4)), age)] }),
        11 => Message::AgesRequired { removal },
        12 => Message::Remove(Remove { system, removal, deleted: vec![(key(), one)] }),
        _ => Message::Removed { removal },
    }
}
