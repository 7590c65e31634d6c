//! A node under test, and peers made by hand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quorate_protocol::{ClusterId, GroupId, Identity, Incarnation, NodeId};
use quorate_transport::tcp::{TcpSettings, TcpTransport};
use quorate_transport::wire::{self, ANSWER_BYTES, HELLO_BYTES, HandshakeAnswer, Hello, VERSION_MAX, VERSION_MIN};
use quorate_transport::{ChannelId, Count, Frame, Inbox, Incoming, Lane, Limits, LinkEvent, Peer, Refusal, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const CHANNEL: ChannelId = ChannelId::FIRST_CORE;

/// Node 1, which knows node 2 and reads everything.
pub(crate) struct Node {
    pub(crate) transport: Arc<TcpTransport>,
    pub(crate) inbox: Inbox,
    /// The address under which node 1 knows node 2.
    pub(crate) peer: TcpListener,
}

impl Node {
    pub(crate) async fn start(settings: TcpSettings) -> Self {
        let transport = TcpTransport::bind(identity(1), "127.0.0.1:0", settings).await.expect("a free port");
        let inbox = transport.claim(ChannelId(0)..=ChannelId(u16::MAX)).expect("nothing is claimed");
        let peer = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = peer.local_addr().expect("it is bound").to_string();
        transport.set_peer(Peer::new(NodeId(2), address)).expect("a right peer");
        Self { transport, inbox, peer }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.transport.local_address()
    }

    pub(crate) async fn dial(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.expect("it listens")
    }

    /// A connection that passed the handshake, as node 2.
    pub(crate) async fn dial_as_peer(&self, lane: Lane, start: u32) -> TcpStream {
        let mut stream = self.dial().await;
        let hello = Hello { lane, start, ..hello() };
        assert!(matches!(shake(&mut stream, &hello).await, HandshakeAnswer::Accepted { .. }));
        stream
    }

    /// The next connection that node 1 makes for this lane, before the handshake.
    pub(crate) async fn accept(&self, lane: Lane) -> TcpStream {
        patiently(async {
            loop {
                let (mut stream, _) = self.peer.accept().await.expect("it listens");
                if read_hello(&mut stream).await.lane == lane {
                    return stream;
                }
            }
        })
        .await
    }

    pub(crate) fn refused(&self, refusal: Refusal) -> u64 {
        self.transport.counters().refused(refusal)
    }

    pub(crate) fn counted(&self, count: Count) -> u64 {
        self.transport.counters().of(count)
    }

    /// The next link event.
    pub(crate) async fn link(&mut self) -> LinkEvent {
        loop {
            if let Some(Incoming::Link(event)) = patiently(self.inbox.recv()).await {
                return event;
            }
        }
    }

    /// The group of the next frame.
    pub(crate) async fn frame(&mut self) -> GroupId {
        loop {
            if let Some(Incoming::Frame(received)) = patiently(self.inbox.recv()).await {
                return received.frame.group();
            }
        }
    }
}

pub(crate) fn identity(node: u64) -> Identity {
    Identity { cluster: ClusterId(77), node: NodeId(node), incarnation: Incarnation(u128::from(node) + 100) }
}

/// Settings with which dials follow each other soon, and peers made by hand need not answer heartbeats.
pub(crate) fn settings() -> TcpSettings {
    TcpSettings {
        heartbeat_interval: Duration::from_mins(30),
        heartbeat_timeout: Duration::from_hours(1),
        limits: Limits { frame_bytes_max: 64 << 10, ..Limits::default() },
        backoff_min: Duration::from_millis(5),
        backoff_max: Duration::from_millis(50),
        ..TcpSettings::default()
    }
}

/// The hello of node 2 to node 1.
pub(crate) fn hello() -> Hello {
    Hello {
        version_min: VERSION_MIN,
        version_max: VERSION_MAX,
        lane: Lane::Control,
        from: identity(2),
        to: NodeId(1),
        to_incarnation: None,
        start: 0,
        frame_bytes_max: 1 << 20,
    }
}

/// The answer of node 2 to node 1.
pub(crate) fn answer() -> HandshakeAnswer {
    answer_of(2)
}

/// The answer of a node to node 1.
pub(crate) fn answer_of(node: u64) -> HandshakeAnswer {
    HandshakeAnswer::Accepted { version: VERSION_MAX, from: identity(node), start: 0, frame_bytes_max: 1 << 20 }
}

pub(crate) async fn shake(stream: &mut TcpStream, hello: &Hello) -> HandshakeAnswer {
    stream.write_all(&hello.encode()).await.expect("it listens");
    let mut bytes = [0; ANSWER_BYTES];
    stream.read_exact(&mut bytes).await.expect("it answers");
    HandshakeAnswer::decode(&bytes).expect("a right answer")
}

pub(crate) async fn read_hello(stream: &mut TcpStream) -> Hello {
    let mut bytes = [0; HELLO_BYTES];
    stream.read_exact(&mut bytes).await.expect("it says hello");
    Hello::decode(&bytes).expect("a right hello")
}

pub(crate) fn frame(group: u64, raw: usize) -> Frame {
    let small = Bytes::from_static(b"small");
    Frame::new(CHANNEL, GroupId(group), small, vec![Bytes::from(vec![7; raw])]).expect("a small frame")
}

/// The bytes of a frame as node 2 sends it.
pub(crate) fn bytes_of(frame: &Frame) -> BytesMut {
    let mut bytes = BytesMut::new();
    wire::put_head(frame, identity(2).incarnation, &mut bytes);
    bytes.extend_from_slice(frame.small());
    frame.raw().iter().for_each(|section| bytes.extend_from_slice(section));
    bytes
}

/// Waits until the other side has closed, and ignores the bytes that it sends until then.
pub(crate) async fn closed(stream: &mut TcpStream) {
    let mut rest = [0; 1024];
    while patiently(stream.read(&mut rest)).await.is_ok_and(|bytes| bytes > 0) {}
}

/// Waits until the condition holds. No event stands for any condition that a test has: it is looked at after pauses
/// that let the transport's tasks run, and whose length decides nothing.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    patiently(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// Waits, and gives up only after a time that no correct transport needs.
async fn patiently<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("what is waited for does not happen")
}

const PATIENCE: Duration = Duration::from_mins(1);
