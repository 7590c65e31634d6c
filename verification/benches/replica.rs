//! The cost of an entry in a replica: from `propose` to the reply, on one node whose writes take no time.
//!
//! `cargo bench -p quorate-verification --bench replica` prints commands per second and nanoseconds per command, for
//! batches of 1, 64 and 256 commands of 256 bytes, outside and inside a session. The core's share is included.

use std::io;
use std::time::{Duration, Instant as Clock};

use bytes::Bytes;
use quorate_protocol::{
    Configuration, GroupId, Incarnation, Instant, NodeId, Now, Recovery, SessionId, Signal, Standing, Ticket,
};
use quorate_raft::{Config, Raft, Settings, Start};
use quorate_runtime::group::{CallId, Group, GroupInput, GroupOutput, Reply};
use quorate_runtime::replica::{ProposeOptions, Replica, Seat};
use quorate_runtime::{ApplyContext, Delivery, Outcome, ReplicaSettings, StateMachine};

/// Adds up the lengths of commands.
#[derive(Default)]
struct Sum(u64);

impl StateMachine for Sum {
    type Snapshot = ();

    fn apply(&mut self, _: ApplyContext, command: Bytes) -> io::Result<Bytes> {
        self.0 += command.len() as u64;
        Ok(Bytes::from_static(b"+OK"))
    }

    fn snapshot(&self) {}

    fn write((): (), _: &mut dyn io::Write) -> io::Result<()> {
        Ok(())
    }

    fn restore(_: &mut dyn io::Read) -> io::Result<Self> {
        Ok(Self::default())
    }

    fn digest(&self) -> u64 {
        self.0
    }
}

struct Bench {
    replica: Replica<Raft, Sum>,
    now: Now,
    persisted: Option<Ticket>,
    applied: u64,
}

impl Bench {
    fn start() -> Self {
        let node = NodeId(1);
        let start = Start::Initial(Configuration::of_voters([node]));
        let config = Config::new(node, 1, start, Settings::default()).expect("valid settings");
        let session = SessionId { incarnation: Incarnation(1), start: 1 };
        let seat = Seat { group: GroupId(1), node, session };
        // No snapshot falls into the measurement.
        let settings =
            ReplicaSettings { snapshot_entries: u64::MAX, snapshot_bytes: u64::MAX, ..ReplicaSettings::default() };
        let now = Now { instant: Instant::ZERO, wall_ms: 1 };
        let replica = Replica::recover(now, seat, settings, config, Recovery::default(), Sum::default());
        let mut bench = Self { replica: replica.expect("a fresh log"), now, persisted: None, applied: 0 };
        bench.give(GroupInput::Signal(Signal::PeerStanding { node, standing: Standing::Member }));
        for _ in 0..10 {
            bench.now.instant = bench.now.instant.after(Duration::from_secs(1));
            bench.give(GroupInput::Signal(Signal::Timeout));
        }
        let deadline = bench.deadline();
        bench.replica.open_session(bench.now, CallId(0), Duration::from_hours(1), deadline);
        bench.settle();
        assert_eq!(bench.applied, 1, "the session is open");
        bench
    }

    fn deadline(&self) -> Instant {
        self.now.instant.after(Duration::from_mins(1))
    }

    fn give(&mut self, input: GroupInput) {
        self.replica.handle(self.now, input);
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            while let Some(output) = self.replica.poll_output() {
                match output {
                    GroupOutput::Persist { ticket, .. } => self.persisted = Some(ticket),
                    GroupOutput::Reply { reply: Reply::Outcome(Outcome::Applied(_)), .. } => self.applied += 1,
                    _ => {}
                }
            }
            match self.persisted.take() {
                Some(ticket) => self.replica.handle(self.now, GroupInput::Signal(Signal::Persisted(ticket))),
                None if self.replica.deadline() == Some(self.now.instant) => {
                    self.replica.handle(self.now, GroupInput::Signal(Signal::Timeout));
                }
                None => return,
            }
        }
    }

    /// Nanoseconds per command.
    fn run(&mut self, batch: u64, delivery: Delivery) -> f64 {
        let command = Bytes::from(vec![7; 256]);
        let before = self.applied;
        let began = Clock::now();
        let mut proposed = 0;
        while proposed < COMMANDS {
            let options = ProposeOptions { deadline: self.deadline(), delivery };
            for _ in 0..batch {
                self.replica.propose(self.now, CallId(1), command.clone(), options);
            }
            proposed += batch;
            self.settle();
        }
        let took = began.elapsed();
        assert_eq!(self.applied - before, proposed, "everything was applied");
        #[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
        let nanoseconds = took.as_nanos() as f64 / proposed as f64;
        nanoseconds
    }
}

fn main() {
    println!("{:>6} {:>14} {:>12} {:>12}", "batch", "delivery", "commands/s", "ns each");
    for delivery in [Delivery::AtMostOnce, Delivery::ExactlyOnce] {
        for batch in [1, 64, 256] {
            let mut bench = Bench::start();
            let least = (0..ROUNDS).map(|_| bench.run(batch, delivery)).fold(f64::INFINITY, f64::min);
            println!("{batch:>6} {:>14} {:>12.0} {least:>12.0}", format!("{delivery:?}"), 1e9 / least);
        }
    }
}

const COMMANDS: u64 = 200_000;

/// The minimum of this number of rounds, because other work of the machine can only add time.
const ROUNDS: usize = 5;
