//! `ring balance`.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use quorate_consistent_hash::{KeyHash, Placement};

use crate::algorithm::Built;
use crate::error::Failure;
use crate::{Placing, Sampling, sample};

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    placing: Placing,

    /// The nodes, one a line: `name [weight [zone [rack]]]`.
    #[arg(long, value_name = "FILE")]
    nodes: Option<PathBuf>,

    #[command(flatten)]
    sampling: Sampling,
}

/// The share of one node in a sample.
pub(crate) struct Load {
    pub(crate) name: String,
    pub(crate) weight: f64,
    pub(crate) keys: u64,
    /// The number of keys that it would hold by its weight.
    pub(crate) fair: f64,
}

impl Load {
    /// The load divided by the fair load: one if it is fair.
    pub(crate) fn relative(&self) -> f64 {
        ratio(self.keys) / self.fair
    }
}

pub(crate) fn run(options: &Options, out: &mut dyn Write) -> Result<(), Failure> {
    let built = Built::asked(&options.placing, options.nodes.as_deref())?;
    let placement = built.placement();
    let hashes = sample::hashes(&options.sampling, &built)?;
    if hashes.is_empty() {
        return Err(Failure::Usage("there are no keys to measure on".into()));
    }
    print(&loads(placement, &hashes), out).map_err(Failure::Output)
}

pub(crate) fn loads(placement: &dyn Placement, hashes: &[KeyHash]) -> Vec<Load> {
    let mut counts = vec![0_u64; placement.nodes().capacity()];
    for &hash in hashes {
        counts[placement.owner_of(hash).get()] += 1;
    }
    let weight_of = |node: &quorate_consistent_hash::Node| node.weight().as_f64();
    let total: f64 = placement.nodes().iter().map(|(_, node)| weight_of(node)).sum();
    let load = |(index, node): (quorate_consistent_hash::NodeIndex, &quorate_consistent_hash::Node)| Load {
        name: node.name().into(),
        weight: weight_of(node),
        keys: counts[index.get()],
        fair: ratio(hashes.len() as u64) * weight_of(node) / total,
    };
    placement.nodes().iter().map(load).collect()
}

fn print(loads: &[Load], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "node\tweight\tkeys\tshare\tload/fair")?;
    let keys: u64 = loads.iter().map(|load| load.keys).sum();
    for load in loads {
        let share = 100.0 * ratio(load.keys) / ratio(keys);
        writeln!(out, "{}\t{}\t{}\t{share:.3}%\t{:.4}", load.name, load.weight, load.keys, load.relative())?;
    }
    let relative = || loads.iter().map(Load::relative);
    let count = ratio(loads.len() as u64);
    let deviation = (relative().map(|load| (load - 1.0).powi(2)).sum::<f64>() / count).sqrt();
    let (least, most) = (relative().fold(f64::INFINITY, f64::min), relative().fold(0.0, f64::max));
    writeln!(out, "\n{keys} keys: peak/mean {most:.4}, least/mean {least:.4}, deviation {deviation:.4}")
}

/// A count as a number to divide by; counts here are far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "said above")]
pub(crate) fn ratio(count: u64) -> f64 {
    count as f64
}
