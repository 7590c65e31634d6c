//! Runs a model and says what came of it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use stateright::report::{ReportData, ReportDiscovery, Reporter};
use stateright::{Checker, HasDiscoveries, Model as _};

use crate::model::{Budget, Model};
use crate::subject::Subject;

/// Explores everything that the budget allows; where more than the small one was asked for, at most [`STEPS_MAX`] steps
/// of it. Gives how many distinct states there are.
///
/// # Panics
/// When what must always hold does not, with the steps that lead there, or one of these milestones is not reached.
pub(crate) fn exhaust<S: Subject>(name: &str, subject: S, budget: Budget, milestones: &[&str]) -> usize {
    let begun = Instant::now();
    let model = Model::new(subject, budget);
    let builder = model.checker().threads(threads()).finish_when(HasDiscoveries::AnyFailures);
    let checker = match asked_for() {
        Some(_) => builder.target_state_count(STEPS_MAX).spawn_dfs().join_and_report(&mut Progress),
        None => builder.spawn_dfs().join(),
    };
    let seconds = begun.elapsed().as_secs_f64();
    let (states, steps) = (checker.unique_state_count(), checker.state_count());
    let (depth, nodes) = (checker.max_depth(), checker.model().states_of_nodes());
    let is_exhausted = asked_for().is_none() || steps < STEPS_MAX;
    let discoveries = checker.discoveries();
    let properties = checker.model().properties();
    let mut laws = properties.iter().filter(|property| property.expectation.discovery_is_failure());
    let end = match (laws.any(|law| discoveries.contains_key(law.name)), is_exhausted) {
        (true, _) => "a law is broken",
        (false, true) => "exhausted",
        (false, false) => "broken off",
    };
    println!("{name}: {end}: {states} states of {nodes} states of nodes, {steps} steps, depth {depth}, {seconds:.1} s");
    for property in &properties {
        let is_failure = property.expectation.discovery_is_failure();
        if let Some(path) = discoveries.get(property.name).filter(|_| is_failure) {
            panic!("{name}: {} does not always hold\n{}", property.name, steps_of(path.clone()));
        }
    }
    match checker.model().compare_equal_nodes() {
        Ok(compared) => println!("{name}: nodes of equal views reacted alike {compared} times"),
        Err(difference) => panic!("{name}: nodes of equal views differ\n{difference}"),
    }
    let missing: Vec<_> = milestones.iter().filter(|milestone| !discoveries.contains_key(**milestone)).collect();
    let is_own_budget = asked_for().is_some() && !is_full();
    assert!(missing.is_empty() || is_own_budget || !is_exhausted, "{name}: never reached: {missing:?}");
    states
}

/// Looks for the shortest way to break a law, and shows the steps. Gives the law that breaks. One thread looks, so that
/// where several laws break within as many steps each run meets the same one.
///
/// # Panics
/// When none breaks within the budget.
pub(crate) fn find<S: Subject>(name: &str, subject: S, budget: Budget) -> &'static str {
    let model = Model::new(subject, budget);
    let checker = model.checker().threads(1).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let states = checker.unique_state_count();
    let mut discoveries = checker.discoveries();
    let properties = checker.model().properties();
    let mut failures = properties.iter().filter(|property| property.expectation.discovery_is_failure());
    let found = failures.find_map(|property| Some((property.name, discoveries.remove(property.name)?)));
    let Some((law, path)) = found else { panic!("{name}: nothing breaks in {states} states") };
    println!("{name}: broken is \"{law}\", found in {states} states\n{}", steps_of(path));
    law
}

/// The budget that was asked for: the small one, or with `QUORATE_MODEL=full` the large one, or what stands there by
/// name, such as `QUORATE_MODEL=timeouts=2,crashes=1`.
pub(crate) fn asked(small: Budget, full: Budget) -> Budget {
    match asked_for() {
        None => small,
        Some(_) if is_full() => full,
        Some(wanted) => wanted.split(',').fold(Budget::default(), with),
    }
}

/// Whether the long exploration was asked for, by `QUORATE_MODEL=full`.
pub(crate) fn is_full() -> bool {
    asked_for().is_some_and(|wanted| wanted == "full")
}

fn asked_for() -> Option<String> {
    std::env::var("QUORATE_MODEL").ok()
}

/// Tells now and then how far a long exploration is.
struct Progress;

impl<M: stateright::Model> Reporter<M> for Progress {
    fn report_checking(&mut self, data: ReportData) {
        let (states, depth) = (data.unique_states, data.max_depth);
        println!("  {:4} s: {states} states, depth {depth}", data.duration.as_secs());
    }

    fn report_discoveries(&mut self, _: &M, _: BTreeMap<&'static str, ReportDiscovery<M>>) {}

    fn delay(&self) -> Duration {
        Duration::from_secs(2)
    }
}

fn with(mut budget: Budget, part: &str) -> Budget {
    let (name, count) = part.split_once('=').unwrap_or((part, "1"));
    let field = match name {
        "timeouts" => &mut budget.timeouts,
        "commands" => &mut budget.commands,
        "duplicates" => &mut budget.duplicates,
        "disconnections" => &mut budget.disconnections,
        "crashes" => &mut budget.crashes,
        "refusals" => &mut budget.refusals,
        _ => panic!("QUORATE_MODEL knows no {name:?}"),
    };
    *field = count.parse().expect("QUORATE_MODEL counts in small numbers");
    budget
}

fn steps_of<S: Subject, A: std::fmt::Debug>(path: stateright::Path<crate::model::State<S>, A>) -> String {
    let mut text = String::new();
    let last = path.last_state().broken.clone();
    for (number, action) in path.into_actions().into_iter().enumerate() {
        writeln!(text, "{:3}. {action:?}", number + 1).expect("a string takes everything");
    }
    if let Some(violation) = last {
        writeln!(text, "     {violation}").expect("a string takes everything");
    }
    text
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Where a long exploration is broken off: some 25 million distinct states in less than 1 GiB, and minutes.
const STEPS_MAX: usize = 100_000_000;
