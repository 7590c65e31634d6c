//! A node's status over HTTP, and the table that `kv status` shows.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::time::Duration;

use quorate_protocol::{Role as LogRole, VotingBar};
use quorate_runtime::ReplicaStatus;
use quorate_runtime::group::Founding;
use quorate_runtime::replica::Obstacle;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::address::Address;
use super::command::{About, Role};
use super::config::ClusterConfig;
use super::credentials::Credentials;
use super::members::{MemberStatus, PeerStatus};
use super::store::Store;
use super::trouble;

/// The content of `/status` of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The node's id.
    pub node: u64,
    /// The cluster's name.
    pub cluster: String,
    /// The groups of its shards.
    pub groups: Vec<GroupStatus>,
}

/// A group as one node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// The group's id.
    pub group: u64,
    /// A digest of the settings with which the node founded the group, in hexadecimal. Nodes whose digests differ
    /// accept no messages from each other.
    pub founding: String,
    /// The voters that it was founded with on this node.
    pub founded_with: Vec<u64>,
    /// The node's role in it: `leader`, `follower`, `learner`, `joining`, `removed` and so on.
    pub role: String,
    /// The leader, as far as the node knows.
    pub leader: Option<u64>,
    /// The node's term.
    pub term: u64,
    /// The first entry that is still in the log.
    pub first_index: u64,
    /// The last entry of its log.
    pub last_index: u64,
    /// The last entry it knows to be committed.
    pub commit_index: u64,
    /// The last entry its store has applied.
    pub applied_index: u64,
    /// The last entry that the newest snapshot covers.
    pub snapshot_index: u64,
    /// Number of times since its start that this node was far behind and caught up by the log alone.
    pub caught_up_by_log: u64,
    /// Number of times that it took a snapshot from a peer.
    pub caught_up_by_snapshot: u64,
    /// Number of times that a peer was far behind while this node led, and caught up by the log alone.
    pub peers_caught_up_by_log: u64,
    /// Number of times that a peer did so by a snapshot.
    pub peers_caught_up_by_snapshot: u64,
    /// The store's digest in hexadecimal. Equal on nodes whose stores are equal.
    pub digest: String,
    /// Keys that exist.
    pub keys: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// The node's disk, in hexadecimal: drawn when its data directory was made.
    #[serde(default)]
    pub incarnation: String,
    /// The members of the group, as far as the node knows.
    #[serde(default)]
    pub members: Vec<MemberStatus>,
    /// No change of the members is under way, apart from learners that wait for their promotion.
    #[serde(default)]
    pub is_settled: bool,
    /// Reason why the node does not vote. Empty if it votes.
    #[serde(default)]
    pub vote: String,
    /// The progress of the other nodes, on the node that leads.
    #[serde(default)]
    pub progress: Vec<PeerStatus>,
    /// Reasons why the group stopped on this node, or cannot make progress. Empty if there are none.
    pub trouble: String,
}

impl GroupStatus {
    /// Returns true if the group has stopped on the node.
    pub fn is_stopped(&self) -> bool {
        self.role == STOPPED
    }

    /// The status of a replica, with its obstacles.
    pub fn new(status: &ReplicaStatus, obstacles: &[Obstacle], store: &Store) -> Self {
        let log = &status.log;
        let founding = status.founding.as_ref();
        Self {
            group: status.seat.group.0,
            founding: founding.map_or_else(String::new, |founding| format!("{:032x}", founding.digest())),
            founded_with: founding.into_iter().flat_map(Founding::voters).map(|voter| voter.0).collect(),
            role: role(status),
            leader: log.leader.map(|leader| leader.0),
            term: log.term.0,
            first_index: log.first_index.0,
            last_index: log.last_index.0,
            commit_index: log.commit_index.0,
            applied_index: status.applied_index.0,
            snapshot_index: status.snapshot_index.unwrap_or_default().0,
            caught_up_by_log: status.catch_up.by_log,
            caught_up_by_snapshot: status.catch_up.by_snapshot,
            peers_caught_up_by_log: status.catch_up.peers_by_log,
            peers_caught_up_by_snapshot: status.catch_up.peers_by_snapshot,
            digest: format!("{:016x}", store.digest()),
            keys: store.len(status.applied_log_time.0) as u64,
            bytes: store.weight(),
            incarnation: status.seat.session.incarnation.to_string(),
            members: log.configuration.members().iter().map(MemberStatus::new).collect(),
            is_settled: !log.configuration.is_joint() && log.configuration_index <= log.commit_index,
            vote: log.barred.map_or_else(String::new, |bar| trouble::reason(bar).to_owned()),
            progress: PeerStatus::all(status),
            trouble: trouble::text(obstacles),
        }
    }
}

