//! All nodes and shards of the cluster, as one node sees them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::address::Address;
use crate::status::{self, GroupStatus, NodeStatus};
use crate::tls::NodeTls;

/// All nodes and shards of the cluster, as one node sees them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Overview {
    /// The node that tells it.
    node: u64,
    /// The cluster's name.
    cluster: String,
    /// The nodes, in the order of their ids.
    nodes: Vec<NodeView>,
    /// The shards, in the order of their numbers.
    shards: Vec<ShardView>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct NodeView {
    id: u64,
    /// Its address for clients.
    client: String,
    /// Its address for people.
    http: String,
    /// Reason why nothing is known of it. Empty if it answered.
    error: String,
    /// What keeps its groups from making progress, each reason once.
    troubles: Vec<String>,
    /// Number of shards that it leads.
    leads: usize,
    /// Entries that its store lacks, in the shard where it lacks most.
    behind: u64,
}

/// A shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct ShardView {
    shard: u64,
    /// The node that leads it by its own account, in the highest term.
    leader: Option<u64>,
    term: u64,
    keys: u64,
    /// Bytes of keys and values.
    bytes: u64,
    /// The last entry that any node knows to be committed.
    committed: u64,
    replicas: Vec<ReplicaView>,
}

/// A shard's replica on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct ReplicaView {
    node: u64,
    role: String,
    behind: u64,
}

/// The addresses of a node.
#[derive(Debug, Clone)]
pub struct NodeAddresses {
    /// For clients.
    pub client: Address,
    /// For people.
    pub http: Address,
}

/// What each node answered: its status, or the reason why there is none.
type Answers = BTreeMap<u64, Result<NodeStatus, String>>;

/// Asks all other nodes at once, and waits at most some seconds. `own` is this node's status.
pub(super) async fn gather(
    node: u64,
    own: NodeStatus,
    nodes: &BTreeMap<u64, NodeAddresses>,
    tls: Option<&NodeTls>,
) -> Overview {
    let credentials = tls.map(NodeTls::credentials).unwrap_or_default();
    let others = nodes.iter().filter(|(id, _)| **id != node);
    let asked: Vec<_> = others
        .map(|(id, addresses)| {
            let (credentials, http) = (credentials.clone(), addresses.http.clone());
            (
                *id,
                tokio::task::spawn_blocking(move || {
                    status::fetch(&credentials, &http).map_err(|error| error.to_string())
                }),
            )
        })
        .collect();
    let cluster = own.cluster.clone();
    let mut answers = Answers::from([(node, Ok(own))]);
    for (id, answer) in asked {
        answers.insert(id, answer.await.unwrap_or_else(|error| Err(error.to_string())));
    }
    overview(node, cluster, nodes, &answers)
}

fn overview(node: u64, cluster: String, nodes: &BTreeMap<u64, NodeAddresses>, answers: &Answers) -> Overview {
    let mut by_shard: BTreeMap<u64, Vec<(u64, &GroupStatus)>> = BTreeMap::new();
    for (id, status) in answers.iter().filter_map(|(id, answer)| Some((*id, answer.as_ref().ok()?))) {
        for group in &status.groups {
            by_shard.entry(group.group).or_default().push((id, group));
        }
    }
    let shards: Vec<_> = by_shard.iter().map(|(shard, groups)| shard_view(*shard, groups)).collect();
    let nodes = nodes.iter().map(|(id, addresses)| node_view(*id, addresses, answers.get(id), &shards)).collect();
    Overview { node, cluster, nodes, shards }
}

