//! The parts that a driver is made of.

use std::any::Any;
use std::io;
use std::sync::Arc;

use quorate_transport::{ClaimError, Transport};
use quorate_wal::Wal;
use quorate_wal::disk::Disk;

use super::addresses::ReadAddresses;
use super::clock::Clock;
use super::mailbox::Mailbox;
use super::news::News;
use super::worker::{SnapshotThreads, WORK_MAX, Worker};
use crate::group::job::Job;
use crate::node::Node;
use crate::node::interface::NodeInput;
use crate::shell::site::Site;
use crate::shell::snapshots::SnapshotStores;

/// The parts of a [`Driver`](super::Driver).
pub struct Parts<D: Disk> {
    /// The node, with its groups.
    pub node: Node,
    /// The clock that the node was made with.
    pub clock: Clock,
    /// The transport. The driver claims all channels except that of rpc.
    pub transport: Arc<dyn Transport>,
    /// Reads the addresses of a peer from the configuration of a group, usually
    /// [`read_address`](crate::shell::read_address).
    pub read_addresses: ReadAddresses,
    /// The log. It gets a thread of its own.
    pub log: Wal<D>,
    /// The snapshots. They get a thread for each lane.
    pub snapshots: SnapshotStores<D>,
    /// The data that further groups start from.
    pub site: Site,
    /// The data directory's lock. It is held until the node has stopped and its threads have ended.
    pub lock: Arc<dyn Any + Send + Sync>,
}

/// Reason why a driver cannot be started. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A channel of the transport is claimed already.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// A thread cannot be started.
    #[error("a thread cannot be started: {0}")]
    Thread(#[from] io::Error),
}

pub(super) type JobWork = (quorate_protocol::GroupId, quorate_protocol::Ticket, Job);

/// Starts the thread of the jobs. It does not use the data directory, so no shutdown waits for its end.
pub(super) fn job_thread(news: Mailbox<News>) -> io::Result<Worker<JobWork>> {
    let work = move |(group, ticket, job): JobWork| {
        let _ = news.push(News::Node(NodeInput::Job { group, ticket, result: job.run() }), 0);
    };
    Worker::spawn("quorate-jobs", WORK_MAX, work, || ())
}

/// Number of threads that use the data directory: those of the log and of the snapshots.
pub(super) const THREADS_WITH_THE_DIRECTORY: usize = 1 + SnapshotThreads::COUNT;
