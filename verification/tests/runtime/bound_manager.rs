//! A transaction manager whose decision log is replicated: its node is killed, and another node finishes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_protocol::{ClusterId, Instant, LogStatus, NodeId, Now, Protocol};
use quorate_raft::Raft;
use quorate_runtime::bound::{Bound, BoundSettings};
use quorate_runtime::group::{CallId, ChannelId};
use quorate_runtime::hosted::NotServed;
use quorate_two_phase_commit::manager::core::{
    Ended, ManagerAnswer, ManagerCommand, ManagerConfig, ManagerCore, ManagerEvent, ManagerRequest,
};
use quorate_two_phase_commit::manager::{BranchId, CommitEnd, ManagerId, ManagerSettings, ResourceId, RollBackEnd};
use quorate_two_phase_commit::{CommandId, Decision, Epoch, Knowledge, TransactionNumber, Vote};

use crate::bound::recover;
use crate::bound_bench::{Bench, Databases, failover_ms};
use crate::cluster::{Boot, Member, N1, N2, N3};

type Managers = Bound<Raft, ManagerCore>;

/// The manager is that of the log, on whichever node it runs.
const MANAGER: ManagerId = ManagerId { cluster: ClusterId(1), log: 7 };
const CHANNEL: ChannelId = ChannelId(19);

fn resources() -> BTreeMap<ResourceId, String> {
    ["east", "west", "south"].map(|name| (ResourceId::of_name(name), name.to_owned())).into()
}

impl Member for Managers {
    type Extra = ();

    fn boot(boot: Boot, (): &()) -> Self {
        let replica = boot.settings.clone();
        let settings = BoundSettings { replica, ..BoundSettings::default() };
        recover(boot, settings, CHANNEL, |start| {
            let mut settings = ManagerSettings::default();
            settings.protocol.write_bytes_max = start.write_bytes_max / 2;
            let config =
                ManagerConfig::new(MANAGER, start.identity.node, start.seed, resources(), settings)?.replicated();
            Ok(ManagerCore::recover(start.now, config, start.recovery)?)
        })
    }

    fn log(&self) -> LogStatus {
        self.replica().status().log
    }

    fn transfer(&mut self, now: Now, call: CallId, to: NodeId, deadline: Instant) {
        self.replica_mut().transfer(now, call, Some(to), deadline);
    }
}

/// The branches of the databases, which outlive every node.
#[derive(Debug, Default)]
struct Stores {
    kill_at: KillAt,
    prepared: BTreeSet<BranchId>,
    committed: BTreeSet<BranchId>,
}

/// The point at which a node is killed: before its application carries out a request that so many others of its kind
/// came before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum KillAt {
    #[default]
    Nowhere,
    Prepare(usize),
    Commit(usize),
}

type Bank = Bench<ManagerCore, Stores>;

impl Databases<ManagerCore> for Stores {
    /// Carries out a request. `None` if the node is killed instead.
    fn carry_out(&mut self, request: &ManagerRequest) -> Option<ManagerAnswer> {
        let Self { kill_at, prepared, committed } = self;
        Some(match request {
            ManagerRequest::Prepare(_) if *kill_at == KillAt::Prepare(prepared.len()) => return None,
            ManagerRequest::Prepare(branch) => {
                prepared.insert(*branch);
                ManagerAnswer::Voted(Vote::Yes)
            }
            ManagerRequest::Commit(_) if *kill_at == KillAt::Commit(committed.len()) => return None,
            ManagerRequest::Commit(branch) => {
                assert!(prepared.remove(branch) || committed.contains(branch), "what commits was prepared");
                committed.insert(*branch);
                ManagerAnswer::Committed(CommitEnd::Committed)
            }
            ManagerRequest::CommitOnePhase(branch) => {
                committed.insert(*branch);
                ManagerAnswer::Decided(Decision::Commit)
            }
            ManagerRequest::RollBack(branch) => {
                assert!(!committed.contains(branch), "one outcome");
                prepared.remove(branch);
                ManagerAnswer::RolledBack(RollBackEnd::RolledBack)
            }
            ManagerRequest::Recover(resource) => {
                ManagerAnswer::Listed(prepared.iter().filter(|branch| branch.resource == *resource).copied().collect())
            }
            ManagerRequest::Forget { .. } => ManagerAnswer::Forgotten,
        })
    }
}

impl Bank {
    fn killing(kill_at: KillAt) -> Self {
        let mut bank = Self::new();
        bank.databases.kill_at = kill_at;
        bank
    }

