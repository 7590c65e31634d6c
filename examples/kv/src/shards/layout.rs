//! The layout: which shard holds which slot, and which slots move.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::store::{SLOTS, slot_of};

/// Maximum number of shards.
pub const SHARDS_MAX: u16 = 256;

/// Which shard holds which slot. It tells where to look for a key first: the shards themselves know which slots they
/// hold, and refuse what is not theirs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Layout {
    generation: u64,
    shards: u16,
    /// The shard of each slot.
    owners: Box<[u16]>,
    moves: Vec<SlotMove>,
}

/// Slots that move from one shard to another. Until all keys have moved, the layout names the old one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotMove {
    /// The shard that holds them.
    pub from: u16,
    /// The shard that will hold them.
    pub to: u16,
    /// The slots.
    pub slots: Vec<u16>,
    /// The generation of the layout in which the move began.
    pub generation: u64,
}

/// Reason why a layout was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// There is no such shard.
    #[error("there is no shard {0}")]
    UnknownShard(u16),
    /// The slot is held by another shard.
    #[error("slot {0} is not held by that shard")]
    NotThere(u16),
    /// The slot moves already.
    #[error("slot {0} is moving already")]
    Moving(u16),
    /// There are no slots to move.
    #[error("there are no slots to move")]
    Nothing,
    /// There would be too many shards, or fewer than there are.
    #[error("there are {0} shards: from as many up to {SHARDS_MAX} are possible")]
    Shards(u16),
    /// The text is no layout.
    #[error("this is no layout")]
    Malformed,
}

/// Where the work of a request belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// One shard has all its keys.
    Shard(u16),
    /// Several shards have some of its keys.
    Several,
    /// It concerns every shard.
    Every,
}

impl Target {
    /// Where the work of two requests belongs.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        match (self, other) {
            (Self::Every, _) | (_, Self::Every) => Self::Every,
            (one, other) if one == other => one,
            _ => Self::Several,
        }
    }
}

impl Layout {
    /// The layout of a store of one shard.
    pub fn single() -> Self {
        Self::even(1)
    }

    /// The first layout of this number of shards: each holds a run of slots of nearly the same length.
    ///
    /// # Panics
    /// When the number is 0 or above [`SHARDS_MAX`].
    pub fn even(shards: u16) -> Self {
        assert!((1..=SHARDS_MAX).contains(&shards), "1 to {SHARDS_MAX} shards");
        let owner = |slot: u16| u32::from(slot) * u32::from(shards) / u32::from(SLOTS);
        let owners = (0..SLOTS).map(|slot| u16::try_from(owner(slot)).expect("below the number of shards"));
        Self { generation: 1, shards, owners: owners.collect(), moves: Vec::new() }
    }

    /// The first layout after a store of one shard: that one holds all slots.
    pub fn grown(shards: u16) -> Self {
        Self { shards, ..Self::single() }
    }

    /// Number of changes of the layout, from 1.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Number of shards. Their numbers begin at 0.
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// The shard that holds a slot.
    pub fn owner(&self, slot: u16) -> u16 {
        self.owners[usize::from(slot)]
    }

    /// The shard that holds a key.
    pub fn shard_of(&self, key: &[u8]) -> u16 {
        if self.shards == 1 { 0 } else { self.owner(slot_of(key)) }
    }

