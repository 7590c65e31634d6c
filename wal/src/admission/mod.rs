//! Decides which submissions are written, and builds batches of them.

mod cursor;
mod records;

use std::collections::BTreeMap;
use std::ops::Range;

use quorate_protocol::Operation;

use self::cursor::Cursor;
use crate::appender::Appender;
use crate::disk::Disk;
use crate::error::SubmissionRefusal;
use crate::poison::DiskFault;
use crate::stream_id::StreamId;

/// The outcome of one [`Wal::write`](crate::Wal::write).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The refused submissions, by their place in the call, ascending. The others were written.
    pub refused: Vec<(usize, SubmissionRefusal)>,
}

/// Submissions on their way into batches.
pub(crate) struct Admission<'a, D: Disk> {
    appender: &'a mut Appender<D>,
    /// The state of each stream after the submissions in the batch.
    cursors: BTreeMap<StreamId, Cursor>,
    /// The number of the first submission that the batch may hold.
    first_of_batch: usize,
    /// True if an operation in the batch counts only once it is durable.
    needs_sync: bool,
    written: Written,
}

impl<'a, D: Disk> Admission<'a, D> {
    pub(crate) fn new(appender: &'a mut Appender<D>) -> Self {
        appender.batch().start();
        let cursors = BTreeMap::new();
        Self { appender, cursors, first_of_batch: 0, needs_sync: false, written: Written::default() }
    }

    /// Writes submissions in the given order. The operations of one are written all or not at all, and a batch takes as
    /// many submissions as fit.
    pub(crate) fn write(mut self, submissions: &[(StreamId, Vec<Operation>)]) -> Result<Written, DiskFault> {
        for (number, (stream, operations)) in submissions.iter().enumerate() {
            match self.admit(number, *stream, operations)? {
                Ok(()) => self.needs_sync |= operations.iter().any(records::must_sync),
                Err(refusal) => self.written.refused.push((number, refusal)),
            }
        }
        self.flush(self.first_of_batch..submissions.len())?;
        let refused = self.written.refused.len() as u64;
        self.appender.counters().submissions += submissions.len() as u64 - refused;
        self.appender.counters().refused += refused;
        Ok(self.written)
    }

    /// Adds a submission to the batch, or writes the batch and adds it to the next one.
    fn admit(
        &mut self,
        number: usize,
        stream: StreamId,
        operations: &[Operation],
    ) -> Result<Result<(), SubmissionRefusal>, DiskFault> {
        let before = self.appender.batch().savepoint();
        let outcome = self.add(stream, operations);
        if outcome.is_err() || self.batch_fits() {
            return Ok(outcome);
        }
        self.appender.batch().go_back(before);
        self.flush(self.first_of_batch..number)?;
        self.first_of_batch = number;
        self.start_batch();
        let outcome = self.add(stream, operations);
        if outcome.is_err() || self.batch_fits() {
            return Ok(outcome);
        }
        let bytes = self.appender.batch().bytes_max();
        self.start_batch();
        Ok(Err(SubmissionRefusal::TooLarge { bytes }))
    }

    fn start_batch(&mut self) {
        self.cursors.clear();
        self.needs_sync = false;
        self.appender.batch().start();
    }

    fn batch_fits(&mut self) -> bool {
        self.appender.batch().bytes_max() <= self.appender.batch_bytes_max()
    }

    /// Adds a submission to the batch, if the stream's state allows all of it.
    fn add(&mut self, stream: StreamId, operations: &[Operation]) -> Result<(), SubmissionRefusal> {
        // Refused before it is copied into the batch, since it may be of any size.
        let bytes = records::content_bytes(operations);
        if bytes > self.appender.batch_bytes_max() {
            return Err(SubmissionRefusal::TooLarge { bytes });
        }
        {
            let index = self.appender.index().read();
            let known = index.streams.get(&stream.0);
            let fresh = || Cursor::new(known, index.deleted.contains(stream.0));
            let mut cursor = self.cursors.get(&stream).cloned().unwrap_or_else(fresh);
            for operation in operations {
                cursor.check(known, operation)?;
            }
            self.cursors.insert(stream, cursor);
        }
        for operation in operations {
            records::push(self.appender.batch(), stream.0, operation);
        }
        Ok(())
    }

    /// Writes the batch, if it is not empty. Refuses its submissions if the disk has no room for it.
    fn flush(&mut self, submissions: Range<usize>) -> Result<(), DiskFault> {
        if self.appender.batch().is_empty() {
            return Ok(());
        }
        let Err(refusal) = self.appender.make_room()? else { return self.appender.write(self.needs_sync) };
        for number in submissions {
            if let Err(place) = self.written.refused.binary_search_by_key(&number, |(number, _)| *number) {
                self.written.refused.insert(place, (number, refusal));
            }
        }
        Ok(())
    }
}
