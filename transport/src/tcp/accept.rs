//! The task that accepts connections, and one task for each of them.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use quorate_protocol::NodeId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::core::{Core, missed_max};
use super::heartbeat::Heartbeat;
use super::inbound::{Inbound, Life};
use super::reader::FrameReader;
use super::socket::{Listener, ReadHalf, Socket, WriteHalf};
use crate::counters::Count;
use crate::frame::{ChannelId, Lane, Received, Sender};
use crate::link::Refusal;
use crate::wire::{HELLO_BYTES, HandshakeAnswer, Hello, MAGIC};

/// Accepts connections until the task is aborted. Its connections then end too.
pub(super) async fn accept(core: Arc<Core>, listener: Listener) {
    let handshakes = Arc::new(Semaphore::new(core.settings.handshakes_max));
    let mut connections: JoinSet<()> = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let (socket, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Most likely the process has no descriptors left: trying again at once would only use up the
                // processor.
                tracing::warn!(node = core.identity.node.0, "accepting a connection failed: {error}");
                sleep(core.settings.backoff_min).await;
                continue;
            }
        };
        let epoch = core.next_epoch();
        let Ok(permit) = handshakes.clone().try_acquire_owned() else {
            core.refuse(None, Some(remote), Refusal::TooManyConnections.into());
            continue;
        };
        let acceptor = Acceptor { core: core.clone(), remote, epoch };
        // The task needs its own handle, so that a newer connection can end it.
        let (handle, own_handle) = tokio::sync::oneshot::channel();
        let task = connections.spawn(async move {
            if let Ok(own) = own_handle.await {
                acceptor.run(socket, permit, own).await;
            }
        });
        let _ = handle.send(task);
    }
}

/// One accepted connection.
struct Acceptor {
    core: Arc<Core>,
    remote: SocketAddr,
    epoch: u64,
}

impl Acceptor {
    async fn run(self, mut socket: Socket, permit: OwnedSemaphorePermit, own: AbortHandle) {
        let handshake = timeout(self.core.settings.handshake_timeout, self.handshake(&mut socket, own)).await;
        drop(permit);
        let (hello, inbound) = match handshake {
            Ok(Ok(accepted)) => accepted,
            Ok(Err((peer, refusal))) => return self.core.refuse(peer, Some(self.remote), refusal.into()),
            Err(_) => return self.core.refuse(None, Some(self.remote), Refusal::HandshakeTimeout.into()),
        };
        self.core.counters.add(Count::ConnectionsAccepted);
        self.hurry(hello.from.node);
        let from = Sender { node: hello.from.node, incarnation: hello.from.incarnation };
        let _lost = Lost { core: &self.core };
        let (read, write) = socket.into_split();
        let frame_bytes_max = self.core.settings.limits.frame_bytes_max;
        let accepted = Accepted {
            core: &self.core,
            from,
            lane: hello.lane,
            epoch: self.epoch,
            inbound,
            reader: FrameReader::new(frame_bytes_max, from.incarnation, hello.lane, READ_BYTES),
            read,
            write,
            answer: Bytes::new(),
            is_silent: false,
            missed: 0,
        };
        if let Err(Some(refusal)) = accepted.run().await {
            self.core.refuse(Some(from.node), Some(self.remote), refusal.into());
        }
    }

    /// Reads the dialer's hello and answers it. A refusal is answered with its reason if the dialer speaks this
    /// protocol.
    async fn handshake(
        &self,
        socket: &mut Socket,
        own: AbortHandle,
    ) -> Result<(Hello, Arc<Inbound>), (Option<NodeId>, Refusal)> {
        socket.set_nodelay().map_err(|_| (None, Refusal::HandshakeCut))?;
        if let Err(refusal) = socket.accept_encrypted(self.core.tls.as_deref()).await {
            // Read first, so that closing does not overtake the answer.
            if refusal == Refusal::Unencrypted && read_hello(socket).await.is_ok() {
                self.answer_refusal(socket, refusal).await;
            }
            return Err((None, refusal));
        }
        let hello = match read_hello(socket).await {
            Ok(hello) => hello,
            Err(refusal) => {
                if refusal == Refusal::Version {
                    self.answer_refusal(socket, refusal).await;
                }
                return Err((None, refusal));
            }
        };
        let peer = Some(hello.from.node);
        let life = Life { incarnation: hello.from.incarnation, start: hello.start };
        let is_itself = socket.check_peer(hello.from.node);
        let admitted = is_itself
            .and_then(|()| self.core.admit(&hello))
            .and_then(|(answer, inbound)| inbound.open(hello.lane, life, self.epoch, own).map(|()| (answer, inbound)));
        let (answer, inbound) = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => {
                self.answer_refusal(socket, refusal).await;
                return Err((peer, refusal));
            }
        };
        let written = socket.write_all(&answer.encode()).await;
        written.map_err(|_| (peer, Refusal::HandshakeCut))?;
        Ok((hello, inbound))
    }

    /// Sends the reason of a refusal, if the dialer still listens. The connection is refused either way.
    async fn answer_refusal(&self, socket: &mut Socket, refusal: Refusal) {
        if socket.write_all(&HandshakeAnswer::Refused(refusal).encode()).await.is_ok() {
            let _ = socket.shutdown().await;
        }
    }

    /// The peer is alive: ends the wait before the next dial to it.
    fn hurry(&self, node: NodeId) {
        if let Some(known) = self.core.peers().get(&node) {
            for lane in &known.lanes {
                lane.outbound.hurry.notify_one();
            }
        }
    }
}

