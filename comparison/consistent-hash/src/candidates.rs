//! Algorithms that were candidates for the crate and lost, kept so that the choice can be measured again.

use quorate_consistent_hash::{Hasher, KeyHash};

/// BinomialHash (Coluzzi, Brocco, Antonucci, Leidi 2024) with six rounds, which leave an imbalance of up to 1/64.
pub fn binomial(hash: u64, buckets: u32) -> u32 {
    if buckets < 2 {
        return 0;
    }
    let enclosing = (buckets.next_power_of_two() - 1) as u64;
    let minor = enclosing >> 1;
    let mut word = mix(hash);
    let first = word;
    for _ in 0..6 {
        let bucket = relocate(word & enclosing, word);
        if bucket <= minor {
            return relocate(first & minor, first) as u32;
        }
        if bucket < u64::from(buckets) {
            return bucket as u32;
        }
        word = mix(word);
    }
    relocate(first & minor, first) as u32
}

/// Spreads a bucket over its level of the tree.
fn relocate(bucket: u64, word: u64) -> u64 {
    if bucket < 2 {
        return bucket;
    }
    let level = 1_u64 << bucket.ilog2();
    level + (mix(word ^ level) & (level - 1))
}

fn mix(word: u64) -> u64 {
    Hasher::STABLE.hash_u64(word).0
}

/// Multi-probe consistent hashing (Appleton and O'Reilly 2015): one token a node, 21 probes a key.
pub struct MultiProbe {
    tokens: Vec<(u64, u32)>,
    starts: Vec<u32>,
    shift: u32,
}

impl MultiProbe {
    pub fn new(nodes: impl Iterator<Item = u32>) -> Self {
        let mut tokens: Vec<_> =
            nodes.map(|node| (Hasher::STABLE.hash(format!("node-{node}").as_bytes()).0, node)).collect();
        tokens.sort_unstable();
        let shift = 64 - tokens.len().next_power_of_two().trailing_zeros().max(1);
        let starts = (0..1_u64 << (64 - shift))
            .map(|lead| tokens.partition_point(|token| token.0 >> shift < lead) as u32)
            .collect();
        Self { tokens, starts, shift }
    }

    pub fn owner(&self, hash: KeyHash) -> u32 {
        let mut best = (u64::MAX, 0);
        let mut probe = hash.0;
        for _ in 0..21 {
            let mut at = self.starts[(probe >> self.shift) as usize] as usize;
            while at < self.tokens.len() && self.tokens[at].0 < probe {
                at += 1;
            }
            let (token, node) = self.tokens[if at == self.tokens.len() { 0 } else { at }];
            best = best.min((token.wrapping_sub(probe), node));
            probe = mix(probe);
        }
        best.1
    }
}
