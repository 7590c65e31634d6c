//! All shards at one moment.

use std::time::Duration;

use quorate_protocol::replication::Election;
use tokio::time::Instant;

use super::commit::Committed;
use super::{Shared, pause};
use crate::connection::{Freshness, Reason};
use crate::random;
use crate::shards::work::Work;
use crate::store::Cut;

/// The state of every shard at one moment: each write that was acknowledged before this began is in it, and a
/// transaction is in it as a whole or not at all.
///
/// Several shards are cut by a transaction that holds all their keys from the vote of each until its commit, so nothing
/// changes between the first part of the cut and the last. Writes wait for that time. So that the cut finds a moment,
/// all nodes are asked to begin no other transaction for a while; a node that does so all the same only spoils an
/// attempt.
pub(super) async fn cut<E: Election>(shared: &Shared<E>) -> Result<Vec<Cut>, Reason> {
    let Some(commits) = &shared.commits else {
        let cut =
            shared.shard(0)?.look(Freshness::Linearizable, |shard, context| shard.state().cut(context.log_time.0));
        return Ok(vec![cut.await?]);
    };
    let deadline = Instant::now() + PATIENCE;
    for attempt in 0.. {
        let nth = u8::try_from(attempt).unwrap_or(u8::MAX);
        shared.breather.begin(nth);
        shared.peers.ask_for_breather(nth).await;
        let id = random::fresh();
        let works = (0..shared.layout().shards()).map(|shard| (shard, Work::Cut { id }));
        if commits.commit(works, deadline).await == Committed::Yes
            && let Some(cuts) = take(shared, id).await?
        {
            return Ok(cuts);
        }
        if !pause(attempt, deadline).await {
            break;
        }
    }
    Err(Reason::Aborted)
}

/// Takes the parts of a cut. `None` if one is not on this node: its replica took a snapshot in place of the log.
async fn take<E: Election>(shared: &Shared<E>, id: u64) -> Result<Option<Vec<Cut>>, Reason> {
    let mut cuts = Vec::new();
    for shard in &shared.shards {
        match shard.look(Freshness::Linearizable, move |shard, _| shard.state().take_cut(id)).await? {
            Some(cut) => cuts.push(cut),
            None => return Ok(None),
        }
    }
    Ok(Some(cuts))
}

/// Time for attempts. One fails if a transaction is under way in any shard at its moment.
const PATIENCE: Duration = Duration::from_secs(20);
