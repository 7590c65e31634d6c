//! A network in memory: several nodes in one process, without sockets, clocks or threads.
//!
//! ```
//! use bytes::Bytes;
//! use quorate_protocol::{ClusterId, GroupId, Identity, Incarnation, NodeId};
//! use quorate_transport::memory::{DeliveryTime, Network};
//! use quorate_transport::{ChannelId, Frame, Incoming, Limits, Peer, Transport};
//!
//! let network = Network::new(Limits::default(), DeliveryTime::OnSettle)?;
//! let identity = |node| Identity { cluster: ClusterId(1), node: NodeId(node), incarnation: Incarnation(node.into()) };
//! let (one, two) = (network.join(identity(1)), network.join(identity(2)));
//! one.set_peer(Peer::new(NodeId(2), ""))?;
//! two.set_peer(Peer::new(NodeId(1), ""))?;
//!
//! let mut inbox = two.claim(ChannelId::FIRST_CORE..=ChannelId::FIRST_CORE)?;
//! one.send(NodeId(2), Frame::new(ChannelId::FIRST_CORE, GroupId(0), Bytes::from_static(b"hello"), Vec::new())?)?;
//! assert!(inbox.try_recv().is_none());
//! network.settle();
//! let Some(Incoming::Frame(received)) = inbox.try_recv() else { panic!("the frame did not arrive") };
//! assert_eq!((received.from.node, &received.frame.small()[..]), (NodeId(1), &b"hello"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use quorate_protocol::{Identity, NodeId};

use crate::claims::ClaimError;
use crate::counters::{Count, Counts, TransportCounters};
use crate::frame::{ChannelId, Frame, Received, Sender};
use crate::inbox::Inbox;
use crate::limits::{Limits, LimitsError};
use crate::link::{DownReason, LinkEvent, Refusal, RefusedBy};
use crate::router::Router;
use crate::transport::{Peer, PeerError, SendError, Transport};

/// Time at which frames move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryTime {
    /// During `send`.
    Immediate,
    /// During [`Network::settle`].
    OnSettle,
}

/// The network that nodes join. Clones are handles of the same network.
///
/// It is deterministic: frames move in the order of senders, then of receivers, then of sending. A node dials its peers
/// whenever a node joins or leaves, a way is cut or restored, or a node changes its peers.
#[derive(Clone, Debug)]
pub struct Network {
    state: Arc<Mutex<State>>,
}

impl Network {
    /// Makes a network without nodes.
    ///
    /// # Errors
    /// When the bounds do not fit each other.
    pub fn new(limits: Limits, delivery: DeliveryTime) -> Result<Self, LimitsError> {
        limits.check()?;
        let state = State {
            limits,
            delivery,
            nodes: BTreeMap::new(),
            links: BTreeMap::new(),
            cuts: BTreeSet::new(),
            held: BTreeSet::new(),
            joined: 0,
        };
        Ok(Self { state: Arc::new(Mutex::new(state)) })
    }

    /// Adds a node. A node with the same id that is there already is shut down, as if its process had been replaced.
    #[must_use]
    pub fn join(&self, identity: Identity) -> Arc<MemoryTransport> {
        let counters = Arc::new(TransportCounters::default());
        let mut state = self.lock();
        state.leave(identity.node);
        let router = Router::new(&state.limits, counters.clone());
        state.joined += 1;
        let life = state.joined;
        let node =
            Member { identity, life, router: router.clone(), counters: counters.clone(), peers: BTreeMap::new() };
        state.nodes.insert(identity.node, node);
        Arc::new(MemoryTransport { identity, life, network: self.clone(), router, counters })
    }

    /// Moves every frame that can move, and returns how many did.
    pub fn settle(&self) -> usize {
        let mut state = self.lock();
        let links: Vec<_> = state.links.keys().copied().collect();
        links.into_iter().map(|(from, to)| state.drain(from, to)).sum()
    }

