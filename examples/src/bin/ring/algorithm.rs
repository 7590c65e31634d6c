//! The algorithms by name.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use clap::ValueEnum;
use quorate_consistent_hash::compat::{
    CompatRing, EnvoyMaglev, EnvoyRing, HaproxyFunction, HaproxyHash, LibmemcachedRing, MemcachedHash, Partitions,
    Pymemcache, RedisSlots, RingSystem, Server, TwemproxyRing,
};
use quorate_consistent_hash::{BuildError, Jump, JumpBack, Maglev, Memento, Nodes, Placement, Rendezvous, Ring};

use crate::config::{CephCluster, SwiftCluster};
use crate::error::Failure;
use crate::{Placing, input};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Algorithm {
    /// Virtual nodes on a ring.
    Ring,
    /// Rendezvous hashing, weighted.
    Rendezvous,
    /// A Maglev table.
    Maglev,
    /// Jump consistent hash; the order of the nodes counts.
    Jump,
    /// JumpBackHash; the order of the nodes counts.
    JumpBack,
    /// MementoHash: JumpBackHash of which any node can be removed.
    Memento,
    /// libmemcached's weighted ketama (`MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED`).
    #[value(alias = "libmemcached")]
    Ketama,
    /// libmemcached's ketama without weights (`MEMCACHED_BEHAVIOR_KETAMA`); with `--hash`, one-at-a-time by default.
    LibmemcachedKetama,
    /// libmemcached's distribution for keys of spymemcached; with `--hash`.
    Spymemcached,
    /// libmemcached's default, the hash modulo the servers; with `--hash`.
    LibmemcachedModula,
    /// libketama.
    Libketama,
    /// nginx's `hash KEY consistent`.
    Nginx,
    /// HAProxy's `hash-type consistent`; `--hash` takes the words that may follow it there.
    Haproxy,
    /// Varnish's shard director.
    Varnish,
    /// twemproxy's ketama; with `--hash` and `--hash-tag`.
    Twemproxy,
    /// twemproxy's modula; with `--hash` and `--hash-tag`.
    TwemproxyModula,
    /// Traffic Server's parent selection by `consistent_hash`; keys are `/path` or `/path?query`.
    TrafficServer,
    /// Go's groupcache.
    Groupcache,
    /// uhashring for Python.
    Uhashring,
    /// hashring for Node.js.
    NpmHashring,
    /// consistent-hashing for Node.js.
    NpmConsistentHashing,
    /// Envoy's ring hash.
    #[value(alias = "envoy-ring")]
    Envoy,
    /// gRPC's ring hash (`ring_hash_experimental`).
    Grpc,
    /// Envoy's Maglev.
    EnvoyMaglev,
    /// Thanos's receiver with `ketama`; keys as it hashes them, with a byte 0xFF behind the tenant, each label's name
    /// and each value.
    Thanos,
    /// Thanos's receiver with `hashmod`; keys as for `thanos`.
    ThanosHashmod,
    /// The OpenTelemetry collector's load-balancing exporter.
    OpenTelemetry,
    /// ClickHouse's Distributed tables by `sipHash64(key)`; the nodes are the shards in their order.
    Clickhouse,
    /// Redis Cluster's hash slots.
    RedisSlot,
    /// The token of Cassandra's and ScyllaDB's `Murmur3Partitioner`; `owners` and `explain` only, without nodes.
    Cassandra,
    /// PostgreSQL's hash partitions by a column of `text`, `bytea` or `uuid`; the nodes are the partitions in the order
    /// of their remainders.
    #[value(name = "postgresql", alias = "postgres")]
    PostgreSql,
    /// pymemcache's rendezvous hashing, for keys that are `str`.
    Pymemcache,
    /// The partitions of Kafka's Java client and kafka-python; the nodes are partitions in their order.
    Kafka,
    /// The partitions of librdkafka's default.
    Librdkafka,
    /// The partitions of Sarama's default.
    Sarama,
    /// The partitions of Hazelcast for keys that are strings.
    Hazelcast,
    /// Prometheus's relabelling by `hashmod`.
    Prometheus,
    /// RabbitMQ's exchange `x-consistent-hash`; the nodes are queues in the order of their binding, weights the binding
    /// keys.
    Rabbitmq,
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_possible_value() {
            Some(value) => f.write_str(value.get_name()),
            None => fmt::Debug::fmt(self, f),
        }
    }
}