    /// Where work with these keys belongs. `None` without keys.
    pub fn target<'a>(&self, keys: impl IntoIterator<Item = &'a [u8]>) -> Option<Target> {
        keys.into_iter().map(|key| Target::Shard(self.shard_of(key))).reduce(Target::with)
    }

    /// The slots that a shard holds.
    pub fn slots_of(&self, shard: u16) -> Vec<u16> {
        (0..SLOTS).filter(|slot| self.owner(*slot) == shard).collect()
    }

    /// The moves under way.
    pub fn moves(&self) -> &[SlotMove] {
        &self.moves
    }

    /// Runs of slots with the same shard: first slot, last slot, shard.
    pub fn runs(&self) -> Vec<(u16, u16, u16)> {
        let mut runs: Vec<(u16, u16, u16)> = Vec::new();
        for slot in 0..SLOTS {
            let owner = self.owner(slot);
            match runs.last_mut() {
                Some((_, last, shard)) if *shard == owner => *last = slot,
                _ => runs.push((slot, slot, owner)),
            }
        }
        runs
    }

    /// The layout in which these slots move.
    ///
    /// # Errors
    /// When they cannot.
    pub fn begin(&self, from: u16, to: u16, slots: Vec<u16>) -> Result<Self, LayoutError> {
        if let Some(unknown) = [from, to].into_iter().find(|shard| *shard >= self.shards) {
            return Err(LayoutError::UnknownShard(unknown));
        }
        if slots.is_empty() || from == to {
            return Err(LayoutError::Nothing);
        }
        if let Some(slot) = slots.iter().find(|slot| **slot >= SLOTS || self.owner(**slot) != from) {
            return Err(LayoutError::NotThere(*slot));
        }
        let is_moving = |slot: &&u16| self.moves.iter().any(|other| other.slots.contains(slot));
        if let Some(slot) = slots.iter().find(is_moving) {
            return Err(LayoutError::Moving(*slot));
        }
        let mut next = self.next();
        next.moves.push(SlotMove { from, to, slots, generation: next.generation });
        Ok(next)
    }

    /// The layout after a move. `None` if it is not under way.
    pub fn complete(&self, done: &SlotMove) -> Option<Self> {
        let at = self.moves.iter().position(|other| other == done)?;
        let mut next = self.next();
        next.moves.remove(at);
        for slot in &done.slots {
            next.owners[usize::from(*slot)] = done.to;
        }
        Some(next)
    }

    /// The layout with more shards, which hold no slot yet. `None` if it has as many.
    ///
    /// # Errors
    /// When there would be fewer, or too many.
    pub fn with_shards(&self, shards: u16) -> Result<Option<Self>, LayoutError> {
        match shards {
            _ if shards == self.shards => Ok(None),
            _ if (self.shards..=SHARDS_MAX).contains(&shards) => Ok(Some(Self { shards, ..self.next() })),
            _ => Err(LayoutError::Shards(self.shards)),
        }
    }

    /// The fewest moves after which each shard holds a fair number of slots: as many as any other, or one more.
    pub fn balance(&self) -> Vec<(u16, u16, Vec<u16>)> {
        let shards = usize::from(self.shards);
        let mut held: Vec<Vec<u16>> = (0..self.shards).map(|shard| self.slots_of(shard)).collect();
        let (share, mut more) = (usize::from(SLOTS) / shards, usize::from(SLOTS) % shards);
        // Those that hold most keep one more, so that the fewest slots move.
        let mut order: Vec<usize> = (0..shards).collect();
        order.sort_by_key(|shard| std::cmp::Reverse(held[*shard].len()));
        let mut fair = vec![share; shards];
        for shard in order {
            if more > 0 {
                fair[shard] += 1;
                more -= 1;
            }
        }
        let mut given: BTreeMap<(u16, u16), Vec<u16>> = BTreeMap::new();
        let number = |shard: usize| u16::try_from(shard).expect("at most 256");
        let mut to = 0;
        for from in 0..shards {
            while held[from].len() > fair[from] {
                while held[to].len() >= fair[to] {
                    to += 1;
                }
                let slot = held[from].pop().expect("it holds more than its share");
                held[to].push(slot);
                given.entry((number(from), number(to))).or_default().push(slot);
            }
        }
        let moves = given.into_iter().map(|((from, to), mut slots)| {
            slots.sort_unstable();
            (from, to, slots)
        });
        moves.collect()
    }

    /// The layout as text.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("numbers can be written")
    }

    /// A layout from its text.
    ///
    /// # Errors
    /// When it is something else.
    pub fn from_text(text: &[u8]) -> Result<Self, LayoutError> {
        serde_json::from_slice(text).map_err(|_| LayoutError::Malformed)
    }

    fn next(&self) -> Self {
        Self { generation: self.generation + 1, ..self.clone() }
    }
}

/// A layout as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    generation: u64,
    shards: u16,
    /// First slot, last slot, shard.
    slots: Vec<(u16, u16, u16)>,
    moves: Vec<SlotMove>,
}

impl From<Layout> for Written {
    fn from(layout: Layout) -> Self {
        let slots = layout.runs();
        let Layout { generation, shards, moves, .. } = layout;
        Self { generation, shards, slots, moves }
    }
}

impl TryFrom<Written> for Layout {
    type Error = LayoutError;

