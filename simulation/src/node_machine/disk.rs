//! The state of a node that survives a crash, and the effects of crashes and rot on it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use quorate_protocol::{GroupId, Incarnation, NodeId, Random, Violation};
use quorate_runtime::node::{Node, StreamId};
use quorate_runtime::shell::Opened;
use quorate_wal::Wal;
use quorate_wal::disk::{Crash, Disk, DiskOperation, MemoryDisk};

use super::ledger::Mismatch;
use super::{Application, ReferenceLog, incarnation_of};
use crate::world::{Damage, Folder, Loss};

/// A node's disk: its files, the state that its application keeps, and the content that its log must have.
pub struct NodeDisk<A: Application> {
    pub(super) files: MemoryDisk,
    node: NodeId,
    pub(super) incarnation: u64,
    /// True if nodes of the run join and leave the groups.
    pub(super) do_members_change: bool,
    /// Number of attempts to start from it.
    pub(super) starts: u32,
    /// The start counter of the last start.
    pub(super) start_counter: u32,
    pub(super) ledger: ReferenceLog,
    streams: BTreeMap<GroupId, StreamId>,
    pub(super) kept: A::Kept,
    /// The loss of the last crash, until the log was opened again.
    pub(super) last_loss: Option<Loss>,
    /// True while requests of cores are lost.
    pub(super) loses_requests: bool,
    /// True if a write may have gone to a wrong place, once.
    is_misdirected: bool,
}

impl<A: Application> NodeDisk<A> {
    pub(super) fn new(node: NodeId, incarnation: u64, do_members_change: bool) -> Self {
        Self {
            files: MemoryDisk::new(),
            node,
            incarnation,
            do_members_change,
            starts: 0,
            start_counter: 0,
            ledger: ReferenceLog::default(),
            streams: BTreeMap::new(),
            kept: A::Kept::default(),
            last_loss: None,
            loses_requests: false,
            is_misdirected: false,
        }
    }

