//! Transfers of snapshots between replicas, on the bulk lane: in pieces, within a window that the receiver moves.
//!
//! ```text
//!  core of the leader                                            core of the lagging follower
//!    │ SendSnapshot                                                │ ReceiveSnapshot: admits sender and term
//!    ▼                                                             ▼
//!  Sending ── Piece { offset, length, checksum } ──────────────► Receiving ── Create, Write ──► store
//!          ◄────────────────────────── Progress { offset } ──────          ◄── Done ──
//!          ── Piece … as far as the window reaches ────────────►
//!          ◄────────────────────────────────────── Durable ──────          ◄── Durable ── Finish: check, sync, rename
//!    │ SnapshotSent                                                │ SnapshotDurable: the core resets its log
//!    ▼                                                             ▼ Installed: restored
//! ```
//!
//! Both sides forget everything when they stop. A snapshot that was half received is then sent from its start.
//!
//! The receiver makes its new state machine before the snapshot counts. So a snapshot that it cannot read does no
//! harm: the replica continues with its old state, and is sent a snapshot again after
//! [`retry`](crate::ReplicaSettings::retry). If the received content does not match the sender's checksum, the sender
//! verifies its own copy, and makes a new snapshot if that is damaged.

mod id;
mod receiver;
mod receiving;
mod sender;
mod sending;

pub(super) use id::TransferId;
pub(super) use receiver::SnapshotReceiver;
pub(super) use receiving::Content;
pub(super) use sender::{SnapshotSender, Unreadable};
pub(super) use sending::Sending;
