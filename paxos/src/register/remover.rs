//! Removal of deleted registers (CASPaxos §3.1), so that nothing of them resurrects.
//!
//! A deletion writes a tombstone. It is removed later, together with others:
//!
//! 1. Every acceptor accepts the tombstone in one ballot.
//! 2. Every proposer forgets what was promised to it, and goes on with a higher age and higher ballots.
//! 3. Every acceptor ignores messages of lower ages for ever: they may be old enough to contain what was deleted.
//! 4. Every acceptor removes the register, unless it was used since step 1.
//!
//! Each step needs an answer of every node. While one is away, tombstones stay, and this is said.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_protocol::{Instant, NodeId, ViewWriter};

use super::acceptor::Acceptor;
use super::base::Base;
use super::content::Key;
use super::message::{AgeRaised, RaiseAge, Removal, Remove, RequireAges};
use super::proposer::Proposer;
use super::{Ignored, Message};
use crate::Ballot;
use crate::waits::doubled;

/// The removal under way on a node, or the time of the next one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remover {
    /// Time at which a removal begins; `None` if there is nothing to remove or a removal is under way.
    begin_at: Option<Instant>,
    run: Option<Run>,
    /// Number of removals so far.
    number: u64,
    /// Number of removals in a row that removed nothing.
    vain: u32,
}

/// A removal under way.
#[derive(Clone, Debug)]
struct Run {
    removal: Removal,
    stage: Stage,
    /// The registers, each with the ballot in which every acceptor has accepted its tombstone.
    deleted: Vec<(Key, Ballot)>,
    /// Time at which nodes that have not answered are asked again.
    retry_at: Instant,
    retries: u32,
}

/// Step of a removal.
#[derive(Clone, Debug)]
enum Stage {
    /// Step 1, for these registers.
    Spreading(BTreeSet<Key>),
    /// Step 2, with the ages of the proposers that have answered.
    Raising(BTreeMap<NodeId, u64>),
    /// Step 3, with the ages and the acceptors that have answered.
    Requiring(Vec<(NodeId, u64)>, BTreeSet<NodeId>),
    /// Step 4, with the acceptors that have answered.
    Removing(BTreeSet<NodeId>),
}

impl Remover {
    /// Sets the time of the next removal, if something was deleted.
    pub(crate) fn arm(&mut self, base: &mut Base, acceptor: &Acceptor) {
        // While the roles change, everybody would have to know both steps: it waits.
        let may_remove = base.is_proposer() && base.is_counting() && !base.in_force().is_joint();
        let is_wanted = may_remove && !acceptor.table.tombstones().is_empty();
        if !is_wanted {
            self.begin_at = None;
        } else if self.begin_at.is_none() && self.run.is_none() {
            let longest = base.config.settings().remove_after.saturating_mul(2);
            self.begin_at = Some(base.draw_wait(longest, self.vain, longest.max(IDLE_INTERVAL_MAX)));
        }
    }

    /// Another node removes registers: this one waits.
    pub(crate) fn yield_to(&mut self, base: &Base, other: NodeId) {
        if other != base.node() {
            self.begin_at = None;
        }
    }

    /// Does what is due: begins a removal, or asks again.
    pub(crate) fn on_timeout(&mut self, base: &mut Base, acceptor: &Acceptor, proposer: &mut Proposer) {
        let now = base.chassis.instant();
        if self.begin_at.take_if(|at| *at <= now).is_some() {
            self.begin(base, acceptor, proposer);
        }
        if self.run.as_ref().is_some_and(|run| run.retry_at <= now) {
            self.ask(base);
        }
    }

    fn begin(&mut self, base: &Base, acceptor: &Acceptor, proposer: &mut Proposer) {
        let count_max = base.config.settings().remove_max;
        let keys: BTreeSet<Key> = acceptor.table.tombstones().iter().take(count_max).cloned().collect();
        if keys.is_empty() || !base.is_counting() {
            return;
        }
        for key in &keys {
            proposer.begin_spread(base, key);
        }
        self.number += 1;
        let removal = Removal { start: base.config.seed(), number: self.number };
        // Step 1 ends by itself.
        let retry_at = base.chassis.instant().after(IDLE_INTERVAL_MAX);
        self.run = Some(Run { removal, stage: Stage::Spreading(keys), deleted: Vec::new(), retry_at, retries: 0 });
    }

    /// Notes the tombstones that were spread. When all are, the next step begins.
    pub(crate) fn on_spread(&mut self, base: &mut Base, spread: Vec<(Key, Option<Ballot>)>) {
        let Some(run) = &mut self.run else { return };
        let Stage::Spreading(waiting) = &mut run.stage else { return };
        for (key, ballot) in spread {
            if waiting.remove(&key) {
                run.deleted.extend(ballot.map(|ballot| (key, ballot)));
            }
        }
        if !waiting.is_empty() {
            return;
        }
        if run.deleted.is_empty() {
            self.run = None;
            self.vain = self.vain.saturating_add(1);
            return;
        }
        run.stage = Stage::Raising(BTreeMap::new());
        self.ask_first(base);
    }

