#![doc = include_str!("../README.md")]

mod ballot;
mod quorum;
pub mod synod;

pub use ballot::Ballot;
pub use quorum::{ACCEPTORS_MAX, QuorumError, QuorumSystem};

/// The server side: `Node`, handles, the tokio shell.
#[cfg(feature = "server")]
pub use quorate_runtime as runtime;
