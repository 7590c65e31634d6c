//! The log of this project, on the caller's thread or on its own.

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use quorate_protocol::{
    ClusterId, Entry, EntryKind, Identity, Incarnation, LogIndex, LogTime, NodeId, Operation, Term, Ticket,
};
use quorate_wal::disk::RealDisk;
use quorate_wal::{LogSettings, LogThread, StreamId, ThreadSettings, Wal};

use crate::{ENTRY_BYTES, Failure, KEPT_ENTRIES, Log};

/// A log with one stream for each writer.
pub struct Ours {
    writers: Vec<Mutex<Writer>>,
    log: Kind,
}

enum Kind {
    Inline(Mutex<Wal<RealDisk>>),
    Thread(LogThread),
}

struct Writer {
    /// The last index.
    last: u64,
    entry: Entry,
    /// Wakes the writer when its entries are durable.
    durable: Receiver<bool>,
}

impl Ours {
    /// Makes a log on the caller's thread.
    pub fn inline(path: &Path) -> Result<Self, Failure> {
        let (_, durable) = channel();
        Ok(Self { writers: vec![writer(durable)], log: Kind::Inline(Mutex::new(open(path)?)) })
    }

    /// Makes a log on a thread of its own.
    pub fn thread(path: &Path, writers: usize) -> Result<Self, Failure> {
        let (wakers, wakes): (Vec<_>, Vec<_>) = (0..writers).map(|_| channel()).unzip();
        let log = LogThread::spawn(open(path)?, &ThreadSettings::default(), move |completions| {
            for write in completions.writes {
                let writer = usize::try_from(write.stream.0).unwrap_or(0);
                // A writer that has ended waits for nothing.
                let _ = wakers[writer].send(write.result.is_ok());
            }
        })?;
        Ok(Self { writers: wakes.into_iter().map(writer).collect(), log: Kind::Thread(log) })
    }
}

impl Log for Ours {
    fn append(&self, writer: usize, entries: usize) -> Result<(), Failure> {
        let stream = StreamId(writer as u64);
        let mut writer = self.writers[writer].lock().unwrap_or_else(PoisonError::into_inner);
        let operations = writer.operations(entries);
        match &self.log {
            Kind::Inline(wal) => {
                let mut wal = wal.lock().unwrap_or_else(PoisonError::into_inner);
                wal.write(&[(stream, operations)])?;
                wal.sync()?;
                Ok(wal.settle(false)?)
            }
            Kind::Thread(log) => {
                log.submit(stream, Ticket(writer.last), operations)?;
                if writer.durable.recv()? { Ok(()) } else { Err("a write failed".into()) }
            }
        }
    }
}

impl Writer {
    /// The next entries, and now and then a compaction, so that segments are used again as in service.
    fn operations(&mut self, entries: usize) -> Vec<Operation> {
        let first = LogIndex(self.last + 1);
        let before = self.last / KEPT_ENTRIES;
        self.last += entries as u64;
        let entries = vec![self.entry.clone(); entries];
        let mut operations = vec![Operation::Append { index: first, term: Term(1), entries }];
        if self.last / KEPT_ENTRIES > before && self.last > KEPT_ENTRIES {
            let index = LogIndex(self.last - KEPT_ENTRIES / 2);
            operations.push(Operation::CompactTo { index, term: Term(1) });
        }
        operations
    }
}

fn writer(durable: Receiver<bool>) -> Mutex<Writer> {
    let entry = Entry::internal(EntryKind::Command, LogTime(1), Bytes::from(vec![7; ENTRY_BYTES]));
    Mutex::new(Writer { last: 0, entry, durable })
}

fn open(path: &Path) -> Result<Wal<RealDisk>, Failure> {
    let identity = Identity { cluster: ClusterId(1), node: NodeId(1), incarnation: Incarnation(1) };
    Ok(Wal::open(RealDisk::new(path)?, LogSettings::default(), identity)?.0)
}
