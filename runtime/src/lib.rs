// The example of the README needs a protocol, so it is compiled in `verification`, which has one.
#![cfg_attr(not(doctest), doc = include_str!("../README.md"))]

pub mod bound;
pub mod group;
pub mod hosted;
pub mod metrics;
pub mod node;
mod panics;
pub mod replica;
pub mod shell;
#[cfg(feature = "testing")]
pub mod testing;

pub use group::change::GroupError;
pub use group::outcome::{
    BuildError, CampaignError, NotApplied, Outcome, ProposeError, ReadError, Retry, TransferError, Unknown,
};
pub use group::start::{BoxError, GroupStart, SkippedCommand};
pub use quorate_protocol::GroupId;
pub use replica::proposals::Delivery;
pub use replica::settings::ReplicaSettings;
pub use replica::state_machine::{ApplyContext, Restorer, StateMachine};
pub use replica::status::{ReadContext, ReplicaStatus};
pub use replica::typed::{Typed, TypedStateMachine};
pub use shell::driver::calls::NodeHandle;
pub use shell::driver::changes::Change;
pub use shell::driver::shutdown::Stopped;
pub use shell::error::{ServerConfigError, ServerOpenError};
pub use shell::launch::Launch;
pub use shell::replica_handle::{LocalReplicaHandle, Pending, ReplicaHandle, StatusWatch};
pub use shell::server::{Running, Server, ServerBuilder, bound, bound_with, replica, replica_with};
