//! The store as the state machine of a shard.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use bytes::Bytes;
use quorate_protocol::LogTime;
use quorate_runtime::{ApplyContext, StateMachine};
use quorate_two_phase_commit::Vote;
use quorate_two_phase_commit::manager::BranchId;
use quorate_two_phase_commit::manager::replica::{BranchState, Branched};

use super::shards::work::{ShardReply, Work};
use super::store::{Garbage, Snapshot, Store};

/// The state machine of a shard: a store whose work can be prepared first and committed later.
pub type Shard = Branched<Store>;

/// An empty store for a node.
pub fn new_store() -> Store {
    Store::new().with_discard(discard)
}

impl StateMachine for Store {
    type Snapshot = Snapshot;

    fn apply(&mut self, context: ApplyContext, work: Bytes) -> io::Result<Bytes> {
        let done = Work::decode(work).and_then(|work| work.carry_out(self, context.log_time.0));
        done.map(ShardReply::encode).map_err(io::Error::other)
    }

    fn tick(&mut self, context: ApplyContext) -> io::Result<()> {
        Self::tick(self, context.log_time.0);
        Ok(())
    }

    fn snapshot(&self) -> Snapshot {
        Self::snapshot(self)
    }

    fn write(snapshot: Snapshot, out: &mut dyn io::Write) -> io::Result<()> {
        snapshot.write(out)
    }

    fn restore(from: &mut dyn io::Read) -> io::Result<Self> {
        let restored = Self::restore(from).map_err(io::Error::other)?;
        Ok(restored.with_discard(discard))
    }

    fn digest(&self) -> u64 {
        Self::digest(self)
    }

    fn next_deadline(&self) -> Option<LogTime> {
        Self::next_deadline(self).map(LogTime)
    }
}

impl BranchState for Store {
    fn keys(&self, work: &Bytes) -> BTreeSet<Bytes> {
        // Work that cannot be read is refused when it is carried out.
        self.work(work).map(|work| work.keys()).unwrap_or_default()
    }

    fn vote(&self, log_time: LogTime, work: &Bytes) -> Vote {
        match self.work(work) {
            Some(work) if work.is_possible(self, log_time.0) => Vote::Yes,
            _ => Vote::No,
        }
    }

    fn holder(&self, work: &Bytes, locks: &BTreeMap<Bytes, BranchId>) -> Option<BranchId> {
        let work = self.work(work)?;
        let locked = |key: &Bytes| locks.get(key).copied();
        let in_the_way = |(key, holder): (&Bytes, &BranchId)| work.waits_for(key).then_some(*holder);
        work.keys().iter().find_map(locked).or_else(|| locks.iter().find_map(in_the_way))
    }

    fn take(&mut self, work: Bytes) -> Bytes {
        match Work::decode(work.clone()) {
            // The vote found all pieces.
            Ok(Work::Whole { id, count }) => self.take_pieces(id, count).unwrap_or(work),
            _ => work,
        }
    }
}

impl Store {
    /// The work of an entry, put together if its pieces came before. `None` if it cannot be read, or is incomplete.
    fn work(&self, work: &Bytes) -> Option<Work> {
        Work::decode_whole(work.clone(), self).ok().flatten()
    }
}

/// Frees many keys on a thread of their own, so that the loop is not held up.
fn discard(garbage: Garbage) {
    if garbage.keys() > KEYS_FREED_AT_ONCE {
        // If no thread can be started, the closure is dropped here, and the keys with it.
        let _ = std::thread::Builder::new().name("free".to_owned()).spawn(move || drop(garbage));
    }
}

const KEYS_FREED_AT_ONCE: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::EntryWriter;
    use crate::resp::Version;
    use crate::shards::work::{Effect, Part};
    use quorate_protocol::ClusterId;
    use quorate_two_phase_commit::TransactionNumber;
    use quorate_two_phase_commit::manager::{ManagerId, ResourceId};

    fn set(key: &[u8]) -> Bytes {
        let mut entry = EntryWriter::new(Version::Resp2, 0, 0, 0);
        entry.command(&[b"SET", key, b"value"]);
        Work::Entry { entry: entry.finish(), asks: false }.encode()
    }

    fn locks(holder: BranchId, work: &Work) -> BTreeMap<Bytes, BranchId> {
        work.keys().into_iter().map(|key| (key, holder)).collect()
    }

    #[test]
    fn while_a_cut_is_prepared_nothing_else_is_done_and_it_waits_for_all_that_is() {
        let manager = ManagerId { cluster: ClusterId(7), log: 1 };
        let branch =
            BranchId { manager, resource: ResourceId::of_name("shard-0"), number: TransactionNumber::default() };
        let (store, cut) = (new_store(), Work::Cut { id: 7 });
        let part = Part { checks: Vec::new(), effects: vec![Effect::Remove(Bytes::from("a"))] };
        let part = Work::Part { part, only_if: false };
        let by_cut = locks(branch, &cut);
        for work in [set(b"b"), part.encode(), Work::Cut { id: 8 }.encode()] {
            assert_eq!(store.holder(&work, &by_cut), Some(branch), "{work:?}");
        }
        let by_part = locks(branch, &part);
        assert_eq!(store.holder(&cut.encode(), &by_part), Some(branch));
        assert_eq!(store.holder(&set(b"b"), &by_part), None, "another key");
        assert_eq!(store.vote(LogTime(1), &cut.encode()), Vote::Yes);
    }
}