    /// Begins a transaction in all databases, and asks for its commit.
    fn begin(&mut self, node: NodeId, number: u64) -> TransactionNumber {
        let transaction = self.begin_without_commit(node, number);
        self.command(node, ManagerCommand::Commit { transaction, votes: BTreeMap::new() });
        transaction
    }

    fn begin_without_commit(&mut self, node: NodeId, number: u64) -> TransactionNumber {
        let begin = CommandId(number);
        self.command(node, ManagerCommand::Begin { command: begin, timeout: Some(Duration::from_secs(10)) });
        let begun = move |bank: &Self| {
            bank.find(|_, event| match event {
                ManagerEvent::Begun { command, transaction } if *command == begin => Some(*transaction),
                _ => None,
            })
        };
        let transaction = self.run_until(200, begun);
        for resource in resources().into_keys() {
            self.command(node, ManagerCommand::Enlist { transaction, resource });
        }
        transaction
    }

    /// True if every database has committed the transaction.
    fn has_committed(&self, number: TransactionNumber) -> bool {
        let branch = |resource| BranchId { manager: MANAGER, number, resource };
        resources().into_keys().map(branch).all(|branch| self.databases.committed.contains(&branch))
    }
}

#[test]
fn a_manager_on_a_replicated_log_commits_in_both_databases() {
    let mut bank = Bank::new();
    let transaction = bank.begin(N1, 1);
    bank.run_until(300, |bank| bank.has_committed(transaction).then_some(()));
    let outcome = Ended::Committed { without: BTreeSet::new() };
    bank.run_until(300, |bank| {
        let ended = (N1, ManagerEvent::Ended { transaction, outcome: outcome.clone() });
        bank.events.contains(&ended).then_some(())
    });
}

/// The decision is durable. Whether no database has committed or one has, the other waits for a failover at most.
#[test]
fn another_node_commits_what_a_killed_manager_has_decided() {
    for kill_at in [KillAt::Commit(0), KillAt::Commit(1), KillAt::Commit(2)] {
        let mut bank = Bank::killing(kill_at);
        let transaction = bank.begin(N1, 1);
        assert_eq!(bank.kill(), N1);
        bank.databases.kill_at = KillAt::Nowhere;
        assert!(!bank.has_committed(transaction));
        bank.run_until(failover_ms(), |bank| bank.has_committed(transaction).then_some(()));
        assert!(bank.databases.prepared.is_empty(), "no lock is left");
        let next = bank.cluster.run_until_served(N1);
        let second = bank.begin(next, 2);
        assert!(second > transaction, "in a later epoch");
        bank.run_until(500, |bank| bank.has_committed(second).then_some(()));
    }
}

/// It was not decided. The next manager knows the branches by their epoch, and rolls them back.
#[test]
fn another_node_rolls_back_what_a_killed_manager_has_not_decided() {
    for kill_at in [KillAt::Prepare(0), KillAt::Prepare(1), KillAt::Prepare(2)] {
        let mut bank = Bank::killing(kill_at);
        let transaction = bank.begin(N1, 1);
        assert_eq!(bank.kill(), N1);
        bank.databases.kill_at = KillAt::Nowhere;
        bank.cluster.run_until_served(N1);
        bank.run_until(failover_ms(), |bank| bank.databases.prepared.is_empty().then_some(()));
        let next = bank.cluster.run_until_served(N1);
        let second = bank.begin(next, 2);
        bank.run_until(500, |bank| bank.has_committed(second).then_some(()));
        assert!(!bank.has_committed(transaction));
        assert_eq!(bank.databases.committed.len(), resources().len());
    }
}

/// The point up to which the decision has come when its node is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    /// Its own log.
    Nobody,
    /// The log of one other node.
    OneOther,
    /// The logs of all.
    All,
}

impl Bank {
    /// Runs until every database has prepared and the decision is in the logs, and kills the coordinator's node before
    /// it learns that.
    fn decided_and_killed(&mut self, reached: Reached) -> TransactionNumber {
        let last = |bank: &Self, node| bank.cluster.nodes[&node].replica.as_ref().expect("it runs").log().last_index;
        self.databases.kill_at = KillAt::Commit(0);
        let transaction = self.begin_without_commit(N1, 1);
        self.cluster.park_inbound(N1);
        match reached {
            Reached::Nobody => self.cluster.isolate(N1),
            Reached::OneOther => self.cluster.cut.extend([(N1, N3), (N3, N1)]),
            Reached::All => {}
        }
        let before = last(self, N1);
        self.command(N1, ManagerCommand::Commit { transaction, votes: BTreeMap::new() });
        self.run_until(50, |bank| (last(bank, N1) > before).then_some(()));
        self.step();
        let has_it = |bank: &Self, node| last(bank, node) > before;
        let expected = [reached != Reached::Nobody, reached == Reached::All];
        assert_eq!([N2, N3].map(|node| has_it(self, node)), expected);
        assert_eq!(self.databases.prepared.len(), resources().len(), "every resource has voted");
        self.cluster.crash(N1);
        self.cluster.heal();
        self.cluster.drop_parked();
        self.databases.kill_at = KillAt::Nowhere;
        transaction
    }
}

