//! A list that is mostly of one item, which then takes no memory beyond the list itself.

use std::ops::{Deref, DerefMut, RangeBounds};

/// Items in order, used as a slice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Few<T> {
    /// There is none.
    #[default]
    None,
    /// There is one.
    One([T; 1]),
    /// There are several. The box keeps a list of one small.
    #[allow(clippy::box_collection)]
    Several(Box<Vec<T>>),
}

impl<T> Few<T> {
    /// Adds an item at the end.
    pub(super) fn push(&mut self, item: T) {
        match self {
            Self::None => *self = Self::One([item]),
            Self::One(_) => self.change(|items| items.push(item)),
            Self::Several(items) => items.push(item),
        }
    }

    /// Removes the item at a place below the length.
    pub(super) fn remove(&mut self, place: usize) {
        self.change(|items| drop(items.remove(place)));
    }

    /// Puts items in the place of others.
    pub(super) fn replace(&mut self, range: impl RangeBounds<usize>, with: impl IntoIterator<Item = T>) {
        self.change(|items| drop(items.splice(range, with)));
    }

    fn change(&mut self, change: impl FnOnce(&mut Vec<T>)) {
        let mut items = match std::mem::take(self) {
            Self::None => Box::default(),
            Self::One(one) => Box::new(Vec::from(one)),
            Self::Several(items) => items,
        };
        change(&mut items);
        *self = match items.len() {
            0 | 1 => items.pop().map_or(Self::None, |one| Self::One([one])),
            _ => Self::Several(items),
        };
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::None => &[],
            Self::One(one) => one,
            Self::Several(items) => items,
        }
    }
}

impl<T> DerefMut for Few<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Self::None => &mut [],
            Self::One(one) => one,
            Self::Several(items) => items,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_those_of_a_plain_list() {
        let mut few = Few::default();
        let is_one = |few: &Few<u8>| matches!(few, Few::One(_));
        few.push(1);
        assert!(is_one(&few));
        few[0] = 2;
        few.push(3);
        few.push(4);
        assert_eq!(&few[..], [2, 3, 4]);
        few.replace(1..=1, [5, 6]);
        assert_eq!(&few[..], [2, 5, 6, 4]);
        few.replace(1.., []);
        assert!(is_one(&few), "{few:?}");
        few.remove(0);
        assert_eq!(few, Few::None);
    }
}