    fn try_from(written: Written) -> Result<Self, LayoutError> {
        let Written { generation, shards, slots, moves } = written;
        let mut owners = Vec::with_capacity(usize::from(SLOTS));
        for (first, last, shard) in slots {
            if usize::from(first) != owners.len() || last < first || last >= SLOTS || shard >= shards {
                return Err(LayoutError::Malformed);
            }
            owners.resize(usize::from(last) + 1, shard);
        }
        let is_known = |it: &SlotMove| it.from < shards && it.to < shards && it.slots.iter().all(|slot| *slot < SLOTS);
        if owners.len() != usize::from(SLOTS) || shards > SHARDS_MAX || !moves.iter().all(is_known) {
            return Err(LayoutError::Malformed);
        }
        Ok(Self { generation, shards, owners: owners.into(), moves })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(layout: &Layout) -> Vec<usize> {
        (0..layout.shards()).map(|shard| layout.slots_of(shard).len()).collect()
    }

    #[test]
    fn the_first_layout_is_even_and_a_grown_one_leaves_all_where_it_is() {
        assert_eq!(counts(&Layout::even(3)), [5462, 5461, 5461]);
        assert_eq!(counts(&Layout::grown(3)), [16384, 0, 0]);
        assert_eq!(Layout::even(4).shard_of(b"123456789"), 3, "slot 12739");
    }

    #[test]
    fn targets_follow_the_keys() {
        let layout = Layout::even(2);
        let keys: [&[u8]; 3] = [b"{a}1", b"{a}2", b"{b}1"];
        assert_ne!(layout.shard_of(keys[0]), layout.shard_of(keys[2]));
        assert_eq!(layout.target(keys[..2].iter().copied()), Some(Target::Shard(layout.shard_of(b"a"))));
        assert_eq!(layout.target(keys), Some(Target::Several));
        assert_eq!(layout.target([]), None);
        assert_eq!(Target::Several.with(Target::Every), Target::Every);
    }

    #[test]
    fn a_move_is_begun_once_and_completed() {
        let layout = Layout::even(2);
        let moving = layout.begin(0, 1, vec![0, 7]).unwrap();
        let half = SlotMove { from: 0, to: 1, slots: vec![0, 7], generation: 2 };
        assert_eq!(moving.moves(), std::slice::from_ref(&half));
        assert_eq!((moving.generation(), moving.owner(7)), (2, 0));
        assert_eq!(moving.begin(0, 1, vec![0, 7]), Err(LayoutError::Moving(0)));
        let done = moving.complete(&half).unwrap();
        assert_eq!((done.owner(7), done.owner(8), done.moves()), (1, 0, &[][..]));
        assert_eq!(done.complete(&half), None);
        assert_eq!(done.begin(0, 1, vec![0, 7]), Err(LayoutError::NotThere(0)));
        assert_eq!(layout.begin(0, 2, vec![1]), Err(LayoutError::UnknownShard(2)));
        assert_eq!(layout.begin(0, 0, vec![1]), Err(LayoutError::Nothing));
    }

    #[test]
    fn a_balance_moves_as_few_slots_as_possible() {
        for (layout, moved) in [(Layout::even(3), 0), (Layout::grown(2), 8192), (Layout::grown(5), 13107)] {
            let mut balanced = layout.clone();
            let moves = layout.balance();
            assert_eq!(moves.iter().map(|(_, _, slots)| slots.len()).sum::<usize>(), moved);
            for (from, to, slots) in moves {
                let moving = balanced.begin(from, to, slots).unwrap();
                balanced = moving.complete(&moving.moves()[0]).unwrap();
            }
            let counts = counts(&balanced);
            assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
        }
    }

    #[test]
    fn a_layout_survives_its_text_and_other_texts_are_refused() {
        let layout = Layout::even(3).begin(0, 2, vec![3]).unwrap();
        assert_eq!(Layout::from_text(layout.to_text().as_bytes()), Ok(layout.clone()));
        let text = layout.to_text();
        for (from, to) in
            [("\"shards\":3", "\"shards\":2"), ("[0,5461,0]", "[0,5460,0]"), ("[3]", "[20000]"), ("{", "[")]
        {
            assert!(text.contains(from), "{text}");
            assert_eq!(Layout::from_text(text.replacen(from, to, 1).as_bytes()), Err(LayoutError::Malformed), "{to}");
        }
        assert_eq!(layout.with_shards(2), Err(LayoutError::Shards(3)));
        assert_eq!(layout.with_shards(4).unwrap().unwrap().shards(), 4);
    }
}
