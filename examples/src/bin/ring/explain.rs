//! `ring explain`.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use quorate_consistent_hash::compat::{CompatRing, RingSystem};
use quorate_consistent_hash::{KeyHash, NodeIndex, Placement, Token, jump, jump_back};

use crate::Placing;
use crate::algorithm::{Algorithm, Built};
use crate::error::Failure;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The key.
    key: String,

    #[command(flatten)]
    placing: Placing,

    /// The nodes, one a line: `name [weight [zone [rack]]]`.
    #[arg(long, value_name = "FILE")]
    nodes: Option<PathBuf>,
}

pub(crate) fn run(options: &Options, out: &mut dyn Write) -> Result<(), Failure> {
    let built = Built::asked(&options.placing, options.nodes.as_deref())?;
    let text = explain(&built, &options.placing, options.key.as_bytes());
    out.write_all(text.as_bytes()).map_err(Failure::Output)
}

fn explain(built: &Built, placing: &Placing, key: &[u8]) -> String {
    let algorithm = placing.algorithm;
    let placement = built.placement();
    let hash = placement.hash(key);
    let mut text = format!("key\t{}\n", String::from_utf8_lossy(key));
    let mut step = |what: &str, value: &str| {
        let _ = writeln!(text, "{what}\t{value}");
    };
    match built {
        Built::Compat(ring) => {
            if let RingSystem::Twemproxy(settings) = ring.system()
                && let Some([open, close]) = settings.hash_tag
            {
                step("hash tag", &format!("what stands between {:?} and {:?}", char::from(open), char::from(close)));
            }
            let digits =
                if ring.system().is_64_bit() { format!("{:016x}", hash.0) } else { format!("{:08x}", hash.0 >> 32) };
            step("hash", &format!("{digits}, by {}", hash_of(ring.system())));
            on_ring(ring.tokens(), placement, hash, !ring.system().is_64_bit(), &mut step);
            step("rule", rule_of(ring));
        }
        Built::Ring(ring) => {
            step("hash", &format!("{:016x}, by XXH64", hash.0));
            on_ring(ring.tokens(), placement, hash, false, &mut step);
            step("rule", "the node of the first token at or after the hash, round the end");
        }
        Built::Slots(_) => {
            step("slot", &format!("{}, CRC-16 of the key, or of its part in the first {{}}, modulo 16384", hash.0));
            step("rule", "the master that has the slot");
        }
        Built::Memento(_) | Built::Other(_) => {
            step("hash", &format!("{:016x} ({})", hash.0, hash.0));
            step("nodes", &placement.nodes().len().to_string());
            if let Some((what, value)) = algorithm.and_then(|algorithm| number(algorithm, placing, hash, placement)) {
                step(what, &value);
            }
            step("rule", algorithm.map_or("the devices of the partition's replicas, then its handoffs", rule));
        }
    }
    let owner = placement.owner_of(hash);
    step("owner", placement.nodes().node(owner).name());
    let mut order: Vec<NodeIndex> = Vec::new();
    placement.visit(hash, &mut |node| {
        if !order.contains(&node) {
            order.push(node);
        }
        if order.len() < ORDER { std::ops::ControlFlow::Continue(()) } else { std::ops::ControlFlow::Break(()) }
    });
    let names: Vec<_> = order[1..].iter().map(|&node| placement.nodes().node(node).name()).collect();
    step("then", &names.join(", "));
    text
}

/// The number that a system makes of a hash before it names the node.
fn number(
    algorithm: Algorithm,
    placing: &Placing,
    hash: KeyHash,
    placement: &dyn Placement,
) -> Option<(&'static str, String)> {
    let nodes = placement.nodes();
    let size = u64::from(placing.table_size);
    let remainder = |count: u64| format!("{} = {} modulo {count}", hash.0 % count, hash.0);
    // Every count of nodes at which the key changes to the newest one.
    let path = |bucket: fn(KeyHash, u32) -> u32| {
        let counts = 1..=u32::try_from(nodes.len()).unwrap_or(u32::MAX);
        let news = counts.filter(|&count| bucket(hash, count) == count - 1);
        news.map(|count| format!("{} from {count} nodes on", count - 1)).collect::<Vec<_>>().join(", ")
    };
    Some(match algorithm {
        Algorithm::Jump => ("number", path(jump)),
        Algorithm::JumpBack => ("number", path(jump_back)),
        Algorithm::Maglev => ("entry", format!("{} of {size}", (u128::from(hash.0) * u128::from(size)) >> 64)),
        Algorithm::EnvoyMaglev => ("entry", remainder(size)),
        Algorithm::Rabbitmq | Algorithm::Memento | Algorithm::Rendezvous => return None,
        Algorithm::TwemproxyModula | Algorithm::Clickhouse => {
            let weights = nodes.iter().filter_map(|(_, node)| node.weight().whole());
            ("place", remainder(weights.map(u64::from).sum()))
        }
        _ => ("place", remainder(nodes.len() as u64)),
    })
}

/// Prints the place of a hash among the parts of a ring, with the neighbours before and behind it.
fn on_ring(
    tokens: impl Iterator<Item = (Token, NodeIndex)>,
    placement: &dyn Placement,
    hash: KeyHash,
    upper: bool,
    step: &mut dyn FnMut(&str, &str),
) {
    let tokens: Vec<_> = tokens.collect();
    let at = tokens.partition_point(|(token, _)| token.0 < hash.0);
    let wrapped = at == tokens.len();
    let at = if wrapped { 0 } else { at };
    let before = (at + tokens.len() - 1) % tokens.len();
    let after = (at + 1) % tokens.len();
    let shown = |place: usize| {
        let (Token(token), node) = tokens[place];
        let name = placement.nodes().node(node).name();
        if upper { format!("{:08x} {name}", token >> 32) } else { format!("{token:016x} {name}") }
    };
    let end = if wrapped { ", round the end" } else { "" };
    step("position", &format!("part {} of {}{end}", at + 1, tokens.len()));
    step("part before, up to", &shown(before));
    step("this part, up to", &shown(at));
    step("part after, up to", &shown(after));
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

fn rule_of(ring: &CompatRing) -> &'static str {
    match ring.system() {
        RingSystem::Haproxy(_) => {
            "the server of the nearest point, of two as near the lower: parts end half-way between points"
        }
        RingSystem::Varnish => "the backend of the first point at or after the hash; behind all points the highest",
        RingSystem::NpmConsistentHashing { .. } => "the node of the last point at or before the hash, round the start",
        _ => "the server of the first point at or after the hash, round the end",
    }
}

fn rule(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Rendezvous => "the node that draws best for the key; the others by their draws",
        Algorithm::Maglev => "the node of entry `hash * entries / 2^64` of the table",
        Algorithm::EnvoyMaglev => "the host of entry `hash modulo entries` of the table",
        Algorithm::Jump => "jump consistent hash of the hash over the number of nodes",
        Algorithm::JumpBack => "JumpBackHash of the hash over the number of nodes",
        Algorithm::Memento => "JumpBackHash of the hash over the numbers, and on from those of removed nodes",
        Algorithm::Rabbitmq => {
            "the bucket by jump hashing with numbers of Erlang's exs1024s; a queue has a bucket a weight"
        }
        Algorithm::TwemproxyModula => {
            "the hash modulo the sum of the weights, in the order of the names, short ones first"
        }
        _ => "the hash modulo the number of nodes, in their order",
    }
}

/// Number of nodes of the order of preference that are shown.
const ORDER: usize = 4;
