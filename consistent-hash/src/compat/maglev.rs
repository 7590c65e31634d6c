//! Envoy's Maglev table.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::ControlFlow;

use super::listing::{Listing, Server};
use crate::error::BuildError;
use crate::hash::{KeyHash, xxh64};
use crate::maglev::{Filler, NODES_MAX, check_nodes, check_size, fill, modulo};
use crate::node::{NodeIndex, Nodes, Weight};
use crate::placement::Placement;

/// A table that agrees bit for bit with Envoy's Maglev load balancer. Names are the texts that Envoy hashes: the
/// address `ip:port`, the host name, or the `hash_key` of the metadata. Keys are hashed as by a header hash policy.
///
/// A key's [`KeyHash`] is its entry of the table, which is Envoy's hash (XXH64) modulo the size. Look-ups take Envoy's
/// hash itself as well, and any other number: they count by their remainder.
#[derive(Clone, Debug)]
pub struct EnvoyMaglev {
    nodes: Nodes,
    table: Vec<u16>,
    remainder: Remainder,
    keyless: Vec<Box<str>>,
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
        let listed = nodes.iter().map(|(index, node)| Ok((index, node.name(), whole(node.name(), node.weight())?)));
        let table = entries(listed.collect::<Result<_, BuildError>>()?, size)?;
        let owns = owning(&table, nodes.capacity());
        if let Some((_, node)) = nodes.iter().find(|(index, _)| !owns[index.get()]) {
            return Err(BuildError::ShareTooSmall(node.name().into()));
        }
        Ok(Self { nodes, table, remainder: Remainder::new(size), keyless: Vec::new() })
    }

    /// Makes a table for the hosts of a configuration, and treats hosts listed twice, of weight zero, or with a share
    /// too small as Envoy does. Hosts without an entry are not nodes of the table; [`EnvoyMaglev::keyless`] names them.
    /// Of a [`Server`] only name, `hashed` and weight count.
    ///
    /// # Errors
    ///
    /// [`BuildError::NoNodes`] if no host has a weight, [`BuildError::EmptyName`], [`BuildError::BadTableSize`],
    /// [`BuildError::TooManyNodes`] and [`BuildError::FractionalWeight`].
    pub fn of_servers(servers: &[Server], size: u32) -> Result<Self, BuildError> {
        let listing = Listing::of(servers)?;
        if listing.names.len() > NODES_MAX {
            return Err(BuildError::TooManyNodes { nodes: listing.names.len(), max: NODES_MAX });
        }
        let mut listed = Vec::new();
        for (server, node) in servers.iter().zip(&listing.numbers) {
            if let Some(weight) = server.weight {
                let text = server.hashed.as_deref().unwrap_or(&server.name);
                listed.push((*node, text, whole(&server.name, weight)?));
            }
        }
        let table = entries(listed, size)?;
        let (nodes, keyless) = listing.nodes(servers, &owning(&table, listing.names.len()))?;
        Ok(Self { nodes, table, remainder: Remainder::new(size), keyless })
    }

    /// The listed hosts that have no entry, in the order of the list.
    pub fn keyless(&self) -> impl ExactSizeIterator<Item = &str> {
        self.keyless.iter().map(|name| &**name)
    }

    /// The table: the node number of each entry.
    pub fn table(&self) -> impl ExactSizeIterator<Item = NodeIndex> {
        self.table.iter().map(|&node| NodeIndex::from_u32(u32::from(node)))
    }

    #[inline]
    fn entry(&self, hash: KeyHash) -> usize {
        match usize::try_from(hash.0) {
            Ok(entry) if entry < self.table.len() => entry,
            _ => self.remainder.of(hash.0),
        }
    }
}

/// Remainders of one divisor, by two multiplications in place of a division.
#[derive(Clone, Copy, Debug)]
struct Remainder {
    divisor: u64,
    /// 2^64 divided by the divisor, rounded down, or one less.
    reciprocal: u64,
}

impl Remainder {
    fn new(divisor: u32) -> Self {
        let divisor = u64::from(divisor);
        Self { divisor, reciprocal: u64::MAX / divisor }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a quotient fits, and so does a remainder of 32 bits")]
    fn of(self, number: u64) -> usize {
        // What the reciprocal lacks makes the quotient less by less than one before it is rounded down, so that it is
        // the true one or one below.
        let quotient = ((u128::from(number) * u128::from(self.reciprocal)) >> 64) as u64;
        let rest = number - quotient * self.divisor;
        (if rest < self.divisor { rest } else { rest - self.divisor }) as usize
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

    #[inline]
    fn hash(&self, key: &[u8]) -> KeyHash {
        KeyHash(self.remainder.of(xxh64(key, 0)) as u64)
    }

    #[inline]
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

/// The table for hosts of these texts and weights.
fn entries(mut hosts: Vec<(NodeIndex, &str, u32)>, size: u32) -> Result<Vec<u16>, BuildError> {
    check_size(size)?;
    if hosts.is_empty() {
        return Err(BuildError::NoNodes);
    }
    // Envoy orders the hosts by their texts.
    hosts.sort_by_key(|&(_, text, _)| text);
    #[expect(clippy::cast_precision_loss, reason = "what Envoy computes")]
    let total = hosts.iter().map(|&(_, _, weight)| u64::from(weight)).sum::<u64>() as f64;
    let weights: Vec<_> = hosts.iter().map(|&(_, _, weight)| f64::from(weight) / total).collect();
    let fillers = hosts.iter().map(|&(node, text, _)| {
        let text = text.as_bytes();
        Filler::new(node, modulo(xxh64(text, 0), size), 1 + modulo(xxh64(text, 1), size - 1))
    });
    let turn = weights.iter().copied().fold(0.0, f64::max);
    let mut targets = alloc::vec![0.0; weights.len()];
    Ok(fill(fillers.collect(), size, |filler, _, last| {
        let round = round_of(targets[filler], weights[filler], last);
        targets[filler] += turn;
        Some(round)
    }))
}

/// For each number of a node, whether the node has an entry.
fn owning(table: &[u16], capacity: usize) -> Vec<bool> {
    let mut owns = alloc::vec![false; capacity];
    for &node in table {
        owns[usize::from(node)] = true;
    }
    owns
}

fn whole(name: &str, weight: Weight) -> Result<u32, BuildError> {
    weight.whole().ok_or_else(|| BuildError::FractionalWeight(name.into()))
}
