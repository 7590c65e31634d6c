use super::{Tally, reached_by_quorum, tally};
use crate::{Configuration, Member, MemberRole, NodeId, Random};

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

/// The greatest index that more than half of the voters have reached, by the definition.
fn naive(voters: &[NodeId], reached: impl Fn(NodeId) -> u64) -> u64 {
    let has = |index: &u64| voters.iter().filter(|node| reached(**node) >= *index).count() * 2 > voters.len();
    (0..=20).rev().find(has).unwrap_or(0)
}

/// The committed index by the fast way equals that by the definition, in a million random groups, joint and not, with
/// learners and witnesses in them.
#[test]
fn a_quorum_reaches_what_counting_says() {
    let mut random = Random::new(1);
    for _ in 0..1_000_000 {
        let count = random.between(1, 13);
        let reached: Vec<u64> = (0..=count).map(|_| random.between(0, 20)).collect();
        let of = |node: NodeId| reached[usize::try_from(node.0).expect("few")];
        let mut draw = |count: u64| -> Vec<Member> {
            let learns = |node: u64, chance: u64| node > 1 && chance == 0;
            let member = |node: u64| match random.between(0, 3) {
                chance if learns(node, chance) => Member::learner(NodeId(node)),
                _ => Member::voter(NodeId(node)),
            };
            (1..=count).map(member).collect()
        };
        let (new, old) = (draw(count), draw(1 + count / 2));
        let plain = Configuration::new(new.clone()).expect("node 1 votes");
        let newer = naive(&plain.voters().collect::<Vec<_>>(), of);
        assert_eq!(reached_by_quorum(&plain, of), newer);
        let joint = Configuration::joint(new, old).expect("node 1 votes");
        let older = naive(&joint.outgoing_voters().collect::<Vec<_>>(), of);
        assert_eq!(reached_by_quorum(&joint, of), newer.min(older));
    }
}
