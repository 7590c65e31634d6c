//! The loop of a node: each round hands in all inputs that are ready, in the order of the shipped driver, and then
//! carries out the outputs.

use quorate_protocol::{NodeId, Now};

use super::happening::{Broken, Envelope, Happening};
use super::{ClientAnswer, Machine, MachineInput, World, reached};
use crate::schedule::CrashPoint;
use crate::trace::MomentKind;

impl<M: Machine> World<'_, M> {
    pub(super) fn arrive(&mut self, envelope: Envelope, message: Box<M::Message>) {
        let Envelope { to, from, incarnation, sent_us, leaves_us } = envelope;
        // A part of a message that had not left when its sender stopped is lost.
        let is_gone = self.node(from).stopped_us.is_some_and(|at_us| (sent_us..leaves_us).contains(&at_us));
        if is_gone {
            self.sometimes("a message was lost with its sender");
            return;
        }
        if self.node(to).machine.is_none() {
            return;
        }
        self.trace.count(&(self.now_us, to, from, &message));
        self.trace.note(self.now_us, to, || MomentKind::Arrived { from, sent_us, text: format!("{message:?}") });
        let input = MachineInput::Message { from: NodeId(from), incarnation, message: *message };
        self.node(to).ready.frames.push_back(input);
        self.plan_round(to);
    }

    pub(super) fn give_call(&mut self, id: u64, call: u64, what: M::Call) {
        if self.node(id).machine.is_none() {
            return self.answer(call, &ClientAnswer::NotDone);
        }
        // A paused node may find this call in its socket long after the client gave up.
        self.ask(id, MachineInput::Call { call, what });
    }

    /// A client or an operator asks something of a running node.
    pub(super) fn ask(&mut self, id: u64, what: MachineInput<M::Message, M::Call>) {
        self.node(id).ready.calls.push_back(what);
        self.plan_round(id);
    }

    pub(super) fn disk_done(&mut self, id: u64, start: u64, token: u64, is_write: bool) {
        let node = self.node(id);
        if node.start != start || node.machine.is_none() {
            return;
        }
        if is_write && node.stalls > 0 {
            node.held.push(Happening::DiskDone { node: id, start, token, is_write });
            return;
        }
        node.ready.news.push_back((token, is_write));
        self.trace.count(&(self.now_us, id, token));
        self.plan_round(id);
    }

    pub(super) fn timer(&mut self, id: u64) {
        let now_us = self.now_us;
        let node = self.node(id);
        if node.timer_us.is_some_and(|at_us| at_us > now_us) {
            return;
        }
        node.timer_us = None;
        if node.machine.is_some() {
            self.plan_round(id);
        }
    }

    pub(super) fn plan_round(&mut self, id: u64) {
        let node = self.node(id);
        if !std::mem::replace(&mut node.is_round_planned, true) {
            let start = node.start;
            let in_us = self.timing.loop_us();
            self.plan(in_us, Happening::Round { node: id, start });
        }
    }

    /// Begins a round of a node's loop. A paused node has its round when it continues.
    pub(super) fn begin_round(&mut self, id: u64, start: u64) -> bool {
        let node = self.node(id);
        if node.start != start {
            return false;
        }
        node.is_round_planned = false;
        if node.pauses > 0 || node.machine.is_none() {
            return false;
        }
        if node.ready.frames.len() > 1 {
            self.sometimes(reached::SEVERAL_MESSAGES);
        }
        true
    }

    /// The next step of a round: one input, or at the end all outputs. Returns whether there is a further step. Laws
    /// are checked in between, because a state that lasts for one step only may break them, even if the node crashes in
    /// the next step.
    pub(super) fn step_of_round(&mut self, id: u64) -> Result<bool, Broken> {
        if let Some(armed) = self.node(id).dying.take() {
            self.crash_armed(id, armed);
            return Ok(false);
        }
        if let Some(frame) = self.node(id).ready.frames.pop_front() {
            if matches!(frame, MachineInput::Message { .. }) && self.crash_at(id, CrashPoint::Receive) {
                return Ok(true);
            }
            self.hand_in(id, frame);
            return Ok(true);
        }
        if let Some((token, is_write)) = self.node(id).ready.news.pop_front() {
            self.hand_in(id, MachineInput::Done { token });
            self.node(id).writing -= u32::from(is_write);
            if is_write {
                // The node has no time to report what it just learned.
                self.crash_at(id, CrashPoint::Persisted);
            }
            return Ok(true);
        }
        if let Some(call) = self.node(id).ready.calls.pop_front() {
            self.hand_in(id, call);
            return Ok(true);
        }
        let now = self.now_of(id);
        let node = self.node(id);
        let is_due = node.machine.as_ref().and_then(M::deadline).is_some_and(|deadline| deadline <= now.instant);
        if is_due && !std::mem::replace(&mut node.ready.is_timed_out, true) {
            self.trace.count(&(self.now_us, id));
            self.hand_in(id, MachineInput::Timeout);
            return Ok(true);
        }
        self.node(id).ready.is_timed_out = false;
        self.carry_all_out(id)?;
        Ok(self.node(id).dying.is_some())
    }

    fn hand_in(&mut self, id: u64, input: MachineInput<M::Message, M::Call>) {
        let now = self.now_of(id);
        let node = self.node(id);
        let Some(machine) = &mut node.machine else { return };
        machine.handle(now, &mut node.disk, input);
        node.changes += 1;
    }

    /// Takes all outputs from a machine and carries them out.
    fn carry_all_out(&mut self, id: u64) -> Result<(), Broken> {
        let now = self.now_of(id);
        loop {
            let node = self.node(id);
            let Some(machine) = &mut node.machine else { return Ok(()) };
            let Some(output) = machine.poll(now, &mut node.disk) else { break };
            if !self.carry_out(id, output)? {
                return Ok(());
            }
        }
        self.node(id).changes += 1;
        self.look_at(id);
        self.plan_timer(id);
        Ok(())
    }

    fn now_of(&mut self, id: u64) -> Now {
        let now_us = self.now_us;
        self.node(id).clock.now(now_us)
    }
}
