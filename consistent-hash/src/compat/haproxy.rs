//! Hashes of keys and servers in HAProxy.

use super::checksum::Crc32;

/// HAProxy's hash of a key on a ring: the function that `hash-type consistent` names, and whether its result is mixed
/// once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HaproxyHash {
    /// The function.
    pub function: HaproxyFunction,
    /// The modifier `avalanche`. It applies if `hash-type consistent` names no function; if it names a function,
    /// `avalanche` must be given.
    pub avalanche: bool,
}

/// The functions of HAProxy's `hash-type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HaproxyFunction {
    /// `sdbm`, the default.
    #[default]
    Sdbm,
    /// `djb2`.
    Djb2,
    /// `wt6`.
    Wt6,
    /// `crc32`.
    Crc32,
}

/// `hash-type consistent` without further words.
impl Default for HaproxyHash {
    fn default() -> Self {
        Self { function: HaproxyFunction::Sdbm, avalanche: true }
    }
}

impl HaproxyHash {
    pub(super) fn hash(self, key: &[u8]) -> u32 {
        let hash = match self.function {
            HaproxyFunction::Sdbm => key.iter().fold(0, |hash: u32, &byte| {
                u32::from(byte).wrapping_add(hash << 6).wrapping_add(hash << 16).wrapping_sub(hash)
            }),
            HaproxyFunction::Djb2 => {
                key.iter().fold(5381, |hash: u32, &byte| hash.wrapping_mul(33).wrapping_add(u32::from(byte)))
            }
            HaproxyFunction::Wt6 => wt6(key),
            HaproxyFunction::Crc32 => Crc32::new().update(key).finish(),
        };
        if self.avalanche { avalanche(hash) } else { hash }
    }
}

/// The mixing of 32 bits that places servers, and keys under `avalanche`. It is a bijection.
pub(super) fn avalanche(mut a: u32) -> u32 {
    a = a.wrapping_add(0x7ED5_5D16_u32.wrapping_add(a << 12));
    a = (a ^ 0xC761_C23C) ^ (a >> 19);
    a = a.wrapping_add(0x1656_67B1_u32.wrapping_add(a << 5));
    a = a.wrapping_add(0xD3A2_646C) ^ (a << 9);
    a = a.wrapping_add(0xFD70_46C5_u32.wrapping_add(a << 3));
    a = (a ^ 0xB55A_4F09) ^ (a >> 16);
    a.wrapping_mul(3_221_225_473)
}

fn wt6(key: &[u8]) -> u32 {
    let (mut one, mut two) = (0xA53C_965A_u32, 0x5CA6_953A_u32);
    let (mut left, mut right) = (6, 18);
    for &byte in key {
        one = !(one ^ u32::from(byte));
        two = !two.wrapping_add(u32::from(byte));
        (one, two) = (two.rotate_left(left), one.rotate_left(right));
        let turn = ((one >> 16) ^ two) & 0xFFFF;
        (left, right) = (turn & 31, turn >> 11);
    }
    one ^ two
}

/// The numbers that HAProxy gives to servers in the order of its configuration. `given` holds the `id` of each server
/// that has one. Those ids are assigned first. A server without an id gets the smallest free number that is at least
/// its position in the list, counted from 1.
pub(super) fn numbers(given: &[Option<u32>]) -> alloc::vec::Vec<u32> {
    let mut taken: alloc::collections::BTreeSet<u32> = given.iter().copied().flatten().collect();
    // Numbers below this one are taken, from the place of the last search on.
    let mut next = 1;
    let number = |(place, given): (u32, &Option<u32>)| {
        given.unwrap_or_else(|| {
            let free = (next.max(place)..=u32::MAX).find(|number| !taken.contains(number)).unwrap_or(u32::MAX);
            taken.insert(free);
            next = free.saturating_add(1);
            free
        })
    };
    (1..).zip(given).map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values computed by HAProxy 2.6.12.
    #[test]
    fn numbers_servers_as_the_program_does() {
        assert_eq!(numbers(&[Some(2), None, None]), [2, 3, 4]);
        assert_eq!(numbers(&[None, Some(1), None, Some(3)]), [2, 1, 4, 3]);
        assert_eq!(numbers(&[None, None]), [1, 2]);
        // All low numbers are taken by the last servers; a search from the start for each would take minutes.
        let half = 200_000;
        let given: alloc::vec::Vec<_> = (0..half).map(|_| None).chain((1..=half).map(Some)).collect();
        assert_eq!(numbers(&given)[..half as usize], (half + 1..=2 * half).collect::<alloc::vec::Vec<_>>());
    }

    #[test]
    fn hashes_as_the_program_does() {
        assert_eq!([0, 1, 4096, 4097].map(avalanche), [0xAB4E_D927, 0x3486_81B6, 0x49C2_008B, 0xA497_2C87]);
        let hash = |function, avalanche, key: &[u8]| HaproxyHash { function, avalanche }.hash(key);
        assert_eq!(hash(HaproxyFunction::Sdbm, false, b"user:0"), 0x3904_7081);
        assert_eq!(hash(HaproxyFunction::Sdbm, true, b"user:0"), 0x0CE7_DB6D);
        assert_eq!(hash(HaproxyFunction::Djb2, false, b"user:0"), 0x2124_E72E);
        assert_eq!(hash(HaproxyFunction::Wt6, false, b"user:0"), 0xEDB0_B89A);
        assert_eq!(hash(HaproxyFunction::Wt6, false, b""), 0xF99A_0360);
    }
}
