//! A sorted set.

use std::cmp::Ordering;

use crate::store::digest::digest;
use crate::store::sequence::Sequence;

use super::Members;

/// Members, each once, by score, and by name among equal scores.
#[derive(Debug, Clone, Default)]
pub struct SortedSet {
    /// Items are the score in eight bytes that sort like it, then the member.
    by_score: Sequence,
    /// The same scores by member. `None` while there are few.
    by_member: Option<Box<Members>>,
    digest: u64,
}

impl SortedSet {
    /// Number of members.
    pub fn len(&self) -> usize {
        self.by_score.len()
    }

    /// Returns true if there is no member.
    pub fn is_empty(&self) -> bool {
        self.by_score.is_empty()
    }

    /// Returns true if the members are few.
    pub fn is_small(&self) -> bool {
        self.by_member.is_none()
    }

    /// The score of a member.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match &self.by_member {
            Some(members) => members.get(member).map(|score| unpack(score).0),
            None => self.by_score.iter().map(unpack).find(|(_, known)| *known == member).map(|(score, _)| score),
        }
    }

    /// Sets the score of a member, which is a number. Returns true if the member is new.
    pub fn set(&mut self, member: &[u8], score: f64) -> bool {
        // Both zeros are one score.
        let score = score + 0.0;
        let is_new = !self.remove(member);
        let item = pack(score, member);
        let place = self.by_score.find(|known| known.cmp(&item)).unwrap_or_else(|place| place);
        self.by_score.insert_at(place, &item);
        self.digest = self.digest.wrapping_add(digest(&item));
        if let Some(members) = &mut self.by_member {
            members.set(member, &item[..SCORE_BYTES]);
        } else if self.len() > SMALL_COUNT_MAX || member.len() > SMALL_BYTES_MAX {
            self.index();
        }
        is_new
    }

    /// Removes a member. Returns true if it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        let Some(score) = self.score(member) else {
            return false;
        };
        let item = pack(score, member);
        let place = self.by_score.find(|known| known.cmp(&item)).expect("a member is listed by its score");
        self.by_score.remove_at(place);
        self.digest = self.digest.wrapping_sub(digest(&item));
        if let Some(members) = &mut self.by_member {
            members.remove(member);
        }
        true
    }

    /// Removes the members from the place `start` to before `end`.
    pub fn remove_range(&mut self, start: usize, end: usize) {
        for item in self.by_score.iter_from(start).take(end - start) {
            self.digest = self.digest.wrapping_sub(digest(item));
            if let Some(members) = &mut self.by_member {
                members.remove(unpack(item).1);
            }
        }
        self.by_score.remove_range(start, end);
    }

    /// The place of a member among all.
    pub fn rank(&self, member: &[u8]) -> Option<usize> {
        let item = pack(self.score(member)?, member);
        self.by_score.search(|known| known.cmp(&item)).ok()
    }

    /// The first place whose score and member `is_before` does not call too low.
    pub fn place(&self, is_before: impl Fn(f64, &[u8]) -> bool) -> usize {
        let place = self.by_score.search(|item| {
            let (score, member) = unpack(item);
            if is_before(score, member) { Ordering::Less } else { Ordering::Greater }
        });
        place.unwrap_or_else(|index| index)
    }

    /// The score and the member at a place.
    pub fn at(&self, index: usize) -> Option<(f64, &[u8])> {
        self.by_score.get(index).map(unpack)
    }

    /// Scores and members from a place on.
    pub fn iter_from(&self, index: usize) -> impl Iterator<Item = (f64, &[u8])> {
        self.by_score.iter_from(index).map(unpack)
    }

    /// Scores and members before a place, the last one first.
    pub fn iter_back_from(&self, end: usize) -> impl Iterator<Item = (f64, &[u8])> {
        self.by_score.iter_back_from(end).map(unpack)
    }

    /// As [`Members::scan`].
    pub fn scan(&self, cursor: u64, count: usize) -> (u64, Vec<(f64, &[u8])>) {
        match &self.by_member {
            Some(members) => {
                let (next, found) = members.scan(cursor, count);
                (next, found.into_iter().map(|(member, score)| (unpack(score).0, member)).collect())
            }
            None => (0, self.iter_from(0).collect()),
        }
    }

    pub(in crate::store) fn items(&self) -> &Sequence {
        &self.by_score
    }

    /// The set that [`items`](Self::items) and [`is_small`](Self::is_small) tell. `None` if an item is malformed.
    pub(in crate::store) fn from_items(items: Sequence, is_small: bool) -> Option<Self> {
        let is_item = |item: &[u8]| item.len() >= SCORE_BYTES && !unpack(item).0.is_nan();
        if !items.iter().all(is_item) {
            return None;
        }
        let digest = items.iter().map(digest).fold(0, u64::wrapping_add);
        let mut set = Self { by_score: items, by_member: None, digest };
        if !is_small {
            set.index();
        }
        Some(set)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.by_score.bytes()
    }

    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    fn index(&mut self) {
        let mut members = Members::default();
        for item in self.by_score.iter() {
            members.set(&item[SCORE_BYTES..], &item[..SCORE_BYTES]);
        }
        self.by_member = Some(Box::new(members));
    }
}

fn pack(score: f64, member: &[u8]) -> Vec<u8> {
    let bits = score.to_bits();
    let sorted = if bits & SIGN == 0 { bits | SIGN } else { !bits };
    [&sorted.to_be_bytes(), member].concat()
}

fn unpack(item: &[u8]) -> (f64, &[u8]) {
    let (sorted, member) = item.split_first_chunk().expect("an item begins with a score");
    let sorted = u64::from_be_bytes(*sorted);
    let bits = if sorted & SIGN == 0 { !sorted } else { sorted & !SIGN };
    (f64::from_bits(bits), member)
}

const SIGN: u64 = 1 << 63;
const SCORE_BYTES: usize = 8;
/// Maximum number of members without an index by member, and the bytes of each.
const SMALL_COUNT_MAX: usize = 128;
const SMALL_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_sort_as_numbers_and_come_back() {
        let scores = [f64::NEG_INFINITY, -1e300, -1.5, -0.0, 1e-300, 2.0, 1e300, f64::INFINITY];
        let mut set = SortedSet::default();
        for score in scores.iter().rev() {
            set.set(score.to_string().as_bytes(), *score);
        }
        let sorted: Vec<f64> = set.iter_from(0).map(|(score, _)| score).collect();
        assert_eq!(sorted, scores);
        assert_eq!(set.rank(b"2"), Some(5));
        assert_eq!(set.place(|score, _| score < 2.0), 5);
    }

    #[test]
    fn many_members_are_found_by_name_and_by_score() {
        let mut set = SortedSet::default();
        for number in 0..1_000_u32 {
            assert!(set.set(format!("m{number}").as_bytes(), f64::from(number % 10)));
        }
        assert!(!set.set(b"m7", 100.0));
        assert_eq!(set.rank(b"m7"), Some(999));
        set.remove_range(0, 100);
        assert_eq!((set.len(), set.score(b"m10"), set.score(b"m11")), (900, None, Some(1.0)));
        let built = SortedSet::from_items(set.items().clone(), false).unwrap();
        assert_eq!((built.digest(), built.score(b"m7")), (set.digest(), Some(100.0)));
    }
}
