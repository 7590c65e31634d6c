//! Numbered partitions and buckets: a key's number is its hash modulo their count, or comes from jump consistent hash.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::ControlFlow;

use super::checksum::{Crc32, fnv1a32};
use super::erlang;
use super::functions::{PostgresValue, postgres_row};
use super::listing::{Listing, Server};
use super::md5::md5;
use super::memcached::MemcachedHash;
use super::murmur::{murmur2_32, murmur3_32_of};
use super::server::twemproxy as twemproxy_text;
use super::system::TwemproxyRing;
use crate::error::BuildError;
use crate::hash::{KeyHash, siphash24, xxh64};
use crate::node::{Node, NodeIndex, Nodes};
use crate::placement::Placement;

/// Keys on partitions, as producers of Kafka and others place them: they hash the key to a number. Each client library
/// of Kafka has its own default, and two libraries with different defaults put one key on two partitions.
///
/// | function | default of | hash and its name in librdkafka |
/// | --- | --- | --- |
/// | [`kafka`](Partitions::kafka) | the Java client, kafka-python, kafkajs | murmur2; `murmur2` |
/// | [`librdkafka`](Partitions::librdkafka) | librdkafka and therefore confluent-kafka | CRC-32; `consistent` |
/// | [`sarama`](Partitions::sarama) | Sarama | FNV-1a; `fnv1a` |
///
/// The nodes are the partitions in the order of their numbers. A record without a key has no fixed partition, nor has a
/// record with an empty key under librdkafka's default.
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
    system: PartitionSystem,
    nodes: Nodes,
    /// The node of each partition; never empty.
    owners: Box<[NodeIndex]>,
}

/// A system that numbers partitions, with its hash of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PartitionSystem {
    /// Kafka's Java client: murmur2 without its highest bit.
    Kafka,
    /// librdkafka: CRC-32.
    Librdkafka,
    /// Sarama: the absolute value of FNV-1a.
    Sarama,
    /// Hazelcast: the absolute value of murmur3 of the length and the bytes.
    Hazelcast,
    /// PostgreSQL: its hash of rows for partitions.
    PostgreSql,
    /// Prometheus: the last eight bytes of MD5.
    Prometheus,
    /// RabbitMQ: Erlang's `phash2`, and jump consistent hash in place of a remainder.
    RabbitMq,
    /// Thanos: XXH64.
    Thanos,
    /// ClickHouse: SipHash-2-4 without a key.
    ClickHouse,
    /// twemproxy's modula.
    Twemproxy(TwemproxyRing),
    /// libmemcached's modula.
    Libmemcached(MemcachedHash),
}

impl Partitions {
    /// Placement of Kafka's Java client.
    ///
    /// # Errors
    ///
    /// [`BuildError::UnequalWeights`], [`BuildError::NumbersWithGaps`].
    #[doc(alias = "DefaultPartitioner")]
    pub fn kafka(nodes: Nodes) -> Result<Self, BuildError> {
        Self::equal(nodes, PartitionSystem::Kafka)
    }

    /// Placement of librdkafka with `consistent` and `consistent_random`.
    ///
    /// # Errors
    ///
    /// The errors of [`Partitions::kafka`].
    pub fn librdkafka(nodes: Nodes) -> Result<Self, BuildError> {
        Self::equal(nodes, PartitionSystem::Librdkafka)
    }

    /// Placement of Sarama's hash partitioner.
    ///
    /// # Errors
    ///
    /// The errors of [`Partitions::kafka`].
    pub fn sarama(nodes: Nodes) -> Result<Self, BuildError> {
        Self::equal(nodes, PartitionSystem::Sarama)
    }

    /// The partition of a string key, as Hazelcast's members and clients compute it. The default number of partitions
    /// is 271.
    ///
    /// # Errors
    ///
    /// The errors of [`Partitions::kafka`].
    pub fn hazelcast(nodes: Nodes) -> Result<Self, BuildError> {
        Self::equal(nodes, PartitionSystem::Hazelcast)
    }

    /// Placement of Prometheus's relabelling by `hashmod`. The key is the values of the source labels, separated by
    /// `;`; a missing label counts as empty.
    ///
    /// # Errors
    ///
    /// The errors of [`Partitions::kafka`].
    #[doc(alias = "hashmod")]
    pub fn prometheus(nodes: Nodes) -> Result<Self, BuildError> {
        Self::equal(nodes, PartitionSystem::Prometheus)
    }

