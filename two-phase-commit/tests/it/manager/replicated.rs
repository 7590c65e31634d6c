//! Managers on a replicated decision log: three servers with real files and sockets, and another node that takes over
//! in the middle of a transaction.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use quorate_protocol::{GroupId, NodeId};
use quorate_raft::Raft;
use quorate_runtime::bound::BoundLog;
use quorate_runtime::group::ChannelId;
use quorate_runtime::{ReplicaHandle, Running, Server};
use quorate_two_phase_commit::manager::core::ManagerCore;
use quorate_two_phase_commit::manager::memory::{Memory, MemorySession};
use quorate_two_phase_commit::manager::{
    AbortReason, BeginError, BranchId, CommitEnd, EnlistError, Manager, ManagerId, ManagerSettings, Outcome, Resource,
    ResourceError, ResourceId, ResourceManager, RollBackEnd, Sessions, Transaction, TransactionName,
};
use quorate_two_phase_commit::{Decision, Knowledge, TransactionNumber, Vote};
use tempfile::TempDir;
use tokio::sync::Notify;

use super::until;

const GROUP: GroupId = GroupId(3);
const CHANNEL: ChannelId = ChannelId(18);

/// A call at which the node that makes it is stopped, or loses its leadership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Prepare,
    Commit,
    CommitOnePhase,
}

/// A database that every node reaches. The next call of a kind can be held, as if its node had stopped there.
#[derive(Clone, Default)]
struct Database {
    memory: Memory<i64>,
    held: Arc<Mutex<Option<At>>>,
    reached: Arc<Notify>,
}

impl Database {
    fn hold(&self, at: At) {
        *self.held.lock().expect("no panic holds it") = Some(at);
    }

