//! What the log's thread does with what is submitted, without the thread: so that a simulator does the same.

use std::collections::VecDeque;

use quorate_protocol::{Operation, Ticket};

use super::completion::{Completions, WriteCompletion};
use crate::disk::Disk;
use crate::error::{Poisoned, WriteError};
use crate::stream_id::StreamId;
use crate::wal::{StorageLevel, Wal};

/// Carries out sets of submissions on a [`Wal`], and keeps in mind what was told of it.
///
/// For each set: [`Scribe::write`], [`Scribe::sync`], tell who waits, [`Scribe::settle`], tell what changed.
pub struct Scribe<D: Disk> {
    wal: Wal<D>,
    storage_level: StorageLevel,
    compaction_wanted: Vec<StreamId>,
}

/// What is submitted under one ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Whose.
    pub stream: StreamId,
    /// Names it within the stream.
    pub ticket: Ticket,
    /// What is to be done.
    pub work: Work,
}

/// What is to be done with a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Write these operations, all or none.
    Write(Vec<Operation>),
    /// Delete the stream.
    Delete,
}

impl<D: Disk> Scribe<D> {
    /// Takes a log over.
    pub fn new(wal: Wal<D>) -> Self {
        let storage_level = wal.storage_level();
        Self { wal, storage_level, compaction_wanted: Vec::new() }
    }

    /// The log.
    pub fn wal(&self) -> &Wal<D> {
        &self.wal
    }

    /// Writes a set, in its order. What is told `Ok` here is durable after [`Scribe::sync`], and not before.
    pub fn write(&mut self, set: VecDeque<Submission>) -> Vec<WriteCompletion> {
        let mut completions: Vec<WriteCompletion> = Vec::with_capacity(set.len());
        let mut pending: Vec<(StreamId, Vec<Operation>)> = Vec::with_capacity(set.len());
        for Submission { stream, ticket, work } in set {
            let result = match work {
                Work::Write(operations) => {
                    pending.push((stream, operations));
                    Ok(())
                }
                Work::Delete => {
                    self.flush(&mut pending, &mut completions);
                    self.wal.delete_stream(stream)
                }
            };
            completions.push(WriteCompletion { stream, ticket, result, stream_bytes: 0 });
        }
        self.flush(&mut pending, &mut completions);
        completions
    }

    /// Whether [`Scribe::settle`] is to be called again although nothing is written: the log is low on room, and only
    /// that call finds out that there is room again. See [`Wal::is_making_room`] for when.
    pub fn is_short_of_room(&self) -> bool {
        self.storage_level == StorageLevel::Low && self.wal.poisoned().is_none()
    }

    /// Makes what was written durable: now the completions are what is to be told.
    ///
    /// # Errors
    /// When the log failed, now or before. The completions say so as well.
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

    /// Does what can wait until the writers were told (see [`Wal::settle`]), and says what changed: the storage level,
    /// and who should compact. A failure poisons the log, and the next set learns of it.
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

    /// Writes what stands at the end of `completions`.
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