/// An accepted connection that passed the handshake.
struct Accepted<'a> {
    core: &'a Core,
    from: Sender,
    lane: Lane,
    epoch: u64,
    inbound: Arc<Inbound>,
    reader: FrameReader,
    read: ReadHalf,
    write: WriteHalf,
    /// The unwritten rest of the answer to a heartbeat. There is at most one answer, because the dialer waits for it.
    answer: Bytes,
    /// True if nothing was received since the last tick.
    is_silent: bool,
    /// Number of ticks in a row without a byte.
    missed: u32,
}

impl Accepted<'_> {
    /// Delivers frames until the connection ends. Returns an error with a refusal if this side ends it.
    async fn run(mut self) -> Result<(), Option<Refusal>> {
        let mut ticks = interval(self.core.settings.heartbeat_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                read = self.reader.read(&mut self.read) => {
                    if read.map_err(|_| None)? == 0 {
                        return Ok(());
                    }
                    self.is_silent = false;
                    self.deliver()?;
                }
                ready = self.write.writable(), if self.answer.has_remaining() => {
                    ready.map_err(|_| None)?;
                    self.write_answer()?;
                }
                _ = ticks.tick() => self.on_tick()?,
            }
        }
    }

    /// Delivers all complete frames to the inboxes, unless a newer connection took over.
    fn deliver(&mut self) -> Result<(), Option<Refusal>> {
        let mut is_asked = false;
        let inbound = self.inbound.clone();
        let pass = inbound.pass(self.lane, self.epoch).map_err(Some)?;
        while let Some(frame) = self.reader.next().map_err(Some)? {
            if frame.channel() == ChannelId::TRANSPORT {
                if Heartbeat::decode(&frame).map_err(Some)? != Heartbeat::Ping {
                    return Err(Some(Refusal::FrameChannel));
                }
                is_asked = true;
            } else {
                self.core.router.deliver(Received { from: self.from, frame });
            }
        }
        drop(pass);
        if is_asked && !self.answer.has_remaining() {
            self.answer = self.core.pong.clone();
            self.write_answer()?;
        }
        Ok(())
    }

    fn write_answer(&mut self) -> Result<(), Option<Refusal>> {
        match self.write.try_write(&self.answer) {
            Ok(written) => self.answer.advance(written),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return Err(None),
        }
        Ok(())
    }

    fn on_tick(&mut self) -> Result<(), Option<Refusal>> {
        self.missed = if self.is_silent { self.missed + 1 } else { 0 };
        self.is_silent = true;
        if self.missed >= missed_max(&self.core.settings) { Err(Some(Refusal::HalfOpen)) } else { Ok(()) }
    }
}

/// Counts the end of a connection, even when its task is aborted.
struct Lost<'a> {
    core: &'a Core,
}

impl Drop for Lost<'_> {
    fn drop(&mut self) {
        self.core.counters.add(Count::ConnectionsLost);
    }
}

/// Reads the hello. The magic is checked as soon as it has arrived, because a peer of another protocol may never send
/// the rest.
async fn read_hello(socket: &mut Socket) -> Result<Hello, Refusal> {
    let cut = |_| Refusal::HandshakeCut;
    let mut bytes = [0; HELLO_BYTES];
    let (magic, rest) = bytes.split_at_mut(MAGIC.len());
    socket.read_exact(magic).await.map_err(cut)?;
    if magic != MAGIC {
        return Err(Refusal::Magic);
    }
    socket.read_exact(rest).await.map_err(cut)?;
    Hello::decode(&bytes)
}

/// Number of bytes to read at once. Longer frames are read straight into their own allocation.
const READ_BYTES: usize = 32 << 10;
