//! Echo over the TCP transport beside an echo over bare sockets, in turn, in one run and on one thread: the result is
//! the ratio. `cargo bench -p quorate-transport --bench echo`.

// Rates are printed with few digits.
#![allow(clippy::cast_precision_loss)]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_protocol::{ClusterId, GroupId, Identity, Incarnation, NodeId};
use quorate_transport::tcp::{TcpSettings, TcpTransport};
use quorate_transport::{ChannelId, Frame, Inbox, Incoming, Peer, SendError, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!(
        "{:>8} {:>9} | {:>10} {:>10} {:>6} | {:>10}",
        "bytes", "in flight", "bare/s", "frames/s", "ratio", "frames/write"
    );
    for (bytes, in_flight) in
        [(100, 1), (4 << 10, 1), (64 << 10, 1), (100, 32), (4 << 10, 32), (64 << 10, 32), (100, 256)]
    {
        let (mut bare, mut framed, mut coalesced) = (0.0f64, 0.0f64, 0.0);
        for _ in 0..ROUNDS {
            bare = bare.max(runtime.block_on(bare_echo(bytes, in_flight))?);
            let (rate, writes) = runtime.block_on(frame_echo(bytes, in_flight))?;
            if rate > framed {
                (framed, coalesced) = (rate, writes);
            }
        }
        let ratio = framed / bare;
        println!("{bytes:>8} {in_flight:>9} | {bare:>10.0} {framed:>10.0} {ratio:>6.2} | {coalesced:>10.1}");
    }
    Ok(())
}

/// Round trips a second between two sockets, with whole buffers of messages written and read at once.
async fn bare_echo(bytes: usize, in_flight: usize) -> Outcome<f64> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut near = TcpStream::connect(listener.local_addr()?).await?;
    let (mut far, _) = listener.accept().await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let echo = tokio::spawn(async move {
        let mut buffer = vec![0; BUFFER];
        while let Ok(read @ 1..) = far.read(&mut buffer).await {
            if far.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    });
    let message = vec![7; bytes * in_flight];
    let (mut reader, mut writer) = near.split();
    writer.write_all(&message).await?;
    let mut buffer = vec![0; BUFFER];
    let (begun, mut echoed, mut owed) = (Instant::now(), 0usize, 0);
    while begun.elapsed() < ROUND {
        let read = reader.read(&mut buffer).await?;
        echoed += read;
        owed += read;
        let whole = owed - owed % bytes;
        writer.write_all(&message[..whole.min(message.len())]).await?;
        owed -= whole.min(message.len());
    }
    echo.abort();
    Ok(echoed as f64 / bytes as f64 / begun.elapsed().as_secs_f64())
}

/// Round trips a second of frames, and the number of frames in one write.
async fn frame_echo(bytes: usize, in_flight: usize) -> Outcome<(f64, f64)> {
    let (near, far) = (bind(1).await?, bind(2).await?);
    near.set_peer(Peer::new(NodeId(2), far.local_address().to_string()))?;
    far.set_peer(Peer::new(NodeId(1), near.local_address().to_string()))?;
    let mut near_inbox = near.claim(CHANNEL..=CHANNEL)?;
    let mut far_inbox = far.claim(CHANNEL..=CHANNEL)?;
    let frame = Frame::new(CHANNEL, GroupId(0), Bytes::from_static(&[7; 20]), vec![Bytes::from(vec![7; bytes])])?;
    connect(&near, NodeId(2), &frame, &mut far_inbox).await;
    connect(&far, NodeId(1), &frame, &mut near_inbox).await;

    let echo_end = far.clone();
    let echo = tokio::spawn(async move {
        while let Some(incoming) = far_inbox.recv().await {
            bounce(&*echo_end, NodeId(1), incoming);
            while let Some(incoming) = far_inbox.try_recv() {
                bounce(&*echo_end, NodeId(1), incoming);
            }
            echo_end.flush();
        }
    });
    for _ in 0..in_flight {
        near.send(NodeId(2), frame.clone())?;
    }
    let before = near.counters();
    let (begun, mut echoed) = (Instant::now(), 0u64);
    while begun.elapsed() < ROUND
        && let Some(incoming) = near_inbox.recv().await
    {
        bounce(&*near, NodeId(2), incoming);
        echoed += 1;
        while let Some(incoming) = near_inbox.try_recv() {
            bounce(&*near, NodeId(2), incoming);
            echoed += 1;
        }
        near.flush();
    }
    let rate = echoed as f64 / begun.elapsed().as_secs_f64();
    let after = near.counters();
    let grown = |count| (after.of(count) - before.of(count)) as f64;
    let coalesced = grown(quorate_transport::Count::FramesSent) / grown(quorate_transport::Count::Writes);
    echo.abort();
    near.shutdown().await;
    far.shutdown().await;
    Ok((rate, coalesced))
}

async fn bind(node: u64) -> Outcome<Arc<TcpTransport>> {
    let identity = Identity { cluster: ClusterId(1), node: NodeId(node), incarnation: Incarnation(node.into()) };
    Ok(TcpTransport::bind(identity, "127.0.0.1:0", TcpSettings::default()).await?)
}

/// Sends until the link is up, which it comes to be in the background, and the frame has arrived. Nothing is timed yet.
async fn connect(from: &TcpTransport, to: NodeId, frame: &Frame, at: &mut Inbox) {
    while let Err(SendError::NotConnected(_)) = from.send(to, frame.clone()) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    at.recv().await;
}

fn bounce(transport: &dyn Transport, to: NodeId, incoming: Incoming) {
    if let Incoming::Frame(received) = incoming {
        transport.send(to, received.frame).expect("what is in flight fits the queue");
    }
}

const CHANNEL: ChannelId = ChannelId::FIRST_CORE;
const BUFFER: usize = 256 << 10;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(400);
