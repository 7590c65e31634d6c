//! `kv`: a replicated key-value store that speaks the Redis protocol.
//!
//! [`store`] is the replicated state machine.

pub mod command;
pub mod connection;
pub mod resp;
pub mod store;
