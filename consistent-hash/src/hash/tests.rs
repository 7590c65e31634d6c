use super::*;
use alloc::vec::Vec;

#[test]
fn xxh64_agrees_with_another_implementation() {
    for line in include_str!("../../tests/golden/xxh64.tsv").lines() {
        let mut numbers = line.split('\t').map(|number| number.parse::<u64>().unwrap());
        let mut next = || numbers.next().unwrap();
        let (length, seed, digest) = (next(), next(), next());
        let bytes: Vec<u8> = (0..length).map(|i| (i * 167 + 13).to_le_bytes()[0]).collect();
        assert_eq!(xxh64(&bytes, seed), digest, "{line}");
    }
}

#[test]
#[expect(deprecated, reason = "the standard library's SipHash-2-4 is the other implementation")]
fn siphash_agrees_with_the_paper_and_the_standard_library() {
    use core::hash::{Hasher as _, SipHasher};
    let key: [u8; 16] = core::array::from_fn(|i| u8::try_from(i).unwrap());
    let bytes: Vec<u8> = (0..200).collect();
    assert_eq!(Hasher::keyed(key).hash(&bytes[..15]).0, 0xa129_ca61_49be_45e5);
    for length in 0..bytes.len() {
        let mut reference = SipHasher::new_with_keys(0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        reference.write(&bytes[..length]);
        assert_eq!(Hasher::keyed(key).hash(&bytes[..length]).0, reference.finish());
    }
}

#[test]
fn version_one_of_the_hash_is_pinned() {
    assert_eq!(HASH_VERSION, 1);
    let numbers = [0, 1, 2, 0xFFFF_FFFF, 1 << 32, u64::MAX].map(|value| Hasher::STABLE.hash_u64(value).0);
    assert_eq!(
        numbers,
        [
            0xC9D8_74CA_57D9_E055,
            0xF2F3_7271_AD33_E225,
            0x7E0E_765B_600C_1D6E,
            0x2F84_18E6_0068_A510,
            0x6262_7158_BE32_E3AE,
            0x8E1A_4ACD_601C_1D69,
        ]
    );
    assert_eq!([splitmix(0, 0), splitmix(1, 1)], [0xE220_A839_7B1D_CDAF, 0xBEEB_8DA1_658E_EC67]);
}
