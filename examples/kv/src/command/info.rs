//! `INFO`.

use std::fmt::Write as _;
use std::ops::Add;

use crate::address::Address;
use crate::process::Process;
use crate::resp::{Reply, Version};
use crate::store::Store;

use super::cluster::ClusterView;
use super::errors::number;

/// The data of `INFO` about a server, apart from its keys. Gathered for each request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServerInfo {
    /// The port for clients.
    pub tcp_port: u16,
    /// Seconds since the process started.
    pub uptime_seconds: u64,
    /// Open client connections.
    pub connected_clients: usize,
    /// Maximum number of those.
    pub clients_max: usize,
    /// Maximum bytes of keys and values, 0 if there is no limit.
    pub memory_max: u64,
    /// Clients that wait in a command.
    pub blocked_clients: usize,
    /// Clients that subscribe to something.
    pub subscribers: usize,
    /// Channels, patterns and shard channels that have subscribers at this node.
    pub subscriptions: [usize; 3],
    /// Connections accepted since the start.
    pub connections_received: u64,
    /// Connections refused since the start.
    pub connections_rejected: u64,
    /// Commands answered since the start.
    pub commands_processed: u64,
    /// Error replies since the start.
    pub errors: u64,
    /// Bytes of replies that wait for clients.
    pub replies_bytes: usize,
    /// The lines about commands.
    pub command_lines: Vec<(String, String)>,
    /// The lines about errors.
    pub error_lines: Vec<(String, String)>,
    /// The process.
    pub process: Process,
    /// The node's part in its group.
    pub about: About,
    /// The nodes and the shards, if the store has several.
    pub cluster: Option<ClusterView>,
    /// The keys of shards besides the one that is asked.
    pub other_shards: Keyspace,
}

/// The keys of a store in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keyspace {
    keys: usize,
    expires: usize,
    bytes: u64,
}

impl Keyspace {
    /// The keys of a store at a log time in Unix ms.
    pub fn of(store: &Store, log_time: u64) -> Self {
        Self { keys: store.len(log_time), expires: store.deadlines(), bytes: store.weight() }
    }
}

impl Add for Keyspace {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let Self { keys, expires, bytes } = self;
        Self { keys: keys + other.keys, expires: expires + other.expires, bytes: bytes + other.bytes }
    }
}

/// A node's part in its group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// Its role.
    pub role: Role,
    /// Number of nodes that a write is on when it is answered. 0 if this is not known.
    pub quorum: usize,
    /// Further lines: name and value.
    pub lines: Vec<(&'static str, String)>,
}

/// A node's role in Redis's words. Each node takes writes and answers reads, in any role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Role {
    /// It leads.
    #[default]
    Master,
    /// It does not lead.
    Replica {
        /// The leader's address for clients, if a leader is known.
        master: Option<Address>,
    },
}

impl Role {
    fn name(&self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Replica { .. } => "slave",
        }
    }

    /// The reply to `ROLE`. Places in the log of replication, which Redis has, are 0.
    pub(super) fn reply(&self) -> Reply {
        let name = Reply::bulk(self.name());
        match self {
            Self::Master => Reply::Array(vec![name, Reply::Integer(0), Reply::Array(Vec::new())]),
            Self::Replica { master } => {
                let (host, port) = host_and_port(master.as_ref());
                let state = if master.is_some() { "connected" } else { "connect" };
                let (port, offset) = (Reply::Integer(i64::from(port)), Reply::Integer(0));
                Reply::Array(vec![name, Reply::bulk(host), port, Reply::bulk(state), offset])
            }
        }
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![("role", self.name().to_owned())];
        if let Self::Replica { master } = self {
            let (host, port) = host_and_port(master.as_ref());
            lines.push(("master_host", host));
            lines.push(("master_port", port.to_string()));
            lines.push(("master_link_status", if master.is_some() { "up" } else { "down" }.to_owned()));
            lines.push(("slave_read_only", "0".to_owned()));
        }
        lines
    }
}

fn host_and_port(master: Option<&Address>) -> (String, u16) {
    master.map_or((String::new(), 0), |master| (master.host().to_owned(), master.port()))
}

impl About {
    /// The reply to `WAIT`, or to `WAITAOF`, which counts one of the nodes apart.
    pub(super) fn wait(&self, shows_own: bool) -> Reply {
        let others = Reply::Integer(number(self.quorum.saturating_sub(1)));
        if shows_own { Reply::Array(vec![Reply::Integer(number(self.quorum.min(1))), others]) } else { others }
    }
}

impl ServerInfo {
    /// The reply to `HELLO`.
    pub(super) fn hello(&self, id: i64, version: Version) -> Reply {
        let pair = |key: &str, value| (Reply::bulk(key), value);
        Reply::Map(vec![
            pair("server", Reply::bulk("redis")),
            pair("version", Reply::bulk(REDIS_VERSION)),
            pair("proto", Reply::Integer(if version == Version::Resp2 { 2 } else { 3 })),
            pair("id", Reply::Integer(id)),
            pair("mode", Reply::bulk(if self.cluster.is_some() { "cluster" } else { "standalone" })),
            pair("role", Reply::bulk(self.about.role.name())),
            pair("modules", Reply::Array(Vec::new())),
        ])
    }

