//! Every file of the corpora, and many changes of each, through its decoder: no panic, and bounded memory.
#![expect(unsafe_code, reason = "an allocator that counts is one that implements an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use quorate_fuzz::{DECODERS, Decoder, corpus, seeds};
use quorate_protocol::Random;

/// Counts the bytes that are allocated, and the most that were so at once.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: it hands every call to the system's allocator, and returns what that returns.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of the trait.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// More cases: `QUORATE_FUZZ_CHANGES=100000 cargo test --release -p quorate-fuzz`.
#[test]
fn no_bytes_panic_a_decoder_or_take_much_memory() {
    let changes = std::env::var("QUORATE_FUZZ_CHANGES").map_or(CHANGES, |text| text.parse().expect("a number"));
    let only = std::env::var("QUORATE_FUZZ_DECODER").ok();
    for decoder in DECODERS.iter().filter(|decoder| only.as_deref().is_none_or(|only| only == decoder.name)) {
        let files = corpus(&Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(decoder.name));
        assert!(!files.is_empty(), "{} has no corpus", decoder.name);
        let mut random = Random::new(7);
        check(decoder, &[]);
        for file in &files {
            check(decoder, file);
            for _ in 0..changes {
                let other = &files[usize::try_from(random.between(0, files.len() as u64)).unwrap()];
                check(decoder, &changed(file, other, &mut random));
            }
        }
    }
}

/// A new form of bytes has a corpus. To write it: `QUORATE_FUZZ_WRITE_CORPUS=1 cargo test -p quorate-fuzz`.
#[test]
fn the_corpora_have_what_our_encoders_make() {
    for decoder in DECODERS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(decoder.name);
        let seeds = seeds(decoder.name);
        if std::env::var_os("QUORATE_FUZZ_WRITE_CORPUS").is_some() {
            fs::create_dir_all(&folder).expect("the folder can be made");
            for (number, bytes) in seeds.iter().enumerate() {
                fs::write(folder.join(format!("seed-{number:02}")), bytes).expect("the file can be written");
            }
        }
        let files = corpus(&folder);
        assert!(seeds.iter().all(|seed| files.contains(seed)), "{} lacks some: see above", decoder.name);
    }
}

fn check(decoder: &Decoder, bytes: &[u8]) {
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let decoded = catch_unwind(AssertUnwindSafe(|| (decoder.run)(bytes)));
    let taken = PEAK.load(Ordering::Relaxed).saturating_sub(before);
    assert!(decoded.is_ok(), "{} panics at {}", decoder.name, bytes.escape_ascii());
    assert!(taken <= BYTES_MAX, "{} takes {taken} bytes for {}", decoder.name, bytes.escape_ascii());
}

/// The bytes with one to four changes.
fn changed(bytes: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.between(1, 5) {
        let place = |random: &mut Random, length: usize| {
            usize::try_from(random.between(0, length as u64 + 1)).expect("a length")
        };
        let at = place(random, bytes.len());
        match random.between(0, 7) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, EDGES[usize::try_from(random.between(0, EDGES.len() as u64)).unwrap()]),
            2 if at < bytes.len() => bytes[at] ^= 1 << random.between(0, 8),
            3 if at < bytes.len() => {
                bytes[at] = EDGES[usize::try_from(random.between(0, EDGES.len() as u64)).unwrap()];
            }
            4 if at < bytes.len() => drop(bytes.remove(at)),
            5 => {
                // The beginning of one file, and the end of another.
                bytes.truncate(at);
                bytes.extend_from_slice(&other[place(random, other.len())..]);
            }
            _ => {
                // A long number in the place of some bytes.
                let end = (at + 8).min(bytes.len());
                bytes[at..end].fill(0xff);
            }
        }
    }
    bytes
}

/// Bytes at which numbers and texts change their meaning.
const EDGES: [u8; 16] = [0, 1, 0x7f, 0x80, 0xfe, 0xff, 0xfb, 0xfc, 0xfd, b'0', b'9', b'-', b'\r', b'\n', b'*', b'$'];
const CHANGES: u32 = 100;
/// A store that carries out what it is told may take as much as a value may have.
const BYTES_MAX: usize = 160 << 20;
