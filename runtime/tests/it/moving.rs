//! Whole nodes over TCP on loopback, whose addresses change while they run.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{ClusterId, Configuration, GroupId, HaltReason, Identity, Instant, NodeId, Now, Signal};
use quorate_runtime::NodeHandle;
use quorate_runtime::group::{ChannelId, Group, GroupInput, GroupOutput, MakeGroup, Members, Membership};
use quorate_runtime::shell::{Clock, Driver, Opened, Opening, Parts, read_address};
use quorate_transport::tcp::{TcpSettings, TcpTransport};
use quorate_transport::{Frame, Incoming, LinkEvent, Peer, Refusal, RefusedBy, Transport};
use quorate_wal::disk::MemoryDisk;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, LocalSet, spawn_local};

/// A group that sends a frame to every member at short intervals, and counts the frames that it receives.
struct Beacon {
    own: NodeId,
    members: Members,
    heard: BTreeMap<NodeId, u64>,
    next: Instant,
    outputs: VecDeque<GroupOutput>,
}

fn report(members: &Members) -> GroupOutput {
    GroupOutput::Members { contexts: members.clone(), membership: Membership::default() }
}

impl Beacon {
    fn new(own: NodeId, now: Instant, members: Members) -> Self {
        let outputs = VecDeque::from([report(&members)]);
        Self { own, members, heard: BTreeMap::new(), next: now, outputs }
    }

    fn become_of(&mut self, members: Members) {
        self.outputs.push_back(report(&members));
        self.members = members;
    }
}

impl Group for Beacon {
    fn handle(&mut self, now: Now, input: GroupInput) {
        match input {
            GroupInput::Frame(received) => *self.heard.entry(received.from.node).or_default() += 1,
            GroupInput::Signal(Signal::Timeout) => {
                self.next = now.instant.after(Duration::from_millis(10));
                let others: BTreeSet<_> = self.members.iter().map(|(node, _)| *node).collect();
                for to in others.into_iter().filter(|node| *node != self.own) {
                    let frame = Frame::new(ChannelId::FIRST_CORE, GROUP, Bytes::from_static(b"here"), Vec::new());
                    self.outputs.push_back(GroupOutput::Send { to, frame: frame.expect("small") });
                }
            }
            _ => {}
        }
    }

    fn poll_output(&mut self) -> Option<GroupOutput> {
        self.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.next)
    }

    fn halted(&mut self, _reason: &HaltReason) {}

    fn channel(&self) -> ChannelId {
        ChannelId::FIRST_CORE
    }

    fn is_settled(&self) -> bool {
        true
    }
}

/// Addresses of nodes.
type Addresses = BTreeMap<u64, String>;

/// Three nodes.
#[derive(Default)]
struct Cluster {
    disks: BTreeMap<u64, MemoryDisk>,
    nodes: BTreeMap<u64, Machine>,
    /// What the configuration of the group says.
    configuration: Addresses,
}

struct Machine {
    handle: NodeHandle,
    transport: Arc<TcpTransport>,
    running: JoinHandle<()>,
}

impl Cluster {
    fn members(&self) -> Members {
        self.configuration.iter().map(|(node, address)| (NodeId(*node), Bytes::from(address.clone()))).collect()
    }

    /// Starts a node that listens here, with a file that names the other nodes.
    fn start(&mut self, id: u64, listener: TcpListener, file: &Addresses) {
        let members = self.members();
        let make: MakeGroup =
            Box::new(move |start| Ok(Box::new(Beacon::new(start.identity.node, start.now.instant, members))));
        let opening = Opening {
            cluster: ClusterId(31),
            node: NodeId(id),
            members: Configuration::of_voters(NODES.map(NodeId)),
            joining: BTreeSet::new(),
            log: quorate_wal::LogSettings { segment_bytes: 1 << 20, batch_bytes_max: 1 << 16, ..Default::default() },
            frame_bytes_max: 1 << 16,
            tail_bytes_max: 1 << 16,
            groups: BTreeMap::from([(GROUP, make)]),
            reopen: Box::new(|_| None),
        };
        let clock = Clock::start();
        let disk = self.disks.entry(id).or_default().clone();
        let opened = opening.open(disk, || clock.now(), || Ok(u128::from(id))).expect("opened");
        let Opened { node, log, snapshots, site, lock, .. } = opened;
        let settings = TcpSettings { start: node.roster().start(), ..settings() };
        let transport = TcpTransport::with_listener(node.identity(), listener, settings).expect("it listens");
        for (peer, address) in file.iter().filter(|(peer, _)| **peer != id) {
            transport.set_peer(Peer::new(NodeId(*peer), address.clone())).expect("a right peer");
        }
        let (read_addresses, lock) = (Arc::new(read_address), Arc::new(lock));
        let parts = Parts { node, clock, transport: transport.clone(), read_addresses, log, snapshots, site, lock };
        let driver = Driver::new(parts).expect("started");
        let handle = driver.handle();
        self.nodes.insert(id, Machine { handle, transport, running: spawn_local(driver.run()) });
    }

