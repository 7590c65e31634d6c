//! Frames over TCP.
//!
//! Each node dials each of its peers twice, with one connection for each [lane](crate::Lane), and writes frames only on
//! the connections that it dialled. So a link has one direction, and each direction fails on its own. `FORMAT.md`
//! describes the bytes, `DESIGN.md` the reasons.
//!
//! Everything runs as tasks of the tokio runtime on which [`TcpTransport::bind`] was called. On a current-thread
//! runtime the sockets and the reader of the inbox share one loop, so that no hand-off between threads is needed.
//!
//! Memory is bounded by the settings: for each peer and lane a queue ([`Limits`](crate::Limits)) and the bytes laid out
//! for one write; for each connection a read buffer of 32 KiB and one unfinished frame; for each inbox its bounds.

mod accept;
mod core;
mod dial;
mod heartbeat;
mod inbound;
mod outbound;
mod outgoing;
mod reader;
mod settings;
mod socket;
#[cfg(not(feature = "tls"))]
#[path = "plain.rs"]
mod tls;
#[cfg(feature = "tls")]
mod tls;

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use quorate_protocol::{Identity, NodeId};
use tokio::net::ToSocketAddrs;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::core::{Core, Known, LaneTask};
use self::dial::Dialer;
use self::inbound::Inbound;
#[cfg(feature = "testing")]
pub use self::reader::frames_of;
pub use self::settings::{TcpSettings, TcpSettingsError};
pub use self::socket::Listener;
pub use self::tls::Tls;
#[cfg(feature = "tls")]
pub use self::tls::{TlsError, TlsMaterial};
use crate::claims::ClaimError;
use crate::counters::{Count, Counts};
use crate::frame::{ChannelId, Frame, Lane};
use crate::inbox::Inbox;
use crate::link::DownReason;
use crate::transport::{Peer, PeerError, SendError, Transport};

/// A [`Transport`] over TCP.
///
/// ```
/// use quorate_protocol::{ClusterId, Identity, Incarnation, NodeId};
/// use quorate_transport::tcp::{TcpSettings, TcpTransport};
/// use quorate_transport::{ChannelId, Incoming, LinkEvent, Peer, Transport};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let identity = |node| Identity { cluster: ClusterId(1), node: NodeId(node), incarnation: Incarnation(node.into()) };
/// let one = TcpTransport::bind(identity(1), "127.0.0.1:0", TcpSettings::default()).await?;
/// let two = TcpTransport::bind(identity(2), "127.0.0.1:0", TcpSettings::default()).await?;
/// let mut links = one.claim(ChannelId::TRANSPORT..=ChannelId::TRANSPORT)?;
/// two.set_peer(Peer::new(NodeId(1), one.local_address().to_string()))?;
/// one.set_peer(Peer::new(NodeId(2), two.local_address().to_string()))?;
/// while !matches!(links.recv().await, Some(Incoming::Link(LinkEvent::Up { .. }))) {}
/// one.shutdown().await;
/// # Ok(())
/// # }
/// ```
pub struct TcpTransport {
    core: Arc<Core>,
    local_address: SocketAddr,
    runtime: Handle,
    accept: Mutex<Option<JoinHandle<()>>>,
}

impl TcpTransport {
    /// Listens at `address` (port 0 means any free port) and starts the tasks on the current tokio runtime. No peer is
    /// known yet.
    ///
    /// # Errors
    /// When the settings do not fit each other, or the node cannot listen at the address.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time.
    pub async fn bind(
        identity: Identity,
        address: impl ToSocketAddrs,
        settings: TcpSettings,
    ) -> Result<Arc<Self>, BindError> {
        settings.check()?;
        Self::with_listener(identity, Listener::bind(address).await?, settings)
    }

    /// As [`TcpTransport::bind`], on a socket that listens already, such as a `TcpListener` of tokio: a program can own
    /// the port before it knows its identity. Peers that connect earlier wait for this call.
    ///
    /// # Errors
    /// When the settings do not fit each other, or the socket has no address.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time.
    pub fn with_listener(
        identity: Identity,
        listener: impl Into<Listener>,
        settings: TcpSettings,
    ) -> Result<Arc<Self>, BindError> {
        Self::encrypted(identity, listener, settings, None)
    }

    /// As [`TcpTransport::with_listener`]. With `tls` (feature `tls`) all connections are encrypted, each side shows
    /// the certificate of its node, and peers that do not encrypt are refused as
    /// [`Unencrypted`](crate::Refusal::Unencrypted).
    ///
    /// # Errors
    /// When the settings do not fit each other, or the socket has no address.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time.
    pub fn encrypted(
        identity: Identity,
        listener: impl Into<Listener>,
        settings: TcpSettings,
        tls: Option<Arc<Tls>>,
    ) -> Result<Arc<Self>, BindError> {
        settings.check()?;
        let listener = listener.into();
        let local_address = listener.local_address()?;
        let core = Arc::new(Core::new(identity, settings, tls));
        let accept = tokio::spawn(accept::accept(core.clone(), listener));
        tracing::info!(node = identity.node.0, %local_address, "listening");
        Ok(Arc::new(Self { core, local_address, runtime: Handle::current(), accept: Mutex::new(Some(accept)) }))
    }

