//! Servers on real files and sockets: errors of their descriptions, and data that survive.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{GroupId, HaltReason, LogIndex, NodeId, Role};
use quorate_raft::{Config, Lease, Raft, Settings};
use quorate_runtime::shell::{CallError, DirectoryError, SkipError};
use quorate_runtime::{
    ApplyContext, BoxError, CampaignError, Delivery, GroupStart, Launch, NotApplied, Outcome, ReadError, ReplicaHandle,
    ReplicaSettings, Running, Server, ServerBuilder, ServerConfigError, ServerOpenError, Typed, TypedStateMachine,
};
use quorate_transport::codec;
use tempfile::TempDir;

const GROUP: GroupId = GroupId(1);
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Counter(i64);

impl TypedStateMachine for Counter {
    type Command = i64;
    type Response = i64;

    fn apply(&mut self, _: ApplyContext, add: i64) -> i64 {
        self.0 += add;
        self.0
    }
}

/// Addresses and data directories of three nodes.
struct Place {
    data: TempDir,
    addresses: [String; 3],
}

impl Place {
    fn new() -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let listeners = [free(), free(), free()];
        let addresses = listeners.map(|listener| listener.local_addr().expect("bound").to_string());
        Self { data: tempfile::tempdir().expect("a directory"), addresses }
    }

    fn builder(&self, cluster: &str, nodes: usize) -> ServerBuilder {
        let builder = Server::builder(cluster, self.data.path())
            .log(quorate_wal::LogSettings {
                segment_bytes: 16 << 20,
                batch_bytes_max: 9 << 20,
                ..quorate_wal::LogSettings::default()
            })
            .replica::<Raft, _>(GROUP, Typed(Counter::default()));
        (1..).zip(&self.addresses[..nodes]).fold(builder, |builder, (id, address)| builder.node(id, address))
    }

    fn start(&self, id: u64) -> Running {
        self.builder("test", 3).spawn(id).expect("it opens")
    }

    /// A cluster of one node.
    fn start_alone(&self) -> Result<Running, ServerOpenError> {
        self.builder("test", 1).spawn(1)
    }

    /// The newest segment of node 1's log that is not empty.
    fn segment(&self) -> PathBuf {
        let segments = fs::read_dir(self.data.path().join("1/log")).expect("a log");
        let paths = segments.map(|entry| entry.expect("readable").path());
        let holds_records = |path: &PathBuf| fs::read(path).is_ok_and(|bytes| find(&bytes, MARK).is_some());
        paths.filter(holds_records).max().expect("a segment with the mark")
    }
}

/// A command that can be found in the log, and its bytes there: signed numbers are doubled.
const MARKED: i64 = 0x0123_4567_89ab_cdef;
const MARK: &[u8] = &(2 * MARKED).to_le_bytes();

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn counter(node: &Running) -> ReplicaHandle<Raft, Typed<Counter>> {
    node.replica(GROUP)
}

fn value(node: &Running) -> i64 {
    counter(node).read(|counter, _| counter.0.0).wait().expect("read")
}

#[test]
fn a_handle_proposes_in_the_session_of_its_replica() {
    let place = Place::new();
    let node = place.start_alone().expect("it opens");
    let replica = counter(&node);
    let command = codec::encode_small(&5_i64).expect("a number");
    let refused = replica.propose_as(command.clone(), Delivery::ExactlyOnce).wait();
    assert_eq!(refused, Outcome::NotApplied(NotApplied::NoSession));
    assert!(matches!(replica.open_session(Duration::from_mins(1)).wait(), Outcome::Applied(_)));
    assert!(matches!(replica.propose_as(command, Delivery::ExactlyOnce).wait(), Outcome::Applied(_)));
    assert_eq!(value(&node), 5);
    node.shutdown(PATIENCE);
}

