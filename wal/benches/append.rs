//! Compares the log with a bare loop of `write` and `fdatasync` on the same disk. Both are measured in turn in one run.
//!
//! `cargo bench -p quorate-wal --bench append -- [directory] [seconds a measurement]`. Absolute figures mean little;
//! the ratios matter.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_protocol::{
    ClusterId, Entry, EntryKind, Identity, Incarnation, LogIndex, LogTime, NodeId, Operation, Term, Ticket,
};
use quorate_wal::disk::RealDisk;
use quorate_wal::{LogSettings, LogThread, StreamId, ThreadSettings, Wal};

const ENTRY_BYTES: usize = 256;
/// The contenders take turns, which are short so that the load of other processes affects all alike.
const SYNCS_A_TURN: u32 = 8;
/// Writers that wait for each other's syncs need a little longer.
const THREADS_TURN: Duration = Duration::from_millis(50);

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let directory = arguments.next().unwrap_or_else(|| ".".to_owned());
    let seconds: f64 = arguments.next().map_or(Ok(15.0), |seconds| seconds.parse())?;
    let folder = tempfile::tempdir_in(directory)?;
    let path = folder.path();
    let mut raw_one = Raw::new(path, 1)?;
    let mut raw_many = Raw::new(path, 64)?;
    let mut one = Inline::new(&path.join("one"), 1)?;
    let mut many = Inline::new(&path.join("many"), 64)?;
    let mut thread_one = Threads::new(&path.join("thread"), 1)?;
    let mut thread_many = Threads::new(&path.join("threads"), 64)?;
    println!("{ENTRY_BYTES}-byte entries, contenders in turns for {seconds} s");
    let start = Instant::now();
    while start.elapsed().as_secs_f64() < seconds {
        raw_one.run()?;
        one.run()?;
        raw_many.run()?;
        many.run()?;
        thread_one.run();
        thread_many.run();
    }
    raw_one.score.print("raw loop, 1 an fdatasync", &raw_one.score);
    one.score.print("log, 1 an fdatasync", &raw_one.score);
    thread_one.score.print("log thread, 1 writer", &raw_one.score);
    raw_many.score.print("raw loop, 64 an fdatasync", &raw_many.score);
    many.score.print("log, 64 an fdatasync", &raw_many.score);
    thread_many.score.print("log thread, 64 writers", &raw_many.score);
    thread_one.log.close()?;
    Ok(thread_many.log.close()?)
}

/// Amount written, and the time it took.
#[derive(Default)]
struct Score {
    entries: u64,
    syncs: u64,
    taken: Duration,
    /// Time from submitting an entry until it was durable, if measured for each entry.
    waits: Vec<Duration>,
}

impl Score {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn rate(&self) -> f64 {
        self.entries as f64 / self.taken.as_secs_f64()
    }

    fn p50(&self) -> f64 {
        let mut waits = self.waits.clone();
        waits.sort_unstable();
        waits.get(waits.len() / 2).map_or(f64::NAN, |wait| wait.as_secs_f64() * 1e6)
    }

    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    fn print(&self, what: &str, limit: &Self) {
        println!(
            "{what:<26} {:>9.0} entries/s, {:>6.2} of the raw loop; p50 {:>6.0} us, raw/log {:>5.2}; {:>7.4} syncs an entry",
            self.rate(),
            self.rate() / limit.rate(),
            self.p50(),
            limit.p50() / self.p50(),
            self.syncs as f64 / self.entries as f64,
        );
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
        for _ in 0..SYNCS_A_TURN {
            let begin = Instant::now();
            if self.offset + self.content.len() as u64 > FILE_BYTES {
                self.offset = 0;
            }
            self.file.write_all_at(&self.content, self.offset)?;
            self.file.sync_data()?;
            self.score.waits.push(begin.elapsed());
            self.offset += self.content.len() as u64;
            self.score.entries += self.batch;
            self.score.syncs += 1;
        }
        self.score.taken += start.elapsed();
        Ok(())
    }
}

