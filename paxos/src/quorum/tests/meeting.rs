//! The search for quorums without a common node, against the definition.

use std::collections::BTreeSet;

use quorate_protocol::{NodeId, Random};

use super::super::meeting::disjoint;
use super::super::{QuorumError, QuorumRule, QuorumSystem, tolerance};
use super::{first, is_in, nodes, quorums, random_rule};

const NODES: usize = 6;

/// The naive definition: every quorum of one rule with every quorum of the other.
fn meet(one: &QuorumRule, other: &QuorumRule) -> bool {
    let other = quorums(other, NODES);
    quorums(one, NODES).iter().all(|first| other.iter().all(|second| first & second != 0))
}

fn is_quorum(rule: &QuorumRule, nodes: &BTreeSet<NodeId>) -> bool {
    rule.is_quorum(|node| nodes.contains(&node))
}

#[test]
fn two_rules_meet_if_all_their_quorums_do() {
    let mut random = Random::new(1);
    let mut met = 0;
    for turn in 0..6_000 {
        let one = random_rule(&mut random, NODES as u64, 3);
        // Every other time the rules are alike.
        let other = if turn % 2 == 0 { random_rule(&mut random, NODES as u64, 3) } else { one.dual() };
        let found = disjoint(&one, &other).expect("they are small");
        assert_eq!(found.is_none(), meet(&one, &other), "{one} and {other}");
        met += u32::from(found.is_none());
        if let Some((first, second)) = found {
            assert!(is_quorum(&one, &first) && is_quorum(&other, &second), "{one} and {other}: {first:?}, {second:?}");
            assert!(first.is_disjoint(&second), "{one} and {other}: {first:?}, {second:?}");
            let spare = |quorum: &BTreeSet<NodeId>, rule| {
                quorum.iter().any(|node| is_quorum(rule, &quorum.iter().copied().filter(|it| it != node).collect()))
            };
            assert!(!spare(&first, &one) && !spare(&second, &other), "nobody is named without need");
        }
    }
    assert!((3_000..5_400).contains(&met), "both happen: {met}");
}

/// A node that two lists name is lost once: what was taken matters, not only how much the other rule has lost.
#[test]
fn nodes_that_are_named_twice_are_lost_once() {
    let rule = |text: &str| text.parse::<QuorumRule>().expect(text);
    let chain = rule("all of [any of [1, 2], any of [2, 3]]");
    let (one, other) = disjoint(&chain, &rule("2 of [1, 2, 3]")).expect("small").expect("2 alone, and 1 with 3");
    assert_eq!((one, other), (nodes([2]).into_iter().collect(), nodes([1, 3]).into_iter().collect()));
}

#[test]
fn a_dual_meets_every_quorum_and_nothing_else_does() {
    let mut random = Random::new(2);
    for _ in 0..500 {
        let rule = random_rule(&mut random, NODES as u64, 3);
        let (own, dual) = (quorums(&rule, NODES), quorums(&rule.dual(), NODES));
        for set in 0..1 << NODES {
            assert_eq!(dual.contains(&set), own.iter().all(|quorum| quorum & set != 0), "{rule} and {set:b}");
        }
    }
}

#[test]
fn tolerance_is_what_may_fail() {
    let mut random = Random::new(3);
    for _ in 0..500 {
        let rule = random_rule(&mut random, NODES as u64, 3);
        let named = rule.nodes();
        let survives = |failed: u32| rule.is_quorum(|node| !is_in(failed, node));
        let of_rule = |failed: &u32| {
            (1..=NODES as u64).all(|node| !is_in(*failed, NodeId(node)) || named.contains(&NodeId(node)))
        };
        let fatal = (0..1_u32 << NODES).filter(of_rule).filter(|failed| !survives(*failed));
        let fewest = fatal.map(u32::count_ones).min().expect("nobody is left");
        assert_eq!(tolerance(&rule), Ok(fewest as usize - 1), "{rule}");
    }
}

