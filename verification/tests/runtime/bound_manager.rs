//! A transaction manager whose decision log is replicated: its node is killed, and another node finishes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_protocol::{ClusterId, Instant, LogStatus, NodeId, Now, Protocol};
use quorate_raft::{Raft, Settings as RaftSettings};
use quorate_runtime::ReplicaSettings;
use quorate_runtime::bound::{Bound, BoundSettings};
use quorate_runtime::group::{CallId, ChannelId};
use quorate_runtime::hosted::Told;
use quorate_two_phase_commit::manager::core::{
    Ended, ManagerAnswer, ManagerCommand, ManagerConfig, ManagerCore, ManagerEvent, ManagerRequest,
};
use quorate_two_phase_commit::manager::{BranchId, CommitEnd, ManagerId, ManagerSettings, ResourceId, RollBackEnd};
use quorate_two_phase_commit::{CommandId, Decision, TransactionNumber, Vote};

use crate::bound::recover;
use crate::cluster::{Boot, Cluster, Member, N1, N3};

type Managers = Bound<Raft, ManagerCore>;

/// The manager is that of the log, on whichever node it runs.
const MANAGER: ManagerId = ManagerId { cluster: ClusterId(1), log: 7 };
const MANAGER_AS_NODE: NodeId = NodeId(1_000);
const CHANNEL: ChannelId = ChannelId(19);

fn resources() -> BTreeMap<ResourceId, String> {
    ["east", "west"].map(|name| (ResourceId::of_name(name), name.to_owned())).into()
}

impl Member for Managers {
    type Extra = ();

