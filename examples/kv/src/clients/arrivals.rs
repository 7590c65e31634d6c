//! The connections of a node's clients as tasks, and those of them that have to log in.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use metrics::Gauge;
use tokio::task::AbortHandle;

/// The tasks of the connections, by their numbers. Those of strangers, who have to encrypt or log in first, can be
/// ended.
#[derive(Debug)]
pub struct Arrivals {
    tasks: RefCell<BTreeMap<i64, AbortHandle>>,
    /// The connections of strangers. The first came first.
    strangers: RefCell<BTreeSet<i64>>,
    gauge: Gauge,
}

impl Default for Arrivals {
    fn default() -> Self {
        let gauge = metrics::gauge!("kv_unauthenticated_clients");
        Self { tasks: RefCell::default(), strangers: RefCell::default(), gauge }
    }
}

impl Arrivals {
    /// Adds a connection.
    pub fn add(&self, id: i64, task: AbortHandle) {
        self.tasks.borrow_mut().insert(id, task);
    }

    /// Removes a connection that has ended.
    pub fn remove(&self, id: i64) {
        self.tasks.borrow_mut().remove(&id);
        self.set_stranger(id, false);
    }

    /// Says whether a connection is one of a stranger.
    pub fn set_stranger(&self, id: i64, is_stranger: bool) {
        let mut strangers = self.strangers.borrow_mut();
        let is_changed = if is_stranger { strangers.insert(id) } else { strangers.remove(&id) };
        if is_changed {
            self.gauge.set(quorate_runtime::metrics::as_gauge(strangers.len() as u64));
        }
    }

    /// Number of strangers.
    pub fn strangers(&self) -> usize {
        self.strangers.borrow().len()
    }

    /// Ends the connection of the stranger that came first, other than this one. Returns false if there is none.
    pub fn end_oldest_stranger(&self, other_than: i64) -> bool {
        let oldest = self.strangers.borrow().iter().copied().find(|id| *id != other_than);
        let Some(oldest) = oldest else { return false };
        if let Some(task) = self.tasks.borrow().get(&oldest) {
            task.abort();
        }
        // Its task ends later; until then it counts no more.
        self.set_stranger(oldest, false);
        true
    }
}
