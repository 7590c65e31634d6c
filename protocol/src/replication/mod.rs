//! The core of a replicated log with a leader, for protocols that differ in how they elect it.
#![allow(clippy::unnecessary_wraps, reason = "handlers all return the same, so that the router passes it on")]

mod candidate;
mod catch_up;
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
mod log_core;
mod membership;
pub mod message;
mod peers;
mod progress;
mod pulls;
mod quiet;
mod quorum;
mod reads;
mod role;
mod shared;
mod snapshots;
mod status;
#[cfg(feature = "testing")]
pub mod testing;
mod timer;
mod transfer;
mod view;

pub use config::{Config, Settings, Start};
pub use election::Election;
pub use error::{ConfigError, Ignored};
pub use lease::Lease;
pub use log_core::LogCore;
pub use message::Message;
