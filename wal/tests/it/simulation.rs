//! Random histories under every fault, compared with the model.
//!
//! `QUORATE_WAL_SEEDS=1..1001 cargo test --release -p quorate-wal --test it simulation -- --nocapture` runs these
//! seeds. A seed that breaks a law is named, with the law, in a line of its own.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::history::{History, Seen, Violation};

#[test]
fn simulation_of_random_histories_agrees_with_the_model() {
    let mut seen = Seen::default();
    for seed in seeds() {
        let outcome = catch_unwind(AssertUnwindSafe(|| History::new(seed).run(STEPS)));
        let Violation { law, what } = match outcome {
            Ok(Ok(reached)) => {
                seen.add(&reached);
                continue;
            }
            Ok(Err(violation)) => violation,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                Violation { law: "nothing panics", what: text.unwrap_or_default() }
            }
        };
        println!("seed {seed} broke `{law}`: {what}");
        panic!("seed {seed} broke `{law}`");
    }
    println!("{seen:#?}");
    assert!(seen.all_reached(), "the interesting cases were reached: {seen:?}");
}

#[test]
fn a_simulation_does_the_same_again() {
    for seed in 0..20 {
        let reached = [(); 2].map(|()| History::new(seed).run(STEPS).expect("no law is broken"));
        assert_eq!(reached[0], reached[1], "seed {seed}");
    }
}

/// The seeds in `QUORATE_WAL_SEEDS`, as `first..end`, or a few by default.
fn seeds() -> Range<u64> {
    let named = std::env::var("QUORATE_WAL_SEEDS").ok();
    let range = named.as_deref().and_then(|range| {
        let (first, end) = range.split_once("..")?;
        Some(first.parse().ok()?..end.parse().ok()?)
    });
    range.unwrap_or(0..60)
}

const STEPS: u64 = 150;
