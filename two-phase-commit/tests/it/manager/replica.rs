//! A replicated state machine as a resource: every clause of the conformance suite, on a real log.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::TcpListener;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use quorate_protocol::{GroupId, LogTime};
use quorate_raft::Raft;
use quorate_runtime::{ApplyContext, Running, Server, StateMachine};
use quorate_two_phase_commit::Vote;
use quorate_two_phase_commit::manager::conformance::{self, Subject};
use quorate_two_phase_commit::manager::replica::{BranchState, Branched, Replicated};
use quorate_two_phase_commit::manager::{BranchId, Sessions};

type Resource = Replicated<Raft, Values>;

/// Values under names. Work is `name=value`, or a name that is only read.
#[derive(Clone, Debug, Default)]
struct Values(BTreeMap<String, u64>);

fn parts(work: &Bytes) -> (String, Option<u64>) {
    let text = str::from_utf8(work).expect("text");
    match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.parse().expect("a number"))),
        None => (text.to_owned(), None),
    }
}

impl StateMachine for Values {
    type Snapshot = Self;

    fn apply(&mut self, _: ApplyContext, work: Bytes) -> io::Result<Bytes> {
        if let (name, Some(value)) = parts(&work) {
            self.0.insert(name, value);
        }
        Ok(Bytes::new())
    }

    fn snapshot(&self) -> Self {
        self.clone()
    }

    fn write(snapshot: Self, out: &mut dyn io::Write) -> io::Result<()> {
        snapshot.0.iter().try_for_each(|(name, value)| writeln!(out, "{name}={value}"))
    }

    fn restore(from: &mut dyn io::Read) -> io::Result<Self> {
        let text = io::read_to_string(from)?;
        let lines = text.lines().map(|line| parts(&Bytes::copy_from_slice(line.as_bytes())));
        Ok(Self(lines.filter_map(|(name, value)| Some((name, value?))).collect()))
    }

    fn digest(&self) -> u64 {
        self.0.values().fold(0, |sum, value| sum.wrapping_mul(31).wrapping_add(*value))
    }
}

impl BranchState for Values {
    fn keys(&self, work: &Bytes) -> BTreeSet<Bytes> {
        [Bytes::from(parts(work).0)].into()
    }

    fn vote(&self, _: LogTime, work: &Bytes) -> Vote {
        if parts(work).1.is_some() { Vote::Yes } else { Vote::ReadOnly }
    }
}

/// One node, and the newest handle to it. Handles of earlier starts are leaked, because the suite borrows them.
struct OneNode {
    data: tempfile::TempDir,
    address: String,
    node: Mutex<Option<Running>>,
    resource: Mutex<&'static Resource>,
}

const GROUP: GroupId = GroupId(1);

impl OneNode {
    fn start() -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
        let address = port.to_string();
        let (node, resource) = run(&data, &address);
        Self { data, address, node: Mutex::new(Some(node)), resource: Mutex::new(resource) }
    }

    fn node(&self) -> MutexGuard<'_, Option<Running>> {
        self.node.lock().expect("no test panics with it")
    }

    async fn work(&self, branch: BranchId, work: String) -> Result<(), String> {
        let resource = self.resource();
        let session = match resource.resume(branch) {
            Some(session) => session,
            None => resource.begin(branch).await.map_err(|error| error.to_string())?,
        };
        let vote = session.work(work).await.map_err(|error| error.to_string());
        resource.suspend(branch, session);
        if vote? == Vote::No { Err("another branch holds it".to_owned()) } else { Ok(()) }
    }
}

fn run(data: &tempfile::TempDir, address: &str) -> (Running, &'static Resource) {
    let data = data.path().to_str().expect("text");
    let server = Server::builder("branches", data).replica::<Raft, _>(GROUP, Branched::new(Values::default()));
    let node = server.node(1, address).spawn(1).expect("it starts");
    let replica = node.replica::<Raft, Branched<Values>>(GROUP).timeout(Duration::from_mins(1));
    (node, Box::leak(Box::new(Replicated::new(replica))))
}

impl Drop for OneNode {
    #[expect(clippy::disallowed_methods, reason = "the node has a thread")]
    fn drop(&mut self) {
        // Blocking is refused in an async task.
        let node = self.node().take();
        std::thread::spawn(move || node.map(|node| node.shutdown(Duration::ZERO))).join().expect("it stops");
    }
}

#[async_trait]
impl Subject for OneNode {
    type Resource = Resource;

    fn resource(&self) -> &Resource {
        *self.resource.lock().expect("no test panics with it")
    }

    async fn write(&self, branch: BranchId, key: &str, value: u64) -> Result<(), String> {
        self.work(branch, format!("{key}={value}")).await
    }

    async fn read(&self, branch: BranchId, key: &str) -> Result<(), String> {
        self.work(branch, key.to_owned()).await
    }

    async fn value(&self, key: &str) -> Option<u64> {
        let key = key.to_owned();
        let read = self.resource().replica().read(move |state, _| state.state().0.get(&key).copied()).await;
        read.expect("it is read")
    }

    async fn crash(&self) {
        let node = self.node().take().expect("it runs");
        tokio::task::spawn_blocking(move || node.shutdown(Duration::ZERO)).await.expect("it stops");
        let (node, resource) = run(&self.data, &self.address);
        *self.node() = Some(node);
        *self.resource.lock().expect("no test panics with it") = resource;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replicated_state_machine_keeps_every_clause() {
    let failures = conformance::check(|| async { OneNode::start() }).await;
    assert!(failures.is_empty(), "{failures:#?}");
}
