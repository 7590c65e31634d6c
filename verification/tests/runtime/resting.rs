//! Row 30: a thousand groups at rest, under faults of nodes, networks and clocks.

use std::time::Duration;

use quorate_protocol::{GroupId, LogIndex, NodeId, PersistFailure, Protocol, ReplicatedLog, Role, Signal, Term};
use quorate_raft::Settings;
use quorate_runtime::group::CallId;
use quorate_runtime::node::NodeInput;

use crate::world::{NODES, World};

const GROUPS: u64 = 1000;
/// The longest election time-out.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Time in which a node that died is noticed, and every group has elected another leader: silence of a node counts as
/// silence of its groups, so the first campaign follows within the longest time-out. One in a few meets another.
const ELECTION: Duration = Duration::from_secs(3);

/// Three nodes with groups at rest.
fn asleep(groups: u64) -> World {
    let settings =
        Settings { quiet_after: Some(Duration::from_secs(1)), election_timeout_max: TIMEOUT, ..Settings::default() };
    let mut world = World::new(groups, settings);
    for id in NODES {
        world.start(id);
    }
    let all_rest = |world: &World| (1..=groups).all(|group| rests(world, group, &NODES));
    assert!(world.run_until(Duration::from_secs(30), all_rest), "every group comes to rest");
    // Those that came to rest while the nodes compared them are woken once more.
    world.run(Duration::from_secs(4));
    assert!(world.run_until(Duration::from_secs(5), all_rest));
    world
}

fn rests(world: &World, group: u64, nodes: &[u64]) -> bool {
    nodes.iter().all(|node| world.raft(*node, group).rest().is_some())
}

fn role(world: &World, node: u64, group: u64) -> Role {
    world.raft(node, group).status().role
}

/// The node that leads most groups.
fn busiest(world: &World, groups: u64) -> u64 {
    let led = |node: &u64| (1..=groups).filter(|group| role(world, *node, *group) == Role::Leader).count();
    NODES.into_iter().max_by_key(led).expect("three nodes")
}

fn terms(world: &World, node: u64, groups: u64) -> Vec<Term> {
    (1..=groups).map(|group| world.raft(node, group).status().term).collect()
}

/// Returns the leader of a group among these nodes, if they agree on it.
fn leader_among(world: &World, group: u64, nodes: &[u64]) -> Option<u64> {
    let leader = nodes.iter().copied().find(|node| role(world, *node, group) == Role::Leader)?;
    let follows = |node: &u64| world.raft(*node, group).status().leader == Some(NodeId(leader));
    nodes.iter().all(follows).then_some(leader)
}

/// Writes to every group, and checks that all writes are committed within `limit`.
fn write_to_all(world: &mut World, groups: u64, nodes: &[u64], limit: Duration) {
    let mut before: Vec<(u64, LogIndex)> = Vec::new();
    for group in 1..=groups {
        let leader = leader_among(world, group, nodes).expect("the group has a leader");
        before.push((leader, world.commit_index(leader, group)));
        world.propose_at(leader, group, b"a write");
    }
    let all_committed =
        |world: &World| (1..).zip(&before).all(|(group, (leader, index))| world.commit_index(*leader, group) > *index);
    assert!(world.run_until(limit, all_committed), "every write is committed");
}

fn messages(world: &World) -> u64 {
    world.totals().1.messages_sent
}

#[test]
fn row_30_sleeping_groups() {
    let mut world = asleep(GROUPS);
    let (sent, woken) = (messages(&world), world.totals().1.groups_woken);
    world.run(Duration::from_secs(20));
    assert_eq!(messages(&world), sent, "groups at rest send nothing");

    // The node that leads most groups is cut off, and no connection breaks.
    let isolated = busiest(&world, GROUPS);
    let others: Vec<u64> = NODES.into_iter().filter(|node| *node != isolated).collect();
    let (before, sent) = (terms(&world, others[0], GROUPS), messages(&world));
    world.isolate(isolated, true);
    world.run(ELECTION);
    for group in 1..=GROUPS {
        assert!(leader_among(&world, group, &others).is_some(), "group {group} sleeps through the loss of its leader");
        assert_ne!(role(&world, isolated, group), Role::Leader, "group {group} sleeps through the loss of its quorum");
    }
    let elections: u64 =
        before.iter().zip(terms(&world, others[0], GROUPS)).map(|(before, after)| after.0 - before.0).sum();
    assert!(elections <= GROUPS * 3 / 2, "{elections} elections of {GROUPS} groups");
    let each = (messages(&world) - sent) / GROUPS;
    assert!(each < 150, "{each} messages a group in {ELECTION:?}: heartbeats and one election");

    world.isolate(isolated, false);
    world.run(TIMEOUT / 2);
    let before = terms(&world, others[0], GROUPS);
    write_to_all(&mut world, GROUPS, &NODES, TIMEOUT / 2);
    assert_eq!(terms(&world, others[0], GROUPS), before, "nobody is deposed by the one that returns");
    let all_rest = |world: &World| (1..=GROUPS).all(|group| rests(world, group, &NODES));
    assert!(world.run_until(Duration::from_secs(5), all_rest), "and all rest again");
    assert_eq!(world.totals().1.groups_woken, woken, "no message got lost that the nodes had to replace");
}

