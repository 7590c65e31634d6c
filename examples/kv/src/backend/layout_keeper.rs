//! Keeps this node's copy of the layout.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use quorate_protocol::replication::Election;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::layout_register::LayoutRegister;
use super::{LocalShard, Shared, Tried};
use crate::connection::{Freshness, Reason, Written};
use crate::shards::layout::Layout;
use crate::shards::work::Work;
use crate::store::SlotChange;

/// Reads the layout, and writes the first one.
#[derive(Debug)]
pub(super) struct LayoutKeeper {
    register: LayoutRegister,
    is_known: Cell<bool>,
    known: Notify,
}

impl LayoutKeeper {
    pub(super) fn new(register: LayoutRegister) -> Self {
        Self { register, is_known: Cell::new(false), known: Notify::new() }
    }

    /// Returns true once the layout was read.
    pub(super) fn is_known(&self) -> bool {
        self.is_known.get()
    }

    /// Waits until the layout was read.
    pub(super) async fn known(&self) {
        while !self.is_known() {
            self.known.notified().await;
        }
    }

    pub(super) fn register(&self) -> &LayoutRegister {
        &self.register
    }

    /// Reads the layout at the start, from time to time, and whenever it is known to be old.
    pub(super) async fn keep<E: Election>(&self, shared: &Shared<E>) {
        loop {
            match self.read(shared).await {
                Ok(()) => {
                    // An interval that is over is as good as a sign.
                    let _ = timeout(INTERVAL, shared.outdated.notified()).await;
                    // Several may have found it out at once.
                    sleep(REST).await;
                }
                Err(reason) => {
                    tracing::debug!(%reason, "the layout was not read");
                    sleep(RETRY).await;
                }
            }
        }
    }

    async fn read<E: Election>(&self, shared: &Shared<E>) -> Result<(), Reason> {
        let Some(layout) = self.register.fetch().await? else {
            return self.begin(shared).await;
        };
        let shards = u16::try_from(shared.shards.len()).expect("at most 256");
        if let Ok(Some(more)) = layout.with_shards(shards.max(layout.shards())) {
            self.register.replace(Some(&layout), &more).await?;
            return Err(Reason::NoQuorum);
        }
        if !self.is_known() {
            for (shard, replica) in (0..).zip(&shared.shards) {
                found(replica, shard, &layout).await?;
            }
        }
        if layout.generation() > shared.layout().generation() || !self.is_known() {
            *shared.layout.borrow_mut() = Arc::new(layout);
            // Who waits for a key waits at its shard, which may be another one now.
            for shard in &shared.shards {
                shard.look(Freshness::Local, |shard, _| shard.state().waiters().wake_all()).await?;
            }
        }
        self.is_known.set(true);
        self.known.notify_waiters();
        Ok(())
    }

    /// Writes the first layout. A store that was one shard stays in that shard until slots are moved.
    async fn begin<E: Election>(&self, shared: &Shared<E>) -> Result<(), Reason> {
        let is_used = shared.shards[0].look(Freshness::Linearizable, |shard, _| shard.state().is_used()).await?;
        let shards = u16::try_from(shared.shards.len()).expect("at most 256");
        let first = if is_used { Layout::grown(shards) } else { Layout::even(shards) };
        // Whatever comes of it, the next look shows what the layout is.
        self.register.replace(None, &first).await?;
        Err(Reason::NoQuorum)
    }
}

/// Tells a shard which slots it holds, if it does not know.
async fn found<E: Election>(replica: &LocalShard<E>, shard: u16, layout: &Layout) -> Result<(), Reason> {
    if replica.look(Freshness::Local, |shard, _| shard.state().slots().is_some()).await? {
        return Ok(());
    }
    // Slots that move are held by the shard from which they move until it has released them.
    let work = Work::Slots { change: SlotChange::Found, generation: 0, slots: layout.slots_of(shard) };
    match replica.carry_out(&work).await {
        Tried::Done(Written::Applied(_)) => Ok(()),
        Tried::Done(Written::NotApplied(reason)) => Err(reason),
        _ => Err(Reason::NoQuorum),
    }
}

/// Time after which the layout is read again.
const INTERVAL: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_millis(100);
const REST: Duration = Duration::from_millis(20);
