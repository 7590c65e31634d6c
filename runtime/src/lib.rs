#![doc = include_str!("../README.md")]

mod group;
pub mod metrics;
mod node;
mod replica;
mod shell;

pub use group::{
    CallId, Group, GroupInput, GroupOutput, Heard, Hostable, Hosted, Job, JobResult, NotApplied, Notice, Outcome,
    ProposeError, ReadError, Reply, Retry, SnapshotDone, SnapshotFailure, SnapshotLane, SnapshotOperation,
    SnapshotReader, SnapshotWriter, TOLD_MAX, Told, TransferError, Unknown,
};
pub use node::{
    Founding, NODE_STREAM, Node, NodeConfig, NodeCounters, NodeInput, NodeOutput, Origin, PEERS_MAX, PendingStart,
    Roster, Write,
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
    Answer, BoxError, CallError, Clock, ConfigError, Directory, DirectoryError, Driver, GroupStart, HostedHandle,
    Launch, LocalHandle, LocalReplicaHandle, MakeGroup, NodeHandle, OpenError, Opened, Opening, Parts, Pending,
    Recovered, ReplicaHandle, Running, Server, ServerBuilder, Snapshots, StartError, StopFlag, Stopped, cluster_id,
    draw_incarnation,
};
