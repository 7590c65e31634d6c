#![doc = include_str!("../README.md")]

mod group;
mod notice;
mod reply;
mod state_machine;
mod typed;

pub use group::{
    CallId, Group, GroupInput, GroupOutput, Job, JobResult, SnapshotDone, SnapshotFailure, SnapshotOperation,
    SnapshotReader, SnapshotWriter,
};
pub use notice::Notice;
pub use reply::Reply;
pub use state_machine::{ApplyContext, StateMachine};
pub use typed::{Typed, TypedStateMachine};
