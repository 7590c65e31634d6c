//! Commands over several shards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use quorate_protocol::replication::Election;
use tokio::time::Instant;

use super::commit::Committed;
use super::pieces::works_of;
use super::shard::AskedKeys;
use super::{COMMAND_TIMEOUT, Fetched, Shared, Tried, pause};
use crate::command::{Answer, ReadBatch, keys_of_entry};
use crate::connection::{Reason, Written};
use crate::entry::Watched;
use crate::shards::transaction::{Known, Trial, attempt};
use crate::shards::work::{Part, Work};
use crate::store::{Elsewhere, Record, Scripts, WORK_BYTES_MAX};

/// The keys of a transaction as their shards had them.
#[derive(Default)]
struct Gathered {
    known: BTreeMap<Box<[u8]>, Known>,
    scripts: Arc<Scripts>,
    log_time: u64,
}

/// Reason why keys could not be read now.
enum Obstacle {
    /// It may pass: a transaction holds a key, a slot has just moved, or a shard has no leader. The reason is told if
    /// it does not pass in time.
    Passing(Reason),
    /// No attempt would succeed.
    Lasting(Reason),
}

/// Carries out an entry whose keys may be in several shards: all of it, at one moment, or nothing.
pub(super) async fn transact<E: Election>(shared: &Shared<E>, entry: Bytes, deadline: Instant) -> Written {
    let Ok(named) = keys_of_entry(&entry) else { return Written::NotApplied(Reason::CrossShard) };
    let mut keys: BTreeSet<Box<[u8]>> = named.into_iter().map(Box::from).collect();
    let mut last = Reason::Aborted;
    for tries in 0.. {
        match try_once(shared, &entry, &mut keys, deadline).await {
            Ok(Some(written)) => return written,
            Ok(None) => last = Reason::Aborted,
            Err(Obstacle::Passing(reason)) => last = reason,
            Err(Obstacle::Lasting(reason)) => return Written::NotApplied(reason),
        }
        if !pause(tries, deadline).await {
            break;
        }
    }
    Written::NotApplied(last)
}

/// One attempt. `None` if something has changed meanwhile. `keys` grows by those that the commands turn out to need.
async fn try_once<E: Election>(
    shared: &Shared<E>,
    entry: &Bytes,
    keys: &mut BTreeSet<Box<[u8]>>,
    deadline: Instant,
) -> Result<Option<Written>, Obstacle> {
    let gathered = gather(shared, keys, deadline).await?;
    let trial = attempt(entry, &gathered.known, Arc::clone(&gathered.scripts), gathered.log_time);
    let refused = |reason| Ok(Some(Written::NotApplied(reason)));
    let (replies, parts) = match trial {
        Ok(Trial::Ready { replies, parts }) => (replies, parts),
        Ok(Trial::Needs(more)) => {
            keys.extend(more);
            return if keys.len() > KEYS_MAX { refused(Reason::TooLarge) } else { Ok(None) };
        }
        Ok(Trial::NeedsAll) | Err(_) => return refused(Reason::CrossShard),
    };
    if parts.values().all(|part| part.effects.is_empty()) {
        let is_unchanged = gathered.shards().len() < 2 || still_holds(shared, &gathered, deadline).await?;
        return Ok(is_unchanged.then_some(Written::Applied(replies)));
    }
    if parts.values().any(|part| part.len() > WORK_BYTES_MAX) {
        return refused(Reason::TooLarge);
    }
    commit(shared, parts, replies, deadline).await
}

/// Asks the shards to carry out their parts.
async fn commit<E: Election>(
    shared: &Shared<E>,
    mut parts: BTreeMap<u16, Part>,
    replies: Bytes,
    deadline: Instant,
) -> Result<Option<Written>, Obstacle> {
    let only = if parts.len() == 1 { parts.pop_first() } else { None };
    if let Some((shard, part)) = only {
        let shard = shared.shard(shard).map_err(Obstacle::Lasting)?;
        return Ok(match shard.carry_out(&Work::Part { part, only_if: true }).await {
            Tried::Done(Written::Applied(_)) => Some(Written::Applied(replies)),
            Tried::Done(written) => Some(written),
            Tried::Locked | Tried::Elsewhere(_) | Tried::Changed | Tried::NotTaken | Tried::Anew => None,
        });
    }
    let commits = shared.commits.as_ref().ok_or(Obstacle::Lasting(Reason::NoQuorum))?;
    let works = works_of(shared, parts).await.map_err(Obstacle::Lasting)?;
    // Long parts have taken their own time.
    let deadline = deadline.max(Instant::now() + COMMAND_TIMEOUT / 2);
    shared.breather.over(deadline).await;
    Ok(match commits.commit(works.into_iter(), deadline).await {
        Committed::Yes => Some(Written::Applied(replies)),
        Committed::No => None,
        Committed::Unknown => Some(Written::Unknown),
    })
}

