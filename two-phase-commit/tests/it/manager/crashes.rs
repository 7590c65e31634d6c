//! Every boundary between a write, a request and an answer, crashed singly and in pairs.

use quorate_two_phase_commit::Knowledge;
use quorate_two_phase_commit::manager::ResourceId;
use quorate_two_phase_commit::manager::core::Ended;

use super::bench::{Bench, Crash, Work, id};
use crate::from_environment;

/// How a transaction is committed.
#[derive(Clone, Copy)]
struct Case<'a> {
    works: &'a [Work],
    /// The number of resources that prepare before the manager is asked.
    voted: usize,
}

/// Runs one transaction, with these crashes before the steps of these numbers, to rest. Returns the number of steps.
fn run(Case { works, voted }: Case<'_>, crashes: &[(usize, Crash)]) -> usize {
    let mut bench = Bench::new(works);
    bench.begin();
    let (mut steps, mut worked, mut waits) = (0, 0, 0);
    loop {
        for (_, crash) in crashes.iter().filter(|(at, _)| *at == steps) {
            bench.crash(*crash);
        }
        // The application works as soon as its transaction has begun, and then commits.
        if let Some(transaction) = bench.begun.get(worked).copied() {
            worked += 1;
            bench.work(transaction);
            let voters: Vec<ResourceId> = (0..voted).map(id).collect();
            bench.commit_with_votes(transaction, &voters);
        }
        if bench.step() {
            steps += 1;
            continue;
        }
        if bench.arrive() {
            continue;
        }
        if is_at_rest(&bench) && crashes.iter().all(|(at, _)| *at <= steps) {
            break;
        }
        waits += 1;
        assert!(waits < 200, "it does not come to rest: {crashes:?}\n{:?}", bench.core.status());
        bench.wait();
        steps += 1;
    }
    check(&mut bench, works, crashes);
    steps
}

fn is_at_rest(bench: &Bench) -> bool {
    let status = bench.core.status();
    let is_clean =
        bench.sites.values().all(|site| site.memory.prepared().is_empty() && site.memory.locked().is_empty());
    // Evidence goes when the transaction is finished, durably.
    let is_forgotten = bench.sites.values().all(|site| site.memory.evidence().is_empty());
    is_clean && is_forgotten && status.open == 0 && status.in_doubt.is_empty() && status.stuck.is_empty()
}

fn check(bench: &mut Bench, works: &[Work], crashes: &[(usize, Crash)]) {
    let Some(transaction) = bench.begun.first().copied() else { return };
    let writers: Vec<usize> = (0..works.len()).filter(|number| works[*number] == Work::Write).collect();
    let effects: Vec<bool> = writers.iter().map(|number| bench.has_effect(*number, transaction)).collect();
    let has_effect = effects.contains(&true);
    assert!(effects.iter().all(|effect| *effect == has_effect), "one outcome: {effects:?} {crashes:?}");
    match bench.told.get(&transaction) {
        Some(Ended::Committed { without }) => {
            assert!(without.is_empty() && (has_effect || writers.is_empty()), "what was said is true: {crashes:?}");
        }
        Some(Ended::Aborted(_)) => assert!(!has_effect, "what was said is true: {crashes:?}"),
        None => {}
    }
    if !writers.is_empty() {
        let expected = if has_effect { Knowledge::Committed } else { Knowledge::Aborted };
        assert_eq!(bench.knowledge(transaction), expected, "the outcome can be asked for: {crashes:?}");
    }
    if crashes.is_empty() && !writers.is_empty() {
        assert!(has_effect, "without a crash it is committed");
    }
}

fn kinds(resources: usize) -> Vec<Crash> {
    let resources = (0..resources).map(|number| Crash::Resource(id(number)));
    [Crash::ManagerWithoutWrite, Crash::ManagerWithWrite, Crash::ManagerWithLateRequests]
        .into_iter()
        .chain(resources)
        .collect()
}

fn singles_and_pairs(case: Case<'_>, share: usize) {
    let (steps, kinds) = (run(case, &[]), kinds(case.works.len()));
    let all: Vec<(usize, Crash)> = (0..=steps).flat_map(|at| kinds.iter().map(move |kind| (at, *kind))).collect();
    for crash in &all {
        run(case, &[*crash]);
    }
    // A crash makes the run longer, so the second may come later than the last step of a run without crashes.
    let later = (0..=steps + steps / 2).flat_map(|at| kinds.iter().map(move |kind| (at, *kind)));
    let later: Vec<(usize, Crash)> = later.collect();
    let mut count = 0;
    for first in &all {
        for second in later.iter().filter(|second| second.0 >= first.0) {
            count += 1;
            if count % share == 0 {
                run(case, &[*first, *second]);
            }
        }
    }
}

/// One of so many pairs is run; 1 runs all.
fn share(otherwise: u64) -> usize {
    usize::try_from(from_environment("QUORATE_MANAGER_PAIRS_SHARE", otherwise)).expect("a small number").max(1)
}

#[test]
fn two_writers_survive_all_crashes_and_pairs() {
    singles_and_pairs(Case { works: &[Work::Write; 2], voted: 0 }, share(1));
}

#[test]
fn three_writers_survive_all_crashes_and_pairs() {
    singles_and_pairs(Case { works: &[Work::Write; 3], voted: 0 }, share(5));
}

#[test]
fn a_writer_and_a_reader_survive_all_crashes_and_pairs() {
    singles_and_pairs(Case { works: &[Work::Write, Work::Read, Work::Write], voted: 0 }, share(5));
}

#[test]
fn a_single_writer_survives_all_crashes_and_pairs() {
    singles_and_pairs(Case { works: &[Work::Write], voted: 0 }, share(1));
}

/// Votes that come with the request to commit, of all resources or of some.
#[test]
fn votes_given_with_the_commit_survive_all_crashes_and_pairs() {
    for voted in [1, 2] {
        singles_and_pairs(Case { works: &[Work::Write; 2], voted }, share(2));
    }
    for voted in [2, 3] {
        singles_and_pairs(Case { works: &[Work::Write, Work::Read, Work::Write], voted }, share(7));
    }
}
