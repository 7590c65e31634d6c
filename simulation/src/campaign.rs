//! A campaign: many seeds, run on all cores, and a summary of the results.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hasher;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::TraceHasher;
use crate::schedule::{FaultKind, Generator, Schedule};
use crate::world::{Failure, RunOutcome, reached};

/// A range of seeds to run.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// Generator of the schedules.
    pub generator: Generator,
    /// The first seed, and the seed after the last.
    pub seeds: std::ops::Range<u64>,
    /// Number of threads that run the seeds.
    pub threads: usize,
    /// True to run every seed twice and check that both runs are equal.
    pub is_run_twice: bool,
    /// Number of failed seeds after which no more are started. All seeds below the lowest failed one are always run.
    pub failures_max: usize,
}

/// Result of a campaign.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Number of seeds that were run.
    pub seeds: u64,
    /// Number of steps in all runs.
    pub steps: u64,
    /// Time that passed in the simulated worlds, in microseconds.
    pub simulated_us: u64,
    /// Median over all seeds of the number of acknowledged calls.
    pub acknowledged_median: u64,
    /// Number of faults of each kind that took place.
    pub faults: BTreeMap<FaultKind, u64>,
    /// Number of times that each rare event was reached.
    pub sometimes: BTreeMap<&'static str, u64>,
    /// Hash over the traces of all seeds.
    pub hash: u64,
    /// The seeds that failed, with their failures.
    pub failures: Vec<(u64, Failure)>,
}

impl Campaign {
    /// Runs every seed. Calls `finished` once for each seed that is done, in no particular order.
    pub fn run(&self, run: impl Fn(&Schedule) -> RunOutcome + Sync, finished: impl Fn() + Sync) -> Summary {
        let next = AtomicU64::new(self.seeds.start);
        let failed = AtomicUsize::new(0);
        let done: Mutex<BTreeMap<u64, Seed>> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= self.seeds.end || failed.load(Ordering::Relaxed) >= self.failures_max {
                            return;
                        }
                        let result = self.run_seed(seed, &run);
                        failed.fetch_add(usize::from(result.outcome.failure.is_some()), Ordering::Relaxed);
                        done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(seed, result);
                        finished();
                    }
                });
            }
        });
        summary(done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn run_seed(&self, seed: u64, run: &impl Fn(&Schedule) -> RunOutcome) -> Seed {
        let schedule = self.generator.schedule(seed);
        let mut outcome = run(&schedule);
        if self.is_run_twice {
            let again = run(&schedule).hash;
            if again != outcome.hash && outcome.failure.is_none() {
                let detail = format!("two runs of one schedule have traces {:016x} and {again:016x}", outcome.hash);
                let law = "the same seed gives the same run".to_owned();
                outcome.failure = Some(Failure { law, detail, at_us: outcome.simulated_us });
            }
        }
        // The history was already judged. Keeping it for every seed would fill the memory.
        outcome.history = Vec::new();
        Seed { outcome }
    }
}

struct Seed {
    outcome: RunOutcome,
}

fn summary(done: BTreeMap<u64, Seed>) -> Summary {
    let mut summary = Summary::default();
    let mut hasher = TraceHasher::default();
    let mut acknowledged = Vec::new();
    for (seed, Seed { outcome }) in done {
        summary.seeds += 1;
        summary.steps += outcome.steps;
        summary.simulated_us += outcome.simulated_us;
        acknowledged.push(outcome.acknowledged);
        for (kind, count) in outcome.faults {
            *summary.faults.entry(kind).or_insert(0) += count;
        }
        for (what, count) in outcome.sometimes {
            *summary.sometimes.entry(what).or_insert(0) += count;
        }
        hasher.write_u64(outcome.hash);
        summary.failures.extend(outcome.failure.map(|failure| (seed, failure)));
    }
    acknowledged.sort_unstable();
    summary.acknowledged_median = acknowledged.get(acknowledged.len() / 2).copied().unwrap_or(0);
    summary.hash = hasher.finish();
    summary
}

impl Summary {
    /// Names of the events, among `expected` and those of every world, that were never reached.
    #[must_use]
    pub fn never_reached(&self, expected: &[&'static str]) -> Vec<&'static str> {
        let all = expected.iter().chain(&reached::OF_THE_WORLD);
        all.copied().filter(|what| !self.sometimes.contains_key(what)).collect()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.simulated_us / 36_000_000;
        writeln!(f, "{} seeds, {} steps, {}.{:02} simulated hours", self.seeds, self.steps, hours / 100, hours % 100)?;
        writeln!(f, "acknowledged calls a seed (median): {}", self.acknowledged_median)?;
        writeln!(f, "faults:")?;
        for (kind, count) in &self.faults {
            writeln!(f, "  {count:>9}  {kind}")?;
        }
        writeln!(f, "reached:")?;
        for (what, count) in &self.sometimes {
            writeln!(f, "  {count:>9}  {what}")?;
        }
        for (seed, failure) in &self.failures {
            writeln!(f, "seed {seed} FAILED: {}", failure.law)?;
        }
        write!(f, "hash {:016x}", self.hash)
    }
}

/// Requirements for a campaign of a thousand seeds: a campaign in which little went wrong proves little. They grow in
/// proportion for longer campaigns. Shorter ones have none.
#[derive(Clone, Debug)]
pub struct Requirements {
    /// Median over all seeds of the number of acknowledged calls.
    pub acknowledged_median: u64,
    /// Number of times that each kind of fault must have taken place, if it was switched on.
    pub each_fault: u64,
    /// Number of times that each of these events must have been reached.
    pub reached: Vec<(&'static str, u64)>,
}

impl Requirements {
    /// True if this number of seeds is enough for the requirements to apply.
    #[must_use]
    pub fn apply_to(seeds: u64) -> bool {
        seeds >= SEEDS_ASKED
    }

    /// Requirements that a campaign does not meet, in words. For fewer than a thousand seeds, those that it would miss
    /// at its rate.
    #[must_use]
    pub fn shortfalls(&self, summary: &Summary, generator: &Generator) -> Vec<String> {
        let mut lacking = Vec::new();
        let mut ask = |what: &str, met: u64, asked: u64| {
            if met < asked {
                lacking.push(format!("{what}: {met} of {asked}"));
            }
        };
        let scaled = |count: u64| count * summary.seeds / SEEDS_ASKED;
        ask("acknowledged calls a seed (median)", summary.acknowledged_median, self.acknowledged_median);
        for kind in generator.switched_on() {
            let met = summary.faults.get(&kind).copied().unwrap_or(0);
            ask(kind.name(), met, scaled(self.each_fault));
        }
        for (what, count) in &self.reached {
            ask(what, summary.sometimes.get(what).copied().unwrap_or(0), scaled(*count));
        }
        lacking
    }
}

/// Number of seeds from which on the requirements apply.
const SEEDS_ASKED: u64 = 1_000;
