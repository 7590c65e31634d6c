//! Change of the roles while the group serves (CASPaxos §2.3, made safe over crashes).
//!
//! The roles in force are themselves the content of a register of the group, with the empty key. A change goes:
//!
//! 1. The new nodes are asked if they are there. Without their quorum the change would not end.
//! 2. The joint roles are chosen, under the old ones. From now on a ballot of the new epoch needs quorums of both, so
//!    that it meets the ballots of this epoch and of the ones before and after.
//! 3. Old acceptors that are a quorum of both phases list their registers. An acceptor that answers has the new epoch
//!    durable and answers none before. So nothing more can be chosen by the old acceptors alone, and what they chose is
//!    listed.
//! 4. Each register that is listed gets its present content accepted once more, by quorums of both.
//! 5. The new roles alone are chosen, under the joint ones.
//!
//! Each step may be made twice, by several nodes at a time, or again from the beginning. So any proposer that knows of
//! a change takes it on if it hears nothing of it, and nothing but the roles themselves must survive a crash.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_protocol::{Instant, NodeId, ReadId, Ticket, ViewWriter};

use super::base::Base;
use super::content::Key;
use super::message::{List, Listed};
use super::proposer::Proposer;
use super::{CommandRefusal, Event, Ignored, Message, RolesChange, RolesInForce, RolesOutcome, RolesRefusal};
use crate::waits::doubled;

/// The change of the roles on a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changer {
    /// The application's command.
    wanted: Option<Wanted>,
    run: Option<Run>,
    /// Time at which this node takes on a change that another one has left.
    take_on_at: Option<Instant>,
    /// Number of registers that were accepted once more in this change.
    moved: u64,
}

/// A command that waits for its outcome.
#[derive(Clone, Debug)]
struct Wanted {
    id: ReadId,
    /// The joint roles with which the change begins.
    joint: RolesInForce,
    until: Instant,
    /// True once the joint roles may have been chosen.
    is_tried: bool,
}

/// What this node does for a change.
#[derive(Clone, Debug)]
struct Run {
    stage: Stage,
    /// Time at which nodes that have not answered are asked again.
    retry_at: Instant,
    retries: u32,
}

/// Step of a change.
#[derive(Clone, Debug)]
enum Stage {
    /// Step 1, with the nodes that are there.
    Probing(BTreeSet<NodeId>),
    /// Step 2.
    Beginning,
    /// Step 3, for the keys behind `after`.
    Listing { after: Bytes, listed: BTreeMap<NodeId, Listed>, removed: u64 },
    /// Step 4, for these registers. `next` is the last key of the page, unless it was the last page.
    Moving { keys: BTreeSet<Key>, next: Option<Bytes>, removed: u64 },
    /// Step 5.
    Ending,
}

impl Changer {
    /// Handles the command to change the roles.
    pub(crate) fn on_command(&mut self, base: &mut Base, proposer: &mut Proposer, id: ReadId, change: &RolesChange) {
        match self.check(base, change) {
            Ok(None) => tell(base, id, RolesOutcome::Done { epoch: base.in_force().epoch() }),
            Err(refusal) => tell(base, id, RolesOutcome::NotTried(refusal)),
            Ok(Some(joint)) => {
                let until = base.chassis.instant().after(base.config.settings().command_timeout);
                self.wanted = Some(Wanted { id, joint, until, is_tried: false });
                self.begin(base, Stage::Probing(BTreeSet::new()));
                self.on_ready(base, proposer, base.node());
            }
        }
    }

    /// The joint roles of a change; `None` if there is nothing to change.
    fn check(&self, base: &Base, change: &RolesChange) -> Result<Option<RolesInForce>, RolesRefusal> {
        if !base.is_proposer() {
            return Err(RolesRefusal::Refused(CommandRefusal::NotProposer));
        }
        if !base.is_counting() {
            return Err(RolesRefusal::Refused(CommandRefusal::NotIntroduced));
        }
        if self.wanted.is_some() || base.in_force().is_joint() {
            return Err(RolesRefusal::UnderWay);
        }
        let roles = change.apply(base.in_force())?;
        if roles == *base.in_force().roles() {
            return Ok(None);
        }
        let contexts = change.added().filter(|added| !added.context.is_empty());
        let contexts = contexts.map(|added| (added.node, added.context.clone())).into_iter().collect();
        let joint = base.in_force().begin(roles, &contexts)?;
        if base.has_room_for(&joint) { Ok(Some(joint)) } else { Err(RolesRefusal::TooLarge) }
    }

