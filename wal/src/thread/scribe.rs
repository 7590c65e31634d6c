//! The work of the log's thread on submissions, without the thread, so that a simulator does the same.

use std::collections::VecDeque;

use quorate_protocol::{Operation, StorageLevel, Ticket};

use super::completion::{Completions, WriteCompletion};
use crate::disk::Disk;
use crate::error::{Poisoned, WriteError};
use crate::stream_id::StreamId;
use crate::wal::Wal;

/// Carries out sets of submissions on a [`Wal`], and remembers the last reported storage level and compaction requests.
///
/// For each set: [`Scribe::write`], [`Scribe::sync`], report the completions, [`Scribe::settle`], report the changes.
pub struct Scribe<D: Disk> {
    wal: Wal<D>,
    storage_level: StorageLevel,
    compaction_wanted: Vec<StreamId>,
}

/// Work that is submitted under one ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// The stream.
    pub stream: StreamId,
    /// Identifies the submission within the stream.
    pub ticket: Ticket,
    /// The work.
    pub work: StreamWork,
}

/// Work on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamWork {
    /// Write these operations, all or none.
    Write(Vec<Operation>),
    /// Delete the stream.
    Delete,
}

impl<D: Disk> Scribe<D> {
    /// Takes ownership of a log.
    pub fn new(wal: Wal<D>) -> Self {
        let storage_level = wal.storage_level();
        Self { wal, storage_level, compaction_wanted: Vec::new() }
    }

    /// The log.
    pub fn wal(&self) -> &Wal<D> {
        &self.wal
    }

    /// Writes a set, in its order. A submission whose result is `Ok` is durable after [`Scribe::sync`], and not before.
    pub fn write(&mut self, set: VecDeque<Submission>) -> Vec<WriteCompletion> {
        let mut completions: Vec<WriteCompletion> = Vec::with_capacity(set.len());
        let mut pending: Vec<(StreamId, Vec<Operation>)> = Vec::with_capacity(set.len());
        for Submission { stream, ticket, work } in set {
            let result = match work {
                StreamWork::Write(operations) => {
                    pending.push((stream, operations));
                    Ok(())
                }
                StreamWork::Delete => {
                    self.flush(&mut pending, &mut completions);
                    self.wal.delete_stream(stream)
                }
            };
            completions.push(WriteCompletion { stream, ticket, result, stream_bytes: 0 });
        }
        self.flush(&mut pending, &mut completions);
        completions
    }

    /// Returns true if [`Scribe::settle`] must be called again although nothing is written: the log is low on room, and
    /// only that call notices that there is room again. [`Wal::is_making_room`] gives the interval.
    pub fn is_short_of_room(&self) -> bool {
        self.storage_level == StorageLevel::Low && self.wal.poisoned().is_none()
    }

    /// Makes the written submissions durable. After this call the completions are final and can be reported.
    ///
    /// # Errors
    /// When the log failed, now or before. The completions hold the error as well.
    pub fn sync(&mut self, completions: &mut [WriteCompletion]) -> Result<(), Poisoned> {
        let synced = self.wal.sync().map(|_| ());
        if let Err(poisoned) = &synced {
            for completion in completions.iter_mut().filter(|completion| completion.result.is_ok()) {
                completion.result = Err(poisoned.clone().into());
            }
        }
        for completion in completions {
            completion.stream_bytes = self.wal.stream_bytes(completion.stream);
        }
        synced
    }

    /// Does the work that can wait until the writers were notified (see [`Wal::settle`]), and returns the changes: the
    /// storage level, and the streams that should compact. A failure poisons the log, and the next set fails with it.
    pub fn settle(&mut self, is_idle: bool) -> Completions {
        let _ = self.wal.settle(is_idle);
        let mut changes = Completions::default();
        let level = self.wal.storage_level();
        if level != self.storage_level {
            self.storage_level = level;
            changes.storage_level = Some(level);
        }
        if self.wal.compaction_wanted() != self.compaction_wanted {
            self.compaction_wanted = self.wal.compaction_wanted().to_vec();
            changes.compaction_wanted.clone_from(&self.compaction_wanted);
        }
        changes
    }

    /// Closes the log. See [`Wal::close`].
    ///
    /// # Errors
    /// When the log failed, now or before.
    pub fn close(self) -> Result<(), Poisoned> {
        self.wal.close()
    }

    /// Writes the pending submissions, whose completions are the last ones in `completions`.
    fn flush(&mut self, pending: &mut Vec<(StreamId, Vec<Operation>)>, completions: &mut [WriteCompletion]) {
        let first = completions.len() - pending.len();
        match self.wal.write(pending) {
            Ok(written) => {
                for (number, refusal) in written.refused {
                    completions[first + number].result = Err(WriteError::Refused(refusal));
                }
            }
            Err(poisoned) => {
                for completion in &mut completions[first..] {
                    completion.result = Err(poisoned.clone().into());
                }
            }
        }
        pending.clear();
    }
}
