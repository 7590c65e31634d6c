//! omnipaxos: a tick is a step.

use bytes::Bytes;
use omnipaxos::messages::Message;

use super::links::Links;
use super::{Group, STEPS_A_TIMEOUT};
use crate::omni::{Command, Node, node};

/// Makes a group. Its nodes draw no random numbers; the seed shifts their rounds of heartbeats against each other.
pub fn group(nodes: u64, seed: u64) -> Box<dyn Group> {
    let mut group = Omni {
        nodes: (1..=nodes).map(|id| node(id, nodes, STEPS_A_TIMEOUT as u64, RESEND_STEPS)).collect(),
        links: Links::all(nodes),
        swapped: (1, 1),
        proposals: 0,
    };
    for (number, node) in (1..).zip(&mut group.nodes) {
        // An odd multiplier spreads the seeds.
        let shift = (seed * number).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        (0..shift % STEPS_A_TIMEOUT as u64).for_each(|_| node.tick());
    }
    Box::new(group)
}

/// Steps after which a message counts as lost: the interval of our heartbeats.
const RESEND_STEPS: u64 = 10;

struct Omni {
    nodes: Vec<Node>,
    links: Links,
    /// Which node leads first cannot be chosen, so the first leader and the node that should lead change their ids.
    swapped: (u64, u64),
    proposals: u64,
}

impl Omni {
    fn id(&self, node: u64) -> u64 {
        match self.swapped {
            (one, other) if node == one => other,
            (one, other) if node == other => one,
            _ => node,
        }
    }

    fn settle(&mut self) {
        let mut messages: Vec<Message<Command>> = Vec::new();
        loop {
            let mut is_idle = true;
            for from in 1..=self.nodes.len() {
                self.nodes[from - 1].take_outgoing_messages(&mut messages);
                for message in messages.drain(..) {
                    is_idle = false;
                    let to = message.get_receiver();
                    if self.links.work(from as u64, to) {
                        self.nodes[to as usize - 1].handle_incoming(message);
                    }
                }
            }
            if is_idle {
                return;
            }
        }
    }
}

impl Group for Omni {
    fn only_links(&mut self, links: &[(u64, u64)]) {
        let links: Vec<_> = links.iter().map(|(one, other)| (self.id(*one), self.id(*other))).collect();
        for (from, to) in self.links.keep_only(&links) {
            self.nodes[from as usize - 1].reconnected(to);
        }
        self.settle();
    }

    fn step(&mut self) {
        self.nodes.iter_mut().for_each(Node::tick);
        self.settle();
    }

    fn propose(&mut self) {
        for node in &mut self.nodes {
            self.proposals += 1;
            let _ = node.append(Command { id: self.proposals, payload: Bytes::from_static(b"command") });
        }
        self.settle();
    }

    fn committed(&self) -> usize {
        self.nodes.iter().map(Node::get_decided_idx).max().unwrap_or(0)
    }

    fn is_led_by(&self, node: u64) -> bool {
        let id = self.id(node);
        self.nodes.iter().all(|one| one.get_current_leader().is_some_and(|(leader, _)| leader == id))
    }

    fn campaign(&mut self, node: u64) {
        for _ in 0..10 * STEPS_A_TIMEOUT {
            self.step();
        }
        let (leader, _) = self.nodes[0].get_current_leader().expect("one was elected");
        self.swapped = (node, leader);
    }
}
