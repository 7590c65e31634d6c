//! Compares the log with a bare loop of `write` and `fdatasync` and with raft-engine, on one disk in one run. The
//! contenders take turns, which are short so that the load of other processes affects all alike.
//!
//! ```text
//! cargo run --release -p compare-wal -- --seconds 30
//! ```

mod engine;
mod ours;
mod raw;
mod score;

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;

use crate::engine::RaftEngine;
use crate::ours::Ours;
use crate::raw::Raw;
use crate::score::Score;

type Failure = Box<dyn std::error::Error>;

/// Compares logs: entries of 256 bytes, each durable before the next is written.
#[derive(Debug, Parser)]
struct Arguments {
    /// The folder for the logs.
    #[arg(long, default_value = ".")]
    directory: PathBuf,
    /// Seconds of the whole measurement.
    #[arg(long, default_value_t = 30.0)]
    seconds: f64,
}

/// A log, as one or several writers use it.
trait Log: Sync {
    /// Appends entries for a writer, and returns when they are durable.
    fn append(&self, writer: usize, entries: usize) -> Result<(), Failure>;
}

/// One line of the table.
struct Contender {
    name: &'static str,
    log: Box<dyn Log>,
    writers: usize,
    entries: usize,
    score: Score,
    /// The line that its rate is compared with.
    limit: usize,
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir_in(&arguments.directory)?;
    let mut contenders = contenders(folder.path())?;
    println!("{ENTRY_BYTES}-byte entries, contenders in turns of {TURN:?} for {} s", arguments.seconds);
    let start = Instant::now();
    while start.elapsed().as_secs_f64() < arguments.seconds {
        for contender in &mut contenders {
            contender.run()?;
        }
    }
    println!("| log | writers | entries a sync | entries/s | p50 us | p99 us | to the raw loop |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for contender in &contenders {
        contender.print(&contenders[contender.limit].score);
    }
    Ok(())
}

fn contenders(folder: &Path) -> Result<Vec<Contender>, Failure> {
    let of =
        |name, log, writers, entries, limit| Contender { name, log, writers, entries, score: Score::default(), limit };
    Ok(vec![
        of("raw loop", Box::new(Raw::new(&folder.join("raw-1"))?), 1, 1, 0),
        of("quorate-wal, caller's thread", Box::new(Ours::inline(&folder.join("inline-1"))?), 1, 1, 0),
        of("quorate-wal, log thread", Box::new(Ours::thread(&folder.join("thread-1"), 1)?), 1, 1, 0),
        of("raft-engine", Box::new(RaftEngine::new(&folder.join("engine-1"), 1)?), 1, 1, 0),
        of("raw loop", Box::new(Raw::new(&folder.join("raw-64"))?), 1, 64, 4),
        of("quorate-wal, caller's thread", Box::new(Ours::inline(&folder.join("inline-64"))?), 1, 64, 4),
        of("quorate-wal, log thread", Box::new(Ours::thread(&folder.join("thread-64"), 1)?), 1, 64, 4),
        of("raft-engine", Box::new(RaftEngine::new(&folder.join("engine-64"), 1)?), 1, 64, 4),
        of("quorate-wal, log thread", Box::new(Ours::thread(&folder.join("threads"), 64)?), 64, 1, 4),
        of("raft-engine", Box::new(RaftEngine::new(&folder.join("engines"), 64)?), 64, 1, 4),
    ])
}

impl Contender {
    /// One turn.
    fn run(&mut self) -> Result<(), Failure> {
        let (start, log, entries) = (Instant::now(), &*self.log, self.entries);
        let mut waits = Vec::new();
        if self.writers == 1 {
            waits = write(log, 0, entries, start)?;
        } else {
            let writers = 0..self.writers;
            let written: Vec<_> = std::thread::scope(|scope| {
                let write =
                    |writer| scope.spawn(move || write(log, writer, entries, start).map_err(|error| error.to_string()));
                let running: Vec<_> = writers.map(write).collect();
                running.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
            });
            for written in written {
                waits.extend(written.map_err(|_| "a writer panicked")??);
            }
        }
        self.score.add(start.elapsed(), entries, waits);
        Ok(())
    }

    fn print(&self, limit: &Score) {
        let Self { name, writers, entries, score, .. } = self;
        let share = score.rate() / limit.rate();
        let (p50, p99) = (score.wait_us(0.5), score.wait_us(0.99));
        println!("| {name} | {writers} | {entries} | {:.0} | {p50:.0} | {p99:.0} | {share:.2} |", score.rate());
    }
}

/// One writer's turn: the time that it waited for each of its writes.
fn write(log: &dyn Log, writer: usize, entries: usize, start: Instant) -> Result<Vec<std::time::Duration>, Failure> {
    let mut waits = Vec::new();
    while start.elapsed() < TURN {
        let begun = Instant::now();
        log.append(writer, entries)?;
        waits.push(begun.elapsed());
    }
    Ok(waits)
}

const ENTRY_BYTES: usize = 256;
const TURN: std::time::Duration = std::time::Duration::from_millis(50);
/// A writer's log is compacted to half of this number of entries when it has twice as many.
const KEPT_ENTRIES: u64 = 8192;
