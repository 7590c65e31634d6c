//! The cost of groups without work: three nodes in one process, on real sockets and real files.
//!
//! `cargo bench -p quorate-verification --bench quiet_groups -- 10000` prints, for this number of groups on each node,
//! the resident memory of a quiet group, the work and the traffic while all groups are quiet, and the time of the first
//! write to a quiet group.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use quorate_protocol::GroupId;
use quorate_raft::{Config, Raft, Settings, Start};
use quorate_runtime::{
    ApplyContext, GroupStart, NodeHandle, ReplicaHandle, ReplicaSettings, Server, ServerBuilder, Typed,
    TypedStateMachine,
};
use quorate_transport::{Count, Transport};
use quorate_wal::LogSettings;

#[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
struct Counter(i64);

impl TypedStateMachine for Counter {
    type Command = i64;
    type Response = i64;

    fn apply(&mut self, _: ApplyContext, add: i64) -> i64 {
        self.0 += add;
        self.0
    }
}

struct Running {
    handle: NodeHandle,
    transport: std::sync::Arc<dyn Transport>,
    thread: JoinHandle<()>,
}

/// Three nodes with these groups.
struct Cluster {
    nodes: Vec<Running>,
    groups: u64,
    _data: tempfile::TempDir,
}

/// Work and traffic of the process so far.
#[derive(Clone, Copy)]
struct Usage {
    at: Instant,
    processor: Duration,
    bytes: u64,
    frames: u64,
    messages: u64,
}

fn main() {
    let groups = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(10_000);
    let few = Cluster::start(FEW);
    let resident_with_few = resident_bytes();
    few.stop();
    let cluster = Cluster::start(groups);
    let resident = resident_bytes();
    println!("{groups} groups on {NODES} nodes, quiet after {QUIET_AFTER:?}");
    println!(
        "resident: {} bytes a group a node, {} MiB in all",
        resident.saturating_sub(resident_with_few) / (groups - FEW) / u64::from(NODES),
        resident >> 20
    );
    cluster.print_idle();
    cluster.print_first_writes();
    cluster.stop();
}

impl Cluster {
    /// Starts the nodes, and returns when every group has answered a write and is quiet since.
    fn start(groups: u64) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let free = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let listeners: Vec<_> = (0..NODES).map(|_| free()).collect();
        let addresses: Vec<String> =
            listeners.iter().map(|listener| listener.local_addr().expect("bound").to_string()).collect();
        drop(listeners);
        let begun = Instant::now();
        let starting: Vec<_> =
            (1..=u64::from(NODES)).map(|id| spawn(id, builder(data.path(), &addresses, groups))).collect();
        let nodes = starting.into_iter().map(|started| started.recv().expect("it opens")).collect();
        let cluster = Self { nodes, groups, _data: data };
        let opened = begun.elapsed();
        let slowest = cluster.write_to_all();
        println!("{groups} groups: opened in {opened:?}, the first writes answered {slowest:?} later");
        thread::sleep(SETTLING);
        cluster
    }

    /// Writes to every group at once. Returns the time until the last answer.
    fn write_to_all(&self) -> Duration {
        let begun = Instant::now();
        let pending: Vec<_> = (1..=self.groups).map(|group| (group, self.replica(group).execute(&1))).collect();
        for (group, answer) in pending {
            if answer.wait().is_err() {
                println!("the first write to group {group} was not answered in time");
                while self.replica(group).execute(&1).wait().is_err() {}
            }
        }
        begun.elapsed()
    }

    /// A handle on the node that the group falls to. It leads some of its groups and forwards for the others.
    fn replica(&self, group: u64) -> ReplicaHandle<Raft, Typed<Counter>> {
        let node = usize::try_from(group % u64::from(NODES)).expect("small");
        ReplicaHandle::new(self.nodes[node].handle.clone(), GroupId(group))
    }

    fn print_idle(&self) {
        let before = self.usage();
        thread::sleep(IDLE);
        let after = self.usage();
        let worked = after.processor.saturating_sub(before.processor).div_duration_f64(after.at - before.at);
        let share = 100.0 * worked / f64::from(NODES);
        println!("idle: {share:.2} % of a core a node");
        let each = |all: u64| all / IDLE.as_secs() / PAIRS;
        println!(
            "idle: {} bytes, {} frames and {} messages of groups a second between two nodes, both ways",
            each(after.bytes - before.bytes),
            each(after.frames - before.frames),
            each(after.messages - before.messages)
        );
    }

    fn print_first_writes(&self) {
        let step = (self.groups / SAMPLES).max(1);
        let one = |group: u64| {
            let begun = Instant::now();
            self.replica(group).execute(&1).wait().expect("applied");
            begun.elapsed()
        };
        let sampled = (1..=self.groups).step_by(usize::try_from(step).expect("small"));
        let mut times: Vec<Duration> = sampled.map(one).collect();
        times.sort_unstable();
        let in_timeouts = |time: Duration| time.div_duration_f64(Settings::default().election_timeout_min);
        let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
        println!(
            "first write to a quiet group, one after the other: median {median:?} ({:.3} election time-outs), \
             longest {longest:?} ({:.3}) of {}",
            in_timeouts(median),
            in_timeouts(longest),
            times.len()
        );
        thread::sleep(SETTLING);
        let slowest = self.write_to_all();
        let timeouts = in_timeouts(slowest);
        println!("first write to all quiet groups at once: the last answer after {slowest:?} ({timeouts:.2})");
    }

    fn usage(&self) -> Usage {
        let of = |node: &Running| {
            let counts = node.transport.counters();
            let messages = node.handle.inspect(|node| node.counters().messages_sent).wait().expect("it runs");
            (counts.of(Count::BytesSent), counts.of(Count::FramesSent), messages)
        };
        let sums = self.nodes.iter().map(of).fold((0, 0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1, sum.2 + it.2));
        let (bytes, frames, messages) = sums;
        Usage { at: Instant::now(), processor: processor_time(), bytes, frames, messages }
    }

    fn stop(self) {
        let runtime = runtime();
        for node in self.nodes {
            runtime.block_on(node.handle.shutdown(Duration::ZERO));
            node.thread.join().expect("the node's thread");
        }
    }
}

