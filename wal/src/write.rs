//! Writing: operations become batches, batches become durable.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use quorate_protocol::Operation;

use crate::cursor::Cursor;
use crate::disk::{Disk, DiskFile};
use crate::files::{is_full, segment_name};
use crate::format::{BatchBuilder, BatchView, RecordKind, SEGMENT_DATA_START, SegmentHeader, Witness};
use crate::index::Segment;
use crate::opening::take_note;
use crate::{Poisoned, Refusal, StreamId, Wal};

/// What became of the submissions of one [`Wal::write`]. Those not named were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The submissions that were refused, by their place in the call, ascending. The others were written.
    pub refused: Vec<(usize, Refusal)>,
}

impl<D: Disk> Wal<D> {
    /// Writes submissions, in this order: the operations of one all or not at all. They are readable at once, and
    /// durable after the next [`Wal::sync`]. Several submissions make one batch as long as they fit one. A stream
    /// begins to exist with its first submission.
    ///
    /// A submission that violates the log's rules, or that the disk has no room for, is refused alone: nothing of it is
    /// written.
    ///
    /// # Errors
    /// When the log failed, now or before. Nothing is known then of any submission since the last sync.
    pub fn write(&mut self, submissions: &[(StreamId, Vec<Operation>)]) -> Result<Written, Poisoned> {
        self.check_poison()?;
        let mut written = Written::default();
        let mut cursors = BTreeMap::new();
        let mut first_of_batch = 0;
        let mut needs_sync = false;
        self.builder.start();
        for (number, (stream, operations)) in submissions.iter().enumerate() {
            let before = self.builder.savepoint();
            let mut outcome = self.add(*stream, operations, &mut cursors);
            if outcome.is_ok() && self.builder.bytes_max() > self.settings.batch_bytes_max {
                self.builder.go_back(before);
                self.flush(first_of_batch..number, needs_sync, &mut written)?;
                cursors.clear();
                first_of_batch = number;
                needs_sync = false;
                self.builder.start();
                outcome = self.add(*stream, operations, &mut cursors);
                let bytes = self.builder.bytes_max();
                if outcome.is_ok() && bytes > self.settings.batch_bytes_max {
                    self.builder.start();
                    cursors.clear();
                    outcome = Err(Refusal::TooLarge { bytes });
                }
            }
            match outcome {
                Ok(()) => needs_sync |= operations.iter().any(must_sync),
                Err(refusal) => written.refused.push((number, refusal)),
            }
        }
        self.flush(first_of_batch..submissions.len(), needs_sync, &mut written)?;
        self.metrics.submissions += (submissions.len() - written.refused.len()) as u64;
        self.metrics.refused += written.refused.len() as u64;
        Ok(written)
    }

    /// Makes everything written durable, if anything written needs it, and says how many syncs that took: none or one.
    ///
    /// # Errors
    /// When the log failed, now or before. Nothing is known then of any submission since the last sync.
    pub fn sync(&mut self) -> Result<u64, Poisoned> {
        self.check_poison()?;
        if !self.head.needs_sync {
            return Ok(0);
        }
        self.sync_all().map(|()| 1)
    }

    /// Whether anything was written since the last sync that is not durable before the next.
    pub fn needs_sync(&self) -> bool {
        self.head.needs_sync
    }

    /// Makes everything written durable.
    pub(crate) fn sync_all(&mut self) -> Result<(), Poisoned> {
        self.check_poison()?;
        if self.head.is_dirty {
            self.head.file.sync_data().map_err(|error| self.poison("sync of the log", &error))?;
            self.metrics.syncs += 1;
        }
        self.head.is_dirty = false;
        self.head.needs_sync = false;
        self.head.durable_lsn = self.head.written_lsn;
        Ok(())
    }

