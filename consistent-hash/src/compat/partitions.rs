//! Numbered partitions and buckets: a key's is its hash modulo their number, or by jump hashing.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::ControlFlow;

use super::checksum::{Crc32, fnv1a32};
use super::erlang;
use super::md5::md5;
use super::memcached::MemcachedHash;
use super::murmur::{murmur2_32, murmur3_32_of};
use super::system::TwemproxyRing;
use crate::error::BuildError;
use crate::hash::KeyHash;
use crate::node::{NodeIndex, Nodes};
use crate::placement::Placement;

/// Keys on partitions, as producers of Kafka and others place them that hash the key to a number. Each client library of Kafka has a
/// default of its own, and two that differ spread one key over two partitions.
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
/// use quorate_consistent_hash::compat::Partitions;
/// use quorate_consistent_hash::{Nodes, Placement};
///
/// let partitions = Partitions::kafka(Nodes::named((0..10).map(|number| number.to_string()))?)?;
/// assert_eq!(partitions.owner(b"user:1").name(), "8");
/// # Ok::<(), quorate_consistent_hash::BuildError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Partitions {
    hash: KeyFunction,
    nodes: Nodes,
    /// The node of each partition; never empty.
    owners: Box<[NodeIndex]>,
}

#[derive(Clone, Copy, Debug)]
enum KeyFunction {
    Kafka,
    Librdkafka,
    Sarama,
    Hazelcast,
    Prometheus,
    RabbitMq,
    Twemproxy(TwemproxyRing),
    Libmemcached(MemcachedHash),
}

impl Partitions {
    /// As Kafka's Java client places.
    ///
    /// # Errors
    ///
    /// [`BuildError::UnequalWeights`], [`BuildError::NumbersWithGaps`].
    #[doc(alias = "DefaultPartitioner")]
    pub fn kafka(nodes: Nodes) -> Result<Self, BuildError> {
        Self::equal(nodes, KeyFunction::Kafka)
    }

    /// As librdkafka places by `consistent` and `consistent_random`.
    ///
    /// # Errors
    ///
    /// As [`Partitions::kafka`].
    pub fn librdkafka(nodes: Nodes) -> Result<Self, BuildError> {
        Self::equal(nodes, KeyFunction::Librdkafka)
    }

    /// As Sarama's hash partitioner places.
    ///
    /// # Errors
    ///
    /// As [`Partitions::kafka`].
    pub fn sarama(nodes: Nodes) -> Result<Self, BuildError> {
        Self::equal(nodes, KeyFunction::Sarama)
    }

    /// The partition of a key that is a string, as Hazelcast's members and clients compute it; by default there are 271.
    ///
    /// # Errors
    ///
    /// As [`Partitions::kafka`].
    pub fn hazelcast(nodes: Nodes) -> Result<Self, BuildError> {
        Self::equal(nodes, KeyFunction::Hazelcast)
    }

    /// As Prometheus's relabelling by `hashmod` places; the key is the values of the source labels with `;` between, a label that is not
    /// there being empty.
    ///
    /// # Errors
    ///
    /// As [`Partitions::kafka`].
    #[doc(alias = "hashmod")]
    pub fn prometheus(nodes: Nodes) -> Result<Self, BuildError> {
        Self::equal(nodes, KeyFunction::Prometheus)
    }

    /// As twemproxy places by `distribution: modula`: each server stands in the list as often as its weight says.
    ///
    /// # Errors
    ///
    /// [`BuildError::FractionalWeight`], [`BuildError::TooManyTokens`].
    pub fn twemproxy(nodes: Nodes, settings: TwemproxyRing) -> Result<Self, BuildError> {
        let owners = repeated(&nodes)?;
        Ok(Self { hash: KeyFunction::Twemproxy(settings), nodes, owners })
    }

    /// As libmemcached places by `MEMCACHED_DISTRIBUTION_MODULA`, its default. Weights do not count.
    ///
    /// # Errors
    ///
    /// [`BuildError::NumbersWithGaps`].
    pub fn libmemcached(nodes: Nodes, hash: MemcachedHash) -> Result<Self, BuildError> {
        nodes.require_no_gaps()?;
        let owners = nodes.iter().map(|(index, _)| index).collect();
        Ok(Self { hash: KeyFunction::Libmemcached(hash), nodes, owners })
    }

