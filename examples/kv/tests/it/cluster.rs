//! A cluster of real processes on free ports, to be killed, paused and damaged.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fs, io};

use quorate_examples::local::free_addresses;
use quorate_kv::client::{Answer, Client};
use quorate_kv::config::{ClusterConfig, NodeConfig, ToolFiles};
use quorate_kv::credentials::{Credentials, Login};
use quorate_kv::status::{self, GroupStatus};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

/// Maximum time for which a test waits for an expected event. It only ends tests that would hang.
const PATIENCE: Duration = Duration::from_secs(100);

/// Processes of `kv serve`, with their data in a folder that is removed when this is dropped.
pub(crate) struct Cluster {
    folder: tempfile::TempDir,
    config: ClusterConfig,
    processes: BTreeMap<u64, Child>,
}

impl Cluster {
    /// A cluster file with free ports; nothing runs yet.
    pub(crate) fn describe(nodes: u64, more: &str) -> Self {
        Self::describe_at(nodes, Path::new("data"), more)
    }

    /// As [`Cluster::describe`], with further nodes that join.
    pub(crate) fn describe_with_joining(nodes: u64, joining: u64, more: &str) -> Self {
        let mut cluster = Self::describe(nodes + joining, more);
        cluster.edit(|mut text| {
            for id in nodes + 1..=nodes + joining {
                text = text.replace(&format!("id = {id}\n"), &format!("id = {id}\njoin = true\n"));
            }
            text
        });
        cluster
    }

    /// Changes the cluster file.
    pub(crate) fn edit(&mut self, change: impl FnOnce(String) -> String) {
        let path = self.config_path();
        fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
        self.config = ClusterConfig::read(&path).unwrap();
    }

    pub(crate) fn describe_at(nodes: u64, data: &Path, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The tests run on the other protocol as well: `QUORATE_KV_ENGINE=paxos cargo test -p quorate-examples`.
        let engine = std::env::var("QUORATE_KV_ENGINE").unwrap_or_else(|_| "raft".to_owned());
        let data = data.display();
        let mut text = format!("cluster = \"test\"\ndata = \"{data}\"\nengine = \"{engine}\"\n{more}\n");
        let mut addresses = free_addresses(3 * usize::try_from(nodes).unwrap()).unwrap().into_iter();
        for id in 1..=nodes {
            writeln!(text, "[[node]]\nid = {id}").unwrap();
            for field in ["peer", "client", "http"] {
                writeln!(text, "{field} = \"{}\"", addresses.next().unwrap()).unwrap();
            }
        }
        let path = folder.path().join("cluster.toml");
        fs::write(&path, text).unwrap();
        let config = ClusterConfig::read(&path).unwrap();
        Self { folder, config, processes: BTreeMap::new() }
    }

    /// Three nodes that have elected a leader.
    pub(crate) fn start() -> Self {
        let mut cluster = Self::describe(3, "");
        cluster.start_all();
        cluster.leader();
        cluster
    }

    pub(crate) fn start_all(&mut self) {
        for id in self.ids() {
            self.launch(id);
        }
    }

    pub(crate) fn launch(&mut self, id: u64) {
        let errors = fs::File::options().create(true).append(true).open(self.errors_path(id)).unwrap();
        self.launch_with(id, "info", errors.into());
    }

    /// Starts a node with another destination and level of its log.
    pub(crate) fn launch_with(&mut self, id: u64, level: &str, errors: Stdio) {
        self.launch_by(Command::new(env!("CARGO_BIN_EXE_kv")), id, level, errors);
    }

    /// Starts a node that gets errors, and no signal, when a file would exceed the size limit.
    pub(crate) fn launch_limited(&mut self, id: u64) {
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_kv")]);
        self.launch_by(shell, id, "info", Stdio::piped());
    }

    /// Makes all further writes of a node to files fail.
    pub(crate) fn refuse_writes(&self, id: u64) {
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        prlimit(Some(Pid::from_child(&self.processes[&id])), Resource::Fsize, none).unwrap();
    }

    fn launch_by(&mut self, mut command: Command, id: u64, level: &str, errors: Stdio) {
        let process = command
            .args(["serve", "--node", &id.to_string(), "--config"])
            .arg(self.config_path())
            .env("RUST_LOG", level)
            .stdin(Stdio::null())
            .stderr(errors)
            .spawn()
            .unwrap();
        assert!(self.processes.insert(id, process).is_none(), "node {id} runs already");
    }