/// Every node answers a read by a lease: the leader at once, and the others, or a group without leases, by a round.
#[test]
fn a_read_by_a_lease_is_answered_with_and_without_one() {
    let leased = |start: &GroupStart| -> Result<Config, BoxError> {
        let config = <Raft as Launch>::config(start)?;
        let settings = Settings { lease: Some(Lease { drift_per_mille: 10 }), ..config.settings().clone() };
        Ok(Config::new(config.node(), config.seed(), config.start().clone(), settings)?)
    };
    let place = Place::new();
    let nodes = [1, 2, 3].map(|id| {
        let (settings, state) = (ReplicaSettings::default(), Typed(Counter::default()));
        let builder = place.builder("test", 3).replica_with::<Raft, _>(GroupId(2), settings, leased, state);
        builder.spawn(id).expect("it opens")
    });
    for group in [GROUP, GroupId(2)] {
        let replicas = || nodes.iter().map(|node| node.replica::<Raft, Typed<Counter>>(group));
        for (replica, sum) in replicas().zip([5, 10, 15]) {
            assert_eq!(replica.execute(&5).wait().expect("applied"), sum);
            let read = |replica: ReplicaHandle<Raft, Typed<Counter>>| {
                replica.read_by_lease(|counter, _| counter.0.0).wait().expect("read")
            };
            assert_eq!(replicas().map(read).collect::<Vec<_>>(), [sum; 3]);
        }
    }
    for node in nodes {
        node.shutdown(PATIENCE);
    }
}

#[test]
fn what_was_acknowledged_is_there_after_all_were_stopped() {
    let place = Place::new();
    let nodes = [1, 2, 3].map(|id| place.start(id));
    for (node, sum) in nodes.iter().zip([1, 3, 6]) {
        // Each node accepts commands, whichever node leads.
        assert_eq!(counter(node).execute(&node_number(node)).wait().expect("applied"), sum);
    }
    for node in nodes {
        node.shutdown(PATIENCE);
    }
    let nodes = [1, 2, 3].map(|id| place.start(id));
    assert_eq!(value(&nodes[0]), 6);
    let starts = nodes[2].handle().inspect(|node| node.roster().start()).wait();
    assert_eq!(starts, Ok(2), "each start is counted");
    for node in nodes {
        node.shutdown(PATIENCE);
    }
}

fn node_number(node: &Running) -> i64 {
    let id = node.handle().inspect(|node| node.identity().node).wait().expect("it runs");
    i64::try_from(id.0).expect("small")
}

#[test]
fn whoever_watches_a_replica_is_told_what_changes() {
    let place = Place::new();
    let node = place.start_alone().expect("it opens");
    let replica = counter(&node);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut watch = replica.watch_status();
        let mut status = watch.next().await.expect("it runs");
        while status.log.role != Role::Leader {
            status = watch.next().await.expect("it runs");
        }
        assert_eq!(replica.execute(&1).await, Ok(1));
        let index = replica.snapshot().await.expect("there is room");
        while status.snapshot_index != Some(index) {
            status = watch.next().await.expect("it runs");
        }
        assert_eq!(replica.campaign().await, Ok(Err(CampaignError::Leads)));
        assert_eq!(replica.compact().await, Ok(index));
        node.handle().shutdown(PATIENCE).await;
        // The shutdown itself is no change, so only the end is told.
        assert_eq!(watch.next().await.err(), Some(CallError::Stopped));
    });
}

