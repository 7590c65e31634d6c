//! Redis Cluster: keys in 16384 hash slots, slots on nodes (Redis Cluster specification, "Key distribution model").

use alloc::boxed::Box;
use alloc::vec;
use core::ops::ControlFlow;

use super::checksum::crc16;
use crate::error::BuildError;
use crate::hash::KeyHash;
use crate::node::{NodeIndex, Nodes};
use crate::placement::Placement;

/// Number of slots of a Redis Cluster.
pub const REDIS_SLOTS: u16 = 16384;

/// The slot of a key. If the text between the first `{` and the next `}` is not empty, only that text is hashed, else
/// the whole key.
///
/// ```
/// use quorate_consistent_hash::compat::redis_slot;
///
/// assert_eq!(redis_slot(b"123456789"), 12739);
/// assert_eq!(redis_slot(b"{user1000}.following"), redis_slot(b"{user1000}.followers"));
/// ```
#[doc(alias = "KEYSLOT")]
pub fn redis_slot(key: &[u8]) -> u16 {
    crc16(redis_tag(key)) % REDIS_SLOTS
}

/// The part of a key that is hashed: its hash tag, or else the whole key.
pub fn redis_tag(key: &[u8]) -> &[u8] {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let inside = &key[open + 1..];
        let close = inside.iter().position(|&byte| byte == b'}')?;
        (close > 0).then_some(&inside[..close])
    });
    tag.unwrap_or(key)
}

/// The slots of a Redis Cluster and their owners. A key's [`KeyHash`] is its slot.
#[derive(Clone, Debug)]
pub struct RedisSlots {
    nodes: Nodes,
    owners: Box<[NodeIndex]>,
}

impl RedisSlots {
    /// Gives each node a run of slots, of equal length except for a few slots, like `redis-cli --cluster create`. The
    /// nodes are its masters in its order, which alternates between hosts. It adds up run lengths in single precision,
    /// and so does this function.
    ///
    /// # Errors
    ///
    /// [`BuildError::TooManyNodes`] for more nodes than slots; [`BuildError::UnequalWeights`].
    pub fn even(nodes: Nodes) -> Result<Self, BuildError> {
        nodes.require_equal_weights()?;
        let slots = usize::from(REDIS_SLOTS);
        let too_many = BuildError::TooManyNodes { nodes: nodes.len(), max: slots };
        if nodes.len() > slots {
            return Err(too_many);
        }
        #[expect(clippy::cast_precision_loss, reason = "counts up to 16384 are exact")]
        let run = slots as f32 / nodes.len() as f32;
        let mut owners = vec![NodeIndex::default(); slots];
        let (mut first, mut cursor) = (0, 0.0_f32);
        for (number, (index, _)) in (1..=nodes.len()).zip(nodes.iter()) {
            let last = if number == nodes.len() { slots - 1 } else { round(cursor + run - 1.0).min(slots - 1) };
            // Every run has at least one slot, even if rounding would leave it none.
            let end = last.max(first) + 1;
            let Some(run_of_slots) = owners.get_mut(first..end) else {
                return Err(too_many);
            };
            run_of_slots.fill(index);
            first = end;
            cursor += run;
        }
        Ok(Self { nodes, owners: owners.into() })
    }

    /// Gives one slot to a node, as `CLUSTER SETSLOT` does.
    ///
    /// # Panics
    ///
    /// If the slot or the node does not exist.
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
        // A node may have lost all its slots and still take replicas.
        let nodes = self.nodes.iter().map(|(index, _)| index);
        let _ = after.iter().chain(before).copied().chain(nodes).try_for_each(visit);
    }
}

/// Rounds to the nearest whole number, and halves up, like `lround` for numbers that are not negative.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "numbers here are from 0 to 16384, where the fraction is exact too"
)]
fn round(value: f32) -> usize {
    let whole = value as usize;
    whole + usize::from(value - whole as f32 >= 0.5)
}

/// A number above the slots wraps around, as a checksum does.
fn slot_of(hash: KeyHash) -> usize {
    let [low, high, ..] = hash.0.to_le_bytes();
    usize::from(u16::from_le_bytes([low, high]) % REDIS_SLOTS)
}
