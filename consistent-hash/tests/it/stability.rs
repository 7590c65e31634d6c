//! Placement never changes: not between releases, not between platforms.

use quorate_consistent_hash::compat::CompatRing;
use quorate_consistent_hash::{
    BoundedLoads, Hasher, Jump, JumpBack, KeyHash, Maglev, Memento, Nodes, Placement, Rendezvous, Ring,
};

use crate::support::{every_algorithm, hashes, named, weighted};

/// Owners of a thousand keys and their replicas as one number, computed by the first release.
fn digest(placement: &dyn Placement) -> u64 {
    let n = placement.nodes().len().min(3);
    hashes(1000).fold(0, |sum, hash| {
        placement.replicas_of(hash, n).unwrap().fold(sum, |sum: u64, node| {
            sum.wrapping_mul(0x0000_0100_0000_01B3) ^ Hasher::STABLE.hash(node.name().as_bytes()).0
        })
    })
}

#[test]
fn placement_is_pinned() {
    let mut digests: Vec<_> =
        every_algorithm(&named(25)).iter().map(|(name, placement)| (*name, digest(&**placement))).collect();
    let nodes = weighted(&[1.0, 0.5, 2.0, 3.25, 0.75]);
    digests.extend(every_algorithm(&nodes).iter().map(|(name, placement)| (*name, digest(&**placement))));
    let keyed = Hasher::keyed(*b"sixteen secrets!");
    digests.push(("keyed ring", digest(&Ring::builder().hasher(keyed).build(named(25)).unwrap())));
    let mut memento = Memento::new(named(25)).unwrap();
    for gone in ["node-3", "node-24", "node-0", "node-17"] {
        memento.remove(gone).unwrap();
    }
    digests.push(("memento after removals", digest(&memento)));
    assert_eq!(
        digests,
        [
            ("ring", 5_139_760_175_823_506_768),
            ("rendezvous", 2_226_711_160_461_264_362),
            ("maglev", 7_973_536_514_781_288_164),
            ("jump", 1_822_159_426_153_722_707),
            ("jump-back", 7_214_068_501_781_249_334),
            ("memento", 7_214_068_501_781_249_334),
            ("ring", 4_566_107_511_069_947_137),
            ("rendezvous", 13_363_361_055_660_069_456),
            ("maglev", 6_058_726_465_889_020_355),
            ("keyed ring", 18_238_184_091_952_648_899),
            ("memento after removals", 17_123_565_048_885_702_893),
        ]
    );
}

/// Values from `tests/golden/specification.py`, which implements the specification again in another language.
#[test]
fn the_first_keys_are_pinned_in_plain_sight() {
    let owners = |placement: &dyn Placement| -> Vec<String> {
        ["", "a", "user:1", "user:2", "user:3"].map(|key| placement.owner(key.as_bytes()).name().to_owned()).to_vec()
    };
    let nodes = || Nodes::named(["a", "b", "c", "d", "e"]).unwrap();
    assert_eq!(owners(&Ring::new(nodes()).unwrap()), ["b", "e", "a", "a", "e"]);
    assert_eq!(owners(&Rendezvous::new(nodes()).unwrap()), ["a", "d", "c", "e", "a"]);
    assert_eq!(owners(&Maglev::new(nodes()).unwrap()), ["d", "b", "b", "a", "b"]);
    assert_eq!(owners(&Jump::new(nodes()).unwrap()), ["c", "b", "c", "a", "b"]);
    assert_eq!(owners(&JumpBack::new(nodes()).unwrap()), ["c", "d", "a", "e", "a"]);
}

/// Computes like a 32-bit or big-endian machine: words are lists of limbs of 16 bits, bytes are put together by their
/// place value, and nothing is wider than a product of two limbs. If the results agree, no step depends on the width or
/// byte order of the machine's words.
mod limbs {
    type Word = [u32; 4];

    fn word(value: u64) -> Word {
        [0, 16, 32, 48].map(|shift| u32::try_from(value >> shift & 0xFFFF).unwrap())
    }

