//! Names, each once, with data: the fields of a hash, or the members of a set.
//!
//! A few short ones lie in the order in which they came, as in Redis. Many or long ones lie by the digest of their
//! name, so that one is found in a few steps, and a scan in pieces meets everything that is there all the time,
//! whatever comes and goes meanwhile.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::store::digest::{digest, mix};
use crate::store::sequence::{Place, Sequence};

use super::pair;

/// A name and its data.
pub type Pair<'a> = (&'a [u8], &'a [u8]);

/// Names, each once, with data.
#[derive(Debug, Clone, Default)]
pub struct Members {
    items: Sequence,
    /// The items are sorted by the digest of their name, and equal digests by name.
    is_sorted: bool,
    /// The sum of the digests of all items.
    digest: u64,
}

impl Members {
    /// Number of names.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns true if there is no name.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns true if the items are few and short.
    pub fn is_small(&self) -> bool {
        !self.is_sorted
    }

    /// The data of a name.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        let place = self.find(name).ok()?;
        Some(pair::read(self.items.at(place)).1)
    }

    /// Returns true if the name is there.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.find(name).is_ok()
    }

    /// The name and the data at a place below the length.
    ///
    /// # Panics
    /// When the place is not below the length.
    pub fn at(&self, index: usize) -> (&[u8], &[u8]) {
        pair::read(self.items.get(index).expect("the place is below the length"))
    }

    /// All names and data.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.items.iter().map(pair::read)
    }

    /// Sets the data of a name. Returns true if the name is new.
    pub fn set(&mut self, name: &[u8], data: &[u8]) -> bool {
        if !self.is_sorted && (self.len() >= SMALL_COUNT_MAX || name.len().max(data.len()) > SMALL_BYTES_MAX) {
            self.sort();
        }
        let mut room = Vec::new();
        let item = pair::write(&mut room, name, data);
        let found = self.find(name);
        match found {
            Ok(place) => {
                self.digest = self.digest.wrapping_sub(digest(self.items.at(place)));
                self.items.replace_at(place, item);
            }
            Err(place) => self.items.insert_at(place, item),
        }
        self.digest = self.digest.wrapping_add(digest(item));
        found.is_err()
    }

    /// Removes a name. Returns true if it was there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let found = self.find(name);
        if let Ok(place) = found {
            self.digest = self.digest.wrapping_sub(digest(self.items.at(place)));
            self.items.remove_at(place);
        }
        found.is_ok()
    }

    /// Removes the names at these places and returns them. Costs a step for each name that is there.
    pub fn remove_all(&mut self, places: &BTreeSet<usize>) -> Vec<Vec<u8>> {
        let (gone, kept): (Vec<_>, Vec<_>) =
            self.items.iter().enumerate().partition(|(place, _)| places.contains(place));
        let gone_digest = gone.iter().map(|(_, item)| digest(item)).fold(0, u64::wrapping_add);
        let names = gone.into_iter().map(|(_, item)| pair::read(item).0.to_vec()).collect();
        self.items = kept.into_iter().map(|(_, item)| item).collect();
        self.digest = self.digest.wrapping_sub(gone_digest);
        names
    }

    /// Some names and data from a cursor on, which is 0 at the start, and the next cursor, which is 0 at the end. At
    /// least `count` of them, unless the end comes first.
    pub fn scan(&self, cursor: u64, count: usize) -> (u64, Vec<Pair<'_>>) {
        if !self.is_sorted {
            return (0, self.iter().collect());
        }
        let start = self.items.search(|item| place(pair::read(item).0).cmp(&cursor).then(Ordering::Greater));
        let mut found: Vec<Pair<'_>> = Vec::new();
        for item in self.items.iter_from(start.unwrap_or_else(|index| index)) {
            let (name, data) = pair::read(item);
            // Names at one place belong together, since a cursor cannot tell them apart.
            if found.len() >= count && found.last().is_some_and(|(last, _)| place(last) != place(name)) {
                return (place(name), found);
            }
            found.push((name, data));
        }
        (0, found)
    }

    pub(in crate::store) fn items(&self) -> &Sequence {
        &self.items
    }

    /// The members that [`items`](Self::items) and [`is_small`](Self::is_small) tell. `None` if an item is malformed.
    pub(in crate::store) fn from_items(items: Sequence, is_small: bool) -> Option<Self> {
        if !items.iter().all(pair::is_pair) {
            return None;
        }
        let digest = items.iter().map(digest).fold(0, u64::wrapping_add);
        Some(Self { items, is_sorted: !is_small, digest })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.items.bytes()
    }

    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    fn find(&self, name: &[u8]) -> Result<Place, Place> {
        if !self.is_sorted {
            let index = self.iter().position(|(known, _)| known == name);
            return index.map(|index| self.items.place(index)).ok_or_else(|| self.items.end());
        }
        let sought = place(name);
        self.items.find(|item| {
            let (known, _) = pair::read(item);
            place(known).cmp(&sought).then_with(|| known.cmp(name))
        })
    }

    fn sort(&mut self) {
        let mut items: Vec<&[u8]> = self.items.iter().collect();
        items.sort_by_key(|item| {
            let (name, _) = pair::read(item);
            (place(name), name)
        });
        self.items = items.into_iter().collect();
        self.is_sorted = true;
    }
}

