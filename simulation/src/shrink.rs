//! Shrinks schedules that fail.

use crate::schedule::{Fault, Schedule};

/// Shrinks a failing schedule: leaves out faults, shortens them, and removes clients, as long as `fails` returns true
/// for the rest. Tries at most `runs_max` schedules.
///
/// ```
/// use quorate_simulation::schedule::Generator;
/// use quorate_simulation::shrink::shrink;
/// let schedule = Generator::default().schedule(7);
/// let kind = schedule.faults[0].what.kind();
/// let smallest = shrink(schedule, 1_000, |schedule| schedule.faults.iter().any(|fault| fault.what.kind() == kind));
/// assert_eq!(smallest.faults.len(), 1);
/// ```
pub fn shrink(schedule: Schedule, runs_max: usize, fails: impl FnMut(&Schedule) -> bool) -> Schedule {
    let mut shrinking = Shrinking { best: schedule, runs_left: runs_max, fails };
    shrinking.leave_faults_out();
    shrinking.begin_early();
    shrinking.end_early();
    shrinking.shorten_faults();
    shrinking.take_clients_away();
    shrinking.leave_faults_out();
    shrinking.best
}

struct Shrinking<F> {
    best: Schedule,
    runs_left: usize,
    fails: F,
}

impl<F: FnMut(&Schedule) -> bool> Shrinking<F> {
    fn try_out(&mut self, candidate: Schedule) -> bool {
        if self.runs_left == 0 || candidate == self.best {
            return false;
        }
        self.runs_left -= 1;
        let still_fails = (self.fails)(&candidate);
        if still_fails {
            self.best = candidate;
        }
        still_fails
    }

    /// Leaves out ever smaller ranges of faults (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing
    /// Input", TSE 2002).
    fn leave_faults_out(&mut self) {
        let mut stretch = self.best.faults.len();
        while stretch > 0 && self.runs_left > 0 {
            let mut from = 0;
            let mut has_shrunk = false;
            while from < self.best.faults.len() {
                let to = (from + stretch).min(self.best.faults.len());
                let mut candidate = self.best.clone();
                candidate.faults.drain(from..to);
                if self.try_out(candidate) {
                    has_shrunk = true;
                } else {
                    from = to;
                }
            }
            if !has_shrunk || stretch > 1 {
                stretch /= 2;
            }
        }
    }

    /// Makes all faults begin earlier, as long as the rest still fails: the time before the first fault is of little
    /// interest.
    fn begin_early(&mut self) {
        let first_us = self.best.faults.iter().map(|fault| fault.at_us).min().unwrap_or(0);
        for to_us in [1_000_000, 2_000_000, first_us / 4, first_us / 2, first_us / 4 * 3] {
            let by_us = first_us.saturating_sub(to_us);
            let mut candidate = self.best.clone();
            candidate.faults_us = candidate.faults_us.saturating_sub(by_us);
            for fault in &mut candidate.faults {
                fault.at_us -= by_us;
            }
            if self.try_out(candidate) {
                return;
            }
        }
    }

    /// Ends the time of faults at the end of the last fault.
    fn end_early(&mut self) {
        let ends = self.best.faults.iter().map(Fault::ends_us);
        let candidate = Schedule { faults_us: ends.max().unwrap_or(0), ..self.best.clone() };
        self.try_out(candidate);
    }

    fn shorten_faults(&mut self) {
        for number in 0..self.best.faults.len() {
            for _ in 0..SHORTENED_MAX {
                let mut candidate = self.best.clone();
                let Fault { for_us, .. } = &mut candidate.faults[number];
                *for_us /= 2;
                if !self.try_out(candidate) {
                    break;
                }
            }
        }
    }

    fn take_clients_away(&mut self) {
        while self.best.clients > 1 {
            let candidate = Schedule { clients: self.best.clients / 2, ..self.best.clone() };
            if !self.try_out(candidate) {
                break;
            }
        }
    }
}

const SHORTENED_MAX: usize = 6;