/// No program can apply the command, so the group stops on every node that comes to it, at each start.
#[test]
fn a_poison_command_is_skipped_on_every_node_where_it_is_marked() {
    let place = Place::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let index_of = |node: &Running| match runtime.block_on(node.handle().halted(GROUP)) {
        Ok(HaltReason::StateMachine { index, .. }) => index,
        other => panic!("{other:?}"),
    };
    let skip = |id, index| place.builder("test", 3).skip(id, GROUP, index).map(|command| command.index);
    let stop = |nodes: BTreeMap<u64, Running>| nodes.into_values().for_each(|node| _ = node.shutdown(PATIENCE));
    let start = || BTreeMap::from([1, 2, 3].map(|id| (id, place.start(id))));

    let mut nodes = start();
    assert_eq!(counter(&nodes[&1]).execute(&5).wait(), Ok(5));
    let leader = counter(&nodes[&1]).status().wait().expect("it runs").log.leader.expect("it has committed").0;
    let outcome = counter(&nodes[&leader]).propose(Bytes::from_static(b"no number")).wait();
    assert!(matches!(outcome, Outcome::Unknown { .. }), "{outcome:?}");
    let index = index_of(&nodes[&leader]);
    // The next leader stops as well. The last node may never learn that the command is committed.
    let mut others: Vec<u64> = nodes.keys().copied().filter(|id| *id != leader).collect();
    let [first, second] = [others[0], others[1]].map(|id| nodes[&id].handle().clone());
    let is_first = runtime.block_on(async {
        tokio::select! {
            _ = first.halted(GROUP) => true,
            _ = second.halted(GROUP) => false,
        }
    });
    let next = others.remove(usize::from(!is_first));
    let last = others[0];
    let busy = place.builder("test", 3).skip(last, GROUP, index).expect_err("the node runs");
    assert_eq!(busy.to_string(), "the data directory is in use by another process");
    stop(std::mem::take(&mut nodes));

    assert!(matches!(skip(leader, LogIndex(index.0 + 100)), Err(SkipError::Entry(_))), "there is no such entry");
    assert!(matches!(skip(leader, LogIndex(1)), Err(SkipError::NoCommand(_))), "the entry of the first leader");
    for id in [leader, next, leader] {
        assert_eq!(skip(id, index).expect("it is there"), index);
    }
    let nodes = start();
    assert_eq!(counter(&nodes[&leader]).execute(&1).wait(), Ok(6), "the other commands count");
    assert_eq!(index_of(&nodes[&last]), index, "it is not marked there");
    stop(nodes);

    assert_eq!(skip(last, index).expect("it has come to it"), index);
    let nodes = start();
    assert_eq!(counter(&nodes[&last]).execute(&1).wait(), Ok(7));
    counter(&nodes[&last]).snapshot().wait().expect("there is room");
    stop(nodes);
    assert!(matches!(skip(last, index), Err(SkipError::Applied { .. })), "a snapshot covers it");
}

#[test]
fn a_dropped_future_loses_only_the_answer() {
    let place = Place::new();
    let node = place.start_alone().expect("it opens");
    drop(counter(&node).execute(&5));
    let outcome = counter(&node).execute(&1).wait();
    assert_eq!(outcome, Ok(6));
    node.shutdown(PATIENCE);
}

#[test]
fn a_leader_that_is_shut_down_hands_over() {
    let place = Place::new();
    let nodes = [1, 2, 3].map(|id| place.start(id));
    counter(&nodes[0]).execute(&1).wait().expect("applied");
    let leader = loop {
        let status = counter(&nodes[0]).status().wait().expect("it runs");
        if let Some(leader) = status.log.leader {
            break leader;
        }
    };
    let (stopping, staying): (Vec<_>, Vec<_>) = nodes.into_iter().zip(1..).partition(|(_, id)| NodeId(*id) == leader);
    for (node, _) in stopping {
        node.shutdown(Duration::from_secs(10));
    }
    let status = counter(&staying[0].0).status().wait().expect("it runs");
    assert_ne!(status.log.leader, Some(leader), "another leads, or is about to, as soon as shutdown returns");
    assert_eq!(counter(&staying[0].0).execute(&1).wait().expect("applied"), 2);
    for (node, _) in staying {
        node.shutdown(PATIENCE);
    }
}

#[test]
fn a_read_that_panics_is_its_callers_affair() {
    let place = Place::new();
    let node = place.start_alone().expect("it opens");
    let counter = counter(&node);
    let panicked = counter.read(|_, _| panic!("a caller's bug")).wait();
    assert_eq!(panicked, Err::<(), _>(ReadError::Panicked));
    let panicked = counter.read_local(|_, _| panic!("a caller's bug")).wait();
    assert_eq!(panicked, Err::<(), _>(ReadError::Panicked));
    assert_eq!(counter.execute(&1).wait().expect("the replica goes on"), 1);
    node.shutdown(PATIENCE);
}

#[test]
fn a_directory_in_use_or_of_another_is_refused() {
    let place = Place::new();
    let node = place.start_alone().expect("it opens");
    let locked = place.builder("test", 1).spawn(1).expect_err("in use");
    assert!(matches!(locked, ServerOpenError::Directory(DirectoryError::Locked)), "{locked}");
    node.shutdown(PATIENCE);
    let foreign = place.builder("another", 1).spawn(1).expect_err("another cluster's");
    assert!(matches!(foreign, ServerOpenError::Directory(DirectoryError::ForeignCluster { .. })), "{foreign}");
    fs::rename(place.data.path().join("1"), place.data.path().join("2")).expect("moved");
    let foreign = place.builder("test", 2).spawn(2).expect_err("another node's");
    assert!(matches!(foreign, ServerOpenError::Directory(DirectoryError::ForeignNode { .. })), "{foreign}");
    fs::rename(place.data.path().join("2"), place.data.path().join("1")).expect("moved");
    place.start_alone().expect("it is free, and its own").shutdown(PATIENCE);
}

