//! Look-ups, replicas, build, memory, balance and disruption of consistent hashing, side by side with other crates.
//!
//! All implementations are built on the same nodes and measured in turn, several rounds over; the least of the rounds
//! counts. Ratios within one run are what can be compared: `compare-consistent-hash [ROUNDS [NODES...]] [--plot FILE]`.

mod candidates;
mod measure;
mod plot;
mod subjects;

use measure::{Counting, Subject};
use plot::Line;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let mut numbers = Vec::new();
    let mut picture = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), argument.parse::<u32>()) {
            ("--plot", _) => picture = arguments.next(),
            (_, Ok(number)) if number > 2 => numbers.push(number),
            _ => {
                eprintln!("usage: compare-consistent-hash [ROUNDS [NODES...]] [--plot FILE], numbers from 3");
                std::process::exit(2);
            }
        }
    }
    let rounds = numbers.first().copied().unwrap_or(15);
    let sizes = if numbers.len() > 1 { numbers.split_off(1) } else { vec![10, 100, 1000, 10_000] };
    let mut lines: Vec<_> =
        subjects::subjects().iter().map(|subject| Line { label: subject.label(), points: Vec::new() }).collect();
    for size in sizes {
        for (line, ns) in lines.iter_mut().zip(table(size, rounds)) {
            line.points.extend((!ns.is_nan()).then_some((size, ns)));
        }
    }
    if let Some(path) = picture
        && let Err(error) = std::fs::write(&path, plot::svg(&lines))
    {
        eprintln!("{path}: {error}");
    }
}

/// Prints one table, and returns the nanoseconds a look-up of each subject.
fn table(size: u32, rounds: u32) -> Vec<f64> {
    let mut subjects = subjects::subjects();
    let mut rows: Vec<Vec<(f64, f64, f64)>> = vec![Vec::new(); subjects.len()];
    for subject in &mut subjects {
        subject.build(size);
    }
    for _ in 0..rounds {
        for (subject, row) in subjects.iter_mut().zip(&mut rows) {
            row.push(round(&mut **subject, size));
        }
    }
    println!("\n### {size} nodes\n");
    println!(
        "| | ns a look-up | ns for 3 replicas | of one look-up | build, ms | memory, KiB | peak/mean | moved/minimum |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    let mut all = Vec::new();
    for (subject, row) in subjects.iter().zip(&rows) {
        let [owner, replicas, build] = [
            least(row.iter().map(|round| round.0)),
            least(row.iter().map(|round| round.1)),
            least(row.iter().map(|round| round.2)),
        ];
        // A thousand keys a node, so that chance does not hide the balance, where that does not take minutes.
        let quality = subject.quality(if owner > 2000.0 { 1_000_000 } else { (1000 * u64::from(size)).max(1_000_000) });
        println!(
            "| {} | {} | {} | {} | {} | {:.0} | {} | {} |",
            subject.label(),
            cell(owner, 1),
            cell(replicas, 1),
            cell(replicas / owner, 1),
            cell(build, 2),
            subject.cost().bytes as f64 / 1024.0,
            cell(quality.peak_to_mean, 3),
            cell(quality.moved_to_minimum, 3),
        );
        all.push(owner);
    }
    all
}

/// Look-up, replicas, and build, in this order so that the build disturbs no cache before it is measured.
fn round(subject: &mut dyn Subject, size: u32) -> (f64, f64, f64) {
    let probe = subject.owners_ns(1000).max(1.0);
    if probe.is_nan() {
        return (f64::NAN, f64::NAN, f64::NAN);
    }
    // About 10 ms of look-ups: the cost of the clock does not show, and a scheduler on a busy machine mostly leaves
    // them alone.
    let lookups = ((1e7 / probe) as u64).clamp(200, 10_000_000);
    // The caches hold what the last subject left; what is measured is a subject at work, not one that starts.
    subject.owners_ns(lookups);
    let owners = subject.owners_ns(lookups);
    let replicas = subject.replicas_ns(lookups / 3).unwrap_or(f64::NAN);
    subject.build(size);
    (owners, replicas, subject.cost().build_ms)
}

/// The least of the rounds: a neighbour's load only ever adds.
fn least(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(f64::NAN, f64::min)
}

fn cell(value: f64, digits: usize) -> String {
    if value.is_nan() { "".into() } else { format!("{value:.digits$}") }
}
