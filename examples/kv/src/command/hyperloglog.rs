//! `PFADD`, `PFCOUNT` and `PFMERGE`: about how many different items there were.
//!
//! A hyperloglog is a string: `HYLL`, twelve bytes of which the first is 0, and [`REGISTERS`] registers of six bits. It
//! is the dense form of Redis, and its hash, so that the same items give the same counts.

use crate::resp::{Encoder, Reply};
use crate::store::WrongType;

use super::context::Change;
use super::spec::{ALL_KEYS, ONE_KEY, READ_SLOW, Spec, WRITE, WRITE_SLOW};

type Done = Result<(), Reply>;

pub(super) const COMMANDS: &[Spec] = &[
    Spec::write("pfadd", -2, ONE_KEY, add).flags(WRITE).about("hyperloglog", "Adds items to a hyperloglog."),
    Spec::read("pfcount", -2, ALL_KEYS, |view, rest, out| {
        let all = union(rest, |key| view.text(key))?;
        out.integer(all.count());
        Ok(())
    })
    .flags(READ_SLOW)
    .about("hyperloglog", "Returns about how many different items hyperloglogs have together."),
    Spec::write("pfmerge", -2, ALL_KEYS, |change, rest, out| {
        let all = union(rest, |key| change.text(key))?;
        put(change, rest[0], &all);
        out.status("OK");
        Ok(())
    })
    .flags(WRITE_SLOW)
    .about("hyperloglog", "Joins hyperloglogs and stores the result."),
];

/// The highest rank of an item of each part.
struct Registers(Vec<u8>);

impl Registers {
    fn new() -> Self {
        Self(vec![0; REGISTERS])
    }

    /// From the bytes of a string.
    fn read(text: &[u8]) -> Result<Self, Reply> {
        let packed = text.strip_prefix(HEAD).filter(|_| text.len() == BYTES);
        let packed = packed.and_then(|rest| rest.get(HEADER_BYTES - HEAD.len()..));
        let packed = packed.ok_or_else(|| Reply::error("WRONGTYPE Key is not a valid HyperLogLog string value."))?;
        let register = |index: usize| {
            let (byte, shift) = (index * RANK_BITS / 8, index * RANK_BITS % 8);
            let pair = u16::from_le_bytes([packed[byte], packed.get(byte + 1).copied().unwrap_or(0)]);
            (pair >> shift).to_le_bytes()[0] & RANK_MAX
        };
        Ok(Self((0..REGISTERS).map(register).collect()))
    }

    /// The bytes of a string.
    fn write(&self) -> Vec<u8> {
        let mut text = vec![0; BYTES];
        text[..HEAD.len()].copy_from_slice(HEAD);
        // The bit that tells Redis that it has to count again.
        text[HEADER_BYTES - 1] = 0x80;
        for (index, rank) in self.0.iter().enumerate() {
            let (byte, shift) = (HEADER_BYTES + index * RANK_BITS / 8, index * RANK_BITS % 8);
            let [low, high] = (u16::from(*rank) << shift).to_le_bytes();
            text[byte] |= low;
            if high != 0 {
                text[byte + 1] |= high;
            }
        }
        text
    }

    /// Adds an item. Returns true if a register changed.
    fn add(&mut self, item: &[u8]) -> bool {
        let hash = hash(item);
        let register = &mut self.0[usize::try_from(hash).unwrap_or(usize::MAX) & (REGISTERS - 1)];
        let rank = ((hash >> INDEX_BITS | 1 << (64 - INDEX_BITS)).trailing_zeros() + 1).to_le_bytes()[0];
        let changes = rank > *register;
        *register = rank.max(*register);
        changes
    }

    fn join(&mut self, other: &Self) {
        for (register, rank) in self.0.iter_mut().zip(&other.0) {
            *register = (*register).max(*rank);
        }
    }

