//! What was found out of single nodes.
//!
//! States of a world differ in how those of its nodes combine. There are far fewer of the latter, so what becomes of a node when
//! something happens to it is worked out once. That equal views react alike, which makes two states one, makes this right, too.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::node::{Node, Outcome};
use crate::subject::Subject;

/// Outcomes by node and happening, and nodes by identity, so that equal ones are in memory once.
pub(crate) struct Memo<S: Subject> {
    shards: Vec<Mutex<Shard<S>>>,
}

struct Shard<S: Subject> {
    outcomes: HashMap<(u64, u64), Arc<Outcome<S>>>,
    nodes: HashMap<u64, Arc<Node<S>>>,
}

impl<S: Subject> Memo<S> {
    pub(crate) fn new() -> Self {
        let shard = || Mutex::new(Shard { outcomes: HashMap::new(), nodes: HashMap::new() });
        Self { shards: (0..SHARDS).map(|_| shard()).collect() }
    }

    /// What becomes of this node when this happens to it, worked out only when it is not known.
    pub(crate) fn outcome(&self, node: u64, happening: u64, work_out: impl FnOnce() -> Outcome<S>) -> Arc<Outcome<S>> {
        let key = (node, happening);
        let shard = self.shard(node ^ happening);
        let known = shard.lock().unwrap_or_else(PoisonError::into_inner).outcomes.get(&key).cloned();
        if let Some(outcome) = known {
            return outcome;
        }
        let mut outcome = work_out();
        if outcome.broken.is_none() {
            outcome.node = self.intern(outcome.node);
        }
        let outcome = Arc::new(outcome);
        shard.lock().unwrap_or_else(PoisonError::into_inner).outcomes.insert(key, Arc::clone(&outcome));
        outcome
    }

    /// How many states of single nodes were met.
    pub(crate) fn nodes(&self) -> usize {
        let count = |shard: &Mutex<Shard<S>>| shard.lock().unwrap_or_else(PoisonError::into_inner).nodes.len();
        self.shards.iter().map(count).sum()
    }

    fn intern(&self, node: Arc<Node<S>>) -> Arc<Node<S>> {
        let mut shard = self.shard(node.identity()).lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(shard.nodes.entry(node.identity()).or_insert(node))
    }

    fn shard(&self, key: u64) -> &Mutex<Shard<S>> {
        &self.shards[usize::try_from(key % SHARDS).expect("a small number")]
    }
}

const SHARDS: u64 = 64;
