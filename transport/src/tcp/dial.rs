//! The task of one lane to one peer: it dials, introduces the node, writes queued frames, and dials again.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use quorate_protocol::Random;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::core::{Core, Rejected, missed_max};
use super::heartbeat::Heartbeat;
use super::outbound::{Link, Outbound, Written};
use super::reader::FrameReader;
use super::socket::{ReadHalf, Socket, WriteHalf};
use crate::counters::Count;
use crate::frame::{ChannelId, Lane, Sender};
use crate::link::{DownReason, Refusal};
use crate::transport::Peer;
use crate::wire::{ANSWER_BYTES, HandshakeAnswer};

/// One lane to one peer.
pub(super) struct Dialer {
    pub(super) core: Arc<Core>,
    pub(super) peer: Peer,
    pub(super) lane: Lane,
    pub(super) outbound: Arc<Outbound>,
    /// The address of the connection that this task replaces. It is dialled first, once.
    pub(super) in_use: Option<String>,
}

/// A connection that passed the handshake.
struct Dialled {
    socket: Socket,
    address: String,
    peer: Sender,
    frame_bytes_max: usize,
}

/// Reason why a dial gave no connection.
enum DialError {
    /// No node answered.
    Unreachable(ErrorKind),
    /// A node answered, and one side refused.
    Rejected(Rejected),
}

impl Dialer {
    /// Runs until the lane closes.
    pub(super) async fn run(mut self) {
        let settings = self.core.settings;
        let mut random = Random::new(self.seed());
        let mut backoff = settings.backoff_min;
        while !self.outbound.is_closing() {
            let begun = Instant::now();
            let in_use = self.in_use.take();
            self.dial_each(in_use.as_ref()).await;
            if self.outbound.is_closing() {
                return;
            }
            if begun.elapsed() > settings.backoff_max {
                backoff = settings.backoff_min;
            }
            // The wait ends after its time, or when a connection of the peer arrives. Either way it is time to dial.
            let _ = timeout(jittered(backoff, &mut random), self.outbound.hurry.notified()).await;
            backoff = (backoff * 2).min(settings.backoff_max);
        }
    }

    /// The seed differs between the nodes and lanes of a cluster.
    fn seed(&self) -> u64 {
        let own = self.core.identity.incarnation.0.to_le_bytes();
        let low = own.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        low ^ self.peer.node.0.rotate_left(32) ^ u64::from(self.lane == Lane::Bulk)
    }

    /// Dials the addresses of the peer in their order, but first the one that is in use. Uses the first connection that
    /// is accepted until it ends.
    async fn dial_each(&self, in_use: Option<&String>) {
        let addresses = &self.peer.addresses;
        let in_use = in_use.filter(|address| addresses.contains(address));
        for address in in_use.into_iter().chain(addresses.iter().filter(|address| Some(*address) != in_use)) {
            match self.dial(address).await {
                Ok(dialled) => return self.serve(dialled).await,
                Err(DialError::Rejected(rejected)) => self.core.refuse(Some(self.peer.node), None, rejected),
                Err(DialError::Unreachable(kind)) => {
                    self.core.counters.add(Count::DialsFailed);
                    let (node, peer) = (self.core.identity.node.0, self.peer.node.0);
                    tracing::debug!(node, peer, address, lane = %self.lane, "dial failed: {kind}");
                }
            }
        }
    }

    async fn dial(&self, address: &str) -> Result<Dialled, DialError> {
        let settings = &self.core.settings;
        let connect = timeout(settings.dial_timeout, Socket::connect(address)).await;
        let socket = connect.map_err(|_| DialError::Unreachable(ErrorKind::TimedOut))?;
        let mut socket = socket.map_err(|error| DialError::Unreachable(error.kind()))?;
        let refused = |refusal: Refusal| DialError::Rejected(refusal.into());
        let answer = timeout(settings.handshake_timeout, self.introduce(&mut socket)).await;
        let answer = answer.map_err(|_| refused(Refusal::HandshakeTimeout))?.map_err(refused)?;
        let (peer, frame_bytes_max) = self.core.judge(answer, &self.peer).map_err(DialError::Rejected)?;
        self.core.counters.add(Count::ConnectionsDialled);
        Ok(Dialled { socket, address: address.to_owned(), peer, frame_bytes_max })
    }

    async fn introduce(&self, socket: &mut Socket) -> Result<HandshakeAnswer, Refusal> {
        let cut = |_| Refusal::HandshakeCut;
        socket.set_nodelay().map_err(cut)?;
        socket.dial_encrypted(self.core.tls.as_deref(), self.peer.node).await?;
        socket.write_all(&self.core.hello(&self.peer, self.lane).encode()).await.map_err(cut)?;
        let mut answer = [0; ANSWER_BYTES];
        socket.read_exact(&mut answer).await.map_err(cut)?;
        HandshakeAnswer::decode(&answer)
    }

