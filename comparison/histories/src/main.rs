//! Has `simulate check` and Porcupine judge the same histories, one after the other: the logs of Porcupine's own tests,
//! and one of a million calls of thirty clients on a hundred registers. Compares verdicts, time and peak memory of the
//! processes.
//!
//! ```text
//! cargo build --release --bin simulate --manifest-path ../Cargo.toml
//! cargo run --release -p compare-histories -- --porcupine CHECKOUT_OF_PORCUPINE
//! ```

mod measure;

#[path = "../../../simulation/tests/it/history_generator.rs"]
#[allow(dead_code, reason = "the tests of the other workspace use the rest")]
mod history_generator;

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;
use quorate_protocol::Random;
use quorate_simulation::history::write_events;

use crate::history_generator::{Shape, registers};
use crate::measure::{Figures, Judge, Verdict};

type Failure = Box<dyn std::error::Error>;

/// What to compare.
#[derive(Debug, Parser)]
struct Arguments {
    /// A checkout of Porcupine's repository.
    #[arg(long, value_name = "FOLDER")]
    porcupine: PathBuf,
    /// Go's program.
    #[arg(long, default_value = "go")]
    go: PathBuf,
    /// The program to measure.
    #[arg(long, default_value = "../target/release/simulate")]
    simulate: PathBuf,
    /// Number of times that each file is judged; the median time is reported.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Number of calls of the long history.
    #[arg(long, default_value_t = 1_000_000)]
    calls: usize,
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let porcupine = build(&arguments, folder.path())?;
    let judges = [Judge::Quorate(arguments.simulate.clone()), Judge::Porcupine(porcupine)];
    println!("history\tquorate s\tMB\tporcupine s\tMB\ttime ratio\tmemory ratio\tverdict");
    let data = arguments.porcupine.join("test_data");
    let registers = compare_all(&judges, &files(&data.join("jepsen"))?, arguments.rounds)?;
    row("etcd logs, sum and largest", &registers);
    for file in files(&data.join("kv"))? {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        row(&name, &compare_all(&judges, &[file], arguments.rounds)?);
    }
    let long = folder.path().join("long.jsonl");
    let shape = Shape { calls: arguments.calls, processes: 30, keys: 100, unknown_percent: 0 };
    write_events(BufWriter::new(File::create(&long)?), &self::registers(&mut Random::new(7), &shape, None))?;
    row(&format!("{} calls, 100 registers", arguments.calls), &compare_all(&judges, &[long], arguments.rounds)?);
    Ok(())
}

/// Builds the program that calls Porcupine, from the checkout.
fn build(arguments: &Arguments, folder: &Path) -> Result<PathBuf, Failure> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("porcupine");
    for name in ["go.mod", "judge.go"] {
        fs::copy(source.join(name), folder.join(name))?;
    }
    let checkout = arguments.porcupine.canonicalize()?;
    let replace = format!("github.com/anishathalye/porcupine={}", checkout.display());
    for words in [&["mod", "edit", "-replace", &replace][..], &["build", "-o", "judge", "."]] {
        let status = Command::new(&arguments.go).args(words).current_dir(folder).status()?;
        if !status.success() {
            return Err("Porcupine was not built".into());
        }
    }
    Ok(folder.join("judge"))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    // A history without calls holds for Porcupine; here nothing was judged.
    files.retain(|file| file.metadata().is_ok_and(|data| data.len() > 0));
    files.sort();
    Ok(files)
}

/// What both judges needed for all of the files: the sum of the times, and the largest of the peaks.
struct Compared {
    figures: [Figures; 2],
    good: usize,
    bad: usize,
}

fn compare_all(judges: &[Judge; 2], files: &[PathBuf], rounds: usize) -> Result<Compared, Failure> {
    let mut all = Compared { figures: [Figures::default(); 2], good: 0, bad: 0 };
    for file in files {
        let mut samples = [vec![], vec![]];
        for _ in 0..rounds {
            for (judge, samples) in judges.iter().zip(&mut samples) {
                samples.push(judge.judge(file)?);
            }
        }
        let verdicts: Vec<Verdict> = samples.iter().flatten().map(|(verdict, _)| *verdict).collect();
        if verdicts.iter().any(|verdict| *verdict != verdicts[0]) {
            return Err(format!("{}: the verdicts differ: {verdicts:?}", file.display()).into());
        }
        match verdicts[0] {
            Verdict::Holds => all.good += 1,
            Verdict::Violated => all.bad += 1,
        }
        for (sum, samples) in all.figures.iter_mut().zip(samples) {
            sum.add(Figures::median(samples.into_iter().map(|(_, figures)| figures)));
        }
    }
    Ok(all)
}

fn row(name: &str, compared: &Compared) {
    let [ours, theirs] = &compared.figures;
    let (time, memory) = (ours.seconds / theirs.seconds, ours.megabytes / theirs.megabytes);
    println!(
        "{name}\t{:.3}\t{:.1}\t{:.3}\t{:.1}\t{time:.2}\t{memory:.2}\t{} hold, {} do not",
        ours.seconds, ours.megabytes, theirs.seconds, theirs.megabytes, compared.good, compared.bad
    );
}
