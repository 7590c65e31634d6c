//! Measures a three-process `kv` cluster beside a three-process etcd cluster (and a single redis-server that syncs
//! every write), one after the other within each round, so that a change of the machine's speed falls on all of them.
//!
//! ```text
//! cargo build --release --bin kv && cd comparison && cargo run --release -p compare-kv -- --rounds 3
//! ```

mod cluster;
mod load;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::cluster::{Cluster, Kind};
use crate::load::{Figures, Operation};

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
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut clusters = Vec::new();
    for kind in &arguments.systems {
        let cluster = Cluster::start(*kind, &arguments.kv)?;
        runtime.block_on(cluster.wait_ready())?;
        clusters.push(cluster);
    }
    let mut rows = Vec::new();
    for &clients in &arguments.clients {
        for operation in [Operation::Put, Operation::Get] {
            let mut samples: Vec<Vec<Figures>> = clusters.iter().map(|_| Vec::new()).collect();
            for _ in 0..arguments.rounds {
                for (cluster, samples) in clusters.iter().zip(&mut samples) {
                    let duration = Duration::from_secs(arguments.seconds);
                    let figures = load::run(cluster, operation, clients, arguments.value_bytes, duration);
                    samples.push(runtime.block_on(figures)?);
                }
            }
            let medians = samples.into_iter().map(report::median).collect();
            rows.push(report::Row { clients, operation, medians });
            report::print_row(&arguments.systems, rows.last().expect("just pushed"));
        }
    }
    report::print_ratios(&arguments.systems, &rows);
    Ok(())
}