    async fn stop(&mut self, id: u64) {
        let Machine { handle, running, .. } = self.nodes.remove(&id).expect("it runs");
        handle.shutdown(Duration::from_secs(1)).await;
        running.await.expect("no panic");
    }

    /// A node has this address in the configuration of the group, on every node that runs.
    async fn configure(&mut self, id: u64, address: String) {
        self.configuration.insert(id, address);
        for machine in self.nodes.values() {
            let members = self.members();
            let told = machine.handle.look(GROUP, |beacon: &mut Beacon, _| beacon.become_of(members));
            told.await.expect("it runs");
        }
    }

    /// Waits until every running node has heard every other one from now on.
    async fn all_hear_all(&self) {
        let nodes: BTreeSet<NodeId> = self.nodes.keys().copied().map(NodeId).collect();
        for (id, machine) in &self.nodes {
            let forget = machine.handle.look(GROUP, |beacon: &mut Beacon, _| beacon.heard.clear());
            forget.await.expect("it runs");
            loop {
                let look = machine.handle.look(GROUP, |beacon: &mut Beacon, _| beacon.heard.clone());
                let heard: BTreeSet<NodeId> = look.await.expect("it runs").into_keys().collect();
                if nodes.iter().all(|node| node.0 == *id || heard.contains(node)) {
                    break;
                }
                // The group does not report what it heard. The pause lets the loops work; its length decides nothing.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    fn identity(&self, id: u64) -> Identity {
        self.nodes[&id].transport.identity()
    }
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    (listener, address)
}

async fn listen_all() -> (Vec<(u64, TcpListener)>, Addresses) {
    let (mut listeners, mut addresses) = (Vec::new(), Addresses::new());
    for id in NODES {
        let (listener, address) = listen().await;
        listeners.push((id, listener));
        addresses.insert(id, address);
    }
    (listeners, addresses)
}

/// Row 31 of the scenarios, with a group that has no log: the configuration is what each node is told.
#[tokio::test]
async fn nodes_move_one_at_a_time_and_then_all_at_once() {
    let local = LocalSet::new();
    let test = local.run_until(async {
        let mut cluster = Cluster::default();
        let (listeners, first) = listen_all().await;
        cluster.configuration.clone_from(&first);
        for (id, listener) in listeners {
            cluster.start(id, listener, &first);
        }
        cluster.all_hear_all().await;

        for id in NODES {
            let (listener, address) = listen().await;
            // The configuration may say so before the node has moved.
            cluster.configure(id, address).await;
            cluster.all_hear_all().await;
            let before = cluster.identity(id);
            cluster.stop(id).await;
            cluster.all_hear_all().await;
            // The file of this node says what its operator knows, and those of the others say what they said.
            let file = cluster.configuration.clone();
            cluster.start(id, listener, &file);
            cluster.all_hear_all().await;
            assert_eq!(cluster.identity(id), before);
        }
        assert!(first.iter().all(|(id, address)| cluster.configuration[id] != *address));
        left_behind_is_refused(&cluster, 3, &first[&3]).await;

        let (listeners, last) = listen_all().await;
        for id in NODES {
            cluster.stop(id).await;
        }
        for (id, listener) in listeners {
            cluster.start(id, listener, &last);
        }
        cluster.all_hear_all().await;
        for (id, address) in last {
            cluster.configure(id, address).await;
            cluster.all_hear_all().await;
        }
        for id in NODES {
            cluster.stop(id).await;
        }
    });
    tokio::time::timeout(PATIENCE, test).await.expect("links follow the addresses");
}

/// The former process of a node is still there, at its former address. It is refused by name, and disturbs nobody.
async fn left_behind_is_refused(cluster: &Cluster, id: u64, address: &str) {
    let stale = TcpTransport::bind(cluster.identity(id), address, TcpSettings { start: 1, ..settings() });
    let stale = stale.await.expect("the address is free");
    let mut links = stale.claim(ChannelId::TRANSPORT..=ChannelId::TRANSPORT).expect("free");
    stale.set_peer(Peer::new(NodeId(1), cluster.configuration[&1].clone())).expect("a right peer");
    let (peer, refusal, by) = (Some(NodeId(1)), Refusal::OlderStart, RefusedBy::Peer);
    let expected = Incoming::Link(LinkEvent::Refused { peer, refusal, by });
    while links.recv().await.expect("it is open") != expected {}
    assert!(cluster.nodes[&1].transport.counters().refused(Refusal::OlderStart) > 0);
    cluster.all_hear_all().await;
    stale.shutdown().await;
}

fn settings() -> TcpSettings {
    TcpSettings { backoff_min: Duration::from_millis(5), backoff_max: Duration::from_millis(50), ..Default::default() }
}

const GROUP: GroupId = GroupId(1);
const NODES: [u64; 3] = [1, 2, 3];

/// A wait so long that only nodes that never reach each other exceed it.
const PATIENCE: Duration = Duration::from_mins(1);
