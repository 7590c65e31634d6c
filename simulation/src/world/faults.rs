//! Beginning and end of faults.

use quorate_protocol::NodeId;

use super::active::{Active, Armed};
use super::happening::{Broken, Happening};
use super::{Damage, Folder, Loss, Machine, MachineInput, MemberCall, World, reached};
use crate::schedule::{CrashPoint, Link, LossBudget, MemberStep, What, Who};
use crate::trace::MomentKind;

impl<M: Machine> World<'_, M> {
    pub(super) fn begin_fault(&mut self, number: usize) {
        let schedule = self.schedule;
        let what = &schedule.faults[number].what;
        let node = what.who().map_or(0, |who| self.find(who));
        if (what.who().is_some() && !self.nodes.contains_key(&node)) || self.is_too_much(what, node) {
            return;
        }
        let mut active = Active { node, links: Vec::new(), copy: None };
        self.trace.count(&(self.now_us, number));
        self.trace.note(self.now_us, node, || MomentKind::Fault(words(what, node)));
        if !what.may_miss() {
            self.count_fault(number);
        }
        match what {
            What::Crash { point, loss, .. } | What::Blink { point, loss, .. } => {
                self.begin_crash(number, node, *point, *loss);
            }
            What::CrashNextLeader { .. } => self.hunts.push(number),
            What::CrashAll { loss } => {
                for id in 1..=schedule.nodes {
                    self.crash(id, *loss);
                }
            }
            What::RollingRestart => self.begin_rolling_restart(schedule.faults[number].for_us),
            What::Pause { .. } => self.pause(node),
            What::Wipe { .. } => self.wipe(node),
            What::OldCopy { .. } => {
                let node = self.node(node);
                active.copy = Some((node.incarnation, M::copy_disk(&node.disk)));
            }
            What::Partition { partition } => {
                active.links = partition.links(schedule.nodes, node);
                self.network.cut(&active.links);
                self.check_links(&active.links);
            }
            What::Slow { links, by_us } => self.network.slow(links, *by_us),
            What::Bandwidth { links, bytes_per_second } => self.network.bound(links, *bytes_per_second),
            What::Lose { percent } => self.network.loss_percent += percent,
            What::Duplicate { percent } => self.network.duplicate_percent += percent,
            What::Echo { percent, up_to_us } => self.network.echoes.push((*percent, *up_to_us)),
            What::Delay { up_to_us } => self.network.delay_us += up_to_us,
            What::SlowDisk { by_us, .. } => self.node(node).disk_slower_us += by_us,
            What::StallDisk { .. } => self.node(node).stalls += 1,
            What::Damage { damage, .. } => self.damage(number, node, *damage),
            What::Drift { ppm, .. } => self.drift(node, *ppm),
            What::Jump { by_ms, .. } => self.node(node).clock.jump(*by_ms),
            What::Leap { by_ms, .. } => {
                let now_us = self.now_us;
                self.node(node).clock.leap(now_us, *by_ms);
                self.plan_timer(node);
            }
            What::SetClock { node: who, by_ms } => self.set_clock(*who, node, *by_ms),
            What::SlowSnapshots { by_us, .. } => self.node(node).builds_slower_us += by_us,
            What::FlippedBits { percent, .. } => self.node(node).flips_percent += percent,
            What::LostRequests { .. } => {
                self.node(node).requests_lost += 1;
                self.lose_requests(node);
            }
            What::LostFolder { folder, .. } => self.lose_folder(number, node, *folder),
            What::Transfer { to } => self.transfer(*to),
            What::AddGroup { .. } | What::RemoveGroup { .. } => self.change_group_beside(node, what),
            What::ChangeMembers { .. } => self.plan(0, Happening::ChangeMembers { number }),
        }
        self.active.insert(number, active);
        if schedule.faults[number].demands_progress {
            self.begin_demand(schedule.faults[number].for_us);
        }
    }

    pub(super) fn end_fault(&mut self, number: usize) -> Result<(), Broken> {
        let Some(Active { node, links: cut, copy }) = self.active.remove(&number) else { return Ok(()) };
        let what = &self.schedule.faults[number].what;
        self.trace.note(self.now_us, node, || MomentKind::FaultOver(words(what, node)));
        match what {
            What::Crash { .. } | What::Blink { .. } => {
                self.node(node).armed = None;
                self.start(node)?;
            }
            What::CrashNextLeader { .. } => {
                self.hunts.retain(|hunt| *hunt != number);
                if let Some(node) = self.hunted.remove(&number) {
                    self.start(node)?;
                }
            }
            What::CrashAll { .. } => {
                for id in 1..=self.schedule.nodes {
                    let in_us = self.timing.start_us();
                    self.plan(in_us, Happening::Start { node: id });
                }
            }
            What::Wipe { .. } | What::LostFolder { .. } => self.start(node)?,
            What::SlowSnapshots { by_us, .. } => self.node(node).builds_slower_us -= by_us,
            What::LostRequests { .. } => {
                self.node(node).requests_lost -= 1;
                self.lose_requests(node);
            }
            What::FlippedBits { percent, .. } => self.node(node).flips_percent -= percent,
            What::OldCopy { .. } => self.restore(node, copy),
            What::Pause { .. } => self.resume(node),
            What::Partition { .. } => {
                self.network.mend(&cut);
                self.check_links(&cut);
            }
            What::Slow { links, by_us } => self.network.speed_up(links, *by_us),
            What::Bandwidth { links, bytes_per_second } => self.network.lift_bound(links, *bytes_per_second),
            What::Lose { percent } => self.network.loss_percent -= percent,
            What::Duplicate { percent } => self.network.duplicate_percent -= percent,
            What::Echo { percent, up_to_us } => self.network.end_echo((*percent, *up_to_us)),
            What::Delay { up_to_us } => self.network.delay_us -= up_to_us,
            What::SlowDisk { by_us, .. } => self.node(node).disk_slower_us -= by_us,
            What::StallDisk { .. } => self.end_stall(node),
            What::Damage { damage, .. } => {
                self.mend(node, *damage);
                self.start(node)?;
            }
            What::Drift { ppm, .. } => self.drift(node, -*ppm),
            What::Jump { by_ms, .. } => self.node(node).clock.jump(-*by_ms),
            What::AddGroup { .. } | What::RemoveGroup { .. } => self.change_group(node, what),
            What::RollingRestart
            | What::Leap { .. }
            | What::SetClock { .. }
            | What::Transfer { .. }
            | What::ChangeMembers { .. } => {}
        }
        Ok(())
    }

    pub(super) fn count_fault(&mut self, number: usize) {
        let kind = self.schedule.faults[number].what.kind();
        *self.faults_met.entry(kind).or_insert(0) += 1;
    }

    /// The node with this number, or in this role.
    fn find(&self, who: Who) -> u64 {
        match who {
            Who::Node(node) => node,
            Who::Role(_) => self.leader().unwrap_or(self.last_leader),
        }
    }

    /// True if a fault would cause more permanent losses than the budget allows.
    fn is_too_much(&self, what: &What, node: u64) -> bool {
        if self.schedule.budget == LossBudget::Exceeded || !what.destroys() {
            return false;
        }
        let are_founded = self.nodes.values().all(|state| state.is_founded || state.is_lost);
        matches!(what, What::OldCopy { .. }) || !are_founded || !M::tolerates_loss(&self.views(), NodeId(node))
    }

    fn begin_crash(&mut self, number: usize, id: u64, point: CrashPoint, loss: Loss) {
        let armed = Armed { point, loss, number };
        if point != CrashPoint::Now {
            self.node(id).armed = Some(armed);
        } else if self.node(id).machine.is_some() {
            self.crash_armed(id, armed);
        }
    }

    /// Crashes a node that has reached the point of its armed crash.
    pub(super) fn crash_armed(&mut self, id: u64, Armed { point, loss, number }: Armed) {
        self.count_fault(number);
        self.sometimes(reached::crash(point));
        self.crash(id, loss);
        if let What::Blink { down_us, .. } = self.schedule.faults[number].what {
            self.plan(down_us, Happening::Start { node: id });
        }
    }

    fn begin_rolling_restart(&mut self, for_us: u64) {
        let slot_us = for_us / self.schedule.nodes;
        for id in 1..=self.schedule.nodes {
            self.plan((id - 1) * slot_us, Happening::Stop { node: id });
            self.plan((id - 1) * slot_us + slot_us / 2, Happening::Start { node: id });
        }
    }

    /// Begins the fault that waited for the next leader.
    pub(super) fn begin_hunt(&mut self, leader: u64) {
        let Some(number) = self.hunts.first().copied() else { return };
        self.hunts.remove(0);
        if let What::CrashNextLeader { after_us, .. } = self.schedule.faults[number].what {
            let start = self.node(leader).start;
            self.plan(after_us, Happening::Hunted { node: leader, start, number });
        }
    }

    pub(super) fn end_hunt(&mut self, id: u64, start: u64, number: usize) {
        let What::CrashNextLeader { loss, .. } = self.schedule.faults[number].what else { return };
        let node = self.node(id);
        if node.start == start && node.machine.is_some() && self.active.contains_key(&number) {
            self.count_fault(number);
            self.hunted.insert(number, id);
            self.crash(id, loss);
        }
    }

    fn wipe(&mut self, id: u64) {
        self.crash(id, Loss::Nothing);
        let incarnation = self.node(id).incarnation + 1;
        let disk = M::fresh_disk(self.setup, NodeId(id), incarnation);
        let node = self.node(id);
        node.incarnation = incarnation;
        node.disk = disk;
        node.is_lost = true;
    }

    /// A clock that is wrong at time zero was wrong before the node started.
    fn set_clock(&mut self, who: Who, id: u64, by_ms: i64) {
        if self.now_us > 0 || !matches!(who, Who::Node(_)) {
            self.node(id).clock.jump(by_ms);
        }
    }

    fn lose_requests(&mut self, id: u64) {
        let node = self.node(id);
        M::lose_requests(&mut node.disk, node.machine.as_mut(), node.requests_lost > 0);
    }

    fn lose_folder(&mut self, number: usize, id: u64, folder: Folder) {
        self.crash(id, Loss::Nothing);
        let node = self.node(id);
        if M::lose_folder(&mut node.disk, folder) {
            node.is_lost = true;
            self.count_fault(number);
        }
    }

    fn restore(&mut self, id: u64, copy: Option<(u64, M::Disk)>) {
        self.crash(id, Loss::Nothing);
        let node = self.node(id);
        (node.incarnation, node.disk) = copy.expect("taken when this began");
        node.is_lost = true;
        self.plan(0, Happening::Start { node: id });
    }

    fn pause(&mut self, id: u64) {
        self.node(id).pauses += 1;
        self.trace.note(self.now_us, id, || MomentKind::Paused);
    }

    fn resume(&mut self, id: u64) {
        let node = self.node(id);
        node.pauses -= 1;
        if node.pauses == 0 {
            // All inputs that arrived meanwhile are handled in one round, with the deadline last.
            self.plan_round(id);
            self.trace.note(self.now_us, id, || MomentKind::Resumed);
        }
    }

    fn end_stall(&mut self, id: u64) {
        let node = self.node(id);
        node.stalls -= 1;
        if node.stalls == 0 {
            for happening in std::mem::take(&mut node.held) {
                self.plan(0, happening);
            }
        }
    }

    fn drift(&mut self, id: u64, by_ppm: i64) {
        let now_us = self.now_us;
        self.node(id).clock.drift(now_us, by_ppm);
        self.plan_timer(id);
    }

    fn damage(&mut self, number: usize, id: u64, damage: Damage) {
        let node = self.nodes.get_mut(&id).expect("nodes are never removed");
        *node.damages.entry(damage).or_insert(0) += 1;
        node.is_excused = true;
        node.changes += 1;
        if M::damage(&mut node.disk, node.machine.as_mut(), damage, &mut self.damage_random) {
            node.is_lost |= damage.destroys();
            self.count_fault(number);
        }
        self.plan_round(id);
    }

    fn mend(&mut self, id: u64, damage: Damage) {
        let node = self.node(id);
        let count = node.damages.get_mut(&damage).expect("damaged before");
        *count -= 1;
        if *count == 0 {
            node.damages.remove(&damage);
            node.changes += 1;
            M::mend(&mut node.disk, node.machine.as_mut(), damage);
            self.plan_round(id);
        }
    }

    fn transfer(&mut self, to: u64) {
        if let Some(leader) = self.leader().filter(|leader| self.nodes[leader].pauses == 0) {
            self.ask(leader, MachineInput::Transfer { to: NodeId(to) });
        }
    }

    /// The operator asks the leader for a change of members, and again and again as long as the fault lasts.
    pub(super) fn change_members(&mut self, number: usize) {
        let What::ChangeMembers { steps } = &self.schedule.faults[number].what else { return };
        if !self.active.contains_key(&number) {
            return;
        }
        if let Some(leader) = self.leader().filter(|leader| self.nodes[leader].pauses == 0) {
            let resolve = |step: &MemberStep| match step {
                MemberStep::Remove { node: Who::Role(_) } => MemberStep::Remove { node: Who::Node(leader) },
                step => *step,
            };
            let steps: Vec<MemberStep> = steps.iter().map(resolve).collect();
            if M::bears_change(&self.views(), NodeId(leader), &steps) {
                self.member_calls += 1;
                let call = MemberCall { change: number as u64, attempt: self.member_calls, steps };
                self.ask(leader, MachineInput::ChangeMembers(call));
            }
        }
        self.plan(ASKS_AGAIN_US, Happening::ChangeMembers { number });
    }

    fn change_group_beside(&mut self, late: u64, what: &What) {
        for node in (1..=self.schedule.nodes).filter(|node| *node != late) {
            self.change_group(node, what);
        }
    }

    /// A node that is down at that moment is not asked, and has no part in the change.
    fn change_group(&mut self, node: u64, what: &What) {
        let input = match what {
            What::AddGroup { group, .. } => MachineInput::AddGroup { group: *group },
            What::RemoveGroup { group, .. } => MachineInput::RemoveGroup { group: *group },
            _ => return,
        };
        if self.nodes[&node].machine.is_some() {
            self.ask(node, input);
        }
    }

    /// Lets nodes learn after a while whether these links are up or down.
    fn check_links(&mut self, links: &[Link]) {
        for (from, to) in links {
            self.plan_link(*from, *to);
        }
    }
}

/// Time after which an operator asks again for a change of members.
const ASKS_AGAIN_US: u64 = 300_000;

/// Describes a fault, with the node that has the named role.
fn words(what: &What, node: u64) -> String {
    match what.who() {
        Some(Who::Role(_)) => format!("{what} (n{node})"),
        _ => what.to_string(),
    }
}
