//! Files, and snapshots.

use std::fs;
use std::path::Path;

use quorate_consistent_hash::{
    Maglev, MaglevState, Memento, MementoState, Rendezvous, RendezvousState, Ring, RingState,
};
use quorate_kv::config::ClusterConfig;
use quorate_kv::rdb::{self, Limits, RdbFile};
use quorate_kv::store::Store;
use quorate_protocol::{ClusterId, Identity, Incarnation, NodeId};
use quorate_simulation::history::{History, SearchBudget};
use quorate_wal::disk::MemoryDisk;
use quorate_wal::{LogSettings, Wal};

pub(crate) fn snapshot(bytes: &[u8]) {
    if let Ok(store) = Store::restore(&mut &bytes[..]) {
        let _ = store.digest();
    }
}

pub(crate) fn rdb(bytes: &[u8]) {
    let Ok(mut file) = RdbFile::open(bytes, bytes.len() as u64, LIMITS) else { return };
    while let Ok(Some(_)) = file.next_part() {}
}

/// A value behind its checksum, or bytes that get one.
pub(crate) fn dump(bytes: &[u8]) {
    let _ = rdb::load(bytes, LIMITS);
    let _ = rdb::load_functions(bytes, LIMITS);
    let _ = rdb::value_of_dump(bytes);
    if let Ok(content) = rdb::load(&rdb::with_checksum(bytes.to_vec()), LIMITS)
        && let rdb::Content::Items(value) = content
    {
        let _ = rdb::dump_value(&value);
    }
}

pub(crate) fn cluster_toml(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(config) = ClusterConfig::parse(text, Path::new("cluster.toml"))
    {
        assert!(!config.nodes.is_empty());
    }
}

pub(crate) fn history(bytes: &[u8]) {
    if let Ok(history) = History::read(bytes) {
        let _ = history.judge(SearchBudget::of_steps(1_000));
    }
}

pub(crate) fn placement(bytes: &[u8]) {
    if let Ok(state) = serde_json::from_slice::<RingState>(bytes) {
        let _ = Ring::try_from(state);
    }
    if let Ok(state) = serde_json::from_slice::<MementoState>(bytes) {
        let _ = Memento::try_from(state);
    }
    if let Ok(state) = serde_json::from_slice::<RendezvousState>(bytes) {
        let _ = Rendezvous::try_from(state);
    }
    if let Ok(state) = serde_json::from_slice::<MaglevState>(bytes) {
        let _ = Maglev::try_from(state);
    }
}

/// The first byte names a file of a small log, and the next two a place in it, at which the rest stands.
pub(crate) fn wal(bytes: &[u8]) {
    let [file, low, high, rest @ ..] = bytes else { return };
    let disk = small_log();
    let paths = disk.paths();
    let Some(path) = paths.get(usize::from(*file) % paths.len().max(1)) else { return };
    let mut content = disk.content(path).unwrap_or_default();
    let at = usize::from(u16::from_le_bytes([*low, *high])).min(content.len());
    let end = (at + rest.len()).min(content.len());
    content.splice(at..end, rest.iter().copied());
    disk.replace(path, &content);
    if let Ok((wal, _)) = open(&disk) {
        drop(wal);
    }
}

pub(crate) fn small_log() -> MemoryDisk {
    let disk = MemoryDisk::new();
    drop(open(&disk).expect("a new log"));
    disk
}

fn open(disk: &MemoryDisk) -> Result<(Wal<MemoryDisk>, quorate_wal::OpeningReport), quorate_wal::OpenError> {
    let settings = LogSettings {
        segment_bytes: 64 << 10,
        batch_bytes_max: 32 << 10,
        pinned_bytes_max: 256 << 10,
        rewrite_bytes_max: 16 << 10,
        cut_bytes_max: 16 << 10,
        ..LogSettings::default()
    };
    let identity = Identity { cluster: ClusterId(1), node: NodeId(1), incarnation: Incarnation(1) };
    Wal::open(disk.clone(), settings, identity)
}

/// The files of a folder of a corpus.
pub fn corpus(folder: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.sort();
    paths.iter().filter_map(|path| fs::read(path).ok()).collect()
}

const LIMITS: Limits = Limits { text_bytes_max: 1 << 20, value_bytes_max: 1 << 22 };
