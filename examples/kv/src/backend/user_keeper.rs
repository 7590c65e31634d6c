//! Keeps this node's copy of the users, which the first shard has.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use quorate_protocol::replication::Election;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::Shared;
use crate::connection::{Freshness, KnownUsers, Reason};
use crate::store::{PasswordHash, Users};

/// The users as this node knows them.
#[derive(Debug)]
pub(super) struct UserKeeper {
    first_password: Option<PasswordHash>,
    known: RefCell<KnownUsers>,
    changed: Rc<Notify>,
}

impl UserKeeper {
    /// Until a store was read, this password is the one of the user `default`.
    pub(super) fn new(first_password: Option<PasswordHash>) -> Self {
        let stored = Arc::new(Users::default());
        let users = Arc::new(stored.with_first_password(first_password.as_ref()));
        let known = RefCell::new(KnownUsers { users, stored, is_current: false });
        Self { first_password, known, changed: Rc::default() }
    }

    pub(super) fn known(&self) -> KnownUsers {
        self.known.borrow().clone()
    }

    /// Waits for the next change.
    pub(super) fn changed(&self) -> impl Future<Output = ()> + 'static + use<> {
        let changed = Rc::clone(&self.changed);
        async move { changed.notified().await }
    }

    /// Follows the users of the store. The first look asks a quorum, so that a node that comes back with an old store
    /// takes no work by users that are no more.
    pub(super) async fn keep<E: Election>(&self, shared: &Shared<E>) {
        while let Err(reason) = self.learn(shared, Freshness::Linearizable).await {
            tracing::debug!(%reason, "the users were not read");
            // Meanwhile the store that this node has tells whom it trusted last.
            let _ = self.learn(shared, Freshness::Local).await;
            sleep(RETRY).await;
        }
        loop {
            let changed = Arc::new(Notify::new());
            let wake = Arc::clone(&changed);
            let wait = move || wake.notify_one();
            let waits = shared.shards[0].look(Freshness::Local, |shard, _| shard.state().wait_for_users(wait)).await;
            if self.learn(shared, Freshness::Local).await.is_ok() && waits.is_ok() {
                changed.notified().await;
            } else {
                sleep(RETRY).await;
            }
        }
    }

    /// Takes over the users of this node's store, or those of the cluster.
    pub(super) async fn learn<E: Election>(&self, shared: &Shared<E>, freshness: Freshness) -> Result<(), Reason> {
        let stored = shared.shards[0].look(freshness, |shard, _| Arc::clone(shard.state().users())).await?;
        let before = self.known();
        let is_current = before.is_current || freshness == Freshness::Linearizable;
        if Arc::ptr_eq(&stored, &before.stored) && is_current == before.is_current {
            return Ok(());
        }
        let users = Arc::new(stored.with_first_password(self.first_password.as_ref()));
        self.known.replace(KnownUsers { users, stored, is_current });
        self.changed.notify_waiters();
        Ok(())
    }
}

const RETRY: Duration = Duration::from_millis(100);
