//! `kv`: a replicated key-value store that speaks the Redis protocol.
//!
//! [`store`] is the replicated state machine; [`resp`] the protocol of clients; [`command`] what they may ask for;
//! [`connection`] orders one client's requests and replies; [`server`] gives connections their sockets. [`config`] is
//! the cluster file, [`http`] the port for people, [`status`] what it tells, [`logging`] the lines of the log,
//! [`descriptors`] the bound of open files; [`backend`] binds connections to a replica, [`node`] is all of it on one
//! loop, [`cluster`] three of them. [`client`] is the other end of a connection.

mod accept;
pub mod backend;
pub mod client;
pub mod cluster;
pub mod command;
pub mod config;
pub mod connection;
pub mod descriptors;
pub mod http;
pub mod logging;
mod machine;
pub mod node;
pub mod resp;
pub mod server;
pub mod status;
pub mod store;

pub use machine::new_store;
