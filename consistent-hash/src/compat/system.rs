//! The systems whose rings this crate reproduces: their settings and their hashes of keys.

use super::checksum::{Crc32, murmur2};
use super::haproxy::HaproxyHash;
use super::md5::md5;
use super::memcached::MemcachedHash;
use super::sha256::sha256;
use crate::hash::{KeyHash, siphash24, xxh64};

/// A program that places keys on a ring, with the settings that affect placement. [`Server`](super::Server) describes
/// the names of its servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RingSystem {
    /// libmemcached's ketama distributions, and clients built on it, such as pylibmc.
    #[doc(alias = "ketama")]
    Libmemcached(LibmemcachedRing),
    /// libketama. Names are the addresses in its server list, and weights are its memory sizes.
    Libketama,
    /// nginx's `hash KEY consistent`, Tengine, and the Perl module Cache::Memcached::Fast.
    Nginx,
    /// Envoy's ring hash. A host that is listed twice has the tokens of both entries, which are numbered from zero in
    /// each, so that it has no more tokens than the heavier of them.
    Envoy(EnvoyRing),
    /// gRPC's `ring_hash_experimental`: Envoy's ring of at most 4096 tokens, with XXH64. An address that is listed
    /// twice has the sum of both weights.
    Grpc {
        /// `minRingSize`, 1024 by default. Sizes above 4096 count as 4096.
        minimum_ring_size: u64,
        /// `maxRingSize`, 4096 by default. Sizes above 4096 count as 4096.
        maximum_ring_size: u64,
    },
    /// HAProxy's `hash-type consistent`. A server is hashed by its `id`, or else by its position in the list, not by
    /// its name.
    Haproxy(HaproxyHash),
    /// Varnish's shard director, with keys by `.key(string)`.
    #[doc(alias = "vmod_directors")]
    Varnish,
    /// twemproxy's `distribution: ketama`.
    #[doc(alias = "nutcracker")]
    Twemproxy(TwemproxyRing),
    /// Traffic Server's parent selection by `consistent_hash`. A key is the text that it derives from a URL: `/`, the
    /// path without slashes at its start, and `?` with the query if there is one and `qstring` is not `ignore`.
    TrafficServer,
    /// Thanos's receiver with the algorithm `ketama`. Keys are those of [`thanos_key`](super::thanos_key), and
    /// [`thanos_replicas`](super::thanos_replicas) spreads replicas over zones as it does.
    Thanos,
    /// The load-balancing exporter of the OpenTelemetry collector. A key is the trace ID, the name of the service, or
    /// what else it is told to route by.
    OpenTelemetry,
    /// Go's groupcache, with this number of tokens for each peer; its default is 50.
    Groupcache {
        /// Number of tokens of each peer.
        replicas: u32,
    },
    /// uhashring for Python with its default hash.
    Uhashring,
    /// hashring for Node.js: like libketama except for rounding, which differs from seven servers on.
    NpmHashring {
        /// The option `vnodes` of every server, if it is given: four tokens for each virtual node, whatever the weight.
        vnodes: Option<u32>,
        /// True for `compatibility: 'hash_ring'`, which leaves out every fourth token.
        hash_ring: bool,
    },
    /// consistent-hashing for Node.js, with this number of tokens for each node; its default is 160.
    NpmConsistentHashing {
        /// The option `replicas`.
        replicas: u32,
    },
}

/// Settings of libmemcached's ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LibmemcachedRing {
    /// True if weights count: `MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED` was set to 1 at some time. Weights also count once a
    /// server was added with a weight above one.
    pub weighted: bool,
    /// `MEMCACHED_DISTRIBUTION_CONSISTENT_KETAMA_SPY`, for keys placed by spymemcached.
    pub spy: bool,
    /// `MEMCACHED_BEHAVIOR_HASH`. Setting `MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED` sets it to MD5; its default is
    /// one-at-a-time.
    pub hash: MemcachedHash,
}

/// `MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED` and no other setting.
impl Default for LibmemcachedRing {
    fn default() -> Self {
        Self { weighted: true, spy: false, hash: MemcachedHash::Md5 }
    }
}

/// Twemproxy's hash of keys. Its ring is always made with MD5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TwemproxyRing {
    /// `hash`.
    pub hash: MemcachedHash,
    /// `hash_tag`: if a key has text between the first of these two bytes and the next occurrence of the second, only
    /// that text is hashed.
    pub hash_tag: Option<[u8; 2]>,
}

/// `hash: fnv1a_64` and no `hash_tag`.
impl Default for TwemproxyRing {
    fn default() -> Self {
        Self { hash: MemcachedHash::Fnv1aOf64, hash_tag: None }
    }
}