/// A placement of the requested kind.
pub(crate) enum Built {
    Ring(Ring),
    Compat(CompatRing),
    Rendezvous(Rendezvous),
    Maglev(Maglev),
    EnvoyMaglev(EnvoyMaglev),
    Jump(Jump),
    JumpBack(JumpBack),
    Memento(Memento),
    Slots(RedisSlots),
    Partitions(Partitions),
    Pymemcache(Pymemcache),
    Swift(Box<SwiftCluster>),
    Ceph(Box<CephCluster>),
}

impl Built {
    /// The placement that the options request: of a configuration, or of an algorithm on the nodes of a file.
    pub(crate) fn asked(placing: &Placing, nodes: Option<&Path>) -> Result<Self, Failure> {
        if let Some(built) = placing.config.read()? {
            return Ok(built);
        }
        let path = nodes.ok_or_else(|| Failure::Usage("--nodes is needed, or --config with --format".into()))?;
        Self::new(placing, placing.algorithm()?, input::nodes(path)?)
    }

    pub(crate) fn new(placing: &Placing, algorithm: Algorithm, nodes: Nodes) -> Result<Self, Failure> {
        if let Some(system) = placing.system(algorithm)? {
            return Ok(CompatRing::new(system, nodes).map(Self::Compat)?);
        }
        let modula = MemcachedHash::OneAtATime;
        let built: Result<Self, BuildError> = match algorithm {
            Algorithm::Ring => Ring::builder().virtual_nodes(placing.virtual_nodes).build(nodes).map(Self::Ring),
            Algorithm::Memento => Memento::new(nodes).map(Self::Memento),
            Algorithm::Rendezvous => Rendezvous::new(nodes).map(Self::Rendezvous),
            Algorithm::Jump => Jump::new(nodes).map(Self::Jump),
            Algorithm::JumpBack => JumpBack::new(nodes).map(Self::JumpBack),
            Algorithm::Maglev => Maglev::builder().table_size(placing.table_size).build(nodes).map(Self::Maglev),
            Algorithm::EnvoyMaglev => EnvoyMaglev::with_table_size(nodes, placing.table_size).map(Self::EnvoyMaglev),
            Algorithm::Pymemcache => Ok(Self::Pymemcache(Pymemcache::new(nodes))),
            Algorithm::Kafka => Partitions::kafka(nodes).map(Self::Partitions),
            Algorithm::Librdkafka => Partitions::librdkafka(nodes).map(Self::Partitions),
            Algorithm::Sarama => Partitions::sarama(nodes).map(Self::Partitions),
            Algorithm::Hazelcast => Partitions::hazelcast(nodes).map(Self::Partitions),
            Algorithm::PostgreSql => Partitions::postgresql(nodes).map(Self::Partitions),
            Algorithm::Prometheus => Partitions::prometheus(nodes).map(Self::Partitions),
            Algorithm::Rabbitmq => Partitions::rabbitmq(nodes).map(Self::Partitions),
            Algorithm::Clickhouse => Partitions::clickhouse(nodes).map(Self::Partitions),
            Algorithm::ThanosHashmod => Partitions::thanos(&nodes).map(Self::Partitions),
            Algorithm::TwemproxyModula => {
                Partitions::twemproxy(&servers(&nodes), placing.twemproxy()?).map(Self::Partitions)
            }
            Algorithm::LibmemcachedModula => {
                Partitions::libmemcached(&servers(&nodes), placing.memcached_hash(modula)?).map(Self::Partitions)
            }
            Algorithm::Cassandra => {
                return Err(Failure::Usage(
                    "cassandra stands for tokens, which `owners` and `explain` print without --nodes: the tokens of \
                     nodes are drawn by chance"
                        .into(),
                ));
            }
            // All others are rings of other systems.
            _ => RedisSlots::even(nodes).map(Self::Slots),
        };
        Ok(built?)
    }

