//! One shard, and work for one shard.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::RefuseReason;
use quorate_protocol::replication::{Election, LogCore};
use quorate_runtime::shell::{CallAnswer, LocalHandle};
use quorate_runtime::{LocalReplicaHandle, NotApplied, Outcome, ReadContext, ReadError, ReplicaStatus};
use quorate_two_phase_commit::manager::BranchId;
use quorate_two_phase_commit::manager::replica::{OutsideEnd, work_outside};
use tokio::time::Instant;

use super::pieces::{self, Uploads};
use super::{COMMAND_TIMEOUT, Shared, pause, shard_group, transact};
use crate::command::{Answer, At, ReadBatch, ServerInfo, keys_of_entry};
use crate::connection::{Freshness, Reason, Written};
use crate::entry::{ENTRY_BYTES_MAX, decode_outcome};
use crate::machine::Shard;
use crate::shards::layout::Target;
use crate::shards::work::{ShardReply, Work};
use crate::store::{Elsewhere, Record, Scripts, Wait};

/// The replica of a shard on this loop's node.
#[derive(Debug)]
pub(super) struct LocalShard<E: Election> {
    replica: LocalReplicaHandle<LogCore<E>, Shard>,
    uploads: Rc<Uploads>,
}

impl<E: Election> Clone for LocalShard<E> {
    fn clone(&self) -> Self {
        Self { replica: self.replica.clone(), uploads: Rc::clone(&self.uploads) }
    }
}

/// Keys, each with whether the shard from which its slot moves has sent the asker.
pub(super) type AskedKeys = BTreeSet<(Box<[u8]>, bool)>;

/// What became of work for a shard.
#[derive(Debug)]
pub(super) enum Tried {
    /// This is known of it.
    Done(Written),
    /// It was not done: a prepared transaction holds one of its keys.
    Locked,
    /// It was not done: another shard has one of its keys.
    Elsewhere(Elsewhere),
    /// It was not done: what it depends on has changed.
    Changed,
    /// It was not done: no leader took it, for example because the leadership just passes to another node.
    NotTaken,
    /// It was not tried.
    Anew,
}

/// The result of a read.
#[derive(Debug)]
pub(super) enum Read {
    /// The answer.
    Answer(Answer),
    /// A prepared transaction holds a key, or another shard has it.
    Again,
}

/// The result of a read of a whole shard.
#[derive(Debug)]
pub(super) enum WholeRead {
    /// The answer.
    Answer(Answer),
    /// These transactions were prepared when the read began, and have not ended: whoever asks may know that they are
    /// committed.
    Prepared(BTreeSet<BranchId>),
}

/// Keys as a shard has them.
#[derive(Debug)]
pub(super) struct Fetched {
    /// Each key with its record.
    pub(super) records: Vec<(Box<[u8]>, Option<Record>)>,
    /// The keys that another shard has.
    pub(super) elsewhere: Vec<(Box<[u8]>, Elsewhere)>,
    /// A prepared transaction holds one of the keys.
    pub(super) is_locked: bool,
    /// The scripts.
    pub(super) scripts: Arc<Scripts>,
    /// The shard's log time.
    pub(super) log_time: u64,
}

impl<E: Election> LocalShard<E> {
    pub(super) fn new(node: LocalHandle, shard: u16, uploads: &Rc<Uploads>) -> Self {
        let replica = LocalReplicaHandle::new(node, shard_group(shard)).timeout(COMMAND_TIMEOUT);
        Self { replica, uploads: Rc::clone(uploads) }
    }

    /// The work in pieces that this node brings to shards.
    pub(super) fn uploads(&self) -> &Uploads {
        &self.uploads
    }

