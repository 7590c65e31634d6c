#![doc = include_str!("../README.md")]

mod directory;
mod driver;
mod group;
mod handle;
mod hosted;
pub mod metrics;
mod node;
mod notice;
mod opening;
mod outcome;
mod replica;
mod reply;
mod server;
mod sessions;
mod snapshots;
mod state_machine;
mod typed;

pub use directory::{Directory, DirectoryError, cluster_id, draw_incarnation};
pub use driver::{Answer, CallError, Clock, Driver, HostedHandle, LocalHandle, NodeHandle, Parts, StartError, Stopped};
pub use group::{
    CallId, Group, GroupInput, GroupOutput, Job, JobResult, SnapshotDone, SnapshotFailure, SnapshotLane,
    SnapshotOperation, SnapshotReader, SnapshotWriter,
};
pub use handle::{LocalReplicaHandle, Pending, ReplicaHandle};
pub use hosted::{Heard, Hostable, Hosted, TOLD_MAX, Told};
pub use node::{
    Founding, NODE_STREAM, Node, NodeConfig, NodeCounters, NodeInput, NodeOutput, Origin, PEERS_MAX, PendingStart,
    Roster, Write,
};
pub use notice::Notice;
pub use opening::{Opened, Opening, Recovered};
pub use outcome::{NotApplied, Outcome, ProposeError, ReadError, Retry, TransferError, Unknown};
pub use quorate_protocol::GroupId;
pub use quorate_transport::ChannelId;
pub use quorate_wal::StreamId;
pub use replica::{
    CatchUp, Delivery, EntryState, FEATURE_LEVEL, Obstacle, ProposeOptions, ReadContext, Replica, ReplicaCounters,
    ReplicaSettings, ReplicaSettingsError, ReplicaStatus, Seat, TransferProgress,
};
pub use reply::Reply;
pub use server::{BoxError, ConfigError, GroupStart, Launch, MakeGroup, OpenError, Running, Server, ServerBuilder};
pub use sessions::{SESSION_RESPONSE_BYTES_MAX, SESSION_WINDOW};
pub use snapshots::{Snapshots, StopFlag};
pub use state_machine::{ApplyContext, StateMachine};
pub use typed::{Typed, TypedStateMachine};
