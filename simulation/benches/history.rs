//! How long long histories take to be judged.
//!
//! `cargo bench -p quorate-simulation --bench history -- [calls]` judges histories in memory. With `file [calls]` one
//! of a million calls of thirty clients on a hundred registers is written to a file, and a process of its own reads and
//! judges it: that has to take two seconds and 400 MB at most.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use quorate_protocol::Random;
use quorate_simulation::history::{EventKind, Function, History, HistoryEvent, SearchBudget, write_events};
use serde_json::json;

#[path = "../tests/it/history_generator.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod history_generator;

use history_generator::{Shape, lists, registers};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let first = arguments.next();
    match first.as_deref() {
        Some("file") => return file(arguments.next().map_or(Ok(1_000_000), |calls| calls.parse())?),
        Some("judge") => return judge(Path::new(&arguments.next().ok_or("which file?")?)),
        _ => {}
    }
    let calls = first.map_or(Ok(100_000), |calls| calls.parse())?;
    println!("{calls} calls a history");
    for (keys, processes, unknown_percent, values) in [
        (100, 30, 1, None),
        (1, 30, 1, None),
        (1, 30, 5, None),
        (1, 30, 20, None),
        (1, 100, 5, None),
        (1, 8, 1, Some(5)),
        (1, 30, 1, Some(50)),
    ] {
        let shape = Shape { calls, processes, keys, unknown_percent };
        let events = registers(&mut Random::new(keys + processes), &shape, values);
        let kind = values.map_or("distinct values".to_owned(), |values| format!("{values} values"));
        let what = format!("registers: {keys} keys, {processes} processes, {unknown_percent} % unknown, {kind}");
        measure(&what, events.clone())?;
        measure(&format!("{what}, a stale read"), make_stale(events))?;
    }
    for (keys, processes, unknown_percent) in [(calls as u64 / 5, 20, 2), (calls as u64 / 100, 30, 5)] {
        let shape = Shape { calls, processes, keys, unknown_percent };
        let events = lists(&mut Random::new(keys), &shape);
        let what = format!("transactions: {keys} keys, {processes} processes, {unknown_percent} % unknown");
        measure(&what, events)?;
    }
    Ok(())
}

/// Writes a history, and has it judged by a process that does nothing else.
fn file(calls: usize) -> Result<(), Failure> {
    let path = std::env::temp_dir().join(format!("quorate-history-{}.jsonl", std::process::id()));
    let shape = Shape { calls, processes: 30, keys: 100, unknown_percent: 1 };
    write_events(BufWriter::new(File::create(&path)?), &registers(&mut Random::new(7), &shape, None))?;
    println!("{calls} calls in {} MB", path.metadata()?.len() / 1_000_000);
    for _ in 0..3 {
        let status = Command::new(std::env::current_exe()?).arg("judge").arg(&path).status()?;
        if !status.success() {
            return Err("the history was not judged".into());
        }
    }
    Ok(std::fs::remove_file(&path)?)
}

fn judge(path: &Path) -> Result<(), Failure> {
    let began = Instant::now();
    let history = History::read(BufReader::new(File::open(path)?))?;
    let read = began.elapsed().as_secs_f64();
    let verdict = history.judge(SearchBudget::default()).verdict();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).map_or("memory unknown", str::trim);
    println!("{:>8.2} s, {read:.2} of them to read it, {peak}  {verdict:?}", began.elapsed().as_secs_f64());
    Ok(())
}

fn measure(what: &str, events: Vec<HistoryEvent>) -> Result<(), Failure> {
    let began = Instant::now();
    let judged = History::from_events(events)?.judge(SearchBudget::default());
    println!("{:>8.2} s  {:?}  {what}", began.elapsed().as_secs_f64(), judged.verdict());
    Ok(())
}

/// Lets a read near the end find what was written near the beginning.
fn make_stale(mut events: Vec<HistoryEvent>) -> Vec<HistoryEvent> {
    let is_read = |event: &HistoryEvent| event.kind == EventKind::Ok && event.function == Function::Read;
    let late = (0..events.len()).rev().filter(|at| is_read(&events[*at])).nth(events.len() / 100);
    if let Some(late) = late {
        let early = events.iter().find(|event| {
            event.kind == EventKind::Ok && event.function == Function::Write && event.key == events[late].key
        });
        events[late].value = early.map_or(json!(null), |early| early.value.clone());
    }
    events
}
