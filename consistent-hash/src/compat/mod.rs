//! Placement that agrees bit for bit with other programs. Golden tables from those programs check it.

mod blocks;
mod checksum;
mod crush;
mod erlang;
mod functions;
mod haproxy;
mod jenkins;
mod listing;
mod maglev;
mod md5;
mod memcached;
mod murmur;
mod partitions;
mod points;
mod pymemcache;
mod ring;
mod server;
mod sha256;
mod slots;
mod swift;
mod system;
mod thanos;

pub use crush::{
    CRUSH_NONE, CephPool, CrushBucket, CrushError, CrushEvent, CrushMap, CrushRejection, CrushStep, CrushStraw,
    ceph_hash, ceph_input, ceph_placement_group,
};
pub use functions::{
    PostgresValue, cassandra_composite, cassandra_token, postgres_partition, swift_hash, swift_partition,
};
pub use haproxy::{HaproxyFunction, HaproxyHash};
pub use listing::Server;
pub use maglev::EnvoyMaglev;
pub use memcached::MemcachedHash;
pub use partitions::{PartitionSystem, Partitions};
pub use pymemcache::{Pymemcache, pymemcache_owner};
pub use ring::CompatRing;
pub use slots::{REDIS_SLOTS, RedisSlots, redis_slot, redis_tag};
pub use swift::{SwiftDevice, SwiftError, SwiftHandoff, SwiftRing};
pub use system::{EnvoyHash, EnvoyRing, LibmemcachedRing, RingSystem, TwemproxyRing};
pub use thanos::{thanos_key, thanos_replicas};