impl TwemproxyRing {
    /// The hash of a key, before it is placed on the ring or, under `distribution: modula`, taken modulo the number of
    /// servers. An empty key has the hash zero under every function.
    pub fn hash(self, key: &[u8]) -> u32 {
        if key.is_empty() {
            return 0;
        }
        self.hash.hash(self.hashed(key))
    }

    /// The part of a key that is hashed: the text within the hash tag, or else the whole key.
    pub fn hashed(self, key: &[u8]) -> &[u8] {
        self.hash_tag.and_then(|tag| tagged(key, tag)).unwrap_or(key)
    }
}

/// Size and hash of Envoy's ring (`envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvoyRing {
    /// `minimum_ring_size`, in tokens; 1024 by default.
    pub minimum_ring_size: u64,
    /// `maximum_ring_size`, in tokens; 8388608 by default, which is also its limit.
    pub maximum_ring_size: u64,
    /// `hash_function`, which hashes tokens. Keys are always hashed with XXH64.
    pub hash_function: EnvoyHash,
}

/// Envoy's hash of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EnvoyHash {
    /// `XX_HASH`, the default.
    #[default]
    XxHash,
    /// `MURMUR_HASH_2`.
    MurmurHash2,
}

impl EnvoyHash {
    pub(super) fn token(self, text: &[u8]) -> u64 {
        match self {
            Self::XxHash => xxh64(text, 0),
            Self::MurmurHash2 => murmur2(text),
        }
    }
}

impl Default for EnvoyRing {
    fn default() -> Self {
        Self { minimum_ring_size: 1024, maximum_ring_size: ENVOY_TOKENS_MAX, hash_function: EnvoyHash::XxHash }
    }
}

/// The largest ring that Envoy's configuration accepts.
pub(super) const ENVOY_TOKENS_MAX: u64 = 8 << 20;

/// The largest ring that gRPC makes.
pub(super) const GRPC_TOKENS_MAX: u64 = 4096;

impl RingSystem {
    /// The hash of a key.
    pub fn hash(self, key: &[u8]) -> KeyHash {
        let hash = match self {
            Self::Envoy(_) | Self::Grpc { .. } | Self::Thanos => return KeyHash(xxh64(key, 0)),
            Self::TrafficServer => return KeyHash(siphash24(key, [0, 0])),
            Self::Uhashring | Self::NpmConsistentHashing { .. } => return KeyHash(md5_of_64_bits(key)),
            Self::Libmemcached(settings) => settings.hash.hash(key),
            Self::Twemproxy(settings) => settings.hash(key),
            Self::Libketama | Self::NpmHashring { .. } => md5(key)[0],
            Self::Nginx | Self::Groupcache { .. } => Crc32::new().update(key).finish(),
            Self::OpenTelemetry => open_telemetry(Crc32::new().update(key)),
            Self::Haproxy(hash) => hash.hash(key),
            Self::Varnish => varnish(key),
        };
        of_32_bits(hash)
    }

    /// True if the program hashes to 64 bits or more; false if it hashes to 32.
    pub fn is_64_bit(self) -> bool {
        matches!(
            self,
            Self::Envoy(_)
                | Self::Grpc { .. }
                | Self::Thanos
                | Self::TrafficServer
                | Self::Uhashring
                | Self::NpmConsistentHashing { .. }
        )
    }
}

/// A hash of 32 bits as that of a key: it is the upper half.
pub(super) fn of_32_bits(hash: u32) -> KeyHash {
    KeyHash(u64::from(hash) << 32)
}

/// The first half of an MD5 digest as a number; its first byte is the highest.
///
/// Two programs compare whole digests. Their halves are equal by chance only once in 2^64 for each token. If a key is
/// exactly the text of a token, the halves are equal, as the digests are.
pub(super) fn md5_of_64_bits(text: &[u8]) -> u64 {
    let [high, low, ..] = md5(text);
    u64::from(high.swap_bytes()) << 32 | u64::from(low.swap_bytes())
}

/// A position on the collector's ring. It has 36,000, which are spread over 32 bits here: a look-up starts at the place
/// that the upper bits of a hash point to.
pub(super) fn open_telemetry(hash: Crc32) -> u32 {
    hash.finish() % 36_000 * (u32::MAX / 36_000)
}

/// The last four bytes of SHA-256, little-endian.
pub(super) fn varnish(text: &[u8]) -> u32 {
    sha256(text)[7].swap_bytes()
}

fn tagged(key: &[u8], [open, close]: [u8; 2]) -> Option<&[u8]> {
    let start = key.iter().position(|&byte| byte == open)? + 1;
    let length = key[start..].iter().position(|&byte| byte == close)?;
    (length > 0).then(|| &key[start..start + length])
}
