//! Starts and stops of nodes, and the outputs of their machines.

use quorate_protocol::NodeId;

use super::active::Armed;
use super::happening::{Broken, Envelope, Happening};
use super::network::Fate;
use super::ready::Ready;
use super::{Loss, Machine, MachineInput, MachineOutput, Observation, World, reached};
use crate::schedule::CrashPoint;
use crate::trace::MomentKind;

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
            MachineOutput::Peers => self.plan_links(id),
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
        if !self.know_each_other(from, to) {
            return self.sometimes("a message was sent to a node that does not know its sender");
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
        let is_up = runs && !self.network.is_cut((id, peer)) && self.know_each_other(id, peer);
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

    /// True unless one of two running nodes does not know the address of the other.
    fn know_each_other(&self, one: u64, other: u64) -> bool {
        let knows = |node: u64, peer| {
            let machine = self.nodes.get(&node).and_then(|node| node.machine.as_ref());
            machine.is_none_or(|machine| machine.knows(NodeId(peer)))
        };
        knows(one, other) && knows(other, one)
    }

    /// A node that lost its disk counts again once the group has it with its new disk, or goes on without it.
    pub(super) fn look_for_replaced(&mut self) {
        if self.nodes.values().all(|node| !node.is_lost) {
            return;
        }
        let views = self.views();
        let replaced: Vec<u64> =
            views.iter().filter(|view| view.is_lost && M::is_replaced(&views, view)).map(|view| view.node.0).collect();
        for id in replaced {
            self.node(id).is_lost = false;
        }
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
        if before.committed != seen.committed {
            self.look_for_replaced();
        }
    }
}

/// Time after which a halted node is started again.
const SUPERVISED_US: u64 = 500_000;
