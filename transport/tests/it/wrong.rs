//! Each clause of the contract has a transport that breaks it, and that transport fails this clause and no other.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use quorate_protocol::{GroupId, Identity, NodeId};
use quorate_transport::conformance::{Clause, Harness, LIMITS, failures};
use quorate_transport::memory::{DeliveryTime, MemoryTransport, Network};
use quorate_transport::{
    ChannelId, ClaimError, Counts, Frame, Inbox, Incoming, Limits, LinkEvent, Peer, PeerError, Received, Router,
    SendError, Sender, Transport, TransportCounters,
};

#[test]
fn each_wrong_transport_breaks_its_clause_and_no_other() {
    for clause in Clause::ALL {
        let broken: Vec<Clause> = failures(|| Wrong::new(clause)).into_iter().map(|failure| failure.clause).collect();
        assert_eq!(broken, [clause]);
    }
}

/// A harness whose transports break one clause.
struct Wrong {
    breaks: Clause,
    network: Network,
    ends: BTreeMap<NodeId, Arc<WrongEnd>>,
}

impl Wrong {
    fn new(breaks: Clause) -> Self {
        let network = Network::new(LIMITS, DeliveryTime::OnSettle).expect("the limits fit");
        Self { breaks, network, ends: BTreeMap::new() }
    }

    fn pump(&self) {
        self.network.settle();
        for end in self.ends.values() {
            end.pump(&self.ends);
        }
    }
}

impl Harness for Wrong {
    fn join(&mut self, identity: Identity) -> Arc<dyn Transport> {
        let inner = self.network.join(identity);
        let inbox = inner.claim(ChannelId::TRANSPORT..=ChannelId(u16::MAX)).expect("nothing is claimed");
        let wide = Limits { inbox_frames_max: usize::MAX, inbox_bytes_max: usize::MAX, ..LIMITS };
        let limits = if self.breaks == Clause::InboxBounded { wide } else { LIMITS };
        let router = || Router::new(&limits, Arc::new(TransportCounters::default()));
        let state = Mutex::new(State { inbox, last: None, ghost: None, kept: Vec::new(), astray: Vec::new() });
        let end = WrongEnd { breaks: self.breaks, inner, router: router(), second_router: router(), state };
        let end = Arc::new(end);
        self.ends.insert(identity.node, end.clone());
        end
    }

    fn address(&self, node: NodeId) -> String {
        address_of(node)
    }

    fn settle(&mut self, until: &mut dyn FnMut() -> bool) -> bool {
        (0..STEPS_MAX).any(|_| {
            self.pump();
            until()
        })
    }

    fn shutdown(&mut self, transport: &dyn Transport) {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(transport.shutdown().as_mut().poll(&mut context).is_ready(), "nothing waits");
        self.pump();
    }
}

/// A correct transport with a fault in front of it.
struct WrongEnd {
    breaks: Clause,
    inner: Arc<MemoryTransport>,
    router: Router,
    second_router: Router,
    state: Mutex<State>,
}

struct State {
    /// Everything that arrives at the correct transport.
    inbox: Inbox,
    /// The last frame that was sent.
    last: Option<Frame>,
    /// A frame of an older connection.
    ghost: Option<Frame>,
    /// A frame that was sent without a connection.
    kept: Vec<(NodeId, Frame)>,
    /// Frames from strangers or from removed peers.
    astray: Vec<(NodeId, Frame)>,
}

impl WrongEnd {
    fn pump(&self, ends: &BTreeMap<NodeId, Arc<WrongEnd>>) {
        let (arrived, astray) = {
            let mut state = self.state();
            let arrived: Vec<_> = std::iter::from_fn(|| state.inbox.try_recv()).collect();
            (arrived, std::mem::take(&mut state.astray))
        };
        let own = self.inner.identity();
        let from = Sender { node: own.node, incarnation: own.incarnation };
        for (to, frame) in astray {
            if let Some(end) = ends.get(&to) {
                end.router.deliver(Received { from, frame });
            }
        }
        let mut frames: Vec<Received> = Vec::new();
        for incoming in arrived {
            match incoming {
                Incoming::Frame(received) => frames.push(received),
                Incoming::Link(event) => self.tell(event),
            }
        }
        if self.breaks == Clause::OrderWithinConnection {
            frames.reverse();
        }
        for received in frames {
            self.deliver(received);
        }
        self.send_kept();
    }

    fn tell(&self, event: LinkEvent) {
        let is_kept_back = match event {
            LinkEvent::Down { .. } => self.breaks == Clause::LinksTold,
            LinkEvent::Refused { .. } => self.breaks == Clause::RemovedTold,
            LinkEvent::Up { .. } => false,
        };
        if !is_kept_back {
            self.router.tell(event);
        }
    }

