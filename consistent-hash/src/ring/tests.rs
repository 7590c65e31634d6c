use super::*;
use crate::hash::fold;
use alloc::format;
use alloc::vec;

fn ring(count: usize, virtual_nodes: u32) -> Ring {
    let nodes = Nodes::named((0..count).map(|i| format!("node-{i}"))).unwrap();
    Ring::builder().virtual_nodes(virtual_nodes).build(nodes).unwrap()
}

/// The definition, without an index: the smallest token at or after the hash, wrapping around; the first name wins a
/// tie.
fn owner_by_definition(ring: &Ring, hash: u64) -> &str {
    let mut tokens: Vec<_> = ring
        .nodes
        .iter()
        .flat_map(|(index, node)| ring.settings.points_of(&ring.nodes, index).map(|(token, _)| (token, node.name())))
        .collect();
    tokens.sort_unstable();
    tokens.iter().find(|&&(token, _)| token >= hash).unwrap_or(&tokens[0]).1
}

#[test]
fn look_up_agrees_with_the_definition() {
    for (nodes, virtual_nodes) in [(1, 1), (1, 3), (2, 1), (3, 5), (10, 16), (40, 7)] {
        let ring = ring(nodes, virtual_nodes);
        let near = ring.tokens().flat_map(|(token, _)| [token.0.wrapping_sub(1), token.0, token.0.wrapping_add(1)]);
        let spread = (0..500).map(|i| fold(i, 0x9E37_79B9_7F4A_7C15));
        for hash in near.chain(spread).chain([0, 1, u64::MAX - 1, u64::MAX]).collect::<Vec<_>>() {
            let owner = ring.nodes.node(ring.owner_of(KeyHash(hash))).name();
            assert_eq!(owner, owner_by_definition(&ring, hash), "{nodes} nodes, hash {hash:#x}");
        }
    }
}

#[test]
fn adding_and_removing_end_where_building_does() {
    let mut changed = ring(8, 20);
    changed.remove("node-3").unwrap();
    changed.add(Node::new("other").with_weight(Weight::new(0.5).unwrap())).unwrap();
    changed.set_weight("node-5", Weight::new(2.0).unwrap()).unwrap();
    let mut nodes: Vec<_> = changed.nodes.iter().map(|(_, node)| node.clone()).collect();
    nodes.reverse();
    let built = Ring::builder().virtual_nodes(20).build(Nodes::new(nodes).unwrap()).unwrap();
    let named = |ring: &Ring| -> Vec<_> {
        ring.tokens().map(|(token, node)| (token, alloc::string::String::from(ring.nodes.node(node).name()))).collect()
    };
    assert_eq!(named(&changed), named(&built));
}

#[test]
fn equal_tokens_belong_to_the_first_name() {
    let nodes = Nodes::named(["b", "a", "c"]).unwrap();
    let points = vec![(5, NodeIndex::new(0)), (5, NodeIndex::new(2)), (5, NodeIndex::new(1)), (9, NodeIndex::new(2))];
    let table = TokenTable::build(points.into_iter(), 4, |a, b| by_name(&nodes, a, b));
    assert_eq!(nodes.node(table.owner(5)).name(), "a");
    assert_eq!(nodes.node(table.owner(6)).name(), "c");
    assert_eq!(nodes.node(table.owner(10)).name(), "a");
    let all: Vec<_> = table.owners_from(5).map(|node| nodes.node(node).name()).collect();
    assert_eq!(all, ["a", "b", "c", "c"]);
}

#[test]
fn tokens_that_agree_in_forty_bits_are_told_apart() {
    let base = 0x1234_5678_9ABC_0000;
    let points: Vec<_> = (0..50).map(|i| (base + 2 * i, NodeIndex::from_u32(u32::try_from(i).unwrap()))).collect();
    let table = TokenTable::build(points.iter().rev().copied(), 50, |a, b| a.cmp(&b));
    for i in 0..50 {
        assert_eq!(table.owner(base + 2 * i).get() as u64, i);
        assert_eq!(table.owner((base + 2 * i).wrapping_sub(1)).get() as u64, i);
    }
    assert_eq!(table.owner(base + 99).get(), 0);
    assert_eq!(table.owner(u64::MAX).get(), 0);
}

#[test]
fn a_token_at_the_very_end_owns_the_last_hash() {
    let points = [(u64::MAX, NodeIndex::new(1)), (7, NodeIndex::new(0))];
    let table = TokenTable::build(points.into_iter(), 2, |a, b| a.cmp(&b));
    assert_eq!(table.owner(u64::MAX).get(), 1);
    assert_eq!(table.owner(8).get(), 1);
    assert_eq!(table.owner(7).get(), 0);
}

#[test]
fn refuses_shares_it_cannot_give() {
    let nodes =
        |weight| Nodes::new([Node::new("a"), Node::new("b").with_weight(Weight::new(weight).unwrap())]).unwrap();
    assert_eq!(Ring::new(nodes(0.001)).unwrap_err(), BuildError::ShareTooSmall("b".into()));
    assert!(matches!(
        Ring::builder().virtual_nodes(1 << 20).build(nodes(32768.0)),
        Err(BuildError::TooManyTokens { .. })
    ));
    let mut ring = Ring::new(nodes(1.0)).unwrap();
    assert_eq!(ring.add(Node::new("a")).unwrap_err(), BuildError::DuplicateNode("a".into()));
    assert_eq!(ring.remove("z").unwrap_err(), RemoveError::UnknownNode("z".into()));
    ring.remove("a").unwrap();
    assert_eq!(ring.remove("b").unwrap_err(), RemoveError::LastNode);
}
