//! Promises for the next ballots: they come with the acceptances of the last ones, so that the next change of a
//! register takes one round trip (CASPaxos §2.2.1).

use std::collections::BTreeMap;

use quorate_protocol::ViewWriter;

use super::content::Key;
use super::decide::Basis;
use crate::Ballot;

/// The promises of quorums for ballots that have not begun, for a bounded number of registers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Continued {
    by_key: BTreeMap<Key, Promised>,
    /// The registers in the order of eviction.
    order: BTreeMap<u64, Key>,
    next_stamp: u64,
}

/// A quorum has promised this ballot, and had accepted this content just before.
#[derive(Clone, Debug)]
struct Promised {
    ballot: Ballot,
    basis: Basis,
    stamp: u64,
}

impl Continued {
    /// Keeps the promises for a register, and drops the oldest if there are too many.
    pub(crate) fn keep(&mut self, key: &Key, ballot: Ballot, basis: Basis, count_max: usize) {
        self.take(key);
        self.next_stamp += 1;
        let stamp = self.next_stamp;
        self.order.insert(stamp, key.clone());
        self.by_key.insert(key.clone(), Promised { ballot, basis, stamp });
        while self.by_key.len() > count_max
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.by_key.remove(&oldest);
        }
    }

    /// Takes the promises for a register: a ballot begins only once.
    pub(crate) fn take(&mut self, key: &Key) -> Option<(Ballot, Basis)> {
        let Promised { ballot, basis, stamp } = self.by_key.remove(key)?;
        self.order.remove(&stamp);
        Some((ballot, basis))
    }

    /// Drops all promises.
    pub(crate) fn clear(&mut self) {
        self.by_key.clear();
        self.order.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(crate) fn view(&self, writer: &mut ViewWriter) {
        for key in self.order.values() {
            let Promised { ballot, basis, .. } = &self.by_key[key];
            writer.put(&(key, ballot, basis));
        }
    }
}
