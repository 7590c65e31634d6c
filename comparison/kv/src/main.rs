//! Measures a three-process `kv` cluster beside a three-process etcd cluster (and a single redis-server that syncs
//! every write), one after the other within each round, so that a change of the machine's speed falls on all of them.
//!
//! ```text
//! cargo build --release --bin kv && cd comparison && cargo run --release -p compare-kv -- --rounds 3
//! ```

mod cluster;
mod cost;
mod load;
mod record;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::cluster::{Cluster, Kind};
use crate::load::{Figures, Load, Operation};
use crate::record::Record;

/// What to measure.
#[derive(Debug, Parser)]
struct Arguments {
    /// How often each measurement is repeated; the median is reported.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Concurrent clients, one request in flight each.
    #[arg(long, value_delimiter = ',', default_value = "1,32,256")]
    clients: Vec<usize>,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Requests that a client sends at once, before it waits for their replies. More than one leaves etcd out.
    #[arg(long, default_value_t = 1)]
    pipeline: usize,
    /// What the clients do.
    #[arg(long, value_delimiter = ',', default_value = "put,get")]
    operations: Vec<Operation>,
    /// Prints what each thread spends for an operation.
    #[arg(long)]
    costs: bool,
    /// A file that keeps each sample as a line of JSON.
    #[arg(long)]
    raw: Option<PathBuf>,
    /// An option of `kv serve`, such as `--kv-option=--spin`. May be repeated.
    #[arg(long = "kv-option", allow_hyphen_values = true)]
    kv_options: Vec<String>,
    /// Bytes of each value.
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    /// The program to measure.
    #[arg(long, default_value = "../target/release/kv")]
    kv: PathBuf,
    /// Which systems, in this order.
    #[arg(long, value_delimiter = ',', default_value = "kv,etcd,redis")]
    systems: Vec<Kind>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = Arguments::parse();
    if arguments.pipeline > 1 {
        arguments.systems.retain(|kind| *kind != Kind::Etcd);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut clusters = Vec::new();
    for kind in &arguments.systems {
        let cluster = Cluster::start(*kind, &arguments.kv, &arguments.kv_options)?;
        runtime.block_on(cluster.wait_ready())?;
        clusters.push(cluster);
    }
    let mut record = arguments.raw.as_deref().map(Record::open).transpose()?;
    let mut rows = Vec::new();
    for &clients in &arguments.clients {
        for &operation in &arguments.operations {
            let Arguments { pipeline, value_bytes, seconds, .. } = arguments;
            let load = Load { operation, clients, pipeline, value_bytes, duration: Duration::from_secs(seconds) };
            let mut samples: Vec<Vec<Figures>> = clusters.iter().map(|_| Vec::new()).collect();
            for _ in 0..arguments.rounds {
                for (cluster, samples) in clusters.iter().zip(&mut samples) {
                    let figures = runtime.block_on(load::run(cluster, load))?;
                    if let Some(record) = &mut record {
                        record.add(cluster.kind, &load, &figures)?;
                    }
                    samples.push(figures);
                }
            }
            let medians = samples.into_iter().map(report::median).collect();
            rows.push(report::Row { clients, operation, medians });
            let row = rows.last().expect("just pushed");
            report::print_row(&arguments.systems, row);
            if arguments.costs {
                report::print_costs(&arguments.systems, row);
            }
        }
    }
    report::print_ratios(&arguments.systems, &rows);
    Ok(())
}
