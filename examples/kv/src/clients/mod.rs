//! What a node knows about its clients (`CLIENT LIST`).

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;

use crate::resp::{Reply, Version};

mod arrivals;
mod registry;

pub use arrivals::Arrivals;
pub use registry::{Client, Killed, Registry};

/// A client as `CLIENT LIST` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRow {
    /// The number of its connection.
    pub id: i64,
    /// Its address and that of the node's end. `None` for a connection without a socket.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    /// The name that it gave itself.
    pub name: Option<Bytes>,
    /// Seconds since it was connected.
    pub age_seconds: u64,
    /// Seconds since its last command.
    pub idle_seconds: u64,
    /// What it does, in Redis's letters; `N` for nothing special.
    pub flags: String,
    /// Number of its channels, patterns and shard channels.
    pub subscriptions: [usize; 3],
    /// Number of commands that wait for `EXEC`. `None` outside of a transaction.
    pub queued: Option<usize>,
    /// Bytes that it sent and that are no command yet, and the room behind them.
    pub input_bytes: (usize, usize),
    /// Bytes of replies that it has not taken.
    pub output_bytes: usize,
    /// Its last command.
    pub command: String,
    /// The user as whom it acts.
    pub user: Bytes,
    /// Its version of the protocol.
    pub version: Version,
}

/// The clients that are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientFilter {
    /// Those of these numbers. Empty: of any.
    pub ids: Vec<i64>,
    /// Those that subscribe to something, or those that do not.
    pub is_subscriber: Option<bool>,
    /// Those of a kind that there is not here.
    pub is_nobody: bool,
    /// Those with this address.
    pub address: Option<Bytes>,
    /// Those that are connected to this address of the node.
    pub local_address: Option<Bytes>,
    /// Those that act as this user.
    pub user: Option<Bytes>,
    /// All but the one that asks.
    pub skips_self: bool,
}

/// A question about clients, or the end of some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientRequest {
    /// `CLIENT INFO`.
    Info,
    /// `CLIENT LIST`.
    List(ClientFilter),
    /// `CLIENT KILL`, answered by the number of clients.
    Kill(ClientFilter),
    /// `CLIENT KILL` with an address alone.
    KillAddress(Bytes),
}

impl ClientFilter {
    /// Returns true if this client is meant. `own` is the number of the one that asks.
    pub fn takes(&self, row: &ClientRow, own: i64) -> bool {
        let is_subscriber = row.subscriptions.iter().any(|count| *count > 0);
        let has = |address: &Option<Bytes>, of: fn(&(SocketAddr, SocketAddr)) -> SocketAddr| {
            let real = row.addresses.as_ref().map(|addresses| of(addresses).to_string());
            address.as_ref().is_none_or(|asked| real.is_some_and(|real| *asked == real))
        };
        !self.is_nobody
            && (self.ids.is_empty() || self.ids.contains(&row.id))
            && self.is_subscriber.is_none_or(|asked| asked == is_subscriber)
            && has(&self.address, |addresses| addresses.0)
            && has(&self.local_address, |addresses| addresses.1)
            && self.user.as_ref().is_none_or(|user| *user == row.user)
            && !(self.skips_self && row.id == own)
    }
}

/// The reply to a request, and the clients that are to be ended.
pub fn answer(request: &ClientRequest, rows: &[ClientRow], own: i64) -> (Reply, Vec<i64>) {
    let text = |rows: &[&ClientRow]| Reply::Text(rows.iter().map(|row| format!("{row}\n")).collect());
    let those = |filter: &ClientFilter| rows.iter().filter(|row| filter.takes(row, own)).collect::<Vec<_>>();
    match request {
        ClientRequest::Info => (text(&those(&ClientFilter { ids: vec![own], ..ClientFilter::default() })), Vec::new()),
        ClientRequest::List(filter) => (text(&those(filter)), Vec::new()),
        ClientRequest::Kill(filter) => {
            let ids: Vec<_> = those(filter).iter().map(|row| row.id).collect();
            (Reply::Integer(i64::try_from(ids.len()).unwrap_or(i64::MAX)), ids)
        }
        ClientRequest::KillAddress(address) => {
            let filter = ClientFilter { address: Some(address.clone()), ..ClientFilter::default() };
            let ids: Vec<_> = those(&filter).iter().map(|row| row.id).collect();
            (if ids.is_empty() { Reply::error("ERR No such client") } else { Reply::OK }, ids)
        }
    }
}

