//! State that the tasks of one transport share: the known peers, and the reports about connections.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use quorate_protocol::{Identity, NodeId};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::heartbeat::Heartbeat;
use super::inbound::{Inbound, Life};
use super::outbound::Outbound;
use super::settings::TcpSettings;
use super::tls::Tls;
use crate::counters::TransportCounters;
use crate::frame::{Lane, Sender};
use crate::link::{DownReason, LinkEvent, Refusal, RefusedBy};
use crate::router::Router;
use crate::transport::Peer;
use crate::wire::{HandshakeAnswer, Hello, VERSION_MAX, VERSION_MIN};

/// The shared part of a transport.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) identity: Identity,
    pub(super) settings: TcpSettings,
    /// `None`: connections are not encrypted.
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) router: Router,
    pub(super) counters: Arc<TransportCounters>,
    pub(super) ping: Bytes,
    pub(super) pong: Bytes,
    peers: RwLock<BTreeMap<NodeId, Known>>,
    closed: AtomicBool,
    /// Number of connections accepted so far, which is the epoch of the newest.
    epochs: AtomicU64,
}

/// A known peer and its tasks.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) peer: Peer,
    pub(super) inbound: Arc<Inbound>,
    /// In the order of [`Lane::ALL`].
    pub(super) lanes: [LaneTask; 2],
}

/// One lane to a peer: its queue, and the task that dials and writes.
#[derive(Debug)]
pub(super) struct LaneTask {
    pub(super) outbound: Arc<Outbound>,
    pub(super) task: AbortHandle,
    /// Closes when the task has ended.
    pub(super) ended: watch::Receiver<()>,
}

impl LaneTask {
    /// Tells the task to write the frames that wait and to end. Returns a future that completes when it has ended.
    pub(super) fn close(&self) -> impl Future<Output = ()> + use<> {
        if !self.outbound.close() {
            self.task.abort();
        }
        let mut ended = self.ended.clone();
        async move { while ended.changed().await.is_ok() {} }
    }
}

impl Known {
    /// The address to which each lane is connected.
    pub(super) fn in_use(&self) -> [Option<String>; 2] {
        self.lanes.each_ref().map(|lane| lane.outbound.address())
    }

    /// Ends the tasks of the peer. When this returns, its link is down and no further frame of it is delivered.
    pub(super) fn stop(&self, reason: DownReason) {
        self.inbound.close();
        for lane in &self.lanes {
            lane.outbound.stop(reason);
            lane.task.abort();
        }
    }
}

impl Core {
    pub(super) fn new(identity: Identity, settings: TcpSettings, tls: Option<Arc<Tls>>) -> Self {
        let counters = Arc::new(TransportCounters::default());
        Self {
            identity,
            settings,
            tls,
            router: Router::new(&settings.limits, counters.clone()),
            counters,
            ping: Heartbeat::Ping.encode(identity.incarnation),
            pong: Heartbeat::Pong.encode(identity.incarnation),
            peers: RwLock::default(),
            closed: AtomicBool::new(false),
            epochs: AtomicU64::new(0),
        }
    }

    pub(super) fn peers(&self) -> RwLockReadGuard<'_, BTreeMap<NodeId, Known>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn peers_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<NodeId, Known>> {
        self.peers.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Closes the transport, and returns whether it was open before.
    pub(super) fn close(&self) -> bool {
        !self.closed.swap(true, Ordering::SeqCst)
    }

