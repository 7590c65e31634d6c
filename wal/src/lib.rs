//! A write-ahead log for consensus.

pub mod disk;
