//! One simulated node: its machine, the queue of its disk, and its inputs and outputs.

use std::collections::{BTreeMap, BTreeSet};

use quorate_protocol::{NodeId, Random};

use super::clock::NodeClock;
use super::faults::Armed;
use super::network::Fate;
use super::rounds::Ready;
use super::{
    Broken, Damage, Envelope, Happening, Loss, Machine, MachineInput, MachineOutput, NodeView, Observation, World,
    reached,
};
use crate::schedule::CrashPoint;
use crate::trace::MomentKind;

/// A node of the simulated world.
pub(super) struct Node<M: Machine> {
    pub(super) machine: Option<M>,
    pub(super) disk: M::Disk,
    pub(super) incarnation: u64,
    /// Number of starts so far. An operation of an earlier start is not answered to a later one.
    pub(super) start: u64,
    pub(super) clock: NodeClock,
    /// Time of the earliest planned timer.
    pub(super) timer_us: Option<u64>,
    pub(super) is_round_planned: bool,
    /// Inputs that wait for its loop.
    pub(super) ready: Ready<M>,
    /// The crash that waits for it to reach a point of its work.
    pub(super) armed: Option<Armed>,
    /// The armed crash whose point it has reached.
    pub(super) dying: Option<Armed>,
    /// It lost acknowledged data, and counts as down for good.
    pub(super) is_lost: bool,
    /// It reported once that the others do not depend on any single disk.
    pub(super) is_founded: bool,
    /// Number of active faults of each kind on its disk.
    pub(super) damages: BTreeMap<Damage, u32>,
    /// Its disk had a fault since it started, so it may halt.
    pub(super) is_excused: bool,
    /// Time at which it last stopped.
    pub(super) stopped_us: Option<u64>,
    /// The peers that it believes to be connected to.
    linked: BTreeSet<u64>,
    /// Number of writes that its disk has not completed.
    pub(super) writing: u32,
    /// Number of changes.
    pub(super) changes: u64,
    /// Number of faults that pause its loop.
    pub(super) pauses: u32,
    /// Number of faults that stall its disk, and the operations that completed meanwhile.
    pub(super) stalls: u32,
    pub(super) held: Vec<Happening<M::Message>>,
    pub(super) disk_slower_us: u64,
    /// Additional time for building a snapshot, in microseconds.
    pub(super) builds_slower_us: u64,
    /// Number of faults that make requests of its cores disappear.
    pub(super) requests_lost: u32,
    /// Percentage of its messages in which a bit flips.
    pub(super) flips_percent: u64,
    /// Time at which the disk has completed all its operations.
    disk_free_us: u64,
    pub(super) seen: Observation,
}

impl<M: Machine> Node<M> {
    pub(super) fn new(disk: M::Disk, clock: NodeClock) -> Self {
        Self {
            machine: None,
            disk,
            incarnation: 1,
            start: 0,
            clock,
            timer_us: None,
            is_round_planned: false,
            ready: Ready::default(),
            armed: None,
            dying: None,
            is_lost: false,
            is_founded: false,
            damages: BTreeMap::new(),
            is_excused: false,
            stopped_us: None,
            linked: BTreeSet::new(),
            writing: 0,
            changes: 0,
            pauses: 0,
            stalls: 0,
            held: Vec::new(),
            disk_slower_us: 0,
            builds_slower_us: 0,
            flips_percent: 0,
            requests_lost: 0,
            disk_free_us: 0,
            seen: Observation::default(),
        }
    }
}

impl<M: Machine> Node<M> {
    pub(super) fn view(&self, node: NodeId) -> NodeView<'_, M> {
        let Self { machine, disk, is_lost, changes, .. } = self;
        NodeView { node, machine: machine.as_ref(), disk, is_lost: *is_lost, changes: *changes }
    }
}

/// Durations without the influence of faults.
pub(super) struct Timing {
    random: Random,
    /// One round in this many is long, because another task on its thread is busy. `None` if no other task runs there.
    long_one_in: Option<u64>,
}

impl Timing {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x7469_6d69_6e67);
        let long_one_in = [None, None, Some(200), Some(20)][usize::try_from(random.between(0, 4)).expect("small")];
        Self { random, long_one_in }
    }

    pub(super) fn clock(&mut self) -> NodeClock {
        let ahead_ms = i64::try_from(self.random.between(0, 1_000)).expect("small") - 500;
        NodeClock::new(self.random.between(1_000_000_000, 9_000_000_000), ahead_ms)
    }

    /// Time until the loop handles an input that arrived.
    pub(super) fn loop_us(&mut self) -> u64 {
        match self.long_one_in {
            Some(one_in) if self.random.between(0, one_in) == 0 => self.random.between(60, 5_000),
            _ => self.random.between(1, 60),
        }
    }

    fn write_us(&mut self) -> u64 {
        self.random.between(200, 1_500)
    }

    /// Time until a connection is known to stand, or to be broken.
    fn link_us(&mut self) -> u64 {
        self.random.between(1_000, 150_000)
    }

    /// Time from the return of the power until the node runs.
    pub(super) fn start_us(&mut self) -> u64 {
        self.random.between(0, 60_000)
    }

    fn read_us(&mut self) -> u64 {
        self.random.between(50, 500)
    }
}

