use std::collections::BTreeMap;

use proptest::prelude::*;
use quorate_protocol::{Configuration, Member, MemberRole, NodeId};

use super::{Tally, reached_by_quorum, tally};

fn voters(count: u64) -> Configuration {
    Configuration::of_voters((1..=count).map(NodeId))
}

#[test]
fn a_quorum_is_more_than_half() {
    let reached = |matches: &[u64]| {
        let count = u64::try_from(matches.len()).expect("few");
        reached_by_quorum(&voters(count), |node| matches[usize::try_from(node.0 - 1).expect("few")])
    };
    assert_eq!(reached(&[7]), 7);
    assert_eq!(reached(&[7, 5]), 5);
    assert_eq!(reached(&[7, 5, 3]), 5);
    assert_eq!(reached(&[7, 5, 3, 2]), 3);
    assert_eq!(reached(&[7, 5, 3, 2, 1]), 3);
    assert_eq!(reached(&[6, 6, 5, 3, 2, 1]), 3);
}

#[test]
fn nobody_is_no_quorum() {
    assert_eq!(reached_by_quorum(&Configuration::default(), |_| 7), 0);
    assert_eq!(tally(&Configuration::default(), |_| Some(true)), Tally::Lost);
}

#[test]
fn learners_count_for_nothing() {
    let member = |node, role| Member { role, ..Member::voter(NodeId(node)) };
    let members = vec![member(1, MemberRole::Voter), member(2, MemberRole::Learner), member(3, MemberRole::Witness)];
    let configuration = Configuration::new(members).expect("valid");
    assert_eq!(reached_by_quorum(&configuration, |node| if node == NodeId(2) { 9 } else { 4 }), 4);
}

#[test]
fn votes_are_won_lost_or_open() {
    let count = |yes: &[u64], no: &[u64]| {
        let vote = |node: NodeId| match node.0 {
            node if yes.contains(&node) => Some(true),
            node if no.contains(&node) => Some(false),
            _ => None,
        };
        tally(&voters(4), vote)
    };
    assert_eq!(count(&[1, 2], &[]), Tally::Open);
    assert_eq!(count(&[1, 2, 3], &[4]), Tally::Won);
    assert_eq!(count(&[1, 2], &[3]), Tally::Open);
    assert_eq!(count(&[1, 2], &[3, 4]), Tally::Lost);
}

fn naive(voters: &[NodeId], reached: &BTreeMap<NodeId, u64>) -> u64 {
    let has = |index: &u64| voters.iter().filter(|node| reached[node] >= *index).count() * 2 > voters.len();
    (0..=20).rev().find(has).unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn a_quorum_reaches_what_counting_says(matches in prop::collection::vec(0..20_u64, 1..14), outgoing in 0..14_u64) {
        let reached: BTreeMap<NodeId, u64> = (1..).map(NodeId).zip(matches).collect();
        let plain = Configuration::of_voters(reached.keys().copied());
        let all: Vec<NodeId> = reached.keys().copied().collect();
        prop_assert_eq!(reached_by_quorum(&plain, |node| reached[&node]), naive(&all, &reached));
        let old: Vec<NodeId> = reached.keys().copied().filter(|node| node.0 <= outgoing).collect();
        if !old.is_empty() {
            let old_members = Configuration::of_voters(old.iter().copied()).members().to_vec();
            let joint = Configuration::joint(plain.members().to_vec(), old_members).expect("valid");
            let both = naive(&all, &reached).min(naive(&old, &reached));
            prop_assert_eq!(reached_by_quorum(&joint, |node| reached[&node]), both);
        }
    }
}