/// The node's part in `INFO` and `HELLO`.
pub(super) fn about(status: &ReplicaStatus, clients: &BTreeMap<u64, Address>) -> About {
    let log = &status.log;
    let role = match log.role {
        LogRole::Leader if status.halted.is_none() => Role::Master,
        _ => Role::Replica { master: log.leader.and_then(|leader| clients.get(&leader.0)).cloned() },
    };
    let lines = vec![
        ("quorate_node", log.node.to_string()),
        ("quorate_role", self::role(status)),
        ("quorate_leader", log.leader.map_or_else(String::new, |leader| leader.to_string())),
        ("quorate_term", log.term.to_string()),
        ("quorate_last_index", log.last_index.to_string()),
        ("quorate_commit_index", log.commit_index.to_string()),
        ("quorate_applied_index", status.applied_index.to_string()),
    ];
    let majority = |voters: usize| if voters == 0 { 0 } else { voters / 2 + 1 };
    let configuration = &log.configuration;
    let quorum = majority(configuration.voters().count()).max(majority(configuration.outgoing_voters().count()));
    About { role, quorum, lines }
}

fn role(status: &ReplicaStatus) -> String {
    match (&status.halted, status.log.barred) {
        (Some(_), _) => STOPPED.to_owned(),
        (None, Some(VotingBar::Removed)) => "removed".to_owned(),
        (None, Some(VotingBar::NotMember)) => "joining".to_owned(),
        (None, _) if status.log.configuration.members().is_empty() => "joining".to_owned(),
        (None, _) => status.log.role.to_string(),
    }
}

/// The role of a group that has stopped on its node.
pub(super) const STOPPED: &str = "stopped";

/// Reason why a node's status is unknown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatusError {
    /// The node was not reached, or closed the connection.
    #[error("not reached: {0}")]
    Unreachable(#[from] io::Error),
    /// The answer was not the status of a node.
    #[error("no status came back")]
    Foreign,
    /// The node refuses who asks.
    #[error("refused: {0}")]
    Refused(String),
}

/// Asks a node for its status. Waits at most a second for each step.
///
/// # Errors
/// When the node is not reached, or something else answers.
pub fn fetch(credentials: &Credentials, http: &Address) -> Result<NodeStatus, StatusError> {
    request(credentials, http, "GET /status", "", PATIENCE)
}

/// Sends a request to a node's http port, and returns its answer. Waits at most `patience` for each read.
pub(super) fn request<T: DeserializeOwned>(
    credentials: &Credentials,
    http: &Address,
    what: &str,
    body: &str,
    patience: Duration,
) -> Result<T, StatusError> {
    let mut stream = credentials.stream(http, PATIENCE, patience)?;
    let (length, login) = (body.len(), credentials.header_line());
    write!(
        stream,
        "{what} HTTP/1.1\r\nHost: {http}\r\n{login}Connection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    let body = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or(StatusError::Foreign)? + 4;
    if answer.starts_with(b"HTTP/1.1 401 ") || answer.starts_with(b"HTTP/1.1 403 ") {
        return Err(StatusError::Refused(String::from_utf8_lossy(&answer[body..]).trim_end().to_owned()));
    }
    if !answer.starts_with(b"HTTP/1.1 200 ") {
        return Err(StatusError::Foreign);
    }
    serde_json::from_slice(&answer[body..]).map_err(|_| StatusError::Foreign)
}

/// The state of all nodes as a table, and how many of them were reached.
pub fn table(credentials: &Credentials, cluster: &ClusterConfig) -> (String, usize) {
    let answers: Vec<_> = cluster.nodes.iter().map(|(id, node)| (*id, fetch(credentials, &node.http))).collect();
    let groups = || answers.iter().filter_map(|(_, answer)| answer.as_ref().ok()).flat_map(|status| &status.groups);
    // Each shard has a log of its own.
    let committed = |shard: u64| {
        let of_shard = groups().filter(|group| group.group == shard);
        of_shard.map(|group| group.commit_index).max().unwrap_or(0)
    };
    let mut text = format!(
        "{:<5}{:<7}{:<10}{:<15}{:<8}{:<7}{:>10}{:>10}{:>10}{:>8}{:>10}\n",
        "node", "shard", "founding", "role", "leader", "term", "last", "commit", "applied", "lag", "keys"
    );
    for (id, answer) in &answers {
        let line = match answer {
            Ok(status) => status.groups.iter().map(|group| line(*id, group, committed(group.group))).collect(),
            Err(error) => format!("{id:<5}{error}\n"),
        };
        text.push_str(&line);
    }
    let reached = answers.iter().filter(|(_, answer)| answer.is_ok()).count();
    (text, reached)
}

fn line(id: u64, group: &GroupStatus, committed: u64) -> String {
    let GroupStatus { founding, role, term, last_index, commit_index, applied_index, keys, .. } = group;
    let founding = founding.get(..FOUNDING_DIGITS).unwrap_or(founding);
    let leader = group.leader.map_or_else(|| "-".to_owned(), |leader| leader.to_string());
    let (shard, lag) = (group.group, committed.saturating_sub(*applied_index));
    let mut line = format!(
        "{id:<5}{shard:<7}{founding:<10}{role:<15}{leader:<8}{term:<7}{last_index:>10}{commit_index:>10}{applied_index:>10}{lag:>8}{keys:>10}"
    );
    if !group.trouble.is_empty() {
        write!(line, "  {}", group.trouble).expect("a string takes all");
    }
    line.push('\n');
    line
}

const PATIENCE: Duration = Duration::from_secs(1);
/// Number of digits of a founding that are shown.
const FOUNDING_DIGITS: usize = 8;
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;
