//! Three cores in one loop: entries per second of processor time.

use std::fmt::Write;
use std::path::PathBuf;

use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};

use crate::{omni, ours, raft_rs};

/// How long to measure, and where the figures go.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How often each measurement is made. Within a round, all cores are measured in turn.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Entries of one measurement.
    #[arg(long, default_value_t = 300_000)]
    entries: u64,
    /// Entries that are proposed before the leader gives its next output.
    #[arg(long, value_delimiter = ',', default_value = "1,64,256")]
    batches: Vec<u64>,
    /// Bytes of each entry.
    #[arg(long, default_value_t = 256)]
    entry_bytes: usize,
    /// Entries after which the logs of the other crates are trimmed. As many of 256 bytes fit the caches of our cores.
    /// A log that is never trimmed costs a fault for each new page of its memory.
    #[arg(long, default_value_t = 3_000)]
    kept: usize,
    /// A file for the figures of each round, as comma-separated values.
    #[arg(long)]
    raw: Option<PathBuf>,
}

/// Three cores whose first one leads.
pub trait Cores {
    /// Proposes `number` entries to the leader at once, and lets the cores go on until there is nothing left to do.
    fn commit(&mut self, number: u64, payload: &Bytes);

    /// Number of entries that are committed, as the leader tells.
    fn committed(&self) -> u64;

    /// Trims the logs if they keep so many committed entries. Ours keep as many as fit their caches.
    fn trim(&mut self, kept: usize);
}

type Start = fn() -> Box<dyn Cores>;

/// Ours first: the others are compared with each of them.
const SUBJECTS: [(&str, Start); 4] = [
    ("quorate paxos", ours::paxos),
    ("quorate raft", ours::raft),
    ("omnipaxos", omni::cores),
    ("raft-rs", raft_rs::cores),
];
const OURS: usize = 2;

/// Measures, prints a table, and writes the figures of each round if that is asked for.
pub fn run(arguments: &Arguments) -> std::io::Result<()> {
    let payload = Bytes::from(vec![7; arguments.entry_bytes]);
    let mut raw = String::from("batch,round,subject,entries_per_second\n");
    println!(
        "Entries of {} bytes, millions per second of processor time: median of {} rounds.",
        arguments.entry_bytes, arguments.rounds
    );
    println!("In brackets the median of the ratios to the other crates, round by round.\n");
    println!("| batch | {} |", SUBJECTS.map(|(name, _)| name).join(" | "));
    println!("| ---: |{}", " --- |".repeat(SUBJECTS.len()));
    for &batch in &arguments.batches {
        let mut rates = vec![Vec::new(); SUBJECTS.len()];
        for round in 0..arguments.rounds {
            for ((name, start), rates) in SUBJECTS.iter().zip(&mut rates) {
                let rate = measure(start(), batch, arguments, &payload);
                let _ = writeln!(raw, "{batch},{round},{name},{rate:.0}");
                rates.push(rate);
            }
        }
        let cells = rates.iter().enumerate().map(|(subject, own)| {
            let mut cell = format!("{:.2}", median(own.clone()) / 1e6);
            for other in &rates[OURS..] {
                if subject < OURS {
                    let ratios = own.iter().zip(other).map(|(own, other)| own / other).collect();
                    let _ = write!(cell, " ({:.2}x)", median(ratios));
                }
            }
            cell
        });
        println!("| {batch} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
    arguments.raw.as_ref().map_or(Ok(()), |path| std::fs::write(path, raw))
}

fn measure(mut cores: Box<dyn Cores>, batch: u64, arguments: &Arguments, payload: &Bytes) -> f64 {
    let entries = arguments.entries;
    // The buffers have grown, and the caches hold this subject.
    for _ in 0..(entries / batch / 10).max(1) {
        cores.commit(batch, payload);
        cores.trim(arguments.kept);
    }
    let (before, began) = (cores.committed(), on_processor());
    for _ in 0..entries / batch {
        cores.commit(batch, payload);
        cores.trim(arguments.kept);
    }
    let nanoseconds = on_processor() - began;
    let entries = entries / batch * batch;
    assert_eq!(cores.committed() - before, entries, "all is committed");
    entries as f64 / nanoseconds * 1e9
}

/// Nanoseconds for which this thread was on a processor: other work of the machine affects them little.
fn on_processor() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