    /// Placement of twemproxy with `distribution: modula`. Its list has each server as often as its weight says, and is
    /// in the order of the servers' names, not that of the configuration: shorter names first, names of one length by
    /// their bytes. The name of a server without one is the text that is hashed for it in a ring.
    ///
    /// # Errors
    ///
    /// [`BuildError::FractionalWeight`], [`BuildError::TooManyTokens`], [`BuildError::EmptyName`],
    /// [`BuildError::NoNodes`], and [`BuildError::SameServer`] for equal names, which twemproxy refuses.
    pub fn twemproxy(servers: &[Server], settings: TwemproxyRing) -> Result<Self, BuildError> {
        let mut order: Vec<(Cow<'_, str>, &Server)> =
            servers.iter().map(|server| (twemproxy_text(&server.name, server.hashed.as_deref()), server)).collect();
        order.sort_by(|(one, _), (other, _)| one.len().cmp(&other.len()).then_with(|| one.cmp(other)));
        if let Some([(_, one), (_, other)]) = order.array_windows().find(|[(one, _), (other, _)]| one == other) {
            return Err(BuildError::SameServer(one.name.clone(), other.name.clone()));
        }
        let nodes = Nodes::new(order.iter().filter_map(|(_, server)| {
            let weight = server.weight?;
            Some(Node::new(server.name.clone()).with_weight(weight))
        }))?;
        let owners = repeated(&nodes)?;
        Ok(Self { system: PartitionSystem::Twemproxy(settings), nodes, owners })
    }

    /// Placement of libmemcached with `MEMCACHED_DISTRIBUTION_MODULA`, its default. Weights do not count, and a server
    /// that is listed twice has two parts.
    ///
    /// # Errors
    ///
    /// [`BuildError::EmptyName`], [`BuildError::NoNodes`].
    pub fn libmemcached(servers: &[Server], hash: MemcachedHash) -> Result<Self, BuildError> {
        let listing = Listing::of(servers)?;
        let (nodes, _) = listing.nodes(servers, &vec![true; listing.names.len()])?;
        Ok(Self { system: PartitionSystem::Libmemcached(hash), nodes, owners: listing.numbers.into() })
    }

    /// Hash partitions of a PostgreSQL table by one column of `text`, `bytea` or `uuid`. The nodes are the partitions
    /// in the order of their remainders, and their number is the modulus. For columns of other types, or several,
    /// [`postgres_partition`](super::postgres_partition) finds the partition.
    ///
    /// # Errors
    ///
    /// The errors of [`Partitions::kafka`].
    #[doc(alias = "satisfies_hash_partition")]
    pub fn postgresql(nodes: Nodes) -> Result<Self, BuildError> {
        Self::equal(nodes, PartitionSystem::PostgreSql)
    }

    /// Routing of RabbitMQ's exchanges of type `x-consistent-hash` by routing key. The nodes are the queues in the
    /// order in which they were bound; their weights are the binding keys.
    ///
    /// # Errors
    ///
    /// [`BuildError::FractionalWeight`], [`BuildError::TooManyTokens`].
    pub fn rabbitmq(nodes: Nodes) -> Result<Self, BuildError> {
        let owners = repeated(&nodes)?;
        Ok(Self { system: PartitionSystem::RabbitMq, nodes, owners })
    }

    /// Placement of Thanos's receiver with the algorithm `hashmod`, for keys of [`thanos_key`](super::thanos_key). The
    /// endpoints are in the order of their names, not in that of the list.
    ///
    /// # Errors
    ///
    /// The errors of [`Partitions::kafka`].
    pub fn thanos(nodes: &Nodes) -> Result<Self, BuildError> {
        let sorted = Nodes::new(nodes.by_name().map(|(_, node)| node.clone()))?;
        Self::equal(sorted, PartitionSystem::Thanos)
    }

    /// Placement of ClickHouse's Distributed tables with the sharding key `sipHash64(key)`, or with any other number
    /// through [`owner_of`](Placement::owner_of): it is taken modulo the sum of the weights. A negative key counts as
    /// its 64 bits, or as its lower 32 bits if its type has no more. The nodes are the shards in their order, without
    /// those of weight zero.
    ///
    /// # Errors
    ///
    /// The errors of [`Partitions::rabbitmq`].
    #[doc(alias = "sipHash64")]
    pub fn clickhouse(nodes: Nodes) -> Result<Self, BuildError> {
        let owners = repeated(&nodes)?;
        Ok(Self { system: PartitionSystem::ClickHouse, nodes, owners })
    }

    fn equal(nodes: Nodes, system: PartitionSystem) -> Result<Self, BuildError> {
        nodes.require_equal_weights()?;
        nodes.require_no_gaps()?;
        let owners = nodes.iter().map(|(index, _)| index).collect();
        Ok(Self { system, nodes, owners })
    }

    /// The partition number of a hashed key. It is below the number of nodes, or below the sum of their weights if
    /// weights count.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a remainder is below the number of partitions")]
    pub fn partition(&self, hash: KeyHash) -> usize {
        match self.system {
            PartitionSystem::RabbitMq => erlang::jump(hash.0, self.owners.len(), |_, _| {}),
            _ => (hash.0 % self.owners.len() as u64) as usize,
        }
    }
}

impl Partitions {
    /// The system that places like this.
    pub fn system(&self) -> PartitionSystem {
        self.system
    }