/// The place of a name among the others, never 0. It is not the digest that stands in snapshots and is compared, so
/// that sums of digests tell nothing of places.
fn place(name: &[u8]) -> u64 {
    // Cursors are read by some clients as signed numbers.
    (mix(digest(name), PLACE) >> 1).max(1)
}

/// Maximum number of items that lie in the order in which they came.
const SMALL_COUNT_MAX: usize = 128;
/// Maximum bytes of a name or of data among them.
const SMALL_BYTES_MAX: usize = 64;
const PLACE: u64 = 0x6a09_e667_f3bc_c908;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn few_keep_their_order_and_many_are_found() {
        let mut members = Members::default();
        let mut model = BTreeMap::new();
        for number in 0..1_000_u32 {
            let name = format!("name {}", number * 7 % 1_000).into_bytes();
            assert!(members.set(&name, &number.to_le_bytes()));
            model.insert(name, number.to_le_bytes());
            if number == 100 {
                assert!(members.is_small());
                assert_eq!(members.at(3).0, b"name 21");
            }
        }
        assert!(!members.is_small());
        assert!(!members.set(b"name 3", b"new"));
        assert_eq!(members.get(b"name 3"), Some(&b"new"[..]));
        assert!(members.remove(b"name 3"));
        assert!(!members.remove(b"name 3"));
        model.remove(&b"name 3"[..]);
        let all: BTreeMap<_, _> = members.iter().collect();
        assert!(all.into_iter().eq(model.iter().map(|(name, data)| (&name[..], &data[..]))));
        let built = Members::from_items(members.items().clone(), false).unwrap();
        assert_eq!(built.digest(), members.digest());
    }

    #[test]
    fn a_scan_meets_what_is_there_all_the_time() {
        let mut members = Members::default();
        for number in 0..2_000_u32 {
            members.set(format!("stays {number}").as_bytes(), b"");
        }
        let (mut cursor, mut met) = (0, std::collections::BTreeSet::new());
        for round in 0_u32.. {
            let (next, found) = members.scan(cursor, 10);
            met.extend(found.into_iter().map(|(name, _)| name.to_vec()));
            if next == 0 {
                break;
            }
            cursor = next;
            for number in 0..20 {
                members.set(format!("comes {round} {number}").as_bytes(), b"");
                members.remove(format!("comes {} {number}", round.wrapping_sub(3)).as_bytes());
            }
        }
        assert!((0..2_000).all(|number| met.contains(format!("stays {number}").as_bytes())));
    }
}
