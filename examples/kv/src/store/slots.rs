//! The hash slots whose keys a store of one shard holds.
//!
//! A slot is held by one shard. While it moves, the old shard answers for the keys that it still has, and the new one
//! for all others; new keys appear only at the new one.

use std::sync::Arc;

use super::digest::mix;
use quorate_consistent_hash::compat::{REDIS_SLOTS, redis_slot};

/// Number of slots: those of a Redis Cluster.
pub const SLOTS: u16 = REDIS_SLOTS;

/// The slot of a key, as in a Redis Cluster. Keys with the same text between `{` and `}` have the same slot.
pub fn slot_of(key: &[u8]) -> u16 {
    redis_slot(key)
}

/// What a shard has to do with a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotState {
    /// Another shard holds it. The shard to which it moved from here, if it did.
    Away(Option<u16>),
    /// This shard holds it.
    Owned,
    /// Its keys move to another shard.
    Leaving(u16),
    /// Its keys come from another shard.
    Arriving,
}

impl SlotState {
    /// The state as a kind and a shard.
    pub(super) fn code(self) -> (u8, u16) {
        match self {
            Self::Away(None) => (0, 0),
            Self::Away(Some(to)) => (1, to),
            Self::Owned => (2, 0),
            Self::Leaving(to) => (3, to),
            Self::Arriving => (4, 0),
        }
    }

    pub(super) fn of_code(kind: u8, shard: u16) -> Option<Self> {
        Some(match kind {
            0 => Self::Away(None),
            1 => Self::Away(Some(shard)),
            2 => Self::Owned,
            3 => Self::Leaving(shard),
            4 => Self::Arriving,
            _ => return None,
        })
    }
}

/// A slot of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// What the shard has to do with it.
    pub state: SlotState,
    /// The generation of the layout in which its last move began. A step of an older move is refused.
    pub generation: u64,
}

/// Another shard has to be asked about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elsewhere {
    /// The layout tells which.
    Unknown,
    /// This shard holds the slot now.
    Moved(u16),
    /// The slot moves to this shard, and the key is not here (any more).
    Asked(u16),
}

/// A change of a shard's slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotChange {
    /// The shard holds these slots from its beginning, and no others. Changes nothing if its slots are known.
    Found,
    /// The keys of the slots move to a shard.
    Leave(u16),
    /// The keys of the slots will come.
    Arrive,
    /// The slots are held by a shard from now on. Their last key must have left.
    Release(u16),
    /// All keys of the slots have come.
    Settle,
}

/// Reason why slots were not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// It is not known which slots the shard holds.
    #[error("the shard's slots are not known yet")]
    NotFounded,
    /// The slot is in another state than the change is for.
    #[error("slot {0} is in another state")]
    OtherState(u16),
    /// The slot has moved since.
    #[error("slot {0} has moved since")]
    Older(u16),
    /// The slot has keys.
    #[error("slot {0} still has keys")]
    HasKeys(u16),
}

/// The state of every slot, and the number of its keys here.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    slots: Arc<[Slot]>,
    keys: Vec<u32>,
}

impl Slots {
    pub(super) fn new(slots: Vec<Slot>) -> Self {
        Self { slots: slots.into(), keys: vec![0; usize::from(SLOTS)] }
    }

    pub(super) fn founded(owned: &[u16]) -> Self {
        let mut slots = vec![Slot { state: SlotState::Away(None), generation: 0 }; usize::from(SLOTS)];
        for slot in owned {
            slots[usize::from(*slot)].state = SlotState::Owned;
        }
        Self::new(slots)
    }

    pub(super) fn all(&self) -> &Arc<[Slot]> {
        &self.slots
    }

    /// A number that is equal for equal states.
    pub(super) fn digest(&self) -> u64 {
        self.slots.iter().fold(1, |sum, slot| {
            let (kind, shard) = slot.state.code();
            mix(mix(sum, u64::from(kind) << 16 | u64::from(shard)), slot.generation)
        })
    }

    pub(super) fn keys(&self, slot: u16) -> u32 {
        self.keys[usize::from(slot)]
    }

    pub(super) fn added(&mut self, key: &[u8]) {
        self.keys[usize::from(slot_of(key))] += 1;
    }

    pub(super) fn removed(&mut self, key: &[u8]) {
        self.keys[usize::from(slot_of(key))] -= 1;
    }

    pub(super) fn cleared(&mut self) {
        self.keys.fill(0);
    }

    /// Where else a key has to be looked for. `asks` is set if the shard from which the slot moves has sent the asker.
    pub(super) fn elsewhere(&self, key: &[u8], asks: bool, is_here: impl FnOnce() -> bool) -> Option<Elsewhere> {
        match self.slots[usize::from(slot_of(key))].state {
            SlotState::Owned => None,
            SlotState::Arriving if asks => None,
            SlotState::Arriving | SlotState::Away(None) => Some(Elsewhere::Unknown),
            SlotState::Away(Some(to)) => Some(Elsewhere::Moved(to)),
            SlotState::Leaving(to) => (!is_here()).then_some(Elsewhere::Asked(to)),
        }
    }

