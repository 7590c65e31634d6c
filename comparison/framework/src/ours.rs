//! Three nodes of this project on one thread, which is also that of the clients, and the threads of their logs.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_protocol::{ClusterId, Configuration, GroupId, NodeId};
use quorate_raft::Raft;
use quorate_runtime::shell::{Clock, Driver, Opened, Opening, Parts, read_address};
use quorate_runtime::{ApplyContext, LocalReplicaHandle, Outcome, StateMachine, replica};
use quorate_transport::memory::{DeliveryTime, Network};
use quorate_transport::{Limits, Peer, Transport};
use quorate_wal::LogSettings;
use quorate_wal::disk::RealDisk;
use tokio::runtime::LocalOptions;
use tokio::task::spawn_local;

use crate::Failure;

type Handle = LocalReplicaHandle<Raft, Counter>;

/// Runs the clients for this time, and returns the number of commands a second.
pub fn measure(memory: &Path, clients: usize, duration: Duration, command: &Bytes) -> Result<f64, Failure> {
    let folder = tempfile::tempdir_in(memory)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let network = Network::new(Limits::default(), DeliveryTime::Immediate)?;
        let mut nodes = Vec::new();
        for node in NODES {
            let driver = open(&folder.path().join(node.to_string()), &network, node)?;
            let handle = Handle::new(driver.local_handle(), GROUP);
            spawn_local(driver.run());
            nodes.push(handle);
        }
        let leader = leader(&nodes).await;
        let done = Rc::new(Cell::new(0_u64));
        let start = Instant::now();
        let running: Vec<_> = (0..clients)
            .map(|_| spawn_local(drive(leader.clone(), command.clone(), start + duration, Rc::clone(&done))))
            .collect();
        for client in running {
            client.await?.map_err(io::Error::other)?;
        }
        Ok(done.get() as f64 / start.elapsed().as_secs_f64())
    })
}

async fn drive(leader: Handle, command: Bytes, end: Instant, done: Rc<Cell<u64>>) -> Result<(), String> {
    while Instant::now() < end {
        match leader.propose(command.clone()).await {
            Outcome::Applied(_) => done.set(done.get() + 1),
            outcome => return Err(format!("{outcome:?}")),
        }
    }
    Ok(())
}

/// Waits until a node leads.
async fn leader(nodes: &[Handle]) -> Handle {
    loop {
        for node in nodes {
            if node.status().await.is_ok_and(|status| status.log.role == quorate_protocol::Role::Leader) {
                return node.clone();
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn open(folder: &Path, network: &Network, node: u64) -> Result<Driver, Failure> {
    let opening = Opening {
        cluster: ClusterId(1),
        node: NodeId(node),
        members: Configuration::of_voters(NODES.map(NodeId)),
        joining: BTreeSet::new(),
        log: LogSettings::default(),
        frame_bytes_max: Limits::default().frame_bytes_max,
        tail_bytes_max: 1 << 20,
        groups: BTreeMap::from([(GROUP, replica::<Raft, Counter>(Counter::default()))]),
        reopen: Box::new(|_| None),
    };
    let clock = Clock::start();
    let opened = opening.open(RealDisk::new(folder)?, || clock.now(), || Ok(u128::from(node)))?;
    let Opened { node, log, snapshots, site, lock, .. } = opened;
    let transport = network.join(node.identity());
    for peer in NODES.into_iter().filter(|peer| *peer != node.identity().node.0) {
        transport.set_peer(Peer::new(NodeId(peer), ""))?;
    }
    let (read_addresses, lock) = (Arc::new(read_address), Arc::new(lock));
    Ok(Driver::new(Parts { node, clock, transport, read_addresses, log, snapshots, site, lock })?)
}

/// Counts the commands.
#[derive(Default)]
struct Counter(u64);

impl StateMachine for Counter {
    type Snapshot = u64;

    fn apply(&mut self, _: ApplyContext, _: Bytes) -> io::Result<Bytes> {
        self.0 += 1;
        Ok(Bytes::new())
    }

    fn snapshot(&self) -> u64 {
        self.0
    }

    fn write(snapshot: u64, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&snapshot.to_le_bytes())
    }

    fn restore(from: &mut dyn Read) -> io::Result<Self> {
        let mut bytes = [0; 8];
        from.read_exact(&mut bytes)?;
        Ok(Self(u64::from_le_bytes(bytes)))
    }

    fn digest(&self) -> u64 {
        self.0
    }
}

const NODES: [u64; 3] = [1, 2, 3];
const GROUP: GroupId = GroupId(0);
