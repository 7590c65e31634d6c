#![doc = include_str!("../README.md")]

mod ballot;
mod codec;
pub mod log;
mod quorum;
pub mod register;
pub mod synod;
mod waits;

pub use ballot::Ballot;
pub use quorum::{
    ACCEPTORS_MAX, FaultTolerance, QuorumError, QuorumRule, QuorumSystem, QuorumTextError, RULE_DEPTH_MAX,
    RULE_TERMS_MAX,
};

/// The server side: `Node`, handles, the tokio shell.
#[cfg(feature = "server")]
pub use quorate_runtime as runtime;
