//! A check that cores with equal views answer every input equally, however they came to them.

use std::collections::BTreeMap;

use super::{Cluster, Subject};
use crate::{Input, Instant, NodeId, Now, Output, Signal, View};

/// Cores that were seen in clusters, by their views.
#[derive(Debug)]
pub struct Alike<P: Subject<View = View>> {
    seen: BTreeMap<View, Seen<P>>,
    compared: u64,
    wall_ms: u64,
    words: fn(Output<P>) -> String,
}

/// A core, and the time of its last input.
#[derive(Debug)]
struct Seen<P> {
    core: P,
    at: Instant,
}

impl<P: Subject<View = View>> Alike<P> {
    /// Inputs come at this time of the wall clock. `words` describes an output without what the view leaves out, for
    /// example the numbers of tickets.
    pub fn new(wall_ms: u64, words: fn(Output<P>) -> String) -> Self {
        Self { seen: BTreeMap::new(), compared: 0, wall_ms, words }
    }

    /// Looks at each node of a cluster. If a core with its view was seen before, both must answer each of `inputs`
    /// equally, which a core's own numbers may affect, and their deadlines.
    ///
    /// # Panics
    /// When two cores differ.
    pub fn look(&mut self, cluster: &mut Cluster<P>, inputs: impl Fn(&P) -> Vec<Input<P>>) {
        let ids: Vec<NodeId> = cluster.nodes.keys().copied().collect();
        for id in ids {
            // A view belongs to the time of the last input. This input has no other effect.
            cluster.input(id, Input::Signal(Signal::PeerAlive(NOBODY)));
            let Some(core) = cluster.nodes[&id].core.clone() else { continue };
            let seen = Seen { core, at: cluster.now() };
            let view = seen.core.model_view();
            if let Some(other) = self.seen.get(&view) {
                self.compare(&view, other, &seen, &inputs);
                self.compared += 1;
            } else if self.seen.len() < SEEN_MAX {
                self.seen.insert(view, seen);
            }
        }
    }

    /// Number of pairs that were compared.
    #[must_use]
    pub fn compared(&self) -> u64 {
        self.compared
    }

    fn compare(&self, view: &View, one: &Seen<P>, two: &Seen<P>, inputs: &impl Fn(&P) -> Vec<Input<P>>) {
        for (first, second) in inputs(&one.core).into_iter().zip(inputs(&two.core)) {
            let to = format!("{first:?}");
            let (first, second) = (self.reaction(&one.core, one.at, first), self.reaction(&two.core, two.at, second));
            assert_eq!(first, second, "to {to}\nwith {view:?}");
        }
        let timeout = |core: &P, at| self.reaction(core, at, Input::Signal(Signal::Timeout));
        match (one.core.deadline(), two.core.deadline()) {
            (Some(first), Some(second)) => {
                assert_eq!(timeout(&one.core, first), timeout(&two.core, second), "to the deadline\nwith {view:?}");
            }
            (first, second) => assert_eq!(first.is_some(), second.is_some(), "both wait or none\nwith {view:?}"),
        }
    }

    /// The outputs of a core after an input.
    fn reaction(&self, core: &P, at: Instant, input: Input<P>) -> Vec<String> {
        let mut core = core.clone();
        core.handle(Now { instant: at, wall_ms: self.wall_ms }, input);
        std::iter::from_fn(|| core.poll_output()).map(self.words).collect()
    }
}

/// A node that is no peer.
const NOBODY: NodeId = NodeId(99);
/// Maximum number of cores that are kept.
const SEEN_MAX: usize = 20_000;
