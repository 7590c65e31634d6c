#![doc = include_str!("../README.md")]

mod group;
mod notice;
mod reply;

pub use group::{
    CallId, Group, GroupInput, GroupOutput, Job, JobResult, SnapshotDone, SnapshotFailure, SnapshotOperation,
    SnapshotReader, SnapshotWriter,
};
pub use notice::Notice;
pub use reply::Reply;
