#![doc = include_str!("../README.md")]
#![allow(clippy::unnecessary_wraps, reason = "handlers all return the same, so that the router passes it on")]

mod candidate;
mod clock;
mod codec;
mod commitment;
mod config;
mod disk;
mod durable;
mod election;
mod error;
mod follower;
mod invariants;
mod leader;
mod lease;
mod log;
mod membership;
pub mod message;
mod peers;
mod progress;
mod pulls;
mod quiet;
mod quorum;
mod raft;
mod reads;
mod role;
#[cfg(feature = "server")]
mod server;
mod shared;
mod snapshots;
mod status;
#[cfg(feature = "testing")]
pub mod testing;
mod transfer;
mod view;

pub use config::{Config, Settings, Start};
pub use error::{ConfigError, Ignored};
pub use lease::Lease;
pub use message::Message;
pub use raft::Raft;

/// The server side: `Node`, `Replica`, and the tokio shell.
#[cfg(feature = "server")]
pub use quorate_runtime as runtime;
