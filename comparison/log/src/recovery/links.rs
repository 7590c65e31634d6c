//! The links between the nodes of other crates.

use std::collections::BTreeSet;

/// The pairs of nodes that reach each other.
#[derive(Debug, Default)]
pub struct Links {
    working: BTreeSet<(u64, u64)>,
}

impl Links {
    /// All links between `nodes` nodes.
    pub fn all(nodes: u64) -> Self {
        let working = (1..=nodes).flat_map(|from| (1..=nodes).map(move |to| (from, to)));
        Self { working: working.filter(|(from, to)| from != to).collect() }
    }

    /// Cuts all links but these. Returns those that were cut before, in both directions.
    pub fn keep_only(&mut self, links: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let both = links.iter().flat_map(|(one, other)| [(*one, *other), (*other, *one)]).collect();
        let before = std::mem::replace(&mut self.working, both);
        self.working.difference(&before).copied().collect()
    }

    /// True if messages from `from` reach `to`.
    pub fn work(&self, from: u64, to: u64) -> bool {
        self.working.contains(&(from, to))
    }
}