/// The forms that are offered can be checked at their largest.
#[test]
fn large_systems_are_checked() {
    let zone = |zone: u64| nodes(zone * 8..zone * 8 + 8);
    let eight = || (0..8).map(zone).collect::<Vec<_>>();
    let check = |system: Result<QuorumSystem, QuorumError>| {
        let system = system.expect("it is small enough");
        let tolerance = system.fault_tolerance().expect("it is small enough");
        (tolerance.prepare, tolerance.accept, system.phase_one_pairwise_intersects().is_ok())
    };
    assert_eq!(check(QuorumSystem::majority(first(64))), (31, 31, true));
    assert_eq!(check(QuorumSystem::flexible(first(64), 60, 5)), (4, 59, true));
    assert_eq!(check(QuorumSystem::flexible(first(64), 5, 60)), (59, 4, false));
    assert_eq!(check(QuorumSystem::grid(eight())), (7, 7, false));
    assert_eq!(check(QuorumSystem::grid(vec![first(64)])), (0, 63, true));
    assert_eq!(check(QuorumSystem::grid(first(64).into_iter().map(|node| vec![node]).collect())), (63, 0, false));
    assert_eq!(check(QuorumSystem::zones(5, eight())), (15, 15, true));
    let odd = (1..=64).map(|node| (NodeId(node), u16::try_from(node * 1_013 % 65_521).expect("small")));
    QuorumSystem::weighted(odd).expect("weights of any size");
    // Majorities of zones against a number of nodes, whichever they are.
    let zones = QuorumRule::at_least(5, eight().into_iter().map(QuorumRule::majority_of));
    let some = |count| QuorumRule::at_least(count, (0..64).map(NodeId));
    assert!(QuorumSystem::new(zones.clone(), some(40)).is_ok(), "25 nodes are the fewest in zones");
    assert!(QuorumSystem::new(some(40), zones.clone()).is_ok());
    assert!(matches!(QuorumSystem::new(zones, some(39)), Err(QuorumError::NotIntersecting { .. })));
}

/// The lines of a projective plane meet in one node each: the hardest lists of quorums.
#[test]
fn lists_of_quorums_are_checked() {
    let plane = |order: u64| -> Vec<Vec<NodeId>> {
        let at = |x: u64, y: u64| x * order + y;
        let slope = |slope: u64| order * order + slope;
        let mut lines = vec![nodes((0..=order).map(slope))];
        for x in 0..order {
            lines.push(nodes((0..order).map(|y| at(x, y)).chain([slope(order)])));
            for y in 0..order {
                lines.push(nodes((0..order).map(|step| at(step, (y + x * step) % order)).chain([slope(x)])));
            }
        }
        lines
    };
    for order in [2, 3, 5] {
        let mut lines = plane(order);
        let system = QuorumSystem::explicit(lines.clone(), lines.clone()).expect("any two lines meet");
        assert_eq!(system.acceptors().len() as u64, order * order + order + 1);
        if order < 5 {
            assert_eq!(system.fault_tolerance().expect("small").accept as u64, order, "a line meets all others");
        }
        let shortened = lines[0].pop();
        assert!(shortened.is_some());
        let error = QuorumSystem::explicit(lines.clone(), lines).expect_err("one node is missing");
        assert!(matches!(error, QuorumError::NotIntersecting { .. }), "{error}");
    }
}

/// Weights that differ between the phases are a puzzle that nobody solves quickly. The effort is bounded.
#[test]
fn what_is_too_complex_is_refused() {
    let mut random = Random::new(4);
    let weigh = |random: &mut Random, node: u64| {
        let weight = u16::try_from(random.between(20_000, 60_000)).expect("small");
        QuorumRule::from(NodeId(node)).weighing(weight)
    };
    let one = QuorumRule::at_least(1_400_000, (0..64).map(|node| weigh(&mut random, node)));
    let other = QuorumRule::at_least(1_700_000, (0..64).map(|node| weigh(&mut random, node)));
    assert_eq!(QuorumSystem::new(one.clone(), other.clone()), Err(QuorumError::TooComplex));
    assert_eq!(QuorumSystem::new(other, one), Err(QuorumError::TooComplex));
}
