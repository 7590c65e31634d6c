#![doc = include_str!("../README.md")]

mod candidate;
mod clock;
mod codec;
mod config;
mod error;
mod follower;
mod invariants;
mod leader;
mod log;
pub mod message;
mod progress;
mod quiet;
mod quorum;
mod raft;
mod reads;
mod replication;
#[cfg(feature = "server")]
mod server;
mod snapshot;
mod state;
mod status;
#[cfg(feature = "testing")]
pub mod testing;
mod transfer;
mod view;

pub use config::{Config, Settings, Start};
pub use error::{ConfigError, Ignored};
pub use message::Message;
pub use raft::Raft;

/// The server side: `Node`, `Replica`, and the tokio shell.
#[cfg(feature = "server")]
pub use quorate_runtime as runtime;
