//! How the log compares with a bare loop of `write` and `fdatasync` on the same disk, measured in turn in one run.
//!
//! `cargo bench -p quorate-wal --bench append -- [directory] [seconds a measurement]`. Absolute figures say little: look at
//! the ratios.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_protocol::{
    ClusterId, Entry, EntryKind, Identity, Incarnation, LogIndex, LogTime, NodeId, Operation, Term, Ticket,
};
use quorate_wal::disk::RealDisk;
use quorate_wal::{LogThread, Settings, StreamId, ThreadSettings, Wal};

const ENTRY_BYTES: usize = 256;
/// Contenders take turns this short, so that a neighbour's load hits all alike.
const TURN: Duration = Duration::from_millis(100);

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let directory = arguments.next().unwrap_or_else(|| ".".to_owned());
    let seconds: f64 = arguments.next().map_or(Ok(4.0), |seconds| seconds.parse())?;
    let turns = (Duration::from_secs_f64(seconds).as_millis() / TURN.as_millis()).max(1);
    let folder = tempfile::tempdir_in(directory)?;
    let path = folder.path();
    let mut raw_one = Raw::new(path, 1)?;
    let mut raw_many = Raw::new(path, 64)?;
    let mut one = Inline::new(&path.join("one"), 1)?;
    let mut many = Inline::new(&path.join("many"), 64)?;
    let mut writers = Score::default();
    let mut thread_one = Score::default();
    println!("{ENTRY_BYTES}-byte entries, {seconds} s each in turns of {} ms", TURN.as_millis());
    for turn in 0..turns {
        raw_one.run()?;
        one.run()?;
        raw_many.run()?;
        many.run()?;
        threads(&path.join(format!("one-{turn}")), 1, &mut thread_one)?;
        threads(&path.join(format!("many-{turn}")), 64, &mut writers)?;
    }
    let (limit_one, limit_many) = (raw_one.score.rate(), raw_many.score.rate());
    raw_one.score.print("raw loop, 1 an fdatasync", limit_one);
    one.score.print("log, 1 an fdatasync", limit_one);
    thread_one.print("log thread, 1 writer", limit_one);
    raw_many.score.print("raw loop, 64 an fdatasync", limit_many);
    many.score.print("log, 64 an fdatasync", limit_many);
    writers.print("log thread, 64 writers", limit_one);
    Ok(())
}

/// What was written in how much time.
#[derive(Default)]
struct Score {
    entries: u64,
    syncs: u64,
    taken: Duration,
}

impl Score {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn rate(&self) -> f64 {
        self.entries as f64 / self.taken.as_secs_f64()
    }

    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    fn print(&self, what: &str, limit: f64) {
        let (rate, syncs) = (self.rate(), self.syncs as f64 / self.entries as f64);
        println!("{what:<26} {rate:>9.0} entries/s {:>8.2} of the raw loop {syncs:>8.4} syncs an entry", rate / limit);
    }
}

/// The bare loop, on a file of zeros.
struct Raw {
    file: std::fs::File,
    content: Vec<u8>,
    batch: u64,
    offset: u64,
    score: Score,
}

impl Raw {
    fn new(folder: &Path, batch: u64) -> Result<Self, Failure> {
        let file = std::fs::File::create(folder.join(format!("raw-{batch}")))?;
        for at in (0..FILE_BYTES).step_by(1 << 20) {
            file.write_all_at(&vec![0; 1 << 20], at)?;
        }
        file.sync_all()?;
        let content = vec![7; ENTRY_BYTES * usize::try_from(batch)?];
        Ok(Self { file, content, batch, offset: 0, score: Score::default() })
    }

    fn run(&mut self) -> Result<(), Failure> {
        let start = Instant::now();
        while start.elapsed() < TURN {
            if self.offset + self.content.len() as u64 > FILE_BYTES {
                self.offset = 0;
            }
            self.file.write_all_at(&self.content, self.offset)?;
            self.file.sync_data()?;
            self.offset += self.content.len() as u64;
            self.score.entries += self.batch;
            self.score.syncs += 1;
        }
        self.score.taken += start.elapsed();
        Ok(())
    }
}