    /// Takes the reading end of the log of a node that was launched with a pipe.
    pub(crate) fn log_reader(&mut self, id: u64) -> ChildStderr {
        self.processes.get_mut(&id).unwrap().stderr.take().unwrap()
    }

    /// Waits until a node that was launched with a pipe ends by itself. Returns its exit code and its log.
    pub(crate) fn end(&mut self, id: u64) -> (Option<i32>, String) {
        let mut said = String::new();
        self.log_reader(id).read_to_string(&mut said).unwrap();
        (self.processes.remove(&id).unwrap().wait().unwrap().code(), said)
    }

    /// Waits for a node that must refuse to start, and returns its message.
    pub(crate) fn refusal(&mut self, id: u64) -> String {
        fs::write(self.errors_path(id), "").unwrap();
        self.launch(id);
        let status = self.processes.remove(&id).unwrap().wait().unwrap();
        let said = self.errors(id);
        assert!(!status.success(), "the node ended well: {said}");
        said
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.config.nodes.keys().copied().collect()
    }

    pub(crate) fn running(&self) -> Vec<u64> {
        self.processes.keys().copied().collect()
    }

    pub(crate) fn node(&self, id: u64) -> NodeConfig {
        self.config.nodes[&id].clone()
    }

    pub(crate) fn clients(&self) -> Vec<SocketAddr> {
        self.config.nodes.values().map(|node| node.client.resolve().unwrap()).collect()
    }

    pub(crate) fn data(&self, id: u64) -> PathBuf {
        self.config.data.join(id.to_string())
    }

