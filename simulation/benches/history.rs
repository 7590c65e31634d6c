//! How long long histories take to be judged.
//!
//! `cargo bench -p quorate-simulation --bench history -- [calls]`

use std::time::Instant;

use quorate_protocol::Random;
use quorate_simulation::history::{Budget, Event, EventKind, Function, History};
use serde_json::json;

#[path = "../tests/it/history_generator.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod history_generator;

use history_generator::{Shape, lists, registers};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let calls = arguments.next().map_or(Ok(100_000), |calls| calls.parse())?;
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

fn measure(what: &str, events: Vec<Event>) -> Result<(), Failure> {
    let began = Instant::now();
    let judged = History::from_events(events)?.judge(Budget::default());
    println!("{:>8.2} s  {:?}  {what}", began.elapsed().as_secs_f64(), judged.verdict());
    Ok(())
}

/// Lets a read near the end find what was written near the beginning.
fn make_stale(mut events: Vec<Event>) -> Vec<Event> {
    let is_read = |event: &Event| event.kind == EventKind::Ok && event.function == Function::Read;
    let late = (0..events.len()).rev().filter(|at| is_read(&events[*at])).nth(events.len() / 100);
    if let Some(late) = late {
        let early = events.iter().find(|event| {
            event.kind == EventKind::Ok && event.function == Function::Write && event.key == events[late].key
        });
        events[late].value = early.map_or(json!(null), |early| early.value.clone());
    }
    events
}
