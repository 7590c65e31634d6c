//! `ring explain`: the way from a key to its node, step by step.

mod crush;
mod draw;
mod number;
mod ring;
mod table;
#[cfg(test)]
mod tests;

use std::fmt::{Display, Write as _};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;
use quorate_consistent_hash::compat::cassandra_token;
use quorate_consistent_hash::{KeyHash, NodeIndex, Placement};

use crate::Placing;
use crate::algorithm::{Algorithm, Built};
use crate::error::Failure;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The key.
    key: String,

    #[command(flatten)]
    placing: Placing,

    /// The nodes, one a line: `name [weight [zone [rack]]]`. Not needed for `redis-slot` and `cassandra`, which have
    /// slots and tokens without them.
    #[arg(long, value_name = "FILE")]
    nodes: Option<PathBuf>,
}

pub(crate) fn run(options: &Options, out: &mut dyn Write) -> Result<(), Failure> {
    let key = options.key.as_bytes();
    let mut steps = Steps::of(key);
    match (options.placing.algorithm, &options.nodes) {
        (Some(Algorithm::RedisSlot), None) => table::slot(key, &mut steps),
        (Some(Algorithm::Cassandra), None) => cassandra(key, &mut steps),
        (_, nodes) => explain(&Built::asked(&options.placing, nodes.as_deref())?, key, &mut steps),
    }
    out.write_all(steps.text.as_bytes()).map_err(Failure::Output)
}

/// The steps, one a line: what it is, a tab, and its value.
struct Steps {
    text: String,
}

impl Steps {
    fn of(key: &[u8]) -> Self {
        Self { text: format!("key\t{}\n", key.escape_ascii()) }
    }

    fn add(&mut self, what: impl Display, value: impl Display) {
        let _ = writeln!(self.text, "{what}\t{value}");
    }

    /// Says which bytes are hashed.
    fn hashed(&mut self, bytes: &[u8]) {
        self.add("hashed", format_args!("\"{}\", {} bytes", bytes.escape_ascii(), bytes.len()));
    }
}

fn explain(built: &Built, key: &[u8], steps: &mut Steps) {
    let placement = built.placement();
    let hash = placement.hash(key);
    match built {
        Built::Ring(ring) => ring::own(ring, key, steps),
        Built::Compat(ring) => ring::compat(ring, key, steps),
        Built::Rendezvous(placement) => draw::rendezvous(placement, key, steps),
        Built::Pymemcache(placement) => draw::pymemcache(placement, key, steps),
        Built::Maglev(table) => table::maglev(table, key, steps),
        Built::EnvoyMaglev(table) => table::envoy_maglev(table, key, steps),
        Built::Slots(slots) => table::slots(slots, key, steps),
        Built::Swift(cluster) => table::swift(cluster, key, steps),
        Built::Jump(placement) => number::jump(placement, key, steps),
        Built::JumpBack(placement) => number::jump_back(placement, key, steps),
        Built::Memento(placement) => number::memento(placement, key, steps),
        Built::Partitions(partitions) => number::partitions(partitions, key, steps),
        Built::Ceph(cluster) => crush::explain(cluster, key, steps),
    }
    let order = order(placement, hash);
    let names: Vec<_> = order.iter().map(|&node| name(placement, node)).collect();
    steps.add("owner", names[0]);
    if names.len() > 1 {
        steps.add("then", names[1..].join(", "));
    }
}

/// The first few distinct nodes in the key's order of preference.
fn order(placement: &dyn Placement, hash: KeyHash) -> Vec<NodeIndex> {
    let mut order: Vec<NodeIndex> = Vec::new();
    placement.visit(hash, &mut |node| {
        if !order.contains(&node) {
            order.push(node);
        }
        if order.len() < ORDER { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    order
}

fn cassandra(key: &[u8], steps: &mut Steps) {
    steps.hashed(key);
    steps.add("token", format_args!("{}, by MurmurHash3 with the last 1 to 15 bytes signed", cassandra_token(key)));
    steps.add(
        "rule",
        "the node of the first token at or after it, round the end; the nodes draw their tokens by chance",
    );
}

fn name(placement: &dyn Placement, node: NodeIndex) -> &str {
    placement.nodes().node(node).name()
}

/// Number of nodes of the order of preference that are shown.
const ORDER: usize = 4;
