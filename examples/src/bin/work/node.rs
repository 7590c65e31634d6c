//! A node: a replica of the queue, and workers that take items from it.

use std::error::Error;
use std::process::{self, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use quorate_raft::Raft;
use quorate_runtime::{GroupId, ReplicaHandle, Server, Typed};

use crate::Arguments;
use crate::queue::{Command, Queue, Response};

/// A handle to the queue on a node.
pub(crate) type QueueHandle = ReplicaHandle<Raft, Typed<Queue>>;

/// Starts a node and its workers. They run until the process ends.
pub(crate) fn start(arguments: &Arguments) -> Result<QueueHandle, Box<dyn Error>> {
    let Arguments { node, addresses, data, .. } = arguments;
    let server = Server::builder("work", data).replica::<Raft, _>(QUEUE, Typed(Queue::default()));
    let server = (1..).zip(addresses).fold(server, |server, (id, at)| server.node(id, at.to_string()));
    let queue: QueueHandle = server.spawn(*node)?.replica(QUEUE);
    for _ in 0..arguments.workers {
        let worker = Worker { queue: queue.clone(), arguments: arguments.clone() };
        thread::spawn(move || worker.work());
    }
    Ok(queue)
}

/// Works on one item at a time.
struct Worker {
    queue: QueueHandle,
    arguments: Arguments,
}

impl Worker {
    fn work(&self) {
        let Arguments { node, lease_ms, .. } = self.arguments;
        loop {
            match self.queue.execute(&Command::Take { node, lease_ms }).wait() {
                Ok(Response::Taken { item, token }) => self.carry_out(item, token),
                // The rest is under way elsewhere, or there is no leader at the moment.
                _ => thread::sleep(PAUSE),
            }
        }
    }

    /// Runs the command for an item, and prolongs the lease meanwhile.
    fn carry_out(&self, item: String, token: u64) {
        let Arguments { node, lease_ms, ref command, .. } = self.arguments;
        let (tell, told) = mpsc::channel();
        let (command, of) = (command.clone(), item.clone());
        thread::spawn(move || tell.send(run(&command, &of, node)));
        let result = loop {
            match told.recv_timeout(Duration::from_millis(lease_ms / 3)) {
                Ok(result) => break result,
                Err(RecvTimeoutError::Disconnected) => break Err("the thread of the command panicked".to_owned()),
                // If this comes too late, so does the result.
                Err(RecvTimeoutError::Timeout) => drop(self.queue.execute(&Command::Prolong { token, lease_ms })),
            }
        };
        let finish = Command::Finish { item, token, result };
        loop {
            match self.queue.execute(&finish).wait() {
                Ok(Response::TooLate) => return eprintln!("node {node}: a result came too late, and is refused"),
                Ok(_) => return,
                Err(_) => thread::sleep(PAUSE),
            }
        }
    }
}

/// Runs the command and returns what it printed.
fn run(command: &str, item: &str, node: u64) -> Result<String, String> {
    let mut shell = process::Command::new("sh");
    shell.args(["-c", command, "work", item]).env("WORK_NODE", node.to_string()).stdin(Stdio::null());
    let output = shell.output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().chars().take(RESULT_CHARS_MAX).collect();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

const QUEUE: GroupId = GroupId(1);
const PAUSE: Duration = Duration::from_millis(50);
const RESULT_CHARS_MAX: usize = 1000;
