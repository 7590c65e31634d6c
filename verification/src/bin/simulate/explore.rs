//! `simulate`: runs a range of seeds, or one schedule again.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use quorate_simulation::campaign::{Campaign, Requirements, Summary};
use quorate_simulation::schedule::{Aim, FaultKind, LossBudget};
use quorate_simulation::world::Recording;
use quorate_verification::protocols::{self, Protocol};

use crate::{diagnosis, replay};

/// Runs a protocol under faults.
#[derive(Debug, Args)]
#[command(after_help = protocols::list())]
pub(crate) struct Explore {
    /// The protocol: raft by default, and the schedule's own protocol when one is run again
    #[arg(long, value_name = "NAME", value_parser = protocols::protocol)]
    protocol: Option<Protocol>,
    /// Prints the names of the protocols, one a line
    #[arg(long)]
    list: bool,
    /// The seeds to run, the last one included
    #[arg(long, value_name = "FIRST..LAST", value_parser = seeds, default_value = "1..100")]
    seeds: Range<u64>,
    /// The kinds of faults that may be switched on; all if none is named
    #[arg(long, value_name = "KIND,...", value_delimiter = ',')]
    faults: Vec<FaultKind>,
    /// Demands that the cluster serves while one fault lasts that a majority survives, instead of after all faults
    #[arg(long)]
    progress: bool,
    /// Demands that the cluster makes progress while one node is dead from early on to the end, instead of after all
    /// faults
    #[arg(long, conflicts_with = "progress")]
    beside_dead: bool,
    /// Destroys more than the protocol tolerates: laws will be broken
    #[arg(long)]
    exceed_budget: bool,
    /// Duration of the time of faults, in simulated seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 12)]
    seconds: u64,
    /// Runs every seed twice, and checks that both runs are the same
    #[arg(long)]
    twice: bool,
    /// Stops at the first seed that breaks a law, without shrinking its schedule
    #[arg(long)]
    first: bool,
    /// Number of threads; all cores unless given
    #[arg(long)]
    threads: Option<usize>,
    /// Folder for the files about failed seeds
    #[arg(long, value_name = "FOLDER", default_value = "failed-seeds")]
    out: PathBuf,
    /// Runs this schedule instead, and draws it
    #[arg(long, value_name = "FILE", conflicts_with = "seeds")]
    replay: Option<PathBuf>,
}

impl Explore {
    pub(crate) fn run(&self) -> u8 {
        if self.list {
            for protocol in protocols::PROTOCOLS {
                println!("{}", protocol.name);
            }
            return HELD;
        }
        // A panic of a core is a finding like others, and is reported as one.
        std::panic::set_hook(Box::new(|_| {}));
        let result = match &self.replay {
            Some(file) => self.replay(file),
            None => self.explore(self.protocol.unwrap_or(protocols::PROTOCOLS[0])),
        };
        result.unwrap_or_else(|error| {
            eprintln!("{error}");
            UNREADABLE
        })
    }

    fn explore(&self, protocol: Protocol) -> Result<u8, String> {
        let mut generator = (protocol.generator)();
        generator.faults_us = self.seconds.saturating_mul(1_000_000);
        if !self.faults.is_empty() {
            generator.kinds.clone_from(&self.faults);
        }
        if self.progress {
            generator.aim = Aim::Progress;
        }
        if self.beside_dead {
            generator.aim = Aim::BesideTheDead;
        }
        if self.exceed_budget {
            generator.budget = LossBudget::Exceeded;
        }
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = self.threads.unwrap_or_else(cores);
        let failures_max = if self.first { 1 } else { FAILURES_MAX };
        let campaign =
            Campaign { generator, seeds: self.seeds.clone(), threads, is_run_twice: self.twice, failures_max };
        let bar = ProgressBar::new(self.seeds.end.saturating_sub(self.seeds.start));
        bar.set_style(
            ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {eta} left").expect("a valid template"),
        );
        let began = Instant::now();
        let summary = campaign.run(|schedule| (protocol.run)(schedule, Recording::Nothing), || bar.inc(1));
        bar.finish_and_clear();
        println!("{summary}");
        let seconds = began.elapsed().as_secs_f64();
        let simulated = std::time::Duration::from_micros(summary.simulated_us).as_secs_f64();
        println!("took {seconds:.1} s: {:.2} simulated hours a second", simulated / 3600.0 / seconds);
        let has_failed = self.diagnose(&protocol, &campaign, &summary)?;
        let is_lacking = !self.first && self.told_what_is_lacking(&protocol, &campaign, &summary);
        Ok(if has_failed || is_lacking { BROKEN } else { HELD })
    }

    fn diagnose(&self, protocol: &Protocol, campaign: &Campaign, summary: &Summary) -> Result<bool, String> {
        for (seed, failure) in &summary.failures {
            println!("\nseed {seed} broke `{}`: {}", failure.law, failure.detail);
            if self.first {
                break;
            }
            let schedule = campaign.generator.schedule(*seed);
            let name = format!("{}-seed-{seed}", protocol.name);
            diagnosis::shrink_and_write(&self.out, &name, schedule, &failure.law, protocol)?;
        }
        Ok(!summary.failures.is_empty())
    }

    /// Prints the expected events that were never reached, and the required ones that occurred too seldom. Returns true
    /// if the campaign is long enough for the requirements and misses one.
    fn told_what_is_lacking(&self, protocol: &Protocol, campaign: &Campaign, summary: &Summary) -> bool {
        let has_aim = self.progress || self.beside_dead;
        let is_whole = !(has_aim || self.exceed_budget || self.first) && self.faults.is_empty();
        if !is_whole || !summary.failures.is_empty() {
            return false;
        }
        for what in summary.never_reached(&protocol.expected.concat()) {
            println!("never reached: {what}");
        }
        let lacking = (protocol.requirements)().shortfalls(summary, &campaign.generator);
        let is_asked = Requirements::apply_to(summary.seeds);
        for what in &lacking {
            println!("{}: {what}", if is_asked { "TOO SELDOM" } else { "seldom so far" });
        }
        is_asked && !lacking.is_empty()
    }

    fn replay(&self, file: &Path) -> Result<u8, String> {
        let read = replay::read(file, self.protocol);
        let (protocol, schedule) = read.map_err(|error| format!("{}: {error}", file.display()))?;
        let outcome = (protocol.run)(&schedule, Recording::Everything);
        let name = file.file_stem().map_or("replay".into(), |stem| stem.to_string_lossy());
        let folder = file.parent().unwrap_or(Path::new("."));
        diagnosis::write_run(folder, &name, &protocol, &schedule, &outcome)?;
        println!("{} steps, hash {:016x}", outcome.steps, outcome.hash);
        let Some(failure) = outcome.failure else {
            println!("every law held");
            return Ok(HELD);
        };
        println!("broke `{}` at {} us: {}", failure.law, failure.at_us, failure.detail);
        Ok(BROKEN)
    }
}

/// Parses `A..B`, both included.
fn seeds(text: &str) -> Result<Range<u64>, String> {
    let (first, last) = text.split_once("..").ok_or("two numbers with .. between them")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
    let (first, last) = (number(first)?, number(last.trim_start_matches('='))?);
    if last < first || last == u64::MAX {
        return Err("the last seed is below the first, or too large".to_owned());
    }
    Ok(first..last + 1)
}

/// Number of failed seeds after which no more are begun.
const FAILURES_MAX: usize = 5;

const HELD: u8 = 0;
const BROKEN: u8 = 1;
const UNREADABLE: u8 = 2;
