//! Closed-loop clients: each has one request in flight.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use clap::ValueEnum;
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::cluster::{Cluster, Kind};
use crate::cost::{self, Ledger};

type Error = Box<dyn std::error::Error>;

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Operation {
    /// Write a key of 10,000 drawn in turn.
    Put,
    /// Read one, linearizably.
    Get,
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Operations.
    pub operations: f64,
    /// Operations a second.
    pub rate: f64,
    /// Median latency.
    pub p50_ms: f64,
    /// Latency that one in a hundred exceeds.
    pub p99_ms: f64,
    /// Syncs of all nodes for each operation, where the system tells.
    pub syncs: Option<f64>,
    /// Resident memory of each process in MiB.
    pub resident_mib: Vec<u64>,
    /// What each thread of the processes has spent, the process that leads first, and the clients
    /// last.
    pub spent: Vec<Ledger>,
}

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// What the clients do.
    pub operation: Operation,
    /// Number of clients.
    pub clients: usize,
    /// Requests that a client sends at once, before it waits for their replies.
    pub pipeline: usize,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// How long.
    pub duration: Duration,
}

/// Runs the clients against the node that leads.
pub async fn run(cluster: &Cluster, load: Load) -> Result<Figures, Error> {
    let Load { operation, clients, value_bytes, duration, .. } = load;
    let latencies = Rc::new(RefCell::new(Histogram::<u64>::new(3)?));
    let leader = cluster.leader().await;
    let shared = etcd_clients(cluster, clients).await?;
    let syncs_before = cluster.counter(SYNCS).await;
    let ledgers = ledgers(cluster, leader)?;
    let value = vec![b'v'; value_bytes];
    let local = LocalSet::new();
    let started = Instant::now();
    let mut tasks = Vec::new();
    for client in 0..clients {
        let (latencies, value) = (latencies.clone(), value.clone());
        let etcd = shared.get(client % shared.len().max(1)).cloned();
        tasks.push(local.spawn_local(async move {
            match etcd {
                Some(etcd) => drive_etcd(etcd, operation, client, &value, started + duration, &latencies).await,
                None => drive_redis(leader, load, client, &value, started + duration, &latencies).await,
            }
        }));
    }
    local
        .run_until(async {
            for task in tasks {
                task.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
            }
            Ok::<(), String>(())
        })
        .await?;
    let elapsed = started.elapsed().as_secs_f64();
    let ledgers_after = self::ledgers(cluster, leader)?;
    let syncs_after = cluster.counter(SYNCS).await;
    let latencies = latencies.borrow();
    let done = latencies.len() as f64;
    let spent = ledgers.iter().zip(&ledgers_after).map(|(before, after)| cost::between(before, after)).collect();
    Ok(Figures {
        operations: done,
        rate: done / elapsed,
        p50_ms: latencies.value_at_quantile(0.5) as f64 / 1e6,
        p99_ms: latencies.value_at_quantile(0.99) as f64 / 1e6,
        syncs: syncs_before.zip(syncs_after).map(|(before, after)| (after - before) / done),
        resident_mib: cluster.resident_mib(),
        spent,
    })
}

fn ledgers(cluster: &Cluster, leader: SocketAddr) -> Result<Vec<Ledger>, Error> {
    let mut ledgers = cluster.ledgers(leader)?;
    ledgers.push(cost::ledger(std::process::id())?);
    Ok(ledgers)
}

async fn etcd_clients(cluster: &Cluster, clients: usize) -> Result<Vec<etcd_client::Client>, Error> {
    let mut shared = Vec::new();
    if cluster.kind == Kind::Etcd {
        for connection in 0..clients.div_ceil(8) {
            let node = cluster.clients[connection % cluster.clients.len()];
            shared.push(etcd_client::Client::connect([format!("http://{node}")], None).await?);
        }
    }
    Ok(shared)
}

async fn drive_etcd(
    mut etcd: etcd_client::Client,
    operation: Operation,
    client: usize,
    value: &[u8],
    end: Instant,
    latencies: &RefCell<Histogram<u64>>,
) -> Result<(), Error> {
    let mut turn = client * 7919;
    while Instant::now() < end {
        let key = key(&mut turn);
        let asked = Instant::now();
        match operation {
            Operation::Put => drop(etcd.put(key, value, None).await?),
            Operation::Get => drop(etcd.get(key, None).await?),
        }
        record(latencies, asked)?;
    }
    Ok(())
}

async fn drive_redis(
    address: SocketAddr,
    load: Load,
    client: usize,
    value: &[u8],
    end: Instant,
    latencies: &RefCell<Histogram<u64>>,
) -> Result<(), Error> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut received = BytesMut::with_capacity(4096);
    let mut turn = client * 7919;
    let mut requests = Vec::new();
    while Instant::now() < end {
        requests.clear();
        for _ in 0..load.pipeline {
            put_request(&mut requests, load.operation, &key(&mut turn), value);
        }
        let asked = Instant::now();
        stream.write_all(&requests).await?;
        for _ in 0..load.pipeline {
            read_reply(&mut stream, &mut received).await?;
            record(latencies, asked)?;
        }
    }
    Ok(())
}

fn put_request(requests: &mut Vec<u8>, operation: Operation, key: &str, value: &[u8]) {
    match operation {
        Operation::Put => {
            requests.extend(format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n", key.len(), value.len()).bytes());
            requests.extend(value);
            requests.extend(b"\r\n");
        }
        Operation::Get => requests.extend(format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len()).bytes()),
    }
}

/// Reads one simple or bulk reply.
async fn read_reply(stream: &mut TcpStream, received: &mut BytesMut) -> Result<(), Error> {
    loop {
        if let Some(line) = received.windows(2).position(|pair| pair == b"\r\n") {
            let whole = match received[0] {
                b'$' if received[1] != b'-' => line + 4 + std::str::from_utf8(&received[1..line])?.parse::<usize>()?,
                b'-' => return Err(String::from_utf8_lossy(&received[..line]).into_owned().into()),
                _ => line + 2,
            };
            if received.len() >= whole {
                received.advance(whole);
                return Ok(());
            }
        }
        if stream.read_buf(received).await? == 0 {
            return Err("the connection was closed".into());
        }
    }
}

fn record(latencies: &RefCell<Histogram<u64>>, asked: Instant) -> Result<(), Error> {
    let nanoseconds = u64::try_from(asked.elapsed().as_nanos())?;
    Ok(latencies.borrow_mut().record(nanoseconds)?)
}

fn key(turn: &mut usize) -> String {
    *turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    format!("key:{:05}", (*turn >> 33) % 10_000)
}

const SYNCS: &str = "quorate_log_syncs_total";
