//! SHA-256 (FIPS 180-4), the hash of Varnish.

use super::blocks::{bits, each_block};

/// The digest of `bytes`, as eight words.
pub(super) fn sha256(bytes: &[u8]) -> [u32; 8] {
    let mut state = INITIAL;
    each_block(bytes, bits(bytes).to_be_bytes(), |block| absorb(&mut state, block));
    state
}

#[expect(clippy::many_single_char_names, reason = "as the standard names them")]
fn absorb(state: &mut [u32; 8], block: &[u8]) {
    let mut words = [0_u32; 64];
    for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
        *word = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    for at in 16..64 {
        let (far, near) = (words[at - 15], words[at - 2]);
        let far = far.rotate_right(7) ^ far.rotate_right(18) ^ (far >> 3);
        let near = near.rotate_right(17) ^ near.rotate_right(19) ^ (near >> 10);
        words[at] = words[at - 16].wrapping_add(far).wrapping_add(words[at - 7]).wrapping_add(near);
    }
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    for (&constant, word) in CONSTANTS.iter().zip(words) {
        let sum = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let choice = (e & f) ^ (!e & g);
        let one = h.wrapping_add(sum).wrapping_add(choice).wrapping_add(constant).wrapping_add(word);
        let sum = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let two = sum.wrapping_add((a & b) ^ (a & c) ^ (b & c));
        (h, g, f, e) = (g, f, e, d.wrapping_add(one));
        (d, c, b, a) = (c, b, a, one.wrapping_add(two));
    }
    for (word, change) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *word = word.wrapping_add(change);
    }
}

const INITIAL: [u32; 8] =
    [0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A, 0x510E_527F, 0x9B05_688C, 0x1F83_D9AB, 0x5BE0_CD19];

/// The first 32 bits of the fractional parts of the cube roots of the first 64 primes, as the standard defines them.
#[rustfmt::skip]
const CONSTANTS: [u32; 64] = [
    0x428A_2F98, 0x7137_4491, 0xB5C0_FBCF, 0xE9B5_DBA5, 0x3956_C25B, 0x59F1_11F1, 0x923F_82A4, 0xAB1C_5ED5,
    0xD807_AA98, 0x1283_5B01, 0x2431_85BE, 0x550C_7DC3, 0x72BE_5D74, 0x80DE_B1FE, 0x9BDC_06A7, 0xC19B_F174,
    0xE49B_69C1, 0xEFBE_4786, 0x0FC1_9DC6, 0x240C_A1CC, 0x2DE9_2C6F, 0x4A74_84AA, 0x5CB0_A9DC, 0x76F9_88DA,
    0x983E_5152, 0xA831_C66D, 0xB003_27C8, 0xBF59_7FC7, 0xC6E0_0BF3, 0xD5A7_9147, 0x06CA_6351, 0x1429_2967,
    0x27B7_0A85, 0x2E1B_2138, 0x4D2C_6DFC, 0x5338_0D13, 0x650A_7354, 0x766A_0ABB, 0x81C2_C92E, 0x9272_2C85,
    0xA2BF_E8A1, 0xA81A_664B, 0xC24B_8B70, 0xC76C_51A3, 0xD192_E819, 0xD699_0624, 0xF40E_3585, 0x106A_A070,
    0x19A4_C116, 0x1E37_6C08, 0x2748_774C, 0x34B0_BCB5, 0x391C_0CB3, 0x4ED8_AA4A, 0x5B9C_CA4F, 0x682E_6FF3,
    0x748F_82EE, 0x78A5_636F, 0x84C8_7814, 0x8CC7_0208, 0x90BE_FFFA, 0xA450_6CEB, 0xBEF9_A3F7, 0xC671_78F2,
];

#[cfg(test)]
mod tests {
    use super::sha256;
    use alloc::vec;

    #[test]
    fn agrees_with_the_examples_of_the_standard() {
        let empty =
            [0xE3B0_C442, 0x98FC_1C14, 0x9AFB_F4C8, 0x996F_B924, 0x27AE_41E4, 0x649B_934C, 0xA495_991B, 0x7852_B855];
        assert_eq!(sha256(b""), empty);
        assert_eq!(sha256(b"abc")[..2], [0xBA78_16BF, 0x8F01_CFEA]);
        let two = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        assert_eq!(sha256(two)[..2], [0x248D_6A61, 0xD206_38B8]);
    }

    #[test]
    fn pads_every_length() {
        // Leading words of the digests of this number of letters `a`, computed by sha256sum of coreutils.
        for (length, word) in [
            (55, 0x9F43_90F8),
            (56, 0xB354_39A4),
            (57, 0xF13B_2D72),
            (63, 0x7D3E_74A0),
            (64, 0xFFE0_54FE),
            (65, 0x6353_61C4),
            (119, 0x31EB_A51C),
            (120, 0x2F3D_3354),
            (128, 0x6836_CF13),
        ] {
            assert_eq!(sha256(&vec![b'a'; length])[0], word, "{length}");
        }
    }
}
