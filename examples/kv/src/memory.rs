//! The limit of what keys and values take up (`maxmemory`).
//!
//! A node writes into each entry up to which weight of its shard the entry may let keys grow. So the limit goes
//! through the log: each replica compares it with the weight that it has at that point, and all decide alike, whatever
//! their own files say. Of one shard the limit is exact. Of several, what the others weigh is as the node last saw it.

use std::cell::Cell;
use std::rc::Rc;

use super::shards::layout::Target;

/// The limit of a node, and the weights of its shards as it last saw them. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    max: Option<u64>,
    weights: Rc<[Cell<u64>]>,
}

impl Memory {
    /// Maximum bytes of the keys and values of so many shards together. 0: without a limit.
    pub fn new(max: u64, shards: u16) -> Self {
        Self { max: Some(max).filter(|max| *max > 0), weights: (0..shards).map(|_| Cell::new(0)).collect() }
    }

    /// The limit, 0 if there is none.
    pub fn max(&self) -> u64 {
        self.max.unwrap_or(0)
    }

    /// Returns true if the weights have to be noted again and again.
    pub fn is_shared(&self) -> bool {
        self.max.is_some() && self.weights.len() > 1
    }

    /// Notes what the keys and values of a shard weigh now.
    pub fn note(&self, shard: u16, weight: u64) {
        if let Some(noted) = self.weights.get(usize::from(shard)) {
            noted.set(weight);
        }
    }

    /// The weight of a shard from which on its keys must not grow by an entry for this target. [`u64::MAX`]: whatever
    /// it weighs. 0: not at all.
    pub fn limit(&self, target: Target) -> u64 {
        let Some(max) = self.max else { return u64::MAX };
        let of_all: u64 = self.weights.iter().map(Cell::get).sum();
        match target {
            Target::Shard(_) if self.weights.len() < 2 => max,
            Target::Shard(shard) => {
                let own = self.weights.get(usize::from(shard)).map_or(0, Cell::get);
                max.saturating_sub(of_all - own)
            }
            Target::Several | Target::Every if of_all >= max => 0,
            Target::Several | Target::Every => u64::MAX,
        }
    }
}

/// Bytes from a text of Redis's form, such as `100`, `64mb` or `2gb`. `k`, `m` and `g` are powers of 1000, those with a
/// `b` behind them of 1024.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1_000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_shards_weigh_is_left_to_one() {
        let one = Memory::new(100, 1);
        one.note(0, 70);
        assert_eq!(one.limit(Target::Shard(0)), 100);
        let memory = Memory::new(100, 3);
        for (shard, weight) in [(0, 10), (1, 20), (2, 30)] {
            memory.note(shard, weight);
        }
        assert_eq!([0, 1, 2].map(|shard| memory.limit(Target::Shard(shard))), [50, 60, 70]);
        assert_eq!(memory.limit(Target::Several), u64::MAX);
        memory.clone().note(0, 50);
        assert_eq!([Target::Several, Target::Every].map(|target| memory.limit(target)), [0, 0]);
        memory.note(1, 200);
        assert_eq!(memory.limit(Target::Shard(0)), 0);
        assert_eq!(Memory::new(0, 3).limit(Target::Several), u64::MAX);
    }

    #[test]
    fn sizes_are_those_of_redis() {
        let sizes = ["0", "100", "1b", "2k", "2kb", "3M", "3mb", "1g", "1GB"].map(|text| parse_bytes(text).unwrap());
        assert_eq!(sizes, [0, 100, 1, 2_000, 2_048, 3_000_000, 3 << 20, 1_000_000_000, 1 << 30]);
        for wrong in ["", "mb", "-1", "1.5gb", "5x", "1 gb", "99999999999999999999", "99999999999g"] {
            assert_eq!(parse_bytes(wrong), None, "{wrong}");
        }
    }
}