    /// Proposes an entry of commands. `asks` is set if the shard from which a slot moves has sent it here.
    pub(super) fn propose(&self, entry: &Bytes, asks: bool) -> impl Future<Output = Tried> + 'static + use<E> {
        self.carry_out(&Work::Entry { entry: entry.clone(), asks })
    }

    /// Proposes work: before this returns, unless it goes there in pieces.
    pub(super) fn carry_out(&self, work: &Work) -> impl Future<Output = Tried> + 'static + use<E> {
        let encoded = work.encode();
        let begun = if encoded.len() <= ENTRY_BYTES_MAX {
            Ok(self.replica.propose(work_outside(&encoded)))
        } else {
            Err((self.clone(), encoded))
        };
        async move {
            match begun {
                Ok(outcome) => tried(outcome.await),
                Err((shard, whole)) => pieces::carry_out(&shard, whole).await,
            }
        }
    }

    /// Proposes work that fits an entry, before this returns. It is unknown what became of it after this time.
    pub(super) fn propose_short(
        &self,
        work: &Work,
        timeout: Duration,
    ) -> impl Future<Output = Tried> + 'static + use<E> {
        let outcome = self.replica.timeout(timeout).propose(work_outside(&work.encode()));
        async move { tried(outcome.await) }
    }

    pub(super) fn read(
        &self,
        freshness: Freshness,
        batch: ReadBatch,
        server: ServerInfo,
    ) -> impl Future<Output = Result<Read, Reason>> + 'static + use<E> {
        let read = move |shard: &Shard, context: ReadContext| {
            if is_away(shard, context, &batch) {
                return Read::Again;
            }
            let at = At { log_time: context.log_time.0, now: context.now.0 };
            Read::Answer(batch.answer(shard.state(), at, &server))
        };
        self.look(freshness, read)
    }

    /// Answers a read that concerns all keys of the shard, once the transactions have ended that were prepared before:
    /// `before`, or those at the time of the read.
    pub(super) fn read_whole(
        &self,
        freshness: Freshness,
        batch: ReadBatch,
        before: Option<BTreeSet<BranchId>>,
    ) -> impl Future<Output = Result<WholeRead, Reason>> + 'static + use<E> {
        let read = move |shard: &Shard, context: ReadContext| {
            let prepared = shard.prepared();
            let left = before.map_or_else(|| prepared.clone(), |before| &before & &prepared);
            if freshness == Freshness::Linearizable && !left.is_empty() {
                return WholeRead::Prepared(left);
            }
            let at = At { log_time: context.log_time.0, now: context.now.0 };
            WholeRead::Answer(batch.answer(shard.state(), at, &ServerInfo::default()))
        };
        self.look(freshness, read)
    }

    fn read_or_wait<F: Fn() + Send + Sync + 'static>(
        &self,
        freshness: Freshness,
        batch: ReadBatch,
        wake: F,
    ) -> impl Future<Output = Result<Read, Reason>> + 'static + use<E, F> {
        let read = move |shard: &Shard, context: ReadContext| {
            if is_away(shard, context, &batch) {
                return Read::Again;
            }
            let at = At { log_time: context.log_time.0, now: context.now.0 };
            Read::Answer(batch.answer_or_wait(shard.state(), at, wake))
        };
        self.look(freshness, read)
    }

    /// Reads keys for a transaction. `asks` is set for those of slots that move to this shard.
    pub(super) fn fetch(&self, keys: AskedKeys) -> impl Future<Output = Result<Fetched, Reason>> + 'static + use<E> {
        self.look(Freshness::Linearizable, move |shard, context| {
            let (store, log_time) = (shard.state(), context.log_time.0);
            let scripts = Arc::clone(store.scripts());
            let mut fetched =
                Fetched { records: Vec::new(), elsewhere: Vec::new(), is_locked: false, scripts, log_time };
            for (key, asks) in keys {
                fetched.is_locked |= shard.locks().contains_key(&key[..]);
                if let Some(elsewhere) = store.elsewhere(log_time, &key, asks) {
                    fetched.elsewhere.push((key, elsewhere));
                } else {
                    let record = store.get(log_time, &key).cloned();
                    fetched.records.push((key, record));
                }
            }
            fetched
        })
    }

    /// Looks at the shard, as it is now or as this node has it.
    pub(super) fn look<R: 'static, F: FnOnce(&Shard, ReadContext) -> R + 'static>(
        &self,
        freshness: Freshness,
        look: F,
    ) -> impl Future<Output = Result<R, Reason>> + 'static + use<E, R, F> {
        let answer = match freshness {
            Freshness::Linearizable => self.replica.read(look),
            Freshness::Local => self.replica.read_local(look),
        };
        async move { answer.await.map_err(|error| not_read(&error)) }
    }

    pub(super) fn wait<F: Fn() + Send + Sync + 'static>(
        &self,
        keys: Vec<Box<[u8]>>,
        wake: F,
    ) -> impl Future<Output = Result<Wait, Reason>> + 'static + use<E, F> {
        self.look(Freshness::Local, move |shard, _| shard.state().waiters().wait(keys, wake))
    }

    pub(super) fn status(&self) -> CallAnswer<ReplicaStatus> {
        self.replica.status()
    }
}

