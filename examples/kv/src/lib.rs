//! `kv`: a replicated key-value store that speaks the Redis protocol.
//!
//! [`store`] is the replicated state machine, [`entry`] what the log holds, [`resp`] the protocol of clients, and
//! [`command`] their commands. [`rdb`] is Redis's form of data. [`connection`] orders one client's requests and
//! replies, [`server`] gives connections their sockets, and [`pubsub`] has the messages between clients; [`stats`],
//! [`clients`] and [`process`] are what a node tells about them. [`config`] is the cluster file, [`http`] the port for
//! people, [`exposition`] its page of metrics, [`status`] the status that it shows, [`members`] the changes of members,
//! [`moves`] those of slots, [`backup`] the backups, [`logging`] the lines of the log, and [`descriptors`] the limit of
//! open files. [`tls`] has the certificates of a node, and [`certs`] makes some. [`shards`] divides a store,
//! [`backend`] connects connections to replicas, [`memory`] limits what keys take up, [`peers`] connects a node to the
//! others outside of the log, [`node`] runs all of it on one loop, and [`cluster`] runs several nodes. [`client`] is
//! the client's end of a connection, [`credentials`] what it shows, and [`transfer`] takes keys from Redis and to it.

mod accept;
pub mod address;
pub mod backend;
pub mod backup;
pub mod certs;
pub mod client;
pub mod clients;
pub mod cluster;
pub mod command;
pub mod config;
pub mod connection;
pub mod credentials;
pub mod descriptors;
pub mod entry;
pub mod exposition;
pub mod http;
pub mod logging;
mod machine;
pub mod members;
pub mod memory;
pub mod moves;
mod new_file;
pub mod node;
pub mod peers;
pub mod process;
pub mod pubsub;
pub mod random;
pub mod rdb;
pub mod resp;
pub mod server;
pub mod shards;
pub mod stats;
pub mod status;
pub mod store;
pub mod tls;
pub mod transfer;
mod trouble;
mod waiting;

pub use machine::{Shard, new_store};
pub use node::skip_command;
