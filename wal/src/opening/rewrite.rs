//! Writes batches anew that nothing shows to be durable.
//!
//! After a failed sync the operating system may hold what was written in memory, call it clean, and never write it:
//! reads find it, further syncs succeed, and it is gone when the power goes. A process that ends and starts again
//! cannot tell. So what it finds behind the last proof is not durable before it was written again. To write it in its
//! place could destroy what was durable; so it goes to the next segment, which counts from its rename on, when all in
//! it is durable. The old one ends where the proof ended.
//!
//! Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020.

use std::io;
use std::sync::Arc;

use super::scan::{BATCH_HEADER_BYTES, Doubt};
use super::{Bounds, Recovered};
use crate::OpenError;
use crate::disk::{Disk, DiskFile};
use crate::files::{Files, io_error, is_full, segment_name, spare_name, zero};
use crate::format::{
    ALIGNMENT_BYTES, BatchBuilder, BatchHeader, BatchView, RecordKind, SEGMENT_DATA_START, SegmentHeader, Witness,
    aligned, in_memory,
};

impl<F: DiskFile> Recovered<F> {
    /// Writes the batches in doubt to the next segment, with the state records that a torn tail still says, and proof
    /// that all of it is durable. Says whether there were any.
    pub(super) fn write_anew<D: Disk<File = F>>(
        &mut self,
        files: &Files<D>,
        file: &Arc<F>,
        header: &SegmentHeader,
        bounds: Bounds,
    ) -> Result<bool, OpenError> {
        let Some(doubt) = self.tail.doubt else { return Ok(false) };
        let written = self.next_segment(files, &**file, header, doubt, bounds.segment_bytes);
        if written.as_ref().is_err_and(is_full) {
            // What was made of it would hold the room that others need.
            let _ = files.remove(UNFINISHED);
        }
        written.map(|()| true).map_err(|error| io_error(&files.path(&segment_name(header.id + 1)), error))
    }

    fn next_segment<D: Disk<File = F>>(
        &mut self,
        files: &Files<D>,
        file: &F,
        header: &SegmentHeader,
        doubt: Doubt,
        usual: u64,
    ) -> io::Result<()> {
        let states = self.newer_states();
        let mut builder = BatchBuilder::default();
        builder.start();
        for (record, payload) in &states {
            // Adopted alone: its commit hint may speak of entries that were cut.
            builder.push(RecordKind::State, record.stream, 0, 0, &[payload]);
        }
        let needed = SEGMENT_DATA_START + (self.tail.offset - doubt.offset) + builder.bytes_max() + MARKER_BYTES;
        if u32::try_from(needed).is_err() {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "more is in doubt than a segment holds"));
        }
        let (next, bytes) = self.file_for(files, needed, usual)?;
        let id = header.id + 1;
        // Above all that was ever seen: what lies in the old segment behind its end cannot be taken for later.
        let first_lsn = self.progress.lsn.max(self.tail.seen_lsn) + 1;
        let chain = doubt.before.chain;
        let mut copy = Copy { file: &next, segment: id, offset: SEGMENT_DATA_START, next_lsn: first_lsn, chain };
        let header_of_next = SegmentHeader { id, first_lsn, bytes, chain, ..*header };
        next.write_at(0, &header_of_next.encode())?;
        copy.batches(file, header.id, doubt.offset..self.tail.offset)?;
        if !states.is_empty() {
            copy.seal(&mut builder, Witness { prev_durable: doubt.before.lsn, checkpoint: 0 })?;
            builder.start();
        }
        copy.seal(&mut builder, Witness { prev_durable: copy.next_lsn - 1, checkpoint: 0 })?;
        next.sync_all()?;
        files.rename(UNFINISHED, &segment_name(id))?;
        files.sync_dir()?;
        self.report.adopted_states = states.len() as u64;
        Ok(())
    }

    /// A file of at least so many bytes: a spare one, else a new one, of the `usual` size where there is room for that.
    /// It has the name of something unfinished, durably: what is written to it for the next segment must not be found
    /// there by a later attempt.
    fn file_for<D: Disk<File = F>>(&self, files: &Files<D>, needed: u64, usual: u64) -> io::Result<(F, u64)> {
        match files.remove(UNFINISHED) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
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
        match new_file(files, usual.max(needed)) {
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
    /// Copies batches, which were found whole just now.
    fn batches(&mut self, from: &F, segment: u64, places: std::ops::Range<u64>) -> io::Result<()> {
        let mut builder = BatchBuilder::default();
        let mut at = places.start;
        while at < places.end {
            let changed = || io::Error::new(io::ErrorKind::InvalidData, "a batch changed while it was read");
            let mut start = [0; BATCH_HEADER_BYTES];
            from.read_exact_at(at, &mut start)?;
            let header = BatchHeader::read(&start, segment, at).ok_or_else(changed)?;
            let end = at + aligned(header.bytes);
            if end > places.end {
                return Err(changed());
            }
            let mut bytes = vec![0; in_memory(end - at)];
            from.read_exact_at(at, &mut bytes)?;
            let batch = BatchView::read(&bytes, &header, segment, at, header.predecessor).map_err(|_| changed())?;
            let records: Vec<_> = batch.records().collect();
            builder.start();
            builder.push_again(records.iter().map(|(record, _, payload)| (record, *payload)));
            self.seal(&mut builder, header.witness)?;
            at = end;
        }
        Ok(())
    }

    fn seal(&mut self, builder: &mut BatchBuilder, witness: Witness) -> io::Result<()> {
        let sealed = builder.seal(self.segment, self.offset, self.next_lsn, self.chain, witness);
        self.file.write_at(self.offset, builder.bytes())?;
        self.offset += builder.bytes().len() as u64;
        self.next_lsn = sealed.last_lsn + 1;
        self.chain = sealed.chain;
        Ok(())
    }
}

const UNFINISHED: &str = "anew.tmp";
const MARKER_BYTES: u64 = ALIGNMENT_BYTES;
