//! Tests of your own state machine: replicas of it run under every fault, with clients that call it and laws that its
//! states must satisfy.
//!
//! The example is a bank whose clients try a transfer again when its outcome is unknown, so that a transfer may come
//! twice. The bank keeps the numbers of completed transfers, but checks them too late:
//!
//! ```
//! use std::collections::BTreeSet;
//! use quorate_protocol::Random;
//! use quorate_raft::Raft;
//! use quorate_runtime::{ApplyContext, Typed, TypedStateMachine};
//! use quorate_simulation::trial::Trial;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Default, Serialize, Deserialize)]
//! struct Bank { accounts: [i64; 3], done: BTreeSet<u64> }
//!
//! #[derive(Serialize, Deserialize)]
//! struct Transfer { number: u64, from: usize, to: usize, amount: i64 }
//!
//! impl TypedStateMachine for Bank {
//!     type Command = Transfer;
//!     type Response = ();
//!
//!     fn apply(&mut self, _: ApplyContext, transfer: Transfer) {
//!         self.accounts[transfer.from] -= transfer.amount;
//!         if self.done.insert(transfer.number) {
//!             self.accounts[transfer.to] += transfer.amount;
//!         }
//!     }
//! }
//!
//! fn transfer(random: &mut Random) -> Transfer {
//!     let mut account = || random.between(0, 3) as usize;
//!     Transfer { from: account(), to: account(), number: random.next_u64(), amount: 10 }
//! }
//!
//! let found = Trial::<Raft, Typed<Bank>>::new(Typed::default)
//!     .careless_clients()
//!     .law("no money is lost", |bank| bank.0.accounts.iter().sum::<i64>() == 0)
//!     .run(0..200, transfer)
//!     .expect_err("money is lost when a transfer comes twice");
//! println!("{found}"); // the seed, the law, and the faults that it takes
//! # assert_eq!(found.failure.law, "no money is lost");
//! # assert!(found.to_string().starts_with(&format!("seed {} broke `no money is lost`", found.seed)));
//! ```

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use quorate_protocol::{NodeId, Random, ReplicatedLog, Violation};
use quorate_runtime::group::Hostable;
use quorate_runtime::replica::Replica;
use quorate_runtime::{Launch, StateMachine, Typed, TypedStateMachine};
use quorate_transport::codec;

use crate::node_machine::{Ask, NodeMachine, NodeSetup, REPLICA_GROUP, ReplicaLaws, Replicated, Service};
use crate::schedule::{Generator, Schedule};
use crate::shrink::shrink;
use crate::world::{ClientAnswer, ClusterInfo, ClusterLaws, Failure, NodeView, Recording, RunOutcome, Workload, run};

/// Replicas of a state machine `S` on the log `L`, to run under faults. See the [module](self).
pub struct Trial<L, S> {
    state: fn() -> S,
    laws: Vec<StateLaw<S>>,
    generator: Generator,
    is_careless: bool,
    log: PhantomData<fn(L)>,
}

/// A law of every state: its name, and a function that returns whether a state satisfies it.
type StateLaw<S> = (&'static str, Box<dyn Fn(&S) -> bool>);

/// A seed under which a law was broken.
#[derive(Debug)]
pub struct FailingSeed {
    /// The seed.
    pub seed: u64,
    /// The law that was broken, with details and time.
    pub failure: Failure,
    /// The schedule of the run, without the faults that are not needed for the failure. It gives the same run again.
    pub schedule: Schedule,
}

impl<L, S> Trial<L, S>
where
    L: Launch + ReplicatedLog<Message: fmt::Debug> + Hostable,
    S: StateMachine,
{
    /// Makes replicas that begin with this state, under every fault for six simulated seconds of each seed, followed by
    /// the time that healing takes.
    #[must_use]
    pub fn new(state: fn() -> S) -> Self {
        let generator = Generator { faults_us: 6_000_000, ..Generator::of::<Machine<L, S>>() };
        Self { state, laws: Vec::new(), generator, is_careless: false, log: PhantomData }
    }

    /// Makes clients propose again, outside of any session, when an outcome is unknown: the command may be applied
    /// twice. By default they try again within a session, or not at all.
    pub fn careless_clients(mut self) -> Self {
        self.is_careless = true;
        self
    }

    /// Adds a law that every state of every replica must satisfy.
    pub fn law(mut self, name: &'static str, holds: impl Fn(&S) -> bool + 'static) -> Self {
        self.laws.push((name, Box::new(holds)));
        self
    }

    /// Sets other faults, or more of them.
    pub fn faults(mut self, generator: Generator) -> Self {
        self.generator = generator;
        self
    }

    /// Runs these seeds until a law is broken: one of those given, a law of the log, or the law that equal logs give
    /// equal states. `command` makes the commands of the clients.
    ///
    /// # Errors
    /// The first seed that breaks a law, without the faults that are not needed for it.
    pub fn run_bytes(&self, seeds: Range<u64>, command: impl Fn(&mut Random) -> Bytes) -> Result<(), Box<FailingSeed>> {
        for seed in seeds {
            let schedule = self.generator.schedule(seed);
            let Some(failure) = self.run_schedule(&schedule, &command).failure else { continue };
            let still_fails = |schedule: &Schedule| {
                self.run_schedule(schedule, &command).failure.is_some_and(|again| again.law == failure.law)
            };
            let schedule = shrink(schedule, SHRINKING_RUNS_MAX, still_fails);
            let failure = self.run_schedule(&schedule, &command).failure.unwrap_or(failure);
            return Err(Box::new(FailingSeed { seed, failure, schedule }));
        }
        Ok(())
    }

    fn run_schedule(&self, schedule: &Schedule, command: &dyn Fn(&mut Random) -> Bytes) -> RunOutcome {
        let config =
            Arc::new(|start: &_| L::config(start).expect("the log below takes what the usual settings ask for"));
        let mut setup = NodeSetup::<Replicated<Plain<L, S>>>::replicated(schedule, config, self.state);
        // The default settings of a log need its default sizes of messages.
        setup.log.segment_bytes = 2 << 20;
        setup.log.batch_bytes_max = 5 << 18;
        if self.is_careless {
            setup.application.session_percent = 0;
            setup.application.careless_percent = 100;
        }
        let mut laws = StateLaws { replicas: ReplicaLaws::new(Vec::new()), laws: &self.laws };
        let mut workload = Commands { random: Random::new(schedule.seed ^ 0x0063_6f6d_6d61_6e64), command };
        run::<Machine<L, S>>(&setup, schedule, &mut laws, &mut workload, Recording::Nothing)
    }
}

impl<L, S> Trial<L, Typed<S>>
where
    L: Launch + ReplicatedLog<Message: fmt::Debug> + Hostable,
    S: TypedStateMachine,
{
    /// Like [`Trial::run_bytes`], with commands of the state machine's own type.
    ///
    /// # Errors
    /// The errors of [`Trial::run_bytes`].
    ///
    /// # Panics
    /// When a command cannot be encoded.
    pub fn run(&self, seeds: Range<u64>, command: impl Fn(&mut Random) -> S::Command) -> Result<(), Box<FailingSeed>> {
        self.run_bytes(seeds, |random| codec::encode_small(&command(random)).expect("a command that serde can write"))
    }
}

impl fmt::Display for FailingSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { law, detail, at_us } = &self.failure;
        let milliseconds = at_us / 1_000;
        writeln!(f, "seed {} broke `{law}` at {milliseconds} ms: {detail}", self.seed)?;
        write!(f, "with {} nodes and {} faults", self.schedule.nodes, self.schedule.faults.len())?;
        for fault in &self.schedule.faults {
            write!(f, "\n  {:>8} ms  {:?}", fault.at_us / 1_000, fault.what)?;
        }
        Ok(())
    }
}

