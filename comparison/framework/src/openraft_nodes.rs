//! Three nodes of openraft on a runtime of two threads, with the least store and network that its interfaces allow.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use openraft::alias::{EntryOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf};
use openraft::entry::RaftEntry;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::storage::{
    EntryResponder, IOFlushed, LogState, RaftLogReader, RaftLogStorage, RaftSnapshotBuilder, RaftStateMachine,
};
use openraft::{Config, EntryPayload, OptionalSend, Raft, SnapshotPolicy};

use crate::Failure;

/// A command.
#[derive(Clone, Debug)]
pub struct Command(Bytes);

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

openraft::declare_raft_types!(
    /// The types of openraft's nodes.
    pub Types:
        D = Command,
        R = (),
        Node = (),
);

type Node = Raft<Types, Machine>;
type Nodes = Arc<Mutex<BTreeMap<u64, Node>>>;

/// Runs the clients for this time, and returns the number of commands a second.
pub fn measure(clients: usize, duration: Duration, command: &Bytes) -> Result<f64, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    let command = command.clone();
    runtime.block_on(async move {
        let nodes = start().await?;
        let leader = locked(&nodes)[&0].clone();
        leader.wait(Some(PATIENCE)).applied_index_at_least(Some(1), "the first entries").await?;
        let start = Instant::now();
        let running: Vec<_> =
            (0..clients).map(|_| tokio::spawn(drive(leader.clone(), command.clone(), start + duration))).collect();
        let mut done = 0;
        for client in running {
            done += client.await??;
        }
        let rate = done as f64 / start.elapsed().as_secs_f64();
        let stopping: Vec<Node> = locked(&nodes).values().cloned().collect();
        for node in stopping {
            node.shutdown().await?;
        }
        Ok(rate)
    })
}

async fn drive(leader: Node, command: Bytes, end: Instant) -> Result<u64, String> {
    let mut done = 0;
    while Instant::now() < end {
        leader.client_write(Command(command.clone())).await.map_err(|error| error.to_string())?;
        done += 1;
    }
    Ok(done)
}

/// Starts three nodes, of which the first leads. The settings are those of openraft's own benchmark.
async fn start() -> Result<Nodes, Failure> {
    let config = Config {
        election_timeout_min: 200,
        election_timeout_max: 2000,
        purge_batch_size: 1024,
        max_payload_entries: 1024,
        snapshot_policy: SnapshotPolicy::Never,
        ..Config::default()
    };
    let config = Arc::new(config.validate()?);
    let nodes = Nodes::default();
    for id in 0..3 {
        let node = Raft::new(id, config.clone(), Network(nodes.clone()), Log::default(), Machine::default()).await?;
        locked(&nodes).insert(id, node);
    }
    let first = locked(&nodes)[&0].clone();
    first.initialize(BTreeMap::from([(0, ()), (1, ()), (2, ())])).await?;
    Ok(nodes)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls the other nodes.
struct Network(Nodes);

/// Calls one node.
struct Link(Node);

impl RaftNetworkFactory<Types> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, (): &()) -> Link {
        Link(locked(&self.0)[&target].clone())
    }
}

fn unreachable(error: &(impl std::error::Error + 'static)) -> RPCError<Types> {
    RPCError::Unreachable(Unreachable::new(error))
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = ();

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        self.0.append_entries(rpc).await.map_err(|error| unreachable(&error))
    }

    async fn vote(&mut self, rpc: VoteRequest<Types>, _: RPCOption) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.0.vote(rpc).await.map_err(|error| unreachable(&error))
    }

    async fn full_snapshot(
        &mut self,
        _: VoteOf<Types>,
        _: SnapshotOf<Types, ()>,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        Err(StreamingError::Unreachable(Unreachable::new(&no_snapshots())))
    }
}

fn no_snapshots() -> io::Error {
    io::Error::other("there are no snapshots")
}

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Content>>);

#[derive(Default)]
struct Content {
    vote: Option<VoteOf<Types>>,
    entries: BTreeMap<u64, EntryOf<Types>>,
    purged: Option<LogIdOf<Types>>,
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<B: RangeBounds<u64> + Clone + fmt::Debug + OptionalSend>(
        &mut self,
        range: B,
    ) -> Result<Vec<EntryOf<Types>>, io::Error> {
        Ok(locked(&self.0).entries.range(range).map(|(_, entry)| entry.clone()).collect())
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<Types>>, io::Error> {
        Ok(locked(&self.0).vote)
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let content = locked(&self.0);
        let last = content.entries.values().next_back().map(RaftEntry::log_id);
        Ok(LogState { last_purged_log_id: content.purged, last_log_id: last.or(content.purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types>) -> Result<(), io::Error> {
        locked(&self.0).vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = EntryOf<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        locked(&self.0).entries.extend(entries.into_iter().map(|entry| (entry.index(), entry)));
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Types>>) -> Result<(), io::Error> {
        locked(&self.0).entries.split_off(&last.map_or(0, |last| last.index() + 1));
        Ok(())
    }

    async fn purge(&mut self, id: LogIdOf<Types>) -> Result<(), io::Error> {
        let mut content = locked(&self.0);
        content.entries = content.entries.split_off(&(id.index() + 1));
        content.purged = Some(id);
        Ok(())
    }
}

/// Counts the commands.
#[derive(Clone, Default)]
struct Machine(Arc<Mutex<Applied>>);

#[derive(Default)]
struct Applied {
    commands: u64,
    last: Option<LogIdOf<Types>>,
    members: StoredMembershipOf<Types>,
}

/// Never called, since there are no snapshots.
struct NoSnapshots;

impl RaftSnapshotBuilder<Types> for NoSnapshots {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Types, ()>, io::Error> {
        Err(no_snapshots())
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = ();
    type SnapshotBuilder = NoSnapshots;

    async fn applied_state(&mut self) -> Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>), io::Error> {
        let applied = locked(&self.0);
        Ok((applied.last, applied.members.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let mut applied = locked(&self.0);
            applied.last = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(_) => applied.commands += 1,
                EntryPayload::Membership(members) => {
                    applied.members = StoredMembershipOf::<Types>::new(Some(entry.log_id), members);
                }
            }
            drop(applied);
            if let Some(responder) = responder {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> NoSnapshots {
        NoSnapshots
    }

    async fn install_snapshot(&mut self, _: &SnapshotMetaOf<Types>, (): ()) -> Result<(), io::Error> {
        Err(no_snapshots())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<Types, ()>>, io::Error> {
        Ok(None)
    }
}

/// Threads of the runtime, as many as the machine of the published figures has.
const WORKERS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(10);