    /// As RabbitMQ's exchanges of type `x-consistent-hash` route by the routing key. The nodes are the queues in the order in which they
    /// were bound, their weights the binding keys.
    ///
    /// # Errors
    ///
    /// As [`Partitions::twemproxy`].
    pub fn rabbitmq(nodes: Nodes) -> Result<Self, BuildError> {
        let owners = repeated(&nodes)?;
        Ok(Self { hash: KeyFunction::RabbitMq, nodes, owners })
    }

    fn equal(nodes: Nodes, hash: KeyFunction) -> Result<Self, BuildError> {
        nodes.require_equal_weights()?;
        nodes.require_no_gaps()?;
        let owners = nodes.iter().map(|(index, _)| index).collect();
        Ok(Self { hash, nodes, owners })
    }

    /// The number of a hashed key's partition: below the number of nodes, or the sum of their weights where those count.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a remainder is below the number of partitions")]
    pub fn partition(&self, hash: KeyHash) -> usize {
        match self.hash {
            KeyFunction::RabbitMq => erlang::jump(hash.0, self.owners.len()),
            _ => (hash.0 % self.owners.len() as u64) as usize,
        }
    }
}

impl KeyFunction {
    fn hash(self, key: &[u8]) -> u64 {
        let of_32_bits = match self {
            Self::Kafka => murmur2_32(key, KAFKA_SEED) & 0x7FFF_FFFF,
            Self::Librdkafka => Crc32::new().update(key).finish(),
            Self::Sarama => fnv1a32(key).cast_signed().unsigned_abs(),
            Self::Hazelcast => hazelcast(key),
            Self::RabbitMq => erlang::phash2(key),
            Self::Twemproxy(settings) => settings.hash(key),
            Self::Libmemcached(hash) => hash.hash(key),
            Self::Prometheus => {
                let [.., high, low] = md5(key);
                return u64::from(high.swap_bytes()) << 32 | u64::from(low.swap_bytes());
            }
        };
        of_32_bits.into()
    }
}

impl Placement for Partitions {
    fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    fn hash(&self, key: &[u8]) -> KeyHash {
        KeyHash(self.hash.hash(key))
    }

    #[inline]
    fn owner_of(&self, hash: KeyHash) -> NodeIndex {
        self.owners[self.partition(hash)]
    }

    /// The partition, then those that follow it.
    fn visit(&self, hash: KeyHash, visit: &mut dyn FnMut(NodeIndex) -> ControlFlow<()>) {
        let (before, after) = self.owners.split_at(self.partition(hash));
        // Whether the walk was broken off makes no difference to the caller, who knows.
        let _ = after.iter().chain(before).copied().try_for_each(visit);
    }
}

/// Each node as often as its weight says.
fn repeated(nodes: &Nodes) -> Result<Box<[NodeIndex]>, BuildError> {
    let mut owners = Vec::new();
    for (index, node) in nodes.iter() {
        let weight = node.weight().whole().ok_or_else(|| BuildError::FractionalWeight(node.name().into()))?;
        let tokens = owners.len() as u64 + u64::from(weight);
        if tokens > PARTITIONS_MAX {
            return Err(BuildError::TooManyTokens { tokens, max: PARTITIONS_MAX });
        }
        owners.extend((0..weight).map(|_| index));
    }
    Ok(owners.into())
}

/// The hash of a string as Hazelcast serializes it, its length before it.
fn hazelcast(key: &[u8]) -> u32 {
    let [.., a, b, c, d] = (key.len() as u64).to_be_bytes();
    let hash = murmur3_32_of([a, b, c, d].into_iter().chain(key.iter().copied()), 0x0100_0193).cast_signed();
    // Of the least number there is no positive one; it counts as zero.
    hash.checked_abs().map_or(0, i32::unsigned_abs)
}

/// The seed of Kafka's Java client.
const KAFKA_SEED: u32 = 0x9747_B28C;

/// The most partitions, 2^24.
const PARTITIONS_MAX: u64 = 1 << 24;