    /// The placement on other nodes. For Memento the result of the change depends on the placement before.
    pub(crate) fn changed(&self, placing: &Placing, algorithm: Algorithm, nodes: Nodes) -> Result<Self, Failure> {
        let (Self::Memento(before), Algorithm::Memento) = (self, algorithm) else {
            return Self::new(placing, algorithm, nodes);
        };
        let mut after = before.clone();
        // If only one node is left, a new one is added first, so that the last one is never removed. A node that is
        // added after a removal takes the number of the removed one.
        let gone: Vec<_> =
            before.nodes().iter().map(|(_, node)| node.name()).filter(|name| nodes.index_of(name).is_none()).collect();
        let mut new = nodes.iter().map(|(_, node)| node).filter(|node| before.nodes().index_of(node.name()).is_none());
        for name in gone {
            if after.nodes().len() == 1 {
                after.add(new.next().ok_or(BuildError::NoNodes)?.clone())?;
            }
            after.remove(name)?;
        }
        for node in new {
            after.add(node.clone())?;
        }
        Ok(Self::Memento(after))
    }

    pub(crate) fn into_shared(self) -> Arc<dyn Placement> {
        match self {
            Self::Ring(placement) => Arc::new(placement),
            Self::Compat(placement) => Arc::new(placement),
            Self::Rendezvous(placement) => Arc::new(placement),
            Self::Maglev(placement) => Arc::new(placement),
            Self::EnvoyMaglev(placement) => Arc::new(placement),
            Self::Jump(placement) => Arc::new(placement),
            Self::JumpBack(placement) => Arc::new(placement),
            Self::Memento(placement) => Arc::new(placement),
            Self::Slots(placement) => Arc::new(placement),
            Self::Partitions(placement) => Arc::new(placement),
            Self::Pymemcache(placement) => Arc::new(placement),
            Self::Swift(cluster) => Arc::new(cluster.ring),
            Self::Ceph(cluster) => Arc::new(cluster.pool),
        }
    }

    pub(crate) fn placement(&self) -> &dyn Placement {
        match self {
            Self::Ring(placement) => placement,
            Self::Compat(placement) => placement,
            Self::Rendezvous(placement) => placement,
            Self::Maglev(placement) => placement,
            Self::EnvoyMaglev(placement) => placement,
            Self::Jump(placement) => placement,
            Self::JumpBack(placement) => placement,
            Self::Memento(placement) => placement,
            Self::Slots(placement) => placement,
            Self::Partitions(placement) => placement,
            Self::Pymemcache(placement) => placement,
            Self::Swift(cluster) => &cluster.ring,
            Self::Ceph(cluster) => &cluster.pool,
        }
    }
}

fn servers(nodes: &Nodes) -> Vec<Server> {
    nodes.iter().map(|(_, node)| Server::from(node)).collect()
}

impl Placing {
    pub(crate) fn algorithm(&self) -> Result<Algorithm, Failure> {
        self.algorithm.ok_or_else(|| Failure::Usage("--algorithm is needed".into()))
    }

    /// The name of the algorithm, or the words for a configuration.
    pub(crate) fn shown(&self) -> String {
        self.algorithm.map_or_else(|| "the configuration".into(), |algorithm| algorithm.to_string())
    }

