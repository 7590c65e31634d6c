//! The bytes of every release, from the first on. A file here is only ever added.
//!
//! `QUORATE_GOLDEN=write cargo test -p quorate-transport --test it golden` writes those that are missing.

use std::path::Path;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quorate_protocol::{ClusterId, GroupId, Identity, Incarnation, NodeId, Wire, WireError};
use quorate_transport::memory::{DeliveryTime, Network};
use quorate_transport::rpc::{self, Rpc};
use quorate_transport::wire::{ANSWER_BYTES, HEADER_BYTES, HELLO_BYTES, HandshakeAnswer, Header, Hello, put_head};
use quorate_transport::{ChannelId, Frame, Incoming, Lane, Limits, Peer, Refusal, Transport, codec};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::raw::{self, Node, settings};

/// Checks that the code writes the bytes of the file.
fn golden(name: &str, written: &[u8]) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("QUORATE_GOLDEN").is_some() && !path.exists() {
        std::fs::write(&path, written).expect("the folder is there");
    }
    let bytes = std::fs::read(&path).expect("the file is there");
    assert_eq!(bytes, written, "{name}");
    bytes
}

fn identity() -> Identity {
    Identity {
        cluster: ClusterId(0x1111 << 64 | 1),
        node: NodeId(0x0202_0202),
        incarnation: Incarnation(0x3333 << 96 | 3),
    }
}

#[test]
fn hello() {
    let open = Hello {
        version_min: 1,
        version_max: 1,
        lane: Lane::Control,
        from: identity(),
        to: NodeId(0x0404),
        to_incarnation: None,
        start: 5,
        frame_bytes_max: 6 << 20,
    };
    let expecting = Hello { lane: Lane::Bulk, to_incarnation: Some(Incarnation(7)), ..open };
    for (name, hello) in [("hello-v1-control.bin", open), ("hello-v1-bulk-expecting.bin", expecting)] {
        let bytes: [u8; HELLO_BYTES] = golden(name, &hello.encode()).try_into().expect("the length is fixed");
        assert_eq!(Hello::decode(&bytes), Ok(hello));
    }
}

#[test]
fn answer() {
    let accepted = HandshakeAnswer::Accepted { version: 1, from: identity(), start: 5, frame_bytes_max: 6 << 20 };
    let refused = HandshakeAnswer::Refused(Refusal::UnknownPeer);
    for (name, answer) in [("answer-v1-accepted.bin", accepted), ("answer-v1-unknown-peer.bin", refused)] {
        let bytes: [u8; ANSWER_BYTES] = golden(name, &answer.encode()).try_into().expect("the length is fixed");
        assert_eq!(HandshakeAnswer::decode(&bytes), Ok(answer));
    }
}

#[test]
fn refusal_codes() {
    let codes: Vec<(u16, &str)> = Refusal::ALL.iter().map(|refusal| (refusal.code(), refusal.name())).collect();
    let text: String = codes.iter().map(|(code, name)| format!("{code} {name}\n")).collect();
    golden("refusals-v1.txt", text.as_bytes());
    assert!(codes.iter().all(|(code, _)| Refusal::from_code(*code).is_some_and(|refusal| refusal.code() == *code)));
}

/// Like a core's message: a small part and raw sections.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    small: Small,
    raw: Vec<Bytes>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Small {
    Empty,
    Numbers { small: u64, large: u64, option: Option<u8>, list: Vec<u32>, incarnation: Incarnation },
}

impl Wire for Message {
    type Small = Small;

    fn to_parts(&self, raw: &mut Vec<Bytes>) -> Small {
        raw.extend_from_slice(&self.raw);
        self.small.clone()
    }

    fn from_parts(small: Small, raw: Vec<Bytes>) -> Result<Self, WireError> {
        Ok(Self { small, raw })
    }
}

#[test]
fn frames() {
    let numbers =
        Small::Numbers { small: 1, large: u64::MAX, option: Some(3), list: vec![4, 500], incarnation: Incarnation(6) };
    let raw = vec![Bytes::from_static(b"first"), Bytes::new(), Bytes::from_static(b"third section")];
    let messages = [
        ("frame-v1-empty.bin", Message { small: Small::Empty, raw: Vec::new() }),
        ("frame-v1-sections.bin", Message { small: numbers, raw }),
    ];
    for (name, message) in messages {
        let frame: Frame = codec::encode(ChannelId(17), GroupId(0x0909), &message).expect("it is small");
        let mut written = BytesMut::new();
        put_head(&frame, identity().incarnation, &mut written);
        written.extend_from_slice(frame.small());
        frame.raw().iter().for_each(|section| written.extend_from_slice(section));

        let bytes = Bytes::from(golden(name, &written));
        let header = Header::decode(bytes.first_chunk::<HEADER_BYTES>().expect("a header")).expect("a right header");
        let read = header.frame(bytes.slice(HEADER_BYTES..)).expect("a right body");
        assert_eq!(
            (read.channel(), read.group(), header.incarnation),
            (ChannelId(17), GroupId(0x0909), identity().incarnation)
        );
        assert_eq!(codec::decode::<Message>(read), Ok(message));
    }
}

