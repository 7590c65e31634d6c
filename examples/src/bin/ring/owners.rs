//! `ring owners`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use quorate_consistent_hash::{KeyHash, Node, NodeIndex, Placement, ReplicaError, ZoneReplicas, redis_slot};

use crate::Placing;
use crate::algorithm::{Algorithm, Built};
use crate::error::Failure;
use crate::input;

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    placing: Placing,

    /// The nodes, one a line: `name [weight [zone [rack]]]`. Not needed for `redis-slot`, which prints the slot as owner.
    #[arg(long, value_name = "FILE")]
    nodes: Option<PathBuf>,

    /// The keys, one a line.
    #[arg(long, value_name = "FILE")]
    keys: PathBuf,

    /// The keys are decimal numbers, taken as hashes as they are.
    #[arg(long)]
    numeric: bool,

    /// Print this many distinct nodes a key, the owner first, with commas between.
    #[arg(long, default_value_t = 1, conflicts_with = "zones")]
    replicas: usize,

    /// Print the replicas of each zone, such as `east=2,west=1`, with commas between.
    #[arg(long, value_name = "ZONE=N,...", value_delimiter = ',', value_parser = zone)]
    zones: Vec<(String, usize)>,
}

pub(crate) fn run(options: &Options, out: &mut dyn Write) -> Result<(), Failure> {
    let bytes = input::read(&options.keys)?;
    let algorithm = options.placing.algorithm;
    let mut owners = owners(options)?;
    for (line, key) in input::lines(&bytes) {
        let fail = |reason| Failure::Line { path: options.keys.clone(), line, reason };
        let hash = if options.numeric { Some(input::numeric(algorithm, key).map_err(fail)?) } else { None };
        let owner = owners(key, hash)?;
        out.write_all(key).and_then(|()| writeln!(out, "\t{owner}")).map_err(Failure::Output)?;
    }
    Ok(())
}

type Owners = Box<dyn FnMut(&[u8], Option<KeyHash>) -> Result<String, Failure>>;

/// What prints the owners of a key, or of a hash in its place.
fn owners(options: &Options) -> Result<Owners, Failure> {
    if options.placing.algorithm == Algorithm::RedisSlot {
        return Ok(Box::new(|key, hash| {
            Ok(hash.map_or_else(|| redis_slot(key).to_string(), |KeyHash(slot)| slot.to_string()))
        }));
    }
    let Some(path) = &options.nodes else {
        return Err(Failure::Usage("--nodes is needed".into()));
    };
    let built = Built::new(&options.placing, input::nodes(path)?)?;
    if !options.zones.is_empty() {
        let wanted: Vec<_> = options.zones.iter().map(|(zone, count)| (zone.as_str(), *count)).collect();
        let zones: ZoneReplicas<std::sync::Arc<dyn Placement>> = ZoneReplicas::new(built.into_shared(), wanted)?;
        return Ok(Box::new(move |key, hash| {
            let hash = hash.unwrap_or_else(|| zones.placement().hash(key));
            Ok(zones.replicas_of(hash).map(Node::name).collect::<Vec<_>>().join(","))
        }));
    }
    let (wanted, nodes) = (options.replicas, built.placement().nodes().len());
    if wanted > nodes {
        return Err(ReplicaError::TooFewNodes { wanted, nodes }.into());
    }
    let mut indexes = vec![NodeIndex::default(); wanted];
    Ok(Box::new(move |key, hash| {
        let placement = built.placement();
        placement.fill_replicas(hash.unwrap_or_else(|| placement.hash(key)), &mut indexes)?;
        let names: Vec<_> = indexes.iter().map(|&index| placement.nodes().node(index).name()).collect();
        Ok(names.join(","))
    }))
}

fn zone(text: &str) -> Result<(String, usize), String> {
    let (zone, count) = text.split_once('=').ok_or("wanted is ZONE=N")?;
    let count = count.parse().map_err(|_| format!("{count:?} is not a number of replicas"))?;
    Ok((zone.into(), count))
}
