//! Brings work that is too long for one entry of the log to its shard, in pieces.
//!
//! The pieces are proposed a few at a time, so that other work gets its turn between them. When the shard has all of
//! them, one more entry carries the work out. Until that entry is proposed, the work certainly has no effect, and
//! whoever stops before only leaves pieces behind, which the shard drops by its own rule. Each attempt has an id of its
//! own, so pieces of two attempts are never mixed, and a piece may be proposed again when its outcome is not known.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::replication::Election;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::shard::LocalShard;
use super::{COMMAND_TIMEOUT, Shared, Tried, pause};
use crate::connection::{Reason, Written};
use crate::entry::ENTRY_BYTES_MAX;
use crate::random;
use crate::shards::work::{Part, Work};
use crate::store::WORK_BYTES_MAX;

/// The work in pieces that this node brings to shards now. Further work waits.
#[derive(Debug)]
pub(super) struct Uploads {
    room: Semaphore,
}

impl Default for Uploads {
    fn default() -> Self {
        Self { room: Semaphore::new(kibibytes(WORK_BYTES_MAX) as usize) }
    }
}

/// Time for work of so many bytes: that of a short command, and a second for every 4 MiB.
pub(super) fn time_for(bytes: usize) -> Duration {
    COMMAND_TIMEOUT + Duration::from_secs((bytes / BYTES_A_SECOND) as u64)
}

/// Has a shard carry out work that is too long for one entry.
pub(super) async fn carry_out<E: Election>(shard: &LocalShard<E>, whole: Bytes) -> Tried {
    let time = time_for(whole.len());
    let work = match bring(shard, whole, Instant::now() + time).await {
        Ok(work) => work,
        Err(reason) => return Tried::Done(Written::NotApplied(reason)),
    };
    let deadline = Instant::now() + COMMAND_TIMEOUT;
    let mut attempt = 0;
    loop {
        match shard.propose_short(&work, time).await {
            // The pieces are still there.
            tried @ (Tried::Locked | Tried::NotTaken) => {
                if !pause(attempt, deadline).await {
                    return tried;
                }
            }
            tried => return tried,
        }
        attempt += 1;
    }
}

/// The work for the parts of a transaction. What is too long for one entry is brought to its shard first.
pub(super) async fn works_of<E: Election>(
    shared: &Shared<E>,
    parts: BTreeMap<u16, Part>,
) -> Result<Vec<(u16, Work)>, Reason> {
    let mut works = Vec::new();
    for (shard, part) in parts {
        let is_short = part.len() <= ENTRY_BYTES_MAX;
        let work = Work::Part { part, only_if: false };
        works.push((shard, if is_short { work } else { bring_to(shared, shard, &work).await? }));
    }
    Ok(works)
}

async fn bring_to<E: Election>(shared: &Shared<E>, shard: u16, work: &Work) -> Result<Work, Reason> {
    let whole = work.encode();
    let deadline = Instant::now() + time_for(whole.len());
    bring(shared.shard(shard)?, whole, deadline).await
}

/// Brings the pieces of work. Returns the work that carries it out.
async fn bring<E: Election>(shard: &LocalShard<E>, whole: Bytes, deadline: Instant) -> Result<Work, Reason> {
    if whole.len() > WORK_BYTES_MAX {
        return Err(Reason::TooLarge);
    }
    let uploads = shard.uploads();
    let room = timeout_at(deadline, uploads.room.acquire_many(kibibytes(whole.len()))).await;
    let _room = room.map_err(|_| Reason::Overloaded)?.map_err(|_| Reason::Shutdown)?;
    let id = u128::from(random::fresh()) << 64 | u128::from(random::fresh());
    let mut under_way = VecDeque::new();
    let mut count: u32 = 0;
    for start in (0..whole.len()).step_by(PIECE_BYTES) {
        if under_way.len() == PIECES_AT_ONCE
            && let Some((piece, first)) = under_way.pop_front()
        {
            settle(shard, piece, first, deadline).await?;
        }
        let bytes = whole.slice(start..whole.len().min(start + PIECE_BYTES));
        let piece = Work::Piece { id, place: count, bytes };
        let first = shard.propose_short(&piece, COMMAND_TIMEOUT);
        under_way.push_back((piece, first));
        count += 1;
    }
    for (piece, first) in under_way {
        settle(shard, piece, first, deadline).await?;
    }
    Ok(Work::Whole { id, count })
}

/// Waits until the shard has a piece, and proposes it again as long as that is not known.
async fn settle<E: Election>(
    shard: &LocalShard<E>,
    piece: Work,
    first: impl Future<Output = Tried>,
    deadline: Instant,
) -> Result<(), Reason> {
    let deadline = deadline.min(Instant::now() + PIECE_TIMEOUT);
    let mut tried = first.await;
    let mut attempt = 0;
    loop {
        let reason = match tried {
            Tried::Done(Written::Applied(_)) => return Ok(()),
            Tried::Done(Written::NotApplied(reason @ Reason::Overloaded)) => reason,
            Tried::Done(Written::NotApplied(reason)) => return Err(reason),
            _ => Reason::NoQuorum,
        };
        if !pause(attempt, deadline).await {
            return Err(reason);
        }
        attempt += 1;
        tried = shard.propose_short(&piece, COMMAND_TIMEOUT).await;
    }
}

fn kibibytes(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

/// Bytes of a piece.
const PIECE_BYTES: usize = 256 * 1024;
/// Maximum number of pieces of one work that are proposed and not yet kept.
const PIECES_AT_ONCE: usize = 8;
/// Maximum time until the shard has a piece: that of an election and of a proposal whose outcome is not known.
const PIECE_TIMEOUT: Duration = Duration::from_secs(5);
const BYTES_A_SECOND: usize = 4 * 1024 * 1024;
