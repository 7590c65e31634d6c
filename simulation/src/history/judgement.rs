//! The verdict on a whole history, in words.

use std::collections::BTreeMap;
use std::fmt;

use quorate_protocol::Violation;

use super::finding::Finding;
use super::models::{self, Judged};
use super::object::Object;
use super::pairing::{Call, CallOutcome, PairedCalls};
use super::{History, ObjectKind, SearchBudget, transactions};

/// Verdict on a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Every object behaves as its [`ObjectKind`] demands: every register is linearizable, transactions are strictly
    /// serializable.
    Holds,
    /// No call succeeded, so that there was nothing to judge: any system could have produced this.
    NothingJudged,
    /// The budget ran out before every key was judged. Those that were judged are correct.
    Undecided,
    /// Some object does not behave as its [`ObjectKind`] demands.
    Violated,
}

/// A judged history.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// Number of calls that were judged, failed ones included.
    pub calls: usize,
    /// Number of registers.
    pub registers: usize,
    /// Number of transactions.
    pub transactions: usize,
    /// Number of objects of other kinds.
    pub others: BTreeMap<ObjectKind, usize>,
    /// The violations, each with the smallest explanation that was found.
    pub findings: Vec<Finding>,
    /// The keys that could not be judged within the budget.
    pub undecided: Vec<String>,
    /// Number of calls that succeeded, and so contain information.
    pub succeeded: usize,
    /// Number of events with an earlier time than the event before. The order of the events counts. Many of these may
    /// mean that a file was put together from several.
    pub times_back: usize,
}

impl Judgement {
    /// The verdict.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if !self.findings.is_empty() {
            Verdict::Violated
        } else if self.succeeded == 0 {
            Verdict::NothingJudged
        } else if self.undecided.is_empty() {
            Verdict::Holds
        } else {
            Verdict::Undecided
        }
    }

    /// The verdict as a law of a run: every history must be decided, and hold. A run in which no call succeeded does
    /// not break this law, though it may break another.
    ///
    /// # Errors
    /// When a violation was found or the history is undecided, with the findings.
    pub fn check(&self) -> Result<(), Violation> {
        let law = match self.verdict() {
            Verdict::Holds | Verdict::NothingJudged => return Ok(()),
            Verdict::Undecided => "the history is decided",
            Verdict::Violated => "linearizable",
        };
        Err(Violation { law, detail: self.to_string() })
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, registers, transactions, others, findings, undecided, times_back, .. } = self;
        write!(f, "{calls} calls, {registers} registers, {transactions} transactions")?;
        for (kind, count) in others {
            write!(f, ", {count} {kind}{}", if *count == 1 { "" } else { "s" })?;
        }
        let is_linearizable = *registers > 0 || others.keys().any(|kind| *kind != ObjectKind::Bank);
        f.write_str(": ")?;
        f.write_str(match self.verdict() {
            Verdict::Holds if *transactions > 0 && is_linearizable => "linearizable and strictly serializable",
            Verdict::Holds if *transactions > 0 => "strictly serializable",
            Verdict::Holds if is_linearizable || others.is_empty() => "linearizable",
            Verdict::Holds => "the total is conserved",
            Verdict::NothingJudged => "nothing was judged, since no call succeeded",
            Verdict::Undecided => "undecided within the budget",
            Verdict::Violated => "VIOLATED",
        })?;
        for finding in findings {
            write!(f, "\n\n{}\n{}", finding.name, finding.explanation)?;
        }
        if !undecided.is_empty() {
            write!(f, "\n\nnot judged for want of steps: {}", undecided.join(", "))?;
        }
        if *times_back > 0 {
            write!(f, "\n\ntimes go back at {times_back} events: the order of the lines counts")?;
        }
        Ok(())
    }
}

impl History {
    /// Judges every object by itself (linearizability is local: Herlihy and Wing, TOPLAS 1990, theorem 1), and the
    /// transactions together. Objects with the same name are different if they have no call in common.
    #[must_use]
    pub fn judge(&self, mut budget: SearchBudget) -> Judgement {
        let PairedCalls { calls, objects, times_back } = &self.paired;
        let mut calls_of: Vec<Vec<&Call>> = vec![Vec::new(); objects.len()];
        for call in calls {
            calls_of[call.object as usize].push(call);
        }
        let mut objects: Vec<(&Object, Vec<&Call>)> = objects.iter().zip(calls_of).collect();
        objects.sort_by_key(|(object, _)| (object.kind != ObjectKind::Lists, object.kind, &object.key));
        let mut judgement = Judgement {
            calls: calls.len(),
            succeeded: calls.iter().filter(|call| call.outcome == CallOutcome::Ok).count(),
            times_back: *times_back,
            ..Judgement::default()
        };
        let mut explaining = SearchBudget::of_steps(EXPLANATION_STEPS);
        // Objects that take long must not prevent the others from being judged.
        let mut hard = Vec::new();
        for (object, calls) in objects {
            judgement.count(object.kind, calls.len());
            let is_one_of_many = object.kind != ObjectKind::Lists;
            let enough = if is_one_of_many { FIRST_TRY_STEPS + calls.len() as u64 } else { u64::MAX };
            let mut first_try = SearchBudget::of_steps(budget.steps_left().min(enough));
            let given = first_try.steps_left();
            let is_decided = judgement.add(object, &calls, &mut first_try, &mut explaining);
            if !is_decided && given < budget.steps_left() {
                hard.push((object, calls));
            } else if !is_decided {
                judgement.undecided.push(object.name());
            }
            // Enough is left for that.
            _ = budget.charge(usize::try_from(given - first_try.steps_left()).unwrap_or(usize::MAX));
        }
        for (object, calls) in hard {
            if !judgement.add(object, &calls, &mut budget, &mut explaining) {
                judgement.undecided.push(object.name());
            }
        }
        judgement
    }
}

impl Judgement {
    fn count(&mut self, kind: ObjectKind, calls: usize) {
        match kind {
            ObjectKind::Register => self.registers += 1,
            ObjectKind::Lists => self.transactions = calls,
            _ => *self.others.entry(kind).or_default() += 1,
        }
    }

    /// Judges one object. Returns whether the budget was sufficient.
    fn add(
        &mut self,
        object: &Object,
        calls: &[&Call],
        budget: &mut SearchBudget,
        explaining: &mut SearchBudget,
    ) -> bool {
        if object.kind == ObjectKind::Lists {
            let findings = transactions::judge(calls, budget);
            let is_decided = findings.is_some();
            self.findings.extend(findings.unwrap_or_default());
            return is_decided;
        }
        match models::judge(object.kind, calls, budget, explaining) {
            Judged::Holds => true,
            Judged::Undecided => false,
            Judged::Violated { what, explanation } => {
                self.findings.push(Finding::new(format!("{} {what}", object.name()), explanation));
                true
            }
        }
    }
}

/// About a tenth of a second. Each object gets this much before any gets more.
const FIRST_TRY_STEPS: u64 = 1_000_000;
/// About two seconds for all explanations of a history. An explanation that is not minimal is better than none.
const EXPLANATION_STEPS: u64 = 20_000_000;
