//! `INFO`.

use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::kv::resp::{Reply, Version};
use crate::kv::store::Store;

/// The data of `INFO` about a server, apart from its keys. Gathered for each request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerInfo {
    /// The port for clients.
    pub tcp_port: u16,
    /// Seconds since the process started.
    pub uptime_seconds: u64,
    /// Open client connections.
    pub connected_clients: usize,
    /// Connections accepted since the start.
    pub connections_received: u64,
    /// Commands answered since the start.
    pub commands_processed: u64,
    /// The node's part in its group.
    pub about: About,
}

/// A node's part in its group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// Its role.
    pub role: Role,
    /// Further lines: name and value.
    pub lines: Vec<(&'static str, String)>,
}

/// A node's role in Redis's words. Each node takes writes and answers reads, in any role.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Role {
    /// It leads.
    #[default]
    Master,
    /// It does not lead.
    Replica {
        /// The leader's address for clients, if a leader is known.
        master: Option<SocketAddr>,
    },
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Replica { .. } => "slave",
        }
    }

    /// The reply to `ROLE`. Places in the log of replication, which Redis has, are 0.
    pub(super) fn reply(self) -> Reply {
        let name = Reply::bulk(self.name());
        match self {
            Self::Master => Reply::Array(vec![name, Reply::Integer(0), Reply::Array(Vec::new())]),
            Self::Replica { master } => {
                let (host, port) = host_and_port(master);
                let state = if master.is_some() { "connected" } else { "connect" };
                let (port, offset) = (Reply::Integer(i64::from(port)), Reply::Integer(0));
                Reply::Array(vec![name, Reply::bulk(host), port, Reply::bulk(state), offset])
            }
        }
    }

    fn lines(self) -> Vec<(&'static str, String)> {
        let mut lines = vec![("role", self.name().to_owned())];
        if let Self::Replica { master } = self {
            let (host, port) = host_and_port(master);
            lines.push(("master_host", host));
            lines.push(("master_port", port.to_string()));
            lines.push(("master_link_status", if master.is_some() { "up" } else { "down" }.to_owned()));
            lines.push(("slave_read_only", "0".to_owned()));
        }
        lines
    }
}

fn host_and_port(master: Option<SocketAddr>) -> (String, u16) {
    master.map_or((String::new(), 0), |master| (master.ip().to_string(), master.port()))
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
            pair("mode", Reply::bulk("standalone")),
            pair("role", Reply::bulk(self.about.role.name())),
            pair("modules", Reply::Array(Vec::new())),
        ])
    }

    pub(super) fn text(&self, sections: &[Box<[u8]>], store: &Store, log_time: u64) -> String {
        let wanted = |name: &str| {
            let all = [name, "all", "everything", "default"];
            sections.is_empty()
                || sections.iter().any(|section| all.iter().any(|name| section.eq_ignore_ascii_case(name.as_bytes())))
        };
        let mut text = String::new();
        for (name, lines) in self.sections(store, log_time) {
            if !wanted(&name.to_ascii_lowercase()) {
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

    fn sections(&self, store: &Store, log_time: u64) -> [(&'static str, Vec<(&'static str, String)>); 7] {
        let keys = store.len(log_time);
        let keyspace = format!("keys={keys},expires={},avg_ttl=0", store.deadlines());
        [
            (
                "Server",
                vec![
                    ("redis_version", REDIS_VERSION.to_owned()),
                    ("quorate_version", env!("CARGO_PKG_VERSION").to_owned()),
                    ("redis_mode", "standalone".to_owned()),
                    ("arch_bits", usize::BITS.to_string()),
                    ("process_id", std::process::id().to_string()),
                    ("tcp_port", self.tcp_port.to_string()),
                    ("uptime_in_seconds", self.uptime_seconds.to_string()),
                ],
            ),
            ("Clients", vec![("connected_clients", self.connected_clients.to_string())]),
            ("Memory", vec![("used_memory_dataset", store.weight().to_string()), ("maxmemory", "0".to_owned())]),
            (
                "Stats",
                vec![
                    ("total_connections_received", self.connections_received.to_string()),
                    ("total_commands_processed", self.commands_processed.to_string()),
                ],
            ),
            ("Replication", self.about.role.lines().into_iter().chain(self.about.lines.iter().cloned()).collect()),
            ("Cluster", vec![("cluster_enabled", "0".to_owned())]),
            ("Keyspace", if keys == 0 { Vec::new() } else { vec![("db0", keyspace)] }),
        ]
    }
}

/// The version of Redis whose replies these are. Clients use it to decide which features a server has.
const REDIS_VERSION: &str = "7.0.15";
