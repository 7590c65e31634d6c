//! `lock`: a lock service on three nodes, and why a lock needs fencing tokens.
//!
//! A client that holds a lock has a session, and keeps it alive. If the client stops, the session ends by the log's
//! time, on all nodes at the same entry, and the next client gets the lock. But the first may only have paused, and it
//! still believes that the lock is its own. No lock service can prevent that. So each grant has a token, a number that
//! grows with every grant, and the resource that the lock guards refuses any token that is older than one it has seen.

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use quorate_examples::local::LocalNodes;
use quorate_protocol::LogTime;
use quorate_raft::Raft;
use quorate_runtime::{ApplyContext, GroupId, ReplicaHandle, Typed, TypedStateMachine};
use serde::{Deserialize, Serialize};

/// Two clients of a lock service on three nodes, one of which pauses while it holds the lock.
///
/// Exit codes: 0 its late write was refused; 1 it was taken, or something failed; 2 the command line is wrong.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Guards the resource by the lock alone, to see what happens then
    #[arg(long)]
    without_fencing: bool,
}

/// The state machine: one lock, and the sessions of those who want it.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Lock {
    /// For each open session the time at which it ends, unless its client is heard of before.
    sessions: BTreeMap<u64, LogTime>,
    /// The session that has the lock, and the token of the grant.
    holder: Option<(u64, u64)>,
}

/// A command. Each may be repeated when its outcome is unknown.
#[derive(Serialize, Deserialize)]
enum Command {
    Open { lasts_ms: u64 },
    KeepAlive { session: u64, lasts_ms: u64 },
    Acquire { session: u64 },
    Release { session: u64 },
}

#[derive(Debug, Serialize, Deserialize)]
enum Response {
    /// Holds the session's number, or the token of the lock.
    Done(u64),
    HeldByAnother,
    SessionEnded,
}

impl TypedStateMachine for Lock {
    type Command = Command;
    type Response = Response;

    fn apply(&mut self, context: ApplyContext, command: Command) -> Response {
        self.tick(context);
        let end = |lasts_ms| LogTime(context.log_time.0.saturating_add(lasts_ms));
        let is_open = |session| self.sessions.contains_key(&session);
        match command {
            // The index of an entry is a number that nothing else has.
            Command::Open { lasts_ms } => {
                self.sessions.insert(context.index.0, end(lasts_ms));
                Response::Done(context.index.0)
            }
            Command::KeepAlive { session, lasts_ms } if is_open(session) => {
                self.sessions.insert(session, end(lasts_ms));
                Response::Done(session)
            }
            // Indexes grow, so a later grant has a higher token.
            Command::Acquire { session } if is_open(session) => {
                match *self.holder.get_or_insert((session, context.index.0)) {
                    (holder, token) if holder == session => Response::Done(token),
                    _ => Response::HeldByAnother,
                }
            }
            Command::Release { session } if is_open(session) => {
                self.holder = self.holder.filter(|(holder, _)| *holder != session);
                Response::Done(session)
            }
            _ => Response::SessionEnded,
        }
    }

    /// Ends the sessions whose time is over, and with them what they hold. The leader proposes a tick at the time of
    /// `next_deadline`.
    fn tick(&mut self, context: ApplyContext) {
        self.sessions.retain(|_, end| *end > context.log_time);
        self.holder = self.holder.filter(|(holder, _)| self.sessions.contains_key(holder));
    }

    fn next_deadline(&self) -> Option<LogTime> {
        self.sessions.values().min().copied()
    }
}

/// What the lock guards, such as a disk. It asks nobody: it only compares tokens.
struct Storage {
    is_fenced: bool,
    newest: u64,
}

impl Storage {
    fn write(&mut self, who: &str, token: u64) -> bool {
        let is_taken = token >= self.newest || !self.is_fenced;
        self.newest = self.newest.max(token);
        println!("{who} writes with token {token}: {}.", if is_taken { "taken" } else { "refused" });
        is_taken
    }
}

/// Asks until the lock is free. When the leader is killed, another takes its place, and is asked again.
fn ask(service: &ReplicaHandle<Raft, Typed<Lock>>, command: &Command) -> Result<u64, Box<dyn Error>> {
    let start = Instant::now();
    loop {
        match service.execute(command).wait() {
            Ok(Response::Done(number)) => return Ok(number),
            Ok(Response::HeldByAnother) | Err(_) if start.elapsed() < PATIENCE => thread::sleep(PAUSE),
            other => return Err(format!("{other:?}").into()),
        }
    }
}

fn run(mut storage: Storage) -> Result<(), Box<dyn Error>> {
    let mut nodes = LocalNodes::start(3, |server| server.replica::<Raft, _>(LOCK, Typed(Lock::default())))?;
    let leader = nodes.leader::<Raft, Typed<Lock>>(LOCK)?;
    let replica = |node| ReplicaHandle::new(nodes.handle(node), LOCK);
    let [at_ann, at_bob] = [leader % 3 + 1, (leader + 1) % 3 + 1].map(replica);
    let ann = ask(&at_ann, &Command::Open { lasts_ms: 10_000 })?;
    let bob = ask(&at_bob, &Command::Open { lasts_ms: 60_000 })?;

    let old = ask(&at_ann, &Command::Acquire { session: ann })?;
    println!("Ann has the lock, with token {old}.");
    storage.write("Ann", old);
    nodes.kill(leader);
    println!("Node {leader}, the leader, is killed. The other two go on with the lock and the sessions.");
    ask(&at_ann, &Command::KeepAlive { session: ann, lasts_ms: 1_000 })?;
    println!("Ann pauses. Bob asks for the lock until her session has ended, by the time of the log.");
    let new = ask(&at_bob, &Command::Acquire { session: bob })?;
    println!("Bob has the lock, with token {new}.");
    storage.write("Bob", new);
    println!("Ann goes on, and believes that the lock is hers.");
    let is_lost = storage.write("Ann", old);
    ask(&at_bob, &Command::Release { session: bob })?;
    if is_lost { Err("Bob had the lock, and his write is lost: without fencing a lock is none".into()) } else { Ok(()) }
}

fn main() -> ExitCode {
    let is_fenced = !Arguments::parse().without_fencing;
    let Err(error) = run(Storage { is_fenced, newest: 0 }) else { return ExitCode::SUCCESS };
    eprintln!("lock: {error}");
    ExitCode::FAILURE
}

const LOCK: GroupId = GroupId(1);
/// Time after which a client gives up.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause before a client asks for the lock again.
const PAUSE: Duration = Duration::from_millis(20);
