//! Histories in which no state is left twice, such as those of clients that write each value only once.
//!
//! In such a history it is known which call saw which, and intervals decide whether there is an order (Gibbons and
//! Korach, "Testing Shared Memories", SIAM Journal on Computing 26 (1997), section 4; here with calls that want one
//! state and leave another, such as cas). It takes as much time as sorting, however many calls are under way at once
//! and however many are of unknown outcome.
//!
//! - A *cluster* is the call that left a state, and those that found it. A call that wants a state and leaves another
//!   joins two clusters into a *chain*: nothing can come between them. The state before the first call begins a chain
//!   too.
//! - Within a chain, no call may have been answered before an earlier call of the chain was made.
//! - A chain must hold the object from its first answer `first` to its last call `last`, if `first` is earlier: a
//!   *forward* zone. No two forward zones may overlap.
//! - If `last` is earlier, all its calls were under way at once, and the whole chain fits any moment between. This
//!   *backward* zone must not lie within a forward zone.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use super::super::Model;
use super::timed::{Linearization, Timed};

/// The verdict, if no state is left twice and every call is known; otherwise `None`.
pub(super) fn judge<M: Model>(model: &M, operations: &[Timed<M::Operation>]) -> Option<Linearization> {
    let mut chains = match Chains::new(model, operations)? {
        Ok(chains) => chains,
        Err(Impossible) => return Some(Linearization::Impossible),
    };
    let is_possible = chains.list.iter().all(Chain::is_possible) && chains.place();
    if !is_possible {
        return Some(Linearization::Impossible);
    }
    chains.list.sort_by_key(|chain| chain.point);
    let order = chains.list.into_iter().flat_map(|chain| chain.clusters).flat_map(Cluster::into_order);
    Some(Linearization::Possible { order: order.collect() })
}

struct Impossible;

/// The times of a call. Times are positions in the order of all calls and answers.
#[derive(Clone, Copy, Debug)]
struct Span {
    operation: usize,
    called: usize,
    /// [`NEVER`] for a call of unknown outcome.
    answered: usize,
}

/// The call that left a state (`None` for the initial state), and those that found it and left it unchanged.
#[derive(Debug, Default)]
struct Cluster {
    writer: Option<Span>,
    readers: Vec<Span>,
}

impl Cluster {
    fn spans(&self) -> impl Iterator<Item = &Span> {
        self.writer.iter().chain(&self.readers)
    }

    fn into_order(self) -> impl Iterator<Item = usize> {
        self.writer.into_iter().chain(self.readers).map(|span| span.operation)
    }
}

/// Clusters between which nothing can come, in their order.
#[derive(Debug, Default)]
struct Chain {
    clusters: Vec<Cluster>,
    /// The first answer; 0 for the chain that begins before any call.
    first: usize,
    /// The last call.
    last: usize,
    /// The point at which it is placed.
    point: usize,
}

impl Chain {
    fn new(clusters: Vec<Cluster>) -> Self {
        let is_initial = clusters.first().is_some_and(|cluster| cluster.writer.is_none());
        let spans = || clusters.iter().flat_map(Cluster::spans);
        let first = if is_initial { 0 } else { spans().map(|span| span.answered).min().unwrap_or(0) };
        let last = spans().map(|span| span.called).max().unwrap_or(0);
        Self { clusters, first, last, point: 0 }
    }

    fn is_forward(&self) -> bool {
        self.first < self.last
    }

    /// True if no call was answered before an earlier call of the chain was made.
    fn is_possible(&self) -> bool {
        let mut called_before = 0;
        for cluster in &self.clusters {
            if let Some(writer) = cluster.writer {
                if writer.answered < called_before {
                    return false;
                }
                called_before = called_before.max(writer.called);
            }
            if cluster.readers.iter().any(|reader| reader.answered < called_before) {
                return false;
            }
            called_before = cluster.readers.iter().map(|reader| reader.called).fold(called_before, usize::max);
        }
        true
    }
}

struct Chains {
    list: Vec<Chain>,
}

impl Chains {
    /// `None` if a state is left twice, or a call is not fully known.
    fn new<M: Model>(model: &M, operations: &[Timed<M::Operation>]) -> Option<Result<Self, Impossible>> {
        let mut effects: HashMap<M::State, Effect<M::State>> = HashMap::new();
        effects.insert(model.initial(), Effect::default());
        let mut seen = Seen::default();
        let spans = spans(operations);
        for (span, timed) in spans.iter().zip(operations) {
            let operation = &timed.operation;
            let (wants, leaves) = (model.wants(operation), model.leaves(operation));
            let is_known = (wants.is_some() || model.overwrites(operation))
                && (leaves.is_some() || model.reads_only(operation))
                && (wants != leaves);
            if !is_known {
                return None;
            }
            if let Some(left) = &leaves {
                let is_first = *left != model.initial() && effects.get(left).is_none_or(|known| known.writer.is_none());
                if !is_first {
                    return None;
                }
                let effect = effects.entry(left.clone()).or_default();
                effect.writer = Some(*span);
                effect.wants.clone_from(&wants);
            }
            if timed.returned.is_some() {
                seen.note(wants, leaves, *span);
            }
        }
        Some(seen.into_clusters(&effects, &model.initial()).and_then(|clusters| join(clusters, &effects)))
    }

