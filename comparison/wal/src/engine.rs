//! raft-engine, which TiKV uses: one region for each writer.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use protobuf::well_known_types::BytesValue;
use raft_engine::env::DefaultFileSystem;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use crate::{ENTRY_BYTES, Failure, KEPT_ENTRIES, Log};

/// An engine, and the last index of each region.
pub struct RaftEngine {
    engine: Engine<DefaultFileSystem>,
    last: Vec<AtomicU64>,
}

/// Entries whose first eight bytes are their index.
struct Indexed;

impl MessageExt for Indexed {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        entry.value.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

impl RaftEngine {
    /// Makes an engine with files as large as our segments, used again, and without compression.
    pub fn new(path: &Path, regions: usize) -> Result<Self, Failure> {
        let config = Config {
            dir: path.to_str().ok_or("a path in Unicode")?.to_owned(),
            batch_compression_threshold: ReadableSize::kb(0),
            target_file_size: ReadableSize::mb(32),
            enable_log_recycle: true,
            prefill_for_recycle: true,
            purge_threshold: ReadableSize::mb(128),
            ..Config::default()
        };
        Ok(Self { engine: Engine::open(config)?, last: (0..regions).map(|_| AtomicU64::new(0)).collect() })
    }
}

impl Log for RaftEngine {
    fn append(&self, writer: usize, entries: usize) -> Result<(), Failure> {
        let region = writer as u64 + 1;
        let first = self.last[writer].fetch_add(entries as u64, Ordering::Relaxed) + 1;
        let last = first + entries as u64 - 1;
        let entry = |index: u64| {
            let mut value = vec![7; ENTRY_BYTES];
            value[..8].copy_from_slice(&index.to_le_bytes());
            BytesValue { value, ..BytesValue::default() }
        };
        let entries: Vec<BytesValue> = (first..=last).map(entry).collect();
        let mut batch = LogBatch::default();
        batch.add_entries::<Indexed>(region, &entries)?;
        self.engine.write(&mut batch, true)?;
        if last / KEPT_ENTRIES > (first - 1) / KEPT_ENTRIES && last > KEPT_ENTRIES {
            self.engine.compact_to(region, last - KEPT_ENTRIES / 2);
            self.engine.purge_expired_files()?;
        }
        Ok(())
    }
}
