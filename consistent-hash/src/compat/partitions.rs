//! Partitions of a topic, numbered from zero: a key's is its hash modulo their number.

use core::ops::ControlFlow;

use super::checksum::{Crc32, fnv1a32, murmur2_32};
use crate::error::BuildError;
use crate::hash::KeyHash;
use crate::node::{NodeIndex, Nodes};
use crate::placement::Placement;

/// Keys on partitions, as producers of Kafka place them that hash the key. Each client library has a default of its own, and two that
/// differ spread one key over two partitions.
///
/// | | default of | |
/// | --- | --- | --- |
/// | [`kafka`](Partitions::kafka) | the Java client, kafka-python, kafkajs | murmur2; librdkafka's `murmur2` |
/// | [`librdkafka`](Partitions::librdkafka) | librdkafka, and so confluent-kafka | CRC-32; `consistent` |
/// | [`sarama`](Partitions::sarama) | Sarama | FNV-1a; librdkafka's `fnv1a` |
///
/// The nodes are the partitions in the order of their numbers. A record without a key has no partition of its own; neither has, by
/// librdkafka's default, one whose key is empty.
///
/// ```
/// use quorate_consistent_hash::{Nodes, Partitions, Placement};
///
/// let partitions = Partitions::kafka(Nodes::named((0..10).map(|number| number.to_string()))?)?;
/// assert_eq!(partitions.owner(b"user:1").name(), "8");
/// # Ok::<(), quorate_consistent_hash::BuildError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Partitions {
    hash: fn(&[u8]) -> u32,
    nodes: Nodes,
}

impl Partitions {
    /// As Kafka's Java client places.
    ///
    /// # Errors
    ///
    /// [`BuildError::UnequalWeights`], [`BuildError::NumbersWithGaps`].
    #[doc(alias = "DefaultPartitioner")]
    pub fn kafka(nodes: Nodes) -> Result<Self, BuildError> {
        Self::new(nodes, |key| murmur2_32(key) & 0x7FFF_FFFF)
    }

    /// As librdkafka places by `consistent` and `consistent_random`.
    ///
    /// # Errors
    ///
    /// As [`Partitions::kafka`].
    pub fn librdkafka(nodes: Nodes) -> Result<Self, BuildError> {
        Self::new(nodes, |key| Crc32::new().update(key).finish())
    }

    /// As Sarama's hash partitioner places.
    ///
    /// # Errors
    ///
    /// As [`Partitions::kafka`].
    pub fn sarama(nodes: Nodes) -> Result<Self, BuildError> {
        Self::new(nodes, |key| fnv1a32(key).cast_signed().unsigned_abs())
    }

    fn new(nodes: Nodes, hash: fn(&[u8]) -> u32) -> Result<Self, BuildError> {
        nodes.require_equal_weights()?;
        nodes.require_no_gaps()?;
        Ok(Self { hash, nodes })
    }
}

impl Placement for Partitions {
    fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    fn hash(&self, key: &[u8]) -> KeyHash {
        KeyHash((self.hash)(key).into())
    }

    #[expect(clippy::cast_possible_truncation, reason = "a remainder is below the number of nodes")]
    fn owner_of(&self, hash: KeyHash) -> NodeIndex {
        NodeIndex::from_u32((hash.0 % self.nodes.len() as u64) as u32)
    }

    /// The partition, then those that follow it.
    fn visit(&self, hash: KeyHash, visit: &mut dyn FnMut(NodeIndex) -> ControlFlow<()>) {
        let count = self.nodes.len();
        let first = self.owner_of(hash).get();
        // Whether the walk was broken off makes no difference to the caller, who knows.
        let _ = (first..count).chain(0..first).map(NodeIndex::new).try_for_each(visit);
    }
}
