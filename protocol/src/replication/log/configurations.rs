//! The configurations in the log, and the one in force.

use crate::{Configuration, LogIndex, NodeId};

/// The configurations with the indexes from which they are in force.
#[derive(Clone, Debug)]
pub(crate) struct Configurations {
    /// Ascending. The first is at or before the base of the log, and is never taken away.
    list: Vec<(LogIndex, Configuration)>,
    /// Number of times that another configuration came into force.
    changes: u64,
}

impl Configurations {
    /// Starts with the configuration at the base of the log.
    pub(crate) fn new(base: LogIndex, configuration: Configuration) -> Self {
        Self { list: vec![(base, configuration)], changes: 0 }
    }

    /// Returns the configuration in force: the newest one, committed or not. It is empty while none is known.
    pub(crate) fn newest(&self) -> &Configuration {
        &self.list.last().expect("the first is never taken away").1
    }

    /// Returns the index from which the configuration in force applies, or the base if it came with a snapshot.
    pub(crate) fn index(&self) -> LogIndex {
        self.list.last().expect("the first is never taken away").0
    }

    /// Returns the newest configuration at or before `index`.
    pub(crate) fn at(&self, index: LogIndex) -> &(LogIndex, Configuration) {
        self.list.iter().rev().find(|(at, _)| *at <= index).unwrap_or(&self.list[0])
    }

    /// Returns the newest configuration at or before `index`, and every later one.
    pub(crate) fn from(&self, index: LogIndex) -> impl Iterator<Item = &Configuration> {
        let (from, _) = self.at(index);
        self.list.iter().filter(move |(at, _)| at >= from).map(|(_, configuration)| configuration)
    }

    /// Returns all of them, ascending.
    #[cfg(feature = "testing")]
    pub(crate) fn all(&self) -> &[(LogIndex, Configuration)] {
        &self.list
    }

    /// Returns true if one of them contains the node.
    pub(crate) fn mention(&self, node: NodeId) -> bool {
        self.list.iter().any(|(_, configuration)| configuration.contains(node))
    }

    /// Returns the number of times that another configuration came into force.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Adds the configuration in the entry at `index`, unless a snapshot brought a newer one.
    pub(super) fn add(&mut self, index: LogIndex, configuration: Configuration) {
        if self.index() < index {
            self.list.push((index, configuration));
            self.changes += 1;
        }
    }

    /// Removes those after `kept`.
    pub(super) fn truncate(&mut self, kept: LogIndex) {
        while self.list.len() > 1 && self.index() > kept {
            self.list.pop();
            self.changes += 1;
        }
    }

    /// Removes those that are not in force at `base` or after it.
    pub(super) fn compact(&mut self, base: LogIndex) {
        while self.list.len() > 1 && self.list[1].0 <= base {
            self.list.remove(0);
        }
    }

    /// Starts again with the configuration of a snapshot.
    pub(super) fn reset(&mut self, base: LogIndex, configuration: Configuration) {
        self.changes += u64::from(*self.newest() != configuration);
        self.list = vec![(base, configuration)];
    }

    /// The state that affects behaviour.
    pub(super) fn view(&self) -> impl std::fmt::Debug + '_ {
        &self.list
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.list.windows(2).all(|pair| pair[0].0 < pair[1].0), "configurations ascend");
    }
}
