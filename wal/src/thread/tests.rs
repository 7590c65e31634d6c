use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_protocol::{ClusterId, Identity, Incarnation, LogIndex, NodeId, Operation, Ticket};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::metrics::{SYNC_BUCKETS_US, ThreadMetrics};
use super::queue::Queue;
use super::scribe::{StreamWork, Submission};
use super::shared::Shared;
use super::writer::Writer;
use crate::disk::MemoryDisk;
use crate::settings::LogSettings;
use crate::stream_id::StreamId;
use crate::wal::Wal;

/// Collects warnings as text.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }

    fn event(&self, event: &Event<'_>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                write!(self.0, "{field}={value:?} ").expect("a string takes all");
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().expect("one thread").push(text.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Each reading of the clock is this number of microseconds after the one before, so each sync takes exactly that long.
fn run_with_syncs_of(micros: u64, slow_sync: Duration, submissions: u64) -> (ThreadMetrics, Vec<String>) {
    let identity = Identity { cluster: ClusterId(1), node: NodeId(1), incarnation: Incarnation(1) };
    let settings = LogSettings { segment_bytes: 64 << 10, batch_bytes_max: 32 << 10, ..LogSettings::default() };
    let (wal, _) = Wal::open(MemoryDisk::new(), settings, identity).expect("a new log");
    let metrics = Mutex::new(ThreadMetrics::default());
    let shared = Arc::new(Shared { writes: Queue::new(1 << 20), loads: Queue::new(1), metrics });
    let (start, readings) = (Instant::now(), AtomicU64::new(0));
    let clock = Box::new(move || {
        start + Duration::from_micros(micros) * u32::try_from(readings.fetch_add(1, Ordering::Relaxed)).expect("few")
    });
    let writer = Writer::new(wal, shared.clone(), Arc::new(|_| {}), slow_sync, clock);
    let bytes = Bytes::from_static(b"vote");
    for ticket in 1..=submissions {
        let operations = vec![Operation::PutState { bytes: bytes.clone(), commit_hint: LogIndex(0) }];
        let submission =
            Submission { stream: StreamId(ticket), ticket: Ticket(ticket), work: StreamWork::Write(operations) };
        shared.writes.push(submission, 1).expect("room");
    }
    shared.writes.close();
    let warnings = Warnings::default();
    tracing::subscriber::with_default(warnings.clone(), || writer.run()).expect("a disk that works");
    let metrics = *shared.metrics.lock().expect("one thread");
    let warnings = warnings.0.lock().expect("one thread").clone();
    (metrics, warnings)
}

#[test]
fn rule_27_a_slow_sync_is_counted_where_it_belongs_and_warned_of() {
    let (metrics, warnings) = run_with_syncs_of(1_500_000, Duration::from_secs(1), 1);
    assert_eq!((metrics.slow_syncs, metrics.sync_us), (1, 1_500_000));
    assert_eq!(metrics.sync_buckets[SYNC_BUCKETS_US.len()], 1);
    assert_eq!(warnings, ["message=a sync of the log was slow micros=1500000 "]);
}

#[test]
fn rule_27_an_ordinary_sync_is_counted_and_not_warned_of() {
    for (place, bound) in SYNC_BUCKETS_US.into_iter().enumerate() {
        let (metrics, warnings) = run_with_syncs_of(bound, Duration::from_secs(1), 1);
        assert_eq!((metrics.slow_syncs, warnings.len()), (0, 0));
        assert_eq!((metrics.sync_buckets[place], metrics.sync_buckets.iter().sum::<u64>()), (1, 1), "{bound}");
    }
}

/// Syncs for which a write had to wait count as well, since they delay as much.
#[test]
fn rule_27_beginning_a_segment_counts_as_a_sync() {
    let (metrics, warnings) = run_with_syncs_of(2_000_000, Duration::from_secs(1), 1000);
    assert!(metrics.log.rotations > 0);
    assert_eq!((metrics.sets, metrics.slow_syncs), (1, 2), "all of it was written at once");
    assert_eq!(warnings.len(), 2);
}
