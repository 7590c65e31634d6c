//! Every decoder of Quorate and `kv` that reads what it did not write: bytes of peers, of clients, of files and of
//! disks.
//!
//! Each takes any bytes, without a panic and without more memory than its limits allow. [`DECODERS`] lists them;
//! `targets` has a program of `cargo fuzz` for each, and the test `corpus` runs each over its corpus and over changes
//! of it. See README.md.

mod clients;
mod cores;
mod files;
mod peers;
mod seeds;

pub use files::corpus;
pub use seeds::seeds;

/// A decoder.
#[derive(Debug, Clone, Copy)]
pub struct Decoder {
    /// Its name, which is that of its program and of the folder of its corpus.
    pub name: &'static str,
    /// What it reads.
    pub what: &'static str,
    /// Decodes any bytes, and uses what came of it.
    pub run: fn(&[u8]),
}

/// All decoders.
pub const DECODERS: &[Decoder] = &[
    decoder("resp", "what a client sends: requests, plain lines, and all that follows in a session", clients::resp),
    decoder("inline", "a line of a client", clients::inline),
    decoder("answer", "what a server answers to `kv import` and its kin", clients::answer),
    decoder("login", "the header of the http port that says who asks", clients::login),
    decoder("member_request", "a change of members or slots, as the http port gets it", clients::changes),
    decoder("handshake", "what a peer sends before it is known", peers::handshake),
    decoder("frames", "what a peer sends after that", peers::frames),
    decoder("node_message", "messages between nodes, and bundles of messages of groups", peers::node),
    decoder("raft", "messages of Raft, to a core", cores::raft),
    decoder("multi_paxos", "messages of Multi-Paxos, to a core", cores::multi_paxos),
    decoder("synod", "messages of a decision, to a core", cores::synod),
    decoder("register", "messages of registers, to a core", cores::register),
    decoder("two_phase_commit", "messages of two-phase commit, to a core", cores::two_phase_commit),
    decoder("three_phase_commit", "messages of three-phase commit, to a core", cores::three_phase_commit),
    decoder("records", "what a core finds in its log when it starts", cores::records),
    decoder("entries", "entries, batches, configurations and descriptions of snapshots", peers::entries),
    decoder("pubsub", "questions and answers between the nodes of a store", clients::pubsub),
    decoder("kv_entry", "an entry of a store's log", clients::entry),
    decoder("kv_work", "the work of a shard in a transaction", clients::work),
    decoder("kv_layout", "the layout of a store", clients::layout),
    decoder("kv_snapshot", "a snapshot of a store", files::snapshot),
    decoder("rdb", "a file that Redis wrote", files::rdb),
    decoder("dump", "a value as `DUMP` gives it", files::dump),
    decoder("cluster_toml", "a cluster file", files::cluster_toml),
    decoder("history", "the history of a recording", files::history),
    decoder("placement", "a published placement", files::placement),
    decoder("wal", "the files of a log", files::wal),
];

const fn decoder(name: &'static str, what: &'static str, run: fn(&[u8])) -> Decoder {
    Decoder { name, what, run }
}

/// The decoder of this name.
///
/// # Panics
/// When there is none.
pub fn run(name: &str, bytes: &[u8]) {
    let decoder = DECODERS.iter().find(|decoder| decoder.name == name);
    (decoder.unwrap_or_else(|| panic!("there is no decoder {name}")).run)(bytes);
}