    /// The incarnation of the disk.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        incarnation_of(self.node, self.incarnation)
    }

    /// True if the node never had another disk.
    pub(super) fn is_first(&self) -> bool {
        self.incarnation == 1
    }

    /// The files.
    #[must_use]
    pub fn files(&self) -> &MemoryDisk {
        &self.files
    }

    /// The state that the application keeps.
    #[must_use]
    pub fn kept(&self) -> &A::Kept {
        &self.kept
    }

    /// The durable content of a group, if anything was ever written for it.
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

    /// Opens the log with `open`, and compares it with its required content. Returns the violation if they differ.
    ///
    /// # Errors
    /// When it does not open. A write during opening may damage bytes that were read before. The log reports this
    /// damage the next time it reads them, and the node does not start then either.
    pub(super) fn verify(
        &mut self,
        open: impl FnOnce(&mut Self) -> Result<Opened<MemoryDisk>, String>,
    ) -> Result<(Opened<MemoryDisk>, Option<Violation>), String> {
        let may_misdirect = self.files.is_misdirecting();
        let opened = open(self)?;
        let has_misdirected = may_misdirect && !self.files.is_misdirecting();
        let broken = self.compare(&opened.log, &opened.node);
        let law = "the log keeps what was acknowledged";
        match broken {
            Ok(violation) => Ok((opened, violation)),
            Err(Mismatch::Unreadable(detail)) if has_misdirected => Err(detail),
            Err(Mismatch::Unreadable(detail) | Mismatch::Different(detail)) => {
                Ok((opened, Some(Violation { law, detail })))
            }
        }
    }

    fn compare(&mut self, log: &Wal<MemoryDisk>, node: &Node) -> Result<Option<Violation>, Mismatch> {
        let roster = node.roster();
        self.streams = node.groups().filter_map(|(group, _)| Some((group, roster.stream(group)?))).collect();
        let streams: Vec<StreamId> = self.streams.values().copied().collect();
        let outcome = self.ledger.verify(log, &streams);
        let before = std::mem::replace(&mut self.start_counter, roster.start());
        if before >= self.start_counter {
            let detail = format!("{before} starts were known, and now {}", self.start_counter);
            return Ok(Some(Violation { law: "the start counter rises", detail }));
        }
        outcome.map(|()| None)
    }

    /// Called before the disk is used again: undoes a misdirected write if it hit the last acknowledged batch, which
    /// rot spares too. The log cannot detect the loss of its last batch, and no protocol survives an undetected loss.
    pub(super) fn spare_newest(&self) {
        if self.is_misdirected {
            self.files.restore_newest();
        }
    }

    /// Stops the process that used the disk.
    pub(super) fn crash(&mut self, loss: Loss, random: &mut Random) {
        self.last_loss = Some(loss);
        self.files.crash(match loss {
            Loss::Nothing => Crash::Process,
            Loss::Unsynced => Crash::LoseBytes,
            Loss::Names => Crash::LoseUnsynced,
            Loss::Torn => Crash::Torn(random.next_u64()),
            Loss::Garbage => Crash::Seeded(random.next_u64()),
        });
    }

    /// Damages the disk. Returns false if there was nothing to damage.
    pub(super) fn damage(&mut self, damage: Damage, random: &mut Random) -> bool {
        match damage {
            Damage::BitRot => return self.rot(random),
            Damage::MisdirectedWrite => {
                self.is_misdirected = true;
                self.files.misdirect(Some(random.next_u64()));
            }
            Damage::ReadErrors => self.files.fail_reads(Some(io::ErrorKind::Other)),
            Damage::WriteError => self.files.fail_next(DiskOperation::Write, Some(io::ErrorKind::Other)),
            Damage::SyncError => self.files.fail_next(DiskOperation::Sync, Some(io::ErrorKind::Other)),
            Damage::FullDisk => {
                let room = random.between(0, 3) * (32 << 10);
                self.files.set_capacity(Some(self.files.used() + room));
            }
        }
        true
    }

    /// Removes a folder with its content. Returns false if there was none.
    pub(super) fn lose_folder(&mut self, folder: Folder) -> bool {
        let root = Path::new(match folder {
            Folder::Log => "log",
            Folder::Snapshots => "snapshots",
        });
        let lost: Vec<PathBuf> = self.files.paths().into_iter().filter(|path| path.starts_with(root)).collect();
        for path in &lost {
            let removed = self.files.remove(path).and_then(|()| self.files.sync_dir(path.parent().unwrap_or(root)));
            removed.expect("nothing else uses the disk");
        }
        if folder == Folder::Log && !lost.is_empty() {
            self.ledger = ReferenceLog::default();
            self.start_counter = 0;
        }
        !lost.is_empty()
    }

    /// Ends the damage as far as it can be ended.
    pub(super) fn mend(&self, damage: Damage) {
        match damage {
            Damage::BitRot => {}
            Damage::MisdirectedWrite => self.files.misdirect(None),
            Damage::ReadErrors => self.files.fail_reads(None),
            Damage::WriteError => self.files.fail_next(DiskOperation::Write, None),
            Damage::SyncError => self.files.fail_next(DiskOperation::Sync, None),
            Damage::FullDisk => self.files.set_capacity(None),
        }
    }

    /// Flips a bit of something durable, but not in the last batch that the log acknowledged: there the log cannot tell
    /// rot from a torn tail, because no later batch proves that it was complete. Only bytes that are not zero are hit:
    /// most bytes of a log are padding, whose rot changes nothing.
    fn rot(&self, random: &mut Random) -> bool {
        let paths = self.files.paths();
        let newest = paths.iter().rfind(|path| path.to_string_lossy().contains("segment-")).cloned();
        let Some(path) = pick(random, &paths) else { return false };
        let content = self.files.durable_content(path).unwrap_or_default();
        let used = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
        let end = if Some(path) == newest.as_ref() { used.saturating_sub(UNPROVEN_BYTES) } else { used };
        let places: Vec<u64> = (0..end).zip(content).filter(|(_, byte)| *byte != 0).map(|(place, _)| place).collect();
        let bit = u8::try_from(random.between(0, 8)).expect("small");
        let Some(place) = pick(random, &places) else { return false };
        self.files.rot(path, *place, bit);
        true
    }
}

fn pick<'a, T>(random: &mut Random, of: &'a [T]) -> Option<&'a T> {
    (!of.is_empty()).then(|| &of[usize::try_from(random.between(0, of.len() as u64)).expect("small")])
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

/// The size of two of the largest batches, which may have been acknowledged with one sync.
const UNPROVEN_BYTES: u64 = 2 * BATCH_BYTES_MAX;
/// Maximum bytes of a batch of the log.
pub(super) const BATCH_BYTES_MAX: u64 = 20 << 10;
