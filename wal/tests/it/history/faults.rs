//! Reads that fail, and writes that land elsewhere, while the log is in use.
//!
//! What is expected of a write that landed elsewhere: nothing that is read is wrong; and the next start refuses the
//! log, or holds all of it, or has lost what nothing on the disk shows to have been durable. Proof of a batch is in the
//! next one, so that once a later batch was written after a sync, and is durable too, nothing may be missing. Before
//! that, the newest batches may be gone as if they had been torn: they were nowhere but in what was lost. Without a
//! record of the last batch in another place (rule 12) nobody could tell.

use std::io::ErrorKind;

use quorate_wal::disk::{Disk, MemoryDisk};
use quorate_wal::{OpenError, Wal};

use super::{History, Violation, broken};
use crate::model::{Model, ReadBack};
use crate::support::*;

impl History {
    /// The next write will land elsewhere, unless one did since the log was opened: what one write does is said, two
    /// may do anything.
    pub(super) fn misdirect_soon(&mut self) {
        self.note_misdirected(0);
        let seed = self.random.next_u64();
        if self.misdirected.is_none() {
            self.disk.misdirect(Some(seed));
            self.is_misdirecting = true;
        }
    }

    /// Looks whether a write landed elsewhere; if one did before, so many syncs of later ones followed.
    pub(super) fn note_misdirected(&mut self, syncs: u64) {
        if self.is_misdirecting && !self.disk.is_misdirecting() {
            self.is_misdirecting = false;
            self.misdirected = Some(0);
            self.seen.count("misdirected write", 1);
        } else if let Some(count) = &mut self.misdirected {
            *count += syncs;
        }
    }

    /// Whether a write landed elsewhere while the log was opened. None will from here on.
    pub(super) fn is_opening_misdirected(&mut self) -> bool {
        let before = self.misdirected;
        self.note_misdirected(0);
        self.disk.misdirect(None);
        self.is_misdirecting = false;
        let is_new = before.is_none() && self.misdirected.is_some();
        self.seen.count("misdirected write while opening", u64::from(is_new));
        is_new
    }

    /// Whether a write landed elsewhere, and what is lost by it need not be noticed.
    pub(super) fn is_unproven(&self) -> bool {
        self.misdirected.is_some_and(|syncs| syncs < PROOF)
    }

    /// A log that opens although a write landed elsewhere, and nothing shows what was durable, has lost a tail at most.
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

    /// Another disk.
    pub(super) fn start_over(&mut self) {
        self.disk = MemoryDisk::new();
        self.wal = Some(open(&self.disk));
        self.model = Model::new();
        self.deleted.clear();
        self.misdirected = None;
        self.parts.forget();
    }

    /// For a while nothing can be read: loads say so, and writers do not mind.
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

    /// Opens the log while nothing can be read: that is no corruption, and changes nothing.
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

/// A sync proves a batch that was written before one: it makes the next batch durable, which says so.
pub(super) const PROOF: u64 = 2;
/// Nothing else fails so: a log that failed for this failed for a read.
pub(super) const READS_FAIL: ErrorKind = ErrorKind::TimedOut;