    /// Finds a point for every chain. Returns false if there is none.
    fn place(&mut self) -> bool {
        let mut forward: Vec<(usize, usize)> =
            self.list.iter().filter(|chain| chain.is_forward()).map(|chain| (chain.first, chain.last)).collect();
        forward.sort_unstable();
        if forward.windows(2).any(|pair| pair[1].0 < pair[0].1) {
            return false;
        }
        for chain in &mut self.list {
            // Doubled, so that there is room between two moments.
            chain.point = chain.last * 2;
            if chain.is_forward() {
                continue;
            }
            let after = forward.partition_point(|(first, _)| *first < chain.last);
            if let Some((_, end)) = after.checked_sub(1).map(|at| forward[at])
                && end > chain.last
            {
                if end > chain.first {
                    return false;
                }
                chain.point = end * 2 + 1;
            }
        }
        true
    }
}

/// The call that leaves a state, and the state that it wants.
struct Effect<S> {
    writer: Option<Span>,
    wants: Option<S>,
}

impl<S> Default for Effect<S> {
    fn default() -> Self {
        Self { writer: None, wants: None }
    }
}

/// The states that answered calls found and left.
struct Seen<S> {
    states: HashSet<S>,
    /// In the order in which they are met, so that the result depends on the history alone.
    waiting: Vec<S>,
    readers: HashMap<S, Vec<Span>>,
}

impl<S> Default for Seen<S> {
    fn default() -> Self {
        Self { states: HashSet::new(), waiting: Vec::new(), readers: HashMap::new() }
    }
}

impl<S: Clone + Eq + Hash> Seen<S> {
    fn note(&mut self, wants: Option<S>, leaves: Option<S>, span: Span) {
        if let (Some(found), None) = (&wants, &leaves) {
            self.readers.entry(found.clone()).or_default().push(span);
        }
        for state in wants.into_iter().chain(leaves) {
            if self.states.insert(state.clone()) {
                self.waiting.push(state);
            }
        }
    }

    /// Every state that certainly occurred, with the calls that found it. A call of unknown outcome counts if its state
    /// was found; the others need not have happened.
    fn into_clusters(mut self, effects: &HashMap<S, Effect<S>>, initial: &S) -> Result<Vec<(S, Cluster)>, Impossible> {
        let mut clusters = Vec::new();
        if self.states.insert(initial.clone()) {
            self.waiting.push(initial.clone());
        }
        let mut next = 0;
        while let Some(state) = self.waiting.get(next).cloned() {
            next += 1;
            let effect = effects.get(&state).ok_or(Impossible)?;
            if effect.writer.is_none() && state != *initial {
                return Err(Impossible);
            }
            if let Some(wanted) = &effect.wants
                && self.states.insert(wanted.clone())
            {
                self.waiting.push(wanted.clone());
            }
            let mut readers = self.readers.remove(&state).unwrap_or_default();
            readers.sort_unstable_by_key(|reader| reader.called);
            clusters.push((state, Cluster { writer: effect.writer, readers }));
        }
        Ok(clusters)
    }
}

/// Joins clusters into chains. Each chain begins with the initial state, or with a state left by a call that wants
/// none.
fn join<S: Clone + Eq + Hash>(
    clusters: Vec<(S, Cluster)>,
    effects: &HashMap<S, Effect<S>>,
) -> Result<Chains, Impossible> {
    let mut follower: HashMap<S, usize> = HashMap::new();
    let mut beginnings = Vec::new();
    for (number, (state, _)) in clusters.iter().enumerate() {
        let Some(wanted) = effects.get(state).and_then(|effect| effect.wants.clone()) else {
            beginnings.push(number);
            continue;
        };
        if follower.insert(wanted, number).is_some() {
            // Two calls found the same state, and each left another.
            return Err(Impossible);
        }
    }
    let mut clusters: Vec<Option<(S, Cluster)>> = clusters.into_iter().map(Some).collect();
    let mut list = Vec::new();
    for beginning in beginnings {
        let mut chain = Vec::new();
        let mut next = Some(beginning);
        while let Some((state, cluster)) = next.and_then(|number| clusters[number].take()) {
            next = follower.get(&state).copied();
            chain.push(cluster);
        }
        list.push(Chain::new(chain));
    }
    // The remaining clusters found each other's states in a circle.
    if clusters.iter().any(Option::is_some) { Err(Impossible) } else { Ok(Chains { list }) }
}

/// Position of each call and answer in the order of all. A call at the time of an answer comes before it. Positions
/// begin with 1, so that 0 is before all of them.
fn spans<O>(operations: &[Timed<O>]) -> Vec<Span> {
    let mut moments: Vec<(u64, bool, usize)> = Vec::with_capacity(operations.len() * 2);
    for (number, timed) in operations.iter().enumerate() {
        moments.push((timed.invoked, false, number));
        moments.extend(timed.returned.map(|returned| (returned.max(timed.invoked), true, number)));
    }
    moments.sort_unstable();
    let mut spans: Vec<Span> =
        (0..operations.len()).map(|operation| Span { operation, called: 0, answered: NEVER }).collect();
    for (place, (_, is_answer, number)) in moments.into_iter().enumerate() {
        let span = &mut spans[number];
        *(if is_answer { &mut span.answered } else { &mut span.called }) = place + 1;
    }
    spans
}

const NEVER: usize = usize::MAX / 4;