/// Returns true if a prepared transaction holds a key of the reads, or another shard has it.
fn is_away(shard: &Shard, context: ReadContext, batch: &ReadBatch) -> bool {
    let store = shard.state();
    if shard.locks().is_empty() && store.slots().is_none() {
        return false;
    }
    let is_away =
        |key: &[u8]| shard.locks().contains_key(key) || store.elsewhere(context.log_time.0, key, false).is_some();
    batch.keys().iter().any(|key| is_away(key))
}

/// Goes on with an entry that its shard did not carry out at once.
pub(super) async fn write_on<E: Election>(
    shared: &Shared<E>,
    entry: Bytes,
    mut tried: Tried,
    deadline: Instant,
) -> Written {
    let keys: BTreeSet<Box<[u8]>> = keys_of_entry(&entry).unwrap_or_default().into_iter().map(Box::from).collect();
    let mut asked_to = None;
    let mut reason = Reason::Aborted;
    for attempt in 0.. {
        reason = if matches!(tried, Tried::NotTaken) { Reason::NoQuorum } else { Reason::Aborted };
        match tried {
            Tried::Done(written) => return written,
            Tried::Elsewhere(Elsewhere::Asked(to) | Elsewhere::Moved(to)) if keys.len() == 1 => asked_to = Some(to),
            // Some of the keys may have moved, and others not.
            Tried::Elsewhere(_) if keys.len() > 1 => {
                shared.note_outdated();
                return transact::transact(shared, entry, deadline).await;
            }
            Tried::Elsewhere(_) => {
                shared.note_outdated();
                asked_to = None;
            }
            Tried::Locked | Tried::Changed | Tried::NotTaken | Tried::Anew => {}
        }
        // Who was told another shard goes there at once, but not to and fro for ever.
        let is_told = matches!(tried, Tried::Anew | Tried::Elsewhere(Elsewhere::Asked(_) | Elsewhere::Moved(_)));
        if (!is_told || attempt >= HOPS_AT_ONCE) && !pause(attempt, deadline).await {
            break;
        }
        if Instant::now() > deadline {
            break;
        }
        let owner = match shared.layout().target(keys.iter().map(|key| &**key)) {
            _ if asked_to.is_some() => asked_to.unwrap_or_default(),
            Some(Target::Shard(shard)) => shard,
            None => 0,
            Some(_) => return transact::transact(shared, entry, deadline).await,
        };
        tried = match shared.shard(owner) {
            Ok(shard) => shard.propose(&entry, asked_to.is_some()).await,
            Err(reason) => return Written::NotApplied(reason),
        };
    }
    Written::NotApplied(reason)
}

/// Shards to which an entry goes one after another without a pause: the one that had the slot, and the one that has it.
const HOPS_AT_ONCE: u32 = 2;