/// The versions of keys on which a transaction will depend.
pub(super) async fn watch<E: Election>(
    shared: &Shared<E>,
    batch: &ReadBatch,
    deadline: Instant,
) -> Result<Answer, Reason> {
    let keys = batch.keys();
    let mut last = Reason::Aborted;
    for tries in 0.. {
        match gather(shared, &keys, deadline).await {
            Ok(gathered) => {
                let watched =
                    gathered.known.iter().map(|(key, known)| Watched { key: key.clone(), version: known.version() });
                return Ok(Answer::Watched(watched.collect()));
            }
            Err(Obstacle::Lasting(reason)) => return Err(reason),
            Err(Obstacle::Passing(reason)) => last = reason,
        }
        if !pause(tries, deadline).await {
            break;
        }
    }
    Err(last)
}

impl Gathered {
    fn shards(&self) -> BTreeSet<u16> {
        self.known.values().map(|known| known.shard).collect()
    }
}

impl Known {
    fn version(&self) -> u64 {
        self.record.as_ref().map_or(0, Record::version)
    }
}

/// Returns true if the keys are as they were. Since each has one version at a time, there was a moment at which all of
/// them were so.
async fn still_holds<E: Election>(shared: &Shared<E>, before: &Gathered, deadline: Instant) -> Result<bool, Obstacle> {
    let keys = before.known.keys().cloned().collect();
    let now = gather(shared, &keys, deadline).await?;
    let is_same = |key: &[u8], known: &Known| {
        now.known.get(key).is_some_and(|now| now.shard == known.shard && now.version() == known.version())
    };
    Ok(before.known.iter().all(|(key, known)| is_same(key, known)))
}

/// Reads keys, each where it is.
async fn gather<E: Election>(
    shared: &Shared<E>,
    keys: &BTreeSet<Box<[u8]>>,
    deadline: Instant,
) -> Result<Gathered, Obstacle> {
    let layout = shared.layout();
    let mut asked: BTreeMap<u16, AskedKeys> = BTreeMap::new();
    for key in keys {
        asked.entry(layout.shard_of(key)).or_default().insert((key.clone(), false));
    }
    let mut gathered = Gathered::default();
    // A slot that moves is looked for at one shard, and at most at one more.
    for _ in 0..2 {
        let mut further: BTreeMap<u16, AskedKeys> = BTreeMap::new();
        for (shard, fetched) in fetch(shared, std::mem::take(&mut asked), deadline).await? {
            if fetched.is_locked {
                return Err(Obstacle::Passing(Reason::Aborted));
            }
            for (key, elsewhere) in fetched.elsewhere {
                shared.note_outdated();
                match elsewhere {
                    Elsewhere::Unknown => return Err(Obstacle::Passing(Reason::Aborted)),
                    Elsewhere::Moved(to) | Elsewhere::Asked(to) => further.entry(to).or_default().insert((key, true)),
                };
            }
            gathered.log_time = gathered.log_time.max(fetched.log_time);
            gathered.scripts = fetched.scripts;
            gathered.known.extend(fetched.records.into_iter().map(|(key, record)| (key, Known { shard, record })));
        }
        asked = further;
        if asked.is_empty() {
            return Ok(gathered);
        }
    }
    Err(Obstacle::Passing(Reason::Aborted))
}

/// Asks shards for keys, all at once.
async fn fetch<E: Election>(
    shared: &Shared<E>,
    asked: BTreeMap<u16, AskedKeys>,
    deadline: Instant,
) -> Result<Vec<(u16, Fetched)>, Obstacle> {
    let mut under_way = Vec::new();
    for (shard, keys) in asked {
        under_way.push((shard, shared.shard(shard).map_err(Obstacle::Lasting)?.fetch(keys)));
    }
    let mut all = Vec::new();
    for (shard, fetch) in under_way {
        let fetched = tokio::time::timeout_at(deadline, fetch).await;
        let fetched = fetched.unwrap_or(Err(Reason::NoQuorum)).map_err(|reason| match reason {
            Reason::NoQuorum => Obstacle::Passing(reason),
            _ => Obstacle::Lasting(reason),
        })?;
        all.push((shard, fetched));
    }
    Ok(all)
}

/// Maximum number of keys of a transaction.
const KEYS_MAX: usize = 100_000;
