//! Checks that transactions go on beside a node that is dead for good: those without it commit, and those with it end.

use std::collections::BTreeMap;

use quorate_protocol::{NodeId, Violation};
use quorate_simulation::schedule::{Schedule, What, Who};
use quorate_simulation::world::ClientAnswer;

use crate::transactions::{Job, Told};

/// Observations of clients about transactions while a node is dead.
pub(crate) struct Beside {
    dead: NodeId,
    /// The running nodes, each with its number of reported results in each part of the time.
    committed: BTreeMap<NodeId, Vec<u64>>,
    /// Start of the period in which all running nodes must make progress, in microseconds. `until_us` is its end.
    from_us: u64,
    until_us: u64,
    /// The coordinator of each client's last transaction, and the time of the request.
    asked: BTreeMap<u64, (NodeId, u64)>,
    /// A transaction whose end a running coordinator did not report.
    endless: Option<String>,
}

impl Beside {
    /// The observer of this schedule, if a node is dead in it.
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

    /// Notes that a client requests a transaction.
    pub(crate) fn called(&mut self, client: u64, coordinator: NodeId, at_us: u64) {
        self.asked.insert(client, (coordinator, at_us));
    }

    /// Notes that the client gets the result, or waits no longer.
    pub(crate) fn answered(
        &mut self,
        client: u64,
        branches: &BTreeMap<NodeId, Job>,
        answer: &ClientAnswer<Told>,
        at_us: u64,
    ) {
        let Some((coordinator, asked_us)) = self.asked.remove(&client) else { return };
        if coordinator == self.dead || asked_us < self.from_us || at_us >= self.until_us {
            return;
        }
        let part = usize::try_from((at_us - self.from_us) / PART_US).expect("a run is short");
        match answer {
            ClientAnswer::Done(_) if !branches.contains_key(&self.dead) => {
                let parts = self.committed.get_mut(&coordinator).expect("one that runs");
                parts.get_mut(part).into_iter().for_each(|count| *count += 1);
            }
            // The only participant decides, and no other node knows the decision.
            ClientAnswer::Unknown if branches.len() > 1 => {
                let nodes: Vec<u64> = branches.keys().map(|node| node.0).collect();
                let detail = format!("node {coordinator} was asked at {asked_us} us to commit at {nodes:?}");
                self.endless.get_or_insert(format!("{detail}, and did not say how that ended"));
            }
            _ => {}
        }
    }

    /// Checks that every running node made progress.
    ///
    /// # Errors
    /// When one did not, with the details.
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

/// Time within which transactions under way at the node's death end.
const SETTLES_US: u64 = 3_000_000;
/// Length of a part of the time. In each part every running node has to commit something.
const PART_US: u64 = 3_000_000;
