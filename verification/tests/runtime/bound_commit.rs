//! Two-phase commit whose decisions lie in a replicated log: another node finishes what its coordinator's node began.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_protocol::{Instant, LogStatus, NodeId, Now, Protocol};
use quorate_raft::Raft;
use quorate_runtime::bound::{Bound, BoundSettings};
use quorate_runtime::group::{CallId, ChannelId};
use quorate_two_phase_commit::{
    Answer, Command, CommandId, Config, Event, Knowledge, OnePhase, Request, Settings, TransactionId,
    TransactionOutcome, TwoPhaseCommit, Vote,
};

use crate::bound::recover;
use crate::bound_bench::{Bench, Databases, failover_ms};
use crate::cluster::{Boot, Member, N1};

type Commits = Bound<Raft, TwoPhaseCommit>;

/// The core knows itself by this id on each node, because its own branches lie in the replicated log too.
const GROUP_AS_NODE: NodeId = NodeId(1_000);
const CHANNEL: ChannelId = ChannelId(18);

impl Member for Commits {
    type Extra = ();

    fn boot(boot: Boot, (): &()) -> Self {
        let replica = boot.settings.clone();
        let settings = BoundSettings { replica, served_as: Some(GROUP_AS_NODE), ..BoundSettings::default() };
        recover(boot, settings, CHANNEL, |start| {
            let settings = Settings {
                one_phase: OnePhase::Never,
                payload_bytes_max: 1_000,
                write_bytes_max: start.write_bytes_max,
                frame_bytes_max: start.frame_bytes_max,
                ..Settings::default()
            };
            let config = Config::new(start.identity.node, start.seed, settings)?;
            Ok(TwoPhaseCommit::recover(start.now, config, start.recovery)?)
        })
    }

    fn log(&self) -> LogStatus {
        self.replica().status().log
    }

    fn transfer(&mut self, now: Now, call: CallId, to: NodeId, deadline: Instant) {
        self.replica_mut().transfer(now, call, Some(to), deadline);
    }
}

/// Two databases, which outlive every node. The application of the serving node reaches both.
#[derive(Debug, Default)]
struct Banks {
    stop_at: StopAt,
    prepared: [BTreeMap<TransactionId, Bytes>; 2],
    committed: [Vec<(TransactionId, Bytes)>; 2],
    aborted: Vec<TransactionId>,
}

/// The point at which the application of a node stops, as if the node were killed there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum StopAt {
    #[default]
    Nowhere,
    /// Both databases are prepared, and nobody knows it.
    Prepared,
    /// The decision is durable, and no database knows it.
    Decided,
    /// One database has committed.
    FirstCommit,
}

type Bank = Bench<TwoPhaseCommit, Banks>;

impl Databases<TwoPhaseCommit> for Banks {
    /// Carries out a request on both databases. `None` if the node stops in the midst of it.
    fn carry_out(&mut self, request: &Request) -> Option<Answer> {
        let Self { stop_at, prepared, committed, aborted } = self;
        match request {
            Request::Prepare { transaction, payload } => {
                for database in prepared {
                    database.insert(*transaction, payload.clone());
                }
                (*stop_at != StopAt::Prepared).then_some(Answer::Voted(Vote::Yes))
            }
            Request::Recover { .. } => Some(Answer::Done),
            Request::Commit { .. } if *stop_at == StopAt::Decided => None,
            Request::Commit { transaction } => {
                for (prepared, committed) in prepared.iter_mut().zip(committed) {
                    committed.extend(prepared.remove(transaction).map(|payload| (*transaction, payload)));
                    if *stop_at == StopAt::FirstCommit {
                        return None;
                    }
                }
                Some(Answer::Done)
            }
            Request::Abort { transaction } => {
                for database in prepared {
                    database.remove(transaction);
                }
                aborted.push(*transaction);
                Some(Answer::Done)
            }
            Request::CommitOnePhase { .. } => panic!("it is switched off"),
        }
    }
}

impl Bank {
    fn stopping(stop_at: StopAt) -> Self {
        let mut bank = Self::new();
        bank.databases.stop_at = stop_at;
        bank
    }

    /// Begins a transaction, and asks for its commit.
    fn begin(&mut self, node: NodeId, number: u64) -> TransactionId {
        let begin = CommandId(number);
        self.command(node, Command::Begin { command: begin });
        let begun = move |bank: &Self| {
            bank.events.iter().find_map(|(_, event)| match event {
                Event::Begun { command, transaction } if *command == begin => Some(*transaction),
                _ => None,
            })
        };
        let transaction = self.run_until(100, begun);
        let branches = [(GROUP_AS_NODE, Bytes::from_static(b"move 5"))].into();
        self.command(node, Command::Commit { command: CommandId(number + 1), transaction, branches });
        transaction
    }