    /// An estimate of the number of different items (Ertl, arXiv:1702.01284).
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    fn count(&self) -> i64 {
        let mut with_rank = [0_u32; 64];
        for rank in &self.0 {
            with_rank[usize::from(*rank)] += 1;
        }
        let share = |rank: usize| f64::from(with_rank[rank]) / REGISTERS as f64;
        let mut sum = REGISTERS as f64 * tau(1.0 - share(RANK_LAST + 1));
        for count in with_rank[1..=RANK_LAST].iter().rev() {
            sum = (sum + f64::from(*count)) * 0.5;
        }
        sum += REGISTERS as f64 * sigma(share(0));
        (ALPHA * (REGISTERS * REGISTERS) as f64 / sum).round() as i64
    }
}

#[allow(clippy::float_cmp)]
fn sigma(x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut x, mut y, mut sum) = (x, 1.0, x);
    loop {
        x *= x;
        let before = sum;
        sum += x * y;
        y += y;
        if sum == before {
            return sum;
        }
    }
}

#[allow(clippy::float_cmp)]
fn tau(x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut x, mut y, mut sum) = (x, 1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = sum;
        y *= 0.5;
        sum -= (1.0 - x) * (1.0 - x) * y;
        if sum == before {
            return sum / 3.0;
        }
    }
}

/// MurmurHash64A (Appleby), with Redis's seed.
fn hash(item: &[u8]) -> u64 {
    let mut hash = SEED ^ (item.len() as u64).wrapping_mul(MULTIPLIER);
    let mut words = item.chunks_exact(8);
    for word in &mut words {
        let word = u64::from_le_bytes(word.try_into().expect("eight bytes")).wrapping_mul(MULTIPLIER);
        hash = (hash ^ (word ^ word >> 47).wrapping_mul(MULTIPLIER)).wrapping_mul(MULTIPLIER);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(last)).wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ hash >> 47).wrapping_mul(MULTIPLIER);
    hash ^ hash >> 47
}

/// The registers of all keys together.
fn union<'s>(keys: &[&[u8]], text: impl Fn(&[u8]) -> Result<Option<&'s [u8]>, WrongType>) -> Result<Registers, Reply> {
    let mut all = Registers::new();
    for key in keys {
        if let Some(text) = text(key)? {
            all.join(&Registers::read(text)?);
        }
    }
    Ok(all)
}

fn put(change: &mut Change<'_>, key: &[u8], registers: &Registers) {
    change.store.put_text(key, &[&registers.write()], change.deadline(key));
}

fn add(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let before = change.text(rest[0])?.map(Registers::read).transpose()?;
    let mut changes = before.is_none();
    let mut registers = before.unwrap_or_else(Registers::new);
    for item in &rest[1..] {
        changes |= registers.add(item);
    }
    if changes {
        put(change, rest[0], &registers);
    }
    out.integer(i64::from(changes));
    Ok(())
}

/// The start of a hyperloglog in the dense form.
const HEAD: &[u8] = b"HYLL\0";
const HEADER_BYTES: usize = 16;
/// Bits of a hash that choose the register.
const INDEX_BITS: u32 = 14;
const REGISTERS: usize = 1 << INDEX_BITS;
const RANK_BITS: usize = 6;
const RANK_MAX: u8 = 63;
/// The highest rank but for that of a hash without any other bit.
const RANK_LAST: usize = 64 - INDEX_BITS as usize;
const BYTES: usize = HEADER_BYTES + REGISTERS * RANK_BITS / 8;
/// 0.5 / ln(2).
const ALPHA: f64 = 0.721_347_520_444_481_7;
const SEED: u64 = 0xadc8_3b19;
const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_packed_and_counted() {
        let mut registers = Registers::new();
        assert_eq!(registers.count(), 0);
        for number in 0..50_000_u32 {
            registers.add(&number.to_le_bytes());
        }
        let again = Registers::read(&registers.write()).unwrap();
        assert_eq!(again.0, registers.0);
        // The standard error is 0.81 %.
        assert!((48_500..51_500).contains(&again.count()), "{}", again.count());
        assert!(!registers.add(&7_u32.to_le_bytes()));
        assert!(Registers::read(&registers.write()[1..]).is_err());
        assert!(Registers::read(&registers.write()[..BYTES - 1]).is_err());
    }
}
