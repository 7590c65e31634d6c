//! Rules mean what they say, every system intersects, and texts and bytes are read back.

mod forms;
mod meeting;
mod properties;

use quorate_protocol::{NodeId, Random};

use super::{ACCEPTORS_MAX, QuorumError, QuorumRule, QuorumSystem};

fn nodes(numbers: impl IntoIterator<Item = u64>) -> Vec<NodeId> {
    numbers.into_iter().map(NodeId).collect()
}

/// The first nodes.
fn first(count: u64) -> Vec<NodeId> {
    nodes(1..=count)
}

/// Lists of nodes.
fn lists(rows: &[&[u64]]) -> Vec<Vec<NodeId>> {
    rows.iter().map(|row| nodes(row.iter().copied())).collect()
}

/// The set of these bits: bit 0 is node 1.
fn is_in(set: u32, node: NodeId) -> bool {
    set & (1 << (node.0 - 1)) != 0
}

/// All sets of the first `count` nodes that are quorums of the rule.
fn quorums(rule: &QuorumRule, count: usize) -> Vec<u32> {
    (0..1_u32 << count).filter(|set| rule.is_quorum(|node| is_in(*set, node))).collect()
}

/// A random rule of up to `depth` lists in one another, over the first `count` nodes.
fn random_rule(random: &mut Random, count: u64, depth: usize) -> QuorumRule {
    if depth == 0 || random.between(0, 3) == 0 {
        return NodeId(random.between(1, count + 1)).into();
    }
    let mut items = Vec::new();
    let mut named = Vec::new();
    let mut total = 0;
    for _ in 0..random.between(1, 5) {
        let item = random_rule(random, count, depth - 1);
        if !named.contains(&item) {
            named.push(item.clone());
            let weight = if random.between(0, 2) == 0 { random.between(1, 4) } else { 1 };
            total += weight;
            items.push(item.weighing(u16::try_from(weight).expect("small")));
        }
    }
    let needed = random.between(1, total + 1);
    QuorumRule::at_least(u32::try_from(needed).expect("small"), items)
}

#[test]
fn acceptors_are_distinct_and_few() {
    assert_eq!(QuorumSystem::majority([]), Err(QuorumError::Empty));
    assert_eq!(QuorumSystem::majority([NodeId(1), NodeId(1)]), Err(QuorumError::Repeated(NodeId(1))));
    assert!(QuorumSystem::majority(first(ACCEPTORS_MAX as u64)).is_ok());
    assert_eq!(QuorumSystem::majority(first(ACCEPTORS_MAX as u64 + 1)), Err(QuorumError::TooMany));
    let halves = QuorumRule::all_of(first(40)).is_quorum(|_| true);
    assert!(halves);
    let error = QuorumSystem::new(QuorumRule::all_of(first(40)), QuorumRule::any_of(nodes(40..=80)));
    assert_eq!(error, Err(QuorumError::TooMany));
}

#[test]
fn sizes_meet_or_are_refused() {
    for count in 1..=7 {
        for (prepare, accept) in (0..=8).flat_map(|prepare| (0..=8).map(move |accept| (prepare, accept))) {
            let size = usize::try_from(count).expect("small");
            match QuorumSystem::flexible(first(count), prepare, accept) {
                Ok(system) => {
                    assert!(prepare + accept > size);
                    assert!(
                        quorums(system.prepare_rule(), size).iter().all(|set| set.count_ones() as usize >= prepare)
                    );
                }
                Err(QuorumError::NotIntersecting { prepare: one, accept: other }) => {
                    assert!(prepare + accept <= size && one.is_disjoint(&other));
                    assert_eq!((one.len(), other.len()), (prepare, accept));
                }
                Err(error) => assert_eq!(error, QuorumError::Size),
            }
        }
    }
}

#[test]
fn rows_meet_columns() {
    let system = QuorumSystem::grid(lists(&[&[1, 2, 3], &[4, 5, 6]])).expect("a grid");
    assert!(system.is_prepare_quorum(|node| node >= NodeId(4)));
    assert!(system.is_accept_quorum(|node| node == NodeId(2) || node == NodeId(5)));
    assert!(!system.is_accept_quorum(|node| node == NodeId(2) || node == NodeId(6)));
    let two_rows =
        QuorumError::NotPairwise { one: nodes(1..=3).into_iter().collect(), other: nodes(4..=6).into_iter().collect() };
    assert_eq!(system.phase_one_pairwise_intersects(), Err(two_rows));
    assert_eq!(QuorumSystem::grid(lists(&[&[1, 2], &[3]])), Err(QuorumError::Ragged));
    assert_eq!(QuorumSystem::grid(vec![]), Err(QuorumError::Empty));
    assert_eq!(QuorumSystem::grid(vec![vec![]]), Err(QuorumError::Empty));
    assert_eq!(QuorumSystem::grid(lists(&[&[1, 2], &[3, 1]])), Err(QuorumError::Repeated(NodeId(1))));
}

#[test]
fn weights_zones_and_lists() {
    let weighted = QuorumSystem::weighted([(NodeId(1), 3), (NodeId(2), 1), (NodeId(3), 1)]).expect("distinct");
    assert!(weighted.is_accept_quorum(|node| node == NodeId(1)));
    assert!(!weighted.is_accept_quorum(|node| node != NodeId(1)));
    assert_eq!(QuorumSystem::weighted([(NodeId(1), 0)]), Err(QuorumError::Weight));
    let repeated = QuorumSystem::weighted([(NodeId(1), 1), (NodeId(1), 1)]);
    assert_eq!(repeated, Err(QuorumError::Repeated(NodeId(1))));

    let zones = || lists(&[&[1, 2, 3], &[4, 5, 6], &[7, 8, 9]]);
    let system = QuorumSystem::zones(2, zones()).expect("they meet");
    assert!(system.is_prepare_quorum(|node| [1, 3, 8, 9].contains(&node.0)));
    assert!(!system.is_prepare_quorum(|node| [1, 2, 3, 4, 7].contains(&node.0)));
    assert!(matches!(QuorumSystem::zones(1, zones()), Err(QuorumError::NotIntersecting { .. })));

    let listed = QuorumSystem::explicit(lists(&[&[1, 2], &[2, 3]]), lists(&[&[2], &[1, 3]])).expect("they meet");
    assert!(listed.is_accept_quorum(|node| node != NodeId(2)) && !listed.is_accept_quorum(|node| node == NodeId(1)));
    assert_eq!(QuorumSystem::explicit(vec![], lists(&[&[1]])), Err(QuorumError::Empty));
    assert_eq!(QuorumSystem::explicit(lists(&[&[1], &[]]), lists(&[&[1]])), Err(QuorumError::Empty));
}

#[test]
fn errors_name_the_quorums() {
    let error = QuorumSystem::flexible(first(5), 3, 2).expect_err("they need not meet").to_string();
    assert_eq!(error, "quorum [1, 2, 3] of the first phase and [4, 5] of the second have no node in common");
}
