//! Programs that combine the Quorate crates. The flagship is [`kv`], a replicated key-value store that speaks the Redis
//! protocol.

pub mod kv;
pub mod local;
