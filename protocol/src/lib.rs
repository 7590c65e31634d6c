#![doc = include_str!("../README.md")]

mod batch;
mod chassis;
mod checksum;
mod configuration;
mod entry;
mod ids;
mod law;
mod member_change;
mod operation;
mod outbox;
mod protocol;
mod random;
mod recovery;
mod replicated_log;
#[cfg(feature = "replication")]
pub mod replication;
mod snapshot;
#[cfg(feature = "testing")]
pub mod testing;
mod time;
mod timers;
mod view;
mod wire;

pub use batch::{BatchError, BatchHeader, EntryBatch, Run};
pub use chassis::{Chassis, FailedWrite};
pub use checksum::crc32c;
pub use configuration::{Configuration, ConfigurationError, Member, MemberRole, Promotion};
pub use entry::{ENTRY_HEADER_BYTES, Entry, EntryError, EntryHeader, EntryKind};
pub use ids::{
    ClusterId, GroupId, Identity, Incarnation, LogIndex, LogPosition, NodeId, ProposalId, ReadId, SessionId, Term,
    Ticket,
};
pub use law::{Law, Violation};
pub use member_change::MemberChange;
pub use operation::{LoadFailure, LoadRange, Loaded, Operation, PersistFailure, STATE_BYTES_MAX, WriteRefusal};
pub use outbox::{Outbox, OutboxLimits};
pub use protocol::{DiskState, HaltReason, Input, Output, Protocol, Rest, Signal, Standing, StorageLevel};
pub use random::Random;
pub use recovery::{JournalRecords, RecoverError, Recovery, StateError};
pub use replicated_log::{
    Committed, LogAnswer, LogCommand, LogEvent, LogRequest, LogStatus, PeerProgress, ProgressState, Proposal,
    ReadFailure, RefuseReason, ReplicatedLog, Role, VotingBar,
};
pub use snapshot::{SnapshotMeta, SnapshotMetaError};
pub use time::{Instant, LogTime, Now};
pub use timers::Timers;
pub use view::{View, ViewWriter};
pub use wire::{Wire, WireError};
