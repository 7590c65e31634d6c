//! Moves slots between shards. The node that leads the shard from which slots move carries the move out. All that is
//! known of a move is in the layout and in the two shards, so another node goes on with it at any point.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::Role;
use quorate_protocol::replication::Election;
use tokio::time::{Instant, sleep};

use super::commit::Committed;
use super::pieces::works_of;
use super::{COMMAND_TIMEOUT, Shared, Tried};
use crate::connection::{Freshness, Reason, Written};
use crate::shards::layout::SlotMove;
use crate::shards::work::{Effect, Part, Work};
use crate::store::{Record, SlotChange, WORK_BYTES_MAX};

/// Carries out the moves of the shards that this node leads, as long as it runs.
pub(super) async fn keep_moving<E: Election>(shared: &Shared<E>) {
    loop {
        for change in shared.layout().moves() {
            if !leads(shared, change.from).await {
                continue;
            }
            if let Err(reason) = carry_out(shared, change).await {
                tracing::info!(from = change.from, to = change.to, %reason, "a move of slots goes on later");
            }
        }
        sleep(GLANCE).await;
    }
}

async fn leads<E: Election>(shared: &Shared<E>, shard: u16) -> bool {
    let Ok(shard) = shared.shard(shard) else { return false };
    shard.status().await.is_ok_and(|status| status.log.role == Role::Leader)
}

/// Carries out a move from wherever it stands. Each step that was done before is done again without effect. If keys are
/// left after a round, the others have their turn before the next one.
async fn carry_out<E: Election>(shared: &Shared<E>, change: &SlotMove) -> Result<(), Reason> {
    let SlotMove { from, to, slots, generation } = change;
    let step = |change| Work::Slots { change, generation: *generation, slots: slots.clone() };
    tracing::debug!(from, to, slots = slots.len(), "slots move");
    ask(shared, *to, &step(SlotChange::Arrive)).await?;
    ask(shared, *from, &step(SlotChange::Leave(*to))).await?;
    if move_keys(shared, change).await? > 0 {
        return Ok(());
    }
    ask(shared, *from, &step(SlotChange::Release(*to))).await?;
    ask(shared, *to, &step(SlotChange::Settle)).await?;
    let keeper = shared.keeper.as_ref().ok_or(Reason::NoQuorum)?;
    loop {
        let layout = keeper.register().fetch().await?.ok_or(Reason::NoQuorum)?;
        let Some(next) = layout.complete(change) else { break };
        if keeper.register().replace(Some(&layout), &next).await? {
            break;
        }
    }
    shared.note_outdated();
    tracing::info!(from, to, slots = slots.len(), "slots have moved");
    Ok(())
}

async fn ask<E: Election>(shared: &Shared<E>, shard: u16, work: &Work) -> Result<(), Reason> {
    match shared.shard(shard)?.carry_out(work).await {
        Tried::Done(Written::Applied(_)) => Ok(()),
        Tried::Done(Written::NotApplied(reason)) => Err(reason),
        _ => Err(Reason::Aborted),
    }
}

/// Goes once through the keys of the shard and moves those of the slots. Returns how many keys are left, among them
/// those that have expired and are not removed yet.
async fn move_keys<E: Election>(shared: &Shared<E>, change: &SlotMove) -> Result<u64, Reason> {
    let from = shared.shard(change.from)?;
    let slots: BTreeSet<u16> = change.slots.iter().copied().collect();
    let mut cursor = 0;
    loop {
        let wanted = slots.clone();
        let found = from.look(Freshness::Linearizable, move |shard, context| {
            let mut cursor = cursor;
            let (mut records, mut bytes) = (Vec::new(), 0);
            for _ in 0..STEPS_AT_ONCE {
                let (next, found) = shard.state().scan_slots(context.log_time.0, cursor, KEYS_AT_ONCE, &wanted);
                cursor = next;
                bytes += found.iter().map(|record| record.weight()).sum::<u64>();
                records.extend(found.into_iter().cloned());
                if cursor == 0 || records.len() >= KEYS_AT_ONCE || bytes >= BYTES_AT_ONCE {
                    break;
                }
            }
            (cursor, records)
        });
        let (next, records) = found.await?;
        let begun = Instant::now();
        for batch in batches(records) {
            move_batch(shared, change, batch).await?;
        }
        // Half of the time is left to others.
        sleep(begun.elapsed()).await;
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    let left = from.look(Freshness::Linearizable, move |shard, _| {
        slots.iter().map(|slot| u64::from(shard.state().keys_in_slot(*slot))).sum()
    });
    left.await
}

/// Divides records so that each part fits an entry, unless one record alone does not.
fn batches(records: Vec<Record>) -> Vec<Vec<Record>> {
    let mut batches: Vec<Vec<Record>> = Vec::new();
    let mut bytes = u64::MAX;
    for record in records {
        bytes = bytes.saturating_add(record.weight());
        if bytes > BYTES_AT_ONCE {
            batches.push(Vec::new());
            bytes = record.weight();
        }
        batches.last_mut().expect("just pushed").push(record);
    }
    batches
}

/// Moves records from one shard to the other, at one moment.
async fn move_batch<E: Election>(
    shared: &Shared<E>,
    change: &SlotMove,
    mut records: Vec<Record>,
) -> Result<(), Reason> {
    let (mut leaves, mut comes) = (Part::default(), Part::default());
    for record in &records {
        let key = Bytes::copy_from_slice(record.key());
        leaves.checks.push((key.clone(), record.version()));
        leaves.effects.push(Effect::Remove(key.clone()));
        comes.checks.push((key, 0));
        comes.effects.push(Effect::put(record, true));
    }
    if comes.len() > WORK_BYTES_MAX {
        let key = String::from_utf8_lossy(records[0].key()).into_owned();
        tracing::error!(key, bytes = comes.len(), "this key is too large to move, so its slot stays where it is");
        return Err(Reason::TooLarge);
    }
    let commits = shared.commits.as_ref().ok_or(Reason::NoQuorum)?;
    let parts = BTreeMap::from([(change.from, leaves), (change.to, comes)]);
    let works = works_of(shared, parts).await?;
    let deadline = Instant::now() + COMMAND_TIMEOUT;
    shared.breather.over(deadline).await;
    match commits.commit(works.into_iter(), deadline).await {
        // A client changed one of the keys. The others are in one of the halves.
        Committed::No if records.len() > 1 => {
            let second = records.split_off(records.len() / 2);
            Box::pin(move_batch(shared, change, records)).await?;
            Box::pin(move_batch(shared, change, second)).await
        }
        // What has not moved is looked at again in the next round.
        Committed::Yes | Committed::No => Ok(()),
        Committed::Unknown => Err(Reason::NoQuorum),
    }
}

/// Pause between two looks for moves.
const GLANCE: Duration = Duration::from_millis(200);
/// Keys and bytes that move at one moment.
const KEYS_AT_ONCE: usize = 200;
const BYTES_AT_ONCE: u64 = 128 * 1024;
/// Places of the table that are looked at in one read, while none of their keys is to move.
const STEPS_AT_ONCE: usize = 50;
