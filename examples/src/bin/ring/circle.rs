//! The picture of a ring: its parts as arcs, coloured by their nodes.

use quorate_consistent_hash::{KeyHash, Placement};

use crate::algorithm::Built;
use crate::balance::ratio;

/// A part of the circle that one node owns, from one turn to another (both from 0 to 1).
pub(crate) struct Arc {
    /// Place of the node among all.
    pub(crate) node: usize,
    pub(crate) from: f64,
    pub(crate) to: f64,
}

/// A ring as a circle.
pub(crate) struct Circle {
    /// Names of the nodes with their shares of the circle.
    pub(crate) nodes: Vec<(String, f64)>,
    pub(crate) arcs: Vec<Arc>,
    /// Number of tokens, or of parts.
    pub(crate) tokens: usize,
    /// False if the arcs were found at evenly spaced hashes, because there are too many tokens to draw.
    pub(crate) is_exact: bool,
}

impl Circle {
    /// The circle of a ring; `None` for algorithms that are not rings.
    pub(crate) fn of(built: &Built) -> Option<Self> {
        let tokens: Vec<(u64, usize)> = match built {
            Built::Ring(ring) => ring.tokens().map(|(token, node)| (token.0, node.get())).collect(),
            Built::Compat(ring) => ring.tokens().map(|(token, node)| (token.0, node.get())).collect(),
            _ => return None,
        };
        let placement = built.placement();
        let mut nodes: Vec<(String, f64)> = vec![(String::new(), 0.0); placement.nodes().capacity()];
        for (index, node) in placement.nodes().iter() {
            node.name().clone_into(&mut nodes[index.get()].0);
        }
        let is_exact = tokens.len() <= ARCS_MAX;
        let arcs = if is_exact { between(&tokens) } else { sampled(placement) };
        for arc in &arcs {
            nodes[arc.node].1 += arc.to - arc.from;
        }
        Some(Self { nodes, arcs, tokens: tokens.len(), is_exact })
    }
}

/// The arcs between tokens. The part behind the last token belongs to the first, round the end.
fn between(tokens: &[(u64, usize)]) -> Vec<Arc> {
    let mut arcs = Vec::new();
    let mut from = 0.0;
    for &(token, node) in tokens {
        let to = turn(token);
        arcs.push(Arc { node, from, to });
        from = to;
    }
    arcs.extend(tokens.first().map(|&(_, node)| Arc { node, from, to: 1.0 }));
    arcs
}

fn sampled(placement: &dyn Placement) -> Vec<Arc> {
    let step = u64::MAX / ARCS_MAX as u64;
    let arc = |place: u64| {
        let hash = place * step;
        let node = placement.owner_of(KeyHash(hash)).get();
        Arc { node, from: turn(hash), to: turn(hash + step) }
    };
    (0..ARCS_MAX as u64).map(arc).collect()
}

/// The position of a hash on a circle of length one.
fn turn(hash: u64) -> f64 {
    ratio(hash >> 11) / ratio(1 << 53)
}

const ARCS_MAX: usize = 4096;
