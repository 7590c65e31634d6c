//! Commands that concern every shard. Each shard carries them out at a moment of its own.

use bytes::{Bytes, BytesMut};
use quorate_protocol::replication::Election;
use tokio::time::Instant;

use super::shard::WholeRead;
use super::{COMMAND_TIMEOUT, Read, Shared, Tried, pause};
use crate::command::{Answer, ClusterView, Keyspace, Query, ReadBatch, ServerInfo, counted_slot};
use crate::connection::{Freshness, Reason, Written};
use crate::entry::decode_arguments;
use crate::random;
use crate::shards::merge::{self, ScanCursor};

/// Has every shard carry out an entry, such as `FLUSHALL` or `SCRIPT LOAD`. The reply is the first that is an error, or
/// that of the first shard.
pub(super) async fn write<E: Election>(shared: &Shared<E>, entry: Bytes, deadline: Instant) -> Written {
    let mut replies = Vec::new();
    for shard in 0..shared.shards.len() {
        match write_to(shared, shard, &entry, deadline).await {
            Written::Applied(reply) => replies.push(reply),
            // What others did stays done, so it is not known to be nothing.
            Written::NotApplied(reason) if shard == 0 => return Written::NotApplied(reason),
            Written::NotApplied(_) | Written::Unknown => return Written::Unknown,
        }
    }
    let error = replies.iter().position(|reply| reply.starts_with(b"-"));
    Written::Applied(replies.swap_remove(error.unwrap_or(0)))
}

async fn write_to<E: Election>(shared: &Shared<E>, shard: usize, entry: &Bytes, deadline: Instant) -> Written {
    for attempt in 0.. {
        match shared.shards[shard].propose(entry, false).await {
            Tried::Done(written) => return written,
            Tried::Locked | Tried::Elsewhere(_) | Tried::Changed | Tried::NotTaken | Tried::Anew => {}
        }
        if !pause(attempt, deadline).await {
            break;
        }
    }
    Written::NotApplied(Reason::Aborted)
}

/// Answers a read that concerns every shard.
pub(super) async fn read<E: Election>(
    shared: &Shared<E>,
    batch: ReadBatch,
    freshness: Freshness,
) -> Result<Answer, Reason> {
    let version = batch.version;
    let query = batch.queries.first().cloned().ok_or(Reason::CrossShard)?;
    let arguments = match &query {
        Query::Command(_, arguments) => arguments.clone(),
        _ => Bytes::new(),
    };
    let decoded = decode_arguments(&arguments).unwrap_or_default();
    let name = decoded.first().map(|name| name.to_ascii_lowercase()).unwrap_or_default();
    let encoded = match &name[..] {
        b"scan" => scan(shared, &decoded, &batch, freshness).await?,
        b"randomkey" => random_key(shared, &batch, freshness).await?,
        b"dbsize" => merge::sum(&all(shared, &batch, freshness).await?, version),
        _ => merge::concatenate(&all(shared, &batch, freshness).await?, version),
    };
    Ok(Answer::Replies { encoded, rest: None })
}

/// The replies of all shards.
async fn all<E: Election>(
    shared: &Shared<E>,
    batch: &ReadBatch,
    freshness: Freshness,
) -> Result<Vec<BytesMut>, Reason> {
    let mut replies = Vec::new();
    for shard in 0..shared.layout().shards() {
        replies.push(one(shared, shard, batch, freshness).await?);
    }
    Ok(replies)
}

async fn one<E: Election>(
    shared: &Shared<E>,
    shard: u16,
    batch: &ReadBatch,
    freshness: Freshness,
) -> Result<BytesMut, Reason> {
    let deadline = Instant::now() + COMMAND_TIMEOUT;
    let mut before = None;
    for attempt in 0.. {
        match shared.shard(shard)?.read_whole(freshness, batch.clone(), before.take()).await? {
            WholeRead::Answer(answer) => return reply_of(answer).await,
            WholeRead::Prepared(left) => before = Some(left),
        }
        if !pause(attempt, deadline).await {
            break;
        }
    }
    Err(Reason::Aborted)
}

