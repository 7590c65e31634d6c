//! Helpers of several tests.

use quorate_consistent_hash::{
    Hasher, Jump, JumpBack, KeyHash, Maglev, Memento, Node, NodeIndex, Nodes, Placement, Rendezvous, Ring, Weight,
};

/// Every algorithm on these nodes. Algorithms without weights are left out unless all weights are equal.
pub(crate) fn every_algorithm(nodes: &Nodes) -> Vec<(&'static str, Box<dyn Placement>)> {
    let mut all: Vec<(&str, Box<dyn Placement>)> = vec![
        ("ring", Box::new(Ring::new(nodes.clone()).unwrap())),
        ("rendezvous", Box::new(Rendezvous::new(nodes.clone()).unwrap())),
        ("maglev", Box::new(Maglev::new(nodes.clone()).unwrap())),
    ];
    if let Ok(jump) = Jump::new(nodes.clone()) {
        all.push(("jump", Box::new(jump)));
        all.push(("jump-back", Box::new(JumpBack::new(nodes.clone()).unwrap())));
        all.push(("memento", Box::new(Memento::new(nodes.clone()).unwrap())));
    }
    all
}

pub(crate) fn named(count: usize) -> Nodes {
    Nodes::named((0..count).map(|i| format!("node-{i}"))).unwrap()
}

pub(crate) fn weighted(weights: &[f64]) -> Nodes {
    Nodes::new(
        weights
            .iter()
            .enumerate()
            .map(|(i, &weight)| Node::new(format!("node-{i}")).with_weight(Weight::new(weight).unwrap())),
    )
    .unwrap()
}

/// Uniform hashes, equal in every run.
pub(crate) fn hashes(count: u64) -> impl Iterator<Item = KeyHash> {
    (0..count).map(|i| Hasher::STABLE.hash(&i.to_le_bytes()))
}

/// Number of the hashes that each node owns, by node number.
pub(crate) fn loads(placement: &dyn Placement, hashes: impl Iterator<Item = KeyHash>) -> Vec<u64> {
    let mut loads = vec![0; placement.nodes().capacity()];
    for hash in hashes {
        loads[placement.owner_of(hash).get()] += 1;
    }
    loads
}

pub(crate) fn name(placement: &dyn Placement, index: NodeIndex) -> &str {
    placement.nodes().node(index).name()
}
