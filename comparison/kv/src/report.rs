//! Prints medians, and the ratios that count.

use crate::cluster::Kind;
use crate::load::{Figures, Operation};

/// One line of the report: what each system reached.
pub struct Row {
    /// Concurrent clients.
    pub clients: usize,
    /// What they did.
    pub operation: Operation,
    /// One for each system, in their order.
    pub medians: Vec<Figures>,
}

/// The round of median rate.
pub fn median(mut rounds: Vec<Figures>) -> Figures {
    rounds.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    rounds.swap_remove(rounds.len() / 2)
}

/// Prints what each system reached.
pub fn print_row(systems: &[Kind], row: &Row) {
    for (kind, figures) in systems.iter().zip(&row.medians) {
        let syncs = figures.syncs.map_or(String::new(), |syncs| format!("  {syncs:.3} syncs/op"));
        println!(
            "{:>4} clients {:?} {:<6} {:>9.0}/s  p50 {:>7.3} ms  p99 {:>7.3} ms  RSS {:?} MiB{syncs}",
            row.clients,
            row.operation,
            format!("{kind:?}"),
            figures.rate,
            figures.p50_ms,
            figures.p99_ms,
            figures.resident_mib,
        );
    }
}

/// Prints what each thread spent for an operation. Threads that spent next to nothing are left out.
pub fn print_costs(systems: &[Kind], row: &Row) {
    for (kind, figures) in systems.iter().zip(&row.medians) {
        let processes = figures.spent.len();
        for (process, ledger) in figures.spent.iter().enumerate() {
            let part = match process {
                0 => "leader".to_owned(),
                _ if process + 1 == processes => "clients".to_owned(),
                _ => format!("follower {process}"),
            };
            let per = |amount: f64| amount / figures.operations;
            for (thread, spent) in ledger.iter().filter(|(_, spent)| per(spent.cpu_us) >= 0.05) {
                println!(
                    "     {:<6} {part:<10} {thread:<16} {:>7.2} us cpu {:>7.2} us queued {:>6.3} + {:>6.3} switches, \
                     an operation",
                    format!("{kind:?}"),
                    per(spent.cpu_us),
                    per(spent.queued_us),
                    per(spent.yielded),
                    per(spent.preempted),
                );
            }
        }
    }
}

/// Prints the first system's figures as ratios to each other's.
pub fn print_ratios(systems: &[Kind], rows: &[Row]) {
    for (other, kind) in systems.iter().enumerate().skip(1) {
        println!("\n{:?} against {kind:?}: rate, p50, p99", systems[0]);
        for row in rows {
            let (ours, theirs) = (&row.medians[0], &row.medians[other]);
            println!(
                "{:>4} clients {:?}  {:>6.2}x  {:>6.2}x  {:>6.2}x",
                row.clients,
                row.operation,
                ours.rate / theirs.rate,
                ours.p50_ms / theirs.p50_ms,
                ours.p99_ms / theirs.p99_ms,
            );
        }
    }
}
