//! Rings that place keys exactly as other programs do.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::ops::ControlFlow;

use super::checksum::{Crc32, murmur2};
use super::md5::md5;
use super::server::{self, require_distinct};
use crate::error::{BuildError, ReplicaError};
use crate::hash::{KeyHash, xxh64};
use crate::movement::sealed;
use crate::node::{NodeIndex, Nodes};
use crate::placement::Placement;
use crate::ring::table::{TOKENS_MAX, TokenTable};

/// A ring that agrees bit for bit with another program: keys, tokens, and who owns a token two nodes have.
///
/// The nodes are the other program's servers, in the order of its configuration, which decides ties. Where the other hashes to 32
/// bits, its hash is the upper half of a [`KeyHash`] ([`CompatRing::key_hash`] makes one).
///
/// ```
/// use quorate_consistent_hash::{CompatRing, Nodes, Placement};
///
/// let ring = CompatRing::nginx(Nodes::named(["10.0.0.1:80", "10.0.0.2:80"])?)?;
/// assert_eq!(ring.owner(b"/index.html").name(), "10.0.0.1:80");
/// # Ok::<(), quorate_consistent_hash::BuildError>(())
/// ```
#[derive(Clone, Debug)]
pub struct CompatRing {
    dialect: Dialect,
    nodes: Nodes,
    table: TokenTable,
}

/// Whose ring it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Ketama,
    Nginx,
    Envoy,
}

/// How Envoy sizes and hashes its ring (`envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvoyRing {
    /// `minimum_ring_size`, in tokens; 1024 by default.
    pub minimum_ring_size: u64,
    /// `maximum_ring_size`, in tokens; 8388608 by default, and at most.
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

impl Default for EnvoyRing {
    fn default() -> Self {
        Self { minimum_ring_size: 1024, maximum_ring_size: ENVOY_TOKENS_MAX, hash_function: EnvoyHash::XxHash }
    }
}