    fn commits(&self) -> [usize; 2] {
        [0, 1].map(|database| self.databases.committed[database].len())
    }

    fn ask(&mut self, node: NodeId, transaction: TransactionId) -> Knowledge {
        let command = CommandId(99);
        self.command(node, Command::Query { command, transaction });
        self.run_until(100, |bank| {
            bank.events.iter().find_map(|(_, event)| match event {
                Event::Known { knowledge, .. } => Some(*knowledge),
                _ => None,
            })
        })
    }
}

#[test]
fn the_serving_node_commits_on_both_databases() {
    let mut bank = Bank::new();
    let transaction = bank.begin(N1, 1);
    bank.run_until(200, |bank| (bank.commits() == [1, 1]).then_some(()));
    let ended = (N1, Event::Ended { transaction, outcome: TransactionOutcome::Committed });
    assert!(bank.events.contains(&ended));
    bank.run_until(2_000, |bank| bank.events.contains(&(N1, Event::Finished { transaction })).then_some(()));
}

#[test]
fn another_node_commits_what_was_decided_when_the_coordinator_was_killed() {
    for stop_at in [StopAt::Decided, StopAt::FirstCommit] {
        let mut bank = Bank::stopping(stop_at);
        let transaction = bank.begin(N1, 1);
        assert_eq!(bank.kill(), N1);
        bank.databases.stop_at = StopAt::Nowhere;
        assert_eq!(bank.commits()[1], 0, "the other database waits");
        bank.run_until(failover_ms(), |bank| (bank.commits() == [1, 1]).then_some(()));
        let next = bank.cluster.run_until_served(N1);
        bank.run_until(2_000, |bank| bank.events.contains(&(next, Event::Finished { transaction })).then_some(()));
        assert_eq!(bank.ask(next, transaction), Knowledge::Committed);
        assert!(bank.databases.prepared.iter().all(BTreeMap::is_empty), "no lock is left");
        assert_eq!(bank.databases.aborted, []);
        // The group goes on, with the killed node when it is back.
        bank.cluster.boot(N1);
        let second = bank.begin(next, 10);
        assert!(second > transaction, "in a later epoch");
        bank.run_until(1_000, |bank| (bank.commits() == [2, 2]).then_some(()));
    }
}

/// The databases are prepared, and the coordinator's node was killed before it knew. The transaction was never decided,
/// so it is aborted: the next core presumes it, and the application aborts what it finds prepared and is not told of.
#[test]
fn what_was_not_decided_when_the_coordinator_was_killed_is_aborted() {
    let mut bank = Bank::stopping(StopAt::Prepared);
    let transaction = bank.begin(N1, 1);
    assert_eq!(bank.kill(), N1);
    bank.databases.stop_at = StopAt::Nowhere;
    let recovered = |bank: &Bank| {
        bank.events.iter().find(|(node, event)| *node != N1 && matches!(event, Event::Recovered { .. })).map(|it| it.0)
    };
    let next = bank.run_until(failover_ms(), recovered);
    assert_eq!(bank.ask(next, transaction), Knowledge::Aborted);
    assert_eq!(bank.commits(), [0, 0]);
    let second = bank.begin(next, 10);
    bank.run_until(1_000, |bank| (bank.commits() == [1, 1]).then_some(()));
    assert_eq!(bank.databases.committed[0][0].0, second);
}

/// A coordinator that is cut off decides nothing: its decision reaches no quorum, and nobody is told.
#[test]
fn a_coordinator_that_is_cut_off_commits_nothing() {
    let mut bank = Bank::new();
    bank.cluster.isolate(N1);
    let begun = bank.events.len();
    let command = CommandId(1);
    bank.command(N1, Command::Begin { command });
    let transaction = bank.run_until(100, |bank| {
        bank.events[begun..].iter().find_map(|(_, event)| match event {
            Event::Begun { transaction, .. } => Some(*transaction),
            _ => None,
        })
    });
    let branches = [(GROUP_AS_NODE, Bytes::from_static(b"move 5"))].into();
    bank.command(N1, Command::Commit { command: CommandId(2), transaction, branches });
    let next = bank.run_until(failover_ms() * 2, |bank| {
        let is_next = |event: &Event| matches!(event, Event::Recovered { .. });
        bank.events.iter().find(|(node, event)| *node != N1 && is_next(event)).map(|it| it.0)
    });
    assert_eq!(bank.ask(next, transaction), Knowledge::Aborted);
    bank.cluster.heal();
    for _ in 0..2_000 {
        bank.step();
    }
    assert_eq!(bank.commits(), [0, 0]);
    assert!(!bank.events.iter().any(|(_, event)| matches!(event, Event::Ended { .. })));
}
