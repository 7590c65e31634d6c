//! Bounds of the work that a node accepts, shares of these bounds, and refusals by name.
//!
//! A bound is shared by all coordinators. When it is reached, a coordinator that holds less than its share (the bound
//! divided by the number of coordinators that hold anything, and at least one branch) is still served, so that none is
//! locked out by what another left behind. All together hold at most twice the bound, and one branch for each of them.

use quorate_protocol::{NodeId, StorageLevel};

use crate::error::Ignored;
use crate::message::Message;
use crate::state::{Holdings, Tombstone};
use crate::{Event, TransactionId, TwoPhaseCommit, Unready};

impl TwoPhaseCommit {
    /// Checks that there is room for a new branch with this number of bytes.
    pub(crate) fn check_room(&self, coordinator: NodeId, bytes: usize) -> Result<(), Unready> {
        if self.storage == StorageLevel::Low {
            return Err(Unready::StorageLow);
        }
        if self.is_log_behind() {
            return Err(Unready::LogBehind);
        }
        let (settings, held) = (self.config.settings(), self.held(coordinator));
        if !self.has_room(coordinator, self.branches.len(), held.branches, settings.branches_max, 1) {
            return Err(Unready::Branches);
        }
        // Each branch leaves a tombstone.
        let (all, own) = (self.branches.len() + self.tombstones.len(), held.branches + held.tombstones);
        if !self.has_room(coordinator, all, own, settings.tombstones_max, 1) {
            return Err(Unready::Outcomes);
        }
        self.check_bytes(coordinator, bytes)
    }

    /// Checks that there is room for a branch's payload.
    pub(crate) fn check_bytes(&self, coordinator: NodeId, bytes: usize) -> Result<(), Unready> {
        let (most, own) = (self.config.settings().payload_bytes_total_max, self.held(coordinator).payload_bytes);
        let has_room = self.has_room(coordinator, self.branch_bytes, own, most, bytes);
        if has_room { Ok(()) } else { Err(Unready::Payloads) }
    }

    /// True if the log is so far behind that no new work is begun.
    pub(crate) fn is_log_behind(&self) -> bool {
        self.journal.bytes() >= self.config.settings().journal_bytes_max
    }

    /// Tells a coordinator why its branch is not accepted now. The application is told when the reason is new.
    pub(crate) fn refuse(
        &mut self,
        coordinator: NodeId,
        transaction: Option<TransactionId>,
        why: Unready,
    ) -> Result<(), Ignored> {
        if let Some(transaction) = transaction {
            self.send(coordinator, Message::Unready { transaction, why });
        }
        if self.unready.replace(why) != Some(why) {
            self.outbox.event(Event::Unready { coordinator, why });
        }
        Err(Ignored::Unready)
    }

    /// Counts a branch and its payload.
    pub(crate) fn take_on(&mut self, coordinator: NodeId, bytes: usize) {
        let held = self.holdings.entry(coordinator).or_default();
        held.branches += 1;
        held.payload_bytes += bytes;
        self.branch_bytes += bytes;
    }

    /// Uncounts a branch and its payload.
    pub(crate) fn let_go(&mut self, coordinator: NodeId, bytes: usize) {
        self.branch_bytes -= bytes;
        self.change_holdings(coordinator, |held| {
            held.branches -= 1;
            held.payload_bytes -= bytes;
        });
    }

    pub(crate) fn keep_tombstone(&mut self, transaction: TransactionId, tombstone: Tombstone) -> Option<Tombstone> {
        let before = self.tombstones.insert(transaction, tombstone);
        if before.is_none() {
            self.holdings.entry(transaction.coordinator).or_default().tombstones += 1;
        }
        before
    }

    pub(crate) fn take_tombstone(&mut self, transaction: TransactionId) -> Option<Tombstone> {
        let tombstone = self.tombstones.remove(&transaction)?;
        self.change_holdings(transaction.coordinator, |held| held.tombstones -= 1);
        Some(tombstone)
    }

    fn change_holdings(&mut self, coordinator: NodeId, change: impl FnOnce(&mut Holdings)) {
        let held = self.holdings.get_mut(&coordinator).expect("something is held of it");
        change(held);
        if *held == Holdings::default() {
            self.holdings.remove(&coordinator);
        }
    }

    fn held(&self, coordinator: NodeId) -> Holdings {
        self.holdings.get(&coordinator).copied().unwrap_or_default()
    }

    fn has_room(&self, coordinator: NodeId, all: usize, own: usize, most: usize, more: usize) -> bool {
        let fits = |held: usize, most: usize| held.checked_add(more).is_some_and(|held| held <= most);
        let share = || most / (1 + self.holdings.keys().filter(|other| **other != coordinator).count());
        fits(all, most) || fits(own, share().max(more))
    }
}
