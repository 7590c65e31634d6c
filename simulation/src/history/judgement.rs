//! The verdict over a whole history, in words.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write};

use quorate_protocol::Violation;

use super::datum::Datum;
use super::file::{Call, Outcome, old_and_new};
use super::{Budget, Explanation, Function, History, Key, Linearization, Register, RegisterOperation, Timed};
use super::{explain, linearize, transactions};

/// What became of judging a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Every register is linearizable, and the transactions are strictly serializable.
    Holds,
    /// No call succeeded, so that there was nothing to judge: whatever the system is, it could have done this.
    NothingJudged,
    /// The budget was used up before every key was judged; those that were are in order.
    Undecided,
    /// Some register is not linearizable, or the transactions are not strictly serializable.
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
    /// What it is: `not linearizable`, or the name of an anomaly.
    pub name: String,
    /// Why, in words, over several lines.
    pub explanation: String,
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
        let Self { calls, registers, transactions, findings, undecided, times_back, .. } = self;
        write!(f, "{calls} calls, {registers} registers, {transactions} transactions: ")?;
        f.write_str(match self.verdict() {
            Verdict::Holds if *transactions == 0 => "linearizable",
            Verdict::Holds if *registers == 0 => "strictly serializable",
            Verdict::Holds => "linearizable and strictly serializable",
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
    /// Judges every register by itself (linearizability is local: Herlihy and Wing, TOPLAS 1990, theorem 1), and the
    /// transactions together. Registers and lists of the same name are different things.
    #[must_use]
    pub fn judge(&self, mut budget: Budget) -> Judgement {
        let mut registers: BTreeMap<&Key, Vec<&Call>> = BTreeMap::new();
        let mut called_transactions = Vec::new();
        for call in &self.calls {
            match &call.key {
                Some(key) => registers.entry(key).or_default().push(call),
                None => called_transactions.push(call),
            }
        }
        let mut judgement = Judgement {
            calls: self.calls.len(),
            registers: registers.len(),
            transactions: called_transactions.len(),
            findings: Vec::new(),
            undecided: Vec::new(),
            succeeded: self.calls.iter().filter(|call| call.outcome == Outcome::Ok).count(),
            times_back: self.times_back,
        };
        match transactions::judge(&called_transactions, &mut budget) {
            Some(findings) => judgement.findings = findings,
            None => judgement.undecided.push("the transactions".to_owned()),
        }
        let mut explaining = Budget::of_steps(EXPLANATION_STEPS);
        for (key, calls) in registers {
            judge_register(key, &calls, &mut budget, &mut explaining, &mut judgement);
        }
        judgement
    }
}

fn judge_register(key: &Key, calls: &[&Call], budget: &mut Budget, explaining: &mut Budget, judgement: &mut Judgement) {
    let register = RegisterHistory::new(calls);
    let key = key.json();
    match linearize(&Register, &register.timed, budget) {
        Linearization::Possible { .. } => {}
        Linearization::Undecided => judgement.undecided.push(format!("register {key}")),
        Linearization::Impossible => {
            let explanation = if explaining.steps_left() > 0 {
                register.words(&explain(&Register, &register.timed, explaining))
            } else {
                "  It is not said why: explaining what stands above took all steps that there are for it.".to_owned()
            };
            judgement.findings.push(Finding { name: format!("register {key} is not linearizable"), explanation });
        }
    }
}

/// The calls of one register, as far as they can have had an effect or told anything.
struct RegisterHistory<'a> {
    timed: Vec<Timed<RegisterOperation>>,
    calls: Vec<&'a Call>,
    values: Vec<&'a Datum>,
}

