//! `counter`: a number on three nodes, which clients increment while the leader is killed.
//!
//! A state machine is written once and runs on Raft or on Multi-Paxos. Its rule: an increment has the number that its
//! client gave it, and is counted once, however often it is tried. So a client whose node dies in the middle of a call,
//! which then cannot know the outcome, tries the same increment again at the next node.

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use indicatif::ProgressBar;
use quorate_examples::local::LocalNodes;
use quorate_paxos::log::MultiPaxos;
use quorate_raft::Raft;
use quorate_runtime::{ApplyContext, GroupId, Launch, ProposeError, ReplicaHandle, Typed, TypedStateMachine};
use serde::{Deserialize, Serialize};

/// A counter on three nodes, in one process over TCP: clients at all of them increment it, and the leader is killed.
///
/// Exit codes: 0 each acknowledged increment was counted once; 1 not so; 2 the command line is wrong.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The protocol by which the nodes agree
    #[arg(long, value_enum, default_value_t = Engine::Raft)]
    engine: Engine,
    /// The number of increments of each of the six clients
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    increments: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Engine {
    Raft,
    Paxos,
}

/// The state machine. Each node has one, and applies the same commands in the same order.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Counter {
    total: u64,
    /// For each client the number of its newest increment that was counted.
    newest: BTreeMap<u64, u64>,
}

/// A command: the next increment of a client, or one that it tries again.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Increment {
    client: u64,
    number: u64,
}

impl TypedStateMachine for Counter {
    type Command = Increment;
    type Response = u64;

    fn apply(&mut self, _: ApplyContext, increment: Increment) -> u64 {
        let newest = self.newest.entry(increment.client).or_default();
        if increment.number > *newest {
            *newest = increment.number;
            self.total += 1;
        }
        self.total
    }
}

/// A client. It asks its own node first, and the next one when a call fails.
struct Client<L> {
    id: u64,
    nodes: Vec<ReplicaHandle<L, Typed<Counter>>>,
    repeated: u64,
}

impl<L: Launch> Client<L> {
    fn increment(&mut self, number: u64) -> Result<(), ProposeError> {
        let (increment, start) = (Increment { client: self.id, number }, Instant::now());
        while let Err(error) = self.nodes[0].execute(&increment).wait() {
            if start.elapsed() > PATIENCE {
                return Err(error);
            }
            // It had no effect, or its outcome is unknown. Either way it may be tried again, under its number.
            self.repeated += 1;
            self.nodes.rotate_left(1);
        }
        Ok(())
    }
}

fn run<L: Launch>(increments: u64) -> Result<(), Box<dyn Error>> {
    let mut nodes = LocalNodes::start(3, |server| server.replica::<L, _>(COUNTER, Typed(Counter::default())))?;
    let leader = nodes.leader::<L, Typed<Counter>>(COUNTER)?;
    println!("Three nodes; node {leader} leads. {CLIENTS} clients, two at each node, increment a counter.");
    let replicas = [1, 2, 3].map(|node| ReplicaHandle::<L, _>::new(nodes.handle(node), COUNTER).timeout(CALL));
    let mut clients: Vec<_> = (0..CLIENTS).map(|id| Client { id, nodes: replicas.to_vec(), repeated: 0 }).collect();
    let all = CLIENTS * increments;
    let (acknowledge, acknowledged) = mpsc::channel();
    thread::scope(|scope| {
        for client in &mut clients {
            let acknowledge = acknowledge.clone();
            client.nodes.rotate_left((client.id % 3) as usize);
            scope.spawn(move || (1..=increments).try_for_each(|number| acknowledge.send(client.increment(number))));
        }
        drop(acknowledge);
        // This loop ends with the last client.
        let bar = ProgressBar::new(all);
        for outcome in acknowledged {
            outcome?;
            bar.inc(1);
            if bar.position() == all / 2 {
                nodes.kill(leader);
                bar.suspend(|| println!("{} increments are acknowledged. Node {leader} is killed.", all / 2));
            }
        }
        bar.finish_and_clear();
        Ok::<_, ProposeError>(())
    })?;

    let repeated: u64 = clients.iter().map(|client| client.repeated).sum();
    println!("{all} increments were acknowledged. {repeated} calls failed on the way, and were tried at another node.");
    clients.iter_mut().try_for_each(|client| client.increment(increments))?;
    println!("Each client repeats its last increment, as if the answer had been lost.");
    let total = clients[0].nodes[0].read(|counter, _| counter.0.total).wait()?;
    println!("The counter stands at {total}.");
    if total == all { Ok(()) } else { Err(format!("{all} increments were acknowledged").into()) }
}

fn main() -> ExitCode {
    let Arguments { engine, increments } = Arguments::parse();
    let result = match engine {
        Engine::Raft => run::<Raft>(increments),
        Engine::Paxos => run::<MultiPaxos>(increments),
    };
    let Err(error) = result else { return ExitCode::SUCCESS };
    eprintln!("counter: {error}");
    ExitCode::FAILURE
}

const COUNTER: GroupId = GroupId(1);
const CLIENTS: u64 = 6;
/// Time for which a client waits for one answer.
const CALL: Duration = Duration::from_secs(1);
/// Time after which a client gives up.
const PATIENCE: Duration = Duration::from_secs(30);
