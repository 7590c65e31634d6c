//! pymemcache's rendezvous hashing.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::ControlFlow;

use super::murmur::murmur3_32_of;
use crate::hash::KeyHash;
use crate::node::{NodeIndex, Nodes};
use crate::placement::Placement;

/// The node that pymemcache's `RendezvousHash` chooses for a key, as its position in the list; `None` if there are no
/// nodes.
///
/// The key is text. For a key of bytes pymemcache hashes Python's notation of it, `b'...'`, so that the same key has
/// two owners as text and as bytes. Only the lowest eight bits of each character are hashed, so that two different keys
/// beyond ASCII may count as equal.
pub fn pymemcache_owner(nodes: &[&str], key: &str) -> Option<usize> {
    (0..nodes.len()).max_by_key(|&at| (score(nodes[at], key), nodes[at]))
}

fn score(node: &str, key: &str) -> u32 {
    let text = node.chars().chain(['-']).chain(key.chars());
    murmur3_32_of(text.map(|letter| u32::from(letter).to_le_bytes()[0]), 0)
}

/// Nodes of pymemcache's `HashClient`, which finds them by [`pymemcache_owner`]. A node's name is the text that the
/// client makes of a server: `host:port`, or the path of a socket. Weights do not count.
///
/// Each node hashes a key together with its own name, so that no hash of the key alone decides. A [`KeyHash`] here is
/// the number of the owner. The other nodes follow in the order of the list: to leave a node out, as the client does
/// with one that is down, make the placement without it.
#[derive(Clone, Debug)]
pub struct Pymemcache {
    nodes: Nodes,
}

impl Pymemcache {
    /// Makes a placement on these nodes.
    pub fn new(nodes: Nodes) -> Self {
        Self { nodes }
    }

    /// The scores of all nodes for a key, best first: the first is the owner's.
    pub fn scores(&self, key: &[u8]) -> Vec<(NodeIndex, u32)> {
        let key = String::from_utf8_lossy(key);
        let mut scores: Vec<_> = self.nodes.iter().map(|(index, node)| (index, score(node.name(), &key))).collect();
        scores.sort_by_key(|&(index, score)| core::cmp::Reverse((score, self.nodes.node(index).name())));
        scores
    }
}

impl Placement for Pymemcache {
    fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// The number of the key's owner. Bytes that are no text count as U+FFFD.
    fn hash(&self, key: &[u8]) -> KeyHash {
        let key = String::from_utf8_lossy(key);
        let best = self.nodes.iter().max_by_key(|(_, node)| (score(node.name(), &key), node.name()));
        KeyHash(best.map_or(0, |(index, _)| index.get() as u64))
    }

    /// The node with this number. Numbers without a node count from the first node on.
    fn owner_of(&self, hash: KeyHash) -> NodeIndex {
        let index = u32::try_from(hash.0).map(NodeIndex::from_u32).unwrap_or_default();
        if self.nodes.contains(index) {
            return index;
        }
        self.nodes.iter().next().map_or(index, |(first, _)| first)
    }

    fn visit(&self, hash: KeyHash, visit: &mut dyn FnMut(NodeIndex) -> ControlFlow<()>) {
        let all = self.nodes.iter().map(|(index, _)| index);
        let _ = [self.owner_of(hash)].into_iter().chain(all).try_for_each(visit);
    }
}
