//! Writes batches again that nothing shows to be durable.
//!
//! After a failed sync the operating system may keep the written data in memory, mark it clean, and never write it:
//! reads find it, further syncs succeed, and it is gone when the power goes. A process that ends and starts again
//! cannot tell. So the batches behind the last proof are not durable before they were written again. To write them in
//! place could destroy what was durable, so they go to the next segment. That segment counts from its rename on, when
//! everything in it is durable. The old one ends at the last batch that was proven durable.
//!
//! Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020.

use std::io;
use std::ops::Range;

use super::evidence::SoundRecord;
use super::listing::OpenSegment;
use super::tail::Doubt;
use crate::disk::{Disk, DiskFile};
use crate::error::OpenError;
use crate::files::{Files, io_error, is_full, segment_name, spare_name, zero};
use crate::format::{
    ALIGNMENT_BYTES, BATCH_HEADER_BYTES, BatchBuilder, BatchDescription, BatchView, RecordKind, SEGMENT_DATA_START,
    SegmentHeader, Witness, aligned, in_memory,
};

/// The batches in doubt, and everything needed to write them to the next segment.
pub(super) struct Rewrite<'a, D: Disk> {
    pub(super) files: &'a Files<D>,
    /// The last segment.
    pub(super) from: &'a OpenSegment<D::File>,
    /// The first batch in doubt.
    pub(super) doubt: Doubt,
    /// The end of the last batch in doubt.
    pub(super) end: u64,
    /// The highest LSN that was ever seen.
    pub(super) seen_lsn: u64,
    /// State records of the torn tail to be adopted.
    pub(super) states: &'a [SoundRecord],
    /// Numbers of the spare files.
    pub(super) spares: &'a [u64],
    /// Bytes of the new segment, unless it needs more.
    pub(super) segment_bytes: u64,
}

impl<D: Disk> Rewrite<'_, D> {
    /// Writes the batches in doubt to the next segment, with the state records of the torn tail, and proof that all of
    /// it is durable.
    pub(super) fn run(&self) -> Result<(), OpenError> {
        let written = self.next_segment();
        if written.as_ref().is_err_and(is_full) {
            // The unfinished file would hold room that is needed elsewhere.
            let _ = self.files.remove(UNFINISHED);
        }
        written.map_err(|error| io_error(&self.files.path(&segment_name(self.from.header.id + 1)), error))
    }

    fn next_segment(&self) -> io::Result<()> {
        let mut builder = BatchBuilder::default();
        builder.start();
        for SoundRecord { record, payload, .. } in self.states {
            // Adopted without its commit hint, which may be the index of an entry that was cut.
            builder.push(RecordKind::State, record.stream, 0, 0, &[payload]);
        }
        let needed = SEGMENT_DATA_START + (self.end - self.doubt.offset) + builder.bytes_max() + MARKER_BYTES;
        if u32::try_from(needed).is_err() {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "more is in doubt than a segment holds"));
        }
        let (next, bytes) = self.file_for(needed)?;
        let id = self.from.header.id + 1;
        // Above every LSN ever seen, so that records in the old segment behind its end cannot be taken for later ones.
        let first_lsn = self.seen_lsn + 1;
        let before = self.doubt.before;
        let header = SegmentHeader { id, first_lsn, bytes, chain: before.chain, ..self.from.header };
        next.write_at(0, &header.encode())?;
        let mut copy =
            Copy { file: &next, segment: id, offset: SEGMENT_DATA_START, next_lsn: first_lsn, chain: before.chain };
        copy.batches(&*self.from.file, self.from.header.id, self.doubt.offset..self.end)?;
        if !self.states.is_empty() {
            copy.seal(&mut builder, Witness { prev_durable: before.lsn, checkpoint: 0 })?;
            builder.start();
        }
        copy.seal(&mut builder, Witness { prev_durable: copy.next_lsn - 1, checkpoint: 0 })?;
        next.sync_all()?;
        self.files.rename(UNFINISHED, &segment_name(id))?;
        self.files.sync_dir()
    }

    /// A file of at least `needed` bytes, and its size: a spare one, else a new one, of the usual size if there is room
    /// for that. It durably has the name of an unfinished file: a later attempt must not find records of the next
    /// segment in a spare file.
    fn file_for(&self, needed: u64) -> io::Result<(D::File, u64)> {
        let files = self.files;
        files.remove_if_there(UNFINISHED)?;
        if let Some(number) = self.spares.first() {
            let name = spare_name(*number);
            let spare = files.disk.open(&files.path(&name))?;
            let bytes = spare.len()?;
            if (needed..=u64::from(u32::MAX)).contains(&bytes) && bytes.is_multiple_of(ALIGNMENT_BYTES) {
                files.rename(&name, UNFINISHED)?;
                files.sync_dir()?;
                return Ok((spare, bytes));
            }
        }
        match new_file(files, self.segment_bytes.max(needed)) {
            Err(error) if is_full(&error) => {
                files.remove(UNFINISHED)?;
                new_file(files, needed)
            }
            outcome => outcome,
        }
    }
}

fn new_file<D: Disk>(files: &Files<D>, bytes: u64) -> io::Result<(D::File, u64)> {
    let file = files.disk.create(&files.path(UNFINISHED))?;
    zero(&file, 0, bytes)?;
    Ok((file, bytes))
}

/// The segment under construction.
struct Copy<'a, F> {
    file: &'a F,
    segment: u64,
    offset: u64,
    next_lsn: u64,
    chain: u32,
}

impl<F: DiskFile> Copy<'_, F> {
    /// Copies batches, which were just found intact.
    fn batches(&mut self, from: &F, segment: u64, places: Range<u64>) -> io::Result<()> {
        let mut builder = BatchBuilder::default();
        let mut at = places.start;
        while at < places.end {
            let changed = || io::Error::new(io::ErrorKind::InvalidData, "a batch changed while it was read");
            let mut start = [0; BATCH_HEADER_BYTES];
            from.read_exact_at(at, &mut start)?;
            let header = BatchDescription::read(&start, segment, at).ok_or_else(changed)?;
            let end = at + aligned(header.bytes);
            if end > places.end {
                return Err(changed());
            }
            let mut bytes = vec![0; in_memory(end - at)];
            from.read_exact_at(at, &mut bytes)?;
            let batch = BatchView::read(&bytes, &header, segment, at, header.predecessor).map_err(|_| changed())?;
            let records: Vec<_> = batch.records().collect();
            builder.start();
            builder.push_again(records.iter().map(|stored| (&stored.record, stored.payload)));
            self.seal(&mut builder, header.witness)?;
            at = end;
        }
        Ok(())
    }

    fn seal(&mut self, builder: &mut BatchBuilder, witness: Witness) -> io::Result<()> {
        let sealed = builder.seal(self.segment, self.offset, self.next_lsn, self.chain, witness);
        self.file.write_at(self.offset, builder.bytes())?;
        self.offset += builder.bytes().len() as u64;
        self.next_lsn = sealed.lsn + 1;
        self.chain = sealed.chain;
        Ok(())
    }
}

/// Name of the segment under construction until it is durable.
const UNFINISHED: &str = "anew.tmp";
const MARKER_BYTES: u64 = ALIGNMENT_BYTES;
