//! A list of byte strings that is small in memory, quick at any place, and costs almost nothing to copy.
//!
//! Items lie behind one another in chunks of at most [`CHUNK_BYTES_MAX`]. A copy shares the chunks, and a change copies
//! the one chunk that it touches. Finding a place looks at the number of items of each chunk, which takes a few
//! microseconds for a million short items.

use std::cmp::Ordering;
use std::sync::Arc;

use super::few::Few;

/// A list of byte strings. Cloning shares the items.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::store) struct Sequence {
    chunks: Few<Chunk>,
    len: usize,
    bytes: u64,
}

/// The place of an item, valid until the next change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Place {
    chunk: usize,
    within: usize,
}

/// Items behind one another, at least one.
///
/// Layout: for each item the place of its end among the items' bytes as u32, then the items.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Chunk {
    count: u32,
    packed: Arc<[u8]>,
}

impl Sequence {
    /// Number of items.
    pub(in crate::store) fn len(&self) -> usize {
        self.len
    }

    /// Returns true if there is no item.
    pub(in crate::store) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of all items.
    pub(in crate::store) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The place of the item at an index below the length.
    ///
    /// # Panics
    /// When the index is not below the length.
    pub(in crate::store) fn place(&self, index: usize) -> Place {
        self.locate(index).expect("the index is below the length")
    }

    /// The place behind the last item.
    pub(in crate::store) fn end(&self) -> Place {
        let chunk = self.chunks.len().saturating_sub(1);
        Place { chunk, within: self.chunks.last().map_or(0, Chunk::len) }
    }

    /// The item at a place.
    pub(in crate::store) fn get(&self, index: usize) -> Option<&[u8]> {
        self.locate(index).map(|place| self.at(place))
    }

