//! `ring move`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use quorate_consistent_hash::{KeyHash, MovementPlan, Placement, PlanError};

use crate::algorithm::{Algorithm, Built};
use crate::balance::ratio;
use crate::config::Format;
use crate::error::Failure;
use crate::{Placing, Sampling, input, sample};

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    placing: Placing,

    #[command(flatten)]
    before: Before,

    #[command(flatten)]
    after: After,

    /// Plans for sets of this number of replicas (algorithms with tokens).
    #[arg(long, default_value_t = 1)]
    replicas: usize,

    #[command(flatten)]
    sampling: Sampling,
}

/// The placement before.
#[derive(Debug, Args)]
struct Before {
    /// The nodes before.
    #[arg(long, value_name = "FILE", required_unless_present = "from_config")]
    from: Option<PathBuf>,

    /// The algorithm before; `--algorithm` unless given.
    #[arg(long, value_enum, value_name = "ALGORITHM")]
    from_system: Option<Algorithm>,

    /// The configuration before, in place of nodes and algorithm.
    #[arg(long, value_name = "FILE", requires = "from_format", conflicts_with_all = ["from", "from_system"])]
    from_config: Option<PathBuf>,

    /// The program of the configuration before.
    #[arg(long, value_enum, value_name = "FORMAT", requires = "from_config")]
    from_format: Option<Format>,

    /// The pool, backend or upstream of the configuration before, if there are several.
    #[arg(long, value_name = "NAME", requires = "from_config")]
    from_section: Option<String>,
}

/// The placement after.
#[derive(Debug, Args)]
struct After {
    /// The nodes after.
    #[arg(long, value_name = "FILE", required_unless_present = "to_config")]
    to: Option<PathBuf>,

    /// The algorithm after; `--algorithm` unless given.
    #[arg(long, value_enum, value_name = "ALGORITHM")]
    to_system: Option<Algorithm>,

    /// The configuration after, in place of nodes and algorithm.
    #[arg(long, value_name = "FILE", requires = "to_format", conflicts_with_all = ["to", "to_system"])]
    to_config: Option<PathBuf>,

    /// The program of the configuration after.
    #[arg(long, value_enum, value_name = "FORMAT", requires = "to_config")]
    to_format: Option<Format>,

    /// The pool, backend or upstream of the configuration after, if there are several.
    #[arg(long, value_name = "NAME", requires = "to_config")]
    to_section: Option<String>,
}

/// One side of a move.
enum Side<'a> {
    Listed(&'a Path, Algorithm),
    Configured(&'a Path, Format, Option<&'a str>),
}

impl<'a> Side<'a> {
    /// A configuration with its format, or else nodes and their algorithm.
    fn of(
        config: (Option<&'a PathBuf>, Option<Format>, Option<&'a str>),
        nodes: Option<&'a PathBuf>,
        system: Option<Algorithm>,
        placing: &Placing,
    ) -> Result<Self, Failure> {
        match (config, nodes) {
            ((Some(path), Some(format), section), _) => Ok(Self::Configured(path, format, section)),
            (_, Some(nodes)) => Ok(Self::Listed(nodes, system.map_or_else(|| placing.algorithm(), Ok)?)),
            _ => Err(Failure::Usage("nodes or a configuration are needed before and after".into())),
        }
    }

    fn build(&self, placing: &Placing) -> Result<Built, Failure> {
        match *self {
            Self::Listed(nodes, algorithm) => Built::new(placing, algorithm, input::nodes(nodes)?),
            Self::Configured(path, format, section) => placing.config.cluster.read(path, format, section),
        }
    }
}

pub(crate) fn run(options: &Options, out: &mut dyn Write) -> Result<(), Failure> {
    let Options { before, after, placing, .. } = options;
    if placing.config.config.is_some() {
        return Err(Failure::Usage("--config is for one placement: --from-config and --to-config are for two".into()));
    }
    let config = (before.from_config.as_ref(), before.from_format, before.from_section.as_deref());
    let from = Side::of(config, before.from.as_ref(), before.from_system, placing)?;
    let config = (after.to_config.as_ref(), after.to_format, after.to_section.as_deref());
    let to = Side::of(config, after.to.as_ref(), after.to_system, placing)?;
    let before = from.build(placing)?;
    let (after, same) = match (from, to) {
        // A system on other nodes may depend on the nodes before.
        (Side::Listed(_, from), Side::Listed(nodes, to)) => {
            (before.changed(placing, to, input::nodes(nodes)?)?, from == to)
        }
        (_, to) => (to.build(placing)?, false),
    };
    if options.sampling.keys.is_none() {
        match plan(&before, &after, options.replicas) {
            // Two systems that hash keys differently have no ranges in common.
            Ok(None) | Err(PlanError::DifferentHashes) => {}
            Ok(Some(plan)) => return print_plan(&plan, options.replicas, out).map_err(Failure::Output),
            Err(error) => return Err(error.into()),
        }
    }
    if options.replicas != 1 {
        return Err(Failure::Usage(
            "there is no plan of ranges between these, and --replicas is for those that have one".into(),
        ));
    }
    let hashes = hashes(options, &before, &after, same)?;
    if hashes.is_empty() {
        return Err(Failure::Usage("there are no keys to measure on".into()));
    }
    let flows = Flows::of(before.placement(), after.placement(), hashes.into_iter());
    flows.print(out).map_err(Failure::Output)
}

