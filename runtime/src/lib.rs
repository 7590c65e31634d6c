#![doc = include_str!("../README.md")]

mod group;
mod notice;
mod outcome;
mod reply;
mod state_machine;
mod typed;

pub use group::{
    CallId, Group, GroupInput, GroupOutput, Job, JobResult, SnapshotDone, SnapshotFailure, SnapshotOperation,
    SnapshotReader, SnapshotWriter,
};
pub use notice::Notice;
pub use outcome::{NotApplied, Outcome, ReadError, Retry, TransferError, Unknown};
pub use reply::Reply;
pub use state_machine::{ApplyContext, StateMachine};
pub use typed::{Typed, TypedStateMachine};
