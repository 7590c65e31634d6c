//! The points that each system gives to its servers.

use alloc::borrow::Cow;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt::{self, Write};

use super::checksum::Crc32;
use super::haproxy;
use super::md5::md5;
use super::server;
use super::system::{
    ENVOY_TOKENS_MAX, EnvoyHash, EnvoyRing, GRPC_TOKENS_MAX, LibmemcachedRing, RingSystem, md5_of_64_bits,
    open_telemetry, varnish,
};
use crate::error::BuildError;
use crate::hash::{siphash24, xxh64};
use crate::node::{NodeIndex, Weight};
use crate::ring::table::TOKENS_MAX;

/// A server of the list, with the number of its node.
pub(super) struct Listed<'a> {
    pub(super) name: &'a str,
    /// Text that is hashed in place of the name.
    pub(super) hashed: Option<&'a str>,
    /// `None` for a weight of zero.
    pub(super) weight: Option<Weight>,
    pub(super) id: Option<u32>,
    pub(super) node: NodeIndex,
}

impl Listed<'_> {
    fn text(&self) -> &str {
        self.hashed.unwrap_or(self.name)
    }

    fn whole(&self) -> Result<u32, BuildError> {
        match self.weight {
            None => Ok(0),
            Some(weight) => weight.whole().ok_or_else(|| BuildError::FractionalWeight(self.name.into())),
        }
    }
}

/// Collects points of 64 bits. A point of 32 bits stands in the upper half.
pub(super) struct Points {
    all: Vec<(u64, NodeIndex)>,
}