    /// The items in order.
    pub(in crate::store) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.iter_from(0)
    }

    /// The items from a place on.
    pub(in crate::store) fn iter_from(&self, index: usize) -> impl Iterator<Item = &[u8]> {
        self.iter_at(self.locate(index).unwrap_or(self.behind()))
    }

    /// The items before a place, the last one first.
    pub(in crate::store) fn iter_back_from(&self, end: usize) -> impl Iterator<Item = &[u8]> {
        self.iter_back_at(self.locate(end).unwrap_or(self.behind()))
    }

    /// As [`iter_from`](Self::iter_from), but takes a few steps however many items there are.
    pub(in crate::store) fn iter_at(&self, Place { chunk, within }: Place) -> impl Iterator<Item = &[u8]> {
        let rest = self.chunks.get(chunk + 1..).unwrap_or_default();
        let first = self.chunks.get(chunk..).and_then(<[Chunk]>::first);
        first.into_iter().flat_map(move |chunk| chunk.items(within)).chain(rest.iter().flat_map(|chunk| chunk.items(0)))
    }

    /// As [`iter_back_from`](Self::iter_back_from), but takes a few steps however many items there are.
    pub(in crate::store) fn iter_back_at(&self, Place { chunk, within }: Place) -> impl Iterator<Item = &[u8]> {
        let first = self.chunks.get(chunk).map(|chunk| chunk.items(0).take(within).rev());
        let before = self.chunks[..chunk].iter().rev().flat_map(|chunk| chunk.items(0).rev());
        first.into_iter().flatten().chain(before)
    }

    /// The index of the item that `order` calls equal, or the index where it belongs. As [`find`](Self::find), but it
    /// looks at all chunks before.
    pub(in crate::store) fn search(&self, order: impl Fn(&[u8]) -> Ordering) -> Result<usize, usize> {
        let index = |place: Place| self.chunks[..place.chunk].iter().map(Chunk::len).sum::<usize>() + place.within;
        self.find(order).map(index).map_err(index)
    }

    /// The place of the item that `order` calls equal, or the place where it belongs. The items have to be sorted by
    /// the same order; `order` compares an item with the one that is sought. Takes a few steps, however many items
    /// there are.
    pub(in crate::store) fn find(&self, order: impl Fn(&[u8]) -> Ordering) -> Result<Place, Place> {
        let after = self.chunks.partition_point(|chunk| order(chunk.item(0)) != Ordering::Greater);
        let Some(chunk) = after.checked_sub(1) else {
            return Err(Place { chunk: 0, within: 0 });
        };
        let items = &self.chunks[chunk];
        let (mut low, mut high) = (0, items.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            match order(items.item(middle)) {
                Ordering::Equal => return Ok(Place { chunk, within: middle }),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        Err(Place { chunk, within: low })
    }

    /// The item at a place.
    pub(in crate::store) fn at(&self, place: Place) -> &[u8] {
        self.chunks[place.chunk].item(place.within)
    }

    /// Inserts an item before the one at `index`, which may be the length.
    ///
    /// # Panics
    /// When the index is above the length.
    pub(in crate::store) fn insert(&mut self, index: usize, item: &[u8]) {
        assert!(index <= self.len, "an item is inserted beyond the end");
        // At the end of a chunk, an item joins it rather than the next.
        let before = index.checked_sub(1).and_then(|before| self.locate(before));
        let place = before.map_or(Place { chunk: 0, within: 0 }, |place| Place { within: place.within + 1, ..place });
        self.insert_at(place, item);
    }

    /// Inserts an item before the one at a place, which may be behind the last of a chunk.
    pub(in crate::store) fn insert_at(&mut self, place: Place, item: &[u8]) {
        self.len += 1;
        self.bytes += item.len() as u64;
        let Some(target) = self.chunks.get_mut(place.chunk) else {
            self.chunks.push(Chunk::of(std::iter::once(item)));
            return;
        };
        if target.has_room(item.len()) {
            *target = target.with(place.within, place.within, Some(item));
            return;
        }
        let pieces = target.split(place.within, item);
        self.chunks.replace(place.chunk..=place.chunk, pieces);
    }

    /// Replaces the item at `index`.
    ///
    /// # Panics
    /// When there is none.
    pub(in crate::store) fn replace(&mut self, index: usize, item: &[u8]) {
        let place = self.locate(index).expect("there is an item to be replaced");
        self.replace_at(place, item);
    }

    /// Replaces the item at a place.
    pub(in crate::store) fn replace_at(&mut self, place: Place, item: &[u8]) {
        let Place { chunk, within } = place;
        let target = &mut self.chunks[chunk];
        let before = target.item(within).len();
        if target.has_room(item.len().saturating_sub(before)) || target.len() == 1 {
            *target = target.with(within, within + 1, Some(item));
            self.bytes = self.bytes - before as u64 + item.len() as u64;
        } else {
            // The chunk has another item, so it stays.
            *target = target.with(within, within + 1, None);
            self.len -= 1;
            self.bytes -= before as u64;
            self.insert_at(place, item);
        }
    }

    /// Removes the item at a place.
    pub(in crate::store) fn remove_at(&mut self, place: Place) {
        let Place { chunk, within } = place;
        let target = &mut self.chunks[chunk];
        self.len -= 1;
        self.bytes -= target.item(within).len() as u64;
        if target.len() == 1 {
            self.chunks.remove(chunk);
        } else {
            *target = target.with(within, within + 1, None);
        }
        self.join(chunk.saturating_sub(1));
        self.join(chunk);
    }

    /// Removes the items from `start` to before `end`.
    ///
    /// # Panics
    /// When the range is not within the list.
    pub(in crate::store) fn remove_range(&mut self, start: usize, end: usize) {
        assert!(start <= end && end <= self.len, "items are removed that are not there");
        let Place { mut chunk, mut within } = match self.locate(start) {
            Some(place) if start < end => place,
            _ => return,
        };
        let mut left = end - start;
        self.len -= left;
        let first = chunk;
        let mut gone = first..first;
        while left > 0 {
            let target = &mut self.chunks[chunk];
            let until = target.len().min(within + left);
            self.bytes -= target.items(within).take(until - within).map(|item| item.len() as u64).sum::<u64>();
            left -= until - within;
            if within == 0 && until == target.len() {
                gone = if gone.is_empty() { chunk..chunk + 1 } else { gone.start..chunk + 1 };
            } else {
                *target = target.with(within, until, None);
            }
            (chunk, within) = (chunk + 1, 0);
        }
        self.chunks.replace(gone, []);
        self.join(first.saturating_sub(1));
        self.join(first);
    }

    /// The place behind all chunks.
    fn behind(&self) -> Place {
        Place { chunk: self.chunks.len(), within: 0 }
    }

    /// Joins a chunk with the next if both are small.
    fn join(&mut self, chunk: usize) {
        let [first, second, ..] = &self.chunks[chunk.min(self.chunks.len())..] else {
            return;
        };
        if first.packed.len() + second.packed.len() <= CHUNK_BYTES_MAX / 2 {
            self.chunks[chunk] = Chunk::of(first.items(0).chain(second.items(0)));
            self.chunks.remove(chunk + 1);
        }
    }

    /// The place of the item at an index.
    fn locate(&self, index: usize) -> Option<Place> {
        if index >= self.len {
            return None;
        }
        if index < self.len / 2 {
            let mut before = 0;
            for (place, chunk) in self.chunks.iter().enumerate() {
                if index < before + chunk.len() {
                    return Some(Place { chunk: place, within: index - before });
                }
                before += chunk.len();
            }
        } else {
            let mut start = self.len;
            for (place, chunk) in self.chunks.iter().enumerate().rev() {
                start -= chunk.len();
                if index >= start {
                    return Some(Place { chunk: place, within: index - start });
                }
            }
        }
        unreachable!("the chunks hold all items")
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for Sequence {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut sequence = Self::default();
        let mut waiting: Vec<T> = Vec::new();
        let mut waiting_bytes = 0;
        for item in items {
            let added = item.as_ref().len() + END_BYTES;
            if !waiting.is_empty() && waiting_bytes + added > CHUNK_BYTES_MAX {
                sequence.chunks.push(Chunk::of(waiting.drain(..)));
                waiting_bytes = 0;
            }
            sequence.len += 1;
            sequence.bytes += item.as_ref().len() as u64;
            waiting_bytes += added;
            waiting.push(item);
        }
        if !waiting.is_empty() {
            sequence.chunks.push(Chunk::of(waiting.into_iter()));
        }
        sequence
    }
}

impl Chunk {
    fn of(items: impl Iterator<Item = impl AsRef<[u8]>>) -> Self {
        let (mut ends, mut data) = (Vec::new(), Vec::new());
        for item in items {
            data.extend_from_slice(item.as_ref());
            ends.push(data.len());
        }
        Self::pack(&ends, &[&data])
    }

    fn pack(ends: &[usize], data: &[&[u8]]) -> Self {
        let bytes: usize = data.iter().map(|part| part.len()).sum();
        let mut packed = Vec::with_capacity(ends.len() * END_BYTES + bytes);
        for end in ends {
            packed.extend_from_slice(&number(*end).to_le_bytes());
        }
        for part in data {
            packed.extend_from_slice(part);
        }
        Self { count: number(ends.len()), packed: Arc::from(packed) }
    }

    fn len(&self) -> usize {
        self.count as usize
    }

    fn data(&self) -> &[u8] {
        &self.packed[self.len() * END_BYTES..]
    }

    /// The end of an item among the items' bytes.
    fn end(&self, index: usize) -> usize {
        let end = self.packed[index * END_BYTES..][..END_BYTES].try_into().expect("four bytes");
        u32::from_le_bytes(end) as usize
    }

    /// The start of an item, or the end of the last.
    fn start(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.end(before))
    }

    fn item(&self, index: usize) -> &[u8] {
        &self.data()[self.start(index)..self.end(index)]
    }

    fn items(&self, from: usize) -> impl DoubleEndedIterator<Item = &[u8]> + ExactSizeIterator {
        (from..self.len()).map(|index| self.item(index))
    }

    fn has_room(&self, added: usize) -> bool {
        self.packed.len() + END_BYTES + added <= CHUNK_BYTES_MAX
    }

    /// This chunk without the items from `start` to before `end`, and with another in their place.
    fn with(&self, start: usize, end: usize, item: Option<&[u8]>) -> Self {
        let (first, last) = (self.start(start), self.start(end));
        let added = item.map_or(0, <[u8]>::len);
        let mut ends = Vec::with_capacity(self.len() + 1);
        ends.extend((0..start).map(|index| self.end(index)));
        ends.extend(item.map(|_| first + added));
        ends.extend((end..self.len()).map(|index| self.end(index) - last + first + added));
        Self::pack(&ends, &[&self.data()[..first], item.unwrap_or_default(), &self.data()[last..]])
    }

    /// This chunk in two or three, with an item before the one at `index`.
    fn split(&self, index: usize, item: &[u8]) -> Vec<Self> {
        let mut pieces: Vec<Vec<&[u8]>> = vec![Vec::new()];
        let mut bytes = 0;
        let half = usize::midpoint(self.packed.len(), item.len());
        // An end grows without being halved, so that a list filled from one side has full chunks.
        let bound = if index == 0 || index == self.len() { CHUNK_BYTES_MAX } else { half.min(CHUNK_BYTES_MAX) };
        let all = self.items(0).take(index).chain(std::iter::once(item)).chain(self.items(index));
        for (place, next) in all.enumerate() {
            let is_alone = index == 0 && place == 1 || index == self.len() && place == index;
            if bytes > 0 && (bytes + next.len() + END_BYTES > bound || is_alone) {
                pieces.push(Vec::new());
                bytes = 0;
            }
            bytes += next.len() + END_BYTES;
            pieces.last_mut().expect("never empty").push(next);
        }
        pieces.into_iter().map(|piece| Self::of(piece.into_iter())).collect()
    }
}

fn number(number: usize) -> u32 {
    u32::try_from(number).expect("a chunk holds at most one long item")
}

/// Maximum bytes of a chunk of several items. A longer item has a chunk of its own.
pub(super) const CHUNK_BYTES_MAX: usize = 2048;
/// Bytes of the place of an item's end.
const END_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Change {
        Insert(usize, Vec<u8>),
        Replace(usize, Vec<u8>),
        Remove(usize, usize),
        RemoveOne(usize),
    }

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let item = || prop_oneof![9 => prop::collection::vec(any::<u8>(), 0..80), 1 => Just(vec![7; 3000])];
        let change = prop_oneof![
            6 => (any::<usize>(), item()).prop_map(|(at, item)| Change::Insert(at, item)),
            2 => (any::<usize>(), item()).prop_map(|(at, item)| Change::Replace(at, item)),
            1 => (any::<usize>(), 0..40_usize).prop_map(|(at, count)| Change::Remove(at, count)),
            2 => any::<usize>().prop_map(Change::RemoveOne),
        ];
        prop::collection::vec(change, 1..300)
    }

    proptest! {
        #[test]
        fn it_holds_what_a_vector_holds(changes in changes()) {
            let (mut sequence, mut model) = (Sequence::default(), Vec::<Vec<u8>>::new());
            for change in changes {
                let before = sequence.clone();
                let shown: Vec<_> = before.iter().map(<[u8]>::to_vec).collect();
                match change {
                    Change::Insert(at, item) => {
                        let at = at % (model.len() + 1);
                        sequence.insert(at, &item);
                        model.insert(at, item);
                    }
                    Change::Replace(at, item) if !model.is_empty() => {
                        let at = at % model.len();
                        sequence.replace(at, &item);
                        model[at] = item;
                    }
                    Change::Remove(at, count) if !model.is_empty() => {
                        let at = at % model.len();
                        let end = (at + count).min(model.len());
                        sequence.remove_range(at, end);
                        model.drain(at..end);
                    }
                    Change::RemoveOne(at) if !model.is_empty() => {
                        let at = at % model.len();
                        sequence.remove_at(sequence.locate(at).unwrap());
                        model.remove(at);
                    }
                    _ => {}
                }
                prop_assert!(before.iter().eq(shown.iter()), "a copy changed");
                prop_assert_eq!(sequence.len(), model.len());
                prop_assert_eq!(sequence.bytes(), model.iter().map(|item| item.len() as u64).sum::<u64>());
                prop_assert!(sequence.iter().eq(model.iter()));
                for chunk in sequence.chunks.iter() {
                    prop_assert!(chunk.len() == 1 || chunk.packed.len() <= CHUNK_BYTES_MAX);
                }
            }
            for index in 0..=model.len() {
                prop_assert_eq!(sequence.get(index), model.get(index).map(Vec::as_slice));
                prop_assert!(sequence.iter_from(index).eq(model[index..].iter()));
                prop_assert!(sequence.iter_back_from(index).eq(model[..index].iter().rev()));
            }
            let collected: Sequence = model.iter().collect();
            prop_assert!(collected.iter().eq(model.iter()));
        }

        #[test]
        fn items_are_inserted_where_they_belong(numbers in prop::collection::vec(0..2_000_u32, 0..800)) {
            let (mut sequence, mut model) = (Sequence::default(), std::collections::BTreeSet::new());
            for number in numbers {
                let item = number.to_be_bytes();
                match sequence.find(|known| known.cmp(&item)) {
                    Ok(place) if number % 3 == 0 => {
                        prop_assert_eq!(sequence.at(place), &item);
                        sequence.remove_at(place);
                        model.remove(&number);
                    }
                    Ok(place) => sequence.replace_at(place, &item),
                    Err(place) => {
                        sequence.insert_at(place, &item);
                        model.insert(number);
                    }
                }
            }
            prop_assert!(sequence.iter().eq(model.iter().map(|number| number.to_be_bytes())));
            prop_assert_eq!(sequence.len(), model.len());
        }

        #[test]
        fn sorted_items_are_found(numbers in prop::collection::btree_set(any::<u32>(), 0..600), sought in any::<u32>()) {
            let sequence: Sequence = numbers.iter().map(|number| number.to_be_bytes()).collect();
            let sorted: Vec<_> = numbers.iter().copied().collect();
            for sought in sorted.iter().copied().chain([sought]) {
                prop_assert_eq!(sequence.search(|item| item.cmp(&sought.to_be_bytes())), sorted.binary_search(&sought));
            }
        }
    }

    #[test]
    fn chunks_of_a_list_that_grows_at_one_end_are_full() {
        for front in [false, true] {
            let mut sequence = Sequence::default();
            for _ in 0..10_000 {
                sequence.insert(if front { 0 } else { sequence.len() }, &[1; 16]);
            }
            assert!(sequence.chunks.len() <= 10_000 * 20 / CHUNK_BYTES_MAX + 2, "{front}: {}", sequence.chunks.len());
        }
    }
}
