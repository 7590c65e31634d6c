//! Envoy's Maglev table.

use alloc::vec::Vec;
use core::ops::ControlFlow;

use crate::error::BuildError;
use crate::hash::{KeyHash, xxh64};
use crate::maglev::{Filler, check_nodes, check_size, fill, modulo};
use crate::node::{NodeIndex, Nodes};
use crate::placement::Placement;

/// A table that agrees bit for bit with Envoy's Maglev load balancer. Names are the texts that Envoy hashes: the
/// address `ip:port`, the host name, or the `hash_key` of the metadata. Keys are hashed as by a header hash policy.
#[derive(Clone, Debug)]
pub struct EnvoyMaglev {
    nodes: Nodes,
    table: Vec<u16>,
}

impl EnvoyMaglev {
    /// Makes a table of Envoy's default size, 65537.
    ///
    /// # Errors
    ///
    /// The errors of [`EnvoyMaglev::with_table_size`].
    pub fn new(nodes: Nodes) -> Result<Self, BuildError> {
        Self::with_table_size(nodes, 65537)
    }

    /// Makes a table of another size (`table_size`), which must be a prime number.
    ///
    /// # Errors
    ///
    /// [`BuildError::BadTableSize`], [`BuildError::TooManyNodes`], [`BuildError::FractionalWeight`], and
    /// [`BuildError::ShareTooSmall`] for a host to which Envoy would give no entry.
    pub fn with_table_size(nodes: Nodes, size: u32) -> Result<Self, BuildError> {
        check_nodes(&nodes)?;
        check_size(size)?;
        #[expect(clippy::cast_precision_loss, reason = "what Envoy computes")]
        let total = whole_weights(&nodes)?.sum::<u64>() as f64;
        let order: Vec<_> = nodes.by_name().collect();
        let weights: Vec<_> = order.iter().map(|(_, node)| node.weight().as_f64() / total).collect();
        let fillers = order.iter().map(|(index, node)| {
            let name = node.name().as_bytes();
            Filler::new(*index, modulo(xxh64(name, 0), size), 1 + modulo(xxh64(name, 1), size - 1))
        });
        let turn = weights.iter().copied().fold(0.0, f64::max);
        let mut targets = alloc::vec![0.0; weights.len()];
        let table = fill(fillers.collect(), size, |filler, _, last| {
            let round = round_of(targets[filler], weights[filler], last);
            targets[filler] += turn;
            Some(round)
        });
        let mut owns = alloc::vec![false; nodes.capacity()];
        for &node in &table {
            owns[usize::from(node)] = true;
        }
        if let Some((_, node)) = nodes.iter().find(|(index, _)| !owns[index.get()]) {
            return Err(BuildError::ShareTooSmall(node.name().into()));
        }
        Ok(Self { nodes, table })
    }

    /// The table: the node number of each entry.
    pub fn table(&self) -> impl ExactSizeIterator<Item = NodeIndex> {
        self.table.iter().map(|&node| NodeIndex::from_u32(u32::from(node)))
    }

    fn entry(&self, hash: KeyHash) -> usize {
        let size = u32::try_from(self.table.len()).expect("a table size fits 32 bits");
        modulo(hash.0, size) as usize
    }
}

/// The first round after `last` in which `round * weight` reaches the target, in floating-point arithmetic.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "rounds are far below 2^53, and the estimate is put right"
)]
fn round_of(target: f64, weight: f64, last: u64) -> u64 {
    let reaches = |round: u64| round as f64 * weight >= target;
    let mut round = ((target / weight) as u64).max(last + 1);
    while round > last + 1 && reaches(round - 1) {
        round -= 1;
    }
    while !reaches(round) {
        round += 1;
    }
    round
}

impl Placement for EnvoyMaglev {
    fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    fn hash(&self, key: &[u8]) -> KeyHash {
        KeyHash(xxh64(key, 0))
    }

    fn owner_of(&self, hash: KeyHash) -> NodeIndex {
        NodeIndex::from_u32(u32::from(self.table[self.entry(hash)]))
    }

    fn visit(&self, hash: KeyHash, visit: &mut dyn FnMut(NodeIndex) -> ControlFlow<()>) {
        let (before, after) = self.table.split_at(self.entry(hash));
        let owners = after.iter().chain(before).map(|&node| NodeIndex::from_u32(u32::from(node)));
        // The result says whether the visitor stopped the walk, which the caller knows.
        let _ = { owners }.try_for_each(visit);
    }
}

fn whole_weights(nodes: &Nodes) -> Result<impl Iterator<Item = u64>, BuildError> {
    for (_, node) in nodes.iter() {
        if node.weight().whole().is_none() {
            return Err(BuildError::FractionalWeight(node.name().into()));
        }
    }
    Ok(nodes.iter().filter_map(|(_, node)| node.weight().whole()).map(u64::from))
}