    fn product(a: Word, b: Word) -> [u32; 8] {
        let mut product = [0; 8];
        for (i, x) in a.into_iter().enumerate() {
            let mut carry = 0;
            for (j, y) in b.into_iter().enumerate() {
                let sum = product[i + j] + x * y % 0x1_0000 + carry % 0x1_0000;
                carry = (carry >> 16) + x * y / 0x1_0000 + sum / 0x1_0000;
                product[i + j] = sum % 0x1_0000;
            }
            product[i + 4] = carry;
        }
        product
    }

    fn value(limbs: &[u32]) -> u64 {
        limbs.iter().rev().fold(0, |value, &limb| value * 0x1_0000 + u64::from(limb))
    }

    pub(super) fn fold(a: u64, b: u64) -> u64 {
        let product = product(word(a), word(b));
        value(&product[..4]) ^ value(&product[4..])
    }

    pub(super) fn scale(hash: u64, bound: u64) -> u64 {
        value(&product(word(hash), word(bound))[4..])
    }
}

#[test]
fn no_step_depends_on_the_words_of_the_machine() {
    let maglev = Maglev::new(named(25)).unwrap();
    let table: Vec<_> = maglev.table().collect();
    for i in (0..2000).chain([u64::MAX, u64::MAX - 1, 1 << 63]) {
        let hash = limbs::fold(i ^ 0x9E37_79B9_7F4A_7C15, 0xD6E8_FEB8_6659_FD93);
        assert_eq!(Hasher::STABLE.hash_u64(i), KeyHash(hash));
        let entry = limbs::scale(hash, table.len() as u64);
        assert_eq!(maglev.owner_of(KeyHash(hash)), table[usize::try_from(entry).unwrap()]);
    }
    // Bytes are read by place value, so that their position in memory makes no difference.
    let bytes: Vec<u8> = (0..100).collect();
    for start in 0..9 {
        let copy = bytes[start..start + 64].to_vec();
        assert_eq!(Hasher::STABLE.hash(&bytes[start..start + 64]), Hasher::STABLE.hash(&copy));
    }
}

#[test]
fn everything_can_be_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Ring>();
    shared::<Rendezvous>();
    shared::<Maglev>();
    shared::<Memento>();
    shared::<CompatRing>();
    shared::<BoundedLoads<Ring>>();
    #[cfg(feature = "std")]
    shared::<quorate_consistent_hash::Publisher<Ring>>();
}

#[cfg(feature = "serde")]
#[test]
fn states_are_pinned_as_text() {
    use quorate_consistent_hash::{MementoState, RingState};

    let ring = Ring::builder().virtual_nodes(2).build(weighted(&[1.0, 2.5])).unwrap();
    let text = serde_json::to_string(&RingState::from(&ring)).unwrap();
    assert_eq!(
        text,
        concat!(
            r#"{"version":1,"hash_version":1,"settings":{"hasher":{"key":null},"virtual_nodes":2},"nodes":["#,
            r#"{"name":"node-0","weight":1.0,"zone":"","rack":""},{"name":"node-1","weight":2.5,"zone":"","rack":""}],"#,
            r#""fingerprint":3378045034318084438}"#
        )
    );
    let back = Ring::try_from(serde_json::from_str::<RingState>(&text).unwrap()).unwrap();
    assert_eq!(digest(&back), digest(&ring));
    for weight in ["0.0", "-1.0", "1e10"] {
        assert!(serde_json::from_str::<RingState>(&text.replace("2.5", weight)).is_err(), "{weight}");
    }
    let mut memento = Memento::new(named(3)).unwrap();
    memento.remove("node-1").unwrap();
    let text = serde_json::to_string(&MementoState::from(&memento)).unwrap();
    let back = Memento::try_from(serde_json::from_str::<MementoState>(&text).unwrap()).unwrap();
    assert_eq!(digest(&back), digest(&memento));
}
