//! The slots of a node's groups. A group keeps its place as long as it is there; a place is used again afterwards.

use std::ops::{Index, IndexMut};

use super::slot::GroupSlot;

/// The slots of a node's groups, by place.
#[derive(Default)]
pub(super) struct Slots {
    places: Vec<Option<GroupSlot>>,
    free: Vec<usize>,
}

impl Slots {
    /// Puts a slot at a free place and returns the place.
    pub(super) fn insert(&mut self, slot: GroupSlot) -> usize {
        let place = self.free.pop().unwrap_or(self.places.len());
        if place == self.places.len() {
            self.places.push(None);
        }
        self.places[place] = Some(slot);
        place
    }

    /// Takes a slot from its place.
    pub(super) fn remove(&mut self, place: usize) -> GroupSlot {
        self.free.push(place);
        self.places[place].take().expect("a place that is taken")
    }

    /// Returns true if there is a slot at this place.
    pub(super) fn is_taken(&self, place: usize) -> bool {
        self.places.get(place).is_some_and(Option::is_some)
    }

    /// Every place below this number may be taken.
    pub(super) fn end(&self) -> usize {
        self.places.len()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut GroupSlot> {
        self.places.iter_mut().flatten()
    }
}

impl Index<usize> for Slots {
    type Output = GroupSlot;

    fn index(&self, place: usize) -> &GroupSlot {
        self.places[place].as_ref().expect("a place that is taken")
    }
}

impl IndexMut<usize> for Slots {
    fn index_mut(&mut self, place: usize) -> &mut GroupSlot {
        self.places[place].as_mut().expect("a place that is taken")
    }
}
