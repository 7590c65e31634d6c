//! The program `register`: three processes, of which any one is killed while clients go on.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use quorate_examples::local::free_addresses;

/// Three nodes with free ports.
struct Nodes {
    folder: tempfile::TempDir,
    peers: String,
    clients: String,
    processes: [Option<Child>; 3],
}

impl Nodes {
    fn start() -> Self {
        let addresses = free_addresses(6).unwrap();
        let listed = |of: &[SocketAddr]| of.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(",");
        let (peers, clients) = (listed(&addresses[..3]), listed(&addresses[3..]));
        let mut nodes = Self { folder: tempfile::tempdir().unwrap(), peers, clients, processes: [const { None }; 3] };
        (1..=3).for_each(|node| nodes.serve(node));
        nodes.wait_until_done(&["set", "start", "yes"]);
        nodes
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_register")));
        command.args(arguments).args(["--peers", &self.peers, "--clients", &self.clients]);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn serve(&mut self, node: usize) {
        let mut command = self.command(&["serve", "--node", &node.to_string()]);
        command.arg("--data").arg(self.folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        self.processes[node - 1] = Some(command.spawn().unwrap());
    }

    fn kill(&mut self, node: usize) {
        let mut process = self.processes[node - 1].take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Repeats a command until it succeeds. The bound only ends a test that would hang.
    fn wait_until_done(&self, arguments: &[&str]) {
        for _ in 0..300 {
            if self.run(arguments).status.success() {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
        panic!("{arguments:?} never succeeds: {}", said(&self.run(arguments)));
    }

    /// Waits until this node answers by itself.
    fn wait_until_serving(&self, node: usize) {
        for _ in 0..300 {
            let output = self.run(&["get", "start", "--node", &node.to_string()]);
            if output.status.success() && output.stderr.is_empty() {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
        panic!("node {node} never answers");
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().flatten() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn values_are_set_compared_and_deleted_at_any_node() {
    let nodes = Nodes::start();
    let expect = |arguments: &[&str], code: i32, text: &str| {
        let output = nodes.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(text), "{arguments:?}: {}", said(&output));
    };
    expect(&["get", "colour", "--node", "1"], 1, "register: the key has no value");
    expect(&["cas", "colour", "red", "--node", "2"], 0, "");
    expect(&["get", "colour", "--node", "3"], 0, "red\n");
    expect(&["cas", "colour", "blue"], 1, "nothing was changed: the key has the value \"red\"");
    expect(&["cas", "colour", "blue", "--expect", "red", "--node", "3"], 0, "");
    expect(&["set", "colour", "green", "--node", "2"], 0, "");
    expect(&["get", "colour"], 0, "green\n");
    expect(&["delete", "colour", "--node", "3"], 0, "");
    expect(&["get", "colour", "--node", "2"], 1, "the key has no value");
    expect(&["cas", "colour", "blue", "--expect", "green"], 1, "nothing was changed: the key has no value");
    expect(&["get", "colour", "--node", "4"], 2, "there is no node 4");
    expect(&["serve", "--node", "4"], 2, "there is no node 4");
    expect(&["get", ""], 3, "nothing was changed");
}

/// A client counts up by compare-and-set, at each node in turn, while each node is killed in turn. No step needs more
/// than one further try for each node that is away.
#[test]
fn one_killed_node_costs_one_retry() {
    let mut nodes = Nodes::start();
    let (done, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut command = nodes.command(&["cas"]);
    let program = command.get_program().to_owned();
    let cluster: Vec<_> = command.arg("counter").get_args().skip(1).map(ToOwned::to_owned).collect();
    let count = || {
        let mut value = 0_u64;
        while !is_over.load(Ordering::Relaxed) {
            let mut step = Command::new(&program);
            step.arg("cas").args(&cluster).arg((value + 1).to_string()).args(["--node", &(value % 3 + 1).to_string()]);
            if value > 0 {
                step.args(["--expect", &value.to_string()]);
            }
            let output = step.output().unwrap();
            assert!(output.status.success(), "{value}: {}", said(&output));
            let retries = said(&output).lines().count();
            assert!(retries <= 1, "{value}: {}", said(&output));
            value += 1;
            done.store(value, Ordering::Relaxed);
        }
        value
    };
    let value = thread::scope(|scope| {
        let counting = scope.spawn(count);
        let wait_for = |steps: u64| {
            let from = done.load(Ordering::Relaxed);
            while done.load(Ordering::Relaxed) < from + steps {
                assert!(!counting.is_finished(), "the client has stopped");
                thread::sleep(Duration::from_millis(5));
            }
        };
        for node in 1..=3 {
            wait_for(10);
            nodes.kill(node);
            wait_for(30);
            nodes.serve(node);
            nodes.wait_until_serving(node);
        }
        wait_for(10);
        is_over.store(true, Ordering::Relaxed);
        counting.join().unwrap()
    });
    for node in ["1", "2", "3"] {
        let output = nodes.run(&["get", "counter", "--node", node]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{value}\n"), "node {node}: {}", said(&output));
    }
}

/// Without a majority nothing is claimed.
#[test]
fn without_a_majority_nothing_is_done() {
    let mut nodes = Nodes::start();
    (1..=3).for_each(|node| nodes.kill(node));
    let output = nodes.run(&["set", "colour", "red"]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("no node could do it, and nothing was changed"), "{}", said(&output));
    assert_eq!(said(&output).lines().count(), 7, "each node is tried twice: {}", said(&output));
}