    fn boot(boot: Boot, (): &()) -> Self {
        let replica = boot.settings.clone();
        let settings = BoundSettings { replica, served_as: Some(MANAGER_AS_NODE), ..BoundSettings::default() };
        recover(boot, settings, CHANNEL, |start| {
            let mut settings = ManagerSettings::default();
            settings.protocol.write_bytes_max = start.write_bytes_max / 2;
            let config = ManagerConfig::new(MANAGER, start.identity.node, start.seed, resources(), settings)?;
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
struct Databases {
    prepared: BTreeSet<BranchId>,
    committed: BTreeSet<BranchId>,
}

/// The point at which a node is killed: before its application carries out a request that so many others of its kind
/// came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KillAt {
    Nowhere,
    Prepare(usize),
    Commit(usize),
}

struct Bank {
    cluster: Cluster<Managers>,
    databases: Databases,
    events: Vec<ManagerEvent>,
    kill_at: KillAt,
    killed: Option<NodeId>,
}

impl Bank {
    fn new() -> Self {
        let mut cluster: Cluster<Managers> =
            Cluster::prepare(3, ReplicaSettings::default(), RaftSettings::default(), || None);
        cluster.boot_all();
        let now = cluster.clocks(N1);
        cluster.replica(N1).replica_mut().campaign(now).expect("nobody leads");
        cluster.settle();
        assert_eq!(cluster.run_until_served(N3), N1);
        Self { cluster, databases: Databases::default(), events: Vec::new(), kill_at: KillAt::Nowhere, killed: None }
    }

    fn command(&mut self, node: NodeId, command: ManagerCommand) {
        let now = self.cluster.clocks(node);
        self.cluster.replica(node).hosted_mut().command(now, command).expect("it serves");
        self.cluster.settle();
    }

    /// Lets a millisecond pass, and the applications work.
    fn step(&mut self) {
        self.cluster.run(1);
        for node in (1..=3).map(NodeId) {
            if self.cluster.nodes[&node].replica.is_none() {
                continue;
            }
            for told in self.cluster.replica(node).hosted_mut().take() {
                match told {
                    Told::Event(event) => self.events.push(event),
                    Told::Request { ticket, request } => {
                        let Some(answer) = self.carry_out(&request) else {
                            self.cluster.crash(node);
                            (self.killed, self.kill_at) = (Some(node), KillAt::Nowhere);
                            break;
                        };
                        let now = self.cluster.clocks(node);
                        self.cluster.replica(node).hosted_mut().complete(now, ticket, answer).expect("it serves");
                    }
                    Told::Lost(_) => panic!("they listen"),
                    Told::Serving | Told::NotServing { .. } => {}
                }
            }
        }
    }

    fn run_until<T>(&mut self, milliseconds: u64, found: impl Fn(&Self) -> Option<T>) -> T {
        for _ in 0..milliseconds {
            if let Some(found) = found(self) {
                return found;
            }
            self.step();
        }
        panic!("not within {milliseconds} ms: {:?}, {:?}", self.events, self.databases);
    }

    /// Carries out a request. `None` if the node is killed instead.
    fn carry_out(&mut self, request: &ManagerRequest) -> Option<ManagerAnswer> {
        let Databases { prepared, committed } = &mut self.databases;
        Some(match request {
            ManagerRequest::Prepare(_) if self.kill_at == KillAt::Prepare(prepared.len()) => return None,
            ManagerRequest::Prepare(branch) => {
                prepared.insert(*branch);
                ManagerAnswer::Voted(Vote::Yes)
            }
            ManagerRequest::Commit(_) if self.kill_at == KillAt::Commit(committed.len()) => return None,
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

    /// Begins a transaction in both databases, and asks for its commit.
    fn begin(&mut self, node: NodeId, number: u64) -> TransactionNumber {
        let begin = CommandId(number);
        self.command(node, ManagerCommand::Begin { command: begin, timeout: Duration::from_secs(10) });
        let begun = move |bank: &Self| {
            bank.events.iter().find_map(|event| match event {
                ManagerEvent::Begun { command, transaction } if *command == begin => Some(*transaction),
                _ => None,
            })
        };
        let transaction = self.run_until(200, begun);
        for resource in resources().into_keys() {
            self.command(node, ManagerCommand::Enlist { transaction, resource });
        }
        self.command(node, ManagerCommand::Commit { transaction });
        transaction
    }

    /// True if every database has committed the transaction.
    fn has_committed(&self, number: TransactionNumber) -> bool {
        let branch = |resource| BranchId { manager: MANAGER, number, resource };
        resources().into_keys().map(branch).all(|branch| self.databases.committed.contains(&branch))
    }
}

/// Two elections at most, the first of which may be split.
fn failover_ms() -> u64 {
    let election = RaftSettings::default().election_timeout_max;
    2 * u64::try_from(election.as_millis()).expect("short")
}

#[test]
fn a_manager_on_a_replicated_log_commits_in_both_databases() {
    let mut bank = Bank::new();
    let transaction = bank.begin(N1, 1);
    bank.run_until(300, |bank| bank.has_committed(transaction).then_some(()));
    let outcome = Ended::Committed { without: BTreeSet::new() };
    bank.run_until(300, |bank| {
        let ended = ManagerEvent::Ended { transaction, outcome: outcome.clone() };
        bank.events.contains(&ended).then_some(())
    });
}

/// The decision is durable. Whether no database has committed or one has, the other waits for a failover at most.
#[test]
fn another_node_commits_what_a_killed_manager_has_decided() {
    for kill_at in [KillAt::Commit(0), KillAt::Commit(1)] {
        let mut bank = Bank::new();
        bank.kill_at = kill_at;
        let transaction = bank.begin(N1, 1);
        assert_eq!(bank.run_until(1_000, |bank| bank.killed), N1);
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
    for kill_at in [KillAt::Prepare(0), KillAt::Prepare(1)] {
        let mut bank = Bank::new();
        bank.kill_at = kill_at;
        let transaction = bank.begin(N1, 1);
        assert_eq!(bank.run_until(1_000, |bank| bank.killed), N1);
        bank.cluster.run_until_served(N1);
        bank.run_until(failover_ms(), |bank| bank.databases.prepared.is_empty().then_some(()));
        let next = bank.cluster.run_until_served(N1);
        let second = bank.begin(next, 2);
        bank.run_until(500, |bank| bank.has_committed(second).then_some(()));
        assert!(!bank.has_committed(transaction));
        assert_eq!(bank.databases.committed.len(), 2);
    }
}
