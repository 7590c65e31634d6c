//! `CLUSTER`: which node leads the shard of which slot, for clients that go straight there.

use std::fmt::Write as _;

use crate::address::Address;
use crate::resp::Reply;
use crate::store::{SLOTS, parse_integer, slot_of};

use super::errors::{unknown_subcommand, wrong_arity};

/// The nodes and the shards of a store with several shards, as one node knows them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterView {
    /// This node.
    pub me: u64,
    /// Each node with its address for clients.
    pub nodes: Vec<(u64, Address)>,
    /// Runs of slots of one shard: first slot, last slot, and the leader of the shard, if one is known.
    pub runs: Vec<(u16, u16, Option<u64>)>,
    /// Number of changes of the layout.
    pub generation: u64,
    /// Number of keys in the slot that is asked about.
    pub keys_in_slot: u32,
}

/// The slot that `CLUSTER COUNTKEYSINSLOT` asks about.
pub fn counted_slot(rest: &[Box<[u8]>]) -> Option<u16> {
    match rest {
        [name, slot] if name.eq_ignore_ascii_case(b"countkeysinslot") => slot_number(slot),
        _ => None,
    }
}

impl ClusterView {
    /// The reply to `CLUSTER` with these arguments.
    pub(super) fn reply(&self, arguments: &[Box<[u8]>]) -> Reply {
        let Some((name, rest)) = arguments.split_first() else { return wrong_arity("cluster") };
        let lower = name.to_ascii_lowercase();
        match (&lower[..], rest) {
            (b"info", []) => Reply::Text(self.info()),
            (b"myid" | b"myshardid", []) => Reply::bulk(node_name(self.me)),
            (b"nodes", []) => Reply::Text(self.node_lines()),
            (b"slots", []) => {
                Reply::Array(self.led().map(|(first, last, leader)| self.slots(first, last, leader)).collect())
            }
            (b"shards", []) => Reply::Array(self.nodes.iter().map(|(id, _)| self.shard(*id)).collect()),
            (b"links", []) => Reply::Array(Vec::new()),
            (b"keyslot", [key]) => Reply::Integer(i64::from(slot_of(key))),
            (b"countkeysinslot", [slot]) => match slot_number(slot) {
                Some(_) => Reply::Integer(i64::from(self.keys_in_slot)),
                None => Reply::error("ERR Invalid slot"),
            },
            (
                b"info" | b"myid" | b"myshardid" | b"nodes" | b"slots" | b"shards" | b"links" | b"keyslot"
                | b"countkeysinslot",
                _,
            ) => wrong_arity(&format!("cluster|{}", String::from_utf8_lossy(&lower))),
            _ => unknown_subcommand("cluster", name),
        }
    }

    /// The runs of shards whose leader is known.
    fn led(&self) -> impl Iterator<Item = (u16, u16, u64)> {
        self.runs.iter().filter_map(|(first, last, leader)| leader.map(|leader| (*first, *last, leader)))
    }

    fn info(&self) -> String {
        let led: u32 = self.led().map(|(first, last, _)| u32::from(last - first) + 1).sum();
        let mut leaders: Vec<u64> = self.led().map(|(_, _, leader)| leader).collect();
        leaders.sort_unstable();
        leaders.dedup();
        let state = if led == u32::from(SLOTS) { "ok" } else { "fail" };
        format!(
            "cluster_state:{state}\r\ncluster_slots_assigned:{SLOTS}\r\ncluster_slots_ok:{led}\r\n\
             cluster_slots_pfail:0\r\ncluster_slots_fail:{}\r\ncluster_known_nodes:{}\r\ncluster_size:{}\r\n\
             cluster_current_epoch:{generation}\r\ncluster_my_epoch:{generation}\r\n",
            u32::from(SLOTS) - led,
            self.nodes.len(),
            leaders.len(),
            generation = self.generation,
        )
    }

    fn slots(&self, first: u16, last: u16, leader: u64) -> Reply {
        let number = |number: u16| Reply::Integer(i64::from(number));
        let mut reply = vec![number(first), number(last)];
        let leads = |(id, _): &&(u64, Address)| *id == leader;
        let others = self.nodes.iter().filter(|node| !leads(node));
        for (id, address) in self.nodes.iter().filter(leads).chain(others) {
            let place = vec![
                Reply::bulk(address.host()),
                number(address.port()),
                Reply::bulk(node_name(*id)),
                Reply::Array(Vec::new()),
            ];
            reply.push(Reply::Array(place));
        }
        Reply::Array(reply)
    }

