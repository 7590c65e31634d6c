//! raft-rs: a tick is a step.

use raft::StateRole;

use super::links::Links;
use super::{Group, STEPS_A_TIMEOUT};
use crate::raft_rs::{Node, carry_out, node};

/// Makes a group. Its nodes draw their random numbers from the thread; the seed does not count.
pub fn group(nodes: u64, _seed: u64) -> Box<dyn Group> {
    let of = |id| node(id, nodes, STEPS_A_TIMEOUT / 2, HEARTBEAT_STEPS);
    Box::new(RaftRs { nodes: (1..=nodes).map(of).collect(), links: Links::all(nodes) })
}

/// The interval of our heartbeats.
const HEARTBEAT_STEPS: usize = 10;

struct RaftRs {
    nodes: Vec<Node>,
    links: Links,
}

impl RaftRs {
    fn settle(&mut self) {
        loop {
            let mut is_idle = true;
            for from in 1..=self.nodes.len() {
                for message in carry_out(&mut self.nodes[from - 1]) {
                    is_idle = false;
                    if self.links.work(from as u64, message.to) {
                        let to = message.to as usize - 1;
                        let _ = self.nodes[to].step(message);
                    }
                }
            }
            if is_idle {
                return;
            }
        }
    }
}

impl Group for RaftRs {
    fn only_links(&mut self, links: &[(u64, u64)]) {
        self.links.keep_only(links);
    }

    fn step(&mut self) {
        for node in &mut self.nodes {
            node.tick();
        }
        self.settle();
    }

    fn propose(&mut self) {
        for node in self.nodes.iter_mut().filter(|node| node.raft.state == StateRole::Leader) {
            let _ = node.propose(Vec::new(), b"command".to_vec());
        }
        self.settle();
    }

    fn committed(&self) -> usize {
        self.nodes.iter().map(|node| node.raft.raft_log.committed as usize).max().unwrap_or(0)
    }

    fn is_led_by(&self, node: u64) -> bool {
        self.nodes.iter().all(|one| one.raft.leader_id == node)
    }

    fn campaign(&mut self, node: u64) {
        self.nodes[node as usize - 1].campaign().expect("it may");
        self.settle();
    }
}