    /// Adds a submission to the batch, if the stream's state allows all of it.
    fn add(
        &mut self,
        stream: StreamId,
        operations: &[Operation],
        cursors: &mut BTreeMap<StreamId, Cursor>,
    ) -> Result<(), Refusal> {
        // Nothing that cannot fit is put together first: it may be of any size.
        let bytes = content_bytes(operations);
        if bytes > self.settings.batch_bytes_max {
            return Err(Refusal::TooLarge { bytes });
        }
        {
            let index = self.index.read().expect("nobody panics while holding the index");
            let known = index.streams.get(&stream.0);
            let fresh = || Cursor::new(known, index.deleted.contains(stream.0));
            let mut cursor = cursors.get(&stream).cloned().unwrap_or_else(fresh);
            for operation in operations {
                cursor.check(known, operation)?;
            }
            cursors.insert(stream, cursor);
        }
        for operation in operations {
            encode(&mut self.builder, stream.0, operation);
        }
        Ok(())
    }

    /// Writes the batch, if there is anything in it; refuses its submissions where the disk has no room for it.
    fn flush(
        &mut self,
        submissions: std::ops::Range<usize>,
        needs_sync: bool,
        written: &mut Written,
    ) -> Result<(), Poisoned> {
        if self.builder.is_empty() {
            return Ok(());
        }
        if let Err(refusal) = self.make_room()? {
            for number in submissions {
                if let Err(place) = written.refused.binary_search_by_key(&number, |(number, _)| *number) {
                    written.refused.insert(place, (number, refusal));
                }
            }
            return Ok(());
        }
        self.write_batch(needs_sync)
    }

    /// Makes sure that the batch fits the segment, beginning another where it does not.
    pub(crate) fn make_room(&mut self) -> Result<Result<(), Refusal>, Poisoned> {
        if self.head.offset + self.builder.bytes_max() <= self.head.bytes {
            return Ok(Ok(()));
        }
        let spare = match self.spares.take() {
            Ok(spare) => spare,
            Err(error) if is_full(&error) => return Ok(Err(Refusal::DiskFull)),
            Err(error) => return Err(self.poison("making a segment", &error)),
        };
        self.rotate(&spare).map(Ok)
    }

    /// Writes the batch at the head, where it fits, and takes note of what is in it.
    pub(crate) fn write_batch(&mut self, needs_sync: bool) -> Result<(), Poisoned> {
        let (segment, offset) = (self.head.segment, self.head.offset);
        let witness =
            Witness { prev_durable: self.head.durable_lsn, checkpoint: self.checkpoints.durable_generation() };
        let sealed = self.builder.seal(segment, offset, self.head.next_lsn, self.head.chain, witness);
        let written = self.head.file.write_at(offset, self.builder.bytes());
        written.map_err(|error| self.poison("write to the log", &error))?;
        let bytes = self.builder.bytes().len() as u64;
        self.head.offset += bytes;
        self.head.chain = sealed.chain;
        self.head.written_lsn = sealed.last_lsn;
        self.head.next_lsn = sealed.last_lsn + 1;
        self.head.evident_lsn = self.head.durable_lsn;
        self.head.is_dirty = true;
        self.head.needs_sync |= needs_sync;
        self.metrics.batches += 1;
        self.metrics.bytes += bytes;
        let batch = BatchView::of_sealed(self.builder.bytes(), offset, sealed);
        let mut index = self.index.write().expect("nobody panics while holding the index");
        take_note(&mut index, &batch, segment, self.builder.used_bytes());
        Ok(())
    }

    /// Leaves proof in the log of what is durable, without a sync. The next batch is written over it, and bears the
    /// same proof.
    pub(crate) fn write_marker(&mut self) -> Result<(), Poisoned> {
        self.builder.start();
        let has_room = self.head.offset + self.builder.bytes_max() <= self.head.bytes;
        if !has_room || self.head.evident_lsn >= self.head.durable_lsn {
            return Ok(());
        }
        let head = &mut self.head;
        let witness = Witness { prev_durable: head.durable_lsn, checkpoint: self.checkpoints.durable_generation() };
        self.builder.seal(head.segment, head.offset, head.next_lsn, head.chain, witness);
        let written = head.file.write_at(head.offset, self.builder.bytes());
        head.evident_lsn = head.durable_lsn;
        written.map_err(|error| self.poison("write to the log", &error))
    }