    fn begin(&mut self, base: &mut Base, stage: Stage) {
        self.run = Some(Run { stage, retry_at: base.chassis.instant(), retries: 0 });
        self.take_on_at = None;
        self.ask(base);
    }

    /// A node is there. If all new ones are, and enough of all, the joint roles may be chosen.
    pub(crate) fn on_ready(&mut self, base: &mut Base, proposer: &mut Proposer, from: NodeId) {
        let (Some(wanted), Some(Run { stage: Stage::Probing(ready), .. })) = (&mut self.wanted, &mut self.run) else {
            return;
        };
        ready.insert(from);
        if !missing(&wanted.joint, base, ready).is_empty() || !is_enough(&wanted.joint, ready) {
            return;
        }
        wanted.is_tried = true;
        let value = wanted.joint.encode();
        proposer.begin_settle(base, present(base.in_force()), value);
        self.begin(base, Stage::Beginning);
    }

    /// Handles the outcome of step 2 or 5: the content of the register of the roles that is chosen, or `None` if there
    /// was none in time. Returns newer roles than are in force here.
    pub(crate) fn on_settled(
        &mut self,
        base: &mut Base,
        proposer: &mut Proposer,
        settled: Option<Bytes>,
    ) -> Option<RolesInForce> {
        let chosen = settled.and_then(|bytes| RolesInForce::decode(&bytes).ok());
        if let Some(newer) = chosen.filter(|chosen| chosen.epoch() > base.in_force().epoch()) {
            return Some(newer);
        }
        match &self.run {
            Some(Run { stage: Stage::Ending, .. }) => self.end(base, proposer, 0),
            // The caller was told, or is told now, that the outcome is unknown.
            Some(Run { stage: Stage::Beginning, .. }) => self.run = None,
            _ => {}
        }
        None
    }

    /// The roles in force have changed on this node.
    pub(crate) fn on_adopted(&mut self, base: &mut Base) {
        (self.run, self.take_on_at, self.moved) = (None, None, 0);
        let in_force = base.in_force().clone();
        let is_own = self.wanted.as_ref().is_some_and(|wanted| wanted.joint == in_force);
        if in_force.is_joint() && is_own {
            self.extend(base);
            return self.begin(base, first_page());
        }
        let Some(wanted) =
            self.wanted.take_if(|wanted| !in_force.is_joint() || in_force.epoch() > wanted.joint.epoch())
        else {
            return self.overtaken(base, &in_force);
        };
        let is_done = in_force.roles() == wanted.joint.roles() && in_force.epoch() == wanted.joint.epoch() + 1;
        let outcome = if is_done {
            RolesOutcome::Done { epoch: in_force.epoch() }
        } else if wanted.is_tried && in_force.epoch() > wanted.joint.epoch() {
            RolesOutcome::Unknown
        } else {
            RolesOutcome::NotTried(RolesRefusal::Overtaken)
        };
        tell(base, wanted.id, outcome);
    }

    /// Other joint roles of the same epoch were chosen: those that were wanted never will be.
    fn overtaken(&mut self, base: &mut Base, in_force: &RolesInForce) {
        let overtaken = |wanted: &mut Wanted| wanted.joint.epoch() == in_force.epoch() && wanted.joint != *in_force;
        if let Some(wanted) = self.wanted.take_if(overtaken) {
            tell(base, wanted.id, RolesOutcome::NotTried(RolesRefusal::Overtaken));
        }
    }

    /// Sets the time at which this node takes on the change under way.
    pub(crate) fn arm(&mut self, base: &mut Base) {
        let is_wanted = base.in_force().is_joint() && base.is_proposer() && base.is_counting();
        if !is_wanted {
            self.take_on_at = None;
        } else if self.take_on_at.is_none() && self.run.is_none() {
            let longest = base.config.settings().retry_interval_max.saturating_mul(4);
            self.take_on_at = Some(base.draw_wait(longest, 0, longest));
        }
    }

    /// Another node is at work on the change: this one waits.
    pub(crate) fn yield_to(&mut self, base: &Base, other: NodeId) {
        if other != base.node() {
            self.take_on_at = None;
        }
    }