    async fn pass(&self, at: At) {
        if self.held.lock().expect("no panic holds it").take_if(|held| *held == at).is_some() {
            self.reached.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl ResourceManager for Database {
    async fn prepare(&self, branch: BranchId) -> Result<Vote, ResourceError> {
        self.pass(At::Prepare).await;
        self.memory.prepare(branch).await
    }

    async fn commit(&self, branch: BranchId) -> Result<CommitEnd, ResourceError> {
        self.pass(At::Commit).await;
        self.memory.commit(branch).await
    }

    async fn commit_one_phase(&self, branch: BranchId) -> Result<Decision, ResourceError> {
        self.pass(At::CommitOnePhase).await;
        self.memory.commit_one_phase(branch).await
    }

    async fn roll_back(&self, branch: BranchId) -> Result<RollBackEnd, ResourceError> {
        self.memory.roll_back(branch).await
    }

    async fn recover(&self, manager: ManagerId, resource: ResourceId) -> Result<BTreeSet<BranchId>, ResourceError> {
        self.memory.recover(manager, resource).await
    }

    async fn forget(
        &self,
        manager: ManagerId,
        resource: ResourceId,
        below: TransactionNumber,
        unfinished: &BTreeSet<TransactionNumber>,
    ) -> Result<(), ResourceError> {
        self.memory.forget(manager, resource, below, unfinished).await
    }
}

#[async_trait]
impl Sessions for Database {
    type Session = MemorySession<i64>;

    async fn begin(&self, branch: BranchId) -> Result<MemorySession<i64>, ResourceError> {
        self.memory.begin(branch).await
    }

    fn resume(&self, branch: BranchId) -> Option<MemorySession<i64>> {
        self.memory.resume(branch)
    }

    fn suspend(&self, branch: BranchId, session: MemorySession<i64>) {
        self.memory.suspend(branch, session);
    }
}

/// The directories and addresses of three nodes, and two databases.
struct Site {
    data: TempDir,
    addresses: [String; 3],
    east: Resource<Database>,
    west: Resource<Database>,
}

/// A node, and the manager on it.
struct Member {
    id: u64,
    node: Running,
    manager: Manager,
}

impl Site {
    fn new() -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let listeners = [free(), free(), free()];
        let addresses = listeners.map(|listener| listener.local_addr().expect("bound").to_string());
        let database = |name| Resource::new(name, Database::default());
        let data = tempfile::tempdir().expect("a directory");
        Self { data, addresses, east: database("east"), west: database("west") }
    }

    /// Starts nodes, and waits until they have a manager.
    async fn start<const N: usize>(&self, ids: [u64; N]) -> Vec<Member> {
        let nodes = ids.map(|id| {
            let mut settings = ManagerSettings::default();
            // A call that is held is never given up, and what was lost is asked for again soon.
            settings.protocol.request_timeout = Duration::from_mins(10);
            settings.protocol.vote_timeout = Duration::from_mins(10);
            settings.scan_interval = Duration::from_millis(50);
            let manager = Manager::replicated().resource(&self.east).resource(&self.west).settings(settings);
            let log = quorate_wal::LogSettings {
                segment_bytes: 16 << 20,
                batch_bytes_max: 9 << 20,
                ..quorate_wal::LogSettings::default()
            };
            let builder = Server::builder("test", self.data.path()).log(log);
            let builder = builder.bound::<Raft, ManagerCore>(GROUP, CHANNEL, manager.core());
            let builder = (1..).zip(&self.addresses).fold(builder, |builder, (id, address)| builder.node(id, address));
            (id, builder.spawn(id).expect("it opens"), manager)
        });
        let mut members = Vec::new();
        for (id, node, manager) in nodes {
            let manager = manager.open::<Raft>(node.handle(), GROUP).await.expect("it opens");
            members.push(Member { id, node, manager });
        }
        members
    }

    /// Writes `value` to both databases.
    async fn work(&self, transaction: &Transaction, value: i64) {
        for (database, key) in [(&self.east, "a"), (&self.west, "b")] {
            transaction.enlist(database).await.expect("a session").put(key, value).expect("free");
        }
    }

    fn values(&self) -> [Option<i64>; 2] {
        [self.east.get().memory.value("a"), self.west.get().memory.value("b")]
    }

    fn is_clean(&self) -> bool {
        let memories = [&self.east.get().memory, &self.west.get().memory];
        memories.iter().all(|memory| memory.locked().is_empty() && memory.prepared().is_empty())
    }

    /// A transaction commits on whichever node serves.
    async fn check_that_the_next_one_commits(&self, members: &[Member], value: i64) {
        until("no lock is left", async || self.is_clean()).await;
        let (transaction, _) = begin(members).await;
        self.work(&transaction, value).await;
        assert!(matches!(transaction.commit().await, Outcome::Committed));
        assert_eq!(self.values(), [Some(value); 2]);
    }
}

impl Member {
    fn log(&self) -> ReplicaHandle<Raft, BoundLog> {
        self.node.replica(GROUP)
    }

    async fn stop(self) {
        let node = self.node;
        tokio::task::spawn_blocking(move || node.shutdown(Duration::ZERO)).await.expect("it stops");
    }
}

/// Begins a transaction on the node that serves, and returns the node's place.
async fn begin(members: &[Member]) -> (Transaction, usize) {
    let begun = Mutex::new(None);
    until("a node serves", async || {
        for (place, member) in members.iter().enumerate() {
            match member.manager.begin().await {
                Ok(transaction) => *begun.lock().expect("no panic holds it") = Some((transaction, place)),
                Err(BeginError::Elsewhere { .. } | BeginError::Refused(_)) => continue,
                Err(error) => panic!("{error}"),
            }
            return true;
        }
        false
    })
    .await;
    begun.into_inner().expect("no panic holds it").expect("begun")
}

/// The outcome of a transaction, as the first of these nodes tells it that knows it.
async fn outcome(members: &[Member], name: TransactionName) -> Knowledge {
    let told = Mutex::new(None);
    until("a node tells the outcome", async || {
        for member in members {
            match member.manager.outcome(name).await {
                Ok(Knowledge::Undecided | Knowledge::InDoubt) | Err(_) => {}
                Ok(knowledge) => {
                    *told.lock().expect("no panic holds it") = Some(knowledge);
                    return true;
                }
            }
        }
        false
    })
    .await;
    told.into_inner().expect("no panic holds it").expect("told")
}

/// Another node takes over from this one.
async fn take_over(members: &[Member], from: usize) {
    let to = NodeId(members[(from + 1) % 3].id);
    members[from].log().transfer(Some(to)).await.expect("it leads");
}

/// The points of a transaction at which its node is lost, and the outcome.
const POINTS: [(At, bool, Knowledge); 4] = [
    (At::Prepare, true, Knowledge::Aborted),
    (At::Prepare, false, Knowledge::Aborted),
    (At::Commit, true, Knowledge::Committed),
    (At::Commit, false, Knowledge::Committed),
];

/// A transaction whose node is at one of the points, and its place.
async fn at_point(
    site: &Site,
    members: &[Member],
    (at, is_east, _): (At, bool, Knowledge),
) -> (TransactionName, usize, tokio::task::JoinHandle<Outcome>) {
    let (transaction, place) = begin(members).await;
    let name = transaction.name();
    site.work(&transaction, 7).await;
    let held = if is_east { &site.east } else { &site.west };
    held.get().hold(at);
    let commit = tokio::spawn(transaction.commit());
    held.get().reached.notified().await;
    // What is not held may still be on its way.
    let (other, key) = if is_east { (&site.west, "b") } else { (&site.east, "a") };
    let memory = &other.get().memory;
    until("the other database has answered", async || match at {
        At::Prepare => !memory.prepared().is_empty(),
        _ => memory.value(key) == Some(7),
    })
    .await;
    (name, place, commit)
}

#[tokio::test]
async fn each_node_is_asked_and_the_one_that_leads_serves() {
    let site = Site::new();
    let members = site.start([1, 2, 3]).await;
    let ids: BTreeSet<ManagerId> = members.iter().map(|member| member.manager.id()).collect();
    assert_eq!(ids.len(), 1, "it is one manager");
    let (transaction, place) = begin(&members).await;
    site.work(&transaction, 1).await;
    let name = transaction.name();
    assert!(matches!(transaction.commit().await, Outcome::Committed));
    assert_eq!(site.values(), [Some(1), Some(1)]);
    let leader = Some(NodeId(members[place].id));
    for (other, member) in members.iter().enumerate() {
        assert_eq!(member.manager.outcome(name).await, Ok(Knowledge::Committed));
        if other != place {
            let refused = member.manager.begin().await;
            assert!(matches!(refused, Err(BeginError::Elsewhere { leader: told }) if told == leader), "{refused:?}");
            assert_eq!(member.manager.status().await, None);
        }
    }
    assert!(members[place].manager.status().await.is_some());
    for member in members {
        member.stop().await;
    }
}

/// The node of the manager loses its leadership and goes on. Whoever waits there learns the outcome from the log.
#[tokio::test]
async fn a_take_over_at_each_point_leaves_one_outcome_that_the_old_node_learns() {
    let site = Site::new();
    let members = site.start([1, 2, 3]).await;
    for (round, point) in (1..).zip(POINTS) {
        let before = site.values();
        let (name, place, commit) = at_point(&site, &members, point).await;
        take_over(&members, place).await;
        let told = match commit.await.expect("no panic") {
            Outcome::InDoubt(unresolved) => {
                assert_eq!(unresolved.name(), name);
                unresolved.outcome().await
            }
            told => told,
        };
        let is_committed = point.2 == Knowledge::Committed;
        match told {
            Outcome::Committed => assert!(is_committed, "{point:?}"),
            Outcome::Aborted(AbortReason::TakenOver) => assert!(!is_committed, "{point:?}"),
            told => panic!("{point:?}: {told:?}"),
        }
        assert_eq!(outcome(&members, name).await, point.2, "{point:?}");
        until("no lock is left", async || site.is_clean()).await;
        assert_eq!(site.values(), if is_committed { [Some(7); 2] } else { before }, "{point:?}");
        site.check_that_the_next_one_commits(&members, 100 + round).await;
    }
    for member in members {
        member.stop().await;
    }
}

/// The node of the manager stops. Whoever waits there is told that it does not know, and any other node tells.
#[tokio::test]
async fn a_node_that_stops_at_each_point_leaves_one_outcome_that_the_others_tell() {
    for point in POINTS {
        let site = Site::new();
        let mut members = site.start([1, 2, 3]).await;
        site.check_that_the_next_one_commits(&members, 1).await;
        let (name, place, commit) = at_point(&site, &members, point).await;
        let id = members[place].id;
        members.remove(place).stop().await;
        // The databases lose its connections.
        site.east.get().memory.crash();
        site.west.get().memory.crash();
        assert!(matches!(commit.await.expect("no panic"), Outcome::InDoubt(it) if it.name() == name));
        assert_eq!(outcome(&members, name).await, point.2, "{point:?}");
        until("no lock is left", async || site.is_clean()).await;
        let expected = if point.2 == Knowledge::Committed { 7 } else { 1 };
        assert_eq!(site.values(), [Some(expected); 2], "{point:?}");
        members.extend(site.start([id]).await);
        site.check_that_the_next_one_commits(&members, 2).await;
        assert_eq!(outcome(&members[2..], name).await, point.2, "the restarted node tells it as well");
        for member in members {
            member.stop().await;
        }
    }
}

/// Work that was never asked to be committed ends with the leadership, whether or not a session is lent.
#[tokio::test]
async fn work_that_is_under_way_at_a_take_over_is_aborted_at_once() {
    let site = Site::new();
    let members = site.start([1, 2, 3]).await;
    let (transaction, place) = begin(&members).await;
    site.work(&transaction, 7).await;
    let name = transaction.name();
    take_over(&members, place).await;
    let refused = async || matches!(transaction.enlist(&site.east).await, Err(EnlistError::Ended));
    until("the branch has ended", refused).await;
    until("no lock is left", async || site.is_clean()).await;
    assert!(matches!(transaction.commit().await, Outcome::Aborted(AbortReason::TakenOver)));
    assert_eq!(outcome(&members, name).await, Knowledge::Aborted);
    assert_eq!(site.values(), [None, None]);
    site.check_that_the_next_one_commits(&members, 1).await;
    for member in members {
        member.stop().await;
    }
}

/// The decision is left to the only database, and its node is lost before the answer: the next one asks again.
#[tokio::test]
async fn a_decision_left_to_the_only_database_is_asked_of_it_by_the_next_node() {
    let site = Site::new();
    let members = site.start([1, 2, 3]).await;
    let (transaction, place) = begin(&members).await;
    transaction.enlist(&site.east).await.expect("a session").put("a", 7).expect("free");
    let name = transaction.name();
    site.east.get().hold(At::CommitOnePhase);
    let commit = tokio::spawn(transaction.commit());
    site.east.get().reached.notified().await;
    take_over(&members, place).await;
    let Outcome::InDoubt(unresolved) = commit.await.expect("no panic") else { panic!("nobody knows yet") };
    // The database has the work, and no node has answered for it.
    let told = unresolved.outcome().await;
    let knowledge = outcome(&members, name).await;
    match told {
        Outcome::Committed => {
            assert_eq!((knowledge, site.east.get().memory.value("a")), (Knowledge::Committed, Some(7)));
        }
        Outcome::Aborted(_) => assert_eq!((knowledge, site.east.get().memory.value("a")), (Knowledge::Aborted, None)),
        told => panic!("{told:?}"),
    }
    site.check_that_the_next_one_commits(&members, 1).await;
    for member in members {
        member.stop().await;
    }
}

/// Without a majority nothing is decided and nothing is told. With it again, there is one outcome.
#[tokio::test]
async fn a_decision_that_reaches_no_majority_is_told_when_there_is_one_again() {
    let site = Site::new();
    let mut members = site.start([1, 2, 3]).await;
    site.check_that_the_next_one_commits(&members, 1).await;
    let (transaction, place) = begin(&members).await;
    site.work(&transaction, 7).await;
    let name = transaction.name();
    let serving = members.swap_remove(place);
    let others: Vec<u64> = members.iter().map(|member| member.id).collect();
    for member in members {
        member.stop().await;
    }
    let Outcome::InDoubt(unresolved) = transaction.commit().await else { panic!("nobody can know") };
    assert!(matches!(serving.manager.begin().await, Err(BeginError::Elsewhere { .. })));
    assert!(serving.manager.outcome(name).await.is_err(), "it blocks, and says so");
    let mut members = site.start([others[0], others[1]]).await;
    let told = unresolved.outcome().await;
    members.push(serving);
    let knowledge = outcome(&members, name).await;
    until("no lock is left", async || site.is_clean()).await;
    match told {
        Outcome::Committed => assert_eq!((knowledge, site.values()), (Knowledge::Committed, [Some(7); 2])),
        Outcome::Aborted(_) => assert_eq!((knowledge, site.values()), (Knowledge::Aborted, [Some(1); 2])),
        told => panic!("{told:?}"),
    }
    site.check_that_the_next_one_commits(&members, 2).await;
    for member in members {
        member.stop().await;
    }
}
