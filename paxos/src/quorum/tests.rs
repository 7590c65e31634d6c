//! Every quorum of the first phase intersects every quorum of the second.

use quorate_protocol::NodeId;

use super::{ACCEPTORS_MAX, QuorumError, QuorumSystem};

fn nodes(count: u64) -> Vec<NodeId> {
    (1..=count).map(NodeId).collect()
}

/// True if each prepare quorum intersects each accept quorum, over all subsets.
fn always_meets(system: &QuorumSystem) -> bool {
    let count = system.acceptors().len();
    let has = |set: u32, node: NodeId| set & (1 << (node.0 - 1)) != 0;
    let all = 0..1_u32 << count;
    let prepare: Vec<u32> = all.clone().filter(|set| system.is_prepare_quorum(|node| has(*set, node))).collect();
    let accept: Vec<u32> = all.filter(|set| system.is_accept_quorum(|node| has(*set, node))).collect();
    assert!(!prepare.is_empty() && !accept.is_empty(), "{system:?}");
    prepare.iter().all(|one| accept.iter().all(|two| one & two != 0))
}

#[test]
fn what_is_made_intersects_and_what_does_not_is_refused() {
    for count in 1..=7 {
        assert!(always_meets(&QuorumSystem::majority(nodes(count)).expect("distinct")));
        for (prepare, accept) in (0..=8).flat_map(|prepare| (0..=8).map(move |accept| (prepare, accept))) {
            let size = usize::try_from(count).expect("small");
            match QuorumSystem::flexible(nodes(count), prepare, accept) {
                Ok(system) => assert!(prepare + accept > size && always_meets(&system), "{system:?}"),
                Err(QuorumError::NotIntersecting) => assert!(prepare + accept <= size),
                Err(error) => assert!(error == QuorumError::Size, "{error}"),
            }
        }
    }
}

#[test]
fn rows_meet_columns() {
    let grid = |rows: &[&[u64]]| {
        QuorumSystem::grid(rows.iter().map(|row| row.iter().copied().map(NodeId).collect()).collect())
    };
    let system = grid(&[&[1, 2, 3], &[4, 5, 6]]).expect("a grid");
    assert!(always_meets(&system));
    assert!(system.is_prepare_quorum(|node| node >= NodeId(4)));
    assert!(system.is_accept_quorum(|node| node == NodeId(2) || node == NodeId(5)));
    assert!(!system.is_accept_quorum(|node| node == NodeId(2) || node == NodeId(6)));
    assert_eq!(grid(&[&[1, 2], &[3]]), Err(QuorumError::Ragged));
    assert_eq!(grid(&[]), Err(QuorumError::Empty));
    assert_eq!(grid(&[&[]]), Err(QuorumError::Empty));
    assert_eq!(grid(&[&[1, 2], &[3, 1]]), Err(QuorumError::Repeated(NodeId(1))));
}

#[test]
fn acceptors_are_distinct_and_few() {
    assert_eq!(QuorumSystem::majority([]), Err(QuorumError::Empty));
    assert_eq!(QuorumSystem::majority([NodeId(1), NodeId(1)]), Err(QuorumError::Repeated(NodeId(1))));
    assert!(QuorumSystem::majority(nodes(ACCEPTORS_MAX as u64)).is_ok());
    assert_eq!(QuorumSystem::majority(nodes(ACCEPTORS_MAX as u64 + 1)), Err(QuorumError::TooMany));
}

#[test]
fn systems_that_differ_say_so() {
    let describe = |system: QuorumSystem| {
        let mut out = Vec::new();
        system.describe(&mut out);
        out
    };
    let grid = |rows: Vec<Vec<NodeId>>| describe(QuorumSystem::grid(rows).expect("a grid"));
    let all = [
        describe(QuorumSystem::majority(nodes(4)).expect("distinct")),
        describe(QuorumSystem::majority(nodes(5)).expect("distinct")),
        describe(QuorumSystem::flexible(nodes(4), 2, 3).expect("they meet")),
        grid(vec![nodes(4)]),
        grid(vec![nodes(2), vec![NodeId(3), NodeId(4)]]),
        grid(vec![nodes(2), vec![NodeId(4), NodeId(3)]]),
    ];
    for (at, one) in all.iter().enumerate() {
        assert!(all[at + 1..].iter().all(|two| two != one));
    }
    assert_eq!(all[0], describe(QuorumSystem::flexible(nodes(4), 3, 3).expect("they meet")));
}

#[test]
fn a_description_is_read_back_and_nothing_else_is() {
    let flexible = QuorumSystem::flexible(nodes(5), 4, 2).expect("they meet");
    let grid = QuorumSystem::grid(vec![nodes(2), vec![NodeId(4), NodeId(3)]]).expect("a grid");
    for system in [QuorumSystem::majority(nodes(64)).expect("distinct"), flexible, grid] {
        let mut bytes = Vec::new();
        system.describe(&mut bytes);
        assert!(bytes.len() <= super::DESCRIPTION_BYTES_MAX);
        assert_eq!(QuorumSystem::of_description(&bytes), Some(system));
        for length in 0..bytes.len() {
            assert_eq!(QuorumSystem::of_description(&bytes[..length]), None);
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x80;
            let read = QuorumSystem::of_description(&changed);
            assert!(read.is_none_or(|read| always_meets_or_is_large(&read)), "byte {at}");
        }
    }
}

fn always_meets_or_is_large(system: &QuorumSystem) -> bool {
    system.acceptors().iter().any(|node| node.0 > 16) || always_meets(system)
}
