//! Programs that combine the Quorate crates. The largest, the store `kv`, is a crate of its own.

pub mod local;
