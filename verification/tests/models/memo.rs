//! What was found out of single nodes.
//!
//! States of a world differ in how those of its nodes combine. There are far fewer of the latter, so what becomes of a
//! node when something happens to it is worked out once. That equal views react alike, which makes two states one,
//! makes this right, too; and it is checked, on nodes that came to equal views in different ways.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::node::{Happening, Node, StepOutcome};
use crate::subject::Subject;

/// Outcomes by node and happening, and nodes by identity, so that equal ones are in memory once.
pub(crate) struct Memo<S: Subject> {
    shards: Vec<Mutex<Shard<S>>>,
}

struct Shard<S: Subject> {
    outcomes: HashMap<(u64, u64), Known<S>>,
    /// The first node of each identity, and a few that came to it in other ways.
    nodes: HashMap<u64, Vec<Arc<Node<S>>>>,
}

struct Known<S: Subject> {
    happening: Happening<S::Core>,
    outcome: Arc<StepOutcome<S>>,
}

impl<S: Subject> Memo<S> {
    pub(crate) fn new() -> Self {
        let shard = || Mutex::new(Shard { outcomes: HashMap::new(), nodes: HashMap::new() });
        Self { shards: (0..SHARDS).map(|_| shard()).collect() }
    }

    /// What becomes of `node` when that happens to it for which `identity` stands, worked out only when it is not
    /// known.
    pub(crate) fn outcome(
        &self,
        subject: &S,
        node: &Node<S>,
        identity: u64,
        happening: impl FnOnce() -> Happening<S::Core>,
    ) -> Arc<StepOutcome<S>> {
        let key = (node.identity(), identity);
        let shard = self.shard(node.identity());
        if let Some(known) = locked(shard).outcomes.get(&key) {
            return Arc::clone(&known.outcome);
        }
        let happening = happening();
        let mut outcome = node.step(subject, happening.clone());
        if outcome.broken.is_none() {
            outcome.node = self.intern(outcome.node);
        }
        let outcome = Arc::new(outcome);
        let known = Known { happening, outcome: Arc::clone(&outcome) };
        locked(shard).outcomes.insert(key, known);
        outcome
    }

    /// How many states of single nodes were met.
    pub(crate) fn nodes(&self) -> usize {
        self.shards.iter().map(|shard| locked(shard).nodes.len()).sum()
    }

    /// Whether nodes that count as equal react alike to all that happened to one of them: how many such pairs of
    /// reactions were compared, or two that differ.
    pub(crate) fn compare_equal_nodes(&self, subject: &S) -> Result<usize, String> {
        let mut compared = 0;
        for shard in &self.shards {
            let shard = locked(shard);
            for ((identity, _), known) in shard.outcomes.iter().collect::<Vec<_>>() {
                let others = shard.nodes.get(identity).into_iter().flatten().skip(1);
                for other in others {
                    let reaction = other.step(subject, known.happening.clone()).reaction(subject);
                    let expected = known.outcome.reaction(subject);
                    if reaction != expected {
                        let happening = &known.happening;
                        return Err(format!("{other:?}\n{happening:?}\n{expected:?}\nor\n{reaction:?}"));
                    }
                    compared += 1;
                }
            }
        }
        Ok(compared)
    }

    fn intern(&self, node: Arc<Node<S>>) -> Arc<Node<S>> {
        let mut shard = locked(self.shard(node.identity()));
        let equal = shard.nodes.entry(node.identity()).or_default();
        if equal.len() < EQUAL_NODES_MAX {
            equal.push(node);
        }
        Arc::clone(&equal[0])
    }

    fn shard(&self, node: u64) -> &Mutex<Shard<S>> {
        &self.shards[usize::try_from(node % SHARDS).expect("a small number")]
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const SHARDS: u64 = 64;
/// So many nodes of one identity are kept to be compared.
const EQUAL_NODES_MAX: usize = 4;