async fn reply_of(answer: Answer) -> Result<BytesMut, Reason> {
    match answer {
        Answer::Replies { encoded, .. } => Ok(encoded),
        Answer::Scan(scan) => tokio::task::spawn_blocking(|| scan.run()).await.map_err(|_| Reason::Shutdown),
        Answer::Watched(_) | Answer::Nothing { .. } => Err(Reason::CrossShard),
    }
}

/// One step of a scan, which goes from shard to shard.
async fn scan<E: Election>(
    shared: &Shared<E>,
    arguments: &[&[u8]],
    batch: &ReadBatch,
    freshness: Freshness,
) -> Result<BytesMut, Reason> {
    let shards = u16::try_from(shared.shards.len()).expect("at most 256");
    let Some(cursor) = arguments.get(1).and_then(|text| ScanCursor::parse(text)).filter(|it| it.shard < shards) else {
        // The shard's own words for a wrong cursor; or one that belongs to no shard, where nothing is left.
        return one(shared, 0, batch, freshness).await;
    };
    let inner = cursor.inner.to_string();
    let mut asked = arguments.to_vec();
    asked[1] = inner.as_bytes();
    let reply = one(shared, cursor.shard, &batch.with_arguments(&asked), freshness).await?;
    Ok(merge::continue_scan(reply, cursor.shard, shards))
}

/// A key of a shard that is drawn, or of the next one that has keys.
async fn random_key<E: Election>(
    shared: &Shared<E>,
    batch: &ReadBatch,
    freshness: Freshness,
) -> Result<BytesMut, Reason> {
    let count = shared.shards.len();
    let first = random::below(random::fresh(), count);
    let mut reply = BytesMut::new();
    for step in 0..count {
        let shard = u16::try_from((first + step) % count).expect("at most 256");
        reply = one(shared, shard, batch, freshness).await?;
        if !merge::is_nil(&reply) {
            break;
        }
    }
    Ok(reply)
}

/// The nodes and the shards as this node knows them.
async fn cluster_view<E: Election>(shared: &Shared<E>, batch: &ReadBatch) -> Result<ClusterView, Reason> {
    let layout = shared.layout();
    let mut leaders = Vec::new();
    for shard in &shared.shards {
        let status = shard.status().await.map_err(|_| Reason::Shutdown)?;
        leaders.push(status.log.leader.map(|leader| leader.0));
    }
    let led = |shard: u16| leaders.get(usize::from(shard)).copied().flatten();
    let counted = match batch.queries.first() {
        Some(Query::Cluster(arguments)) => counted_slot(arguments),
        _ => None,
    };
    let keys_in_slot = match counted {
        Some(slot) => {
            let owner = shared.shard(layout.owner(slot))?;
            owner.look(Freshness::Local, move |shard, _| shard.state().keys_in_slot(slot)).await?
        }
        None => 0,
    };
    Ok(ClusterView {
        me: shared.id.0,
        nodes: shared.clients.iter().map(|(id, address)| (*id, address.clone())).collect(),
        runs: layout.runs().into_iter().map(|(first, last, shard)| (first, last, led(shard))).collect(),
        generation: layout.generation(),
        keys_in_slot,
    })
}

/// Answers about this node, with the keys of all its shards.
pub(super) async fn about<E: Election>(
    shared: &Shared<E>,
    batch: ReadBatch,
    mut server: ServerInfo,
) -> Result<Answer, Reason> {
    server.cluster = Some(cluster_view(shared, &batch).await?);
    for shard in &shared.shards[1..] {
        let keyspace =
            shard.look(Freshness::Local, |shard, context| Keyspace::of(shard.state(), context.log_time.0)).await?;
        server.other_shards = server.other_shards + keyspace;
    }
    match shared.shards[0].read(Freshness::Local, batch, server).await? {
        Read::Answer(answer) => Ok(answer),
        Read::Again => Err(Reason::NoQuorum),
    }
}