fn shard_view(shard: u64, groups: &[(u64, &GroupStatus)]) -> ShardView {
    let committed = groups.iter().map(|(_, group)| group.commit_index).max().unwrap_or(0);
    let leads = groups.iter().filter(|(_, group)| group.role == "leader").max_by_key(|(_, group)| group.term);
    // The replica that has applied most knows the keys best.
    let newest = groups.iter().map(|(_, group)| group).max_by_key(|group| group.applied_index);
    let replica = |(node, group): &(u64, &GroupStatus)| ReplicaView {
        node: *node,
        role: group.role.clone(),
        behind: committed.saturating_sub(group.applied_index),
    };
    ShardView {
        shard,
        leader: leads.map(|(node, _)| *node),
        term: groups.iter().map(|(_, group)| group.term).max().unwrap_or(0),
        keys: newest.map_or(0, |group| group.keys),
        bytes: newest.map_or(0, |group| group.bytes),
        committed,
        replicas: groups.iter().map(replica).collect(),
    }
}

fn node_view(
    id: u64,
    addresses: &NodeAddresses,
    answer: Option<&Result<NodeStatus, String>>,
    shards: &[ShardView],
) -> NodeView {
    let mut troubles = Vec::new();
    let mut error = String::new();
    match answer {
        Some(Ok(status)) => {
            for group in status.groups.iter().filter(|group| !group.trouble.is_empty()) {
                if !troubles.contains(&group.trouble) {
                    troubles.push(group.trouble.clone());
                }
            }
        }
        Some(Err(reason)) => error.clone_from(reason),
        None => "it was not asked".clone_into(&mut error),
    }
    let replicas = shards.iter().flat_map(|shard| &shard.replicas).filter(|replica| replica.node == id);
    NodeView {
        id,
        client: addresses.client.to_string(),
        http: addresses.http.to_string(),
        error,
        troubles,
        leads: shards.iter().filter(|shard| shard.leader == Some(id)).count(),
        behind: replicas.map(|replica| replica.behind).max().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes() -> BTreeMap<u64, NodeAddresses> {
        let addresses = |id: u64| NodeAddresses {
            client: format!("10.0.0.{id}:6379").parse().unwrap(),
            http: format!("10.0.0.{id}:8101").parse().unwrap(),
        };
        (1..=3).map(|id| (id, addresses(id))).collect()
    }

    fn status(node: u64, roles: [(&str, u64, u64); 2]) -> NodeStatus {
        let group = |(shard, (role, term, applied)): (u64, (&str, u64, u64))| GroupStatus {
            group: shard,
            term,
            commit_index: applied,
            applied_index: applied,
            keys: applied / 2,
            ..super::super::tests::group(role)
        };
        NodeStatus { node, cluster: "demo".to_owned(), groups: (0..).zip(roles).map(group).collect() }
    }

    #[test]
    fn a_node_that_was_deposed_and_does_not_know_it_is_no_leader() {
        let answers = Answers::from([
            (1, Ok(status(1, [("leader", 3, 10), ("follower", 5, 40)]))),
            (2, Ok(status(2, [("leader", 4, 30), ("leader", 5, 40)]))),
            (3, Err("not reached".to_owned())),
        ]);
        let seen = overview(1, "demo".to_owned(), &nodes(), &answers);
        assert_eq!(seen.shards[0].leader, Some(2));
        assert_eq!((seen.shards[0].keys, seen.shards[0].committed), (15, 30));
        let behind: Vec<_> = seen.shards[0].replicas.iter().map(|replica| (replica.node, replica.behind)).collect();
        assert_eq!(behind, [(1, 20), (2, 0)]);
        let leads: Vec<_> = seen.nodes.iter().map(|node| (node.leads, node.behind, &*node.error)).collect();
        assert_eq!(leads, [(0, 20, ""), (2, 0, ""), (0, 0, "not reached")]);
    }

    #[test]
    fn a_reason_of_all_groups_is_told_once() {
        let answers = Answers::from([(1, Ok(status(1, [("stopped", 3, 10), ("stopped", 3, 10)])))]);
        let seen = overview(1, "demo".to_owned(), &nodes(), &answers);
        assert_eq!(seen.nodes[0].troubles, ["the log is poisoned"]);
        assert_eq!(seen.shards[1].leader, None);
    }
}