impl<'a> RegisterHistory<'a> {
    fn new(calls: &[&'a Call]) -> Self {
        let mut numbers = ValueNumbers { numbers: HashMap::new(), values: vec![&Datum::Null] };
        let mut register = Self { timed: Vec::new(), calls: Vec::new(), values: Vec::new() };
        for call in calls {
            let Some(operation) = operation(call, &mut numbers) else { continue };
            let returned = call.returned.filter(|_| call.outcome == Outcome::Ok).map(|(number, _)| number);
            register.timed.push(Timed { operation, invoked: call.invoked.0, returned });
            register.calls.push(call);
        }
        register.values = numbers.values;
        register
    }

    fn words(&self, why: &Explanation) -> String {
        let mut text = String::new();
        let (count, of) = (why.operations.len(), self.calls.len());
        _ = writeln!(text, "  {count} of its {of} calls admit no order by themselves:");
        for position in why.operations.iter().take(CALLS_TOLD_MAX) {
            _ = writeln!(text, "    {}", self.call_words(*position));
        }
        if count > CALLS_TOLD_MAX {
            _ = writeln!(text, "    and {} more", count - CALLS_TOLD_MAX);
        }
        let Some(blocked) = why.blocked else {
            _ = write!(text, "  They are too many to say how far an order gets.");
            return text;
        };
        let words = self.short_words(blocked);
        if why.order.is_empty() {
            _ = write!(text, "  Nothing can come before {words}, but {}.", self.reason(None, blocked));
            return text;
        }
        let hidden = why.order.len().saturating_sub(CALLS_TOLD_MAX);
        let mut order: Vec<String> = why.order[hidden..].iter().map(|position| self.short_words(*position)).collect();
        if hidden > 0 {
            order.insert(0, format!("{hidden} calls"));
        }
        let held = why.order.iter().rev().find_map(|position| leaves(self.timed[*position].operation));
        _ = writeln!(text, "  The order that gets furthest: {}.", order.join("; "));
        _ = write!(text, "  Then {words} must come, but {}.", self.reason(held, blocked));
        text
    }

    /// Why the blocked call cannot come when the register holds `held`.
    fn reason(&self, held: Option<u32>, blocked: usize) -> String {
        let operation = self.timed[blocked].operation;
        let (RegisterOperation::Read(wanted) | RegisterOperation::Cas(wanted, _)) = operation else {
            return "what others saw excludes it".to_owned();
        };
        let held = held.unwrap_or(RegisterOperation::ABSENT);
        let is_written = self.timed.iter().any(|timed| leaves(timed.operation) == Some(wanted));
        let held = self.value_words(held);
        if wanted != RegisterOperation::ABSENT && !is_written {
            return format!("the register holds {held}, and nobody ever wrote {}", self.value_words(wanted));
        }
        format!("the register holds {held}, not {}", self.value_words(wanted))
    }

    fn call_words(&self, position: usize) -> String {
        let call = self.calls[position];
        let until = match (call.outcome, call.returned) {
            (Outcome::Ok, Some((_, time))) => format!("answered at {time}"),
            _ => "outcome unknown".to_owned(),
        };
        let (line, invoked) = (call.line, call.invoked.1);
        format!("line {line}: {}, called at {invoked}, {until}", self.short_words(position))
    }

    fn short_words(&self, position: usize) -> String {
        let what = match self.timed[position].operation {
            RegisterOperation::Read(value) => format!("read {}", self.value_words(value)),
            RegisterOperation::Write(value) => format!("write {}", self.value_words(value)),
            RegisterOperation::Cas(old, new) => {
                format!("cas {} to {}", self.value_words(old), self.value_words(new))
            }
        };
        format!("process {}: {what}", self.calls[position].process)
    }

    fn value_words(&self, value: u32) -> String {
        if value == RegisterOperation::ABSENT { "nothing".to_owned() } else { self.values[value as usize].to_string() }
    }
}

/// What a call did or may have done; nothing when it tells nothing: it failed, or it read and was not answered.
fn operation<'a>(call: &'a Call, numbers: &mut ValueNumbers<'a>) -> Option<RegisterOperation> {
    if call.outcome == Outcome::Fail {
        return None;
    }
    match call.function {
        Function::Read => {
            (call.outcome == Outcome::Ok).then(|| RegisterOperation::Read(numbers.number(&call.answered)))
        }
        Function::Write => Some(RegisterOperation::Write(numbers.number(&call.called))),
        Function::Cas => {
            let (old, new) = old_and_new(&call.called).ok()?;
            Some(RegisterOperation::Cas(numbers.number(old), numbers.number(new)))
        }
        Function::Txn => None,
    }
}

fn leaves(operation: RegisterOperation) -> Option<u32> {
    match operation {
        RegisterOperation::Read(_) => None,
        RegisterOperation::Write(value) | RegisterOperation::Cas(_, value) => Some(value),
    }
}

/// Small numbers for values: null is the first, [`RegisterOperation::ABSENT`].
struct ValueNumbers<'a> {
    numbers: HashMap<&'a Datum, u32>,
    values: Vec<&'a Datum>,
}

impl<'a> ValueNumbers<'a> {
    fn number(&mut self, value: &'a Datum) -> u32 {
        if value.is_null() {
            return RegisterOperation::ABSENT;
        }
        *self.numbers.entry(value).or_insert_with(|| {
            self.values.push(value);
            u32::try_from(self.values.len() - 1).expect("fewer than 2^32 values")
        })
    }
}

/// About two seconds for all explanations of a history: one that is not minimal is better than none.
const EXPLANATION_STEPS: u64 = 20_000_000;
const CALLS_TOLD_MAX: usize = 50;