    /// Handles the keys of an old acceptor.
    pub(crate) fn on_listed(
        &mut self,
        base: &mut Base,
        proposer: &mut Proposer,
        from: NodeId,
        told: Listed,
    ) -> Result<(), Ignored> {
        base.check_acceptor(from)?;
        if !told.is_end && told.keys.is_empty() || told.keys.iter().any(|key| *key <= told.after) {
            return Err(Ignored::Key);
        }
        base.check_round(told.removed.max(1))?;
        let Some(Run { stage: Stage::Listing { after, listed, removed }, .. }) = &mut self.run else {
            return Err(Ignored::StaleAnswer);
        };
        if *after != told.after || listed.contains_key(&from) {
            return Err(Ignored::StaleAnswer);
        }
        *removed = told.removed.max(*removed);
        listed.insert(from, told);
        if !base.in_force().is_sealed_by(|node| listed.contains_key(&node)) {
            return Ok(());
        }
        // Behind the first end of a page the lists are not complete.
        let last = listed.values().filter(|told| !told.is_end).filter_map(|told| told.keys.last()).min().cloned();
        let all = listed.values().flat_map(|told| &told.keys);
        let keys = all.filter(|key| last.as_ref().is_none_or(|last| *key <= last)).map(|key| Key::from(&key[..]));
        let (keys, removed): (BTreeSet<Key>, u64) = (keys.collect(), *removed);
        for key in &keys {
            proposer.begin_move(base, key);
        }
        self.begin(base, Stage::Moving { keys, next: last, removed });
        self.turn_page(base, proposer);
        Ok(())
    }

    /// Handles registers whose content was accepted once more, or was not in time.
    pub(crate) fn on_moved(&mut self, base: &mut Base, proposer: &mut Proposer, moved: Vec<(Key, bool)>) {
        let Some(Run { stage: Stage::Moving { keys, .. }, .. }) = &mut self.run else { return };
        let mut is_progress = false;
        for (key, is_moved) in moved {
            if !is_moved && keys.contains(&key) {
                proposer.begin_move(base, &key);
            } else if keys.remove(&key) {
                self.moved += 1;
                is_progress = true;
            }
        }
        if is_progress {
            self.extend(base);
        }
        self.turn_page(base, proposer);
    }

    /// Goes on to the next page, or to the end.
    fn turn_page(&mut self, base: &mut Base, proposer: &mut Proposer) {
        let Some(Run { stage: Stage::Moving { keys, next, removed }, .. }) = &self.run else { return };
        if !keys.is_empty() {
            return;
        }
        let (next, removed) = (next.clone(), *removed);
        match next {
            Some(after) => self.begin(base, Stage::Listing { after, listed: BTreeMap::new(), removed }),
            None => self.end(base, proposer, removed),
        }
    }

    /// Step 5. If it is tried again, what was told of removed registers is not known any more: the change begins anew.
    fn end(&mut self, base: &mut Base, proposer: &mut Proposer, removed: u64) {
        if matches!(self.run, Some(Run { stage: Stage::Ending, .. })) {
            return self.begin(base, first_page());
        }
        let ended = base.in_force().ended(removed);
        proposer.begin_settle(base, present(base.in_force()), ended.encode());
        self.begin(base, Stage::Ending);
    }

    /// Gives the caller more time, because there was progress.
    fn extend(&mut self, base: &Base) {
        let until = base.chassis.instant().after(base.config.settings().command_timeout);
        if let Some(wanted) = &mut self.wanted {
            wanted.until = until;
        }
    }

    /// Does what is due: answers a caller whose time is over, asks again, or takes a change on.
    pub(crate) fn on_timeout(&mut self, base: &mut Base) {
        let now = base.chassis.instant();
        if let Some(wanted) = self.wanted.take_if(|wanted| wanted.until <= now) {
            self.expire(base, &wanted);
        }
        if self.take_on_at.take_if(|at| *at <= now).is_some() {
            self.begin(base, first_page());
        }
        if self.run.as_ref().is_some_and(|run| run.retry_at <= now) {
            self.ask(base);
        }
    }

    fn expire(&mut self, base: &mut Base, wanted: &Wanted) {
        let probing = self.run.take_if(|run| matches!(run.stage, Stage::Probing(_)));
        let outcome = match probing {
            Some(Run { stage: Stage::Probing(ready), .. }) => {
                RolesOutcome::NotTried(RolesRefusal::NotReady(missing(&wanted.joint, base, &ready)))
            }
            _ if *base.in_force() == wanted.joint => RolesOutcome::UnderWay { epoch: wanted.joint.epoch() },
            _ => RolesOutcome::Unknown,
        };
        tell(base, wanted.id, outcome);
    }

