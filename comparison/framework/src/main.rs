//! The cost of the framework alone: three nodes in one process, their logs in memory, frames passed in memory. The
//! other side is openraft, with a store and a network as small as its interfaces allow. Both apply commands of the same
//! size and take turns in one run.
//!
//! ```text
//! cargo run --release -p compare-framework -- --rounds 3
//! ```

mod openraft_nodes;
mod ours;

use std::time::Duration;

use bytes::Bytes;
use clap::Parser;

type Failure = Box<dyn std::error::Error>;

/// Compares three nodes in one process with openraft.
#[derive(Debug, Parser)]
struct Arguments {
    /// How often each measurement is repeated; the median is reported.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Concurrent clients, one command in flight each.
    #[arg(long, value_delimiter = ',', default_value = "1,64,256,4096")]
    clients: Vec<usize>,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Bytes of each command.
    #[arg(long, default_value_t = 256)]
    command_bytes: usize,
    /// A file system in memory, for the logs of this project.
    #[arg(long, default_value = "/dev/shm")]
    memory: std::path::PathBuf,
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let command = Bytes::from(vec![7; arguments.command_bytes]);
    let duration = Duration::from_secs_f64(arguments.seconds);
    println!("commands a second, {}-byte commands, medians of {}", arguments.command_bytes, arguments.rounds);
    println!("| clients | quorate | openraft | ratio |");
    println!("| --- | --- | --- | --- |");
    for &clients in &arguments.clients {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..arguments.rounds {
            ours.push(ours::measure(&arguments.memory, clients, duration, &command)?);
            theirs.push(openraft_nodes::measure(clients, duration, &command)?);
        }
        let (ours, theirs) = (median(ours), median(theirs));
        println!("| {clients} | {ours:.0} | {theirs:.0} | {:.2} |", ours / theirs);
    }
    Ok(())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