#[tokio::test]
async fn heartbeats() {
    let node = Node::start(settings()).await;
    let mut accepted = node.accept(Lane::Control).await;
    accepted.write_all(&raw::answer().encode()).await.expect("it listens");
    let mut ping = [0; HEARTBEAT_BYTES];
    accepted.read_exact(&mut ping).await.expect("it probes at once");
    golden("heartbeat-v1-ping.bin", &ping);

    let mut dialled = node.dial_as_peer(Lane::Control, 0).await;
    let ping = Frame::new(ChannelId::TRANSPORT, GroupId(0), Bytes::from_static(&[0]), Vec::new()).expect("small");
    dialled.write_all(&raw::bytes_of(&ping)).await.expect("it listens");
    let mut pong = [0; HEARTBEAT_BYTES];
    dialled.read_exact(&mut pong).await.expect("it answers");
    golden("heartbeat-v1-pong.bin", &pong);
}

#[tokio::test(start_paused = true)]
async fn calls() {
    let network = Network::new(Limits::default(), DeliveryTime::Immediate).expect("the limits fit");
    let [one, two] = [1, 2].map(|node| network.join(raw::identity(node)));
    one.set_peer(Peer::new(NodeId(2), "")).expect("a right peer");
    two.set_peer(Peer::new(NodeId(1), "")).expect("a right peer");
    let (caller, idle) =
        Rpc::open(one.clone(), rpc::RpcSettings { start: 9, ..rpc::RpcSettings::default() }).expect("free");
    let mut seen = two.claim(ChannelId::RPC..=ChannelId::RPC).expect("free");
    let outcome = caller.call(NodeId(2), GroupId(3), Bytes::from_static(b"body"), Duration::from_millis(1500)).await;
    assert_eq!(outcome, Err(rpc::RpcError::Deadline));
    let Some(Incoming::Frame(request)) = seen.try_recv() else { panic!("the request arrived") };
    golden("rpc-v1-request.bin", request.frame.small());
    assert_eq!(request.frame.raw(), [Bytes::from_static(b"body")]);
    drop(seen);

    // Node 2 serves, and its answers arrive at node 1.
    let (_, mut requests) =
        Rpc::open(two, rpc::RpcSettings { requests_max: 1, ..rpc::RpcSettings::default() }).expect("free");
    drop((caller, idle));
    let mut seen = one.claim(ChannelId::RPC..=ChannelId::RPC).expect("free");
    for _ in 0..2 {
        one.send(NodeId(2), request.frame.clone()).expect("the queue is empty");
    }
    let first = requests.next().await.expect("the transport runs");
    let mut context = Context::from_waker(Waker::noop());
    assert!(pin!(requests.next()).poll(&mut context).is_pending());
    first.answer(Bytes::from_static(b"body"));
    one.send(NodeId(2), request.frame).expect("the queue is empty");
    drop(requests.next().await);
    for name in ["rpc-v1-overloaded.bin", "rpc-v1-answer.bin", "rpc-v1-unanswered.bin"] {
        let Some(Incoming::Frame(answer)) = seen.try_recv() else { panic!("the answer arrived") };
        golden(name, answer.frame.small());
    }
}

#[test]
fn a_message_is_the_whole_section_or_none() {
    let frame =
        codec::encode(ChannelId(17), GroupId(1), &Message { small: Small::Empty, raw: Vec::new() }).expect("small");
    let decoded = |small: &[u8]| {
        let frame =
            Frame::new(frame.channel(), frame.group(), Bytes::copy_from_slice(small), Vec::new()).expect("small");
        codec::decode::<Message>(frame)
    };
    assert!(decoded(frame.small()).is_ok());
    let longer = [frame.small(), &b"x"[..]].concat();
    assert_eq!(decoded(&longer), Err(codec::DecodeError::Trailing { bytes: 1 }));
    assert_eq!(decoded(b""), Err(codec::DecodeError::Small));
    assert_eq!(decoded(&[9]), Err(codec::DecodeError::Small));
    // A length of 2^32 - 1 elements is not believed.
    assert_eq!(decoded(&[1, 1, 2, 0, 252, 255, 255, 255, 255]), Err(codec::DecodeError::Small));
    let huge = Message {
        small: Small::Numbers {
            small: 0,
            large: 0,
            option: None,
            list: vec![u32::MAX; 300_000],
            incarnation: Incarnation(0),
        },
        raw: Vec::new(),
    };
    assert_eq!(codec::encode(ChannelId(17), GroupId(1), &huge).map(drop), Err(codec::EncodeError::TooLarge));
}

const HEARTBEAT_BYTES: usize = 45;
