//! omnipaxos on its storage in memory.

use bytes::Bytes;
use omnipaxos::macros::Entry;
use omnipaxos::messages::Message;
use omnipaxos::{ClusterConfig, OmniPaxos, OmniPaxosConfig, ServerConfig};
use omnipaxos_storage::memory_storage::MemoryStorage;
use serde::{Deserialize, Serialize};

use crate::cores::Cores;

/// An entry with what ours have: an id and the payload.
#[derive(Clone, Debug, Entry, Serialize, Deserialize)]
pub struct Command {
    pub id: u64,
    pub payload: Bytes,
}

pub type Node = OmniPaxos<Command, MemoryStorage<Command>>;

/// Makes a node of a group of `nodes`, with a round of heartbeats each `election_ticks`. A message counts as lost after
/// `resend_ticks`.
pub fn node(id: u64, nodes: u64, election_ticks: u64, resend_ticks: u64) -> Node {
    let cluster_config =
        ClusterConfig { configuration_id: 1, nodes: (1..=nodes).collect(), ..ClusterConfig::default() };
    let server_config = ServerConfig {
        pid: id,
        election_tick_timeout: election_ticks,
        resend_message_tick_timeout: resend_ticks,
        ..ServerConfig::default()
    };
    OmniPaxosConfig { cluster_config, server_config }.build(MemoryStorage::default()).expect("valid settings")
}

pub fn cores() -> Box<dyn Cores> {
    let mut group =
        Group { nodes: (1..=3).map(|id| node(id, 3, 100, 10)).collect(), messages: Vec::new(), proposals: 0 };
    group.nodes[0].try_become_leader();
    group.settle();
    assert_eq!(group.nodes[0].get_current_leader(), Some((1, true)));
    Box::new(group)
}

struct Group {
    nodes: Vec<Node>,
    messages: Vec<Message<Command>>,
    proposals: u64,
}

impl Group {
    fn settle(&mut self) {
        loop {
            let mut is_idle = true;
            for node in 0..self.nodes.len() {
                self.nodes[node].take_outgoing_messages(&mut self.messages);
                for message in self.messages.drain(..) {
                    is_idle = false;
                    let to = message.get_receiver() as usize - 1;
                    self.nodes[to].handle_incoming(message);
                }
            }
            if is_idle {
                return;
            }
        }
    }
}

impl Cores for Group {
    fn commit(&mut self, number: u64, payload: &Bytes) {
        for _ in 0..number {
            self.proposals += 1;
            let command = Command { id: self.proposals, payload: payload.clone() };
            self.nodes[0].append(command).expect("the leader takes it");
        }
        self.settle();
    }

    fn committed(&self) -> u64 {
        self.nodes[0].get_decided_idx() as u64
    }

    fn trim(&mut self, kept: usize) {
        let decided = self.nodes[0].get_decided_idx();
        if decided - self.nodes[0].get_compacted_idx() >= kept {
            self.nodes[0].trim(Some(decided)).expect("all have it");
            self.settle();
        }
    }
}