    /// Number of partitions: the number of nodes, or the sum of their weights if weights count.
    pub fn count(&self) -> usize {
        self.owners.len()
    }

    /// The node of each partition.
    pub fn owners(&self) -> &[NodeIndex] {
        &self.owners
    }

    /// The buckets on the way of RabbitMQ's jump hash, each with the random number `u` that is drawn there: the next
    /// bucket is `(bucket + 1) / u`, rounded down, and the last is the partition. Empty for the other systems, which
    /// take a remainder.
    pub fn jumps_of(&self, hash: KeyHash) -> Vec<(usize, f64)> {
        let mut jumps = Vec::new();
        if matches!(self.system, PartitionSystem::RabbitMq) {
            erlang::jump(hash.0, self.owners.len(), |bucket, number| jumps.push((bucket, number)));
        }
        jumps
    }
}

impl PartitionSystem {
    /// The hash of a key, before the partition is found.
    pub fn hash(self, key: &[u8]) -> u64 {
        let of_32_bits = match self {
            Self::Kafka => murmur2_32(key, KAFKA_SEED) & 0x7FFF_FFFF,
            Self::Librdkafka => Crc32::new().update(key).finish(),
            Self::Sarama => fnv1a32(key).cast_signed().unsigned_abs(),
            Self::Hazelcast => hazelcast(key),
            Self::RabbitMq => erlang::phash2(key),
            Self::Twemproxy(settings) => settings.hash(key),
            Self::Libmemcached(hash) => hash.hash(key),
            Self::Thanos => return xxh64(key, 0),
            Self::ClickHouse => return siphash24(key, [0, 0]),
            Self::PostgreSql => return postgres_row(&[PostgresValue::Bytes(key)]),
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
        KeyHash(self.system.hash(key))
    }

    #[inline]
    fn owner_of(&self, hash: KeyHash) -> NodeIndex {
        self.owners[self.partition(hash)]
    }

    /// Visits the partition, then those that follow it.
    fn visit(&self, hash: KeyHash, visit: &mut dyn FnMut(NodeIndex) -> ControlFlow<()>) {
        let (before, after) = self.owners.split_at(self.partition(hash));
        // The result says whether the visitor stopped the walk, which the caller knows.
        let _ = after.iter().chain(before).copied().try_for_each(visit);
    }
}

/// A list in which each node stands as often as its weight says.
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

/// The hash of a string as Hazelcast serializes it: the length, then the bytes.
fn hazelcast(key: &[u8]) -> u32 {
    let [.., a, b, c, d] = (key.len() as u64).to_be_bytes();
    let hash = murmur3_32_of([a, b, c, d].into_iter().chain(key.iter().copied()), 0x0100_0193).cast_signed();
    // The smallest number has no positive counterpart; it counts as zero.
    hash.checked_abs().map_or(0, i32::unsigned_abs)
}

/// The seed of Kafka's Java client.
const KAFKA_SEED: u32 = 0x9747_B28C;

/// Largest number of partitions, 2^24.
const PARTITIONS_MAX: u64 = 1 << 24;