#[test]
fn row_30_the_node_that_leads_most_is_killed() {
    let mut world = asleep(GROUPS);
    let killed = busiest(&world, GROUPS);
    let others: Vec<u64> = NODES.into_iter().filter(|node| *node != killed).collect();
    world.kill(killed);
    world.run(ELECTION);
    write_to_all(&mut world, GROUPS, &others, TIMEOUT);
    let rest_without = |world: &World| (1..=GROUPS).all(|group| rests(world, group, &others));
    assert!(world.run_until(Duration::from_secs(5), rest_without), "a dead node keeps no group awake");
    let sent = messages(&world);
    world.run(Duration::from_secs(5));
    assert_eq!(messages(&world), sent);
    let before = terms(&world, others[0], GROUPS);
    world.restart(killed);
    let all_rest = |world: &World| (1..=GROUPS).all(|group| rests(world, group, &NODES));
    assert!(world.run_until(Duration::from_secs(10), all_rest), "it catches up in every group");
    assert_eq!(terms(&world, others[0], GROUPS), before, "its return costs no election");
    let is_equal = |group| world.commit_index(killed, group) == world.commit_index(others[0], group);
    assert!((1..=GROUPS).all(is_equal));
}

#[test]
fn row_30_the_clocks_jump() {
    const GROUPS: u64 = 100;
    let mut world = asleep(GROUPS);
    let before = terms(&world, 1, GROUPS);
    // No node runs for a while, as if the machine slept. Then the wall clocks are set.
    world.pass(Duration::from_mins(10));
    world.run(ELECTION);
    world.set_wall_ms(7_200_000);
    world.run(ELECTION);
    world.set_wall_ms(1_000);
    world.run(ELECTION);
    assert_eq!(terms(&world, 1, GROUPS), before, "no election");
    write_to_all(&mut world, GROUPS, &NODES, TIMEOUT);
}

#[test]
fn row_30_a_leader_that_restarts_at_once_is_noticed() {
    const GROUPS: u64 = 100;
    let mut world = asleep(GROUPS);
    let restarted = busiest(&world, GROUPS);
    world.kill(restarted);
    world.restart(restarted);
    world.run(ELECTION);
    write_to_all(&mut world, GROUPS, &NODES, TIMEOUT);
}

#[test]
fn row_30_no_group_leads_without_its_quorum() {
    const GROUPS: u64 = 100;
    let mut world = asleep(GROUPS);
    let alone = busiest(&world, GROUPS);
    for other in NODES.into_iter().filter(|node| *node != alone) {
        world.kill(other);
    }
    world.run(ELECTION);
    assert!((1..=GROUPS).all(|group| role(&world, alone, group) != Role::Leader));
}

/// No message shows that one group of a node that lives has halted. The nodes find it when they compare their groups.
#[test]
fn row_30_a_leader_whose_group_alone_halted_is_replaced() {
    const GROUPS: u64 = 100;
    let mut world = asleep(GROUPS);
    let node = busiest(&world, GROUPS);
    let others: Vec<u64> = NODES.into_iter().filter(|other| *other != node).collect();
    let led = |group: &u64| role(&world, node, *group) == Role::Leader;
    let halted = (1..=GROUPS).find(led).expect("it leads most");
    let (before, woken) = (terms(&world, others[0], GROUPS), world.totals().1.groups_woken);
    let stream = world.node(node).roster().stream(GroupId(halted)).expect("bound");
    let failure = PersistFailure::Refused { reason: quorate_protocol::WriteRefusal::TooLarge };
    let signal = Signal::PersistFailed { ticket: quorate_protocol::Ticket(1), failure };
    world.input(node, NodeInput::Signal { stream, signal });
    world.run(Duration::from_secs(4) + ELECTION);
    assert!(leader_among(&world, halted, &others).is_some(), "group {halted} sleeps through the loss of its leader");
    for (group, (before, after)) in (1..).zip(before.into_iter().zip(terms(&world, others[0], GROUPS))) {
        assert!(group == halted || before == after, "group {group} is not concerned");
    }
    let woken = world.totals().1.groups_woken - woken;
    assert!((1..=4).contains(&woken), "{woken} groups were woken for one");
}

#[test]
fn row_30_groups_come_and_go_among_those_at_rest() {
    const GROUPS: u64 = 100;
    let mut world = asleep(GROUPS);
    let (sent, woken) = (messages(&world), world.totals().1.groups_woken);
    for node in NODES {
        let new = world.new_group(node, GROUPS + 1);
        world.input(node, NodeInput::AddGroup { group: GroupId(GROUPS + 1), new, call: CallId(1) });
    }
    let new_rests = |world: &World| (1..=GROUPS + 1).all(|group| rests(world, group, &NODES));
    world.run(Duration::from_millis(200));
    assert!(world.run_until(Duration::from_secs(10), new_rests), "the new group elects and comes to rest");
    assert!(messages(&world) - sent < 300, "and the others go on resting");
    write_to_all(&mut world, GROUPS + 1, &NODES, TIMEOUT);
    // One node alone removes a group that it leads. The others elect another leader.
    let led = |group: &u64| role(&world, 1, *group) == Role::Leader;
    let removed = (1..=GROUPS).find(led).expect("node 1 leads a third of the groups");
    assert!(world.run_until(Duration::from_secs(10), new_rests));
    world.input(1, NodeInput::RemoveGroup { group: GroupId(removed), call: CallId(2) });
    world.run(ELECTION);
    assert!(leader_among(&world, removed, &[2, 3]).is_some(), "group {removed} sleeps through its removal");
    assert_eq!(world.totals().1.groups_woken, woken, "the lists of groups show it");
}