    /// Changes all of the slots or none, for a move that began in this generation of the layout. What was done before
    /// succeeds again.
    pub(super) fn change(&mut self, change: SlotChange, generation: u64, slots: &[u16]) -> Result<(), SlotError> {
        if change == SlotChange::Found {
            return Ok(());
        }
        let mut changed = self.slots.to_vec();
        for slot in slots {
            let Slot { state, generation: last } = &mut changed[usize::from(*slot)];
            if generation < *last {
                return Err(SlotError::Older(*slot));
            }
            *last = generation;
            *state = match (change, *state) {
                (SlotChange::Leave(to), SlotState::Owned) => SlotState::Leaving(to),
                (SlotChange::Leave(to), SlotState::Leaving(other)) if to == other => SlotState::Leaving(to),
                // A move that was begun again after its end.
                (SlotChange::Leave(to), SlotState::Away(Some(other))) if to == other => SlotState::Away(Some(to)),
                (SlotChange::Arrive, SlotState::Away(_) | SlotState::Arriving) => SlotState::Arriving,
                (SlotChange::Arrive, SlotState::Owned)
                | (SlotChange::Settle, SlotState::Owned | SlotState::Arriving) => SlotState::Owned,
                (SlotChange::Release(to), SlotState::Leaving(other)) if to == other => {
                    if self.keys(*slot) > 0 {
                        return Err(SlotError::HasKeys(*slot));
                    }
                    SlotState::Away(Some(to))
                }
                (SlotChange::Release(to), SlotState::Away(Some(other))) if to == other => SlotState::Away(Some(to)),
                _ => return Err(SlotError::OtherState(*slot)),
            };
        }
        self.slots = changed.into();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(slots: &Slots) -> [SlotState; 3] {
        [5, 6, 7].map(|slot: usize| slots.all()[slot].state)
    }

    #[test]
    fn a_slot_moves_once_and_each_step_may_be_repeated() {
        let (mut from, mut to) = (Slots::founded(&[5, 6]), Slots::founded(&[7]));
        for _ in 0..2 {
            to.change(SlotChange::Arrive, 2, &[5]).unwrap();
            from.change(SlotChange::Leave(1), 2, &[5]).unwrap();
        }
        assert_eq!(from.change(SlotChange::Leave(2), 2, &[5]), Err(SlotError::OtherState(5)), "it moves already");
        for _ in 0..2 {
            from.change(SlotChange::Release(1), 2, &[5]).unwrap();
            to.change(SlotChange::Settle, 2, &[5]).unwrap();
        }
        assert_eq!(states(&from), [SlotState::Away(Some(1)), SlotState::Owned, SlotState::Away(None)]);
        assert_eq!(states(&to), [SlotState::Owned, SlotState::Away(None), SlotState::Owned]);
        // The way back.
        from.change(SlotChange::Arrive, 4, &[5]).unwrap();
        to.change(SlotChange::Leave(0), 4, &[5]).unwrap();
        to.change(SlotChange::Release(0), 4, &[5]).unwrap();
        from.change(SlotChange::Settle, 4, &[5]).unwrap();
        assert_eq!(states(&from)[0], SlotState::Owned);
    }

    /// A mover that stood still while the slot went on to a third shard would make two shards hold it.
    #[test]
    fn a_step_of_an_older_move_is_refused() {
        let (mut first, mut second) = (Slots::founded(&[5]), Slots::founded(&[]));
        second.change(SlotChange::Arrive, 2, &[5]).unwrap();
        first.change(SlotChange::Leave(1), 2, &[5]).unwrap();
        first.change(SlotChange::Release(1), 2, &[5]).unwrap();
        second.change(SlotChange::Settle, 2, &[5]).unwrap();
        second.change(SlotChange::Leave(2), 4, &[5]).unwrap();
        second.change(SlotChange::Release(2), 4, &[5]).unwrap();
        for change in [SlotChange::Arrive, SlotChange::Settle] {
            assert_eq!(second.change(change, 2, &[5]), Err(SlotError::Older(5)));
        }
        assert_eq!(states(&second)[0], SlotState::Away(Some(2)));
    }

    #[test]
    fn a_change_is_made_for_all_slots_or_none() {
        let mut slots = Slots::founded(&[5]);
        assert_eq!(slots.change(SlotChange::Leave(1), 2, &[5, 6]), Err(SlotError::OtherState(6)));
        assert_eq!(states(&slots)[0], SlotState::Owned);
        assert_eq!(slots.change(SlotChange::Found, 0, &[6]), Ok(()), "its slots are known");
        assert_eq!(states(&slots)[1], SlotState::Away(None));
    }

    #[test]
    fn keys_are_looked_for_where_they_can_be() {
        let key = b"key";
        let slot = slot_of(key);
        let elsewhere = |slots: &Slots, asks, is_here| slots.elsewhere(key, asks, || is_here);
        let mut from = Slots::founded(&[slot]);
        let mut to = Slots::founded(&[]);
        assert_eq!(elsewhere(&from, false, false), None);
        assert_eq!(elsewhere(&to, true, true), Some(Elsewhere::Unknown));
        from.change(SlotChange::Leave(1), 2, &[slot]).unwrap();
        to.change(SlotChange::Arrive, 2, &[slot]).unwrap();
        assert_eq!(elsewhere(&from, false, true), None, "it has not left");
        assert_eq!(elsewhere(&from, false, false), Some(Elsewhere::Asked(1)));
        assert_eq!(elsewhere(&to, false, true), Some(Elsewhere::Unknown), "the old shard answers first");
        assert_eq!(elsewhere(&to, true, false), None);
        from.added(key);
        assert_eq!(from.change(SlotChange::Release(1), 2, &[slot]), Err(SlotError::HasKeys(slot)));
        from.removed(key);
        from.change(SlotChange::Release(1), 2, &[slot]).unwrap();
        assert_eq!(elsewhere(&from, false, false), Some(Elsewhere::Moved(1)));
    }
}
