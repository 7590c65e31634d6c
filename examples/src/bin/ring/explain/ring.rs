//! Rings: the hash among the tokens.

use quorate_consistent_hash::compat::{CompatRing, RingSystem};
use quorate_consistent_hash::{KeyHash, NodeIndex, Placement, Ring, Token};

use super::{Steps, name};

pub(super) fn own(ring: &Ring, key: &[u8], steps: &mut Steps) {
    let hash = ring.hash(key);
    steps.hashed(key);
    steps.add("hash", format_args!("{:016x}, by XXH64", hash.0));
    position(ring.tokens(), ring, hash, Digits::Sixteen, steps);
    steps.add("rule", "the node of the first token at or after the hash, round the end");
}

pub(super) fn compat(ring: &CompatRing, key: &[u8], steps: &mut Steps) {
    let (system, hash) = (ring.system(), ring.hash(key));
    if let RingSystem::Twemproxy(settings) = system {
        if let Some([open, close]) = settings.hash_tag {
            let (open, close) = (char::from(open), char::from(close));
            steps.add("hash tag", format_args!("what stands between {open:?} and {close:?}"));
        }
        steps.hashed(settings.hashed(key));
    } else {
        steps.hashed(key);
    }
    let digits = if system.is_64_bit() { Digits::Sixteen } else { Digits::Eight };
    steps.add("hash", format_args!("{}, by {}", digits.show(hash.0), hash_of(system)));
    position(ring.tokens(), ring, hash, digits, steps);
    steps.add("rule", rule(system));
}

/// How hashes are shown.
#[derive(Clone, Copy)]
enum Digits {
    /// 32 bits, which stand in the upper half.
    Eight,
    Sixteen,
}

impl Digits {
    fn show(self, hash: u64) -> String {
        match self {
            Self::Eight => format!("{:08x}", hash >> 32),
            Self::Sixteen => format!("{hash:016x}"),
        }
    }
}

/// Shows the place of a hash among the parts of a ring, with the neighbours before and behind it.
fn position(
    tokens: impl Iterator<Item = (Token, NodeIndex)>,
    placement: &dyn Placement,
    hash: KeyHash,
    digits: Digits,
    steps: &mut Steps,
) {
    let tokens: Vec<_> = tokens.collect();
    let at = tokens.partition_point(|(token, _)| token.0 < hash.0);
    let wrapped = at == tokens.len();
    let at = if wrapped { 0 } else { at };
    let before = (at + tokens.len() - 1) % tokens.len();
    let after = (at + 1) % tokens.len();
    let shown = |place: usize| {
        let (Token(token), node) = tokens[place];
        format!("{} {}", digits.show(token), name(placement, node))
    };
    let end = if wrapped { ", round the end" } else { "" };
    steps.add("position", format_args!("part {} of {}{end}", at + 1, tokens.len()));
    steps.add("part before, up to", shown(before));
    steps.add("this part, up to", shown(at));
    steps.add("part after, up to", shown(after));
}

fn hash_of(system: RingSystem) -> String {
    match system {
        RingSystem::Libmemcached(settings) => format!("libmemcached's {:?}", settings.hash),
        RingSystem::Twemproxy(settings) => format!("twemproxy's {:?}", settings.hash),
        RingSystem::Haproxy(hash) => {
            format!("{:?}{}", hash.function, if hash.avalanche { ", mixed once more by avalanche" } else { "" })
        }
        RingSystem::Libketama | RingSystem::NpmHashring { .. } => "the first four bytes of MD5".into(),
        RingSystem::Nginx | RingSystem::Groupcache { .. } => "CRC-32".into(),
        RingSystem::Envoy(_) | RingSystem::Grpc { .. } | RingSystem::Thanos => "XXH64".into(),
        RingSystem::OpenTelemetry => "CRC-32 modulo 36000".into(),
        RingSystem::Varnish => "the last four bytes of SHA-256".into(),
        RingSystem::TrafficServer => "SipHash-2-4 without a key".into(),
        _ => "MD5, of which the first half is shown".into(),
    }
}

fn rule(system: RingSystem) -> &'static str {
    match system {
        RingSystem::Haproxy(_) => {
            "the server of the nearest point, of two as near the lower: parts end half-way between points"
        }
        RingSystem::Varnish => "the backend of the first point at or after the hash; behind all points the highest",
        RingSystem::NpmConsistentHashing { .. } => "the node of the last point at or before the hash, round the start",
        _ => "the server of the first point at or after the hash, round the end",
    }
}