    /// Goes on in another segment, which is durable with all that is needed to find it before anything is written to
    /// it. The old one is synced: what lies in it is not torn, whatever happens.
    fn rotate(&mut self, spare: &str) -> Result<(), Poisoned> {
        self.sync_all()?;
        let id = self.head.segment + 1;
        let file = self.begin_segment(spare, id).map_err(|error| self.poison("beginning a segment", &error))?;
        let file = Arc::new(file);
        let bytes = self.settings.segment_bytes;
        self.index_mut().segments.insert(id, Segment { file: file.clone(), bytes });
        self.head.segment = id;
        self.head.file = file;
        self.head.bytes = bytes;
        self.head.offset = SEGMENT_DATA_START;
        self.metrics.rotations += 1;
        self.write_checkpoint().map_err(|error| self.poison("write of the checkpoint", &error))
    }

    fn begin_segment(&self, spare: &str, id: u64) -> io::Result<D::File> {
        let header = SegmentHeader {
            identity: self.identity,
            id,
            first_lsn: self.head.next_lsn,
            bytes: self.settings.segment_bytes,
            chain: self.head.chain,
        };
        let file = self.files.disk.open(&self.files.path(spare))?;
        file.write_at(0, &header.encode())?;
        file.sync_all()?;
        self.files.rename(spare, &segment_name(id))?;
        self.files.sync_dir()?;
        Ok(file)
    }

    /// Writes the older copy of the checkpoint. Everything written must be durable.
    pub(crate) fn write_checkpoint(&mut self) -> io::Result<()> {
        assert!(!self.head.is_dirty, "a checkpoint holds only what is durable");
        let index = self.index.read().expect("nobody panics while holding the index");
        let oldest = index.segments.keys().next().copied().unwrap_or(self.head.segment);
        self.checkpoints.update(&index, oldest, &self.head);
        drop(index);
        self.checkpoints.rewrite()
    }
}

/// Whether an operation counts only once it is durable.
fn must_sync(operation: &Operation) -> bool {
    !matches!(operation, Operation::CommitHint { .. })
}

/// Bytes of entries and records, without what a batch adds to them.
fn content_bytes(operations: &[Operation]) -> u64 {
    let bytes = operations.iter().map(|operation| match operation {
        Operation::Append { entries, .. } => entries.iter().map(|entry| entry.encoded_len() as u64).sum(),
        Operation::Journal { bytes, .. } | Operation::PutState { bytes, .. } => bytes.len() as u64,
        _ => 0,
    });
    bytes.sum()
}

fn encode(builder: &mut BatchBuilder, stream: u64, operation: &Operation) {
    match operation {
        Operation::Append { index, term, entries } => {
            for (position, entry) in (index.0..).zip(entries) {
                let parts = [&entry.encode_header()[..], &entry.payload[..]];
                builder.push(RecordKind::Entry, stream, position, term.0, &parts);
            }
        }
        Operation::TruncateFrom { index } => builder.push(RecordKind::TruncateFrom, stream, index.0, 0, &[]),
        Operation::CompactTo { index, term } => builder.push(RecordKind::CompactTo, stream, index.0, term.0, &[]),
        Operation::Reset { index, term } => builder.push(RecordKind::Reset, stream, index.0, term.0, &[]),
        Operation::Journal { key, bytes } => builder.push(RecordKind::Journal, stream, *key, 0, &[&bytes[..]]),
        Operation::CheckpointBegin { id } => builder.push(RecordKind::CheckpointBegin, stream, *id, 0, &[]),
        Operation::CheckpointDone { id } => builder.push(RecordKind::CheckpointDone, stream, *id, 0, &[]),
        Operation::PutState { bytes, commit_hint } => {
            builder.push(RecordKind::State, stream, commit_hint.0, 0, &[&bytes[..]]);
        }
        Operation::CommitHint { index } => builder.push(RecordKind::CommitHint, stream, index.0, 0, &[]),
    }
}