    /// Asks every node that has not answered the step, and sets the time of the next repetition.
    fn ask(&mut self, base: &mut Base) {
        let to = self.silent_or_not_asked(base);
        let Some(run) = &mut self.run else { return };
        let settings = base.config.settings();
        let wait = doubled(settings.retry_interval_min, run.retries).min(IDLE_INTERVAL_MAX);
        run.retry_at = base.chassis.instant().after(wait);
        run.retries = run.retries.saturating_add(1);
        let system = base.system();
        let message = match &run.stage {
            Stage::Probing(_) => Message::Probe { system },
            Stage::Listing { after, .. } => Message::List(List { system, after: after.clone() }),
            // The commands of the proposer end by themselves.
            Stage::Beginning | Stage::Moving { .. } | Stage::Ending => {
                return run.retry_at = base.chassis.instant().after(IDLE_INTERVAL_MAX);
            }
        };
        for to in to {
            base.post(Ticket(0), to, message.clone());
        }
    }

    /// The nodes whose answer the step waits for.
    fn silent_or_not_asked(&self, base: &Base) -> BTreeSet<NodeId> {
        match (&self.run, &self.wanted) {
            (Some(Run { stage: Stage::Probing(ready), .. }), Some(wanted)) => {
                let roles = wanted.joint.roles();
                roles.members().into_iter().filter(|node| !ready.contains(node)).collect()
            }
            (Some(Run { stage: Stage::Listing { listed, .. }, .. }), _) => {
                let old = base.in_force().outgoing().map(|roles| roles.quorums().acceptors().clone());
                old.unwrap_or_default().into_iter().filter(|node| !listed.contains_key(node)).collect()
            }
            _ => BTreeSet::new(),
        }
    }

    /// The nodes that have not answered although they were asked more than once.
    pub(crate) fn silent(&self, base: &Base) -> Vec<NodeId> {
        let is_patient = self.run.as_ref().is_none_or(|run| run.retries <= 1);
        if is_patient { Vec::new() } else { self.silent_or_not_asked(base).into_iter().collect() }
    }

    /// Number of registers that were accepted once more in the change under way, by this node.
    pub(crate) fn moved(&self) -> u64 {
        self.moved
    }

    /// The joint roles that an application waits for: their nodes must be reached.
    pub(crate) fn wanted(&self) -> Option<&RolesInForce> {
        self.wanted.as_ref().map(|wanted| &wanted.joint)
    }

    /// A node can be reached again: it is asked soon.
    pub(crate) fn hurry(&mut self, base: &Base) {
        let soon = base.chassis.instant().after(base.config.settings().retry_interval_min);
        if let Some(run) = &mut self.run {
            run.retry_at = run.retry_at.min(soon);
        }
    }

    /// The group has stopped: callers are answered by its host.
    pub(crate) fn on_halted(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn times(&self) -> impl Iterator<Item = Instant> + '_ {
        let wanted = self.wanted.as_ref().map(|wanted| wanted.until);
        self.take_on_at.into_iter().chain(wanted).chain(self.run.as_ref().map(|run| run.retry_at))
    }

    pub(crate) fn view(&self, writer: &mut ViewWriter) {
        writer.put(&self.take_on_at.map(|at| writer.time(at)));
        if let Some(Wanted { id, joint, until, is_tried }) = &self.wanted {
            writer.put(&(id, joint, writer.time(*until), is_tried));
        }
        if let Some(run) = &self.run {
            writer.put(&(&run.stage, writer.time(run.retry_at)));
        }
    }
}

fn tell(base: &mut Base, id: ReadId, outcome: RolesOutcome) {
    base.chassis.outbox.event(Event::RolesChanged { id, outcome });
}

fn first_page() -> Stage {
    Stage::Listing { after: Bytes::new(), listed: BTreeMap::new(), removed: 0 }
}

/// The content of the register of the roles while these are in force.
fn present(in_force: &RolesInForce) -> Option<Bytes> {
    (in_force.epoch() > 0).then(|| in_force.encode())
}

/// The nodes that get a role and are not there.
fn missing(joint: &RolesInForce, base: &Base, ready: &BTreeSet<NodeId>) -> Vec<NodeId> {
    let is_new = |node: &NodeId| !base.in_force().contains(*node);
    joint.roles().members().into_iter().filter(|node| is_new(node) && !ready.contains(node)).collect()
}

/// True if the nodes that are there suffice for both phases under the new roles.
fn is_enough(joint: &RolesInForce, ready: &BTreeSet<NodeId>) -> bool {
    let quorums = joint.roles().quorums();
    quorums.is_prepare_quorum(|node| ready.contains(&node)) && quorums.is_accept_quorum(|node| ready.contains(&node))
}

/// Longest wait for what ends by itself.
const IDLE_INTERVAL_MAX: std::time::Duration = std::time::Duration::from_hours(1);