impl<M: Machine> World<'_, M> {
    pub(super) fn start(&mut self, id: u64) -> Result<(), Broken> {
        let now_us = self.now_us;
        let node = self.node(id);
        if node.machine.is_some() {
            return Ok(());
        }
        node.start += 1;
        node.changes += 1;
        node.timer_us = None;
        node.is_round_planned = false;
        node.ready = Ready::default();
        (node.armed, node.dying) = (None, None);
        node.is_excused = !node.damages.is_empty();
        node.linked.clear();
        node.writing = 0;
        node.disk_free_us = now_us;
        node.seen = Observation::default();
        let now = node.clock.now(now_us);
        let setup = self.setup;
        let node = self.node(id);
        let machine = match M::start(setup, NodeId(id), now, &mut node.disk) {
            Ok(machine) => machine,
            // It refuses to start from what it finds, as it must. It stays down, or is started again when its disk
            // works again.
            Err(_) if node.is_lost || node.is_excused => {
                self.sometimes("a node refused to start from a damaged disk");
                return Ok(());
            }
            Err(error) => return Err(("starts from its disk".to_owned(), format!("node {id}: {error}"))),
        };
        self.node(id).machine = Some(machine);
        self.trace.note(now_us, id, || MomentKind::Started);
        self.plan_round(id);
        self.plan_links(id);
        Ok(())
    }

    pub(super) fn crash(&mut self, id: u64, loss: Loss) {
        let node = self.nodes.get_mut(&id).expect("nodes are never removed");
        node.changes += 1;
        let Some(machine) = node.machine.take() else { return };
        (node.armed, node.dying) = (None, None);
        node.held.clear();
        node.ready = Ready::default();
        node.stopped_us = Some(self.now_us);
        machine.crash(&mut node.disk, loss, &mut self.crash_random);
        self.trace.note(self.now_us, id, || MomentKind::Stopped);
        self.forget_calls(id);
        self.plan_links(id);
    }

    /// Ends the node's round if a crash was armed for this point of its work. It crashes after the laws have checked
    /// its last state.
    pub(super) fn crash_at(&mut self, id: u64, point: CrashPoint) -> bool {
        let node = self.node(id);
        let is_writing = node.writing > 0;
        let is_met = |armed: &Armed| {
            let is_sent_while_writing = armed.point == CrashPoint::SentWhileWriting && is_writing;
            armed.point == point || (is_sent_while_writing && point == CrashPoint::Sent)
        };
        let Some(armed) = node.armed.take_if(|armed| is_met(armed)) else { return false };
        node.dying = Some(armed);
        true
    }

    /// The leader of the newest term.
    pub(super) fn leader(&self) -> Option<u64> {
        let leading = self.nodes.iter().filter(|(_, node)| node.machine.is_some() && node.seen.is_leader);
        leading.max_by_key(|(_, node)| node.seen.term).map(|(id, _)| *id)
    }

    pub(super) fn node(&mut self, id: u64) -> &mut Node<M> {
        self.nodes.get_mut(&id).expect("nodes are never removed")
    }

    pub(super) fn plan_timer(&mut self, id: u64) {
        let now_us = self.now_us;
        let node = self.node(id);
        let Some(deadline) = node.machine.as_ref().and_then(M::deadline) else { return };
        let at_us = node.clock.when(deadline).max(now_us);
        if node.timer_us.is_none_or(|planned_us| at_us < planned_us) {
            node.timer_us = Some(at_us);
            self.plan_at(at_us, Happening::Timer { node: id });
        }
    }

    /// Carries out an output. Returns false if the node is down because of it, or about to crash.
    pub(super) fn carry_out(&mut self, id: u64, output: MachineOutput<M::Message, M::Answer>) -> Result<bool, Broken> {
        match output {
            MachineOutput::Send { to, message } => {
                if self.crash_at(id, CrashPoint::Send) {
                    return Ok(false);
                }
                self.send(id, to.0, message);
                return Ok(!self.crash_at(id, CrashPoint::Sent));
            }
            MachineOutput::Write { token } => {
                self.ask_disk(id, token);
                return Ok(!self.crash_at(id, CrashPoint::Persist));
            }
            MachineOutput::Read { token } => {
                let in_us = self.timing.read_us();
                self.plan_done(id, token, in_us);
            }
            MachineOutput::Build { token } => {
                let in_us = self.timing.write_us() + self.node(id).builds_slower_us;
                self.plan_done(id, token, in_us);
            }
            MachineOutput::Answer { call, answer } => {
                self.trace.count(&(self.now_us, id, call));
                self.answer(call, &answer);
            }
            MachineOutput::Sometimes(what) => self.sometimes(what),
            MachineOutput::Halt { reason } => return self.halt(id, &reason),
        }
        Ok(true)
    }

    /// A node may halt only because of a disk fault. It is started again when the fault ends, or soon after.
    fn halt(&mut self, id: u64, reason: &str) -> Result<bool, Broken> {
        let node = self.node(id);
        if !node.is_excused && !node.is_lost {
            return Err(("no node halts by itself".to_owned(), format!("node {id}: {reason}")));
        }
        if node.damages.is_empty() {
            self.plan(SUPERVISED_US, Happening::Start { node: id });
        }
        self.sometimes("a node halted for its disk");
        self.crash(id, Loss::Nothing);
        Ok(false)
    }

    fn send(&mut self, from: u64, to: u64, mut message: M::Message) {
        let percent = self.node(from).flips_percent;
        if percent > 0
            && self.damage_random.between(0, 100) < percent
            && M::flip_bit(&mut message, &mut self.damage_random)
        {
            self.sometimes(reached::BIT_FLIPPED);
        }
        let fate = self.network.send(self.now_us, (from, to), || M::message_bytes(&message));
        let (incarnation, sent_us) = (self.node(from).incarnation, self.now_us);
        let what = match fate {
            Fate::Arrives { leaves_us, at_us, again_us } => {
                let envelope = Envelope { to, from, incarnation, sent_us, leaves_us };
                if let Some(at_us) = again_us {
                    self.plan_at(at_us, Happening::Arrive(envelope, Box::new(message.clone())));
                }
                return self.plan_at(at_us, Happening::Arrive(envelope, Box::new(message)));
            }
            Fate::Cut => "a message met a cut link",
            Fate::Lost => "a message was lost",
            Fate::Crowded => "a message found no room on a slow link",
        };
        self.sometimes(what);
        self.trace.note(self.now_us, from, || MomentKind::Lost { to, text: format!("{message:?}") });
    }

    /// Lets a node that stopped or started, and its peers, learn of it.
    fn plan_links(&mut self, id: u64) {
        for peer in (1..=self.schedule.nodes).filter(|peer| *peer != id) {
            self.plan_link(id, peer);
            self.plan_link(peer, id);
        }
    }

    pub(super) fn plan_link(&mut self, id: u64, peer: u64) {
        let in_us = self.timing.link_us();
        self.plan(in_us, Happening::Link { node: id, peer });
    }

    /// The transport of a node finds out whether its messages reach a peer.
    pub(super) fn link(&mut self, id: u64, peer: u64) {
        let Some(other) = self.nodes.get(&peer) else { return };
        let (runs, incarnation) = (other.machine.is_some(), other.incarnation);
        let is_up = runs && !self.network.is_cut((id, peer));
        let node = self.node(id);
        let has_changed = if is_up { node.linked.insert(peer) } else { node.linked.remove(&peer) };
        if node.machine.is_none() || !has_changed {
            return;
        }
        self.trace.count(&(self.now_us, id, peer, is_up));
        let peer = NodeId(peer);
        let event = if is_up { MachineInput::LinkUp { peer, incarnation } } else { MachineInput::LinkDown { peer } };
        self.node(id).ready.frames.push_back(event);
        self.plan_round(id);
    }

    /// The disk completes writes one after another.
    fn ask_disk(&mut self, id: u64, token: u64) {
        let takes_us = self.timing.write_us();
        let now_us = self.now_us;
        let node = self.node(id);
        let at_us = node.disk_free_us.max(now_us) + takes_us + node.disk_slower_us;
        node.disk_free_us = at_us;
        node.writing += 1;
        let start = node.start;
        self.plan_at(at_us, Happening::DiskDone { node: id, start, token, is_write: true });
    }

    fn plan_done(&mut self, id: u64, token: u64, in_us: u64) {
        let start = self.node(id).start;
        self.plan(in_us, Happening::DiskDone { node: id, start, token, is_write: false });
    }

    /// Notes changes of the node's visible state.
    pub(super) fn look_at(&mut self, id: u64) {
        let node = self.node(id);
        let Some(machine) = &node.machine else { return };
        let seen = machine.observe();
        node.is_founded = node.is_founded || machine.is_founded();
        let before = std::mem::replace(&mut node.seen, seen);
        if (before.term, before.is_leader) != (seen.term, seen.is_leader) {
            let (term, is_leader) = (seen.term, seen.is_leader);
            self.trace.note(self.now_us, id, || MomentKind::Role { term, is_leader });
            if is_leader {
                self.last_leader = id;
                self.leaders_begun += 1;
                self.begin_hunt(id);
            }
        }
        self.trace.count(&(id, seen.term, seen.is_leader, seen.committed, seen.digest));
    }
}

/// Time after which a halted node is started again.
const SUPERVISED_US: u64 = 500_000;