/// Scenario 20: the coordinator and one acceptor, which are one node here, are killed after all resources voted. The
/// decision was durable in the log, so the next leader finishes the commit, and nobody waits longer than a failover.
#[test]
fn scenario_20_a_decision_in_the_logs_of_a_majority_is_finished_by_any_new_leader() {
    for reached in [Reached::All, Reached::OneOther] {
        let mut bank = Bank::new();
        let transaction = bank.decided_and_killed(reached);
        bank.run_until(failover_ms(), |bank| bank.has_committed(transaction).then_some(()));
        assert!(bank.databases.prepared.is_empty(), "no lock is left");
        bank.cluster.boot(N1);
        let next = bank.cluster.run_until_served(N1);
        let second = bank.begin(next, 2);
        bank.run_until(500, |bank| bank.has_committed(second).then_some(()));
    }
}

/// Scenario 20: the decision reached no other node's log. The next leader aborts, and the old one, which still has the
/// record in its own log, follows when it is back.
#[test]
fn scenario_20_a_decision_that_reached_no_other_log_is_aborted_for_ever() {
    let mut bank = Bank::new();
    let transaction = bank.decided_and_killed(Reached::Nobody);
    bank.run_until(failover_ms(), |bank| bank.databases.prepared.is_empty().then_some(()));
    bank.cluster.boot(N1);
    let next = bank.cluster.run_until_served(N1);
    let second = bank.begin(next, 2);
    bank.run_until(500, |bank| bank.has_committed(second).then_some(()));
    // The node that had the record leads again.
    bank.cluster.elect(N1);
    assert_eq!(bank.cluster.run_until_served(N3), N1);
    let query = ManagerCommand::Query { command: CommandId(9), transaction };
    bank.command(N1, query);
    let known = bank.run_until(100, |bank| {
        bank.find(|_, event| match event {
            ManagerEvent::Known { command: CommandId(9), knowledge } => Some(*knowledge),
            _ => None,
        })
    });
    assert_eq!(known, Knowledge::Aborted);
    assert_eq!(bank.databases.committed.len(), resources().len(), "of the second transaction alone");
}

/// Scenario 20: with two of three nodes down the transaction is blocked, and the third node says so. It goes on when
/// one of them is back.
#[test]
fn scenario_20_without_a_majority_it_blocks_and_says_so() {
    let mut bank = Bank::new();
    let transaction = bank.decided_and_killed(Reached::All);
    bank.cluster.crash(N2);
    for _ in 0..10 * failover_ms() {
        bank.step();
    }
    let query = ManagerCommand::Query { command: CommandId(9), transaction };
    assert_eq!(bank.try_command(N3, query), Err(NotServed::Elsewhere { leader: None }));
    assert!(!bank.has_committed(transaction));
    assert_eq!(bank.databases.prepared.len(), resources().len(), "nobody guesses");
    bank.cluster.boot(N2);
    bank.run_until(2 * failover_ms(), |bank| bank.has_committed(transaction).then_some(()));
}

/// A leader that does not know yet that it is none finds branches of its successor. It stops its work, and its node
/// goes on.
#[test]
fn a_manager_that_was_taken_over_unawares_stops_and_its_node_does_not() {
    let mut bank = Bank::new();
    let branch = |number| BranchId { manager: MANAGER, number, resource: ResourceId::of_name("east") };
    let later = TransactionNumber { epoch: Epoch(100), sequence: 1 };
    bank.databases.prepared.insert(branch(later));
    bank.run_until(60_000, |bank| bank.find(|_, event| matches!(event, ManagerEvent::Superseded { .. }).then_some(())));
    let refused = CommandId(7);
    bank.command(N1, ManagerCommand::Begin { command: refused, timeout: Some(Duration::from_secs(1)) });
    bank.run_until(100, |bank| {
        bank.find(|_, event| {
            matches!(event, ManagerEvent::Refused { command, .. } if *command == refused).then_some(())
        })
    });
    assert_eq!(bank.cluster.nodes[&N1].halted, None);
    assert_eq!(bank.databases.prepared, [branch(later)].into(), "it touches nothing");
}
