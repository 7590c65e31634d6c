//! Whose rings we agree with: their settings, and how each hashes a key.

use super::checksum::{Crc32, murmur2};
use super::haproxy::HaproxyHash;
use super::md5::md5;
use super::memcached::MemcachedHash;
use super::sha256::sha256;
use crate::hash::{KeyHash, siphash24, xxh64};

/// A program that places keys on a ring, with the settings that matter to placement. [`Server`](super::Server) says what its servers'
/// names are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RingSystem {
    /// libmemcached's ketama distributions, and what builds on it, such as pylibmc.
    #[doc(alias = "ketama")]
    Libmemcached(LibmemcachedRing),
    /// libketama. Names are the addresses of its server list, weights its memory sizes.
    Libketama,
    /// nginx's `hash KEY consistent`, Tengine, and the Perl module Cache::Memcached::Fast.
    Nginx,
    /// Envoy's and gRPC's ring hash. A host that is listed twice has both weights.
    Envoy(EnvoyRing),
    /// HAProxy's `hash-type consistent`. A server's `id` counts, or else its place in the list; its name does not.
    Haproxy(HaproxyHash),
    /// Varnish's shard director, with keys by `.key(string)`.
    #[doc(alias = "vmod_directors")]
    Varnish,
    /// twemproxy's `distribution: ketama`.
    #[doc(alias = "nutcracker")]
    Twemproxy(TwemproxyRing),
    /// Traffic Server's parent selection by `consistent_hash`. A key is what it makes of a URL: `/`, the path, and `?` with the query if
    /// there is one.
    TrafficServer,
    /// Go's groupcache, with this many tokens a peer; its default is 50.
    Groupcache {
        /// The tokens of each peer.
        replicas: u32,
    },
    /// uhashring for Python with its default hash.
    Uhashring,
    /// hashring for Node.js: libketama but for roundings, which differ from seven servers on.
    NpmHashring {
        /// The option `vnodes` of every server, if it is given: four tokens each, whatever the weight.
        vnodes: Option<u32>,
        /// Whether it runs as `compatibility: 'hash_ring'`, which leaves out each fourth token.
        hash_ring: bool,
    },
    /// consistent-hashing for Node.js, with this many tokens a node; its default is 160.
    NpmConsistentHashing {
        /// The option `replicas`.
        replicas: u32,
    },
}

/// How libmemcached makes its ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LibmemcachedRing {
    /// Weights count: `MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED` was set to 1 once. They do as well, and from then on, where a server was
    /// added with a weight above one.
    pub weighted: bool,
    /// `MEMCACHED_DISTRIBUTION_CONSISTENT_KETAMA_SPY`, for keys placed by spymemcached.
    pub spy: bool,
    /// `MEMCACHED_BEHAVIOR_HASH`. Setting `MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED` makes it MD5; where nothing sets it, it is one-at-a-time.
    pub hash: MemcachedHash,
}

/// `MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED` and nothing else.
impl Default for LibmemcachedRing {
    fn default() -> Self {
        Self { weighted: true, spy: false, hash: MemcachedHash::Md5 }
    }
}

/// How twemproxy hashes keys onto its ring; the ring itself is always made by MD5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TwemproxyRing {
    /// `hash`.
    pub hash: MemcachedHash,
    /// `hash_tag`: where a key has text between the first of these two bytes and the next of the second, that text is hashed alone.
    pub hash_tag: Option<[u8; 2]>,
}

/// `hash: fnv1a_64` and no `hash_tag`.
impl Default for TwemproxyRing {
    fn default() -> Self {
        Self { hash: MemcachedHash::Fnv1aOf64, hash_tag: None }
    }
}

impl TwemproxyRing {
    /// The hash of a key, before it is placed: on the ring, or modulo the servers by `distribution: modula`. That of an empty key is
    /// zero, by any function.
    pub fn hash(self, key: &[u8]) -> u32 {
        if key.is_empty() {
            return 0;
        }
        let tag = self.hash_tag.and_then(|tag| tagged(key, tag));
        self.hash.hash(tag.unwrap_or(key))
    }
}

/// How Envoy sizes and hashes its ring (`envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvoyRing {
    /// `minimum_ring_size`, in tokens; 1024 by default.
    pub minimum_ring_size: u64,
    /// `maximum_ring_size`, in tokens; 8388608 by default, and at most. gRPC has 4096 at most.
    pub maximum_ring_size: u64,
    /// `hash_function`, which makes the tokens; keys are always hashed by XXH64.
    pub hash_function: EnvoyHash,
}

/// How Envoy hashes tokens.
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

impl RingSystem {
    /// The hash of a key.
    pub fn hash(self, key: &[u8]) -> KeyHash {
        let of_32_bits = match self {
            Self::Envoy(_) => return KeyHash(xxh64(key, 0)),
            Self::TrafficServer => return KeyHash(siphash24(key, [0, 0])),
            Self::Uhashring | Self::NpmConsistentHashing { .. } => return KeyHash(md5_of_64_bits(key)),
            Self::Libmemcached(settings) => settings.hash.hash(key),
            Self::Twemproxy(settings) => settings.hash(key),
            Self::Libketama | Self::NpmHashring { .. } => md5(key)[0],
            Self::Nginx | Self::Groupcache { .. } => Crc32::new().update(key).finish(),
            Self::Haproxy(hash) => hash.hash(key),
            Self::Varnish => varnish(key),
        };
        super::CompatRing::key_hash(of_32_bits)
    }

    /// Whether the program hashes to 64 bits or more, and not to 32.
    pub fn is_64_bit(self) -> bool {
        matches!(self, Self::Envoy(_) | Self::TrafficServer | Self::Uhashring | Self::NpmConsistentHashing { .. })
    }
}

/// The first half of an MD5 as a number, the first byte the highest.
///
/// Two programs compare whole digests. Half of one tells them apart but for a chance of 2^-64 a token, and where a key is the very text
/// of a token, halves are equal as the digests are.
pub(super) fn md5_of_64_bits(text: &[u8]) -> u64 {
    let [high, low, ..] = md5(text);
    u64::from(high.swap_bytes()) << 32 | u64::from(low.swap_bytes())
}

/// The last four bytes of SHA-256, little endian.
pub(super) fn varnish(text: &[u8]) -> u32 {
    sha256(text)[7].swap_bytes()
}

fn tagged(key: &[u8], [open, close]: [u8; 2]) -> Option<&[u8]> {
    let start = key.iter().position(|&byte| byte == open)? + 1;
    let length = key[start..].iter().position(|&byte| byte == close)?;
    (length > 0).then(|| &key[start..start + length])
}
