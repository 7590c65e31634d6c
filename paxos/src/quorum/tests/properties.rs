//! Fault tolerance, quorums of the first phase among themselves, and changes of the system.

use super::super::{FaultTolerance, QuorumError, QuorumSystem};
use super::{first, lists, nodes};

fn system(text: &str) -> QuorumSystem {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn so_many_may_fail() {
    let known = [
        ("majority of [1, 2, 3, 4, 5]", 2, 2),
        ("majority of [1, 2, 3, 4]", 1, 1),
        ("1", 0, 0),
        ("prepare 4 of [1, 2, 3, 4, 5] accept 2 of [1, 2, 3, 4, 5]", 1, 3),
        // A grid of two rows: one node of each row stops the first phase, one of each column the second.
        (
            "prepare any of [all of [1, 2, 3], all of [4, 5, 6]] accept any of [all of [1, 4], all of [2, 5], all of [3, 6]]",
            1,
            2,
        ),
        ("2 of [majority of [1, 2, 3], majority of [4, 5, 6], majority of [7, 8, 9]]", 3, 3),
        ("majority of [3 * 1, 2, 3]", 0, 0),
        ("majority of [2 * 1, 2 * 2, 2 * 3, 4]", 1, 1),
        // The Fano plane: only a whole line meets every line.
        (
            "any of [all of [1, 2, 3], all of [1, 4, 5], all of [1, 6, 7], all of [2, 4, 6], all of [2, 5, 7], all of [3, 4, 7], all of [3, 5, 6]]",
            2,
            2,
        ),
    ];
    for (text, prepare, accept) in known {
        assert_eq!(system(text).fault_tolerance(), Ok(FaultTolerance { prepare, accept }), "{text}");
    }
}

#[test]
fn elections_need_quorums_that_meet_each_other() {
    for text in ["majority of [1, 2, 3]", "prepare 4 of [1, 2, 3, 4, 5] accept 2 of [1, 2, 3, 4, 5]"] {
        assert_eq!(system(text).phase_one_pairwise_intersects(), Ok(()), "{text}");
    }
    let cheap_elections = system("prepare 2 of [1, 2, 3, 4] accept 3 of [1, 2, 3, 4]");
    match cheap_elections.phase_one_pairwise_intersects() {
        Err(QuorumError::NotPairwise { one, other }) => {
            assert!(one.len() == 2 && other.len() == 2 && one.is_disjoint(&other));
        }
        other => panic!("two pairs of four need not meet: {other:?}"),
    }
}

#[test]
fn a_change_must_lose_nothing() {
    let three = QuorumSystem::majority(first(3)).expect("distinct");
    let four = QuorumSystem::majority(first(4)).expect("distinct");
    let others = QuorumSystem::majority(nodes(3..=5)).expect("distinct");
    assert_eq!(three.check_change_to(&three), Ok(()));
    assert_eq!(three.check_change_to(&four), Ok(()), "one node more");
    assert_eq!(four.check_change_to(&three), Ok(()), "one node less");
    match three.check_change_to(&others) {
        Err(QuorumError::NewMissesOld { prepare, accept }) => {
            assert!(others.is_prepare_quorum(|node| prepare.contains(&node)));
            assert!(three.is_accept_quorum(|node| accept.contains(&node)) && prepare.is_disjoint(&accept));
        }
        other => panic!("two of three are other nodes: {other:?}"),
    }
    // Decisions get cheaper: nothing of the old one is missed, and an old proposer may miss something of the new one.
    let cheap = QuorumSystem::flexible(first(3), 3, 1).expect("they meet");
    let error = three.check_change_to(&cheap).expect_err("two old promises do not reach every single acceptor");
    assert!(matches!(error, QuorumError::OldMissesNew { .. }), "{error}");
    assert!(error.to_string().contains("of the old system's first phase"), "{error}");
    let (five, rows) = (QuorumSystem::majority(first(5)), QuorumSystem::grid(lists(&[&[1, 2], &[3, 4]])));
    let error =
        five.expect("distinct").check_change_to(&rows.expect("a grid")).expect_err("a row misses three of five");
    assert!(matches!(error, QuorumError::NewMissesOld { .. }), "{error}");
}