/// Each key as it is hashed before and after.
fn hashes(options: &Options, before: &Built, after: &Built, same: bool) -> Result<Vec<(KeyHash, KeyHash)>, Failure> {
    if same {
        return Ok(sample::hashes(&options.sampling, before)?.into_iter().map(|hash| (hash, hash)).collect());
    }
    if options.sampling.numeric {
        return Err(Failure::Usage(
            "two systems hash a key differently, so that --numeric says nothing of both".into(),
        ));
    }
    let keys = sample::keys(&options.sampling)?;
    Ok(keys.iter().map(|key| (before.placement().hash(key), after.placement().hash(key))).collect())
}

fn plan(before: &Built, after: &Built, replicas: usize) -> Result<Option<MovementPlan>, PlanError> {
    match (before, after) {
        (Built::Ring(before), Built::Ring(after)) => MovementPlan::new(before, after, replicas),
        (Built::Ring(before), Built::Compat(after)) => MovementPlan::new(before, after, replicas),
        (Built::Compat(before), Built::Ring(after)) => MovementPlan::new(before, after, replicas),
        (Built::Compat(before), Built::Compat(after)) => MovementPlan::new(before, after, replicas),
        _ => return Ok(None),
    }
    .map(Some)
}

fn print_plan(plan: &MovementPlan, replicas: usize, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "after\tup to\tfrom\tto")?;
    for movement in plan.movements() {
        let (range, from, to) = (movement.range, movement.from.name(), movement.to.name());
        writeln!(out, "{:016x}\t{:016x}\t{from}\t{to}", range.after.0, range.up_to.0)?;
    }
    writeln!(out)?;
    let share = |hashes: u128| share(hashes, replicas);
    summary(&format!("{} ranges", plan.len()), share(plan.moved()), share(plan.minimum()), out)
}

#[expect(clippy::cast_precision_loss, reason = "a share is printed with a few digits")]
fn share(hashes: u128, replicas: usize) -> f64 {
    hashes as f64 / 2_f64.powi(64) / replicas as f64
}

fn summary(what: &str, moved: f64, minimum: f64, out: &mut dyn Write) -> io::Result<()> {
    let (moved, minimum) = (100.0 * moved, 100.0 * minimum);
    write!(out, "{what}: moved {moved:.4} %, minimum {minimum:.4} %")?;
    if minimum > 0.0 { writeln!(out, ", moved/minimum {:.4}", moved / minimum) } else { writeln!(out) }
}

/// The movement of a sample of keys between two placements.
pub(crate) struct Flows {
    pub(crate) keys: u64,
    /// Number of keys by old and new owner, if those differ.
    pub(crate) moved: BTreeMap<(String, String), u64>,
    /// The sum over all nodes of the keys that they hold more than before.
    pub(crate) minimum: u64,
    /// Number of keys of each node before and after.
    held: BTreeMap<String, (u64, u64)>,
}

impl Flows {
    pub(crate) fn of(
        before: &dyn Placement,
        after: &dyn Placement,
        hashes: impl Iterator<Item = (KeyHash, KeyHash)>,
    ) -> Self {
        let mut moved = BTreeMap::new();
        let mut change: BTreeMap<String, i64> = BTreeMap::new();
        let mut keys = 0;
        let mut held: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for (hash_before, hash_after) in hashes {
            keys += 1;
            let from = before.nodes().node(before.owner_of(hash_before)).name();
            let to = after.nodes().node(after.owner_of(hash_after)).name();
            held.entry(from.to_owned()).or_default().0 += 1;
            held.entry(to.to_owned()).or_default().1 += 1;
            if from != to {
                *moved.entry((from.to_owned(), to.to_owned())).or_default() += 1;
                *change.entry(from.to_owned()).or_default() -= 1;
                *change.entry(to.to_owned()).or_default() += 1;
            }
        }
        let minimum = change.values().filter_map(|&change| u64::try_from(change).ok()).sum();
        Self { keys, moved, minimum, held }
    }

    pub(crate) fn moved_share(&self) -> f64 {
        ratio(self.moved.values().sum()) / ratio(self.keys)
    }

    pub(crate) fn minimum_share(&self) -> f64 {
        ratio(self.minimum) / ratio(self.keys)
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "from\tto\tkeys\tshare")?;
        for ((from, to), &keys) in &self.moved {
            writeln!(out, "{from}\t{to}\t{keys}\t{:.4}%", 100.0 * ratio(keys) / ratio(self.keys))?;
        }
        writeln!(out, "\nnode\tbefore\tafter\tgoes\tcomes")?;
        for (name, (before, after)) in &self.held {
            let sum = |of: &dyn Fn(&(String, String)) -> bool| -> u64 {
                self.moved.iter().filter(|(pair, _)| of(pair)).map(|(_, keys)| keys).sum()
            };
            let (goes, comes) = (sum(&|(from, _)| from == name), sum(&|(_, to)| to == name));
            writeln!(out, "{name}\t{before}\t{after}\t{goes}\t{comes}")?;
        }
        writeln!(out)?;
        summary(&format!("{} keys", self.keys), self.moved_share(), self.minimum_share(), out)?;
        let peak = |side: &dyn Fn(&(u64, u64)) -> u64| {
            let loads = self.held.values().map(side).filter(|&keys| keys > 0);
            let (most, nodes) = loads.fold((0, 0), |(most, nodes), keys| (most.max(keys), nodes + 1));
            ratio(most) * ratio(nodes) / ratio(self.keys)
        };
        writeln!(out, "peak/mean {:.4} before, {:.4} after", peak(&|held| held.0), peak(&|held| held.1))
    }
}