    fn deliver(&self, mut received: Received) {
        match self.breaks {
            Clause::AtMostOnce => self.router.deliver(received.clone()),
            Clause::NeverCorrupt => received.frame = corrupt(&received.frame),
            Clause::NeverMisattributed if received.from.node == NodeId(3) => received.from.node = NodeId(1),
            Clause::ClaimsRouted if received.frame.channel() == ChannelId(34) => {
                received.frame = on_channel(&received.frame, ChannelId(33));
            }
            _ => {}
        }
        self.router.deliver(received);
    }

    /// The result of a send that the correct transport refused.
    fn refused(&self, to: NodeId, frame: Frame, error: SendError) -> Result<(), SendError> {
        let own = self.inner.identity().node;
        let is_astray = match self.breaks {
            Clause::StrangerUnheard => own == NodeId(3),
            Clause::RemovedUnheard => own == NodeId(1) && self.state().last.is_some(),
            _ => false,
        };
        match (self.breaks, error) {
            (Clause::QueueBounded, SendError::QueueFull(_))
            | (Clause::UnknownRefused, SendError::UnknownPeer(_))
            | (Clause::OversizeRefused, SendError::TooLarge { .. })
            | (Clause::OwnChannelReserved, SendError::Reserved)
            | (Clause::ShutdownRefuses, SendError::Closed) => return Ok(()),
            (Clause::NothingKept, SendError::NotConnected(_)) => self.state().kept.push((to, frame)),
            (_, SendError::NotConnected(_)) if is_astray => self.state().astray.push((to, frame)),
            _ => {}
        }
        Err(error)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with it")
    }

    fn send_kept(&self) {
        let kept = std::mem::take(&mut self.state().kept);
        for (to, frame) in kept {
            if self.inner.send(to, frame.clone()).is_err() {
                self.state().kept.push((to, frame));
            }
        }
    }
}

#[async_trait]
impl Transport for WrongEnd {
    fn identity(&self) -> Identity {
        self.inner.identity()
    }

    fn claim(&self, channels: RangeInclusive<ChannelId>) -> Result<Inbox, ClaimError> {
        let claimed = self.router.claim(channels.clone());
        match claimed {
            Err(ClaimError::Claimed(_)) if self.breaks == Clause::ClaimsExclusive => self.second_router.claim(channels),
            claimed => claimed,
        }
    }

    fn send(&self, to: NodeId, frame: Frame) -> Result<(), SendError> {
        if let Err(error) = self.inner.send(to, frame.clone()) {
            return self.refused(to, frame, error);
        }
        let ghost = self.state().ghost.take_if(|_| frame.group() >= BARRIER);
        if let Some(ghost) = ghost.filter(|_| self.breaks == Clause::NothingOld) {
            self.inner.send(to, ghost)?;
        }
        self.state().last = Some(frame);
        Ok(())
    }

    fn set_peer(&self, mut peer: Peer) -> Result<(), PeerError> {
        if self.breaks == Clause::IncarnationExpected {
            peer.incarnation = None;
        }
        if self.breaks == Clause::MovedReached && peer.addresses != [address_of(peer.node)] {
            self.inner.remove_peer(peer.node);
            return Ok(());
        }
        if self.breaks == Clause::PeersIndependent && peer.addresses != [address_of(peer.node)] {
            for other in self.inner.peers() {
                self.inner.remove_peer(other.node);
            }
        }
        self.inner.set_peer(peer)
    }

    fn remove_peer(&self, node: NodeId) -> bool {
        let mut state = self.state();
        state.ghost = state.last.take();
        self.inner.remove_peer(node)
    }

    fn peers(&self) -> Vec<Peer> {
        self.inner.peers()
    }

    fn counters(&self) -> Counts {
        if self.breaks == Clause::Counted { TransportCounters::default().read() } else { self.inner.counters() }
    }

    async fn shutdown(&self) {
        if self.breaks == Clause::ShutdownFlushes {
            for peer in self.inner.peers() {
                self.inner.remove_peer(peer.node);
            }
        }
        self.inner.shutdown().await;
        self.pump(&BTreeMap::new());
        if self.breaks != Clause::ShutdownRefuses {
            self.router.close();
        }
    }
}

fn address_of(node: NodeId) -> String {
    format!("memory:{node}")
}

/// The frame with one bit of a long section flipped.
fn corrupt(frame: &Frame) -> Frame {
    let flip = |section: &Bytes| {
        let mut bytes = section.to_vec();
        if let Some(byte) = bytes.get_mut(4000) {
            *byte ^= 1;
        }
        Bytes::from(bytes)
    };
    rebuilt(frame, frame.channel(), frame.raw().iter().map(flip).collect())
}

fn on_channel(frame: &Frame, channel: ChannelId) -> Frame {
    rebuilt(frame, channel, frame.raw().to_vec())
}

fn rebuilt(frame: &Frame, channel: ChannelId, raw: Vec<Bytes>) -> Frame {
    Frame::new(channel, frame.group(), frame.small().clone(), raw).expect("it was a frame before")
}

/// The last frames of a check bear this group or a later one.
const BARRIER: GroupId = GroupId(1 << 32);

/// In a network without delays every frame arrives within this number of steps.
const STEPS_MAX: usize = 5;