    /// The ring of another program that the algorithm is, if it is one.
    pub(crate) fn system(&self, algorithm: Algorithm) -> Result<Option<RingSystem>, Failure> {
        let unweighted = |spy| {
            let hash = self.memcached_hash(MemcachedHash::OneAtATime)?;
            Ok::<_, Failure>(RingSystem::Libmemcached(LibmemcachedRing { weighted: false, spy, hash }))
        };
        Ok(Some(match algorithm {
            Algorithm::Ketama => {
                let hash = self.memcached_hash(MemcachedHash::Md5)?;
                RingSystem::Libmemcached(LibmemcachedRing { hash, ..LibmemcachedRing::default() })
            }
            Algorithm::LibmemcachedKetama => unweighted(false)?,
            Algorithm::Spymemcached => unweighted(true)?,
            Algorithm::Libketama => RingSystem::Libketama,
            Algorithm::Nginx => RingSystem::Nginx,
            Algorithm::Haproxy => RingSystem::Haproxy(haproxy_hash(self.hash.as_deref())?),
            Algorithm::Varnish => RingSystem::Varnish,
            Algorithm::Twemproxy => RingSystem::Twemproxy(self.twemproxy()?),
            Algorithm::TrafficServer => RingSystem::TrafficServer,
            Algorithm::Groupcache => RingSystem::Groupcache { replicas: 50 },
            Algorithm::Uhashring => RingSystem::Uhashring,
            Algorithm::NpmHashring => RingSystem::NpmHashring { vnodes: None, hash_ring: false },
            Algorithm::NpmConsistentHashing => RingSystem::NpmConsistentHashing { replicas: 160 },
            Algorithm::Envoy => {
                RingSystem::Envoy(EnvoyRing { minimum_ring_size: self.ring_size, ..EnvoyRing::default() })
            }
            Algorithm::Grpc => {
                RingSystem::Grpc { minimum_ring_size: self.ring_size, maximum_ring_size: self.ring_size.max(4096) }
            }
            _ => return Ok(None),
        }))
    }

    fn twemproxy(&self) -> Result<TwemproxyRing, Failure> {
        let hash = self.memcached_hash(TwemproxyRing::default().hash)?;
        let hash_tag = self.hash_tag.as_deref().map(hash_tag).transpose().map_err(Failure::Usage)?;
        Ok(TwemproxyRing { hash, hash_tag })
    }

    fn memcached_hash(&self, default: MemcachedHash) -> Result<MemcachedHash, Failure> {
        self.hash.as_deref().map_or(Ok(default), |name| memcached_hash(name).map_err(Failure::Usage))
    }
}

/// The two bytes of a `hash_tag`.
pub(crate) fn hash_tag(text: &str) -> Result<[u8; 2], String> {
    text.as_bytes().try_into().map_err(|_| format!("{text:?} is no hash tag: two bytes are wanted"))
}

/// A hash as libmemcached and twemproxy name it.
pub(crate) fn memcached_hash(name: &str) -> Result<MemcachedHash, String> {
    MemcachedHash::named(name).ok_or_else(|| format!("{name:?} is no hash of memcached's clients"))
}

/// Parses the words behind `hash-type consistent`.
pub(crate) fn haproxy_hash(text: Option<&str>) -> Result<HaproxyHash, Failure> {
    let words: Vec<_> = text.unwrap_or_default().split_whitespace().collect();
    let function = match words.first() {
        None => return Ok(HaproxyHash::default()),
        Some(&"sdbm") => HaproxyFunction::Sdbm,
        Some(&"djb2") => HaproxyFunction::Djb2,
        Some(&"wt6") => HaproxyFunction::Wt6,
        Some(&"crc32") => HaproxyFunction::Crc32,
        Some(other) => return Err(Failure::Usage(format!("{other:?} is no hash function of HAProxy"))),
    };
    match words[1..] {
        [] => Ok(HaproxyHash { function, avalanche: false }),
        ["avalanche"] => Ok(HaproxyHash { function, avalanche: true }),
        _ => Err(Failure::Usage(format!("{:?} is no modifier of a hash", words[1..].join(" ")))),
    }
}