impl std::error::Error for FailingSeed {}

type Machine<L, S> = NodeMachine<Replicated<Plain<L, S>>>;

/// A service whose calls are commands and whose answers are responses, unchanged.
struct Plain<L, S>(PhantomData<fn(L, S)>);

impl<L, S> Service for Plain<L, S>
where
    L: ReplicatedLog<Message: fmt::Debug> + Hostable,
    S: StateMachine,
{
    type Log = L;
    type State = S;
    type Call = Bytes;
    type Answer = Bytes;

    fn ask(call: &Bytes) -> Ask {
        Ask::Propose(call.clone())
    }

    fn response(_: &Bytes, response: Bytes) -> ClientAnswer<Bytes> {
        ClientAnswer::Done(response)
    }

    fn read(_: &Bytes, _: &S) -> ClientAnswer<Bytes> {
        ClientAnswer::NotDone
    }
}

/// Clients whose calls are made by the user's code.
struct Commands<'a> {
    random: Random,
    command: &'a dyn Fn(&mut Random) -> Bytes,
}

impl<L, S> Workload<Machine<L, S>> for Commands<'_>
where
    L: ReplicatedLog<Message: fmt::Debug> + Hostable,
    S: StateMachine,
{
    fn call(&mut self, _client: u64, cluster: ClusterInfo, _at_us: u64) -> (NodeId, Bytes) {
        let node = NodeId(self.random.between(1, cluster.nodes + 1));
        (node, (self.command)(&mut self.random))
    }

    fn answered(&mut self, _client: u64, _what: &Bytes, _answer: &ClientAnswer<Bytes>, _at_us: u64) {}

    fn pause_us(&mut self, _client: u64) -> u64 {
        self.random.between(500, 30_000)
    }

    fn judge(&mut self) -> Result<(), Violation> {
        Ok(())
    }
}

/// The laws of replicas, and those of the user.
struct StateLaws<'a, L, S>
where
    L: ReplicatedLog<Message: fmt::Debug> + Hostable,
    S: StateMachine,
{
    replicas: ReplicaLaws<Plain<L, S>>,
    laws: &'a [StateLaw<S>],
}

impl<L, S> ClusterLaws<Machine<L, S>> for StateLaws<'_, L, S>
where
    L: ReplicatedLog<Message: fmt::Debug> + Hostable,
    S: StateMachine,
{
    fn check(&mut self, nodes: &[NodeView<'_, Machine<L, S>>]) -> Result<(), Violation> {
        for (node, index) in self.replicas.look(nodes)? {
            let machine = nodes.iter().find(|view| view.node == node).and_then(|view| view.machine);
            let replica = machine.and_then(|machine| machine.node().group::<Replica<L, S>>(REPLICA_GROUP));
            let Some(state) = replica.map(Replica::state) else { continue };
            if let Some((law, _)) = self.laws.iter().find(|(_, holds)| !holds(state)) {
                return Err(Violation { law, detail: format!("node {node} broke it at index {index}") });
            }
        }
        Ok(())
    }

    fn at_end(&mut self, nodes: &[NodeView<'_, Machine<L, S>>]) -> Result<(), Violation> {
        self.replicas.at_end(nodes)
    }
}

const SHRINKING_RUNS_MAX: usize = 30;
