//! Look-ups, replicas, build, memory, balance and disruption of consistent hashing, side by side with other crates.
//!
//! All implementations are built on the same nodes and measured in turn, several rounds over; the median of the rounds counts.
//! Ratios within one run are what can be compared: `compare-consistent-hash [ROUNDS [SIZES...]]`.

mod candidates;
mod measure;
mod subjects;

use measure::{Counting, Subject};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let mut numbers = std::env::args().skip(1).map(|argument| match argument.parse::<u32>() {
        Ok(number) if number > 2 => number,
        _ => {
            eprintln!("usage: compare-consistent-hash [ROUNDS (3 or more) [NODES...]]");
            std::process::exit(2);
        }
    });
    let rounds = numbers.next().unwrap_or(7);
    let mut sizes: Vec<u32> = numbers.collect();
    if sizes.is_empty() {
        sizes = vec![10, 100, 1000, 10_000];
    }
    for size in sizes {
        table(size, rounds);
    }
}

fn table(size: u32, rounds: u32) {
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
    println!("| | ns a look-up | ns for 3 replicas | build, ms | memory, KiB | peak/mean | moved/minimum |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for (subject, row) in subjects.iter().zip(&rows) {
        // A thousand keys a node, so that chance does not hide the balance, where that does not take minutes.
        let slow = median(row.iter().map(|round| round.0)) > 2000.0;
        let quality = subject.quality(if slow { 1_000_000 } else { (1000 * u64::from(size)).max(1_000_000) });
        println!(
            "| {} | {} | {} | {} | {:.0} | {} | {} |",
            subject.label(),
            cell(median(row.iter().map(|round| round.0)), 1),
            cell(median(row.iter().map(|round| round.1)), 1),
            cell(median(row.iter().map(|round| round.2)), 2),
            subject.cost().bytes as f64 / 1024.0,
            cell(quality.peak_to_mean, 3),
            cell(quality.moved_to_minimum, 3),
        );
    }
}

/// Look-up, replicas, and build, in this order so that the build disturbs no cache before it is measured.
fn round(subject: &mut dyn Subject, size: u32) -> (f64, f64, f64) {
    let probe = subject.owners_ns(1000).max(1.0);
    if probe.is_nan() {
        return (f64::NAN, f64::NAN, f64::NAN);
    }
    // About 30 ms of look-ups, so that the cost of the clock does not show.
    let lookups = ((3e7 / probe) as u64).clamp(200, 10_000_000);
    let owners = subject.owners_ns(lookups);
    let replicas = subject.replicas_ns(lookups / 3).unwrap_or(f64::NAN);
    subject.build(size);
    (owners, replicas, subject.cost().build_ms)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.filter(|value| !value.is_nan()).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn cell(value: f64, digits: usize) -> String {
    if value.is_nan() { "".into() } else { format!("{value:.digits$}") }
}