    /// Cuts the way from one node to another; the way back stays. Frames on the way are lost.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        let mut state = self.lock();
        state.cuts.insert((from, to));
        state.relink(DownReason::Cut);
    }

    /// Restores the way from one node to another.
    pub fn heal(&self, from: NodeId, to: NodeId) {
        let mut state = self.lock();
        state.cuts.remove(&(from, to));
        state.relink(DownReason::Cut);
    }

    /// Holds the frames for a node until it is released: they wait in the bounded queues of their senders.
    pub fn hold(&self, to: NodeId) {
        self.lock().held.insert(to);
    }

    /// Lets frames for a node move again.
    pub fn release(&self, to: NodeId) {
        let mut state = self.lock();
        state.held.remove(&to);
        if state.delivery == DeliveryTime::Immediate {
            let senders: Vec<_> = state.links.keys().filter(|link| link.1 == to).map(|link| link.0).collect();
            for from in senders {
                state.drain(from, to);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A node's end of a [`Network`].
pub struct MemoryTransport {
    identity: Identity,
    life: u64,
    network: Network,
    router: Router,
    counters: Arc<TransportCounters>,
}

#[async_trait]
impl Transport for MemoryTransport {
    fn identity(&self) -> Identity {
        self.identity
    }

    fn claim(&self, channels: RangeInclusive<ChannelId>) -> Result<Inbox, ClaimError> {
        self.router.claim(channels)
    }

    fn send(&self, to: NodeId, frame: Frame) -> Result<(), SendError> {
        let bytes = frame.wire_bytes() as u64;
        let queued = self.network.lock().send((self.identity.node, self.life), to, frame);
        match queued {
            Ok(()) => {
                self.counters.add(Count::FramesSent);
                self.counters.add_many(Count::BytesSent, bytes);
            }
            Err(error) => self.counters.add(error.count()),
        }
        queued
    }

    fn set_peer(&self, peer: Peer) -> Result<(), PeerError> {
        if peer.node == self.identity.node {
            return Err(PeerError::Own);
        }
        let (own, node) = (self.identity.node, peer.node);
        let mut state = self.network.lock();
        let former = state.member((own, self.life)).ok_or(PeerError::Closed)?.peers.insert(node, peer.clone());
        if former.as_ref() == Some(&peer) {
            return Ok(());
        }
        state.unlink((own, node), DownReason::PeerChanged);
        state.unlink((node, own), DownReason::Closed);
        state.relink(DownReason::PeerChanged);
        Ok(())
    }

    fn remove_peer(&self, node: NodeId) -> bool {
        let mut state = self.network.lock();
        let known =
            state.member((self.identity.node, self.life)).is_some_and(|member| member.peers.remove(&node).is_some());
        state.relink(DownReason::PeerChanged);
        known
    }

    fn peers(&self) -> Vec<Peer> {
        let mut state = self.network.lock();
        state
            .member((self.identity.node, self.life))
            .map(|member| member.peers.values().cloned().collect())
            .unwrap_or_default()
    }

    fn counters(&self) -> Counts {
        self.counters.read()
    }

    async fn shutdown(&self) {
        let mut state = self.network.lock();
        if state.member((self.identity.node, self.life)).is_some() {
            let own = self.identity.node;
            let receivers: Vec<_> = state.links.keys().filter(|link| link.0 == own).map(|link| link.1).collect();
            for to in receivers {
                state.drain(own, to);
            }
            state.leave(own);
        }
    }
}

impl fmt::Debug for MemoryTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTransport").field("identity", &self.identity).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct State {
    limits: Limits,
    delivery: DeliveryTime,
    nodes: BTreeMap<NodeId, Member>,
    /// The links that are up.
    links: BTreeMap<(NodeId, NodeId), Link>,
    cuts: BTreeSet<(NodeId, NodeId)>,
    held: BTreeSet<NodeId>,
    /// Number of nodes that joined so far; tells several joins under one identity apart.
    joined: u64,
}

#[derive(Debug)]
struct Member {
    identity: Identity,
    life: u64,
    router: Router,
    counters: Arc<TransportCounters>,
    peers: BTreeMap<NodeId, Peer>,
}

/// One direction between two nodes.
#[derive(Debug)]
struct Link {
    from: Sender,
    to: Sender,
    queue: VecDeque<Frame>,
    bytes: usize,
}

impl State {
    fn send(&mut self, own: (NodeId, u64), to: NodeId, frame: Frame) -> Result<(), SendError> {
        let limits = self.limits;
        if !self.member(own).ok_or(SendError::Closed)?.peers.contains_key(&to) {
            return Err(SendError::UnknownPeer(to));
        }
        if frame.channel() == ChannelId::TRANSPORT {
            return Err(SendError::Reserved);
        }
        let bytes = frame.wire_bytes();
        if bytes > limits.frame_bytes_max {
            return Err(SendError::TooLarge { bytes, bytes_max: limits.frame_bytes_max });
        }
        let link = self.links.get_mut(&(own.0, to)).ok_or(SendError::NotConnected(to))?;
        if link.queue.len() >= limits.queue_frames_max || link.bytes + bytes > limits.queue_bytes_max {
            return Err(SendError::QueueFull(to));
        }
        link.bytes += bytes;
        link.queue.push_back(frame);
        if self.delivery == DeliveryTime::Immediate {
            self.drain(own.0, to);
        }
        Ok(())
    }

    fn drain(&mut self, from: NodeId, to: NodeId) -> usize {
        let Some(link) = self.links.get_mut(&(from, to)).filter(|_| !self.held.contains(&to)) else { return 0 };
        let router = &self.nodes[&to].router;
        let moved = link.queue.len();
        for frame in link.queue.drain(..) {
            router.deliver(Received { from: link.from, frame });
        }
        link.bytes = 0;
        moved
    }

    /// The member that joined as this life, unless it left.
    fn member(&mut self, (node, life): (NodeId, u64)) -> Option<&mut Member> {
        self.nodes.get_mut(&node).filter(|member| member.life == life)
    }

    fn leave(&mut self, node: NodeId) {
        if let Some(member) = self.nodes.remove(&node) {
            member.router.close();
            self.relink(DownReason::Closed);
        }
    }

    /// Takes down the links that are no longer possible, and brings up those that are.
    fn relink(&mut self, reason: DownReason) {
        let gone: Vec<_> = self
            .links
            .iter()
            .filter(|(key, link)| self.dial(**key) != Some(Ok((link.from, link.to))))
            .map(|(key, _)| *key)
            .collect();
        for key in gone {
            self.unlink(key, reason);
        }
        let pairs: Vec<_> =
            self.nodes.iter().flat_map(|(from, member)| member.peers.keys().map(|to| (*from, *to))).collect();
        for key in pairs {
            match self.dial(key) {
                Some(Ok((from, to))) if !self.links.contains_key(&key) => self.link(key, from, to),
                Some(Err(refusal)) => self.refuse(key, refusal),
                Some(Ok(_)) | None => {}
            }
        }
    }

    fn link(&mut self, key: (NodeId, NodeId), from: Sender, to: Sender) {
        self.links.insert(key, Link { from, to, queue: VecDeque::new(), bytes: 0 });
        self.nodes[&key.0].counters.add(Count::ConnectionsDialled);
        self.nodes[&key.1].counters.add(Count::ConnectionsAccepted);
        self.nodes[&key.0].router.tell(LinkEvent::Up { peer: to });
    }

    /// Takes the link down if it is up. Its frames are lost.
    fn unlink(&mut self, key: (NodeId, NodeId), reason: DownReason) {
        let Some(link) = self.links.remove(&key) else { return };
        if let Some(member) = self.nodes.get(&key.0) {
            member.counters.add_many(Count::StaleDropped, link.queue.len() as u64);
            member.counters.add(Count::ConnectionsLost);
            member.router.tell(LinkEvent::Down { peer: link.to, reason });
        }
    }

    /// Tells both nodes that the second refuses the first.
    fn refuse(&self, (from, to): (NodeId, NodeId), refusal: Refusal) {
        for (node, peer, by) in [(from, to, RefusedBy::Peer), (to, from, RefusedBy::Us)] {
            self.nodes[&node].counters.refuse(refusal);
            self.nodes[&node].router.tell(LinkEvent::Refused { peer: Some(peer), refusal, by });
        }
    }

    /// The result of a dial: the two ends of the link, or the reason why the second node refuses the first. `None` if
    /// the first does not dial, or nothing answers.
    fn dial(&self, (from, to): (NodeId, NodeId)) -> Option<Result<(Sender, Sender), Refusal>> {
        let (sender, receiver) = (self.nodes.get(&from)?, self.nodes.get(&to)?);
        let dialled = sender.peers.get(&to).filter(|_| !self.cuts.contains(&(from, to)))?;
        let end = |member: &Member| Sender { node: member.identity.node, incarnation: member.identity.incarnation };
        let (from, to) = (end(sender), end(receiver));
        if sender.identity.cluster != receiver.identity.cluster {
            return Some(Err(Refusal::Cluster));
        }
        let Some(known) = receiver.peers.get(&from.node) else { return Some(Err(Refusal::UnknownPeer)) };
        let is_wanted = |peer: &Peer, end: Sender| peer.incarnation.is_none_or(|wanted| wanted == end.incarnation);
        let is_accepted = is_wanted(dialled, to) && is_wanted(known, from);
        Some(if is_accepted { Ok((from, to)) } else { Err(Refusal::Incarnation) })
    }
}
