//! Rendezvous hashing: what each node draws for the key.

use quorate_consistent_hash::compat::Pymemcache;
use quorate_consistent_hash::{Placement, Rendezvous};

use super::{Steps, name};
use crate::balance::ratio;

pub(super) fn rendezvous(placement: &Rendezvous, key: &[u8], steps: &mut Steps) {
    let hash = placement.hash(key);
    steps.hashed(key);
    steps.add("hash", format_args!("{:016x}, by XXH64", hash.0));
    let draws = placement.draws_of(hash);
    for draw in draws.iter().take(SHOWN) {
        let weight = placement.nodes().node(draw.node).weight().as_f64();
        let logarithm = ratio(draw.logarithm) / ratio(1 << 48);
        let quotient = logarithm / weight;
        steps.add(
            format_args!("draw of {}", name(placement, draw.node)),
            format_args!("{:016x}, -log2 {logarithm:.6}, by weight {weight}: {quotient:.6}", draw.draw),
        );
    }
    rest(draws.len(), "draws", steps);
    steps.add("rule", "the node with the least logarithm by weight; the others by theirs");
}

pub(super) fn pymemcache(placement: &Pymemcache, key: &[u8], steps: &mut Steps) {
    let scores = placement.scores(key);
    for &(node, score) in scores.iter().take(SHOWN) {
        let name = name(placement, node);
        steps.add(
            format_args!("score of {name}"),
            format_args!("{score}, by murmur3 of \"{name}-{}\"", key.escape_ascii()),
        );
    }
    rest(scores.len(), "scores", steps);
    steps.add("rule", "the node with the highest score; of equal ones the last by name");
}

fn rest(all: usize, what: &str, steps: &mut Steps) {
    if all > SHOWN {
        steps.add(format_args!("worse {what}"), all - SHOWN);
    }
}

/// Number of draws that are shown.
const SHOWN: usize = 8;
