//! A set of sectors of one file.

/// A set of sectors, one bit each.
#[derive(Clone, Debug, Default)]
pub(super) struct Sectors(Vec<u64>);

impl Sectors {
    pub(super) fn insert(&mut self, sector: u64) {
        let (word, bit) = place(sector);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= bit;
    }

    pub(super) fn remove(&mut self, sector: u64) {
        let (word, bit) = place(sector);
        if let Some(word) = self.0.get_mut(word) {
            *word &= !bit;
        }
    }

    pub(super) fn contains(&self, sector: u64) -> bool {
        let (word, bit) = place(sector);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    pub(super) fn extend(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word |= other;
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Removes all sectors and returns them, ascending.
    pub(super) fn take(&mut self) -> impl Iterator<Item = u64> + use<> {
        let words = std::mem::take(&mut self.0);
        words.into_iter().zip(0_u64..).filter(|(word, _)| *word != 0).flat_map(|(word, number)| {
            (0..BITS).filter(move |bit| word & (1 << bit) != 0).map(move |bit| number * BITS + bit)
        })
    }
}

fn place(sector: u64) -> (usize, u64) {
    (usize::try_from(sector / BITS).expect("a place in memory"), 1 << (sector % BITS))
}

const BITS: u64 = 64;
