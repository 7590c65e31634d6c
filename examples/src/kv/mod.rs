//! `kv`: a replicated key-value store that speaks the Redis protocol.
//!
//! [`store`] is the replicated state machine.

pub mod store;