    /// Handles the age of a proposer.
    pub(crate) fn on_age_raised(&mut self, base: &mut Base, from: NodeId, message: AgeRaised) -> Result<(), Ignored> {
        base.check_proposer(from)?;
        let run = self.run.as_mut().filter(|run| run.removal == message.removal).ok_or(Ignored::StaleAnswer)?;
        let Stage::Raising(ages) = &mut run.stage else { return Err(Ignored::StaleAnswer) };
        ages.insert(from, message.age);
        if base.in_force().proposers().iter().all(|node| ages.contains_key(node)) {
            let ages = ages.iter().map(|(node, age)| (*node, *age)).collect();
            run.stage = Stage::Requiring(ages, BTreeSet::new());
            self.ask_first(base);
        }
        Ok(())
    }

    /// Handles an acceptor's answer to step 3 or, if `is_removed`, to step 4.
    pub(crate) fn on_done(
        &mut self,
        base: &mut Base,
        from: NodeId,
        removal: Removal,
        is_removed: bool,
    ) -> Result<(), Ignored> {
        base.check_acceptor(from)?;
        let run = self.run.as_mut().filter(|run| run.removal == removal).ok_or(Ignored::StaleAnswer)?;
        let done = match &mut run.stage {
            Stage::Requiring(_, done) if !is_removed => done,
            Stage::Removing(done) if is_removed => done,
            _ => return Err(Ignored::StaleAnswer),
        };
        done.insert(from);
        if !base.in_force().acceptors().is_subset(done) {
            return Ok(());
        }
        if is_removed {
            (self.run, self.vain) = (None, 0);
        } else {
            run.stage = Stage::Removing(BTreeSet::new());
            self.ask_first(base);
        }
        Ok(())
    }

    /// Begins a step.
    fn ask_first(&mut self, base: &mut Base) {
        if let Some(run) = &mut self.run {
            run.retries = 0;
        }
        self.ask(base);
    }

    /// Asks every node that has not answered the step, and sets the time of the next repetition.
    fn ask(&mut self, base: &mut Base) {
        let Some(run) = &mut self.run else { return };
        let wait = doubled(base.config.settings().retry_interval_max, run.retries).min(IDLE_INTERVAL_MAX);
        run.retry_at = base.chassis.instant().after(wait);
        run.retries = run.retries.saturating_add(1);
        let (system, removal) = (base.system(), run.removal);
        let round = run.deleted.iter().map(|(_, ballot)| ballot.round).max().unwrap_or_default();
        let message = match &run.stage {
            Stage::Spreading(_) => return,
            Stage::Raising(_) => Message::RaiseAge(RaiseAge { system, removal, round }),
            Stage::Requiring(ages, _) => Message::RequireAges(RequireAges { system, removal, ages: ages.clone() }),
            Stage::Removing(_) => {
                let named = run.deleted.iter().map(|(key, ballot)| (Bytes::copy_from_slice(key), *ballot));
                Message::Remove(Remove { system, removal, deleted: named.collect() })
            }
        };
        for to in self.missing(base) {
            base.post(quorate_protocol::Ticket(0), to, message.clone());
        }
    }

    /// The nodes whose answer the step waits for.
    fn missing(&self, base: &Base) -> Vec<NodeId> {
        let Some(run) = &self.run else { return Vec::new() };
        let roles = base.in_force();
        let acceptors = roles.acceptors();
        match &run.stage {
            Stage::Spreading(_) => Vec::new(),
            Stage::Raising(ages) => roles.proposers().iter().filter(|node| !ages.contains_key(node)).copied().collect(),
            Stage::Requiring(_, done) | Stage::Removing(done) => acceptors.difference(done).copied().collect(),
        }
    }

    /// The nodes that have not answered although they were asked more than once.
    pub(crate) fn silent(&self, base: &Base) -> Vec<NodeId> {
        if self.run.as_ref().is_some_and(|run| run.retries > 1) { self.missing(base) } else { Vec::new() }
    }

    /// True if the last attempts to remove deleted registers failed, because an acceptor is away.
    pub(crate) fn is_vain(&self) -> bool {
        self.vain > 0
    }

    /// A node can be reached again: it is asked soon.
    pub(crate) fn hurry(&mut self, base: &mut Base) {
        let soon = base.chassis.instant().after(base.config.settings().retry_interval_max);
        self.vain = self.vain.min(1);
        if let Some(run) = self.run.as_mut().filter(|run| !matches!(run.stage, Stage::Spreading(_))) {
            run.retry_at = run.retry_at.min(soon);
        }
        let latest = base.chassis.instant().after(base.config.settings().remove_after.saturating_mul(2));
        if let Some(at) = &mut self.begin_at {
            *at = (*at).min(latest);
        }
    }

    /// Ends the removal under way: this node no longer counts, or the group has stopped.
    pub(crate) fn end(&mut self) {
        (self.run, self.begin_at) = (None, None);
    }

    pub(crate) fn times(&self) -> impl Iterator<Item = Instant> + '_ {
        self.begin_at.into_iter().chain(self.run.as_ref().map(|run| run.retry_at))
    }

    pub(crate) fn view(&self, writer: &mut ViewWriter) {
        writer.put(&(self.begin_at.map(|at| writer.time(at)), self.number));
        if let Some(run) = &self.run {
            writer.put(&(run.removal, &run.stage, &run.deleted, writer.time(run.retry_at)));
        }
    }
}

/// Longest wait while some node is away.
const IDLE_INTERVAL_MAX: std::time::Duration = std::time::Duration::from_hours(1);