impl Points {
    /// All points of these servers, unordered.
    pub(super) fn of(system: RingSystem, servers: &[Listed<'_>]) -> Result<Vec<(u64, NodeIndex)>, BuildError> {
        let tokens = count(system, servers)?;
        if tokens > TOKENS_MAX {
            return Err(BuildError::TooManyTokens { tokens, max: TOKENS_MAX });
        }
        let mut points = Self { all: Vec::new() };
        match system {
            RingSystem::Libmemcached(settings) => points.libmemcached(settings, servers)?,
            RingSystem::Twemproxy(_) => {
                let weights = servers.iter().map(Listed::whole).collect::<Result<Vec<_>, _>>()?;
                for (server, digests) in servers.iter().zip(single_shares(&weights)) {
                    points.digests(server, &server::twemproxy(server.name, server.hashed), digests, 4);
                }
            }
            RingSystem::Libketama => points.libketama(servers)?,
            RingSystem::NpmHashring { vnodes, hash_ring } => points.npm_hashring(servers, vnodes, hash_ring)?,
            RingSystem::Nginx => points.nginx(servers)?,
            RingSystem::Envoy(settings) => points.envoy(settings, servers)?,
            RingSystem::Grpc { minimum_ring_size, maximum_ring_size } => {
                points.grpc(minimum_ring_size, maximum_ring_size, servers)?;
            }
            RingSystem::Haproxy(_) => points.haproxy(servers)?,
            RingSystem::Varnish => {
                for server in servers {
                    let tokens = 67.0 * server.weight.map_or(1.0, Weight::as_f64).max(1.0);
                    points.numbered(server, server.text(), "", truncated(tokens), |text| upper(varnish(text)));
                }
            }
            RingSystem::Groupcache { replicas } => {
                for server in servers {
                    let hash = |text: &[u8]| Crc32::new().update(text).finish();
                    points.counted(server, "", server.text(), replicas.into(), |text| upper(hash(text)));
                }
            }
            RingSystem::TrafficServer => {
                for server in servers {
                    let tokens = 1024.0 * server.weight.map_or(0.0, Weight::as_f64);
                    let name = server.hashed.unwrap_or_else(|| server::without_port(server.name));
                    points.counted(server, "-", name, truncated(tokens + 0.5), |text| siphash24(text, [0, 0]));
                }
            }
            RingSystem::Thanos => {
                for server in servers {
                    let mut text = Text::new(server.text());
                    (1..=1000).for_each(|i| points.add(xxh64(text.numbered(":", i), 0), server));
                }
            }
            RingSystem::OpenTelemetry => points.open_telemetry(servers),
            RingSystem::Uhashring => {
                for server in servers {
                    let tokens = 160 * u64::from(server.whole()?);
                    points.numbered(server, server.text(), "-", tokens, md5_of_64_bits);
                }
            }
            RingSystem::NpmConsistentHashing { replicas } => {
                for server in servers {
                    points.numbered(server, server.text(), ":", replicas.into(), md5_of_64_bits);
                }
            }
        }
        Ok(points.all)
    }

    fn add(&mut self, point: u64, server: &Listed<'_>) {
        self.all.push((point, server.node));
    }

    /// Adds the first `kept` of the four words of the digests of `text-0`, `text-1`, ...
    fn digests(&mut self, server: &Listed<'_>, text: &str, digests: u32, kept: usize) {
        let mut text = Text::new(text);
        for i in 0..digests {
            for word in &md5(text.numbered("-", i.into()))[..kept] {
                self.add(upper(*word), server);
            }
        }
    }

    /// Adds a point for `text`, the separator and each number below `count`.
    fn numbered(&mut self, server: &Listed<'_>, text: &str, separator: &str, count: u64, hash: impl Fn(&[u8]) -> u64) {
        let mut text = Text::new(text);
        (0..count).for_each(|i| self.add(hash(text.numbered(separator, i)), server));
    }

    /// Adds a point for each number below `count`, the separator and `text`.
    fn counted(&mut self, server: &Listed<'_>, separator: &str, text: &str, count: u64, hash: impl Fn(&[u8]) -> u64) {
        let mut number = Text::new("");
        for i in 0..count {
            number.bytes.clear();
            write!(number, "{i}{separator}{text}").expect("writing to a vector does not fail");
            self.add(hash(&number.bytes), server);
        }
    }

    fn libmemcached(&mut self, settings: LibmemcachedRing, servers: &[Listed<'_>]) -> Result<(), BuildError> {
        // A weight of zero counts as one.
        let weights: Vec<_> =
            servers.iter().map(|server| server.whole().map(|weight| weight.max(1))).collect::<Result<_, _>>()?;
        let weighted = settings.weighted || weights.iter().any(|&weight| weight > 1);
        for (server, digests) in servers.iter().zip(single_shares(&weights)) {
            let text = match (server.hashed, settings.spy) {
                (Some(text), _) => Cow::Borrowed(text),
                (None, true) => server::spymemcached(server.name).into(),
                (None, false) => server::memcached(server.name),
            };
            if weighted {
                self.digests(server, &text, digests, 4);
            } else {
                self.numbered(server, &text, "-", 100, |text| upper(settings.hash.hash(text)));
            }
        }
        Ok(())
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "what libketama computes: the share in single precision, the rest in double"
    )]
    fn libketama(&mut self, servers: &[Listed<'_>]) -> Result<(), BuildError> {
        let weights: Vec<_> = servers.iter().map(Listed::whole).collect::<Result<_, _>>()?;
        let total = weights.iter().map(|&weight| u64::from(weight)).sum::<u64>() as f32;
        for (server, weight) in servers.iter().zip(weights) {
            let share = weight as f32 / total;
            let digests = (f64::from(share) * 40.0 * servers.len() as f64) as f32 as u32;
            self.digests(server, server.text(), digests, 4);
        }
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "what hashring computes, in double precision")]
    fn npm_hashring(&mut self, servers: &[Listed<'_>], vnodes: Option<u32>, hash_ring: bool) -> Result<(), BuildError> {
        let weights: Vec<_> = servers.iter().map(Listed::whole).collect::<Result<_, _>>()?;
        let total = weights.iter().map(|&weight| u64::from(weight)).sum::<u64>() as f64;
        let kept = if hash_ring { 3 } else { 4 };
        for (server, weight) in servers.iter().zip(weights) {
            let share = truncated(f64::from(weight) / total * f64::from(NPM_DIGESTS) * servers.len() as f64);
            // An explicit option equal to the default is treated like no option.
            let digests = vnodes.filter(|&vnodes| vnodes != 0 && vnodes != NPM_DIGESTS);
            let digests = digests.unwrap_or_else(|| u32::try_from(share).unwrap_or(u32::MAX));
            self.digests(server, server.text(), digests, kept);
        }
        Ok(())
    }

    fn nginx(&mut self, servers: &[Listed<'_>]) -> Result<(), BuildError> {
        for server in servers {
            let (host, port) = server::nginx(server.text());
            let base = Crc32::new().update(host.as_bytes()).update(&[0]).update(port.as_bytes());
            let mut previous = 0_u32;
            for _ in 0..160 * u64::from(server.whole()?) {
                previous = base.update(&previous.to_le_bytes()).finish();
                self.add(upper(previous), server);
            }
        }
        Ok(())
    }

    fn envoy(&mut self, settings: EnvoyRing, servers: &[Listed<'_>]) -> Result<(), BuildError> {
        let EnvoyRing { minimum_ring_size: minimum, maximum_ring_size: maximum, hash_function } = settings;
        if minimum > maximum || maximum > ENVOY_TOKENS_MAX {
            return Err(BuildError::BadRingSize { minimum, maximum });
        }
        let weights: Vec<_> = servers.iter().map(Listed::whole).collect::<Result<_, _>>()?;
        #[expect(clippy::cast_precision_loss, reason = "what Envoy computes")]
        let (total, minimum, maximum) =
            (weights.iter().map(|&weight| u64::from(weight)).sum::<u64>() as f64, minimum as f64, maximum as f64);
        let share = |weight: u32| f64::from(weight) / total;
        let least = weights.iter().map(|&weight| share(weight)).fold(f64::INFINITY, f64::min);
        let scale = (ceil(least * minimum) / least).min(maximum);
        let (mut current, mut target) = (0.0, 0.0);
        for (server, weight) in servers.iter().zip(weights) {
            target += scale * share(weight);
            let mut text = Text::new(server.text());
            let mut i = 0;
            while current < target {
                self.add(hash_function.token(text.numbered("_", i)), server);
                current += 1.0;
                i += 1;
            }
        }
        Ok(())
    }

    fn grpc(&mut self, minimum: u64, maximum: u64, servers: &[Listed<'_>]) -> Result<(), BuildError> {
        if minimum > maximum {
            return Err(BuildError::BadRingSize { minimum, maximum });
        }
        let settings = EnvoyRing {
            minimum_ring_size: minimum.min(GRPC_TOKENS_MAX),
            maximum_ring_size: maximum.min(GRPC_TOKENS_MAX),
            hash_function: EnvoyHash::XxHash,
        };
        self.envoy(settings, servers)
    }

    /// The first server in the order of the names keeps a position that several have.
    fn open_telemetry(&mut self, servers: &[Listed<'_>]) {
        let mut order: Vec<_> = servers.iter().collect();
        order.sort_by_key(|server| server.text());
        let mut taken = BTreeSet::new();
        for server in order {
            let text = Crc32::new().update(server.text().as_bytes());
            for i in 0..100 {
                let position = open_telemetry(text.update(&[i]));
                if taken.insert(position) {
                    self.add(upper(position), server);
                }
            }
        }
    }

    fn haproxy(&mut self, servers: &[Listed<'_>]) -> Result<(), BuildError> {
        let given: Vec<_> = servers.iter().map(|server| server.id).collect();
        let ids = haproxy::numbers(&given);
        let mut taken = BTreeMap::new();
        for (server, id) in servers.iter().zip(ids) {
            // Twelve of 32 bits number the points, so that two ids which agree in the other bits have the same points.
            // HAProxy gives such points to the server that it happens to reach first, on which nothing can rely.
            if let Some(other) = taken.insert(id % (1 << 20), server.name) {
                return Err(BuildError::SameServer(other.into(), server.name.into()));
            }
            for j in 0..u64::from(server.whole()?) * 16 {
                // HAProxy limits weights to 256.
                let j = u32::try_from(j).unwrap_or(u32::MAX);
                self.add(upper(haproxy::avalanche(id.wrapping_mul(4096).wrapping_add(j))), server);
            }
        }
        Ok(())
    }
}

/// Upper bound of the number of tokens, known before any is hashed.
fn count(system: RingSystem, servers: &[Listed<'_>]) -> Result<u64, BuildError> {
    let times = |tokens: u64| {
        let mut weights = servers.iter().map(|server| server.whole().map(u64::from));
        weights.try_fold(0_u64, |sum, weight| Ok(sum.saturating_add(tokens.saturating_mul(weight?))))
    };
    let each = |tokens: u32| u64::from(tokens) * servers.len() as u64;
    Ok(match system {
        // No digest is given twice, and a share is a part of all.
        RingSystem::Libmemcached(_) | RingSystem::Twemproxy(_) | RingSystem::Libketama => each(160),
        RingSystem::NpmHashring { vnodes, .. } => 4 * each(vnodes.unwrap_or(0).max(NPM_DIGESTS)),
        RingSystem::Thanos => each(1000),
        RingSystem::OpenTelemetry => each(100).min(36_000),
        RingSystem::Nginx | RingSystem::Uhashring => times(160)?,
        RingSystem::Haproxy(_) => times(16)?,
        // The sizes of the ring itself are checked where they are read.
        RingSystem::Envoy(_) | RingSystem::Grpc { .. } => each(1),
        RingSystem::Groupcache { replicas } | RingSystem::NpmConsistentHashing { replicas } => each(replicas),
        RingSystem::Varnish | RingSystem::TrafficServer => {
            let tokens = |server: &Listed<'_>| 1024.0 * server.weight.map_or(0.0, Weight::as_f64).max(1.0);
            truncated(servers.iter().map(tokens).sum())
        }
    })
}

/// Number of digests that libmemcached and twemproxy give to each of these weights.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "what they compute: single precision but for the last sum, then truncated"
)]
fn single_shares(weights: &[u32]) -> impl Iterator<Item = u32> {
    let total = weights.iter().map(|&weight| u64::from(weight)).sum::<u64>() as f32;
    let live = weights.len() as f32;
    weights.iter().map(move |&weight| {
        let share = weight as f32 / total;
        (f64::from(share * 160.0 / 4.0 * live) + 0.000_000_000_1) as f32 as u32
    })
}

/// Number of digests of a server of average weight in hashring.
const NPM_DIGESTS: u32 = 40;

/// The whole part of a number from 0 up.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "weights times a thousand fit by far")]
fn truncated(number: f64) -> u64 {
    number as u64
}

/// The smallest whole number that is at least `value`, for positive values of moderate size.
#[expect(clippy::cast_precision_loss, reason = "below 2^53 where it is used")]
fn ceil(value: f64) -> f64 {
    let whole = truncated(value) as f64;
    if whole < value { whole + 1.0 } else { whole }
}

fn upper(word: u32) -> u64 {
    u64::from(word) << 32
}

/// A text that is hashed with one number after another appended.
struct Text {
    bytes: Vec<u8>,
    length: usize,
}

impl Text {
    fn new(text: &str) -> Self {
        Self { bytes: text.as_bytes().to_vec(), length: text.len() }
    }

    fn numbered(&mut self, separator: &str, number: u64) -> &[u8] {
        self.bytes.truncate(self.length);
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
