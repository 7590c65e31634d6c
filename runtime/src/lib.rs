// The example of the README needs a protocol, so it is compiled in `verification`, which has one.
#![cfg_attr(not(doctest), doc = include_str!("../README.md"))]

mod group;
mod hosted;
pub mod metrics;
mod node;
mod panics;
mod replica;
mod shell;
#[cfg(feature = "testing")]
pub mod testing;

pub use group::{
    BoxError, CallId, Founding, Group, GroupInput, GroupOutput, GroupStart, Hostable, Job, JobResult, MakeGroup,
    NotApplied, Notice, Outcome, ProposeError, ReadError, Reply, Retry, SnapshotDone, SnapshotFailure, SnapshotLane,
    SnapshotOperation, SnapshotReader, SnapshotWriter, TransferError, Unknown,
};
pub use hosted::{Heard, Hosted, HostedHandle, TOLD_MAX, Told};
pub use node::{
    NODE_STREAM, Node, NodeConfig, NodeCounters, NodeInput, NodeOutput, Origin, PEERS_MAX, PendingStart, Roster, Write,
};
pub use quorate_protocol::GroupId;
pub use quorate_transport::ChannelId;
pub use quorate_wal::StreamId;
pub use replica::{
    ApplyContext, CatchUp, Delivery, EntryState, FEATURE_LEVEL, Obstacle, ProposeOptions, ReadContext, Replica,
    ReplicaCounters, ReplicaSettings, ReplicaSettingsError, ReplicaStatus, SESSION_RESPONSE_BYTES_MAX, SESSION_WINDOW,
    Seat, StateMachine, TransferProgress, Typed, TypedStateMachine,
};
pub use shell::{
    Answer, CallError, Clock, ConfigError, Directory, DirectoryError, Driver, Launch, LocalHandle, LocalReplicaHandle,
    NodeHandle, OpenError, Opened, Opening, Parts, Pending, Recovered, ReplicaHandle, Running, Server, ServerBuilder,
    Snapshots, StartError, StopFlag, Stopped, cluster_id, draw_incarnation,
};
