//! raft-rs on its storage in memory.

use bytes::Bytes;
use raft::prelude::{ConfState, Entry, Message, MessageType};
use raft::storage::MemStorage;
use raft::{Config, RawNode, StateRole};

use crate::cores::Cores;

pub type Node = RawNode<MemStorage>;

/// Makes a node of a group of `nodes`, with the pre-vote and the check of the quorum, which ours have too.
pub fn node(id: u64, nodes: u64, election_tick: usize, heartbeat_tick: usize) -> Node {
    let config = Config {
        id,
        election_tick,
        heartbeat_tick,
        max_size_per_msg: 1 << 20,
        batch_append: true,
        pre_vote: true,
        check_quorum: true,
        ..Config::default()
    };
    let members = ConfState { voters: (1..=nodes).collect(), ..ConfState::default() };
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    RawNode::new(&config, MemStorage::new_with_conf_state(members), &logger).expect("valid settings")
}

/// Carries out what the node has ready, and returns the messages that it sends.
pub fn carry_out(node: &mut Node) -> Vec<Message> {
    let mut messages = Vec::new();
    while node.has_ready() {
        let mut ready = node.ready();
        messages.extend(ready.take_messages());
        if !ready.entries().is_empty() {
            node.store().wl().append(ready.entries()).expect("it fits");
        }
        if let Some(state) = ready.hs() {
            node.store().wl().set_hardstate(state.clone());
        }
        messages.extend(ready.take_persisted_messages());
        let mut light = node.advance(ready);
        messages.extend(light.take_messages());
        node.advance_apply();
    }
    messages
}

pub fn cores() -> Box<dyn Cores> {
    let mut group = Group { nodes: (1..=3).map(|id| node(id, 3, 10, 1)).collect(), proposals: 0 };
    group.nodes[0].campaign().expect("it may");
    group.settle();
    assert_eq!(group.nodes[0].raft.state, StateRole::Leader);
    Box::new(group)
}

struct Group {
    nodes: Vec<Node>,
    proposals: u64,
}

impl Group {
    fn settle(&mut self) {
        loop {
            let mut is_idle = true;
            for node in 0..self.nodes.len() {
                for message in carry_out(&mut self.nodes[node]) {
                    is_idle = false;
                    let to = message.to as usize - 1;
                    self.nodes[to].step(message).expect("a message of the group");
                }
            }
            if is_idle {
                return;
            }
        }
    }
}

impl Cores for Group {
    /// The whole batch is one message: proposing the entries one by one is slower.
    fn commit(&mut self, number: u64, payload: &Bytes) {
        let mut entries = Vec::new();
        for _ in 0..number {
            self.proposals += 1;
            let context = Bytes::copy_from_slice(&self.proposals.to_le_bytes());
            entries.push(Entry { data: payload.clone(), context, ..Entry::default() });
        }
        let mut proposal = Message { from: 1, entries: entries.into(), ..Message::default() };
        proposal.set_msg_type(MessageType::MsgPropose);
        self.nodes[0].step(proposal).expect("the leader takes it");
        self.settle();
    }

    fn committed(&self) -> u64 {
        self.nodes[0].raft.raft_log.committed
    }

    fn trim(&mut self, kept: usize) {
        let log = &self.nodes[0].raft.raft_log;
        if log.committed - log.first_index() >= kept as u64 {
            for node in &self.nodes {
                node.store().wl().compact(node.raft.raft_log.applied).expect("it is applied");
            }
        }
    }
}