/// Goes on with reads that their shard did not answer at once.
pub(super) async fn read_on<E: Election>(
    shared: &Shared<E>,
    batch: ReadBatch,
    server: ServerInfo,
    deadline: Instant,
) -> Result<Answer, Reason> {
    if batch.is_watch() {
        return transact::watch(shared, &batch, deadline).await;
    }
    let keys = batch.keys();
    if keys.is_empty() {
        return match shared.shard(0)?.read(Freshness::Linearizable, batch, server).await? {
            Read::Answer(answer) => Ok(answer),
            Read::Again => Err(Reason::NoQuorum),
        };
    }
    // A transaction finds each key wherever it is, and waits for others that hold them.
    let entry = batch.to_entry(crate::server::wall_ms()).ok_or(Reason::CrossShard)?;
    match transact::transact(shared, entry, deadline).await {
        Written::Applied(outcome) => {
            let (replies, _) = decode_outcome(outcome).map_err(|_| Reason::CrossShard)?;
            Ok(Answer::Replies { encoded: replies.into(), rest: None })
        }
        Written::NotApplied(reason) => Err(reason),
        Written::Unknown => Err(Reason::NoQuorum),
    }
}

/// Answers a read that waits until there is something, or notes that it waits.
pub(super) async fn read_or_wait_on<E: Election>(
    shared: &Shared<E>,
    freshness: Freshness,
    batch: ReadBatch,
    wake: impl Fn() + Clone + Send + Sync + 'static,
    deadline: Instant,
) -> Result<Answer, Reason> {
    let keys = batch.keys();
    for attempt in 0.. {
        let Some(Target::Shard(owner)) = shared.layout().target(keys.iter().map(|key| &**key)) else { break };
        let reads = shared.shard(owner)?.read_or_wait(freshness, batch.clone(), wake.clone());
        if let Read::Answer(answer) = reads.await? {
            return Ok(answer);
        }
        shared.note_outdated();
        if !pause(attempt, deadline).await {
            return Err(Reason::Aborted);
        }
    }
    Err(Reason::CrossShard)
}

fn tried(outcome: Outcome) -> Tried {
    let response = match written(outcome) {
        Written::Applied(response) => response,
        Written::NotApplied(Reason::NoQuorum) => return Tried::NotTaken,
        written => return Tried::Done(written),
    };
    match OutsideEnd::decode(response) {
        Ok(OutsideEnd::Done(reply)) => match ShardReply::decode(reply) {
            ShardReply::Done(replies) => Tried::Done(Written::Applied(replies)),
            ShardReply::Elsewhere(elsewhere) => Tried::Elsewhere(elsewhere),
            ShardReply::Changed | ShardReply::Refused(_) => Tried::Changed,
            ShardReply::Dropped => Tried::Done(Written::NotApplied(Reason::Overloaded)),
        },
        Ok(_) => Tried::Locked,
        // The replica answers another question, which it never does.
        Err(_) => Tried::Done(Written::Unknown),
    }
}

fn written(outcome: Outcome) -> Written {
    match outcome {
        Outcome::Applied(replies) => Written::Applied(replies),
        Outcome::NotApplied(reason) => Written::NotApplied(match reason {
            NotApplied::Overloaded | NotApplied::Refused { reason: RefuseReason::Overloaded, .. } => Reason::Overloaded,
            NotApplied::Refused { reason: RefuseReason::DiskFull, .. } => Reason::DiskFull,
            NotApplied::TooLarge | NotApplied::Refused { reason: RefuseReason::TooLarge, .. } => Reason::TooLarge,
            NotApplied::Stranger(_) => Reason::ReadOnly,
            NotApplied::ShuttingDown | NotApplied::Halted(_) | NotApplied::Stopped | NotApplied::NoGroup => {
                Reason::Shutdown
            }
            _ => Reason::NoQuorum,
        }),
        Outcome::Unknown { .. } => Written::Unknown,
    }
}

fn not_read(error: &ReadError) -> Reason {
    match error {
        ReadError::Overloaded => Reason::Overloaded,
        ReadError::ShuttingDown | ReadError::Halted(_) | ReadError::Stopped | ReadError::NoGroup => Reason::Shutdown,
        _ => Reason::NoQuorum,
    }
}
