//! Frames while connections come and go.

use bytes::BytesMut;
use quorate_protocol::{GroupId, NodeId};
use quorate_transport::tcp::{TcpSettings, TcpTransport};
use quorate_transport::wire::{HEADER_BYTES, HandshakeAnswer, Header, Hello, put_head};
use quorate_transport::{
    ChannelId, Count, DownReason, Frame, Lane, LinkEvent, Peer, Refusal, RefusedBy, SendError, Transport,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::raw::{Node, answer, answer_of, bytes_of, closed, frame, hello, identity, settings, shake, until};

/// Sends a hello without its last byte.
async fn begin(node: &Node, start: u32) -> (TcpStream, u8) {
    let bytes = Hello { start, ..hello() }.encode();
    let mut stream = node.dial().await;
    let (last, first) = bytes.split_last().expect("it is not empty");
    stream.write_all(first).await.expect("it listens");
    (stream, *last)
}

#[tokio::test]
async fn a_newer_connection_ends_the_older_one() {
    let mut node = Node::start(settings()).await;
    let mut older = node.dial_as_peer(Lane::Control, 0).await;
    let mut newer = node.dial_as_peer(Lane::Control, 0).await;
    closed(&mut older).await;
    newer.write_all(&bytes_of(&frame(2, 1))).await.expect("it listens");
    assert_eq!(node.frame().await, GroupId(2));
}

#[tokio::test]
async fn a_slow_handshake_does_not_overtake() {
    let mut node = Node::start(settings()).await;
    let (mut older, last) = begin(&node, 0).await;
    let mut newer = node.dial_as_peer(Lane::Control, 0).await;
    older.write_all(&[last]).await.expect("it listens");
    closed(&mut older).await;
    until(|| node.refused(Refusal::Superseded) == 1).await;
    newer.write_all(&bytes_of(&frame(2, 1))).await.expect("it listens");
    assert_eq!(node.frame().await, GroupId(2));
}

#[tokio::test]
async fn lanes_of_one_start_stand_beside_each_other() {
    let mut node = Node::start(settings()).await;
    let mut control = node.dial_as_peer(Lane::Control, 7).await;
    let _bulk = node.dial_as_peer(Lane::Bulk, 7).await;
    control.write_all(&bytes_of(&frame(1, 1))).await.expect("it listens");
    assert_eq!(node.frame().await, GroupId(1));
}

#[tokio::test]
async fn a_restarted_peer_ends_both_lanes() {
    let mut node = Node::start(settings()).await;
    let mut bulk = node.dial_as_peer(Lane::Bulk, 7).await;
    let (mut slow, last) = begin(&node, 7).await;
    let mut control = node.dial_as_peer(Lane::Control, 8).await;
    closed(&mut bulk).await;
    slow.write_all(&[last]).await.expect("it listens");
    closed(&mut slow).await;
    until(|| node.refused(Refusal::Superseded) == 1).await;
    control.write_all(&bytes_of(&frame(1, 1))).await.expect("it listens");
    assert_eq!(node.frame().await, GroupId(1));
}

#[tokio::test]
async fn what_waits_is_dropped_with_its_connection() {
    let mut node = Node::start(settings()).await;
    let mut stream = node.accept(Lane::Control).await;
    stream.write_all(&answer().encode()).await.expect("it listens");
    while !matches!(node.link().await, LinkEvent::Up { .. }) {}
    // There is no reader, so that the socket fills and frames wait.
    until(|| node.transport.send(NodeId(2), frame(1, 60_000)) == Err(SendError::QueueFull(NodeId(2)))).await;
    drop(stream);
    while !matches!(node.link().await, LinkEvent::Down { .. }) {}
    assert!(node.counted(Count::StaleDropped) > 0);
    assert_eq!(node.transport.send(NodeId(2), frame(1, 1)), Err(SendError::NotConnected(NodeId(2))));

    let mut stream = node.accept(Lane::Control).await;
    stream.write_all(&answer().encode()).await.expect("it listens");
    while !matches!(node.link().await, LinkEvent::Up { .. }) {}
    until(|| node.transport.send(NodeId(2), frame(2, 1)).is_ok()).await;
    let buffer = read_to(&mut stream, &frame(2, 1)).await;
    assert!(!contains(&buffer, &frame(1, 60_000)));
}

#[tokio::test]
async fn frames_cut_by_a_full_socket_arrive_whole() {
    let mut node = Node::start(settings()).await;
    let mut stream = node.accept(Lane::Control).await;
    stream.write_all(&answer().encode()).await.expect("it listens");
    while !matches!(node.link().await, LinkEvent::Up { .. }) {}
    let sized = |group: u64| frame(group, usize::try_from(group * 7919 % 60_000).expect("small"));
    let mut sent = 0;
    until(|| {
        let refused = node.transport.send(NodeId(2), sized(sent)).is_err();
        sent += u64::from(!refused);
        refused
    })
    .await;
    let (mut buffer, mut arrived) = (BytesMut::new(), 0);
    while arrived < sent {
        assert!(stream.read_buf(&mut buffer).await.expect("it is open") > 0);
        while let Some(received) = cut(&mut buffer) {
            if received.channel() != ChannelId::TRANSPORT {
                assert_eq!(received, sized(arrived));
                arrived += 1;
            }
        }
    }
}

/// The first frame in these bytes, if it is complete.
fn cut(buffer: &mut BytesMut) -> Option<Frame> {
    let header = Header::decode(buffer.first_chunk::<HEADER_BYTES>()?).expect("a right header");
    if buffer.len() < header.frame_bytes() {
        return None;
    }
    let bytes = buffer.split_to(header.frame_bytes()).freeze();
    Some(header.frame(bytes.slice(HEADER_BYTES..)).expect("a right body"))
}

#[tokio::test]
async fn a_flush_writes_before_it_returns() {
    let mut node = Node::start(settings()).await;
    let mut stream = node.accept(Lane::Control).await;
    stream.write_all(&answer().encode()).await.expect("it listens");
    while !matches!(node.link().await, LinkEvent::Up { .. }) {}
    let before = node.counted(Count::Writes);
    for group in 0..10 {
        node.transport.send(NodeId(2), frame(group, 100)).expect("the link is up");
    }
    assert_eq!(node.counted(Count::Writes), before);
    node.transport.flush();
    assert_eq!(node.counted(Count::Writes), before + 1);
}

/// Reads until the frame has come, and returns all that came.
async fn read_to(stream: &mut TcpStream, frame: &Frame) -> Vec<u8> {
    let mut buffer = Vec::new();
    while !contains(&buffer, frame) {
        stream.read_buf(&mut buffer).await.expect("it is open");
    }
    buffer
}

/// True if these bytes contain the frame as node 1 sends it.
fn contains(bytes: &[u8], frame: &Frame) -> bool {
    let mut head = BytesMut::new();
    put_head(frame, identity(1).incarnation, &mut head);
    bytes.windows(head.len()).any(|window| window == head)
}

#[tokio::test]
async fn a_full_bulk_lane_does_not_delay_the_control_lane() {
    let mut node = Node::start(settings()).await;
    let mut bulk = node.accept(Lane::Bulk).await;
    bulk.write_all(&answer().encode()).await.expect("it listens");
    // The lanes dial at the same time, in any order. The other one may have been refused above, and dials again.
    let mut control = node.accept(Lane::Control).await;
    control.write_all(&answer().encode()).await.expect("it listens");
    while !matches!(node.link().await, LinkEvent::Up { .. }) {}
    let chunk = Frame::new(ChannelId::SNAPSHOTS, GroupId(0), bytes::Bytes::new(), frame(0, 60_000).raw().to_vec());
    let chunk = chunk.expect("a small frame");
    until(|| node.transport.send(NodeId(2), chunk.clone()) == Err(SendError::QueueFull(NodeId(2)))).await;
    node.transport.send(NodeId(2), frame(5, 1)).expect("the control lane is free");
    let buffer = read_to(&mut control, &frame(5, 1)).await;
    assert!(!contains(&buffer, &chunk), "nothing of the other lane comes before it");
}

#[tokio::test]
async fn a_peer_that_takes_nothing_holds_up_no_other() {
    let mut node = Node::start(settings()).await;
    let mut silent = node.accept(Lane::Control).await;
    silent.write_all(&answer().encode()).await.expect("it listens");
    while !matches!(node.link().await, LinkEvent::Up { .. }) {}
    until(|| node.transport.send(NodeId(2), frame(1, 60_000)) == Err(SendError::QueueFull(NodeId(2)))).await;

    let other = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = other.local_addr().expect("it is bound").to_string();
    let _listens = std::mem::replace(&mut node.peer, other);
    node.transport.set_peer(Peer::new(NodeId(3), address)).expect("a right peer");
    let mut taking = node.accept(Lane::Control).await;
    taking.write_all(&answer_of(3).encode()).await.expect("it listens");
    while !matches!(node.link().await, LinkEvent::Up { peer } if peer.node == NodeId(3)) {}
    node.transport.send(NodeId(3), frame(3, 1)).expect("nothing waits for this peer");
    read_to(&mut taking, &frame(3, 1)).await;
}

#[tokio::test]
async fn a_peer_that_takes_shorter_frames_is_asked_for_no_longer_ones() {
    let mut node = Node::start(settings()).await;
    let mut stream = node.accept(Lane::Control).await;
    let modest = HandshakeAnswer::Accepted { version: 1, from: identity(2), start: 0, frame_bytes_max: 500 };
    stream.write_all(&modest.encode()).await.expect("it listens");
    while !matches!(node.link().await, LinkEvent::Up { .. }) {}
    let long = frame(1, 1000);
    let expected = SendError::TooLarge { bytes: long.wire_bytes(), bytes_max: 500 };
    assert_eq!(node.transport.send(NodeId(2), long), Err(expected));
}

#[tokio::test]
async fn a_peer_moves() {
    let mut node = Node::start(settings()).await;
    let first = TcpTransport::bind(identity(2), "127.0.0.1:0", settings()).await.expect("a free port");
    let second = TcpTransport::bind(identity(2), "127.0.0.1:0", settings()).await.expect("a free port");
    for peer in [first, second] {
        let mut inbox = peer.claim(ChannelId(1)..=ChannelId(99)).expect("nothing is claimed");
        peer.set_peer(Peer::new(NodeId(1), node.address().to_string())).expect("a right peer");
        node.transport.set_peer(Peer::new(NodeId(2), peer.local_address().to_string())).expect("a right peer");
        until(|| {
            let _ = node.transport.send(NodeId(2), frame(1, 1));
            inbox.try_recv().is_some()
        })
        .await;
        peer.shutdown().await;
    }
    while !matches!(node.link().await, LinkEvent::Down { .. }) {}
}

#[tokio::test]
async fn the_address_in_use_is_dialled_first_after_a_change() {
    let patient = std::time::Duration::from_hours(1);
    let mut node = Node::start(TcpSettings { handshake_timeout: patient, ..settings() }).await;
    let mut stream = node.accept(Lane::Control).await;
    stream.write_all(&answer().encode()).await.expect("it listens");
    while !matches!(node.link().await, LinkEvent::Up { .. }) {}
    // Nothing answers there, and a dial would wait for an hour.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let known = node.transport.peers().remove(0);
    let silent = listener.local_addr().expect("it is bound").to_string();
    let addresses = vec![silent, known.addresses[0].clone()];
    node.transport.set_peer(Peer { addresses, ..known }).expect("a right peer");
    while !matches!(node.link().await, LinkEvent::Down { reason: DownReason::PeerChanged, .. }) {}
    closed(&mut stream).await;
    let mut stream = node.accept(Lane::Control).await;
    stream.write_all(&answer().encode()).await.expect("it listens");
    while !matches!(node.link().await, LinkEvent::Up { .. }) {}
}

#[tokio::test]
async fn a_process_that_was_left_behind_is_refused_by_name() {
    let mut node = Node::start(settings()).await;
    let mut newer = node.dial_as_peer(Lane::Control, 8).await;
    // It dials.
    let mut stale = node.dial().await;
    assert_eq!(shake(&mut stale, &Hello { start: 7, ..hello() }).await, HandshakeAnswer::Refused(Refusal::OlderStart));
    // It answers at the address that the peer has left.
    let mut stale = node.accept(Lane::Control).await;
    let answer = |start| HandshakeAnswer::Accepted { version: 1, from: identity(2), start, frame_bytes_max: 1 << 20 };
    stale.write_all(&answer(7).encode()).await.expect("it listens");
    closed(&mut stale).await;
    let (refusal, by) = (Refusal::OlderStart, RefusedBy::Us);
    for _ in ["the one that dials", "the one that answers"] {
        while node.link().await != (LinkEvent::Refused { peer: Some(NodeId(2)), refusal, by }) {}
    }
    newer.write_all(&bytes_of(&frame(2, 1))).await.expect("it listens");
    assert_eq!(node.frame().await, GroupId(2));
    let mut right = node.accept(Lane::Control).await;
    right.write_all(&answer(8).encode()).await.expect("it listens");
    while !matches!(node.link().await, LinkEvent::Up { .. }) {}
}

#[tokio::test]
async fn an_older_copy_is_heard_when_the_newer_start_is_gone() {
    let node = Node::start(settings()).await;
    drop(node.dial_as_peer(Lane::Control, 8).await);
    until(|| node.counted(Count::ConnectionsLost) == 1).await;
    let older = Hello { start: 7, ..hello() };
    loop {
        match shake(&mut node.dial().await, &older).await {
            HandshakeAnswer::Accepted { .. } => break,
            HandshakeAnswer::Refused(refusal) => assert_eq!(refusal, Refusal::OlderStart),
        }
    }
}

#[tokio::test]
async fn peers_that_come_and_go_leave_nothing_behind() {
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let other = TcpTransport::bind(identity(2), "127.0.0.1:0", settings()).await.expect("a free port");
    let transport = TcpTransport::bind(identity(1), "127.0.0.1:0", settings()).await.expect("a free port");
    other.set_peer(Peer::new(NodeId(1), transport.local_address().to_string())).expect("a right peer");
    let (nobody, own) = (TcpListener::bind("127.0.0.1:0").await.expect("a free port"), transport.local_address());
    let addresses = [nobody.local_addr().expect("it is bound"), own, other.local_address()].map(|at| at.to_string());
    tokio::task::yield_now().await;
    let before = (alive(), transport.peers());
    for round in 0..20 {
        for address in &addresses {
            transport.set_peer(Peer::new(NodeId(2), address.clone())).expect("a right peer");
            transport.set_peer(Peer::new(NodeId(3 + round), address.clone())).expect("a right peer");
            tokio::task::yield_now().await;
        }
        if round % 5 == 0 {
            let dialled = transport.counters().of(Count::ConnectionsDialled);
            until(|| transport.counters().of(Count::ConnectionsDialled) > dialled).await;
        }
        assert!(transport.remove_peer(NodeId(2)) && transport.remove_peer(NodeId(3 + round)));
    }
    until(|| alive() == before.0).await;
    assert_eq!(transport.peers(), before.1);
    let counts = transport.counters();
    let made = counts.of(Count::ConnectionsDialled) + counts.of(Count::ConnectionsAccepted);
    assert_eq!(counts.of(Count::ConnectionsLost), made);
}

#[tokio::test]
async fn a_removed_peer_is_told_down_and_ended() {
    let mut node = Node::start(settings()).await;
    let mut inbound = node.dial_as_peer(Lane::Control, 0).await;
    let mut outbound = node.accept(Lane::Control).await;
    outbound.write_all(&answer().encode()).await.expect("it listens");
    while !matches!(node.link().await, LinkEvent::Up { .. }) {}
    assert!(node.transport.remove_peer(NodeId(2)));
    assert!(matches!(node.link().await, LinkEvent::Down { reason: DownReason::PeerChanged, .. }));
    closed(&mut inbound).await;
    closed(&mut outbound).await;
    let mut stream = node.dial().await;
    let refused = HandshakeAnswer::Refused(Refusal::UnknownPeer);
    assert_eq!(shake(&mut stream, &hello()).await, refused);
}

#[tokio::test]
async fn the_peer_that_dials_is_dialled_without_delay() {
    let slow = std::time::Duration::from_hours(1);
    let mut node = Node::start(TcpSettings { backoff_min: slow, backoff_max: slow, ..settings() }).await;
    // The first dials are refused; the next would come in an hour.
    drop(node.accept(Lane::Control).await);
    while !matches!(node.link().await, LinkEvent::Refused { .. }) {}
    let _inbound = node.dial_as_peer(Lane::Control, 0).await;
    let mut stream = node.accept(Lane::Control).await;
    stream.write_all(&answer().encode()).await.expect("it listens");
    while !matches!(node.link().await, LinkEvent::Up { .. }) {}
}

#[tokio::test]
async fn a_dropped_transport_lets_go_of_everything() {
    let node = Node::start(settings()).await;
    let mut stream = node.dial_as_peer(Lane::Control, 0).await;
    let address = node.address();
    drop(node);
    closed(&mut stream).await;
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn settings_that_do_not_fit_start_nothing() {
    let wrong = TcpSettings { heartbeat_timeout: std::time::Duration::ZERO, ..settings() };
    assert!(TcpTransport::bind(identity(1), "127.0.0.1:0", wrong).await.is_err());
    let node = Node::start(settings()).await;
    for address in ["", "localhost", ":80", "host:port", "host:99999", "host:0"] {
        let outcome = node.transport.set_peer(Peer::new(NodeId(3), address));
        assert_eq!(outcome, Err(quorate_transport::PeerError::Address));
    }
    let nowhere = Peer { addresses: Vec::new(), ..Peer::new(NodeId(3), "") };
    assert_eq!(node.transport.set_peer(nowhere), Err(quorate_transport::PeerError::Address));
}