fn builder(data: &Path, addresses: &[String], groups: u64) -> ServerBuilder {
    let log = LogSettings { segment_bytes: 16 << 20, batch_bytes_max: 9 << 20, ..LogSettings::default() };
    let builder = (1..)
        .zip(addresses)
        .fold(Server::builder("quiet", data).log(log), |builder, (id, address)| builder.node(id, address));
    (1..=groups).map(GroupId).fold(builder, |builder, group| {
        builder.replica_with::<Raft, _>(group, ReplicaSettings::default(), config, Typed(Counter::default()))
    })
}

fn config(start: &GroupStart) -> Result<Config, quorate_runtime::BoxError> {
    let settings = Settings { quiet_after: Some(QUIET_AFTER), ..Settings::default() };
    Ok(Config::new(start.identity.node, start.seed, Start::Initial(start.members.clone()), settings)?)
}

/// Runs a node on a thread of its own. The node comes when it is open.
fn spawn(id: u64, builder: ServerBuilder) -> mpsc::Receiver<Running> {
    let (tell, told) = mpsc::channel();
    let (pass, passed) = mpsc::channel();
    let thread = thread::spawn(move || {
        runtime().block_on(async {
            let server = builder.open(id).await.expect("it opens");
            let thread = passed.recv().expect("the thread");
            tell.send(Running { handle: server.handle(), transport: server.transport().clone(), thread })
                .expect("the caller waits");
            server.run().await;
        });
    });
    pass.send(thread).expect("the thread waits for itself");
    told
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Resident memory of this process.
fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = status.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * 4096
}

/// Processor time of all threads of this process.
fn processor_time() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux");
    let of = |task: fs::DirEntry| {
        let status = fs::read_to_string(task.path().join("schedstat")).ok()?;
        status.split_whitespace().next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(tasks.filter_map(Result::ok).filter_map(of).sum())
}

const NODES: u32 = 3;
const PAIRS: u64 = 3;
/// The memory that does not depend on the number of groups is measured with these.
const FEW: u64 = 10;
const QUIET_AFTER: Duration = Duration::from_secs(1);
const SETTLING: Duration = Duration::from_secs(15);
const IDLE: Duration = Duration::from_secs(20);
/// Number of groups whose first write is measured alone.
const SAMPLES: u64 = 300;
