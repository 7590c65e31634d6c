//! `ring owners`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use quorate_consistent_hash::compat::{REDIS_SLOTS, cassandra_token, redis_slot};
use quorate_consistent_hash::{KeyHash, Node, NodeIndex, Placement, ReplicaError, ZoneReplicas};

use crate::Placing;
use crate::algorithm::{Algorithm, Built};
use crate::error::Failure;
use crate::{input, sample};

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    placing: Placing,

    /// The nodes, one a line: `name [weight [zone [rack]]]`. Not needed for `redis-slot` and `cassandra`, which print
    /// the slot or the token as owner.
    #[arg(long, value_name = "FILE")]
    nodes: Option<PathBuf>,

    /// The keys, one a line.
    #[arg(long, value_name = "FILE")]
    keys: PathBuf,

    /// The keys are decimal numbers, which are the hashes themselves.
    #[arg(long)]
    numeric: bool,

    /// Prints this number of distinct nodes for each key, the owner first, with commas between.
    #[arg(long, default_value_t = 1, conflicts_with = "zones")]
    replicas: usize,

    /// Prints the replicas of each zone, such as `east=2,west=1`, with commas between.
    #[arg(long, value_name = "ZONE=N,...", value_delimiter = ',', value_parser = zone)]
    zones: Vec<(String, usize)>,
}

pub(crate) fn run(options: &Options, out: &mut dyn Write) -> Result<(), Failure> {
    let bytes = input::read(&options.keys)?;
    match options.placing.algorithm {
        Some(Algorithm::RedisSlot) => return slots(options, &bytes, out),
        Some(Algorithm::Cassandra) if options.nodes.is_none() && !options.numeric => return tokens(&bytes, out),
        _ => {}
    }
    let built = Built::asked(&options.placing, options.nodes.as_deref())?;
    let hashes = hashes(options, &built, &bytes)?;
    let mut owners = owners(options, built)?;
    for ((_, key), hash) in input::lines(&bytes).zip(hashes) {
        let owner = owners(hash)?;
        out.write_all(key).and_then(|()| writeln!(out, "\t{owner}")).map_err(Failure::Output)?;
    }
    Ok(())
}

/// Prints the slots of keys instead of owners, when no nodes are given.
fn slots(options: &Options, bytes: &[u8], out: &mut dyn Write) -> Result<(), Failure> {
    for (line, key) in input::lines(bytes) {
        let slot = if options.numeric {
            let slot = String::from_utf8_lossy(key).trim().parse().ok().filter(|slot| *slot < REDIS_SLOTS);
            slot.ok_or_else(|| Failure::Line {
                path: options.keys.clone(),
                line,
                reason: format!("{:?} is not a slot", String::from_utf8_lossy(key)),
            })?
        } else {
            redis_slot(key)
        };
        out.write_all(key).and_then(|()| writeln!(out, "\t{slot}")).map_err(Failure::Output)?;
    }
    Ok(())
}

/// Prints the tokens of keys instead of owners.
fn tokens(bytes: &[u8], out: &mut dyn Write) -> Result<(), Failure> {
    for (_, key) in input::lines(bytes) {
        out.write_all(key).and_then(|()| writeln!(out, "\t{}", cassandra_token(key))).map_err(Failure::Output)?;
    }
    Ok(())
}

fn hashes(options: &Options, built: &Built, bytes: &[u8]) -> Result<Vec<KeyHash>, Failure> {
    let hash = |(line, key): (usize, &[u8])| {
        if !options.numeric {
            return Ok(built.placement().hash(key));
        }
        sample::numeric(built, key).map_err(|reason| Failure::Line { path: options.keys.clone(), line, reason })
    };
    input::lines(bytes).map(hash).collect()
}

type Owners = Box<dyn FnMut(KeyHash) -> Result<String, Failure>>;

/// Returns a function that prints the owners of a hashed key.
fn owners(options: &Options, built: Built) -> Result<Owners, Failure> {
    if !options.zones.is_empty() {
        let wanted: Vec<_> = options.zones.iter().map(|(zone, count)| (zone.as_str(), *count)).collect();
        let zones: ZoneReplicas<std::sync::Arc<dyn Placement>> = ZoneReplicas::new(built.into_shared(), wanted)?;
        return Ok(Box::new(move |hash| Ok(zones.replicas_of(hash).map(Node::name).collect::<Vec<_>>().join(","))));
    }
    let (wanted, nodes) = (options.replicas, built.placement().nodes().len());
    if wanted > nodes {
        return Err(ReplicaError::TooFewNodes { wanted, nodes }.into());
    }
    let mut indexes = vec![NodeIndex::default(); wanted];
    Ok(Box::new(move |hash| {
        let placement = built.placement();
        placement.fill_replicas(hash, &mut indexes)?;
        let names: Vec<_> = indexes.iter().map(|&index| placement.nodes().node(index).name()).collect();
        Ok(names.join(","))
    }))
}

fn zone(text: &str) -> Result<(String, usize), String> {
    let (zone, count) = text.split_once('=').ok_or("wanted is ZONE=N")?;
    let count = count.parse().map_err(|_| format!("{count:?} is not a number of replicas"))?;
    Ok((zone.into(), count))
}