    pub(super) fn next_epoch(&self) -> u64 {
        self.epochs.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Makes the queue of `lane` to `node`.
    pub(super) fn outbound(&self, node: NodeId, lane: Lane) -> Outbound {
        let (counters, router) = (self.counters.clone(), self.router.clone());
        Outbound::new(self.identity, node, lane, self.settings.limits, counters, router)
    }

    /// The hello with which this node dials `peer`.
    pub(super) fn hello(&self, peer: &Peer, lane: Lane) -> Hello {
        Hello {
            version_min: VERSION_MIN,
            version_max: VERSION_MAX,
            lane,
            from: self.identity,
            to: peer.node,
            to_incarnation: peer.incarnation,
            start: self.settings.start,
            frame_bytes_max: self.frame_bytes_max(),
        }
    }

    /// Decides whether to accept the dialer. Returns the answer and the gate for its frames.
    pub(super) fn admit(&self, hello: &Hello) -> Result<(HandshakeAnswer, Arc<Inbound>), Refusal> {
        if self.is_closed() {
            return Err(Refusal::ShuttingDown);
        }
        if hello.from.cluster != self.identity.cluster {
            return Err(Refusal::Cluster);
        }
        if hello.to != self.identity.node {
            return Err(Refusal::Node);
        }
        if hello.to_incarnation.is_some_and(|wanted| wanted != self.identity.incarnation) {
            return Err(Refusal::Incarnation);
        }
        let peers = self.peers();
        let known = peers.get(&hello.from.node).ok_or(Refusal::UnknownPeer)?;
        if known.peer.incarnation.is_some_and(|wanted| wanted != hello.from.incarnation) {
            return Err(Refusal::Incarnation);
        }
        let version = hello.agreed_version().ok_or(Refusal::Version)?;
        let answer = HandshakeAnswer::Accepted {
            version,
            from: self.identity,
            start: self.settings.start,
            frame_bytes_max: self.frame_bytes_max(),
        };
        Ok((answer, known.inbound.clone()))
    }

    /// Decides whether the node that answered a dial is the wanted one. Returns it and the longest frame that it
    /// accepts.
    pub(super) fn judge(&self, answer: HandshakeAnswer, peer: &Peer) -> Result<(Sender, usize), Rejected> {
        let (from, start, frame_bytes_max) = match answer {
            HandshakeAnswer::Accepted { from, start, frame_bytes_max, .. } => (from, start, frame_bytes_max),
            HandshakeAnswer::Refused(refusal) => return Err(Rejected { refusal, by: RefusedBy::Peer }),
        };
        let rejected = |refusal| Err(Rejected { refusal, by: RefusedBy::Us });
        if from.cluster != self.identity.cluster {
            return rejected(Refusal::Cluster);
        }
        if from.node != peer.node {
            return rejected(Refusal::Node);
        }
        if peer.incarnation.is_some_and(|wanted| wanted != from.incarnation) {
            return rejected(Refusal::Incarnation);
        }
        let life = Life { incarnation: from.incarnation, start };
        if self.peers().get(&peer.node).is_some_and(|known| known.inbound.is_outlived(life)) {
            return rejected(Refusal::OlderStart);
        }
        let frame_bytes_max = usize::try_from(frame_bytes_max).unwrap_or(usize::MAX);
        let sender = Sender { node: from.node, incarnation: from.incarnation };
        Ok((sender, frame_bytes_max.min(self.settings.limits.frame_bytes_max)))
    }

    /// Counts, logs and reports a refusal. Of many refusals of one kind, those at powers of two are logged as warnings.
    pub(super) fn refuse(&self, peer: Option<NodeId>, remote: Option<SocketAddr>, rejected: Rejected) {
        let Rejected { refusal, by } = rejected;
        let times = self.counters.refuse(refusal);
        let peer_id = peer.map(|peer| peer.0);
        if times.is_power_of_two() {
            tracing::warn!(node = self.identity.node.0, peer = peer_id, ?remote, ?by, times, "refused: {refusal}");
        } else {
            tracing::debug!(node = self.identity.node.0, peer = peer_id, ?remote, ?by, times, "refused: {refusal}");
        }
        self.router.tell(LinkEvent::Refused { peer, refusal, by });
    }

    fn frame_bytes_max(&self) -> u32 {
        u32::try_from(self.settings.limits.frame_bytes_max).unwrap_or(u32::MAX)
    }
}

/// A refusal and the side that refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rejected {
    pub(super) refusal: Refusal,
    pub(super) by: RefusedBy,
}

impl From<Refusal> for Rejected {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, by: RefusedBy::Us }
    }
}

/// Number of heartbeats in a row that may be missed.
pub(super) fn missed_max(settings: &TcpSettings) -> u32 {
    let intervals = settings.heartbeat_timeout.as_nanos().div_ceil(settings.heartbeat_interval.as_nanos());
    u32::try_from(intervals).unwrap_or(u32::MAX)
}