/// The log on the caller's thread. It compacts as it goes, so that segments are recycled as they are in service.
struct Inline {
    wal: Wal<RealDisk>,
    batch: u64,
    next: u64,
    score: Score,
}

impl Inline {
    fn new(folder: &Path, batch: u64) -> Result<Self, Failure> {
        Ok(Self { wal: open(folder)?, batch, next: 1, score: Score::default() })
    }

    fn run(&mut self) -> Result<(), Failure> {
        let stream = StreamId(1);
        let start = Instant::now();
        while start.elapsed() < TURN {
            let entries = vec![entry(); usize::try_from(self.batch)?];
            let append = Operation::Append { index: LogIndex(self.next), term: Term(1), entries };
            self.wal.write(&[(stream, vec![append])])?;
            self.score.syncs += self.wal.sync()?;
            self.wal.settle(true)?;
            self.next += self.batch;
            self.score.entries += self.batch;
            if self.next % COMPACT_EVERY < self.batch && self.next > COMPACT_EVERY {
                self.wal.write(&[(stream, vec![compact(self.next - COMPACT_EVERY / 2)])])?;
            }
        }
        self.score.taken += start.elapsed();
        Ok(())
    }
}

/// Writers that each wait for their entry before the next, on one log thread.
fn threads(folder: &Path, writers: u64, score: &mut Score) -> Result<(), Failure> {
    let wal = open(folder)?;
    let mut wakers = Vec::new();
    let mut wakes = Vec::new();
    for _ in 0..writers {
        let (waker, wake) = mpsc::channel::<()>();
        wakers.push(waker);
        wakes.push(wake);
    }
    let log = LogThread::spawn(wal, &ThreadSettings::default(), move |completions| {
        for write in completions.writes {
            let writer = usize::try_from(write.stream.0).unwrap_or(0);
            let _ = wakers[writer].send(());
        }
    })?;
    let start = Instant::now();
    let entry = entry();
    let count: u64 = std::thread::scope(|scope| {
        let running: Vec<_> = (0..writers)
            .zip(wakes)
            .map(|(writer, wake)| {
                let (log, entry) = (&log, entry.clone());
                scope.spawn(move || {
                    let mut next = 1;
                    while start.elapsed() < TURN {
                        let entries = vec![entry.clone()];
                        let append = Operation::Append { index: LogIndex(next), term: Term(1), entries };
                        let mut operations = vec![append];
                        if next.is_multiple_of(COMPACT_EVERY) {
                            operations.push(compact(next - COMPACT_EVERY / 2));
                        }
                        if log.submit(StreamId(writer), Ticket(next), operations).is_err() || wake.recv().is_err() {
                            break;
                        }
                        next += 1;
                    }
                    next - 1
                })
            })
            .collect();
        running.into_iter().map(|writer| writer.join().unwrap_or(0)).sum()
    });
    score.taken += start.elapsed();
    score.entries += count;
    score.syncs += log.metrics().log.syncs;
    log.close()?;
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

fn open(folder: &Path) -> Result<Wal<RealDisk>, Failure> {
    let identity = Identity { cluster: ClusterId(1), node: NodeId(1), incarnation: Incarnation(1) };
    Ok(Wal::open(RealDisk::new(folder)?, Settings::default(), identity)?.0)
}

fn entry() -> Entry {
    Entry::internal(EntryKind::Command, LogTime(1), Bytes::from(vec![7; ENTRY_BYTES]))
}

fn compact(index: u64) -> Operation {
    Operation::CompactTo { index: LogIndex(index), term: Term(1) }
}

const COMPACT_EVERY: u64 = 8192;
const FILE_BYTES: u64 = 32 << 20;
