//! A store of several shards: each key has a slot, each slot is held by a shard, and each shard is a replicated store.
//!
//! [`layout`] tells which shard holds which slot. [`work`] is what a shard's log holds, and [`transaction`] how
//! commands over several shards are divided.

pub mod layout;
pub mod merge;
pub mod transaction;
pub mod work;
