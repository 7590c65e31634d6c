//! What survives a crash of a node, and what a crash and rot do to it.

use std::collections::BTreeMap;
use std::fmt;

use quorate_protocol::{GroupId, Random, Violation};
use quorate_runtime::{Node, StreamId};
use quorate_wal::Wal;
use quorate_wal::disk::{Crash, MemoryDisk};

use super::{Application, Ledger};
use crate::world::Loss;

/// A node's disk: its files, what its application keeps, and what the log on it must hold.
pub struct NodeDisk<A: Application> {
    pub(super) files: MemoryDisk,
    pub(super) incarnation: u64,
    /// Attempts to start from it.
    pub(super) starts: u32,
    /// The start counter of the last start.
    pub(super) start_counter: u32,
    pub(super) ledger: Ledger,
    streams: BTreeMap<GroupId, StreamId>,
    pub(super) kept: A::Kept,
}

impl<A: Application> NodeDisk<A> {
    pub(super) fn new(incarnation: u64) -> Self {
        Self {
            files: MemoryDisk::new(),
            incarnation,
            starts: 0,
            start_counter: 0,
            ledger: Ledger::default(),
            streams: BTreeMap::new(),
            kept: A::Kept::default(),
        }
    }

    /// The files.
    #[must_use]
    pub fn files(&self) -> &MemoryDisk {
        &self.files
    }

    /// What the application keeps.
    #[must_use]
    pub fn kept(&self) -> &A::Kept {
        &self.kept
    }

    /// What is durable of a group, if anything was ever written of it.
    #[must_use]
    pub fn durable(&self, group: GroupId) -> Option<&super::Kept> {
        self.ledger.durable(*self.streams.get(&group)?)
    }

    pub(super) fn fork(&self) -> Self {
        Self {
            files: self.files.fork(),
            ledger: self.ledger.clone(),
            streams: self.streams.clone(),
            kept: self.kept.clone(),
            ..*self
        }
    }

    /// Holds the log that was just opened against what it must hold.
    pub(super) fn verify(&mut self, log: &Wal<MemoryDisk>, node: &Node) -> Result<(), Violation> {
        let roster = node.roster();
        self.streams = node.groups().filter_map(|(group, _)| Some((group, roster.stream(group)?))).collect();
        let streams: Vec<StreamId> = self.streams.values().copied().collect();
        let outcome = self.ledger.verify(log, &streams);
        let before = std::mem::replace(&mut self.start_counter, roster.start());
        if before >= self.start_counter {
            let detail = format!("{before} starts were known, and now {}", self.start_counter);
            return Err(Violation { law: "the start counter rises", detail });
        }
        outcome.map_err(|detail| Violation { law: "the log keeps what was acknowledged", detail })
    }

    pub(super) fn crash(&mut self, loss: Loss, random: &mut Random) {
        self.files.crash(match loss {
            Loss::Nothing => Crash::KeepAll,
            Loss::Unsynced | Loss::Names => Crash::LoseUnsynced,
            Loss::Torn | Loss::Garbage => Crash::Seeded(random.next_u64()),
        });
    }
}

impl<A: Application> fmt::Debug for NodeDisk<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeDisk")
            .field("incarnation", &self.incarnation)
            .field("starts", &self.starts)
            .field("kept", &self.kept)
            .finish_non_exhaustive()
    }
}
