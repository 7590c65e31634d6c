//! Transactions go on beside a node that is dead for good: those that leave it out commit, and those that do not end.

use std::collections::BTreeMap;

use quorate_protocol::{NodeId, Violation};
use quorate_simulation::schedule::{Schedule, What, Who};
use quorate_simulation::world::Answer;

use crate::transactions::{Job, Told};

/// What clients see of the transactions beside a node that is dead.
pub(crate) struct Beside {
    dead: NodeId,
    /// The nodes that run, each with the commits that it told of in each part of the time.
    committed: BTreeMap<NodeId, Vec<u64>>,
    /// From when on everybody has to go on, and until when, in microseconds.
    from_us: u64,
    until_us: u64,
    /// The coordinator of each client's last transaction, and when it was asked.
    asked: BTreeMap<u64, (NodeId, u64)>,
    /// A transaction that a running coordinator left without an end.
    endless: Option<String>,
}

impl Beside {
    /// What is to be watched in this schedule, if a node is dead in it.
    pub(crate) fn of(schedule: &Schedule) -> Option<Self> {
        let died = schedule.faults.iter().filter(|fault| fault.demands_progress).find_map(|fault| match fault.what {
            What::Crash { node: Who::Node(node), .. } => Some((NodeId(node), fault)),
            _ => None,
        });
        let (dead, fault) = died?;
        let (from_us, until_us) = (fault.at_us + SETTLES_US, fault.ends_us());
        let parts = usize::try_from(until_us.saturating_sub(from_us) / PART_US).expect("a run is short");
        let running = (1..=schedule.nodes).map(NodeId).filter(|node| *node != dead);
        let committed = running.map(|node| (node, vec![0; parts])).collect();
        Some(Self { dead, committed, from_us, until_us, asked: BTreeMap::new(), endless: None })
    }

    /// A client asks for a transaction.
    pub(crate) fn called(&mut self, client: u64, coordinator: NodeId, at_us: u64) {
        self.asked.insert(client, (coordinator, at_us));
    }

    /// The client is told how it ended, or waits no longer.
    pub(crate) fn answered(
        &mut self,
        client: u64,
        branches: &BTreeMap<NodeId, Job>,
        answer: &Answer<Told>,
        at_us: u64,
    ) {
        let Some((coordinator, asked_us)) = self.asked.remove(&client) else { return };
        if coordinator == self.dead || asked_us < self.from_us || at_us >= self.until_us {
            return;
        }
        let part = usize::try_from((at_us - self.from_us) / PART_US).expect("a run is short");
        match answer {
            Answer::Done(_) if !branches.contains_key(&self.dead) => {
                let parts = self.committed.get_mut(&coordinator).expect("one that runs");
                parts.get_mut(part).into_iter().for_each(|count| *count += 1);
            }
            // Whoever is the only participant decides, and nobody else knows how.
            Answer::Unknown if branches.len() > 1 => {
                let nodes: Vec<u64> = branches.keys().map(|node| node.0).collect();
                let detail = format!("node {coordinator} was asked at {asked_us} us to commit at {nodes:?}");
                self.endless.get_or_insert(format!("{detail}, and did not say how that ended"));
            }
            _ => {}
        }
    }

    /// Whether every node that runs went on.
    ///
    /// # Errors
    /// When one did not, and how.
    pub(crate) fn judge(&self) -> Result<(), Violation> {
        let law = "others go on beside the dead";
        if let Some(detail) = self.endless.clone() {
            return Err(Violation { law, detail });
        }
        for (node, parts) in &self.committed {
            if let Some(part) = parts.iter().position(|count| *count == 0) {
                let (seconds, at_us) = (PART_US / 1_000_000, self.from_us + part as u64 * PART_US);
                let detail =
                    format!("in {seconds} s from {at_us} us on, node {node} committed nothing beside the dead");
                return Err(Violation { law, detail });
            }
        }
        Ok(())
    }
}

/// What was under way when the node died ends within this.
const SETTLES_US: u64 = 3_000_000;
/// In each such part of the time every node that runs has to commit something.
const PART_US: u64 = 3_000_000;