/// The log on the caller's thread. It compacts regularly, so that segments are recycled as in service.
struct Inline {
    wal: Wal<RealDisk>,
    entry: Entry,
    batch: u64,
    next: u64,
    score: Score,
}

impl Inline {
    fn new(folder: &Path, batch: u64) -> Result<Self, Failure> {
        Ok(Self { wal: open(folder)?, entry: entry(), batch, next: 1, score: Score::default() })
    }

    fn run(&mut self) -> Result<(), Failure> {
        let stream = StreamId(1);
        let start = Instant::now();
        for _ in 0..SYNCS_A_TURN {
            let begin = Instant::now();
            let entries = vec![self.entry.clone(); usize::try_from(self.batch)?];
            let append = Operation::Append { index: LogIndex(self.next), term: Term(1), entries };
            self.wal.write(&[(stream, vec![append])])?;
            self.score.syncs += self.wal.sync()?;
            self.score.waits.push(begin.elapsed());
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
struct Threads {
    log: LogThread,
    /// For each writer the channel that wakes it, and its next index.
    writers: Vec<(mpsc::Receiver<()>, u64)>,
    score: Score,
}

impl Threads {
    fn new(folder: &Path, writers: usize) -> Result<Self, Failure> {
        let (wakers, wakes): (Vec<_>, Vec<_>) = (0..writers).map(|_| mpsc::channel::<()>()).unzip();
        let log = LogThread::spawn(open(folder)?, &ThreadSettings::default(), move |completions| {
            for write in completions.writes {
                let writer = usize::try_from(write.stream.0).unwrap_or(0);
                let _ = wakers[writer].send(());
            }
        })?;
        Ok(Self { log, writers: wakes.into_iter().map(|wake| (wake, 1)).collect(), score: Score::default() })
    }

    fn run(&mut self) {
        let syncs = self.log.metrics().log.syncs;
        let (start, log, entry) = (Instant::now(), &self.log, entry());
        let waits: Vec<Duration> = std::thread::scope(|scope| {
            let running: Vec<_> = (0..)
                .zip(&mut self.writers)
                .map(|(stream, writer)| {
                    let entry = entry.clone();
                    scope.spawn(move || write_alone(log, StreamId(stream), &entry, writer, start))
                })
                .collect();
            running.into_iter().flat_map(|writer| writer.join().unwrap_or_default()).collect()
        });
        self.score.taken += start.elapsed();
        self.score.entries += waits.len() as u64;
        self.score.waits.extend(waits);
        self.score.syncs += self.log.metrics().log.syncs - syncs;
    }
}

/// One writer's turn: the time it waited for each entry.
fn write_alone(
    log: &LogThread,
    stream: StreamId,
    entry: &Entry,
    (wake, next): &mut (mpsc::Receiver<()>, u64),
    start: Instant,
) -> Vec<Duration> {
    let mut waits = Vec::new();
    while start.elapsed() < THREADS_TURN {
        let begin = Instant::now();
        let entries = vec![entry.clone()];
        let mut operations = vec![Operation::Append { index: LogIndex(*next), term: Term(1), entries }];
        if next.is_multiple_of(COMPACT_EVERY) {
            operations.push(compact(*next - COMPACT_EVERY / 2));
        }
        if log.submit(stream, Ticket(*next), operations).is_err() || wake.recv().is_err() {
            break;
        }
        waits.push(begin.elapsed());
        *next += 1;
    }
    waits
}

fn open(folder: &Path) -> Result<Wal<RealDisk>, Failure> {
    let identity = Identity { cluster: ClusterId(1), node: NodeId(1), incarnation: Incarnation(1) };
    Ok(Wal::open(RealDisk::new(folder)?, LogSettings::default(), identity)?.0)
}

fn entry() -> Entry {
    Entry::internal(EntryKind::Command, LogTime(1), Bytes::from(vec![7; ENTRY_BYTES]))
}

fn compact(index: u64) -> Operation {
    Operation::CompactTo { index: LogIndex(index), term: Term(1) }
}

const COMPACT_EVERY: u64 = 8192;
const FILE_BYTES: u64 = 32 << 20;
