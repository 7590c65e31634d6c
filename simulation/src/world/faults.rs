//! Faults as they begin and end.

use quorate_protocol::NodeId;

use super::{Broken, Damage, Loss, Machine, World};
use crate::schedule::{CrashPoint, What};
use crate::trace::MomentKind;

impl<M: Machine> World<'_, M> {
    pub(super) fn begin_fault(&mut self, number: usize) {
        let fault = &self.schedule.faults[number];
        if fault.what.node().is_some_and(|node| !self.nodes.contains_key(&node)) {
            return;
        }
        *self.faults_met.entry(fault.what.kind()).or_insert(0) += 1;
        self.trace.count(&(self.now_us, number));
        self.trace.note(self.now_us, fault.what.node().unwrap_or(0), || MomentKind::Fault(words(&fault.what)));
        let now_us = self.now_us;
        match &fault.what {
            What::Crash { node, point: CrashPoint::Now, loss } => {
                self.sometimes("a crash at any moment");
                self.crash(*node, *loss);
            }
            What::Crash { node, point, loss } => self.node(*node).armed = Some((*point, *loss)),
            What::Pause { node } => {
                self.node(*node).pauses += 1;
                self.trace.note(now_us, *node, || MomentKind::Paused);
            }
            What::Wipe { node } => {
                self.crash(*node, Loss::Nothing);
                let incarnation = self.node(*node).incarnation + 1;
                let disk = M::fresh_disk(self.setup, NodeId(*node), incarnation);
                let node = self.node(*node);
                node.incarnation = incarnation;
                node.disk = disk;
                node.is_lost = true;
            }
            What::Cut { links } => self.network.cut(links),
            What::Slow { links, by_us } => self.network.slow(links, *by_us),
            What::Loss { percent } => self.network.loss_percent += percent,
            What::Duplicate { percent } => self.network.duplicate_percent += percent,
            What::Delay { up_to_us } => self.network.delay_us += up_to_us,
            What::SlowDisk { node, by_us } => self.node(*node).disk_slower_us += by_us,
            What::StallDisk { node } => self.node(*node).stalls += 1,
            What::Damage { node, damage } => self.damage(*node, *damage),
            What::Drift { node, ppm } => {
                self.node(*node).clock.drift(now_us, *ppm);
                self.plan_timer(*node);
            }
            What::Jump { node, by_ms } => self.node(*node).clock.jump(*by_ms),
        }
    }

    pub(super) fn end_fault(&mut self, number: usize) -> Result<(), Broken> {
        let fault = &self.schedule.faults[number];
        if fault.what.node().is_some_and(|node| !self.nodes.contains_key(&node)) {
            return Ok(());
        }
        let now_us = self.now_us;
        match &fault.what {
            What::Crash { node, .. } => {
                self.node(*node).armed = None;
                self.start(*node)?;
            }
            What::Damage { node, damage } => {
                self.mend(*node, *damage);
                self.start(*node)?;
            }
            What::Wipe { node } => self.start(*node)?,
            What::Pause { node } => {
                let id = *node;
                let node = self.node(id);
                node.pauses -= 1;
                if node.pauses == 0 {
                    for happening in std::mem::take(&mut node.waiting) {
                        self.plan(0, happening);
                    }
                    self.trace.note(now_us, id, || MomentKind::Resumed);
                }
            }
            What::Cut { links } => self.network.mend(links),
            What::Slow { links, by_us } => self.network.speed_up(links, *by_us),
            What::Loss { percent } => self.network.loss_percent -= percent,
            What::Duplicate { percent } => self.network.duplicate_percent -= percent,
            What::Delay { up_to_us } => self.network.delay_us -= up_to_us,
            What::SlowDisk { node, by_us } => self.node(*node).disk_slower_us -= by_us,
            What::StallDisk { node } => {
                let node = self.node(*node);
                node.stalls -= 1;
                if node.stalls == 0 {
                    for happening in std::mem::take(&mut node.held) {
                        self.plan(0, happening);
                    }
                }
            }
            What::Drift { node, ppm } => {
                self.node(*node).clock.drift(now_us, -*ppm);
                self.plan_timer(*node);
            }
            What::Jump { node, by_ms } => self.node(*node).clock.jump(-*by_ms),
        }
        Ok(())
    }
}

impl<M: Machine> World<'_, M> {
    fn damage(&mut self, id: u64, damage: Damage) {
        let node = self.nodes.get_mut(&id).expect("nodes are never removed");
        *node.damages.entry(damage).or_insert(0) += 1;
        node.changes += 1;
        let has_effect = M::damage(&mut node.disk, node.machine.as_mut(), damage, &mut self.damage_random);
        node.is_lost |= has_effect && damage.destroys();
        self.plan_poll(id);
    }

    fn mend(&mut self, id: u64, damage: Damage) {
        let node = self.node(id);
        let count = node.damages.get_mut(&damage).expect("damaged before");
        *count -= 1;
        if *count == 0 {
            node.damages.remove(&damage);
            node.changes += 1;
            M::mend(&mut node.disk, node.machine.as_mut(), damage);
            self.plan_poll(id);
        }
    }
}

/// A fault in words.
pub(crate) fn words(what: &What) -> String {
    match what {
        What::Crash { node, point, loss } => format!("crash n{node} ({point:?}, {loss:?})"),
        What::Pause { node } => format!("pause n{node}"),
        What::Wipe { node } => format!("wipe n{node}"),
        What::Cut { links } => format!("cut {}", links_words(links)),
        What::Slow { links, by_us } => format!("slow {} by {} ms", links_words(links), by_us / 1_000),
        What::Loss { percent } => format!("lose {percent}%"),
        What::Duplicate { percent } => format!("duplicate {percent}%"),
        What::Delay { up_to_us } => format!("delay up to {} ms", up_to_us / 1_000),
        What::SlowDisk { node, by_us } => format!("slow disk n{node} by {} ms", by_us / 1_000),
        What::StallDisk { node } => format!("stall disk n{node}"),
        What::Damage { node, damage } => format!("{damage:?} on the disk of n{node}"),
        What::Drift { node, ppm } => format!("drift n{node} {ppm} ppm"),
        What::Jump { node, by_ms } => format!("jump wall clock n{node} {by_ms} ms"),
    }
}

fn links_words(links: &[(u64, u64)]) -> String {
    let links: Vec<String> = links.iter().map(|(from, to)| format!("{from}\u{2192}{to}")).collect();
    links.join(" ")
}
