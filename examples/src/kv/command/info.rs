//! `INFO`.

use std::fmt::Write as _;

use crate::kv::store::Store;

use super::query::At;

/// What `INFO` tells about a server beside its keys. Gathered when it is asked for.
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
    /// Lines about the node and its group: name and value.
    pub replication: Vec<(&'static str, String)>,
}

impl ServerInfo {
    pub(super) fn text(&self, sections: &[Box<[u8]>], store: &Store, at: At) -> String {
        let wanted = |name: &str| {
            let all = [name, "all", "everything", "default"];
            sections.is_empty()
                || sections.iter().any(|section| all.iter().any(|name| section.eq_ignore_ascii_case(name.as_bytes())))
        };
        let mut text = String::new();
        for (name, lines) in self.sections(store, at) {
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

    fn sections(&self, store: &Store, at: At) -> [(&'static str, Vec<(&'static str, String)>); 6] {
        let keys = store.len(at.log_time);
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
            (
                "Replication",
                [("role", "master".to_owned())].into_iter().chain(self.replication.iter().cloned()).collect(),
            ),
            ("Keyspace", if keys == 0 { Vec::new() } else { vec![("db0", keyspace)] }),
        ]
    }
}

/// The Redis whose replies these are; clients look at it to see what a server can do.
pub(super) const REDIS_VERSION: &str = "7.0.15";
