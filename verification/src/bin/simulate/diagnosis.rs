//! Writes the files about a run that broke a law.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use quorate_simulation::history::write_events;
use quorate_simulation::schedule::Schedule;
use quorate_simulation::shrink::shrink;
use quorate_simulation::world::{Recording, RunOutcome};
use quorate_simulation::{Moment, diagram};
use quorate_verification::Protocol;

use crate::replay;

/// Shrinks a schedule that breaks `law`, and writes the run of the smallest one.
pub(crate) fn shrink_and_write(
    folder: &Path,
    name: &str,
    schedule: Schedule,
    law: &str,
    protocol: &Protocol,
) -> Result<(), String> {
    let before = schedule.faults.len();
    let breaks_it = |schedule: &Schedule| {
        (protocol.run)(schedule, Recording::Nothing).failure.is_some_and(|failure| failure.law == law)
    };
    let smallest = shrink(schedule, SHRINKING_RUNS_MAX, breaks_it);
    println!("shrunk from {before} faults to {}:", smallest.faults.len());
    for fault in &smallest.faults {
        let (at, time) = (Duration::from_micros(fault.at_us), Duration::from_micros(fault.for_us));
        println!("  at {at:?} for {time:?}: {}", fault.what);
    }
    let outcome = (protocol.run)(&smallest, Recording::Everything);
    write_run(folder, name, protocol, &smallest, &outcome)
}

/// Writes the schedule (to be run again), the trace (to be read), the picture and the clients' history.
pub(crate) fn write_run(
    folder: &Path,
    name: &str,
    protocol: &Protocol,
    schedule: &Schedule,
    outcome: &RunOutcome,
) -> Result<(), String> {
    let said = |error: &dyn std::fmt::Display| format!("{}: {error}", folder.display());
    std::fs::create_dir_all(folder).map_err(|error| said(&error))?;
    let write = |ending: &str, content: &[u8]| {
        let file = folder.join(format!("{name}.{ending}"));
        std::fs::write(&file, content).map_err(|error| format!("{}: {error}", file.display()))?;
        println!("wrote {}", file.display());
        Ok::<(), String>(())
    };
    let json = replay::to_json(protocol, schedule).map_err(|error| said(&error))?;
    write("json", json.as_bytes())?;
    write("txt", trace(&outcome.moments).as_bytes())?;
    write("svg", diagram::svg(schedule.nodes, &outcome.moments, DRAWN_MAX).as_bytes())?;
    let mut history = Vec::new();
    write_events(&mut history, &outcome.history).map_err(|error| said(&error))?;
    write("jsonl", &history)
}

fn trace(moments: &[Moment]) -> String {
    let mut text = String::new();
    for moment in moments {
        let node = if moment.node == 0 { "  ".to_owned() } else { format!("n{}", moment.node) };
        _ = writeln!(text, "{:>12} {node} {:?}", moment.at_us, moment.what);
    }
    text
}

const SHRINKING_RUNS_MAX: usize = 400;
const DRAWN_MAX: usize = 160;