    pub(super) fn text(&self, asked: &[Box<[u8]>], store: &Store, log_time: u64) -> String {
        let is_asked = |words: &[&str]| {
            asked.iter().any(|section| words.iter().any(|word| section.eq_ignore_ascii_case(word.as_bytes())))
        };
        let mut text = String::new();
        for (name, lines) in self.sections(store, log_time) {
            let is_usual = name != "Commandstats";
            let usual = is_usual && (asked.is_empty() || is_asked(&["default"]));
            if !usual && !is_asked(&[name, "all", "everything"]) {
                continue;
            }
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            write!(text, "# {name}\r\n").expect("a string takes all");
            for (key, value) in lines {
                write!(text, "{key}:{value}\r\n").expect("a string takes all");
            }
        }
        text
    }

    fn sections(&self, store: &Store, log_time: u64) -> [(&'static str, Lines); 12] {
        let Keyspace { keys, expires, bytes } = Keyspace::of(store, log_time) + self.other_shards;
        let keyspace = format!("keys={keys},expires={expires},avg_ttl=0");
        let role = self.about.role.lines().into_iter().chain(self.about.lines.iter().cloned());
        [
            ("Server", self.server()),
            ("Clients", self.clients()),
            ("Memory", self.memory(bytes)),
            ("Persistence", lines([("loading", "0"), ("async_loading", "0"), ("aof_enabled", "1")])),
            ("Stats", self.stats()),
            ("Replication", lines(role)),
            (
                "CPU",
                lines([
                    ("used_cpu_sys", format!("{:.6}", self.process.system_seconds)),
                    ("used_cpu_user", format!("{:.6}", self.process.user_seconds)),
                ]),
            ),
            ("Modules", Vec::new()),
            ("Commandstats", self.command_lines.clone()),
            ("Errorstats", self.error_lines.clone()),
            ("Cluster", lines([("cluster_enabled", u8::from(self.cluster.is_some()))])),
            ("Keyspace", if keys == 0 { Vec::new() } else { lines([("db0", keyspace)]) }),
        ]
    }

    fn server(&self) -> Lines {
        lines([
            ("redis_version", REDIS_VERSION.to_owned()),
            ("quorate_version", env!("CARGO_PKG_VERSION").to_owned()),
            ("redis_mode", "standalone".to_owned()),
            ("os", std::env::consts::OS.to_owned()),
            ("arch_bits", usize::BITS.to_string()),
            ("process_id", std::process::id().to_string()),
            ("tcp_port", self.tcp_port.to_string()),
            ("uptime_in_seconds", self.uptime_seconds.to_string()),
            ("uptime_in_days", (self.uptime_seconds / 86_400).to_string()),
        ])
    }

    fn clients(&self) -> Lines {
        lines([
            ("connected_clients", self.connected_clients),
            ("maxclients", self.clients_max),
            ("blocked_clients", self.blocked_clients),
            ("pubsub_clients", self.subscribers),
        ])
    }

    fn memory(&self, dataset: u64) -> Lines {
        let used = dataset + self.replies_bytes as u64;
        lines([
            ("used_memory", used.to_string()),
            ("used_memory_human", human(used)),
            ("used_memory_rss", self.process.memory_bytes.to_string()),
            ("used_memory_rss_human", human(self.process.memory_bytes)),
            ("used_memory_dataset", dataset.to_string()),
            ("mem_clients_normal", self.replies_bytes.to_string()),
            ("maxmemory", self.memory_max.to_string()),
            ("maxmemory_human", human(self.memory_max)),
            ("maxmemory_policy", "noeviction".to_owned()),
        ])
    }

    fn stats(&self) -> Lines {
        let [channels, patterns, shards] = self.subscriptions.map(|count| count as u64);
        lines([
            ("total_connections_received", self.connections_received),
            ("total_commands_processed", self.commands_processed),
            ("rejected_connections", self.connections_rejected),
            ("evicted_keys", 0),
            ("pubsub_channels", channels),
            ("pubsub_patterns", patterns),
            ("pubsubshard_channels", shards),
            ("total_error_replies", self.errors),
        ])
    }
}

/// Names and values.
type Lines = Vec<(String, String)>;

fn lines<'a, V: ToString>(lines: impl IntoIterator<Item = (&'a str, V)>) -> Lines {
    lines.into_iter().map(|(name, value)| (name.to_owned(), value.to_string())).collect()
}

/// Bytes as Redis shows them to people.
fn human(bytes: u64) -> String {
    #[allow(clippy::cast_precision_loss)]
    let number = bytes as f64;
    let units = [(1024.0 * 1024.0 * 1024.0, 'G'), (1024.0 * 1024.0, 'M'), (1024.0, 'K')];
    let unit = units.into_iter().find(|(size, _)| number >= *size);
    unit.map_or_else(|| format!("{bytes}B"), |(size, letter)| format!("{:.2}{letter}", number / size))
}

/// The version of Redis whose replies these are. Clients use it to decide which features a server has.
/// The version of Redis whose commands these are.
pub const REDIS_VERSION: &str = "7.0.15";
