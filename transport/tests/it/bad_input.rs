//! Every kind of bad input leads to a counted, typed refusal. The node goes on, and no part of the input reaches a
//! reader.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use quorate_protocol::{ClusterId, GroupId, Identity, Incarnation, NodeId};
use quorate_transport::tcp::TcpSettings;
use quorate_transport::wire::{FRAME_VERSION, HEADER_BYTES, HandshakeAnswer, Header, Hello};
use quorate_transport::{
    ChannelId, Count, DownReason, Frame, Lane, LinkEvent, Peer, Refusal, RefusedBy, SendError, Transport,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::raw::{CHANNEL, Node, answer, bytes_of, closed, frame, hello, identity, read_hello, settings, shake, until};

/// Checks that the node still accepts a correct connection and a correct frame.
async fn still_works(node: &mut Node) {
    let mut stream = node.dial_as_peer(Lane::Control, 9).await;
    stream.write_all(&bytes_of(&frame(4711, 3))).await.expect("it listens");
    while node.frame().await != GroupId(4711) {}
}

/// Sends these bytes first, and expects the connection to end for this reason.
async fn refused_at_once(first: &[u8], refusal: Refusal) {
    let mut node = Node::start(settings()).await;
    let mut stream = node.dial().await;
    stream.write_all(first).await.expect("it listens");
    closed(&mut stream).await;
    until(|| node.refused(refusal) == 1).await;
    still_works(&mut node).await;
}

/// Sends this hello, and expects an answer with this reason.
async fn refused_with_answer(hello: Hello, refusal: Refusal) {
    let mut node = Node::start(settings()).await;
    let mut stream = node.dial().await;
    assert_eq!(shake(&mut stream, &hello).await, HandshakeAnswer::Refused(refusal));
    closed(&mut stream).await;
    until(|| node.refused(refusal) == 1).await;
    still_works(&mut node).await;
}

/// Sends these bytes after a correct handshake, and expects the connection to end for this reason.
async fn refused_after_handshake(lane: Lane, then: &[u8], refusal: Refusal) {
    let mut node = Node::start(settings()).await;
    let mut stream = node.dial_as_peer(lane, 0).await;
    stream.write_all(then).await.expect("it listens");
    closed(&mut stream).await;
    until(|| node.refused(refusal) == 1).await;
    assert_eq!(node.counted(Count::FramesReceived), 0);
    still_works(&mut node).await;
}

#[tokio::test]
async fn wrong_magic() {
    refused_at_once(b"GET / HTTP/1.1\r\n\r\n", Refusal::Magic).await;
}

#[tokio::test]
async fn newer_version() {
    refused_with_answer(Hello { version_min: 2, version_max: 3, ..hello() }, Refusal::Version).await;
}

#[tokio::test]
async fn a_range_that_holds_our_version_is_agreed_on() {
    let node = Node::start(settings()).await;
    let mut stream = node.dial().await;
    let answer = shake(&mut stream, &Hello { version_max: 9, ..hello() }).await;
    assert!(matches!(answer, HandshakeAnswer::Accepted { version: 1, .. }));
}

#[tokio::test]
async fn foreign_cluster() {
    let from = Identity { cluster: ClusterId(1), ..identity(2) };
    refused_with_answer(Hello { from, ..hello() }, Refusal::Cluster).await;
}

#[tokio::test]
async fn wrong_node() {
    refused_with_answer(Hello { to: NodeId(3), ..hello() }, Refusal::Node).await;
}

#[tokio::test]
async fn wrong_incarnation_is_wanted() {
    refused_with_answer(Hello { to_incarnation: Some(Incarnation(1)), ..hello() }, Refusal::Incarnation).await;
}

#[tokio::test]
async fn another_incarnation_than_expected_dials() {
    let node = Node::start(settings()).await;
    let peer = Peer { incarnation: Some(Incarnation(5)), ..node.transport.peers()[0].clone() };
    node.transport.set_peer(peer).expect("a right peer");
    let mut stream = node.dial().await;
    assert_eq!(shake(&mut stream, &hello()).await, HandshakeAnswer::Refused(Refusal::Incarnation));
    until(|| node.refused(Refusal::Incarnation) == 1).await;
}

#[tokio::test]
async fn unknown_peer() {
    refused_with_answer(Hello { from: identity(3), ..hello() }, Refusal::UnknownPeer).await;
}

#[tokio::test]
async fn own_id_dials() {
    refused_with_answer(Hello { from: identity(1), ..hello() }, Refusal::UnknownPeer).await;
}

#[tokio::test]
async fn every_flipped_bit_of_a_hello() {
    let node = Node::start(settings()).await;
    let right = hello().encode();
    for bit in 0..8 * right.len() {
        let mut bytes = right;
        bytes[bit / 8] ^= 1 << (bit % 8);
        let mut stream = node.dial().await;
        stream.write_all(&bytes).await.expect("it listens");
        closed(&mut stream).await;
    }
    let (magic, rest) = (64, 8 * right.len() as u64 - 64);
    until(|| node.refused(Refusal::Magic) == magic && node.refused(Refusal::Handshake) == rest).await;
    assert_eq!(node.counted(Count::ConnectionsAccepted), 0);
}

#[tokio::test]
async fn connection_ends_in_the_handshake() {
    let node = Node::start(settings()).await;
    let mut stream = node.dial().await;
    stream.write_all(&hello().encode()[..50]).await.expect("it listens");
    drop(stream);
    until(|| node.refused(Refusal::HandshakeCut) == 1).await;
}

#[tokio::test]
async fn slow_loris() {
    let quick = TcpSettings { handshake_timeout: Duration::from_millis(20), ..settings() };
    let node = Node::start(quick).await;
    let mut stream = node.dial().await;
    stream.write_all(&hello().encode()[..50]).await.expect("it listens");
    closed(&mut stream).await;
    // The node's own dials, which get no answer, end as well.
    until(|| node.refused(Refusal::HandshakeTimeout) >= 1).await;
}

#[tokio::test]
async fn too_many_connections() {
    let mut node = Node::start(TcpSettings { handshakes_max: 2, ..settings() }).await;
    let (first, second) = (node.dial().await, node.dial().await);
    let mut third = node.dial().await;
    closed(&mut third).await;
    until(|| node.refused(Refusal::TooManyConnections) == 1).await;
    drop((first, second));
    until(|| node.refused(Refusal::HandshakeCut) == 2).await;
    still_works(&mut node).await;
}

#[tokio::test]
async fn oversized_length() {
    let header = Header { body_bytes: 1 << 31, ..Header::of(&frame(1, 1), identity(2).incarnation) };
    refused_after_handshake(Lane::Control, &header.encode(), Refusal::FrameTooLarge).await;
}

#[tokio::test]
async fn garbage_after_the_handshake() {
    refused_after_handshake(Lane::Control, &[0xa5; 100], Refusal::Corrupt).await;
}

#[tokio::test]
async fn every_flipped_bit_of_a_frame() {
    let node = Node::start(settings()).await;
    let right = bytes_of(&frame(1, 8));
    for bit in 0..8 * right.len() {
        let mut bytes = right.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let mut stream = node.dial_as_peer(Lane::Control, 0).await;
        stream.write_all(&bytes).await.expect("it listens");
        closed(&mut stream).await;
    }
    until(|| node.refused(Refusal::Corrupt) == 8 * right.len() as u64).await;
    assert_eq!(node.counted(Count::FramesReceived), 0);
}

#[tokio::test]
async fn frame_of_another_version() {
    let header = Header { version: FRAME_VERSION + 1, ..Header::of(&frame(1, 1), identity(2).incarnation) };
    refused_after_handshake(Lane::Control, &header.encode(), Refusal::FrameVersion).await;
}

#[tokio::test]
async fn frame_of_another_sender() {
    let header = Header::of(&frame(1, 1), identity(3).incarnation);
    refused_after_handshake(Lane::Control, &header.encode(), Refusal::FrameSender).await;
}

#[tokio::test]
async fn frame_on_the_wrong_lane() {
    refused_after_handshake(Lane::Bulk, &bytes_of(&frame(1, 1)), Refusal::FrameChannel).await;
}

#[tokio::test]
async fn heartbeat_that_is_none() {
    let forged = Frame::new(ChannelId::TRANSPORT, GroupId(0), Bytes::from_static(b"x"), Vec::new()).expect("small");
    refused_after_handshake(Lane::Control, &bytes_of(&forged), Refusal::FrameChannel).await;
}

#[tokio::test]
async fn sections_that_do_not_fill_the_frame() {
    let tables: [&[u32]; 5] = [&[], &[5, 4], &[4, 4], &[u32::MAX, 0], &[4, u32::MAX]];
    for lengths in tables {
        let mut body = BytesMut::new();
        for length in lengths {
            body.put_u32_le(*length);
        }
        body.put_slice(if lengths.is_empty() { b"" } else { b"small678" });
        if lengths == [4, 4] {
            body.put_u8(0);
        }
        let header = Header {
            body_bytes: u32::try_from(body.len()).expect("short"),
            body_checksum: crc32c::crc32c(&body),
            ..Header::of(&frame(1, 1), identity(2).incarnation)
        };
        let bytes = [&header.encode()[..], &body[..]].concat();
        refused_after_handshake(Lane::Control, &bytes, Refusal::FrameSections).await;
    }
}

#[tokio::test]
async fn frames_cut_anywhere_arrive_whole() {
    let mut node = Node::start(settings()).await;
    let mut stream = node.dial_as_peer(Lane::Control, 0).await;
    let mut bytes = BytesMut::new();
    for group in 0..40 {
        bytes.extend_from_slice(&bytes_of(&frame(group, usize::try_from(group).expect("small") * 997)));
    }
    for piece in bytes.chunks(HEADER_BYTES - 1) {
        stream.write_all(piece).await.expect("it listens");
        tokio::task::yield_now().await;
    }
    for group in 0..40 {
        assert_eq!(node.frame().await, GroupId(group));
    }
}

/// Settings with which silence is noticed soon.
fn impatient() -> TcpSettings {
    let (heartbeat_interval, heartbeat_timeout) = (Duration::from_millis(10), Duration::from_millis(40));
    TcpSettings { heartbeat_interval, heartbeat_timeout, ..settings() }
}

#[tokio::test]
async fn half_open_dialer() {
    let node = Node::start(impatient()).await;
    let mut stream = node.dial_as_peer(Lane::Control, 0).await;
    closed(&mut stream).await;
    until(|| node.refused(Refusal::HalfOpen) == 1).await;
}

#[tokio::test]
async fn half_open_acceptor() {
    let mut node = Node::start(impatient()).await;
    let mut stream = node.accept(Lane::Control).await;
    stream.write_all(&answer().encode()).await.expect("it listens");
    let peer = identity(2);
    let peer = quorate_transport::Sender { node: peer.node, incarnation: peer.incarnation };
    assert_eq!(node.link().await, LinkEvent::Up { peer });
    let event = loop {
        match node.link().await {
            LinkEvent::Refused { refusal, .. } => assert_eq!(refusal, Refusal::HalfOpen),
            event => break event,
        }
    };
    assert_eq!(event, LinkEvent::Down { peer, reason: DownReason::Refused(Refusal::HalfOpen) });
    assert!(node.refused(Refusal::HalfOpen) >= 1);
    closed(&mut stream).await;
}

/// Answers a dial with these bytes, and expects this refusal.
async fn answer_refused(answer: &[u8], refusal: Refusal, by: RefusedBy) {
    let mut node = Node::start(settings()).await;
    let mut stream = node.accept(Lane::Control).await;
    stream.write_all(answer).await.expect("it listens");
    stream.shutdown().await.expect("it is open");
    let expected = LinkEvent::Refused { peer: Some(NodeId(2)), refusal, by };
    while node.link().await != expected {}
    assert!(node.refused(refusal) >= 1);
    assert_eq!(node.transport.send(NodeId(2), frame(1, 1)), Err(SendError::NotConnected(NodeId(2))));
}

#[tokio::test]
async fn answers_that_are_not_the_peers() {
    let accepted = |from| HandshakeAnswer::Accepted { version: 1, from, start: 0, frame_bytes_max: 1 << 20 }.encode();
    let us = RefusedBy::Us;
    answer_refused(&[b'x'; 68], Refusal::Magic, us).await;
    answer_refused(&accepted(Identity { cluster: ClusterId(1), ..identity(2) }), Refusal::Cluster, us).await;
    answer_refused(&accepted(identity(3)), Refusal::Node, us).await;
    answer_refused(&answer().encode()[..30], Refusal::HandshakeCut, us).await;
    let mut flipped = answer().encode();
    flipped[40] ^= 1;
    answer_refused(&flipped, Refusal::Handshake, us).await;
    let newer = HandshakeAnswer::Accepted { version: 2, from: identity(2), start: 0, frame_bytes_max: 1 };
    answer_refused(&newer.encode(), Refusal::Version, us).await;
    answer_refused(&HandshakeAnswer::Refused(Refusal::UnknownPeer).encode(), Refusal::UnknownPeer, RefusedBy::Peer)
        .await;
}

#[tokio::test]
async fn answer_of_another_incarnation_than_expected() {
    let mut node = Node::start(settings()).await;
    let peer = Peer { incarnation: Some(Incarnation(5)), ..node.transport.peers()[0].clone() };
    node.transport.set_peer(peer).expect("a right peer");
    loop {
        let (mut stream, _) = node.peer.accept().await.expect("it listens");
        // The first dials may still go to the peer's earlier address.
        let mut hello = [0; quorate_transport::wire::HELLO_BYTES];
        let Ok(_) = stream.read_exact(&mut hello).await else { continue };
        if Hello::decode(&hello).expect("a right hello").to_incarnation != Some(Incarnation(5)) {
            continue;
        }
        stream.write_all(&answer().encode()).await.expect("it listens");
        break;
    }
    let expected = LinkEvent::Refused { peer: Some(NodeId(2)), refusal: Refusal::Incarnation, by: RefusedBy::Us };
    while node.link().await != expected {}
}

#[tokio::test]
async fn acceptor_that_sends_frames() {
    let mut node = Node::start(settings()).await;
    let mut stream = node.accept(Lane::Control).await;
    stream.write_all(&answer().encode()).await.expect("it listens");
    let forged = Frame::new(CHANNEL, GroupId(1), Bytes::new(), Vec::new()).expect("small");
    stream.write_all(&bytes_of(&forged)).await.expect("it listens");
    closed(&mut stream).await;
    until(|| node.refused(Refusal::FrameChannel) == 1).await;
    while !matches!(node.link().await, LinkEvent::Down { .. }) {}
    assert_eq!(node.counted(Count::FramesReceived), 0);
}

#[tokio::test]
async fn silent_acceptor_ends_the_handshake() {
    let quick = TcpSettings { handshake_timeout: Duration::from_millis(20), ..settings() };
    let node = Node::start(quick).await;
    let (mut stream, _) = node.peer.accept().await.expect("it listens");
    read_hello(&mut stream).await;
    closed(&mut stream).await;
    until(|| node.refused(Refusal::HandshakeTimeout) >= 1).await;
}
