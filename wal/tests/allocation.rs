//! Lengths in a damaged file are not trusted: the memory that opening and inspecting take is bounded by the size of the
//! files.
//!
//! A binary of its own, since it counts every byte that is allocated.

use std::cell::Cell;
use std::path::Path;
use std::sync::Mutex;

use peak_alloc::PeakAlloc;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use quorate_wal::disk::MemoryDisk;
use quorate_wal::inspect::{Detail, inspect};

use mutation::{Mutation, corpus, mutate, mutations};
use support::*;

#[allow(dead_code, reason = "shared with the other tests")]
#[path = "it/craft.rs"]
mod craft;
#[path = "it/mutation.rs"]
mod mutation;
#[allow(dead_code, reason = "shared with the other tests")]
#[path = "it/support.rs"]
mod support;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Tests of this binary run one at a time: they count what all threads allocate.
static ALONE: Mutex<()> = Mutex::new(());

/// The survey behind damage reads a mebibyte at a time, the scan as much; the rest is small.
const FIXED_BYTES: usize = 6 << 20;

#[test]
fn rule_06_and_40_memory_is_bounded_by_what_lies_on_the_disk() {
    let corpus = corpus();
    let usual = u32::try_from(cases(300)).unwrap();
    let config = Config { cases: usual, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[3; 32]));
    let _alone = ALONE.lock();
    let most = Cell::new(0);
    let outcome = runner.run(&(0..corpus.len(), mutations()), |(log, (changes, fits))| {
        let disk = mutate(&corpus[log], &changes, fits);
        let bound = FIXED_BYTES + 4 * usize::try_from(disk.used()).unwrap();
        let looked = peak_of(|| drop(inspect(&disk, Path::new("log"), Detail::Everything, &mut std::io::sink())));
        let opened = peak_of(|| drop(try_open(&disk)));
        most.set(most.get().max(looked).max(opened));
        prop_assert!(looked.max(opened) <= bound, "{} bytes to look, {} to open, of {}", looked, opened, bound);
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    println!("at most {} bytes", most.get());
}

/// A batch, a record and a checkpoint that state the greatest possible length, with matching checksums.
#[test]
fn rule_06_lengths_that_checksums_vouch_for_are_not_believed() {
    let _alone = ALONE.lock();
    for (log, disk) in corpus().iter().enumerate() {
        for value in [u64::from(u32::MAX), 1 << 31, 1 << 30] {
            let lies = [
                Mutation::Record { segment: 0, batch: 0, record: 0, field: 6, value },
                Mutation::Record { segment: 0, batch: 0, record: 1, field: 0, value },
                Mutation::Checkpoint { copy: 0, at: 16, value },
                Mutation::Checkpoint { copy: 1, at: 112, value: value << 32 | value },
                Mutation::Header { segment: 0, field: 8, value: value & !4095 },
            ];
            for lie in lies {
                let damaged = mutate(disk, std::slice::from_ref(&lie), true);
                let bound = FIXED_BYTES + 4 * usize::try_from(damaged.used()).unwrap();
                let took = peak_of(|| drop(try_open(&damaged)));
                assert!(took <= bound, "log {log}, {lie:?}: {took} bytes");
            }
        }
    }
}

/// The most bytes held at once while it runs, above those held before.
fn peak_of(what: impl FnOnce()) -> usize {
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    what();
    ALLOCATOR.peak_usage().saturating_sub(before)
}

/// The disk's own copies are small beside the bound.
#[test]
fn an_ordinary_log_takes_little() {
    let _alone = ALONE.lock();
    let disk: &MemoryDisk = &corpus()[0];
    assert!(peak_of(|| drop(try_open(disk))) < FIXED_BYTES);
}
