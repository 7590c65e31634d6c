//! A list.

use std::collections::BTreeSet;

use crate::store::digest::digest;
use crate::store::sequence::Sequence;

/// Items in an order that clients decide.
#[derive(Debug, Clone, Default)]
pub struct List {
    items: Sequence,
    /// The sum of each item's digest times [`BASE`] to the power of its place, so that a change at an end costs
    /// nothing.
    digest: u64,
}

impl List {
    /// Number of items.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns true if there is no item.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The item at a place.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        self.items.get(index)
    }

    /// The items from a place on.
    pub fn iter_from(&self, index: usize) -> impl Iterator<Item = &[u8]> {
        self.items.iter_from(index)
    }

    /// The items before a place, the last one first.
    pub fn iter_back_from(&self, end: usize) -> impl Iterator<Item = &[u8]> {
        self.items.iter_back_from(end)
    }

    /// Adds an item before the first.
    pub fn push_front(&mut self, item: &[u8]) {
        self.items.insert(0, item);
        self.digest = self.digest.wrapping_mul(BASE).wrapping_add(digest(item));
    }

    /// Adds an item behind the last.
    pub fn push_back(&mut self, item: &[u8]) {
        self.digest = self.digest.wrapping_add(digest(item).wrapping_mul(power(self.len())));
        self.items.insert(self.len(), item);
    }

    /// Inserts an item before the one at `index`. Costs a step for each item.
    pub fn insert(&mut self, index: usize, item: &[u8]) {
        self.items.insert(index, item);
        self.digest_again();
    }

    /// Replaces the item at `index`, which has to be there.
    pub fn replace(&mut self, index: usize, item: &[u8]) {
        let before = self.items.get(index).map_or(0, digest);
        let change = digest(item).wrapping_sub(before);
        self.digest = self.digest.wrapping_add(change.wrapping_mul(power(index)));
        self.items.replace(index, item);
    }

    /// Removes the first items.
    pub fn remove_front(&mut self, count: usize) {
        for item in self.items.iter().take(count) {
            self.digest = self.digest.wrapping_sub(digest(item)).wrapping_mul(BASE_INVERSE);
        }
        self.items.remove_range(0, count);
    }

    /// Removes the last items.
    pub fn remove_back(&mut self, count: usize) {
        let kept = self.len() - count;
        for (place, item) in self.items.iter_from(kept).enumerate() {
            self.digest = self.digest.wrapping_sub(digest(item).wrapping_mul(power(kept + place)));
        }
        self.items.remove_range(kept, self.len());
    }

    /// Removes the items at these places. Costs a step for each item of the list.
    pub fn remove_all(&mut self, places: &BTreeSet<usize>) {
        let kept = self.items.iter().enumerate().filter(|(place, _)| !places.contains(place));
        *self = Self::from_items(kept.map(|(_, item)| item).collect());
    }

    pub(in crate::store) fn from_items(items: Sequence) -> Self {
        let mut list = Self { items, digest: 0 };
        list.digest_again();
        list
    }

    pub(super) fn bytes(&self) -> u64 {
        self.items.bytes()
    }

    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    fn digest_again(&mut self) {
        let digests = self.items.iter().map(digest).enumerate();
        self.digest = digests.fold(0, |sum, (place, item)| sum.wrapping_add(item.wrapping_mul(power(place))));
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for List {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self::from_items(items.into_iter().collect())
    }
}

fn power(exponent: usize) -> u64 {
    BASE.wrapping_pow(u32::try_from(exponent).expect("a list has fewer than 2^32 items"))
}

/// An odd number, so that it has an inverse.
const BASE: u64 = 0x9fb2_1c65_1e98_df25;
/// The number whose product with [`BASE`] is one, by Newton's method.
const BASE_INVERSE: u64 = {
    let mut inverse: u64 = BASE;
    let mut round = 0;
    while round < 6 {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(BASE.wrapping_mul(inverse)));
        round += 1;
    }
    inverse
};
const _: () = assert!(BASE.wrapping_mul(BASE_INVERSE) == 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_that_was_kept_is_the_one_that_is_computed() {
        let mut list = List::default();
        let mut check = |change: &dyn Fn(&mut List)| {
            change(&mut list);
            let built: List = list.iter_from(0).collect();
            assert_eq!(list.digest(), built.digest());
            list.digest()
        };
        check(&|list| list.push_back(b"b"));
        check(&|list| list.push_front(b"a"));
        let before = check(&|list| (0..500_u32).for_each(|number| list.push_back(&number.to_le_bytes())));
        check(&|list| list.replace(7, b"seven"));
        check(&|list| list.insert(3, b"three"));
        check(&|list| list.remove_all(&[400, 3, 1].into()));
        check(&|list| list.remove_front(100));
        assert_ne!(before, check(&|list| list.remove_back(100)));
        assert_eq!(check(&|list| list.remove_back(list.len())), 0);
    }

    #[test]
    fn order_counts() {
        let forward: List = [b"a", b"b"].iter().collect();
        let backward: List = [b"b", b"a"].iter().collect();
        assert_ne!(forward.digest(), backward.digest());
    }
}
