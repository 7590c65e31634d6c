//! Bounds of the work that a node accepts, shares of these bounds, and refusals by name.
//!
//! A bound is shared by all coordinators. When it is reached, a coordinator that holds less than its share (the bound
//! divided by the number of coordinators that hold anything, and at least one branch) is still served, so that none is
//! locked out by what another left behind. All together hold at most twice the bound, and one branch for each of them.

use std::collections::BTreeMap;

use quorate_protocol::{NodeId, StorageLevel};

use crate::base::Base;
use crate::error::Ignored;
use crate::message::Message;
use crate::state::Holdings;
use crate::{CoordinatorId, Event, TransactionId, Unready};

/// The resources that branches and tombstones take up at a participant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Room {
    /// The resources of all coordinators together: the sum of `of`.
    all: Holdings,
    /// The resources that each coordinator's branches and tombstones hold. Coordinators without any are left out.
    of: BTreeMap<CoordinatorId, Holdings>,
    /// The last reported reason why branches are not accepted; `None` if the last one was accepted.
    unready: Option<Unready>,
}

impl Room {
    pub(crate) fn all(&self) -> Holdings {
        self.all
    }

    /// The coordinators that hold anything, with their resources.
    pub(crate) fn of(&self) -> &BTreeMap<CoordinatorId, Holdings> {
        &self.of
    }

    pub(crate) fn unready(&self) -> Option<Unready> {
        self.unready
    }

    /// Checks that there is room for a new branch with this number of bytes.
    pub(crate) fn check(&self, base: &Base, coordinator: CoordinatorId, bytes: usize) -> Result<(), Unready> {
        if base.chassis.storage() == StorageLevel::Low {
            return Err(Unready::StorageLow);
        }
        if base.is_log_behind() {
            return Err(Unready::LogBehind);
        }
        let (settings, all, own) = (base.config.settings(), self.all, self.held(coordinator));
        if !self.has_room(coordinator, all.branches, own.branches, settings.branches_max, 1) {
            return Err(Unready::Branches);
        }
        // Each branch leaves a tombstone.
        let (all, own) = (all.branches + all.tombstones, own.branches + own.tombstones);
        if !self.has_room(coordinator, all, own, settings.tombstones_max, 1) {
            return Err(Unready::Outcomes);
        }
        self.check_bytes(base, coordinator, bytes)
    }

    /// Checks that there is room for a branch's payload.
    pub(crate) fn check_bytes(&self, base: &Base, coordinator: CoordinatorId, bytes: usize) -> Result<(), Unready> {
        let (most, own) = (base.config.settings().payload_bytes_total_max, self.held(coordinator).payload_bytes);
        let has_room = self.has_room(coordinator, self.all.payload_bytes, own, most, bytes);
        if has_room { Ok(()) } else { Err(Unready::Payloads) }
    }

    /// Notes that a branch was accepted.
    pub(crate) fn accept(&mut self) {
        self.unready = None;
    }

    /// Tells the server of a coordinator why its branch is not accepted now, if there is a branch. The application is
    /// told when the reason is new.
    pub(crate) fn refuse(
        &mut self,
        base: &mut Base,
        coordinator: CoordinatorId,
        refused: Option<(NodeId, TransactionId)>,
        why: Unready,
    ) -> Result<(), Ignored> {
        if let Some((server, transaction)) = refused {
            base.send(server, Message::Unready { transaction, why });
        }
        if self.unready.replace(why) != Some(why) {
            base.event(Event::Unready { coordinator, why });
        }
        Err(Ignored::Unready)
    }

    /// Counts a branch and its payload.
    pub(crate) fn take_on(&mut self, coordinator: CoordinatorId, bytes: usize) {
        self.change(coordinator, |held| {
            held.branches += 1;
            held.payload_bytes += bytes;
        });
    }

    /// Uncounts a branch and its payload.
    pub(crate) fn let_go(&mut self, coordinator: CoordinatorId, bytes: usize) {
        self.change(coordinator, |held| {
            held.branches -= 1;
            held.payload_bytes -= bytes;
        });
    }

    /// Counts a tombstone.
    pub(crate) fn add_tombstone(&mut self, coordinator: CoordinatorId) {
        self.change(coordinator, |held| held.tombstones += 1);
    }

    /// Uncounts a tombstone.
    pub(crate) fn remove_tombstone(&mut self, coordinator: CoordinatorId) {
        self.change(coordinator, |held| held.tombstones -= 1);
    }

    fn change(&mut self, coordinator: CoordinatorId, change: impl Fn(&mut Holdings)) {
        change(&mut self.all);
        let held = self.of.entry(coordinator).or_default();
        change(held);
        if *held == Holdings::default() {
            self.of.remove(&coordinator);
        }
    }

    fn held(&self, coordinator: CoordinatorId) -> Holdings {
        self.of.get(&coordinator).copied().unwrap_or_default()
    }

    fn has_room(&self, coordinator: CoordinatorId, all: usize, own: usize, most: usize, more: usize) -> bool {
        let fits = |held: usize, most: usize| held.checked_add(more).is_some_and(|held| held <= most);
        let share = || most / (1 + self.of.keys().filter(|other| **other != coordinator).count());
        fits(all, most) || fits(own, share().max(more))
    }
}