    /// Uses a connection until it ends.
    async fn serve(&self, dialled: Dialled) {
        let Dialled { socket, address, peer, frame_bytes_max } = dialled;
        let (read, write) = socket.into_split();
        let write = Arc::new(write);
        self.outbound.connect(Link { peer, address, write: write.clone(), frame_bytes_max });
        let reader = FrameReader::new(ANSWERS_BYTES_MAX, peer.incarnation, self.lane, ANSWERS_BYTES_MAX);
        let connected = Connected { dialer: self, read, write, reader, is_asked: false, missed: 0 };
        let reason = connected.run().await;
        self.outbound.disconnect(reason);
    }
}

/// A connection in use.
struct Connected<'a> {
    dialer: &'a Dialer,
    read: ReadHalf,
    write: Arc<WriteHalf>,
    reader: FrameReader,
    /// True if the peer owes an answer to a heartbeat.
    is_asked: bool,
    /// Number of heartbeats in a row without a sign of life.
    missed: u32,
}

impl Connected<'_> {
    /// Writes until the connection ends, and returns the reason of its end.
    async fn run(mut self) -> DownReason {
        let outbound = &self.dialer.outbound;
        let mut ticks = interval(self.dialer.core.settings.heartbeat_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_full = outbound.is_full();
            if outbound.is_closing() && !is_full && outbound.flush() == Written::All {
                return self.finish().await;
            }
            let done = tokio::select! {
                () = outbound.wake.notified() => failed(outbound.flush()),
                ready = self.write.writable(), if is_full => self.on_writable(ready),
                read = self.reader.read(&mut self.read) => self.on_read(read),
                _ = ticks.tick() => self.on_tick(),
            };
            if let Err(reason) = done {
                return reason;
            }
        }
    }

    /// The socket accepts bytes again after it was full: the peer has read some, so it is alive.
    fn on_writable(&mut self, ready: std::io::Result<()>) -> Result<(), DownReason> {
        ready.map_err(|error| DownReason::Failed(error.kind()))?;
        self.missed = 0;
        failed(self.dialer.outbound.flush_ready())
    }

    fn on_read(&mut self, read: std::io::Result<usize>) -> Result<(), DownReason> {
        if read.map_err(|error| DownReason::Failed(error.kind()))? == 0 {
            return Err(DownReason::Closed);
        }
        while let Some(frame) = self.reader.next().map_err(|refusal| self.refused(refusal))? {
            let is_pong = frame.channel() == ChannelId::TRANSPORT && Heartbeat::decode(&frame) == Ok(Heartbeat::Pong);
            if !is_pong {
                return Err(self.refused(Refusal::FrameChannel));
            }
            self.is_asked = false;
            self.missed = 0;
        }
        Ok(())
    }

    fn on_tick(&mut self) -> Result<(), DownReason> {
        if self.is_asked {
            self.missed += 1;
            if self.missed >= missed_max(&self.dialer.core.settings) {
                return Err(self.refused(Refusal::HalfOpen));
            }
            return Ok(());
        }
        self.is_asked = true;
        failed(self.dialer.outbound.put_bytes(&self.dialer.core.ping))
    }

    fn refused(&self, refusal: Refusal) -> DownReason {
        self.dialer.core.refuse(Some(self.dialer.peer.node), None, refusal.into());
        DownReason::Refused(refusal)
    }

    /// All frames are written: closes this direction, and waits until the peer has read everything and closes too.
    async fn finish(mut self) -> DownReason {
        self.dialer.outbound.disconnect(DownReason::Shutdown);
        drop(self.write);
        self.read.read_to_close().await;
        DownReason::Shutdown
    }
}

fn failed(written: Written) -> Result<(), DownReason> {
    match written {
        Written::All | Written::Full => Ok(()),
        Written::Failed(kind) => Err(DownReason::Failed(kind)),
    }
}

/// Returns a wait of at least half of `backoff`, so that nodes that lost each other at the same time do not dial at the
/// same time.
fn jittered(backoff: Duration, random: &mut Random) -> Duration {
    let nanos = u64::try_from(backoff.as_nanos()).unwrap_or(u64::MAX - 1);
    Duration::from_nanos(random.between(nanos / 2, nanos + 1))
}

/// The acceptor of a connection sends only answers to heartbeats.
const ANSWERS_BYTES_MAX: usize = 1 << 10;
