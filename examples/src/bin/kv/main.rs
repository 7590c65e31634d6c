//! `kv`: a replicated key-value store that speaks the Redis protocol.

fn main() {}
