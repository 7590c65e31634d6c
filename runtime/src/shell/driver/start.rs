//! Construction of a driver.

use std::any::Any;
use std::io;
use std::sync::Arc;

use quorate_protocol::Instant;
use quorate_transport::{ChannelId, ClaimError, Transport};
use quorate_wal::Wal;
use quorate_wal::disk::Disk;

use super::calls::Doors;
use super::mailbox::Mailbox;
use super::report::Report;
use super::waiting::WaitingCalls;
use super::worker::{SnapshotThreads, WORK_MAX, Worker};
use super::{Clock, Driver, News, Scratch, log};
use crate::{Job, Node, NodeInput, Snapshots};

/// The parts of a [`Driver`].
pub struct Parts<D: Disk> {
    /// The node, with its groups.
    pub node: Node,
    /// The clock that the node was made with.
    pub clock: Clock,
    /// The transport. The driver claims all channels except that of rpc.
    pub transport: Arc<dyn Transport>,
    /// The log. It gets a thread of its own.
    pub log: Wal<D>,
    /// The snapshots. They get a thread for each lane.
    pub snapshots: Snapshots<D>,
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

impl Driver {
    /// Claims the channels and starts the threads of the log, the snapshots and the jobs.
    ///
    /// # Errors
    /// When a channel is claimed already, or a thread cannot be started.
    ///
    /// # Panics
    /// Outside of a tokio runtime with time.
    pub fn new<D: Disk>(parts: Parts<D>) -> Result<Self, StartError> {
        let news = Mailbox::new(usize::MAX);
        let log = log::spawn(parts.log, news.clone())?;
        let control = parts.transport.claim(ChannelId::TRANSPORT..=ChannelId::SNAPSHOTS)?;
        let groups = parts.transport.claim(ChannelId::REPLICA..=ChannelId(u16::MAX))?;
        Ok(Self {
            report: Report::new(parts.node.identity().node),
            node: parts.node,
            sleep: Box::pin(tokio::time::sleep_until(parts.clock.moment(Instant::ZERO))),
            clock: parts.clock,
            transport: parts.transport,
            inboxes: [control, groups],
            log,
            snapshots: SnapshotThreads::spawn(parts.snapshots, &parts.lock, &news)?,
            jobs: job_thread(news.clone())?,
            news,
            doors: Doors::new(CALLS_BYTES_MAX),
            waiting: WaitingCalls::default(),
            unsent: Vec::new(),
            armed: Instant::ZERO,
            round: Instant::ZERO,
            overdue_rounds: 0,
            shutdown: None,
            scratch: Scratch::default(),
            lock: parts.lock,
        })
    }
}

type JobWork = (quorate_protocol::GroupId, quorate_protocol::Ticket, Job);

/// Starts the thread of the jobs. It does not use the data directory, so no shutdown waits for its end.
fn job_thread(news: Mailbox<News>) -> io::Result<Worker<JobWork>> {
    let work = move |(group, ticket, job): JobWork| {
        let _ = news.push(News::Node(NodeInput::Job { group, ticket, result: job.run() }), 0);
    };
    Worker::spawn("quorate-jobs", WORK_MAX, work, || ())
}

/// Number of threads that use the data directory: those of the log and of the snapshots.
pub(super) const THREADS_WITH_THE_DIRECTORY: usize = 1 + SnapshotThreads::COUNT;
/// Maximum bytes of waiting calls in each of the loop's two queues. Further calls are refused as `Overloaded`.
const CALLS_BYTES_MAX: usize = 64 << 20;
