//! Reads that fail, and writes that land elsewhere, while the log is in use.
//!
//! Expected of a write that landed elsewhere: no read returns wrong data. The next start refuses the log, finds all of
//! it, or has lost only data that nothing on the disk shows to have been durable. Proof of a batch is in the next one.
//! Once a later batch was written after a sync and is durable too, nothing may be missing. Before that, the newest
//! batches may be gone as if they had been torn, since they were only in the lost place. Without a record of the last
//! batch in another place (rule 12) this cannot be noticed.

use std::io::ErrorKind;

use quorate_wal::disk::{Disk, MemoryDisk};
use quorate_wal::{OpenError, Wal};

use super::{History, Violation, broken};
use crate::model::{Model, ReadBack};
use crate::support::*;

impl History {
    /// Makes the next write land elsewhere, unless one did since the log was opened: the effect of one such write is
    /// specified, that of two is not.
    pub(super) fn misdirect_soon(&mut self) {
        self.note_misdirected(0);
        let seed = self.random.next_u64();
        if self.misdirected.is_none() {
            self.disk.misdirect(Some(seed));
            self.is_misdirecting = true;
        }
    }

    /// Checks whether a write landed elsewhere. If one did before, counts this number of syncs of later writes.
    pub(super) fn note_misdirected(&mut self, syncs: u64) {
        if self.is_misdirecting && !self.disk.is_misdirecting() {
            self.is_misdirecting = false;
            self.misdirected = Some(0);
            self.seen.count("misdirected write", 1);
        } else if let Some(count) = &mut self.misdirected {
            *count += syncs;
        }
    }

    /// Returns true if a write landed elsewhere while the log was opened. From here on none will.
    pub(super) fn is_opening_misdirected(&mut self) -> bool {
        let before = self.misdirected;
        self.note_misdirected(0);
        self.disk.misdirect(None);
        self.is_misdirecting = false;
        let is_new = before.is_none() && self.misdirected.is_some();
        self.seen.count("misdirected write while opening", u64::from(is_new));
        is_new
    }

    /// Returns true if a write landed elsewhere, and its loss need not be noticed.
    pub(super) fn is_unproven(&self) -> bool {
        self.misdirected.is_some_and(|syncs| syncs < PROOF)
    }

    /// Checks that a log which opens although a write landed elsewhere, without proof of what was durable, has lost a
    /// tail at most.
    pub(super) fn judge_unproven(&mut self, wal: &Wal<MemoryDisk>) -> Result<(), Violation> {
        let what = match self.model.clone().adopt(wal) {
            Ok(()) => "misdirected write survived",
            Err(_) => "misdirected write not told from a torn tail",
        };
        self.seen.count(what, 1);
        let adopted = self.model.adopt_any_since_open(wal);
        self.start_over();
        adopted.or_else(|found| broken("a misdirected write takes a tail at most", found))
    }

    /// Goes on with another disk.
    pub(super) fn start_over(&mut self) {
        self.disk = MemoryDisk::new();
        self.wal = Some(open(&self.disk));
        self.model = Model::new();
        self.deleted.clear();
        self.misdirected = None;
        self.parts.forget();
    }

    /// Makes all reads fail for a while: loads report the failure, and writers are not affected.
    pub(super) fn fail_reads(&mut self) -> Result<(), Violation> {
        if self.disk.list("log".as_ref()).is_err() {
            return Ok(());
        }
        self.disk.fail_reads(Some(READS_FAIL));
        self.seen.count("reads failed", 1);
        match self.model.read_back_each(self.wal.as_ref().expect("open")) {
            Ok(ReadBack { right: 0, damaged: 0, .. }) => {}
            other => return broken("a read that fails says so", format!("{other:?}")),
        }
        for _ in 0..self.draw(4) {
            self.write()?;
            self.sync()?;
            self.settle()?;
        }
        self.disk.fail_reads(None);
        self.check_reads()
    }

    /// Opens the log while all reads fail: this is reported as no corruption, and changes nothing.
    pub(super) fn open_unreadable(&mut self) -> Result<(), Violation> {
        if self.weights.reads == 0 || self.draw(4) > 0 || self.disk.list("log".as_ref()).is_err() {
            return Ok(());
        }
        self.seen.count("reads failed while opening", 1);
        let operations = self.disk.operations();
        self.disk.fail_reads(Some(READS_FAIL));
        let outcome = try_open(&self.disk).map(drop);
        self.disk.fail_reads(None);
        match outcome {
            Err(OpenError::Io { error, .. }) if error.kind() == READS_FAIL => {}
            other => return broken("a read that fails says so", format!("{other:?}")),
        }
        if self.disk.operations() == operations { Ok(()) } else { broken("a refusal changes nothing", "reads failed") }
    }
}

/// Number of syncs after which a batch is proven: the second sync makes a later batch durable, which states that the
/// first was.
pub(super) const PROOF: u64 = 2;
/// An error that nothing else returns, so that a failure of the log can be ascribed to a read.
pub(super) const READS_FAIL: ErrorKind = ErrorKind::TimedOut;
