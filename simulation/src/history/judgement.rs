//! The verdict over a whole history, in words.

use std::collections::BTreeMap;
use std::fmt;

use quorate_protocol::Violation;

use super::models::{self, Judged};
use super::object::Object;
use super::pairing::{Call, Outcome};
use super::{Budget, History, Kind, transactions};

/// What became of judging a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Everything is as its [`Kind`] demands: every register is linearizable, transactions are strictly serializable.
    Holds,
    /// No call succeeded, so that there was nothing to judge: whatever the system is, it could have done this.
    NothingJudged,
    /// The budget was used up before every key was judged; those that were are in order.
    Undecided,
    /// Something is not as its [`Kind`] demands.
    Violated,
}

/// A judged history.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// How many calls were judged, failed ones included.
    pub calls: usize,
    /// How many registers there are.
    pub registers: usize,
    /// How many transactions there are.
    pub transactions: usize,
    /// How many things of other kinds there are.
    pub others: BTreeMap<Kind, usize>,
    /// What is wrong, each with the smallest explanation that was found.
    pub findings: Vec<Finding>,
    /// The keys that could not be judged within the budget.
    pub undecided: Vec<String>,
    /// How many calls succeeded, and so told anything.
    pub succeeded: usize,
    /// How many events bear an earlier time than the one before. The order of the events counts; many such may mean that
    /// a file was put together from several.
    pub times_back: usize,
}

/// Something wrong with a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is: `not linearizable`, or the name of an anomaly, first as Elle has it.
    pub name: String,
    /// Why, in words, over several lines.
    pub explanation: String,
    /// A cycle of transactions as a picture, in SVG.
    pub picture: Option<String>,
}

impl Finding {
    /// Something wrong that is no cycle.
    pub(super) fn new(name: impl Into<String>, explanation: impl Into<String>) -> Self {
        Self { name: name.into(), explanation: explanation.into(), picture: None }
    }
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

    /// The verdict as a run's law: every history must be decided, and hold. A run in which nothing succeeded breaks another law, if
    /// one, than that its history is right.
    ///
    /// # Errors
    /// When it is not, with what was found.
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
        let is_linearizable = *registers > 0 || others.keys().any(|kind| *kind != Kind::Bank);
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
    /// Judges every thing by itself (linearizability is local: Herlihy and Wing, TOPLAS 1990, theorem 1), and the transactions
    /// together. Things of the same name are different if they have no call in common.
    #[must_use]
    pub fn judge(&self, mut budget: Budget) -> Judgement {
        let mut calls_of: Vec<Vec<&Call>> = vec![Vec::new(); self.objects.len()];
        for call in &self.calls {
            calls_of[call.object as usize].push(call);
        }
        let mut objects: Vec<(&Object, Vec<&Call>)> = self.objects.iter().zip(calls_of).collect();
        objects.sort_by_key(|(object, _)| (object.kind != Kind::Lists, object.kind, &object.key));
        let mut judgement = Judgement {
            calls: self.calls.len(),
            succeeded: self.calls.iter().filter(|call| call.outcome == Outcome::Ok).count(),
            times_back: self.times_back,
            ..Judgement::default()
        };
        let mut explaining = Budget::of_steps(EXPLANATION_STEPS);
        // What takes long must not keep what is judged at once from being judged.
        let mut hard = Vec::new();
        for (object, calls) in objects {
            judgement.count(object.kind, calls.len());
            let is_one_of_many = object.kind != Kind::Lists;
            let enough = if is_one_of_many { FIRST_TRY_STEPS + calls.len() as u64 } else { u64::MAX };
            let mut first_try = Budget::of_steps(budget.steps_left().min(enough));
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
    fn count(&mut self, kind: Kind, calls: usize) {
        match kind {
            Kind::Register => self.registers += 1,
            Kind::Lists => self.transactions = calls,
            _ => *self.others.entry(kind).or_default() += 1,
        }
    }

    /// Judges one thing. Whether the budget sufficed.
    fn add(&mut self, object: &Object, calls: &[&Call], budget: &mut Budget, explaining: &mut Budget) -> bool {
        if object.kind == Kind::Lists {
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

/// About a tenth of a second: so much each thing is given before any is given more.
const FIRST_TRY_STEPS: u64 = 1_000_000;
/// About two seconds for all explanations of a history: one that is not minimal is better than none.
const EXPLANATION_STEPS: u64 = 20_000_000;