    /// A node with the slots of the shards that it leads. All other nodes are its replicas.
    fn shard(&self, id: u64) -> Reply {
        let slots = self.led().filter(|(_, _, leader)| *leader == id);
        let slots = slots.flat_map(|(first, last, _)| [first, last]).map(|slot| Reply::Integer(i64::from(slot)));
        let slots: Vec<Reply> = slots.collect();
        let is_master = |node: u64| node == id;
        let nodes = self.nodes.iter().filter(|(node, _)| is_master(*node) || !slots.is_empty());
        let nodes = nodes.map(|(node, address)| {
            let pair = |key: &str, value| (Reply::bulk(key), value);
            Reply::Map(vec![
                pair("id", Reply::bulk(node_name(*node))),
                pair("port", Reply::Integer(i64::from(address.port()))),
                pair("ip", Reply::bulk(address.host())),
                pair("endpoint", Reply::bulk(address.host())),
                pair("role", Reply::bulk(if is_master(*node) { "master" } else { "replica" })),
                pair("replication-offset", Reply::Integer(0)),
                pair("health", Reply::bulk("online")),
            ])
        });
        let nodes = Reply::Array(nodes.collect());
        Reply::Map(vec![(Reply::bulk("slots"), Reply::Array(slots)), (Reply::bulk("nodes"), nodes)])
    }

    /// A node that leads a shard is a master with the slots of its shards, and one that leads none a replica of one
    /// that does.
    fn node_lines(&self) -> String {
        let mut text = String::new();
        let first_leader = self.led().map(|(_, _, leader)| leader).min();
        for (id, address) in &self.nodes {
            let runs: Vec<_> = self.led().filter(|(_, _, leader)| leader == id).collect();
            let myself = if *id == self.me { "myself," } else { "" };
            let (role, master) = match first_leader {
                Some(leader) if runs.is_empty() => ("slave", node_name(leader)),
                _ => ("master", "-".to_owned()),
            };
            let (name, port, generation) = (node_name(*id), address.port(), self.generation);
            write!(text, "{name} {}:{port}@{port} {myself}{role} {master} 0 0 {generation} connected", address.host())
                .expect("a string takes all");
            for (first, last, _) in runs {
                let run = if first == last { format!(" {first}") } else { format!(" {first}-{last}") };
                text.push_str(&run);
            }
            text.push('\n');
        }
        text
    }
}

/// The name of a node as Redis Cluster writes it: 40 hexadecimal digits.
fn node_name(id: u64) -> String {
    format!("{id:040x}")
}

fn slot_number(text: &[u8]) -> Option<u16> {
    parse_integer(text).and_then(|slot| u16::try_from(slot).ok()).filter(|slot| *slot < SLOTS)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::resp::{Encoder, Version};

    fn view() -> ClusterView {
        let node = |id: u64| (id, format!("127.0.0.1:{}", 7000 + id).parse().unwrap());
        ClusterView {
            me: 2,
            nodes: vec![node(1), node(2), node(3)],
            runs: vec![(0, 99, Some(1)), (100, 100, Some(2)), (101, 16383, Some(1))],
            generation: 5,
            keys_in_slot: 4,
        }
    }

    fn ask(view: &ClusterView, line: &str) -> String {
        let arguments: Vec<Box<[u8]>> = line.split(' ').map(|word| Box::from(word.as_bytes())).collect();
        let mut out = BytesMut::new();
        Encoder::new(&mut out, Version::Resp2).reply(&view.reply(&arguments));
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn slots_name_the_leader_first() {
        let reply = ask(&view(), "slots");
        assert!(reply.starts_with("*3\r\n*5\r\n:0\r\n:99\r\n*4\r\n$9\r\n127.0.0.1\r\n:7001\r\n$40\r\n"), "{reply}");
        assert!(reply.contains("*5\r\n:100\r\n:100\r\n*4\r\n$9\r\n127.0.0.1\r\n:7002\r\n"), "{reply}");
        let unknown = ClusterView { runs: vec![(0, 16383, None)], ..view() };
        assert_eq!(ask(&unknown, "slots"), "*0\r\n");
        assert!(ask(&unknown, "info").contains("cluster_state:fail\r\n"));
    }

    #[test]
    fn nodes_are_lines_with_their_slots() {
        let reply = ask(&view(), "nodes");
        let name = |id: u64| format!("{id:040x}");
        for line in [
            format!("{} 127.0.0.1:7001@7001 master - 0 0 5 connected 0-99 101-16383\n", name(1)),
            format!("{} 127.0.0.1:7002@7002 myself,master - 0 0 5 connected 100\n", name(2)),
            format!("{} 127.0.0.1:7003@7003 slave {} 0 0 5 connected\n", name(3), name(1)),
        ] {
            assert!(reply.contains(&line), "{line} is not in {reply}");
        }
        assert_eq!(ask(&view(), "myid"), format!("$40\r\n{}\r\n", name(2)));
    }

    #[test]
    fn small_questions_are_answered_as_redis_does() {
        assert_eq!(ask(&view(), "keyslot 123456789"), ":12739\r\n");
        assert_eq!(ask(&view(), "countkeysinslot 7"), ":4\r\n");
        assert_eq!(ask(&view(), "countkeysinslot 16384"), "-ERR Invalid slot\r\n");
        assert_eq!(ask(&view(), "keyslot"), "-ERR wrong number of arguments for 'cluster|keyslot' command\r\n");
        assert!(ask(&view(), "failover").starts_with("-ERR unknown subcommand 'failover'"));
        assert!(ask(&view(), "info").contains("cluster_state:ok\r\ncluster_slots_assigned:16384\r\n"));
        assert!(ask(&view(), "shards").contains("$6\r\nmaster\r\n"));
    }
}
