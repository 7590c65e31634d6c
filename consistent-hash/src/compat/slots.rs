//! Redis Cluster: keys in 16384 hash slots, slots on nodes (Redis Cluster specification, "Key distribution model").

use alloc::boxed::Box;
use alloc::vec;
use core::ops::ControlFlow;

use super::checksum::crc16;
use crate::error::BuildError;
use crate::hash::KeyHash;
use crate::node::{NodeIndex, Nodes};
use crate::placement::Placement;

/// How many slots a Redis Cluster has.
pub const REDIS_SLOTS: u16 = 16384;

/// The slot of a key: of what stands between its first `{` and the next `}` if that is not empty, else of all of it.
///
/// ```
/// use quorate_consistent_hash::redis_slot;
///
/// assert_eq!(redis_slot(b"123456789"), 12739);
/// assert_eq!(redis_slot(b"{user1000}.following"), redis_slot(b"{user1000}.followers"));
/// ```
#[doc(alias = "KEYSLOT")]
pub fn redis_slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let inside = &key[open + 1..];
        let close = inside.iter().position(|&byte| byte == b'}')?;
        (close > 0).then_some(&inside[..close])
    });
    crc16(tag.unwrap_or(key)) % REDIS_SLOTS
}

/// The slots of a Redis Cluster and their owners. A key's [`KeyHash`] is its slot.
#[derive(Clone, Debug)]
pub struct RedisSlots {
    nodes: Nodes,
    owners: Box<[NodeIndex]>,
}

impl RedisSlots {
    /// Gives each node the same run of slots, to one slot, as `redis-cli --cluster create` does for its masters.
    ///
    /// # Errors
    ///
    /// [`BuildError::TooManyNodes`] where there are more nodes than slots; [`BuildError::UnequalWeights`].
    pub fn even(nodes: Nodes) -> Result<Self, BuildError> {
        nodes.require_equal_weights()?;
        let slots = u32::from(REDIS_SLOTS);
        let Some(count) = u32::try_from(nodes.len()).ok().filter(|&count| count <= slots) else {
            return Err(BuildError::TooManyNodes { nodes: nodes.len(), max: REDIS_SLOTS.into() });
        };
        let mut owners = vec![NodeIndex::default(); REDIS_SLOTS.into()];
        let mut start = 0;
        for (number, (index, _)) in (1..=count).zip(nodes.iter()) {
            // The end of its run, rounded half up.
            let end = ((2 * slots * number + count) / (2 * count)) as usize;
            owners[start..end].fill(index);
            start = end;
        }
        Ok(Self { nodes, owners: owners.into() })
    }

    /// Gives one slot to a node, as `CLUSTER SETSLOT` does.
    ///
    /// # Panics
    ///
    /// If there is no such slot or node.
    pub fn set_owner(&mut self, slot: u16, node: NodeIndex) {
        assert!(self.nodes.contains(node), "the number is of a node in this placement");
        self.owners[usize::from(slot)] = node;
    }

    /// The owner of each slot.
    pub fn owners(&self) -> &[NodeIndex] {
        &self.owners
    }
}

impl Placement for RedisSlots {
    fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    fn hash(&self, key: &[u8]) -> KeyHash {
        KeyHash(redis_slot(key).into())
    }

    fn owner_of(&self, hash: KeyHash) -> NodeIndex {
        self.owners[slot_of(hash)]
    }

    fn visit(&self, hash: KeyHash, visit: &mut dyn FnMut(NodeIndex) -> ControlFlow<()>) {
        let (before, after) = self.owners.split_at(slot_of(hash));
        // A node may have lost all its slots, and still takes replicas.
        let nodes = self.nodes.iter().map(|(index, _)| index);
        let _ = after.iter().chain(before).copied().chain(nodes).try_for_each(visit);
    }
}

/// A number beyond the slots wraps, as a checksum does.
fn slot_of(hash: KeyHash) -> usize {
    let [low, high, ..] = hash.0.to_le_bytes();
    usize::from(u16::from_le_bytes([low, high]) % REDIS_SLOTS)
}
