//! Compares the transaction manager, with two resources that do nothing, with its log alone: with the same number of
//! writers that each wait for their entry to be durable. Both are measured in turn in one run.
//!
//! `cargo bench -p quorate-two-phase-commit --bench manager -- [directory] [seconds a measurement]`. Absolute figures
//! mean little; the ratios matter.
#![expect(clippy::disallowed_methods, reason = "a benchmark has a clock and threads")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use quorate_protocol::{
    ClusterId, Entry, EntryKind, Identity, Incarnation, LogIndex, LogTime, NodeId, Operation, Term, Ticket,
};
use quorate_two_phase_commit::manager::{
    BranchId, CommitEnd, Manager, ManagerId, Outcome, Resource, ResourceError, ResourceId, ResourceManager, RollBackEnd,
};
use quorate_two_phase_commit::{Decision, TransactionNumber, Vote};
use quorate_wal::disk::RealDisk;
use quorate_wal::{LogSettings, LogThread, StreamId, ThreadSettings, Wal};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let directory = arguments.next().unwrap_or_else(|| ".".to_owned());
    let seconds: f64 = arguments.next().map_or(Ok(3.0), |seconds| seconds.parse())?;
    let syncs = Syncs::default();
    metrics::set_global_recorder(syncs.clone())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    println!("transactions over two resources that do nothing, beside the log alone; {seconds} s each");
    println!("at a time   transactions/s   appends/s   ratio   fsyncs a transaction   processor us of each");
    for writers in [1, 8, 64, 400] {
        let time = Duration::from_secs_f64(seconds);
        let folder = tempfile::tempdir_in(&directory)?;
        let began = processor_us();
        let appends = appends(&folder.path().join("log"), writers, time)?;
        let half = processor_us();
        let (commits, synced) = runtime.block_on(commits(&folder.path().join("manager"), writers, time, &syncs))?;
        let (of_append, of_commit) = ((half - began) / appends as f64, (processor_us() - half) / commits as f64);
        let (commits, appends) = (commits as f64 / seconds, appends as f64 / seconds);
        let ratio = commits / appends;
        let fsyncs = synced / (commits * seconds);
        print!("{writers:>9}   {commits:>14.0}   {appends:>9.0}   {ratio:>5.2}   {fsyncs:>20.3}   ");
        println!("{of_commit:>8.1} {of_append:>8.1}");
    }
    Ok(())
}

/// Processor time that this process has used, in microseconds, to a hundredth of a second. Unlike the other figures it
/// hardly depends on what else the machine does.
fn processor_us() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let times = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    times.map(|ticks| ticks.parse::<f64>().unwrap_or_default() * 1e4).sum()
}

/// A resource that is always ready and does nothing.
struct Nothing;

#[async_trait]
impl ResourceManager for Nothing {
    async fn prepare(&self, _: BranchId) -> Result<Vote, ResourceError> {
        Ok(Vote::Yes)
    }

    async fn commit(&self, _: BranchId) -> Result<CommitEnd, ResourceError> {
        Ok(CommitEnd::Committed)
    }

    async fn commit_one_phase(&self, _: BranchId) -> Result<Decision, ResourceError> {
        Ok(Decision::Commit)
    }

    async fn roll_back(&self, _: BranchId) -> Result<RollBackEnd, ResourceError> {
        Ok(RollBackEnd::RolledBack)
    }

    async fn recover(&self, _: ManagerId, _: ResourceId) -> Result<BTreeSet<BranchId>, ResourceError> {
        Ok(BTreeSet::new())
    }

    async fn forget(
        &self,
        _: ManagerId,
        _: ResourceId,
        _: TransactionNumber,
        _: &BTreeSet<TransactionNumber>,
    ) -> Result<(), ResourceError> {
        Ok(())
    }
}

/// Transactions that were committed in this time, and fsyncs of the log meanwhile.
async fn commits(folder: &Path, writers: u64, time: Duration, syncs: &Syncs) -> Result<(u64, f64), Failure> {
    let resources = [Resource::new("first", Nothing), Resource::new("second", Nothing)];
    // A node counts its syncs from its start.
    syncs.clear();
    let manager = Manager::builder("bench", folder).resource(&resources[0]).resource(&resources[1]).open().await?;
    let before = syncs.published().await;
    let end = Instant::now() + time;
    let running: Vec<_> = (0..writers)
        .map(|_| {
            let (manager, resources) = (manager.clone(), resources.clone());
            tokio::spawn(async move { commit_until(&manager, &resources, end).await })
        })
        .collect();
    let mut committed = 0;
    for writer in running {
        committed += writer.await??;
    }
    let synced = syncs.published().await - before;
    manager.close().await;
    Ok((committed, synced as f64))
}

async fn commit_until(manager: &Manager, resources: &[Resource<Nothing>; 2], end: Instant) -> Result<u64, Failure> {
    let mut committed = 0;
    while Instant::now() < end {
        let transaction = manager.begin().await?;
        for resource in resources {
            transaction.branch(resource)?;
        }
        match transaction.commit().await {
            Outcome::Committed => committed += 1,
            other => return Err(format!("not committed: {other:?}").into()),
        }
    }
    Ok(committed)
}

/// Entries that were appended in this time by writers that wait for each of theirs.
fn appends(folder: &Path, writers: u64, time: Duration) -> Result<u64, Failure> {
    let identity = Identity { cluster: ClusterId(1), node: NodeId(1), incarnation: Incarnation(1) };
    let log = Wal::open(RealDisk::new(folder)?, LogSettings::default(), identity)?.0;
    let (wakers, wakes): (Vec<_>, Vec<_>) = (0..writers).map(|_| mpsc::channel::<()>()).unzip();
    let log = LogThread::spawn(log, &ThreadSettings::default(), move |completions| {
        for write in completions.writes {
            let writer = usize::try_from(write.stream.0).unwrap_or(0);
            let _ = wakers[writer].send(());
        }
    })?;
    let end = Instant::now() + time;
    let appended = std::thread::scope(|scope| {
        let log = &log;
        let running: Vec<_> =
            (0..).zip(wakes).map(|(stream, wake)| scope.spawn(move || append_until(log, stream, &wake, end))).collect();
        running.into_iter().map(|writer| writer.join().unwrap_or_default()).sum()
    });
    log.close()?;
    Ok(appended)
}

fn append_until(log: &LogThread, stream: u64, wake: &mpsc::Receiver<()>, end: Instant) -> u64 {
    let mut index = 0;
    while Instant::now() < end {
        index += 1;
        // About as long as the record of a decision.
        let entries = vec![Entry::internal(EntryKind::Command, LogTime(1), Bytes::from_static(&[7; 48]))];
        let append = Operation::Append { index: LogIndex(index), term: Term(1), entries };
        if log.submit(StreamId(stream), Ticket(index), vec![append]).is_err() || wake.recv().is_err() {
            break;
        }
    }
    index
}

/// Counts the syncs that the node publishes, once a second.
#[derive(Clone, Default)]
struct Syncs {
    counters: Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>,
}

impl Syncs {
    fn clear(&self) {
        self.counters.lock().expect("no thread panics with it").clear();
    }

    /// The count, once everything up to now is published.
    async fn published(&self) -> u64 {
        tokio::time::sleep(Duration::from_millis(2_100)).await;
        let counters = self.counters.lock().expect("no thread panics with it");
        counters.get("quorate_log_syncs_total").map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}

impl Recorder for Syncs {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut counters = self.counters.lock().expect("no thread panics with it");
        Counter::from_arc(counters.entry(key.name().to_owned()).or_default().clone())
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