impl fmt::Display for ClientRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [address, local] = match self.addresses {
            Some((address, local)) => [address.to_string(), local.to_string()],
            None => [String::new(), String::new()],
        };
        let name = self.name.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        let [channels, patterns, shards] = self.subscriptions;
        let user = String::from_utf8_lossy(&self.user);
        let queued = self.queued.map_or(-1, |count| i64::try_from(count).unwrap_or(i64::MAX));
        let (input, room) = self.input_bytes;
        let output = self.output_bytes;
        let memory = input + room + output;
        let events = if output > 0 { "rw" } else { "r" };
        let version = if self.version == Version::Resp2 { 2 } else { 3 };
        write!(f, "id={} addr={address} laddr={local} fd=-1 name={name}", self.id)?;
        write!(f, " age={} idle={} flags={} db=0", self.age_seconds, self.idle_seconds, self.flags)?;
        write!(f, " sub={channels} psub={patterns} ssub={shards} multi={queued} qbuf={input} qbuf-free={room}")?;
        write!(f, " argv-mem=0 multi-mem=0 rbs={output} rbp={output} obl={output} oll=0 omem=0 tot-mem={memory}")?;
        write!(f, " events={events} cmd={} user={user} redir=-1 resp={version}", self.command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> ClientRow {
        ClientRow {
            id: 7,
            addresses: Some(("10.0.0.1:5".parse().unwrap(), "10.0.0.2:6379".parse().unwrap())),
            name: Some(Bytes::from("me")),
            age_seconds: 9,
            idle_seconds: 3,
            flags: "P".to_owned(),
            subscriptions: [1, 2, 0],
            queued: None,
            input_bytes: (10, 90),
            output_bytes: 0,
            command: "client|list".to_owned(),
            user: Bytes::from("default"),
            version: Version::Resp3,
        }
    }

    #[test]
    fn a_row_has_the_fields_of_redis() {
        assert_eq!(
            row().to_string(),
            "id=7 addr=10.0.0.1:5 laddr=10.0.0.2:6379 fd=-1 name=me age=9 idle=3 flags=P db=0 sub=1 psub=2 ssub=0 \
             multi=-1 qbuf=10 qbuf-free=90 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=100 events=r \
             cmd=client|list user=default redir=-1 resp=3"
        );
    }

    #[test]
    fn a_filter_takes_who_is_meant() {
        let takes = |filter: ClientFilter| filter.takes(&row(), 7);
        let all = ClientFilter::default;
        assert!(takes(all()));
        assert!(takes(ClientFilter { ids: vec![1, 7], ..all() }) && !takes(ClientFilter { ids: vec![1], ..all() }));
        assert!(takes(ClientFilter { is_subscriber: Some(true), ..all() }));
        assert!(!takes(ClientFilter { is_subscriber: Some(false), ..all() }));
        let at = |text: &str| Some(Bytes::from(text.to_owned()));
        assert!(takes(ClientFilter { address: at("10.0.0.1:5"), ..all() }));
        assert!(!takes(ClientFilter { address: at("10.0.0.2:6379"), ..all() }));
        assert!(takes(ClientFilter { local_address: at("10.0.0.2:6379"), ..all() }));
        assert!(takes(ClientFilter { user: at("default"), ..all() }));
        assert!(!takes(ClientFilter { user: at("other"), ..all() }));
        assert!(!takes(ClientFilter { skips_self: true, ..all() }));
        assert!(!takes(ClientFilter { is_nobody: true, ..all() }));
    }
}