#[test]
fn a_start_without_its_port_is_not_counted() {
    let place = Place::new();
    place.start_alone().expect("it opens").shutdown(PATIENCE);
    let taken = TcpListener::bind(&place.addresses[0]).expect("it was free a moment ago");
    let refused = place.start_alone().expect_err("the port is taken");
    assert!(matches!(&refused, ServerOpenError::Listen { address, .. } if *address == place.addresses[0]), "{refused}");
    drop(taken);
    let node = place.start_alone().expect("the port is free");
    let starts = node.handle().inspect(|node| node.roster().start()).wait();
    assert_eq!(starts, Ok(2), "the refused start does not count");
    node.shutdown(PATIENCE);
}

#[test]
fn a_flipped_bit_in_the_middle_of_the_log_is_refused_by_place() {
    let place = Place::new();
    let node = place.start_alone().expect("it opens");
    counter(&node).execute(&MARKED).wait().expect("applied");
    for _ in 0..20 {
        counter(&node).execute(&1).wait().expect("applied");
    }
    node.shutdown(PATIENCE);
    let segment = place.segment();
    let mut bytes = fs::read(&segment).expect("readable");
    let offset = find(&bytes, MARK).expect("the command");
    bytes[offset] ^= 1;
    fs::write(&segment, bytes).expect("written");
    let error = place.start_alone().expect_err("damaged").to_string();
    for part in ["corrupt", "stream 1", "segment", "offset"] {
        assert!(error.contains(part), "{part} in: {error}");
    }
}

#[test]
fn a_torn_last_record_is_cut_off() {
    let place = Place::new();
    let node = place.start_alone().expect("it opens");
    counter(&node).execute(&MARKED).wait().expect("applied");
    // A copy of the running node's files is equal to the state after a crash.
    let crashed = Place { data: tempfile::tempdir().expect("a directory"), addresses: Place::new().addresses };
    copy(place.data.path(), crashed.data.path());
    node.shutdown(PATIENCE);
    let segment = crashed.segment();
    let mut bytes = fs::read(&segment).expect("readable");
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("records") / 4096 * 4096 + 4096;
    bytes[end..end + 100].copy_from_slice(&[0xa5; 100]);
    fs::write(&segment, bytes).expect("written");
    let node = crashed.start_alone().expect("a torn tail is no damage");
    assert_eq!(value(&node), MARKED);
    node.shutdown(PATIENCE);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

#[test]
fn a_description_that_does_not_hold_is_refused_by_name() {
    let place = Place::new();
    let expect = |builder: ServerBuilder, id, expected: ServerConfigError| match builder.spawn(id) {
        Err(ServerOpenError::Config(error)) => assert_eq!(error, expected),
        other => panic!("not refused as {expected:?}: {other:?}"),
    };
    expect(place.builder("", 1), 1, ServerConfigError::NoCluster);
    expect(place.builder("test", 1), 2, ServerConfigError::UnknownNode(NodeId(2)));
    expect(place.builder("test", 1).node(1, "127.0.0.1:1"), 1, ServerConfigError::RepeatedNode(NodeId(1)));
    let twice = place.builder("test", 1).replica::<Raft, _>(GROUP, Typed(Counter::default()));
    expect(twice, 1, ServerConfigError::RepeatedGroup(GROUP));
    expect(Server::builder("test", place.data.path()).node(1, "127.0.0.1:0"), 1, ServerConfigError::NoGroup);
    let small = quorate_wal::LogSettings { batch_bytes_max: 1 << 20, ..quorate_wal::LogSettings::default() };
    expect(place.builder("test", 1).log(small), 1, ServerConfigError::FrameAboveBatch);
    assert!(fs::read_dir(place.data.path()).expect("readable").next().is_none(), "nothing was touched");
}