impl CompatRing {
    /// As libmemcached places with `MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED`. Names are `host:port`, `[IPv6 address]:port`, or the path
    /// of a Unix socket; port 11211, which libmemcached leaves out of what it hashes, may be left out.
    ///
    /// # Errors
    ///
    /// [`BuildError::FractionalWeight`]; [`BuildError::ShareTooSmall`] where libmemcached would give a server no token;
    /// [`BuildError::SameServer`] for two names of one server; [`BuildError::TooManyTokens`].
    #[doc(alias = "ketama")]
    pub fn libmemcached(nodes: Nodes) -> Result<Self, BuildError> {
        require_distinct(&nodes, server::memcached_meaning)?;
        check_size(160 * nodes.len() as u64)?;
        let total = whole_weights(&nodes)?.sum::<u64>();
        #[expect(clippy::cast_precision_loss, reason = "what libmemcached computes")]
        let (total, live) = (total as f32, nodes.len() as f32);
        let ketama = |nodes: &Nodes, index, points: &mut Vec<_>| {
            let node = nodes.node(index);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_precision_loss,
                clippy::cast_sign_loss,
                reason = "what libmemcached computes: single precision but for the last sum, then truncated"
            )]
            let digests = {
                let share = node.weight().whole().unwrap_or(0) as f32 / total;
                (f64::from(share * 160.0 / 4.0 * live) + 0.000_000_000_1) as f32 as u32
            };
            ketama_points(&server::memcached(node.name()), digests, index, points);
        };
        Self::build(Dialect::Ketama, nodes, ketama)
    }

    /// As libketama places. Names are the addresses of its server list, `host:port`; weights are its memory sizes.
    ///
    /// # Errors
    ///
    /// As [`CompatRing::libmemcached`].
    pub fn libketama(nodes: Nodes) -> Result<Self, BuildError> {
        require_distinct(&nodes, str::to_ascii_lowercase)?;
        check_size(160 * nodes.len() as u64)?;
        let total = whole_weights(&nodes)?.sum::<u64>();
        #[expect(clippy::cast_precision_loss, reason = "what libketama computes")]
        let (total, servers) = (total as f32, nodes.len() as f64);
        let ketama = |nodes: &Nodes, index, points: &mut Vec<_>| {
            let node = nodes.node(index);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_precision_loss,
                clippy::cast_sign_loss,
                reason = "what libketama computes: the share in single precision, the rest in double"
            )]
            let digests = {
                let share = node.weight().whole().unwrap_or(0) as f32 / total;
                (f64::from(share) * 40.0 * servers) as f32 as u32
            };
            ketama_points(node.name(), digests, index, points);
        };
        Self::build(Dialect::Ketama, nodes, ketama)
    }

    /// As nginx places with `hash KEY consistent` (and Tengine and the Perl module Cache::Memcached::Fast). Names are as in the
    /// `server` directives: `host`, `host:port` or `unix:PATH`.
    ///
    /// # Errors
    ///
    /// [`BuildError::FractionalWeight`]; [`BuildError::TooManyTokens`]; [`BuildError::SameServer`] for two names of one server.
    pub fn nginx(nodes: Nodes) -> Result<Self, BuildError> {
        require_distinct(&nodes, server::nginx_meaning)?;
        let tokens = whole_weights(&nodes)?.sum::<u64>().saturating_mul(160);
        check_size(tokens)?;
        Self::build(Dialect::Nginx, nodes, |nodes, index, points| {
            let node = nodes.node(index);
            let (host, port) = server::nginx(node.name());
            let base = Crc32::new().update(host.as_bytes()).update(&[0]).update(port.as_bytes());
            let mut previous = 0_u32;
            for _ in 0..160 * u64::from(node.weight().whole().unwrap_or(0)) {
                previous = base.update(&previous.to_le_bytes()).finish();
                points.push((upper(previous), index));
            }
        })
    }

    /// As Envoy's ring hash load balancer places. Names are what Envoy hashes: the address `ip:port`, the host name, or the
    /// `hash_key` of the metadata; keys are hashed as a header hash policy hashes them.
    ///
    /// # Errors
    ///
    /// [`BuildError::FractionalWeight`]; [`BuildError::BadRingSize`] for sizes that Envoy refuses; [`BuildError::ShareTooSmall`]
    /// where Envoy would give a host no token.
    pub fn envoy(nodes: Nodes, settings: EnvoyRing) -> Result<Self, BuildError> {
        let EnvoyRing { minimum_ring_size: minimum, maximum_ring_size: maximum, .. } = settings;
        if minimum > maximum || maximum > ENVOY_TOKENS_MAX {
            return Err(BuildError::BadRingSize { minimum, maximum });
        }
        #[expect(clippy::cast_precision_loss, reason = "what Envoy computes")]
        let (total, minimum, maximum) = (
            whole_weights(&nodes)?.sum::<u64>() as f64,
            settings.minimum_ring_size as f64,
            settings.maximum_ring_size as f64,
        );
        let least = nodes.iter().map(|(_, node)| node.weight().as_f64() / total).fold(f64::INFINITY, f64::min);
        let scale = (ceil(least * minimum) / least).min(maximum);
        let (mut current, mut target) = (0.0, 0.0);
        Self::build(Dialect::Envoy, nodes, |nodes, index, points| {
            let node = nodes.node(index);
            target += scale * (node.weight().as_f64() / total);
            let mut text = Text::new(node.name());
            for i in 0_u64.. {
                if current >= target {
                    break;
                }
                let token = match settings.hash_function {
                    EnvoyHash::XxHash => xxh64(text.numbered('_', i), 0),
                    EnvoyHash::MurmurHash2 => murmur2(text.numbered('_', i)),
                };
                points.push((token, index));
                current += 1.0;
            }
        })
    }

    /// A 32-bit hash of the other program as a [`KeyHash`].
    pub fn key_hash(hash: u32) -> KeyHash {
        KeyHash(upper(hash))
    }

    /// Whether the other program hashes to 64 bits, not 32.
    pub fn is_64_bit(&self) -> bool {
        self.dialect == Dialect::Envoy
    }

    /// The tokens in ascending order, each with the number of its node.
    pub fn tokens(&self) -> impl Iterator<Item = (crate::Token, NodeIndex)> {
        self.table.iter().map(|(token, node)| (crate::Token(token), node))
    }

    fn build(
        dialect: Dialect,
        nodes: Nodes,
        mut points_of: impl FnMut(&Nodes, NodeIndex, &mut Vec<(u64, NodeIndex)>),
    ) -> Result<Self, BuildError> {
        let mut points = Vec::new();
        for (index, node) in nodes.iter() {
            let before = points.len();
            points_of(&nodes, index, &mut points);
            if points.len() == before {
                return Err(BuildError::ShareTooSmall(node.name().into()));
            }
            check_size(points.len() as u64)?;
        }
        // The others sort in place and look at the token alone; with the merge sort of the GNU C library the first given wins.
        let table = TokenTable::build(points.iter().copied(), points.len(), |one, other| one.cmp(&other));
        require_every_owner(&nodes, &table)?;
        Ok(Self { dialect, nodes, table })
    }
}

