//! A store as one of several: the users, which the first has, the slots whose keys it holds, and parts of it on which
//! a command is tried.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::record::{Head, Record};
use super::slots::Slots;
use super::trace::Trace;
use super::{Elsewhere, Scripts, Slot, SlotChange, SlotError, Store, Touched, Users, Wait, slot_of};

impl Store {
    /// Where else a key has to be looked for. `asks` is set if the shard from which its slot moves has sent the asker.
    pub fn elsewhere(&self, log_time: u64, key: &[u8], asks: bool) -> Option<Elsewhere> {
        self.slots.as_ref()?.elsewhere(key, asks, || self.find(log_time, key).is_some())
    }

    /// Changes the slots that the store of this shard holds, for a move that began in this generation of the layout:
    /// all of these or none. Takes as long as a scan of all keys
    /// if the slots are founded.
    ///
    /// # Errors
    /// When the change is not for such slots.
    pub fn change_slots(&mut self, change: SlotChange, generation: u64, slots: &[u16]) -> Result<(), SlotError> {
        match &mut self.slots {
            Some(known) => known.change(change, generation, slots),
            None if change == SlotChange::Found => {
                let mut founded = Slots::founded(slots);
                self.table.iter().for_each(|record| founded.added(record.key()));
                self.slots = Some(founded);
                Ok(())
            }
            None => Err(SlotError::NotFounded),
        }
    }

    /// Each slot. `None` if the store holds all keys.
    pub fn slots(&self) -> Option<&Arc<[Slot]>> {
        self.slots.as_ref().map(Slots::all)
    }

    /// Number of keys in a slot, including expired ones that are not removed yet. 0 if slots are not counted.
    pub fn keys_in_slot(&self, slot: u16) -> u32 {
        self.slots.as_ref().map_or(0, |slots| slots.keys(slot))
    }

    /// The scripts that are kept.
    pub fn scripts(&self) -> &Arc<Scripts> {
        &self.scripts
    }

    /// The users, to be changed. Who waits for a change is told.
    pub fn users_mut(&mut self) -> &mut Users {
        self.user_waiters.wake_all();
        Arc::make_mut(&mut self.users)
    }

    /// Calls `wake` whenever the users may have changed, until the wait is dropped.
    pub fn wait_for_users(&self, wake: impl Fn() + Send + Sync + 'static) -> Wait {
        self.user_waiters.wait(vec![Box::default()], wake)
    }

    /// A store of some keys of larger ones, to try a command on: `known` are the keys of which it is known what the
    /// larger ones have, and `scripts` are theirs. Keys are then to be [adopted](Self::adopt).
    pub fn part_of(scripts: Arc<Scripts>, known: BTreeSet<Box<[u8]>>) -> Self {
        let mut part = Self::new();
        part.is_seeded = true;
        part.scripts = scripts;
        part.trace = Some(Box::new(Trace::new(known)));
        part
    }

    /// What was touched since the last call, in a [part](Self::part_of) of larger stores.
    pub fn take_touched(&self) -> Touched {
        self.trace.as_ref().map(|trace| trace.take()).unwrap_or_default()
    }

    /// The record of a key, expired or not, if it is not the one of this version.
    pub fn changed_since(&self, key: &[u8], version: u64) -> Option<Option<&Record>> {
        let record = self.table.get(self.table.hash(key), key);
        (record.map_or(0, Record::version) != version).then_some(record)
    }

    /// Sets a key to the record of another store, its version included. A later change of the key has a higher version.
    pub fn adopt(&mut self, record: &Record) {
        self.revision = self.revision.max(record.version());
        let head = Head {
            hash: self.table.hash(record.key()),
            key: record.key(),
            deadline: record.deadline(),
            version: record.version(),
        };
        let copy = record.with_head(&mut self.scratch, head);
        self.insert(copy);
    }

    /// Keys of some slots from a cursor on, as [`Store::scan`].
    pub fn scan_slots(&self, log_time: u64, cursor: u64, count: usize, slots: &BTreeSet<u16>) -> (u64, Vec<&Record>) {
        let (next, mut found) = self.scan(log_time, cursor, count);
        found.retain(|record| slots.contains(&slot_of(record.key())));
        (next, found)
    }
}