    /// The address at which this node listens.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// Starts the tasks of a peer. Each lane dials the address that is in use first.
    fn start(&self, peer: Peer, mut in_use: [Option<String>; 2]) -> Known {
        let core = &self.core;
        let lanes = Lane::ALL.map(|lane| {
            let outbound = Arc::new(core.outbound(peer.node, lane));
            let in_use = in_use[lane as usize].take();
            let dialer = Dialer { core: core.clone(), peer: peer.clone(), lane, outbound: outbound.clone(), in_use };
            let (end, ended) = watch::channel(());
            let task = self.runtime.spawn(async move {
                dialer.run().await;
                drop(end);
            });
            LaneTask { outbound, task: task.abort_handle(), ended }
        });
        Known { peer, inbound: Arc::new(Inbound::default()), lanes }
    }

    /// Ends the tasks at once.
    fn abort(&self) {
        for known in std::mem::take(&mut *self.core.peers_mut()).into_values() {
            known.stop(DownReason::Shutdown);
        }
        let accept = self.accept.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(accept) = accept {
            accept.abort();
        }
        self.core.router.close();
    }
}

#[async_trait]
impl Transport for TcpTransport {
    fn identity(&self) -> Identity {
        self.core.identity
    }

    fn claim(&self, channels: RangeInclusive<ChannelId>) -> Result<Inbox, ClaimError> {
        self.core.router.claim(channels)
    }

    fn send(&self, to: NodeId, frame: Frame) -> Result<(), SendError> {
        let bytes = frame.wire_bytes() as u64;
        let queued = self.queue(to, frame);
        match queued {
            Ok(()) => {
                self.core.counters.add(Count::FramesSent);
                self.core.counters.add_many(Count::BytesSent, bytes);
            }
            Err(error) => self.core.counters.add(error.count()),
        }
        queued
    }

    fn flush(&self) {
        for known in self.core.peers().values() {
            for lane in &known.lanes {
                lane.outbound.flush_inline();
            }
        }
    }

    fn set_peer(&self, peer: Peer) -> Result<(), PeerError> {
        if peer.node == self.core.identity.node {
            return Err(PeerError::Own);
        }
        if peer.addresses.is_empty() || !peer.addresses.iter().all(|address| is_address(address)) {
            return Err(PeerError::Address);
        }
        let mut peers = self.core.peers_mut();
        if self.core.is_closed() {
            return Err(PeerError::Closed);
        }
        let mut in_use = [None, None];
        if let Some(known) = peers.get(&peer.node) {
            if known.peer == peer {
                return Ok(());
            }
            in_use = known.in_use();
            known.stop(DownReason::PeerChanged);
        }
        let known = self.start(peer, in_use);
        peers.insert(known.peer.node, known);
        Ok(())
    }

    fn remove_peer(&self, node: NodeId) -> bool {
        let removed = self.core.peers_mut().remove(&node);
        removed.inspect(|known| known.stop(DownReason::PeerChanged)).is_some()
    }

    fn peers(&self) -> Vec<Peer> {
        self.core.peers().values().map(|known| known.peer.clone()).collect()
    }

    fn counters(&self) -> Counts {
        self.core.counters.read()
    }

    async fn shutdown(&self) {
        if !self.core.close() {
            return;
        }
        let ended: Vec<_> = {
            let peers = self.core.peers();
            peers.values().flat_map(|known| &known.lanes).map(LaneTask::close).collect()
        };
        let ended = async {
            for end in ended {
                end.await;
            }
        };
        if timeout(self.core.settings.shutdown_timeout, ended).await.is_err() {
            tracing::warn!(node = self.core.identity.node.0, "queues did not empty in time, and are dropped");
        }
        self.abort();
    }
}

impl TcpTransport {
    fn queue(&self, to: NodeId, frame: Frame) -> Result<(), SendError> {
        if self.core.is_closed() {
            return Err(SendError::Closed);
        }
        if frame.channel() == ChannelId::TRANSPORT {
            return Err(SendError::Reserved);
        }
        let (bytes, bytes_max) = (frame.wire_bytes(), self.core.settings.limits.frame_bytes_max);
        let peers = self.core.peers();
        let known = peers.get(&to).ok_or(SendError::UnknownPeer(to))?;
        if bytes > bytes_max {
            return Err(SendError::TooLarge { bytes, bytes_max });
        }
        known.lanes[frame.channel().lane() as usize].outbound.send(frame)
    }
}

impl Drop for TcpTransport {
    fn drop(&mut self) {
        self.core.close();
        self.abort();
    }
}

impl fmt::Debug for TcpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { core, local_address, .. } = self;
        f.debug_struct("TcpTransport")
            .field("identity", &core.identity)
            .field("local_address", local_address)
            .finish_non_exhaustive()
    }
}

/// Reason why a transport did not start. No task runs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The settings do not fit each other.
    #[error(transparent)]
    Settings(#[from] TcpSettingsError),
    /// The node cannot listen at the address.
    #[error("cannot listen: {0}")]
    Listen(#[from] std::io::Error),
}

/// True if this is `host:port` with a port that can be dialled. The host name is looked up at each dial.
fn is_address(address: &str) -> bool {
    let parts = address.rsplit_once(':');
    parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
}