impl sealed::Table for CompatRing {
    fn table(&self) -> &TokenTable {
        &self.table
    }
}

impl Placement for CompatRing {
    fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    fn hash(&self, key: &[u8]) -> KeyHash {
        match self.dialect {
            Dialect::Ketama => Self::key_hash(md5(key)[0]),
            Dialect::Nginx => Self::key_hash(Crc32::new().update(key).finish()),
            Dialect::Envoy => KeyHash(xxh64(key, 0)),
        }
    }

    fn owner_of(&self, hash: KeyHash) -> NodeIndex {
        self.table.owner(hash.0)
    }

    fn visit(&self, hash: KeyHash, visit: &mut dyn FnMut(NodeIndex) -> ControlFlow<()>) {
        // Whether the walk was broken off makes no difference to the caller, who knows.
        let _ = self.table.owners_from(hash.0).try_for_each(visit);
    }

    fn fill_replicas(&self, hash: KeyHash, out: &mut [NodeIndex]) -> Result<(), ReplicaError> {
        self.table.fill(hash.0, &self.nodes, out)
    }
}

/// Four tokens for each digest of `name-0`, `name-1`, ...
fn ketama_points(name: &str, digests: u32, index: NodeIndex, points: &mut Vec<(u64, NodeIndex)>) {
    let mut text = Text::new(name);
    for i in 0..digests {
        let digest = md5(text.numbered('-', u64::from(i)));
        points.extend(digest.map(|word| (upper(word), index)));
    }
}

/// Refuses a node whose tokens are all another's as well: it would own nothing.
fn require_every_owner(nodes: &Nodes, table: &TokenTable) -> Result<(), BuildError> {
    let mut rival = vec![None; nodes.capacity()];
    let mut owns = vec![false; nodes.capacity()];
    let mut last = None;
    for (token, node) in table.iter() {
        match last {
            Some((before, owner)) if before == token => rival[node.get()] = Some(owner),
            _ => {
                owns[node.get()] = true;
                last = Some((token, node));
            }
        }
    }
    let Some((index, node)) = nodes.iter().find(|(index, _)| !owns[index.get()]) else { return Ok(()) };
    let rival = rival[index.get()].map_or(node, |owner| nodes.node(owner));
    Err(BuildError::HashCollision(rival.name().into(), node.name().into()))
}

pub(super) fn whole_weights(nodes: &Nodes) -> Result<impl Iterator<Item = u64>, BuildError> {
    for (_, node) in nodes.iter() {
        if node.weight().whole().is_none() {
            return Err(BuildError::FractionalWeight(node.name().into()));
        }
    }
    Ok(nodes.iter().filter_map(|(_, node)| node.weight().whole()).map(u64::from))
}

fn check_size(tokens: u64) -> Result<(), BuildError> {
    if tokens > TOKENS_MAX {
        return Err(BuildError::TooManyTokens { tokens, max: TOKENS_MAX });
    }
    Ok(())
}

/// The least whole number not below a positive one of moderate size.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "below 2^53 where it is used"
)]
fn ceil(value: f64) -> f64 {
    let whole = value as u64 as f64;
    if whole < value { whole + 1.0 } else { whole }
}

/// The largest ring that Envoy's configuration accepts.
const ENVOY_TOKENS_MAX: u64 = 8 << 20;

fn upper(word: u32) -> u64 {
    u64::from(word) << 32
}

/// A name that is hashed with one number after another behind it.
struct Text {
    bytes: Vec<u8>,
    name: usize,
}

impl Text {
    fn new(name: &str) -> Self {
        Self { bytes: name.as_bytes().to_vec(), name: name.len() }
    }

    fn numbered(&mut self, separator: char, number: u64) -> &[u8] {
        self.bytes.truncate(self.name);
        write!(self, "{separator}{number}").expect("writing to a vector does not fail");
        &self.bytes
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