    /// A folder that is removed with the cluster.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.folder.path().join("cluster.toml")
    }

    pub(crate) fn rename(&self, cluster: &str) {
        let path = self.config_path();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, text.replace("\"test\"", &format!("{cluster:?}"))).unwrap();
    }

    /// A command of `kv member`.
    pub(crate) fn member_command(&self, command: &str) -> Command {
        let mut kv = Command::new(env!("CARGO_BIN_EXE_kv"));
        kv.arg("member").args(command.split(' ')).arg("--config").arg(self.config_path());
        kv
    }

    /// Runs a command of `kv member`. Returns its exit code and all that it said.
    pub(crate) fn member(&self, command: &str) -> (Option<i32>, String) {
        let output = self.member_command(command).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    }

    /// Runs a command of `kv member` that must succeed. Returns all that it said.
    pub(crate) fn change(&self, command: &str) -> String {
        let (code, said) = self.member(command);
        assert_eq!(code, Some(0), "{command}: {said}");
        said
    }

    /// Returns true if a file of a node has these bytes.
    pub(crate) fn data_have(&self, id: u64, bytes: &[u8]) -> bool {
        fn have(folder: &Path, bytes: &[u8]) -> bool {
            fs::read_dir(folder).unwrap().any(|entry| {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    return have(&path, bytes);
                }
                let content = fs::read(&path).unwrap_or_default();
                content.windows(bytes.len()).any(|window| window == bytes)
            })
        }
        have(&self.config.data.join(id.to_string()), bytes)
    }

    pub(crate) fn client(&self, id: u64) -> Client {
        let address = self.node(id).client;
        let mut client = None;
        self.wait(&format!("node {id} takes clients"), || {
            client = Client::connect(&address, PATIENCE).ok();
            client.is_some()
        });
        client.unwrap()
    }

    /// What the nodes are shown by a tool without a login.
    pub(crate) fn credentials(&self) -> Credentials {
        self.config.credentials(Login::default(), &ToolFiles::default()).unwrap()
    }

    pub(crate) fn group(&self, id: u64) -> Option<GroupStatus> {
        status::fetch(&self.credentials(), &self.node(id).http).ok()?.groups.pop()
    }

    /// Waits until all running nodes agree on a leader that runs.
    pub(crate) fn leader(&self) -> u64 {
        let mut leader = None;
        self.wait("a leader", || {
            let leaders: Vec<_> = self.running().into_iter().map(|id| self.group(id)?.leader).collect();
            leader = leaders[0].filter(|first| {
                self.processes.contains_key(first) && leaders.iter().all(|leader| *leader == Some(*first))
            });
            leader.is_some()
        });
        leader.unwrap()
    }

    pub(crate) fn another_than(&self, leader: u64) -> u64 {
        self.running().into_iter().find(|id| *id != leader).unwrap()
    }

    /// Waits until all nodes have applied the same entries and have equal stores.
    pub(crate) fn converge(&self) {
        self.wait("all nodes are equal", || {
            let states: Vec<_> = self.ids().into_iter().map(|id| self.group(id)).collect();
            let states: Vec<_> =
                states.into_iter().map(|group| group.map(|group| (group.applied_index, group.digest))).collect();
            states.iter().all(|state| state.is_some() && *state == states[0])
        });
    }

    /// Kills a process as `kill -9` does.
    pub(crate) fn kill(&mut self, id: u64) {
        let mut process = self.processes.remove(&id).unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Sends a process the signal to stop, and waits until it has ended.
    pub(crate) fn terminate(&mut self, id: u64) {
        self.signal(id, "TERM");
        let status = self.processes.remove(&id).unwrap().wait().unwrap();
        assert!(status.success(), "node {id} did not end well: {}", self.errors(id));
    }

    /// Sends a process a signal. One that is told to stop stands still when this returns.
    pub(crate) fn signal(&self, id: u64, signal: &str) {
        let process = self.processes[&id].id();
        assert!(Command::new("kill").args(["-s", signal, &process.to_string()]).status().unwrap().success());
        if signal == "STOP" {
            self.wait("all threads stand still", || stands_still(process));
        }
    }

    pub(crate) fn wait(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let start = Instant::now();
        while !is_so() {
            if start.elapsed() > PATIENCE {
                let told = |id| format!("node {id}: {:?}\n{}\n", self.group(id), self.errors(id));
                let said: String = self.ids().into_iter().map(told).collect();
                panic!("waited in vain: {what}\n{said}");
            }
            thread::yield_now();
        }
    }

    fn errors(&self, id: u64) -> String {
        fs::read_to_string(self.errors_path(id)).unwrap_or_default()
    }

    fn errors_path(&self, id: u64) -> PathBuf {
        self.folder.path().join(format!("{id}.log"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in self.processes.values_mut() {
            // It may have ended already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Returns true if the kernel shows every thread of a process as stopped.
fn stands_still(process: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("stat")).unwrap_or_default()).all(|stat| {
        // The state stands behind the name, which may hold anything.
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
    })
}

/// The file of a folder with the greatest name that begins with `start`.
pub(crate) fn newest_file(folder: &Path, start: &str) -> PathBuf {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let named = entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(start));
    named.max().unwrap()
}

/// Clients that write numbered keys at all nodes until they are stopped, and record which were acknowledged.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    acknowledged: Arc<Mutex<Vec<String>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Writers {
    pub(crate) fn start(count: usize, nodes: &[SocketAddr]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let counter = Arc::new(AtomicU64::new(0));
        let threads = (0..count).map(|writer| {
            let (stop, acknowledged, counter) = (Arc::clone(&stop), Arc::clone(&acknowledged), Arc::clone(&counter));
            let nodes = nodes.to_vec();
            thread::spawn(move || {
                let mut number = 0;
                for node in nodes.iter().cycle().skip(writer) {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    // An error means that the node is down, and the next is tried.
                    let _ = write_at(*node, writer, &mut number, &stop, &mut |key| {
                        acknowledged.lock().unwrap().push(key);
                        counter.fetch_add(1, Ordering::Relaxed);
                    });
                }
            })
        });
        Self { threads: threads.collect(), stop, count: counter, acknowledged }
    }

    /// Number of writes acknowledged so far.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Ends the writers and returns the keys that were acknowledged; each has itself as its value.
    pub(crate) fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        std::mem::take(&mut *self.acknowledged.lock().unwrap())
    }
}

fn write_at(
    node: SocketAddr,
    writer: usize,
    number: &mut u64,
    stop: &AtomicBool,
    acknowledged: &mut impl FnMut(String),
) -> io::Result<()> {
    let mut client = Client::connect(node, PATIENCE)?;
    while !stop.load(Ordering::Relaxed) {
        let key = format!("key:{writer}:{number}");
        *number += 1;
        if let Answer::Status(_) = client.ask(&[b"SET", key.as_bytes(), key.as_bytes()])? {
            acknowledged(key);
        }
    }
    Ok(())
}

/// Asserts that a node has all these keys.
pub(crate) fn assert_all_there(client: &mut Client, keys: &[String]) {
    for keys in keys.chunks(200) {
        let command: Vec<&[u8]> = std::iter::once(&b"MGET"[..]).chain(keys.iter().map(String::as_bytes)).collect();
        let Answer::Array(values) = client.ask(&command).unwrap() else { panic!("MGET answers a list") };
        for (key, value) in keys.iter().zip(values) {
            assert_eq!(value, Answer::Bulk(key.clone().into()), "{key} was acknowledged");
        }
    }
}
